//! K1: launch. From the moment an agent begins a registration it takes nothing of an older session or
//! master; what a framework was told was dropped or refused never runs, before or after; a launch is
//! sent to one agent only.

use super::{holds, never_ran, statuses, to_agents};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_agent_core as agent;
use proffer_types::agent::{AgentDown, AgentMessage, AgentOrder};
use proffer_types::{AgentId, AgentSession, ContainerId, MasterEpoch};
use std::collections::{BTreeMap, BTreeSet};

/// See the module's description.
#[derive(Default)]
pub(super) struct Launch {
    /// By machine: the session it began last, and the master that admitted it.
    sessions: BTreeMap<usize, (AgentSession, Option<MasterEpoch>)>,
    taken: BTreeSet<ContainerId>,
    started: BTreeSet<ContainerId>,
    dropped: BTreeSet<ContainerId>,
    sent: BTreeMap<ContainerId, AgentId>,
    looked: u64,
}

impl Launch {
    fn takes(
        &mut self,
        node: usize,
        frame: Option<&AgentDown>,
        writes: &[agent::Write],
    ) -> Result<(), String> {
        for write in writes {
            let agent::Write::PutTask(task) = write else { continue };
            if !self.taken.insert(task.container()) {
                continue;
            }
            let Some(frame) = frame else { continue };
            self.looked += 1;
            let (session, epoch) = self.sessions.get(&node).copied().unwrap_or_default();
            let current =
                frame.session == session && epoch.is_none_or(|epoch| frame.master_epoch == epoch);
            holds(current, || {
                format!("agent {node} takes {} from a frame of an older session", task.container())
            })?;
        }
        Ok(())
    }

    fn agent(
        &mut self,
        node: usize,
        command: Option<&agent::Command>,
        effects: &[agent::Effect],
    ) -> Result<(), String> {
        let frame = match command {
            Some(agent::Command::Frame { frame, .. }) => Some(frame),
            _ => None,
        };
        if let Some(frame) = frame
            && frame.orders.iter().any(|order| matches!(order, AgentOrder::Registered { .. }))
            && let Some((session, epoch)) = self.sessions.get_mut(&node)
            && *session == frame.session
        {
            *epoch = Some(frame.master_epoch);
        }
        for effect in effects {
            match effect {
                agent::Effect::Checkpoint { writes, .. } => self.takes(node, frame, writes)?,
                agent::Effect::Send { frame, .. } => {
                    let begins = |it: &AgentMessage| matches!(it, AgentMessage::Register { .. });
                    if frame.messages.iter().any(begins) {
                        self.sessions.insert(node, (frame.session, None));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Checker for Launch {
    fn id(&self) -> &'static str {
        "K1"
    }

    fn see(&mut self, seen: &Seen<'_>, _world: &World) -> Result<(), String> {
        match seen {
            Seen::Agent { node, command, effects, .. } => self.agent(*node, *command, effects)?,
            Seen::Started { container, .. } => {
                self.looked += 1;
                self.started.insert((*container).clone());
                let dropped = self.dropped.contains(*container);
                holds(!dropped, || format!("{container} starts after it was said to be dropped"))?;
            }
            Seen::FrameworkTold { frame, .. } => {
                for status in frame.events.iter().flat_map(statuses).filter(|it| never_ran(it)) {
                    self.looked += 1;
                    let container = status.container();
                    let ran = self.started.contains(&container);
                    self.dropped.insert(container);
                    holds(!ran, || {
                        format!("{} is said to be {:?}; it has run", status.key(), status.state)
                    })?;
                }
            }
            Seen::Master { effects, .. } => {
                for (_, frame) in to_agents(effects) {
                    for order in &frame.orders {
                        let (AgentOrder::Launch { tasks } | AgentOrder::Prepare { tasks, .. }) =
                            order
                        else {
                            continue;
                        };
                        for task in tasks {
                            let container = task.launch.token.container(task.framework);
                            let other = self.sent.insert(container.clone(), frame.agent);
                            holds(other.is_none_or(|other| other == frame.agent), || {
                                format!("{container} is sent to {} and to {other:?}", frame.agent)
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
