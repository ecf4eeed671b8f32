//! I15: bounded memory. Frames, pages and transactions have bounds; whoever holds as many offers as he
//! may gets no more. At rest nothing is left of what is over: no ended task on a disk, in the view or in
//! a framework's table, no container but those that run, no template that nobody uses, no write under
//! way, no record of who has tasks where for a framework that is gone.

use super::{holds, id_of, is_newest, stored, to_frameworks};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_agent_core as agent;
use proffer_master_core::registry::{Record, RecordKey};
use proffer_master_core::{Effect, limits};
use proffer_types::agent::AgentMessage;
use proffer_types::operator::{AgentCondition, Change};
use proffer_types::scheduler::Event;
use proffer_types::{Cursor, FrameworkId, MasterEpoch, OfferId};
use std::collections::{BTreeMap, BTreeSet};

/// See the module's description.
#[derive(Default)]
pub(super) struct Bounded {
    epoch: MasterEpoch,
    /// Offers that frameworks hold.
    held: BTreeMap<FrameworkId, BTreeSet<OfferId>>,
    looked: u64,
}

impl Bounded {
    /// Offers of a turn: first what ended, then what was made.
    fn offers(&mut self, first: Cursor, changes: &[Change], most: usize) -> Result<(), String> {
        if first.epoch != self.epoch {
            (self.epoch, self.held) = (first.epoch, BTreeMap::new());
        }
        for change in changes {
            if let Change::OfferRemoved(id) = change {
                self.held.values_mut().for_each(|held| {
                    held.remove(id);
                });
            }
        }
        let before: BTreeMap<FrameworkId, usize> =
            self.held.iter().map(|(framework, held)| (*framework, held.len())).collect();
        for change in changes {
            let Change::Offer(row) = change else { continue };
            if !self.held.entry(row.framework).or_default().insert(row.id) {
                continue;
            }
            self.looked += 1;
            let had = before.get(&row.framework).copied().unwrap_or(0);
            holds(had < most, || {
                format!(
                    "{} holds {had} offers, {most} are allowed, and gets {}",
                    row.framework, row.id
                )
            })?;
        }
        Ok(())
    }

    fn tables_at_rest(&mut self, world: &World) -> Result<(), String> {
        self.looked += 1;
        for row in world.view.tasks.values() {
            let over = row.status.state.is_terminal();
            holds(!over, || format!("the view keeps {}, which has ended", row.status.key()))?;
        }
        for (node, it) in world.frameworks.iter().enumerate() {
            let Some(driver) = it.driver.as_ref().filter(|it| it.context().is_active()) else {
                continue;
            };
            let mut ended =
                driver.context().tasks().iter().filter(|task| task.state().is_terminal());
            let task = ended.next().map(|task| task.name().clone());
            holds(task.is_none(), || format!("framework {node} keeps {task:?}, which has ended"))?;
        }
        for leading in world.masters.iter().filter_map(|it| it.leading()) {
            let waits = leading.queue.unfinished_count();
            holds(waits == 0, || format!("{waits} writes are under way"))?;
        }
        for agent in world.view.agents.keys() {
            let Some(Record::Occupancy(kept)) = stored(world, &RecordKey::Occupancy(*agent)) else {
                continue;
            };
            let gone = kept.frameworks.keys().find(|id| !world.view.frameworks.contains_key(id));
            holds(gone.is_none(), || format!("{agent} is said to hold tasks of {gone:?}, gone"))?;
        }
        Ok(())
    }
}

/// Operations that one transaction of etcd takes.
const OPERATIONS_MAX: usize = 128;

impl Checker for Bounded {
    fn id(&self) -> &'static str {
        "I15"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        match seen {
            Seen::Master { node, effects, .. } => {
                if is_newest(world, *node) {
                    for effect in *effects {
                        let Effect::Publish { first, changes, .. } = effect else { continue };
                        self.offers(*first, changes, world.plan.offers_held_max as usize)?;
                    }
                }
                for (_, frame) in to_frameworks(effects) {
                    self.looked += 1;
                    holds(frame.events.len() <= limits::FRAME_EVENTS_MAX, || {
                        format!("{} events in a frame", frame.events.len())
                    })?;
                    for event in &frame.events {
                        if let Event::SnapshotPage { tasks } = event {
                            holds(tasks.len() <= limits::SNAPSHOT_PAGE_TASKS, || {
                                format!("{} tasks in a page", tasks.len())
                            })?;
                        }
                    }
                }
            }
            Seen::Committed { changes, .. } => {
                self.looked += 1;
                holds(changes.len() <= OPERATIONS_MAX, || {
                    format!("{} operations in a transaction", changes.len())
                })?;
            }
            Seen::Agent { node, effects, .. } => {
                let bounds = world.agents[*node].config.limits;
                for effect in *effects {
                    let agent::Effect::Send { frame, .. } = effect else { continue };
                    for message in &frame.messages {
                        let (many, most) = match message {
                            AgentMessage::Tasks { tasks } => (tasks.len(), bounds.page_tasks_max),
                            AgentMessage::Statuses { statuses } => {
                                (statuses.len(), bounds.frame_statuses_max)
                            }
                            _ => continue,
                        };
                        self.looked += 1;
                        holds(many <= most, || {
                            format!("{many} entries in a frame of agent {node}")
                        })?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn at_rest(&mut self, world: &World) -> Result<(), String> {
        self.tables_at_rest(world)?;
        for (node, it) in world.agents.iter().enumerate() {
            let row = id_of(world, node).and_then(|id| world.view.agents.get(&id));
            if row.is_none_or(|row| row.condition != AgentCondition::Active) {
                continue;
            }
            self.looked += 1;
            let disk = it.machine.checkpoint();
            let over = disk.tasks.values().filter(|task| task.status.state.is_terminal()).count();
            holds(over == 0, || format!("agent {node} keeps {over} ended tasks"))?;
            let (all, run) = (it.machine.container_count(), it.machine.running().len());
            holds(all == run, || format!("agent {node} has {all} containers, {run} of them run"))?;
            let (templates, tasks) = (disk.templates.len(), disk.tasks.len());
            holds(templates <= tasks, || {
                format!("agent {node} keeps {templates} templates for {tasks} tasks")
            })?;
            let most = it.config.limits.sandbox_count_max + tasks;
            holds(it.machine.sandbox_count() <= most, || {
                format!("agent {node} keeps {} sandboxes", it.machine.sandbox_count())
            })?;
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
