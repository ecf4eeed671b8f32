//! Task states, the table of legal moves, and the status that reports one.

use crate::ids::{AgentId, ContainerId, FrameworkId, LaunchToken, StatusId, TaskKey, TaskName};
use crate::units::{Bytes, DurationMs, WallTime};
use serde::{Deserialize, Serialize};

/// Where a task stands. Names follow the Mesos v1 API where the meaning is the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// The master booked it; no agent has promised to run it. A task of a gang stays so until all of
    /// the gang are prepared (K3).
    Staging,
    /// The agent's checkpoint holds it: the durable promise (K1).
    Taken,
    /// Its container is being made.
    Starting,
    /// Its process runs.
    Running,
    /// It was asked to stop and has its grace.
    Killing,
    /// Ended by itself with exit code 0.
    Finished,
    /// Ended by itself in any other way, or could not be started.
    Failed,
    /// Ended because it was asked to.
    Killed,
    /// The agent refused it; nothing ran.
    Error,
    /// It never started and never will: it did not reach its agent (K1), or its gang was given up (K3).
    Dropped,
    /// Its agent is unreachable; it may still run.
    Unreachable,
    /// Its agent is gone for good.
    Gone,
    /// Asked about, but nobody knows it.
    Unknown,
}

impl TaskState {
    /// All states, for documents and tests.
    pub const ALL: [TaskState; 13] = [
        Self::Staging,
        Self::Taken,
        Self::Starting,
        Self::Running,
        Self::Killing,
        Self::Finished,
        Self::Failed,
        Self::Killed,
        Self::Error,
        Self::Dropped,
        Self::Unreachable,
        Self::Gone,
        Self::Unknown,
    ];

    /// Whether nothing follows: resources are free, only the acknowledgement is awaited.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Finished | Self::Failed | Self::Killed | Self::Error | Self::Dropped | Self::Gone
        )
    }

    /// The table of legal moves, as the master and the frameworks see a task. A state may be
    /// repeated (checks change without a move). States may be skipped, never gone back to, with
    /// one exception: an unreachable task returns as whatever it is.
    #[must_use]
    pub fn may_become(self, next: TaskState) -> bool {
        use TaskState::{
            Dropped, Error, Failed, Finished, Gone, Killed, Killing, Running, Staging, Starting,
            Taken, Unknown, Unreachable,
        };
        match self {
            Staging => next != Unknown,
            Taken => matches!(
                next,
                Taken
                    | Starting
                    | Running
                    | Killing
                    | Finished
                    | Failed
                    | Killed
                    | Error
                    | Unreachable
                    | Gone
            ),
            Starting => matches!(
                next,
                Starting | Running | Killing | Finished | Failed | Killed | Unreachable | Gone
            ),
            Running => {
                matches!(next, Running | Killing | Finished | Failed | Killed | Unreachable | Gone)
            }
            Killing => matches!(next, Killing | Finished | Failed | Killed | Unreachable | Gone),
            Unreachable => next != Unknown,
            Unknown => true,
            Finished | Failed | Killed | Error | Dropped | Gone => next == self,
        }
    }
}

/// Why a task is in its state.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum StatusReason {
    /// The state says it all.
    #[default]
    None,
    /// Exit code other than 0.
    Exited,
    /// Ended by a signal that nobody here sent.
    Signalled,
    /// Killed at its memory limit.
    OutOfMemory,
    /// The container could not be made, or the command could not be executed.
    LaunchFailed,
    /// Its supervisor died; how the task ended is unknown.
    SupervisorLost,
    /// A kill that its framework asked for.
    KilledByFramework,
    /// A kill that an operator asked for, teardown included.
    KilledByOperator,
    /// Its agent was drained, and it was still there at the deadline.
    Drained,
    /// A maintenance window of its agent began, and it was still there.
    Maintenance,
    /// Room was made for a guarantee, or for a higher priority (K11).
    Preempted,
    /// It ignored the signal until its grace was over.
    KilledAfterGrace,
    /// Its alive check failed.
    CheckFailed,
    /// Its startup check did not pass in time.
    StartupTimeout,
    /// It stopped itself because the master was out of reach (K13).
    StoppedWhileDisconnected,
    /// The agent refused the launch.
    AgentRefused,
    /// The launch never reached the agent (K1).
    LaunchLost,
    /// The agent is out of reach.
    AgentUnreachable,
    /// The agent is gone for good.
    AgentGone,
    /// The machine was restarted.
    AgentRebooted,
    /// A check changed its result; the state did not.
    CheckChanged,
    /// The agent prepares it; it starts with the others of its gang (K3).
    GangPreparing,
    /// The agent has prepared it; it starts with the others of its gang.
    GangPrepared,
    /// Its gang was given up before any of it started: it is safe to launch again.
    GangAborted,
    /// A reason of a newer version.
    Other,
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code, when it exited.
    pub code: Option<i32>,
    /// Signal number, when a signal ended it.
    pub signal: Option<i32>,
    /// Whether the kernel killed in its cgroup for lack of memory.
    pub out_of_memory: bool,
    /// Most memory used, where the kernel tells.
    pub memory_peak: Option<Bytes>,
    /// From start to end.
    pub ran_for: DurationMs,
}

