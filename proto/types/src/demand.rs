//! What a framework wants: groups of equal shapes with an absolute target (K10).

use crate::attributes::Constraint;
use crate::ids::{Generation, GroupName, RoleName};
use crate::refusal::{Refusal, RefusalCode};
use crate::resources::{Quantity, Resources};
use crate::revocable::RevocableUse;
use crate::units::DurationMs;
use serde::{Deserialize, Serialize};

/// An absolute target, re-sent whole at each subscribe and never durable.
///
/// `unmet = target − leases naming the group − launches naming the group`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DemandGroup {
    /// Its name within the framework.
    pub name: GroupName,
    /// An older one is refused.
    pub generation: Generation,
    /// The role that is to pay.
    pub role: RoleName,
    /// What one task needs. Ports are a range set whose *count* is wanted: any free ports will do,
    /// unless `fixed_ports` asks for just these.
    pub shape: Resources,
    /// Whether the ports in `shape` are meant as they stand.
    #[serde(default)]
    pub fixed_ports: bool,
    /// How many tasks there should be, launched ones included.
    pub target: u32,
    /// All must hold of an agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<Constraint>,
    /// Served before lower ones of the same role.
    #[serde(default)]
    pub priority: i32,
    /// Most tasks of the group on one agent; `None`: any number.
    #[serde(default)]
    pub per_agent_max: Option<u32>,
    /// Prefer agents that have fewest tasks of the group.
    #[serde(default)]
    pub spread: bool,
    /// Start only when this many fit at once (K3); 1 is no gang. Later versions accept more.
    pub gang_size: u32,
    /// Give up this long after it was said: the group ends, and what it has stays. Each statement says
    /// what is left of it. `None`: wait for ever.
    #[serde(default)]
    pub deadline: Option<DurationMs>,
    /// Whether its tasks may be met from what may be taken back at any time.
    #[serde(default, skip_serializing_if = "RevocableUse::is_default")]
    pub revocable: RevocableUse,
}

/// Tasks of which some are to stay, whoever else wants their room (K11). It may span demand groups: those
/// of an old and of a new revision, say.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Budget {
    /// Its name within the framework.
    pub name: GroupName,
    /// Preemption ends one of its tasks only as long as so many are available without it.
    pub min_available: u32,
}

impl Budget {
    /// Most budgets a framework may state.
    pub const BUDGETS_MAX: usize = 10_000;
}

/// A group whose deadline has passed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExpiredGroup {
    /// Which.
    pub name: GroupName,
    /// As it was said last.
    pub generation: Generation,
    /// How many of its tasks had no place.
    pub unmet: u32,
}

impl DemandGroup {
    /// Most groups a framework may state.
    pub const GROUPS_MAX: usize = 10_000;

    /// Checks one group alone.
    ///
    /// # Errors
    /// A refusal that names the field.
    pub fn validate(&self) -> Result<(), Refusal> {
        let refuse = |code, field: &str, message: &str| Err(Refusal::new(code, field, message));
        if self.shape.is_empty() {
            return refuse(RefusalCode::InvalidArgument, "shape", "asks for nothing");
        }
        if self.shape.entries().iter().any(|entry| !entry.key.is_plain()) {
            return refuse(
                RefusalCode::NotSupported,
                "shape",
                "only unreserved, unmarked resources can be demanded today",
            );
        }
        if self.shape.entries().iter().any(|entry| matches!(entry.quantity, Quantity::Set(_))) {
            return refuse(RefusalCode::NotSupported, "shape", "sets cannot be demanded today");
        }
        if self.gang_size == 0 {
            return refuse(RefusalCode::InvalidArgument, "gang_size", "is zero; 1 is no gang");
        }
        if self.gang_size > 1 {
            return refuse(RefusalCode::NotSupported, "gang_size", "gangs are not supported yet");
        }
        if self.deadline == Some(DurationMs(0)) {
            return refuse(RefusalCode::InvalidArgument, "deadline", "is zero");
        }
        if self.per_agent_max == Some(0) {
            return refuse(
                RefusalCode::InvalidArgument,
                "per_agent_max",
                "is zero: nothing would fit",
            );
        }
        Ok(())
    }
}
