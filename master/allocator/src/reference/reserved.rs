//! What is reserved, from scratch. Scalars only.

use super::{Key, Reference, names, plain_set};
use proffer_types::demand::DemandGroup;
use proffer_types::resources::{Quantity, Resource};
use proffer_types::{
    AgentId, FrameworkId, Monotonic, ResourceName, Resources, RevocableUse, RoleName,
};
use std::cmp::Reverse;
use std::collections::BTreeMap;

fn owner(entry: &Resource) -> &RoleName {
    &entry.key.reservations.last().expect("reserved").role
}

fn value(entry: &Resource) -> u64 {
    match entry.quantity {
        Quantity::Scalar(value) => value,
        Quantity::Ranges(_) | Quantity::Set(_) => 0,
    }
}

impl Reference {
    /// What is reserved on an agent and held by nobody.
    pub(super) fn reserved_free(&self, id: AgentId) -> Vec<Resource> {
        let mut free = self.aside_free(id);
        free.retain(|entry| !entry.key.reservations.is_empty());
        free
    }

    /// What is revocable on an agent and held by nobody.
    fn revocable_free(&self, id: AgentId) -> Vec<Resource> {
        let mut free = self.aside_free(id);
        free.retain(|entry| entry.key.revocable);
        free
    }

    /// What of it a classical client is offered.
    pub(super) fn revocable_cut(&self, key: &Key, id: AgentId) -> Resources {
        match self.condition(key).revocable.is_accepted() {
            true => Resources::from_entries(self.revocable_free(id)).expect("each kind once"),
            false => Resources::new(),
        }
    }

    fn aside_free(&self, id: AgentId) -> Vec<Resource> {
        let used = self.uses.iter().filter(|held| held.agent == id).map(|held| &held.resources);
        let leased = self.leases.values().filter(|l| l.agent == id).map(|l| &l.resources);
        let held: Vec<&Resources> = used.chain(leased).collect();
        let total = self.agents[&id].total.entries().iter();
        let aside = total.filter(|entry| !entry.key.is_plain());
        let free = aside.map(|entry| {
            let of_it =
                |held: &&Resources| held.filtered(|e| e.key == entry.key).scalar(&entry.key.name);
            // Several may hold a shared volume: it is always free.
            let used: u64 = if entry.key.shared { 0 } else { held.iter().map(of_it).sum() };
            let quantity = Quantity::Scalar(value(entry).saturating_sub(used));
            Resource { key: entry.key.clone(), quantity }
        });
        free.filter(|entry| value(entry) > 0).collect()
    }

    /// Roles for which something on an agent is reserved that nobody holds.
    pub(super) fn idle_owners(&self, id: AgentId) -> Vec<RoleName> {
        self.reserved_free(id).iter().map(|entry| owner(entry).clone()).collect()
    }

    /// What is reserved for a role and all below it, and held by nobody.
    pub(super) fn idle(&self, role: &RoleName, name: &ResourceName) -> u64 {
        let entries = self.agents.keys().flat_map(|id| self.reserved_free(*id));
        let counted =
            entries.filter(|entry| owner(entry).is_within(role) && entry.key.name == *name);
        counted.map(|entry| value(&entry)).sum()
    }

    fn visible(&self, key: &Key, id: AgentId) -> Vec<Resource> {
        let mut sees = self.reserved_free(id);
        sees.retain(|entry| key.1.is_within(owner(entry)));
        sees
    }

    /// Whether limits have room: what is reserved counts already for its role and all above.
    pub(super) fn is_within_limits_with(
        &self,
        key: &Key,
        plain: &BTreeMap<ResourceName, u64>,
        reserved: &[Resource],
    ) -> bool {
        std::iter::successors(Some(key.1.clone()), RoleName::parent).all(|role| {
            let Some(config) = self.roles.get(&role) else { return true };
            config.limit.iter().all(|(name, limit)| {
                let of_reserved = reserved
                    .iter()
                    .filter(|entry| !entry.key.shared && !entry.key.revocable)
                    .filter(|entry| entry.key.name == *name && !owner(entry).is_within(&role));
                let more: u64 =
                    plain.get(name).copied().unwrap_or(0) + of_reserved.map(value).sum::<u64>();
                more == 0 || self.consumed(&role, name) + more <= limit
            })
        })
    }

