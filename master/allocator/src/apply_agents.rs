//! Changes of agents: what there is, what it is, whether it may be used.

use crate::agents::{Agent, HOSTNAME, NotConverted};
use crate::amounts::Amounts;
use crate::delta::DeltaError;
use crate::state::Allocator;
use proffer_types::{AgentId, AgentName, Attributes, Resources};

impl Allocator {
    pub(crate) fn slot(&self, agent: AgentId) -> Result<u32, DeltaError> {
        self.slots.get(&agent).copied().ok_or(DeltaError::UnknownAgent(agent))
    }

    pub(crate) fn add_agent(
        &mut self,
        id: AgentId,
        name: &AgentName,
        resources: &Resources,
        attributes: &Attributes,
        usable: bool,
    ) -> Result<(), DeltaError> {
        if self.slots.contains_key(&id) {
            return Err(DeltaError::AgentExists(id));
        }
        let parts = self.dimensions.split(resources);
        let totals = self.fair.totals().checked_add(&parts.charge);
        let totals = totals.and_then(|sum| sum.checked_add(&parts.shared));
        let totals = totals.ok_or(DeltaError::TooMuch(id))?;
        let class = self.join_class(attributes, &parts.plain);
        let mut agent = Agent::new(id, name.clone(), class, attributes);
        agent.usable = usable;
        agent.set_total(parts);
        let slot = self.agents.insert(agent);
        self.slots.insert(id, slot);
        self.agents[slot].slot = slot;
        self.buckets.judge_host(&self.agents[slot]);
        self.conditions.judge_agent(&self.classes, &self.agents[slot]);
        self.find_sets(slot);
        self.fair.set_totals(totals);
        self.cap_changed();
        self.show(slot);
        self.gained(slot);
        Ok(())
    }

    pub(crate) fn join_class(&mut self, attributes: &Attributes, total: &Amounts) -> u32 {
        let scarce = self.policy.scarce_in(&self.dimensions, total);
        let (class, is_new) = self.classes.join(attributes, scarce);
        if is_new {
            self.buckets.judge_class(class, &self.classes.classes[class]);
            self.conditions.judge_class(class, &self.classes.classes[class]);
        }
        class
    }

    pub(crate) fn change_agent(
        &mut self,
        id: AgentId,
        resources: &Resources,
        attributes: &Attributes,
    ) -> Result<(), DeltaError> {
        let slot = self.slot(id)?;
        let parts = self.dimensions.split(resources);
        let mut totals = self.fair.totals().clone();
        totals.sub_all(&self.agents[slot].charge_total);
        let totals = totals.checked_add(&parts.charge);
        let totals = totals.and_then(|sum| sum.checked_add(&parts.shared));
        let totals = totals.ok_or(DeltaError::TooMuch(id))?;
        let class = self.join_class(attributes, &parts.plain);
        let agent = &mut self.agents[slot];
        let old_class = std::mem::replace(&mut agent.class, class);
        let hostname = attributes.get(HOSTNAME);
        if old_class != class || agent.hostname.as_ref() != hostname {
            agent.filters.clear(&mut self.refused, slot);
        }
        agent.hostname = hostname.cloned();
        agent.set_total(parts);
        self.buckets.judge_host(&self.agents[slot]);
        self.conditions.judge_agent(&self.classes, &self.agents[slot]);
        self.classes.leave(old_class);
        self.fair.set_totals(totals);
        self.cap_changed();
        self.find_sets(slot);
        self.show(slot);
        self.gained(slot);
        Ok(())
    }

    pub(crate) fn convert_agent(
        &mut self,
        id: AgentId,
        from: &Resources,
        to: &Resources,
    ) -> Result<(), DeltaError> {
        let slot = self.slot(id)?;
        let (from_parts, to_parts) = (self.dimensions.split(from), self.dimensions.split(to));
        let mut totals = self.fair.totals().clone();
        totals.sub_all(&from_parts.charge);
        totals.sub_all(&from_parts.shared);
        let totals = totals.checked_add(&to_parts.charge);
        let totals = totals.and_then(|sum| sum.checked_add(&to_parts.shared));
        let totals = totals.ok_or(DeltaError::TooMuch(id))?;
        self.agents[slot].convert(&from_parts, &to_parts).map_err(|NotConverted| {
            DeltaError::NotConverted { agent: id, from: from.clone(), to: to.clone() }
        })?;
        self.fair.set_totals(totals);
        self.cap_changed();
        self.sync_class(slot);
        self.find_sets(slot);
        self.show(slot);
        self.gained(slot);
        Ok(())
    }

    /// Another resource may be scarce on the agent now.
    fn sync_class(&mut self, slot: u32) {
        let agent = &self.agents[slot];
        let class = &self.classes.classes[agent.class].key;
        if self.policy.scarce_in(&self.dimensions, &agent.total) == class.scarce {
            return;
        }
        let (attributes, total) = (class.attributes.clone(), agent.total.clone());
        let class = self.join_class(&attributes, &total);
        let agent = &mut self.agents[slot];
        agent.filters.clear(&mut self.refused, slot);
        let old_class = std::mem::replace(&mut agent.class, class);
        self.classes.leave(old_class);
    }

    pub(crate) fn remove_agent(&mut self, id: AgentId) -> Result<(), DeltaError> {
        let slot = self.slot(id)?;
        self.end_claims_on(slot)?;
        for lease in self.agents[slot].leases.clone() {
            self.end_lease(lease)?;
        }
        for holding in std::mem::take(&mut self.agents[slot].holdings) {
            self.fair.discharge(self.clients[holding.client].node, &holding.held);
            self.drop_hold(holding.client);
        }
        for group in std::mem::take(&mut self.agents[slot].groups) {
            let entry = &mut self.groups[group];
            let tasks = entry.set_on_agent(slot, 0);
            entry.launched = entry.launched.saturating_sub(tasks);
            self.settle_group(group);
        }
        self.agents[slot].usable = false;
        if let Some(kept) = &mut self.agents[slot].kept {
            kept.withdraw();
        }
        self.show(slot);
        let mut agent = self.agents.remove(slot);
        self.slots.remove(&id);
        self.pool.remove(slot);
        self.owed_pool.remove(slot);
        agent.filters.clear(&mut self.refused, slot);
        self.classes.leave(agent.class);
        let mut totals = self.fair.totals().clone();
        totals.sub_all(&agent.charge_total);
        self.fair.set_totals(totals);
        self.cap_changed();
        Ok(())
    }

    pub(crate) fn set_agent_usable(&mut self, id: AgentId, usable: bool) -> Result<(), DeltaError> {
        let slot = self.slot(id)?;
        self.agents[slot].usable = usable;
        self.show(slot);
        if usable {
            self.gained(slot);
        }
        Ok(())
    }
}
