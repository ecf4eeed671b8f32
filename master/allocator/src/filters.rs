//! Refusals: who does not want what of an agent again, and until when. They stand with the agent,
//! so that one agent's offer looks at one short table.

use crate::amounts::{Amounts, Parts, SpanList, spans_contain};
use crate::limits::Cut;
use crate::slab::Slab;
use proffer_types::Monotonic;
use proffer_types::resources::Resources;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};

/// What was refused. Interned: refusals of equal sets share one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct RefusedSet {
    plain: Amounts,
    /// With what is reserved or revocable.
    all: Amounts,
    spans: SpanList,
    kept: Resources,
}

/// What the refusals of all agents share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals {
    index: BTreeMap<RefusedSet, u32>,
    sets: Slab<(RefusedSet, u32)>,
    /// When a refusal ends on an agent slot: one entry for each agent with refusals, which may be too
    /// early when that refusal was cleared.
    ends: BTreeSet<(Monotonic, u32)>,
    /// By client; replaced to void all its refusals at once. No two are ever equal.
    epochs: Vec<u64>,
    epoch_last: u64,
}

/// One refusal on an agent.
#[derive(Clone, Debug)]
struct Filter {
    client: u32,
    set: u32,
    /// The client's epoch when it was made; another one now means cleared.
    epoch: u64,
    until: Monotonic,
}

/// Most refusals of one client on one agent; the one that ends first gives way (I15).
const PER_CLIENT_MAX: usize = 4;
/// Clients' bits that stand in the table itself, in words: beside it they would be one more place in
/// memory that is seldom in a cache.
const WORDS_INLINE: usize = 16;

/// The refusals on one agent. Most agents have none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filters(Option<Box<Table>>);

#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// In the order in which they were made.
    list: Vec<Filter>,
    /// Bit `n`: client `n` has a refusal in the list.
    clients: SmallVec<[u64; WORDS_INLINE]>,
    /// The sets in the list, and how many refusals are of each.
    sets: SmallVec<[(u32, u32); 1]>,
    /// None in the list was void when this was the last epoch.
    live_as_of: u64,
    /// As it stands in [`Refusals::ends`].
    first_end: Monotonic,
}

impl Refusals {
    fn intern(&mut self, parts: Parts) -> u32 {
        let mut all = parts.plain.clone();
        all.add_all(&parts.aside);
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

    /// Voids all refusals of a client.
    pub(crate) fn void(&mut self, client: u32) {
        let at = client as usize;
        if self.epochs.len() <= at {
            self.epochs.resize(at + 1, 0);
        }
        self.epoch_last += 1;
        self.epochs[at] = self.epoch_last;
    }

    fn is_live(&self, filter: &Filter) -> bool {
        self.epochs.get(filter.client as usize) == Some(&filter.epoch)
    }

    /// When a refusal ends at the earliest.
    pub(crate) fn first_end(&self) -> Option<Monotonic> {
        self.ends.first().map(|(until, _)| *until)
    }

    /// An agent slot on which a refusal may have ended. [`Filters::expire`] follows.
    pub(crate) fn pop_ended(&mut self, now: Monotonic) -> Option<u32> {
        if self.first_end()? > now {
            return None;
        }
        self.ends.pop_first().map(|(_, slot)| slot)
    }
}

/// Which clients were marked last: a table over all clients that is never wiped, only stamped anew.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    stamp: u64,
    /// By client: the stamp of its last mark.
    by_client: Vec<u64>,
}

impl Marks {
    fn set(&mut self, client: u32) {
        let at = client as usize;
        if self.by_client.len() <= at {
            self.by_client.resize(at + 1, 0);
        }
        self.by_client[at] = self.stamp;
    }

    fn has(&self, client: u32) -> bool {
        self.by_client.get(client as usize) == Some(&self.stamp)
    }
}

/// Which of the clients with refusals on an agent refuse all that is free there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusing<'a> {
    None,
    All(&'a Table),
    /// Those that are marked.
    Marked,
}

