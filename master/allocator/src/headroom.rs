//! What has to stay free because roles are owed it. Counted only while some role has a guarantee.
//!
//! What a role is owed is kept free on agents that it could use: those that pass the constraints of a
//! demand stated below it and are large enough for one of its tasks, or all agents when a framework
//! below it states no demand, or nobody does. An agent of no such set, and what is too small for any
//! offer, is not headroom.
//!
//! Rule: for each set that an agent belongs to, `free in the set − what is given ≥ owed to the roles of
//! that set`; and for all agents together, where each set counts with no more than is free in it. What a
//! role is owed itself never stands in its own way. What is lent counts as free: it is taken back when
//! it is wanted.

use crate::agents::is_worth_offering;
use crate::amounts::{Amounts, Kind};
use crate::fair_tree::{FairTree, Guaranteed};
use crate::state::Allocator;
use proffer_types::RoleName;
use std::collections::{BTreeMap, BTreeSet};

/// Most sets of agents, the one of all included. Roles beyond that keep something free anywhere.
const SETS_MAX: usize = 64;
/// The set of all agents.
pub(crate) const ALL: usize = 0;

#[derive(Clone, Debug, Default)]
struct AgentSet {
    /// Buckets of the stated demands; sorted. Empty in [`ALL`].
    buckets: Vec<u32>,
    free: Amounts,
    /// Roles that go by it.
    roles: u32,
}

/// Free sums over sets of agents, and who waits for them to grow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Headroom {
    /// Empty until some role has a guarantee.
    sets: Vec<AgentSet>,
    index: BTreeMap<Vec<u32>, usize>,
    /// Guaranteed roles below which demand was stated anew.
    stated: BTreeSet<u32>,
    /// Groups that may not have what is free.
    pub(crate) waiting: BTreeSet<u32>,
    /// Something was kept back since the surplus was looked at last, and what it was then.
    is_keeping: bool,
    seen: Vec<Amounts>,
}

/// What would be free on an agent beside what is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Returned<'a> {
    pub(crate) amounts: Option<&'a Amounts>,
    /// The sets of the agent, as bits.
    pub(crate) sets: u64,
}

impl Returned<'_> {
    fn with(&self, set: usize, dimension: usize, free: u64) -> u64 {
        let amounts = self.amounts.filter(|_| self.sets >> set & 1 == 1);
        free.saturating_add(amounts.map_or(0, |amounts| amounts.get(dimension)))
    }
}

/// What may be given to one client: asked once a search.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeptBack {
    /// Sets of agents on which nothing may be given, as bits.
    sets: u64,
}

impl KeptBack {
    pub(crate) fn allows(self, agent_sets: u64) -> bool {
        self.sets & agent_sets == 0
    }
}

impl Headroom {
    /// Demand below a node was stated anew, or somebody came or left there.
    pub(crate) fn stated_changed(&mut self, fair: &FairTree, node: u32) {
        if fair.has_guarantees() {
            self.stated.extend(fair.guaranteed_above(node));
        }
    }

    /// What a role is guaranteed has changed.
    pub(crate) fn role_changed(&mut self, fair: &FairTree, role: &RoleName) {
        if fair.has_guarantees() {
            self.stated.extend(fair.node_of(role));
        }
    }

    /// What is to be kept free in a set; in [`ALL`] with what is owed in all others, as far as it is
    /// there.
    fn needed(&self, fair: &FairTree, set: usize, returned: &Returned<'_>) -> Amounts {
        let mut needed = fair.owed_to(set);
        if set == ALL {
            for (other, entry) in self.sets.iter().enumerate().skip(1) {
                for (dimension, owed) in fair.owed_to(other).iter() {
                    let free = returned.with(other, dimension, entry.free.get(dimension));
                    needed.add(dimension, owed.min(free));
                }
            }
        }
        needed
    }

    /// What nobody is owed, by set, and one more where all that is owed is there: what a role is owed
    /// itself it may then have, with nothing to spare.
    fn surplus(&self, fair: &FairTree) -> Vec<Amounts> {
        let rest = |(set, entry): (usize, &AgentSet)| {
            let needed = self.needed(fair, set, &Returned::default());
            let mut rest = Amounts::default();
            for (dimension, free) in entry.free.iter() {
                let spare = free.checked_sub(needed.get(dimension));
                rest.set(dimension, spare.map_or(0, |spare| spare.saturating_add(1)));
            }
            rest
        };
        self.sets.iter().enumerate().map(rest).collect()
    }

    /// Somebody did not get what has to stay free.
    pub(crate) fn keep(&mut self, fair: &FairTree) {
        let now = self.surplus(fair);
        if !std::mem::replace(&mut self.is_keeping, true) {
            self.seen = now;
            return;
        }
        for (seen, now) in self.seen.iter_mut().zip(&now) {
            let less: Vec<(usize, u64)> =
                seen.iter().map(|(d, v)| (d, v.min(now.get(d)))).collect();
            less.into_iter().for_each(|(dimension, value)| seen.set(dimension, value));
        }
    }

