//! What everybody may see of a service, made anew after each of its turns.

use crate::api::{
    Endpoint, EndpointsView, EventKind, InstanceView, RequestView, RevisionView, RolloutView,
    ServiceStatus, ServiceSummary, ServiceView, SlotView, WaitsFor, millis,
};
use crate::framework::ServiceFramework;
use crate::plan::{Member, Phase};
use crate::record::RolloutState;
use crate::service::{Ending, Service};
use crate::spec::ServiceName;
use proffer_sdk_core::{Context, Task};
use proffer_types::{DurationMs, GroupName, Monotonic, TaskName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Slots that a view explains one by one.
const SLOTS_MAX: usize = 100;
/// A slot that crashed so often in a row makes its service a crash loop.
const CRASH_LOOP_MIN: u32 = 3;

impl ServiceFramework {
    /// Publishes the present state of a service, or that it is gone.
    pub(crate) fn publish(&mut self, name: &ServiceName, ctx: &Context) {
        if !self.services.contains_key(name) {
            if self.views.remove(name).is_some() {
                self.views_changed += 1;
            }
            return;
        }
        self.note_publications(name, ctx);
        let endpoints = self.endpoints(name, ctx);
        let known = self.views.get(name).map(|view| &view.endpoints);
        let change = match known {
            Some(known) if known.endpoints == endpoints && known.change >> 32 == ctx.epoch().0 => {
                known.change
            }
            Some(_) | None => {
                self.endpoint_changes += 1;
                (ctx.epoch().0 << 32) | self.endpoint_changes
            }
        };
        let endpoints = EndpointsView { service: name.clone(), change, endpoints };
        let Some(service) = self.services.get(name) else { return };
        let view = View { service, framework: self, ctx, now: self.now.monotonic };
        let view = view.build(endpoints);
        if self.views.get(name).is_none_or(|known| **known != view) {
            self.views.insert(name.clone(), Arc::new(view));
            self.views_changed += 1;
        }
    }

    fn endpoints(&self, name: &ServiceName, ctx: &Context) -> Vec<Endpoint> {
        let Some(service) = self.services.get(name) else { return Vec::new() };
        let mut endpoints = Vec::new();
        for (task_name, instance) in &service.instances {
            let Some(task) = ctx.tasks().get(task_name) else { continue };
            if !service.is_published(instance, task) {
                continue;
            }
            let endpoint = |port_name: &str, protocol: &str, port: u16| Endpoint {
                instance: task_name.clone(),
                slot: instance.name.slot,
                revision: instance.name.revision,
                port_name: port_name.to_owned(),
                protocol: protocol.to_owned(),
                address: task.record.address.clone(),
                port,
                agent: task.agent(),
            };
            let spec = service.spec_of(instance);
            if spec.ports.is_empty() {
                endpoints.push(endpoint("", "", 0));
            }
            for (port_name, port) in &spec.ports {
                let number = task.port(port_name).unwrap_or(0);
                endpoints.push(endpoint(port_name, port.protocol.as_str(), number));
            }
        }
        endpoints.sort_by(|a, b| {
            (a.slot, &a.instance, &a.port_name).cmp(&(b.slot, &b.instance, &b.port_name))
        });
        endpoints
    }

    /// Notes who enters and leaves the endpoints.
    fn note_publications(&mut self, name: &ServiceName, ctx: &Context) {
        let Some(service) = self.services.get(name) else { return };
        let was: BTreeSet<TaskName> = self
            .views
            .get(name)
            .map(|view| {
                view.instances.iter().filter(|i| i.published).map(|i| i.name.clone()).collect()
            })
            .unwrap_or_default();
        let is: BTreeSet<TaskName> = service
            .instances
            .iter()
            .filter(|(task, instance)| {
                ctx.tasks().get(task).is_some_and(|task| service.is_published(instance, task))
            })
            .map(|(task, _)| task.clone())
            .collect();
        let slot = |task: &TaskName| {
            crate::instance::InstanceName::parse(task).map_or(0, |name| name.slot)
        };
        for task in is.difference(&was) {
            let place = Some((slot(task), task));
            self.events.push(self.now.wall, EventKind::Published, name, place, "ready");
        }
        for task in was.difference(&is) {
            let place = Some((slot(task), task));
            self.events.push(self.now.wall, EventKind::Unpublished, name, place, "not served to");
        }
        let Some(service) = self.services.get_mut(name) else { return };
        for task in is {
            if let Some(instance) = service.instances.get_mut(&task) {
                instance.was_published = true;
            }
        }
    }
}

/// One service at one moment.
struct View<'a> {
    service: &'a Service,
    framework: &'a ServiceFramework,
    ctx: &'a Context,
    now: Monotonic,
}

