//! Which statuses are handled: cumulative per agent, except those whose conclusions the framework
//! has not made durable yet (K15).
//!
//! Statuses of one agent come in the order of its log, and a newer status of a task stands for the
//! older ones. So numbers that were skipped are never missing: a later status replaced them. Only
//! the list of an agent that was absent comes in any order; so which ends were told is kept by
//! number, not by a mark.

use proffer_types::agent::AgentTask;
use proffer_types::scheduler::Call;
use proffer_types::{AgentId, LogIncarnation, StatusId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Most exceptions in one acknowledgement; keeps a frame small. What lies beyond waits.
const EXCEPTIONS_MAX: usize = 256;

/// A commit that will never be answered.
const VOID: u64 = u64::MAX;

/// What was handled of one agent's log.
#[derive(Clone, Debug, Default)]
struct Log {
    incarnation: LogIncarnation,
    /// The highest number handled.
    through: u64,
    /// Handled, but waiting for this commit to be durable.
    withheld: BTreeMap<u64, u64>,
    ends: Ends,
}

/// Numbers of the ends that the framework was told of and that may come again: an agent repeats what
/// it has no acknowledgement of, however late.
///
/// Of the acknowledgements that were said, let the agent have got those up to some moment. What they
/// covered it has forgotten, and all that was told or covered since it still has. So those are at most
/// as many as an agent keeps for a framework, and forgetting an end only when that many others were
/// covered after it forgets none that can come again.
#[derive(Clone, Debug, Default)]
struct Ends {
    /// No acknowledgement has covered them.
    fresh: BTreeSet<u64>,
    /// Covered by one, which may be lost.
    covered: BTreeSet<u64>,
    /// The same in the order in which they were covered.
    order: VecDeque<u64>,
}

impl Ends {
    fn contains(&self, number: u64) -> bool {
        self.fresh.contains(&number) || self.covered.contains(&number)
    }

    fn insert(&mut self, number: u64) {
        if !self.covered.contains(&number) {
            self.fresh.insert(number);
        }
    }

    /// An acknowledgement is said.
    fn cover(&mut self, through: u64, except: &BTreeSet<u64>) {
        let covered = self.fresh.range(..=through).filter(|number| !except.contains(number));
        for number in covered.copied().collect::<Vec<_>>() {
            self.fresh.remove(&number);
            self.covered.insert(number);
            self.order.push_back(number);
        }
        while self.order.len() > AgentTask::PER_FRAMEWORK_MAX {
            if let Some(number) = self.order.pop_front() {
                self.covered.remove(&number);
            }
        }
    }
}

/// What was handled of all logs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acknowledgements {
    logs: BTreeMap<AgentId, Log>,
    dirty: BTreeSet<AgentId>,
    /// Agents that are gone for good, and the commit that must be durable before that is said to
    /// be handled.
    gone: BTreeMap<AgentId, u64>,
    /// All commits up to this one are answered.
    settled: u64,
}

impl Acknowledgements {
    /// Whether the framework was told of that end and still knows: what it concluded is durable,
    /// or its commit is under way.
    pub(crate) fn is_told_end(&self, id: StatusId) -> bool {
        self.logs.get(&id.agent).is_some_and(|log| {
            id.incarnation < log.incarnation
                || (id.incarnation == log.incarnation
                    && log.ends.contains(id.sequence)
                    && log.withheld.get(&id.sequence) != Some(&VOID))
        })
    }

    /// The framework was told of an end.
    pub(crate) fn note_end(&mut self, id: StatusId, commit: u64) {
        self.note(id, commit);
        if let Some(log) = self.logs.get_mut(&id.agent)
            && log.incarnation == id.incarnation
        {
            log.ends.insert(id.sequence);
        }
    }

    /// The status was handled; all commits up to `commit` must be durable before it is said.
    pub(crate) fn note(&mut self, id: StatusId, commit: u64) {
        let log = self.logs.entry(id.agent).or_default();
        if id.incarnation < log.incarnation {
            return;
        }
        if id.incarnation > log.incarnation {
            *log = Log { incarnation: id.incarnation, ..Log::default() };
        }
        log.through = log.through.max(id.sequence);
        if commit > self.settled {
            log.withheld.insert(id.sequence, commit);
        } else {
            log.withheld.remove(&id.sequence);
        }
        self.dirty.insert(id.agent);
    }

