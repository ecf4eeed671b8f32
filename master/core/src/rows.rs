//! The rows of the published view, composed from the tables; and why a task stands where it stands.

use crate::master::Master;
use crate::registry::AgentStanding;
use crate::state::agents::Link;
use crate::state::vacate::Vacate;
use proffer_types::explanation::{Explanation, Subject};
use proffer_types::inverse_offer::{InverseAnswer, VacateReason};
use proffer_types::operator::{
    AgentCondition, AgentRow, ClaimRow, DemandRow, FrameworkRow, RoleRow, TaskRow, Vacating,
};
use proffer_types::scheduler::Absence;
use proffer_types::task::StatusReason;
use proffer_types::{
    AgentId, DemandKey, DurationMs, FrameworkId, GroupName, Now, RoleName, TaskState, WallTime,
};
use std::collections::{BTreeMap, BTreeSet};

impl Master {
    /// An agent's row; `None` when it is gone or never was.
    pub(crate) fn agent_row(&self, id: AgentId) -> Option<AgentRow> {
        let agent = self.agents.get(id).filter(|agent| agent.link != Link::Gone)?;
        Some(AgentRow {
            id,
            info: agent.record.info.clone(),
            condition: agent.condition(),
            since: agent.since,
            session: agent.session,
            version: agent.version,
            allocated: agent.allocated.clone(),
            offered: agent.offered.clone(),
            tasks_active: agent.tasks_active,
            total: agent.total.clone(),
            vacating: agent.vacate.as_ref().map(Vacate::row),
            windows: agent
                .windows
                .iter()
                .filter_map(|id| Some(self.windows.get(id)?.row(*id)))
                .collect(),
            claims: self.claims.on(id).map(|(_, entry)| entry.row()).collect(),
        })
    }

    /// A demand group's row; `None` when it is not stated.
    pub(crate) fn demand_row(&mut self, key: &DemandKey, now: Now) -> Option<DemandRow> {
        let unmet = self.allocator.unmet(key.framework, &key.group);
        let entry = self.frameworks.table.get_mut(&key.framework)?;
        let group = entry.demand.get(&key.group)?.clone();
        let waiting_since =
            (unmet > 0).then(|| *entry.waiting_since.entry(key.group.clone()).or_insert(now.wall));
        if waiting_since.is_none() {
            entry.waiting_since.remove(&key.group);
        }
        Some(DemandRow { framework: key.framework, group, unmet, waiting_since })
    }

    /// A framework's row; `None` when it was ended or never was.
    pub(crate) fn framework_row(&self, id: FrameworkId) -> Option<FrameworkRow> {
        let entry = self.frameworks.get(id).filter(|entry| !entry.is_ended())?;
        Some(FrameworkRow {
            id,
            info: entry.record.info.clone(),
            principal: entry.record.principal.clone(),
            connected: entry.stream.is_some(),
            replica: entry.record.replica.clone(),
            standbys: entry.standbys.iter().map(|standby| standby.replica.clone()).collect(),
            epoch: entry.epoch(),
            since: entry.since,
            allocated: entry.allocated.resources(),
            offered: entry.offered.resources(),
            suppressed: entry.suppressed.clone(),
            tasks_active: entry.tasks_active,
            state_bytes: entry.state.bytes,
            state_keys: entry.state.index.len() as u64,
        })
    }

    pub(crate) fn role_row(&self, name: RoleName) -> RoleRow {
        let entry = self.roles.table.get(&name);
        RoleRow {
            config: entry.and_then(|entry| entry.config.clone()).unwrap_or_default(),
            allocated: self.allocator.allocated(&name),
            dominant_share_ppm: self.allocator.dominant_share_ppm(&name),
            frameworks: entry.map(|e| e.frameworks.iter().copied().collect()).unwrap_or_default(),
            consumed: self.allocator.consumed(&name),
            owed: self.allocator.owed(&name),
            name,
        }
    }

    /// Why an agent cannot say which tasks it holds; `None` when it has said so (K2).
    pub(crate) fn absence(&self, id: AgentId) -> Option<Absence> {
        let Some(agent) = self.agents.get(id) else { return Some(Absence::Gone) };
        match (agent.link, agent.record.standing) {
            (Link::Gone, _) | (_, AgentStanding::Gone) => Some(Absence::Gone),
            (Link::Unreachable, AgentStanding::Unreachable(since)) => {
                Some(Absence::UnreachableSince(since))
            }
            (Link::Unreachable, AgentStanding::Reachable) | (Link::Awaited { .. }, _) => {
                Some(Absence::Awaited)
            }
            (Link::Connected { .. } | Link::Disconnected { .. }, _) => None,
        }
    }
}

