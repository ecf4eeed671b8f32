//! A set of resources and its arithmetic. Total: what does not fit is an error value, never a wrap.
//!
//! Shapes follow Apache Mesos: a resource carries a stack of reservations, an optional volume, and
//! the marks shared and revocable; resources with different marks never merge.

use crate::ids::{PrincipalName, RoleName, VolumeId};
use crate::refusal::{Refusal, RefusalCode};
use crate::units::{Bytes, Milli};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// What kind of thing is counted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ResourceName {
    /// Processor time, in thousandths of a core.
    Cpus,
    /// Memory, in bytes.
    Mem,
    /// Disk, in bytes.
    Disk,
    /// Graphics processors, in thousandths.
    Gpus,
    /// TCP and UDP ports, as ranges.
    Ports,
    /// Anything else: scalars in thousandths, ranges or sets.
    Custom(Arc<str>),
}

impl ResourceName {
    /// The name as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Cpus => "cpus",
            Self::Mem => "mem",
            Self::Disk => "disk",
            Self::Gpus => "gpus",
            Self::Ports => "ports",
            Self::Custom(name) => name,
        }
    }

    /// Whether scalars of this name count bytes; all others count thousandths.
    #[must_use]
    pub fn in_bytes(&self) -> bool {
        matches!(self, Self::Mem | Self::Disk)
    }

    /// A scalar of this name as people write it: `1.5`, `2GiB`.
    #[must_use]
    pub fn display_scalar(&self, value: u64) -> String {
        if self.in_bytes() { Bytes(value).to_string() } else { Milli(value).to_string() }
    }
}

impl FromStr for ResourceName {
    type Err = ResourceError;
    fn from_str(text: &str) -> Result<Self, ResourceError> {
        let valid = !text.is_empty()
            && text.len() <= 64
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        match text {
            "cpus" => Ok(Self::Cpus),
            "mem" => Ok(Self::Mem),
            "disk" => Ok(Self::Disk),
            "gpus" => Ok(Self::Gpus),
            "ports" => Ok(Self::Ports),
            _ if valid => Ok(Self::Custom(Arc::from(text))),
            _ => Err(ResourceError::Syntax {
                text: crate::refusal::excerpt(text),
                why: "a resource name is 1 to 64 letters, digits, '_', '-', '.'".to_owned(),
            }),
        }
    }
}
impl TryFrom<String> for ResourceName {
    type Error = ResourceError;
    fn try_from(text: String) -> Result<Self, ResourceError> {
        text.parse()
    }
}
impl From<ResourceName> for String {
    fn from(name: ResourceName) -> String {
        name.as_str().to_owned()
    }
}
impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl fmt::Debug for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One level of a reservation stack.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Reservation {
    /// For whom. A deeper level is a strict descendant of the one before.
    pub role: RoleName,
    /// Who made it.
    pub principal: Option<PrincipalName>,
    /// Whether the agent was started with it; such a level cannot be taken off by a call.
    pub is_static: bool,
    /// Free labels; reservations that differ in them do not merge.
    pub labels: BTreeMap<String, String>,
}

/// A persistent volume made out of a disk resource.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Volume {
    /// Its id, unique on its agent.
    pub id: VolumeId,
    /// Where it appears in a container.
    pub container_path: String,
}

/// What makes two resources the same kind of thing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ResourceKey {
    /// What is counted.
    pub name: ResourceName,
    /// For whom it is kept, outermost level first; empty: for anyone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reservations: Vec<Reservation>,
    /// The volume on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<Volume>,
    /// Several tasks may use it at a time.
    #[serde(default)]
    pub shared: bool,
    /// It may be taken back at any time.
    #[serde(default)]
    pub revocable: bool,
    /// What is revocable is of an agent's plain resources: free, and kept for the guarantees of others. It
    /// is no part of what an agent says it has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lent: bool,
}

impl ResourceKey {
    /// An unreserved, plain resource.
    #[must_use]
    pub fn plain(name: ResourceName) -> Self {
        Self {
            name,
            reservations: Vec::new(),
            volume: None,
            shared: false,
            revocable: false,
            lent: false,
        }
    }