impl Refusing<'_> {
    #[inline]
    pub(crate) fn has(self, client: u32, marks: &Marks) -> bool {
        match self {
            Refusing::None => false,
            Refusing::All(table) => table.has(client),
            Refusing::Marked => marks.has(client),
        }
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
            && self.kept.contains(&cut.sets)
    }

    fn contains_all(&self, free: &FreeNow<'_>) -> bool {
        self.plain.covers(free.plain)
            && free.spans.iter().filter(|(_, book)| !book.free.is_empty()).all(|(dim, book)| {
                self.spans.iter().any(|(d, spans)| d == dim && spans_contain(spans, &book.free))
            })
            && self.kept.contains(free.sets)
    }
}

fn bit(client: u32) -> (usize, u64) {
    (client as usize / 64, 1 << (client % 64))
}

impl Table {
    #[inline]
    fn has(&self, client: u32) -> bool {
        let (word, bit) = bit(client);
        self.clients.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn note(&mut self, client: u32) {
        let (word, bit) = bit(client);
        if self.clients.len() <= word {
            self.clients.resize(word + 1, 0);
        }
        self.clients[word] |= bit;
    }

    /// Makes the bits agree with the list.
    fn renew_bits(&mut self) {
        self.clients.clear();
        for at in 0..self.list.len() {
            self.note(self.list[at].client);
        }
    }

    fn push(&mut self, filter: Filter) {
        match self.sets.iter_mut().find(|(set, _)| *set == filter.set) {
            Some((_, refusals)) => *refusals += 1,
            None => self.sets.push((filter.set, 1)),
        }
        self.note(filter.client);
        self.list.push(filter);
    }

    fn forget_set(&mut self, refusals: &mut Refusals, set: u32) {
        refusals.forget(set);
        let at = self.sets.iter().position(|(have, _)| *have == set);
        let at = at.expect("every set of the list is counted");
        self.sets[at].1 -= 1;
        if self.sets[at].1 == 0 {
            self.sets.swap_remove(at);
        }
    }

    /// Keeps only some, and returns whose the others were.
    fn retain(
        &mut self,
        refusals: &mut Refusals,
        keep: impl Fn(&Refusals, &Filter) -> bool,
    ) -> Vec<u32> {
        let mut gone = Vec::new();
        self.list.retain(|filter| {
            let stays = keep(refusals, filter);
            if !stays {
                gone.push((filter.client, filter.set));
            }
            stays
        });
        if !gone.is_empty() {
            self.renew_bits();
        }
        gone.iter().for_each(|(_, set)| self.forget_set(refusals, *set));
        gone.into_iter().map(|(client, _)| client).collect()
    }

    /// Makes room for one more of a client that has some.
    fn make_room(&mut self, refusals: &mut Refusals, new: &Filter) {
        self.retain(refusals, |refusals, have| {
            have.client != new.client
                || (refusals.is_live(have) && !(have.set == new.set && have.until <= new.until))
        });
        let mine = self.list.iter().enumerate().filter(|(_, have)| have.client == new.client);
        if mine.clone().count() >= PER_CLIENT_MAX {
            let first_to_end = mine.rev().min_by_key(|(_, have)| have.until).map(|(at, _)| at);
            let gone = self.list.remove(first_to_end.expect("there are several"));
            self.forget_set(refusals, gone.set);
        }
    }

    fn live_of<'a>(
        &'a self,
        refusals: &'a Refusals,
        client: u32,
    ) -> impl Iterator<Item = &'a Filter> {
        let list = if self.has(client) { self.list.as_slice() } else { &[] };
        list.iter().filter(move |have| have.client == client && refusals.is_live(have))
    }
}

