//! I21: what is wanted. A classical offer is made only on an agent that its framework wants, and holds as
//! much as it wants at least, by what the framework had said when the offer was made. What may be taken
//! back is offered only to a framework, or for a demand, that has said that it accepts it.

use super::{framework_of, holds, is_newest, machine_of};
use crate::sim::observe::{Checker, Seen};
use crate::sim::run::attributes_of;
use crate::sim::world::World;
use proffer_master_core::{Command, ConnectionId, Effect};
use proffer_types::offer::Offer;
use proffer_types::operator::Change;
use proffer_types::scheduler::{Call, Event, SchedulerUp};
use proffer_types::{FrameworkId, GroupName, OfferId, Quantities};
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
    /// Groups that have said that they accept what may be taken back.
    accepting: BTreeSet<(FrameworkId, GroupName)>,
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
        let may_be_revocable = condition.revocable.is_accepted();
        holds(may_be_revocable || !offer.resources.is_revocable(), || {
            format!("{} of {} may be taken back", offer.id, offer.resources)
        })?;
        let is_enough = condition.minimum.is_empty() || condition.minimum.iter().any(enough);
        holds(condition.admits(&attributes_of(machine)) && is_enough, || {
            format!(
                "{} of {} is not what {} wants: {condition:?}",
                offer.id, offer.resources, offer.framework
            )
        })
    }
}

impl Wanted {
    fn offered_to_group(&mut self, offer: &Offer, group: &GroupName) -> Result<(), String> {
        if !offer.resources.is_revocable() {
            return Ok(());
        }
        self.looked += 1;
        let accepts = self.accepting.contains(&(offer.framework, group.clone()));
        holds(accepts, || {
            format!("{} of {} may be taken back: {group} wants none", offer.id, offer.resources)
        })
    }

    fn sent(&mut self, node: usize, frame: &SchedulerUp, world: &World) {
        let Some(framework) = framework_of(world, node) else { return };
        for call in &frame.calls {
            let Call::Demand { groups } = call else { continue };
            let accepting = groups.iter().filter(|group| group.revocable.is_accepted());
            self.accepting.extend(accepting.map(|group| (framework, group.name.clone())));
        }
    }
}

impl Checker for Wanted {
    fn id(&self) -> &'static str {
        "I21"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        if let Seen::FrameworkSent { node, frame } = seen {
            self.sent(*node, frame, world);
        }
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
                        match &row.group {
                            Some(group) => self.offered_to_group(row, group)?,
                            None if self.judged.insert(row.id) => self.offered(row, world)?,
                            None => {}
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
