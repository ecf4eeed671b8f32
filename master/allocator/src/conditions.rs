//! What frameworks that state no demand want to be offered. Clients of one wish share a condition, which
//! looks at a class of agents once, or, when it names hosts, at an agent once.

use crate::agents::{Agent, Class, Classes, HOSTNAME, is_worth_offering};
use crate::amounts::{Amounts, CPUS, Dimensions, MEM};
use crate::delta::DeltaError;
use crate::fair_tree::{Owned, Queue};
use crate::slab::Slab;
use crate::slot_set::SlotSet;
use crate::state::Allocator;
use proffer_types::{FrameworkId, OfferCondition, RevocableUse, RoleName};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
struct Condition {
    stated: OfferCondition,
    clients: u32,
    minimum: Vec<Amounts>,
    by_host: bool,
    /// Classes that it admits; agents, when it names hosts.
    admitted: SlotSet,
}

/// The conditions of all clients that have one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    index: BTreeMap<OfferCondition, u32>,
    conditions: Slab<Condition>,
    /// Of these, such as have minima of their own.
    with_minimum: u32,
    /// Of these, such as say more than that they accept what is revocable.
    choosy: u32,
    /// Clients that accept what is revocable.
    takers: BTreeSet<u32>,
}

/// Whether a client that says so may be offered less than others of what everybody may have.
fn is_choosy(stated: &OfferCondition) -> bool {
    let is_trivial = stated.any_of.is_empty() && stated.minimum.is_empty();
    !is_trivial || stated.revocable == RevocableUse::Only
}

impl Condition {
    fn note(&mut self, at: u32, admits: bool) {
        match admits {
            true => self.admitted.insert(at),
            false => self.admitted.remove(at),
        }
    }

    fn judge(&mut self, classes: &Classes, agent: &Agent) {
        let mut attributes = classes.classes[agent.class].key.attributes.clone();
        attributes.extend(agent.hostname.iter().map(|host| (HOSTNAME.to_owned(), host.clone())));
        self.note(agent.slot, self.stated.admits(&attributes));
    }
}

impl Conditions {
    /// Whether nobody is choosy about what everybody may have.
    pub(crate) fn are_trivial(&self) -> bool {
        self.choosy == 0
    }

    /// What is said of revocable resources.
    pub(crate) fn revocable(&self, condition: Option<u32>) -> RevocableUse {
        condition.map_or(RevocableUse::Refuse, |id| self.conditions[id].stated.revocable)
    }

    /// Clients that accept what is revocable.
    pub(crate) fn takers(&self) -> impl Iterator<Item = u32> {
        self.takers.iter().copied()
    }

    /// Whether somebody may want less than is offered to others.
    pub(crate) fn has_minima(&self) -> bool {
        self.with_minimum > 0
    }

    fn join(
        &mut self,
        stated: &OfferCondition,
        dimensions: &mut Dimensions,
        classes: &Classes,
        agents: &Slab<Agent>,
    ) -> u32 {
        if let Some(id) = self.index.get(stated) {
            self.conditions[*id].clients += 1;
            return *id;
        }
        let minimum = stated.minimum.iter().map(|least| {
            let mut amounts = Amounts::default();
            least.iter().for_each(|(name, value)| amounts.set(dimensions.scalar(name), value));
            amounts
        });
        let mut condition = Condition {
            stated: stated.clone(),
            clients: 1,
            minimum: minimum.collect(),
            by_host: stated.any_of.iter().flatten().any(|rule| rule.attribute == HOSTNAME),
            admitted: SlotSet::default(),
        };
        if condition.by_host {
            agents.iter().for_each(|(_, agent)| condition.judge(classes, agent));
        } else {
            for (class, entry) in classes.classes.iter() {
                condition.note(class, stated.admits(&entry.key.attributes));
            }
        }
        self.with_minimum += u32::from(!condition.minimum.is_empty());
        self.choosy += u32::from(is_choosy(stated));
        let id = self.conditions.insert(condition);
        self.index.insert(stated.clone(), id);
        id
    }

    fn leave(&mut self, id: u32) {
        let condition = &mut self.conditions[id];
        condition.clients -= 1;
        if condition.clients == 0 {
            let condition = self.conditions.remove(id);
            self.index.remove(&condition.stated);
            self.with_minimum -= u32::from(!condition.minimum.is_empty());
            self.choosy -= u32::from(is_choosy(&condition.stated));
        }
    }

    /// A class is new.
    pub(crate) fn judge_class(&mut self, class: u32, entry: &Class) {
        for (_, condition) in self.conditions.iter_mut().filter(|(_, it)| !it.by_host) {
            condition.note(class, condition.stated.admits(&entry.key.attributes));
        }
    }

    /// An agent is new, or what it is.
    pub(crate) fn judge_agent(&mut self, classes: &Classes, agent: &Agent) {
        for (_, condition) in self.conditions.iter_mut().filter(|(_, it)| it.by_host) {
            condition.judge(classes, agent);
        }
    }

    /// Whether an agent will do.
    pub(crate) fn admits(&self, condition: Option<u32>, agent: &Agent) -> bool {
        condition.is_none_or(|id| {
            let condition = &self.conditions[id];
            let at = if condition.by_host { agent.slot } else { agent.class };
            condition.admitted.contains(at)
        })
    }

    /// Own minima; none: those of everybody.
    fn minimum(&self, condition: Option<u32>) -> &[Amounts] {
        condition.map_or(&[], |id| &self.conditions[id].minimum)
    }