    /// A resource that may be taken back: beyond what an agent has for good.
    #[must_use]
    pub fn revocable(name: ResourceName) -> Self {
        Self { revocable: true, ..Self::plain(name) }
    }

    /// A resource that may be taken back: of what an agent has for good, and somebody is guaranteed.
    #[must_use]
    pub fn lent(name: ResourceName) -> Self {
        Self { lent: true, ..Self::revocable(name) }
    }

    /// Whether it is beyond what an agent has for good, and may be gone at any time.
    #[must_use]
    pub fn is_slack(&self) -> bool {
        self.revocable && !self.lent
    }

    /// Whether anyone may have it: no reservation, volume or mark.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.reservations.is_empty() && self.volume.is_none() && !self.shared && !self.revocable
    }
}

/// Inclusive ranges: sorted, disjoint, not touching.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Checks and joins `parts`.
    ///
    /// # Errors
    /// [`ResourceError::Ranges`] when a range is reversed or two overlap.
    pub fn new(mut parts: Vec<(u64, u64)>) -> Result<Self, ResourceError> {
        let is_joined = parts.iter().all(|(low, high)| low <= high)
            && parts.windows(2).all(|pair| pair[0].1.checked_add(1).is_some_and(|n| n < pair[1].0));
        if is_joined {
            return Ok(Self(parts));
        }
        parts.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(parts.len());
        for (low, high) in parts {
            if low > high {
                return Err(ResourceError::Ranges { why: format!("{low}-{high} is reversed") });
            }
            match joined.last_mut() {
                Some(last) if low <= last.1 => {
                    return Err(ResourceError::Ranges {
                        why: format!("{low}-{high} overlaps {}-{}", last.0, last.1),
                    });
                }
                Some(last) if last.1.checked_add(1) == Some(low) => last.1 = high,
                _ => joined.push((low, high)),
            }
        }
        Ok(Self(joined))
    }

    /// The ranges, ascending.
    #[must_use]
    pub fn parts(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// How many numbers they hold.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0
            .iter()
            .fold(0u64, |sum, (low, high)| sum.saturating_add((high - low).saturating_add(1)))
    }

    /// Every number, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().flat_map(|(low, high)| *low..=*high)
    }

    /// Whether all of `other` is in `self`.
    #[must_use]
    pub fn contains(&self, other: &Ranges) -> bool {
        other.0.iter().all(|(low, high)| self.0.iter().any(|(l, h)| l <= low && high <= h))
    }

    /// Both together; `None` when they overlap.
    #[must_use]
    pub fn checked_add(&self, other: &Ranges) -> Option<Ranges> {
        Ranges::new(self.0.iter().chain(&other.0).copied().collect()).ok()
    }

    /// Without `other`; `None` when `other` is not wholly inside.
    #[must_use]
    pub fn checked_sub(&self, other: &Ranges) -> Option<Ranges> {
        if !self.contains(other) {
            return None;
        }
        let mut left = Vec::with_capacity(self.0.len() + other.0.len());
        for &(low, high) in &self.0 {
            let mut next = Some(low);
            for &(cut_low, cut_high) in other.0.iter().filter(|(l, h)| *l >= low && *h <= high) {
                if let Some(start) = next
                    && start < cut_low
                {
                    left.push((start, cut_low - 1));
                }
                next = cut_high.checked_add(1);
            }
            if let Some(start) = next
                && start <= high
            {
                left.push((start, high));
            }
        }
        Some(Ranges(left))
    }

    /// Without those numbers of `taken` that are in it.
    #[must_use]
    pub fn without(&self, taken: &Ranges) -> Ranges {
        let mut parts = self.0.clone();
        for &(low, high) in &taken.0 {
            let cut = |(from, to): (u64, u64)| {
                let left = (from < low).then(|| (from, to.min(low - 1)));
                let right = (to > high).then(|| (from.max(high + 1), to));
                [left, right].into_iter().flatten()
            };
            parts = parts.into_iter().flat_map(cut).collect();
        }
        Ranges(parts)
    }

    /// The first `count` numbers, or `None` when there are fewer.
    #[must_use]
    pub fn first(&self, count: u64) -> Option<Ranges> {
        let mut missing = count;
        let mut taken = Vec::new();
        for &(low, high) in &self.0 {
            if missing == 0 {
                break;
            }
            let size = (high - low).saturating_add(1).min(missing);
            taken.push((low, low + (size - 1)));
            missing -= size;
        }
        (missing == 0).then_some(Ranges(taken))
    }
}

