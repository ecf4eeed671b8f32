//! Containers as the core sees them: what is asked for, and how they end. Plain data; the shell
//! translates to its containerizer.

use proffer_types::ids::{ContainerId, FrameworkId, TaskName, VolumeId};
use proffer_types::template::{KillPolicy, LogPolicy};
use proffer_types::units::{Bytes, DurationMs, Milli};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A container to make. All placeholders are expanded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ContainerRequest {
    /// Its name, never used before (except for one that surely never started).
    pub container: ContainerId,
    /// Whose task.
    pub framework: FrameworkId,
    /// Which task.
    pub task: TaskName,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Its whole environment but what the agent adds (`PATH`, `PROFFER_*`).
    pub env: BTreeMap<String, String>,
    /// User name or uid; `None`: the agent's own.
    pub user: Option<String>,
    /// Directory that becomes `/`.
    pub root: Option<String>,
    /// Working directory; `None`: the sandbox.
    pub workdir: Option<String>,
    /// Most processes and threads.
    pub pids_max: u64,
    /// Resource limits by lower-case name.
    pub rlimits: BTreeMap<String, (u64, u64)>,
    /// Processor share; zero: none was asked for.
    pub cpus: Milli,
    /// Whether `cpus` is also a ceiling.
    pub cpu_limit: bool,
    /// Memory ceiling; zero: none was asked for.
    pub memory: Bytes,
    /// Persistent volumes that appear below its sandbox.
    pub volumes: Vec<VolumeMount>,
    /// Bounds of its logs.
    pub log: LogPolicy,
    /// How it is ended unless a kill says otherwise, also by its supervisor alone.
    pub kill: KillPolicy,
    /// End it this long after the last grant, also without the agent (K13).
    pub stop_after: Option<DurationMs>,
}

/// A volume as a container sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VolumeMount {
    /// Which.
    pub volume: VolumeId,
    /// Where, below the sandbox.
    pub container_path: String,
    /// Several tasks may use it at a time.
    pub shared: bool,
}

/// Why a container could not be prepared.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrepareFailure {
    /// This machine cannot enforce or provide what was asked: nothing would ever run (K22).
    Refused {
        /// What.
        message: String,
    },
    /// A step failed.
    Failed {
        /// Which step.
        step: String,
        /// The system's error number, 0 if there is none.
        errno: i32,
        /// What happened, for people.
        message: String,
    },
}

/// How a container ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its first process ended with this code.
    Code(i32),
    /// Its first process was ended by this signal.
    Signal(i32),
    /// The program never executed.
    LaunchFailed {
        /// Which step failed.
        step: String,
        /// The system's error number, 0 if there is none.
        errno: i32,
        /// What happened, for people.
        message: String,
    },
    /// `Go` never came through: nothing was started and nothing ever will be.
    NeverStarted,
    /// Its supervisor died; everything in it was killed; how it would have ended is unknown (K14).
    SupervisorLost,
}

/// What set the end in motion.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// Nothing of ours.
    Itself,
    /// An `Effect::Kill`.
    KillRequested,
    /// No grant for `stop_after` (K13).
    GrantExpired,
}

/// The end of a container.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ContainerExit {
    /// How.
    pub outcome: Outcome,
    /// Why.
    pub cause: StopCause,
    /// The grace ran out and everything was killed.
    pub forced: bool,
    /// The kernel killed in it for want of memory.
    pub out_of_memory: bool,
    /// Most memory used, where the kernel tells.
    pub memory_peak: Option<Bytes>,
    /// From start to end; zero when it never started or that is not known.
    pub ran_for: DurationMs,
    /// The last lines of its standard error, bounded by the shell; empty when it succeeded.
    pub stderr_tail: String,
}

/// One question to a running container. All placeholders are expanded.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeRequest {
    /// GET on the loopback address.
    Http {
        /// Port.
        port: u16,
        /// Path.
        path: String,
        /// Accepted status codes; empty: 200 to 399.
        status: Vec<u16>,
    },
    /// A connection is accepted on the loopback address.
    Tcp {
        /// Port.
        port: u16,
    },
    /// A command inside the container ends with 0.
    Command {
        /// Program and arguments.
        command: Vec<String>,
    },
}
