//! operator.proto: rows, changes, explanations and verbs. Ids are text here.

use super::bounds::{ENTRIES_MAX, ITEMS_MAX, PAGE_DEFAULT, PAGE_MAX};
use super::field::{bounded, from_ref, invalid, list, name, names, optional, optional_name, part};
use super::resources::{attributes_from_pb, attributes_to_pb, resources_from_pb, resources_to_pb};
use super::types::digest_from_text;
use crate::pb;
use proffer_types::explanation::{Explanation, FunnelStep, Subject};
use proffer_types::maintenance::Unavailability;
use proffer_types::offer::Offer;
use proffer_types::operator::{
    AgentCondition, AgentRow, Change, ClaimRow, DemandRow, EventRow, FrameworkRow, OperatorCall,
    Overview, RoleRow,
};
use proffer_types::refusal::excerpt;
use proffer_types::scheduler::TaskRecord;
use proffer_types::task::{Exit, IsolationLevel, StatusReason, TaskState, TaskStatus};
use proffer_types::{
    AgentSession, AgentVersion, Cursor, DurationMs, FrameworkEpoch, LaunchToken, LogIncarnation,
    Refusal, StatusId, TaskKey, WallTime,
};
use std::collections::BTreeMap;
use std::str::FromStr;

impl From<AgentRow> for pb::AgentRow {
    fn from(row: AgentRow) -> Self {
        Self {
            id: row.id.to_string(),
            info: Some(row.info.into()),
            condition: row.condition.as_str().to_owned(),
            since_ms: row.since.0,
            session: row.session.0,
            version: row.version.0,
            allocated: resources_to_pb(row.allocated),
            offered: resources_to_pb(row.offered),
            tasks_active: row.tasks_active,
            total: resources_to_pb(row.total),
            vacating: row.vacating.map(pb::Vacating::from),
            windows: row.windows.into_iter().map(pb::WindowRow::from).collect(),
            claims: row.claims.into_iter().map(pb::ClaimRow::from).collect(),
        }
    }
}

impl From<ClaimRow> for pb::ClaimRow {
    fn from(row: ClaimRow) -> Self {
        Self {
            id: row.id.to_string(),
            framework: row.framework.to_string(),
            group: row.group.into(),
            role: row.role.into(),
            resources: resources_to_pb(row.resources),
            creditor: row.creditor.map(String::from),
            victims: row.victims.iter().map(ToString::to_string).collect(),
            until_ms: row.until.0,
        }
    }
}

impl TryFrom<pb::ClaimRow> for ClaimRow {
    type Error = Refusal;
    fn try_from(row: pb::ClaimRow) -> Result<Self, Refusal> {
        Ok(Self {
            id: name(&row.id, "id")?,
            framework: name(&row.framework, "framework")?,
            group: name(&row.group, "group")?,
            role: name(&row.role, "role")?,
            resources: resources_from_pb(row.resources, "resources")?,
            creditor: optional_name(row.creditor.as_deref(), "creditor")?,
            victims: names(&row.victims, "victims", ITEMS_MAX)?,
            until: WallTime(row.until_ms),
        })
    }
}

impl TryFrom<pb::AgentRow> for AgentRow {
    type Error = Refusal;

    /// An unknown condition reads as awaited: an agent not to count on (K5).
    fn try_from(row: pb::AgentRow) -> Result<Self, Refusal> {
        Ok(Self {
            id: name(&row.id, "id")?,
            info: part(row.info, "info")?,
            condition: AgentCondition::from_text(&row.condition).unwrap_or(AgentCondition::Awaited),
            since: WallTime(row.since_ms),
            session: AgentSession(row.session),
            version: AgentVersion(row.version),
            allocated: resources_from_pb(row.allocated, "allocated")?,
            offered: resources_from_pb(row.offered, "offered")?,
            tasks_active: row.tasks_active,
            total: resources_from_pb(row.total, "total")?,
            vacating: optional(row.vacating, "vacating")?,
            windows: list(row.windows, "windows", ITEMS_MAX)?,
            claims: list(row.claims, "claims", ITEMS_MAX)?,
        })
    }
}