/// What is isolated; every status carries it (K20).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum IsolationLevel {
    /// cgroups, namespaces, capabilities.
    #[default]
    Full,
    /// As full, inside a user namespace.
    Userns,
    /// A process group and nothing more.
    Process,
}

/// One report about one task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TaskStatus {
    /// Identity of the report; `None` for what the master says by itself without a log.
    pub id: Option<StatusId>,
    /// Whose task.
    pub framework: FrameworkId,
    /// Which task.
    pub task: TaskName,
    /// The launch it stems from.
    pub token: LaunchToken,
    /// Where it is or was to be.
    pub agent: AgentId,
    /// Its state.
    pub state: TaskState,
    /// Why.
    pub reason: StatusReason,
    /// One sentence for people; may hold the last lines of its log.
    pub message: String,
    /// How it ended, if it did.
    pub exit: Option<Exit>,
    /// Its ready check: `None` when it has none or has not been asked yet.
    pub ready: Option<bool>,
    /// When the reporter wrote it.
    pub at: WallTime,
    /// How it is isolated.
    pub isolation: IsolationLevel,
}

impl TaskStatus {
    /// Whose and which.
    #[must_use]
    pub fn key(&self) -> TaskKey {
        TaskKey { framework: self.framework, name: self.task.clone() }
    }

    /// The container behind it.
    #[must_use]
    pub fn container(&self) -> ContainerId {
        self.token.container(self.framework)
    }
}

crate::words::words!(TaskState {
    Staging = "staging",
    Taken = "taken",
    Starting = "starting",
    Running = "running",
    Killing = "killing",
    Finished = "finished",
    Failed = "failed",
    Killed = "killed",
    Error = "error",
    Dropped = "dropped",
    Unreachable = "unreachable",
    Gone = "gone",
    Unknown = "unknown",
});

crate::words::words!(StatusReason {
    None = "none",
    Exited = "exited",
    Signalled = "signalled",
    OutOfMemory = "out_of_memory",
    LaunchFailed = "launch_failed",
    SupervisorLost = "supervisor_lost",
    KilledByFramework = "killed_by_framework",
    KilledByOperator = "killed_by_operator",
    Drained = "drained",
    Maintenance = "maintenance",
    Preempted = "preempted",
    KilledAfterGrace = "killed_after_grace",
    CheckFailed = "check_failed",
    StartupTimeout = "startup_timeout",
    StoppedWhileDisconnected = "stopped_while_disconnected",
    AgentRefused = "agent_refused",
    LaunchLost = "launch_lost",
    AgentUnreachable = "agent_unreachable",
    AgentGone = "agent_gone",
    AgentRebooted = "agent_rebooted",
    CheckChanged = "check_changed",
    GangPreparing = "gang_preparing",
    GangPrepared = "gang_prepared",
    GangAborted = "gang_aborted",
    Other = "other",
});

crate::words::words!(IsolationLevel {
    Full = "full",
    Userns = "userns",
    Process = "process",
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_a_terminal_state_and_only_who_was_away_returns_to_the_start() {
        for from in TaskState::ALL {
            for to in TaskState::ALL {
                if from.is_terminal() {
                    assert_eq!(from.may_become(to), from == to, "{from:?} -> {to:?}");
                }
                if to == TaskState::Staging && from.may_become(to) {
                    let was_away = matches!(from, TaskState::Unreachable | TaskState::Unknown);
                    assert!(was_away || from == TaskState::Staging, "{from:?}");
                }
            }
        }
    }

    #[test]
    fn words_are_the_ones_that_serde_writes() {
        for (word, state) in TaskState::WORDS {
            assert_eq!(serde_json::to_value(state).expect("plain"), *word);
            assert_eq!(TaskState::from_text(word), Some(*state));
        }
        for (word, reason) in StatusReason::WORDS {
            assert_eq!(serde_json::to_value(reason).expect("plain"), *word);
        }
        for (word, level) in IsolationLevel::WORDS {
            assert_eq!(serde_json::to_value(level).expect("plain"), *word);
        }
        assert_eq!(TaskState::WORDS.len(), TaskState::ALL.len());
        assert_eq!(TaskState::from_text("from_the_future"), None);
    }

    #[test]
    fn a_dropped_launch_was_never_taken() {
        for from in TaskState::ALL {
            let allowed = from.may_become(TaskState::Dropped);
            let before_taken = matches!(
                from,
                TaskState::Staging
                    | TaskState::Unreachable
                    | TaskState::Unknown
                    | TaskState::Dropped
            );
            assert_eq!(allowed, before_taken, "{from:?}");
        }
    }
}
