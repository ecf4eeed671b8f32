//! The life of reservations and volumes: what is wanted is written first, then the agent makes it so, and
//! what it says is written before anybody gets it (K18).

use crate::effect::{ReplyTo, WriteLane};
use crate::limits;
use crate::master::Master;
use crate::registry::{HoldIntent, HoldRecord, Record, RecordKey, RegistryChange};
use crate::state::agents::Link;
use crate::state::changes::RowKey;
use crate::state::holds::{HoldEntry, Writing};
use crate::state::pending::Continuation;
use proffer_allocator::Delta;
use proffer_types::agent::AgentOrder;
use proffer_types::hold::{
    AgentHold, Hold, HoldId, HoldKey, HoldNews, HoldStage, HoldState, ReclaimPolicy, Standing, Use,
};
use proffer_types::operator::HoldRow;
use proffer_types::scheduler::Event;
use proffer_types::{AgentId, FrameworkId, Now, Refusal};

use super::hold_plan::{Claimant, HoldPlan};

fn hold_change(id: HoldId, writing: &Writing) -> RegistryChange {
    match writing {
        Writing::Put(record) => {
            RegistryChange::put(RecordKey::Hold(id), Record::Hold(record.clone()))
        }
        Writing::Delete => RegistryChange::delete(RecordKey::Hold(id)),
    }
}

/// What follows from a hold's record and what its agent says.
enum Next {
    Nothing,
    Write(Writing),
    Order(AgentOrder),
    Quarantine,
}

impl Master {
    /// Writes what was planned; the answer comes when it is durable.
    pub(crate) fn begin_hold(&mut self, plan: HoldPlan, reply_to: Option<ReplyTo>) {
        self.rescind(&plan.in_the_way, "reserved");
        let HoldPlan { key, writing, mark, message, .. } = plan;
        let mut changes = Vec::new();
        if mark > self.cluster.hold_mark {
            self.cluster.hold_mark = mark;
            changes.push(self.cluster_change());
        }
        self.write_hold(key.id, writing, changes, reply_to.map(|to| (to, message)));
    }

    /// Writes what an accept asks for, all or none of it.
    pub(crate) fn begin_holds(&mut self, plans: Vec<HoldPlan>) {
        let Some(mark) = plans.iter().map(|plan| plan.mark).max() else { return };
        let mut changes = Vec::new();
        if mark > self.cluster.hold_mark {
            self.cluster.hold_mark = mark;
            changes.push(self.cluster_change());
        }
        let operation = self.pending.next_operation();
        changes.extend(plans.iter().map(|plan| hold_change(plan.key.id, &plan.writing)));
        let mut then = plans
            .iter()
            .map(|plan| Continuation::Hold { id: plan.key.id, reply: None })
            .collect::<Vec<_>>()
            .into_iter();
        if let Some(first) = then.next() {
            self.persist_as(operation, WriteLane::Registry, changes, first);
        }
        for next in then {
            self.pending.on_written(operation, next);
        }
        for plan in plans {
            self.rescind(&plan.in_the_way, "reserved");
            self.holds.begin(plan.key.id, plan.writing);
            if let Some(entry) = self.holds.table.get_mut(&plan.key.id) {
                entry.on = plan.on;
            }
            self.settle_total(plan.key.agent);
        }
    }

    fn write_hold(
        &mut self,
        id: HoldId,
        writing: Writing,
        mut changes: Vec<RegistryChange>,
        reply: Option<(ReplyTo, String)>,
    ) {
        changes.push(hold_change(id, &writing));
        let agent = self.hold_agent(id);
        self.holds.begin(id, writing);
        let now_at = self.hold_agent(id);
        self.persist(WriteLane::Registry, changes, Continuation::Hold { id, reply });
        for agent in [agent, now_at].into_iter().flatten() {
            self.settle_total(agent);
        }
    }

    fn hold_agent(&self, id: HoldId) -> Option<AgentId> {
        self.holds.get(id).and_then(|entry| entry.record()).map(|record| record.agent)
    }

