//! K10: demand. The groups in a framework's row are ones that it has stated; and
//! `unmet = target − leases − launches`, counted from the rows of offers and tasks.

use super::{framework_of, holds, is_newest};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_master_core::Effect;
use proffer_types::operator::{Change, DemandRow};
use proffer_types::scheduler::Call;
use proffer_types::{FrameworkId, Generation, GroupName};
use std::collections::{BTreeMap, BTreeSet};

/// See the module's description.
#[derive(Default)]
pub(super) struct Demand {
    stated: BTreeMap<(FrameworkId, GroupName, Generation), BTreeSet<u32>>,
    looked: u64,
}

impl Demand {
    fn row(&mut self, id: FrameworkId, row: &DemandRow, world: &World) -> Result<(), String> {
        let group = &row.group;
        self.looked += 1;
        let key = (id, group.name.clone(), group.generation);
        let stated = self.stated.get(&key).is_some_and(|targets| targets.contains(&group.target));
        holds(stated, || {
            format!(
                "{id} never asked for {} of {} ({})",
                group.target, group.name, group.generation
            )
        })?;
        let leases = world
            .view
            .offers
            .values()
            .filter(|offer| offer.framework == id && offer.group.as_ref() == Some(&group.name));
        let launches = world.view.tasks.values().filter(|task| {
            task.status.framework == id
                && task.group.as_ref() == Some(&group.name)
                && !task.status.state.is_terminal()
        });
        let met = leases.map(|offer| offer.count).sum::<u32>()
            + u32::try_from(launches.count()).unwrap_or(u32::MAX);
        let unmet = group.target.saturating_sub(met);
        holds(row.unmet == unmet, || {
            format!(
                "{id} {}: {} of {} are met, unmet are {}",
                group.name, met, group.target, row.unmet
            )
        })
    }
}

impl Checker for Demand {
    fn id(&self) -> &'static str {
        "K10"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        match seen {
            Seen::FrameworkSent { node, frame } => {
                let Some(framework) = framework_of(world, *node) else { return Ok(()) };
                for call in &frame.calls {
                    let Call::Demand { groups } = call else { continue };
                    for group in groups {
                        let key = (framework, group.name.clone(), group.generation);
                        self.stated.entry(key).or_default().insert(group.target);
                    }
                }
            }
            Seen::Master { node, effects, .. } if is_newest(world, *node) => {
                for effect in *effects {
                    let Effect::Publish { changes, .. } = effect else { continue };
                    for change in changes {
                        let Change::Demand(row) = change else { continue };
                        self.row(row.framework, row, world)?;
                    }
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
