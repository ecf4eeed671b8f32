//! What readers see, as plain data: rows of services, instances, revisions, endpoints and events.
//! The JSON of the service API; field names are stable.

use crate::plan::Phase;
use crate::record::{FailureNote, RolloutKind, RolloutState};
use crate::spec::{ServiceName, ServiceSpec};
use proffer_types::inverse_offer::VacateReason;
use proffer_types::task::{Exit, IsolationLevel, StatusReason};
use proffer_types::{AgentName, DurationMs, GroupName, TaskName, TaskState, WallTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A service at a glance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceSummary {
    /// Its name.
    pub name: ServiceName,
    /// In a word.
    pub status: ServiceStatus,
    /// In a sentence; empty when all is well.
    pub reason: String,
    /// How many there should be; kept while it is stopped.
    pub instances: u32,
    /// Published now, of any revision.
    pub ready: u32,
    /// Of what is aimed at, ready for long enough.
    pub available: u32,
    /// Alive and not what is aimed at.
    pub old: u32,
    /// Without a place yet.
    pub waiting: u32,
    /// The revision that is aimed at.
    pub revision: u32,
    /// What one instance asks for.
    pub request: RequestView,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The first of its endpoints, `ADDRESS:PORT`.
    pub endpoint: Option<String>,
    /// The rollout that goes on, or the last one.
    pub rollout: RolloutView,
    /// When the revision was made.
    pub updated_at: WallTime,
}

/// Where a service stands, in a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceStatus {
    /// All instances are available.
    Running,
    /// A rollout goes on.
    Rolling,
    /// A failed rollout goes back.
    RollingBack,
    /// A failed rollout stands still.
    Paused,
    /// Instances are missing or not ready, and no rollout goes on.
    Degraded,
    /// Instances crash again and again.
    CrashLooping,
    /// It stands still because somebody stopped it.
    Stopped,
    /// It goes away.
    Removing,
}

/// What one instance asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestView {
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// Bytes.
    pub mem_bytes: u64,
    /// Bytes.
    pub disk_bytes: u64,
}

/// A rollout.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RolloutView {
    /// Counts the rollouts of the service.
    pub number: u32,
    /// Why there is one.
    pub kind: RolloutKind,
    /// What was to be rolled out.
    pub revision: u32,
    /// What is aimed at: another one while rolling back.
    pub target: u32,
    /// Where it stands.
    pub state: RolloutState,
    /// Why; empty when all is well.
    pub reason: String,
    /// Slots whose new instance crashed.
    pub failed_slots: Vec<u32>,
    /// The first crash, with the last lines of its log.
    pub first_failure: Option<FailureNote>,
    /// When it started.
    pub started_at: WallTime,
    /// When it ended.
    pub ended_at: Option<WallTime>,
    /// Time left until it counts as failed; `None`: it has ended or is held.
    pub deadline_in_ms: Option<u64>,
}

/// A service with all that is known of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceView {
    /// At a glance.
    pub summary: ServiceSummary,
    /// The newest revision.
    pub latest: u32,
    /// The last revision that all slots ran.
    pub good: Option<u32>,
    /// The spec that is aimed at; its JSON is accepted as a service of a file.
    pub spec: ServiceSpec,
    /// Its instances, by slot, oldest first.
    pub instances: Vec<InstanceView>,
    /// What slots wait for, the worst first.
    pub waits: Vec<WaitView>,
    /// Remembered revisions, newest first.
    pub history: Vec<RevisionView>,
    /// Ready instances.
    pub endpoints: EndpointsView,
    /// Demand groups through which its instances are asked for, for `why` at the master.
    pub demand_groups: Vec<GroupName>,
    /// Time until the next action of the framework's own, if one is planned.
    pub next_in_ms: Option<u64>,
    /// What that is.
    pub next: String,
}

/// An instance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InstanceView {
    /// The task's name.
    pub name: TaskName,
    /// Its slot.
    pub slot: u32,
    /// The revision that was current at its start.
    pub revision: u32,
    /// Whether it is what is aimed at.
    pub is_current: bool,
    /// Where it stands for the rollout; `None`: only its end is awaited, out of reach.
    pub phase: Option<Phase>,
    /// Where its task stands; `None`: without a place.
    pub state: Option<TaskState>,
    /// Why its task stands there.
    pub reason: StatusReason,
    /// What its agent said last.
    pub message: String,
    /// Its ready check.
    pub ready: Option<bool>,
    /// Whether it is in the endpoints.
    pub published: bool,
    /// Its agent is to be emptied: it is replaced elsewhere.
    pub leaves: Option<VacateReason>,
    /// Its agent's id, `a1`.
    pub agent: Option<String>,
    /// Its agent's name.
    pub agent_name: Option<AgentName>,
    /// Where it is reached.
    pub address: String,
    /// Its ports.
    pub ports: BTreeMap<String, u16>,
    /// How it is isolated.
    pub isolation: Option<IsolationLevel>,
    /// When its last status was written.
    pub since: Option<WallTime>,
    /// How it ended, if it did.
    pub exit: Option<Exit>,
}

/// Slots that wait for the same.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WaitView {
    /// Which: `0-3,7`.
    pub slots: String,
    /// How many they are.
    pub count: u32,
    /// For what.
    pub waits_for: WaitsFor,
    /// In a sentence.
    pub reason: String,
    /// What the ready check of the first of them saw last; empty when there is nothing to tell.
    pub detail: String,
    /// Crashes in a row, of the slot that has most.
    pub crashes: u32,
    /// Time until the first of them goes on by itself, if that is known.
    pub in_ms: Option<u64>,
    /// How the last instance of the first of them that failed ended.
    pub last_failure: Option<FailureNote>,
}