    /// Whether there is more of what was kept back than when it was looked at last.
    pub(crate) fn has_grown(&self, fair: &FairTree) -> bool {
        let none = Amounts::default();
        self.is_keeping
            && self.surplus(fair).iter().enumerate().any(|(set, now)| {
                let before = self.seen.get(set).unwrap_or(&none);
                now.iter().any(|(dimension, now)| now > before.get(dimension))
            })
    }

    fn intern(&mut self, buckets: Vec<u32>) -> Option<(usize, bool)> {
        if let Some(set) = self.index.get(&buckets) {
            return Some((*set, false));
        }
        let unused = self.sets.iter().skip(1).position(|set| set.roles == 0).map(|at| at + 1);
        let set = unused.or_else(|| (self.sets.len() < SETS_MAX).then_some(self.sets.len()))?;
        if set == self.sets.len() {
            self.sets.push(AgentSet::default());
        }
        self.index.remove(&self.sets[set].buckets);
        self.index.insert(buckets.clone(), set);
        self.sets[set] = AgentSet { buckets, free: Amounts::default(), roles: 0 };
        Some((set, true))
    }
}

impl Allocator {
    /// The first guarantee was set, or the last one taken away.
    pub(crate) fn start_or_stop_headroom(&mut self) {
        if self.fair.has_guarantees() != self.headroom.sets.is_empty() {
            return;
        }
        for group in self.headroom.waiting.clone() {
            self.set_waiting(group, crate::demand::Waiting::Awake);
        }
        self.fair.forget_agent_sets();
        let was = std::mem::take(&mut self.headroom);
        for bucket in was.sets.into_iter().flat_map(|set| set.buckets) {
            self.buckets.leave(bucket);
        }
        self.pool_all();
        if self.fair.has_guarantees() {
            self.headroom.sets.push(AgentSet::default());
        }
        let slots: Vec<u32> = self.slots.values().copied().collect();
        for slot in slots {
            self.agents[slot].counted = Amounts::default();
            self.find_sets(slot);
            self.count_headroom(slot);
        }
    }

    /// Finds the sets that an agent belongs to, after it changed.
    pub(crate) fn find_sets(&mut self, slot: u32) {
        let mut found = 0u64;
        for set in 0..self.headroom.sets.len() {
            found |= u64::from(self.belongs(slot, set)) << set;
        }
        let (was, counted) = (self.agents[slot].sets, self.agents[slot].counted.clone());
        for (set, entry) in self.headroom.sets.iter_mut().enumerate() {
            match (was >> set & 1, found >> set & 1) {
                (1, 0) => entry.free.sub_all(&counted),
                (0, 1) => entry.free.add_all(&counted),
                _ => {}
            }
        }
        self.agents[slot].sets = found;
    }

    fn belongs(&self, slot: u32, set: usize) -> bool {
        let agent = &self.agents[slot];
        set == ALL
            || self.headroom.sets[set].buckets.iter().any(|bucket| {
                let bucket = &self.buckets[*bucket];
                bucket.in_class(agent.class)
                    && bucket.suits_host(agent)
                    && agent.total.covers(bucket.shape())
            })
    }

    /// What is free on an agent has changed.
    pub(crate) fn count_headroom(&mut self, slot: u32) {
        if self.headroom.sets.is_empty() {
            return;
        }
        let agent = &mut self.agents[slot];
        let mut free = Amounts::default();
        let amount = |dimension| agent.free_or_lent(dimension);
        if agent.usable && is_worth_offering(amount) {
            let dimensions = &self.dimensions;
            let scalars = (0..dimensions.len()).filter(|d| dimensions.kind(*d) == Kind::Scalar);
            scalars.for_each(|dimension| free.set(dimension, amount(dimension)));
        }
        let was = std::mem::replace(&mut agent.counted, free);
        let mut bits = agent.sets;
        while bits != 0 {
            let sum = &mut self.headroom.sets[bits.trailing_zeros() as usize].free;
            sum.sub_all(&was);
            sum.add_all(&agent.counted);
            bits &= bits - 1;
        }
    }

    /// Gives guaranteed roles the sets of agents that their demands can use; says how many it looked
    /// at.
    pub(crate) fn renew_sets(&mut self) -> u64 {
        let mut looked_at = 0;
        for set in self.fair.take_released() {
            if let Some(set) = self.headroom.sets.get_mut(set) {
                set.roles = set.roles.saturating_sub(1);
            }
        }
        for node in std::mem::take(&mut self.headroom.stated) {
            let Some(clients) = self.fair.clients_below(node) else { continue };
            looked_at += 1 + clients.len() as u64;
            let set = self.stated_by(&clients).map_or(ALL, |buckets| self.set_of(buckets));
            let was = self.fair.set_agents(node, set);
            self.headroom.sets[set].roles += 1;
            if let Some(was) = was {
                self.headroom.sets[was].roles -= 1;
            }
        }
        looked_at
    }

