//! I15: bounded memory. Frames, pages, transactions and held offers have bounds; at rest nothing is
//! left of what is over: no ended task on a disk, no container but those that run, no template that
//! nobody uses.

use super::{holds, id_of, to_frameworks};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_agent_core as agent;
use proffer_master_core::limits;
use proffer_types::agent::AgentMessage;
use proffer_types::operator::AgentCondition;
use proffer_types::scheduler::Event;

/// See the module's description.
#[derive(Default)]
pub(super) struct Bounded {
    looked: u64,
}

/// Ended tasks whose acknowledgement may be on its way at the moment of the last look.
const UNDER_WAY_MAX: usize = 2;
/// Operations that one transaction of etcd takes.
const OPERATIONS_MAX: usize = 128;

impl Checker for Bounded {
    fn id(&self) -> &'static str {
        "I15"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        match seen {
            Seen::Master { effects, .. } => {
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
        for (node, it) in world.agents.iter().enumerate() {
            let row = id_of(world, node).and_then(|id| world.view.agents.get(&id));
            if row.is_none_or(|row| row.condition != AgentCondition::Active) {
                continue;
            }
            self.looked += 1;
            let disk = it.machine.checkpoint();
            let over = disk.tasks.values().filter(|task| task.status.state.is_terminal()).count();
            holds(over <= UNDER_WAY_MAX, || format!("agent {node} keeps {over} ended tasks"))?;
            let (all, run) = (it.machine.container_count(), it.machine.running().len());
            holds(all <= run + UNDER_WAY_MAX, || {
                format!("agent {node} has {all} containers, {run} of them run")
            })?;
            let (templates, tasks) = (disk.templates.len(), disk.tasks.len());
            holds(templates <= tasks + UNDER_WAY_MAX, || {
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
