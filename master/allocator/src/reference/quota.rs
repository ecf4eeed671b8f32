//! Guarantees, limits and headroom, from scratch.

use super::{Key, Place, Reference, is_no_crumb, names, plain_scalar, plain_set};
use proffer_types::demand::DemandGroup;
use proffer_types::{AgentId, FrameworkId, Quantities, ResourceName, Resources, RoleName};
use std::collections::{BTreeMap, BTreeSet};

/// Demands by a text that tells them apart.
type Stated<'a> = BTreeMap<String, &'a DemandGroup>;

impl Reference {
    /// The roles above a client, its own first.
    fn roles_above(key: &Key) -> impl Iterator<Item = RoleName> {
        std::iter::successors(Some(key.1.clone()), RoleName::parent)
    }

    fn guarantee(&self, role: &RoleName) -> Quantities {
        self.roles.get(role).map(|config| config.guarantee.clone()).unwrap_or_default()
    }

    pub(super) fn consumed(&self, role: &RoleName, name: &ResourceName) -> u64 {
        let charged = self.charged(&Place::Role(role.clone()));
        let used: u64 = charged.iter().map(|held| held.scalar(name)).sum();
        used + self.idle(role, name)
    }

    /// Roles of which something was set, and all above them.
    fn known_roles(&self) -> BTreeSet<RoleName> {
        let with_above =
            |role: &RoleName| std::iter::successors(Some(role.clone()), RoleName::parent);
        self.roles.keys().flat_map(with_above).collect()
    }

    fn owed_below(&self, role: &RoleName, name: &ResourceName) -> u64 {
        let children = self.known_roles().into_iter().filter(|r| r.parent().as_ref() == Some(role));
        children.map(|child| self.owed(&child, name)).sum()
    }

    fn owed(&self, role: &RoleName, name: &ResourceName) -> u64 {
        let guarantee = self.guarantee(role).get(name).unwrap_or(0);
        guarantee.saturating_sub(self.consumed(role, name)).max(self.owed_below(role, name))
    }

    /// What a client may take out of what is owed above it.
    fn room(&self, key: &Key, name: &ResourceName) -> u64 {
        Self::roles_above(key)
            .fold(0, |room, role| self.owed(&role, name) - (self.owed_below(&role, name) - room))
    }

    fn is_named(&self, key: &Key, name: &ResourceName) -> bool {
        Self::roles_above(key).any(|role| self.guarantee(&role).get(name).is_some())
    }

    /// Whether a task lies within guarantees, in all that it wants and that has one.
    pub(super) fn is_owed(&self, key: &Key, shape: &Resources) -> bool {
        let named: Vec<&ResourceName> = names(shape)
            .filter(|name| shape.scalar(name) > 0 && self.is_named(key, name))
            .collect();
        !named.is_empty() && named.iter().all(|name| shape.scalar(name) <= self.room(key, name))
    }

    /// How much limits leave; `u64::MAX` without one.
    pub(super) fn limit_room(&self, key: &Key, name: &ResourceName, reserved: &Resources) -> u64 {
        let limits = Self::roles_above(key).filter_map(|role| {
            let limit = self.roles.get(&role)?.limit.get(name)?;
            let more = reserved.filtered(|entry| {
                let owner = entry.key.reservations.last().filter(|_| !entry.key.shared);
                owner.is_some_and(|level| !level.role.is_within(&role))
            });
            Some(limit.saturating_sub(self.consumed(&role, name) + more.scalar(name)))
        });
        limits.min().unwrap_or(u64::MAX)
    }

    /// Whether the role, or one above it, consumes more than its limit.
    pub(super) fn is_beyond_limit(&self, role: &RoleName, name: &ResourceName) -> bool {
        std::iter::successors(Some(role.clone()), RoleName::parent).any(|role| {
            let limit = self.roles.get(&role).and_then(|config| config.limit.get(name));
            limit.is_some_and(|limit| self.consumed(&role, name) > limit)
        })
    }

    pub(super) fn is_within_limits(&self, key: &Key, shape: &Resources) -> bool {
        names(shape).all(|name| {
            let wanted = shape.scalar(name);
            wanted == 0 || wanted <= self.limit_room(key, name, &Resources::new())
        })
    }

