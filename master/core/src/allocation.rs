//! Keeps the books: who uses and holds what on which agent, and tells the allocator. The only place
//! that feeds it.

use crate::master::Master;
use crate::state::changes::RowKey;
use crate::state::deadlines::Deadline;
use crate::state::offers::OfferEntry;
use crate::state::tasks::Counted;
use proffer_allocator::{Decision, Delta, LeaseId, Use};
use proffer_types::hold::{exclusive, taken};
use proffer_types::offer::Offer;
use proffer_types::{AgentId, DemandKey, FrameworkId, GroupName, Now, OfferId, Resources, TaskKey};

impl Master {
    /// Tells the allocator, and the copy of it that explains.
    pub(crate) fn tell_allocator(&mut self, delta: Delta) {
        let agent = agent_of(&delta);
        self.tell_allocator_of(agent, delta);
    }

    /// A contradiction is counted and told, and takes the agent concerned out of use: never ignored, and
    /// never more than that (K23). A framework that the allocator does not know is offered nothing by
    /// that alone.
    fn tell_allocator_of(&mut self, agent: Option<AgentId>, delta: Delta) {
        let error = match self.allocator.on_change(&delta) {
            Ok(()) => return self.deltas.push(delta),
            Err(error) => error,
        };
        self.counters.drift += 1;
        let why = format!("the allocator and the master disagree: {error}");
        match agent {
            Some(agent) => self.freeze(agent, why),
            None => self.tell_of_trouble("drift", "cluster".to_owned(), why),
        }
    }

    fn task_use(&self, key: &TaskKey) -> Option<Use> {
        let record = &self.tasks.get(key)?.record;
        Some(Use {
            agent: record.status.agent,
            framework: key.framework,
            role: record.role.clone(),
            resources: exclusive(&record.resources),
            group: record.group.clone(),
            tasks: 1,
        })
    }

    /// Counts a task's resources at its agent. Overlapping ports freeze the agent instead: its books
    /// contradict each other (K23).
    pub(crate) fn charge(&mut self, key: &TaskKey) {
        let Some(usage) = self.task_use(key) else { return };
        let Some(agent) = self.agents.get_mut(usage.agent) else { return };
        let counted = self.tasks.get(key).map_or(Counted::No, |task| task.counted);
        if counted == Counted::Charged {
            return;
        }
        if !agent.in_pool {
            return self.count_out_of_reach(key);
        }
        match taken(&usage.resources).and_then(|more| agent.allocated.checked_add(&more)) {
            Ok(sum) => agent.allocated = sum,
            Err(error) => {
                let why = format!("task {key} uses what another task uses: {error}");
                return self.drifted(usage.agent, why);
            }
        }
        if let Some(framework) = self.frameworks.get_mut(key.framework) {
            framework.allocated.add(&usage.resources);
        }
        self.back_in_reach(key);
        if usage.resources.is_revocable() {
            self.claims.revocable.insert(key.clone());
        }
        if let Some(task) = self.tasks.get_mut(key) {
            task.counted = Counted::Charged;
        }
        let id = usage.agent;
        self.used_changed(id, key.framework, &usage.role, usage.group.as_ref());
        self.tell_allocator(Delta::Allocated(usage));
        self.sync_usable(id);
    }

    /// Its books contradict each other.
    fn drifted(&mut self, id: AgentId, why: String) {
        self.counters.drift += 1;
        self.freeze(id, why);
    }

    /// Nothing more goes there until it registers anew (K23).
    pub(crate) fn freeze(&mut self, id: AgentId, why: String) {
        let message = format!("nothing more goes there until it registers anew: {why}");
        self.tell_of_trouble("agent_frozen", id.to_string(), message);
        if let Some(agent) = self.agents.get_mut(id) {
            agent.frozen = Some(why);
        }
        self.row(RowKey::Agent(id));
        self.sync_usable(id);
    }

    /// Once a turn and object: one contradiction may show at every task of an agent.
    fn tell_of_trouble(&mut self, kind: &'static str, subject: String, message: String) {
        self.troubles.entry((kind, subject)).or_insert(message);
    }

    /// No longer counts them.
    pub(crate) fn release(&mut self, key: &TaskKey) {
        self.back_in_reach(key);
        if self.tasks.get(key).is_none_or(|task| task.counted != Counted::Charged) {
            return;
        }
        let Some(usage) = self.task_use(key) else { return };
        self.uncharge(key, &usage.resources);
        if let Some(agent) = self.agents.get_mut(usage.agent) {
            match taken(&usage.resources).and_then(|less| agent.allocated.checked_sub(&less)) {
                Ok(rest) => agent.allocated = rest,
                Err(error) => {
                    self.drifted(usage.agent, format!("task {key} gave back too much: {error}"));
                }
            }
        }
        let id = usage.agent;
        self.holds.to_reclaim.insert(id);
        self.used_changed(id, key.framework, &usage.role, usage.group.as_ref());
        self.tell_allocator(Delta::Released(usage));
        self.sync_usable(id);
    }

