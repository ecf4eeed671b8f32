//! A framework's own small durable store, kept by the master (K9).

use crate::refusal::{Refusal, RefusalCode};
use crate::units::Monotonic;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

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
/// Bytes of keys and values in one commit: with its envelope it stays below etcd's 1.5 MiB.
pub const COMMIT_BYTES_MAX: usize = 1 << 20;
/// The field of a refusal for too many commits a second.
const RATE_FIELD: &str = "state.commits_per_second";
/// The field of a refusal for too many calls at a time.
const OPERATIONS_FIELD: &str = "state.operations";

/// Bytes of one change.
#[must_use]
pub fn change_bytes(key: &str, value: Option<&[u8]>) -> usize {
    key.len() + value.map_or(0, <[u8]>::len)
}

/// Whether the store may say something else to the same call a little later: its owner waits and asks
/// again.
#[must_use]
pub fn passes_by_itself(refusal: &Refusal) -> bool {
    refusal.code == RefusalCode::Unavailable
        || (refusal.code == RefusalCode::BudgetExceeded
            && [RATE_FIELD, OPERATIONS_FIELD].contains(&refusal.field.as_str()))
}

/// What a call is told while `most` are under way.
#[must_use]
pub fn too_many_operations(most: usize) -> Refusal {
    let message = format!("{most} calls are under way");
    Refusal::new(RefusalCode::BudgetExceeded, OPERATIONS_FIELD, message).hint("wait for answers")
}

impl StateBudget {
    /// Whether a commit of these changes is well formed and within what one commit may have. What the
    /// store holds does not matter for it.
    ///
    /// # Errors
    /// A refusal naming the change.
    pub fn check_changes<'a>(
        &self,
        changes: impl ExactSizeIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Result<(), Refusal> {
        if changes.len() == 0 || changes.len() > CHANGES_MAX {
            let message = format!("a commit has 1 to {CHANGES_MAX} changes");
            return Err(Refusal::new(RefusalCode::InvalidArgument, "changes", message));
        }
        let mut seen = BTreeSet::new();
        let mut bytes = 0;
        for (index, (key, value)) in changes.enumerate() {
            let within = |refusal: Refusal| refusal.within(format!("changes[{index}]"));
            check_key(key).map_err(within)?;
            self.check_value(value).map_err(within)?;
            if !seen.insert(key) {
                let message = format!("{key} is changed twice");
                let twice = Refusal::new(RefusalCode::InvalidArgument, "key", message);
                return Err(within(twice));
            }
            bytes += change_bytes(key, value);
        }
        if bytes > COMMIT_BYTES_MAX {
            let message = format!("{bytes} bytes; one commit has at most {COMMIT_BYTES_MAX}");
            return Err(Refusal::new(RefusalCode::BudgetExceeded, "changes", message)
                .hint("put less into one commit, such as fewer services into one deployment"));
        }
        Ok(())
    }

    fn check_value(&self, value: Option<&[u8]>) -> Result<(), Refusal> {
        let size = value.map_or(0, <[u8]>::len) as u64;
        if size <= self.value_max {
            return Ok(());
        }
        let message = format!("{size} bytes; a value has at most {}", self.value_max);
        Err(Refusal::new(RefusalCode::BudgetExceeded, "value", message))
    }

    /// Whether the store may grow from `before` to `after`, each bytes and keys. It may always shrink.
    ///
    /// # Errors
    /// A refusal with the budget.
    pub fn check_growth(&self, before: (u64, u64), after: (u64, u64)) -> Result<(), Refusal> {
        let (bytes, keys) = after;
        let grows = bytes > before.0 || keys > before.1;
        if !grows || (bytes <= self.bytes_max && keys <= self.keys_max) {
            return Ok(());
        }
        let message = format!(
            "{bytes} bytes in {keys} keys; the budget is {} bytes in {} keys",
            self.bytes_max, self.keys_max
        );
        Err(Refusal::new(RefusalCode::BudgetExceeded, "state", message).hint("delete keys first"))
    }
}

