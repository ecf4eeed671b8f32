//! A frame from a framework: sorts its calls. Only the active replica's calls are obeyed; frames of a
//! stream that was replaced are dropped.

use super::subscribe_framework::Asked;
use crate::command::Peer;
use crate::effect::ConnectionId;
use crate::limits;
use crate::master::Master;
use crate::state::connections::ConnectionKind;
use proffer_types::inverse_offer::InverseAnswer;
use proffer_types::scheduler::{Call, Event, SchedulerUp};
use proffer_types::{FrameworkEpoch, FrameworkId, Now, Refusal, RefusalCode};

impl Master {
    pub(crate) fn scheduler_frame(
        &mut self,
        connection: ConnectionId,
        frame: SchedulerUp,
        now: Now,
    ) {
        if !self.is_peer(connection, Peer::Framework) {
            self.counters.stale_frames += 1;
            return;
        }
        let SchedulerUp { epoch, calls } = frame;
        self.heard(&[connection], now.monotonic);
        for call in calls {
            if let Call::Subscribe { info, replica, take_over, conditions } = call {
                let asked = Asked { epoch, info, replica, take_over, conditions };
                self.subscribe(connection, asked, now);
            } else {
                self.subscribed_call(connection, epoch, call, now);
            }
        }
    }

    fn subscribed_call(
        &mut self,
        connection: ConnectionId,
        epoch: FrameworkEpoch,
        call: Call,
        now: Now,
    ) {
        let Some(kind) = self.connections.get(connection).map(|entry| &entry.kind) else { return };
        let ConnectionKind::ReplicaOf(framework) = *kind else {
            // Not subscribed (yet): a heartbeat is answered, anything else has no meaning.
            if !matches!(call, Call::Heartbeat) {
                self.unsubscribed(connection);
            }
            return;
        };
        let Some(entry) = self.frameworks.get_mut(framework) else { return };
        let active = entry.stream.as_ref().is_some_and(|stream| stream.connection == connection);
        if !active && matches!(call, Call::Heartbeat) {
            // A replica that stands by.
        } else if !active || entry.epoch() != epoch || !entry.is_live() {
            self.counters.stale_frames += 1;
        } else {
            self.settle(framework, &call);
            self.active_call(framework, call, now);
        }
    }

    /// Calls of a frame that the door could not read: each has its answer, the others were handed in
    /// before.
    pub(crate) fn calls_refused(
        &mut self,
        connection: ConnectionId,
        epoch: FrameworkEpoch,
        answers: Vec<Event>,
        now: Now,
    ) {
        if !self.is_peer(connection, Peer::Framework) {
            self.counters.stale_frames += 1;
            return;
        }
        self.heard(&[connection], now.monotonic);
        let Some(kind) = self.connections.get(connection).map(|entry| &entry.kind) else { return };
        let ConnectionKind::ReplicaOf(framework) = *kind else {
            self.unsubscribed(connection);
            return;
        };
        let active = self.frameworks.get(framework).is_some_and(|entry| {
            entry.epoch() == epoch
                && entry.stream.as_ref().is_some_and(|stream| stream.connection == connection)
        });
        if !active {
            self.counters.stale_frames += 1;
            return;
        }
        for answer in answers {
            self.tell(framework, answer);
        }
    }

    fn active_call(&mut self, framework: FrameworkId, call: Call, now: Now) {
        match call {
            Call::Subscribe { .. } => {}
            Call::Demand { groups } => self.demand(framework, groups, now),
            Call::Template { digest, template } => self.template(framework, digest, template),
            Call::Accept(accept) => self.accept_offers(framework, accept, now),
            Call::Decline { offers, refuse_for } => {
                self.decline_offers(framework, &offers, refuse_for, now);
            }
            Call::Renew { offers } => self.renew_offers(framework, &offers, now),
            Call::Suppress { roles } => self.suppress(framework, &roles),
            Call::Revive { roles } => self.revive(framework, &roles),
            Call::Kill { task, policy } => self.kill_call(framework, task, policy, now),
            Call::Acknowledge { agent, incarnation, through, except } => {
                self.acknowledge(framework, agent, incarnation, through, except);
            }
            Call::AcceptInverseOffers { offers } => {
                self.answer_inverse_offers(framework, &offers, &InverseAnswer::Accepted, now);
            }
            Call::DeclineInverseOffers { offers, reason } => {
                let answer = InverseAnswer::Declined { reason };
                self.answer_inverse_offers(framework, &offers, &answer, now);
            }
            Call::OfferConditions { conditions } => self.offer_conditions(framework, &conditions),
            Call::Budgets { budgets } => self.budgets(framework, budgets),
            Call::Snapshot => {
                if let Some(outbox) = self.frameworks.outbox(framework) {
                    outbox.snapshot();
                }
            }
            Call::State { request, call } => self.state_call(framework, request, call, now),
            Call::Teardown => match self.check(|master| master.check_teardown(framework)) {
                Ok(()) => self.end_framework(framework, None, "it ended itself", now),
                Err(refusal) => self.refuse_call(framework, "teardown", refusal),
            },
            // Being heard is all of it; the master's own heartbeats have their pace.
            Call::Heartbeat => {}
        }
    }

    fn unsubscribed(&mut self, connection: ConnectionId) {
        let waits =
            self.frameworks.creating.values().any(|it| it.candidate.connection == connection);
        if waits {
            return;
        }
        self.counters.stale_frames += 1;
        let refusal = Refusal::new(
            RefusalCode::InvalidArgument,
            "subscribe",
            "the first call of a stream is subscribe",
        );
        self.close(connection, refusal);
    }

    /// The stream's buffer has room again.
    pub(crate) fn framework_drained(&mut self, connection: ConnectionId, credits: u32) {
        let Some(ConnectionKind::ReplicaOf(framework)) =
            self.connections.get(connection).map(|entry| &entry.kind)
        else {
            return;
        };
        let framework = *framework;
        let Some(entry) = self.frameworks.get_mut(framework) else { return };
        let window = |have: u32| have.saturating_add(credits).min(limits::FRAMEWORK_WINDOW);
        if let Some(stream) = entry.stream.as_mut().filter(|s| s.connection == connection) {
            stream.outbox.credits = window(stream.outbox.credits);
            if !stream.outbox.is_empty() {
                self.frameworks.unsent.insert(framework);
            }
        } else if let Some(standby) =
            entry.standbys.iter_mut().find(|standby| standby.candidate.connection == connection)
        {
            standby.candidate.credits = window(standby.candidate.credits);
        } else if let Some(activation) =
            entry.activation.as_mut().filter(|it| it.candidate.connection == connection)
        {
            activation.candidate.credits = window(activation.candidate.credits);
        }
    }
}
