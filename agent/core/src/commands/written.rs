//! A checkpoint write came back: what was promised in it may be told, and acted upon.

use crate::agent::{Agent, Turn};
use crate::command::WriteId;
use crate::state::link::Link;
use proffer_types::task::TaskStatus;

impl Agent {
    /// All writes up to `through` are durable.
    pub(crate) fn written(&mut self, through: WriteId, turn: &mut Turn) {
        let statuses = self.writes.complete(through);
        self.holds_written(turn);
        for status in &statuses {
            self.announce(status, turn);
        }
        match self.link {
            Link::Registered(_) => self.send_statuses(statuses.clone(), turn),
            // The list went out before these were durable; they follow the answer to it.
            Link::Registering { .. } => {
                for status in &statuses {
                    self.held.insert(status.container(), status.clone());
                }
            }
            // The next list will hold them.
            Link::Stopped
            | Link::Waiting { .. }
            | Link::Connecting { .. }
            | Link::Opening { .. } => {}
        }
        for status in &statuses {
            self.forget_unwanted(status, turn);
        }
        self.register_when_durable(turn);
        self.start_anew_when_ended(turn);
    }

    /// A status is durable: a launch may go, and the traces of an ended container may be removed
    /// (not before, or a crash would find neither the end nor its evidence).
    fn announce(&mut self, status: &TaskStatus, turn: &mut Turn) {
        let container = status.container();
        let Some(task) = self.tasks.get_mut(&container) else { return };
        task.announced = Some(status.clone());
        if status.state.is_terminal() {
            if task.has_container {
                self.destroy(&container, turn);
            }
        } else {
            self.go_when_ready(&container, turn);
        }
    }

    fn forget_unwanted(&mut self, status: &TaskStatus, turn: &mut Turn) {
        if status.state.is_terminal() && self.is_unwanted(status.framework) {
            self.forget(&status.container(), turn);
        }
    }
}
