//! I5: known. When an agent is told that it is registered, every live task of the list it sent is in
//! the view, in that state; at rest view and disks agree.

use super::{alive_on, holds, id_of, is_newest, machine_of, to_agents};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_agent_core as agent;
use proffer_types::agent::{AgentDown, AgentMessage, AgentOrder};
use proffer_types::operator::AgentCondition;
use proffer_types::{AgentSession, ContainerId, TaskStatus};
use std::collections::{BTreeMap, BTreeSet};

/// See the module's description.
#[derive(Default)]
pub(super) struct Known {
    /// What each machine listed last, and in which session.
    lists: BTreeMap<usize, (AgentSession, Vec<TaskStatus>)>,
    looked: u64,
}

impl Known {
    fn registered(&mut self, frame: &AgentDown, world: &World) -> Result<(), String> {
        let list = machine_of(world, frame.agent).and_then(|node| self.lists.get(&node));
        let Some((session, list)) = list else { return Ok(()) };
        if *session != frame.session {
            return Ok(());
        }
        for status in list.iter().filter(|status| !status.state.is_terminal()) {
            if !world.view.frameworks.contains_key(&status.framework) {
                continue;
            }
            self.looked += 1;
            let row = world.view.tasks.get(&status.key());
            let same = row.is_some_and(|row| {
                row.status.token == status.token
                    && (row.status.state == status.state || row.status.id > status.id)
            });
            holds(same, || {
                let shown = row.map(|row| (row.status.token, row.status.state));
                format!(
                    "{} is {:?} at its agent, the view has {shown:?}",
                    status.key(),
                    status.state
                )
            })?;
        }
        Ok(())
    }
}

impl Checker for Known {
    fn id(&self) -> &'static str {
        "I5"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        match seen {
            Seen::Agent { node, effects, .. } => {
                for effect in *effects {
                    let agent::Effect::Send { frame, .. } = effect else { continue };
                    for message in &frame.messages {
                        match message {
                            AgentMessage::Register { .. } => {
                                self.lists.insert(*node, (frame.session, Vec::new()));
                            }
                            AgentMessage::Tasks { tasks } => {
                                let list = self.lists.entry(*node).or_default();
                                let statuses = tasks.iter().map(|task| task.record.status.clone());
                                list.1.extend(statuses);
                            }
                            _ => {}
                        }
                    }
                }
                Ok(())
            }
            Seen::Master { node, effects, .. } if is_newest(world, *node) => {
                for (_, frame) in to_agents(effects) {
                    let is_registered = |order| matches!(order, &AgentOrder::Registered { .. });
                    if frame.orders.iter().any(is_registered) {
                        self.registered(frame, world)?;
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn at_rest(&mut self, world: &World) -> Result<(), String> {
        for node in 0..world.agents.len() {
            let Some(id) = id_of(world, node) else { continue };
            let row = world.view.agents.get(&id);
            if row.is_none_or(|row| row.condition != AgentCondition::Active) {
                continue;
            }
            let disk = world.agents[node].machine.checkpoint();
            let kept: BTreeSet<ContainerId> = disk
                .tasks
                .iter()
                .filter(|(_, task)| !task.status.state.is_terminal())
                .map(|(container, _)| container.clone())
                .collect();
            let shown: BTreeSet<ContainerId> =
                alive_on(world, id).map(|row| row.status.container()).collect();
            self.looked += 1;
            let both: Vec<_> = kept.symmetric_difference(&shown).collect();
            // A change that is on its way right now is no divergence; a handful never is.
            let settled = |container: &&&ContainerId| {
                let status = disk.tasks.get(**container).map(|task| task.status.at);
                status.is_some_and(|at| world.agent_clock(node).wall.0.saturating_sub(at.0) > 5_000)
                    || !disk.tasks.contains_key(**container)
            };
            let lasting = both.iter().find(|it| settled(it));
            holds(lasting.is_none(), || {
                format!("{id}: {lasting:?} is alive in one of disk and view only")
            })?;
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
