//! An agent was silent, or awaited, for too long: it is durably unreachable before anybody is told. Its
//! tasks may still run and return with it.

use crate::master::Master;
use crate::registry::{AgentRecord, AgentStanding};
use crate::state::agents::Link;
use crate::state::changes::RowKey;
use crate::state::deadlines::Deadline;
use crate::state::pending::Continuation;
use proffer_types::scheduler::{Absence, Event};
use proffer_types::task::{StatusReason, TaskStatus};
use proffer_types::{AgentId, Now, TaskKey, TaskState, WallTime};

impl Master {
    /// The agent's deadline has come: look whether it was heard of meanwhile.
    pub(crate) fn agent_deadline(&mut self, id: AgentId, now: Now) {
        let Some(agent) = self.agents.get(id) else { return };
        let due = match agent.link {
            Link::Awaited { until } => until,
            Link::Connected { heard, .. } | Link::Disconnected { heard } => {
                heard.after(self.config.agent_unreachable_after)
            }
            Link::Unreachable | Link::Gone => return,
        };
        if agent.writing.is_some() {
            // A registration or an operator's change is under way; look again afterwards.
            let later = now.monotonic.after(self.config.agent_heartbeat);
            self.deadlines.set(Deadline::Agent(id), later);
        } else if due > now.monotonic {
            self.deadlines.set(Deadline::Agent(id), due);
        } else {
            self.agent_timed_out(id, now);
        }
    }

    fn agent_timed_out(&mut self, id: AgentId, now: Now) {
        let Some(agent) = self.agents.get(id) else { return };
        let since = now.wall;
        let record =
            AgentRecord { standing: AgentStanding::Unreachable(since), ..agent.record.clone() };
        self.write_agent(id, record, Continuation::AgentUnreachable(id, since));
        self.rescind_agent(id, "agent_lost");
    }

    /// It is durable that the agent is out of reach.
    pub(crate) fn agent_unreachable(&mut self, id: AgentId, since: WallTime, now: Now) {
        self.agent_written(id);
        let Some(agent) = self.agents.get_mut(id) else { return };
        if let Some(connection) = agent.connection() {
            self.connections.unbind_agent(connection, id);
        }
        let Some(agent) = self.agents.get_mut(id) else { return };
        agent.link = Link::Unreachable;
        agent.since = since;
        agent.outgoing.clear();
        let name = agent.record.info.name.clone();
        let keys: Vec<TaskKey> = agent.tasks.iter().cloned().collect();
        self.leave_pool(id);
        for key in keys {
            self.task_unreachable(&key, now);
        }
        self.tell_absence(id, Absence::UnreachableSince(since));
        self.row(RowKey::Agent(id));
        let message = format!("{name} was not heard of for too long");
        self.event("agent_unreachable", id.to_string(), message, now);
        self.resume_registration(id, now);
    }

    fn task_unreachable(&mut self, key: &TaskKey, now: Now) {
        let Some(task) = self.tasks.get(key).filter(|task| !task.is_terminal()) else { return };
        let status = TaskStatus {
            id: None,
            state: TaskState::Unreachable,
            reason: StatusReason::AgentUnreachable,
            message: "its agent is out of reach; it may still run".to_owned(),
            exit: None,
            ready: None,
            at: now.wall,
            ..task.record.status.clone()
        };
        self.task_becomes(status, now);
    }

    /// Frameworks whose snapshot could not speak for this agent learn what is known now (K2).
    fn tell_absence(&mut self, id: AgentId, absence: Absence) {
        for (framework, entry) in &mut self.frameworks.table {
            let Some(stream) = entry.stream.as_mut() else { continue };
            if stream.unresolved.contains(&id) {
                let event = Event::AgentResolved { agent: id, absence: Some(absence) };
                stream.outbox.push(event);
                self.frameworks.unsent.insert(*framework);
            }
        }
    }
}
