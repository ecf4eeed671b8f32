//! Every input of the agent. Facts come from the shell, orders from the master inside frames.

use crate::container::{ContainerExit, PrepareFailure};
use proffer_types::agent::AgentDown;
use proffer_types::ids::{ContainerId, VolumeId};
use serde::{Deserialize, Serialize};

/// Numbers the connections that the core asked for; a late fact of an older one is dropped.
pub type ConnectionId = u64;
/// Numbers the checkpoint writes, ascending in the order in which they were emitted.
pub type WriteId = u64;

/// What may be told to [`Agent::apply`](crate::Agent::apply). Every command may come at any time;
/// one that comes late or twice changes nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// The connection asked for by `Effect::Connect` is open. A registration follows once all
    /// writes emitted before are durable.
    Connected {
        /// Which.
        connection: ConnectionId,
    },
    /// The connection could not be made, or it ended.
    Disconnected {
        /// Which.
        connection: ConnectionId,
        /// Why, for people.
        reason: String,
        /// Address of the leader, when the peer said that it does not lead.
        leader: Option<String>,
    },
    /// A frame from the master.
    Frame {
        /// The connection it came on.
        connection: ConnectionId,
        /// It.
        frame: AgentDown,
    },
    /// All checkpoint writes up to and including this one are durable.
    Written {
        /// The last of them.
        through: WriteId,
    },
    /// A container is prepared and waits for `Effect::Go`.
    Prepared {
        /// Which.
        container: ContainerId,
    },
    /// A container could not be prepared; nothing of it is left.
    PrepareFailed {
        /// Which.
        container: ContainerId,
        /// Why.
        failure: PrepareFailure,
    },
    /// The program of a container executes.
    Started {
        /// Which.
        container: ContainerId,
        /// Its first process.
        pid: u32,
    },
    /// A container ended; its traces stay until `Effect::Destroy`.
    Exited {
        /// Which.
        container: ContainerId,
        /// How.
        exit: ContainerExit,
    },
    /// Nothing is left of a container but its sandbox.
    Destroyed {
        /// Which.
        container: ContainerId,
    },
    /// The directory of a volume is there, or could not be made.
    VolumeMade {
        /// Which.
        volume: VolumeId,
        /// Why not.
        failure: Option<String>,
    },
    /// Nothing is left of a volume.
    VolumeWiped {
        /// Which.
        volume: VolumeId,
    },
    /// A probe came back.
    ProbeResult {
        /// Of which container.
        container: ContainerId,
        /// Of which of its checks.
        check: u32,
        /// Which probe of that check.
        probe: u64,
        /// Whether it passed.
        passed: bool,
        /// What was seen, for people: a status code, an error.
        detail: String,
    },
    /// `next_deadline()` has passed.
    DeadlineReached,
    /// The process is about to end in good order; tasks run on. The master is told and nothing is
    /// obeyed any more.
    Leave,
    /// End every task for good, as when `dev` ends; statuses are reported as long as there is a
    /// master. Finished when [`Agent::is_idle`](crate::Agent::is_idle).
    EndTasks {
        /// Without the graces of their templates, also of what is being ended already.
        at_once: bool,
    },
}
