//! An agent: the real core, on a machine whose disk and containers are pretended and outlive it.

use proffer_agent_core::model::Machine;
use proffer_agent_core::{Agent, Config, Write};
use proffer_types::Resources;
use std::collections::VecDeque;

/// A process and the machine it runs on.
pub struct AgentNode {
    /// Counts lives of the process.
    pub life: u64,
    /// Counts starts of the machine.
    pub boot: u64,
    /// What it was configured with; `boot_id` follows `boot`.
    pub config: Config,
    /// `None`: dead.
    pub core: Option<Agent>,
    /// Disk and containers.
    pub machine: Machine,
    /// Its clock is ahead of virtual time by so much.
    pub clock_ahead_ms: u64,
    /// Its wall clock is ahead by so much more (F38).
    pub wall_ahead_ms: i64,
    /// For which moment it has asked to be called.
    pub called_at_ms: Option<u64>,
    /// What its machine really has.
    pub resources: Resources,
    /// Writes that its disk was asked for and has not finished, as the checkers are told of them.
    pub unwritten: VecDeque<Vec<Write>>,
    /// Whether a flush of its disk is under way.
    pub flushing: bool,
}
