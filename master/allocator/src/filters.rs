//! Refusals: who does not want what of an agent again, and until when. They stand with the agent,
//! so that one agent's offer looks at one short table.

use crate::amounts::{Amounts, Parts, SpanList, spans_contain};
use crate::slab::Slab;
use proffer_types::Monotonic;
use proffer_types::resources::{Resource, Resources};
use std::collections::BTreeMap;

/// What was refused. Interned: refusals of equal sets share one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct RefusedSet {
    plain: Amounts,
    spans: SpanList,
    kept: Vec<Resource>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct RefusedSets {
    index: BTreeMap<RefusedSet, u32>,
    sets: Slab<(RefusedSet, u32)>,
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
pub(crate) struct Filters(Vec<Filter>);

impl RefusedSets {
    fn intern(&mut self, parts: Parts) -> u32 {
        let set = RefusedSet { plain: parts.plain, spans: parts.spans, kept: parts.kept };
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
    fn contains_all(&self, free: &FreeNow<'_>) -> bool {
        self.plain.covers(free.plain)
            && free.spans.iter().filter(|(_, book)| !book.free.is_empty()).all(|(dim, book)| {
                self.spans.iter().any(|(d, spans)| d == dim && spans_contain(spans, &book.free))
            })
            && (free.sets.is_empty()
                || Resources::from_entries(self.kept.clone())
                    .is_ok_and(|kept| kept.contains(free.sets)))
    }
}

impl Filters {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn of(&self, client: u32) -> std::ops::Range<usize> {
        let start = self.0.partition_point(|have| have.client < client);
        let count = self.0[start..].iter().take_while(|have| have.client == client).count();
        start..start + count
    }

    pub(crate) fn insert(
        &mut self,
        sets: &mut RefusedSets,
        (client, epoch): (u32, u64),
        refused: Parts,
        until: Monotonic,
    ) {
        let set = sets.intern(refused);
        let range = self.of(client);
        // Dead ones and such as say the same for a shorter time make room first.
        for at in range.clone().rev() {
            let have = &self.0[at];
            if have.epoch != epoch || (have.set == set && have.until <= until) {
                sets.forget(self.0.remove(at).set);
            }
        }
        let range = self.of(client);
        if range.len() >= PER_CLIENT_MAX {
            let first_to_end = range.clone().min_by_key(|at| self.0[*at].until);
            let at = first_to_end.expect("the range is not empty");
            sets.forget(self.0.remove(at).set);
        }
        let filter = Filter { client, epoch, until, set };
        self.0.insert(range.start, filter);
    }

    /// Drops what has ended; `true` when a refusal of `client` was among it.
    pub(crate) fn expire(&mut self, sets: &mut RefusedSets, client: u32, now: Monotonic) -> bool {
        let mut any = false;
        for at in self.of(client).rev() {
            if self.0[at].until <= now {
                sets.forget(self.0.remove(at).set);
                any = true;
            }
        }
        any
    }

    pub(crate) fn clear(&mut self, sets: &mut RefusedSets) {
        for filter in self.0.drain(..) {
            sets.forget(filter.set);
        }
    }

    /// Marks every client that refuses all that is free here.
    pub(crate) fn mark(&self, sets: &RefusedSets, free: &FreeNow<'_>, marks: &mut Marks) {
        marks.stamp += 1;
        let mut last = None;
        for filter in &self.0 {
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
        self.0[self.of(client)].iter().any(|filter| {
            filter.epoch == epoch
                && filter.until > now
                && sets.sets[filter.set].0.contains_all(free)
        })
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
        !self.0.is_empty()
            && self.0[self.of(client)].iter().any(|filter| {
                filter.epoch == epoch
                    && filter.until > now
                    && sets.sets[filter.set].0.plain.covers(shape)
            })
    }
}