    /// A record is durable: what it says is made so, or is so.
    pub(crate) fn hold_written(&mut self, id: HoldId, reply: Option<(ReplyTo, String)>, now: Now) {
        let before = self.holds.get(id).and_then(|entry| entry.durable.clone());
        self.holds.written(id);
        let after = self.holds.get(id).and_then(|entry| entry.durable.clone());
        let agents = [before.as_ref(), after.as_ref()].map(|it| it.map(|record| record.agent));
        for agent in agents.into_iter().flatten() {
            let key = HoldKey { agent, id };
            self.row(RowKey::Hold(key));
            self.reconcile_hold(key, now);
            self.settle_total(agent);
            self.holds.to_reclaim.insert(agent);
        }
        self.tell_of_hold(id, before.as_ref(), after.as_ref(), now);
        // Last: a reader that asks for at least this sees the row (K6).
        if let Some((reply_to, message)) = reply {
            self.reply_done(reply_to, message);
        }
    }

    /// The event log and the framework that made it learn how a hold stands.
    fn tell_of_hold(
        &mut self,
        id: HoldId,
        before: Option<&HoldRecord>,
        after: Option<&HoldRecord>,
        now: Now,
    ) {
        let Some(record) = after.or(before) else { return };
        let (agent, hold) = (record.agent, record.hold.clone());
        let state = after.map(|_| self.hold_state(HoldKey { agent, id }));
        let (kind, message) = match state {
            None => ("hold_removed", format!("{id} on {agent} is no more")),
            Some(HoldState::Applied) => {
                ("hold_applied", format!("{id} on {agent} is there: {}", hold.held()))
            }
            Some(HoldState::Pending) => ("hold_pending", format!("{id} on {agent} is wanted")),
            Some(HoldState::Removing) => {
                ("hold_removing", format!("{id} on {agent} is being removed"))
            }
            Some(HoldState::Lost) => ("hold_lost", format!("{id}: {agent} has it no more")),
            Some(HoldState::Quarantined) => {
                ("hold_quarantined", format!("{id} on {agent} is kept from everybody"))
            }
        };
        self.event(kind, id.to_string(), message, now);
        if let Some(framework) = hold.framework {
            let message = self.hold_message(HoldKey { agent, id });
            self.tell(framework, Event::Hold(HoldNews { agent, hold, state, message }));
        }
    }

    /// How a hold stands for people.
    pub(crate) fn hold_state(&self, key: HoldKey) -> HoldState {
        if self.holds.quarantined.contains(&key) {
            return HoldState::Quarantined;
        }
        let Some(record) = self.holds.get(key.id).and_then(|entry| entry.durable.as_ref()) else {
            return HoldState::Pending;
        };
        if self.agents.get(key.agent).is_none_or(|agent| agent.link == Link::Gone) {
            return HoldState::Lost;
        }
        match record.intent {
            HoldIntent::Pending => HoldState::Pending,
            HoldIntent::Applied => HoldState::Applied,
            HoldIntent::Removing => HoldState::Removing,
            HoldIntent::Lost => HoldState::Lost,
        }
    }

    fn hold_message(&self, key: HoldKey) -> String {
        let agent = key.agent;
        match self.hold_state(key) {
            HoldState::Lost => {
                let gone = self.agents.get(agent).is_none_or(|entry| entry.link == Link::Gone);
                let why = if gone { "is gone" } else { "came back without it" };
                format!("{agent} {why}; removing it here forgets it")
            }
            HoldState::Quarantined => {
                format!("{agent} has it, and the registry does not know it so; adopt it as it is")
            }
            HoldState::Pending | HoldState::Applied | HoldState::Removing => String::new(),
        }
    }

    /// A hold's row; `None` when there is nothing of it.
    pub(crate) fn hold_row(&self, key: HoldKey) -> Option<HoldRow> {
        let state = self.hold_state(key);
        let reported = || Some(&self.agents.get(key.agent)?.reported.get(&key.id)?.hold);
        let durable = self.holds.get(key.id).and_then(|entry| entry.durable.as_ref());
        let hold = match state {
            HoldState::Quarantined => reported()?,
            HoldState::Pending | HoldState::Applied | HoldState::Removing | HoldState::Lost => {
                &durable.filter(|record| record.agent == key.agent)?.hold
            }
        };
        let message = self.hold_message(key);
        Some(HoldRow { agent: key.agent, hold: hold.clone(), state, message })
    }

