//! What of an agent is counted by kind instead of by amount: plain sets, and all that is reserved,
//! revocable or marked otherwise. Most agents have nothing of it.

use crate::amounts::Amounts;
use proffer_types::resources::{Quantity, Resource, ResourceError, ResourceKey};
use proffer_types::{Resources, RoleName};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    total: Resources,
    used: Resources,
    /// What is reserved and not in use, by key.
    reserved_free: Vec<Resource>,
    /// What is revocable and not in use, by key.
    revocable_free: Vec<Resource>,
    /// Plain sets that are free.
    sets_free: Resources,
    /// What of it is idle by role, as the role tree has it: scalars, nothing for a role with other things
    /// only.
    pub(crate) idle: BTreeMap<RoleName, Amounts>,
    /// Roles for which something became free or used since `idle` was brought up to date.
    changed: BTreeSet<RoleName>,
}

impl Kept {
    /// All that there is.
    pub(crate) fn total(&self) -> &Resources {
        &self.total
    }

    pub(crate) fn reserved_free(&self) -> &[Resource] {
        &self.reserved_free
    }

    pub(crate) fn revocable_free(&self) -> &[Resource] {
        &self.revocable_free
    }

    pub(crate) fn sets_free(&self) -> &Resources {
        &self.sets_free
    }

    /// Nothing is here, used or booked.
    pub(crate) fn is_empty(&self) -> bool {
        self.total.is_empty() && self.used.is_empty() && self.idle.is_empty()
    }

    /// States all that there is.
    pub(crate) fn set_total(&mut self, total: Resources) {
        self.note_all();
        self.total = total;
        self.renew();
        self.note_all();
    }

    /// States what became what. Nothing is changed when that cannot be.
    pub(crate) fn convert(
        &mut self,
        from: &Resources,
        to: &Resources,
    ) -> Result<(), ResourceError> {
        self.total.convert(from, to)?;
        from.entries().iter().chain(to.entries()).for_each(|entry| self.renew_entry(&entry.key));
        Ok(())
    }

    /// Several may hold a shared volume, so that is always free.
    pub(crate) fn take(&mut self, entry: &Resource) {
        if !entry.key.shared {
            // Uses that agents tell of may overlap: what cannot be added is not counted twice (K12).
            let _ = self.used.insert(entry.clone());
            self.renew_entry(&entry.key);
        }
    }

    pub(crate) fn give(&mut self, entry: &Resource) {
        if !entry.key.shared {
            // As much as was counted.
            let _ = self.used.remove(entry);
            self.renew_entry(&entry.key);
        }
    }

    /// Nobody may have anything of it: the agent goes.
    pub(crate) fn withdraw(&mut self) {
        self.note_all();
        self.reserved_free.clear();
        self.revocable_free.clear();
    }

    /// The roles of which what is idle may have changed since this was last asked.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<RoleName> {
        std::mem::take(&mut self.changed)
    }

    /// What is free for a role by its own reservations.
    pub(crate) fn free_for<'a>(&'a self, role: &'a RoleName) -> impl Iterator<Item = &'a Resource> {
        self.reserved_free.iter().filter(move |entry| owner(entry) == Some(role))
    }

    fn note_all(&mut self) {
        self.changed.extend(self.reserved_free.iter().filter_map(owner).cloned());
    }

    /// Works out anew what is free.
    fn renew(&mut self) {
        let free = self.total.entries().iter().filter_map(|entry| rest(entry, &self.used));
        let (sets, others): (Vec<Resource>, Vec<Resource>) =
            free.partition(|entry| entry.key.is_plain());
        self.sets_free = Resources::from_entries(sets).unwrap_or_default();
        let (revocable, others): (Vec<Resource>, Vec<Resource>) =
            others.into_iter().partition(is_revocable);
        self.revocable_free = revocable;
        self.reserved_free = others;
        self.reserved_free.retain(is_reserved);
    }

    /// The same for one kind of it.
    fn renew_entry(&mut self, key: &ResourceKey) {
        if key.is_plain() {
            return self.renew();
        }
        let total = self.total.get(key);
        let total = total.map(|quantity| Resource { key: key.clone(), quantity: quantity.clone() });
        let is_offered = |free: &Resource| is_reserved(free) || is_revocable(free);
        let free = total.and_then(|total| rest(&total, &self.used)).filter(is_offered);
        self.changed.extend(key.reservations.last().map(|level| level.role.clone()));
        let list = match key.revocable {
            true => &mut self.revocable_free,
            false => &mut self.reserved_free,
        };
        match (list.binary_search_by(|have| have.key.cmp(key)), free) {
            (Ok(at), Some(free)) => list[at] = free,
            (Ok(at), None) => {
                list.remove(at);
            }
            (Err(at), Some(free)) => list.insert(at, free),
            (Err(_), None) => {}
        }
    }
}

/// Whom a resource is reserved for.
pub(crate) fn owner(entry: &Resource) -> Option<&RoleName> {
    entry.key.reservations.last().map(|level| &level.role)
}

/// Whether it may be offered to those for whom it is reserved.
fn is_reserved(entry: &Resource) -> bool {
    !entry.key.revocable && !entry.key.reservations.is_empty()
}

/// Whether it may be offered to those who accept what may be taken back.
fn is_revocable(entry: &Resource) -> bool {
    entry.key.revocable
        && !entry.key.lent
        && !entry.key.shared
        && entry.key.volume.is_none()
        && entry.key.reservations.is_empty()
}

/// What of `total` is not used. Uses beyond it count as far as they go.
fn rest(total: &Resource, used: &Resources) -> Option<Resource> {
    let quantity = match (&total.quantity, used.get(&total.key)) {
        (_, None) => total.quantity.clone(),
        (Quantity::Scalar(has), Some(Quantity::Scalar(used))) => {
            Quantity::Scalar(has.saturating_sub(*used))
        }
        (Quantity::Ranges(has), Some(Quantity::Ranges(used))) => {
            Quantity::Ranges(has.checked_sub(used).unwrap_or_default())
        }
        (Quantity::Set(has), Some(Quantity::Set(used))) => {
            Quantity::Set(has.difference(used).cloned().collect())
        }
        (_, Some(_)) => return None,
    };
    (!quantity.is_empty()).then(|| Resource { key: total.key.clone(), quantity })
}
