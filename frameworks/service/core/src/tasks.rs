//! What becomes of instances: running, ready, out of reach, ended; and what an end says about the
//! slot and the rollout.

use crate::api::EventKind;
use crate::commands::write_service;
use crate::framework::{PendingCommit, ServiceFramework};
use crate::instance::InstanceName;
use crate::record::{FailureNote, RolloutState};
use crate::service::{Ending, Instance, Service};
use crate::spec::{ServiceName, template};
use proffer_sdk_core::{Context, Task};
use proffer_types::inverse_offer::{InverseOffer, VacateReason};
use proffer_types::scheduler::Absence;
use proffer_types::task::StatusReason;
use proffer_types::{AgentId, InverseOfferId, Monotonic, Refusal, TaskName, TaskState};

/// What an end says about the service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// It was asked for.
    Expected,
    /// The agent or an operator is the cause: the slot is filled again, nothing is held against
    /// the revision.
    Lost,
    /// It ended by itself, or could not start.
    Crashed,
}

impl ServiceFramework {
    pub(crate) fn task_changed(&mut self, task: &Task, retried: bool, ctx: &mut Context) {
        if !self.is_active() {
            return;
        }
        let name = task.name();
        let Some(parsed) = InstanceName::parse(name) else { return };
        let Some(service) = self.services.get_mut(&parsed.service) else {
            // An instance of a service that was removed: its agent was away meanwhile.
            if task.is_live() {
                ctx.kill(name, None);
            }
            return;
        };
        self.dirty.insert(parsed.service.clone());
        if !task.is_live() {
            match service.instances.get(name).cloned() {
                Some(_) if retried => {}
                Some(instance) => {
                    service.instances.remove(name);
                    self.ended(&instance, task, ctx);
                }
                // It ended before this process saw it, or its end was told before: said again, it must
                // not be held against the slot again.
                None => self.ended_unseen(&parsed, task),
            }
            return;
        }
        let instance =
            service.instances.entry(name.clone()).or_insert_with(|| Instance::new(parsed.clone()));
        if instance.ending == Some(Ending::Stopping) && task.state() != TaskState::Killing {
            let instance = instance.clone();
            let policy = template::kill_policy(service.spec_of(&instance));
            ctx.kill(name, Some(policy));
        }
        self.tell_state(&parsed, task);
        self.observe(name, ctx);
    }

    fn tell_state(&mut self, instance: &InstanceName, task: &Task) {
        let agent = &task.record.agent_name;
        let starts = task.record.status.reason == StatusReason::None;
        let (kind, message) = if task.state() == TaskState::Running && starts {
            (EventKind::Running, format!("runs on {agent}"))
        } else if task.state() == TaskState::Unreachable {
            (EventKind::Lost, format!("{agent} is out of reach"))
        } else {
            return;
        };
        let place = Some((instance.slot, task.name()));
        self.events.push(self.now.wall, kind, &instance.service, place, message);
    }

    /// Takes over what the task table says about readiness and reach.
    pub(crate) fn observe(&mut self, name: &TaskName, ctx: &Context) {
        let Some(task) = ctx.tasks().get(name) else { return };
        let Some(parsed) = InstanceName::parse(name) else { return };
        let absence = self.absent.get(&task.agent()).map(|(absence, _)| *absence);
        let asked = ctx.inverse_offer_of(task);
        if let Some(service) = self.services.get_mut(&parsed.service) {
            service.observe(name, task, absence, asked, self.now.monotonic);
        }
    }

    /// Agents are to be emptied: their instances are replaced elsewhere first, as far as the rollout rules
    /// of their services allow, so the framework agrees to that at once.
    pub(crate) fn asked_to_leave(&mut self, offers: &[InverseOffer], ctx: &mut Context) {
        let ids: Vec<InverseOfferId> = offers.iter().map(|offer| offer.id).collect();
        ctx.accept_inverse_offers(&ids);
        for task in ctx.tasks().live() {
            let asked = offers.iter().find(|it| it.asks_for(task.agent(), task.name()));
            let (Some(offer), Some(instance)) = (asked, InstanceName::parse(task.name())) else {
                continue;
            };
            let within = offer.deadline.map(|span| format!(" within {span}")).unwrap_or_default();
            let message = format!("is to leave {}{within}: {}", offer.agent_name, why(offer));
            let place = Some((instance.slot, task.name()));
            let (now, service) = (self.now.wall, &instance.service);
            self.events.push(now, EventKind::Leaving, service, place, message);
        }
        self.mark_all();
    }

