//! Typed ids, names and epochs. Strings become ids at the edge and are checked there.

use crate::refusal::{Refusal, RefusalCode};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Defines an id that is a durable counter shown with a one-letter prefix.
macro_rules! counter_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $name {
            type Err = Refusal;
            fn from_str(text: &str) -> Result<Self, Refusal> {
                text.strip_prefix($prefix)
                    .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
                    .and_then(|digits| digits.parse().ok())
                    .map(Self)
                    .ok_or_else(|| {
                        Refusal::new(
                            RefusalCode::InvalidArgument,
                            stringify!($name),
                            format!(
                                "{:?} is not an id of the form {}<number>",
                                crate::refusal::excerpt(text),
                                $prefix
                            ),
                        )
                    })
            }
        }
    };
}

/// Defines an ordering number: later is greater, zero is "none yet".
macro_rules! epoch {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The next one. Epochs are raised a few times a day; 2^64 is not reached.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

/// Defines an id that a master gives: its epoch and a number within it, shown with a letter.
macro_rules! offer_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        pub struct $name {
            /// The epoch of the master that made it.
            pub epoch: MasterEpoch,
            /// Its number within that epoch.
            pub sequence: u64,
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}-{}"), self.epoch, self.sequence)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $name {
            type Err = Refusal;
            fn from_str(text: &str) -> Result<Self, Refusal> {
                text.strip_prefix($prefix)
                    .and_then(|rest| rest.split_once('-'))
                    .and_then(|(epoch, sequence)| {
                        Some(Self {
                            epoch: MasterEpoch(epoch.parse().ok()?),
                            sequence: sequence.parse().ok()?,
                        })
                    })
                    .ok_or_else(|| {
                        Refusal::new(
                            RefusalCode::InvalidArgument,
                            "offer",
                            format!("{:?} is not an offer id", crate::refusal::excerpt(text)),
                        )
                    })
            }
        }
    };
}

/// Defines a checked name. Cloning is cheap.
macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident, $max:expr, $check:path, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Longest accepted name, in bytes.
            pub const LENGTH_MAX: usize = $max;

            /// Checks `text` and makes it a name.
            ///
            /// # Errors
            /// A refusal that says which rule `text` breaks.
            pub fn new(text: &str) -> Result<Self, Refusal> {
                if text.is_empty() || text.len() > Self::LENGTH_MAX || !$check(text) {
                    return Err(Refusal::new(
                        RefusalCode::InvalidArgument,
                        stringify!($name),
                        format!(
                            concat!("{:?} is not a valid name: ", $rule, ", 1 to {} bytes"),
                            crate::refusal::excerpt(text),
                            Self::LENGTH_MAX
                        ),
                    ));
                }
                Ok(Self(Arc::from(text)))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl FromStr for $name {
            type Err = Refusal;
            fn from_str(text: &str) -> Result<Self, Refusal> {
                Self::new(text)
            }
        }
        impl TryFrom<String> for $name {
            type Error = Refusal;
            fn try_from(text: String) -> Result<Self, Refusal> {
                Self::new(&text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }
    };
}

counter_id!(
    /// An agent. A durable counter in the registry: absent and at or below the mark means removed
    /// (K19).
    AgentId,
    "a"
);
counter_id!(
    /// A framework. A durable counter in the registry (K19).
    FrameworkId,
    "f"
);

counter_id!(
    /// A dynamic reservation. Numbered with the volumes by one durable counter (K19).
    ReservationId,
    "r"
);
counter_id!(
    /// A persistent volume. Numbered with the reservations by one durable counter (K19).
    VolumeId,
    "v"
);
counter_id!(
    /// A maintenance window. A durable counter in the registry (K19).
    WindowId,
    "w"
);

epoch!(
    /// Raised only by an explicit restore; orders all epochs and cursors (K19).
    Incarnation
);
epoch!(
    /// Raised by a leader's first fenced write (K8).
    MasterEpoch
);
epoch!(
    /// Raised each time a replica becomes the active one of its framework; also the session part
    /// of a launch token (K1).
    FrameworkEpoch
);
epoch!(
    /// One registration of an agent; chosen by the agent, strictly growing over its life (K1).
    AgentSession
);
epoch!(
    /// One life of an agent's status log; with the sequence it identifies a status (K15).
    LogIncarnation
);
epoch!(
    /// Grows with each change of what an agent has; an accept names the one it saw.
    AgentVersion
);
epoch!(
    /// Generation of a demand group; an older one is refused (K10).
    Generation
);

fn word(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
}

fn role_path(text: &str) -> bool {
    text == "*"
        || (text.split('/').count() <= RoleName::DEPTH_MAX
            && text.split('/').all(|label| !label.is_empty() && word(label)))
}

fn printable(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic())
}

name_id!(
    /// The name under which an agent is known to people, unique in a cluster.
    AgentName, 128, word, "letters, digits, '.', '_', '-', starting with a letter or digit"
);
name_id!(
    /// The name of a framework, unique in a cluster; a framework that comes back is found by it.
    FrameworkName, 128, word, "letters, digits, '.', '_', '-', starting with a letter or digit"
);
name_id!(
    /// One process of a framework; several replicas may stand by, one is active.
    ReplicaId, 128, word, "letters, digits, '.', '_', '-', starting with a letter or digit"
);
name_id!(
    /// A task's name, free within its framework; uniqueness is the launch token's matter (K1).
    TaskName, 200, word, "letters, digits, '.', '_', '-', starting with a letter or digit"
);
name_id!(
    /// A demand group of a framework.
    GroupName, 200, word, "letters, digits, '.', '_', '-', starting with a letter or digit"
);
name_id!(
    /// Who speaks: `token:NAME`, `cert:SAN`, `insecure`.
    PrincipalName, 256, printable, "printable ASCII without spaces"
);
name_id!(
    /// A role: a path in the role tree such as `eng/db`, or `*`.
    RoleName, 256, role_path, "'/'-separated labels of letters, digits, '.', '_', '-'"
);
name_id!(
    /// A container: derived from framework and launch token, never reused.
    ContainerId, 128, word, "letters, digits, '.', '_', '-', starting with a letter or digit"
);

