//! What everybody may see of a service, made anew after each of its turns.

use crate::api::{
    Endpoint, EndpointsView, EventKind, InstanceView, RequestView, RevisionView, RolloutView,
    ServiceStatus, ServiceSummary, ServiceView, WaitView, WaitsFor, millis,
};
use crate::framework::ServiceFramework;
use crate::plan::{Member, Phase};
use crate::record::RolloutState;
use crate::service::{Ending, Service};
use crate::spec::ServiceName;
use proffer_sdk_core::{Context, Task};
use proffer_types::scheduler::Absence;
use proffer_types::{DurationMs, GroupName, Monotonic, TaskName, TaskState};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Different things that slots wait for and a view tells apart.
const WAITS_MAX: usize = 100;
/// A slot that crashed so often in a row makes its service a crash loop.
const CRASH_LOOP_MIN: u32 = 3;

impl ServiceFramework {
    /// Publishes the state of a service, or that it is gone: what of it is durable, with its instances
    /// as they are now.
    pub(crate) fn publish(&mut self, name: &ServiceName, ctx: &Context) {
        let durable = self.services.get(name).and_then(|service| service.stored.as_ref());
        if durable.is_none() {
            if self.views.remove(name).is_some() {
                self.views_changed += 1;
            }
            return;
        }
        let is_awaited = self.absent.values().any(|(absence, _)| *absence == Absence::Awaited);
        if let Some(service) = self.services.get_mut(name) {
            service.knows_all |= service.is_new || !is_awaited;
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
        let complete = self.services.get(name).is_some_and(|service| service.knows_all);
        let endpoints = EndpointsView { service: name.clone(), change, complete, endpoints };
        let Some(service) = self.services.get(name) else { return };
        let service = as_stored(service);
        let view = View { service: &service, framework: self, ctx, now: self.now.monotonic };
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
                agent: task.agent().to_string(),
                agent_name: task.record.agent_name.clone(),
            };
            for (port_name, port) in &service.spec_of(instance).ports {
                // An instance that was taken over without a number for a port cannot be reached there.
                let Some(number) = task.port(port_name) else { continue };
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

/// The service as it would be after a restart of the framework. Copied only while it is being stored.
fn as_stored(service: &Service) -> Cow<'_, Service> {
    match &service.stored {
        Some(stored) if *stored != service.record => {
            Cow::Owned(Service { record: stored.clone(), ..service.clone() })
        }
        Some(_) | None => Cow::Borrowed(service),
    }
}

/// A slot that waits.
struct Waiting {
    slot: u32,
    waits_for: WaitsFor,
    reason: String,
    detail: String,
    /// Until it goes on by itself.
    left: Option<DurationMs>,
}

/// What the check of a task that runs and is not ready saw last.
pub(crate) fn check_message(task: &Arc<Task>) -> Option<String> {
    let status = &task.record.status;
    let is_told = status.state == TaskState::Running && status.ready == Some(false);
    is_told.then(|| status.message.lines().next().unwrap_or_default().to_owned())
}

/// Ascending numbers as `0-3,7`.
fn ranges(numbers: &[u32]) -> String {
    let runs = numbers.chunk_by(|one, next| next - one == 1);
    let words: Vec<String> = runs
        .map(|run| match run {
            [first, .., last] => format!("{first}-{last}"),
            one => one.iter().map(ToString::to_string).collect(),
        })
        .collect();
    words.join(",")
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
        let waits = self.waits(&members);
        let summary = self.summary(&members, &instances, &waits, &endpoints);
        let (next_in_ms, next) = self.next();
        ServiceView {
            latest: service.record.latest,
            good: service.record.good,
            spec: service.target().clone(),
            history: self.history(),
            demand_groups: self.demand_groups(),
            summary,
            instances,
            waits,
            endpoints,
            next_in_ms,
            next,
        }
    }

    fn summary(
        &self,
        members: &[Member<TaskName>],
        instances: &[InstanceView],
        waits: &[WaitView],
        endpoints: &EndpointsView,
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
            reason: self.reason(status, waits),
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
            endpoint: endpoints.endpoints.first().map(|it| format!("{}:{}", it.address, it.port)),
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

    fn reason(&self, status: ServiceStatus, waits: &[WaitView]) -> String {
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
            ServiceStatus::Degraded | ServiceStatus::CrashLooping => {
                waits.first().map(WaitView::sentence).unwrap_or_default()
            }
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
                    leaves: instance.leaves.clone(),
                    agent: status.map(|status| status.agent.to_string()),
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

    /// Slots that do not hold an available instance of what is aimed at, by what they wait for.
    fn waits(&self, members: &[Member<TaskName>]) -> Vec<WaitView> {
        let mut by_slot: BTreeMap<u32, Vec<&Member<TaskName>>> = BTreeMap::new();
        for member in members {
            by_slot.entry(member.slot).or_default().push(member);
        }
        let mut groups: BTreeMap<(WaitsFor, String), Vec<Waiting>> = BTreeMap::new();
        for slot in 0..self.service.count() {
            let members = by_slot.get(&slot).map_or(&[][..], Vec::as_slice);
            if let Some(waiting) = self.slot(slot, members) {
                let group = (waiting.waits_for, waiting.reason.clone());
                groups.entry(group).or_default().push(waiting);
            }
        }
        groups.into_values().take(WAITS_MAX).map(|group| self.wait(&group)).collect()
    }

    /// Slots that wait for the same, in one row; there is at least one.
    fn wait(&self, group: &[Waiting]) -> WaitView {
        let slots: Vec<u32> = group.iter().map(|waiting| waiting.slot).collect();
        let failure = |slot: &u32| self.service.last_failures.get(slot).cloned();
        let crashes = |slot: &u32| self.service.slots.get(slot).map(|it| it.crashes);
        WaitView {
            waits_for: group[0].waits_for,
            reason: group[0].reason.clone(),
            detail: group[0].detail.clone(),
            count: u32::try_from(group.len()).unwrap_or(u32::MAX),
            crashes: slots.iter().filter_map(crashes).max().unwrap_or(0),
            in_ms: group.iter().filter_map(|waiting| waiting.left).min().map(millis),
            last_failure: slots.iter().find_map(failure),
            slots: ranges(&slots),
        }
    }

    fn slot(&self, slot: u32, members: &[&Member<TaskName>]) -> Option<Waiting> {
        let service = self.service;
        let has = |phase: Phase| {
            members.iter().any(|m| m.is_current && !m.is_leaving && m.phase == phase)
        };
        if has(Phase::Available) {
            return None;
        }
        let is_leaving = members.iter().any(|m| m.is_leaving && m.phase.occupies());
        let back_off = service.slots.get(&slot).copied().unwrap_or_default();
        let last_failure = service.last_failures.get(&slot);
        let ended = last_failure.map(|note| format!("; the last one: {}", note.reason));
        let ended = ended.unwrap_or_default();
        let left = |at: Monotonic| Some(at.since(self.now)).filter(|left| *left > DurationMs(0));
        let until = back_off.until.and_then(left);
        let (waits_for, reason, left) = if has(Phase::Waiting) {
            let beside =
                if is_leaving { " elsewhere; its instance serves on until then" } else { "" };
            (WaitsFor::Capacity, format!("no offer fits yet{beside}"), None)
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
            let reason = match back_off.crashes {
                0 => format!("is filled again soon{ended}"),
                1 => format!("crashed{ended}"),
                times => format!("crashed {times} times in a row{ended}"),
            };
            (WaitsFor::BackOff, reason, Some(until))
        } else if is_leaving {
            (WaitsFor::Turn, "is to leave its agent, and waits for its turn".to_owned(), None)
        } else if members.iter().any(|m| m.phase.occupies()) {
            (WaitsFor::Turn, "runs an older revision until its turn".to_owned(), None)
        } else if members.iter().any(|m| m.phase.is_live()) {
            (WaitsFor::Ending, "its old instance is ending".to_owned(), self.linger(members))
        } else {
            (WaitsFor::Turn, "waits until others have ended".to_owned(), None)
        };
        let is_starting = |m: &&&Member<TaskName>| m.is_current && m.phase == Phase::Starting;
        let starting = members.iter().find(is_starting).map(|member| &member.id);
        let detail = starting.and_then(|id| check_message(self.ctx.tasks().get(id)?));
        Some(Waiting { slot, waits_for, reason, detail: detail.unwrap_or_default(), left })
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
            .range(..=record.latest)
            .rev()
            .map(|(_, revision)| RevisionView {
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

#[cfg(test)]
mod tests {
    #[test]
    fn slots_that_follow_each_other_are_one_range() {
        assert_eq!(super::ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(super::ranges(&[4]), "4");
    }
}
