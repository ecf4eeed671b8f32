//! When to wake up, as data: one moment a subject, found in order.

use proffer_types::{AgentId, ClaimId, FrameworkId, GangId, Monotonic, OfferId, WindowId};
use std::collections::{BTreeMap, BTreeSet};

/// What falls due.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Deadline {
    /// An agent may be silent for too long, or awaited for too long.
    Agent(AgentId),
    /// A framework's stream may be silent for too long.
    FrameworkSilent(FrameworkId),
    /// A framework's time without a replica may be over.
    FrameworkFailover(FrameworkId),
    /// The next replica may take over.
    FrameworkPromote(FrameworkId),
    /// A group of a framework's demand is given up.
    Demand(FrameworkId),
    /// A lease lapses.
    Offer(OfferId),
    /// What is left on an agent that is emptied is killed.
    Vacate(AgentId),
    /// A framework has not answered what it is asked to give up on an agent.
    InverseOffer(AgentId, FrameworkId),
    /// A maintenance window begins or ends.
    Window(WindowId),
    /// A planned window may be about to begin.
    Schedule,
    /// Occupancy is looked through.
    OccupancySweep,
    /// Frameworks hear that the master is there.
    Heartbeats,
    /// Somebody may starve.
    Preemption,
    /// A claim should have come true.
    Claim(ClaimId),
    /// A gang should be prepared.
    Gang(GangId),
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Deadlines {
    by_time: BTreeSet<(Monotonic, Deadline)>,
    by_subject: BTreeMap<Deadline, Monotonic>,
    /// Due, and waiting for room in the store.
    put_off: BTreeSet<Deadline>,
}

impl Deadlines {
    /// Sets the moment of a subject, in place of an earlier one.
    pub(crate) fn set(&mut self, subject: Deadline, at: Monotonic) {
        self.put_off.remove(&subject);
        if let Some(old) = self.by_subject.insert(subject, at) {
            self.by_time.remove(&(old, subject));
        }
        self.by_time.insert((at, subject));
    }

    pub(crate) fn clear(&mut self, subject: Deadline) {
        self.put_off.remove(&subject);
        if let Some(old) = self.by_subject.remove(&subject) {
            self.by_time.remove(&(old, subject));
        }
    }

    /// When a subject falls due.
    pub(crate) fn at(&self, subject: Deadline) -> Option<Monotonic> {
        self.by_subject.get(&subject).copied()
    }

    pub(crate) fn next(&self) -> Option<Monotonic> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes the earliest subject that is due.
    pub(crate) fn take_due(&mut self, now: Monotonic) -> Option<Deadline> {
        let (at, subject) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.clear(subject);
        Some(subject)
    }

    /// It is due and has to wait for the store.
    pub(crate) fn put_off(&mut self, subject: Deadline) {
        self.clear(subject);
        self.put_off.insert(subject);
    }

    /// Takes one that waited for the store.
    pub(crate) fn take_put_off(&mut self) -> Option<Deadline> {
        self.put_off.pop_first()
    }

    /// How many wait for the store.
    pub(crate) fn put_off_count(&self) -> usize {
        self.put_off.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_has_one_moment_and_falls_due_once() {
        let mut deadlines = Deadlines::default();
        deadlines.set(Deadline::Agent(AgentId(1)), Monotonic(10));
        deadlines.set(Deadline::Agent(AgentId(1)), Monotonic(20));
        deadlines.set(Deadline::OccupancySweep, Monotonic(15));
        assert_eq!(deadlines.next(), Some(Monotonic(15)));
        assert_eq!(deadlines.take_due(Monotonic(14)), None);
        assert_eq!(deadlines.take_due(Monotonic(30)), Some(Deadline::OccupancySweep));
        assert_eq!(deadlines.take_due(Monotonic(30)), Some(Deadline::Agent(AgentId(1))));
        assert_eq!(deadlines.take_due(Monotonic(30)), None);
        deadlines.set(Deadline::OccupancySweep, Monotonic(40));
        deadlines.clear(Deadline::OccupancySweep);
        assert_eq!(deadlines.next(), None);
    }
}
