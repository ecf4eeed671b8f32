//! I1: no task is lost. What an agent has taken stays on its disk until its end was acknowledged by
//! its framework, its framework was ended, or the agent was given up; and at rest the framework knows
//! everything that was taken.

use super::{framework_of, holds, id_of};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_agent_core as agent;
use proffer_types::agent::AgentOrder;
use proffer_types::scheduler::Call;
use proffer_types::{AgentId, ContainerId, FrameworkId, LogIncarnation, TaskStatus};
use std::collections::{BTreeMap, BTreeSet};

/// See the module's description.
#[derive(Default)]
pub(super) struct NoLostTask {
    /// What is on disk.
    taken: BTreeMap<(usize, ContainerId), TaskStatus>,
    acknowledged: BTreeMap<(FrameworkId, AgentId, LogIncarnation), Acknowledged>,
    ended: BTreeSet<FrameworkId>,
    given_up: BTreeSet<usize>,
    looked: u64,
}

#[derive(Default)]
struct Acknowledged {
    through: u64,
    except: BTreeSet<u64>,
}

impl Acknowledged {
    fn take(&mut self, through: u64, except: &BTreeSet<u64>) {
        self.except.retain(|sequence| except.contains(sequence));
        let new = except.iter().filter(|sequence| **sequence > self.through);
        self.except.extend(new);
        self.through = self.through.max(through);
    }

    fn covers(&self, sequence: u64) -> bool {
        sequence <= self.through && !self.except.contains(&sequence)
    }
}

impl NoLostTask {
    fn forgotten(&mut self, node: usize, container: &ContainerId) -> Result<(), String> {
        let Some(status) = self.taken.remove(&(node, container.clone())) else { return Ok(()) };
        self.looked += 1;
        let explained = self.ended.contains(&status.framework) || self.given_up.contains(&node);
        let acknowledged = status.id.is_some_and(|id| {
            let key = (status.framework, id.agent, id.incarnation);
            self.acknowledged.get(&key).is_some_and(|it| it.covers(id.sequence))
        });
        holds(explained || (status.state.is_terminal() && acknowledged), || {
            format!(
                "agent {node} forgets {container} in state {:?}, acknowledged: {acknowledged}",
                status.state
            )
        })
    }
}

impl Checker for NoLostTask {
    fn id(&self) -> &'static str {
        "I1"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        match seen {
            Seen::Written { node, writes } => {
                for write in *writes {
                    match write {
                        agent::Write::PutTask(task) => {
                            let key = (*node, task.container());
                            self.taken.insert(key, task.status.clone());
                        }
                        agent::Write::DeleteTask(container) => self.forgotten(*node, container)?,
                        _ => {}
                    }
                }
            }
            Seen::FrameworkSent { node, frame } => {
                let Some(framework) = framework_of(world, *node) else { return Ok(()) };
                for call in &frame.calls {
                    if let Call::Acknowledge { agent, incarnation, through, except } = call {
                        let key = (framework, *agent, *incarnation);
                        self.acknowledged.entry(key).or_default().take(*through, except);
                    }
                }
            }
            Seen::Agent { node, command: Some(agent::Command::Frame { frame, .. }), .. } => {
                for order in &frame.orders {
                    match order {
                        AgentOrder::EndFramework { framework } => {
                            self.ended.insert(*framework);
                        }
                        AgentOrder::Refused { gone: true, .. } => {
                            self.given_up.insert(*node);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn at_rest(&mut self, world: &World) -> Result<(), String> {
        for ((node, container), status) in &self.taken {
            if self.given_up.contains(node) || self.ended.contains(&status.framework) {
                continue;
            }
            let disk = world.agents[*node].machine.checkpoint();
            holds(disk.tasks.contains_key(container), || {
                format!("{container} was taken by agent {node} and is not on its disk")
            })?;
            if status.state.is_terminal() {
                continue;
            }
            let known = (0..world.frameworks.len())
                .filter(|place| framework_of(world, *place) == Some(status.framework))
                .filter_map(|place| world.frameworks[place].driver.as_ref())
                .filter(|driver| driver.context().is_active())
                .all(|driver| {
                    let task = driver.context().tasks().get(&status.task);
                    task.is_some_and(|task| task.token() == status.token)
                });
            self.looked += 1;
            holds(known, || {
                format!(
                    "{} ({container}) runs on {:?} and its framework does not know it",
                    status.key(),
                    id_of(world, *node)
                )
            })?;
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
