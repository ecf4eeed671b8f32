//! Agents as the allocator sees them: what is free, who holds what, and to which class they belong.

use crate::amounts::{Amounts, CPUS, Kind, MEM, Parts, SpanBook, SpanList, Spans};
use crate::delta::LeaseId;
use crate::filters::{Filters, FreeNow};
use crate::kept::Kept;
use crate::slab::Slab;
use proffer_types::resources::{Ranges, Resource, ResourceError};
use proffer_types::{AgentId, AgentName, Attribute, Attributes, Resources, RoleName};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};

/// The attribute that tells agents apart and so belongs to no class.
pub(crate) const HOSTNAME: &str = "hostname";

/// Less than this of both is a crumb that nobody is offered (min allocatable resources).
pub(crate) const CPUS_MILLI_MIN: u64 = 10;
pub(crate) const MEM_BYTES_MIN: u64 = 32 << 20;

/// What one client's tasks hold on an agent.
#[derive(Clone, Debug)]
pub(crate) struct Holding {
    pub(crate) client: u32,
    /// Scalars that count for shares, and counts of plain ranges.
    pub(crate) held: Amounts,
}

#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) id: AgentId,
    /// Where it stands among the agents.
    pub(crate) slot: u32,
    pub(crate) name: AgentName,
    pub(crate) usable: bool,
    pub(crate) class: u32,
    pub(crate) hostname: Option<Attribute>,
    /// Plain scalars and counts of ranges.
    pub(crate) total: Amounts,
    /// What counts for shares.
    pub(crate) charge_total: Amounts,
    /// Plain scalars in use by tasks and leases; may exceed the total (K12).
    used: Amounts,
    /// Of what is used, what may be taken back: it is lent to those who accept that.
    pub(crate) lent: Amounts,
    /// `total - used`, and the counts of free ranges.
    pub(crate) free: Amounts,
    pub(crate) spans: Vec<(usize, SpanBook)>,
    /// Plain sets, and all that is reserved or marked; `None`: nothing.
    pub(crate) kept: Option<Box<Kept>>,
    pub(crate) holdings: Vec<Holding>,
    pub(crate) leases: SmallVec<[LeaseId; 2]>,
    pub(crate) filters: Filters,
    /// Groups with tasks or leases here.
    pub(crate) groups: SmallVec<[u32; 4]>,
    pub(crate) is_dirty: bool,
    /// What of it headroom counts.
    pub(crate) counted: Amounts,
    /// The sets of agents that it belongs to, as bits.
    pub(crate) sets: u64,
}

impl Agent {
    pub(crate) fn new(id: AgentId, name: AgentName, class: u32, attributes: &Attributes) -> Self {
        Self {
            id,
            slot: 0,
            name,
            usable: false,
            class,
            hostname: attributes.get(HOSTNAME).cloned(),
            total: Amounts::default(),
            charge_total: Amounts::default(),
            used: Amounts::default(),
            lent: Amounts::default(),
            free: Amounts::default(),
            spans: Vec::new(),
            kept: None,
            holdings: Vec::new(),
            leases: SmallVec::new(),
            filters: Filters::default(),
            groups: SmallVec::new(),
            is_dirty: false,
            counted: Amounts::default(),
            sets: 0,
        }
    }

    pub(crate) fn set_total(&mut self, parts: Parts) {
        self.total = parts.plain;
        self.charge_total = parts.charge;
        self.charge_total.add_all(&parts.shared);
        for (dimension, book) in &mut self.spans {
            if !parts.spans.iter().any(|(d, _)| d == dimension) {
                book.set_total(&[]);
            }
        }
        for (dimension, spans) in &parts.spans {
            self.book(*dimension).set_total(spans);
        }
        self.drop_unneeded_books();
        if self.kept.is_some() || !parts.kept.is_empty() {
            self.kept.get_or_insert_default().set_total(parts.kept);
        }
        self.refresh();
    }

