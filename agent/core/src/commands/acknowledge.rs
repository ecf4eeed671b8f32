//! Acknowledgements: cumulative with exceptions (K15). An ended task is forgotten with its own.

use crate::agent::{Agent, Turn};
use proffer_types::ids::{FrameworkId, LogIncarnation};
use std::collections::BTreeSet;

impl Agent {
    /// The framework has handled everything up to `through`, except some. Of another life of the
    /// log nothing is acknowledged.
    pub(crate) fn acknowledge(
        &mut self,
        framework: FrameworkId,
        incarnation: LogIncarnation,
        (through, except): (u64, &BTreeSet<u64>),
        turn: &mut Turn,
    ) {
        if incarnation != self.identity.log {
            self.counters.orders_stale += 1;
            return;
        }
        for container in self.tasks.acknowledge(framework, through, except) {
            let ended = self
                .tasks
                .get(&container)
                .is_some_and(|task| task.record.status.state.is_terminal());
            if ended {
                self.forget(&container, turn);
            }
        }
    }
}