impl TryFrom<Vec<(u64, u64)>> for Ranges {
    type Error = ResourceError;
    fn try_from(parts: Vec<(u64, u64)>) -> Result<Self, ResourceError> {
        Self::new(parts)
    }
}
impl From<Ranges> for Vec<(u64, u64)> {
    fn from(ranges: Ranges) -> Self {
        ranges.0
    }
}
impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, (low, high)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{low}-{high}")?;
        }
        f.write_str("]")
    }
}
impl fmt::Debug for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How much of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Thousandths, or bytes for `mem` and `disk`.
    Scalar(u64),
    /// Numbered items such as ports.
    Ranges(Ranges),
    /// Named items.
    Set(BTreeSet<String>),
}

impl Quantity {
    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Scalar(value) => *value == 0,
            Self::Ranges(ranges) => ranges.parts().is_empty(),
            Self::Set(items) => items.is_empty(),
        }
    }

    /// What is left when as much as there is of `taken` is taken off.
    pub(crate) fn without(&self, taken: &Quantity) -> Quantity {
        match (self, taken) {
            (Self::Scalar(have), Self::Scalar(taken)) => Self::Scalar(have.saturating_sub(*taken)),
            (Self::Ranges(have), Self::Ranges(taken)) => Self::Ranges(have.without(taken)),
            (Self::Set(have), Self::Set(taken)) => {
                Self::Set(have.difference(taken).cloned().collect())
            }
            (have, _) => have.clone(),
        }
    }

    fn contains(&self, other: &Quantity) -> bool {
        match (self, other) {
            (Self::Scalar(have), Self::Scalar(want)) => have >= want,
            (Self::Ranges(have), Self::Ranges(want)) => have.contains(want),
            (Self::Set(have), Self::Set(want)) => have.is_superset(want),
            _ => other.is_empty(),
        }
    }

    fn checked_add(&self, other: &Quantity) -> Option<Quantity> {
        match (self, other) {
            (Self::Scalar(a), Self::Scalar(b)) => a.checked_add(*b).map(Self::Scalar),
            (Self::Ranges(a), Self::Ranges(b)) => a.checked_add(b).map(Self::Ranges),
            (Self::Set(a), Self::Set(b)) => {
                a.is_disjoint(b).then(|| Self::Set(a.union(b).cloned().collect()))
            }
            _ => None,
        }
    }

    fn checked_sub(&self, other: &Quantity) -> Option<Quantity> {
        match (self, other) {
            (Self::Scalar(a), Self::Scalar(b)) => a.checked_sub(*b).map(Self::Scalar),
            (Self::Ranges(a), Self::Ranges(b)) => a.checked_sub(b).map(Self::Ranges),
            (Self::Set(a), Self::Set(b)) => {
                a.is_superset(b).then(|| Self::Set(a.difference(b).cloned().collect()))
            }
            _ => None,
        }
    }
}

/// One resource: a key and how much.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Resource {
    /// What it is.
    #[serde(flatten)]
    pub key: ResourceKey,
    /// How much.
    pub quantity: Quantity,
}

/// A set of resources: sorted by key, one entry a key, nothing empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<Resource>", into = "Vec<Resource>")]
pub struct Resources(Vec<Resource>);

