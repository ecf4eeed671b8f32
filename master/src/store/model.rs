//! Owns the words of the store: revisions, keys, batches, transactions, leadership tokens. Plain data.

use std::collections::BTreeMap;
use std::time::Duration;

use proffer_master_core::registry::RegistryChange;
use serde::{Deserialize, Serialize};

/// A key, in bytes; keys sort bytewise.
pub type Key = Vec<u8>;
/// A value, in bytes. What it means is the registry's business.
pub type Value = Vec<u8>;

/// A point in the history of a store. Each transaction makes a new one; zero is the empty store.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision that follows this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Names one submitted batch, so that its completion can find what waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OperationId(pub u64);

/// One record as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where the record lives.
    pub key: Key,
    /// What it holds.
    pub value: Value,
    /// The transaction that wrote this value.
    pub modified: Revision,
}

/// One change to one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Create or replace.
    Put {
        /// Which record.
        key: Key,
        /// Its new value.
        value: Value,
    },
    /// Remove; removing what is absent changes nothing.
    Delete {
        /// Which record.
        key: Key,
    },
}

/// What one operation costs on the wire beyond its key and value (field tags, lengths, lease id).
const OPERATION_ENVELOPE_BYTES: usize = 40;

impl Operation {
    /// The record this changes.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    /// The value written, or nothing for a removal.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Put { value, .. } => Some(value),
            Self::Delete { .. } => None,
        }
    }

    /// An upper bound of the size of this operation inside a transaction.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        self.key().len() + self.value().map_or(0, <[u8]>::len) + OPERATION_ENVELOPE_BYTES
    }
}

/// Changes that become durable together or not at all.
///
/// There are no conditions in it: the leader is the only writer, so it decides compare-and-swap
/// in its own memory, and the store compares the leadership alone (K4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// In order; a later operation on a key replaces an earlier one.
    pub operations: Vec<Operation>,
}

impl Batch {
    /// A batch without changes. Committing it still proves that the leadership held.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record to write.
    #[must_use]
    pub fn put(mut self, key: impl Into<Key>, value: impl Into<Value>) -> Self {
        self.operations.push(Operation::Put { key: key.into(), value: value.into() });
        self
    }

    /// Adds a record to remove.
    #[must_use]
    pub fn delete(mut self, key: impl Into<Key>) -> Self {
        self.operations.push(Operation::Delete { key: key.into() });
        self
    }

    /// An upper bound of what this batch adds to a transaction.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        self.operations.iter().map(Operation::encoded_bytes).sum()
    }
}

impl From<Vec<RegistryChange>> for Batch {
    /// What the core wants written, as the store keeps it.
    fn from(changes: Vec<RegistryChange>) -> Self {
        changes.into_iter().fold(Self::new(), |batch, change| {
            let key = change.key.encode();
            match change.record {
                Some(record) => batch.put(key, record.encode()),
                None => batch.delete(key),
            }
        })
    }
}

/// What a store refuses to take at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Operations of one batch, after those that the commit itself needs are taken off.
    pub batch_operations_max: usize,
    /// Encoded size of one batch ([`Batch::encoded_bytes`]).
    pub batch_bytes_max: usize,
    /// Length of one value.
    pub value_bytes_max: usize,
    /// Length of one key.
    pub key_bytes_max: usize,
    /// Entries of one page; a larger request is answered with this many.
    pub page_entries_max: usize,
}

impl Limits {
    /// What a default etcd takes: 128 operations, one of which writes the commit mark, and
    /// 1.5 MiB with the envelope. All stores use these, so that what runs on one runs on each.
    pub const ETCD: Self = Self {
        batch_operations_max: 127,
        batch_bytes_max: 1_572_864 - 16 * 1024,
        value_bytes_max: 1 << 20,
        key_bytes_max: 1024,
        page_entries_max: 1000,
    };
}

/// Proof of having been elected. The campaign key's create revision tells one term from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaderToken {
    /// The transaction that created the campaign key for this term.
    pub create_revision: Revision,
    /// The lease that the campaign key hangs on.
    pub lease: u64,
}

