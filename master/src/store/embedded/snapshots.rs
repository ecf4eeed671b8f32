//! Owns the redb snapshots that pages of one read share. They hold on to old pages of the file, so
//! they are few and short-lived.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use redb::ReadTransaction;

use super::super::model::Revision;

/// Reads that may be between two pages at once. The one unused longest has to start over.
const KEPT_MAX: usize = 8;

/// A reader that takes longer between two pages has to start over.
const IDLE_MAX: Duration = Duration::from_secs(30);

struct Kept {
    revision: Revision,
    reader: Arc<ReadTransaction>,
    used_at: Duration,
}

/// Oldest use first.
#[derive(Default)]
pub(super) struct Snapshots {
    kept: VecDeque<Kept>,
}

impl Snapshots {
    /// The snapshot of a revision, if it is kept.
    pub(super) fn get(
        &mut self,
        revision: Revision,
        now: Duration,
    ) -> Option<Arc<ReadTransaction>> {
        self.forget_idle(now);
        let found = self.kept.iter().find(|kept| kept.revision == revision)?;
        Some(Arc::clone(&found.reader))
    }

    /// Keeps a snapshot for the next page, as the one used last.
    pub(super) fn keep(&mut self, revision: Revision, reader: Arc<ReadTransaction>, now: Duration) {
        self.forget_idle(now);
        self.kept.retain(|kept| kept.revision != revision);
        self.kept.push_back(Kept { revision, reader, used_at: now });
        if self.kept.len() > KEPT_MAX {
            self.kept.pop_front();
        }
    }

    /// Lets go of what is older than a revision.
    pub(super) fn forget_before(&mut self, revision: Revision) {
        self.kept.retain(|kept| kept.revision >= revision);
    }

    /// Lets go of what nobody came back for. Called on every use and after every write.
    pub(super) fn forget_idle(&mut self, now: Duration) {
        self.kept.retain(|kept| now.saturating_sub(kept.used_at) < IDLE_MAX);
    }
}
