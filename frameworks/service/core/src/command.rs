//! What people and tools may ask of the framework, and what they are answered.

use crate::spec::{ServiceName, ServiceSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Names the caller who waits for an answer; the shell's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplyTo(pub u64);

/// A call with its caller.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceCommand {
    /// Whom to answer. Every command is answered exactly once, unless the process ends before.
    pub reply: ReplyTo,
    /// The principal; noted in revisions.
    pub author: String,
    /// What.
    pub call: ServiceCall,
}

/// What may be asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceCall {
    /// Make these services so: all of them, or none when one is refused.
    Deploy {
        /// The services of a file.
        services: BTreeMap<ServiceName, ServiceSpec>,
        /// The newest revision that the caller knows; 0: the service must not exist.
        if_revision: BTreeMap<ServiceName, u32>,
        /// Why, in his words.
        message: String,
    },
    /// Change the count of each of these, or of none when one is refused. Not a revision; allowed
    /// during a rollout.
    Scale {
        /// Which, and to what.
        targets: BTreeMap<ServiceName, ScaleTo>,
    },
    /// Roll an earlier revision out under a new number.
    Rollback {
        /// Which.
        service: ServiceName,
        /// Which revision; `None`: the last good one before the current.
        to: Option<u32>,
        /// The newest revision that the caller knows.
        if_revision: Option<u32>,
    },
    /// Replace all instances by new ones of the same revision.
    Restart {
        /// Which.
        service: ServiceName,
    },
    /// End all instances; count and revision are kept.
    Stop {
        /// Which.
        service: ServiceName,
    },
    /// Start what was stopped.
    Start {
        /// Which.
        service: ServiceName,
    },
    /// End all instances, then forget the service.
    Remove {
        /// Which.
        service: ServiceName,
    },
}

impl ServiceCall {
    /// The services that it changes.
    #[must_use]
    pub fn services(&self) -> Vec<&ServiceName> {
        match self {
            Self::Deploy { services, .. } => services.keys().collect(),
            Self::Scale { targets } => targets.keys().collect(),
            Self::Rollback { service, .. }
            | Self::Restart { service }
            | Self::Stop { service }
            | Self::Start { service }
            | Self::Remove { service } => vec![service],
        }
    }

    /// Whether it changes this service.
    #[must_use]
    pub fn concerns(&self, name: &ServiceName) -> bool {
        self.services().contains(&name)
    }
}

/// A new count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleTo {
    /// Just so many.
    Count(u32),
    /// So many more.
    More(u32),
    /// So many fewer, down to none.
    Fewer(u32),
    /// So many hundredths of the present count, rounded up.
    Percent(u32),
}

/// The answer to a call that was carried out, after it became durable.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceReply {
    /// What became of each service.
    pub services: Vec<ServiceChange>,
}

/// What became of one service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceChange {
    /// Which.
    pub service: ServiceName,
    /// What happened.
    pub change: ChangeKind,
    /// The revision that is aimed at now.
    pub revision: u32,
    /// The one before, if it changed.
    pub previous: Option<u32>,
    /// Number of the rollout that carries it out; `wait` follows it.
    pub rollout: u32,
    /// The count now.
    pub instances: u32,
}

/// What happened to a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is new.
    Created,
    /// It has a new revision.
    Updated,
    /// Nothing to do.
    Unchanged,
    /// Only its count changed.
    Scaled,
    /// A failed rollout of the same revision starts anew.
    Retried,
    /// An earlier revision is rolled out under a new number.
    RolledBack,
    /// Its instances are replaced.
    Restarted,
    /// It stands still.
    Stopped,
    /// It runs again.
    Started,
    /// It goes away.
    Removed,
}
