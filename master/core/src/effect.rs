//! Every output of the master. Order: first in, first out per peer and per store lane, nothing else
//! (K21). A promise is never emitted before the write it depends on came back.

use crate::registry::RegistryChange;
use proffer_allocator::Delta;
use proffer_types::agent::AgentDown;
use proffer_types::operator::{Change, OperatorAnswer};
use proffer_types::scheduler::SchedulerDown;
use proffer_types::{Cursor, FrameworkId, Refusal};
use serde::{Deserialize, Serialize};

/// A connection of an agent or a framework. Chosen by the shell, never reused by one master.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ConnectionId(pub u64);

/// Where an operator's answer goes. Chosen by the shell, never reused by one master.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ReplyTo(pub u64);

/// Names one write or read of the store until its result comes back. Ascending within one master.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct OperationId(pub u64);

/// Which queue of the store a write takes. Registry writes go first, except that no write ever
/// overtakes an earlier one of the same record (K9).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteLane {
    /// What the cluster must remember.
    Registry,
    /// What frameworks keep in their state stores.
    FrameworkState,
}

/// A page that a framework asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StateList {
    /// Only keys that start so.
    pub prefix: String,
    /// Only keys after this one.
    pub after: Option<String>,
    /// Most entries; at most [`crate::limits::STATE_PAGE_ENTRIES_MAX`].
    pub limit: u32,
}

/// An output of the master.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Write these records, all or none, and answer with
    /// [`crate::Command::RegistryWritten`].
    Persist {
        /// Its number.
        operation: OperationId,
        /// Which queue.
        lane: WriteLane,
        /// At most one change a record; within the limits of one etcd transaction.
        changes: Vec<RegistryChange>,
    },
    /// Read a page of a framework's state store and answer with [`crate::Command::StateRead`]. The
    /// read sees all writes of that framework whose completion the core has been told.
    ReadState {
        /// Its number.
        operation: OperationId,
        /// Whose.
        framework: FrameworkId,
        /// What.
        list: StateList,
    },
    /// Send to an agent. Dropped by the shell when the connection is gone.
    SendAgent {
        /// On which connection.
        connection: ConnectionId,
        /// What.
        frame: AgentDown,
    },
    /// Send to a framework. At most as many events leave as the connection has credits.
    SendFramework {
        /// On which connection.
        connection: ConnectionId,
        /// What.
        frame: SchedulerDown,
    },
    /// Answer an operator.
    Reply {
        /// Whom.
        reply_to: ReplyTo,
        /// What.
        answer: OperatorAnswer,
        /// Where a view must stand to show it (K6).
        at: Cursor,
    },
    /// Send what was sent before, then end the connection and tell the peer why.
    Close {
        /// Which.
        connection: ConnectionId,
        /// Why.
        refusal: Refusal,
    },
    /// The changes of a turn (K6). `changes[i]` has the number `first + i`.
    Publish {
        /// Cursor of the first change; when `changes` is empty, of the next one.
        first: Cursor,
        /// In order.
        changes: Vec<Change>,
        /// What the allocator was told, in order, for the copy that explains.
        deltas: Vec<Delta>,
    },
    /// The process ends and recovers from what is stored (K4). The last effect.
    Stop {
        /// Why, for people.
        reason: String,
    },
}
