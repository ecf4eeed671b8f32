//! agent.proto: frames, messages and orders between an agent and the master.

use super::bounds::{CALLS_MAX, EXCEPTIONS_MAX, ITEMS_MAX};
use super::field::{bounded, from_ref, known, list, name, numbers, optional_name, part, required};
use super::resources::{resources_from_pb, resources_to_pb};
use super::types::digest_from_pb;
use crate::pb;
use proffer_types::agent::{
    AgentDown, AgentLaunch, AgentMessage, AgentOrder, AgentTask, AgentUp, KillCause,
};
use proffer_types::template::KillPolicy;
use proffer_types::{
    AgentId, AgentSession, Claim, ClaimMark, DurationMs, FrameworkId, LogIncarnation, MasterEpoch,
    Refusal, TaskKey,
};

impl From<AgentUp> for pb::AgentUp {
    fn from(frame: AgentUp) -> Self {
        Self {
            agent: frame.agent.map(|agent| agent.0),
            session: frame.session.0,
            master_epoch: frame.master_epoch.0,
            messages: frame.messages.into_iter().map(pb::AgentMessage::from).collect(),
        }
    }
}

impl TryFrom<pb::AgentUp> for AgentUp {
    type Error = Refusal;

    /// Messages of an unknown kind are skipped (K5).
    fn try_from(frame: pb::AgentUp) -> Result<Self, Refusal> {
        bounded(frame.messages.len(), "messages", CALLS_MAX)?;
        let messages =
            known(frame.messages, "messages", |message| message.kind, message_from_kind)?;
        Ok(Self {
            agent: frame.agent.map(AgentId),
            session: AgentSession(frame.session),
            master_epoch: MasterEpoch(frame.master_epoch),
            messages,
        })
    }
}

impl From<AgentMessage> for pb::AgentMessage {
    fn from(message: AgentMessage) -> Self {
        use pb::agent_message::{self, Kind};
        let kind = match message {
            AgentMessage::Register { info, log, knows_gangs } => {
                Kind::Register(agent_message::Register {
                    info: Some(info.into()),
                    log: log.0,
                    knows_gangs,
                })
            }
            AgentMessage::Tasks { tasks } => Kind::Tasks(agent_message::Tasks {
                tasks: tasks.into_iter().map(pb::AgentTask::from).collect(),
            }),
            AgentMessage::Holds { holds } => Kind::Holds(agent_message::Holds {
                holds: holds.into_iter().map(pb::AgentHold::from).collect(),
            }),
            AgentMessage::RegisterEnd => Kind::RegisterEnd(agent_message::RegisterEnd {}),
            AgentMessage::Statuses { statuses } => Kind::Statuses(agent_message::Statuses {
                statuses: statuses.into_iter().map(pb::TaskStatus::from).collect(),
            }),
            AgentMessage::HoldDone { id, op, refusal } => Kind::HoldDone(agent_message::HoldDone {
                id: id.to_string(),
                op,
                refusal: refusal.map(pb::Refusal::from),
            }),
            AgentMessage::Heartbeat => Kind::Heartbeat(agent_message::Heartbeat {}),
            AgentMessage::Leaving => Kind::Leaving(agent_message::Leaving {}),
        };
        Self { kind: Some(kind) }
    }
}

fn message_from_kind(kind: pb::agent_message::Kind) -> Result<AgentMessage, Refusal> {
    use pb::agent_message::Kind;
    let below = |field: &'static str| move |refusal: Refusal| refusal.within(field);
    Ok(match kind {
        Kind::Register(message) => AgentMessage::Register {
            info: part(message.info, "info").map_err(below("register"))?,
            log: LogIncarnation(message.log),
            knows_gangs: message.knows_gangs,
        },
        Kind::Tasks(message) => AgentMessage::Tasks {
            tasks: list(message.tasks, "tasks", ITEMS_MAX).map_err(below("tasks"))?,
        },
        Kind::Holds(message) => AgentMessage::Holds {
            holds: list(message.holds, "holds", ITEMS_MAX).map_err(below("holds"))?,
        },
        Kind::HoldDone(message) => AgentMessage::HoldDone {
            id: name(&message.id, "hold_done.id")?,
            op: message.op,
            refusal: message.refusal.map(Refusal::from),
        },
        Kind::RegisterEnd(_) => AgentMessage::RegisterEnd,
        Kind::Statuses(message) => AgentMessage::Statuses {
            statuses: list(message.statuses, "statuses", ITEMS_MAX).map_err(below("statuses"))?,
        },
        Kind::Heartbeat(_) => AgentMessage::Heartbeat,
        Kind::Leaving(_) => AgentMessage::Leaving,
    })
}

