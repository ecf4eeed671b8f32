//! Identities, refusals, statuses, infos and demand: the second part of types.proto.

use super::bounds::ENTRIES_MAX;
use super::field::{from_ref, invalid, labels, list, name, names, optional_name, part};
use super::resources::{
    attributes_from_pb, attributes_to_pb, quantities_from_pb, quantities_to_pb, resources_from_pb,
    resources_to_pb,
};
use crate::pb;
use proffer_types::agent::AgentInfo;
use proffer_types::demand::{Budget, DemandGroup};
use proffer_types::refusal::excerpt;
use proffer_types::role::RoleConfig;
use proffer_types::scheduler::{FrameworkInfo, TaskRecord};
use proffer_types::task::{Exit, IsolationLevel, StatusReason, TaskState, TaskStatus};
use proffer_types::{
    AgentId, Bytes, Cursor, DurationMs, FrameworkEpoch, FrameworkId, Generation, Incarnation,
    LaunchToken, LogIncarnation, MasterEpoch, OfferId, Refusal, RefusalCode, RevocableUse,
    StatusId, TemplateDigest, WallTime,
};

impl From<Refusal> for pb::Refusal {
    fn from(refusal: Refusal) -> Self {
        Self {
            code: refusal.code.as_str().to_owned(),
            field: refusal.field,
            message: refusal.message,
            hint: refusal.hint,
        }
    }
}

impl From<pb::Refusal> for Refusal {
    /// A code of a later version becomes `Other`; its word is kept in front of the sentence (K5).
    fn from(refusal: pb::Refusal) -> Self {
        let code = RefusalCode::from_text(&refusal.code);
        let message = if code == RefusalCode::Other && refusal.code != code.as_str() {
            format!("{}: {}", excerpt(&refusal.code), refusal.message)
        } else {
            refusal.message
        };
        Self { code, field: refusal.field, message, hint: refusal.hint }
    }
}

impl From<Cursor> for pb::Cursor {
    fn from(cursor: Cursor) -> Self {
        Self { incarnation: cursor.incarnation.0, epoch: cursor.epoch.0, change: cursor.change }
    }
}

impl From<pb::Cursor> for Cursor {
    fn from(cursor: pb::Cursor) -> Self {
        Self {
            incarnation: Incarnation(cursor.incarnation),
            epoch: MasterEpoch(cursor.epoch),
            change: cursor.change,
        }
    }
}

impl From<LaunchToken> for pb::LaunchToken {
    fn from(token: LaunchToken) -> Self {
        Self { session: token.session.0, sequence: token.sequence }
    }
}

impl From<pb::LaunchToken> for LaunchToken {
    fn from(token: pb::LaunchToken) -> Self {
        Self { session: FrameworkEpoch(token.session), sequence: token.sequence }
    }
}

impl From<OfferId> for pb::OfferId {
    fn from(id: OfferId) -> Self {
        Self { epoch: id.epoch.0, sequence: id.sequence }
    }
}

impl From<pb::OfferId> for OfferId {
    fn from(id: pb::OfferId) -> Self {
        Self { epoch: MasterEpoch(id.epoch), sequence: id.sequence }
    }
}

impl From<StatusId> for pb::StatusId {
    fn from(id: StatusId) -> Self {
        Self { agent: id.agent.0, incarnation: id.incarnation.0, sequence: id.sequence }
    }
}

impl From<pb::StatusId> for StatusId {
    fn from(id: pb::StatusId) -> Self {
        Self {
            agent: AgentId(id.agent),
            incarnation: LogIncarnation(id.incarnation),
            sequence: id.sequence,
        }
    }
}

/// Reads a template's digest from its 32 bytes.
///
/// # Errors
/// A refusal that names `field`.
pub fn digest_from_pb(bytes: &[u8], field: &str) -> Result<TemplateDigest, Refusal> {
    bytes
        .try_into()
        .map(TemplateDigest)
        .map_err(|_| invalid(field, format!("is {} bytes long; a digest has 32", bytes.len())))
}

