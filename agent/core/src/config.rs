//! What the operator and the machine decide; fixed while the process runs.

use proffer_types::agent::{AgentInfo, AgentTask};
use proffer_types::units::DurationMs;
use serde::{Deserialize, Serialize};

/// Everything the core is told at its start.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Config {
    /// What the agent says of itself; `boot_id` decides what a checkpoint is worth.
    pub info: AgentInfo,
    /// Addresses of masters, tried in turn; at least one.
    pub masters: Vec<String>,
    /// Seed of the jitter in delays.
    pub seed: u64,
    /// Bounds and spans.
    pub limits: Limits,
}

/// Bounds and spans, with defaults that suit a real machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// First delay before a master is tried again; doubles with each failure.
    pub reconnect_delay_min: DurationMs,
    /// Longest such delay.
    pub reconnect_delay_max: DurationMs,
    /// Longest wait for a connection, and then for the answer to a registration.
    pub register_timeout: DurationMs,
    /// How long the master may be silent, in heartbeats, before the connection is given up.
    pub silent_heartbeats_max: u32,
    /// Tasks in one page of a registration: keeps a frame far below the 4 MiB that gRPC accepts.
    pub page_tasks_max: usize,
    /// Statuses in one frame.
    pub frame_statuses_max: usize,
    /// Tasks kept for one framework, ended but unacknowledged ones included (K15); a launch above
    /// it is refused.
    pub framework_tasks_max: usize,
    /// Templates remembered for one connection beyond those in use.
    pub templates_max: usize,
    /// Sandboxes of ended tasks are deleted when older than this,
    pub sandbox_age_max: DurationMs,
    /// or when there are more than this, oldest first.
    pub sandbox_count_max: usize,
    /// Processes and threads of a container that states no bound.
    pub pids_max_default: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reconnect_delay_min: DurationMs(100),
            reconnect_delay_max: DurationMs::from_secs(10),
            register_timeout: DurationMs::from_secs(10),
            silent_heartbeats_max: 4,
            page_tasks_max: 128,
            frame_statuses_max: 512,
            framework_tasks_max: AgentTask::PER_FRAMEWORK_MAX,
            templates_max: 1024,
            sandbox_age_max: DurationMs::from_secs(2 * 86_400),
            sandbox_count_max: 500,
            pids_max_default: 4096,
        }
    }
}
