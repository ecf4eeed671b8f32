//! Offers are leases: what a framework may use until when, and the operations that use them.

use crate::attributes::Attributes;
use crate::hold::ReclaimPolicy;
use crate::ids::{
    AgentId, AgentName, AgentVersion, FrameworkId, GroupName, OfferId, PrincipalName, RoleName,
};
use crate::maintenance::Unavailability;
use crate::resources::Resources;
use crate::template::TaskLaunch;
use crate::units::DurationMs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A lease on part of one agent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// Its id.
    pub id: OfferId,
    /// To whom.
    pub framework: FrameworkId,
    /// The role that pays.
    pub role: RoleName,
    /// Where.
    pub agent: AgentId,
    /// The agent's name.
    pub agent_name: AgentName,
    /// Address at which tasks on this agent are reached.
    pub address: String,
    /// The agent as it was; an accept names it.
    pub agent_version: AgentVersion,
    /// What.
    pub resources: Resources,
    /// What the agent says of itself.
    pub attributes: Attributes,
    /// The demand group it answers; `None` for a classical offer.
    pub group: Option<GroupName>,
    /// How many tasks of the group fit in it.
    pub count: u32,
    /// Time until it lapses, from when it was sent.
    pub expires_in: DurationMs,
    /// When the agent is next planned to be out of use.
    pub unavailability: Option<Unavailability>,
}

/// What an accept does with what it was offered. Operations apply in order, all or none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Start tasks.
    Launch {
        /// Where; one of the offers' agents.
        agent: AgentId,
        /// Which.
        tasks: Vec<TaskLaunch>,
    },
    /// Keep resources for a role.
    Reserve {
        /// Where.
        agent: AgentId,
        /// What, without the new level.
        resources: Resources,
        /// For whom; below the role that they are reserved for.
        role: RoleName,
        /// By whom; `None`, or who the framework is.
        principal: Option<PrincipalName>,
        /// Free labels.
        labels: BTreeMap<String, String>,
        /// What becomes of it when the framework is removed.
        reclaim: ReclaimPolicy,
    },
    /// Take the last reservation level off.
    Unreserve {
        /// Where.
        agent: AgentId,
        /// What, with that level: whole reservations, one or several that are alike.
        resources: Resources,
    },
    /// Make a persistent volume on a reserved disk.
    CreateVolume {
        /// Where.
        agent: AgentId,
        /// The reserved disk.
        resources: Resources,
        /// Where it appears, below the sandbox.
        container_path: String,
        /// Several tasks may use it at a time.
        shared: bool,
        /// What becomes of it when the framework is removed.
        reclaim: ReclaimPolicy,
    },
    /// Make a persistent volume larger.
    GrowVolume {
        /// Where.
        agent: AgentId,
        /// The volume, as it is.
        volume: Resources,
        /// What it takes more of the disk that it rests on.
        addition: Resources,
    },
    /// Wipe a persistent volume.
    DestroyVolume {
        /// Where.
        agent: AgentId,
        /// The volume.
        resources: Resources,
    },
}

/// One accept: several offers, several operations, all or nothing. Launches on several agents are a gang:
/// they start together or not at all (K3).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Accept {
    /// The framework's own number for it; the answer carries it.
    pub accept: u64,
    /// The leases it uses up, each with the agent version it showed.
    pub offers: Vec<(OfferId, AgentVersion)>,
    /// What to do.
    pub operations: Vec<Operation>,
    /// For how long the unused rest is not offered again.
    pub refuse_for: DurationMs,
}
