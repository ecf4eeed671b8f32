//! What survives the agent: one record per object, written by value. `Checkpoint` is the sum of all
//! writes, as it is read at the next start.

use proffer_types::claim::Claim;
use proffer_types::hold::{Hold, HoldId};
use proffer_types::ids::{
    AgentId, ContainerId, FrameworkId, GangId, LogIncarnation, MasterEpoch, RoleName, TaskName,
    TemplateDigest,
};
use proffer_types::task::{TaskState, TaskStatus};
use proffer_types::template::{KillPolicy, PodTemplate, TaskLaunch};
use proffer_types::units::Monotonic;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who this agent is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// Given by the master at the first registration.
    pub agent: Option<AgentId>,
    /// Grows with each start of the process; the upper part of every session.
    pub incarnation: u64,
    /// The life of the status log.
    pub log: LogIncarnation,
    /// The boot in which the tasks of this checkpoint run.
    pub boot_id: String,
    /// The newest master obeyed; an older one is not obeyed again (K1).
    pub master_epoch: MasterEpoch,
    /// The master marked this agent gone: it ends its tasks and then starts anew.
    pub ending: bool,
}

/// Why a task is being killed; decides what its end is called.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KillCause {
    /// Its framework asked.
    Framework,
    /// An operator asked, or ended the framework, or the agent was given up.
    Operator,
    /// Its agent is drained.
    Drain,
    /// A maintenance window of its agent has begun.
    Maintenance,
    /// Room is made for another demand.
    Preemption,
    /// Its alive check failed.
    AliveCheck,
    /// Its startup check did not pass in time.
    StartupTimeout,
}

/// A kill under way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KillIntent {
    /// Why: the first cause stays.
    pub cause: KillCause,
    /// How: the newest stays.
    pub policy: KillPolicy,
    /// For people.
    pub detail: String,
}

/// A task is to make room, and has some time left for it (K11).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClaimCheckpoint {
    /// For what.
    pub claim: Claim,
    /// When it is killed, on the machine's clock since its start.
    pub until: Monotonic,
}

/// A task that was taken or refused, and not forgotten.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TaskCheckpoint {
    /// Whose.
    pub framework: FrameworkId,
    /// The role that pays.
    pub role: RoleName,
    /// The launch as it came.
    pub launch: TaskLaunch,
    /// Its newest status.
    pub status: TaskStatus,
    /// Set once it is being killed.
    pub kill: Option<KillIntent>,
    /// Its startup checks have passed.
    pub startup_passed: bool,
    /// Set while it is to make room.
    #[serde(default)]
    pub claim: Option<ClaimCheckpoint>,
    /// The gang it was launched in (K3).
    #[serde(default)]
    pub gang: Option<GangId>,
}

impl TaskCheckpoint {
    /// Its container.
    #[must_use]
    pub fn container(&self) -> ContainerId {
        self.launch.token.container(self.framework)
    }

    /// Whether it may not start yet: its gang is not told to.
    #[must_use]
    pub fn waits_for_gang(&self) -> bool {
        self.gang.is_some() && self.status.state == TaskState::Staging
    }
}

/// The status log of one framework: the statuses themselves stand in the tasks, newest only (K15).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct LogCheckpoint {
    /// The last sequence number given out.
    pub last_sequence: u64,
    /// The framework was ended: what it still has here is killed and then forgotten.
    pub ended: bool,
}

/// A directory that a container left, or uses.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SandboxCheckpoint {
    /// Whose.
    pub framework: FrameworkId,
    /// Which task.
    pub task: TaskName,
}

/// A reservation or a volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HoldCheckpoint {
    /// It.
    pub hold: Hold,
    /// It is being removed: number of that change.
    pub removing: Option<u64>,
}

/// One change of one record. Repeating it changes nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Write {
    /// Sets the identity.
    PutIdentity(Identity),
    /// Sets a task.
    PutTask(Box<TaskCheckpoint>),
    /// Forgets a task.
    DeleteTask(ContainerId),
    /// Keeps a template that a task uses.
    PutTemplate(TemplateDigest, Box<PodTemplate>),
    /// Forgets a template that no task uses.
    DeleteTemplate(TemplateDigest),
    /// Sets a framework's log.
    PutLog(FrameworkId, LogCheckpoint),
    /// Forgets a framework's log; its id is never used again (K19).
    DeleteLog(FrameworkId),
    /// Notes a sandbox.
    PutSandbox(ContainerId, SandboxCheckpoint),
    /// Forgets a sandbox.
    DeleteSandbox(ContainerId),
    /// Sets a reservation or a volume.
    PutHold(Box<HoldCheckpoint>),
    /// Forgets one; its id is never used again (K19).
    DeleteHold(HoldId),
}

/// All records.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Who it is; `None` before the first write.
    pub identity: Option<Identity>,
    /// Tasks by container.
    pub tasks: BTreeMap<ContainerId, TaskCheckpoint>,
    /// Templates of those tasks.
    pub templates: BTreeMap<TemplateDigest, PodTemplate>,
    /// Logs by framework.
    pub logs: BTreeMap<FrameworkId, LogCheckpoint>,
    /// Sandboxes by container.
    pub sandboxes: BTreeMap<ContainerId, SandboxCheckpoint>,
    /// Reservations and volumes by id.
    pub holds: BTreeMap<HoldId, HoldCheckpoint>,
}

impl Checkpoint {
    /// Applies one write.
    pub fn apply(&mut self, write: &Write) {
        match write {
            Write::PutIdentity(identity) => self.identity = Some(identity.clone()),
            Write::PutTask(task) => {
                self.tasks.insert(task.container(), task.as_ref().clone());
            }
            Write::DeleteTask(container) => {
                self.tasks.remove(container);
            }
            Write::PutTemplate(digest, template) => {
                self.templates.insert(*digest, template.as_ref().clone());
            }
            Write::DeleteTemplate(digest) => {
                self.templates.remove(digest);
            }
            Write::PutLog(framework, log) => {
                self.logs.insert(*framework, *log);
            }
            Write::DeleteLog(framework) => {
                self.logs.remove(framework);
            }
            Write::PutSandbox(container, sandbox) => {
                self.sandboxes.insert(container.clone(), sandbox.clone());
            }
            Write::DeleteSandbox(container) => {
                self.sandboxes.remove(container);
            }
            Write::PutHold(record) => {
                self.holds.insert(record.hold.id, record.as_ref().clone());
            }
            Write::DeleteHold(id) => {
                self.holds.remove(id);
            }
        }
    }

    /// Containers that may exist and are wanted: what the containerizer is asked to recover. All
    /// others are orphans.
    #[must_use]
    pub fn expected_containers(&self) -> Vec<ContainerId> {
        let live = self.tasks.iter().filter(|(_, task)| !task.status.state.is_terminal());
        live.map(|(container, _)| container.clone()).collect()
    }
}
