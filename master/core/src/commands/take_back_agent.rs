//! Completes a registration: the agent's list against the rows, then whatever the agent has missed. A
//! launch that is not on the list never ran and never will (K1).

use crate::capability::agent_capability_key;
use crate::master::Master;
use crate::state::agents::{Link, Registration};
use crate::state::changes::RowKey;
use crate::state::deadlines::Deadline;
use crate::state::tasks::Stage;
use proffer_types::agent::{AgentOrder, AgentTask};
use proffer_types::scheduler::Event;
use proffer_types::task::StatusReason;
use proffer_types::units::DurationMs;
use proffer_types::{AgentId, Now, TaskKey, TaskState};
use std::collections::BTreeSet;

use super::agent_statuses::cut_message;
use super::preempt::marks_of;

impl Master {
    /// The record says reachable and nobody is there: from unreachable it becomes awaited.
    pub(crate) fn await_agent(&mut self, id: AgentId, now: Now) {
        let until = now.monotonic.after(self.config.agent_awaited_for);
        if let Some(agent) = self.agents.get_mut(id)
            && agent.link == Link::Unreachable
        {
            agent.link = Link::Awaited { until };
            agent.since = now.wall;
            self.deadlines.set(Deadline::Agent(id), until);
            self.row(RowKey::Agent(id));
        }
        self.sync_usable(id);
    }

    pub(crate) fn complete_registration(
        &mut self,
        id: AgentId,
        registration: Registration,
        now: Now,
    ) {
        if self.connections.get(registration.connection).is_none() {
            // It went away while its record was written; it will come again.
            self.await_agent(id, now);
            return;
        }
        self.rescind_agent(id, "agent_changed");
        if self.agents.get(id).is_some_and(|agent| agent.frozen.is_some()) {
            // Its books begin anew from its list.
            self.leave_pool(id);
        }
        let Registration { connection, session, info, log, knows_gangs, tasks, holds, .. } =
            registration;
        let Some(agent) = self.agents.get_mut(id) else { return };
        if let Some(old) = agent.connection().filter(|old| *old != connection) {
            self.connections.unbind_agent(old, id);
        }
        let Some(agent) = self.agents.get_mut(id) else { return };
        let returned = !agent.is_registered();
        agent.link = Link::Connected { connection, heard: now.monotonic };
        agent.since = now.wall;
        agent.session = session;
        agent.version = agent.version.next();
        agent.log = log;
        agent.frozen = None;
        agent.templates_sent.clear();
        agent.outgoing.clear();
        agent.knows_holds = holds.is_some();
        agent.knows_gangs = knows_gangs;
        let holds = holds.unwrap_or_default().into_iter();
        agent.reported = holds.map(|it| (it.hold.id, it)).collect();
        self.connections.bind_agent(connection, id);
        self.settle_total(id);
        self.join_pool(id);
        let orders = AgentOrder::Registered {
            heartbeat: self.config.agent_heartbeat,
            grant: DurationMs(0),
            capability_key: agent_capability_key(&self.config.capability_secret, id),
        };
        self.order(id, orders);
        let marks = marks_of(&tasks);
        self.take_list(id, tasks, now);
        self.reconcile_holds(id, now);
        self.repeat_orders(id, now);
        self.take_gangs(id);
        self.take_claims(id, marks, now);
        self.tasks_changed(id);
        self.deadlines
            .set(Deadline::Agent(id), now.monotonic.after(self.config.agent_unreachable_after));
        self.row(RowKey::Agent(id));
        self.sync_usable(id);
        self.resolve_agent(id);
        self.occupancy.stale.insert(id);
        if returned {
            let message = format!("{} registered", info.name);
            self.event("agent_registered", id.to_string(), message, now);
        }
    }

    /// Compares the agent's list with the rows: what is on it is as it says, what is not never was or
    /// is no more.
    fn take_list(&mut self, id: AgentId, mut list: Vec<AgentTask>, now: Now) {
        // Statuses of one log leave in ascending order, however the agent sorts its list (K15).
        list.sort_by_key(|task| task.record.status.id);
        let mut listed = BTreeSet::new();
        let mut pairs = BTreeSet::new();
        for mut task in list {
            task.record.status.agent = id;
            cut_message(&mut task.record.status);
            let (key, token) = (task.record.status.key(), task.record.status.token);
            self.take_listed(id, task, now);
            if let Some(row) = self.tasks.get(&key).filter(|row| row.agent() == id) {
                pairs.insert((key.framework, row.record.role.clone()));
            }
            // The end of an earlier launch does not speak for a later one of the same name that was
            // on its way here.
            if self.tasks.get(&key).is_none_or(|row| row.record.status.token == token) {
                listed.insert(key);
            }
        }
        // A registry restored from a copy may not know of them; it is rebuilt from the reports.
        self.occupy(id, &pairs);
        let missing: Vec<TaskKey> = self
            .agents
            .get(id)
            .map(|agent| agent.tasks.difference(&listed).cloned().collect())
            .unwrap_or_default();
        for key in missing {
            let Some(task) = self.tasks.get(&key).filter(|task| !task.is_terminal()) else {
                continue;
            };
            let never_taken = task.stage != Stage::Reported;
            if never_taken {
                self.counters.dropped_launches += 1;
                self.end_task(
                    &key,
                    TaskState::Dropped,
                    StatusReason::LaunchLost,
                    "the launch never reached the agent and never will",
                    now,
                );
            } else {
                self.end_task(
                    &key,
                    TaskState::Gone,
                    StatusReason::AgentGone,
                    "the agent came back without it",
                    now,
                );
            }
        }
    }

    /// What the agent may have missed: kills, the end of frameworks, a drain.
    fn repeat_orders(&mut self, id: AgentId, now: Now) {
        let Some(agent) = self.agents.get(id) else { return };
        let keys: Vec<TaskKey> = agent.tasks.iter().cloned().collect();
        let mut ended = BTreeSet::new();
        for key in keys {
            if self.frameworks.get(key.framework).is_none_or(|entry| entry.is_ended()) {
                ended.insert(key.framework);
                // What has ended meanwhile nobody will acknowledge.
                self.forget_if_orphaned(&key);
            } else {
                self.repeat_kill(&key);
                self.kill_to_vacate(&key, now);
            }
        }
        for framework in ended {
            self.order(id, AgentOrder::EndFramework { framework });
        }
    }

    /// Frameworks whose snapshot could not speak for this agent learn that it is back (K2).
    fn resolve_agent(&mut self, id: AgentId) {
        for (framework, entry) in &mut self.frameworks.table {
            if let Some(stream) = entry.stream.as_mut()
                && stream.unresolved.remove(&id)
            {
                stream.outbox.push(Event::AgentResolved { agent: id, absence: None });
                self.frameworks.unsent.insert(*framework);
            }
        }
    }
}
