//! I4: conservation. Each offer is made once and ends once; a second allocator that is fed what the
//! leader publishes takes every change, and what it calls free is what the rows leave free.

use super::{holds, is_newest};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_allocator::Allocator;
use proffer_master_core::Effect;
use proffer_types::operator::{AgentCondition, Change};
use proffer_types::{AgentId, MasterEpoch, OfferId, Resources};
use std::collections::BTreeSet;

/// See the module's description.
#[derive(Default)]
pub(super) struct Conservation {
    epoch: MasterEpoch,
    twin: Allocator,
    held: BTreeSet<OfferId>,
    over: BTreeSet<OfferId>,
    looked: u64,
}

impl Conservation {
    fn offer(&mut self, change: &Change) -> Result<(), String> {
        match change {
            Change::Offer(row) => {
                self.looked += 1;
                let again = self.over.contains(&row.id);
                self.held.insert(row.id);
                holds(!again, || format!("{} is made after it ended", row.id))
            }
            Change::OfferRemoved(id) => {
                self.held.remove(id);
                holds(self.over.insert(*id), || format!("{id} ended twice"))
            }
            _ => Ok(()),
        }
    }

    fn free(&mut self, agent: AgentId, world: &World) -> Result<(), String> {
        let Some(row) = world.view.agents.get(&agent) else { return Ok(()) };
        if matches!(row.condition, AgentCondition::Awaited | AgentCondition::Unreachable) {
            return Ok(());
        }
        let rest = row.total.checked_sub(&row.allocated);
        let Ok(free) = rest.and_then(|rest| rest.checked_sub(&row.offered)) else { return Ok(()) };
        self.looked += 1;
        // What is reserved is compared where it is offered.
        let plain = |resources: &Resources| resources.filtered(|entry| entry.key.is_plain());
        // What is held for a claim is nobody's yet (K11).
        let claimed = self.twin.claimed(agent);
        let free = plain(&free)
            .checked_sub(&claimed)
            .map_err(|_| format!("{agent}: claims hold {claimed} of {free}"))?;
        let known = plain(&self.twin.free(agent));
        holds(free == known, || {
            format!("{agent}: {free} are free, the second allocator says {known}")
        })
    }
}

impl Checker for Conservation {
    fn id(&self) -> &'static str {
        "I4"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        let Seen::Master { node, effects, .. } = seen else { return Ok(()) };
        if !is_newest(world, *node) {
            return Ok(());
        }
        for effect in *effects {
            let Effect::Publish { first, changes, deltas } = effect else { continue };
            if first.epoch != self.epoch {
                *self = Self { epoch: first.epoch, looked: self.looked, ..Self::default() };
            }
            for delta in deltas {
                self.twin
                    .on_change(delta)
                    .map_err(|error| format!("the second allocator refuses {delta:?}: {error}"))?;
            }
            let mut agents = BTreeSet::new();
            for change in changes {
                self.offer(change)?;
                if let Change::Agent(row) = change {
                    agents.insert(row.id);
                }
            }
            agents.into_iter().try_for_each(|agent| self.free(agent, world))?;
        }
        Ok(())
    }

    fn at_rest(&mut self, world: &World) -> Result<(), String> {
        let shown: BTreeSet<OfferId> = world.view.offers.keys().copied().collect();
        holds(shown == self.held, || format!("held are {:?}, shown are {shown:?}", self.held))
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
