//! The turn of one service: what is over is taken up, the planner is asked, its steps are taken,
//! and what everybody may see is published. Level-triggered: it looks at what is, not at what
//! happened, so it may run at any moment and after any loss of memory.

use crate::api::EventKind;
use crate::commands::write_service;
use crate::framework::{PendingCommit, SOON, ServiceFramework};
use crate::instance::InstanceName;
use crate::plan::{Member, Phase, Step, plan};
use crate::publish::check_message;
use crate::record::{RolloutState, revision_key, revision_prefix, service_key};
use crate::service::{Ending, Instance, Service};
use crate::spec::model::HostPort;
use crate::spec::{ServiceName, template};
use proffer_sdk_core::{Context, StateWrite, TaskRequest};
use proffer_types::{DurationMs, Monotonic, TaskName};
use std::collections::{BTreeMap, BTreeSet};

/// Crash counts from here on are stored, so that a failover does not forget a crash loop. Below it
/// the pauses are short.
const CRASHES_STORED_MIN: u32 = 3;
/// At most so often.
const CRASHES_STORED_EVERY: DurationMs = DurationMs::from_secs(10);
/// For at most so many slots: the record stays small.
const CRASHES_STORED_MAX: usize = 256;
/// Most revisions forgotten in one commit.
const PRUNED_MAX: usize = 32;

impl ServiceFramework {
    /// Looks at the services that changed and at those whose time has come.
    pub(crate) fn reconcile_due(&mut self, ctx: &mut Context) {
        if !self.is_active() {
            self.dirty.clear();
            return;
        }
        let now = self.now.monotonic;
        let due = self.services.iter().filter(|(_, s)| s.wake_at.is_some_and(|at| at <= now));
        let due: BTreeSet<ServiceName> = due.map(|(name, _)| name.clone()).collect();
        let mut names = std::mem::take(&mut self.dirty);
        names.extend(due);
        for name in names {
            if self.services.contains_key(&name) {
                self.reconcile(&name, ctx);
            }
            self.publish(&name, ctx);
        }
    }

    fn reconcile(&mut self, name: &ServiceName, ctx: &mut Context) {
        self.refresh(name, ctx);
        let Some(service) = self.services.get_mut(name) else { return };
        service.wake_at = None;
        // Without a connection, and until what was decided is durable, nothing is started or ended.
        if service.is_storing || !self.is_online {
            return;
        }
        let (count, availability) = (service.count(), service.target().availability);
        let said = ctx.keep_available(name.as_str(), availability.kept(count));
        debug_assert!(said.is_ok(), "a service's name is a group's");
        self.finish_endings(name, ctx);
        let members = self.members(name, ctx);
        self.take_steps(name, &members, ctx);
        let members = self.members(name, ctx);
        self.follow_rollout(name, &members, ctx);
        self.store_crashes(name, ctx);
        self.finish_removal(name, ctx);
        let wake_at = self.next_wake(name, ctx);
        if let Some(service) = self.services.get_mut(name) {
            service.wake_at = wake_at;
        }
    }

    /// Instances whose request or task is gone without a word are forgotten; readiness is looked at
    /// again.
    fn refresh(&mut self, name: &ServiceName, ctx: &mut Context) {
        let Some(service) = self.services.get_mut(name) else { return };
        let gone: Vec<TaskName> =
            service.instances.keys().filter(|task| !ctx.is_taken(task)).cloned().collect();
        for task in gone {
            service.instances.remove(&task);
        }
        let (now, backoff) = (self.now.monotonic, service.target().restart.backoff);
        let tasks: Vec<TaskName> = service.instances.keys().cloned().collect();
        let mut healthy = BTreeSet::new();
        for instance in service.instances.values() {
            if instance.ready_since.is_some_and(|since| now.since(since) >= backoff.reset) {
                healthy.insert(instance.name.slot);
            }
        }
        service.slots.retain(|slot, _| !healthy.contains(slot));
        for task in tasks {
            self.observe(&task, ctx);
        }
    }

    fn members(&self, name: &ServiceName, ctx: &Context) -> Vec<Member<TaskName>> {
        let Some(service) = self.services.get(name) else { return Vec::new() };
        service.members(ctx.tasks(), self.now.monotonic)
    }