    /// Buckets of what clients demand; `None` when one of them may use any agent.
    fn stated_by(&self, clients: &[u32]) -> Option<Vec<u32>> {
        let mut buckets = BTreeSet::new();
        for client in clients.iter().map(|client| &self.clients[*client]) {
            if !client.present {
                continue;
            }
            if !self.frameworks[&client.framework].states_demand {
                return None;
            }
            let specs = client.groups.iter().filter_map(|group| self.groups[*group].spec.as_ref());
            buckets.extend(specs.filter(|s| s.stated.target > 0).map(|spec| spec.bucket));
        }
        (!buckets.is_empty()).then(|| buckets.into_iter().collect())
    }

    fn set_of(&mut self, buckets: Vec<u32>) -> usize {
        let before: Vec<Vec<u32>> =
            self.headroom.sets.iter().map(|set| set.buckets.clone()).collect();
        let Some((set, is_new)) = self.headroom.intern(buckets) else { return ALL };
        if is_new {
            for bucket in self.headroom.sets[set].buckets.clone() {
                self.buckets.keep(bucket);
            }
            for bucket in before.get(set).into_iter().flatten() {
                self.buckets.leave(*bucket);
            }
            let slots: Vec<u32> = self.slots.values().copied().collect();
            for slot in slots {
                self.agents[slot].sets &= !(1 << set);
                self.find_sets(slot);
            }
        }
        set
    }

    /// Where one task of a client would take what others are owed.
    pub(crate) fn kept_back(&self, client: u32, shape: &Amounts) -> KeptBack {
        self.kept_back_after(client, shape, &Returned::default())
    }

    /// The same, once leases on an agent were given back.
    pub(crate) fn kept_back_after(
        &self,
        client: u32,
        shape: &Amounts,
        returned: &Returned<'_>,
    ) -> KeptBack {
        let mut kept = KeptBack::default();
        if !self.fair.is_owing() {
            return kept;
        }
        let node = self.clients[client].node;
        let Guaranteed { room, .. } = self.fair.guaranteed(node);
        let own: u64 = self.fair.sets_above(node) | 1 << ALL;
        for (set, entry) in self.headroom.sets.iter().enumerate() {
            let needed = self.headroom.needed(&self.fair, set, returned);
            let is_short = |(dimension, needed): (usize, u64)| {
                let wanted = shape.get(dimension);
                let of_its_own = if own >> set & 1 == 1 { room.get(dimension) } else { 0 };
                let taken = wanted.saturating_sub(of_its_own);
                let free = returned.with(set, dimension, entry.free.get(dimension));
                needed > 0 && wanted > 0 && free < needed.saturating_add(taken)
            };
            kept.sets |= u64::from(needed.iter().any(is_short)) << set;
        }
        kept
    }

    /// What of an agent nobody is owed; `None`: all of it.
    pub(crate) fn surplus_on(&self, slot: u32) -> Option<Amounts> {
        if !self.fair.is_owing() {
            return None;
        }
        let agent = &self.agents[slot];
        let mut surplus = agent.free.clone();
        for (set, entry) in self.headroom.sets.iter().enumerate() {
            if agent.sets >> set & 1 == 0 {
                continue;
            }
            let needed = self.headroom.needed(&self.fair, set, &Returned::default());
            for (dimension, needed) in needed.iter() {
                if needed > 0 {
                    let left = entry.free.get(dimension).saturating_sub(needed);
                    surplus.set(dimension, left.min(surplus.get(dimension)));
                }
            }
        }
        Some(surplus)
    }

    /// Wakes those who waited for what was kept back, when there is more of it, or when they may be
    /// owed it themselves.
    pub(crate) fn wake_for_headroom(&mut self) -> u64 {
        let mut steps = 0;
        if self.fair.take_owed_grew() {
            self.owed_pool.add_all(&self.worth);
            steps += self.wake_kept() + self.wake_owed();
        }
        if !self.headroom.is_keeping {
            return steps;
        }
        let has_grown = self.headroom.has_grown(&self.fair);
        self.headroom.seen = self.headroom.surplus(&self.fair);
        if has_grown {
            self.pool.add_all(&self.worth);
            steps += self.wake_kept();
        }
        steps + 1
    }

    /// Wakes those who found no room and are owed one now: classical leases may be taken back for them.
    fn wake_owed(&mut self) -> u64 {
        let grown = self.fair.take_owed_more();
        if self.classical.is_empty() {
            return 1;
        }
        let clients = grown.into_iter().filter_map(|role| self.fair.clients_below(role)).flatten();
        let groups = clients.flat_map(|client| self.clients[client].groups.iter().copied());
        let asleep: BTreeSet<u32> =
            groups.filter(|group| self.groups[*group].is_asleep()).collect();
        for group in &asleep {
            let spec = self.groups[*group].spec.as_ref().expect("only stated groups wait");
            let owed = self.fair.guaranteed(self.clients[spec.client].node);
            if owed.covers(self.buckets[spec.bucket].shape()) {
                self.set_waiting(*group, crate::demand::Waiting::Awake);
            }
        }
        asleep.len() as u64
    }

    fn wake_kept(&mut self) -> u64 {
        let waiting = self.headroom.waiting.clone();
        let steps = waiting.len() as u64 + self.wake_near_reserved();
        for group in waiting {
            self.set_waiting(group, crate::demand::Waiting::Awake);
        }
        steps
    }
}