/// Arithmetic or syntax that does not hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ResourceError {
    /// There is less than what is to be taken.
    #[error("{name}: {want} is not within {have}")]
    NotContained {
        /// The resource that lacks.
        name: String,
        /// What was asked.
        want: String,
        /// What there is.
        have: String,
    },
    /// A sum is above 2^64, items are counted twice, or kinds differ.
    #[error("{name}: {left} and {right} do not add up")]
    NotAddable {
        /// The resource in question.
        name: String,
        /// What there was.
        left: String,
        /// What was to be added.
        right: String,
    },
    /// Ranges that are reversed or overlap.
    #[error("ranges: {why}")]
    Ranges {
        /// Which and how.
        why: String,
    },
    /// Text that is not a resource.
    #[error("{text:?}: {why}")]
    Syntax {
        /// The text, shortened.
        text: String,
        /// The rule it breaks.
        why: String,
    },
}

impl Resources {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Plain scalars: `Resources::scalars([(Cpus, 1000), (Mem, 4 << 30)])`.
    #[must_use]
    pub fn scalars(items: impl IntoIterator<Item = (ResourceName, u64)>) -> Self {
        let mut sum: BTreeMap<ResourceName, u64> = BTreeMap::new();
        for (name, value) in items {
            let entry = sum.entry(name).or_default();
            *entry = entry.saturating_add(value);
        }
        Self(
            sum.into_iter()
                .filter(|(_, value)| *value > 0)
                .map(|(name, value)| Resource {
                    key: ResourceKey::plain(name),
                    quantity: Quantity::Scalar(value),
                })
                .collect(),
        )
    }

    /// Sorts and merges `entries`.
    ///
    /// # Errors
    /// [`ResourceError::NotAddable`] when two entries of one key do not add up.
    pub fn from_entries(entries: Vec<Resource>) -> Result<Self, ResourceError> {
        let is_set = entries.iter().all(|entry| !entry.quantity.is_empty())
            && entries.windows(2).all(|pair| pair[0].key < pair[1].key);
        if is_set {
            return Ok(Self(entries));
        }
        let mut sum = Self(Vec::with_capacity(entries.len()));
        for entry in entries {
            sum.insert(entry)?;
        }
        Ok(sum)
    }

