//! K19: ids. An agent's or framework's id is given out only when the durable mark covers it, to one
//! machine or name for ever; a framework's epoch goes to one replica; a master's epoch to one process.

use super::{holds, stored, to_agents, to_frameworks};
use crate::sim::network::Client;
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_agent_core as agent;
use proffer_master_core::ConnectionId;
use proffer_master_core::registry::{ClusterRecord, Record, RecordKey};
use proffer_types::agent::{AgentDown, AgentOrder};
use proffer_types::scheduler::Event;
use proffer_types::{AgentId, FrameworkEpoch, FrameworkId, MasterEpoch};
use std::collections::BTreeMap;

/// See the module's description.
#[derive(Default)]
pub(super) struct Ids {
    connections: BTreeMap<(usize, u64, ConnectionId), Client>,
    /// The machine that each id was given to.
    agents: BTreeMap<AgentId, usize>,
    epochs: BTreeMap<(FrameworkId, FrameworkEpoch), Client>,
    masters: BTreeMap<MasterEpoch, (usize, u64)>,
    looked: u64,
}

fn marks(world: &World) -> ClusterRecord {
    match stored(world, &RecordKey::Cluster) {
        Some(Record::Cluster(cluster)) => cluster,
        _ => ClusterRecord::default(),
    }
}

fn registers(frame: &AgentDown) -> bool {
    frame.orders.iter().any(|order| matches!(order, AgentOrder::Registered { .. }))
}

impl Ids {
    fn master(&mut self, epoch: MasterEpoch, process: (usize, u64)) -> Result<(), String> {
        let other = *self.masters.entry(epoch).or_insert(process);
        holds(other == process, || format!("{process:?} and {other:?} both lead as epoch {epoch}"))
    }
}

impl Checker for Ids {
    fn id(&self) -> &'static str {
        "K19"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        match seen {
            Seen::Opened { node, life, connection, client } => {
                self.connections.insert((*node, *life, *connection), *client);
            }
            Seen::Master { node, life, effects, .. } => {
                for (_, frame) in to_agents(effects) {
                    self.master(frame.master_epoch, (*node, *life))?;
                    if registers(frame) {
                        self.looked += 1;
                        let mark = marks(world).agent_mark;
                        holds(frame.agent <= mark, || {
                            format!("{} is given out, the durable mark is {mark}", frame.agent)
                        })?;
                    }
                }
                for (connection, frame) in to_frameworks(effects) {
                    self.master(frame.master_epoch, (*node, *life))?;
                    let Some(client) = self.connections.get(&(*node, *life, connection)) else {
                        continue;
                    };
                    for event in &frame.events {
                        let Event::Subscribed { framework, epoch, .. } = event else { continue };
                        self.looked += 1;
                        let mark = marks(world).framework_mark;
                        holds(*framework <= mark, || {
                            format!("{framework} is given out, the durable mark is {mark}")
                        })?;
                        let key = (*framework, *epoch);
                        let first = *self.epochs.entry(key).or_insert(*client);
                        holds(first == *client, || {
                            format!("{framework} epoch {epoch} is {first:?} and {client:?}")
                        })?;
                    }
                }
            }
            Seen::Agent { node, command: Some(agent::Command::Frame { frame, .. }), .. }
                if registers(frame) =>
            {
                self.looked += 1;
                let first = *self.agents.entry(frame.agent).or_insert(*node);
                holds(first == *node, || {
                    format!("{} is given to agents {first} and {node}", frame.agent)
                })?;
            }
            _ => {}
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
