//! Checkpoint writes under way, and the statuses that may be told once they are durable.

use crate::command::WriteId;
use proffer_types::task::TaskStatus;
use std::collections::VecDeque;

/// Writes that were emitted and have not come back.
#[derive(Default, Debug)]
pub(crate) struct Writes {
    last: WriteId,
    durable: WriteId,
    waiting: VecDeque<(WriteId, Vec<TaskStatus>)>,
}

impl Writes {
    /// Numbers a new write.
    pub(crate) fn begin(&mut self, statuses: Vec<TaskStatus>) -> WriteId {
        self.last += 1;
        self.waiting.push_back((self.last, statuses));
        self.last
    }

    /// Number of the newest write.
    pub(crate) fn last(&self) -> WriteId {
        self.last
    }

    /// Whether everything up to `op` is durable.
    pub(crate) fn is_durable(&self, op: WriteId) -> bool {
        op <= self.durable
    }

    /// Notes that all up to `through` came back; returns their statuses in order.
    pub(crate) fn complete(&mut self, through: WriteId) -> Vec<TaskStatus> {
        let mut statuses = Vec::new();
        while self.waiting.front().is_some_and(|(op, _)| *op <= through) {
            let (op, of_op) = self.waiting.pop_front().expect("front was just seen");
            self.durable = op;
            statuses.extend(of_op);
        }
        statuses
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.waiting.len()
    }
}
