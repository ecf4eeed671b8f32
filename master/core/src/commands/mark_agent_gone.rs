//! An operator says that an agent will not return. Final: its tasks are lost, and a zombie that comes
//! back is told to start anew.

use crate::effect::{ReplyTo, WriteLane};
use crate::master::Master;
use crate::registry::{AgentRecord, AgentStanding, RecordKey, RegistryChange};
use crate::state::agents::Link;
use crate::state::changes::RowKey;
use crate::state::deadlines::Deadline;
use crate::state::pending::Continuation;
use proffer_types::agent::{AgentDown, AgentOrder};
use proffer_types::operator::AgentCondition;
use proffer_types::scheduler::{Absence, Event};
use proffer_types::task::StatusReason;
use proffer_types::{AgentId, FrameworkId, Now, Refusal, RefusalCode, TaskKey, TaskState};
use std::collections::BTreeSet;

impl Master {
    pub(crate) fn mark_agent_gone(
        &mut self,
        reply_to: ReplyTo,
        id: AgentId,
        force: bool,
    ) -> Result<(), Refusal> {
        let Some(record) = self.check(|master| master.check_gone(id, force))? else {
            self.reply_done(reply_to, format!("{id} is gone already"));
            return Ok(());
        };
        self.write_agent(id, record, Continuation::AgentGone(id, Some(reply_to)));
        self.rescind_agent(id, "agent_lost");
        Ok(())
    }

    /// The record to write, unless it is gone already. One that is there would end its tasks at once
    /// and come back under a new id: nobody wants that by mistake.
    fn check_gone(&self, id: AgentId, force: bool) -> Result<Option<AgentRecord>, Refusal> {
        let agent = self.agents.get(id).ok_or_else(|| self.unknown_agent(id))?;
        if agent.link == Link::Gone {
            return Ok(None);
        }
        if agent.is_registered() && agent.condition() != AgentCondition::Drained && !force {
            return Err(Refusal::new(RefusalCode::InUse, "agent", format!("{id} is connected"))
                .hint(format!("proffer agents drain {id} empties it first; --force insists")));
        }
        self.check_agent_idle(id)?;
        Ok(Some(AgentRecord { standing: AgentStanding::Gone, ..agent.record.clone() }))
    }

    /// Refuses a change of an agent whose record is being written: the order of the two would be
    /// anybody's guess.
    pub(crate) fn check_agent_idle(&self, id: AgentId) -> Result<(), Refusal> {
        if self.agents.get(id).is_some_and(|agent| agent.writing.is_some()) {
            return Err(Refusal::new(
                RefusalCode::Unavailable,
                "agent",
                format!("a change of {id} is being written"),
            )
            .hint("try again in a moment"));
        }
        Ok(())
    }

    pub(crate) fn unknown_agent(&self, id: AgentId) -> Refusal {
        if id <= self.cluster.agent_mark && id != AgentId(0) {
            Refusal::new(RefusalCode::Removed, "agent", format!("{id} was removed"))
        } else {
            Refusal::new(RefusalCode::NotFound, "agent", format!("there is no agent {id}"))
        }
    }

    /// It is durable that the agent is gone.
    pub(crate) fn agent_gone(&mut self, id: AgentId, reply_to: Option<ReplyTo>, now: Now) {
        self.agent_written(id);
        let epoch = self.epoch();
        let Some(agent) = self.agents.get_mut(id) else { return };
        let name = agent.record.info.name.clone();
        let keys: Vec<TaskKey> = agent.tasks.iter().cloned().collect();
        let (connection, session) = (agent.connection(), agent.session);
        let waiting = agent.waiting.take();
        agent.link = Link::Gone;
        agent.outgoing.clear();
        if self.agents.by_name.get(&name) == Some(&id) {
            // A machine of that name may begin anew at once.
            self.agents.by_name.remove(&name);
        }
        self.deadlines.clear(Deadline::Agent(id));
        if let Some(connection) = connection {
            let refusal =
                Refusal::new(RefusalCode::Removed, "agent", format!("{id} was marked gone"));
            let orders = vec![AgentOrder::Refused { refusal, gone: true }];
            let frame = AgentDown { agent: id, session, master_epoch: epoch, orders };
            self.effect(crate::Effect::SendAgent { connection, frame });
            self.connections.unbind_agent(connection, id);
        }
        if let Some(waiting) = waiting {
            let refusal =
                Refusal::new(RefusalCode::Removed, "agent", format!("{id} was marked gone"));
            self.refuse_agent(waiting.connection, Some(id), waiting.session, refusal, true);
        }
        self.leave_pool(id);
        for key in keys {
            self.end_task(
                &key,
                TaskState::Gone,
                StatusReason::AgentGone,
                "its agent is gone for good",
                now,
            );
        }
        self.forget_gangs_on(id);
        self.holds_gone(id, now);
        self.forget_vacate(id);
        self.tell_gone(id);
        self.row(RowKey::Agent(id));
        self.event("agent_gone", id.to_string(), format!("{name} was marked gone"), now);
        if let Some(reply_to) = reply_to {
            self.reply_done(reply_to, format!("{id} ({name}) is gone; its tasks are lost"));
        }
        self.forget_gone_agent(id);
    }

    /// Every framework that may have had tasks there is told, and acknowledges it (K2).
    fn tell_gone(&mut self, id: AgentId) {
        let frameworks: BTreeSet<FrameworkId> =
            self.occupancy.pairs(id).map(|(framework, _)| *framework).collect();
        for framework in frameworks {
            if let Some(stream) =
                self.frameworks.get_mut(framework).and_then(|entry| entry.stream.as_mut())
            {
                stream.unresolved.remove(&id);
            }
            let absence = Some(Absence::Gone);
            self.tell(framework, Event::AgentResolved { agent: id, absence });
        }
    }

    /// A gone agent's records are removed once every framework with tasks there knows (K2, K19).
    pub(crate) fn forget_gone_agent(&mut self, id: AgentId) {
        let gone = self.agents.get(id).is_some_and(|agent| agent.link == Link::Gone);
        if !gone || self.occupancy.pairs(id).next().is_some() {
            return;
        }
        let keys: Vec<TaskKey> = self
            .agents
            .get(id)
            .map(|agent| agent.tasks.iter().cloned().collect())
            .unwrap_or_default();
        if keys.iter().any(|key| self.tasks.get(key).is_some()) {
            return;
        }
        self.agents.remove(id);
        self.row(RowKey::Agent(id));
        let changes = vec![
            RegistryChange::delete(RecordKey::Agent(id)),
            RegistryChange::delete(RecordKey::Occupancy(id)),
        ];
        self.persist(WriteLane::Registry, changes, Continuation::Occupancy(id));
    }
}
