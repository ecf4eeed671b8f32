//! I21: what is wanted. A classical offer is made only on an agent that its framework wants, and holds as
//! much as it wants at least, by what the framework had said when the offer was made.

use super::{holds, is_newest, machine_of};
use crate::sim::observe::{Checker, Seen};
use crate::sim::run::attributes_of;
use crate::sim::world::World;
use proffer_master_core::{Command, ConnectionId, Effect};
use proffer_types::offer::Offer;
use proffer_types::operator::Change;
use proffer_types::scheduler::{Call, Event};
use proffer_types::{FrameworkId, OfferId, Quantities};
use std::collections::{BTreeMap, BTreeSet};

/// A connection at one life of a master.
type At = (usize, u64, ConnectionId);

/// See the module's description.
#[derive(Default)]
pub(super) struct Wanted {
    /// How many times a connection said what its framework wants, as far as the master has heard.
    said: BTreeMap<At, usize>,
    /// The connection of the active replica.
    active: BTreeMap<FrameworkId, At>,
    judged: BTreeSet<OfferId>,
    looked: u64,
}

impl Wanted {
    fn offered(&mut self, offer: &Offer, world: &World) -> Result<(), String> {
        let said = self.active.get(&offer.framework).and_then(|at| {
            let last = self.said.get(at)?.checked_sub(1)?;
            world.wanted.get(at)?.get(last)?.get(&offer.role)
        });
        let (Some(condition), Some(machine)) = (said, machine_of(world, offer.agent)) else {
            return Ok(());
        };
        self.looked += 1;
        let enough = |least: &Quantities| {
            least.iter().all(|(name, value)| offer.resources.scalar(name) >= value)
        };
        let is_enough = condition.minimum.is_empty() || condition.minimum.iter().any(enough);
        holds(condition.admits(&attributes_of(machine)) && is_enough, || {
            format!(
                "{} of {} is not what {} wants: {condition:?}",
                offer.id, offer.resources, offer.framework
            )
        })
    }
}

impl Checker for Wanted {
    fn id(&self) -> &'static str {
        "I21"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        let Seen::Master { node, command, effects, life } = seen else { return Ok(()) };
        if let Command::SchedulerFrame { connection, frame } = command {
            let says = |call: &&Call| {
                matches!(call, Call::Subscribe { .. } | Call::OfferConditions { .. })
            };
            let said = frame.calls.iter().filter(says).count();
            *self.said.entry((*node, *life, *connection)).or_default() += said;
        }
        for effect in *effects {
            match effect {
                Effect::SendFramework { connection, frame } => {
                    for event in &frame.events {
                        if let Event::Subscribed { framework, .. } = event {
                            self.active.insert(*framework, (*node, *life, *connection));
                        }
                    }
                }
                Effect::Publish { changes, .. } if is_newest(world, *node) => {
                    for change in changes {
                        let Change::Offer(row) = change else { continue };
                        if row.group.is_none() && self.judged.insert(row.id) {
                            self.offered(row, world)?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
