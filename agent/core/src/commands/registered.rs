//! Answers to a registration and to heartbeats: admitted, refused, granted.

use crate::agent::{Agent, Turn};
use crate::effect::Effect;
use crate::state::link::{Link, Registration};
use crate::state::tasks::Phase;
use proffer_types::agent::AgentMessage;
use proffer_types::ids::{AgentId, ContainerId, MasterEpoch};
use proffer_types::refusal::{Refusal, RefusalCode};
use proffer_types::units::{DurationMs, Monotonic};
use std::collections::VecDeque;

impl Agent {
    /// A master admits the agent. One older than a master obeyed before is not followed (K1).
    pub(crate) fn registered(
        &mut self,
        (epoch, agent): (MasterEpoch, AgentId),
        (heartbeat, grant): (DurationMs, DurationMs),
        capability_key: Vec<u8>,
        turn: &mut Turn,
    ) {
        let Link::Registering { connection, session, sent_at } = self.link else {
            self.counters.orders_stale += 1;
            return;
        };
        if epoch < self.identity.master_epoch {
            let ours = self.identity.master_epoch;
            self.last_refusal = Some(
                Refusal::new(
                    RefusalCode::StaleEpoch,
                    "master_epoch",
                    format!(
                        "the master is of epoch {epoch}, one of epoch {ours} was obeyed before"
                    ),
                )
                .hint(
                    "if the registry was started anew, start the agent with a new work directory",
                ),
            );
            self.counters.orders_stale += 1;
            self.reset_link(None, turn);
            return;
        }
        if self.identity.agent != Some(agent) || self.identity.master_epoch != epoch {
            self.identity.agent = Some(agent);
            self.identity.master_epoch = epoch;
            turn.touched.identity = true;
        }
        let now = turn.now.monotonic;
        let mut registration = Registration {
            connection,
            session,
            epoch,
            heartbeat,
            grant_until: sent_at.after(grant),
            next_heartbeat_at: now,
            last_received_at: now,
            outstanding: VecDeque::new(),
        };
        registration.next_heartbeat_at = now.after(registration.heartbeat_interval(grant));
        self.link = Link::Registered(registration);
        self.attempts.succeeded();
        self.last_refusal = None;
        self.counters.registrations += 1;
        turn.effects.push(Effect::SetCapabilityKey { key: capability_key });
        self.pass_on_grant(sent_at, turn);
        let held = std::mem::take(&mut self.held).into_values().collect();
        self.send_statuses(held, turn);
    }

    /// A master does not admit the agent.
    pub(crate) fn refused(&mut self, refusal: Refusal, gone: bool, turn: &mut Turn) {
        if gone {
            self.last_refusal = Some(refusal);
            self.begin_ending(turn);
            return;
        }
        let leader = refusal.leader().map(str::to_owned);
        self.last_refusal = Some(refusal);
        self.reset_link(leader, turn);
    }

    /// The oldest unanswered heartbeat is answered.
    pub(crate) fn granted(&mut self, grant: DurationMs, turn: &mut Turn) {
        let Link::Registered(registration) = &mut self.link else { return };
        let Some(from) = registration.granted(grant) else {
            self.counters.orders_stale += 1;
            return;
        };
        if grant.0 > 0 {
            self.pass_on_grant(from, turn);
        }
    }

    /// Tells the supervisors of tasks that end without grants (K13).
    fn pass_on_grant(&self, from: Monotonic, turn: &mut Turn) {
        let wanting = self.tasks.iter().filter(|(_, task)| {
            task.wants_grants && matches!(task.phase, Phase::Launched | Phase::Running)
        });
        let containers: Vec<ContainerId> = wanting.map(|(id, _)| id.clone()).collect();
        if !containers.is_empty() {
            let age = turn.now.monotonic.since(from);
            turn.effects.push(Effect::Grant { containers, age });
        }
    }

    /// Sends durable statuses, ascending by sequence per framework, in bounded frames.
    pub(crate) fn send_statuses(
        &self,
        mut statuses: Vec<proffer_types::task::TaskStatus>,
        turn: &mut Turn,
    ) {
        statuses.sort_by_key(|status| (status.framework, status.id));
        while !statuses.is_empty() {
            let count = statuses.len().min(self.config.limits.frame_statuses_max.max(1));
            let rest = statuses.split_off(count);
            self.send_registered(vec![AgentMessage::Statuses { statuses }], turn);
            statuses = rest;
        }
    }
}