    /// A task of an agent that is not counted still meets its group's target (K10).
    fn count_out_of_reach(&mut self, key: &TaskKey) {
        if let Some(task) = self.tasks.get_mut(key)
            && task.counted == Counted::No
            && let Some(group) = task.record.group.clone()
        {
            task.counted = Counted::OutOfReach;
            self.change_out_of_reach(key.framework, group, |tasks| tasks.saturating_add(1));
        }
    }

    /// The task is counted otherwise from now on, or no more.
    fn back_in_reach(&mut self, key: &TaskKey) {
        if let Some(task) = self.tasks.get_mut(key)
            && task.counted == Counted::OutOfReach
        {
            task.counted = Counted::No;
            if let Some(group) = task.record.group.clone() {
                self.change_out_of_reach(key.framework, group, |tasks| tasks.saturating_sub(1));
            }
        }
    }

    fn change_out_of_reach(
        &mut self,
        framework: FrameworkId,
        group: GroupName,
        change: impl FnOnce(u32) -> u32,
    ) {
        let Some(entry) = self.frameworks.get_mut(framework) else { return };
        let tasks = change(entry.out_of_reach.remove(&group).unwrap_or(0));
        if tasks > 0 {
            entry.out_of_reach.insert(group.clone(), tasks);
        }
        self.row(RowKey::Demand(DemandKey { framework, group: group.clone() }));
        self.tell_allocator(Delta::OutOfReach { framework, group, tasks });
    }

    fn uncharge(&mut self, key: &TaskKey, resources: &Resources) {
        self.claims.revocable.remove(key);
        if let Some(task) = self.tasks.get_mut(key) {
            task.counted = Counted::No;
        }
        if let Some(framework) = self.frameworks.get_mut(key.framework) {
            framework.allocated.subtract(resources);
        }
    }

    fn used_changed(
        &mut self,
        agent: AgentId,
        framework: FrameworkId,
        role: &proffer_types::RoleName,
        group: Option<&GroupName>,
    ) {
        self.row(RowKey::Agent(agent));
        self.row(RowKey::Framework(framework));
        if let Some(group) = group {
            self.row(RowKey::Demand(DemandKey { framework, group: group.clone() }));
        }
        for role in crate::state::roles::Roles::path(role) {
            self.row(RowKey::Role(role));
        }
    }

