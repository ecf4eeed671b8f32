//! I10: one leader. Only the term that stands writes, in one unbroken sequence; no agent obeys an older
//! term than it has obeyed before, whatever is written in a frame.

use super::holds;
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_agent_core as agent;
use proffer_types::agent::AgentOrder;
use std::collections::BTreeMap;

/// See the module's description.
#[derive(Default)]
pub(super) struct OneLeader {
    sequence: u64,
    term: u64,
    /// The term of each life of each master.
    terms: BTreeMap<(usize, u64), u64>,
    /// The newest term that each machine obeyed.
    obeyed: BTreeMap<usize, u64>,
    looked: u64,
}

impl Checker for OneLeader {
    fn id(&self) -> &'static str {
        "I10"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        match seen {
            Seen::Leased { node, life, term, .. } => {
                self.terms.insert((*node, *life), *term);
            }
            Seen::Committed { node, term, mark, .. } => {
                self.looked += 1;
                let stands = world.store.guard().leader.map(|revision| revision.0);
                holds(stands == Some(*term), || {
                    format!("master {node} of term {term} writes while {stands:?} stands")
                })?;
                holds(*term >= self.term && mark.sequence == self.sequence + 1, || {
                    format!(
                        "write {} of term {term} follows write {} of term {}",
                        mark.sequence, self.sequence, self.term
                    )
                })?;
                (self.sequence, self.term) = (mark.sequence, *term);
            }
            Seen::Agent {
                node,
                command: Some(agent::Command::Frame { frame, .. }),
                effects,
                origin: Some(origin),
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
                if let (true, true, Some(term)) = (orders, obeys, self.terms.get(origin)) {
                    self.looked += 1;
                    let newest = self.obeyed.entry(*node).or_default();
                    let before = *newest;
                    *newest = before.max(*term);
                    holds(*term >= before, || {
                        format!("agent {node} obeys term {term} after term {before}")
                    })?;
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
