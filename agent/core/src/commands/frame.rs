//! A frame from the master: which of its orders are obeyed (K1, K8), and who carries them out.

use crate::agent::{Agent, Turn};
use crate::command::ConnectionId;
use crate::commands::Kill;
use crate::state::link::Link;
use proffer_types::agent::{AgentDown, AgentOrder};
use proffer_types::ids::{AgentId, MasterEpoch};

/// Whether an order may be carried out now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// By the master this agent is registered with, under a grant.
    Granted,
    /// By that master, but its grant ran out.
    NoGrant,
    /// By another master, or before the registration was answered.
    Stale,
}

impl Agent {
    /// Takes a frame. One of another connection, session or agent is dropped whole.
    pub(crate) fn frame(&mut self, connection: ConnectionId, frame: AgentDown, turn: &mut Turn) {
        if !self.is_for_us(connection, &frame) {
            self.counters.frames_stale += 1;
            return;
        }
        if let Link::Registered(registration) = &mut self.link {
            registration.last_received_at = turn.now.monotonic;
        }
        for order in frame.orders {
            self.order(frame.master_epoch, frame.agent, order, turn);
            if self.link.connection() != Some(connection) {
                // An order ended the connection: what follows it belongs to nobody.
                return;
            }
        }
    }

    fn is_for_us(&self, connection: ConnectionId, frame: &AgentDown) -> bool {
        let session = match &self.link {
            Link::Registering { connection: ours, session, .. } if *ours == connection => *session,
            Link::Registered(ours) if ours.connection == connection => ours.session,
            Link::Registering { .. }
            | Link::Registered(_)
            | Link::Stopped
            | Link::Waiting { .. }
            | Link::Connecting { .. }
            | Link::Opening { .. } => return false,
        };
        // A master that knows no such agent can only say so to nobody in particular.
        let nobody = frame.agent == AgentId(0)
            && frame.orders.iter().all(|order| matches!(order, AgentOrder::Refused { .. }));
        let ours = self.identity.agent.is_none_or(|id| id == frame.agent);
        frame.session == session && (ours || nobody)
    }

    fn order(&mut self, epoch: MasterEpoch, agent: AgentId, order: AgentOrder, turn: &mut Turn) {
        match order {
            AgentOrder::Registered { heartbeat, grant, capability_key } => {
                self.registered((epoch, agent), (heartbeat, grant), capability_key, turn);
            }
            AgentOrder::Refused { refusal, gone } => self.refused(refusal, gone, turn),
            AgentOrder::Grant { grant } => {
                if self.standing(epoch, turn) != Standing::Stale {
                    self.granted(grant, turn);
                }
            }
            AgentOrder::Template { digest, template } => {
                if self.standing(epoch, turn) != Standing::Stale {
                    self.template(digest, template);
                }
            }
            AgentOrder::Acknowledge { framework, incarnation, through, except } => {
                if self.standing(epoch, turn) != Standing::Stale {
                    self.acknowledge(framework, incarnation, (through, &except), turn);
                }
            }
            AgentOrder::Launch { tasks } => {
                if self.may_obey(epoch, turn) {
                    for task in tasks {
                        self.launch(task, None, turn);
                    }
                }
            }
            AgentOrder::Prepare { gang, tasks } => {
                if self.may_obey(epoch, turn) {
                    for task in tasks {
                        self.launch(task, Some(gang), turn);
                    }
                }
            }
            AgentOrder::StartGang { gang } => {
                if self.may_obey(epoch, turn) {
                    self.start_gang(gang, turn);
                }
            }
            AgentOrder::AbortGang { gang, why } => {
                if self.may_obey(epoch, turn) {
                    self.abort_gang(gang, &why, turn);
                }
            }
            AgentOrder::Kill { framework, task, policy, cause } => {
                if self.may_obey(epoch, turn) {
                    self.kill_named(framework, &task, &Kill::asked(policy, cause), turn);
                }
            }
            AgentOrder::ApplyHold { hold } => {
                if self.may_obey(epoch, turn) {
                    self.apply_hold(hold, turn);
                }
            }
            AgentOrder::RemoveHold { id, op } => {
                if self.may_obey(epoch, turn) {
                    self.remove_hold(id, op, turn);
                }
            }
            AgentOrder::Preempt { claim, tasks, grace } => {
                if self.may_obey(epoch, turn) {
                    self.preempt(&claim, &tasks, grace, turn);
                }
            }
            AgentOrder::DropClaim { claim } => {
                if self.may_obey(epoch, turn) {
                    self.drop_claim(claim, turn);
                }
            }
            AgentOrder::EndFramework { framework } => {
                if self.may_obey(epoch, turn) {
                    self.end_framework(framework, turn);
                }
            }
        }
    }

    fn standing(&mut self, epoch: MasterEpoch, turn: &Turn) -> Standing {
        match &self.link {
            Link::Registered(registration) if registration.epoch == epoch => {
                if turn.now.monotonic < registration.grant_until {
                    Standing::Granted
                } else {
                    Standing::NoGrant
                }
            }
            Link::Registered(_)
            | Link::Registering { .. }
            | Link::Stopped
            | Link::Waiting { .. }
            | Link::Connecting { .. }
            | Link::Opening { .. } => {
                self.counters.orders_stale += 1;
                Standing::Stale
            }
        }
    }

    /// Orders that act on tasks need a grant (K8). One without it ends the session: the next
    /// registration's list tells the master that it was not obeyed (K1).
    fn may_obey(&mut self, epoch: MasterEpoch, turn: &mut Turn) -> bool {
        match self.standing(epoch, turn) {
            Standing::Granted => true,
            Standing::Stale => false,
            Standing::NoGrant => {
                self.counters.orders_without_grant += 1;
                self.reset_link(None, turn);
                false
            }
        }
    }
}