    /// Lingers that are over become signals; requests that were to end and wait again are taken
    /// back.
    fn finish_endings(&mut self, name: &ServiceName, ctx: &mut Context) {
        let Some(service) = self.services.get_mut(name) else { return };
        let now = self.now.monotonic;
        let due = |instance: &Instance| match instance.ending {
            Some(Ending::Lingering { until }) => until <= now,
            Some(Ending::Stopping) => true,
            None => false,
        };
        let ending: Vec<(TaskName, Option<Ending>)> = service
            .instances
            .iter()
            .filter(|(_, instance)| due(instance))
            .map(|(task, instance)| (task.clone(), instance.ending))
            .collect();
        let mut lingered = Vec::new();
        for (task, ending) in ending {
            if ctx.cancel(&task) {
                service.instances.remove(&task);
            } else if ending != Some(Ending::Stopping) {
                lingered.push(task);
            }
        }
        for task in lingered {
            self.stop(name, &task, ctx);
        }
    }

    fn take_steps(&mut self, name: &ServiceName, members: &[Member<TaskName>], ctx: &mut Context) {
        let Some(service) = self.services.get(name) else { return };
        let now = self.now.monotonic;
        let is_held = service.is_held(&self.absent, now);
        let launchable = |slot: u32| {
            !is_held && service.slots.get(&slot).is_none_or(|back_off| back_off.is_over(now))
        };
        for step in plan(&service.goal(), members, launchable) {
            match step {
                Step::Launch { slot } => self.launch(name, slot, ctx),
                Step::Cancel(task) => self.cancel(name, &task, ctx),
                Step::Drain(task) => self.drain(name, &task, ctx),
                Step::Stop(task) => self.stop(name, &task, ctx),
            }
        }
    }

    fn launch(&mut self, name: &ServiceName, slot: u32, ctx: &mut Context) {
        self.next_attempt += 1;
        let Some(service) = self.services.get_mut(name) else { return };
        let revision = &service.revisions[&service.record.fill()];
        let spec = &revision.record.spec;
        let instance = InstanceName {
            service: name.clone(),
            slot,
            revision: revision.record.number,
            restart: service.record.restart,
            epoch: ctx.epoch(),
            attempt: self.next_attempt,
        };
        let task = instance.task();
        let mut request = TaskRequest::new(
            task.clone(),
            revision.template.clone(),
            self.config.role.clone(),
            template::scalars(spec),
        )
        .group(name.as_str())
        .priority(spec.priority.of_tasks())
        .priority_waiting(spec.priority.waiting())
        .min_available(spec.availability.kept(service.record.count))
        .fresh_name()
        .report_loss()
        .variable("meta.service", name.as_str())
        .variable("meta.slot", slot.to_string())
        .variable("meta.revision", revision.record.number.to_string())
        .label("service", name.as_str())
        .label("slot", slot.to_string())
        .label("revision", revision.record.number.to_string());
        for (port, spec) in &spec.ports {
            request = match spec.host {
                HostPort::Auto => request.port(port.clone()),
                HostPort::Fixed(number) => request.fixed_port(port.clone(), number),
            };
        }
        for constraint in template::constraints(spec) {
            request = request.constraint(constraint);
        }
        if let Some(max) = spec.placement.max_per.host {
            request = request.per_agent_max(max);
        }
        if template::spread(spec) {
            request = request.spread();
        }
        let number = revision.record.number;
        match ctx.launch(request) {
            Ok(()) => {
                service.instances.insert(task.clone(), Instance::new(instance));
                let place = Some((slot, &task));
                let message = format!("r{number} asked for");
                self.events.push(self.now.wall, EventKind::Launch, name, place, message);
            }
            Err(refusal) => {
                service.instances.insert(task.clone(), Instance::new(instance));
                self.launch_failed(&task, &refusal, ctx);
            }
        }
    }

    fn cancel(&mut self, name: &ServiceName, task: &TaskName, ctx: &mut Context) {
        let Some(service) = self.services.get_mut(name) else { return };
        if ctx.cancel(task) {
            service.instances.remove(task);
        } else if let Some(instance) = service.instances.get_mut(task) {
            // Its accept is under way: it is ended as soon as it is known.
            instance.ending = Some(Ending::Stopping);
        }
    }

    /// Unpublish, linger, then signal. One that nobody was ever sent to needs no linger.
    fn drain(&mut self, name: &ServiceName, task: &TaskName, ctx: &mut Context) {
        let now = self.now.monotonic;
        let Some(service) = self.services.get_mut(name) else { return };
        let Some(instance) = service.instances.get(task) else { return };
        let linger = service.spec_of(instance).stop.drain.linger;
        if linger == DurationMs(0) || !instance.was_published {
            self.stop(name, task, ctx);
        } else if let Some(instance) = service.instances.get_mut(task) {
            instance.ending = Some(Ending::Lingering { until: now.after(linger) });
        }
    }

