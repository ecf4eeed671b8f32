//! What happens to the fake master's agents, tasks and to itself.

use super::{FakeMaster, Known};
use crate::testing::fake_agent::Standing;
use proffer_types::inverse_offer::{InverseOffer, VacateReason};
use proffer_types::scheduler::{Absence, Event, TaskRecord};
use proffer_types::task::{StatusReason, TaskStatus};
use proffer_types::{
    AgentId, DurationMs, GangId, InverseOfferId, LaunchToken, TaskName, TaskState,
};
use std::collections::{BTreeMap, BTreeSet};

impl FakeMaster {
    /// Launches on the way to registered agents arrive. A gang whose tasks had all arrived before starts;
    /// one of which a task has ended never does (K3).
    pub fn deliver_launches(&mut self) {
        self.settle_gangs();
        for id in self.agents.keys().copied().collect::<Vec<_>>() {
            let agent = self.agents.get_mut(&id).expect("from its keys");
            if agent.standing == Standing::Registered {
                for record in agent.take(self.now) {
                    self.learn(record);
                }
            }
        }
    }

    fn settle_gangs(&mut self) {
        let mut gangs: BTreeMap<GangId, Vec<TaskStatus>> = BTreeMap::new();
        for known in self.known.values() {
            if let Some(gang) = known.record.gang {
                gangs.entry(gang).or_default().push(known.record.status.clone());
            }
        }
        for (gang, members) in gangs {
            let is_ready = members.iter().all(|it| it.reason == StatusReason::GangPrepared);
            if is_ready {
                self.started.insert(gang);
            }
            let next = match self.started.contains(&gang) {
                true => TaskState::Taken,
                false if members.iter().any(|it| it.state.is_terminal()) => TaskState::Dropped,
                false => continue,
            };
            for waiting in members.iter().filter(|it| it.state == TaskState::Staging) {
                self.move_task(&waiting.task, next);
            }
        }
    }

    /// Launches on the way to an agent are lost for good, and the master learns that.
    pub fn drop_launches(&mut self, agent: AgentId) {
        let Some(agent) = self.agents.get_mut(&agent) else { return };
        for mut record in std::mem::take(&mut agent.on_the_way) {
            if self.known.contains_key(&record.status.task) {
                record.status.state = TaskState::Dropped;
                record.status.reason = StatusReason::LaunchLost;
                record.status.at = self.now;
                self.learn(record);
            }
        }
    }

    /// No more offers on the agent; the framework is asked to move what it has there.
    pub fn drain(&mut self, agent: AgentId, deadline: Option<DurationMs>) -> InverseOfferId {
        self.last_offer += 1;
        let id = InverseOfferId { epoch: self.epoch, sequence: self.last_offer };
        let agent_name = self.agents[&agent].name.clone();
        let reason = VacateReason::Drain;
        let offer = InverseOffer { id, agent, agent_name, tasks: Vec::new(), reason, deadline };
        self.drained.insert(agent, offer.clone());
        self.rescind_of(agent);
        self.say(Event::InverseOffers { offers: vec![offer] });
        id
    }

    /// The agent takes tasks again.
    pub fn activate_agent(&mut self, agent: AgentId) {
        if let Some(offer) = self.drained.remove(&agent) {
            let (offers, reason) = (vec![offer.id], "cancelled".to_owned());
            self.say(Event::InverseOffersRescinded { offers, reason });
        }
    }

    /// Moves a task into a state, as its agent would report it; whether that is a legal move.
    pub fn move_task(&mut self, name: &TaskName, state: TaskState) -> bool {
        let now = self.now;
        let reported = self.agents.values_mut().find_map(|agent| {
            let record = agent.report(name, state, now)?;
            Some((agent.standing, record))
        });
        let Some((standing, record)) = reported else { return false };
        if standing == Standing::Registered {
            self.learn(record);
        }
        true
    }

    /// The master's newest word on a task.
    pub(super) fn learn(&mut self, record: TaskRecord) {
        let name = record.status.task.clone();
        let token = record.status.token;
        if self.known.get(&name).is_some_and(|known| known.record.status.token > token) {
            // A later launch of the name has made it history, which nobody needs to hear.
            if let Some(agent) = self.agents.get_mut(&record.status.agent) {
                agent.dismiss(&record);
            }
            return;
        }
        self.unsent.retain(|unsent| *unsent != name);
        self.unsent.push(name.clone());
        self.known.insert(name, Known { record });
    }

    /// Says every status that is not acknowledged once more, as after a lost acknowledgement.
    pub fn repeat_statuses(&mut self) {
        let present = self.agents.values().filter(|a| a.standing == Standing::Registered);
        let held = present.flat_map(|agent| agent.tasks.values());
        let mut repeated: Vec<TaskRecord> =
            held.filter(|held| !held.is_acknowledged).map(|held| held.record.clone()).collect();
        // In the order of each log (K15).
        repeated.sort_by_key(|record| record.status.id);
        for record in repeated {
            self.learn(record);
        }
    }