    /// What an agent has for whoever asks follows from what it reports and from its holds.
    pub(crate) fn settle_total(&mut self, id: AgentId) {
        let Some((total, overbooked)) = self.standing_of(id) else { return };
        let Some(agent) = self.agents.get_mut(id) else { return };
        agent.overbooked = overbooked;
        if agent.total != total {
            // What is claimed there may be gone; who needs it asks again.
            self.give_up_claims_on(id);
            let Some(agent) = self.agents.get_mut(id) else { return };
            let (from, to) = agent.total.changes_to(&total);
            agent.total = total;
            let delta = if agent.frozen.is_none() {
                Delta::AgentConverted { agent: id, from, to }
            } else {
                // The allocator may know something else.
                let attributes = agent.record.info.attributes.clone();
                Delta::AgentChanged { agent: id, resources: agent.total.clone(), attributes }
            };
            if agent.in_pool {
                self.tell_allocator(delta);
            }
            self.row(RowKey::Agent(id));
        }
        self.sync_usable(id);
    }

    /// With whether its holds take more than it has.
    fn standing_of(&self, id: AgentId) -> Option<(proffer_types::Resources, bool)> {
        let agent = self.agents.get(id)?;
        let reported = &agent.record.info.resources;
        let (holds, lost) = self.booked_at(id);
        if holds.is_empty() {
            return Some((reported.clone(), false));
        }
        let standing = Standing::of(reported, holds);
        let overbooked = standing.unfit.iter().any(|unfit| !lost.contains(unfit));
        Some((standing.total, overbooked))
    }

    /// Everything that is booked on an agent, and which of it is lost. What is lost is kept from everybody
    /// until somebody has decided, as far as the agent has it.
    pub(crate) fn booked_at(&self, id: AgentId) -> (Vec<(&Hold, Use)>, Vec<HoldId>) {
        let (mut booked, mut lost) = (Vec::new(), Vec::new());
        let reported = self.agents.get(id).map(|agent| &agent.reported);
        for hold in self.holds.at(id) {
            let key = HoldKey { agent: id, id: hold };
            let Some(entry) = self.holds.get(hold) else { continue };
            if self.holds.quarantined.contains(&key) {
                continue;
            }
            let Some(record) = entry.record() else { continue };
            let used = match entry.is_usable() {
                true => Use::Offered,
                false
                    if is_being_made(entry)
                        && entry
                            .on
                            .iter()
                            .any(|id| self.holds.get(*id).is_some_and(is_being_made)) =>
                {
                    Use::WithheldWithin
                }
                false => Use::Withheld,
            };
            if record.intent == HoldIntent::Lost {
                lost.push(hold);
            }
            booked.push((&record.hold, used));
        }
        let from = HoldKey { agent: id, id: HoldId::Reservation(Default::default()) };
        let quarantined = self.holds.quarantined.range(from..).take_while(|key| key.agent == id);
        for key in quarantined {
            if let Some(it) = reported.and_then(|reported| reported.get(&key.id)) {
                booked.push((&it.hold, Use::Withheld));
            }
        }
        (booked, lost)
    }

    /// An agent's list against the registry: everything that either has.
    pub(crate) fn reconcile_holds(&mut self, agent: AgentId, now: Now) {
        let mut ids: Vec<HoldId> = self.holds.at(agent).collect();
        let reported = self.agents.get(agent).map(|it| it.reported.keys().copied());
        ids.extend(reported.into_iter().flatten());
        ids.sort_unstable();
        ids.dedup();
        let from = HoldKey { agent, id: HoldId::Reservation(Default::default()) };
        let old: Vec<HoldKey> = self
            .holds
            .quarantined
            .range(from..)
            .take_while(|key| key.agent == agent)
            .copied()
            .collect();
        for key in old {
            // It may have been told of by an earlier session alone.
            self.holds.quarantined.remove(&key);
            self.row(RowKey::Hold(key));
        }
        for id in ids {
            self.reconcile_hold(HoldKey { agent, id }, now);
        }
        self.holds.to_reclaim.insert(agent);
        self.settle_total(agent);
    }

