//! Reservations and volumes as objects, in all conversations: ids are text here.

use super::field::{from_ref, invalid, labels, name, optional_name, part};
use super::resources::{resources_from_pb, resources_to_pb};
use crate::pb;
use proffer_types::hold::{
    AgentHold, Hold, HoldCall, HoldChange, HoldId, HoldKey, HoldKind, HoldNews, HoldStage,
    HoldState, NewReservation, NewVolume, ReclaimPolicy,
};
use proffer_types::operator::{HoldRow, OperatorCall};
use proffer_types::refusal::excerpt;
use proffer_types::{AgentId, Refusal, VolumeId};

/// Empty text is the default; a word of a later version is refused, for it decides what becomes of data.
pub(crate) fn reclaim_from_text(text: &str) -> Result<ReclaimPolicy, Refusal> {
    match text {
        "" => Ok(ReclaimPolicy::default()),
        word => ReclaimPolicy::from_text(word).ok_or_else(|| {
            invalid("reclaim", format!("{:?} is not a policy", excerpt(word)))
                .hint("retain or delete")
        }),
    }
}

impl From<Hold> for pb::Hold {
    fn from(hold: Hold) -> Self {
        let (role, labels, container_path, shared) = match hold.kind {
            HoldKind::Reservation { role, labels } => (role.into(), labels, String::new(), false),
            HoldKind::Volume { container_path, shared } => {
                (String::new(), Default::default(), container_path, shared)
            }
        };
        Self {
            id: hold.id.to_string(),
            op: hold.op,
            resources: resources_to_pb(hold.resources),
            role,
            labels,
            container_path,
            shared,
            owner: hold.owner.into(),
            framework: hold.framework.map(|id| id.to_string()).unwrap_or_default(),
            reclaim: hold.reclaim.as_str().to_owned(),
        }
    }
}

impl TryFrom<pb::Hold> for Hold {
    type Error = Refusal;
    fn try_from(hold: pb::Hold) -> Result<Self, Refusal> {
        let id: HoldId = name(&hold.id, "id")?;
        let kind = match id {
            HoldId::Reservation(_) => HoldKind::Reservation {
                role: name(&hold.role, "role")?,
                labels: labels(hold.labels, "labels")?,
            },
            HoldId::Volume(_) => {
                HoldKind::Volume { container_path: hold.container_path, shared: hold.shared }
            }
        };
        Ok(Self {
            id,
            op: hold.op,
            resources: resources_from_pb(hold.resources, "resources")?,
            kind,
            owner: name(&hold.owner, "owner")?,
            framework: optional_name(
                Some(hold.framework.as_str()).filter(|text| !text.is_empty()),
                "framework",
            )?,
            reclaim: reclaim_from_text(&hold.reclaim)?,
        })
    }
}

impl From<AgentHold> for pb::AgentHold {
    fn from(it: AgentHold) -> Self {
        Self { hold: Some(it.hold.into()), stage: it.stage.as_str().to_owned() }
    }
}

impl TryFrom<pb::AgentHold> for AgentHold {
    type Error = Refusal;
    fn try_from(it: pb::AgentHold) -> Result<Self, Refusal> {
        let stage = HoldStage::from_text(&it.stage)
            .ok_or_else(|| invalid("stage", format!("{:?} is not a stage", excerpt(&it.stage))))?;
        Ok(Self { hold: part(it.hold, "hold")?, stage })
    }
}

impl From<HoldRow> for pb::HoldRow {
    fn from(row: HoldRow) -> Self {
        Self {
            id: row.key().to_string(),
            agent: row.agent.to_string(),
            hold: Some(row.hold.into()),
            state: row.state.as_str().to_owned(),
            message: row.message,
        }
    }
}

impl TryFrom<pb::HoldRow> for HoldRow {
    type Error = Refusal;

    /// An unknown state reads as quarantined: a hold not to count on (K5).
    fn try_from(row: pb::HoldRow) -> Result<Self, Refusal> {
        Ok(Self {
            agent: name(&row.agent, "agent")?,
            hold: part(row.hold, "hold")?,
            state: HoldState::from_text(&row.state).unwrap_or(HoldState::Quarantined),
            message: row.message,
        })
    }
}

impl From<HoldNews> for pb::event::HoldNews {
    fn from(news: HoldNews) -> Self {
        Self {
            agent: news.agent.0,
            hold: Some(news.hold.into()),
            state: news.state.map(|state| state.as_str().to_owned()).unwrap_or_default(),
            message: news.message,
        }
    }
}

