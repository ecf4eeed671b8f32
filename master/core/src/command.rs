//! Every input of the master: who sends it, when it is legal. Plain data, so that a recorded list of
//! commands replays to the same state (K21).

use crate::effect::{ConnectionId, OperationId, ReplyTo};
use proffer_types::agent::AgentUp;
use proffer_types::operator::OperatorCall;
use proffer_types::scheduler::{Event, SchedulerUp};
use proffer_types::state_store::StateEntry;
use proffer_types::{DurationMs, FrameworkEpoch, Monotonic, PrincipalName, Refusal};
use serde::{Deserialize, Serialize};

/// Which conversation a connection carries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Peer {
    /// Agents, one or many (K16).
    Agent,
    /// One replica of a framework.
    Framework,
}

/// How a write ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteResult {
    /// Durable.
    Committed,
    /// Not durable, or nobody can tell. The core never rolls back: it answers with
    /// [`crate::Effect::Stop`] (K4).
    Failed {
        /// Why, for people.
        reason: String,
    },
}

/// A page of a framework's state store, as the shell read it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StatePage {
    /// Ascending by key.
    pub entries: Vec<StateEntry>,
    /// Whether more follow.
    pub more: bool,
}

/// An input of the master.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// The shell won the election and read the registry that [`crate::Master::recover`] was given.
    /// First command of a master's life; answered with the write that raises the master epoch.
    /// Until that is durable every call is refused with `unavailable` (K8).
    LeadershipGained {
        /// Until when the leader's lease is confirmed, less the safety margin.
        lease_until: Monotonic,
    },
    /// The lease was renewed. Ends a suspension and lets the held effects go, in order (K8).
    LeaseConfirmed {
        /// Until when, less the safety margin. Stores without a lease send the end of time.
        lease_until: Monotonic,
    },
    /// The lease could not be confirmed in time: from now on effects are held. The core also
    /// notices by itself when `now` passes the confirmed lease.
    Suspended,
    /// A peer connected and said who it is. Comes before all frames of the connection.
    ConnectionOpened {
        /// Its id; never used again by this master.
        connection: ConnectionId,
        /// Which conversation.
        peer: Peer,
        /// Who speaks.
        principal: PrincipalName,
    },
    /// A connection ended, also after [`crate::Effect::Close`]. Its last command.
    ConnectionClosed {
        /// Which.
        connection: ConnectionId,
    },
    /// Bytes arrived on these connections since the last such command. Coalesced by the shell and
    /// taken before all queues, so that load never looks like silence (K7, K15).
    Heard {
        /// Which; ascending, each once.
        connections: Vec<ConnectionId>,
    },
    /// A frame from an agent.
    AgentFrame {
        /// How it came.
        connection: ConnectionId,
        /// What.
        frame: AgentUp,
    },
    /// A frame from a framework.
    SchedulerFrame {
        /// How it came.
        connection: ConnectionId,
        /// What.
        frame: SchedulerUp,
    },
    /// Calls of a framework's frame that could not be read; the rest of the frame came before.
    CallsRefused {
        /// How they came.
        connection: ConnectionId,
        /// The epoch of their frame.
        epoch: FrameworkEpoch,
        /// What answers them.
        answers: Vec<Event>,
    },
    /// The framework's stream took events; the core may emit this many more (K15). A connection
    /// starts with [`crate::limits::FRAMEWORK_WINDOW`] credits; the shell returns one for each event
    /// that left its buffer.
    FrameworkDrained {
        /// Which.
        connection: ConnectionId,
        /// How many.
        credits: u32,
    },
    /// An operator wants something. Authorised by the shell.
    Operator {
        /// Where the answer goes.
        reply_to: ReplyTo,
        /// Who asks.
        principal: PrincipalName,
        /// What.
        call: OperatorCall,
    },
    /// A write ended. Results come in any order; each operation has exactly one.
    RegistryWritten {
        /// Which.
        operation: OperationId,
        /// How.
        result: WriteResult,
    },
    /// A read of a framework's state store ended.
    StateRead {
        /// Which.
        operation: OperationId,
        /// What was read, or why not.
        result: Result<StatePage, Refusal>,
    },
    /// The shell has applied a batch of commands: spend this many allocation steps, then publish
    /// the changes (K6, K7).
    EndOfTurn {
        /// Most allocation steps.
        budget: u32,
        /// Age of the oldest command that still waits in the inbox.
        inbox_lag: DurationMs,
    },
    /// [`crate::Master::next_deadline`] was reached.
    Tick {
        /// Age of the oldest command that still waits in the inbox: while it is high, nobody is
        /// timed out (K15).
        inbox_lag: DurationMs,
    },
}
