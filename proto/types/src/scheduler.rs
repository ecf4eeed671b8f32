//! The conversation between a framework and the master: calls up, events down. Every frame carries
//! a list, the framework epoch and the master epoch (K16).

use crate::cursor::Cursor;
use crate::demand::{Budget, DemandGroup, ExpiredGroup};
use crate::hold::{HoldId, HoldNews};
use crate::ids::{
    AgentId, AgentName, FrameworkEpoch, FrameworkId, FrameworkName, Incarnation, InverseOfferId,
    LogIncarnation, MasterEpoch, OfferId, ReplicaId, RoleName, TaskName, TemplateDigest,
};
use crate::inverse_offer::InverseOffer;
use crate::offer::{Accept, Offer};
use crate::offer_condition::OfferConditions;
use crate::refusal::Refusal;
use crate::state_store::{StateAnswer, StateCall};
use crate::task::TaskStatus;
use crate::template::{KillPolicy, PodTemplate};
use crate::units::{DurationMs, WallTime};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a framework says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FrameworkInfo {
    /// Unique in the cluster; a framework that comes back is found by it.
    pub name: FrameworkName,
    /// Roles it takes part in; at least one.
    pub roles: BTreeSet<RoleName>,
    /// Where its own API is, for the master to pass requests on; empty: none.
    pub api_url: String,
    /// How long its tasks are kept after its last replica left; `None`: for ever, the default.
    pub failover_timeout: Option<DurationMs>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
}

impl FrameworkInfo {
    /// A framework that takes part in one role and keeps its tasks for ever.
    #[must_use]
    pub fn new(name: FrameworkName, role: RoleName) -> Self {
        Self {
            name,
            roles: BTreeSet::from([role]),
            api_url: String::new(),
            failover_timeout: None,
            labels: BTreeMap::new(),
        }
    }
}

/// A frame from a framework.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SchedulerUp {
    /// The epoch the sender believes in; zero before the first `Subscribed`.
    pub epoch: FrameworkEpoch,
    /// In order.
    pub calls: Vec<Call>,
}

/// A frame to a framework.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SchedulerDown {
    /// Who sends; an older one is dropped.
    pub master_epoch: MasterEpoch,
    /// For which subscription; an older one is dropped.
    pub epoch: FrameworkEpoch,
    /// In order.
    pub events: Vec<Event>,
}

/// What a framework may say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// First call of a stream. The framework is found by name; a new name makes a new framework.
    /// A replica that presents the current epoch to the master that gave it resumes; any other
    /// replica becomes active when none is, and stands by otherwise.
    Subscribe {
        /// What it says of itself.
        info: FrameworkInfo,
        /// Which process of it this is.
        replica: ReplicaId,
        /// Take over although another replica is active and connected.
        take_over: bool,
        /// What it wants to be offered while it states no demand.
        conditions: OfferConditions,
    },
    /// What it wants to be offered from now on while it states no demand, in place of what was said
    /// before. Offers that are held stay.
    OfferConditions {
        /// By role.
        conditions: OfferConditions,
    },
    /// The whole of what it wants; groups that are not named end (K10).
    Demand {
        /// All groups.
        groups: Vec<DemandGroup>,
    },
    /// All its budgets as they are from now on, in place of what was said before. One that is not named is
    /// what the newest launch of it said.
    Budgets {
        /// All of them.
        budgets: Vec<Budget>,
    },
    /// A template that later launches name.
    Template {
        /// Its digest; checked.
        digest: TemplateDigest,
        /// The template.
        template: PodTemplate,
    },
    /// Use offers.
    Accept(Accept),
    /// Give offers back.
    Decline {
        /// Which.
        offers: Vec<OfferId>,
        /// For how long the same is not offered again.
        refuse_for: DurationMs,
    },
    /// Keep offers for another term.
    Renew {
        /// Which.
        offers: Vec<OfferId>,
    },
    /// No more offers for these roles; empty: all of them.
    Suppress {
        /// Which.
        roles: BTreeSet<RoleName>,
    },
    /// Offers again, and all filters cleared, for these roles; empty: all of them.
    Revive {
        /// Which.
        roles: BTreeSet<RoleName>,
    },
    /// End a task.
    Kill {
        /// Which.
        task: TaskName,
        /// How; `None`: as its template says.
        policy: Option<KillPolicy>,
    },
    /// Everything of this agent's log up to `through` has been handled, except some (K15).
    Acknowledge {
        /// Whose log.
        agent: AgentId,
        /// Which life of it.
        incarnation: LogIncarnation,
        /// Up to and including.
        through: u64,
        /// Not these.
        except: BTreeSet<u64>,
    },
    /// It moves the tasks that these ask for itself. Said anew in each epoch.
    AcceptInverseOffers {
        /// Which.
        offers: Vec<InverseOfferId>,
    },
    /// It does not. At their deadline the tasks are killed all the same.
    DeclineInverseOffers {
        /// Which.
        offers: Vec<InverseOfferId>,
        /// Why, for people.
        reason: String,
    },
    /// Ask for all tasks again.
    Snapshot,
    /// Use the state store.
    State {
        /// The framework's own number for it; the answer carries it.
        request: u64,
        /// What to do.
        call: StateCall,
    },
    /// End the framework: its tasks are killed, its state is deleted, its id is never used again.
    Teardown,
    /// I am here.
    Heartbeat,
}