/// Who leads, as anybody can read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderRecord {
    /// The term.
    pub create_revision: Revision,
    /// What the leader said of itself when it campaigned, usually its address.
    pub candidate: Value,
}

/// The last commit, as written by every transaction: `commit_seq` of K4, and whose it was.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct CommitMark {
    /// Raised by one with each transaction.
    pub sequence: u64,
    /// The term that wrote it. With it, a mark seen after an unknown outcome is ours or is not.
    pub writer: Revision,
}

/// One write as it goes to the store: applied whole if the leadership and the mark are as expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// Must be the standing leadership.
    pub token: LeaderToken,
    /// Must be the mark in the store.
    pub expected: CommitMark,
    /// Takes its place.
    pub mark: CommitMark,
    /// At most one per key.
    pub changes: BTreeMap<Key, Option<Value>>,
}

/// What guards every write, read in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// The term that stands, if there is one.
    pub leader: Option<Revision>,
    /// The last commit.
    pub mark: CommitMark,
    /// The transaction that wrote the mark.
    pub mark_modified: Revision,
}

/// What became of a transaction, as far as the store could tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransactionResult {
    /// Durable.
    Applied {
        /// The revision it made.
        revision: Revision,
    },
    /// Not applied: the leadership or the mark was not as expected.
    Guarded(Guard),
    /// Certainly not applied; the same transaction may be sent again.
    NotApplied {
        /// Why, for people.
        reason: String,
    },
    /// Certainly not applied, and never will be in this form.
    Rejected {
        /// Why, for people.
        reason: String,
    },
    /// Perhaps applied, perhaps not, perhaps later; the guard will tell.
    Unknown {
        /// Why, for people.
        reason: String,
    },
    /// Perhaps applied, and this store cannot be asked any more: it has to be opened anew.
    Broken {
        /// Why, for people.
        reason: String,
    },
}

/// An election that was won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Campaign {
    /// The new term.
    pub token: LeaderToken,
    /// How long the term lasts without a renewal.
    pub ttl: Duration,
    /// The store's clock before the request that started the lease left ([`super::clock`]).
    pub confirmed_at: Duration,
}

/// Asks for the records below a prefix, in key order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeRequest {
    /// Records whose key starts with this; empty means all.
    pub prefix: Key,
    /// Only records after this key: the last one of the page before.
    pub after: Option<Key>,
    /// At most so many; the store may return fewer.
    pub limit: usize,
    /// The state at this revision; `None` is now. Give each further page the first one's revision.
    pub at: Option<Revision>,
}

/// Part of an answer to a [`RangeRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// In key order.
    pub entries: Vec<Entry>,
    /// The state that was read.
    pub revision: Revision,
    /// Whether there is more after the last entry.
    pub more: bool,
}

/// One record's change, as a watch tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which record.
    pub key: Key,
    /// Its new value; `None` if it was removed.
    pub value: Option<Value>,
}

/// All changes that one or more transactions made below a watched prefix, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSet {
    /// Everything up to here has been told. Without changes it only moves the watch forward.
    pub revision: Revision,
    /// In order.
    pub changes: Vec<Change>,
}

/// How much room a store takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// On disk, history included.
    pub bytes: u64,
    /// Where the store stops taking writes, if it has such a bound.
    pub quota_bytes: Option<u64>,
}

/// The first key that is greater than every key with this prefix; `None` if there is none.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Option<Key> {
    let kept = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=kept].to_vec();
    end[kept] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_carries_over_full_bytes() {
        assert_eq!(prefix_end(b"a/"), Some(b"a0".to_vec()));
        assert_eq!(prefix_end(&[1, 255, 255]), Some(vec![2]));
        assert_eq!(prefix_end(&[255, 255]), None);
        assert_eq!(prefix_end(b""), None);
    }

    #[test]
    fn sizes_are_upper_bounds() {
        let batch = Batch::new().put("key", "value").delete("gone");
        assert_eq!(batch.encoded_bytes(), 3 + 5 + 4 + 2 * OPERATION_ENVELOPE_BYTES);
    }
}