/// Why a task is where it is, from rows of the view alone: runs off the loop (K6). `others` are tasks of its
/// framework: what it waits for if it is one of a gang (K3).
#[must_use]
pub fn explain_task<'a>(
    task: &TaskRow,
    agent: Option<&AgentRow>,
    others: impl Iterator<Item = &'a TaskRow>,
    now: WallTime,
) -> Explanation {
    let status = &task.status;
    let place = format!("{} ({})", status.agent, task.agent_name);
    let mut hints = Vec::new();
    let summary = match status.state {
        TaskState::Staging if task.gang.is_some() => explain_waiting(task, &place, others),
        TaskState::Staging => {
            hints.push(format!("if it stays so, look at `agents` for {}", task.agent_name));
            format!("is booked on {place}; the agent has not confirmed it yet")
        }
        TaskState::Taken => format!("is kept by {place} and about to start"),
        TaskState::Starting => format!("is being started on {place}"),
        TaskState::Running if status.ready == Some(false) => {
            hints.push("its ready check fails; look at its log".to_owned());
            format!("runs on {place} and is not ready")
        }
        TaskState::Running => format!("runs on {place}"),
        TaskState::Killing => format!("was asked to stop on {place} and has its grace"),
        TaskState::Unreachable => {
            hints.push(format!(
                "when {} is back the task returns as it is; `agents gone {}` gives it up",
                task.agent_name, status.agent
            ));
            format!("may still run on {place}, which is out of reach")
        }
        TaskState::Finished | TaskState::Killed => format!("ended on {place}"),
        TaskState::Gone => {
            format!("was given up with {place}: {}", status.reason.as_str().replace('_', " "))
        }
        TaskState::Dropped if status.reason == StatusReason::GangAborted => {
            hints.push("it never started: it may be launched again".to_owned());
            format!("was given up before it started on {place}")
        }
        TaskState::Dropped => format!("never reached {place}"),
        TaskState::Failed | TaskState::Error => {
            format!("ended on {place}: {}", status.reason.as_str().replace('_', " "))
        }
        TaskState::Unknown => "is not known to anybody".to_owned(),
    };
    if let Some(vacating) = agent.and_then(|agent| agent.vacating.as_ref()) {
        hints.push(explain_vacating(task, vacating));
    }
    let key = status.key();
    let claims = agent.into_iter().flat_map(|agent| &agent.claims);
    for claim in claims.filter(|claim| claim.victims.contains(&key)) {
        let left = DurationMs(claim.until.0.saturating_sub(now.0));
        let ClaimRow { group, framework, .. } = claim;
        let why = why_claimed(claim);
        hints.push(format!("it ends within {left} to make room for {group} of {framework}, {why}"));
    }
    explanation(task, &summary, hints)
}

/// What a task waits for that starts with others: who has not prepared.
fn explain_waiting<'a>(
    task: &TaskRow,
    place: &str,
    others: impl Iterator<Item = &'a TaskRow>,
) -> String {
    const NAMED_MAX: usize = 5;
    let own = if task.status.reason == StatusReason::GangPrepared {
        format!("is prepared on {place}")
    } else if task.status.reason == StatusReason::GangPreparing {
        format!("is being prepared on {place}")
    } else {
        format!("is booked on {place}")
    };
    let unprepared = others.filter(|other| {
        other.gang == task.gang
            && other.status.state == TaskState::Staging
            && other.status.reason != StatusReason::GangPrepared
    });
    let late: BTreeSet<&str> = unprepared.map(|other| other.agent_name.as_str()).collect();
    let gang = task.gang.map(|gang| gang.to_string()).unwrap_or_default();
    if late.is_empty() {
        return format!("{own}; all of {gang} are prepared and about to start");
    }
    let named: Vec<&str> = late.iter().take(NAMED_MAX).copied().collect();
    let more = if late.len() > NAMED_MAX { ", …" } else { "" };
    format!("{own}; {gang} starts together and waits for {}{more} to prepare", named.join(", "))
}

