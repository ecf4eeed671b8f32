//! Empties an agent: frameworks are asked to give up what they have there by inverse offers, and at the
//! deadline what is left is killed. Without a deadline only those are hurried that do not answer.

use crate::limits;
use crate::master::Master;
use crate::registry::AgentMode;
use crate::state::agents::Link;
use crate::state::changes::RowKey;
use crate::state::deadlines::Deadline;
use crate::state::tasks::KillOrder;
use crate::state::vacate::{Ask, Vacate};
use crate::state::windows::WindowEntry;
use crate::turn::weighed;
use proffer_types::inverse_offer::{InverseAnswer, InverseOffer, VacateReason};
use proffer_types::scheduler::Event;
use proffer_types::{
    AgentId, DurationMs, FrameworkId, InverseOfferId, Now, Refusal, RefusalCode, TaskKey,
};
use std::collections::BTreeMap;

impl Master {
    /// Why and until when the agent is to be emptied; `None`: it is not.
    pub(crate) fn wanted_vacate(&self, id: AgentId) -> Option<(VacateReason, Option<DurationMs>)> {
        let agent = self.agents.get(id).filter(|agent| agent.link != Link::Gone)?;
        let window = self.window_of(id).and_then(WindowEntry::vacate);
        match agent.record.mode {
            // An open window leaves nobody any time.
            _ if window.as_ref().is_some_and(|(_, left)| *left == Some(DurationMs(0))) => window,
            AgentMode::Draining { deadline } => Some((VacateReason::Drain, deadline)),
            AgentMode::Active | AgentMode::Deactivated => window,
        }
    }

    /// What operators want of the agent may have changed: begins to empty it, goes on otherwise, or
    /// lets it be.
    pub(crate) fn sync_vacate(&mut self, id: AgentId, now: Now) {
        let wanted = self.wanted_vacate(id);
        let Some(agent) = self.agents.get(id) else { return };
        let current = agent.vacate.as_ref().map(|it| (it.reason.clone(), it.deadline));
        if current == wanted {
            return;
        }
        let why = if wanted.is_some() { "changed" } else { "cancelled" };
        self.end_vacate(id, why);
        if wanted.as_ref().is_none_or(|(_, deadline)| *deadline != Some(DurationMs(0))) {
            self.forget_kills(id);
        }
        if let Some((reason, deadline)) = wanted {
            self.begin_vacate(id, Vacate::new(reason, deadline), now);
        }
        self.row(RowKey::Agent(id));
    }

