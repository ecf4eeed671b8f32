//! Owns the contract of the master's durable store, and the map of what implements and uses it.
//!
//! ```text
//!   core's write effects                                       reads, standbys
//!        |                                                          |
//!        v                                                          v
//!   leader        Leadership: submit never blocks,            watch   ResumingWatch
//!     |           completions by operation id                   |
//!     +- commit_queue   grouping, commit_seq, unknown outcomes  +- watch_cursor  resume, reset
//!     +- lease          confirmed, suspended, lost              |
//!        |                                                          |
//!        +------------------------- Store --------------------------+
//!                          |           |          |
//!                      embedded      etcd       memory
//!                       (redb)                    +- memory_core
//! ```
//!
//! `commit_queue`, `lease`, `watch_cursor`, `backoff`, `memory_core` and what they stand on are pure:
//! the simulator drives them with virtual time (K21). The rest is tokio.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

pub mod backoff;
pub mod change_log;
pub mod clock;
pub mod commit_queue;
pub mod embedded;
pub mod error;
pub mod etcd;
pub mod leader;
pub mod lease;
pub mod memory;
pub mod memory_core;
pub mod model;
mod seat;
pub mod watch;
pub mod watch_cursor;

pub use commit_queue::{CommitOutcome, Completed, Lane, SubmitError};
pub use error::StoreError;
pub use leader::{Leadership, LeadershipSettings, campaign};
pub use model::{
    Batch, Campaign, Change, ChangeSet, Entry, Guard, Key, LeaderRecord, LeaderToken, Limits,
    Operation, OperationId, Page, RangeRequest, Revision, Transaction, TransactionResult, Usage,
    Value,
};
pub use watch::ResumingWatch;
pub use watch_cursor::WatchEvent;

/// What a store answers, sooner or later.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Changes as they happen. Ends with an error; [`ResumingWatch`] knows how to go on.
pub type ChangeStream = BoxStream<'static, Result<ChangeSet, StoreError>>;

/// Where a master keeps what must survive it.
///
/// # Guarantees
/// - Reads and transactions are linearisable; a page read `at` a revision sees exactly that state.
/// - A transaction is applied whole, and only while its leadership and commit mark stand (K4).
/// - Each transaction makes a new, greater revision.
pub trait Store: Send + Sync + 'static {
    /// What it takes at once.
    fn limits(&self) -> Limits;

    /// Reads one record.
    fn get(&self, key: Key) -> Answer<'_, Option<Entry>>;

    /// Reads a page of the records below a prefix.
    fn range(&self, request: RangeRequest) -> Answer<'_, Page>;

    /// Tells the changes below a prefix from a revision on, [`StoreError::Compacted`] if history is
    /// gone. Each revision's changes come in one piece.
    fn watch(&self, prefix: Key, from: Revision) -> Answer<'_, ChangeStream>;

    /// Applies a transaction. Repeating one is safe: its mark lets it apply once.
    fn transact(&self, transaction: Arc<Transaction>) -> BoxFuture<'_, TransactionResult>;

    /// Reads what guards every transaction.
    fn guard(&self) -> Answer<'_, Guard>;

    /// Waits until nobody else leads, then leads. Dropping the future stops the waiting.
    fn campaign(&self, candidate: Value, ttl: Duration) -> Answer<'_, Campaign>;

    /// Renews a term; returns how long it lasts from when this was asked. Also confirms that the
    /// campaign key still has the same create revision.
    fn keep_alive(&self, token: LeaderToken) -> Answer<'_, Duration>;

    /// Ends a term. Ending one that is over already is fine.
    fn resign(&self, token: LeaderToken) -> Answer<'_, ()>;

    /// Who leads now.
    fn leader(&self) -> Answer<'_, Option<LeaderRecord>>;

    /// Forgets history before a revision; that revision itself can still be read.
    fn compact(&self, revision: Revision) -> Answer<'_, ()>;

    /// How much room it takes.
    fn usage(&self) -> Answer<'_, Usage>;
}