impl View<'_> {
    fn build(&self, endpoints: EndpointsView) -> ServiceView {
        let service = self.service;
        let members = service.members(self.ctx.tasks(), self.now);
        let instances = self.instances();
        let slots = self.slots(&members);
        let summary = self.summary(&members, &instances, &slots);
        let (next_in_ms, next) = self.next();
        ServiceView {
            latest: service.record.latest,
            good: service.record.good,
            spec: service.target().clone(),
            history: self.history(),
            demand_groups: self.demand_groups(),
            summary,
            instances,
            slots,
            endpoints,
            next_in_ms,
            next,
        }
    }

    fn summary(
        &self,
        members: &[Member<TaskName>],
        instances: &[InstanceView],
        slots: &[SlotView],
    ) -> ServiceSummary {
        let service = self.service;
        let count = |is: &dyn Fn(&Member<TaskName>) -> bool| {
            u32::try_from(members.iter().filter(|m| is(m)).count()).unwrap_or(u32::MAX)
        };
        let published = instances.iter().filter(|instance| instance.published).count();
        let available = count(&|m| m.is_current && m.phase == Phase::Available);
        let status = self.status(available);
        let request = &service.target().resources.request;
        let target = &service.target_revision().record;
        ServiceSummary {
            name: service.record.name.clone(),
            status,
            reason: self.reason(status, slots),
            instances: service.record.count,
            ready: u32::try_from(published).unwrap_or(u32::MAX),
            available,
            old: count(&|m| !m.is_current && m.phase.is_live() && m.phase != Phase::Waiting),
            waiting: count(&|m| m.phase == Phase::Waiting),
            revision: service.record.target,
            request: RequestView {
                cpu_milli: request.cpu.0,
                mem_bytes: request.mem.0,
                disk_bytes: request.disk.0,
            },
            labels: service.target().labels.clone(),
            rollout: self.rollout(),
            updated_at: target.created_at,
        }
    }

    fn status(&self, available: u32) -> ServiceStatus {
        let record = &self.service.record;
        if record.is_removed {
            return ServiceStatus::Removing;
        }
        if record.is_stopped {
            return ServiceStatus::Stopped;
        }
        match record.rollout.state {
            RolloutState::Rolling => ServiceStatus::Rolling,
            RolloutState::RollingBack => ServiceStatus::RollingBack,
            RolloutState::Paused => ServiceStatus::Paused,
            RolloutState::Succeeded | RolloutState::RolledBack | RolloutState::Superseded => {
                if available >= self.service.count() {
                    ServiceStatus::Running
                } else if self.worst_slot().is_some_and(|(_, crashes)| crashes >= CRASH_LOOP_MIN) {
                    ServiceStatus::CrashLooping
                } else {
                    ServiceStatus::Degraded
                }
            }
        }
    }

    fn worst_slot(&self) -> Option<(u32, u32)> {
        let slots = self.service.slots.iter().map(|(slot, back_off)| (*slot, back_off.crashes));
        slots.max_by_key(|(_, crashes)| *crashes)
    }

    fn reason(&self, status: ServiceStatus, slots: &[SlotView]) -> String {
        let rollout = &self.service.record.rollout;
        match status {
            ServiceStatus::Running | ServiceStatus::Rolling if rollout.reason.is_empty() => {
                String::new()
            }
            ServiceStatus::Running if rollout.state == RolloutState::RolledBack => {
                format!("r{} was rolled back: {}", rollout.revision, rollout.reason)
            }
            ServiceStatus::Running => String::new(),
            ServiceStatus::Rolling | ServiceStatus::RollingBack | ServiceStatus::Paused => {
                rollout.reason.clone()
            }
            ServiceStatus::Stopped => "stopped; start it again".to_owned(),
            ServiceStatus::Removing => {
                format!("{} instances are ending", self.service.instances.len())
            }
            ServiceStatus::Degraded | ServiceStatus::CrashLooping => slots
                .first()
                .map(|slot| format!("slot {}: {}", slot.slot, slot.reason))
                .unwrap_or_default(),
        }
    }

    fn rollout(&self) -> RolloutView {
        let service = self.service;
        let rollout = &service.record.rollout;
        let runs = rollout.state.is_moving() && service.count() > 0;
        let end = service.progress_at.after(service.target().rollout.progress_deadline);
        RolloutView {
            number: rollout.number,
            kind: rollout.kind,
            revision: rollout.revision,
            target: service.record.target,
            state: rollout.state,
            reason: rollout.reason.clone(),
            failed_slots: rollout.failed_slots.iter().copied().collect(),
            first_failure: rollout.first_failure.clone(),
            started_at: rollout.started_at,
            ended_at: rollout.ended_at,
            deadline_in_ms: runs.then(|| millis(end.since(self.now))),
        }
    }

    fn instances(&self) -> Vec<InstanceView> {
        let service = self.service;
        let mut views: Vec<(u64, InstanceView)> = service
            .instances
            .iter()
            .map(|(name, instance)| {
                let task = self.ctx.tasks().get(name).map(AsRef::as_ref);
                let record = task.map(|task: &Task| &task.record);
                let status = record.map(|record| &record.status);
                let ports = service.spec_of(instance).ports.keys();
                let view = InstanceView {
                    name: name.clone(),
                    slot: instance.name.slot,
                    revision: instance.name.revision,
                    is_current: service.is_current(instance),
                    phase: service.phase(instance, task, self.now),
                    state: status.map(|status| status.state),
                    reason: status.map(|status| status.reason).unwrap_or_default(),
                    message: status.map(|status| status.message.clone()).unwrap_or_default(),
                    ready: status.and_then(|status| status.ready),
                    published: task.is_some_and(|task| service.is_published(instance, task)),
                    agent: status.map(|status| status.agent),
                    agent_name: record.map(|record| record.agent_name.clone()),
                    address: record.map(|record| record.address.clone()).unwrap_or_default(),
                    ports: ports
                        .filter_map(|port| Some((port.clone(), task?.port(port)?)))
                        .collect(),
                    isolation: status.map(|status| status.isolation),
                    since: status.map(|status| status.at),
                    exit: status.and_then(|status| status.exit),
                };
                (instance.name.age(), view)
            })
            .collect();
        views.sort_by_key(|(age, view)| (view.slot, *age));
        views.into_iter().map(|(_, view)| view).collect()
    }

    /// Slots that do not hold an available instance of what is aimed at, and why.
    fn slots(&self, members: &[Member<TaskName>]) -> Vec<SlotView> {
        let mut by_slot: BTreeMap<u32, Vec<&Member<TaskName>>> = BTreeMap::new();
        for member in members {
            by_slot.entry(member.slot).or_default().push(member);
        }
        (0..self.service.count())
            .filter_map(|slot| self.slot(slot, by_slot.get(&slot).map_or(&[], Vec::as_slice)))
            .take(SLOTS_MAX)
            .collect()
    }

    fn slot(&self, slot: u32, members: &[&Member<TaskName>]) -> Option<SlotView> {
        let service = self.service;
        let has = |phase: Phase| members.iter().any(|m| m.is_current && m.phase == phase);
        if has(Phase::Available) {
            return None;
        }
        let back_off = service.slots.get(&slot).copied().unwrap_or_default();
        let last_failure = service.last_failures.get(&slot).cloned();
        let ended = last_failure.as_ref().map(|note| format!("; the last one: {}", note.reason));
        let ended = ended.unwrap_or_default();
        let left = |at: Monotonic| Some(at.since(self.now)).filter(|left| *left > DurationMs(0));
        let until = back_off.until.and_then(left);
        let (waits_for, reason, wait) = if has(Phase::Waiting) {
            (WaitsFor::Capacity, "no offer fits yet".to_owned(), None)
        } else if has(Phase::Starting) {
            (WaitsFor::Readiness, format!("is not ready yet{ended}"), None)
        } else if has(Phase::Ready) {
            let soak = self.soak(members);
            (WaitsFor::Soak, "is ready, not for long enough".to_owned(), soak)
        } else if members.iter().any(|m| m.phase == Phase::Unreachable) {
            (WaitsFor::Agent, "its agent is out of reach".to_owned(), self.replacement(members))
        } else if service.is_held(&self.framework.absent, self.now) {
            (WaitsFor::Agent, "an agent that has not reported may hold it".to_owned(), None)
        } else if let Some(until) = until {
            let reason = format!("crashed {} times in a row{ended}", back_off.crashes);
            let reason =
                if back_off.crashes == 0 { format!("is filled again soon{ended}") } else { reason };
            (WaitsFor::BackOff, reason, Some(until))
        } else if members.iter().any(|m| m.phase.occupies()) {
            (WaitsFor::Turn, "runs an older revision until its turn".to_owned(), None)
        } else if members.iter().any(|m| m.phase.is_live()) {
            (WaitsFor::Ending, "its old instance is ending".to_owned(), self.linger(members))
        } else {
            (WaitsFor::Turn, "waits until others have ended".to_owned(), None)
        };
        let crashes = back_off.crashes;
        let in_ms = wait.map(millis);
        Some(SlotView { slot, waits_for, reason, crashes, in_ms, last_failure })
    }

    fn soak(&self, members: &[&Member<TaskName>]) -> Option<DurationMs> {
        let needed = self.service.target().rollout.min_available_time;
        let since = members
            .iter()
            .filter(|member| member.is_current)
            .filter_map(|member| self.service.instances.get(&member.id)?.ready_since);
        since.map(|since| since.after(needed).since(self.now)).min()
    }

    fn replacement(&self, members: &[&Member<TaskName>]) -> Option<DurationMs> {
        let after = self.service.replace_after()?;
        let since = members
            .iter()
            .filter_map(|member| self.service.instances.get(&member.id)?.unreachable_since);
        since.map(|since| since.after(after).since(self.now)).min()
    }

    fn linger(&self, members: &[&Member<TaskName>]) -> Option<DurationMs> {
        let ends = members.iter().filter_map(|member| {
            match self.service.instances.get(&member.id)?.ending {
                Some(Ending::Lingering { until }) => Some(until.since(self.now)),
                Some(Ending::Stopping) | None => None,
            }
        });
        ends.min()
    }

    fn history(&self) -> Vec<RevisionView> {
        let record = &self.service.record;
        self.service
            .revisions
            .values()
            .rev()
            .map(|revision| RevisionView {
                revision: revision.record.number,
                outcome: record.outcomes.get(&revision.record.number).copied(),
                is_target: record.target == revision.record.number,
                is_good: record.good == Some(revision.record.number),
                digest: revision.record.digest.chars().take(12).collect(),
                author: revision.record.author.clone(),
                message: revision.record.message.clone(),
                rollback_of: revision.record.rollback_of,
                created_at: revision.record.created_at,
                spec: revision.record.spec.clone(),
            })
            .collect()
    }

    /// Groups of instances that have a place, and of those that wait for one.
    fn demand_groups(&self) -> Vec<GroupName> {
        let groups: BTreeSet<GroupName> = self
            .service
            .instances
            .keys()
            .filter_map(|name| {
                let placed = self.ctx.tasks().get(name).and_then(|task| task.record.group.clone());
                placed.or_else(|| self.ctx.group_of(name).cloned())
            })
            .collect();
        groups.into_iter().collect()
    }

    /// The next thing that happens by itself.
    fn next(&self) -> (Option<u64>, String) {
        let service = self.service;
        let Some(at) = service.wake_at else { return (None, String::new()) };
        let left = millis(at.since(self.now));
        let lingers = service.instances.values().any(
            |instance| matches!(instance.ending, Some(Ending::Lingering { until }) if until == at),
        );
        let soak = service.target().rollout.min_available_time;
        let soaks = service.instances.values().any(|instance| {
            instance.ending.is_none()
                && instance.ready_since.is_some_and(|since| since.after(soak) == at)
        });
        let backs_off = service.slots.values().any(|slot| slot.until == Some(at));
        let words = if lingers {
            "an unpublished instance is asked to end"
        } else if soaks {
            "a ready instance counts as available"
        } else if backs_off {
            "a crashed slot starts again"
        } else if service.record.rollout.state.is_moving() {
            "the rollout counts as failed"
        } else {
            "instances out of reach are replaced"
        };
        (Some(left), words.to_owned())
    }
}