    fn begin_vacate(&mut self, id: AgentId, vacate: Vacate, now: Now) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        agent.vacate = Some(vacate);
        self.recount(id, now);
        self.arm_vacate(id, now);
    }

    /// The deadline runs from now on.
    pub(crate) fn arm_vacate(&mut self, id: AgentId, now: Now) {
        let Some(vacate) = self.agents.get(id).and_then(|agent| agent.vacate.as_ref()) else {
            return;
        };
        match vacate.deadline {
            None => {}
            Some(DurationMs(0)) => self.vacate_deadline(id, now),
            Some(deadline) => {
                self.deadlines.set(Deadline::Vacate(id), now.monotonic.after(deadline));
            }
        }
    }

    /// Nobody is asked any more.
    fn end_vacate(&mut self, id: AgentId, why: &str) {
        let Some(vacate) = self.agents.get_mut(id).and_then(|agent| agent.vacate.take()) else {
            return;
        };
        self.deadlines.clear(Deadline::Vacate(id));
        for (framework, ask) in vacate.asks {
            self.rescind_ask(id, framework, ask.id, why);
        }
    }

    /// What the agent has not heard of is not to be.
    fn forget_kills(&mut self, id: AgentId) {
        for key in self.active_tasks(id) {
            if let Some(task) = self.tasks.get_mut(&key)
                && task.kill.is_some_and(|kill| kill.cause.empties_agent())
            {
                task.kill = None;
            }
        }
    }

    /// Everything about an agent that is gone for good.
    pub(crate) fn forget_vacate(&mut self, id: AgentId) {
        self.end_vacate(id, "done");
    }

    fn active_tasks(&self, id: AgentId) -> Vec<TaskKey> {
        let keys = self.agents.get(id).into_iter().flat_map(|agent| agent.tasks.iter());
        keys.filter(|key| self.tasks.get(key).is_some_and(|task| !task.is_terminal()))
            .cloned()
            .collect()
    }

    fn ask(&mut self, id: AgentId, framework: FrameworkId, tasks: u32, now: Now) {
        self.inverse_offers_made += 1;
        let offer = InverseOfferId { epoch: self.epoch(), sequence: self.inverse_offers_made };
        let ask = Ask { id: offer, tasks, answer: InverseAnswer::None, is_lapsed: false };
        let Some(agent) = self.agents.get_mut(id) else { return };
        let Some(vacate) = agent.vacate.as_mut() else { return };
        vacate.asks.insert(framework, ask);
        if let Some(entry) = self.frameworks.get_mut(framework) {
            entry.asked.insert(offer, id);
        }
        self.tell_asks(framework, &[id], now);
    }

    /// Tells a framework what it is asked to give up on these agents.
    fn tell_asks(&mut self, framework: FrameworkId, agents: &[AgentId], now: Now) {
        if self.frameworks.outbox(framework).is_none() {
            return;
        }
        let mut offers = Vec::new();
        for id in agents {
            let Some(agent) = self.agents.get(*id) else { continue };
            let Some(vacate) = &agent.vacate else { continue };
            let Some(ask) = vacate.asks.get(&framework) else { continue };
            let until = self.deadlines.at(Deadline::Vacate(*id));
            let left = until.map(|until| until.since(now.monotonic)).or(vacate.deadline);
            offers.push(InverseOffer {
                id: ask.id,
                agent: *id,
                agent_name: agent.record.info.name.clone(),
                tasks: Vec::new(),
                reason: vacate.reason.clone(),
                deadline: if vacate.is_binding { Some(DurationMs(0)) } else { left },
            });
            if vacate.deadline.is_none() && ask.answer == InverseAnswer::None && !ask.is_lapsed {
                let until = now.monotonic.after(self.config.inverse_offer_timeout);
                self.deadlines.set(Deadline::InverseOffer(*id, framework), until);
            }
        }
        for offers in weighed(offers, limits::LIST_WEIGHT_MAX) {
            self.urge(framework, Event::InverseOffers { offers });
        }
    }

    /// A subscription begins: everything that stands is said again, and answered anew.
    pub(crate) fn tell_all_asks(&mut self, framework: FrameworkId, now: Now) {
        let Some(entry) = self.frameworks.get(framework) else { return };
        let agents: Vec<AgentId> = entry.asked.values().copied().collect();
        for id in &agents {
            self.set_answer(*id, framework, InverseAnswer::None);
        }
        self.tell_asks(framework, &agents, now);
    }

    /// Nobody is there to answer: that is nobody's silence.
    pub(crate) fn asks_wait(&mut self, framework: FrameworkId) {
        let Some(entry) = self.frameworks.get(framework) else { return };
        for id in entry.asked.values() {
            self.deadlines.clear(Deadline::InverseOffer(*id, framework));
        }
    }

    fn set_answer(&mut self, id: AgentId, framework: FrameworkId, answer: InverseAnswer) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        let Some(vacate) = agent.vacate.as_mut() else { return };
        let Some(ask) = vacate.asks.get_mut(&framework) else { return };
        if ask.answer != answer {
            ask.answer = answer;
            self.row(RowKey::Agent(id));
        }
    }

    fn rescind_ask(&mut self, id: AgentId, framework: FrameworkId, ask: InverseOfferId, why: &str) {
        self.deadlines.clear(Deadline::InverseOffer(id, framework));
        if let Some(entry) = self.frameworks.get_mut(framework) {
            entry.asked.remove(&ask);
        }
        let reason = why.to_owned();
        self.urge(framework, Event::InverseOffersRescinded { offers: vec![ask], reason });
    }

    /// A framework answers. What was rescinded meanwhile needs no answer.
    pub(crate) fn answer_inverse_offers(
        &mut self,
        framework: FrameworkId,
        offers: &[InverseOfferId],
        answer: &InverseAnswer,
        now: Now,
    ) {
        if let Err(refusal) = self.check(|_| check_answer(answer)) {
            return self.refuse_call(framework, "decline_inverse_offers", refusal);
        }
        for offer in offers {
            if self.claim_answered(framework, *offer, answer, now) {
                continue;
            }
            let Some(entry) = self.frameworks.get(framework) else { return };
            let Some(id) = entry.asked.get(offer).copied() else { continue };
            self.deadlines.clear(Deadline::InverseOffer(id, framework));
            self.set_answer(id, framework, answer.clone());
            if let InverseAnswer::Declined { reason } = answer {
                let message = format!("{framework} keeps its tasks on {id}: {reason}");
                self.event("inverse_offer_declined", id.to_string(), message, now);
            }
        }
    }

    /// From now on nobody is asked: what is left is killed, with its grace.
    pub(crate) fn vacate_deadline(&mut self, id: AgentId, now: Now) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        let Some(vacate) = agent.vacate.as_mut() else { return };
        vacate.is_binding = true;
        let (left, asked) = (agent.tasks_active, vacate.deadline.is_some_and(|it| it.0 > 0));
        if asked && left > 0 {
            let message = format!("the deadline is over: {left} tasks that are left are killed");
            self.event("agent_deadline", id.to_string(), message, now);
        }
        self.row(RowKey::Agent(id));
        for key in self.active_tasks(id) {
            self.kill_to_vacate(&key, now);
        }
    }

    /// A framework has not answered in time, and nothing else would ever end its tasks.
    pub(crate) fn inverse_offer_lapsed(&mut self, id: AgentId, framework: FrameworkId, now: Now) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        let Some(vacate) = agent.vacate.as_mut() else { return };
        let Some(ask) = vacate.asks.get_mut(&framework) else { return };
        ask.is_lapsed = true;
        let message =
            format!("{framework} did not answer: its {} tasks on {id} are killed", ask.tasks);
        self.event("inverse_offer_lapsed", id.to_string(), message, now);
        for key in self.active_tasks(id) {
            if key.framework == framework {
                self.kill_to_vacate(&key, now);
            }
        }
    }

    /// Kills a task if its agent is emptied and nobody is asked about it any more; a kill that was asked
    /// for before stays.
    pub(crate) fn kill_to_vacate(&mut self, key: &TaskKey, now: Now) {
        let Some(task) = self.tasks.get(key) else { return };
        if task.is_terminal() || task.kill.is_some() {
            return;
        }
        let vacate = self.agents.get(task.agent()).and_then(|agent| agent.vacate.as_ref());
        if let Some(vacate) = vacate.filter(|vacate| vacate.kills(key.framework)) {
            let cause = vacate.kill_cause();
            self.kill_task(key, KillOrder { policy: None, cause }, now);
        }
    }

    /// Tasks of the agent came or went: whom is asked is looked at again before the turn ends.
    pub(crate) fn tasks_changed(&mut self, id: AgentId) {
        if self.agents.get(id).is_some_and(|agent| agent.vacate.is_some()) {
            self.agents.recount.insert(id);
        }
    }

    /// Asks whoever has tasks on an agent that is emptied, and nobody else.
    pub(crate) fn recount_vacated(&mut self, now: Now) {
        for id in std::mem::take(&mut self.agents.recount) {
            self.recount(id, now);
        }
    }

    fn recount(&mut self, id: AgentId, now: Now) {
        let mut found: BTreeMap<FrameworkId, u32> = BTreeMap::new();
        for key in self.active_tasks(id) {
            *found.entry(key.framework).or_default() += 1;
        }
        let Some(agent) = self.agents.get_mut(id) else { return };
        let Some(vacate) = agent.vacate.as_mut() else { return };
        vacate.is_done &= found.is_empty();
        let mut done = Vec::new();
        vacate.asks.retain(|framework, ask| match found.remove(framework) {
            Some(tasks) => {
                ask.tasks = tasks;
                true
            }
            None => {
                done.push((*framework, ask.id));
                false
            }
        });
        for (framework, ask) in done {
            self.rescind_ask(id, framework, ask, "done");
        }
        for (framework, tasks) in found {
            self.ask(id, framework, tasks, now);
        }
        self.row(RowKey::Agent(id));
        self.note_drained(id, now);
    }

    /// Tells once that nothing is left on an agent that is emptied.
    fn note_drained(&mut self, id: AgentId, now: Now) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        if !agent.is_registered() || agent.tasks_active > 0 {
            return;
        }
        let name = agent.record.info.name.clone();
        let Some(vacate) = agent.vacate.as_mut().filter(|vacate| !vacate.is_done) else { return };
        vacate.is_done = true;
        agent.since = now.wall;
        self.row(RowKey::Agent(id));
        self.event("agent_drained", id.to_string(), format!("{name} has no task any more"), now);
    }
}

fn check_answer(answer: &InverseAnswer) -> Result<(), Refusal> {
    match answer {
        InverseAnswer::Declined { reason } if reason.len() > InverseAnswer::REASON_BYTES_MAX => {
            Err(Refusal::new(
                RefusalCode::InvalidArgument,
                "reason",
                format!("is longer than {} bytes", InverseAnswer::REASON_BYTES_MAX),
            ))
        }
        InverseAnswer::Declined { .. } | InverseAnswer::Accepted | InverseAnswer::None => Ok(()),
    }
}
