//! Inverse offers, the answers to them, and how far an agent is emptied.

use super::bounds::ITEMS_MAX;
use super::field::{list, name, names, part, required};
use crate::pb;
use proffer_types::inverse_offer::{InverseAnswer, InverseOffer, VacateReason};
use proffer_types::operator::{VacateHolder, Vacating};
use proffer_types::{
    AgentId, DurationMs, FrameworkId, InverseOfferId, MasterEpoch, Refusal, WallTime,
};

impl From<InverseOfferId> for pb::InverseOfferId {
    fn from(id: InverseOfferId) -> Self {
        Self { epoch: id.epoch.0, sequence: id.sequence }
    }
}

impl From<pb::InverseOfferId> for InverseOfferId {
    fn from(id: pb::InverseOfferId) -> Self {
        Self { epoch: MasterEpoch(id.epoch), sequence: id.sequence }
    }
}

impl From<VacateReason> for pb::VacateReason {
    fn from(reason: VacateReason) -> Self {
        use pb::vacate_reason::{Kind, Maintenance, Preemption};
        Self {
            kind: Some(match reason {
                VacateReason::Drain => Kind::Drain(pb::Unit {}),
                VacateReason::Maintenance { start, duration, message } => {
                    Kind::Maintenance(Maintenance {
                        start_ms: start.0,
                        duration_ms: duration.0,
                        message,
                    })
                }
                VacateReason::Preemption { framework, group, role } => {
                    Kind::Preemption(Preemption {
                        framework: framework.0,
                        group: group.into(),
                        role: role.into(),
                    })
                }
            }),
        }
    }
}

impl TryFrom<pb::VacateReason> for VacateReason {
    type Error = Refusal;

    /// An unknown reason is taken for a drain: the agent is emptied all the same (K5).
    fn try_from(reason: pb::VacateReason) -> Result<Self, Refusal> {
        use pb::vacate_reason::Kind;
        Ok(match reason.kind {
            Some(Kind::Maintenance(window)) => Self::Maintenance {
                start: WallTime(window.start_ms),
                duration: DurationMs(window.duration_ms),
                message: window.message,
            },
            Some(Kind::Preemption(served)) => Self::Preemption {
                framework: FrameworkId(served.framework),
                group: name(&served.group, "preemption.group")?,
                role: name(&served.role, "preemption.role")?,
            },
            Some(Kind::Drain(_)) | None => Self::Drain,
        })
    }
}

impl From<InverseOffer> for pb::InverseOffer {
    fn from(offer: InverseOffer) -> Self {
        Self {
            id: Some(offer.id.into()),
            agent: offer.agent.0,
            agent_name: offer.agent_name.into(),
            tasks: offer.tasks.into_iter().map(String::from).collect(),
            reason: Some(offer.reason.into()),
            deadline_ms: offer.deadline.map(|deadline| deadline.0),
        }
    }
}

impl TryFrom<pb::InverseOffer> for InverseOffer {
    type Error = Refusal;
    fn try_from(offer: pb::InverseOffer) -> Result<Self, Refusal> {
        Ok(Self {
            id: required(offer.id, "id")?.into(),
            agent: AgentId(offer.agent),
            agent_name: name(&offer.agent_name, "agent_name")?,
            tasks: names(&offer.tasks, "tasks", ITEMS_MAX)?,
            reason: part(offer.reason, "reason")?,
            deadline: offer.deadline_ms.map(DurationMs),
        })
    }
}

impl From<Vacating> for pb::Vacating {
    fn from(vacating: Vacating) -> Self {
        Self {
            reason: Some(vacating.reason.into()),
            deadline_ms: vacating.deadline.map(|deadline| deadline.0),
            is_binding: vacating.is_binding,
            holders: vacating.holders.into_iter().map(pb::VacateHolder::from).collect(),
        }
    }
}

impl TryFrom<pb::Vacating> for Vacating {
    type Error = Refusal;
    fn try_from(vacating: pb::Vacating) -> Result<Self, Refusal> {
        Ok(Self {
            reason: part(vacating.reason, "reason")?,
            deadline: vacating.deadline_ms.map(DurationMs),
            is_binding: vacating.is_binding,
            holders: list(vacating.holders, "holders", ITEMS_MAX)?,
        })
    }
}

const ACCEPTED: &str = "accepted";
const DECLINED: &str = "declined";

impl From<VacateHolder> for pb::VacateHolder {
    fn from(holder: VacateHolder) -> Self {
        let (answer, reason) = match holder.answer {
            InverseAnswer::None => ("", String::new()),
            InverseAnswer::Accepted => (ACCEPTED, String::new()),
            InverseAnswer::Declined { reason } => (DECLINED, reason),
        };
        Self {
            framework: holder.framework.to_string(),
            tasks: holder.tasks,
            answer: answer.to_owned(),
            reason,
        }
    }
}

impl TryFrom<pb::VacateHolder> for VacateHolder {
    type Error = Refusal;

    /// An answer of a later version reads as none (K5).
    fn try_from(holder: pb::VacateHolder) -> Result<Self, Refusal> {
        Ok(Self {
            framework: name(&holder.framework, "framework")?,
            tasks: holder.tasks,
            answer: match holder.answer.as_str() {
                ACCEPTED => InverseAnswer::Accepted,
                DECLINED => InverseAnswer::Declined { reason: holder.reason },
                _ => InverseAnswer::None,
            },
        })
    }
}