impl WaitView {
    /// Which slots, and why.
    #[must_use]
    pub fn sentence(&self) -> String {
        let word = if self.count == 1 { "slot" } else { "slots" };
        let detail = if self.detail.is_empty() { "" } else { ": " };
        format!("{word} {}: {}{detail}{}", self.slots, self.reason, self.detail)
    }
}

/// What a slot waits for, the worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitsFor {
    /// Its back-off.
    BackOff,
    /// Resources that fit: the master explains it.
    Capacity,
    /// An agent that may hold an instance of it.
    Agent,
    /// Its instance to become ready.
    Readiness,
    /// Its old instance to end.
    Ending,
    /// Its turn in the rollout.
    Turn,
    /// Its instance to have been ready for long enough.
    Soak,
}

/// A revision.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RevisionView {
    /// Its number.
    pub revision: u32,
    /// How its rollout ended, or stands.
    pub outcome: Option<RolloutState>,
    /// Whether it is aimed at.
    pub is_target: bool,
    /// Whether a rollback goes there.
    pub is_good: bool,
    /// The first 12 hex digits of the digest over what affects running instances.
    pub digest: String,
    /// Who made it.
    pub author: String,
    /// Why.
    pub message: String,
    /// The revision it repeats.
    pub rollback_of: Option<u32>,
    /// When.
    pub created_at: WallTime,
    /// All of it.
    pub spec: ServiceSpec,
}

/// Where ready instances of a service answer; nowhere, if it has no ports.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EndpointsView {
    /// Which service.
    pub service: ServiceName,
    /// Grows with each change, also across restarts of the framework.
    pub change: u64,
    /// Whether all agents that may hold an instance have been heard of since this framework began. As
    /// long as they have not, instances may be missing that serve (K2).
    pub complete: bool,
    /// By slot, then port.
    pub endpoints: Vec<Endpoint>,
}

/// One port of one ready instance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its task.
    pub instance: TaskName,
    /// Its slot.
    pub slot: u32,
    /// Its revision.
    pub revision: u32,
    /// Name of the port.
    pub port_name: String,
    /// What is spoken there.
    pub protocol: String,
    /// Where.
    pub address: String,
    /// At which port.
    pub port: u16,
    /// The id of its agent, `a1`.
    pub agent: String,
    /// Its agent's name.
    pub agent_name: AgentName,
}

/// Something happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceEvent {
    /// Its cursor: `epoch.number`.
    pub cursor: String,
    /// When.
    pub at: WallTime,
    /// What.
    pub kind: EventKind,
    /// To which service.
    pub service: ServiceName,
    /// To which slot.
    pub slot: Option<u32>,
    /// To which instance.
    pub instance: Option<TaskName>,
    /// In a sentence.
    pub message: String,
}

/// Kinds of events.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A service was made, changed, scaled, stopped, started or removed.
    Changed,
    /// A rollout started, failed or ended.
    Rollout,
    /// An instance was asked for.
    Launch,
    /// An instance runs.
    Running,
    /// An instance is in the endpoints.
    Published,
    /// An instance left the endpoints.
    Unpublished,
    /// The agent of an instance is to be emptied.
    Leaving,
    /// An instance was asked to end.
    Stopping,
    /// An instance ended because it was asked to.
    Ended,
    /// An instance ended by itself.
    Crashed,
    /// An instance was lost, or its agent is out of reach.
    Lost,
}

/// What a service waits for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WhyView {
    /// Which.
    pub service: ServiceName,
    /// In a word.
    pub status: ServiceStatus,
    /// In a sentence.
    pub summary: String,
    /// What slots wait for, the worst first.
    pub waits: Vec<WaitView>,
    /// To be asked about at the master, when slots wait for capacity.
    pub demand_groups: Vec<GroupName>,
    /// Time until the next action, if one is planned.
    pub next_in_ms: Option<u64>,
    /// What that is.
    pub next: String,
}

impl ServiceSummary {
    /// The same as it is seen a while after it was published: what is counted down has gone on.
    #[must_use]
    pub fn seen_after(&self, while_ms: u64) -> Self {
        let mut summary = self.clone();
        if let Some(left_ms) = &mut summary.rollout.deadline_in_ms {
            *left_ms = left_ms.saturating_sub(while_ms);
        }
        summary
    }
}

impl ServiceView {
    /// The same as it is seen a while after it was published: what is counted down has gone on.
    #[must_use]
    pub fn seen_after(&self, while_ms: u64) -> Self {
        let mut view = self.clone();
        view.summary = view.summary.seen_after(while_ms);
        let waits = view.waits.iter_mut().filter_map(|wait| wait.in_ms.as_mut());
        for left_ms in waits.chain(&mut view.next_in_ms) {
            *left_ms = left_ms.saturating_sub(while_ms);
        }
        view
    }

    /// What it waits for.
    #[must_use]
    pub fn why(&self) -> WhyView {
        let summary = &self.summary;
        let sentence = match self.waits.first() {
            _ if !summary.reason.is_empty() => summary.reason.clone(),
            None => format!("nothing is waited for: {}/{} ready", summary.ready, summary.instances),
            Some(worst) => {
                let waiting: u32 = self.waits.iter().map(|wait| wait.count).sum();
                format!("{waiting} of {} slots wait; {}", summary.instances, worst.sentence())
            }
        };
        WhyView {
            service: summary.name.clone(),
            status: summary.status,
            summary: sentence,
            waits: self.waits.clone(),
            demand_groups: self.demand_groups.clone(),
            next_in_ms: self.next_in_ms,
            next: self.next.clone(),
        }
    }
}

/// A span as a number of milliseconds.
#[must_use]
pub(crate) fn millis(span: DurationMs) -> u64 {
    span.0
}