/// Which agents take no tasks now, by why, with some of their names: what keeps something waiting may be
/// that. `None` when all do.
#[must_use]
pub fn explain_agents_out<'a>(agents: impl Iterator<Item = &'a AgentRow>) -> Option<String> {
    const NAMED_MAX: usize = 3;
    let mut out: BTreeMap<&str, Vec<&AgentRow>> = BTreeMap::new();
    for agent in agents {
        let why = match (agent.condition, agent.vacating.as_ref().map(|it| &it.reason)) {
            (
                AgentCondition::Draining | AgentCondition::Drained,
                Some(VacateReason::Maintenance { .. }),
            ) => "in or before a maintenance window",
            (AgentCondition::Active, _) => continue,
            (condition, _) => condition.as_str(),
        };
        out.entry(why).or_default().push(agent);
    }
    let parts: Vec<String> = out
        .into_iter()
        .map(|(why, agents)| {
            let names: Vec<&str> =
                agents.iter().take(NAMED_MAX).map(|agent| agent.info.name.as_str()).collect();
            let more = if agents.len() > NAMED_MAX { ", …" } else { "" };
            format!("{} {why} ({}{more})", agents.len(), names.join(", "))
        })
        .collect();
    (!parts.is_empty()).then(|| format!("agents that take no tasks: {}", parts.join("; ")))
}

fn why_claimed(claim: &ClaimRow) -> String {
    match &claim.creditor {
        Some(creditor) => format!("since {creditor} is guaranteed it"),
        None => "which has the higher priority".to_owned(),
    }
}

/// Where room is being made for a demand group, and by when. `None` where none is.
#[must_use]
pub fn explain_claims<'a>(
    agents: impl Iterator<Item = &'a AgentRow>,
    framework: FrameworkId,
    group: &GroupName,
    now: WallTime,
) -> Option<String> {
    const NAMED_MAX: usize = 3;
    let of_group = agents.flat_map(|agent| agent.claims.iter().map(move |claim| (agent, claim)));
    let of_group =
        of_group.filter(|(_, claim)| claim.framework == framework && claim.group == *group);
    let claims: Vec<(&AgentRow, &ClaimRow)> = of_group.collect();
    let latest = claims.iter().map(|(_, claim)| claim.until.0).max()?;
    let names: Vec<&str> =
        claims.iter().take(NAMED_MAX).map(|(agent, _)| agent.info.name.as_str()).collect();
    let more = if claims.len() > NAMED_MAX { ", …" } else { "" };
    let tasks: usize = claims.iter().map(|(_, claim)| claim.victims.len()).sum();
    Some(format!(
        "room is being made for {} of it on {}{more}: {tasks} tasks of others end there within {}",
        claims.len(),
        names.join(", "),
        DurationMs(latest.saturating_sub(now.0)),
    ))
}

fn explain_vacating(task: &TaskRow, vacating: &Vacating) -> String {
    let why = match &vacating.reason {
        VacateReason::Drain => "is being drained".to_owned(),
        VacateReason::Maintenance { message, .. } => format!("is to be maintained ({message})"),
        VacateReason::Preemption { framework, group, role } => {
            format!("is to make room for {group} of {framework} in role {role}")
        }
    };
    let holder = vacating.holders.iter().find(|it| it.framework == task.status.framework);
    let then = match (vacating.is_binding, holder.map(|holder| &holder.answer)) {
        (true, _) => "what is left there is killed".to_owned(),
        (false, Some(InverseAnswer::Accepted)) => "its framework moves it elsewhere".to_owned(),
        (false, Some(InverseAnswer::Declined { reason })) => {
            format!("its framework keeps it there: {reason}")
        }
        (false, Some(InverseAnswer::None) | None) => "its framework has not answered".to_owned(),
    };
    format!("{} {why}: {then}", task.agent_name)
}

/// The same of a task that is known no more, from its last row: nothing about it is open.
#[must_use]
pub fn explain_ended_task(task: &TaskRow) -> Explanation {
    let status = &task.status;
    if status.state.is_terminal() {
        return explain_task(task, None, std::iter::empty(), status.at);
    }
    let summary = format!(
        "was given up: when it was last heard of it was {} on {} ({})",
        status.state.as_str().replace('_', " "),
        status.agent,
        task.agent_name
    );
    explanation(task, &summary, Vec::new())
}

fn explanation(task: &TaskRow, summary: &str, hints: Vec<String>) -> Explanation {
    let status = &task.status;
    let detail = if status.message.is_empty() { "" } else { ": " };
    Explanation {
        subject: Subject::Task(status.key()),
        summary: format!("{} {summary}{detail}{}", status.task, status.message),
        funnel: Vec::new(),
        nearest_miss: String::new(),
        hints,
    }
}