impl From<FrameworkRow> for pb::FrameworkRow {
    fn from(row: FrameworkRow) -> Self {
        Self {
            id: row.id.to_string(),
            info: Some(row.info.into()),
            principal: row.principal.into(),
            connected: row.connected,
            replica: row.replica.into(),
            standbys: row.standbys.into_iter().map(String::from).collect(),
            epoch: row.epoch.0,
            since_ms: row.since.0,
            allocated: resources_to_pb(row.allocated),
            offered: resources_to_pb(row.offered),
            suppressed: row.suppressed.into_iter().map(String::from).collect(),
            tasks_active: row.tasks_active,
            state_bytes: row.state_bytes,
            state_keys: row.state_keys,
        }
    }
}

impl TryFrom<pb::FrameworkRow> for FrameworkRow {
    type Error = Refusal;
    fn try_from(row: pb::FrameworkRow) -> Result<Self, Refusal> {
        Ok(Self {
            id: name(&row.id, "id")?,
            info: part(row.info, "info")?,
            principal: name(&row.principal, "principal")?,
            connected: row.connected,
            replica: name(&row.replica, "replica")?,
            standbys: names(&row.standbys, "standbys", ENTRIES_MAX)?,
            epoch: FrameworkEpoch(row.epoch),
            since: WallTime(row.since_ms),
            allocated: resources_from_pb(row.allocated, "allocated")?,
            offered: resources_from_pb(row.offered, "offered")?,
            suppressed: names(&row.suppressed, "suppressed", ENTRIES_MAX)?,
            tasks_active: row.tasks_active,
            state_bytes: row.state_bytes,
            state_keys: row.state_keys,
        })
    }
}

impl From<DemandRow> for pb::DemandRow {
    fn from(row: DemandRow) -> Self {
        Self {
            framework: row.framework.to_string(),
            group: Some(row.group.into()),
            unmet: row.unmet,
            waiting_since_ms: row.waiting_since.map(|since| since.0),
        }
    }
}

impl TryFrom<pb::DemandRow> for DemandRow {
    type Error = Refusal;
    fn try_from(row: pb::DemandRow) -> Result<Self, Refusal> {
        Ok(Self {
            framework: name(&row.framework, "framework")?,
            group: part(row.group, "group")?,
            unmet: row.unmet,
            waiting_since: row.waiting_since_ms.map(WallTime),
        })
    }
}

impl From<TaskRecord> for pb::TaskRow {
    fn from(record: TaskRecord) -> Self {
        let status = record.status;
        Self {
            id: status.key().to_string(),
            framework: status.framework.to_string(),
            container: status.container().into(),
            state: status.state.as_str().to_owned(),
            reason: status.reason.as_str().to_owned(),
            message: status.message,
            exit: status.exit.map(pb::Exit::from),
            ready: status.ready,
            at_ms: status.at.0,
            isolation: status.isolation.as_str().to_owned(),
            agent: status.agent.to_string(),
            agent_name: record.agent_name.into(),
            address: record.address,
            role: record.role.into(),
            resources: resources_to_pb(record.resources),
            template: record.template.to_string(),
            variables: record.variables,
            labels: record.labels,
            group: record.group.map(String::from),
            token: Some(status.token.into()),
            status: status.id.map(|id| pb::StatusPosition {
                incarnation: id.incarnation.0,
                sequence: id.sequence,
                agent: id.agent.to_string(),
            }),
            name: status.task.into(),
            priority: record.priority,
            budget: record.budget.map(pb::Budget::from),
            gang: record.gang.map(|gang| gang.to_string()),
        }
    }
}

impl TryFrom<pb::TaskRow> for TaskRecord {
    type Error = Refusal;