    /// The allocator counts the agent from now on; its tasks are charged by the caller.
    pub(crate) fn join_pool(&mut self, id: AgentId) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        if agent.in_pool {
            return;
        }
        agent.in_pool = true;
        agent.usable = false;
        let delta = Delta::AgentAdded {
            agent: id,
            name: agent.record.info.name.clone(),
            resources: agent.total.clone(),
            attributes: agent.record.info.attributes.clone(),
            usable: false,
        };
        self.tell_allocator(delta);
    }

    /// The allocator no longer counts the agent. Its leases have been ended by the caller; its uses end
    /// with it.
    pub(crate) fn leave_pool(&mut self, id: AgentId) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        if !agent.in_pool {
            return;
        }
        agent.in_pool = false;
        agent.usable = false;
        agent.allocated = Resources::new();
        let keys: Vec<TaskKey> = agent.tasks.iter().cloned().collect();
        let mut uncharged = Vec::new();
        for key in keys {
            let Some(task) = self.tasks.get(&key) else { continue };
            if task.counted == Counted::Charged {
                let (resources, role) =
                    (exclusive(&task.record.resources), task.record.role.clone());
                self.uncharge(&key, &resources);
                self.used_changed(id, key.framework, &role, None);
                uncharged.push(key);
            }
        }
        self.tell_allocator(Delta::AgentRemoved { agent: id });
        self.forget_claims_on(id);
        for key in uncharged {
            self.count_out_of_reach(&key);
        }
    }

    /// Tells the allocator whether leases may be made on the agent, if that changed.
    pub(crate) fn sync_usable(&mut self, id: AgentId) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        let usable = agent.takes_tasks();
        if !agent.in_pool || agent.usable == usable {
            return;
        }
        agent.usable = usable;
        self.tell_allocator(Delta::AgentUsable { agent: id, usable });
    }

    /// Makes an offer of what the allocator decided. `None` when the decision was overtaken.
    pub(crate) fn make_offer(&mut self, decision: Decision, now: Now) -> Option<Offer> {
        let id = OfferId { epoch: self.epoch(), sequence: decision.lease.0 };
        let (lease, agent) = (decision.lease, decision.agent);
        self.deltas.push(Delta::Offered(decision.clone()));
        let held = self.hold(id, decision, now);
        if held.is_none() {
            self.tell_allocator_of(Some(agent), Delta::Returned { lease });
        }
        held
    }

    fn hold(&mut self, id: OfferId, decision: Decision, now: Now) -> Option<Offer> {
        let ttl = self.config.offer_ttl;
        let held_max = self.config.offers_held_max as usize;
        let framework = self.frameworks.get_mut(decision.framework)?;
        let agent = self.agents.table.get_mut(&decision.agent)?;
        let may_hold =
            framework.stream.is_some() && framework.is_live() && framework.offers.len() < held_max;
        if !may_hold || !agent.takes_tasks() {
            return None;
        }
        // Several leases may hold a shared volume.
        let held = exclusive(&decision.resources);
        agent.offered = agent.offered.checked_add(&taken(&held).ok()?).ok()?;
        framework.offered.add(&held);
        framework.offers.insert(id);
        agent.offers.insert(id);
        let info = &agent.record.info;
        let offer = Offer {
            id,
            framework: decision.framework,
            role: decision.role,
            agent: decision.agent,
            agent_name: info.name.clone(),
            address: info.address.clone(),
            agent_version: agent.version,
            resources: decision.resources,
            attributes: info.attributes.clone(),
            group: decision.group,
            count: decision.count,
            expires_in: ttl,
            unavailability: agent.unavailability,
        };
        let expires = now.monotonic.after(ttl);
        let entry = OfferEntry { offer: offer.clone(), made: now.monotonic, expires };
        self.offers.table.insert(id, entry);
        self.deadlines.set(Deadline::Offer(id), expires);
        self.counters.offers_made += 1;
        self.row(RowKey::Offer(id));
        self.used_changed(offer.agent, offer.framework, &offer.role, offer.group.as_ref());
        Some(offer)
    }

    /// Ends a lease, whole, in all books. The caller tells the framework where it must know.
    pub(crate) fn end_lease(&mut self, id: OfferId) -> Option<Offer> {
        let OfferEntry { offer, .. } = self.offers.table.remove(&id)?;
        self.deadlines.clear(Deadline::Offer(id));
        if let Some(framework) = self.frameworks.get_mut(offer.framework) {
            framework.offers.remove(&id);
            framework.offered.subtract(&exclusive(&offer.resources));
            self.frameworks.unweighed.insert(offer.framework);
        }
        if let Some(agent) = self.agents.get_mut(offer.agent) {
            agent.offers.remove(&id);
            match taken(&offer.resources).and_then(|less| agent.offered.checked_sub(&less)) {
                Ok(rest) => agent.offered = rest,
                Err(error) => {
                    self.drifted(offer.agent, format!("offer {id} gave back too much: {error}"));
                }
            }
        }
        self.row(RowKey::Offer(id));
        self.used_changed(offer.agent, offer.framework, &offer.role, offer.group.as_ref());
        let returned = Delta::Returned { lease: LeaseId(id.sequence) };
        self.tell_allocator_of(Some(offer.agent), returned);
        Some(offer)
    }

    /// Takes every lease on an agent back and tells their holders why.
    pub(crate) fn rescind_agent(&mut self, id: AgentId, reason: &str) {
        let ids: Vec<OfferId> = self
            .agents
            .get(id)
            .map(|agent| agent.offers.iter().copied().collect())
            .unwrap_or_default();
        self.rescind(&ids, reason);
    }

    /// Takes leases back and tells their holders why.
    pub(crate) fn rescind(&mut self, ids: &[OfferId], reason: &str) {
        let mut by_framework: std::collections::BTreeMap<FrameworkId, Vec<OfferId>> =
            std::collections::BTreeMap::new();
        for id in ids {
            if let Some(offer) = self.end_lease(*id) {
                by_framework.entry(offer.framework).or_default().push(*id);
            }
        }
        for (framework, offers) in by_framework {
            let reason = reason.to_owned();
            self.tell(framework, proffer_types::scheduler::Event::Rescinded { offers, reason });
        }
    }

    /// Gives all leases of a framework back without telling it: it has no stream.
    pub(crate) fn return_leases(&mut self, framework: FrameworkId) {
        let ids: Vec<OfferId> = self
            .frameworks
            .get(framework)
            .map(|entry| entry.offers.iter().copied().collect())
            .unwrap_or_default();
        for id in ids {
            self.end_lease(id);
        }
    }
}

/// The agent that a change is about.
fn agent_of(delta: &Delta) -> Option<AgentId> {
    match delta {
        Delta::AgentAdded { agent, .. }
        | Delta::AgentChanged { agent, .. }
        | Delta::AgentConverted { agent, .. }
        | Delta::AgentRemoved { agent }
        | Delta::AgentUsable { agent, .. }
        | Delta::Filtered { agent, .. } => Some(*agent),
        Delta::Allocated(usage) | Delta::Released(usage) => Some(usage.agent),
        Delta::Offered(decision) => Some(decision.agent),
        Delta::Claimed { agent, .. } => Some(*agent),
        Delta::PolicySet { .. }
        | Delta::RoleSet { .. }
        | Delta::FrameworkAdded { .. }
        | Delta::FrameworkRemoved { .. }
        | Delta::FrameworkActive { .. }
        | Delta::Demand { .. }
        | Delta::OfferCondition { .. }
        | Delta::Suppressed { .. }
        | Delta::FiltersCleared { .. }
        | Delta::OutOfReach { .. }
        | Delta::ClaimEnded { .. }
        | Delta::ClaimsHold
        | Delta::Returned { .. } => None,
    }
}