/// Reads a template's digest from 64 hexadecimal digits.
///
/// # Errors
/// A refusal that names `field`.
pub fn digest_from_text(text: &str, field: &str) -> Result<TemplateDigest, Refusal> {
    let wrong = || invalid(field, format!("{:?} is not 64 hexadecimal digits", excerpt(text)));
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut digest = [0u8; 32];
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = std::str::from_utf8(pair)
            .ok()
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            .ok_or_else(wrong)?;
    }
    Ok(TemplateDigest(digest))
}

/// Pairs the values of an enum with their numbers, both ways; `other` stands for unknown ones (K5).
macro_rules! enumeration {
    ($domain:ident, $wire:ident, other: $other:ident, { $($variant:ident = $name:ident),+ $(,)? }) => {
        impl From<$domain> for pb::$wire {
            fn from(value: $domain) -> Self {
                match value { $($domain::$variant => pb::$wire::$name),+ }
            }
        }
        impl From<pb::$wire> for $domain {
            fn from(value: pb::$wire) -> Self {
                $(if value == pb::$wire::$name { return $domain::$variant; })+
                $domain::$other
            }
        }
    };
}

enumeration!(TaskState, TaskState, other: Unknown, {
    Staging = Staging, Taken = Taken, Starting = Starting, Running = Running, Killing = Killing,
    Finished = Finished, Failed = Failed, Killed = Killed, Error = Error, Dropped = Dropped,
    Unreachable = Unreachable, Gone = Gone, Unknown = Unknown,
});

enumeration!(StatusReason, StatusReason, other: Other, {
    None = Unspecified, Exited = Exited, Signalled = Signalled, OutOfMemory = OutOfMemory,
    LaunchFailed = LaunchFailed, SupervisorLost = SupervisorLost,
    KilledByFramework = KilledByFramework, KilledByOperator = KilledByOperator,
    KilledAfterGrace = KilledAfterGrace, CheckFailed = CheckFailed,
    StartupTimeout = StartupTimeout, StoppedWhileDisconnected = StoppedWhileDisconnected,
    Drained = Drained, Maintenance = Maintenance, Preempted = Preempted, AgentRefused = AgentRefused, LaunchLost = LaunchLost, AgentUnreachable = AgentUnreachable,
    AgentGone = AgentGone, AgentRebooted = AgentRebooted, CheckChanged = CheckChanged,
    GangPreparing = GangPreparing, GangPrepared = GangPrepared, GangAborted = GangAborted,
    Other = Other,
});

// An unknown level is taken for the weakest: nobody relies on what is not there.
enumeration!(IsolationLevel, IsolationLevel, other: Process, {
    Full = Full, Userns = Userns, Process = Process,
});

pub(super) fn state_from_pb(number: i32) -> TaskState {
    pb::TaskState::try_from(number).map_or(TaskState::Unknown, TaskState::from)
}

pub(super) fn reason_from_pb(number: i32) -> StatusReason {
    pb::StatusReason::try_from(number).map_or(StatusReason::Other, StatusReason::from)
}

pub(super) fn isolation_from_pb(number: i32) -> IsolationLevel {
    pb::IsolationLevel::try_from(number).map_or(IsolationLevel::Process, IsolationLevel::from)
}

impl From<Exit> for pb::Exit {
    fn from(exit: Exit) -> Self {
        Self {
            code: exit.code,
            signal: exit.signal,
            out_of_memory: exit.out_of_memory,
            memory_peak_bytes: exit.memory_peak.map(|peak| peak.0),
            ran_for_ms: exit.ran_for.0,
        }
    }
}

impl From<pb::Exit> for Exit {
    fn from(exit: pb::Exit) -> Self {
        Self {
            code: exit.code,
            signal: exit.signal,
            out_of_memory: exit.out_of_memory,
            memory_peak: exit.memory_peak_bytes.map(Bytes),
            ran_for: DurationMs(exit.ran_for_ms),
        }
    }
}

impl From<TaskStatus> for pb::TaskStatus {
    fn from(status: TaskStatus) -> Self {
        Self {
            id: status.id.map(pb::StatusId::from),
            framework: status.framework.0,
            task: status.task.into(),
            token: Some(status.token.into()),
            agent: status.agent.0,
            state: pb::TaskState::from(status.state).into(),
            reason: pb::StatusReason::from(status.reason).into(),
            message: status.message,
            exit: status.exit.map(pb::Exit::from),
            ready: status.ready,
            at_ms: status.at.0,
            isolation: pb::IsolationLevel::from(status.isolation).into(),
        }
    }
}