    /// What of it a classical client is offered.
    pub(super) fn reserved_cut(&self, key: &Key, id: AgentId) -> Resources {
        let mut given = Vec::new();
        for entry in self.visible(key, id) {
            given.push(entry);
            if !self.is_within_limits_with(key, &BTreeMap::new(), &given) {
                given.pop();
            }
        }
        Resources::from_entries(given).expect("each kind once")
    }

    /// What one task would get with the help of what is reserved for its role.
    pub(super) fn reserved_fit(
        &self,
        framework: FrameworkId,
        group: &DemandGroup,
        id: AgentId,
        owed: bool,
        now: Monotonic,
    ) -> Option<Resources> {
        let agent = &self.agents[&id];
        let key = (framework, group.role.clone());
        let mut plain: BTreeMap<ResourceName, u64> = names(&group.shape)
            .filter(|name| **name != ResourceName::Ports)
            .map(|name| (name.clone(), group.shape.scalar(name)))
            .collect();
        let mut given = Vec::new();
        if group.revocable.is_accepted() {
            for entry in self.revocable_free(id) {
                let Some(wanted) = plain.get_mut(&entry.key.name) else { continue };
                if *wanted > 0 && *wanted <= value(&entry) {
                    let quantity = Quantity::Scalar(std::mem::take(wanted));
                    given.push(Resource { key: entry.key, quantity });
                }
            }
            if given.is_empty() && group.revocable == RevocableUse::Only {
                return None;
            }
        }
        let mut sees = self.visible(&key, id);
        sees.retain(|entry| entry.key.volume.is_none() && !entry.key.shared);
        let levels = |entry: &Resource| owner(entry).as_str().split('/').count();
        sees.sort_by_key(|entry| Reverse((levels(entry), entry.key.reservations.len())));
        for entry in sees {
            let Some(wanted) = plain.get_mut(&entry.key.name) else { continue };
            let taken = value(&entry).min(*wanted);
            *wanted -= taken;
            if taken > 0 {
                given.push(Resource { key: entry.key, quantity: Quantity::Scalar(taken) });
            }
        }
        let (scalars, ports) = self.free(id);
        let wanted_ports = group.shape.ports();
        let picked: Vec<u64> = match group.fixed_ports {
            true => wanted_ports.iter().collect(),
            false => {
                ports.iter().copied().take(usize::try_from(wanted_ports.count()).ok()?).collect()
            }
        };
        let is_refused = self.refuses_shape(&key, id, &group.shape, now);
        let rest = Resources::scalars(plain.iter().map(|(name, value)| (name.clone(), *value)));
        let fits = !given.is_empty()
            && agent.usable
            && (!self.policy.scarce_for_need_only || !self.wastes(id, &group.shape))
            && group.constraints.iter().all(|rule| rule.holds(&agent.attributes))
            && plain
                .iter()
                .all(|(name, wanted)| scalars.get(name).copied().unwrap_or(0) >= *wanted)
            && picked.len() as u64 == wanted_ports.count()
            && picked.iter().all(|port| ports.contains(port))
            && group
                .per_agent_max
                .is_none_or(|most| self.on_agent(framework, &group.name, id) < most)
            && !is_refused
            && self.is_within_limits_with(&key, &plain, &given)
            && (owed || !self.is_kept_back(&key, &rest, id));
        fits.then(|| {
            let reserved = Resources::from_entries(given).expect("each kind once");
            plain_set(plain, picked).checked_add(&reserved).expect("of other kinds")
        })
    }

    /// Smaller is better.
    pub(super) fn preference_reserved(
        &self,
        framework: FrameworkId,
        group: &DemandGroup,
        id: AgentId,
    ) -> super::Rank {
        let level = match group.spread {
            true => self.on_agent(framework, &group.name, id),
            false => 0,
        };
        (level, false, Reverse(0), self.agents[&id].slot)
    }
}
