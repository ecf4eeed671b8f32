//! K15: streams. Statuses of one log reach a stream in ascending order (one that its framework was shown
//! before may be repeated, also to a later process when its acknowledgement was lost); no more events are under way to a framework than its window holds.

use super::{holds, statuses, to_frameworks};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_master_core::{Command, ConnectionId, limits};
use proffer_types::scheduler::Event;
use proffer_types::{AgentId, FrameworkEpoch, FrameworkId, LogIncarnation};
use std::collections::{BTreeMap, BTreeSet};

type Log = (AgentId, LogIncarnation);
/// The greatest sequence of each log that a process was told.
type Told = BTreeMap<Log, u64>;

/// See the module's description.
#[derive(Default)]
pub(super) struct Streams {
    /// By process: its life and newest epoch, and what it was told.
    told: BTreeMap<usize, (u64, FrameworkEpoch, Told)>,
    /// The sequences of each log that any process of a framework was told.
    shown: BTreeMap<(FrameworkId, Log), BTreeSet<u64>>,
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
                // A framework that was ended and made anew counts its epochs anew.
                let begins = |event: &Event| matches!(event, Event::Subscribed { .. });
                if frame.epoch < *epoch && !frame.events.iter().any(begins) {
                    return Ok(());
                }
                *epoch = frame.epoch;
                for event in &frame.events {
                    if matches!(event, Event::Subscribed { .. }) {
                        logs.clear();
                    }
                    let in_page = matches!(event, Event::SnapshotPage { .. });
                    for status in statuses(event) {
                        let Some(id) = status.id else { continue };
                        self.looked += 1;
                        let log = (id.agent, id.incarnation);
                        let shown = self.shown.entry((status.framework, log)).or_default();
                        let repeats = !shown.insert(id.sequence);
                        let newest = logs.entry(log).or_default();
                        let last = *newest;
                        *newest = last.max(id.sequence);
                        holds(in_page || repeats || last < id.sequence, || {
                            format!(
                                "framework {node} reads {} of {} after {last}",
                                id.sequence, id.agent
                            )
                        })?;
                    }
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
