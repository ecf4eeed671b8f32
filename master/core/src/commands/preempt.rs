//! Claims (K11): victims are named to their agent, which gives them their time; their frameworks are asked
//! at once and may free as much in another way. What becomes free on the agent goes to the claim, and the
//! moment nothing is missing it is leased to its beneficiary alone and whoever is left runs on.

use crate::limits;
use crate::master::Master;
use crate::state::changes::RowKey;
use crate::state::claims::{ClaimEntry, Plan, Search};
use crate::state::deadlines::Deadline;
use proffer_allocator::Delta;
use proffer_types::agent::{AgentOrder, AgentTask};
use proffer_types::inverse_offer::{InverseAnswer, InverseOffer, VacateReason};
use proffer_types::scheduler::Event;
use proffer_types::{
    AgentId, Claim, ClaimId, ClaimMark, DemandKey, DurationMs, FrameworkId, InverseOfferId, Now,
    TaskKey, TaskName, WallTime,
};
use std::collections::{BTreeMap, BTreeSet};

/// How often somebody is looked for who starves.
const LOOK_EVERY: DurationMs = DurationMs(1_000);
/// How soon a search goes on.
const GO_ON_AFTER: DurationMs = DurationMs(50);
/// How long a group that no victims were found for waits until the next search.
const LOOK_AGAIN_AFTER: DurationMs = DurationMs(5_000);
/// How long victims may take to end once they are killed, before a claim is given up.
const SETTLE_AFTER: DurationMs = DurationMs(60_000);

impl Master {
    pub(crate) fn preemption_due(&mut self, now: Now) {
        let next = if self.look_for_victims(now) { GO_ON_AFTER } else { LOOK_EVERY };
        self.deadlines.set(Deadline::Preemption, now.monotonic.after(next));
    }

    /// Claims what a search has found.
    pub(crate) fn claim_all(&mut self, search: Search, now: Now) {
        let Search { starving, plans, who, .. } = search;
        if let Some(wait) = self.claims.waits.get_mut(&starving.key) {
            wait.look_at = now.monotonic.after(LOOK_AGAIN_AFTER);
        }
        for Plan { agent, .. } in plans {
            // Those before it have taken what roles and groups could do without.
            let mut bounds = self.bounds(who);
            let Some(plan) = self.plan_victims(&starving, agent, &mut bounds, now) else {
                continue;
            };
            self.claims.made += 1;
            let id = ClaimId { epoch: self.epoch(), sequence: self.claims.made };
            let claim = Claim {
                id,
                framework: starving.key.framework,
                group: starving.key.group.clone(),
                role: starving.role.clone(),
                resources: starving.shape.clone(),
                fixed_ports: starving.fixed_ports,
                creditor: starving.creditor.clone(),
            };
            self.begin_claim(plan.agent, claim, plan.victims.into_iter().collect(), now);
        }
    }

    fn begin_claim(&mut self, agent: AgentId, claim: Claim, victims: BTreeSet<TaskKey>, now: Now) {
        let grace = self.config.preemption.grace;
        let why = match &claim.creditor {
            Some(role) => format!("{role} is owed it"),
            None => "of higher priority".to_owned(),
        };
        let message = format!(
            "{} tasks on {agent} have {grace} to make room for {} of {} ({why})",
            victims.len(),
            claim.group,
            claim.framework
        );
        self.event("preemption", claim.id.to_string(), message, now);
        self.keep_claim(agent, claim, victims, grace, now);
    }

    /// Books a claim, new or found at its agent.
    fn keep_claim(
        &mut self,
        agent: AgentId,
        claim: Claim,
        victims: BTreeSet<TaskKey>,
        left: DurationMs,
        now: Now,
    ) {
        let id = claim.id;
        let until = now.monotonic.after(left);
        let until_wall = WallTime(now.wall.0.saturating_add(left.0));
        self.tell_allocator(Delta::Claimed { agent, claim: claim.clone() });
        let frameworks: BTreeSet<FrameworkId> = victims.iter().map(|key| key.framework).collect();
        let token = |key: TaskKey| {
            let token = self.tasks.get(&key)?.record.status.token;
            Some((key, token))
        };
        let victims = victims.into_iter().filter_map(token).collect();
        let entry = ClaimEntry { claim, agent, victims, asks: BTreeMap::new(), until, until_wall };
        self.claims.table.insert(id, entry);
        self.deadlines.set(Deadline::Claim(id), until.after(SETTLE_AFTER));
        self.order_claim(id, now);
        for framework in frameworks {
            self.inverse_offers_made += 1;
            let ask = InverseOfferId { epoch: self.epoch(), sequence: self.inverse_offers_made };
            if let Some(entry) = self.claims.table.get_mut(&id) {
                entry.asks.insert(framework, ask);
            }
            self.claims.by_ask.insert(ask, id);
            self.tell_claim(id, framework, now);
        }
        self.claim_changed(id);
    }

