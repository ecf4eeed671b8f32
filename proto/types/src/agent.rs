//! The conversation between an agent and the master. Every frame names agent, session and master
//! epoch, so that many agents can share a connection and late frames are dropped (K1, K8, K16).

use crate::attributes::Attributes;
use crate::claim::{Claim, ClaimMark};
use crate::hold::{AgentHold, Hold, HoldId};
use crate::ids::{
    AgentId, AgentName, AgentSession, ClaimId, FrameworkId, GangId, LogIncarnation, MasterEpoch,
    RoleName, TaskKey, TaskName, TemplateDigest,
};
use crate::refusal::Refusal;
use crate::resources::Resources;
use crate::scheduler::TaskRecord;
use crate::task::{IsolationLevel, StatusReason, TaskStatus};
use crate::template::{KillPolicy, PodTemplate, TaskLaunch};
use crate::units::DurationMs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What an agent says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AgentInfo {
    /// Unique in the cluster.
    pub name: AgentName,
    /// Name of its machine.
    pub hostname: String,
    /// Address at which its tasks are reached.
    pub address: String,
    /// Where sandboxes are read, for the master to pass requests on.
    pub api_url: String,
    /// All it has.
    pub resources: Resources,
    /// What it is.
    pub attributes: Attributes,
    /// Version of the program.
    pub version: String,
    /// What its containers are isolated by.
    pub isolation: IsolationLevel,
    /// Changes with each start of the machine.
    pub boot_id: String,
    /// Whether it speaks to the master without TLS across machines.
    pub insecure: bool,
}

/// A frame from an agent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AgentUp {
    /// `None` until it was admitted the first time.
    pub agent: Option<AgentId>,
    /// The registration it belongs to.
    pub session: AgentSession,
    /// The master it is meant for; zero in the first frames of a registration.
    pub master_epoch: MasterEpoch,
    /// In order.
    pub messages: Vec<AgentMessage>,
}

/// A frame to an agent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AgentDown {
    /// To whom.
    pub agent: AgentId,
    /// For which registration; another one is dropped.
    pub session: AgentSession,
    /// Who sends; an older one is dropped.
    pub master_epoch: MasterEpoch,
    /// In order.
    pub orders: Vec<AgentOrder>,
}

/// A task as its agent reports it when it registers. The full description stays at the agent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AgentTask {
    /// All the master needs to rebuild its row.
    pub record: TaskRecord,
    /// Whether the framework has acknowledged the status in it.
    pub acknowledged: bool,
    /// It is to make room.
    pub claim: Option<ClaimMark>,
}

impl AgentTask {
    /// Tasks that an agent keeps for one framework, ended but unacknowledged ones included (K15). What
    /// a framework remembers of ends follows from it.
    pub const PER_FRAMEWORK_MAX: usize = 4096;
}

/// What an agent may say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentMessage {
    /// Begins a registration: a barrier. From here on launches of an older master epoch or session
    /// are refused, and the pages that follow hold everything ever taken (K1).
    Register {
        /// What it says of itself.
        info: AgentInfo,
        /// The life of its status log.
        log: LogIncarnation,
        /// Whether it takes the orders of gangs (K3); one that does not say so is sent none.
        knows_gangs: bool,
    },
    /// A part of what it has taken and not forgotten.
    Tasks {
        /// Some of them.
        tasks: Vec<AgentTask>,
    },
    /// A part of the reservations and volumes on its disk. Part of every registration, also when there
    /// are none: who sends it takes orders about them (K18).
    Holds {
        /// Some of them.
        holds: Vec<AgentHold>,
    },
    /// The list is complete.
    RegisterEnd,
    /// New statuses, ascending by sequence per framework.
    Statuses {
        /// They.
        statuses: Vec<TaskStatus>,
    },
    /// An order about a hold was carried out and is on the disk, or never will be.
    HoldDone {
        /// Which.
        id: HoldId,
        /// The change that the order named.
        op: u64,
        /// Why it was not carried out.
        refusal: Option<Refusal>,
    },
    /// I am here.
    Heartbeat,
    /// It leaves in good order (its tasks run on).
    Leaving,
}