impl PrincipalName {
    /// The agent that this is, when it is one by its certificate (`cert:proffer://agent/NAME`).
    #[must_use]
    pub fn agent_of_certificate(&self) -> Option<&str> {
        self.as_str().strip_prefix("cert:proffer://agent/")
    }

    /// The framework that this is, when it is one by its certificate (`cert:proffer://framework/NAME`).
    #[must_use]
    pub fn framework_of_certificate(&self) -> Option<&str> {
        self.as_str().strip_prefix("cert:proffer://framework/")
    }
}

impl RoleName {
    /// Deepest role path: bounds the work per share update.
    pub const DEPTH_MAX: usize = 8;

    /// The role above, or `None` at the top.
    #[must_use]
    pub fn parent(&self) -> Option<RoleName> {
        self.0.rsplit_once('/').map(|(above, _)| Self(Arc::from(above)))
    }

    /// Whether `self` is `other` or lies below it.
    #[must_use]
    pub fn is_within(&self, other: &RoleName) -> bool {
        self.0
            .strip_prefix(other.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// A task is named only together with its framework.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskKey {
    /// The framework that launched it.
    pub framework: FrameworkId,
    /// Its name there.
    pub name: TaskName,
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.framework, self.name)
    }
}
impl fmt::Debug for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for TaskKey {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let (framework, name) = text.split_once('/').ok_or_else(|| {
            Refusal::new(
                RefusalCode::InvalidArgument,
                "task",
                format!(
                    "{:?} is not of the form <framework id>/<task name>",
                    crate::refusal::excerpt(text)
                ),
            )
        })?;
        Ok(Self { framework: framework.parse()?, name: name.parse()? })
    }
}

/// A demand group of a framework.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct DemandKey {
    /// Whose.
    pub framework: FrameworkId,
    /// Its name, unique within the framework.
    pub group: GroupName,
}

impl fmt::Display for DemandKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.framework, self.group)
    }
}

impl FromStr for DemandKey {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let (framework, group) = text.split_once('/').ok_or_else(|| {
            Refusal::new(
                RefusalCode::InvalidArgument,
                "demand",
                format!(
                    "{:?} is not of the form <framework id>/<group name>",
                    crate::refusal::excerpt(text)
                ),
            )
        })?;
        Ok(Self { framework: framework.parse()?, group: group.parse()? })
    }
}

/// Makes a launch unique in O(1) memory: the subscription session that sent it and a number that
/// only grows within it (K1).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
pub struct LaunchToken {
    /// The framework epoch in which the launch was sent.
    pub session: FrameworkEpoch,
    /// Grows by at least one with each launch of the session, from 1.
    pub sequence: u64,
}

impl LaunchToken {
    /// The container that this launch, and no other, may start.
    #[must_use]
    pub fn container(self, framework: FrameworkId) -> ContainerId {
        ContainerId::new(&format!("{framework}-{}-{}", self.session, self.sequence))
            .expect("digits and dashes make a valid container id")
    }
}

offer_id!(
    /// An offer: the master epoch that made it and a number within it.
    OfferId,
    'o'
);
offer_id!(
    /// An inverse offer: the master epoch that made it and a number within it.
    InverseOfferId,
    'i'
);
offer_id!(
    /// A claim: the master epoch that made it and a number within it.
    ClaimId,
    'p'
);
offer_id!(
    /// A gang: the master epoch that booked it and a number within it.
    GangId,
    'g'
);

/// SHA-256 over the canonical form of a pod template.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TemplateDigest(pub [u8; 32]);

impl fmt::Display for TemplateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
impl fmt::Debug for TemplateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Identifies a status: (agent, log incarnation, sequence), K15.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
pub struct StatusId {
    /// The agent that wrote the status.
    pub agent: AgentId,
    /// The life of its log.
    pub incarnation: LogIncarnation,
    /// Position in the log of the task's framework at this agent, from 1.
    pub sequence: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_read_back_what_they_show_and_refuse_the_rest() {
        assert_eq!("a12".parse::<AgentId>().expect("valid"), AgentId(12));
        assert_eq!(AgentId(12).to_string(), "a12");
        for bad in ["", "a", "12", "f12", "a-1", "a1x", "a99999999999999999999", "a+1"] {
            assert_eq!(bad.parse::<AgentId>().expect_err(bad).code, RefusalCode::InvalidArgument);
        }
    }

    #[test]
    fn names_refuse_separators_and_control_characters() {
        for bad in ["", ".hidden", "a/b", "a b", "a\nb", "é", &"x".repeat(201)] {
            assert!(TaskName::new(bad).is_err(), "{bad:?}");
        }
        assert!(TaskName::new("web.0-r2_x").is_ok());
    }

    #[test]
    fn roles_are_paths_with_a_parent() {
        let role = RoleName::new("eng/db/blue").expect("valid");
        assert_eq!(role.parent().expect("has one").as_str(), "eng/db");
        assert!(role.is_within(&RoleName::new("eng").expect("valid")));
        assert!(!role.is_within(&RoleName::new("en").expect("valid")));
        for bad in ["/a", "a/", "a//b", "a/../b", &"a/".repeat(9)] {
            assert!(RoleName::new(bad).is_err(), "{bad:?}");
        }
    }
}
