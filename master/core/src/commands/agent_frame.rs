//! A frame from an agent: sorts its messages, drops those of an older session, epoch or connection.

use crate::command::Peer;
use crate::effect::{ConnectionId, Effect};
use crate::master::Master;
use crate::state::agents::Link;
use proffer_types::agent::{AgentDown, AgentMessage, AgentOrder, AgentUp};
use proffer_types::units::DurationMs;
use proffer_types::{AgentId, AgentSession, Now, Refusal, RefusalCode};

impl Master {
    pub(crate) fn agent_frame(&mut self, connection: ConnectionId, frame: AgentUp, now: Now) {
        if !self.is_peer(connection, Peer::Agent) {
            self.counters.stale_frames += 1;
            return;
        }
        let AgentUp { agent, session, master_epoch, messages } = frame;
        if let Err(refusal) = self.check(Self::check_leading) {
            self.refuse_agent(connection, agent, session, refusal, false);
            return;
        }
        if let Some(agent) = agent {
            self.agent_heard(agent, connection, now.monotonic);
        }
        for message in messages {
            match message {
                AgentMessage::Register { info, log, knows_gangs } => {
                    let features = (log, knows_gangs);
                    self.begin_registration(connection, agent, session, info, features);
                }
                AgentMessage::Tasks { tasks } => {
                    self.registration_tasks(connection, agent, session, tasks);
                }
                AgentMessage::Holds { holds } => {
                    self.registration_holds(connection, agent, session, holds);
                }
                AgentMessage::RegisterEnd => {
                    self.registration_ended(connection, agent, session, now);
                }
                AgentMessage::Statuses { .. }
                | AgentMessage::HoldDone { .. }
                | AgentMessage::Heartbeat
                | AgentMessage::Leaving => {
                    let current = agent.filter(|id| {
                        master_epoch == self.epoch() && self.speaks_for(connection, *id, session)
                    });
                    let Some(id) = current else {
                        self.stale_agent_message(connection, agent, session);
                        return;
                    };
                    self.registered_message(id, message, now);
                }
            }
        }
    }

    fn registered_message(&mut self, id: AgentId, message: AgentMessage, now: Now) {
        match message {
            AgentMessage::Statuses { statuses } => self.agent_statuses(id, statuses, now),
            // The grant itself is filled in when the order leaves.
            AgentMessage::Heartbeat => self.order(id, AgentOrder::Grant { grant: DurationMs(0) }),
            AgentMessage::HoldDone { id: hold, op, refusal } => {
                self.hold_done(id, (hold, op), refusal.as_ref(), now);
            }
            AgentMessage::Leaving => self.agent_leaves(id, now),
            AgentMessage::Holds { .. }
            | AgentMessage::Register { .. }
            | AgentMessage::Tasks { .. }
            | AgentMessage::RegisterEnd => {}
        }
    }

    fn speaks_for(&self, connection: ConnectionId, id: AgentId, session: AgentSession) -> bool {
        self.agents
            .get(id)
            .is_some_and(|agent| agent.connection() == Some(connection) && agent.session == session)
    }

    /// The sender is not registered with this session: it is told to register anew, unless just that
    /// is under way.
    fn stale_agent_message(
        &mut self,
        connection: ConnectionId,
        agent: Option<AgentId>,
        session: AgentSession,
    ) {
        self.counters.stale_frames += 1;
        let under_way = self.agents.assembling.contains_key(&(connection, agent, session))
            || self.agents.admitting.values().any(|(_, registration)| {
                registration.connection == connection && registration.session == session
            })
            || agent.and_then(|id| self.agents.get(id)).is_some_and(|entry| {
                entry.session > session
                    || entry.waiting.as_ref().is_some_and(|waiting| waiting.session >= session)
            });
        if under_way {
            return;
        }
        let refusal =
            Refusal::new(RefusalCode::StaleEpoch, "session", "is not registered with this master")
                .hint("register anew");
        self.refuse_agent(connection, agent, session, refusal, false);
    }

    /// Tells an agent that it is not admitted.
    pub(crate) fn refuse_agent(
        &mut self,
        connection: ConnectionId,
        agent: Option<AgentId>,
        session: AgentSession,
        refusal: Refusal,
        gone: bool,
    ) {
        let frame = AgentDown {
            agent: agent.unwrap_or_default(),
            session,
            master_epoch: self.epoch(),
            orders: vec![AgentOrder::Refused { refusal, gone }],
        };
        self.effect(Effect::SendAgent { connection, frame });
    }

    /// An agent leaves in good order: it is not waited for, and counts as unreachable once its silence
    /// is durable. Its tasks run on.
    fn agent_leaves(&mut self, id: AgentId, now: Now) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        if let Link::Connected { .. } = agent.link {
            agent.link = Link::Disconnected { heard: now.monotonic };
            agent.outgoing.clear();
        }
        self.row(crate::state::changes::RowKey::Agent(id));
        self.sync_usable(id);
        self.rescind_agent(id, "agent_lost");
    }
}