    /// The demands by which a guaranteed role's headroom goes, as a key and groups; none: any agent.
    fn stated_below(&self, role: &RoleName) -> Stated<'_> {
        let mut stated = BTreeMap::new();
        for (framework, client_role) in self.clients() {
            let key = (framework, client_role.clone());
            if !client_role.is_within(role) || !self.is_present(&key) {
                continue;
            }
            let Some(groups) = &self.frameworks[&framework].groups else {
                return BTreeMap::new();
            };
            for group in groups.iter().filter(|g| g.role == client_role && g.target > 0) {
                let scalars: Vec<u64> =
                    names(&group.shape).map(|n| group.shape.scalar(n)).collect();
                let names: Vec<&ResourceName> = names(&group.shape).collect();
                let ports = group.shape.ports();
                let fixed = group.fixed_ports.then(|| ports.clone());
                let count = ports.count();
                let key =
                    format!("{names:?} {scalars:?} {count} {fixed:?} {:?}", group.constraints);
                stated.insert(key, group);
            }
        }
        stated
    }

    fn belongs(&self, id: AgentId, stated: &Stated<'_>) -> bool {
        let agent = &self.agents[&id];
        stated.is_empty()
            || stated.values().any(|group| {
                group.constraints.iter().all(|rule| rule.holds(&agent.attributes))
                    && (!self.policy.scarce_for_need_only || !self.wastes(id, &group.shape))
                    && names(&group.shape)
                        .all(|name| plain_scalar(&agent.total, name) >= group.shape.scalar(name))
                    && agent.total.ports().count() >= group.shape.ports().count()
            })
    }

    /// By set of agents: the demands that make it, and the roles that go by it.
    fn sets(&self) -> BTreeMap<Vec<String>, (Stated<'_>, Vec<RoleName>)> {
        let mut sets = BTreeMap::from([(Vec::new(), (BTreeMap::new(), Vec::new()))]);
        for role in self.roles.keys().filter(|role| !self.guarantee(role).is_empty()) {
            let stated = self.stated_below(role);
            let key: Vec<String> = stated.keys().cloned().collect();
            sets.entry(key).or_insert((stated, Vec::new())).1.push(role.clone());
        }
        sets
    }

    fn free_in(&self, stated: &Stated<'_>, name: &ResourceName) -> u64 {
        let counted = |id: &&AgentId| self.belongs(**id, stated) && self.is_headroom(**id);
        let free = |id: &AgentId| self.free_or_lent(*id).get(name).copied().unwrap_or(0);
        self.agents.keys().filter(counted).map(free).sum()
    }

    /// By set that the agent belongs to: what is free in it, what of it is owed, and to which roles.
    fn headroom_around(
        &self,
        agent: AgentId,
        name: &ResourceName,
    ) -> Vec<(u64, u64, Vec<RoleName>)> {
        let own = |roles: &[RoleName]| -> u64 {
            roles.iter().map(|r| self.owed(r, name) - self.owed_below(r, name)).sum()
        };
        let sets = self.sets();
        let elsewhere = sets.values().filter(|(stated, _)| !stated.is_empty());
        let elsewhere: u64 =
            elsewhere.map(|(stated, roles)| own(roles).min(self.free_in(stated, name))).sum();
        sets.into_values()
            .filter(|(stated, _)| self.belongs(agent, stated))
            .map(|(stated, roles)| {
                let more = if stated.is_empty() { elsewhere } else { 0 };
                (self.free_in(&stated, name), own(&roles) + more, roles)
            })
            .collect()
    }

    pub(super) fn is_owing(&self) -> bool {
        let tops = self.known_roles().into_iter().filter(|role| role.parent().is_none());
        tops.into_iter().any(|role| self.scalar_names().iter().any(|n| self.owed(&role, n) > 0))
    }

    fn scalar_names(&self) -> BTreeSet<ResourceName> {
        let of_agents = self.agents.values().flat_map(|agent| names(&agent.total).cloned());
        let of_roles = self.roles.values().flat_map(|config| {
            config.guarantee.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
        });
        of_agents.chain(of_roles).filter(|name| *name != ResourceName::Ports).collect()
    }

    /// Whether a task there would take what others are owed.
    pub(super) fn is_kept_back(&self, key: &Key, shape: &Resources, agent: AgentId) -> bool {
        let above: Vec<RoleName> = Self::roles_above(key).collect();
        names(shape).filter(|name| shape.scalar(name) > 0).any(|name| {
            let of_its_own = self.room(key, name);
            self.sets_around(agent, name).into_iter().any(|(free, needed, is_all, roles)| {
                let is_own = is_all || roles.iter().any(|role| above.contains(role));
                let own = if is_own { of_its_own } else { 0 };
                needed > 0 && free < needed + shape.scalar(name).saturating_sub(own)
            })
        })
    }

    fn sets_around(
        &self,
        agent: AgentId,
        name: &ResourceName,
    ) -> Vec<(u64, u64, bool, Vec<RoleName>)> {
        let all = self.headroom_around(agent, name);
        // The set of all agents is the first: its key is empty.
        all.into_iter()
            .enumerate()
            .map(|(at, (free, needed, roles))| (free, needed, at == 0, roles))
            .collect()
    }

    /// How much more of a scalar a framework may hold in classical offers.
    fn cap_room(&self, framework: FrameworkId, name: &ResourceName) -> u64 {
        let Some(percent) = self.policy.held_max_percent else { return u64::MAX };
        let classical = self.leases.values().filter(|l| l.framework == framework);
        let classical = classical.filter(|lease| lease.group.is_none());
        let held: u64 = classical.map(|lease| plain_scalar(&lease.resources, name)).sum();
        let most = self.cluster(name) * u128::from(percent) / 100;
        u64::try_from(most).expect("a part of a u64").saturating_sub(held)
    }

    /// How much of a scalar of an agent nobody is owed.
    pub(super) fn surplus(&self, agent: AgentId, name: &ResourceName) -> u64 {
        if !self.is_owing() {
            return u64::MAX;
        }
        let around = self.headroom_around(agent, name).into_iter();
        let left = around
            .filter(|(_, needed, _)| *needed > 0)
            .map(|(free, needed, _)| free.saturating_sub(needed));
        left.min().unwrap_or(u64::MAX)
    }

    /// What a classical client may have of an agent, if it is worth an offer.
    pub(super) fn cut(&self, key: &Key, agent: AgentId, owed: bool) -> Option<Resources> {
        let condition = self.condition(key);
        if !condition.admits(&self.agents[&agent].attributes) {
            return None;
        }
        let (mut scalars, ports) = self.free(agent);
        let (mut is_of_owed, is_owing) = (false, self.is_owing());
        if owed && !is_owing {
            return None;
        }
        let reserved = if owed { Resources::new() } else { self.reserved_cut(key, agent) };
        for (name, value) in &mut scalars {
            let of_owed = owed && self.is_named(key, name);
            let most = if of_owed { self.room(key, name) } else { self.surplus(agent, name) };
            let cap = self.cap_room(key.0, name);
            *value = (*value).min(most).min(cap).min(self.limit_room(key, name, &reserved));
            is_of_owed |= of_owed && *value > 0;
        }
        let revocable = match owed {
            true => Resources::new(),
            false => self.revocable_cut(key, agent),
        };
        // No task takes both kinds of one name.
        let mut amounts = scalars.clone();
        for name in names(&revocable) {
            let amount = amounts.entry(name.clone()).or_default();
            *amount = (*amount).max(revocable.scalar(name));
        }
        let charged = reserved.filtered(|entry| !entry.key.shared);
        let has = |name| amounts.get(name).copied().unwrap_or(0) + charged.scalar(name);
        let is_worth = match condition.minimum.as_slice() {
            [] => is_no_crumb(&amounts),
            own => own.iter().any(|least| least.iter().all(|(name, value)| has(name) >= value)),
        };
        let takes_any = condition.minimum.is_empty();
        let plain = plain_set(scalars, ports);
        if owed {
            return (is_worth && is_of_owed).then_some(plain);
        }
        // A shared volume goes along with something else.
        (is_worth || (takes_any && reserved.entries().iter().any(|entry| !entry.key.shared)))
            .then(|| plain.checked_add(&reserved).expect("of other kinds"))
            .map(|offered| offered.checked_add(&revocable).expect("of other kinds"))
    }
}