/// A task as the master knows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Its latest status.
    pub status: TaskStatus,
    /// What runs.
    pub template: TemplateDigest,
    /// What it holds.
    pub resources: crate::resources::Resources,
    /// The role that pays.
    pub role: RoleName,
    /// Its variables.
    pub variables: BTreeMap<String, String>,
    /// Its own labels.
    pub labels: BTreeMap<String, String>,
    /// The demand group it serves.
    pub group: Option<crate::ids::GroupName>,
    /// The agent's name.
    pub agent_name: AgentName,
    /// Where it is reached.
    pub address: String,
    /// As in its launch.
    pub priority: i32,
    /// As in its launch.
    pub budget: Option<Budget>,
    /// The gang it was launched in: all of it starts, or none (K3).
    #[serde(default)]
    pub gang: Option<crate::ids::GangId>,
}

/// Why an agent that may hold tasks of the framework has not answered (K2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Absence {
    /// It has not registered with this master yet.
    Awaited,
    /// It is out of reach since then.
    UnreachableSince(WallTime),
    /// It is gone for good; what it had is lost.
    Gone,
}

/// An agent that a snapshot could not speak for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AbsentAgent {
    /// Which.
    pub agent: AgentId,
    /// Why.
    pub absence: Absence,
}

/// What a framework is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// It is the active replica now. A snapshot follows.
    Subscribed {
        /// Its id.
        framework: FrameworkId,
        /// The session of its launch tokens.
        epoch: FrameworkEpoch,
        /// The cluster's incarnation.
        incarnation: Incarnation,
        /// Send something at least this often.
        heartbeat: DurationMs,
        /// How long an offer is held.
        offer_ttl: DurationMs,
        /// Key with which the leading master signs its requests to this framework's API.
        capability_key: Vec<u8>,
    },
    /// Another replica is active; this one waits.
    Standby {
        /// Which.
        active: ReplicaId,
    },
    /// A part of all tasks.
    SnapshotPage {
        /// Some of them.
        tasks: Vec<TaskRecord>,
    },
    /// After all tasks: a part of the agents that the end names the rest of.
    SnapshotAbsent {
        /// Some of them.
        absent: Vec<AbsentAgent>,
    },
    /// The snapshot ends; deltas follow.
    SnapshotEnd {
        /// Where it stands.
        cursor: Cursor,
        /// None here or before: complete. Else the absence of a task means nothing for these agents (K2).
        absent: Vec<AbsentAgent>,
    },
    /// An agent of an earlier `absent` list has answered or was given up; its tasks came before.
    AgentResolved {
        /// Which.
        agent: AgentId,
        /// `None`: it is back. Else what is known now.
        absence: Option<Absence>,
    },
    /// New leases.
    Offers {
        /// They.
        offers: Vec<Offer>,
    },
    /// Leases taken back.
    Rescinded {
        /// Which.
        offers: Vec<OfferId>,
        /// Why: `expired`, `agent_changed`, `agent_lost`, `demand_changed`, `limit_lowered`,
        /// `operator`.
        reason: String,
    },
    /// Groups that ended because their deadline has passed. Their leases and tasks stay.
    DemandExpired {
        /// They.
        groups: Vec<ExpiredGroup>,
    },
    /// Tasks that it is asked to give up. All that stand are said at each subscription, before the
    /// snapshot.
    InverseOffers {
        /// They.
        offers: Vec<InverseOffer>,
    },
    /// They stand no more.
    InverseOffersRescinded {
        /// Which.
        offers: Vec<InverseOfferId>,
        /// Why: `cancelled`, `changed`, `done`.
        reason: String,
    },
    /// Answer to an accept: booked, or refused as a whole.
    Accepted {
        /// Its number.
        accept: u64,
        /// `None`: booked.
        refusal: Option<Refusal>,
        /// What its operations make or change, in their order.
        holds: Vec<HoldId>,
    },
    /// A reservation or volume that this framework made stands otherwise than before. Best effort: what
    /// counts is what is offered.
    Hold(HoldNews),
    /// The newest state of a task.
    Status(TaskStatus),
    /// A task that the framework did not know from this stream: full record before its statuses.
    Task(Box<TaskRecord>),
    /// Answer of the state store.
    State {
        /// Its number.
        request: u64,
        /// The answer.
        answer: StateAnswer,
    },
    /// A call without an own answer was refused.
    Refused {
        /// Which kind of call: `kill`, `demand`, `subscribe`, …
        call: String,
        /// Why.
        refusal: Refusal,
    },
    /// Another replica took over; this stream ends.
    Superseded {
        /// Which.
        by: ReplicaId,
    },
    /// The framework was ended; this stream ends.
    TornDown,
    /// I am here.
    Heartbeat,
}
