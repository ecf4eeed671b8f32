//! The name of an instance says all that is durable about it: service, slot, revision, restart and
//! start attempt. A framework that lost its memory recognises its instances by it (K9).

use crate::spec::ServiceName;
use proffer_types::{FrameworkEpoch, TaskName};
use std::fmt;
use std::str::FromStr;

/// `web.0.r3.2-17`: service, slot, revision, and the attempt's framework epoch and number. After a
/// restart of the service: `web.0.r3-1.2-17`. No two attempts ever share a name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InstanceName {
    /// Whose.
    pub service: ServiceName,
    /// Its slot: 0 to instances - 1.
    pub slot: u32,
    /// The revision that was current at the start.
    pub revision: u32,
    /// How often the service had been restarted by then.
    pub restart: u32,
    /// The framework's epoch at the start.
    pub epoch: FrameworkEpoch,
    /// Number of the start within the epoch.
    pub attempt: u64,
}

impl InstanceName {
    /// As the task is called.
    #[must_use]
    pub fn task(&self) -> TaskName {
        TaskName::new(&self.to_string()).expect("a DNS label and numbers, well below 200 bytes")
    }

    /// Reads a task's name; `None` for one that this framework did not give.
    #[must_use]
    pub fn parse(task: &TaskName) -> Option<Self> {
        task.as_str().parse().ok()
    }

    /// Orders the instances of a slot by their start.
    #[must_use]
    pub fn age(&self) -> u64 {
        const ATTEMPT_BITS: u32 = 32;
        (self.epoch.0 << ATTEMPT_BITS) | (self.attempt & u64::from(u32::MAX))
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.r{}", self.service, self.slot, self.revision)?;
        if self.restart > 0 {
            write!(f, "-{}", self.restart)?;
        }
        write!(f, ".{}-{}", self.epoch, self.attempt)
    }
}

/// Not a name that this framework gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not the name of an instance")]
pub struct NotAnInstance;

impl FromStr for InstanceName {
    type Err = NotAnInstance;

    fn from_str(text: &str) -> Result<Self, NotAnInstance> {
        let mut parts = text.split('.');
        let (Some(service), Some(slot), Some(revision), Some(attempt), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotAnInstance);
        };
        let revision = revision.strip_prefix('r').ok_or(NotAnInstance)?;
        let (revision, restart) = revision.split_once('-').unwrap_or((revision, "0"));
        let (epoch, attempt) = attempt.split_once('-').ok_or(NotAnInstance)?;
        let small = |text: &str| text.parse::<u32>().map_err(|_| NotAnInstance);
        let large = |text: &str| text.parse::<u64>().map_err(|_| NotAnInstance);
        let name = Self {
            service: ServiceName::new(service).map_err(|_| NotAnInstance)?,
            slot: small(slot)?,
            revision: small(revision)?,
            restart: small(restart)?,
            epoch: FrameworkEpoch(large(epoch)?),
            attempt: large(attempt)?,
        };
        // Only the form that is written: `web.00.r1.1-1` is somebody else's.
        if name.to_string() == text { Ok(name) } else { Err(NotAnInstance) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_and_foreign_ones_are_left_alone() {
        for text in ["web.0.r3.2-17", "web-2.12.r3-1.2-17"] {
            let name: InstanceName = text.parse().expect(text);
            assert_eq!(name.to_string(), text);
            assert_eq!(InstanceName::parse(&name.task()), Some(name));
        }
        for foreign in
            ["web", "web.0.r3", "web.00.r3.2-17", "web.0.3.2-17", "a.b.c.d.e", "Web.0.r1.1-1"]
        {
            assert!(foreign.parse::<InstanceName>().is_err(), "{foreign}");
        }
    }

    #[test]
    fn a_later_epoch_is_younger_whatever_the_attempt() {
        let age = |text: &str| text.parse::<InstanceName>().expect(text).age();
        assert!(age("web.0.r1.1-900") < age("web.0.r1.2-1"));
        assert!(age("web.0.r2.2-1") < age("web.0.r1.2-2"));
    }
}
