//! Preemption: room that is being made for a demand by ending tasks of others (K11).

use crate::ids::{ClaimId, FrameworkId, GroupName, RoleName};
use crate::resources::Resources;
use crate::units::DurationMs;
use serde::{Deserialize, Serialize};

/// Room that is being made for one task of a demand group. It travels with each task that is to end,
/// and stays at the agent, so that a new leader finds it again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// Its id.
    pub id: ClaimId,
    /// Who gets the room.
    pub framework: FrameworkId,
    /// For which of its groups.
    pub group: GroupName,
    /// The role that pays.
    pub role: RoleName,
    /// What one task of the group needs.
    pub resources: Resources,
    /// Whether the ports in `resources` are meant as they stand.
    pub fixed_ports: bool,
    /// The role whose guarantee is met by it; `None`: a higher priority is served.
    pub creditor: Option<RoleName>,
}

/// A task is to end for a claim.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClaimMark {
    /// Which.
    pub claim: Claim,
    /// Time until it is killed, from when this was said.
    pub left: DurationMs,
}