    fn claim_changed(&mut self, id: ClaimId) {
        let Some(entry) = self.claims.table.get(&id) else { return };
        let ClaimEntry { claim: Claim { framework, group, .. }, agent, .. } = entry;
        let key = DemandKey { framework: *framework, group: group.clone() };
        let agent = *agent;
        self.row(RowKey::Agent(agent));
        self.row(RowKey::Demand(key));
    }

    /// Names its victims to its agent.
    fn order_claim(&mut self, id: ClaimId, now: Now) {
        let Some(entry) = self.claims.table.get(&id) else { return };
        let order = AgentOrder::Preempt {
            claim: entry.claim.clone(),
            tasks: entry.victims.keys().cloned().collect(),
            grace: entry.until.since(now.monotonic),
        };
        self.order(entry.agent, order);
    }

    fn tell_claim(&mut self, id: ClaimId, framework: FrameworkId, now: Now) {
        let Some(entry) = self.claims.table.get(&id) else { return };
        let Some(agent) = self.agents.get(entry.agent) else { return };
        let Some(ask) = entry.asks.get(&framework) else { return };
        let of_framework = entry.victims.keys().filter(|key| key.framework == framework);
        let tasks: Vec<TaskName> = of_framework.map(|key| key.name.clone()).collect();
        let Claim { framework: served, group, role, .. } = &entry.claim;
        let offer = InverseOffer {
            id: *ask,
            agent: entry.agent,
            agent_name: agent.record.info.name.clone(),
            tasks,
            reason: VacateReason::Preemption {
                framework: *served,
                group: group.clone(),
                role: role.clone(),
            },
            deadline: Some(entry.until.since(now.monotonic)),
        };
        self.urge(framework, Event::InverseOffers { offers: vec![offer] });
    }

    /// A subscription begins: what it is asked for claims is said again.
    pub(crate) fn tell_all_claims(&mut self, framework: FrameworkId, now: Now) {
        let asked =
            self.claims.table.iter().filter(|(_, entry)| entry.asks.contains_key(&framework));
        let ids: Vec<ClaimId> = asked.map(|(id, _)| *id).collect();
        for id in ids {
            self.tell_claim(id, framework, now);
        }
    }

    /// A framework answers; its time runs all the same. Whether this was about a claim.
    pub(crate) fn claim_answered(
        &mut self,
        framework: FrameworkId,
        ask: InverseOfferId,
        answer: &InverseAnswer,
        now: Now,
    ) -> bool {
        let Some(id) = self.claims.by_ask.get(&ask).copied() else { return false };
        let asks = self.claims.table.get(&id).map(|entry| &entry.asks);
        if asks.is_none_or(|asks| asks.get(&framework) != Some(&ask)) {
            return false;
        }
        if let InverseAnswer::Declined { reason } = answer {
            let message = format!("{framework} would keep its tasks: {reason}");
            self.event("inverse_offer_declined", id.to_string(), message, now);
        }
        true
    }

    /// Claims that nobody needs any more, or whose agent takes no tasks, end; of the others those who
    /// have gone are crossed out.
    pub(crate) fn settle_claims(&mut self, now: Now) {
        let ids: Vec<ClaimId> = self.claims.table.keys().rev().copied().collect();
        for id in ids {
            if let Some(entry) = self.claims.table.get_mut(&id) {
                let (tasks, named) = (&self.tasks, entry.victims.len());
                entry.victims.retain(|key, token| {
                    let task = tasks.get(key).filter(|task| !task.is_terminal());
                    task.is_some_and(|task| task.record.status.token == *token)
                });
                if entry.victims.len() < named {
                    self.claim_changed(id);
                }
            }
            let Some(entry) = self.claims.table.get(&id) else { continue };
            let (agent, framework) = (entry.agent, entry.claim.framework);
            let key = DemandKey { framework, group: entry.claim.group.clone() };
            if !self.agents.get(agent).is_some_and(|agent| agent.takes_tasks()) {
                self.cancel_claim(id, "its agent takes no tasks", now);
                continue;
            }
            if self.is_claim_known(framework)
                && self.claims.of(&key).len() > self.allocator.claimable(id) as usize
            {
                self.cancel_claim(id, "it is not needed any more", now);
            }
        }
    }

    /// Until a framework has said what it wants, nobody knows better than a claim for it.
    fn is_claim_known(&self, framework: FrameworkId) -> bool {
        self.frameworks
            .get(framework)
            .is_none_or(|entry| entry.is_ended() || (entry.stream.is_some() && entry.states_demand))
    }

