//! I13: maintenance. No offer is made on an agent that operators drain, and no task there is killed before
//! the deadline, or before its framework has had time to answer. A service keeps as many
//! instances published as its rollout promises, except for what faults took; and never asks for more
//! at once than its surge allows.

use super::{holds, is_newest};
use crate::sim::observe::{Checker, Seen};
use crate::sim::plan::INVERSE_OFFER_TIMEOUT;
use crate::sim::world::World;
use proffer_master_core::{Command, Effect};
use proffer_service_core::ServiceCall;
use proffer_service_core::api::{InstanceView, ServiceStatus, ServiceView};
use proffer_service_core::instance::InstanceName;
use proffer_service_core::plan::Phase;
use proffer_service_core::spec::ServiceName;
use proffer_service_core::spec::model::RolloutSpec;
use proffer_types::agent::{AgentOrder, KillCause};
use proffer_types::maintenance::WindowPhase;
use proffer_types::offer::Operation;
use proffer_types::operator::{Change, OperatorAnswer, OperatorCall};
use proffer_types::scheduler::Call;
use proffer_types::{AgentId, DurationMs, FrameworkEpoch, Monotonic, TaskName, TaskState};
use std::collections::{BTreeMap, BTreeSet};

/// A process, its life, and its epoch.
type Term = (usize, u64, FrameworkEpoch);

/// A service one turn ago.
struct Before {
    term: Term,
    promises: Promises,
    /// Published, and counted by the promise: a new one counts once it has been ready for
    /// `min_available_time`.
    counted: BTreeSet<TaskName>,
}

fn counts(instance: &InstanceView) -> bool {
    instance.published
        && match instance.phase {
            Some(Phase::Available) => true,
            Some(Phase::Ready) => !instance.is_current,
            _ => false,
        }
}

/// What the files that users have sent for a service promise, by what tells them apart besides their
/// rollout: the framework's own idea of its promise is not asked.
type Asked = BTreeMap<(ServiceName, Vec<String>, Option<u32>), Vec<RolloutSpec>>;

/// What the file that is aimed at promises.
#[derive(Clone, Copy)]
struct Promises {
    /// At least so many stay published when the framework takes one away.
    least: u32,
    /// At most so many are alive when it starts one.
    most: u32,
}

impl Promises {
    fn of(view: &ServiceView, asked: &Asked) -> Self {
        let (count, spec) = (view.summary.instances, &view.spec);
        let key = (view.summary.name.clone(), spec.command.clone(), spec.instances);
        let rollouts = asked.get(&key).map(Vec::as_slice).unwrap_or_default();
        let least = rollouts.iter().map(|it| it.min_ready.of(count).min(count)).min();
        let most = rollouts.iter().map(|it| count.saturating_add(it.surge.of(count))).max();
        Self { least: least.unwrap_or(0), most: most.unwrap_or(u32::MAX) }
    }
}

/// How an agent is drained.
#[derive(Clone, Copy, Debug)]
struct Drain {
    deadline: Option<DurationMs>,
    /// On the clock of the leader that was asked, or of the next one: it starts the deadline in full.
    since: Monotonic,
}

/// See the module's description.
#[derive(Default)]
pub(super) struct Maintenance {
    /// What operators were told last of each agent, as long as nothing else was asked since.
    drained: BTreeSet<AgentId>,
    /// Whose calls these are.
    term: u64,
    /// Drains that are known to be durable.
    drains: BTreeMap<AgentId, Drain>,
    /// The same of agents that something else was asked of meanwhile.
    doubted: BTreeMap<AgentId, Drain>,
    /// How far the windows of agents have come, as the list has it.
    windows: BTreeMap<AgentId, WindowPhase>,
    /// Calls under way, by agent.
    open: BTreeMap<AgentId, u32>,
    asked: Asked,
    /// By service, as of the turn before.
    before: BTreeMap<ServiceName, Before>,
    looked: u64,
}

fn agent_of(call: &OperatorCall) -> Option<AgentId> {
    match call {
        OperatorCall::DrainAgent { agent: id, .. }
        | OperatorCall::DeactivateAgent(id)
        | OperatorCall::ActivateAgent(id)
        | OperatorCall::MarkAgentGone { agent: id, .. } => Some(*id),
        _ => None,
    }
}