/// A launch as it reaches the agent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AgentLaunch {
    /// Whose.
    pub framework: FrameworkId,
    /// The role that pays.
    pub role: RoleName,
    /// What.
    pub launch: TaskLaunch,
}

/// Who wants a task to end, or what for; decides what its end is called.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KillCause {
    /// Its framework.
    Framework,
    /// An operator, also one who ended the framework.
    Operator,
    /// Its agent is drained.
    Drain,
    /// A maintenance window of its agent has begun.
    Maintenance,
    /// Room is made for another demand (K11).
    Preemption,
}

impl KillCause {
    /// What the end is called.
    #[must_use]
    pub const fn reason(self) -> StatusReason {
        match self {
            Self::Framework => StatusReason::KilledByFramework,
            Self::Operator => StatusReason::KilledByOperator,
            Self::Drain => StatusReason::Drained,
            Self::Maintenance => StatusReason::Maintenance,
            Self::Preemption => StatusReason::Preempted,
        }
    }

    /// Whether the agent is emptied, so that the kill is void once it is not.
    #[must_use]
    pub const fn empties_agent(self) -> bool {
        matches!(self, Self::Drain | Self::Maintenance)
    }
}

/// What an agent is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentOrder {
    /// It is admitted; its list is known.
    Registered {
        /// Send something at least this often.
        heartbeat: DurationMs,
        /// How long orders may be obeyed from now on: the leader's remaining confirmed lease (K8).
        grant: DurationMs,
        /// Key with which the master signs capabilities for this agent's API.
        capability_key: Vec<u8>,
    },
    /// It is not admitted.
    Refused {
        /// Why.
        refusal: Refusal,
        /// It was marked gone: it ends its tasks and starts anew.
        gone: bool,
    },
    /// Answer to a heartbeat.
    Grant {
        /// As in `Registered`.
        grant: DurationMs,
    },
    /// A template that later launches name; comes once a stream.
    Template {
        /// Its digest.
        digest: TemplateDigest,
        /// The template.
        template: PodTemplate,
    },
    /// Start tasks.
    Launch {
        /// Which.
        tasks: Vec<AgentLaunch>,
    },
    /// End a task.
    Kill {
        /// Whose.
        framework: FrameworkId,
        /// Which.
        task: TaskName,
        /// How; `None`: as its template says.
        policy: Option<KillPolicy>,
        /// Who wants it, or what for.
        cause: KillCause,
    },
    /// Statuses up to `through`, except some, need not be kept (K15).
    Acknowledge {
        /// Whose.
        framework: FrameworkId,
        /// Which life of the log.
        incarnation: LogIncarnation,
        /// Up to and including.
        through: u64,
        /// Not these.
        except: BTreeSet<u64>,
    },
    /// The framework was ended: kill its tasks, forget its records.
    EndFramework {
        /// Which.
        framework: FrameworkId,
    },
    /// Make a hold, or change it to this. A repeat is answered again (K18).
    ApplyHold {
        /// It.
        hold: Hold,
    },
    /// Forget a hold; wipe a volume. A repeat is answered again (K18).
    RemoveHold {
        /// Which.
        id: HoldId,
        /// Number of this change.
        op: u64,
    },
    /// Tasks are to make room, and are killed once their time is over (K11). A repeat changes nothing.
    Preempt {
        /// For what.
        claim: Claim,
        /// Which.
        tasks: Vec<TaskKey>,
        /// Their time.
        grace: DurationMs,
    },
    /// They need not.
    DropClaim {
        /// Which claim.
        claim: ClaimId,
    },
    /// Take these tasks and make their containers, and start none of them before `StartGang` (K3). A
    /// task that is known already is a repeat and changes nothing.
    Prepare {
        /// Of which gang.
        gang: GangId,
        /// Which.
        tasks: Vec<AgentLaunch>,
    },
    /// It is durable that the gang starts: its tasks here start. A repeat changes nothing.
    StartGang {
        /// Which.
        gang: GangId,
    },
    /// The gang never starts: its tasks here end without having run. A repeat changes nothing.
    AbortGang {
        /// Which.
        gang: GangId,
        /// Why, for people.
        why: String,
    },
}