    pub(crate) fn agent_changed(&mut self, agent: AgentId, absence: Option<Absence>) {
        match absence {
            None => drop(self.absent.remove(&agent)),
            Some(absence) => {
                let kind = |absence: &Absence| std::mem::discriminant(absence);
                let known = self.absent.get(&agent);
                // A durable deadline is a span that starts anew with each new observer (K19).
                let since = known
                    .filter(|(known, _)| kind(known) == kind(&absence))
                    .map_or(self.now.monotonic, |(_, since)| *since);
                self.absent.insert(agent, (absence, since));
            }
        }
    }

    pub(crate) fn launch_failed(&mut self, name: &TaskName, refusal: &Refusal, ctx: &mut Context) {
        let Some(parsed) = InstanceName::parse(name) else { return };
        let Some(service) = self.services.get_mut(&parsed.service) else { return };
        let Some(instance) = service.instances.remove(name) else { return };
        self.dirty.insert(parsed.service.clone());
        if instance.ending.is_some() {
            return;
        }
        let note = FailureNote {
            slot: parsed.slot,
            instance: name.to_string(),
            reason: "refused".to_owned(),
            message: excerpt_end(&refusal.to_string()),
            at: self.now.wall,
        };
        self.crashed(&instance, note, ctx);
    }

    fn ended_unseen(&mut self, name: &InstanceName, task: &Task) {
        let place = Some((name.slot, task.name()));
        self.events.push(self.now.wall, EventKind::Ended, &name.service, place, describe_end(task));
    }

    fn ended(&mut self, instance: &Instance, task: &Task, ctx: &mut Context) {
        let name = &instance.name;
        let place = Some((name.slot, task.name()));
        let status = &task.record.status;
        let kind = judge(instance, task);
        let words = describe_end(task);
        let event = match kind {
            End::Expected => EventKind::Ended,
            End::Lost => EventKind::Lost,
            End::Crashed => EventKind::Crashed,
        };
        self.events.push(self.now.wall, event, &name.service, place, words.clone());
        let note = FailureNote {
            slot: name.slot,
            instance: task.name().to_string(),
            reason: words,
            message: excerpt_end(&status.message),
            at: status.at,
        };
        let now = self.now.monotonic;
        match kind {
            End::Expected => {}
            End::Lost => {
                let Some(service) = self.services.get_mut(&name.service) else { return };
                let backoff = service.target().restart.backoff;
                service.last_failures.insert(name.slot, note);
                service.slots.entry(name.slot).or_default().lost(&backoff, now);
            }
            End::Crashed => self.crashed(instance, note, ctx),
        }
    }

    /// An instance ended by itself: its slot backs off, and a rollout may have failed.
    fn crashed(&mut self, instance: &Instance, note: FailureNote, ctx: &mut Context) {
        let name = instance.name.service.clone();
        let Some(service) = self.services.get_mut(&name) else { return };
        service.last_failures.insert(note.slot, note.clone());
        // The end of an old instance says nothing about what its slot is filled with next.
        if note.slot >= service.count() || !service.matches(instance, service.record.fill()) {
            return;
        }
        let backoff = service.target().restart.backoff;
        let slot = service.slots.entry(note.slot).or_default();
        slot.crashed(&backoff, (&name, note.slot), self.now.monotonic);
        let is_rolling = service.record.rollout.state == RolloutState::Rolling;
        if !is_rolling || !service.is_current(instance) {
            return;
        }
        let rollout = service.target().rollout;
        let words = format!("slot {}: {}", note.slot, note.reason);
        let known = service.record.rollout.failed_slots.contains(&note.slot);
        let is_too_much = service.record.note_failure(note, rollout.max_failures);
        if is_too_much {
            self.fail_rollout(&name, &words);
        } else if known {
            return;
        }
        self.store_record(&name, ctx);
    }

    /// The rollout of a service has failed. The caller stores the record.
    pub(crate) fn fail_rollout(&mut self, name: &ServiceName, why: &str) {
        let Some(service) = self.services.get_mut(name) else { return };
        let revisions = service.revision_records();
        let on_failure = service.target().rollout.on_failure;
        let (state, target) = (service.record.rollout.state, service.record.target);
        service.record.fail(why, on_failure, &revisions, self.now.wall);
        // While it goes on regardless, only the deadline starts anew.
        service.progress_at = self.now.monotonic;
        if service.record.rollout.state == state {
            return;
        }
        if service.record.target != target {
            service.restart_progress(self.now.monotonic);
        }
        let rollout = &service.record.rollout;
        let message =
            format!("r{} {}: {}", rollout.revision, rollout.state.as_str(), rollout.reason);
        self.events.push(self.now.wall, EventKind::Rollout, name, None, message);
    }

