//! Owns the recent changes of a store that keeps them itself, for watches to resume from. Pure.

use std::collections::VecDeque;

use super::model::{Change, ChangeSet, Revision};

/// Watches that fall back further than this are told to read anew.
const BYTES_MAX: usize = 16 << 20;

/// One answer to a watch carries at most about so much.
const ANSWER_BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
struct Transacted {
    revision: Revision,
    changes: Vec<Change>,
    bytes: usize,
}

/// The tail of history: every change after [`ChangeLog::compacted`].
#[derive(Debug)]
pub struct ChangeLog {
    compacted: Revision,
    newest: Revision,
    transactions: VecDeque<Transacted>,
    bytes: usize,
    bytes_max: usize,
}

impl ChangeLog {
    /// A log that starts after `revision`.
    #[must_use]
    pub fn after(revision: Revision) -> Self {
        Self {
            compacted: revision,
            newest: revision,
            transactions: VecDeque::new(),
            bytes: 0,
            bytes_max: BYTES_MAX,
        }
    }

    /// The last revision whose changes are gone.
    #[must_use]
    pub fn compacted(&self) -> Revision {
        self.compacted
    }

    /// Notes what a transaction changed. Revisions rise; those without changes may be left out.
    pub fn push(&mut self, revision: Revision, changes: Vec<Change>) {
        assert!(revision > self.newest, "revisions rise");
        self.newest = revision;
        if changes.is_empty() {
            return;
        }
        let bytes = changes.iter().map(change_bytes).sum();
        self.bytes += bytes;
        self.transactions.push_back(Transacted { revision, changes, bytes });
        while self.bytes > self.bytes_max {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.transactions.pop_front() {
            self.bytes -= oldest.bytes;
            self.compacted = oldest.revision;
        }
    }

    /// Forgets everything up to and with `revision`.
    pub fn compact(&mut self, revision: Revision) {
        while self.transactions.front().is_some_and(|oldest| oldest.revision <= revision) {
            self.drop_oldest();
        }
        self.compacted = self.compacted.max(revision.min(self.newest));
    }

    /// The changes below `prefix` from `from` on, as many as one answer holds; `None` if nothing has
    /// happened since. A `from` in the future waits until it is reached.
    ///
    /// # Errors
    /// The oldest revision that can still be had, if `from` is before it.
    pub fn since(&self, from: Revision, prefix: &[u8]) -> Result<Option<ChangeSet>, Revision> {
        let from = from.max(Revision(1));
        if from <= self.compacted {
            return Err(self.compacted.next());
        }
        if from > self.newest {
            return Ok(None);
        }
        let first = self.transactions.partition_point(|t| t.revision < from);
        let mut told = ChangeSet { revision: self.newest, changes: Vec::new() };
        let mut bytes = 0;
        for transacted in self.transactions.iter().skip(first) {
            if bytes > ANSWER_BYTES_MAX {
                return Ok(Some(told));
            }
            for change in transacted.changes.iter().filter(|c| c.key.starts_with(prefix)) {
                bytes += change_bytes(change);
                told.changes.push(change.clone());
            }
            told.revision = transacted.revision;
        }
        told.revision = self.newest;
        Ok(Some(told))
    }
}

fn change_bytes(change: &Change) -> usize {
    // The constant stands for the two vectors themselves.
    change.key.len() + change.value.as_ref().map_or(0, Vec::len) + 48
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str) -> Change {
        Change { key: key.into(), value: Some(b"v".to_vec()) }
    }

    fn keys(set: &ChangeSet) -> Vec<&str> {
        set.changes.iter().map(|c| std::str::from_utf8(&c.key).expect("keys are text")).collect()
    }

    #[test]
    fn changes_are_told_from_any_kept_revision() {
        let mut log = ChangeLog::after(Revision(10));
        log.push(Revision(11), vec![change("a/1"), change("b/1")]);
        log.push(Revision(12), vec![]);
        log.push(Revision(13), vec![change("a/2")]);
        let all = log.since(Revision(11), b"a/").expect("kept").expect("news");
        assert_eq!((keys(&all), all.revision), (vec!["a/1", "a/2"], Revision(13)));
        let none = log.since(Revision(12), b"b/").expect("kept").expect("progress");
        assert_eq!((keys(&none), none.revision), (vec![], Revision(13)));
        assert_eq!(log.since(Revision(14), b""), Ok(None));
        assert_eq!(log.since(Revision(10), b""), Err(Revision(11)));
    }

    #[test]
    fn compaction_names_what_is_left() {
        let mut log = ChangeLog::after(Revision(0));
        for revision in 1..=5 {
            log.push(Revision(revision), vec![change("k")]);
        }
        log.compact(Revision(3));
        assert_eq!(log.since(Revision(3), b""), Err(Revision(4)));
        assert_eq!(keys(&log.since(Revision(4), b"").expect("kept").expect("news")).len(), 2);
        log.compact(Revision(100));
        assert_eq!(log.compacted(), Revision(5));
    }

    #[test]
    fn the_log_is_bounded_in_bytes() {
        let mut log = ChangeLog { bytes_max: 500, ..ChangeLog::after(Revision(0)) };
        for revision in 1..=100 {
            log.push(Revision(revision), vec![change("k")]);
        }
        assert!(log.bytes <= 500);
        assert!(log.compacted() > Revision(80));
    }
}
