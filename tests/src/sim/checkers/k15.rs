//! K15: streams. Statuses of one log reach a stream in ascending order; no more events are under way
//! to a framework than its window holds.

use super::{holds, to_frameworks};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_master_core::{Command, ConnectionId, limits};
use proffer_types::scheduler::Event;
use proffer_types::{AgentId, FrameworkEpoch, LogIncarnation};
use std::collections::BTreeMap;

/// See the module's description.
#[derive(Default)]
pub(super) struct Streams {
    /// By process: its life and newest epoch, and the last sequence of each log.
    told: BTreeMap<usize, (u64, FrameworkEpoch, BTreeMap<(AgentId, LogIncarnation), u64>)>,
    under_way: BTreeMap<(usize, u64, ConnectionId), u64>,
    looked: u64,
}

impl Checker for Streams {
    fn id(&self) -> &'static str {
        "K15"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        match seen {
            Seen::FrameworkTold { node, frame } => {
                let life = world.frameworks[*node].life;
                let (of, epoch, logs) = self.told.entry(*node).or_default();
                if *of != life {
                    (*of, *epoch) = (life, FrameworkEpoch(0));
                    logs.clear();
                }
                if frame.epoch < *epoch {
                    return Ok(());
                }
                *epoch = frame.epoch;
                for event in &frame.events {
                    let id = match event {
                        Event::Subscribed { .. } => {
                            logs.clear();
                            continue;
                        }
                        Event::Status(status) => status.id,
                        Event::Task(record) => record.status.id,
                        _ => continue,
                    };
                    let Some(id) = id else { continue };
                    self.looked += 1;
                    let last = logs.insert((id.agent, id.incarnation), id.sequence).unwrap_or(0);
                    holds(last <= id.sequence, || {
                        format!(
                            "framework {node} reads {} of {} after {last}",
                            id.sequence, id.agent
                        )
                    })?;
                }
            }
            Seen::Master { node, life, command, effects } => {
                if let Command::FrameworkDrained { connection, credits } = command {
                    let under_way = self.under_way.entry((*node, *life, *connection)).or_default();
                    *under_way = under_way.saturating_sub(u64::from(*credits));
                }
                for (connection, frame) in to_frameworks(effects) {
                    let under_way = self.under_way.entry((*node, *life, connection)).or_default();
                    *under_way += frame.events.len() as u64;
                    self.looked += 1;
                    holds(*under_way <= u64::from(limits::FRAMEWORK_WINDOW), || {
                        format!("{under_way} events are under way to connection {}", connection.0)
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