impl From<AgentTask> for pb::AgentTask {
    fn from(task: AgentTask) -> Self {
        Self {
            record: Some(task.record.into()),
            acknowledged: task.acknowledged,
            claim: task.claim.map(pb::ClaimMark::from),
        }
    }
}

impl TryFrom<pb::AgentTask> for AgentTask {
    type Error = Refusal;
    fn try_from(task: pb::AgentTask) -> Result<Self, Refusal> {
        Ok(Self {
            record: part(task.record, "record")?,
            acknowledged: task.acknowledged,
            claim: task.claim.map(|claim| part(Some(claim), "claim")).transpose()?,
        })
    }
}

impl From<Claim> for pb::Claim {
    fn from(claim: Claim) -> Self {
        Self {
            id: claim.id.to_string(),
            framework: claim.framework.0,
            group: claim.group.into(),
            role: claim.role.into(),
            resources: resources_to_pb(claim.resources),
            fixed_ports: claim.fixed_ports,
            creditor: claim.creditor.map(String::from),
        }
    }
}

impl TryFrom<pb::Claim> for Claim {
    type Error = Refusal;
    fn try_from(claim: pb::Claim) -> Result<Self, Refusal> {
        Ok(Self {
            id: name(&claim.id, "id")?,
            framework: FrameworkId(claim.framework),
            group: name(&claim.group, "group")?,
            role: name(&claim.role, "role")?,
            resources: resources_from_pb(claim.resources, "resources")?,
            fixed_ports: claim.fixed_ports,
            creditor: optional_name(claim.creditor.as_deref(), "creditor")?,
        })
    }
}

impl From<ClaimMark> for pb::ClaimMark {
    fn from(mark: ClaimMark) -> Self {
        Self { claim: Some(mark.claim.into()), left_ms: mark.left.0 }
    }
}

impl TryFrom<pb::ClaimMark> for ClaimMark {
    type Error = Refusal;
    fn try_from(mark: pb::ClaimMark) -> Result<Self, Refusal> {
        Ok(Self { claim: part(mark.claim, "claim")?, left: DurationMs(mark.left_ms) })
    }
}

impl From<TaskKey> for pb::PreemptedTask {
    fn from(key: TaskKey) -> Self {
        Self { framework: key.framework.0, task: key.name.into() }
    }
}

impl TryFrom<pb::PreemptedTask> for TaskKey {
    type Error = Refusal;
    fn try_from(key: pb::PreemptedTask) -> Result<Self, Refusal> {
        Ok(Self { framework: FrameworkId(key.framework), name: name(&key.task, "task")? })
    }
}

impl From<AgentLaunch> for pb::AgentLaunch {
    fn from(launch: AgentLaunch) -> Self {
        Self {
            framework: launch.framework.0,
            role: launch.role.into(),
            launch: Some(launch.launch.into()),
        }
    }
}

impl TryFrom<pb::AgentLaunch> for AgentLaunch {
    type Error = Refusal;
    fn try_from(launch: pb::AgentLaunch) -> Result<Self, Refusal> {
        Ok(Self {
            framework: FrameworkId(launch.framework),
            role: name(&launch.role, "role")?,
            launch: part(launch.launch, "launch")?,
        })
    }
}

impl From<AgentDown> for pb::AgentDown {
    fn from(frame: AgentDown) -> Self {
        Self {
            agent: frame.agent.0,
            session: frame.session.0,
            master_epoch: frame.master_epoch.0,
            orders: frame.orders.into_iter().map(pb::AgentOrder::from).collect(),
        }
    }
}

