//! Resources as dense vectors: one dimension for each scalar, and for each kind of ranges its
//! count of items. Reserved, marked and set resources are kept aside whole.

use proffer_types::resources::{Quantity, Resource, ResourceKey, ResourceName};
use proffer_types::{Ranges, Resources};
use smallvec::SmallVec;

pub(crate) const CPUS: usize = 0;
pub(crate) const MEM: usize = 1;
/// Dimensions that every cluster has: cpus, mem, disk, gpus and the count of ports.
pub(crate) const FIXED: usize = 5;

/// How a resource of some name is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Scalar,
    Ranges,
}

/// The dimensions, in the order in which they were first seen.
#[derive(Clone, Debug)]
pub(crate) struct Dimensions(Vec<(ResourceName, Kind)>);

impl Default for Dimensions {
    fn default() -> Self {
        Self(vec![
            (ResourceName::Cpus, Kind::Scalar),
            (ResourceName::Mem, Kind::Scalar),
            (ResourceName::Disk, Kind::Scalar),
            (ResourceName::Gpus, Kind::Scalar),
            (ResourceName::Ports, Kind::Ranges),
        ])
    }
}

impl Dimensions {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn name(&self, dimension: usize) -> &ResourceName {
        &self.0[dimension].0
    }

    pub(crate) fn kind(&self, dimension: usize) -> Kind {
        self.0[dimension].1
    }

    fn intern(&mut self, name: &ResourceName, kind: Kind) -> usize {
        let known = self.0.iter().position(|(have, k)| have == name && *k == kind);
        known.unwrap_or_else(|| {
            self.0.push((name.clone(), kind));
            self.0.len() - 1
        })
    }

    /// The dimension of a scalar.
    pub(crate) fn scalar(&mut self, name: &ResourceName) -> usize {
        self.intern(name, Kind::Scalar)
    }

    /// The dimension of a name, if it was seen.
    pub(crate) fn known(&self, name: &ResourceName) -> Option<usize> {
        self.0.iter().position(|(have, _)| have == name)
    }

    /// Takes `resources` apart.
    pub(crate) fn split(&mut self, resources: &Resources) -> Parts {
        let mut parts = Parts::default();
        for entry in resources.entries() {
            let name = &entry.key.name;
            match &entry.quantity {
                Quantity::Scalar(value) => {
                    let dimension = self.intern(name, Kind::Scalar);
                    if entry.key.is_plain() {
                        parts.plain.add(dimension, *value);
                    }
                    match (entry.key.revocable, entry.key.shared) {
                        (true, _) => {}
                        (false, true) => parts.shared.add(dimension, *value),
                        (false, false) => parts.charge.add(dimension, *value),
                    }
                }
                Quantity::Ranges(ranges) if entry.key.is_plain() => {
                    let dimension = self.intern(name, Kind::Ranges);
                    parts.plain.add(dimension, ranges.count());
                    parts.spans.push((dimension, ranges.parts().to_vec()));
                }
                Quantity::Ranges(_) | Quantity::Set(_) => {}
            }
            if entry.key.lent
                && let Quantity::Scalar(value) = entry.quantity
            {
                parts.lent.add(self.intern(name, Kind::Scalar), value);
            }
            if !entry.key.reservations.is_empty() || entry.key.revocable {
                let (value, kind) = match &entry.quantity {
                    Quantity::Scalar(value) => (*value, Kind::Scalar),
                    Quantity::Ranges(ranges) => (ranges.count(), Kind::Ranges),
                    Quantity::Set(_) => (0, Kind::Scalar),
                };
                if value > 0 {
                    parts.aside.add(self.intern(name, kind), value);
                }
            }
        }
        let is_kept =
            |entry: &Resource| !entry.key.is_plain() || matches!(entry.quantity, Quantity::Set(_));
        if resources.entries().iter().any(is_kept) {
            parts.kept = resources.filtered(is_kept);
        }
        parts
    }

