//! Why something waits: the funnel by rule, the nearest miss, what would help.

use crate::ids::{AgentId, FrameworkId, GroupName, RoleName, TaskKey};
use serde::{Deserialize, Serialize};

/// What is asked about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Why a framework gets no offers.
    Framework(FrameworkId),
    /// Why a demand group is not met.
    Demand(FrameworkId, GroupName),
    /// Where a task stands.
    Task(TaskKey),
    /// Why an agent's resources are not used.
    Agent(AgentId),
    /// What a role has, who comes before it and what keeps its frameworks waiting.
    Role(RoleName),
}

/// How many agents were left after a rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FunnelStep {
    /// The rule: `active`, `zone in (a, b)`, `cpus 4`.
    pub rule: String,
    /// Agents left after it.
    pub remaining: u32,
}

/// An answer to "why".
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// About what.
    pub subject: Subject,
    /// One sentence that says it all.
    pub summary: String,
    /// Rule by rule, first to last.
    pub funnel: Vec<FunnelStep>,
    /// The agent that lacks least, and what it lacks; empty when something fits.
    pub nearest_miss: String,
    /// What would help, most likely first.
    pub hints: Vec<String>,
}
