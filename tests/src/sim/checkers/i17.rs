//! I17: observability. What a framework is told of a task, and what is offered to it, the published
//! rows show at the same moment: each change of state is in the list. Now and then, and at rest, the
//! rows that the list has built are compared with the leader's own tables, every one of them.

use super::{holds, is_newest, to_frameworks};
use crate::sim::observe::{Checker, Seen};
use crate::sim::view::View;
use crate::sim::world::World;
use proffer_master_core::{Command, Effect};
use proffer_types::TaskStatus;
use proffer_types::scheduler::Event;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

/// See the module's description.
#[derive(Default)]
pub(super) struct Observable {
    /// Turns since the rows were compared last.
    turns: u64,
    looked: u64,
}

/// Composing all rows takes long: this often they are.
const COMPARED_EVERY: u64 = 250;

/// The first difference between two tables of rows.
fn compare<K: Ord + Debug, V: PartialEq + Debug>(
    list: &BTreeMap<K, V>,
    leader: &BTreeMap<K, V>,
) -> Result<(), String> {
    let keys: BTreeSet<&K> = list.keys().chain(leader.keys()).collect();
    let apart = keys.into_iter().find(|key| list.get(*key) != leader.get(*key));
    holds(apart.is_none(), || {
        let shown = apart.map(|key| (list.get(key), leader.get(key)));
        format!("{apart:?}: the list and the leader have {shown:?}")
    })
}

impl Observable {
    fn rows(&mut self, node: usize, world: &World) -> Result<(), String> {
        let Some(leading) = world.masters[node].leading() else { return Ok(()) };
        let mut core = leading.core.clone();
        let mut own = View::default();
        core.rows(world.master_clock(node)).iter().for_each(|row| own.apply(row));
        self.looked += 1;
        compare(&world.view.agents, &own.agents)?;
        compare(&world.view.frameworks, &own.frameworks)?;
        compare(&world.view.tasks, &own.tasks)?;
        compare(&world.view.offers, &own.offers)?;
        compare(&world.view.holds, &own.holds)?;
        compare(&world.view.demand, &own.demand)
    }

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
        self.turns += 1;
        // A leader that is suspended publishes later what it has decided (K8).
        let published = effects.iter().any(|effect| matches!(effect, Effect::Publish { .. }));
        if self.turns > COMPARED_EVERY && published {
            self.turns = 0;
            self.rows(*node, world)?;
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

    fn at_rest(&mut self, world: &World) -> Result<(), String> {
        let mut nodes = (0..world.masters.len()).filter(|node| is_newest(world, *node));
        nodes.try_for_each(|node| self.rows(node, world))
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
