//! Owns the position of a watch over the loss of its connection and over compaction (K17). Pure.

use super::model::{Change, ChangeSet, Entry, Key, Page, Revision};

/// What a watch tells its reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// These records changed, and nothing else up to this revision.
    Changes(ChangeSet),
    /// History is gone: forget every record; all that exist follow as [`WatchEvent::Records`].
    Reset,
    /// Records that exist, in key order, part of the read that follows a reset.
    Records(Vec<Entry>),
    /// The read is complete as of this revision; changes follow.
    Current(Revision),
}

/// What the caller has to do next for the watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchStep {
    /// Ask for the changes from this revision on; answer with [`WatchCursor::changed`],
    /// [`WatchCursor::compacted`] or, if the connection is lost, by asking again.
    Follow {
        /// The first revision that has not been told yet.
        from: Revision,
    },
    /// Read a page; answer with [`WatchCursor::page`] or [`WatchCursor::compacted`].
    Read {
        /// The last key of the page before.
        after: Option<Key>,
        /// The revision that all pages of this read share; `None` for the first.
        at: Option<Revision>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Position {
    Following { next: Revision },
    Reading { after: Option<Key>, at: Option<Revision> },
}

/// See the module's description.
#[derive(Clone, Debug)]
pub struct WatchCursor {
    position: Position,
}

impl WatchCursor {
    /// A watch that tells everything from `from` on, or all records first if that is gone.
    #[must_use]
    pub fn from(from: Revision) -> Self {
        Self { position: Position::Following { next: from } }
    }

    /// A watch that starts by reading all records.
    #[must_use]
    pub fn from_records() -> Self {
        Self { position: Position::Reading { after: None, at: None } }
    }

    /// What to do now; the same answer until something is reported.
    #[must_use]
    pub fn step(&self) -> WatchStep {
        match &self.position {
            Position::Following { next } => WatchStep::Follow { from: *next },
            Position::Reading { after, at } => WatchStep::Read { after: after.clone(), at: *at },
        }
    }

    /// Changes came. A repeat of what was told already yields nothing.
    pub fn changed(&mut self, set: ChangeSet) -> Option<WatchEvent> {
        let Position::Following { next } = &mut self.position else { return None };
        if set.revision < *next {
            return None;
        }
        *next = set.revision.next();
        Some(WatchEvent::Changes(set))
    }

    /// The store has forgotten what was asked for: start over with a read at a newer revision.
    pub fn compacted(&mut self) -> WatchEvent {
        self.position = Position::Reading { after: None, at: None };
        WatchEvent::Reset
    }

    /// A page came.
    pub fn page(&mut self, page: Page) -> Vec<WatchEvent> {
        let Position::Reading { after, at } = &mut self.position else { return Vec::new() };
        *at = Some(page.revision);
        *after = page.entries.last().map(|entry| entry.key.clone()).or_else(|| after.take());
        let mut events = Vec::new();
        if !page.entries.is_empty() {
            events.push(WatchEvent::Records(page.entries));
        }
        if !page.more {
            events.push(WatchEvent::Current(page.revision));
            self.position = Position::Following { next: page.revision.next() };
        }
        events
    }
}

/// Applies events to a copy of the records: what every reader of a watch does in some form.
pub fn apply_to_copy(copy: &mut std::collections::BTreeMap<Key, Vec<u8>>, event: &WatchEvent) {
    match event {
        WatchEvent::Reset => copy.clear(),
        WatchEvent::Current(_) => {}
        WatchEvent::Records(entries) => {
            copy.extend(entries.iter().map(|e| (e.key.clone(), e.value.clone())));
        }
        WatchEvent::Changes(set) => {
            for Change { key, value } in &set.changes {
                match value {
                    Some(value) => copy.insert(key.clone(), value.clone()),
                    None => copy.remove(key),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(revision: u64) -> ChangeSet {
        let change = Change { key: b"k".to_vec(), value: None };
        ChangeSet { revision: Revision(revision), changes: vec![change] }
    }

    fn page(keys: &[&str], revision: u64, more: bool) -> Page {
        let entry = |key: &&str| Entry {
            key: key.as_bytes().to_vec(),
            value: vec![],
            modified: Revision(1),
        };
        Page { entries: keys.iter().map(entry).collect(), revision: Revision(revision), more }
    }

    #[test]
    fn k17_a_lost_connection_resumes_after_what_was_told() {
        let mut cursor = WatchCursor::from(Revision(5));
        assert!(cursor.changed(changes(7)).is_some());
        assert_eq!(cursor.step(), WatchStep::Follow { from: Revision(8) });
        assert_eq!(cursor.changed(changes(7)), None, "a repeat tells nothing");
    }

    #[test]
    fn k17_compaction_resets_and_reads_all_pages_at_one_revision() {
        let mut cursor = WatchCursor::from(Revision(5));
        assert_eq!(cursor.compacted(), WatchEvent::Reset);
        assert_eq!(cursor.step(), WatchStep::Read { after: None, at: None });
        assert_eq!(cursor.page(page(&["a", "b"], 20, true)).len(), 1);
        let next = WatchStep::Read { after: Some(b"b".to_vec()), at: Some(Revision(20)) };
        assert_eq!(cursor.step(), next);
        assert_eq!(
            cursor.page(page(&["c"], 20, false)).last(),
            Some(&WatchEvent::Current(Revision(20)))
        );
        assert_eq!(cursor.step(), WatchStep::Follow { from: Revision(21) });
    }
}