    /// One hold. Called again whenever its record or what the agent says has changed.
    fn reconcile_hold(&mut self, key: HoldKey, now: Now) {
        let quarantined = self.holds.quarantined.remove(&key);
        match self.next_of_hold(key) {
            Next::Nothing => {}
            Next::Order(order) => self.order(key.agent, order),
            Next::Write(writing) => {
                self.write_hold(key.id, writing, Vec::new(), None);
            }
            Next::Quarantine => {
                self.holds.quarantined.insert(key);
                if !quarantined {
                    let message = format!("{}: {}", key.id, self.hold_message(key));
                    self.event("hold_quarantined", key.id.to_string(), message, now);
                }
            }
        }
        if quarantined != self.holds.quarantined.contains(&key) {
            self.row(RowKey::Hold(key));
        }
    }

    fn next_of_hold(&self, key: HoldKey) -> Next {
        let Some(agent) = self.agents.get(key.agent).filter(|agent| agent.is_registered()) else {
            return Next::Nothing;
        };
        let said = agent.reported.get(&key.id);
        let entry = self.holds.get(key.id);
        let other = entry.and_then(|it| it.record()).is_some_and(|it| it.agent != key.agent);
        let Some(entry) = entry.filter(|_| !other) else {
            return if said.is_some() { Next::Quarantine } else { Next::Nothing };
        };
        if entry.writing.is_some() {
            return Next::Nothing;
        }
        let Some(record) = &entry.durable else { return Next::Nothing };
        let apply = || Next::Order(AgentOrder::ApplyHold { hold: record.hold.clone() });
        let into = |intent: HoldIntent| {
            let before = None;
            Writing::Put(Box::new(HoldRecord { intent, before, ..record.clone() }))
        };
        let lost = || Next::Write(into(HoldIntent::Lost));
        let is = |it: &AgentHold, hold: &Hold| it.stage == HoldStage::Applied && it.hold == *hold;
        match (record.intent, said) {
            (HoldIntent::Pending, None) if record.before.is_some() => lost(),
            (HoldIntent::Pending, None) => apply(),
            (HoldIntent::Pending, Some(it)) if is(it, &record.hold) => {
                Next::Write(into(HoldIntent::Applied))
            }
            (HoldIntent::Pending, Some(it))
                if record.before.as_ref().is_some_and(|before| is(it, before)) =>
            {
                apply()
            }
            (HoldIntent::Applied, Some(it)) if is(it, &record.hold) => Next::Nothing,
            (HoldIntent::Applied, None) => lost(),
            (HoldIntent::Pending | HoldIntent::Applied, Some(it))
                if it.stage == HoldStage::Lost && it.hold.op <= record.op =>
            {
                lost()
            }
            (HoldIntent::Removing, None) => Next::Write(Writing::Delete),
            (HoldIntent::Removing, Some(it)) if it.hold.op <= record.op => {
                Next::Order(AgentOrder::RemoveHold { id: key.id, op: record.op })
            }
            (HoldIntent::Lost, None) => Next::Nothing,
            (HoldIntent::Lost, Some(it)) if it.stage == HoldStage::Lost => Next::Nothing,
            (
                HoldIntent::Pending | HoldIntent::Applied | HoldIntent::Removing | HoldIntent::Lost,
                Some(_),
            ) => Next::Quarantine,
        }
    }

    /// An agent has carried out an order, or will not.
    pub(crate) fn hold_done(
        &mut self,
        agent: AgentId,
        (id, op): (HoldId, u64),
        refusal: Option<&Refusal>,
        now: Now,
    ) {
        let key = HoldKey { agent, id };
        let record = self.holds.get(id).and_then(|entry| entry.durable.clone());
        let removed = record.as_ref().is_none_or(|it| {
            it.agent != agent || (it.intent == HoldIntent::Removing && it.op == op)
        });
        let Some(entry) = self.agents.get_mut(agent) else { return };
        match (refusal, &record) {
            // What an earlier master asked for, which nobody remembers: it is gone, or was.
            (None, _) if removed => {
                entry.reported.remove(&id);
            }
            (None, Some(record)) if record.agent == agent && record.hold.op == op => {
                let hold = record.hold.clone();
                entry.reported.insert(id, AgentHold { hold, stage: HoldStage::Applied });
            }
            (Some(refusal), Some(record)) if record.agent == agent && record.op == op => {
                return self.hold_refused(key, record.clone(), refusal, now);
            }
            (None | Some(_), _) => return self.counters.stale_frames += 1,
        }
        self.reconcile_hold(key, now);
        self.settle_total(agent);
    }

