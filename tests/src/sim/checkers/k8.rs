//! K8: leadership. After its lease has ended in the store nothing leaves a master and no agent obeys
//! it. (A term that the store ended before its time is left to the fence: I10.)

use super::holds;
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_agent_core as agent;
use proffer_master_core::Effect;
use proffer_types::agent::AgentOrder;
use std::collections::{BTreeMap, BTreeSet};

/// See the module's description.
#[derive(Default)]
pub(super) struct Leadership {
    /// By process: its term and until when it is its.
    leases: BTreeMap<(usize, u64), (u64, u64)>,
    expired: BTreeSet<u64>,
    looked: u64,
}

impl Leadership {
    fn check(&mut self, process: (usize, u64), now_ms: u64, what: &str) -> Result<(), String> {
        let Some((term, until_ms)) = self.leases.get(&process) else { return Ok(()) };
        if self.expired.contains(term) {
            return Ok(());
        }
        self.looked += 1;
        holds(now_ms <= *until_ms, || {
            format!("{what} master {}, {} ms after its lease ended", process.0, now_ms - until_ms)
        })
    }
}

impl Checker for Leadership {
    fn id(&self) -> &'static str {
        "K8"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        let now_ms = world.queue.now_ms();
        match seen {
            Seen::Leased { node, life, term, until_ms } => {
                self.leases.insert((*node, *life), (*term, *until_ms));
                Ok(())
            }
            Seen::Expired { term } => {
                self.expired.insert(*term);
                Ok(())
            }
            Seen::Master { node, life, effects, .. } => {
                let acts = effects.iter().any(|effect| !matches!(effect, Effect::Stop { .. }));
                if acts { self.check((*node, *life), now_ms, "something leaves") } else { Ok(()) }
            }
            Seen::Agent {
                command: Some(agent::Command::Frame { frame, .. }),
                effects,
                origin: Some(origin),
                ..
            } => {
                let orders = frame.orders.iter().any(|order| {
                    matches!(
                        order,
                        AgentOrder::Launch { .. }
                            | AgentOrder::Prepare { .. }
                            | AgentOrder::StartGang { .. }
                            | AgentOrder::AbortGang { .. }
                            | AgentOrder::Kill { .. }
                    )
                });
                let obeys = effects.iter().any(|effect| {
                    matches!(effect, agent::Effect::Checkpoint { .. } | agent::Effect::Kill { .. })
                });
                if orders && obeys { self.check(*origin, now_ms, "an agent obeys") } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