impl TryFrom<pb::TaskStatus> for TaskStatus {
    type Error = Refusal;
    fn try_from(status: pb::TaskStatus) -> Result<Self, Refusal> {
        Ok(Self {
            id: status.id.map(StatusId::from),
            framework: FrameworkId(status.framework),
            task: name(&status.task, "task")?,
            token: status.token.map(LaunchToken::from).unwrap_or_default(),
            agent: AgentId(status.agent),
            state: state_from_pb(status.state),
            reason: reason_from_pb(status.reason),
            message: status.message,
            exit: status.exit.map(Exit::from),
            ready: status.ready,
            at: WallTime(status.at_ms),
            isolation: isolation_from_pb(status.isolation),
        })
    }
}

impl From<TaskRecord> for pb::TaskRecord {
    fn from(record: TaskRecord) -> Self {
        Self {
            status: Some(record.status.into()),
            template: record.template.0.to_vec(),
            resources: resources_to_pb(record.resources),
            role: record.role.into(),
            variables: record.variables,
            labels: record.labels,
            group: record.group.map(String::from),
            agent_name: record.agent_name.into(),
            address: record.address,
            priority: record.priority,
            budget: record.budget.map(pb::Budget::from),
            gang: record.gang.map(|gang| gang.to_string()),
        }
    }
}

impl TryFrom<pb::TaskRecord> for TaskRecord {
    type Error = Refusal;
    fn try_from(record: pb::TaskRecord) -> Result<Self, Refusal> {
        Ok(Self {
            status: part(record.status, "status")?,
            template: digest_from_pb(&record.template, "template")?,
            resources: resources_from_pb(record.resources, "resources")?,
            role: name(&record.role, "role")?,
            variables: labels(record.variables, "variables")?,
            labels: labels(record.labels, "labels")?,
            group: optional_name(record.group.as_deref(), "group")?,
            agent_name: name(&record.agent_name, "agent_name")?,
            address: record.address,
            priority: record.priority,
            budget: record.budget.map(|budget| part(Some(budget), "budget")).transpose()?,
            gang: optional_name(record.gang.as_deref(), "gang")?,
        })
    }
}

impl From<Budget> for pb::Budget {
    fn from(budget: Budget) -> Self {
        Self { name: budget.name.into(), min_available: budget.min_available }
    }
}

impl TryFrom<pb::Budget> for Budget {
    type Error = Refusal;
    fn try_from(budget: pb::Budget) -> Result<Self, Refusal> {
        Ok(Self { name: name(&budget.name, "name")?, min_available: budget.min_available })
    }
}

impl From<FrameworkInfo> for pb::FrameworkInfo {
    fn from(info: FrameworkInfo) -> Self {
        Self {
            name: info.name.into(),
            roles: info.roles.into_iter().map(String::from).collect(),
            api_url: info.api_url,
            failover_timeout_ms: info.failover_timeout.map(|timeout| timeout.0),
            labels: info.labels,
        }
    }
}

impl TryFrom<pb::FrameworkInfo> for FrameworkInfo {
    type Error = Refusal;
    fn try_from(info: pb::FrameworkInfo) -> Result<Self, Refusal> {
        Ok(Self {
            name: name(&info.name, "name")?,
            roles: names(&info.roles, "roles", ENTRIES_MAX)?,
            api_url: info.api_url,
            failover_timeout: info.failover_timeout_ms.map(DurationMs),
            labels: labels(info.labels, "labels")?,
        })
    }
}

impl From<AgentInfo> for pb::AgentInfo {
    fn from(info: AgentInfo) -> Self {
        Self {
            name: info.name.into(),
            hostname: info.hostname,
            address: info.address,
            api_url: info.api_url,
            resources: resources_to_pb(info.resources),
            attributes: attributes_to_pb(info.attributes),
            version: info.version,
            isolation: info.isolation.as_str().to_owned(),
            boot_id: info.boot_id,
            insecure: info.insecure,
        }
    }
}