    /// The entries, ascending by key.
    #[must_use]
    pub fn entries(&self) -> &[Resource] {
        &self.0
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one resource.
    ///
    /// # Errors
    /// [`ResourceError::NotAddable`]; `self` is then unchanged.
    pub fn insert(&mut self, entry: Resource) -> Result<(), ResourceError> {
        if entry.quantity.is_empty() {
            return Ok(());
        }
        match self.0.binary_search_by(|have| have.key.cmp(&entry.key)) {
            Ok(index) => {
                let have = &mut self.0[index];
                have.quantity = have.quantity.checked_add(&entry.quantity).ok_or_else(|| {
                    ResourceError::NotAddable {
                        name: entry.key.name.to_string(),
                        left: show(&entry.key, &have.quantity),
                        right: show(&entry.key, &entry.quantity),
                    }
                })?;
            }
            Err(index) => self.0.insert(index, entry),
        }
        Ok(())
    }

    /// How much of one kind there is.
    #[must_use]
    pub fn get(&self, key: &ResourceKey) -> Option<&Quantity> {
        self.0.binary_search_by(|have| have.key.cmp(key)).ok().map(|index| &self.0[index].quantity)
    }

    /// Both together.
    ///
    /// # Errors
    /// [`ResourceError::NotAddable`] when a sum overflows, ranges or sets overlap, or kinds differ.
    pub fn checked_add(&self, other: &Resources) -> Result<Resources, ResourceError> {
        let mut sum = self.clone();
        for entry in &other.0 {
            sum.insert(entry.clone())?;
        }
        Ok(sum)
    }

    /// Without `other`.
    ///
    /// # Errors
    /// [`ResourceError::NotContained`] naming the first resource that lacks.
    pub fn checked_sub(&self, other: &Resources) -> Result<Resources, ResourceError> {
        let mut rest = self.clone();
        other.0.iter().try_for_each(|entry| rest.remove(entry))?;
        Ok(rest)
    }

    /// Takes one resource out.
    ///
    /// # Errors
    /// [`ResourceError::NotContained`]; `self` is then unchanged.
    pub fn remove(&mut self, entry: &Resource) -> Result<(), ResourceError> {
        let found = self.0.binary_search_by(|have| have.key.cmp(&entry.key));
        let lacking = |have: String| ResourceError::NotContained {
            name: entry.key.name.to_string(),
            want: show(&entry.key, &entry.quantity),
            have,
        };
        let Ok(index) = found else {
            return Err(lacking("nothing".to_owned()));
        };
        let have = &self.0[index].quantity;
        let left =
            have.checked_sub(&entry.quantity).ok_or_else(|| lacking(show(&entry.key, have)))?;
        if left.is_empty() {
            self.0.remove(index);
        } else {
            self.0[index].quantity = left;
        }
        Ok(())
    }

    /// Makes `to` out of `from`: what a reservation or a volume does to an agent. Costs what is named,
    /// not what there is.
    ///
    /// # Errors
    /// As [`Resources::checked_sub`] and [`Resources::checked_add`]; `self` is then unchanged.
    pub fn convert(&mut self, from: &Resources, to: &Resources) -> Result<(), ResourceError> {
        self.remove_all(&from.0)?;
        self.insert_all(&to.0).inspect_err(|_| {
            self.insert_all(&from.0).expect("it was there before");
        })
    }

    /// All or none of them.
    fn remove_all(&mut self, entries: &[Resource]) -> Result<(), ResourceError> {
        for (at, entry) in entries.iter().enumerate() {
            self.remove(entry).inspect_err(|_| {
                self.insert_all(&entries[..at]).expect("they were there before");
            })?;
        }
        Ok(())
    }

    /// All or none of them.
    fn insert_all(&mut self, entries: &[Resource]) -> Result<(), ResourceError> {
        for (at, entry) in entries.iter().enumerate() {
            self.insert(entry.clone()).inspect_err(|_| {
                self.remove_all(&entries[..at]).expect("they were just put in");
            })?;
        }
        Ok(())
    }

    /// What [`Resources::convert`] makes `other` of `self` with: the entries that differ.
    #[must_use]
    pub fn changes_to(&self, other: &Resources) -> (Resources, Resources) {
        let (mut from, mut to) = (Vec::new(), Vec::new());
        let mut new = other.0.iter().peekable();
        for old in &self.0 {
            while let Some(added) = new.next_if(|entry| entry.key < old.key) {
                to.push(added.clone());
            }
            let same_key = new.next_if(|entry| entry.key == old.key);
            if same_key != Some(old) {
                from.push(old.clone());
                to.extend(same_key.cloned());
            }
        }
        to.extend(new.cloned());
        (Resources(from), Resources(to))
    }

    /// Whether all of `other` is in `self`, key by key.
    #[must_use]
    pub fn contains(&self, other: &Resources) -> bool {
        other
            .0
            .iter()
            .all(|want| self.get(&want.key).is_some_and(|have| have.contains(&want.quantity)))
    }

    /// The sum of scalars of that name, whatever their marks; ranges and sets count items in
    /// thousandths.
    #[must_use]
    pub fn scalar(&self, name: &ResourceName) -> u64 {
        self.0
            .iter()
            .filter(|entry| entry.key.name == *name)
            .map(|entry| match &entry.quantity {
                Quantity::Scalar(value) => *value,
                Quantity::Ranges(ranges) => ranges.count().saturating_mul(1000),
                Quantity::Set(items) => (items.len() as u64).saturating_mul(1000),
            })
            .fold(0, u64::saturating_add)
    }

    /// Plain ports.
    #[must_use]
    pub fn ports(&self) -> Ranges {
        match self.get(&ResourceKey::plain(ResourceName::Ports)) {
            Some(Quantity::Ranges(ranges)) => ranges.clone(),
            _ => Ranges::default(),
        }
    }

    /// Whether some of it may be taken back at any time, and so whoever uses it.
    #[must_use]
    pub fn is_revocable(&self) -> bool {
        self.0.iter().any(|entry| entry.key.revocable)
    }

    /// Of no name a task takes some that is revocable and some that is not, or some of two kinds.
    ///
    /// # Errors
    /// A refusal that names the field `resources`.
    pub fn check_unmixed(&self) -> Result<(), Refusal> {
        let is_other = |key: &ResourceKey, one: &ResourceKey| {
            one.name == key.name && (one.revocable, one.lent) != (key.revocable, key.lent)
        };
        let mixes = |entry: &&Resource| self.0.iter().any(|one| is_other(&entry.key, &one.key));
        let Some(entry) = self.0.iter().find(mixes) else { return Ok(()) };
        let message = format!("{} is taken both revocable and not", entry.key.name);
        Err(Refusal::new(RefusalCode::InvalidArgument, "resources", message)
            .hint("a task takes all it needs of a name from one kind"))
    }

    /// Only entries for which `keep` holds.
    #[must_use]
    pub fn filtered(&self, keep: impl Fn(&Resource) -> bool) -> Resources {
        Self(self.0.iter().filter(|entry| keep(entry)).cloned().collect())
    }

    /// The total of several sets.
    ///
    /// # Errors
    /// As [`Resources::checked_add`].
    pub fn sum<'a>(
        parts: impl IntoIterator<Item = &'a Resources>,
    ) -> Result<Resources, ResourceError> {
        parts.into_iter().try_fold(Resources::new(), |sum, part| sum.checked_add(part))
    }
}

