//! Refusals: who does not want what of an agent again, and until when. They stand with the agent,
//! so that one agent's offer looks at one short table.

use crate::amounts::{Amounts, Parts, SpanList, spans_contain};
use crate::limits::Cut;
use crate::slab::Slab;
use proffer_types::Monotonic;
use proffer_types::resources::Resources;
use std::collections::{BTreeMap, BTreeSet};

/// What was refused. Interned: refusals of equal sets share one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct RefusedSet {
    plain: Amounts,
    /// With what is reserved.
    all: Amounts,
    spans: SpanList,
    kept: Resources,
}

/// What the refusals of all agents share.
#[derive(Clone, Debug, Default)]
pub(crate) struct RefusedSets {
    index: BTreeMap<RefusedSet, u32>,
    sets: Slab<(RefusedSet, u32)>,
    /// When a refusal ends, on which agent slot, by which client: as many at most as there are
    /// refusals, however they go (I15).
    ends: BTreeSet<(Monotonic, u32, u32)>,
}

/// One refusal on an agent.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub(crate) client: u32,
    /// The client's filter epoch when it was made; another one now means cleared.
    pub(crate) epoch: u64,
    pub(crate) until: Monotonic,
    set: u32,
}

/// Most refusals of one client on one agent; the one that ends first gives way (I15).
const PER_CLIENT_MAX: usize = 4;

/// The refusals on one agent, by client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filters {
    list: Vec<Filter>,
}

impl RefusedSets {
    fn intern(&mut self, parts: Parts) -> u32 {
        let mut all = parts.plain.clone();
        all.add_all(&parts.reserved);
        let set = RefusedSet { plain: parts.plain, all, spans: parts.spans, kept: parts.kept };
        if let Some(known) = self.index.get(&set) {
            self.sets[*known].1 += 1;
            return *known;
        }
        let id = self.sets.insert((set.clone(), 1));
        self.index.insert(set, id);
        id
    }

    fn forget(&mut self, id: u32) {
        let (set, holders) = &mut self.sets[id];
        *holders -= 1;
        if *holders == 0 {
            self.index.remove(set);
            self.sets.remove(id);
        }
    }

    /// The end of the refusal that ends first.
    pub(crate) fn first_end(&self) -> Option<Monotonic> {
        self.ends.first().map(|(until, ..)| *until)
    }

    /// Agent slot and client of a refusal that has ended.
    pub(crate) fn pop_ended(&mut self, now: Monotonic) -> Option<(u32, u32)> {
        if self.first_end()? > now {
            return None;
        }
        self.ends.pop_first().map(|(_, slot, client)| (slot, client))
    }
}

/// Who refuses one agent: a table over all clients that is never wiped, only stamped anew.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    stamp: u64,
    /// By client: the stamp of its last mark, and the filter epoch that the mark is good for.
    by_client: Vec<(u64, u64)>,
}

impl Marks {
    fn set(&mut self, client: u32, epoch: u64) {
        let at = client as usize;
        if self.by_client.len() <= at {
            self.by_client.resize(at + 1, (0, 0));
        }
        // A refusal of the current epoch is never hidden by one of an older epoch.
        let (stamp, have) = self.by_client[at];
        if stamp != self.stamp || have < epoch {
            self.by_client[at] = (self.stamp, epoch);
        }
    }

    pub(crate) fn has(&self, client: u32, epoch: u64) -> bool {
        self.by_client.get(client as usize) == Some(&(self.stamp, epoch))
    }
}

/// All that is free on an agent, to be compared with what was refused.
pub(crate) struct FreeNow<'a> {
    pub(crate) plain: &'a Amounts,
    pub(crate) spans: &'a [(usize, crate::amounts::SpanBook)],
    pub(crate) sets: &'a Resources,
}

impl RefusedSet {
    fn contains_cut(&self, cut: &Cut) -> bool {
        self.plain.covers(&cut.plain)
            && cut.spans.iter().all(|(dim, free)| {
                self.spans.iter().any(|(d, spans)| d == dim && spans_contain(spans, free))
            })
            && self.contains_sets(&cut.sets)
    }

    fn contains_sets(&self, sets: &Resources) -> bool {
        self.kept.contains(sets)
    }

    fn contains_all(&self, free: &FreeNow<'_>) -> bool {
        self.plain.covers(free.plain)
            && free.spans.iter().filter(|(_, book)| !book.free.is_empty()).all(|(dim, book)| {
                self.spans.iter().any(|(d, spans)| d == dim && spans_contain(spans, &book.free))
            })
            && self.contains_sets(free.sets)
    }
}

impl Filters {
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn of(&self, client: u32) -> std::ops::Range<usize> {
        let start = self.list.partition_point(|have| have.client < client);
        let count = self.list[start..].iter().take_while(|have| have.client == client).count();
        start..start + count
    }

    fn remove(&mut self, sets: &mut RefusedSets, slot: u32, at: usize) {
        let Filter { client, until, set, .. } = self.list.remove(at);
        sets.forget(set);
        if !self.list[self.of(client)].iter().any(|have| have.until == until) {
            sets.ends.remove(&(until, slot, client));
        }
    }

    pub(crate) fn insert(
        &mut self,
        sets: &mut RefusedSets,
        (slot, client, epoch): (u32, u32, u64),
        refused: Parts,
        until: Monotonic,
    ) {
        let set = sets.intern(refused);
        let range = self.of(client);
        // Dead ones and such as say the same for a shorter time make room first.
        for at in range.clone().rev() {
            let have = &self.list[at];
            if have.epoch != epoch || (have.set == set && have.until <= until) {
                self.remove(sets, slot, at);
            }
        }
        let range = self.of(client);
        if range.len() >= PER_CLIENT_MAX {
            let first_to_end = range.clone().min_by_key(|at| self.list[*at].until);
            self.remove(sets, slot, first_to_end.expect("the range is not empty"));
        }
        self.list.insert(range.start, Filter { client, epoch, until, set });
        sets.ends.insert((until, slot, client));
    }

