//! Drain, deactivate, activate: what operators want of an agent, durable before it is answered.

use crate::effect::ReplyTo;
use crate::master::Master;
use crate::registry::{AgentMode, AgentRecord};
use crate::state::agents::Link;
use crate::state::changes::RowKey;
use crate::state::pending::Continuation;
use proffer_types::{AgentId, DurationMs, Now, Refusal, RefusalCode};

impl Master {
    pub(crate) fn set_agent_mode(
        &mut self,
        reply_to: ReplyTo,
        id: AgentId,
        mode: AgentMode,
    ) -> Result<(), Refusal> {
        let Some(record) = self.check(|master| master.check_agent_mode(id, mode))? else {
            self.reply_done(reply_to, describe(id, mode));
            return Ok(());
        };
        self.write_agent(id, record, Continuation::AgentMode(id, mode, reply_to));
        if mode != AgentMode::Active {
            self.rescind_agent(id, "operator");
        }
        Ok(())
    }

    /// The record to write, if the mode is another than before.
    fn check_agent_mode(
        &self,
        id: AgentId,
        mode: AgentMode,
    ) -> Result<Option<AgentRecord>, Refusal> {
        let agent = self.agents.get(id).ok_or_else(|| self.unknown_agent(id))?;
        if agent.link == Link::Gone {
            return Err(Refusal::new(RefusalCode::Removed, "agent", format!("{id} is gone")));
        }
        if mode == AgentMode::Active && agent.in_window {
            let message = format!("{id} is in a maintenance window");
            return Err(Refusal::new(RefusalCode::InUse, "agent", message)
                .hint("proffer agents maintenance list names it; end or remove it"));
        }
        if agent.record.mode == mode && agent.writing.is_none() {
            return Ok(None);
        }
        self.check_agent_idle(id)?;
        Ok(Some(AgentRecord { mode, ..agent.record.clone() }))
    }

    /// The mode is durable.
    pub(crate) fn agent_mode_written(
        &mut self,
        id: AgentId,
        mode: AgentMode,
        reply_to: ReplyTo,
        now: Now,
    ) {
        self.agent_written(id);
        let Some(agent) = self.agents.get_mut(id) else { return };
        agent.since = now.wall;
        self.row(RowKey::Agent(id));
        self.event("agent_mode", id.to_string(), describe(id, mode), now);
        self.sync_vacate(id, now);
        self.reply_done(reply_to, describe(id, mode));
        self.resume_registration(id, now);
    }
}

fn describe(id: AgentId, mode: AgentMode) -> String {
    match mode {
        AgentMode::Active => format!("{id} takes tasks"),
        AgentMode::Draining { deadline: Some(DurationMs(0)) } => {
            format!("{id} is being drained: no new tasks, its tasks are ended")
        }
        AgentMode::Draining { deadline: None } => {
            format!("{id} is being drained: no new tasks, its frameworks are asked to move theirs")
        }
        AgentMode::Draining { deadline: Some(deadline) } => format!(
            "{id} is being drained: no new tasks, its frameworks have {deadline} to move theirs"
        ),
        AgentMode::Deactivated => format!("{id} takes no new tasks"),
    }
}