    /// Puts plain amounts together again. Range dimensions come from `spans`.
    pub(crate) fn join(
        &self,
        amounts: &Amounts,
        spans: &[(usize, Spans)],
        kept: &[Resource],
    ) -> Resources {
        let mut entries: Vec<Resource> = Vec::with_capacity(FIXED + spans.len() + kept.len());
        for (dimension, value) in amounts.iter().filter(|(_, value)| *value > 0) {
            if self.kind(dimension) == Kind::Scalar {
                entries.push(Resource {
                    key: ResourceKey::plain(self.name(dimension).clone()),
                    quantity: Quantity::Scalar(value),
                });
            }
        }
        for (dimension, parts) in spans {
            entries.push(Resource {
                key: ResourceKey::plain(self.name(*dimension).clone()),
                quantity: Quantity::Ranges(
                    Ranges::new(parts.clone()).expect("free spans are sorted and disjoint"),
                ),
            });
        }
        entries.extend(kept.iter().cloned());
        Resources::from_entries(entries).expect("each key appears once")
    }
}

/// A set of resources taken apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    /// Plain scalars, and counts of plain ranges.
    pub(crate) plain: Amounts,
    /// Scalars that count for shares: all but revocable and shared ones, whatever their reservation.
    pub(crate) charge: Amounts,
    /// Of the rest, what is reserved or revocable, ranges as counts.
    pub(crate) aside: Amounts,
    /// Of an agent's plain scalars, what is lent. It stands among `kept` too.
    pub(crate) lent: Amounts,
    /// Of shared volumes: counted where they are, charged to nobody.
    pub(crate) shared: Amounts,
    /// Plain ranges.
    pub(crate) spans: SpanList,
    /// Plain sets, and everything reserved or marked.
    pub(crate) kept: Resources,
}

/// A value for each dimension; missing ones are zero.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Amounts(SmallVec<[u64; FIXED]>);

impl Amounts {
    #[inline]
    pub(crate) fn get(&self, dimension: usize) -> u64 {
        self.0.get(dimension).copied().unwrap_or(0)
    }

    pub(crate) fn set(&mut self, dimension: usize, value: u64) {
        if self.0.len() <= dimension {
            if value == 0 {
                return;
            }
            self.0.resize(dimension + 1, 0);
        }
        self.0[dimension] = value;
    }

    pub(crate) fn add(&mut self, dimension: usize, value: u64) {
        self.set(dimension, self.get(dimension).saturating_add(value));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.0.iter().copied().enumerate()
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0.iter().all(|value| *value == 0)
    }

    /// Both together, or `None` when one sum is above 2^64.
    pub(crate) fn checked_add(&self, other: &Amounts) -> Option<Amounts> {
        let mut sum = self.clone();
        for (dimension, value) in other.iter() {
            sum.set(dimension, sum.get(dimension).checked_add(value)?);
        }
        Some(sum)
    }

    pub(crate) fn add_all(&mut self, other: &Amounts) {
        let longer = other.0.iter().rposition(|value| *value > 0).map_or(0, |at| at + 1);
        if self.0.len() < longer {
            self.0.resize(longer, 0);
        }
        for (sum, more) in self.0.iter_mut().zip(&other.0) {
            *sum = sum.saturating_add(*more);
        }
    }

    /// Makes this `of − taken`, nothing where more is taken than there is.
    pub(crate) fn set_difference(&mut self, of: &Amounts, taken: &Amounts) {
        self.0.clear();
        self.0.extend_from_slice(&of.0);
        for (rest, taken) in self.0.iter_mut().zip(&taken.0) {
            *rest = rest.saturating_sub(*taken);
        }
    }

    /// Callers check with [`Amounts::covers`] first.
    pub(crate) fn sub_all(&mut self, other: &Amounts) {
        for (rest, taken) in self.0.iter_mut().zip(&other.0) {
            *rest = rest.saturating_sub(*taken);
        }
    }

    pub(crate) fn covers(&self, other: &Amounts) -> bool {
        let beyond = &other.0[self.0.len().min(other.0.len())..];
        self.0.iter().zip(&other.0).all(|(have, want)| have >= want)
            && beyond.iter().all(|want| *want == 0)
    }
}