    /// The status was handled before: says so again, unless it waits for a commit.
    pub(crate) fn repeat(&mut self, id: StatusId) {
        match self.logs.get(&id.agent) {
            Some(log) if log.incarnation == id.incarnation => {
                self.dirty.insert(id.agent);
            }
            Some(_) | None => self.note(id, 0),
        }
    }

    /// A commit was refused: what waited for it or an earlier one waits for `instead`.
    pub(crate) fn postpone(&mut self, refused: u64, instead: u64) {
        let withheld = self.logs.values_mut().flat_map(|log| log.withheld.values_mut());
        for commit in withheld.chain(self.gone.values_mut()) {
            if *commit <= refused {
                *commit = instead;
            }
        }
    }

    /// All commits up to `settled` are answered.
    pub(crate) fn settle(&mut self, settled: u64) {
        if settled <= self.settled {
            return;
        }
        self.settled = settled;
        for (agent, log) in &mut self.logs {
            let before = log.withheld.len();
            log.withheld.retain(|_, commit| *commit > settled);
            if log.withheld.len() != before {
                self.dirty.insert(*agent);
            }
        }
    }

    /// The commits that were under way are void (a new epoch): what waited for them counts as not
    /// handled and is told again.
    pub(crate) fn void_commits(&mut self, settled: u64) {
        self.settled = settled;
        self.gone.clear();
        for commit in self.logs.values_mut().flat_map(|log| log.withheld.values_mut()) {
            *commit = VOID;
        }
    }

    /// Everything of an agent was told again. What waited for a void commit and did not come back
    /// was replaced by a later status.
    pub(crate) fn drop_void(&mut self, agent: AgentId) {
        if let Some(log) = self.logs.get_mut(&agent) {
            let before = log.withheld.len();
            log.withheld.retain(|_, commit| *commit != VOID);
            if log.withheld.len() != before {
                self.dirty.insert(agent);
            }
        }
    }

    /// Agents with a log.
    pub(crate) fn agents(&self) -> Vec<AgentId> {
        self.logs.keys().copied().collect()
    }

    /// That an agent is gone for good was handled; until that is said, every snapshot repeats it.
    pub(crate) fn note_gone(&mut self, agent: AgentId, commit: u64) {
        self.gone.insert(agent, commit);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self { settled: self.settled, ..Self::default() };
    }

    /// What is to be said.
    pub(crate) fn take_calls(&mut self) -> Vec<Call> {
        let dirty = std::mem::take(&mut self.dirty);
        let settled = self.settled;
        let gone: Vec<AgentId> =
            self.gone.iter().filter(|(_, commit)| **commit <= settled).map(|(a, _)| *a).collect();
        self.gone.retain(|_, commit| *commit > settled);
        dirty
            .into_iter()
            .filter_map(|agent| self.logs.get_mut(&agent).map(|log| log.acknowledge(agent)))
            .filter(|call| !matches!(call, Call::Acknowledge { through: 0, .. }))
            .chain(gone.into_iter().map(acknowledge_gone))
            .collect()
    }
}

/// A gone agent has no log: incarnation and number are zero.
fn acknowledge_gone(agent: AgentId) -> Call {
    let (incarnation, except) = (LogIncarnation(0), BTreeSet::new());
    Call::Acknowledge { agent, incarnation, through: 0, except }
}