    /// Acknowledgements do not reach an agent, as when its connection breaks before they leave; the
    /// master forgets what they cover all the same.
    pub fn lose_acknowledgements(&mut self, agent: AgentId) {
        if let Some(agent) = self.agents.get_mut(&agent) {
            agent.is_deaf = true;
        }
    }

    /// They do again.
    pub fn hear_acknowledgements(&mut self, agent: AgentId) {
        if let Some(agent) = self.agents.get_mut(&agent) {
            agent.is_deaf = false;
        }
    }

    /// An agent is out of reach: its tasks are unreachable.
    pub fn lose_agent(&mut self, id: AgentId) {
        let now = self.now;
        let Some(agent) = self.agents.get_mut(&id) else { return };
        if agent.standing != Standing::Registered {
            return;
        }
        agent.standing = Standing::Unreachable(now);
        self.rescind_of(id);
        self.declare(id, TaskState::Unreachable, StatusReason::AgentUnreachable);
    }

    /// What the master says of an agent's tasks by itself.
    pub(super) fn declare(&mut self, id: AgentId, state: TaskState, reason: StatusReason) {
        let of_agent = self
            .known
            .values()
            .map(|known| &known.record)
            .filter(|record| record.status.agent == id && !record.status.state.is_terminal());
        for mut record in of_agent.cloned().collect::<Vec<_>>() {
            record.status = TaskStatus { id: None, state, reason, at: self.now, ..record.status };
            self.learn(record);
        }
    }

    /// An agent registers again. Launches that were on the way to it are refused by its barrier
    /// (K1); what it holds is as it says.
    pub fn return_agent(&mut self, id: AgentId) {
        let Some(agent) = self.agents.get_mut(&id) else { return };
        let was = agent.standing;
        if matches!(was, Standing::Registered | Standing::Gone) {
            return;
        }
        agent.standing = Standing::Registered;
        agent.version = agent.version.next();
        agent.on_the_way.clear();
        let records: Vec<TaskRecord> = agent.tasks.values().map(|h| h.record.clone()).collect();
        let listed: BTreeSet<LaunchToken> =
            records.iter().map(|record| record.status.token).collect();
        for record in records {
            let name = record.status.task.clone();
            let known = self.known.get(&name).map(|known| known.record.status.token);
            if known.is_none_or(|token| token < record.status.token) {
                if let Some(older) = self.known.remove(&name)
                    && let Some(agent) = self.agents.get_mut(&older.record.status.agent)
                {
                    agent.dismiss(&older.record);
                }
                self.known.insert(name, Known { record: record.clone() });
                self.say(Event::Task(Box::new(record)));
            } else {
                self.learn(record);
            }
        }
        let missing = self.known.values().map(|known| &known.record).filter(|record| {
            record.status.agent == id
                && !record.status.state.is_terminal()
                && !listed.contains(&record.status.token)
        });
        for mut record in missing.cloned().collect::<Vec<_>>() {
            let status = &mut record.status;
            (status.id, status.state) = (None, TaskState::Dropped);
            status.reason = StatusReason::LaunchLost;
            self.learn(record);
        }
        let returned = |name: &TaskName| {
            self.agents.get(&id).is_some_and(|agent| agent.tasks.contains_key(name))
        };
        let kills: Vec<TaskName> =
            self.kills_kept.iter().filter(|n| returned(n)).cloned().collect();
        for name in kills {
            self.kills_kept.remove(&name);
            self.kill(&name);
        }
        if was == Standing::Awaited && self.occupied.contains(&id) {
            self.say(Event::AgentResolved { agent: id, absence: None });
        }
    }

    /// An operator gives an agent up for good; what it had is lost.
    pub fn mark_gone(&mut self, id: AgentId) {
        let Some(agent) = self.agents.get_mut(&id) else { return };
        let was = std::mem::replace(&mut agent.standing, Standing::Gone);
        if was == Standing::Gone {
            return;
        }
        agent.on_the_way.clear();
        agent.tasks.clear();
        self.rescind_of(id);
        self.declare(id, TaskState::Gone, StatusReason::AgentGone);
        if was == Standing::Awaited && self.occupied.contains(&id) {
            self.flush_statuses();
            self.say(Event::AgentResolved { agent: id, absence: Some(Absence::Gone) });
        }
    }

    /// Another master takes over: streams end, what was not durable is forgotten, agents are
    /// awaited. Launches that have left the old master are still on the way.
    pub fn fail_over(&mut self) {
        self.epoch = self.epoch.next();
        self.active = None;
        self.resumable = None;
        self.standbys.clear();
        self.out.clear();
        self.unsent.clear();
        self.known.clear();
        self.end_session();
        for agent in self.agents.values_mut().filter(|a| a.standing != Standing::Gone) {
            agent.standing = Standing::Awaited;
        }
    }

    /// After a failover: a launch of the old master reaches an agent before its barrier.
    pub fn deliver_late_launches(&mut self, agent: AgentId) {
        if let Some(agent) = self.agents.get_mut(&agent)
            && agent.standing == Standing::Awaited
        {
            agent.take(self.now);
        }
    }

    /// All agents, the gone ones included.
    #[must_use]
    pub fn agents(&self) -> Vec<AgentId> {
        self.agents.keys().copied().collect()
    }
}
