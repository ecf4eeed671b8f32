//! When tasks need attention, as data. Entries are not taken back: what fires is checked against
//! the task, and one that no longer applies does nothing.

use proffer_types::ids::ContainerId;
use proffer_types::units::Monotonic;
use std::collections::BTreeSet;

/// What is due.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Timer {
    /// A check wants its next probe.
    Probe {
        /// Of which container.
        container: ContainerId,
        /// Which of its checks.
        check: u32,
    },
    /// A startup check has used up its limit.
    StartupLimit {
        /// Of which container.
        container: ContainerId,
        /// Which of its checks.
        check: u32,
    },
    /// A task's time to make room is over.
    Claim {
        /// Its container.
        container: ContainerId,
    },
}

/// Deadlines of tasks. Bounded: each check has at most two entries.
#[derive(Default, Debug)]
pub(crate) struct Deadlines {
    due: BTreeSet<(Monotonic, Timer)>,
}

impl Deadlines {
    pub(crate) fn set(&mut self, at: Monotonic, timer: Timer) {
        self.due.insert((at, timer));
    }

    pub(crate) fn next(&self) -> Option<Monotonic> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes out one that is due.
    pub(crate) fn pop(&mut self, now: Monotonic) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.due.pop_first().map(|(_, timer)| timer)
    }
}
