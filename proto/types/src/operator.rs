//! People and tools ↔ the master: the rows of the published view, the verbs, the events.

use crate::agent::AgentInfo;
use crate::cursor::Cursor;
use crate::demand::DemandGroup;
use crate::explanation::Explanation;
use crate::hold::{Hold, HoldCall, HoldKey, HoldState};
use crate::ids::{
    AgentId, AgentSession, AgentVersion, ClaimId, DemandKey, FrameworkEpoch, FrameworkId,
    GroupName, OfferId, PrincipalName, ReplicaId, RoleName, TaskKey, WindowId,
};
use crate::inverse_offer::{InverseAnswer, VacateReason};
use crate::maintenance::{MaintenanceWindow, WindowRow};
use crate::offer::Offer;
use crate::refusal::Refusal;
use crate::resources::Resources;
use crate::role::RoleConfig;
use crate::scheduler::{FrameworkInfo, TaskRecord};
use crate::units::{DurationMs, WallTime};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How the master sees an agent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentCondition {
    /// In the registry, not yet heard of by this master.
    Awaited,
    /// Registered and heard of.
    Active,
    /// Registered; gets no new tasks, its tasks are moved elsewhere or ended.
    Draining,
    /// Registered; was drained and has no task any more.
    Drained,
    /// Registered; gets no new tasks.
    Deactivated,
    /// Not heard of for longer than the timeout.
    Unreachable,
}

crate::words::words!(AgentCondition {
    Awaited = "awaited",
    Active = "active",
    Draining = "draining",
    Drained = "drained",
    Deactivated = "deactivated",
    Unreachable = "unreachable",
});

/// An agent's row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AgentRow {
    /// Its id.
    pub id: AgentId,
    /// What it says of itself.
    pub info: AgentInfo,
    /// How it is.
    pub condition: AgentCondition,
    /// Since when.
    pub since: WallTime,
    /// Its registration.
    pub session: AgentSession,
    /// Its version for accepts.
    pub version: AgentVersion,
    /// Used by tasks.
    pub allocated: Resources,
    /// Held by offers.
    pub offered: Resources,
    /// Tasks that are not terminal.
    pub tasks_active: u32,
    /// What it has for tasks: reserved parts and volumes as such, without what is withheld.
    pub total: Resources,
    /// It is being emptied: how far that has come.
    pub vacating: Option<Vacating>,
    /// Its maintenance windows that have not ended.
    pub windows: Vec<WindowRow>,
    /// Room that is being made there by ending tasks (K11).
    pub claims: Vec<ClaimRow>,
}

/// Room that is being made on an agent for one task of a demand group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClaimRow {
    /// Its id.
    pub id: ClaimId,
    /// Who gets the room.
    pub framework: FrameworkId,
    /// For which of its groups.
    pub group: GroupName,
    /// The role that pays.
    pub role: RoleName,
    /// What one task of the group needs.
    pub resources: Resources,
    /// The role whose guarantee is met by it; `None`: a higher priority is served.
    pub creditor: Option<RoleName>,
    /// The tasks that are still to go.
    pub victims: Vec<TaskKey>,
    /// When those that are left are killed.
    pub until: WallTime,
}

/// How far an agent is emptied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Vacating {
    /// Why.
    pub reason: VacateReason,
    /// From when on nobody is asked any more, counted from when it was asked for; `None`: never.
    pub deadline: Option<DurationMs>,
    /// The deadline is over: what is left is being killed.
    pub is_binding: bool,
    /// Who still has tasks there, and what they answered.
    pub holders: Vec<VacateHolder>,
}

/// A framework that still has tasks on an agent that is emptied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VacateHolder {
    /// Which.
    pub framework: FrameworkId,
    /// How many tasks.
    pub tasks: u32,
    /// What it has said.
    pub answer: InverseAnswer,
}

/// A framework's row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FrameworkRow {
    /// Its id.
    pub id: FrameworkId,
    /// What it says of itself.
    pub info: FrameworkInfo,
    /// To whom it belongs.
    pub principal: PrincipalName,
    /// Whether a replica is connected.
    pub connected: bool,
    /// The active one, or the last.
    pub replica: ReplicaId,
    /// Replicas that stand by.
    pub standbys: Vec<ReplicaId>,
    /// Its epoch.
    pub epoch: FrameworkEpoch,
    /// Since it is connected or disconnected.
    pub since: WallTime,
    /// Used by tasks.
    pub allocated: Resources,
    /// Held by offers.
    pub offered: Resources,
    /// Roles without offers on its own wish.
    pub suppressed: BTreeSet<RoleName>,
    /// Tasks that are not terminal.
    pub tasks_active: u32,
    /// Bytes in its state store.
    pub state_bytes: u64,
    /// Keys in its state store.
    pub state_keys: u64,
}

/// A demand group and how far it is met. A row of its own: a framework may have thousands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DemandRow {
    /// Whose.
    pub framework: FrameworkId,
    /// The group.
    pub group: DemandGroup,
    /// `target − leases − launches`.
    pub unmet: u32,
    /// Since something of it was unmet.
    pub waiting_since: Option<WallTime>,
}