impl TryFrom<pb::AgentDown> for AgentDown {
    type Error = Refusal;

    /// Orders of an unknown kind are skipped: a master sends none before the feature level says
    /// that every agent knows them (K5).
    fn try_from(frame: pb::AgentDown) -> Result<Self, Refusal> {
        let orders = known(frame.orders, "orders", |order| order.kind, order_from_kind)?;
        Ok(Self {
            agent: AgentId(frame.agent),
            session: AgentSession(frame.session),
            master_epoch: MasterEpoch(frame.master_epoch),
            orders,
        })
    }
}

impl From<AgentOrder> for pb::AgentOrder {
    fn from(order: AgentOrder) -> Self {
        use pb::agent_order::{self, Kind};
        let kind = match order {
            AgentOrder::Registered { heartbeat, grant, capability_key } => {
                Kind::Registered(agent_order::Registered {
                    heartbeat_ms: heartbeat.0,
                    grant_ms: grant.0,
                    capability_key,
                })
            }
            AgentOrder::Refused { refusal, gone } => {
                Kind::Refused(agent_order::Refused { refusal: Some(refusal.into()), gone })
            }
            AgentOrder::Grant { grant } => Kind::Grant(agent_order::Grant { grant_ms: grant.0 }),
            AgentOrder::Template { digest, template } => Kind::Template(agent_order::Template {
                digest: digest.0.to_vec(),
                template: Some(template.into()),
            }),
            AgentOrder::Launch { tasks } => Kind::Launch(agent_order::Launch {
                tasks: tasks.into_iter().map(pb::AgentLaunch::from).collect(),
            }),
            AgentOrder::Kill { framework, task, policy, cause } => Kind::Kill(agent_order::Kill {
                framework: framework.0,
                task: task.into(),
                policy: policy.map(pb::KillPolicy::from),
                by_operator: cause != KillCause::Framework,
                cause: pb::KillCause::from(cause).into(),
            }),
            AgentOrder::Acknowledge { framework, incarnation, through, except } => {
                Kind::Acknowledge(agent_order::Acknowledge {
                    framework: framework.0,
                    incarnation: incarnation.0,
                    through,
                    except: except.into_iter().collect(),
                })
            }
            AgentOrder::EndFramework { framework } => {
                Kind::EndFramework(agent_order::EndFramework { framework: framework.0 })
            }
            AgentOrder::ApplyHold { hold } => {
                Kind::ApplyHold(agent_order::ApplyHold { hold: Some(hold.into()) })
            }
            AgentOrder::RemoveHold { id, op } => {
                Kind::RemoveHold(agent_order::RemoveHold { id: id.to_string(), op })
            }
            AgentOrder::Preempt { claim, tasks, grace } => Kind::Preempt(agent_order::Preempt {
                claim: Some(claim.into()),
                tasks: tasks.into_iter().map(pb::PreemptedTask::from).collect(),
                grace_ms: grace.0,
            }),
            AgentOrder::DropClaim { claim } => {
                Kind::DropClaim(agent_order::DropClaim { id: claim.to_string() })
            }
            AgentOrder::Prepare { gang, tasks } => Kind::Prepare(agent_order::Prepare {
                gang: gang.to_string(),
                tasks: tasks.into_iter().map(pb::AgentLaunch::from).collect(),
            }),
            AgentOrder::StartGang { gang } => {
                Kind::StartGang(agent_order::StartGang { gang: gang.to_string() })
            }
            AgentOrder::AbortGang { gang, why } => {
                Kind::AbortGang(agent_order::AbortGang { gang: gang.to_string(), why })
            }
        };
        Self { kind: Some(kind) }
    }
}

