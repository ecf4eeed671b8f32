//! Time has passed: finds what is due.

use crate::agent::{Agent, Turn};

impl Agent {
    /// Handles everything that is due; repeats do nothing.
    pub(crate) fn deadline_reached(&mut self, turn: &mut Turn) {
        self.link_due(turn);
        while let Some(timer) = self.deadlines.pop(turn.now.monotonic) {
            self.task_due(timer, turn);
        }
    }
}
