//! K7: allocation. When the leader has nothing left to decide, the naive reference, fed with what the
//! leader published, has nothing left to decide either.

use super::{holds, is_newest};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_allocator::reference::Reference;
use proffer_master_core::{Command, Effect};
use proffer_types::MasterEpoch;

/// See the module's description.
#[derive(Default)]
pub(super) struct Allocation {
    epoch: MasterEpoch,
    reference: Reference,
    looked: u64,
}

impl Checker for Allocation {
    fn id(&self) -> &'static str {
        "K7"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        let Seen::Master { node, command: Command::EndOfTurn { .. }, effects, .. } = seen else {
            return Ok(());
        };
        if !is_newest(world, *node) {
            return Ok(());
        }
        let mut changed = false;
        for effect in *effects {
            let Effect::Publish { first, deltas, .. } = effect else { continue };
            if first.epoch != self.epoch {
                (self.epoch, self.reference) = (first.epoch, Reference::default());
            }
            for delta in deltas {
                self.reference.on_change(delta);
            }
            changed |= !deltas.is_empty();
        }
        let Some(leading) = world.masters[*node].leading() else { return Ok(()) };
        let now = world.master_clock(*node).monotonic;
        let rests = leading.core.next_deadline().is_some_and(|at| at > now);
        if !changed || !rests || leading.core.epoch() != self.epoch {
            return Ok(());
        }
        self.looked += 1;
        let next = self.reference.next(now);
        holds(next.is_none(), || format!("the reference would go on with {next:?}"))
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
