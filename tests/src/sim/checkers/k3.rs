//! K3: gang. What one accept launches on several agents starts when all of it was prepared and that is
//! written, or none of it ever starts.

use super::{framework_of, holds, statuses};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_agent_core as agent;
use proffer_master_core::registry::RecordKey;
use proffer_types::offer::Operation;
use proffer_types::scheduler::{Call, SchedulerUp};
use proffer_types::task::StatusReason;
use proffer_types::{ContainerId, GangId, TaskState};
use std::collections::{BTreeMap, BTreeSet};

/// See the module's description.
#[derive(Default)]
pub(super) struct Gangs {
    /// What was asked for together, and in which of the lists each of it is.
    accepts: Vec<Vec<ContainerId>>,
    accept_of: BTreeMap<ContainerId, usize>,
    /// As what agents have them on their disks.
    gang_of: BTreeMap<ContainerId, GangId>,
    /// Prepared, and on a disk.
    prepared: BTreeSet<ContainerId>,
    started: BTreeSet<ContainerId>,
    /// Given up before it started, as a disk or a framework has it.
    given_up: BTreeSet<ContainerId>,
    /// What the store was told starts.
    decided: BTreeSet<GangId>,
    looked: u64,
}

impl Gangs {
    fn asked(&mut self, node: usize, frame: &SchedulerUp, world: &World) {
        let Some(framework) = framework_of(world, node) else { return };
        for call in &frame.calls {
            let Call::Accept(accept) = call else { continue };
            let mut agents = BTreeSet::new();
            let mut containers = Vec::new();
            for operation in &accept.operations {
                let Operation::Launch { agent, tasks } = operation else { continue };
                agents.insert(*agent);
                containers.extend(tasks.iter().map(|task| task.token.container(framework)));
            }
            if agents.len() > 1 {
                let place = self.accepts.len();
                self.accept_of.extend(containers.iter().map(|it| (it.clone(), place)));
                self.accepts.push(containers);
            }
        }
    }

    fn others(&self, container: &ContainerId) -> impl Iterator<Item = &ContainerId> {
        self.accept_of.get(container).into_iter().flat_map(|place| &self.accepts[*place])
    }

    fn written(&mut self, writes: &[agent::Write]) -> Result<(), String> {
        for write in writes {
            let agent::Write::PutTask(task) = write else { continue };
            let (container, status) = (task.container(), &task.status);
            if let Some(gang) = task.gang {
                self.gang_of.insert(container.clone(), gang);
            }
            if status.reason == StatusReason::GangPrepared {
                self.prepared.insert(container.clone());
            }
            if status.state == TaskState::Dropped {
                self.gives_up(&container)?;
            }
        }
        Ok(())
    }

    fn gives_up(&mut self, container: &ContainerId) -> Result<(), String> {
        if !self.accept_of.contains_key(container) {
            return Ok(());
        }
        self.looked += 1;
        let started = self.others(container).find(|other| self.started.contains(*other)).cloned();
        self.given_up.insert(container.clone());
        holds(started.is_none(), || {
            format!("{container} is given up; {started:?} of the same accept has started")
        })
    }

    fn starts(&mut self, container: &ContainerId) -> Result<(), String> {
        if !self.accept_of.contains_key(container) {
            return Ok(());
        }
        self.looked += 1;
        self.started.insert(container.clone());
        let gang = self.gang_of.get(container);
        let decided = gang.is_some_and(|gang| self.decided.contains(gang));
        holds(decided, || format!("{container} of {gang:?} starts and that is not written"))?;
        for other in self.others(container) {
            let prepared = self.prepared.contains(other);
            holds(prepared, || format!("{container} starts; {other} was never prepared"))?;
            let given_up = self.given_up.contains(other);
            holds(!given_up, || format!("{container} starts; {other} was given up"))?;
        }
        Ok(())
    }
}

impl Checker for Gangs {
    fn id(&self) -> &'static str {
        "K3"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        match seen {
            Seen::FrameworkSent { node, frame } => self.asked(*node, frame, world),
            Seen::Written { writes, .. } => self.written(writes)?,
            Seen::Started { container, .. } => self.starts(container)?,
            Seen::FrameworkTold { frame, .. } => {
                let told = frame.events.iter().flat_map(statuses);
                for status in told.filter(|status| status.state == TaskState::Dropped) {
                    self.gives_up(&status.container())?;
                }
            }
            Seen::Committed { changes, .. } => {
                for (key, value) in *changes {
                    if let Ok(RecordKey::Gang(gang)) = RecordKey::decode(key)
                        && value.is_some()
                    {
                        self.decided.insert(gang);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Nothing waits any more, and no record stays.
    fn at_rest(&mut self, world: &World) -> Result<(), String> {
        for gang in &self.decided {
            let key = RecordKey::Gang(*gang).encode();
            let stays = world.store.get(key.as_bytes()).is_some();
            holds(!stays, || format!("the record of {gang} stays"))?;
        }
        for it in &world.agents {
            let disk = it.machine.checkpoint();
            let waits = disk.tasks.values().find(|task| task.waits_for_gang());
            holds(waits.is_none(), || {
                format!("{:?} waits for its gang", waits.map(|task| task.status.key()))
            })?;
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
