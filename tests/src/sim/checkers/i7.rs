//! I7: status. What a framework process is told of a launch moves along the table and never on after
//! an end; its framework is handed an end once in an epoch, and nothing of that launch after it; an
//! agent reports nothing of a launch whose acknowledged end it has forgotten; and every end that an agent
//! has written is told at least once.

use super::{framework_of, holds, id_of, is_kept, statuses};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_agent_core as agent;
use proffer_types::agent::AgentMessage;
use proffer_types::scheduler::Event;
use proffer_types::{AgentId, ContainerId, FrameworkEpoch, FrameworkId, TaskState, TaskStatus};
use std::collections::{BTreeMap, BTreeSet};

/// See the module's description.
#[derive(Default)]
pub(super) struct Status {
    /// By process: its life, its newest epoch, and the last state of each launch.
    told: BTreeMap<usize, (u64, FrameworkEpoch, BTreeMap<ContainerId, TaskState>)>,
    /// Ends that were written and not told.
    ends: BTreeMap<ContainerId, (FrameworkId, Option<AgentId>)>,
    told_ends: BTreeSet<ContainerId>,
    /// By process: its life and epoch, and the launches whose end its framework was handed.
    handled: BTreeMap<usize, (u64, FrameworkEpoch, BTreeSet<ContainerId>)>,
    /// Launches that an agent has no longer on its disk.
    forgotten: BTreeSet<(usize, ContainerId)>,
    looked: u64,
}

impl Status {
    fn handed(
        &mut self,
        process: (usize, u64),
        epoch: FrameworkEpoch,
        status: &TaskStatus,
    ) -> Result<(), String> {
        let (node, life) = process;
        let (of, in_epoch, ended) = self.handled.entry(node).or_default();
        if (*of, *in_epoch) != (life, epoch) {
            (*of, *in_epoch) = (life, epoch);
            ended.clear();
        }
        self.looked += 1;
        let container = status.container();
        let over = ended.contains(&container);
        if status.state.is_terminal() {
            ended.insert(container.clone());
        }
        holds(!over, || {
            format!(
                "framework {node} was handed the end of {} ({container}) and is handed {:?}",
                status.key(),
                status.state
            )
        })
    }

    fn reported(&mut self, node: usize, status: &TaskStatus) -> Result<(), String> {
        self.looked += 1;
        let container = status.container();
        let forgotten = self.forgotten.contains(&(node, container.clone()));
        holds(!forgotten, || format!("agent {node} reports {container}, which it has forgotten"))
    }
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
                // A framework that was ended and made anew counts its epochs anew.
                let begins = |event: &Event| matches!(event, Event::Subscribed { .. });
                if frame.epoch < *epoch && !frame.events.iter().any(begins) {
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
            Seen::Handled { node, epoch, status } => {
                self.handed((*node, world.frameworks[*node].life), *epoch, status)?;
            }
            Seen::Agent { node, effects, .. } => {
                for effect in *effects {
                    let agent::Effect::Send { frame, .. } = effect else { continue };
                    for message in &frame.messages {
                        if let AgentMessage::Statuses { statuses } = message {
                            statuses.iter().try_for_each(|status| self.reported(*node, status))?;
                        }
                    }
                }
            }
            Seen::Written { node, writes } => {
                for write in *writes {
                    if let agent::Write::DeleteTask(container) = write {
                        self.forgotten.insert((*node, container.clone()));
                    }
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
