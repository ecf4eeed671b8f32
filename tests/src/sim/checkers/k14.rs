//! K14: supervisor. A container is let go only when its task is on the disk; a container whose
//! supervisor was lost never counts as finished.

use super::holds;
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_agent_core as agent;
use proffer_agent_core::container::Outcome;
use proffer_types::{ContainerId, TaskState};
use std::collections::BTreeSet;

/// See the module's description.
#[derive(Default)]
pub(super) struct Supervisor {
    lost: BTreeSet<ContainerId>,
    looked: u64,
}

impl Checker for Supervisor {
    fn id(&self) -> &'static str {
        "K14"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        let Seen::Agent { node, command, effects, .. } = seen else { return Ok(()) };
        if let Some(agent::Command::Exited { container, exit }) = command
            && exit.outcome == Outcome::SupervisorLost
        {
            self.lost.insert(container.clone());
        }
        let disk = world.agents[*node].machine.checkpoint();
        for effect in *effects {
            match effect {
                agent::Effect::Go { container } => {
                    self.looked += 1;
                    let has = disk.tasks.contains_key(container);
                    holds(has, || {
                        format!("{container} is let go and is not on the disk of {node}")
                    })?;
                }
                agent::Effect::Checkpoint { writes, .. } => {
                    for write in writes {
                        let agent::Write::PutTask(task) = write else { continue };
                        if !self.lost.contains(&task.container()) {
                            continue;
                        }
                        self.looked += 1;
                        holds(task.status.state != TaskState::Finished, || {
                            format!(
                                "{} lost its supervisor and counts as finished",
                                task.container()
                            )
                        })?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