impl Filters {
    pub(crate) fn insert(
        &mut self,
        refusals: &mut Refusals,
        (slot, client): (u32, u32),
        refused: Parts,
        until: Monotonic,
    ) {
        let (set, epoch) = (refusals.intern(refused), refusals.epochs[client as usize]);
        let new = Filter { client, set, epoch, until };
        let is_full = |table: &Table| table.list.len() == table.list.capacity();
        if self.0.as_deref().is_some_and(is_full) {
            self.drop_void(refusals, slot);
        }
        let live_as_of = refusals.epoch_last;
        let table = self.0.get_or_insert_with(|| {
            refusals.ends.insert((until, slot));
            Box::new(Table { live_as_of, first_end: until, ..Table::default() })
        });
        if table.has(client) {
            table.make_room(refusals, &new);
        }
        table.push(new);
        if until < table.first_end {
            refusals.ends.remove(&(table.first_end, slot));
            refusals.ends.insert((until, slot));
            table.first_end = until;
        }
    }

    /// Drops what has ended, and returns whose refusals that were. The agent's entry in
    /// [`Refusals::ends`] was taken out.
    pub(crate) fn expire(
        &mut self,
        refusals: &mut Refusals,
        slot: u32,
        now: Monotonic,
    ) -> Vec<u32> {
        let Some(table) = &mut self.0 else { return Vec::new() };
        let ended = table.retain(refusals, |_, have| have.until > now);
        match table.list.iter().map(|have| have.until).min() {
            Some(first_end) => {
                table.first_end = first_end;
                refusals.ends.insert((first_end, slot));
            }
            None => self.0 = None,
        }
        ended
    }

    /// Drops what was cleared since this was last asked.
    pub(crate) fn drop_void(&mut self, refusals: &mut Refusals, slot: u32) {
        let Some(table) = &mut self.0 else { return };
        if table.live_as_of == refusals.epoch_last {
            return;
        }
        table.live_as_of = refusals.epoch_last;
        table.retain(refusals, Refusals::is_live);
        if table.list.is_empty() {
            refusals.ends.remove(&(table.first_end, slot));
            self.0 = None;
        }
    }

    pub(crate) fn clear(&mut self, refusals: &mut Refusals, slot: u32) {
        let Some(table) = self.0.take() else { return };
        refusals.ends.remove(&(table.first_end, slot));
        table.list.iter().for_each(|filter| refusals.forget(filter.set));
    }