    /// Unknown states, reasons and levels read as `Unknown`, `Other` and `Process` (K5). `id` and
    /// `container` follow from the other fields and are not read.
    fn try_from(row: pb::TaskRow) -> Result<Self, Refusal> {
        let id = row.status.as_ref().map(status_position_from_pb).transpose()?;
        Ok(Self {
            status: TaskStatus {
                id,
                framework: name(&row.framework, "framework")?,
                task: name(&row.name, "name")?,
                token: row.token.map(LaunchToken::from).unwrap_or_default(),
                agent: name(&row.agent, "agent")?,
                state: TaskState::from_text(&row.state).unwrap_or(TaskState::Unknown),
                reason: StatusReason::from_text(&row.reason).unwrap_or(StatusReason::Other),
                message: row.message,
                exit: row.exit.map(Exit::from),
                ready: row.ready,
                at: WallTime(row.at_ms),
                isolation: IsolationLevel::from_text(&row.isolation)
                    .unwrap_or(IsolationLevel::Process),
            },
            template: digest_from_text(&row.template, "template")?,
            resources: resources_from_pb(row.resources, "resources")?,
            role: name(&row.role, "role")?,
            variables: super::field::labels(row.variables, "variables")?,
            labels: super::field::labels(row.labels, "labels")?,
            group: optional_name(row.group.as_deref(), "group")?,
            agent_name: name(&row.agent_name, "agent_name")?,
            address: row.address,
            priority: row.priority,
            budget: row.budget.map(|budget| part(Some(budget), "budget")).transpose()?,
            gang: optional_name(row.gang.as_deref(), "gang")?,
        })
    }
}

fn status_position_from_pb(position: &pb::StatusPosition) -> Result<StatusId, Refusal> {
    Ok(StatusId {
        agent: name(&position.agent, "status.agent")?,
        incarnation: LogIncarnation(position.incarnation),
        sequence: position.sequence,
    })
}

impl From<Offer> for pb::OfferRow {
    fn from(offer: Offer) -> Self {
        Self {
            id: offer.id.to_string(),
            framework: offer.framework.to_string(),
            role: offer.role.into(),
            agent: offer.agent.to_string(),
            agent_name: offer.agent_name.into(),
            address: offer.address,
            agent_version: offer.agent_version.0,
            resources: resources_to_pb(offer.resources),
            attributes: attributes_to_pb(offer.attributes),
            group: offer.group.map(String::from),
            count: offer.count,
            expires_in_ms: offer.expires_in.0,
            unavailability: offer.unavailability.map(pb::Unavailability::from),
        }
    }
}

impl TryFrom<pb::OfferRow> for Offer {
    type Error = Refusal;
    fn try_from(row: pb::OfferRow) -> Result<Self, Refusal> {
        Ok(Self {
            id: name(&row.id, "id")?,
            framework: name(&row.framework, "framework")?,
            role: name(&row.role, "role")?,
            agent: name(&row.agent, "agent")?,
            agent_name: name(&row.agent_name, "agent_name")?,
            address: row.address,
            agent_version: AgentVersion(row.agent_version),
            resources: resources_from_pb(row.resources, "resources")?,
            attributes: attributes_from_pb(row.attributes, "attributes")?,
            group: optional_name(row.group.as_deref(), "group")?,
            count: row.count,
            expires_in: DurationMs(row.expires_in_ms),
            unavailability: row.unavailability.map(Unavailability::from),
        })
    }
}

impl From<RoleRow> for pb::RoleRow {
    fn from(row: RoleRow) -> Self {
        Self {
            name: row.name.into(),
            config: Some(row.config.into()),
            allocated: resources_to_pb(row.allocated),
            dominant_share_ppm: row.dominant_share_ppm,
            frameworks: row.frameworks.iter().map(ToString::to_string).collect(),
            consumed: resources_to_pb(row.consumed),
            owed: resources_to_pb(row.owed),
        }
    }
}

