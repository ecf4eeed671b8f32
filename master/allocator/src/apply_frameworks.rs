//! Changes of frameworks: roles, presence, demand, refusals.

use crate::delta::DeltaError;
use crate::demand::{Spec, Waiting};
use crate::fair_tree::Queue;
use crate::state::Allocator;
use proffer_types::demand::DemandGroup;
use proffer_types::{AgentId, FrameworkId, GroupName, Monotonic, Resources, RoleName};
use std::collections::{BTreeMap, BTreeSet};

impl Allocator {
    pub(crate) fn known(&self, framework: FrameworkId) -> Result<(), DeltaError> {
        let known = self.frameworks.get(&framework).is_some_and(|entry| entry.registered);
        known.then_some(()).ok_or(DeltaError::UnknownFramework(framework))
    }

    fn clients_of(&self, framework: FrameworkId) -> Vec<u32> {
        let entry = self.frameworks.get(&framework);
        entry.map_or_else(Vec::new, |entry| entry.clients.values().copied().collect())
    }

    pub(crate) fn add_framework(&mut self, framework: FrameworkId, roles: &BTreeSet<RoleName>) {
        self.frameworks.entry(framework).or_default().registered = true;
        let left: Vec<u32> = self.frameworks[&framework]
            .clients
            .iter()
            .filter(|(role, _)| !roles.contains(*role))
            .map(|(_, client)| *client)
            .collect();
        for role in roles {
            let client = self.client(framework, role);
            self.clients[client].subscribed = true;
            self.settle_client(client);
        }
        for client in left {
            let entry = &mut self.clients[client];
            entry.subscribed = false;
            entry.suppressed = false;
            self.drop_condition(client);
            self.settle_client(client);
        }
    }

    pub(crate) fn remove_framework(&mut self, framework: FrameworkId) -> Result<(), DeltaError> {
        self.known(framework)?;
        self.set_framework_active(framework, false)?;
        self.set_demand(framework, None)?;
        self.add_framework(framework, &BTreeSet::new());
        if let Some(entry) = self.frameworks.get_mut(&framework) {
            entry.registered = false;
        }
        self.forget_framework(framework);
        Ok(())
    }

    pub(crate) fn set_framework_active(
        &mut self,
        framework: FrameworkId,
        active: bool,
    ) -> Result<(), DeltaError> {
        self.known(framework)?;
        let entry = self.frameworks.get_mut(&framework);
        entry.ok_or(DeltaError::UnknownFramework(framework))?.active = active;
        if !active {
            self.clear_filters(framework, &BTreeSet::new())?;
        }
        for client in self.clients_of(framework) {
            self.settle_client(client);
        }
        Ok(())
    }

    pub(crate) fn set_suppressed(
        &mut self,
        framework: FrameworkId,
        role: &RoleName,
        suppressed: bool,
    ) -> Result<(), DeltaError> {
        self.known(framework)?;
        let client = self.frameworks[&framework].clients.get(role).copied();
        if let Some(client) = client.filter(|client| self.clients[*client].subscribed) {
            self.clients[client].suppressed = suppressed;
            self.settle_client(client);
        }
        Ok(())
    }

    pub(crate) fn set_demand(
        &mut self,
        framework: FrameworkId,
        groups: Option<&[DemandGroup]>,
    ) -> Result<(), DeltaError> {
        self.known(framework)?;
        let entry = self.frameworks.get_mut(&framework);
        let entry = entry.ok_or(DeltaError::UnknownFramework(framework))?;
        entry.states_demand = groups.is_some();
        let stated: BTreeMap<&GroupName, &DemandGroup> =
            groups.unwrap_or_default().iter().map(|group| (&group.name, group)).collect();
        let ended: Vec<u32> = entry
            .groups
            .iter()
            .filter(|(name, _)| !stated.contains_key(name))
            .map(|(_, group)| *group)
            .collect();
        for group in ended {
            self.unstate(group);
            self.settle_group(group);
        }
        for group in stated.into_values() {
            self.state_group(framework, group);
        }
        for client in self.clients_of(framework) {
            self.settle_client(client);
        }
        Ok(())
    }