impl TryFrom<Vec<Resource>> for Resources {
    type Error = ResourceError;
    fn try_from(entries: Vec<Resource>) -> Result<Self, ResourceError> {
        Self::from_entries(entries)
    }
}
impl From<Resources> for Vec<Resource> {
    fn from(resources: Resources) -> Self {
        resources.0
    }
}

fn show(key: &ResourceKey, quantity: &Quantity) -> String {
    match quantity {
        Quantity::Scalar(value) => key.name.display_scalar(*value),
        Quantity::Ranges(ranges) => ranges.to_string(),
        Quantity::Set(items) => {
            format!("{{{}}}", items.iter().map(String::as_str).collect::<Vec<_>>().join(","))
        }
    }
}

impl fmt::Display for Resources {
    /// `cpus:9;mem:18GiB;ports:[31000-31099]`, with `(role)` after a reserved name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, entry) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(";")?;
            }
            f.write_str(entry.key.name.as_str())?;
            if let Some(top) = entry.key.reservations.last() {
                write!(f, "({})", top.role)?;
            }
            if entry.key.revocable {
                f.write_str(if entry.key.lent { "{lent}" } else { "{revocable}" })?;
            }
            if let Some(volume) = &entry.key.volume {
                write!(f, "[{}]", volume.id)?;
            }
            write!(f, ":{}", show(&entry.key, &entry.quantity))?;
        }
        Ok(())
    }
}
impl fmt::Debug for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Resources {
    type Err = ResourceError;

    /// Reads `cpus:9;mem:18GB;disk:10GiB;gpus:1;ports:[31000-31099];labels:{a,b};cpus(eng):2`.
    fn from_str(text: &str) -> Result<Self, ResourceError> {
        let mut resources = Resources::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            resources.insert(parse_entry(part)?)?;
        }
        Ok(resources)
    }
}