    /// Drops what has ended; `true` when a refusal of `client` was among it.
    pub(crate) fn expire(
        &mut self,
        sets: &mut RefusedSets,
        (slot, client): (u32, u32),
        now: Monotonic,
    ) -> bool {
        let mut any = false;
        for at in self.of(client).rev() {
            if self.list[at].until <= now {
                self.remove(sets, slot, at);
                any = true;
            }
        }
        any
    }

    pub(crate) fn clear(&mut self, sets: &mut RefusedSets, slot: u32) {
        for filter in self.list.drain(..) {
            sets.forget(filter.set);
            sets.ends.remove(&(filter.until, slot, filter.client));
        }
    }

    /// Marks every client that refuses all that is free here.
    pub(crate) fn mark(&self, sets: &RefusedSets, free: &FreeNow<'_>, marks: &mut Marks) {
        marks.stamp += 1;
        let mut last = None;
        for filter in &self.list {
            let blocks = match last {
                Some((set, blocks)) if set == filter.set => blocks,
                Some(_) | None => sets.sets[filter.set].0.contains_all(free),
            };
            last = Some((filter.set, blocks));
            if blocks {
                marks.set(filter.client, filter.epoch);
            }
        }
    }

    /// Whether `client` refuses all that is free here, at a given time.
    pub(crate) fn would_block_all(
        &self,
        sets: &RefusedSets,
        (client, epoch): (u32, u64),
        free: &FreeNow<'_>,
        now: Monotonic,
    ) -> bool {
        self.list[self.of(client)].iter().any(|filter| {
            filter.epoch == epoch
                && filter.until > now
                && sets.sets[filter.set].0.contains_all(free)
        })
    }

    /// Whether `client` refuses all of a cut. Refusals that have ended are gone.
    pub(crate) fn block_cut(
        &self,
        sets: &RefusedSets,
        (client, epoch): (u32, u64),
        cut: &Cut,
    ) -> bool {
        self.list[self.of(client)]
            .iter()
            .any(|filter| filter.epoch == epoch && sets.sets[filter.set].0.contains_cut(cut))
    }

    /// Whether `client` refuses one task of this shape here. Ranges are compared by count: which
    /// ports a task would get is open.
    pub(crate) fn block_shape(
        &self,
        sets: &RefusedSets,
        (client, epoch): (u32, u64),
        shape: &Amounts,
        now: Monotonic,
    ) -> bool {
        !self.list.is_empty()
            && self.list[self.of(client)].iter().any(|filter| {
                filter.epoch == epoch
                    && filter.until > now
                    && sets.sets[filter.set].0.all.covers(shape)
            })
    }
}

#[cfg(test)]
mod tests {
    use crate::{Allocator, Delta};
    use proffer_types::{AgentId, AgentName, Attributes, FrameworkId, Monotonic, RoleName};
    use std::collections::BTreeSet;

    const FRAMEWORK: FrameworkId = FrameworkId(1);

    fn cluster() -> Allocator {
        let mut allocator = Allocator::new();
        let roles = BTreeSet::from([RoleName::new("a").expect("valid")]);
        tell(&mut allocator, &Delta::FrameworkAdded { framework: FRAMEWORK, roles });
        tell(&mut allocator, &Delta::FrameworkActive { framework: FRAMEWORK, active: true });
        let agent = Delta::AgentAdded {
            agent: AgentId(1),
            name: AgentName::new("one").expect("valid"),
            resources: "cpus:4;mem:1GiB".parse().expect("valid"),
            attributes: Attributes::new(),
            usable: true,
        };
        tell(&mut allocator, &agent);
        allocator
    }

    fn tell(allocator: &mut Allocator, delta: &Delta) {
        allocator.on_change(delta).expect("a consistent change");
    }

    fn refusal(cpus: u64, until: u64) -> Delta {
        Delta::Filtered {
            framework: FRAMEWORK,
            role: RoleName::new("a").expect("valid"),
            agent: AgentId(1),
            resources: format!("cpus:{cpus}").parse().expect("valid"),
            until: Monotonic(until),
        }
    }

    #[test]
    fn i15_refusals_for_a_year_that_are_cleared_leave_nothing_behind() {
        let mut allocator = cluster();
        for round in 0..10_000 {
            tell(&mut allocator, &refusal(1 + round % 7, 1_000_000 + round));
            let roles = BTreeSet::new();
            tell(&mut allocator, &Delta::FiltersCleared { framework: FRAMEWORK, roles });
        }
        assert!(allocator.refused.ends.len() <= super::PER_CLIENT_MAX);
        tell(&mut allocator, &Delta::AgentRemoved { agent: AgentId(1) });
        assert!(allocator.refused.ends.is_empty());
        assert!(allocator.refused.index.is_empty());
    }

    #[test]
    fn i15_an_instance_that_never_decides_forgets_refusals_that_have_ended() {
        let mut allocator = cluster();
        for round in 0..10_000 {
            tell(&mut allocator, &refusal(1 + round % 7, round + 5));
            tell(&mut allocator, &Delta::AgentUsable { agent: AgentId(1), usable: true });
            allocator.rest(Monotonic(round));
            assert!(allocator.refused.ends.len() <= super::PER_CLIENT_MAX);
            assert!(allocator.dirty.is_empty() && allocator.pool.is_empty());
        }
    }
}
