//! What the driver counts. Only ever grows; a shell exports it.

use serde::{Deserialize, Serialize};

/// Counts since the start of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Connections that were made.
    pub connections: u64,
    /// Frames of a connection that was given up.
    pub frames_of_older_connection: u64,
    /// Frames of a master that no longer leads.
    pub frames_of_older_master: u64,
    /// Frames for an earlier subscription.
    pub frames_of_older_epoch: u64,
    /// Events that have no meaning where they came; a master of ours sends none.
    pub events_out_of_place: u64,
    /// Statuses that changed something.
    pub statuses_applied: u64,
    /// Statuses seen before; acknowledged again.
    pub statuses_repeated: u64,
    /// Statuses of an earlier launch or an earlier life of a log; acknowledged.
    pub statuses_stale: u64,
    /// Statuses that the table of legal moves forbids; acknowledged.
    pub statuses_illegal: u64,
    /// Statuses of tasks that nobody told of before.
    pub statuses_unknown: u64,
    /// Offers received.
    pub offers: u64,
    /// Offers given back unused.
    pub offers_declined: u64,
    /// Accepts sent.
    pub accepts: u64,
    /// Accepts refused.
    pub accepts_refused: u64,
    /// Launches sent.
    pub launches: u64,
    /// Requests asked for again after a launch that never ran.
    pub launches_retried: u64,
    /// Accepts whose outcome was unknown when the connection was lost.
    pub accepts_unknown: u64,
    /// Commits sent to the state store.
    pub commits: u64,
}
