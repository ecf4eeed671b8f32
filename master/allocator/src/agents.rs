//! Agents as the allocator sees them: what is free, who holds what, and to which class they belong.

use crate::amounts::{Amounts, CPUS, Kind, MEM, Parts, SpanBook, SpanList, Spans};
use crate::delta::LeaseId;
use crate::filters::{Filters, FreeNow};
use crate::reserved::rest;
use crate::slab::Slab;
use proffer_types::resources::Resource;
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
    /// `total - used`, and the counts of free ranges.
    pub(crate) free: Amounts,
    pub(crate) spans: Vec<(usize, SpanBook)>,
    /// Plain sets, and all that is reserved or marked: total and in use.
    kept: Resources,
    kept_used: Resources,
    /// Of it, what is reserved and not in use.
    pub(crate) reserved_free: Vec<Resource>,
    /// The same by role, as the books have it: scalars, nothing for a role with other things only.
    pub(crate) idle: BTreeMap<RoleName, Amounts>,
    /// Plain sets that are free.
    pub(crate) sets_free: Resources,
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
            free: Amounts::default(),
            spans: Vec::new(),
            kept: Resources::new(),
            kept_used: Resources::new(),
            reserved_free: Vec::new(),
            idle: BTreeMap::new(),
            sets_free: Resources::new(),
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
        self.spans.retain(|(_, book)| !(book.total.is_empty() && book.is_unused()));
        let had = !self.kept.is_empty();
        self.kept = Resources::from_entries(parts.kept).expect("entries of one set have own keys");
        if had && self.kept.is_empty() {
            self.sets_free = Resources::new();
            self.reserved_free.clear();
        }
        if !self.kept.is_empty() {
            self.refresh_kept();
        }
        self.refresh();
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
        let mut free = self.total.clone();
        free.sub_all(&self.used);
        for (dimension, book) in &self.spans {
            free.set(*dimension, crate::amounts::count(&book.free));
        }
        self.free = free;
    }

    /// Works out anew what is free of all that is reserved, marked or a set.
    fn refresh_kept(&mut self) {
        let free = self.kept.entries().iter().filter_map(|entry| rest(entry, &self.kept_used));
        let (sets, others): (Vec<Resource>, Vec<Resource>) =
            free.partition(|entry| entry.key.is_plain());
        self.sets_free = Resources::from_entries(sets).unwrap_or_default();
        self.reserved_free = others;
        self.reserved_free.retain(is_reserved);
    }

    /// The same for one kind of it. Several may hold a shared volume, so that is always free.
    fn use_kept(&mut self, entry: &Resource, is_taken: bool) {
        if entry.key.shared {
            return;
        }
        // Uses that agents tell of may overlap: what cannot be added is not counted twice (K12).
        let _ = match is_taken {
            true => self.kept_used.insert(entry.clone()),
            false => self.kept_used.remove(entry),
        };
        if entry.key.is_plain() {
            return self.refresh_kept();
        }
        let key = &entry.key;
        let total = self
            .kept
            .get(key)
            .map(|quantity| Resource { key: key.clone(), quantity: quantity.clone() });
        let free = total.and_then(|total| rest(&total, &self.kept_used)).filter(is_reserved);
        let place = self.reserved_free.binary_search_by(|have| have.key.cmp(key));
        match (place, free) {
            (Ok(at), Some(free)) => self.reserved_free[at] = free,
            (Ok(at), None) => {
                self.reserved_free.remove(at);
            }
            (Err(at), Some(free)) => self.reserved_free.insert(at, free),
            (Err(_), None) => {}
        }
    }

    /// Takes what a task or lease holds out of what is free.
    pub(crate) fn take(
        &mut self,
        plain: &Amounts,
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
        kept.entries().iter().for_each(|entry| self.use_kept(entry, true));
        self.refresh();
    }

    /// Gives back; `false`, and nothing is changed, when it is not in use.
    pub(crate) fn give(
        &mut self,
        plain: &Amounts,
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
        if !self.used.covers(&scalars) {
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
        kept.entries().iter().for_each(|entry| self.use_kept(entry, false));
        self.refresh();
        true
    }

    /// Whether enough is left for a classical offer.
    pub(crate) fn is_worth_offering(&self) -> bool {
        self.usable
            && (self.has_plain_worth() || self.reserved_free.iter().any(|entry| !entry.key.shared))
    }

    /// Whether enough is left that is not reserved.
    pub(crate) fn has_plain_worth(&self) -> bool {
        is_worth_offering(|dimension| self.free.get(dimension))
    }

    pub(crate) fn free_now(&self) -> FreeNow<'_> {
        FreeNow { plain: &self.free, spans: &self.spans, sets: &self.sets_free }
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

/// Whether a kept resource may be offered to those for whom it is reserved.
fn is_reserved(entry: &Resource) -> bool {
    !entry.key.revocable && !entry.key.reservations.is_empty()
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