fn check_key(key: &str) -> Result<(), Refusal> {
    let legal = !key.is_empty()
        && key.len() <= KEY_MAX
        && key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if legal {
        return Ok(());
    }
    let message = format!("a key is 1 to {KEY_MAX} printable ASCII characters");
    Err(Refusal::new(RefusalCode::InvalidArgument, "key", message))
}

/// How many commits may be made now: filled at the budget's rate, up to some seconds of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CommitRate {
    milli_tokens: u64,
    filled: Monotonic,
}

impl Default for CommitRate {
    /// As full as it may be.
    fn default() -> Self {
        Self { milli_tokens: u64::MAX, filled: Monotonic(0) }
    }
}

impl CommitRate {
    /// One commit.
    const COMMIT: u64 = 1000;
    /// Seconds of the rate that may be saved up: a deploy writes in bursts.
    const BURST_SECONDS: u64 = 5;

    fn tokens(&self, budget: &StateBudget, now: Monotonic) -> u64 {
        let rate = u64::from(budget.commits_per_second);
        let filled = now.since(self.filled).0.saturating_mul(rate);
        self.milli_tokens.saturating_add(filled).min(rate * Self::COMMIT * Self::BURST_SECONDS)
    }

    /// Whether a commit may be made.
    ///
    /// # Errors
    /// A refusal that [passes by itself](passes_by_itself).
    pub fn check(&self, budget: &StateBudget, now: Monotonic) -> Result<(), Refusal> {
        if self.tokens(budget, now) >= Self::COMMIT {
            return Ok(());
        }
        let message = format!("more than {} commits a second", budget.commits_per_second);
        Err(Refusal::new(RefusalCode::BudgetExceeded, RATE_FIELD, message)
            .hint("put several changes into one commit"))
    }

    /// One is made.
    pub fn spend(&mut self, budget: &StateBudget, now: Monotonic) {
        self.milli_tokens = self.tokens(budget, now).saturating_sub(Self::COMMIT);
        self.filled = now;
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k9_the_rate_is_refused_by_a_field_that_says_it_passes() {
        let budget = StateBudget::default();
        let mut rate = CommitRate::default();
        for _ in 0..500 {
            rate.check(&budget, Monotonic(7)).expect("a burst of five seconds");
            rate.spend(&budget, Monotonic(7));
        }
        let refusal = rate.check(&budget, Monotonic(7)).expect_err("used up");
        assert!(passes_by_itself(&refusal), "{refusal}");
        assert!(rate.check(&budget, Monotonic(17)).is_ok(), "a hundredth of a second later");
        assert!(passes_by_itself(&too_many_operations(64)));
        let full = budget.check_growth((0, 0), (budget.bytes_max + 1, 1)).expect_err("too much");
        assert!(!passes_by_itself(&full));
    }

    #[test]
    fn k9_a_commit_is_bounded_and_the_change_named() {
        let budget = StateBudget::default();
        let large = vec![0; 64 << 10];
        let keys: Vec<String> = (0..16).map(|number| format!("k{number:02}")).collect();
        let all = keys.iter().map(|key| (key.as_str(), Some(large.as_slice())));
        assert_eq!(budget.check_changes(all.clone()).expect_err("1MiB and keys").field, "changes");
        assert!(budget.check_changes(all.take(15)).is_ok());
        let larger = vec![0; (64 << 10) + 1];
        let changes = [("a", None), ("b", Some(larger.as_slice()))];
        let refusal = budget.check_changes(changes.into_iter()).expect_err("too large");
        assert_eq!(refusal.field, "changes[1].value");
        let twice = [("a", None), ("a", None)];
        assert_eq!(
            budget.check_changes(twice.into_iter()).expect_err("twice").field,
            "changes[1].key"
        );
    }
}
