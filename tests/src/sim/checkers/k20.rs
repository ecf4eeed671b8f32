//! K20: identity. A framework is subscribed only for the principal that made it, whatever name somebody
//! gives himself; every status says how its task is isolated as the agent's machine has it.

use super::{holds, statuses, to_frameworks};
use crate::sim::network::Client;
use crate::sim::node_framework::Kind;
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_master_core::ConnectionId;
use proffer_types::FrameworkId;
use proffer_types::scheduler::Event;
use proffer_types::task::IsolationLevel;
use std::collections::BTreeMap;

/// See the module's description.
#[derive(Default)]
pub(super) struct Identity {
    /// Who really speaks.
    connections: BTreeMap<(usize, u64, ConnectionId), Kind>,
    owners: BTreeMap<FrameworkId, String>,
    looked: u64,
}

impl Checker for Identity {
    fn id(&self) -> &'static str {
        "K20"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        match seen {
            Seen::Opened { node, life, connection, client: Client::Framework(place) } => {
                let kind = world.frameworks[*place].kind;
                self.connections.insert((*node, *life, *connection), kind);
            }
            Seen::Master { node, life, effects, .. } => {
                for (connection, frame) in to_frameworks(effects) {
                    let Some(kind) = self.connections.get(&(*node, *life, connection)) else {
                        continue;
                    };
                    for event in &frame.events {
                        if *kind == Kind::Impostor {
                            self.looked += 1;
                            let served = matches!(
                                event,
                                Event::Subscribed { .. } | Event::Standby { .. } | Event::Status(_)
                            );
                            holds(!served, || "somebody is taken for who he is not".to_owned())?;
                        }
                        if let Event::Subscribed { framework, .. } = event {
                            let name = kind.principal();
                            let owner = self.owners.entry(*framework).or_insert(name.clone());
                            holds(*owner == name, || {
                                format!("{framework} of {owner} is handed to {name}")
                            })?;
                        }
                        for status in statuses(event) {
                            let level = status.isolation;
                            holds(level == IsolationLevel::Full, || {
                                format!("{} is said to be isolated as {level:?}", status.key())
                            })?;
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
