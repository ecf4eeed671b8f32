//! K2 for readers of endpoints: who calls the list complete leaves none out that serves. An instance that was
//! published, whose program runs and is ready on a machine that nobody declared unreachable, stays
//! published through every failover of masters and of the framework, in each list that says it is complete.

use super::{framework_of, given_up, holds, id_of, statuses};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_agent_core::Write;
use proffer_master_core::{Command, Effect};
use proffer_service_core::api::{ServiceStatus, ServiceView};
use proffer_service_core::instance::InstanceName;
use proffer_service_core::spec::ServiceName;
use proffer_types::operator::{Change, OperatorCall};
use proffer_types::scheduler::{Absence, Event};
use proffer_types::{AgentId, ContainerId, FrameworkEpoch, TaskName, TaskState, TaskStatus};
use std::collections::{BTreeMap, BTreeSet};

/// A service at rest: as many programs run as are wanted, all of them published.
struct Steady {
    /// Number of the rollout, newest revision, count.
    of: (u32, u32, u32),
    /// Instances that must be published, and where they run.
    serving: BTreeMap<TaskName, (usize, ContainerId)>,
}

/// See the module's description.
#[derive(Default)]
pub(super) struct CompleteEndpoints {
    /// The newest process that was active; an older one has nothing to say.
    epoch: FrameworkEpoch,
    steady: BTreeMap<ServiceName, Steady>,
    /// Agents that operators want empty.
    emptied: BTreeSet<AgentId>,
    /// Instances that a master has called out of reach.
    doubted: BTreeSet<TaskName>,
    looked: u64,
}

fn serves(status: &TaskStatus) -> bool {
    status.state == TaskState::Running && status.ready == Some(true)
}

impl CompleteEndpoints {
    fn forget(&mut self, is: impl Fn(&TaskName, usize, &ContainerId) -> bool) {
        for steady in self.steady.values_mut() {
            steady.serving.retain(|task, (node, container)| !is(task, *node, container));
        }
    }

    /// What a master says is out of reach may be unpublished whenever its framework comes to know.
    fn doubt(&mut self, status: &TaskStatus) {
        if status.state == TaskState::Unreachable && self.doubted.insert(status.task.clone()) {
            self.forget(|task, _, _| *task == status.task);
        }
    }

    fn forget_agent(&mut self, agent: AgentId, world: &World) {
        self.forget(|_, node, _| id_of(world, node) == Some(agent));
    }

    /// All programs of a service that run or may run, as the disks have it, if they are `count`, serve, and
    /// are where they may stay.
    fn serving(
        &self,
        node: usize,
        view: &ServiceView,
        world: &World,
    ) -> Option<BTreeMap<TaskName, (usize, ContainerId)>> {
        let framework = framework_of(world, node)?;
        let mut serving = BTreeMap::new();
        for (place, agent) in world.agents.iter().enumerate() {
            for (container, task) in &agent.machine.checkpoint().tasks {
                let status = &task.status;
                let is_own = task.framework == framework
                    && !status.state.is_terminal()
                    && InstanceName::parse(&status.task)
                        .is_some_and(|name| name.service == view.summary.name);
                if !is_own {
                    continue;
                }
                let is_emptied = id_of(world, place).is_none_or(|id| self.emptied.contains(&id));
                let is_alone = serving.insert(status.task.clone(), (place, container.clone()));
                if is_emptied
                    || is_alone.is_some()
                    || !serves(status)
                    || self.doubted.contains(&status.task)
                {
                    return None;
                }
            }
        }
        // One of a slot that was scaled away is published only until its end begins.
        let published = |name: &TaskName| {
            view.instances.iter().any(|instance| {
                instance.name == *name
                    && instance.published
                    && instance.is_current
                    && instance.slot < view.summary.instances
            })
        };
        let is_all = serving.len() == view.summary.instances as usize
            && serving.len() == view.instances.len()
            && serving.keys().all(published);
        is_all.then_some(serving)
    }