    /// Whether it rules agents out for what they are.
    pub(crate) fn has_rules(&self, condition: Option<u32>) -> bool {
        condition.is_some_and(|id| !self.conditions[id].stated.any_of.is_empty())
    }

    /// Whether it has minima of its own.
    pub(crate) fn has_own_minimum(&self, condition: Option<u32>) -> bool {
        !self.minimum(condition).is_empty()
    }

    /// Whether amounts are enough for an offer, those of its reserved resources, where the client has a
    /// minimum of its own, included.
    pub(crate) fn is_enough(
        &self,
        condition: Option<u32>,
        amount: impl Fn(usize) -> u64,
        reserved: &[Owned<'_>],
    ) -> bool {
        let minimum = self.minimum(condition);
        if minimum.is_empty() {
            return is_worth_offering(amount);
        }
        let all = |dimension: usize| {
            let more = reserved.iter().filter(|entry| entry.dimension == dimension);
            more.fold(amount(dimension), |sum, entry| sum.saturating_add(entry.value))
        };
        minimum.iter().any(|least| least.iter().all(|(dimension, least)| all(dimension) >= least))
    }

    /// Whether all that is enough for `new` was enough for `old`.
    fn is_as_strict(&self, new: Option<u32>, old: Option<u32>) -> bool {
        let everybodys = || {
            [(CPUS, crate::agents::CPUS_MILLI_MIN), (MEM, crate::agents::MEM_BYTES_MIN)].map(
                |(dimension, value)| {
                    let mut amounts = Amounts::default();
                    amounts.set(dimension, value);
                    amounts
                },
            )
        };
        let minima = |condition| match self.minimum(condition) {
            [] => everybodys().to_vec(),
            own => own.to_vec(),
        };
        // Who takes more kinds of things may find enough where it did not.
        let takes_more = match (self.revocable(old), self.revocable(new)) {
            (RevocableUse::Refuse, new) => new != RevocableUse::Refuse,
            (old, new) => old == RevocableUse::Only && new != old,
        };
        let old = minima(old);
        !takes_more && minima(new).iter().all(|new| old.iter().any(|old| new.covers(old)))
    }
}

impl Allocator {
    /// A framework wants something else to be offered from now on. Agents that will do now and did not
    /// before are looked at again, no others.
    pub(crate) fn set_condition(
        &mut self,
        framework: FrameworkId,
        role: &RoleName,
        stated: &OfferCondition,
    ) -> Result<(), DeltaError> {
        self.known(framework)?;
        let client = self.frameworks[&framework].clients.get(role).copied();
        let Some(client) = client.filter(|client| self.clients[*client].subscribed) else {
            return Ok(());
        };
        let had_minima = self.conditions.has_minima();
        let new = (!stated.is_trivial()).then(|| {
            let (dimensions, classes) = (&mut self.dimensions, &self.classes);
            self.conditions.join(stated, dimensions, classes, &self.agents)
        });
        let old = std::mem::replace(&mut self.clients[client].condition, new);
        match self.conditions.revocable(new).is_accepted() {
            true => self.conditions.takers.insert(client),
            false => self.conditions.takers.remove(&client),
        };
        if self.conditions.has_minima() != had_minima {
            self.weigh_all();
        }
        self.wake_for_condition(client, new, old);
        if let Some(old) = old {
            self.conditions.leave(old);
            if self.conditions.has_minima() != had_minima {
                self.weigh_all();
            }
        }
        Ok(())
    }

    /// A client leaves its role, and its condition with it.
    pub(crate) fn drop_condition(&mut self, client: u32) {
        let had_minima = self.conditions.has_minima();
        if let Some(old) = self.clients[client].condition.take() {
            self.conditions.takers.remove(&client);
            self.conditions.leave(old);
        }
        if self.conditions.has_minima() != had_minima {
            self.weigh_all();
        }
    }

    fn wake_for_condition(&mut self, client: u32, new: Option<u32>, old: Option<u32>) {
        let takes_less = !self.conditions.is_as_strict(new, old);
        if takes_less && self.clients[client].is_at_limit {
            self.leave_limit(client);
        }
        if takes_less && self.clients[client].is_at_cap {
            self.leave_cap(client);
        }
        self.settle_client(client);
        if !self.fair.is_queued(self.clients[client].node, Queue::Classical) {
            return;
        }
        let (conditions, worth) = (&self.conditions, &self.worth);
        let will_do = |agent: &Agent| {
            worth.contains(agent.slot)
                && conditions.admits(new, agent)
                && (takes_less || !conditions.admits(old, agent))
        };
        let agents = self.agents.iter().filter(|(_, agent)| will_do(agent));
        let woken: Vec<u32> = agents.map(|(slot, _)| slot).collect();
        for slot in woken {
            self.pool.insert(slot);
            self.owed_pool.insert(slot);
        }
    }

    /// Whether somebody may be offered what is left on an agent. With minima of their own frameworks may
    /// want what others call a crumb.
    pub(crate) fn may_offer(&self, agent: &Agent) -> bool {
        agent.is_worth_offering()
            || (agent.usable && self.conditions.has_minima() && !agent.free.is_zero())
    }

    /// What is worth an offer to somebody has changed.
    fn weigh_all(&mut self) {
        let slots: Vec<u32> = self.slots.values().copied().collect();
        for slot in slots {
            self.weigh(slot);
        }
    }

    pub(crate) fn weigh(&mut self, slot: u32) {
        if self.may_offer(&self.agents[slot]) {
            self.worth.insert(slot);
        } else {
            self.worth.remove(slot);
        }
    }
}