    fn stop(&mut self, name: &ServiceName, task: &TaskName, ctx: &mut Context) {
        let Some(service) = self.services.get_mut(name) else { return };
        let Some(instance) = service.instances.get(task) else { return };
        let spec = service.spec_of(instance);
        let (policy, signal) = (template::kill_policy(spec), spec.stop.signal.as_str());
        let slot = instance.name.slot;
        ctx.kill(task, Some(policy));
        if let Some(instance) = service.instances.get_mut(task) {
            instance.ending = Some(Ending::Stopping);
        }
        let message = format!("SIG{signal}, grace {}", policy.grace);
        self.events.push(self.now.wall, EventKind::Stopping, name, Some((slot, task)), message);
    }

    /// Progress, success, failure by deadline.
    fn follow_rollout(
        &mut self,
        name: &ServiceName,
        members: &[Member<TaskName>],
        ctx: &mut Context,
    ) {
        let now = self.now;
        let Some(service) = self.services.get_mut(name) else { return };
        if service.record.is_stopped || service.record.is_removed || service.is_storing {
            service.progress_at = now.monotonic;
            return;
        }
        let state = service.record.rollout.state;
        let available = available_slots(service, members);
        if available > service.available_max {
            service.available_max = available;
            service.progress_at = now.monotonic;
        }
        let is_open = state.is_moving() || state == RolloutState::Paused;
        if is_open && is_complete(service, members, available) {
            return self.conclude(name, ctx);
        }
        if !state.is_moving() {
            return;
        }
        if service.is_held(&self.absent, now.monotonic) {
            service.progress_at = now.monotonic;
            return;
        }
        let deadline = service.target().rollout.progress_deadline;
        if now.monotonic.since(service.progress_at) >= deadline {
            let mut why = why_no_progress(service, members, available, deadline);
            let is_starting = |m: &&Member<TaskName>| m.is_current && m.phase == Phase::Starting;
            let mut starting = members.iter().filter(is_starting);
            let seen = starting.find_map(|m| check_message(ctx.tasks().get(&m.id)?));
            why.extend(seen.map(|seen| format!("; {seen}")));
            self.fail_rollout(name, &why);
            self.store_record(name, ctx);
        }
    }

    fn conclude(&mut self, name: &ServiceName, ctx: &mut Context) {
        let Some(service) = self.services.get_mut(name) else { return };
        service.record.conclude(self.now.wall);
        let rollout = &service.record.rollout;
        let (tried, target) = (rollout.revision, service.record.target);
        let message = if rollout.state == RolloutState::RolledBack {
            format!("r{tried} rolled back: every slot runs r{target}")
        } else {
            format!("r{tried} succeeded: every slot runs it")
        };
        let keep = service.target().history.keep;
        let running = service.running_revisions();
        let records = service.revision_records();
        let mut forgotten = service.record.prunable(&records, &running, keep);
        forgotten.truncate(PRUNED_MAX);
        for number in &forgotten {
            service.revisions.remove(number);
            service.record.outcomes.remove(number);
        }
        let mut writes = vec![write_service(&service.record)];
        writes.extend(
            forgotten.iter().map(|n| StateWrite { key: revision_key(name, *n), value: None }),
        );
        self.events.push(self.now.wall, EventKind::Rollout, name, None, message);
        let pending =
            PendingCommit { records: self.records_of([name]), ..PendingCommit::default() };
        if let Err(refusal) = self.commit(writes, pending, ctx) {
            let message = format!("could not be stored: {refusal}");
            self.events.push(self.now.wall, EventKind::Changed, name, None, message);
        }
    }

    fn store_crashes(&mut self, name: &ServiceName, ctx: &mut Context) {
        let Some(service) = self.services.get_mut(name) else { return };
        let crashes: BTreeMap<u32, u32> = service
            .slots
            .iter()
            .filter(|(_, slot)| slot.crashes >= CRASHES_STORED_MIN)
            .take(CRASHES_STORED_MAX)
            .map(|(slot, back_off)| (*slot, back_off.crashes))
            .collect();
        let now = self.now.monotonic;
        let is_early = service
            .crashes_stored_at
            .is_some_and(|at| now.since(at) < CRASHES_STORED_EVERY && !crashes.is_empty());
        if crashes == service.record.crashes || is_early || service.is_storing {
            return;
        }
        service.record.crashes = crashes;
        service.crashes_stored_at = Some(now);
        self.store_record(name, ctx);
    }

