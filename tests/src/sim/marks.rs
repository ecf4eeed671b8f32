//! Situations that are rare and that the rounds of the gate must have reached: a run that never gets there
//! says nothing about them. They are seen at the edges, from commands, effects and answers.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a mark names what it looks for; what else there is or will be is none of its business"
)]

use super::observe::Seen;
use super::world::World;
use proffer_master_core::{Command, Effect};
use proffer_service_core::api::{InstanceView, ServiceStatus};
use proffer_service_core::record::RolloutState;
use proffer_types::agent::AgentOrder;
use proffer_types::offer::Operation;
use proffer_types::operator::{Change, EventRow};
use proffer_types::scheduler::{Absence, Call, Event, SchedulerDown, SchedulerUp};
use proffer_types::state_store::StateAnswer;
use proffer_types::{Monotonic, RefusalCode, TaskState, TaskStatus};
use std::collections::{BTreeMap, BTreeSet};

/// Each mark with what it means.
pub const MARKS: &[(&str, &str)] = &[
    ("accept_unanswered", "an accept had no answer when its framework's next epoch began"),
    ("accept_refused_stale_offer", "an offer was used that was not held any more"),
    ("launch_dropped", "a launch never reached its agent"),
    ("offer_expired", "a classical offer was neither used nor declined in time"),
    ("offer_rescinded_for_demand", "a classical offer was taken back for who had stated demand"),
    ("offer_taken_back", "an offer was taken back for another reason"),
    ("offer_picked", "a classical offer was used"),
    ("replica_superseded", "an active replica was told that another one has taken over"),
    ("replica_stands_by", "a replica waits for the active one to end"),
    ("snapshot_awaits_agents", "a snapshot could not speak for agents that had not registered"),
    ("snapshot_without_unreachable", "a snapshot could not speak for agents out of reach"),
    ("agent_resolved", "an agent of an earlier snapshot answered"),
    ("leader_resumed", "a leader was suspended and went on in its term"),
    ("agent_returned", "an agent came back that had counted as out of reach"),
    ("task_ran_on_out_of_reach", "a task ran on while its agent was out of reach"),
    ("agent_gone", "an agent was given up"),
    ("framework_ended", "a framework was torn down"),
    ("agent_drained", "operators drained an agent"),
    ("hold_lost", "a reservation or volume was not there any more when its agent came back"),
    ("hold_quarantined", "an agent had a reservation or volume that the registry did not know so"),
    ("hold_removed", "a reservation or volume was removed"),
    ("agent_emptied", "nothing was left on an agent that was emptied"),
    ("inverse_offer_declined", "a framework kept its tasks on an agent that was emptied"),
    ("inverse_offer_lapsed", "a framework did not say whether it gives up its tasks"),
    ("inverse_offer_cancelled", "an agent was activated before it was empty"),
    ("window_emptying", "frameworks were asked to move tasks for a maintenance window"),
    ("window_begun", "a maintenance window began"),
    ("drain_deadline_over", "tasks were left on an agent at the deadline of its drain"),
    ("instance_replaced_first", "an instance that is to leave serves beside its replacement"),
    ("rollout_failed", "a rollout failed and stands still"),
    ("rollout_rolled_back", "a rollout failed and went back to its end"),
    ("service_crash_loops", "a slot of a service crashes again and again"),
    ("service_degraded", "a service lacks instances without a rollout"),
    ("state_over_budget", "a commit was over a framework's budget"),
    ("state_commit_lost_race", "a commit met another version"),
    ("deposed_leader_guarded", "a write of a leader that was deposed met the guard"),
    ("unknown_outcome_written", "a write without an answer was found in the store"),
    (
        "unknown_outcome_unwritten",
        "a write without an answer was not in the store and was sent again",
    ),
    ("guard_unread", "what guards writes could not be read"),
    ("elected_without_answer", "a candidate found out that it had been elected"),
    ("recovery_in_parts", "a registry was read in more than one page"),
    ("recovery_given_up", "a registry could not be read to its end"),
    ("term_lost", "a leader learned that its term was over"),
    ("gang_started", "tasks on several agents started together"),
    ("gang_aborted", "tasks on several agents were given up before any started"),
    ("gang_aborted_by_next", "a leader gave up what an earlier one had not decided"),
    ("farm_shared", "agents shared a connection"),
    ("farm_left", "an agent left a connection that others stayed on"),
    ("farm_ended", "a connection ended with an agent that had no id yet"),
    ("farm_dropped_frame", "a frame was for an agent that was not aboard"),
];