impl Log {
    fn acknowledge(&mut self, agent: AgentId) -> Call {
        let beyond = self.withheld.keys().nth(EXCEPTIONS_MAX).map(|first| first - 1);
        let through = beyond.unwrap_or(self.through);
        // A tail of exceptions says nothing.
        let except: BTreeSet<u64> =
            self.withheld.keys().copied().take_while(|number| *number <= through).collect();
        self.ends.cover(through, &except);
        Call::Acknowledge { agent, incarnation: self.incarnation, through, except }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(sequence: u64) -> StatusId {
        StatusId { agent: AgentId(1), incarnation: LogIncarnation(1), sequence }
    }

    fn said(acknowledgements: &mut Acknowledgements) -> Option<(u64, Vec<u64>)> {
        match acknowledgements.take_calls().as_slice() {
            [Call::Acknowledge { through, except, .. }] => {
                Some((*through, except.iter().copied().collect()))
            }
            [] => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_durable_is_an_exception_until_it_is() {
        let mut acknowledgements = Acknowledgements::default();
        acknowledgements.note(id(1), 0);
        acknowledgements.note(id(2), 1);
        acknowledgements.note_end(id(5), 0);
        assert_eq!(said(&mut acknowledgements), Some((5, vec![2])));
        assert!(acknowledgements.is_told_end(id(5)));
        assert!(!acknowledgements.is_told_end(id(3)), "it may be an end that comes out of order");
        assert_eq!(said(&mut acknowledgements), None);
        acknowledgements.settle(1);
        assert_eq!(said(&mut acknowledgements), Some((5, vec![])));
    }

    #[test]
    fn a_refused_commit_is_replaced_by_the_one_that_follows_it() {
        let mut acknowledgements = Acknowledgements::default();
        acknowledgements.note(id(1), 1);
        acknowledgements.postpone(1, 2);
        acknowledgements.settle(1);
        assert_eq!(said(&mut acknowledgements), Some((1, vec![1])));
        acknowledgements.settle(2);
        assert_eq!(said(&mut acknowledgements), Some((1, vec![])));
    }

    #[test]
    fn what_waited_for_a_void_commit_is_handled_again_or_replaced() {
        let mut acknowledgements = Acknowledgements::default();
        acknowledgements.note_end(id(1), 1);
        acknowledgements.note_end(id(2), 1);
        assert!(acknowledgements.is_told_end(id(1)), "its commit is under way");
        acknowledgements.void_commits(1);
        assert!(!acknowledgements.is_told_end(id(1)) && !acknowledgements.is_told_end(id(2)));
        acknowledgements.note(id(2), 0);
        assert_eq!(said(&mut acknowledgements), Some((2, vec![1])));
        acknowledgements.drop_void(AgentId(1));
        assert_eq!(said(&mut acknowledgements), Some((2, vec![])));
    }

    #[test]
    fn exceptions_are_bounded() {
        let mut acknowledgements = Acknowledgements::default();
        for sequence in 1..=1000 {
            acknowledgements.note(id(sequence), sequence);
        }
        let (through, except) = said(&mut acknowledgements).expect("dirty");
        assert_eq!((through, except.len()), (256, EXCEPTIONS_MAX));
        acknowledgements.settle(1000);
        assert_eq!(said(&mut acknowledgements), Some((1000, vec![])));
    }

    #[test]
    fn i7_every_end_that_an_agent_may_repeat_is_remembered() {
        let kept = AgentTask::PER_FRAMEWORK_MAX as u64;
        let mut acknowledgements = Acknowledgements::default();
        // One waits long for its commit, and its acknowledgement is the last that is said.
        acknowledgements.note_end(id(1), 7);
        for sequence in 2..=kept {
            acknowledgements.note_end(id(sequence), 0);
        }
        assert_eq!(said(&mut acknowledgements), Some((kept, vec![1])));
        for sequence in kept + 1..2 * kept {
            acknowledgements.note_end(id(sequence), 0);
        }
        assert_eq!(said(&mut acknowledgements), Some((2 * kept - 1, vec![1])));
        acknowledgements.settle(7);
        assert_eq!(said(&mut acknowledgements), Some((2 * kept - 1, vec![])));
        // The agent got the first only.
        let repeated = std::iter::once(1).chain(kept + 1..2 * kept);
        for sequence in repeated {
            assert!(acknowledgements.is_told_end(id(sequence)), "{sequence}");
        }
        let log = &acknowledgements.logs[&AgentId(1)];
        assert_eq!(log.ends.order.len(), AgentTask::PER_FRAMEWORK_MAX, "and no more (I15)");
        assert_eq!(log.ends.covered.len(), log.ends.order.len());
    }

    #[test]
    fn a_new_life_of_a_log_begins_at_the_start() {
        let mut acknowledgements = Acknowledgements::default();
        acknowledgements.note(id(9), 0);
        acknowledgements.note(StatusId { incarnation: LogIncarnation(2), ..id(1) }, 0);
        assert_eq!(said(&mut acknowledgements), Some((1, vec![])));
        assert!(acknowledgements.is_told_end(id(10)), "the old log is over");
    }
}
