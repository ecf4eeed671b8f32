//! K2: occupancy and complete snapshots. When a launch leaves, the store has it written that its
//! framework may have tasks on that agent. Every live task that an agent has on its disk is in the
//! snapshot that its framework is sent, or its agent is named as absent.

use super::{given_up, holds, id_of, is_newest, statuses, stored, to_agents, to_frameworks};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_master_core::registry::{Record, RecordKey};
use proffer_master_core::{Command, ConnectionId, Effect};
use proffer_types::agent::AgentOrder;
use proffer_types::scheduler::{AbsentAgent, Event};
use proffer_types::{AgentId, ContainerId, FrameworkId};
use std::collections::{BTreeMap, BTreeSet};

/// See the module's description.
#[derive(Default)]
pub(super) struct CompleteSnapshots {
    streams: BTreeMap<(usize, u64, ConnectionId), (FrameworkId, BTreeSet<ContainerId>)>,
    gone: BTreeSet<AgentId>,
    looked: u64,
}

impl CompleteSnapshots {
    /// Launches that leave the master whose term stands: what a deposed one sends nobody obeys.
    fn launches(&mut self, effects: &[Effect], world: &World) -> Result<(), String> {
        for (_, frame) in to_agents(effects) {
            for order in &frame.orders {
                let (AgentOrder::Launch { tasks } | AgentOrder::Prepare { tasks, .. }) = order
                else {
                    continue;
                };
                let kept = stored(world, &RecordKey::Occupancy(frame.agent));
                for task in tasks {
                    self.looked += 1;
                    let framework = task.framework;
                    let has = matches!(
                        &kept, Some(Record::Occupancy(it)) if it.frameworks.contains_key(&framework)
                    );
                    holds(has, || {
                        format!("a launch of {framework} leaves for {}, unwritten", frame.agent)
                    })?;
                }
            }
        }
        Ok(())
    }

    fn ended(
        &mut self,
        framework: FrameworkId,
        told: &BTreeSet<ContainerId>,
        absent: &[AbsentAgent],
        world: &World,
    ) -> Result<(), String> {
        for (node, it) in world.agents.iter().enumerate() {
            let Some(agent) = id_of(world, node).filter(|id| !self.gone.contains(id)) else {
                continue;
            };
            let disk = it.machine.checkpoint();
            for (container, task) in &disk.tasks {
                if task.framework != framework || task.status.state.is_terminal() {
                    continue;
                }
                self.looked += 1;
                let named = absent.iter().any(|it| it.agent == agent);
                holds(named || told.contains(container), || {
                    format!(
                        "a snapshot for {framework} lacks {container}, alive on {agent}; absent are \
                         {absent:?}"
                    )
                })?;
            }
        }
        Ok(())
    }
}

impl Checker for CompleteSnapshots {
    fn id(&self) -> &'static str {
        "K2"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        let Seen::Master { node, command, effects, life } = seen else { return Ok(()) };
        if let Command::Operator { call, .. } = command {
            self.gone.extend(given_up(call));
        }
        let leads = world.masters[*node].leading().is_some_and(|leading| {
            world.store.guard().leader == Some(leading.token.create_revision)
        });
        if leads {
            self.launches(effects, world)?;
        }
        for (connection, frame) in to_frameworks(effects) {
            let key = (*node, *life, connection);
            for event in &frame.events {
                if let Event::Subscribed { framework, .. } = event {
                    self.streams.insert(key, (*framework, BTreeSet::new()));
                }
                let Some((framework, told)) = self.streams.get_mut(&key) else { continue };
                told.extend(statuses(event).into_iter().map(|status| status.container()));
                if let Event::SnapshotEnd { absent, .. } = event
                    && is_newest(world, *node)
                {
                    let (framework, told) = (*framework, told.clone());
                    self.ended(framework, &told, absent, world)?;
                }
            }
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