    /// A removed service is forgotten once nothing of it runs.
    fn finish_removal(&mut self, name: &ServiceName, ctx: &mut Context) {
        let Some(service) = self.services.get(name) else { return };
        if !service.record.is_removed || !service.instances.is_empty() || service.is_storing {
            return;
        }
        let delete = |key: String| StateWrite { key, value: None };
        // A commit holds 64 changes; the service's own key goes with the last of them.
        let mut keys = ctx.state_keys(&revision_prefix(name));
        let is_last = keys.len() <= PRUNED_MAX;
        keys.truncate(PRUNED_MAX);
        // What is aimed at is needed until the end.
        if !is_last {
            let target = revision_key(name, service.record.target);
            keys.retain(|key| *key != target);
        }
        let mut writes: Vec<StateWrite> = keys.into_iter().map(delete).collect();
        let mut removes = BTreeSet::new();
        if is_last {
            writes.push(delete(service_key(name)));
            removes.insert(name.clone());
        }
        let pending =
            PendingCommit { records: self.records_of([name]), removes, ..PendingCommit::default() };
        if let Err(refusal) = self.commit(writes, pending, ctx) {
            let message = format!("could not be removed: {refusal}");
            self.events.push(self.now.wall, EventKind::Changed, name, None, message);
        }
    }

    /// When something falls due by itself.
    fn next_wake(&self, name: &ServiceName, ctx: &Context) -> Option<Monotonic> {
        let service = self.services.get(name)?;
        let now = self.now.monotonic;
        let mut moments: Vec<Monotonic> = Vec::new();
        let (target, replace_after) = (service.target(), service.replace_after());
        for (task, instance) in &service.instances {
            match (instance.ending, instance.ready_since) {
                (Some(Ending::Lingering { until }), _) => moments.push(until),
                (Some(Ending::Stopping), _) => {}
                (None, Some(since)) => {
                    moments.push(since.after(target.rollout.min_available_time));
                    if service.slots.contains_key(&instance.name.slot) {
                        moments.push(since.after(target.restart.backoff.reset));
                    }
                }
                (None, None) => {}
            }
            if let (Some(since), Some(after)) = (instance.unreachable_since, replace_after) {
                moments.push(since.after(after));
            }
            // A request that was to end while its accept was under way.
            if instance.ending == Some(Ending::Stopping) && ctx.tasks().get(task).is_none() {
                moments.push(now.after(SOON));
            }
        }
        moments.extend(service.slots.values().filter_map(|slot| slot.until));
        if let Some(after) = replace_after {
            moments.extend(self.absent.values().map(|(_, since)| since.after(after)));
        }
        if service.record.rollout.state.is_moving() && service.count() > 0 {
            moments.push(service.progress_at.after(target.rollout.progress_deadline));
        }
        moments.into_iter().filter(|at| *at > now).min()
    }
}

/// Slots that hold an available instance of what is aimed at.
fn available_slots(service: &Service, members: &[Member<TaskName>]) -> u32 {
    let slots: BTreeSet<u32> = members
        .iter()
        .filter(|m| m.is_current && m.phase == Phase::Available && m.slot < service.count())
        .map(|member| member.slot)
        .collect();
    u32::try_from(slots.len()).unwrap_or(u32::MAX)
}

/// Every slot runs it, and nothing old is left anywhere that is in reach.
fn is_complete(service: &Service, members: &[Member<TaskName>], available: u32) -> bool {
    available == service.count()
        && members
            .iter()
            .all(|m| m.is_current || matches!(m.phase, Phase::Lost | Phase::Unreachable))
}

fn why_no_progress(
    service: &Service,
    members: &[Member<TaskName>],
    available: u32,
    deadline: DurationMs,
) -> String {
    let count = service.count();
    let waiting = members.iter().filter(|m| m.phase == Phase::Waiting).count();
    let mut why = format!("no progress for {deadline}: {available} of {count} slots run it");
    if waiting > 0 {
        why.push_str(&format!("; {waiting} wait for capacity"));
    } else if let Some(note) = service.last_failures.values().next_back() {
        why.push_str(&format!("; slot {}: {}", note.slot, note.reason));
    }
    why
}
