//! I17: observability. What a framework is told of a task, and what is offered to it, the published
//! rows show at the same moment: each change of state is in the list.

use super::{holds, is_newest, to_frameworks};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_master_core::Command;
use proffer_types::TaskStatus;
use proffer_types::scheduler::Event;

/// See the module's description.
#[derive(Default)]
pub(super) struct Observable {
    looked: u64,
}

impl Observable {
    fn task(&mut self, status: &TaskStatus, world: &World) -> Result<(), String> {
        self.looked += 1;
        let row = world.view.tasks.get(&status.key());
        // An end that the master itself decided is forgotten when it is told.
        let forgotten = row.is_none() && status.state.is_terminal() && status.id.is_none();
        let shown = row.is_some_and(|row| row.status == *status);
        holds(shown || forgotten, || {
            let has = row.map(|row| (row.status.token, row.status.state));
            format!("{} is told to be {:?}, the view has {has:?}", status.key(), status.state)
        })
    }
}

impl Checker for Observable {
    fn id(&self) -> &'static str {
        "I17"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        let Seen::Master { node, command: Command::EndOfTurn { .. }, effects, .. } = seen else {
            return Ok(());
        };
        if !is_newest(world, *node) {
            return Ok(());
        }
        for (_, frame) in to_frameworks(effects) {
            for event in &frame.events {
                match event {
                    Event::Status(status) => self.task(status, world)?,
                    Event::Task(record) => self.task(&record.status, world)?,
                    Event::Offers { offers } => {
                        for offer in offers {
                            self.looked += 1;
                            let shown = world.view.offers.contains_key(&offer.id);
                            holds(shown, || format!("{} is not in the view", offer.id))?;
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
