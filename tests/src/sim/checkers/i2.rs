//! I2: no double launch. A launch has at most one process tree, ever, anywhere; a task's name at most
//! one at a time, except where an operator gave an agent up; a service's slot has at most one published
//! instance of each revision and restart, and at most two in all: an old and a new one, side by side
//! until the new one has been ready for `min_available_time`; so does one whose agent is to be emptied,
//! beside its replacement of the same revision. One more, back with its agent after it was
//! replaced, may serve on as long as ending it would break the promise of `min_ready`.

use super::{given_up, holds, id_of};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_master_core::Command;
use proffer_service_core::instance::InstanceName;
use proffer_service_core::spec::ServiceName;
use proffer_types::{AgentId, ContainerId, FrameworkId, TaskName};
use std::collections::{BTreeMap, BTreeSet};

/// An old and a new one.
const SIDE_BY_SIDE_MAX: u32 = 2;

/// See the module's description.
#[derive(Default)]
pub(super) struct NoDoubleLaunch {
    started: BTreeSet<ContainerId>,
    running: BTreeMap<(FrameworkId, TaskName), BTreeMap<ContainerId, Option<AgentId>>>,
    gone: BTreeSet<AgentId>,
    /// Slots in which an instance that is to leave its agent, or was, serves beside its replacement.
    replaced: BTreeSet<(ServiceName, u32)>,
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
                    let published = || view.instances.iter().filter(|it| it.published);
                    let count = view.summary.instances;
                    let needed = view.spec.rollout.min_ready.of(count).min(count) as usize;
                    let is_needed = published().count() <= needed;
                    let mut slots = BTreeSet::new();
                    let mut in_slot: BTreeMap<u32, u32> = BTreeMap::new();
                    let leaving = published().filter(|it| it.leaves.is_some()).map(|it| it.slot);
                    let leaving: BTreeSet<u32> = leaving.collect();
                    for instance in published() {
                        self.looked += 1;
                        let restart = InstanceName::parse(&instance.name).map(|it| it.restart);
                        let is_first = slots.insert((instance.slot, instance.revision, restart));
                        let place = (name.clone(), instance.slot);
                        if leaving.contains(&instance.slot) {
                            self.replaced.insert(place.clone());
                        }
                        holds(is_first || is_needed || self.replaced.contains(&place), || {
                            format!("slot {} of {name} is published twice", instance.slot)
                        })?;
                        let all = in_slot.entry(instance.slot).or_default();
                        *all += 1;
                        holds(*all <= SIDE_BY_SIDE_MAX || is_needed, || {
                            format!("slot {} of {name} has {all} published", instance.slot)
                        })?;
                    }
                    self.replaced.retain(|(service, slot)| {
                        service != name || in_slot.get(slot).is_some_and(|all| *all > 1)
                    });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
