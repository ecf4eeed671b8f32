//! Owns the ways in which a store can fail to answer.

use std::path::PathBuf;

use super::model::Revision;

/// A store did not answer a read, a campaign or an opening.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached or is busy; a repeat may help.
    #[error("the store is not available: {reason}")]
    Unavailable {
        /// What was tried and what came back.
        reason: String,
    },
    /// History before `oldest` is gone; read anew.
    #[error("revision {asked} is compacted, the oldest is {oldest}", asked = asked.0, oldest = oldest.0)]
    Compacted {
        /// What was asked for.
        asked: Revision,
        /// What can still be had.
        oldest: Revision,
    },
    /// The leadership named by the token no longer stands.
    #[error("the leadership of revision {create_revision} has ended", create_revision = create_revision.0)]
    LeadershipEnded {
        /// The term.
        create_revision: Revision,
    },
    /// A newer program wrote this store.
    #[error(
        "{place} has store format {found}, this program knows formats up to {supported}: \
         start a newer proffer"
    )]
    NewerFormat {
        /// File or address.
        place: String,
        /// What it has.
        found: u32,
        /// What we know.
        supported: u32,
    },
    /// Another process has the store open.
    #[error("{path} is in use by {holder}: one master at a time may open it", path = path.display())]
    InUse {
        /// The store's directory.
        path: PathBuf,
        /// What the lock file says of who holds it.
        holder: String,
    },
    /// What was read is not what this program writes.
    #[error("{place} is damaged: {reason}")]
    Damaged {
        /// File or key.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk did not cooperate.
    #[error("{action} {path}", path = path.display())]
    Disk {
        /// What was tried, as in "create directory".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The store refused the request for good.
    #[error("the store refused the request: {reason}")]
    Refused {
        /// In its words.
        reason: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody's help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
