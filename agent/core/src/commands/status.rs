//! Reports: a status gets its sequence number here, and nowhere else.

use crate::agent::{Agent, Turn};
use proffer_types::ids::{ContainerId, StatusId};
use proffer_types::task::{Exit, StatusReason, TaskState, TaskStatus};

/// Longest message of a status: a few lines of a log, and a full frame stays below 4 MiB.
const MESSAGE_BYTES_MAX: usize = 4096;

/// What is new about a task.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) state: TaskState,
    pub(crate) reason: StatusReason,
    pub(crate) message: String,
    pub(crate) exit: Option<Exit>,
    /// `None`: as before.
    pub(crate) ready: Option<bool>,
}

impl Report {
    pub(crate) fn new(state: TaskState, reason: StatusReason, message: impl Into<String>) -> Self {
        Self { state, reason, message: message.into(), exit: None, ready: None }
    }
}

impl Agent {
    /// Gives a task of this agent a new status. It is told once it is durable.
    pub(crate) fn report(&mut self, container: &ContainerId, report: Report, turn: &mut Turn) {
        let Some(task) = self.tasks.get(container) else { return };
        let framework = task.record.framework;
        let before = task.record.status.clone();
        let ready = match (report.ready, before.ready) {
            (Some(ready), _) => Some(ready),
            (None, Some(_)) if report.state.is_terminal() => Some(false),
            (None, before) => before,
        };
        let status = TaskStatus {
            id: Some(self.next_status_id(framework, turn)),
            state: report.state,
            reason: report.reason,
            message: bounded(report.message),
            exit: report.exit,
            ready,
            at: turn.now.wall,
            ..before
        };
        self.tasks.set_status(container, status.clone());
        turn.touched.tasks.insert(container.clone());
        turn.statuses.push(status);
    }

    /// The next position in the log of a framework; never given out twice (K15).
    pub(crate) fn next_status_id(
        &mut self,
        framework: proffer_types::ids::FrameworkId,
        turn: &mut Turn,
    ) -> StatusId {
        let log = self.logs.entry(framework).or_default();
        log.last_sequence += 1;
        turn.touched.logs.insert(framework);
        StatusId {
            // Launches are only obeyed when registered, and then the id is known.
            agent: self.identity.agent.unwrap_or_default(),
            incarnation: self.identity.log,
            sequence: log.last_sequence,
        }
    }
}

/// The end of a message that is too long: what a log says last matters most.
fn bounded(message: String) -> String {
    if message.len() <= MESSAGE_BYTES_MAX {
        return message;
    }
    let mut from = message.len() - MESSAGE_BYTES_MAX;
    while !message.is_char_boundary(from) {
        from += 1;
    }
    format!("…{}", &message[from..])
}
