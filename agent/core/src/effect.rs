//! Every output of the agent.
//!
//! Order (K21): effects on one container take place in the order emitted, checkpoint writes become
//! durable in the order emitted, frames of one connection are sent in the order emitted. Nothing
//! else is promised, and the core relies on nothing else.

use crate::checkpoint::Write;
use crate::command::{ConnectionId, WriteId};
use crate::container::{ContainerRequest, ProbeRequest};
use proffer_types::agent::AgentUp;
use proffer_types::ids::{ContainerId, VolumeId};
use proffer_types::template::KillPolicy;
use proffer_types::units::DurationMs;
use serde::{Deserialize, Serialize};

/// What the shell is to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Make these durable, all or none of them, after all earlier ones. Answered by
    /// `Command::Written`. A failed write ends the process (K4): the next one recovers.
    Checkpoint {
        /// Its number.
        op: WriteId,
        /// The records.
        writes: Vec<Write>,
    },
    /// Open a connection now; earlier ones are closed. Answered by `Connected` or `Disconnected`.
    Connect {
        /// Its number.
        connection: ConnectionId,
        /// To which address: one of the configured, or the leader that one of them named.
        master: String,
    },
    /// Close a connection. No answer is needed.
    Disconnect {
        /// Which.
        connection: ConnectionId,
    },
    /// Send a frame; dropped when the connection is closed.
    Send {
        /// On which connection.
        connection: ConnectionId,
        /// It.
        frame: AgentUp,
    },
    /// Make a container that waits. Answered by `Prepared` or `PrepareFailed`.
    Prepare(Box<ContainerRequest>),
    /// Let a prepared container start. Answered by `Started` and `Exited`, or `Exited` alone.
    Go {
        /// Which.
        container: ContainerId,
    },
    /// Begin to end a container. Its supervisor times the grace. Answered by `Exited`.
    Kill {
        /// Which.
        container: ContainerId,
        /// How.
        policy: KillPolicy,
    },
    /// Remove every trace but the sandbox, killing what may run; retried by the shell until it is
    /// done. Answered by `Destroyed`.
    Destroy {
        /// Which.
        container: ContainerId,
    },
    /// Tell the supervisors of these containers that a grant was held (K13).
    Grant {
        /// Which.
        containers: Vec<ContainerId>,
        /// How long before now the grant counts from.
        age: DurationMs,
    },
    /// Ask a container something once. Answered by `ProbeResult`; a container that has ended
    /// meanwhile needs no answer.
    Probe {
        /// Which.
        container: ContainerId,
        /// Which of its checks.
        check: u32,
        /// Number of this probe; the answer carries it.
        probe: u64,
        /// What to ask.
        request: ProbeRequest,
        /// Longest wait.
        timeout: DurationMs,
    },
    /// Delete a sandbox directory. A failure is the shell's to report and retry at next start.
    RemoveSandbox {
        /// Whose.
        container: ContainerId,
    },
    /// Make the directory of a volume; one that is there stays as it is. Answered by `VolumeMade`.
    MakeVolume {
        /// Which.
        volume: VolumeId,
    },
    /// Remove a volume with its data; retried by the shell until it is done. Answered by
    /// `VolumeWiped`.
    WipeVolume {
        /// Which.
        volume: VolumeId,
    },
    /// Key with which requests to the sandbox API are signed from now on (K20).
    SetCapabilityKey {
        /// It.
        key: Vec<u8>,
    },
}
