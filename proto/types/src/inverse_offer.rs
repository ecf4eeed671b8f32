//! Inverse offers: the master asks a framework to give up what it holds on an agent, for a reason and
//! until a deadline, after which nobody is asked any more.

use crate::ids::{AgentId, AgentName, FrameworkId, GroupName, InverseOfferId, RoleName, TaskName};
use crate::units::{DurationMs, WallTime};
use serde::{Deserialize, Serialize};

/// Why an agent is emptied, or some tasks on it are to go.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VacateReason {
    /// An operator drains it.
    Drain,
    /// A maintenance window of it begins.
    Maintenance {
        /// When.
        start: WallTime,
        /// For how long.
        duration: DurationMs,
        /// What its operator says about it.
        message: String,
    },
    /// Room is made for another demand (K11).
    Preemption {
        /// Who gets it.
        framework: FrameworkId,
        /// For which of its groups.
        group: GroupName,
        /// The role that pays for it.
        role: RoleName,
    },
}

/// A request to give up tasks on an agent. It stands until they have ended or it is rescinded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InverseOffer {
    /// Its id.
    pub id: InverseOfferId,
    /// Where.
    pub agent: AgentId,
    /// The agent's name.
    pub agent_name: AgentName,
    /// Which tasks; empty: all that the framework has there.
    pub tasks: Vec<TaskName>,
    /// Why.
    pub reason: VacateReason,
    /// Time until the tasks that are left are killed, from when it was sent; `None`: nobody who answers
    /// is hurried.
    pub deadline: Option<DurationMs>,
}

impl InverseOffer {
    /// Whether it asks for this task of the framework.
    #[must_use]
    pub fn asks_for(&self, agent: AgentId, task: &TaskName) -> bool {
        self.agent == agent && (self.tasks.is_empty() || self.tasks.contains(task))
    }
}

/// What a framework has said to an inverse offer.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InverseAnswer {
    /// Nothing so far.
    #[default]
    None,
    /// It moves its tasks itself.
    Accepted,
    /// It does not.
    Declined {
        /// Why, for people.
        reason: String,
    },
}

impl InverseAnswer {
    /// Bytes of a reason.
    pub const REASON_BYTES_MAX: usize = 1024;
}