    fn look(&mut self, node: usize, view: &ServiceView, world: &World) -> Result<(), String> {
        if !view.endpoints.complete {
            return Ok(());
        }
        let (name, summary) = (&view.summary.name, &view.summary);
        let of = (summary.rollout.number, view.latest, summary.instances);
        let rests = matches!(
            summary.status,
            ServiceStatus::Running | ServiceStatus::Degraded | ServiceStatus::CrashLooping
        );
        let known = self.steady.get(name).filter(|steady| rests && steady.of == of);
        let Some(known) = known else {
            self.steady.remove(name);
            if rests && let Some(serving) = self.serving(node, view, world) {
                self.steady.insert(name.clone(), Steady { of, serving });
            }
            return Ok(());
        };
        for task in known.serving.keys() {
            self.looked += 1;
            let instance = view.instances.iter().find(|instance| instance.name == *task);
            holds(instance.is_some_and(|instance| instance.published), || {
                format!("{task} serves; a list of {name} that is complete has {instance:?}")
            })?;
        }
        if known.serving.len() < summary.instances as usize
            && let Some(serving) = self.serving(node, view, world)
        {
            self.steady.insert(name.clone(), Steady { of, serving });
        }
        Ok(())
    }

    fn master(&mut self, command: &Command, effects: &[Effect], world: &World) {
        if let Command::Operator { call, .. } = command {
            let emptied = match call {
                OperatorCall::DrainAgent { agent, .. } => Some(*agent),
                OperatorCall::AddMaintenance(window) => window.agents.first().copied(),
                OperatorCall::KillTask(key) => {
                    self.forget(|task, _, _| *task == key.name);
                    None
                }
                call => given_up(call),
            };
            if let Some(agent) = emptied {
                self.emptied.insert(agent);
                self.forget_agent(agent, world);
            }
        }
        for effect in effects {
            let Effect::Publish { changes, .. } = effect else { continue };
            for change in changes {
                match change {
                    // Others take the place of what ran there, and both may be back.
                    Change::Event(row) if row.kind == "agent_unreachable" => self.steady.clear(),
                    Change::Task(row) if !serves(&row.status) => {
                        self.doubt(&row.status);
                        self.forget(|task, _, _| *task == row.status.task);
                    }
                    _ => {}
                }
            }
        }
    }
}

impl Checker for CompleteEndpoints {
    fn id(&self) -> &'static str {
        "K2 (endpoints)"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        match seen {
            Seen::Master { command, effects, .. } => self.master(command, effects, world),
            Seen::FrameworkTold { frame, .. } => {
                let out_of_reach = |event: &Event| match event {
                    Event::SnapshotEnd { absent, .. } => absent
                        .iter()
                        .any(|agent| matches!(agent.absence, Absence::UnreachableSince(_))),
                    _ => false,
                };
                if frame.events.iter().any(out_of_reach) {
                    self.steady.clear();
                }
                for status in frame.events.iter().flat_map(statuses) {
                    self.doubt(status);
                }
            }
            Seen::Written { writes, .. } => {
                for write in *writes {
                    if let Write::PutTask(task) = write
                        && !serves(&task.status)
                    {
                        self.forget(|_, _, container| *container == task.container());
                    }
                }
            }
            Seen::Ended { container, .. } => self.forget(|_, _, it| it == *container),
            Seen::Died { who } => {
                self.forget(|_, node, _| *who == format!("agent {node}"));
            }
            Seen::Served { node } => {
                let it = &world.frameworks[*node];
                let (Some(service), Some(driver)) = (it.service(), &it.driver) else {
                    return Ok(());
                };
                let context = driver.context();
                if !context.is_active() || context.epoch() < self.epoch {
                    return Ok(());
                }
                self.epoch = context.epoch();
                service.views().values().try_for_each(|view| self.look(*node, view, world))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
