//! What is kept free for others and lent, from scratch.

use super::{Key, Reference, is_no_crumb, names, plain_set};
use crate::delta::Decision;
use proffer_types::demand::DemandGroup;
use proffer_types::resources::{Quantity, Resource, ResourceKey};
use proffer_types::{AgentId, FrameworkId, Monotonic, ResourceName, Resources};
use std::collections::BTreeMap;

impl Reference {
    /// What is lent next.
    pub(super) fn lent_step(&self, now: Monotonic) -> Option<Decision> {
        if !self.is_owing() {
            return None;
        }
        let accepts = |_: &Key, group: &DemandGroup| group.revocable.is_accepted();
        self.task_step(accepts, |framework, group, id| self.lent_fit(framework, group, id, now))
            .or_else(|| self.part_step(now, |client, id| self.lent_cut(client, id)))
    }

    /// What of an agent's free scalars has to stay free for others.
    fn kept_on(&self, id: AgentId) -> BTreeMap<ResourceName, u64> {
        let (scalars, _) = self.free(id);
        let kept = scalars.into_iter().map(|(name, free)| {
            let left = self.surplus(id, &name);
            (name, free.saturating_sub(left))
        });
        kept.collect()
    }

    fn lent_set(lent: &BTreeMap<ResourceName, u64>) -> Resources {
        let entries = lent.iter().filter(|(_, value)| **value > 0).map(|(name, value)| {
            let key = ResourceKey::lent(name.clone());
            Resource { key, quantity: Quantity::Scalar(*value) }
        });
        Resources::from_entries(entries.collect()).expect("each name once")
    }

    fn lent_fit(
        &self,
        framework: FrameworkId,
        group: &DemandGroup,
        id: AgentId,
        now: Monotonic,
    ) -> Option<Resources> {
        let key = (framework, group.role.clone());
        let (scalars, _) = self.free(id);
        let picked = self.pick(group, id)?;
        let kept = self.kept_on(id);
        let (mut plain, mut lent) = (BTreeMap::new(), BTreeMap::new());
        for name in names(&group.shape).filter(|name| **name != ResourceName::Ports) {
            let wanted = group.shape.scalar(name);
            let is_lent = wanted > 0 && wanted <= kept.get(name).copied().unwrap_or(0);
            let side = if is_lent { &mut lent } else { &mut plain };
            side.insert(name.clone(), wanted);
        }
        let has_room = names(&group.shape)
            .filter(|name| **name != ResourceName::Ports)
            .all(|name| scalars.get(name).copied().unwrap_or(0) >= group.shape.scalar(name));
        let rest = Resources::scalars(plain.clone());
        let fits = !lent.is_empty()
            && has_room
            && self.has_leave(framework, group, id, now)
            && self.is_within_limits_with(&key, &plain, &[])
            && !self.is_kept_back(&key, &rest, id);
        let lent = Self::lent_set(&lent);
        fits.then(|| plain_set(plain, picked).checked_add(&lent).expect("of other kinds"))
    }

    fn lent_cut(&self, key: &Key, id: AgentId) -> Option<Resources> {
        let condition = self.condition(key);
        if !condition.revocable.is_accepted() || !condition.admits(&self.agents[&id].attributes) {
            return None;
        }
        let kept = self.kept_on(id);
        if !is_no_crumb(&kept) {
            return None;
        }
        let (_, ports) = self.free(id);
        let beside = self.cut(key, id, false);
        let beside = beside.unwrap_or_else(|| plain_set(BTreeMap::new(), ports));
        let plain = beside.filtered(|entry| entry.key.is_plain());
        let has =
            |name: &ResourceName| plain.scalar(name).max(kept.get(name).copied().unwrap_or(0));
        let is_worth = condition.minimum.is_empty()
            || condition
                .minimum
                .iter()
                .any(|least| least.iter().all(|(name, value)| has(name) >= value));
        is_worth.then(|| beside.checked_add(&Self::lent_set(&kept)).expect("of other kinds"))
    }
}
