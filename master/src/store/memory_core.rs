//! Owns a store in memory with etcd's rules: revisions, limits, compaction, leases. Pure: the simulator
//! drives it with virtual time, and [`super::memory`] wraps it for tests of the shells.
//!
//! It answers at once and never fails by itself. Delay, loss and unknown outcomes are made by whoever
//! carries requests and answers, since that is where they come from (K21).

use std::collections::BTreeMap;
use std::time::Duration;

use super::change_log::ChangeLog;
use super::error::StoreError;
use super::model::{
    Change, ChangeSet, CommitMark, Entry, Guard, Key, LeaderRecord, LeaderToken, Limits, Page,
    RangeRequest, Revision, Transaction, TransactionResult, Usage, Value, prefix_end,
};
use super::seat::Seat;

#[derive(Clone, Debug)]
struct Version {
    modified: Revision,
    value: Option<Value>,
}

/// See the module's description.
#[derive(Debug)]
pub struct MemoryCore {
    limits: Limits,
    revision: Revision,
    /// Reads before this revision are refused.
    compacted: Revision,
    /// All kept versions of each record, oldest first.
    records: BTreeMap<Key, Vec<Version>>,
    log: ChangeLog,
    mark: CommitMark,
    mark_modified: Revision,
    seat: Seat,
    leases_granted: u64,
}

