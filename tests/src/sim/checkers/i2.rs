//! I2: no double launch. A launch has at most one process tree, ever, anywhere; a task's name at most
//! one at a time, except where an operator gave an agent up; a service's slot has at most one published
//! instance of each revision, and one more only while a restart replaces it.

use super::{given_up, holds, id_of};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_master_core::Command;
use proffer_service_core::ServiceCall;
use proffer_service_core::spec::ServiceName;
use proffer_types::{AgentId, ContainerId, FrameworkId, TaskName};
use std::collections::{BTreeMap, BTreeSet};

/// See the module's description.
#[derive(Default)]
pub(super) struct NoDoubleLaunch {
    started: BTreeSet<ContainerId>,
    running: BTreeMap<(FrameworkId, TaskName), BTreeMap<ContainerId, Option<AgentId>>>,
    gone: BTreeSet<AgentId>,
    /// Services whose slots may have two instances of one revision, one to replace the other.
    restarted: BTreeSet<ServiceName>,
    looked: u64,
}

impl Checker for NoDoubleLaunch {
    fn id(&self) -> &'static str {
        "I2"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        match seen {
            Seen::Master { command: Command::Operator { call, .. }, .. } => {
                self.gone.extend(given_up(call));
            }
            Seen::Started { node, container } => {
                self.looked += 1;
                holds(self.started.insert((*container).clone()), || {
                    format!("{container} was started a second time, on agent {node}")
                })?;
                let Some(made_for) = world.made_for.get(*container) else { return Ok(()) };
                let all = self.running.entry(made_for.clone()).or_default();
                let gone = &self.gone;
                all.retain(|_, agent| agent.is_none_or(|agent| !gone.contains(&agent)));
                let twin = all.keys().next().cloned();
                all.insert((*container).clone(), id_of(world, *node));
                holds(twin.is_none(), || {
                    format!("{container} runs {}/{} beside {twin:?}", made_for.0, made_for.1)
                })?;
            }
            Seen::Ended { container, .. } => {
                if let Some(made_for) = world.made_for.get(*container)
                    && let Some(all) = self.running.get_mut(made_for)
                {
                    all.remove(*container);
                }
            }
            Seen::Served { node } => {
                let Some(service) = world.frameworks[*node].service() else { return Ok(()) };
                for view in service.views().values() {
                    let name = &view.summary.name;
                    let most = if self.restarted.contains(name) { 2 } else { 1 };
                    let mut slots: BTreeMap<_, u32> = BTreeMap::new();
                    for instance in view.instances.iter().filter(|it| it.published) {
                        self.looked += 1;
                        let place = (instance.slot, instance.revision, instance.is_current);
                        let count = slots.entry(place).or_default();
                        *count += 1;
                        holds(*count <= most, || {
                            format!("slot {} of {name} is published {count} times", instance.slot)
                        })?;
                    }
                }
            }
            Seen::Asked { call: ServiceCall::Restart { service }, .. } => {
                self.restarted.insert(service.clone());
            }
            _ => {}
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
