//! K11: preemption. Whoever is named is of lower priority under the same top role, or holds what a
//! guarantee lacks, and is not one of those that its framework wants to keep, or uses what may be taken
//! back; nobody ends by it before the time that was given is over, or without being named; and
//! once everything is at rest nobody is named any more.

use super::{holds, id_of, is_newest, to_agents};
use crate::sim::batch::Batch;
use crate::sim::node_framework::FrameworkNode;
use crate::sim::observe::{Checker, Seen};
use crate::sim::services::SERVICE_KEPT;
use crate::sim::world::World;
use proffer_agent_core as agent;
use proffer_sdk_core::Framework;
use proffer_types::agent::{AgentMessage, AgentOrder};
use proffer_types::task::{StatusReason, TaskState};
use proffer_types::{Claim, ClaimId, DemandKey, RoleName, TaskKey};
use std::collections::{BTreeMap, BTreeSet};

/// See the module's description.
#[derive(Default)]
pub(super) struct Preemption {
    /// The earliest moment at which a task may end for a claim, in virtual time.
    named: BTreeMap<(TaskKey, ClaimId), u64>,
    /// Those that have begun to end when they might.
    ending: BTreeSet<TaskKey>,
    looked: u64,
}

fn top_of(role: &RoleName) -> &str {
    role.as_str().split('/').next().unwrap_or_default()
}

impl Preemption {
    fn named(&mut self, claim: &Claim, key: &TaskKey, world: &World) -> Result<(), String> {
        let Some(task) = world.view.tasks.get(key) else { return Ok(()) };
        let group = DemandKey { framework: claim.framework, group: claim.group.clone() };
        self.looked += 1;
        let is_rightful = match &claim.creditor {
            Some(creditor) => {
                let config = world.view.roles.get(creditor).map(|row| &row.config);
                !task.role.is_within(creditor)
                    && config.is_none_or(|config| !config.guarantee.is_empty())
            }
            None => {
                let stated = world.view.demand.get(&group).map(|row| row.group.priority);
                top_of(&task.role) == top_of(&claim.role)
                    && stated.is_none_or(|priority| task.priority < priority)
            }
        };
        holds(is_rightful || task.resources.is_revocable(), || {
            format!("{key} of {} with priority {} is named for {claim:?}", task.role, task.priority)
        })
    }

    /// Enough are left of those that frameworks want to keep.
    fn kept(&mut self, chosen: &BTreeSet<TaskKey>, world: &World) -> Result<(), String> {
        for key in chosen {
            let Some(task) = world.view.tasks.get(key) else { continue };
            if task.resources.is_revocable() {
                continue;
            }
            let Some(name) = world.view.frameworks.get(&key.framework).map(|row| &row.info.name)
            else {
                continue;
            };
            let service = task.labels.get("service");
            let kept = match service {
                Some(_) => SERVICE_KEPT,
                None => {
                    let batches = world.frameworks.iter().filter_map(FrameworkNode::batch);
                    let mut of_name = batches.filter(|batch| batch.info().name == *name);
                    of_name.next().map_or(0, Batch::kept)
                }
            };
            let left = world.view.tasks.iter().filter(|(other, task)| {
                other.framework == key.framework
                    && task.labels.get("service") == service
                    && task.status.state == TaskState::Running
                    && task.status.ready != Some(false)
                    && !chosen.contains(*other)
            });
            let left = left.count();
            self.looked += 1;
            holds(left >= kept as usize, || {
                format!(
                    "{key} is to end for others and leaves {left} of {name}, which keeps {kept}"
                )
            })?;
        }
        Ok(())
    }

    fn ended(&mut self, key: &TaskKey, world: &World) -> Result<(), String> {
        self.looked += 1;
        let now_ms = world.queue.now_ms();
        let mut named = self.named.iter().filter(|((task, _), _)| task == key);
        let may_end = self.ending.contains(key) || named.any(|(_, from)| *from <= now_ms);
        self.ending.insert(key.clone());
        holds(may_end, || format!("{key} ends for others and its time is not over"))
    }
}

impl Checker for Preemption {
    fn id(&self) -> &'static str {
        "K11"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        match seen {
            Seen::Master { node, effects, .. } => {
                let now_ms = world.queue.now_ms();
                let mut chosen = BTreeSet::new();
                for (_, frame) in to_agents(effects) {
                    for order in &frame.orders {
                        let AgentOrder::Preempt { claim, tasks, grace } = order else { continue };
                        for key in tasks {
                            let is_new = !self.named.contains_key(&(key.clone(), claim.id));
                            // A new leader names again whom its predecessor chose.
                            if is_new
                                && claim.id.epoch == frame.master_epoch
                                && is_newest(world, *node)
                            {
                                self.named(claim, key, world)?;
                                chosen.insert(key.clone());
                            }
                            let from = now_ms + grace.0;
                            self.named.entry((key.clone(), claim.id)).or_insert(from);
                        }
                    }
                }
                self.kept(&chosen, world)?;
            }
            Seen::Agent { node, effects, .. } if id_of(world, *node).is_some() => {
                for effect in *effects {
                    let agent::Effect::Send { frame, .. } = effect else { continue };
                    for message in &frame.messages {
                        let AgentMessage::Statuses { statuses } = message else { continue };
                        for status in statuses {
                            if status.reason == StatusReason::Preempted {
                                self.ended(&status.key(), world)?;
                            }
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
