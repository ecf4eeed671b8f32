//! I11: durability before promise. When a framework reads that its commit is durable, that it is
//! subscribed, when an agent reads that it is admitted, when an operator reads that a role is set, the
//! store has it; when an agent reports a status, its disk has it.

use super::{framework_of, holds, is_kept, stored, to_agents, to_frameworks};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_agent_core as agent;
use proffer_master_core::Effect;
use proffer_master_core::registry::{Record, RecordKey};
use proffer_types::agent::{AgentMessage, AgentOrder};
use proffer_types::operator::{OperatorAnswer, OperatorCall};
use proffer_types::scheduler::{Call, Event};
use proffer_types::state_store::{StateAnswer, StateCall, StateChange};
use proffer_types::{ContainerId, FrameworkId, TaskStatus};
use std::collections::BTreeMap;

/// See the module's description.
#[derive(Default)]
pub(super) struct DurableBeforePromise {
    requests: BTreeMap<(usize, u64, u64), Vec<StateChange>>,
    written: BTreeMap<ContainerId, u64>,
    looked: u64,
}

fn check_value(
    world: &World,
    framework: FrameworkId,
    change: &StateChange,
    version: u64,
) -> Result<(), String> {
    let kept = stored(world, &RecordKey::State(framework, change.key.clone()));
    let has = match (&change.value, kept) {
        (Some(value), Some(Record::State(kept))) => {
            kept.version > version || (kept.version == version && kept.value == *value)
        }
        (Some(_), _) => false,
        // Deleted; another commit may have made it again.
        (None, _) => true,
    };
    holds(has, || {
        format!("{framework} is told that {:?} version {version} is durable; it is not", change.key)
    })
}

impl DurableBeforePromise {
    fn master(&mut self, effects: &[Effect], world: &World) -> Result<(), String> {
        for (_, frame) in to_frameworks(effects) {
            for event in &frame.events {
                let Event::Subscribed { framework, epoch, .. } = event else { continue };
                self.looked += 1;
                let kept = stored(world, &RecordKey::Framework(*framework));
                let has = matches!(kept, Some(Record::Framework(it)) if it.epoch >= *epoch);
                holds(has, || {
                    format!("{framework} is subscribed as {epoch}, which is not durable")
                })?;
            }
        }
        for (_, frame) in to_agents(effects) {
            if frame.orders.iter().any(|order| matches!(order, AgentOrder::Registered { .. })) {
                self.looked += 1;
                let kept = stored(world, &RecordKey::Agent(frame.agent));
                holds(kept.is_some(), || {
                    format!("{} is admitted, which is not durable", frame.agent)
                })?;
            }
        }
        for effect in effects {
            let Effect::Reply { reply_to, answer: OperatorAnswer::Done { .. }, .. } = effect else {
                continue;
            };
            if let Some((_, _, OperatorCall::SetRole { role, .. })) = world.asked.get(&reply_to.0) {
                self.looked += 1;
                let kept = stored(world, &RecordKey::Role(role.clone()));
                holds(kept.is_some(), || format!("role {role} is said to be set; it is not"))?;
            }
        }
        Ok(())
    }

    fn reported(&mut self, node: usize, status: &TaskStatus) -> Result<(), String> {
        let Some(id) = status.id else { return Ok(()) };
        self.looked += 1;
        let has = self.written.get(&status.container()).is_some_and(|kept| *kept >= id.sequence);
        holds(has, || {
            format!(
                "agent {node} reports {:?} of {}, which is not on its disk",
                status.state,
                status.key()
            )
        })
    }
}

impl Checker for DurableBeforePromise {
    fn id(&self) -> &'static str {
        "I11"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        match seen {
            Seen::Master { effects, .. } => self.master(effects, world)?,
            Seen::FrameworkSent { node, frame } => {
                let life = world.frameworks[*node].life;
                for call in &frame.calls {
                    if let Call::State { request, call: StateCall::Commit { changes } } = call {
                        self.requests.insert((*node, life, *request), changes.clone());
                    }
                }
            }
            Seen::FrameworkTold { node, frame } => {
                let Some(framework) = framework_of(world, *node) else { return Ok(()) };
                let life = world.frameworks[*node].life;
                for event in &frame.events {
                    let Event::State { request, answer } = event else { continue };
                    let Some(changes) = self.requests.remove(&(*node, life, *request)) else {
                        continue;
                    };
                    let StateAnswer::Committed { versions } = answer else { continue };
                    if !is_kept(world, framework) {
                        continue;
                    }
                    for (change, version) in changes.iter().zip(versions) {
                        self.looked += 1;
                        check_value(world, framework, change, *version)?;
                    }
                }
            }
            Seen::Written { writes, .. } => {
                for write in *writes {
                    if let agent::Write::PutTask(task) = write
                        && let Some(id) = task.status.id
                    {
                        let kept = self.written.entry(task.container()).or_default();
                        *kept = (*kept).max(id.sequence);
                    }
                }
            }
            Seen::Agent { node, effects, .. } => {
                for effect in *effects {
                    let agent::Effect::Send { frame, .. } = effect else { continue };
                    for message in &frame.messages {
                        if let AgentMessage::Statuses { statuses } = message {
                            statuses.iter().try_for_each(|status| self.reported(*node, status))?;
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