fn order_from_kind(kind: pb::agent_order::Kind) -> Result<AgentOrder, Refusal> {
    use pb::agent_order::Kind;
    let below = |field: &'static str| move |refusal: Refusal| refusal.within(field);
    Ok(match kind {
        Kind::Registered(order) => AgentOrder::Registered {
            heartbeat: DurationMs(order.heartbeat_ms),
            grant: DurationMs(order.grant_ms),
            capability_key: order.capability_key,
        },
        Kind::Refused(order) => AgentOrder::Refused {
            refusal: required(order.refusal, "refused.refusal")?.into(),
            gone: order.gone,
        },
        Kind::Grant(order) => AgentOrder::Grant { grant: DurationMs(order.grant_ms) },
        Kind::Template(order) => AgentOrder::Template {
            digest: digest_from_pb(&order.digest, "template.digest")?,
            template: part(order.template, "template").map_err(below("template"))?,
        },
        Kind::Launch(order) => AgentOrder::Launch {
            tasks: list(order.tasks, "tasks", ITEMS_MAX).map_err(below("launch"))?,
        },
        Kind::Kill(order) => AgentOrder::Kill {
            framework: FrameworkId(order.framework),
            task: name(&order.task, "kill.task")?,
            policy: order.policy.map(KillPolicy::from),
            cause: cause_from_pb(order.cause, order.by_operator),
        },
        Kind::Acknowledge(order) => AgentOrder::Acknowledge {
            framework: FrameworkId(order.framework),
            incarnation: LogIncarnation(order.incarnation),
            through: order.through,
            except: numbers(order.except, "acknowledge.except", EXCEPTIONS_MAX)?,
        },
        Kind::EndFramework(order) => {
            AgentOrder::EndFramework { framework: FrameworkId(order.framework) }
        }
        Kind::ApplyHold(order) => {
            AgentOrder::ApplyHold { hold: part(order.hold, "hold").map_err(below("apply_hold"))? }
        }
        Kind::RemoveHold(order) => {
            AgentOrder::RemoveHold { id: name(&order.id, "remove_hold.id")?, op: order.op }
        }
        Kind::Preempt(order) => AgentOrder::Preempt {
            claim: part(order.claim, "claim").map_err(below("preempt"))?,
            tasks: list(order.tasks, "tasks", ITEMS_MAX).map_err(below("preempt"))?,
            grace: DurationMs(order.grace_ms),
        },
        Kind::DropClaim(order) => {
            AgentOrder::DropClaim { claim: name(&order.id, "drop_claim.id")? }
        }
        Kind::Prepare(order) => AgentOrder::Prepare {
            gang: name(&order.gang, "prepare.gang")?,
            tasks: list(order.tasks, "tasks", ITEMS_MAX).map_err(below("prepare"))?,
        },
        Kind::StartGang(order) => {
            AgentOrder::StartGang { gang: name(&order.gang, "start_gang.gang")? }
        }
        Kind::AbortGang(order) => {
            AgentOrder::AbortGang { gang: name(&order.gang, "abort_gang.gang")?, why: order.why }
        }
    })
}

impl From<KillCause> for pb::KillCause {
    fn from(cause: KillCause) -> Self {
        match cause {
            KillCause::Framework => Self::Framework,
            KillCause::Operator => Self::Operator,
            KillCause::Drain => Self::Drain,
            KillCause::Maintenance => Self::Maintenance,
            KillCause::Preemption => Self::Preemption,
        }
    }
}

/// A cause that is missing or of a later version is told from who asked (K5).
fn cause_from_pb(number: i32, by_operator: bool) -> KillCause {
    match pb::KillCause::try_from(number) {
        Ok(pb::KillCause::Framework) => KillCause::Framework,
        Ok(pb::KillCause::Drain) => KillCause::Drain,
        Ok(pb::KillCause::Maintenance) => KillCause::Maintenance,
        Ok(pb::KillCause::Preemption) => KillCause::Preemption,
        Ok(pb::KillCause::Operator) => KillCause::Operator,
        Ok(pb::KillCause::Unspecified) | Err(_) if by_operator => KillCause::Operator,
        Ok(pb::KillCause::Unspecified) | Err(_) => KillCause::Framework,
    }
}

from_ref! {
    AgentUp => pb::AgentUp,
    AgentDown => pb::AgentDown,
}