impl MemoryCore {
    /// An empty store.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            revision: Revision(0),
            compacted: Revision(0),
            records: BTreeMap::new(),
            log: ChangeLog::after(Revision(0)),
            mark: CommitMark::default(),
            mark_modified: Revision(0),
            seat: Seat::default(),
            leases_granted: 0,
        }
    }

    /// What it takes at once.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The newest revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// What guards every write.
    #[must_use]
    pub fn guard(&self) -> Guard {
        Guard {
            leader: self.seat.create_revision(),
            mark: self.mark,
            mark_modified: self.mark_modified,
        }
    }

    /// Applies a transaction if its guard holds.
    pub fn transact(&mut self, transaction: &Transaction) -> TransactionResult {
        if let Some(reason) = self.too_large(transaction) {
            return TransactionResult::Rejected { reason };
        }
        if !self.seat.is_held_by(transaction.token) || self.mark != transaction.expected {
            return TransactionResult::Guarded(self.guard());
        }
        let revision = self.begin();
        let mut changes = Vec::with_capacity(transaction.changes.len());
        for (key, value) in &transaction.changes {
            if self.write(key, value.clone(), revision) {
                changes.push(Change { key: key.clone(), value: value.clone() });
            }
        }
        self.mark = transaction.mark;
        self.mark_modified = revision;
        self.log.push(revision, changes);
        TransactionResult::Applied { revision }
    }

    fn too_large(&self, transaction: &Transaction) -> Option<String> {
        if transaction.changes.len() > self.limits.batch_operations_max {
            return Some("too many operations in txn request".to_owned());
        }
        let size =
            |(key, value): (&Key, &Option<Value>)| key.len() + value.as_ref().map_or(0, Vec::len);
        let bytes: usize = transaction.changes.iter().map(size).sum();
        (bytes > self.limits.batch_bytes_max).then(|| "request is too large".to_owned())
    }

    fn begin(&mut self) -> Revision {
        self.revision = self.revision.next();
        self.revision
    }

    /// Says whether anything changed: removing what is absent does not.
    fn write(&mut self, key: &[u8], value: Option<Value>, modified: Revision) -> bool {
        let absent = self.records.get(key).and_then(|v| v.last()).is_none_or(|v| v.value.is_none());
        if absent && value.is_none() {
            return false;
        }
        self.records.entry(key.to_vec()).or_default().push(Version { modified, value });
        true
    }

    /// Reads one record as it is now.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Entry> {
        visible(key, self.records.get(key)?, self.revision)
    }

    /// Reads a page.
    ///
    /// # Errors
    /// If the revision asked for is compacted or has not happened yet.
    pub fn range(&self, request: &RangeRequest) -> Result<Page, StoreError> {
        let at = request.at.unwrap_or(self.revision);
        if at < self.compacted {
            return Err(StoreError::Compacted { asked: at, oldest: self.compacted });
        }
        if at > self.revision {
            let reason = format!("revision {} has not happened yet", at.0);
            return Err(StoreError::Refused { reason });
        }
        let limit = request.limit.clamp(1, self.limits.page_entries_max);
        let mut entries = Vec::new();
        for (key, versions) in self.records.range(range_of(request)) {
            let Some(entry) = visible(key, versions, at) else { continue };
            if entries.len() == limit {
                return Ok(Page { entries, revision: at, more: true });
            }
            entries.push(entry);
        }
        Ok(Page { entries, revision: at, more: false })
    }

    /// The changes below a prefix from a revision on; `None` if there are none yet.
    ///
    /// # Errors
    /// If history is gone.
    pub fn changes(&self, prefix: &[u8], from: Revision) -> Result<Option<ChangeSet>, StoreError> {
        let told = self.log.since(from, prefix);
        told.map_err(|oldest| StoreError::Compacted { asked: from, oldest })
    }

    /// Forgets history before a revision.
    pub fn compact(&mut self, revision: Revision) {
        let revision = revision.min(self.revision);
        if revision <= self.compacted {
            return;
        }
        self.compacted = revision;
        self.log.compact(revision);
        for versions in self.records.values_mut() {
            let newer = versions.partition_point(|version| version.modified <= revision);
            versions.drain(..newer.saturating_sub(1));
        }
        self.records.retain(|_, versions| {
            !(versions.len() == 1
                && versions[0].value.is_none()
                && versions[0].modified <= revision)
        });
    }

    /// Seats a candidate if nobody leads.
    pub fn campaign(
        &mut self,
        candidate: Value,
        ttl: Duration,
        now: Duration,
    ) -> Option<LeaderToken> {
        self.seat.expire(now);
        if self.seat.leader().is_some() {
            return None;
        }
        self.leases_granted += 1;
        let token = LeaderToken { create_revision: self.begin(), lease: self.leases_granted };
        self.log.push(token.create_revision, Vec::new());
        self.seat.take(token, candidate, ttl, now);
        Some(token)
    }

    /// Who leads.
    #[must_use]
    pub fn leader(&self) -> Option<LeaderRecord> {
        self.seat.leader()
    }

    /// When the standing lease runs out, for whoever turns the clock.
    #[must_use]
    pub fn lease_until(&self) -> Option<Duration> {
        self.seat.until()
    }

    /// Renews a lease; `None` if that term is over.
    pub fn keep_alive(&mut self, token: LeaderToken, now: Duration) -> Option<Duration> {
        self.seat.keep_alive(token, now)
    }

    /// Ends a term.
    pub fn resign(&mut self, token: LeaderToken) {
        if self.seat.resign(token) {
            self.begin();
        }
    }

    /// Ends the standing term if its lease has run out.
    pub fn expire(&mut self, now: Duration) {
        if self.seat.expire(now) {
            self.begin();
        }
    }

    /// Ends the standing term at once, as if its lease had run out.
    pub fn expire_now(&mut self) {
        self.expire(Duration::MAX);
    }

    /// etcd gives every lease its full time again when a new member of its cluster leads it.
    pub fn extend_leases(&mut self, now: Duration) {
        if let Some(token) = self.seat.token() {
            self.seat.keep_alive(token, now);
        }
    }

    /// The room it takes.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let size = |versions: &Vec<Version>| -> usize {
            versions.iter().map(|v| v.value.as_ref().map_or(0, Vec::len)).sum()
        };
        let bytes: usize = self.records.iter().map(|(key, v)| key.len() + size(v)).sum();
        Usage { bytes: u64::try_from(bytes).unwrap_or(u64::MAX), quota_bytes: None }
    }
}

