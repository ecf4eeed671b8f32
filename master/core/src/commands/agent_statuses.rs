//! Statuses from a registered agent: ordered per framework, told as the newest state of each task.

use crate::limits;
use crate::master::Master;
use crate::state::tasks::Stage;
use proffer_types::task::TaskStatus;
use proffer_types::{AgentId, Now};

impl Master {
    pub(crate) fn agent_statuses(&mut self, id: AgentId, statuses: Vec<TaskStatus>, now: Now) {
        for status in statuses {
            self.agent_status(id, status, now);
        }
    }

    fn agent_status(&mut self, id: AgentId, mut status: TaskStatus, now: Now) {
        // An agent speaks for itself only, whatever it writes (K20).
        status.agent = id;
        if let Some(identity) = &mut status.id {
            identity.agent = id;
        }
        cut_message(&mut status);
        let key = status.key();
        let Some(task) = self.tasks.get_mut(&key) else {
            // Its row was forgotten: it was acknowledged, or its framework ended. The agent may forget
            // it too.
            self.counters.unknown_statuses += 1;
            if status.state.is_terminal() {
                self.acknowledge_one(&status);
            }
            return;
        };
        if task.record.status.token != status.token || task.agent() != id {
            self.counters.unknown_statuses += 1;
            if status.state.is_terminal() {
                self.acknowledge_one(&status);
            }
            return;
        }
        let older = match (task.record.status.id, status.id) {
            (Some(have), Some(new)) => {
                have.incarnation == new.incarnation && new.sequence < have.sequence
            }
            _ => false,
        };
        if older {
            return;
        }
        task.stage = Stage::Reported;
        let repeat = task.record.status == status;
        if repeat {
            // The framework has not acknowledged it, or its word was lost: tell it again.
            self.tell_task_again(&key);
            return;
        }
        if !self.task_becomes(status.clone(), now) && status.state.is_terminal() {
            self.acknowledge_one(&status);
        }
        self.forget_if_orphaned(&key);
    }
}

/// Agents keep their messages short; one that does not must not make its frameworks' frames unreadable.
pub(crate) fn cut_message(status: &mut TaskStatus) {
    let message = &status.message;
    if message.len() > limits::STATUS_MESSAGE_BYTES_MAX {
        let ends = (0..=limits::STATUS_MESSAGE_BYTES_MAX).rev();
        let end = ends.into_iter().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        status.message.truncate(end);
    }
}