impl Maintenance {
    fn operators(&mut self, node: usize, command: &Command, effects: &[Effect], world: &World) {
        if let Command::Operator { call, .. } = command
            && let Some(id) = agent_of(call)
        {
            self.drained.remove(&id);
            self.doubted.extend(self.drains.remove(&id).map(|drain| (id, drain)));
            *self.open.entry(id).or_default() += 1;
        }
        for effect in effects {
            let Effect::Reply { reply_to, answer, .. } = effect else { continue };
            let Some((_, _, call)) = world.asked.get(&reply_to.0) else { continue };
            let Some(id) = agent_of(call) else { continue };
            let open = self.open.entry(id).or_default();
            *open = open.saturating_sub(1);
            let OperatorCall::DrainAgent { deadline, .. } = call else { continue };
            if *open == 0 && matches!(answer, OperatorAnswer::Done { .. }) {
                self.drained.insert(id);
                let since = world.master_clock(node).monotonic;
                let drain = Drain { deadline: *deadline, since };
                // Asked for once more, it goes on.
                let same = self.doubted.remove(&id).filter(|old| old.deadline == *deadline);
                self.drains.insert(id, same.unwrap_or(drain));
            }
        }
    }

    fn offers(&mut self, effects: &[Effect]) -> Result<(), String> {
        for effect in effects {
            let Effect::Publish { changes, .. } = effect else { continue };
            for change in changes {
                if let Change::Agent(row) = change {
                    let phases = row.windows.iter().map(|window| window.phase);
                    self.windows.insert(row.id, phases.max().unwrap_or(WindowPhase::Scheduled));
                }
            }
            for change in changes {
                if let Change::Offer(row) = change {
                    self.looked += 1;
                    let drained = self.drained.contains(&row.agent);
                    let window = self.windows.get(&row.agent).copied();
                    let in_window = window.is_some_and(|phase| phase > WindowPhase::Scheduled);
                    holds(!in_window, || {
                        format!("{} is on {}, whose window is {window:?}", row.id, row.agent)
                    })?;
                    holds(!drained, || {
                        format!("{} is on {}, which is drained", row.id, row.agent)
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Nobody's task is killed for a drain before its deadline, or before its framework had time to
    /// answer when there is none.
    fn kills(&mut self, node: usize, effects: &[Effect], world: &World) -> Result<(), String> {
        let now = world.master_clock(node).monotonic;
        for effect in effects {
            let Effect::SendAgent { frame, .. } = effect else { continue };
            let is_open = self.windows.get(&frame.agent).is_some_and(|phase| {
                // At the deadline of the asking it is about to begin.
                *phase > WindowPhase::Scheduled
            });
            for order in &frame.orders {
                if let AgentOrder::Kill { task, cause: KillCause::Maintenance, .. } = order {
                    self.looked += 1;
                    holds(is_open, || {
                        format!("{task} is killed for no window of {}", frame.agent)
                    })?;
                }
            }
            let Some(drain) = self.drains.get(&frame.agent) else { continue };
            for order in &frame.orders {
                let AgentOrder::Kill { framework, task, cause: KillCause::Drain, .. } = order
                else {
                    continue;
                };
                self.looked += 1;
                let patience = drain.deadline.unwrap_or(INVERSE_OFFER_TIMEOUT);
                let waited = now.since(drain.since);
                holds(waited >= patience, || {
                    let agent = frame.agent;
                    format!(
                        "{framework}/{task} is killed after {waited}: {agent} is drained {drain:?}"
                    )
                })?;
            }
        }
        Ok(())
    }

    fn served(&mut self, node: usize, world: &World) -> Result<(), String> {
        let it = &world.frameworks[node];
        let Some(service) = it.service().filter(|service| service.is_active()) else {
            return Ok(());
        };
        for (name, view) in service.views() {
            self.followed(name, view, node, world)?;
        }
        Ok(())
    }

    /// Who has left the endpoints since the last turn although he was well.
    fn followed(
        &mut self,
        name: &ServiceName,
        view: &ServiceView,
        node: usize,
        world: &World,
    ) -> Result<(), String> {
        let it = &world.frameworks[node];
        let Some(context) = it.driver.as_ref().map(|driver| driver.context()) else {
            return Ok(());
        };
        // While agents are absent nobody can say who is well.
        if !context.absent().is_empty() {
            self.before.remove(name);
            return Ok(());
        }
        let (term, promises) = ((node, it.life, context.epoch()), Promises::of(view, &self.asked));
        let named = |is: &dyn Fn(&InstanceView) -> bool| -> BTreeSet<TaskName> {
            view.instances.iter().filter(|it| is(it)).map(|it| it.name.clone()).collect()
        };
        let published = named(&|it| it.published);
        let now = Before { term, promises, counted: named(&counts) };
        let before = self.before.insert(name.clone(), now);
        let Some(before) = before.filter(|before| before.term == term) else {
            return Ok(());
        };
        let held = matches!(view.summary.status, ServiceStatus::Stopped | ServiceStatus::Removing);
        let well = |task: &&TaskName| {
            context.tasks().get(task).is_some_and(|task| {
                task.state() == TaskState::Running
                    && task.is_certain
                    && task.record.status.ready != Some(false)
            })
        };
        let left = before.counted.difference(&published).filter(well).count();
        if held || left == 0 {
            return Ok(());
        }
        // Within the turn the file that is aimed at, or the count, may have changed.
        let least = promises.least.min(before.promises.least);
        self.looked += 1;
        holds(published.len() >= least as usize, || {
            format!(
                "{name}: {left} instances that were well are no longer published; {} are left, \
                 {least} are promised",
                published.len()
            )
        })
    }

    /// How many are alive when more are launched.
    fn launched(&mut self, node: usize, call: &Call, world: &World) -> Result<(), String> {
        let Call::Accept(accept) = call else { return Ok(()) };
        let it = &world.frameworks[node];
        let Some(service) = it.service() else { return Ok(()) };
        let Some(context) = it.driver.as_ref().map(|driver| driver.context()) else {
            return Ok(());
        };
        let mut services = BTreeSet::new();
        for operation in &accept.operations {
            let Operation::Launch { tasks, .. } = operation else { continue };
            let names = tasks.iter().filter_map(|task| InstanceName::parse(&task.name));
            services.extend(names.map(|name| name.service));
        }
        for name in services {
            let Some(view) = service.views().get(&name) else { continue };
            let alive = context
                .tasks()
                .live()
                .filter(|task| task.state() != TaskState::Unreachable && task.is_certain)
                .filter_map(|task| InstanceName::parse(task.name()))
                .filter(|instance| {
                    instance.service == name && instance.slot < view.summary.instances
                })
                .count();
            self.looked += 1;
            let before = self.before.get(&name).map_or(0, |before| before.promises.most);
            let most = Promises::of(view, &self.asked).most.max(before) as usize;
            holds(alive <= most, || format!("{name}: {alive} instances are alive, {most} may be"))?;
        }
        Ok(())
    }
}

impl Checker for Maintenance {
    fn id(&self) -> &'static str {
        "I13"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        match seen {
            Seen::Master { node, command, effects, .. } if is_newest(world, *node) => {
                self.offers(effects)?;
                self.operators(*node, command, effects, world);
                self.kills(*node, effects, world)
            }
            Seen::Asked { call: ServiceCall::Deploy { services, .. }, .. } => {
                for (name, spec) in services {
                    let key = (name.clone(), spec.command.clone(), spec.instances);
                    self.asked.entry(key).or_default().push(spec.rollout);
                }
                Ok(())
            }
            Seen::Served { node } => self.served(*node, world),
            Seen::FrameworkSent { node, frame } => {
                frame.calls.iter().try_for_each(|call| self.launched(*node, call, world))
            }
            Seen::Leased { node, term, .. } if *term != self.term => {
                self.term = *term;
                // What an earlier leader was asked may not have been written.
                self.drained.clear();
                self.open.clear();
                self.doubted.clear();
                // The next leader knows of them, and begins later than now.
                let since = world.master_clock(*node).monotonic;
                self.drains.values_mut().for_each(|drain| drain.since = since);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