impl TryFrom<pb::AgentInfo> for AgentInfo {
    type Error = Refusal;
    fn try_from(info: pb::AgentInfo) -> Result<Self, Refusal> {
        Ok(Self {
            name: name(&info.name, "name")?,
            hostname: info.hostname,
            address: info.address,
            api_url: info.api_url,
            resources: resources_from_pb(info.resources, "resources")?,
            attributes: attributes_from_pb(info.attributes, "attributes")?,
            version: info.version,
            isolation: IsolationLevel::from_text(&info.isolation)
                .unwrap_or(IsolationLevel::Process),
            boot_id: info.boot_id,
            insecure: info.insecure,
        })
    }
}

impl From<RoleConfig> for pb::RoleConfig {
    fn from(config: RoleConfig) -> Self {
        Self {
            weight_milli: config.weight_milli,
            guarantee: quantities_to_pb(config.guarantee),
            limit: quantities_to_pb(config.limit),
        }
    }
}

impl TryFrom<pb::RoleConfig> for RoleConfig {
    type Error = Refusal;
    fn try_from(config: pb::RoleConfig) -> Result<Self, Refusal> {
        Ok(Self {
            weight_milli: config.weight_milli,
            guarantee: quantities_from_pb(config.guarantee, "guarantee")?,
            limit: quantities_from_pb(config.limit, "limit")?,
        })
    }
}

impl From<RevocableUse> for pb::RevocableUse {
    fn from(wanted: RevocableUse) -> Self {
        match wanted {
            RevocableUse::Refuse => Self::Unspecified,
            RevocableUse::Accept => Self::Accept,
            RevocableUse::Only => Self::Only,
        }
    }
}

/// Reads the field `revocable`. A value of a later version is refused: it asks for something that could
/// not be honoured.
pub(super) fn revocable_from_pb(wanted: i32) -> Result<RevocableUse, Refusal> {
    match pb::RevocableUse::try_from(wanted) {
        Ok(pb::RevocableUse::Unspecified) => Ok(RevocableUse::Refuse),
        Ok(pb::RevocableUse::Accept) => Ok(RevocableUse::Accept),
        Ok(pb::RevocableUse::Only) => Ok(RevocableUse::Only),
        Err(_) => Err(invalid("revocable", format!("{wanted} is not known"))),
    }
}

impl From<DemandGroup> for pb::DemandGroup {
    fn from(group: DemandGroup) -> Self {
        Self {
            name: group.name.into(),
            generation: group.generation.0,
            role: group.role.into(),
            shape: resources_to_pb(group.shape),
            fixed_ports: group.fixed_ports,
            target: group.target,
            constraints: group.constraints.into_iter().map(pb::Constraint::from).collect(),
            priority: group.priority,
            per_agent_max: group.per_agent_max,
            spread: group.spread,
            gang_size: group.gang_size,
            deadline_ms: group.deadline.map(|deadline| deadline.0),
            revocable: pb::RevocableUse::from(group.revocable).into(),
        }
    }
}

impl TryFrom<pb::DemandGroup> for DemandGroup {
    type Error = Refusal;
    fn try_from(group: pb::DemandGroup) -> Result<Self, Refusal> {
        Ok(Self {
            name: name(&group.name, "name")?,
            generation: Generation(group.generation),
            role: name(&group.role, "role")?,
            shape: resources_from_pb(group.shape, "shape")?,
            fixed_ports: group.fixed_ports,
            target: group.target,
            constraints: list(group.constraints, "constraints", ENTRIES_MAX)?,
            priority: group.priority,
            per_agent_max: group.per_agent_max,
            spread: group.spread,
            gang_size: group.gang_size,
            deadline: group.deadline_ms.map(DurationMs),
            revocable: revocable_from_pb(group.revocable)?,
        })
    }
}

from_ref! {
    Refusal => pb::Refusal,
    TaskStatus => pb::TaskStatus,
    TaskRecord => pb::TaskRecord,
    FrameworkInfo => pb::FrameworkInfo,
    AgentInfo => pb::AgentInfo,
    RoleConfig => pb::RoleConfig,
    DemandGroup => pb::DemandGroup,
}