    /// Everybody has gone and what came free was given: a claim that is still not met never will be.
    pub(crate) fn end_vain_claims(&mut self, now: Now) {
        if self.allocation_unfinished {
            return;
        }
        let in_vain = self.claims.table.iter().filter(|(_, entry)| {
            entry.victims.is_empty() && self.is_claim_known(entry.claim.framework)
        });
        let ids: Vec<ClaimId> = in_vain.map(|(id, _)| *id).collect();
        for id in ids {
            self.cancel_claim(id, "whoever was named has gone, and it is not enough", now);
        }
    }

    /// Its victims have not ended in time.
    pub(crate) fn claim_overdue(&mut self, id: ClaimId, now: Now) {
        self.cancel_claim(id, "it has not come true in time", now);
    }

    fn cancel_claim(&mut self, id: ClaimId, why: &str, now: Now) {
        let message = format!("no more room is made: {why}");
        self.event("preemption_cancelled", id.to_string(), message, now);
        let in_pool = self.claims.table.get(&id).and_then(|entry| self.agents.get(entry.agent));
        if in_pool.is_some_and(|agent| agent.in_pool) {
            self.tell_allocator(Delta::ClaimEnded { claim: id });
        }
        self.drop_claim(id, "cancelled");
    }

    /// The allocator has leased what a claim was for.
    pub(crate) fn claim_met(&mut self, id: ClaimId) {
        self.drop_claim(id, "done");
    }

    /// What an agent has is about to change.
    pub(crate) fn give_up_claims_on(&mut self, agent: AgentId) {
        let in_pool = self.agents.get(agent).is_some_and(|agent| agent.in_pool);
        let ids: Vec<ClaimId> = self.claims.on(agent).map(|(id, _)| *id).collect();
        for claim in ids.into_iter().filter(|_| in_pool) {
            self.tell_allocator(Delta::ClaimEnded { claim });
            self.drop_claim(claim, "cancelled");
        }
    }

    /// An agent is not counted any more, and the allocator has forgotten what was claimed there.
    pub(crate) fn forget_claims_on(&mut self, agent: AgentId) {
        let ids: Vec<ClaimId> = self.claims.on(agent).map(|(id, _)| *id).collect();
        for id in ids {
            self.drop_claim(id, "cancelled");
        }
    }

    /// Forgets a claim; whoever still runs for it runs on.
    fn drop_claim(&mut self, id: ClaimId, why: &str) {
        self.claim_changed(id);
        self.deadlines.clear(Deadline::Claim(id));
        let Some(entry) = self.claims.table.remove(&id) else { return };
        self.order(entry.agent, AgentOrder::DropClaim { claim: id });
        for (framework, ask) in entry.asks {
            self.claims.by_ask.remove(&ask);
            let reason = why.to_owned();
            self.urge(framework, Event::InverseOffersRescinded { offers: vec![ask], reason });
        }
    }

    /// An agent has registered: claims that an earlier leader made go on, those that ended while it was
    /// away end there too, and those it has not heard of are named again.
    pub(crate) fn take_claims(
        &mut self,
        agent: AgentId,
        marks: Vec<(TaskKey, ClaimMark)>,
        now: Now,
    ) {
        let mut listed: BTreeMap<ClaimId, (ClaimMark, BTreeSet<TaskKey>)> = BTreeMap::new();
        for (key, mark) in marks {
            let entry = listed.entry(mark.claim.id).or_insert((mark, BTreeSet::new()));
            entry.1.insert(key);
        }
        let known: Vec<ClaimId> = self.claims.on(agent).map(|(id, _)| *id).collect();
        for id in known {
            self.order_claim(id, now);
        }
        // The newest first: an agent has one, and may not have heard that an earlier one has ended.
        for (id, (mark, victims)) in listed.into_iter().rev() {
            if self.claims.table.contains_key(&id) {
                continue;
            }
            let has_room = self.claims.on(agent).next().is_none()
                && self.claims.table.len() < limits::CLAIMS_MAX;
            if id.epoch < self.epoch() && has_room {
                // No agent says how long others may be kept waiting.
                let left = mark.left.min(self.config.preemption.grace);
                self.keep_claim(agent, mark.claim, victims, left, now);
            } else {
                self.order(agent, AgentOrder::DropClaim { claim: id });
            }
        }
    }
}

/// What the tasks of an agent's list are to make room for.
pub(crate) fn marks_of(list: &[AgentTask]) -> Vec<(TaskKey, ClaimMark)> {
    let marked = list.iter().filter_map(|task| Some((task, task.claim.clone()?)));
    marked.map(|(task, mark)| (task.record.status.key(), mark)).collect()
}