/// A role's row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RoleRow {
    /// Its path.
    pub name: RoleName,
    /// What operators set.
    pub config: RoleConfig,
    /// Used or held by it and all below it.
    pub allocated: Resources,
    /// Dominant share, in millionths of the cluster, before its weight.
    pub dominant_share_ppm: u64,
    /// Frameworks in it.
    pub frameworks: Vec<FrameworkId>,
    /// What counts against its limit and guarantee: used, held or reserved by it and all below it.
    pub consumed: Resources,
    /// What it is owed: its guarantee, or those below it, beyond what is consumed.
    pub owed: Resources,
}

/// A reservation's or a volume's row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HoldRow {
    /// Where.
    pub agent: AgentId,
    /// It, as it is or is to be.
    pub hold: Hold,
    /// How it stands.
    pub state: HoldState,
    /// One sentence when something is to be known or done; else empty.
    pub message: String,
}

impl HoldRow {
    /// What names it.
    #[must_use]
    pub fn key(&self) -> HoldKey {
        HoldKey { agent: self.agent, id: self.hold.id }
    }
}

/// A task's row.
pub type TaskRow = TaskRecord;
/// An offer's row.
pub type OfferRow = Offer;

/// One change of the view. The same list feeds views, watches and history (K6).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// New or changed.
    Agent(AgentRow),
    /// Removed.
    AgentRemoved(AgentId),
    /// New or changed.
    Framework(FrameworkRow),
    /// Removed.
    FrameworkRemoved(FrameworkId),
    /// Stated, changed or met otherwise than before.
    Demand(DemandRow),
    /// No longer stated.
    DemandRemoved(DemandKey),
    /// New or changed.
    Task(TaskRow),
    /// Forgotten.
    TaskRemoved(TaskKey),
    /// Made.
    Offer(OfferRow),
    /// Used, given back, lapsed or taken back.
    OfferRemoved(OfferId),
    /// New or changed.
    Role(RoleRow),
    /// New or changed.
    Hold(HoldRow),
    /// Removed.
    HoldRemoved(HoldKey),
    /// Something people want to know happened.
    Event(EventRow),
}

/// One line of the event log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EventRow {
    /// When.
    pub at: WallTime,
    /// What kind: `agent_registered`, `task_failed`, …
    pub kind: String,
    /// The object: an id or name.
    pub subject: String,
    /// One sentence.
    pub message: String,
}

/// Something that an operator wants done. All take the same Command path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorCall {
    /// The agent will not return: its tasks are lost.
    MarkAgentGone {
        /// Which.
        agent: AgentId,
        /// Also one that is connected.
        force: bool,
    },
    /// No new tasks; move the present ones elsewhere, or end them.
    DrainAgent {
        /// Which.
        agent: AgentId,
        /// How long frameworks are asked before what is left is killed; 0: not at all; `None`: as long
        /// as it takes.
        deadline: Option<DurationMs>,
    },
    /// No new tasks.
    DeactivateAgent(AgentId),
    /// Tasks again: ends drain and deactivation.
    ActivateAgent(AgentId),
    /// Plan a maintenance window.
    AddMaintenance(MaintenanceWindow),
    /// Forget one that has not begun.
    RemoveMaintenance(WindowId),
    /// Begin one now.
    StartMaintenance(WindowId),
    /// End one that has begun: its agents take tasks again.
    EndMaintenance(WindowId),
    /// End a framework and its tasks.
    TeardownFramework(FrameworkId),
    /// End a task.
    KillTask(TaskKey),
    /// Set a role's record.
    SetRole {
        /// Which.
        role: RoleName,
        /// To what.
        config: RoleConfig,
    },
    /// Make, change or remove a reservation or a volume.
    Hold {
        /// What.
        call: HoldCall,
        /// Only say what would happen.
        dry_run: bool,
    },
}

/// What an operator is answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorAnswer {
    /// Durable and done, or on its way.
    Done {
        /// One sentence.
        message: String,
    },
    /// Nothing was changed.
    Refused(Refusal),
    /// Answer to a why.
    Explained(Explanation),
}

/// Counts for the overview.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Overview {
    /// Where the view stands.
    pub cursor: Cursor,
    /// All active agents together.
    pub total: Resources,
    /// Used by tasks.
    pub allocated: Resources,
    /// Held by offers.
    pub offered: Resources,
    /// Agents by condition.
    pub agents: BTreeMap<String, u32>,
    /// Frameworks: `connected`, `disconnected`.
    pub frameworks: BTreeMap<String, u32>,
    /// Tasks by state.
    pub tasks: BTreeMap<String, u32>,
    /// Offers outstanding.
    pub offers: u32,
    /// Tasks that are wanted and have no place.
    pub unmet: u32,
    /// The master lets everybody in, on any address (`--insecure`).
    pub insecure: bool,
    /// The master cannot confirm that it leads: what it shows may be old (K8).
    pub stale: bool,
}