/// What has been reached, and what it takes to know.
#[derive(Default)]
pub struct Marks {
    reached: BTreeMap<&'static str, u64>,
    /// Accepts of a framework's process that have no answer.
    accepts: BTreeMap<usize, BTreeSet<u64>>,
    /// Until when a master's lease was confirmed.
    leases: BTreeMap<(usize, u64), Monotonic>,
    unreachable: BTreeSet<String>,
}

impl Marks {
    /// Something was reached.
    pub fn reach(&mut self, mark: &'static str) {
        *self.reached.entry(mark).or_default() += 1;
    }

    /// How often each was.
    #[must_use]
    pub fn into_reached(self) -> BTreeMap<&'static str, u64> {
        self.reached
    }

    /// Called for everything that happens.
    pub fn see(&mut self, seen: &Seen<'_>, world: &World) {
        match seen {
            Seen::Master { node, life, command, effects } => {
                self.lease((*node, *life), command, world);
                effects.iter().for_each(|effect| self.effect(effect));
            }
            Seen::FrameworkSent { node, frame } => self.sent(*node, frame),
            Seen::FrameworkTold { node, frame } => self.told(*node, frame),
            Seen::Served { node } => self.served(*node, world),
            _ => {}
        }
    }

    fn lease(&mut self, process: (usize, u64), command: &Command, world: &World) {
        let now = world.master_clock(process.0).monotonic;
        match command {
            Command::LeadershipGained { lease_until } => {
                self.leases.insert(process, *lease_until);
            }
            Command::LeaseConfirmed { lease_until } => {
                let before = self.leases.insert(process, *lease_until);
                if before.is_some_and(|until| until <= now && now < *lease_until) {
                    self.reach("leader_resumed");
                }
            }
            _ => {}
        }
    }

    fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::SendAgent { frame, .. } => {
                for order in &frame.orders {
                    if let AgentOrder::AbortGang { gang, .. } = order
                        && gang.epoch < frame.master_epoch
                    {
                        self.reach("gang_aborted_by_next");
                    }
                }
            }
            Effect::Close { refusal, .. } if refusal.code == RefusalCode::Superseded => {
                self.reach("replica_superseded");
            }
            Effect::Publish { changes, .. } => {
                for change in changes {
                    if let Change::Event(row) = change {
                        self.event(row);
                    }
                }
            }
            _ => {}
        }
    }

    fn event(&mut self, row: &EventRow) {
        match row.kind.as_str() {
            "gang_started" => self.reach("gang_started"),
            "gang_aborted" => self.reach("gang_aborted"),
            "agent_unreachable" => {
                self.unreachable.insert(row.subject.clone());
            }
            "agent_registered" if self.unreachable.remove(&row.subject) => {
                self.reach("agent_returned");
            }
            "agent_gone" => self.reach("agent_gone"),
            "framework_ended" => self.reach("framework_ended"),
            "hold_lost" => self.reach("hold_lost"),
            "hold_quarantined" => self.reach("hold_quarantined"),
            "hold_removed" => self.reach("hold_removed"),
            "maintenance" if row.message.contains("to leave") => self.reach("window_emptying"),
            "maintenance" if row.message.contains("has begun") => self.reach("window_begun"),
            "agent_drained" => self.reach("agent_emptied"),
            "inverse_offer_declined" => self.reach("inverse_offer_declined"),
            "inverse_offer_lapsed" => self.reach("inverse_offer_lapsed"),
            "agent_deadline" => self.reach("drain_deadline_over"),
            "agent_mode" if row.message.contains("drain") => self.reach("agent_drained"),
            _ => {}
        }
    }

    fn sent(&mut self, node: usize, frame: &SchedulerUp) {
        for call in &frame.calls {
            if let Call::Accept(accept) = call {
                if accept.operations.iter().any(is_picked) {
                    self.reach("offer_picked");
                }
                self.accepts.entry(node).or_default().insert(accept.accept);
            }
        }
    }

    fn told(&mut self, node: usize, frame: &SchedulerDown) {
        for event in &frame.events {
            match event {
                Event::Subscribed { .. } => {
                    let open = self.accepts.remove(&node).unwrap_or_default();
                    if !open.is_empty() {
                        self.reach("accept_unanswered");
                    }
                }
                Event::Accepted { accept, refusal, .. } => {
                    self.accepts.entry(node).or_default().remove(accept);
                    let code = refusal.as_ref().map(|refusal| refusal.code);
                    if code == Some(RefusalCode::OfferNotHeld) {
                        self.reach("accept_refused_stale_offer");
                    }
                }
                Event::Standby { .. } => self.reach("replica_stands_by"),
                Event::SnapshotEnd { absent, .. } => {
                    for agent in absent {
                        match agent.absence {
                            Absence::Awaited => self.reach("snapshot_awaits_agents"),
                            Absence::UnreachableSince(_) => {
                                self.reach("snapshot_without_unreachable");
                            }
                            Absence::Gone => {}
                        }
                    }
                }
                Event::AgentResolved { absence: None, .. } => self.reach("agent_resolved"),
                Event::Rescinded { reason, .. } => self.reach(match reason.as_str() {
                    "expired" => "offer_expired",
                    "demand_changed" => "offer_rescinded_for_demand",
                    _ => "offer_taken_back",
                }),
                Event::InverseOffersRescinded { reason, .. } if reason == "cancelled" => {
                    self.reach("inverse_offer_cancelled");
                }
                Event::Status(status) => self.status(status),
                Event::Task(record) => self.status(&record.status),
                Event::State { answer: StateAnswer::Refused(refusal), .. } => match refusal.code {
                    RefusalCode::BudgetExceeded => self.reach("state_over_budget"),
                    RefusalCode::VersionConflict => self.reach("state_commit_lost_race"),
                    _ => {}
                },
                _ => {}
            }
        }
    }

    fn status(&mut self, status: &TaskStatus) {
        match status.state {
            TaskState::Dropped => self.reach("launch_dropped"),
            TaskState::Unreachable => self.reach("task_ran_on_out_of_reach"),
            _ => {}
        }
    }

    fn served(&mut self, node: usize, world: &World) {
        let Some(service) = world.frameworks[node].service() else { return };
        for view in service.views().values() {
            match view.summary.status {
                ServiceStatus::CrashLooping => self.reach("service_crash_loops"),
                ServiceStatus::Degraded => self.reach("service_degraded"),
                ServiceStatus::Paused => self.reach("rollout_failed"),
                _ => {}
            }
            let published = || view.instances.iter().filter(|it| it.published);
            let twin = |one: &InstanceView| {
                published().any(|it| it.slot == one.slot && it.name != one.name)
            };
            if published().any(|it| it.leaves.is_some() && twin(it)) {
                self.reach("instance_replaced_first");
            }
            if view.summary.rollout.state == RolloutState::RolledBack {
                self.reach("rollout_rolled_back");
            }
        }
    }
}

/// Whether a launch answers no demand.
fn is_picked(operation: &Operation) -> bool {
    match operation {
        Operation::Launch { tasks, .. } => tasks.iter().any(|task| task.group.is_none()),
        _ => false,
    }
}
