//! I7: status. What a framework process is told of a launch moves along the table and never on after
//! an end; and every end that an agent has written is told at least once.

use super::{framework_of, holds, id_of, is_kept, statuses};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_agent_core as agent;
use proffer_types::{AgentId, ContainerId, FrameworkEpoch, FrameworkId, TaskState};
use std::collections::{BTreeMap, BTreeSet};

/// See the module's description.
#[derive(Default)]
pub(super) struct Status {
    /// By process: its life, its newest epoch, and the last state of each launch.
    told: BTreeMap<usize, (u64, FrameworkEpoch, BTreeMap<ContainerId, TaskState>)>,
    /// Ends that were written and not told.
    ends: BTreeMap<ContainerId, (FrameworkId, Option<AgentId>)>,
    told_ends: BTreeSet<ContainerId>,
    looked: u64,
}

impl Checker for Status {
    fn id(&self) -> &'static str {
        "I7"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        match seen {
            Seen::FrameworkTold { node, frame } => {
                let life = world.frameworks[*node].life;
                let (of, epoch, states) = self.told.entry(*node).or_default();
                if *of != life {
                    (*of, *epoch) = (life, FrameworkEpoch(0));
                    states.clear();
                }
                // A stream that was replaced may still have said something: the driver drops it.
                if frame.epoch < *epoch {
                    return Ok(());
                }
                *epoch = frame.epoch;
                for status in frame.events.iter().flat_map(statuses) {
                    let container = status.container();
                    self.looked += 1;
                    if status.state.is_terminal() {
                        self.ends.remove(&container);
                        self.told_ends.insert(container.clone());
                    }
                    let last = states.insert(container.clone(), status.state);
                    let legal = last.is_none_or(|last| last.may_become(status.state));
                    holds(legal, || {
                        format!(
                            "framework {node} is told that {} ({container}) is {:?} after {last:?}",
                            status.key(),
                            status.state
                        )
                    })?;
                }
            }
            Seen::Written { node, writes } => {
                for write in *writes {
                    if let agent::Write::PutTask(task) = write
                        && task.status.state.is_terminal()
                        && !self.told_ends.contains(&task.container())
                    {
                        let agent = id_of(world, *node);
                        self.ends.insert(task.container(), (task.framework, agent));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn at_rest(&mut self, world: &World) -> Result<(), String> {
        for (container, (framework, agent)) in &self.ends {
            let known = agent.is_some_and(|agent| world.view.agents.contains_key(&agent));
            let listened = (0..world.frameworks.len()).any(|node| {
                framework_of(world, node) == Some(*framework)
                    && world.frameworks[node]
                        .driver
                        .as_ref()
                        .is_some_and(|it| it.context().is_active())
            });
            let expected = known && listened && is_kept(world, *framework);
            holds(!expected, || format!("the end of {container} was never told to {framework}"))?;
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
