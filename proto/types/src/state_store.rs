//! A framework's own small durable store, kept by the master (K9).

use crate::refusal::Refusal;
use serde::{Deserialize, Serialize};

/// Budgets of one framework.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StateBudget {
    /// Bytes of keys and values together.
    pub bytes_max: u64,
    /// Number of keys.
    pub keys_max: u64,
    /// Bytes of one value.
    pub value_max: u64,
    /// Commits a second.
    pub commits_per_second: u32,
}

impl Default for StateBudget {
    fn default() -> Self {
        Self { bytes_max: 8 << 20, keys_max: 10_000, value_max: 64 << 10, commits_per_second: 100 }
    }
}

/// Longest key, in bytes. Keys are printable ASCII.
pub const KEY_MAX: usize = 256;
/// Most changes in one commit.
pub const CHANGES_MAX: usize = 64;

/// A value with its version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StateEntry {
    /// Its key.
    pub key: String,
    /// Grows with each change of the key; 0 never occurs.
    pub version: u64,
    /// The bytes.
    pub value: Vec<u8>,
}

/// One change of one key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StateChange {
    /// The key.
    pub key: String,
    /// The version it must have now: 0 for "absent", `None` for "any".
    pub expected: Option<u64>,
    /// New bytes, or `None` to delete.
    pub value: Option<Vec<u8>>,
}

/// What a framework asks of its store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateCall {
    /// A page of entries with this prefix.
    List {
        /// Prefix of the keys.
        prefix: String,
        /// Only keys after this one.
        after: Option<String>,
        /// Most entries; the master may send fewer.
        limit: u32,
    },
    /// All changes or none, fenced by the framework epoch.
    Commit {
        /// The changes; each key once.
        changes: Vec<StateChange>,
    },
}

/// What the store answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateAnswer {
    /// A page, ascending by key.
    Page {
        /// The entries.
        entries: Vec<StateEntry>,
        /// Whether more follow.
        more: bool,
    },
    /// Durable now; versions in the order of the changes (0 for a deleted key).
    Committed {
        /// New versions.
        versions: Vec<u64>,
    },
    /// Nothing was changed.
    Refused(Refusal),
}
