//! Owns the members of the simulated store: which of them live, which of them reach each other and a
//! master, and which one leads them. They hold no data: what a majority has agreed on is one log
//! (`MemoryCore`), and a member answers only while it reaches the leader of a majority, as etcd's reads and
//! writes do.

use std::collections::BTreeSet;

/// See the module's description. A member is named by its place.
pub struct Members {
    /// How often each was started.
    lives: Vec<u64>,
    down: BTreeSet<usize>,
    /// Cut off from all others.
    alone: BTreeSet<usize>,
    /// Masters that do not reach a member: master, member.
    cut: BTreeSet<(usize, usize)>,
    leader: Option<usize>,
}

impl Members {
    /// So many, all alive; the first one leads.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self {
            lives: vec![1; count],
            down: BTreeSet::new(),
            alone: BTreeSet::new(),
            cut: BTreeSet::new(),
            leader: Some(0),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lives.len()
    }

    /// Who leads them.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        self.leader
    }

    /// Which life of a member this is.
    #[must_use]
    pub fn life(&self, member: usize) -> u64 {
        self.lives[member]
    }

    /// Whether a master's request gets to a member.
    #[must_use]
    pub fn reaches(&self, master: usize, member: usize) -> bool {
        self.is_up(member) && !self.cut.contains(&(master, member))
    }

    /// Whether a member lives.
    #[must_use]
    pub fn is_up(&self, member: usize) -> bool {
        !self.down.contains(&member)
    }

    /// Whether a member can answer what it is asked: it reaches a leader.
    #[must_use]
    pub fn serves(&self, member: usize) -> bool {
        self.leader.is_some() && self.takes_part(member)
    }

    fn takes_part(&self, member: usize) -> bool {
        self.is_up(member) && !self.alone.contains(&member)
    }

    fn part_of_majority(&self) -> Vec<usize> {
        let part: Vec<_> = (0..self.count()).filter(|member| self.takes_part(*member)).collect();
        if part.len() * 2 > self.count() { part } else { Vec::new() }
    }

    /// Whether enough of them reach each other.
    #[must_use]
    pub fn has_majority(&self) -> bool {
        !self.part_of_majority().is_empty()
    }

    /// A leader without a majority, or one that is gone, leads no more.
    fn look_after_leader(&mut self) {
        if self.leader.is_some_and(|leader| !self.part_of_majority().contains(&leader)) {
            self.leader = None;
        }
    }

    /// A member dies.
    pub fn crash(&mut self, member: usize) {
        self.down.insert(member);
        self.look_after_leader();
    }

    /// A member that died is back.
    pub fn start(&mut self, member: usize) {
        if self.down.remove(&member) {
            self.lives[member] += 1;
        }
    }

    /// A member reaches no other one.
    pub fn isolate(&mut self, member: usize) {
        if self.count() > 1 {
            self.alone.insert(member);
            self.look_after_leader();
        }
    }

    /// It reaches them again.
    pub fn join(&mut self, member: usize) {
        self.alone.remove(&member);
    }

    /// A master does not reach a member.
    pub fn cut(&mut self, master: usize, member: usize) {
        self.cut.insert((master, member));
    }

    /// It does again.
    pub fn mend(&mut self, master: usize, member: usize) {
        self.cut.remove(&(master, member));
    }

    /// Their leader gives up without a fault that could be seen.
    pub fn step_down(&mut self) {
        self.leader = None;
    }

    /// Those that reach each other elect one if nobody leads; `nth` says which. Whether it was done.
    pub fn elect(&mut self, nth: usize) -> bool {
        let part = self.part_of_majority();
        let stands = nth.checked_rem(part.len()).map(|place| part[place]);
        let elected = self.leader.is_none() && stands.is_some();
        self.leader = self.leader.or(stands);
        elected
    }

    /// All live and reach each other and every master.
    pub fn heal(&mut self) {
        for member in 0..self.count() {
            self.start(member);
        }
        self.alone.clear();
        self.cut.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_members_of_a_majority_with_a_leader_answer() {
        let mut members = Members::new(3);
        members.isolate(0);
        assert_eq!(members.leader(), None, "it led and is alone");
        assert!(members.elect(1) && members.leader() == Some(2));
        assert!(!members.serves(0) && members.serves(1) && members.reaches(0, 0));
        members.crash(1);
        assert!(!members.serves(2) && !members.elect(0), "one of three is no majority");
        members.join(0);
        assert!(members.elect(0) && members.serves(0) && members.serves(2));
        members.start(1);
        assert!(members.serves(1) && members.life(1) == 2);
        members.cut(1, 2);
        assert!(!members.reaches(1, 2) && members.reaches(0, 2));
    }

    #[test]
    fn a_store_of_one_member_is_down_with_it() {
        let mut members = Members::new(1);
        members.isolate(0);
        assert!(members.serves(0), "nobody is there to be cut off from");
        members.crash(0);
        assert!(!members.has_majority());
        members.heal();
        assert!(members.elect(0) && members.serves(0));
    }
}