/// Inclusive ranges: sorted and disjoint, except where said otherwise.
pub(crate) type Spans = Vec<(u64, u64)>;

/// Ranges by dimension; nearly always ports alone.
pub(crate) type SpanList = SmallVec<[(usize, Spans); 1]>;

pub(crate) fn count(spans: &[(u64, u64)]) -> u64 {
    spans.iter().fold(0, |sum, (low, high)| sum.saturating_add((high - low).saturating_add(1)))
}

/// Whether all of `inner` lies in `outer`; both sorted and disjoint.
pub(crate) fn spans_contain(outer: &[(u64, u64)], inner: &[(u64, u64)]) -> bool {
    let mut outer = outer.iter();
    let mut current = outer.next();
    for &(low, high) in inner {
        while current.is_some_and(|(_, end)| *end < low) {
            current = outer.next();
        }
        if !current.is_some_and(|(start, end)| *start <= low && high <= *end) {
            return false;
        }
    }
    true
}

/// The first `wanted` numbers of `spans`, which holds at least as many.
pub(crate) fn first_of(spans: &[(u64, u64)], wanted: u64) -> Spans {
    let mut missing = wanted;
    let mut taken = Spans::new();
    for &(low, high) in spans {
        if missing == 0 {
            break;
        }
        let size = (high - low).saturating_add(1).min(missing);
        taken.push((low, low + (size - 1)));
        missing -= size;
    }
    taken
}

/// Ranges of one dimension on one agent: what there is, what is used, what is free. Uses may
/// overlap or lie outside after a failover; then they count where they are (K12).
#[derive(Clone, Debug, Default)]
pub(crate) struct SpanBook {
    pub(crate) total: Spans,
    /// Sorted by start; a multiset.
    used: Vec<(u64, u64)>,
    /// Used as well: all that was free was taken at once, as offers of everything do. It mostly comes back
    /// just so, and `used` need not be touched.
    whole: Spans,
    pub(crate) free: Spans,
}

impl SpanBook {
    pub(crate) fn set_total(&mut self, total: &[(u64, u64)]) {
        self.count_whole();
        self.total = total.to_vec();
        self.refresh();
    }

    pub(crate) fn take(&mut self, spans: &[(u64, u64)]) {
        if spans.is_empty() {
            return;
        }
        if self.whole.is_empty() && spans == self.free {
            std::mem::swap(&mut self.whole, &mut self.free);
            return;
        }
        self.count_whole();
        self.count(spans);
        self.refresh();
    }

    /// From here on `whole` is like everything else that is used.
    fn count_whole(&mut self) {
        let whole = std::mem::take(&mut self.whole);
        if !whole.is_empty() {
            self.count(&whole);
        }
    }

    fn count(&mut self, spans: &[(u64, u64)]) {
        let mut merged = Spans::with_capacity(self.used.len() + spans.len());
        let mut more = spans.iter().copied().peekable();
        for have in self.used.drain(..) {
            while let Some(span) = more.next_if(|span| *span < have) {
                merged.push(span);
            }
            merged.push(have);
        }
        merged.extend(more);
        self.used = merged;
    }

    /// Gives `spans` back; `false`, and nothing is changed, when they are not used.
    pub(crate) fn give(&mut self, spans: &[(u64, u64)]) -> bool {
        if self.free.is_empty() && spans == self.whole {
            std::mem::swap(&mut self.whole, &mut self.free);
            return true;
        }
        self.count_whole();
        if !remove_equal(&mut self.used, spans) {
            let mut used = self.used.clone();
            if !spans.iter().all(|&(low, high)| remove_span(&mut used, low, high)) {
                return false;
            }
            self.used = used;
        }
        self.refresh();
        true
    }

    pub(crate) fn is_unused(&self) -> bool {
        self.used.is_empty() && self.whole.is_empty()
    }

