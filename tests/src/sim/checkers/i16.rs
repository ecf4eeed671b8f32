//! I16: convergence. After the last fault every framework gets what it wants within the healing time,
//! and then the frameworks' tables and the view say the same.

use super::{framework_of, holds};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_sdk_core::driver::Standing;
use proffer_types::{ContainerId, TaskStatus};
use std::collections::BTreeSet;

/// See the module's description.
#[derive(Default)]
pub(super) struct Convergence {
    looked: u64,
}

/// Launches and ends that may be on their way at the moment of the last look.
const UNDER_WAY_MAX: usize = 2;

impl Checker for Convergence {
    fn id(&self) -> &'static str {
        "I16"
    }

    fn see(&mut self, _seen: &Seen<'_>, _world: &World) -> Result<(), String> {
        Ok(())
    }

    fn at_rest(&mut self, world: &World) -> Result<(), String> {
        self.looked += 1;
        if let Some(why) = &world.unhealed {
            return Err(why.clone());
        }
        for node in 0..world.frameworks.len() {
            let Some(driver) = &world.frameworks[node].driver else { continue };
            // One that looks for the leader still believes what it was told last.
            let is_told = driver.standing() == Standing::Active;
            let (Some(id), true) = (framework_of(world, node), is_told) else { continue };
            let alive =
                |status: &TaskStatus| (!status.state.is_terminal()).then(|| status.container());
            let known: BTreeSet<ContainerId> =
                driver.context().tasks().iter().filter_map(|it| alive(&it.record.status)).collect();
            let shown: BTreeSet<ContainerId> = world
                .view
                .tasks
                .values()
                .filter(|row| row.status.framework == id)
                .filter_map(|row| alive(&row.status))
                .collect();
            self.looked += 1;
            let apart: Vec<_> = known.symmetric_difference(&shown).collect();
            holds(apart.len() <= UNDER_WAY_MAX, || {
                format!("{id} on framework {node} and the view do not agree on {apart:?}")
            })?;
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