impl TryFrom<pb::event::HoldNews> for HoldNews {
    type Error = Refusal;

    /// An unknown state reads as quarantined: a hold not to count on (K5).
    fn try_from(news: pb::event::HoldNews) -> Result<Self, Refusal> {
        let known = |word: &str| HoldState::from_text(word).unwrap_or(HoldState::Quarantined);
        Ok(Self {
            agent: AgentId(news.agent),
            hold: part(news.hold, "hold")?,
            state: Some(news.state.as_str()).filter(|word| !word.is_empty()).map(known),
            message: news.message,
        })
    }
}

fn call(call: HoldCall, dry_run: bool) -> OperatorCall {
    OperatorCall::Hold { call, dry_run }
}

impl TryFrom<pb::ReserveRequest> for OperatorCall {
    type Error = Refusal;
    fn try_from(request: pb::ReserveRequest) -> Result<Self, Refusal> {
        let agent = name(&request.agent, "agent")?;
        let new = part(request.new, "new")?;
        Ok(call(HoldCall::Reserve { agent, new }, request.dry_run))
    }
}

impl TryFrom<pb::NewReservation> for NewReservation {
    type Error = Refusal;
    fn try_from(new: pb::NewReservation) -> Result<Self, Refusal> {
        Ok(Self {
            resources: resources_from_pb(new.resources, "resources")?,
            below: optional_name(Some(new.below.as_str()).filter(|it| !it.is_empty()), "below")?,
            role: name(&new.role, "role")?,
            labels: labels(new.labels, "labels")?,
            reclaim: reclaim_from_text(&new.reclaim)?,
        })
    }
}

impl TryFrom<pb::CreateVolumeRequest> for OperatorCall {
    type Error = Refusal;
    fn try_from(request: pb::CreateVolumeRequest) -> Result<Self, Refusal> {
        let new = part(request.new, "new")?;
        Ok(call(HoldCall::CreateVolume { new }, request.dry_run))
    }
}

impl TryFrom<pb::NewVolume> for NewVolume {
    type Error = Refusal;
    fn try_from(new: pb::NewVolume) -> Result<Self, Refusal> {
        Ok(Self {
            on: name(&new.on, "on")?,
            bytes: new.bytes,
            container_path: new.container_path,
            shared: new.shared,
            reclaim: reclaim_from_text(&new.reclaim)?,
        })
    }
}

impl TryFrom<pb::UpdateHoldRequest> for OperatorCall {
    type Error = Refusal;
    fn try_from(request: pb::UpdateHoldRequest) -> Result<Self, Refusal> {
        let id = name(&request.id, "id")?;
        let change = part(request.change, "change")?;
        Ok(call(HoldCall::Update { id, change }, request.dry_run))
    }
}

impl TryFrom<pb::HoldChange> for HoldChange {
    type Error = Refusal;
    fn try_from(change: pb::HoldChange) -> Result<Self, Refusal> {
        if !change.set_labels && !change.labels.is_empty() {
            return Err(invalid("labels", "are given without set_labels"));
        }
        let given = change.set_labels.then_some(change.labels);
        Ok(Self {
            role: optional_name(change.role.as_deref(), "role")?,
            labels: given.map(|given| labels(given, "labels")).transpose()?,
            owner: optional_name(change.owner.as_deref(), "owner")?,
            reclaim: change.reclaim.as_deref().map(reclaim_from_text).transpose()?,
        })
    }
}

impl TryFrom<pb::GrowVolumeRequest> for OperatorCall {
    type Error = Refusal;
    fn try_from(request: pb::GrowVolumeRequest) -> Result<Self, Refusal> {
        let id: VolumeId = name(&request.id, "id")?;
        Ok(call(HoldCall::GrowVolume { id, bytes: request.bytes }, request.dry_run))
    }
}

impl TryFrom<pb::RemoveHoldRequest> for OperatorCall {
    type Error = Refusal;
    fn try_from(request: pb::RemoveHoldRequest) -> Result<Self, Refusal> {
        Ok(call(HoldCall::Remove { id: name(&request.id, "id")? }, request.dry_run))
    }
}

impl TryFrom<pb::AdoptHoldRequest> for OperatorCall {
    type Error = Refusal;
    fn try_from(request: pb::AdoptHoldRequest) -> Result<Self, Refusal> {
        let key = HoldKey { agent: name(&request.agent, "agent")?, id: name(&request.id, "id")? };
        Ok(call(HoldCall::Adopt { key }, request.dry_run))
    }
}

from_ref! {
    HoldRow => pb::HoldRow,
}
