//! K17: cursors. The change list is one sequence within an epoch, epochs only rise, and a snapshot for
//! a framework never stands beyond what was published.

use super::{holds, is_newest, to_frameworks};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_master_core::{Command, Effect};
use proffer_types::Cursor;
use proffer_types::scheduler::Event;

/// See the module's description.
#[derive(Default)]
pub(super) struct Cursors {
    next: Cursor,
    looked: u64,
}

impl Checker for Cursors {
    fn id(&self) -> &'static str {
        "K17"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        let Seen::Master { node, command, effects, .. } = seen else { return Ok(()) };
        if !is_newest(world, *node) {
            return Ok(());
        }
        for effect in *effects {
            let Effect::Publish { first, changes, .. } = effect else { continue };
            self.looked += 1;
            let follows = if first.epoch == self.next.epoch {
                *first == self.next
            } else {
                first.epoch > self.next.epoch && first.change == 1
            };
            holds(follows, || format!("a list begins at {first}, expected is {}", self.next))?;
            self.next = Cursor { change: first.change + changes.len() as u64, ..*first };
        }
        if !matches!(command, Command::EndOfTurn { .. }) {
            return Ok(());
        }
        for (_, frame) in to_frameworks(effects) {
            for event in &frame.events {
                let Event::SnapshotEnd { cursor, .. } = event else { continue };
                self.looked += 1;
                let known = cursor.epoch <= self.next.epoch
                    && (cursor.epoch < self.next.epoch || cursor.change <= self.next.change);
                holds(known, || {
                    format!("a snapshot stands at {cursor}, the list at {}", self.next)
                })?;
            }
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