    /// States that `from` became `to`. Nothing is changed when `from` is not there, or does not make room
    /// for `to`.
    pub(crate) fn convert(&mut self, from: &Parts, to: &Parts) -> Result<(), NotConverted> {
        if !self.total.covers(&from.plain) {
            return Err(NotConverted);
        }
        let mut spans = Vec::new();
        for (dimension, _) in from.spans.iter().chain(&to.spans) {
            let total = self.book_of(*dimension).map_or(&[][..], |book| &book.total);
            let total = ranges(total).checked_sub(&of_dimension(&from.spans, *dimension));
            let total = total.and_then(|it| it.checked_add(&of_dimension(&to.spans, *dimension)));
            spans.push((*dimension, total.ok_or(NotConverted)?));
        }
        if !(from.kept.is_empty() && to.kept.is_empty()) {
            let kept = self.kept.get_or_insert_default();
            kept.convert(&from.kept, &to.kept).map_err(|_: ResourceError| NotConverted)?;
        }
        for (dimension, total) in spans {
            self.book(dimension).set_total(total.parts());
        }
        self.drop_unneeded_books();
        self.total.sub_all(&from.plain);
        self.total.add_all(&to.plain);
        for (gone, come) in [(&from.charge, &to.charge), (&from.shared, &to.shared)] {
            self.charge_total.sub_all(gone);
            self.charge_total.add_all(come);
        }
        self.refresh();
        Ok(())
    }

    fn drop_unneeded_books(&mut self) {
        self.spans.retain(|(_, book)| !(book.total.is_empty() && book.is_unused()));
    }

    pub(crate) fn reserved_free(&self) -> &[Resource] {
        self.kept.as_ref().map_or(&[], |kept| kept.reserved_free())
    }

    pub(crate) fn revocable_free(&self) -> &[Resource] {
        self.kept.as_ref().map_or(&[], |kept| kept.revocable_free())
    }

    /// Whether something is free that not everybody may have.
    pub(crate) fn has_aside(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| {
            !kept.reserved_free().is_empty() || !kept.revocable_free().is_empty()
        })
    }

    /// Roles with something reserved here that nobody uses.
    pub(crate) fn idle_roles(&self) -> impl Iterator<Item = &RoleName> {
        self.kept.iter().flat_map(|kept| kept.idle.keys())
    }

    pub(crate) fn sets_free(&self) -> &Resources {
        static NONE: Resources = Resources::new();
        self.kept.as_ref().map_or(&NONE, |kept| kept.sets_free())
    }

    fn book(&mut self, dimension: usize) -> &mut SpanBook {
        let at = self.spans.iter().position(|(have, _)| *have == dimension).unwrap_or_else(|| {
            self.spans.push((dimension, SpanBook::default()));
            self.spans.len() - 1
        });
        &mut self.spans[at].1
    }

    pub(crate) fn book_of(&self, dimension: usize) -> Option<&SpanBook> {
        self.spans.iter().find(|(have, _)| *have == dimension).map(|(_, book)| book)
    }

    fn refresh(&mut self) {
        self.free.set_difference(&self.total, &self.used);
        for (dimension, book) in &self.spans {
            self.free.set(*dimension, crate::amounts::count(&book.free));
        }
    }

    /// Takes what a task or lease holds out of what is free.
    pub(crate) fn take(
        &mut self,
        (plain, lent): (&Amounts, &Amounts),
        spans: &[(usize, Spans)],
        kept: &Resources,
        kind_of: impl Fn(usize) -> Kind,
    ) {
        for (dimension, value) in plain.iter() {
            if value > 0 && kind_of(dimension) == Kind::Scalar {
                self.used.add(dimension, value);
            }
        }
        for (dimension, taken) in spans {
            self.book(*dimension).take(taken);
        }
        if !lent.is_zero() {
            self.used.add_all(lent);
            self.lent.add_all(lent);
        }
        if kept.entries().iter().any(is_kept_here) {
            let mine = self.kept.get_or_insert_default();
            kept.entries().iter().filter(|entry| is_kept_here(entry)).for_each(|it| mine.take(it));
        }
        self.refresh();
    }

    /// Gives back; `false`, and nothing is changed, when it is not in use.
    pub(crate) fn give(
        &mut self,
        (plain, lent): (&Amounts, &Amounts),
        spans: &[(usize, Spans)],
        kept: &Resources,
        kind_of: impl Fn(usize) -> Kind,
    ) -> bool {
        let mut scalars = Amounts::default();
        for (dimension, value) in plain.iter() {
            if kind_of(dimension) == Kind::Scalar {
                scalars.set(dimension, value);
            }
        }
        scalars.add_all(lent);
        if !self.used.covers(&scalars) || !self.lent.covers(lent) {
            return false;
        }
        // One book gives all or nothing by itself.
        let before = (spans.len() > 1).then(|| self.spans.clone());
        for (dimension, given) in spans {
            if !self.book(*dimension).give(given) {
                if let Some(before) = before {
                    self.spans = before;
                }
                return false;
            }
        }
        self.used.sub_all(&scalars);
        self.lent.sub_all(lent);
        if let Some(mine) = &mut self.kept {
            kept.entries().iter().filter(|entry| is_kept_here(entry)).for_each(|it| mine.give(it));
        }
        self.refresh();
        true
    }

    /// Whether enough is left for a classical offer.
    pub(crate) fn is_worth_offering(&self) -> bool {
        self.usable && (self.has_worth_for_good() || !self.revocable_free().is_empty())
    }

    /// Whether enough is left that is not taken back.
    pub(crate) fn has_worth_for_good(&self) -> bool {
        self.has_plain_worth() || self.reserved_free().iter().any(|entry| !entry.key.shared)
    }

    /// All that is reserved on it, used or not.
    pub(crate) fn reserved(&self) -> impl Iterator<Item = &Resource> {
        let kept = self.kept.as_deref().into_iter().flat_map(|kept| kept.total().entries());
        kept.filter(|entry| !entry.key.reservations.is_empty())
    }

    /// Whether enough is left that is not reserved.
    fn has_plain_worth(&self) -> bool {
        is_worth_offering(|dimension| self.free.get(dimension))
    }

    /// What is free of a plain scalar once all that is lent is back.
    pub(crate) fn free_or_lent(&self, dimension: usize) -> u64 {
        let for_good = self.used.get(dimension).saturating_sub(self.lent.get(dimension));
        self.total.get(dimension).saturating_sub(for_good)
    }

    pub(crate) fn free_now(&self) -> FreeNow<'_> {
        FreeNow { plain: &self.free, spans: &self.spans, sets: self.sets_free() }
    }

    /// Free ranges, for an offer of everything.
    pub(crate) fn free_spans(&self) -> SpanList {
        let free = self.spans.iter().filter(|(_, book)| !book.free.is_empty());
        free.map(|(dimension, book)| (*dimension, book.free.clone())).collect()
    }

    /// What a client holds here, if anything.
    pub(crate) fn held_by(&self, client: u32) -> Option<&Holding> {
        let at = self.holdings.partition_point(|have| have.client < client);
        self.holdings.get(at).filter(|have| have.client == client)
    }

    pub(crate) fn holding(&mut self, client: u32) -> &mut Holding {
        let at = self.holdings.partition_point(|have| have.client < client);
        if self.holdings.get(at).is_none_or(|have| have.client != client) {
            self.holdings.insert(at, Holding { client, held: Amounts::default() });
        }
        &mut self.holdings[at]
    }
}

