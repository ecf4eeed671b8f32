//! executor.proto: frames, messages and orders between a custom executor and its agent.

use super::bounds::{CALLS_MAX, ITEMS_MAX};
use super::field::{bounded, from_ref, invalid, known, list, name, names, part};
use super::types::{reason_from_pb, state_from_pb};
use crate::pb;
use proffer_types::executor::{
    ExecutorDown, ExecutorMessage, ExecutorOrder, ExecutorStatus, ExecutorToken, ExecutorUp,
};
use proffer_types::task::Exit;
use proffer_types::template::KillPolicy;
use proffer_types::{AgentId, AgentSession, DurationMs, FrameworkId, Refusal, WallTime};

impl From<ExecutorUp> for pb::ExecutorUp {
    fn from(frame: ExecutorUp) -> Self {
        Self {
            container_id: frame.container.into(),
            agent_session: frame.agent_session.0,
            messages: frame.messages.into_iter().map(pb::ExecutorMessage::from).collect(),
        }
    }
}

impl TryFrom<pb::ExecutorUp> for ExecutorUp {
    type Error = Refusal;

    /// Messages of an unknown kind are skipped (K5).
    fn try_from(frame: pb::ExecutorUp) -> Result<Self, Refusal> {
        bounded(frame.messages.len(), "messages", CALLS_MAX)?;
        let messages =
            known(frame.messages, "messages", |message| message.kind, message_from_kind)?;
        Ok(Self {
            container: name(&frame.container_id, "container_id")?,
            agent_session: AgentSession(frame.agent_session),
            messages,
        })
    }
}

impl From<ExecutorMessage> for pb::ExecutorMessage {
    fn from(message: ExecutorMessage) -> Self {
        use pb::executor_message::{self, Kind};
        let statuses = |statuses: Vec<ExecutorStatus>| {
            statuses.into_iter().map(pb::ExecutorStatus::from).collect()
        };
        let kind = match message {
            ExecutorMessage::Subscribe { token, unacknowledged, tasks } => {
                Kind::Subscribe(executor_message::Subscribe {
                    token: token.0,
                    unacknowledged: statuses(unacknowledged),
                    tasks: tasks.into_iter().map(String::from).collect(),
                })
            }
            ExecutorMessage::Statuses { statuses: new } => {
                Kind::Statuses(executor_message::Statuses { statuses: statuses(new) })
            }
            ExecutorMessage::Heartbeat => Kind::Heartbeat(executor_message::Heartbeat {}),
        };
        Self { kind: Some(kind) }
    }
}

fn message_from_kind(kind: pb::executor_message::Kind) -> Result<ExecutorMessage, Refusal> {
    use pb::executor_message::Kind;
    let below = |field: &'static str| move |refusal: Refusal| refusal.within(field);
    Ok(match kind {
        Kind::Subscribe(message) => ExecutorMessage::Subscribe {
            token: ExecutorToken(message.token),
            unacknowledged: list(message.unacknowledged, "unacknowledged", ITEMS_MAX)
                .map_err(below("subscribe"))?,
            tasks: names(&message.tasks, "tasks", ITEMS_MAX).map_err(below("subscribe"))?,
        },
        Kind::Statuses(message) => ExecutorMessage::Statuses {
            statuses: list(message.statuses, "statuses", ITEMS_MAX).map_err(below("statuses"))?,
        },
        Kind::Heartbeat(_) => ExecutorMessage::Heartbeat,
    })
}

impl From<ExecutorStatus> for pb::ExecutorStatus {
    fn from(status: ExecutorStatus) -> Self {
        Self {
            sequence: status.sequence,
            task: status.task.into(),
            state: pb::TaskState::from(status.state).into(),
            reason: pb::StatusReason::from(status.reason).into(),
            message: status.message,
            exit: status.exit.map(pb::Exit::from),
            ready: status.ready,
            at_ms: status.at.0,
        }
    }
}

