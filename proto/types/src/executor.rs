//! The conversation between a custom executor and its agent, over a socket in the container. The
//! executor reports states; the agent adds identity and makes them durable.

use crate::ids::{AgentId, AgentSession, ContainerId, FrameworkId, TaskName};
use crate::task::{Exit, StatusReason, TaskState};
use crate::template::{KillPolicy, PodTemplate, TaskLaunch};
use crate::units::{DurationMs, WallTime};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A frame from an executor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExecutorUp {
    /// The container it runs in.
    pub container: ContainerId,
    /// The life of the agent it believes in; zero before it was known the first time.
    pub agent_session: AgentSession,
    /// In order.
    pub messages: Vec<ExecutorMessage>,
}

/// A frame to an executor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExecutorDown {
    /// The life of the agent; an older one is dropped.
    pub agent_session: AgentSession,
    /// In order.
    pub orders: Vec<ExecutorOrder>,
}

/// Shows that an executor is the one that the agent started.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorToken(pub String);

impl fmt::Debug for ExecutorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExecutorToken(…)")
    }
}

/// What an executor may say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutorMessage {
    /// Comes first, also after a restart of the agent.
    Subscribe {
        /// From its environment.
        token: ExecutorToken,
        /// What the agent has not acknowledged, ascending.
        unacknowledged: Vec<ExecutorStatus>,
        /// The tasks it holds, ended ones that are not acknowledged included.
        tasks: Vec<TaskName>,
    },
    /// States of tasks changed; ascending by sequence.
    Statuses {
        /// They.
        statuses: Vec<ExecutorStatus>,
    },
    /// I am here.
    Heartbeat,
}

/// A task's state as its executor sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExecutorStatus {
    /// Grows within the executor's life, from 1.
    pub sequence: u64,
    /// Which task.
    pub task: TaskName,
    /// Its state: one that an executor can know of.
    pub state: TaskState,
    /// Why.
    pub reason: StatusReason,
    /// One sentence for people.
    pub message: String,
    /// How it ended, if it did.
    pub exit: Option<Exit>,
    /// Its ready check: `None` when it has none or has not been asked yet.
    pub ready: Option<bool>,
    /// When the executor wrote it.
    pub at: WallTime,
}

impl ExecutorStatus {
    /// Whether an executor may say this of a task. What was booked, refused or lost on the way is the
    /// master's and the agent's to say. A state of a later version is kept as unknown (K5).
    #[must_use]
    pub const fn may_say(state: TaskState) -> bool {
        match state {
            TaskState::Starting
            | TaskState::Running
            | TaskState::Killing
            | TaskState::Finished
            | TaskState::Failed
            | TaskState::Killed
            | TaskState::Unknown => true,
            TaskState::Staging
            | TaskState::Taken
            | TaskState::Error
            | TaskState::Dropped
            | TaskState::Unreachable
            | TaskState::Gone => false,
        }
    }
}

/// What an executor is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutorOrder {
    /// It is known; orders follow.
    Subscribed {
        /// Whose it is.
        framework: FrameworkId,
        /// Where it runs.
        agent: AgentId,
        /// Directory of the sandbox, inside the container.
        sandbox: String,
        /// Send something at least this often.
        heartbeat: DurationMs,
        /// How long it may run on without its agent.
        recovery_timeout: DurationMs,
    },
    /// Start a task.
    Launch {
        /// Which, and with what.
        task: Box<TaskLaunch>,
        /// What runs.
        template: Box<PodTemplate>,
    },
    /// End a task.
    Kill {
        /// Which.
        task: TaskName,
        /// How; `None`: as its template says.
        policy: Option<KillPolicy>,
    },
    /// Statuses up to `through` are durable at the agent.
    Acknowledge {
        /// Inclusive.
        through: u64,
    },
    /// End all tasks, then itself.
    Shutdown {
        /// Until it is killed.
        grace: DurationMs,
    },
}