/// Reads one entry, which may be empty: `gpus:0`.
pub(crate) fn parse_entry(part: &str) -> Result<Resource, ResourceError> {
    let wrong = |why: String| ResourceError::Syntax { text: crate::refusal::excerpt(part), why };
    let (left, value) = part
        .split_once(':')
        .ok_or_else(|| wrong("expected NAME:QUANTITY, such as cpus:4 or mem:8GiB".to_owned()))?;
    let left = left.trim();
    let (left, mark) = match left.strip_suffix('}').and_then(|left| left.split_once('{')) {
        Some((left, mark)) => (left.trim(), Some(mark)),
        None => (left, None),
    };
    let (name, role) = match left.strip_suffix(')').and_then(|l| l.split_once('(')) {
        Some((name, role)) => (name, Some(role)),
        None => (left, None),
    };
    let name: ResourceName = name.trim().parse()?;
    let mut key = match mark {
        None => ResourceKey::plain(name),
        Some("revocable") => ResourceKey::revocable(name),
        Some("lent") => ResourceKey::lent(name),
        Some(mark) => return Err(wrong(format!("{mark:?} is neither revocable nor lent"))),
    };
    if let Some(role) = role.filter(|role| *role != "*") {
        let role = RoleName::new(role).map_err(|refusal| wrong(refusal.message))?;
        key.reservations.push(Reservation {
            role,
            principal: None,
            is_static: true,
            labels: BTreeMap::new(),
        });
    }
    let value = value.trim();
    let quantity = if let Some(inner) = value.strip_prefix('[').and_then(|v| v.strip_suffix(']')) {
        let mut parts = Vec::new();
        for range in inner.split(',').map(str::trim).filter(|range| !range.is_empty()) {
            let (low, high) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| {
                text.trim().parse::<u64>().map_err(|_| wrong(format!("{text:?} is not a number")))
            };
            parts.push((number(low)?, number(high)?));
        }
        Quantity::Ranges(Ranges::new(parts)?)
    } else if let Some(inner) = value.strip_prefix('{').and_then(|v| v.strip_suffix('}')) {
        Quantity::Set(
            inner
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect(),
        )
    } else if key.name.in_bytes() {
        Quantity::Scalar(Bytes::parse(value).map_err(wrong)?.0)
    } else {
        Quantity::Scalar(Milli::parse(value).map_err(wrong)?.0)
    };
    if key.name == ResourceName::Ports && !matches!(quantity, Quantity::Ranges(_)) {
        return Err(wrong("ports are ranges, such as ports:[31000-31999]".to_owned()));
    }
    Ok(Resource { key, quantity })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranges() -> impl Strategy<Value = Ranges> {
        prop::collection::btree_set(0u64..60, 0..20).prop_map(|set| {
            Ranges::new(set.into_iter().map(|n| (n, n)).collect()).expect("disjoint")
        })
    }

    fn resources() -> impl Strategy<Value = Resources> {
        let entry = (
            prop_oneof![
                (Just(ResourceName::Cpus), (0u64..5000).prop_map(Quantity::Scalar)),
                (Just(ResourceName::Mem), (0u64..1 << 40).prop_map(Quantity::Scalar)),
                (
                    Just(ResourceName::Custom("licence".into())),
                    (0u64..9).prop_map(Quantity::Scalar)
                ),
            ],
            any::<bool>(),
            prop::option::of(prop_oneof![Just("eng"), Just("eng/db")]),
        )
            .prop_map(|((name, quantity), revocable, role)| {
                let mut key = ResourceKey::plain(name);
                key.revocable = revocable;
                key.reservations.extend(role.map(|role| Reservation {
                    role: RoleName::new(role).expect("valid"),
                    principal: None,
                    is_static: false,
                    labels: BTreeMap::new(),
                }));
                Resource { key, quantity }
            });
        (prop::collection::vec(entry, 0..8), ranges()).prop_map(|(mut entries, ports)| {
            entries.push(Resource {
                key: ResourceKey::plain(ResourceName::Ports),
                quantity: Quantity::Ranges(ports),
            });
            Resources::from_entries(entries).expect("small scalars add up")
        })
    }

    proptest! {
        #[test]
        fn adding_then_taking_away_is_where_we_began(a in resources(), b in resources()) {
            if let Ok(sum) = a.checked_add(&b) {
                prop_assert!(sum.contains(&a) && sum.contains(&b));
                prop_assert_eq!(sum.checked_sub(&b).expect("contained"), a.clone());
                prop_assert_eq!(&sum, &b.checked_add(&a).expect("addition commutes"));
            } else {
                // Only the ports can collide here.
                prop_assert!(a.ports().checked_add(&b.ports()).is_none());
            }
        }

        #[test]
        fn subtraction_fits_exactly_when_contained(a in resources(), b in resources()) {
            prop_assert_eq!(a.checked_sub(&b).is_ok(), a.contains(&b));
        }

        #[test]
        fn what_is_converted_is_taken_away_and_added_or_nothing_changes(
            a in resources(), from in resources(), to in resources(), part in any::<bool>(),
        ) {
            let from = if part { a.filtered(|entry| entry.key.revocable) } else { from };
            let expected = a.checked_sub(&from).and_then(|rest| rest.checked_add(&to));
            let mut converted = a.clone();
            match (converted.convert(&from, &to), expected) {
                (Ok(()), Ok(expected)) => prop_assert_eq!(converted, expected),
                (Err(error), Err(expected)) => {
                    prop_assert_eq!(error, expected);
                    prop_assert_eq!(converted, a);
                }
                (left, right) => prop_assert!(false, "{left:?} and {right:?}"),
            }
        }

        #[test]
        fn changes_lead_from_one_set_to_the_other(
            a in resources(), b in resources(), more in resources(),
        ) {
            for b in [b, a.checked_add(&more).unwrap_or_default()] {
                let (from, to) = a.changes_to(&b);
                let mut changed = a.clone();
                changed.convert(&from, &to).expect("of what differs");
                prop_assert_eq!(&changed, &b);
                prop_assert!(from.entries().iter().all(|entry| !b.entries().contains(entry)));
                prop_assert!(to.entries().iter().all(|entry| !a.entries().contains(entry)));
            }
        }

        #[test]
        fn nothing_empty_is_kept_and_text_reads_back(a in resources()) {
            prop_assert!(a.entries().iter().all(|entry| !entry.quantity.is_empty()));
            prop_assert!(a.entries().windows(2).all(|pair| pair[0].key < pair[1].key));
            let json = serde_json::to_string(&a).expect("plain data");
            prop_assert_eq!(serde_json::from_str::<Resources>(&json).expect("reads back"), a);
        }

        #[test]
        fn ranges_behave_as_sets_of_numbers(a in ranges(), b in ranges()) {
            let (sa, sb): (BTreeSet<u64>, BTreeSet<u64>) = (a.iter().collect(), b.iter().collect());
            prop_assert_eq!(a.contains(&b), sa.is_superset(&sb));
            prop_assert_eq!(a.count(), sa.len() as u64);
            match a.checked_add(&b) {
                Some(sum) => prop_assert_eq!(sum.iter().collect::<BTreeSet<_>>(), &sa | &sb),
                None => prop_assert!(!sa.is_disjoint(&sb)),
            }
            if let Some(rest) = a.checked_sub(&b) {
                prop_assert_eq!(rest.iter().collect::<BTreeSet<_>>(), &sa - &sb);
            }
            prop_assert_eq!(a.without(&b).iter().collect::<BTreeSet<_>>(), &sa - &sb);
            if let Some(first) = a.first(3) {
                prop_assert_eq!(first.iter().collect::<Vec<_>>(),
                    sa.iter().copied().take(3).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn text_is_read_with_units_and_refused_without() {
        let r: Resources =
            "cpus:9; mem:18GB; ports:[31000-31001,31005]; zones:{a,b}".parse().expect("valid");
        assert_eq!(r.scalar(&ResourceName::Cpus), 9000);
        assert_eq!(r.scalar(&ResourceName::Mem), 18_000_000_000);
        assert_eq!(r.ports().count(), 3);
        for bad in [
            "cpus",
            "mem:5",
            "cpus:-1",
            "cpus:1.2345",
            "ports:5",
            "ports:[9-1]",
            "ports:[1-5,3]",
            ":1",
        ] {
            assert!(bad.parse::<Resources>().is_err(), "{bad}");
        }
    }

    #[test]
    fn extremes_do_not_wrap() {
        let top = Resources::scalars([(ResourceName::Mem, u64::MAX)]);
        assert!(top.checked_add(&Resources::scalars([(ResourceName::Mem, 1)])).is_err());
        let all = Ranges::new(vec![(0, u64::MAX)]).expect("one range");
        assert_eq!(all.count(), u64::MAX);
        let cut = all
            .checked_sub(&Ranges::new(vec![(u64::MAX, u64::MAX)]).expect("one"))
            .expect("inside");
        assert_eq!(cut.parts(), &[(0, u64::MAX - 1)]);
        assert!(all.checked_sub(&all).expect("itself").parts().is_empty());
    }
}