impl TryFrom<pb::RoleRow> for RoleRow {
    type Error = Refusal;
    fn try_from(row: pb::RoleRow) -> Result<Self, Refusal> {
        Ok(Self {
            name: name(&row.name, "name")?,
            config: part(row.config, "config")?,
            allocated: resources_from_pb(row.allocated, "allocated")?,
            dominant_share_ppm: row.dominant_share_ppm,
            frameworks: names(&row.frameworks, "frameworks", ITEMS_MAX)?,
            consumed: resources_from_pb(row.consumed, "consumed")?,
            owed: resources_from_pb(row.owed, "owed")?,
        })
    }
}

impl From<EventRow> for pb::EventRow {
    fn from(row: EventRow) -> Self {
        Self { at_ms: row.at.0, kind: row.kind, subject: row.subject, message: row.message }
    }
}

impl From<pb::EventRow> for EventRow {
    fn from(row: pb::EventRow) -> Self {
        Self { at: WallTime(row.at_ms), kind: row.kind, subject: row.subject, message: row.message }
    }
}

impl From<Change> for pb::Change {
    fn from(change: Change) -> Self {
        use pb::change::Kind;
        let kind = match change {
            Change::Agent(row) => Kind::Agent(row.into()),
            Change::AgentRemoved(id) => Kind::AgentRemoved(id.to_string()),
            Change::Framework(row) => Kind::Framework(row.into()),
            Change::FrameworkRemoved(id) => Kind::FrameworkRemoved(id.to_string()),
            Change::Task(row) => Kind::Task(row.into()),
            Change::TaskRemoved(key) => Kind::TaskRemoved(key.to_string()),
            Change::Offer(row) => Kind::Offer(row.into()),
            Change::OfferRemoved(id) => Kind::OfferRemoved(id.to_string()),
            Change::Role(row) => Kind::Role(row.into()),
            Change::Hold(row) => Kind::Hold(row.into()),
            Change::HoldRemoved(key) => Kind::HoldRemoved(key.to_string()),
            Change::Event(row) => Kind::Event(row.into()),
            Change::Demand(row) => Kind::Demand(row.into()),
            Change::DemandRemoved(key) => Kind::DemandRemoved(key.to_string()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Change> for Change {
    type Error = Refusal;

    /// Readers of a watch skip changes whose `kind` is not set: they are of a later version (K5).
    fn try_from(change: pb::Change) -> Result<Self, Refusal> {
        use pb::change::Kind;
        let below = |field: &'static str| move |refusal: Refusal| refusal.within(field);
        Ok(match change.kind {
            Some(Kind::Agent(row)) => Self::Agent(row.try_into().map_err(below("agent"))?),
            Some(Kind::AgentRemoved(id)) => Self::AgentRemoved(name(&id, "agent_removed")?),
            Some(Kind::Framework(row)) => {
                Self::Framework(row.try_into().map_err(below("framework"))?)
            }
            Some(Kind::FrameworkRemoved(id)) => {
                Self::FrameworkRemoved(name(&id, "framework_removed")?)
            }
            Some(Kind::Task(row)) => Self::Task(row.try_into().map_err(below("task"))?),
            Some(Kind::TaskRemoved(key)) => Self::TaskRemoved(name(&key, "task_removed")?),
            Some(Kind::Offer(row)) => Self::Offer(row.try_into().map_err(below("offer"))?),
            Some(Kind::OfferRemoved(id)) => Self::OfferRemoved(name(&id, "offer_removed")?),
            Some(Kind::Role(row)) => Self::Role(row.try_into().map_err(below("role"))?),
            Some(Kind::Hold(row)) => Self::Hold(row.try_into().map_err(below("hold"))?),
            Some(Kind::HoldRemoved(key)) => Self::HoldRemoved(name(&key, "hold_removed")?),
            Some(Kind::Event(row)) => Self::Event(row.into()),
            Some(Kind::Demand(row)) => Self::Demand(row.try_into().map_err(below("demand"))?),
            Some(Kind::DemandRemoved(key)) => Self::DemandRemoved(name(&key, "demand_removed")?),
            None => return Err(invalid("kind", "is not set or not known to this version")),
        })
    }
}

impl From<Overview> for pb::Overview {
    fn from(overview: Overview) -> Self {
        Self {
            cursor: overview.cursor.to_string(),
            total: resources_to_pb(overview.total),
            allocated: resources_to_pb(overview.allocated),
            offered: resources_to_pb(overview.offered),
            agents: overview.agents,
            frameworks: overview.frameworks,
            tasks: overview.tasks,
            offers: overview.offers,
            unmet: overview.unmet,
            insecure: overview.insecure,
            stale: overview.stale,
        }
    }
}

impl TryFrom<pb::Overview> for Overview {
    type Error = Refusal;
    fn try_from(overview: pb::Overview) -> Result<Self, Refusal> {
        let counts = |counts: BTreeMap<String, u32>, field| {
            bounded(counts.len(), field, ENTRIES_MAX).map(|()| counts)
        };
        Ok(Self {
            cursor: name(&overview.cursor, "cursor")?,
            total: resources_from_pb(overview.total, "total")?,
            allocated: resources_from_pb(overview.allocated, "allocated")?,
            offered: resources_from_pb(overview.offered, "offered")?,
            agents: counts(overview.agents, "agents")?,
            frameworks: counts(overview.frameworks, "frameworks")?,
            tasks: counts(overview.tasks, "tasks")?,
            offers: overview.offers,
            unmet: overview.unmet,
            insecure: overview.insecure,
            stale: overview.stale,
        })
    }
}

fn subject_to_text(subject: &Subject) -> (&'static str, String) {
    match subject {
        Subject::Framework(id) => ("framework", id.to_string()),
        Subject::Demand(framework, group) => ("demand", format!("{framework}/{group}")),
        Subject::Task(key) => ("task", key.to_string()),
        Subject::Agent(id) => ("agent", id.to_string()),
        Subject::Role(role) => ("role", role.to_string()),
    }
}

fn subject_from_text(kind: &str, subject: &str) -> Result<Subject, Refusal> {
    match kind {
        "framework" => Ok(Subject::Framework(name(subject, "subject")?)),
        "agent" => Ok(Subject::Agent(name(subject, "subject")?)),
        "role" => Ok(Subject::Role(name(subject, "subject")?)),
        "task" => Ok(Subject::Task(name(subject, "subject")?)),
        "demand" => {
            let (framework, group) = subject.split_once('/').ok_or_else(|| {
                let text = excerpt(subject);
                invalid("subject", format!("{text:?} is not of the form FRAMEWORK/GROUP"))
            })?;
            Ok(Subject::Demand(name(framework, "subject")?, name(group, "subject")?))
        }
        other => Err(invalid("kind", format!("{:?} cannot be asked about", excerpt(other)))
            .hint("known: framework, demand, task, agent, role")),
    }
}

impl From<Explanation> for pb::Explanation {
    fn from(explanation: Explanation) -> Self {
        let (kind, subject) = subject_to_text(&explanation.subject);
        let step = |step: FunnelStep| pb::FunnelStep { rule: step.rule, remaining: step.remaining };
        Self {
            kind: kind.to_owned(),
            subject,
            summary: explanation.summary,
            funnel: explanation.funnel.into_iter().map(step).collect(),
            nearest_miss: explanation.nearest_miss,
            hints: explanation.hints,
        }
    }
}

impl TryFrom<pb::Explanation> for Explanation {
    type Error = Refusal;
    fn try_from(explanation: pb::Explanation) -> Result<Self, Refusal> {
        let step = |step: pb::FunnelStep| FunnelStep { rule: step.rule, remaining: step.remaining };
        Ok(Self {
            subject: subject_from_text(&explanation.kind, &explanation.subject)?,
            summary: explanation.summary,
            funnel: explanation.funnel.into_iter().map(step).collect(),
            nearest_miss: explanation.nearest_miss,
            hints: explanation.hints,
        })
    }
}

impl TryFrom<&pb::WhyRequest> for Subject {
    type Error = Refusal;
    fn try_from(request: &pb::WhyRequest) -> Result<Self, Refusal> {
        subject_from_text(&request.kind, &request.subject)
    }
}

/// Reads the requests of the verbs on one object.
macro_rules! verbs {
    ($($request:ident => $call:ident),+ $(,)?) => {
        $(impl TryFrom<pb::$request> for OperatorCall {
            type Error = Refusal;
            fn try_from(request: pb::$request) -> Result<Self, Refusal> {
                Ok(Self::$call(name(&request.id, "id")?))
            }
        })+
    };
}

verbs! {
    DeactivateAgentRequest => DeactivateAgent,
    ActivateAgentRequest => ActivateAgent,
    RemoveMaintenanceRequest => RemoveMaintenance,
    StartMaintenanceRequest => StartMaintenance,
    EndMaintenanceRequest => EndMaintenance,
    TeardownFrameworkRequest => TeardownFramework,
}

impl TryFrom<pb::MarkAgentGoneRequest> for OperatorCall {
    type Error = Refusal;
    fn try_from(request: pb::MarkAgentGoneRequest) -> Result<Self, Refusal> {
        Ok(Self::MarkAgentGone { agent: name(&request.id, "id")?, force: request.force })
    }
}

impl TryFrom<pb::DrainAgentRequest> for OperatorCall {
    type Error = Refusal;
    fn try_from(request: pb::DrainAgentRequest) -> Result<Self, Refusal> {
        let deadline = request.deadline_ms.map(DurationMs);
        Ok(Self::DrainAgent { agent: name(&request.id, "id")?, deadline })
    }
}

impl TryFrom<pb::AddMaintenanceRequest> for OperatorCall {
    type Error = Refusal;
    fn try_from(request: pb::AddMaintenanceRequest) -> Result<Self, Refusal> {
        Ok(Self::AddMaintenance(part(request.window, "window")?))
    }
}

impl TryFrom<pb::KillTaskRequest> for OperatorCall {
    type Error = Refusal;
    fn try_from(request: pb::KillTaskRequest) -> Result<Self, Refusal> {
        Ok(Self::KillTask(TaskKey {
            framework: name(&request.framework, "framework")?,
            name: name(&request.task, "task")?,
        }))
    }
}

impl TryFrom<pb::SetRoleRequest> for OperatorCall {
    type Error = Refusal;
    fn try_from(request: pb::SetRoleRequest) -> Result<Self, Refusal> {
        Ok(Self::SetRole {
            role: name(&request.role, "role")?,
            config: part(request.config, "config")?,
        })
    }
}

/// Which rows of a list are asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page<K> {
    /// Only rows after this one.
    pub after: Option<K>,
    /// Most rows.
    pub size: usize,
}

/// Reads `page_size` and `after` of a list request.
///
/// # Errors
/// A refusal that names `page_size` or `after`.
pub fn page<K: FromStr<Err = Refusal>>(page_size: u32, after: &str) -> Result<Page<K>, Refusal> {
    if page_size > PAGE_MAX {
        return Err(invalid("page_size", format!("{page_size} is more than {PAGE_MAX}")));
    }
    let rows = if page_size == 0 { PAGE_DEFAULT } else { page_size };
    Ok(Page {
        after: optional_name(Some(after).filter(|after| !after.is_empty()), "after")?,
        size: usize::try_from(rows).unwrap_or(usize::MAX),
    })
}

/// Reads `at_least` of a read, or the `cursor` of a watch; empty text is none. An unreadable cursor
/// of a watch is answered with a reset like an unknown one (K17).
///
/// # Errors
/// A refusal that names `field`.
pub fn requested_cursor(text: &str, field: &str) -> Result<Option<Cursor>, Refusal> {
    optional_name(Some(text).filter(|text| !text.is_empty()), field)
}

from_ref! {
    AgentRow => pb::AgentRow,
    FrameworkRow => pb::FrameworkRow,
    DemandRow => pb::DemandRow,
    TaskRecord => pb::TaskRow,
    Offer => pb::OfferRow,
    RoleRow => pb::RoleRow,
    EventRow => pb::EventRow,
    Change => pb::Change,
    Overview => pb::Overview,
    Explanation => pb::Explanation,
}