/// The version of a record that a reader at `at` sees.
fn visible(key: &[u8], versions: &[Version], at: Revision) -> Option<Entry> {
    let newer = versions.partition_point(|version| version.modified <= at);
    let version = versions[..newer].last()?;
    let value = version.value.clone()?;
    Some(Entry { key: key.to_vec(), value, modified: version.modified })
}

fn range_of(request: &RangeRequest) -> (std::ops::Bound<Key>, std::ops::Bound<Key>) {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let start = match &request.after {
        Some(after) if *after >= request.prefix => Excluded(after.clone()),
        Some(_) | None => Included(request.prefix.clone()),
    };
    let end = match prefix_end(&request.prefix) {
        // An empty or inverted range makes a BTreeMap panic; it means "nothing" here.
        Some(end) if request.after.as_ref().is_some_and(|after| *after >= end) => {
            return (Included(end.clone()), Excluded(end));
        }
        Some(end) => Excluded(end),
        None => Unbounded,
    };
    (start, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn led() -> (MemoryCore, LeaderToken) {
        let mut core = MemoryCore::new(Limits::ETCD);
        let token = core.campaign(b"me".to_vec(), TTL, Duration::ZERO).expect("nobody leads");
        (core, token)
    }

    fn write(
        core: &mut MemoryCore,
        token: LeaderToken,
        key: &str,
        value: Option<&str>,
    ) -> Revision {
        let expected = core.guard().mark;
        let mark = CommitMark { sequence: expected.sequence + 1, writer: token.create_revision };
        let changes = [(key.into(), value.map(Into::into))].into();
        let result = core.transact(&Transaction { token, expected, mark, changes });
        let TransactionResult::Applied { revision } = result else {
            panic!("not applied: {result:?}");
        };
        revision
    }

    fn keys(core: &MemoryCore, at: Option<Revision>) -> Vec<String> {
        let request = RangeRequest { limit: 100, at, ..RangeRequest::default() };
        let page = core.range(&request).expect("not compacted");
        page.entries.into_iter().map(|e| String::from_utf8(e.key).expect("text")).collect()
    }

    #[test]
    fn reads_see_the_revision_they_ask_for_until_it_is_compacted() {
        let (mut core, token) = led();
        let first = write(&mut core, token, "a", Some("1"));
        write(&mut core, token, "b", Some("1"));
        let last = write(&mut core, token, "a", None);
        assert_eq!(keys(&core, Some(first)), ["a"]);
        assert_eq!(keys(&core, None), ["b"]);
        core.compact(last);
        assert_eq!(keys(&core, Some(last)), ["b"]);
        assert_eq!(core.records.len(), 1, "the removed record is gone");
        let request = RangeRequest { at: Some(first), ..RangeRequest::default() };
        assert!(matches!(core.range(&request), Err(StoreError::Compacted { .. })));
    }

    #[test]
    fn i10_an_expired_term_writes_nothing() {
        let (mut core, token) = led();
        core.expire(TTL);
        let next = core.campaign(b"you".to_vec(), TTL, TTL).expect("the seat is free");
        let mark = CommitMark { sequence: 1, writer: token.create_revision };
        let expected = CommitMark::default();
        let changes = [(b"a".to_vec(), Some(vec![]))].into();
        let result = core.transact(&Transaction { token, expected, mark, changes });
        let guard = Guard {
            leader: Some(next.create_revision),
            mark: expected,
            mark_modified: Revision(0),
        };
        assert_eq!(result, TransactionResult::Guarded(guard));
        assert_eq!(keys(&core, None), Vec::<String>::new());
    }

    #[test]
    fn a_page_after_the_end_of_its_prefix_is_empty() {
        let (mut core, token) = led();
        write(&mut core, token, "a/1", Some("1"));
        let request =
            RangeRequest { prefix: b"a/".to_vec(), after: Some(b"b".to_vec()), limit: 1, at: None };
        assert!(core.range(&request).expect("not compacted").entries.is_empty());
    }
}