    /// The agent's books differ: what was to be is not, and what was before is as it was.
    fn hold_refused(&mut self, key: HoldKey, record: HoldRecord, refusal: &Refusal, now: Now) {
        let is_open = matches!(record.intent, HoldIntent::Pending | HoldIntent::Removing);
        if !is_open || self.holds.get(key.id).is_none_or(|entry| entry.writing.is_some()) {
            self.counters.stale_frames += 1;
            return;
        }
        let message = format!("{} refuses a change of {}: {refusal}", key.agent, key.id);
        self.event("hold_refused", key.id.to_string(), message.clone(), now);
        if let Some(framework) = record.hold.framework {
            let (agent, hold) = (key.agent, record.hold.clone());
            let state = Some(self.hold_state(key));
            self.tell(framework, Event::Hold(HoldNews { agent, hold, state, message }));
        }
        let intent = HoldIntent::Applied;
        let writing = match (record.intent, record.before.clone()) {
            (HoldIntent::Removing, _) => Writing::Put(Box::new(HoldRecord { intent, ..record })),
            (_, Some(before)) => {
                Writing::Put(Box::new(HoldRecord { intent, hold: before, before: None, ..record }))
            }
            (_, None) => Writing::Delete,
        };
        self.write_hold(key.id, writing, Vec::new(), None);
    }

    /// The agent is gone for good: so is what it had.
    pub(crate) fn holds_gone(&mut self, agent: AgentId, now: Now) {
        if let Some(entry) = self.agents.get_mut(agent) {
            entry.reported.clear();
        }
        let from = HoldKey { agent, id: HoldId::Reservation(Default::default()) };
        let keys = self.holds.quarantined.range(from..).take_while(|key| key.agent == agent);
        let keys: Vec<HoldKey> = keys.copied().collect();
        for key in keys {
            self.holds.quarantined.remove(&key);
            self.row(RowKey::Hold(key));
        }
        for id in self.holds.at(agent).collect::<Vec<_>>() {
            self.row(RowKey::Hold(HoldKey { agent, id }));
            let record = self.holds.get(id).and_then(|entry| entry.durable.clone());
            self.tell_of_hold(id, None, record.as_ref(), now);
        }
        self.settle_total(agent);
    }

    /// A framework was removed: what it made to be deleted with it goes, as soon as nobody uses it.
    pub(crate) fn reclaim_of(&mut self, framework: FrameworkId) {
        let made = self.holds.table.values().filter_map(|entry| entry.record());
        let agents = made.filter(|it| it.hold.framework == Some(framework)).map(|it| it.agent);
        let agents: Vec<AgentId> = agents.collect();
        self.holds.to_reclaim.extend(agents);
    }

    /// Looks at the agents where something has changed. Volumes go first, then the levels they are on.
    pub(crate) fn reclaim(&mut self) {
        while self.pending.has_room_to_spare()
            && let Some(agent) = self.holds.to_reclaim.pop_first()
        {
            let mut ids: Vec<HoldId> = self.holds.at(agent).collect();
            let depth = |id: &HoldId| {
                self.holds.get(*id).and_then(|it| it.record()).map(|it| it.hold.levels().len())
            };
            ids.sort_by_key(|id| (depth(id), matches!(id, HoldId::Volume(_)), *id));
            for id in ids.into_iter().rev() {
                let Some(plan) = self.check(|master| master.reclaimable(id)) else { continue };
                self.unasked = true;
                self.begin_hold(plan, None);
                self.unasked = false;
            }
        }
    }

    fn reclaimable(&self, id: HoldId) -> Option<HoldPlan> {
        let record = self.holds.get(id)?.durable.as_ref()?;
        let framework = record.hold.framework?;
        let removed = self.frameworks.get(framework).is_none_or(|entry| entry.is_ended());
        let wanted = record.hold.reclaim == ReclaimPolicy::Delete && removed;
        if !wanted || record.intent != HoldIntent::Applied {
            return None;
        }
        self.plan_removal(&Claimant::Cluster, id).ok()
    }

    /// Bounds of all agents together (I15).
    pub(crate) fn hold_count_fits(&self) -> bool {
        self.holds.table.len() < limits::HOLDS_MAX
    }
}

/// Whether it is not known, durably, that its agent has it.
fn is_being_made(entry: &HoldEntry) -> bool {
    entry.durable.as_ref().is_none_or(|record| record.intent == HoldIntent::Pending)
}