/// Whether it is of a kind that the agent counts apart. What is lent is of what it has for good.
fn is_kept_here(entry: &Resource) -> bool {
    !entry.key.lent
}

/// What was to become something else is not there, or the other has no room.
pub(crate) struct NotConverted;

fn ranges(spans: &[(u64, u64)]) -> Ranges {
    Ranges::new(spans.to_vec()).expect("an agent's total is a set")
}

fn of_dimension(spans: &SpanList, dimension: usize) -> Ranges {
    let found = spans.iter().find(|(have, _)| *have == dimension);
    found.map_or_else(Ranges::default, |(_, spans)| ranges(spans))
}

/// Whether amounts are no crumb.
pub(crate) fn is_worth_offering(amount: impl Fn(usize) -> u64) -> bool {
    amount(CPUS) >= CPUS_MILLI_MIN || amount(MEM) >= MEM_BYTES_MIN
}

/// What agents have in common: constraints are judged once for all of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ClassKey {
    pub(crate) attributes: Attributes,
    /// Dimensions of scarce resources that they have.
    pub(crate) scarce: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
pub(crate) struct Class {
    pub(crate) key: ClassKey,
    members: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Classes {
    index: BTreeMap<ClassKey, u32>,
    pub(crate) classes: Slab<Class>,
}

impl Classes {
    /// The class of an agent, and whether it is a new one.
    pub(crate) fn join(&mut self, attributes: &Attributes, scarce: BTreeSet<usize>) -> (u32, bool) {
        let mut attributes = attributes.clone();
        attributes.remove(HOSTNAME);
        let key = ClassKey { attributes, scarce };
        if let Some(class) = self.index.get(&key) {
            self.classes[*class].members += 1;
            return (*class, false);
        }
        let class = self.classes.insert(Class { key: key.clone(), members: 1 });
        self.index.insert(key, class);
        (class, true)
    }

    pub(crate) fn leave(&mut self, class: u32) {
        let entry = &mut self.classes[class];
        entry.members -= 1;
        if entry.members == 0 {
            let key = entry.key.clone();
            self.index.remove(&key);
            self.classes.remove(class);
        }
    }

    /// The class's bit in the search tree; classes beyond 64 share bits.
    pub(crate) fn bit(class: u32) -> u64 {
        1 << (class % 64)
    }
}