impl TryFrom<pb::ExecutorStatus> for ExecutorStatus {
    type Error = Refusal;
    fn try_from(status: pb::ExecutorStatus) -> Result<Self, Refusal> {
        if status.sequence == 0 {
            return Err(invalid("sequence", "is 0; statuses count from 1"));
        }
        let state = state_from_pb(status.state);
        if !ExecutorStatus::may_say(state) {
            let message = format!("{} is not an executor's to say", state.as_str());
            return Err(invalid("state", message));
        }
        Ok(Self {
            sequence: status.sequence,
            task: name(&status.task, "task")?,
            state,
            reason: reason_from_pb(status.reason),
            message: status.message,
            exit: status.exit.map(Exit::from),
            ready: status.ready,
            at: WallTime(status.at_ms),
        })
    }
}

impl From<ExecutorDown> for pb::ExecutorDown {
    fn from(frame: ExecutorDown) -> Self {
        Self {
            agent_session: frame.agent_session.0,
            orders: frame.orders.into_iter().map(pb::ExecutorOrder::from).collect(),
        }
    }
}

impl TryFrom<pb::ExecutorDown> for ExecutorDown {
    type Error = Refusal;

    /// Orders of an unknown kind are skipped: an agent sends none that its executors may not know (K5).
    fn try_from(frame: pb::ExecutorDown) -> Result<Self, Refusal> {
        bounded(frame.orders.len(), "orders", CALLS_MAX)?;
        let orders = known(frame.orders, "orders", |order| order.kind, order_from_kind)?;
        Ok(Self { agent_session: AgentSession(frame.agent_session), orders })
    }
}

impl From<ExecutorOrder> for pb::ExecutorOrder {
    fn from(order: ExecutorOrder) -> Self {
        use pb::executor_order::{self, Kind};
        let kind = match order {
            ExecutorOrder::Subscribed {
                framework,
                agent,
                sandbox,
                heartbeat,
                recovery_timeout,
            } => Kind::Subscribed(executor_order::Subscribed {
                framework: framework.0,
                agent: agent.0,
                sandbox,
                heartbeat_ms: heartbeat.0,
                recovery_timeout_ms: recovery_timeout.0,
            }),
            ExecutorOrder::Launch { task, template } => Kind::Launch(executor_order::Launch {
                task: Some((*task).into()),
                template: Some((*template).into()),
            }),
            ExecutorOrder::Kill { task, policy } => Kind::Kill(executor_order::Kill {
                task: task.into(),
                policy: policy.map(pb::KillPolicy::from),
            }),
            ExecutorOrder::Acknowledge { through } => {
                Kind::Acknowledge(executor_order::Acknowledge { through })
            }
            ExecutorOrder::Shutdown { grace } => {
                Kind::Shutdown(executor_order::Shutdown { grace_ms: grace.0 })
            }
        };
        Self { kind: Some(kind) }
    }
}

fn order_from_kind(kind: pb::executor_order::Kind) -> Result<ExecutorOrder, Refusal> {
    use pb::executor_order::Kind;
    let below = |field: &'static str| move |refusal: Refusal| refusal.within(field);
    Ok(match kind {
        Kind::Subscribed(order) => ExecutorOrder::Subscribed {
            framework: FrameworkId(order.framework),
            agent: AgentId(order.agent),
            sandbox: order.sandbox,
            heartbeat: DurationMs(order.heartbeat_ms),
            recovery_timeout: DurationMs(order.recovery_timeout_ms),
        },
        Kind::Launch(order) => ExecutorOrder::Launch {
            task: Box::new(part(order.task, "task").map_err(below("launch"))?),
            template: Box::new(part(order.template, "template").map_err(below("launch"))?),
        },
        Kind::Kill(order) => ExecutorOrder::Kill {
            task: name(&order.task, "kill.task")?,
            policy: order.policy.map(KillPolicy::from),
        },
        Kind::Acknowledge(order) => ExecutorOrder::Acknowledge { through: order.through },
        Kind::Shutdown(order) => ExecutorOrder::Shutdown { grace: DurationMs(order.grace_ms) },
    })
}

from_ref! {
    ExecutorUp => pb::ExecutorUp,
    ExecutorDown => pb::ExecutorDown,
}