    /// Makes a change of the framework's own durable.
    pub(crate) fn store_record(&mut self, name: &ServiceName, ctx: &mut Context) {
        let Some(service) = self.services.get_mut(name) else { return };
        if service.is_storing {
            service.is_ahead = true;
            return;
        }
        let writes = vec![write_service(&service.record)];
        let pending =
            PendingCommit { records: self.records_of([name]), ..PendingCommit::default() };
        if let Err(refusal) = self.commit(writes, pending, ctx) {
            let message = format!("could not be stored: {refusal}");
            self.events.push(self.now.wall, EventKind::Changed, name, None, message);
        }
    }

    /// A rollout is not held responsible for the time without a connection.
    pub(crate) fn hold_deadlines(&mut self) {
        let now = self.now.monotonic;
        for service in self.services.values_mut() {
            service.progress_at = now;
        }
        self.mark_all();
    }
}

impl Service {
    /// Takes crash counts over from the store: a crash loop goes on where it was.
    pub(crate) fn restore_crashes(&mut self, now: Monotonic) {
        let backoff = self.target().restart.backoff;
        for (slot, crashes) in self.record.crashes.clone() {
            let restored = crate::back_off::BackOff::restored(
                &backoff,
                crashes,
                (&self.record.name, slot),
                now,
            );
            self.slots.insert(slot, restored);
        }
    }
}

fn judge(instance: &Instance, task: &Task) -> End {
    let status = &task.record.status;
    if instance.ending.is_some() || status.reason == StatusReason::KilledByFramework {
        return End::Expected;
    }
    // The agent's own refusals of what it has no room for say nothing about the service.
    let had_no_room =
        status.state == TaskState::Error && status.message.starts_with("resources_stale");
    let is_lost = matches!(status.state, TaskState::Dropped | TaskState::Gone)
        || matches!(
            status.reason,
            StatusReason::AgentRebooted
                | StatusReason::AgentGone
                | StatusReason::AgentUnreachable
                | StatusReason::SupervisorLost
                | StatusReason::LaunchLost
                | StatusReason::KilledByOperator
                | StatusReason::Drained
                | StatusReason::Maintenance
                | StatusReason::Preempted
                | StatusReason::StoppedWhileDisconnected
        );
    if had_no_room || is_lost {
        End::Lost
    } else if status.state == TaskState::Killed {
        // By an earlier life of this framework, which did not live to see it.
        End::Expected
    } else {
        End::Crashed
    }
}

fn why(offer: &InverseOffer) -> &'static str {
    match offer.reason {
        VacateReason::Drain => "it is drained",
        VacateReason::Maintenance { .. } => "it is to be maintained",
        VacateReason::Preemption { .. } => "room is made there for others",
    }
}

/// How an instance ended, in a word or two.
fn describe_end(task: &Task) -> String {
    let status = &task.record.status;
    let code = status.exit.and_then(|exit| exit.code);
    let signal = status.exit.and_then(|exit| exit.signal);
    match (status.state, status.reason) {
        (TaskState::Finished, _) => format!("exited_unexpectedly({})", code.unwrap_or(0)),
        (TaskState::Killed, StatusReason::KilledByFramework | StatusReason::None) => {
            "stopped".to_owned()
        }
        (TaskState::Killed, StatusReason::KilledAfterGrace) => "killed_after_grace".to_owned(),
        (TaskState::Killed, StatusReason::KilledByOperator) => "killed_by_operator".to_owned(),
        (_, StatusReason::Exited) => {
            format!("exited({})", code.map_or("?".to_owned(), |code| code.to_string()))
        }
        (_, StatusReason::Signalled) => {
            format!("signalled({})", signal.map_or("?".to_owned(), |signal| signal.to_string()))
        }
        (state, StatusReason::None) => format!("{state:?}").to_lowercase(),
        (_, reason) => serde_json::to_value(reason)
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default(),
    }
}

/// The last lines matter: a long message loses its beginning.
fn excerpt_end(text: &str) -> String {
    let start = text.len().saturating_sub(FailureNote::MESSAGE_BYTES_MAX);
    let start = (start..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(start);
    text[start..].to_owned()
}