    /// Which clients refuse all that is free here. What was cleared has been dropped.
    pub(crate) fn refusing(
        &self,
        refusals: &Refusals,
        free: &FreeNow<'_>,
        marks: &mut Marks,
    ) -> Refusing<'_> {
        let Some(table) = &self.0 else { return Refusing::None };
        let refuse_all = |set: u32| refusals.sets[set].0.contains_all(free);
        let of_all = table.sets.iter().filter(|(set, _)| refuse_all(*set));
        let of_all: SmallVec<[u32; 8]> = of_all.map(|(set, _)| *set).collect();
        if of_all.len() == table.sets.len() {
            return Refusing::All(table);
        }
        if of_all.is_empty() {
            return Refusing::None;
        }
        marks.stamp += 1;
        let marked = table.list.iter().filter(|filter| of_all.contains(&filter.set));
        marked.for_each(|filter| marks.set(filter.client));
        Refusing::Marked
    }

    /// Whether `client` refuses all that is free here, at a given time.
    pub(crate) fn would_block_all(
        &self,
        refusals: &Refusals,
        client: u32,
        free: &FreeNow<'_>,
        now: Monotonic,
    ) -> bool {
        self.0
            .iter()
            .flat_map(|table| table.live_of(refusals, client))
            .any(|filter| filter.until > now && refusals.sets[filter.set].0.contains_all(free))
    }

    /// Whether `client` refuses all of a cut. Refusals that have ended are gone.
    pub(crate) fn block_cut(&self, refusals: &Refusals, client: u32, cut: &Cut) -> bool {
        let mut mine = self.0.iter().flat_map(|table| table.live_of(refusals, client));
        mine.any(|filter| refusals.sets[filter.set].0.contains_cut(cut))
    }

    /// Whether `client` refuses one task of this shape here. Ranges are compared by count: which
    /// ports a task would get is open.
    pub(crate) fn block_shape(
        &self,
        refusals: &Refusals,
        client: u32,
        shape: &Amounts,
        now: Monotonic,
    ) -> bool {
        self.0
            .iter()
            .flat_map(|table| table.live_of(refusals, client))
            .any(|filter| filter.until > now && refusals.sets[filter.set].0.all.covers(shape))
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

    fn listed(allocator: &Allocator) -> usize {
        let slot = allocator.slots[&AgentId(1)];
        allocator.agents[slot].filters.0.as_ref().map_or(0, |table| table.list.len())
    }

    #[test]
    fn i15_refusals_for_a_year_that_are_cleared_leave_nothing_behind() {
        let mut allocator = cluster();
        for round in 0..10_000 {
            tell(&mut allocator, &refusal(1 + round % 7, 1_000_000 + round));
            let roles = BTreeSet::new();
            tell(&mut allocator, &Delta::FiltersCleared { framework: FRAMEWORK, roles });
        }
        assert!(allocator.refused.ends.len() <= 1 && listed(&allocator) <= 4);
        assert!(allocator.refused.sets.iter().count() <= 4);
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
            assert!(allocator.refused.ends.len() <= 1 && listed(&allocator) <= 5);
            assert!(allocator.dirty.is_empty() && allocator.pool.is_empty());
        }
    }

    /// More clients than a word has bits, each refusing more or less than what is free.
    #[test]
    fn each_client_is_offered_what_it_did_not_refuse_however_many_refuse() {
        let mut allocator = cluster();
        tell(&mut allocator, &Delta::FrameworkActive { framework: FRAMEWORK, active: false });
        let add = |allocator: &mut Allocator, id: u64| {
            let framework = FrameworkId(id);
            let roles = BTreeSet::from([RoleName::new("a").expect("valid")]);
            tell(allocator, &Delta::FrameworkAdded { framework, roles });
            tell(allocator, &Delta::FrameworkActive { framework, active: true });
            framework
        };
        let role = RoleName::new("a").expect("valid");
        let refuse = |allocator: &mut Allocator, framework, resources: &str| {
            let (role, resources) = (role.clone(), resources.parse().expect("valid"));
            let until = Monotonic(1_000);
            let agent = AgentId(1);
            tell(allocator, &Delta::Filtered { framework, role, agent, resources, until });
        };
        let offered = |allocator: &mut Allocator, now: u64| {
            let turn = allocator.offers(u64::MAX, Monotonic(now));
            let lease = turn.decisions.first()?;
            tell(allocator, &Delta::Returned { lease: lease.lease });
            Some(lease.framework)
        };
        let (all, part) = ("cpus:4;mem:1GiB", "cpus:2;mem:1GiB");
        let frameworks: Vec<FrameworkId> = (2..72).map(|id| add(&mut allocator, id)).collect();
        for framework in &frameworks {
            assert_eq!(offered(&mut allocator, 0), Some(*framework), "the rest refused");
            refuse(&mut allocator, *framework, all);
        }
        assert_eq!(offered(&mut allocator, 0), None, "all refused");
        let late = add(&mut allocator, 100);
        refuse(&mut allocator, late, part);
        assert_eq!(offered(&mut allocator, 0), Some(late), "it refused less than there is");
        refuse(&mut allocator, late, all);
        assert_eq!(offered(&mut allocator, 0), None);
        let cleared = frameworks[30];
        tell(&mut allocator, &Delta::FiltersCleared { framework: cleared, roles: BTreeSet::new() });
        assert_eq!(offered(&mut allocator, 0), Some(cleared));
        refuse(&mut allocator, cleared, all);
        assert_eq!(offered(&mut allocator, 999), None);
        assert!(offered(&mut allocator, 1_000).is_some(), "the refusals have ended");
        assert_eq!(listed(&allocator), 0);
        assert!(allocator.refused.ends.is_empty() && allocator.refused.index.is_empty());
    }
}