    fn state_group(&mut self, framework: FrameworkId, stated: &DemandGroup) {
        let group = self.group(framework, &stated.name);
        if let Some(spec) = &mut self.groups[group].spec {
            let same = DemandGroup {
                target: spec.stated.target,
                generation: spec.stated.generation,
                ..stated.clone()
            };
            if same == spec.stated {
                spec.stated = stated.clone();
                self.settle_group(group);
                return;
            }
        }
        self.unstate(group);
        let client = self.client(framework, &stated.role);
        let parts = self.dimensions.split(&stated.shape);
        let scarce = self.policy.need_of(&self.dimensions, &parts.plain);
        let bucket = self.buckets.join(parts, stated, scarce, &self.classes, &self.agents);
        self.clients[client].groups.insert(group);
        if stated.revocable.is_accepted() {
            self.accepting.insert(group);
        }
        let entry = &mut self.groups[group];
        entry.spec = Some(Spec { stated: stated.clone(), client, bucket });
        entry.lowest = 0;
        self.settle_group(group);
    }

    fn unstate(&mut self, group: u32) {
        if self.groups[group].spec.is_none() {
            return;
        }
        self.set_waiting(group, Waiting::No);
        self.accepting.remove(&group);
        if let Some(spec) = self.groups[group].spec.take() {
            self.buckets.leave(spec.bucket);
            self.clients[spec.client].groups.remove(&group);
            self.forget_client(spec.client);
        }
    }

    pub(crate) fn add_filter(
        &mut self,
        (framework, role): (FrameworkId, &RoleName),
        agent: AgentId,
        refused: &Resources,
        until: Monotonic,
    ) -> Result<(), DeltaError> {
        self.known(framework)?;
        let slot = self.slot(agent)?;
        let Some(client) = self.frameworks[&framework].clients.get(role).copied() else {
            return Ok(());
        };
        let parts = self.dimensions.split(refused);
        let entry = &mut self.clients[client];
        entry.has_refused = true;
        let filters = &mut self.agents[slot].filters;
        filters.insert(&mut self.refused, (slot, client), parts, until);
        Ok(())
    }

    pub(crate) fn clear_filters(
        &mut self,
        framework: FrameworkId,
        roles: &BTreeSet<RoleName>,
    ) -> Result<(), DeltaError> {
        self.known(framework)?;
        let clients: Vec<u32> = self.frameworks[&framework]
            .clients
            .iter()
            .filter(|(role, _)| roles.is_empty() || roles.contains(*role))
            .map(|(_, client)| *client)
            .collect();
        for client in clients {
            let entry = &mut self.clients[client];
            if !std::mem::take(&mut entry.has_refused) {
                continue;
            }
            let node = entry.node;
            self.refused.void(client);
            if self.fair.is_queued(node, Queue::Classical) {
                self.pool_all();
            }
            self.wake_refusing(client);
        }
        Ok(())
    }

    /// Ends refusals that are due, on one agent after the other until it looked at `budget` of them; says
    /// how many that were.
    pub(crate) fn expire_filters(&mut self, now: Monotonic, budget: u64) -> u64 {
        let mut looked_at = 0;
        let mut woken = BTreeSet::new();
        while looked_at < budget {
            let Some(slot) = self.refused.pop_ended(now) else { break };
            looked_at += 1;
            let Some(agent) = self.agents.get_mut(slot) else { continue };
            let ended = agent.filters.expire(&mut self.refused, slot, now);
            if !ended.is_empty() {
                self.lending.is_stale = true;
                looked_at += ended.len() as u64;
                self.pool_agent(slot);
                woken.extend(ended);
            }
        }
        for client in woken {
            if self.clients.get(client).is_some() {
                self.wake_refusing(client);
            }
        }
        looked_at
    }

    /// For an instance that explains and never decides: ends refusals that are due and drops the work
    /// that only [`Allocator::offers`] would do, so that nothing piles up in it.
    pub fn rest(&mut self, now: Monotonic) {
        self.expire_filters(now, u64::MAX);
        for slot in std::mem::take(&mut self.dirty) {
            if let Some(agent) = self.agents.get_mut(slot) {
                agent.is_dirty = false;
            }
        }
        self.pool.clear();
        self.owed_pool.clear();
        self.lowered.clear();
        self.fair.take_relieved();
        self.fair.take_owed_more();
        self.at_cap.forget_news();
        self.renew_sets();
    }

    /// When the next refusal ends: call [`Allocator::offers`] then. May name a moment at which
    /// nothing happens: a refusal that was cleared is forgotten only when it would have ended.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        self.refused.first_end()
    }
}
