//! I3: no oversubscription. Tasks and offers on an agent never exceed what its machine really has, in
//! the master's view and on the agent's own disk; ports are disjoint.

use super::{alive_on, holds, is_newest, machine_of};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_master_core::Effect;
use proffer_types::operator::Change;
use proffer_types::resources::{Resource, ResourceKey};
use proffer_types::{AgentId, Resources};
use std::collections::BTreeSet;

/// See the module's description.
#[derive(Default)]
pub(super) struct NoOversubscription {
    looked: u64,
}

/// What it takes of the machine, whoever it is reserved for; what is lent is of what is there for good. A shared volume is counted with its disk
/// by who has made it, not by who uses it.
fn of_machine(resources: &Resources) -> Resources {
    let entries = resources.entries().iter().filter(|entry| !entry.key.shared);
    let bare = entries.map(|entry| {
        let name = entry.key.name.clone();
        let key = if entry.key.is_slack() {
            ResourceKey::revocable(name)
        } else {
            ResourceKey::plain(name)
        };
        Resource { key, quantity: entry.quantity.clone() }
    });
    Resources::from_entries(bare.collect()).unwrap_or_default()
}

impl NoOversubscription {
    fn check_view(&mut self, agent: AgentId, world: &World) -> Result<(), String> {
        let Some(node) = machine_of(world, agent) else { return Ok(()) };
        let offers = world.view.offers.values().filter(|offer| offer.agent == agent);
        let held: Vec<Resources> = alive_on(world, agent)
            .map(|row| &row.resources)
            .chain(offers.map(|offer| &offer.resources))
            .map(of_machine)
            .collect();
        let sum =
            Resources::sum(&held).map_err(|error| format!("{agent}: given twice: {error}"))?;
        self.looked += 1;
        let total = &world.agents[node].resources;
        holds(total.contains(&sum), || format!("{agent}: {sum} of {total} are given out"))
    }

    fn check_disk(&mut self, node: usize, world: &World) -> Result<(), String> {
        let disk = world.agents[node].machine.checkpoint();
        let alive = disk.tasks.values().filter(|task| !task.status.state.is_terminal());
        let taken: Vec<Resources> = alive.map(|task| of_machine(&task.launch.resources)).collect();
        let sum = Resources::sum(&taken)
            .map_err(|error| format!("agent {node} has taken twice: {error}"))?;
        self.looked += 1;
        let total = &world.agents[node].resources;
        holds(total.contains(&sum), || format!("agent {node} has taken {sum} of {total}"))
    }
}

impl Checker for NoOversubscription {
    fn id(&self) -> &'static str {
        "I3"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        match seen {
            Seen::Master { node, effects, .. } if is_newest(world, *node) => {
                let mut agents = BTreeSet::new();
                for effect in *effects {
                    let Effect::Publish { changes, .. } = effect else { continue };
                    agents.extend(changes.iter().filter_map(|change| match change {
                        Change::Agent(row) => Some(row.id),
                        Change::Task(row) => Some(row.status.agent),
                        Change::Offer(row) => Some(row.agent),
                        _ => None,
                    }));
                }
                agents.into_iter().try_for_each(|agent| self.check_view(agent, world))
            }
            Seen::Written { node, .. } => self.check_disk(*node, world),
            _ => Ok(()),
        }
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