    fn refresh(&mut self) {
        self.free.clear();
        let mut used = self.used.iter().peekable();
        for &(low, high) in &self.total {
            let mut next = Some(low);
            while let Some(&&(cut_low, cut_high)) = used.peek() {
                let Some(start) = next.filter(|start| *start <= high) else { break };
                if cut_low > high {
                    break;
                }
                if cut_high >= start {
                    if cut_low > start {
                        self.free.push((start, cut_low - 1));
                    }
                    next = cut_high.checked_add(1);
                }
                if cut_high > high {
                    break;
                }
                used.next();
            }
            if let Some(start) = next.filter(|start| *start <= high) {
                self.free.push((start, high));
            }
        }
    }
}

/// Takes ranges out that stand in `used` just as they are, which is how most come back; `false`,
/// and nothing is changed, when one does not.
fn remove_equal(used: &mut Vec<(u64, u64)>, spans: &[(u64, u64)]) -> bool {
    let mut wanted = spans.iter().peekable();
    for have in used.iter() {
        wanted.next_if(|span| *span == have);
    }
    if wanted.peek().is_some() {
        return false;
    }
    let mut wanted = spans.iter().peekable();
    used.retain(|have| wanted.next_if(|span| *span == have).is_none());
    true
}

/// Takes the numbers from `low` to `high` once out of a multiset of ranges.
fn remove_span(used: &mut Vec<(u64, u64)>, low: u64, high: u64) -> bool {
    let mut start = low;
    loop {
        let end_at = used.partition_point(|(from, _)| *from <= start);
        let Some(at) = (0..end_at).rev().find(|at| used[*at].1 >= start) else { return false };
        let (from, to) = used.remove(at);
        let stop = to.min(high);
        for rest in [(start > from).then(|| (from, start - 1)), (to > stop).then(|| (stop + 1, to))]
            .into_iter()
            .flatten()
        {
            let at = used.partition_point(|have| *have < rest);
            used.insert(at, rest);
        }
        if stop == high {
            return true;
        }
        start = stop + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// The book of ranges is a multiset of numbers, whatever the cuts.
        #[test]
        fn a_span_book_counts_single_numbers(
            total in prop::collection::vec((0u64..40, 0u64..6), 1..4),
            steps in prop::collection::vec((any::<bool>(), 0u64..40, 0u64..5, 0u32..4), 1..30),
        ) {
            let mut numbers: Vec<u64> =
                total.iter().flat_map(|(low, more)| *low..=low + more).collect();
            numbers.sort_unstable();
            numbers.dedup();
            let spans = Ranges::new(numbers.iter().map(|n| (*n, *n)).collect()).expect("disjoint");
            let mut book = SpanBook::default();
            book.set_total(spans.parts());
            let mut used: BTreeMap<u64, u32> = BTreeMap::new();
            let mut all_free = Spans::new();
            for (take, low, more, of_all) in steps {
                let span = match (of_all, take) {
                    (0, true) => book.free.clone(),
                    (0, false) => all_free.clone(),
                    _ => vec![(low, low + more)],
                };
                let numbers_of: Vec<u64> = span.iter().flat_map(|(l, h)| *l..=*h).collect();
                if take {
                    book.take(&span);
                    numbers_of.iter().for_each(|n| *used.entry(*n).or_default() += 1);
                } else {
                    let held = numbers_of.iter().all(|n| used.get(n).is_some_and(|c| *c > 0));
                    prop_assert_eq!(book.give(&span), held);
                    if held {
                        numbers_of.iter().for_each(|n| *used.entry(*n).or_default() -= 1);
                    }
                }
                if of_all == 0 && take {
                    all_free = span;
                }
                let free: Vec<u64> = book.free.iter().flat_map(|(l, h)| *l..=*h).collect();
                let expected: Vec<u64> = numbers
                    .iter()
                    .copied()
                    .filter(|n| used.get(n).is_none_or(|c| *c == 0))
                    .collect();
                prop_assert_eq!(free, expected);
                prop_assert_eq!(book.is_unused(), used.values().all(|c| *c == 0));
            }
        }
    }
}
