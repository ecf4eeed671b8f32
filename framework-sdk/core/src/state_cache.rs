//! The framework's durable keys: loaded at activation, changed by commits in order, one in flight.
//! Versions and compare-and-swap are dealt with here; an author sees keys and values.

use crate::framework::Notice;
use proffer_types::state_store::{
    CHANGES_MAX, COMMIT_BYTES_MAX, StateAnswer, StateBudget, StateCall, StateChange, change_bytes,
    passes_by_itself,
};
use proffer_types::{DurationMs, Monotonic, Refusal, RefusalCode};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Entries asked for at once; the master may send fewer.
const PAGE_LIMIT: u32 = 500;
/// Before a refusal that may pass (the rate, a master that recovers) is tried again.
const RETRY_DELAY: DurationMs = DurationMs(500);

/// A new value for a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StateWrite {
    /// The key: printable ASCII.
    pub key: String,
    /// The bytes; `None` deletes.
    pub value: Option<Vec<u8>>,
}

impl StateWrite {
    /// Sets `key`.
    #[must_use]
    pub fn put(key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), value: Some(value.into()) }
    }

    /// Deletes `key`.
    #[must_use]
    pub fn delete(key: impl Into<String>) -> Self {
        Self { key: key.into(), value: None }
    }
}

/// A commit that is not durable yet.
#[derive(Clone, Debug)]
struct Commit {
    ticket: u64,
    changes: Vec<StateWrite>,
    /// It was refused together with others and is tried by itself.
    goes_alone: bool,
}

/// Commits sent as one.
#[derive(Clone, Debug)]
struct InFlight {
    request: u64,
    commits: Vec<Commit>,
    changes: Vec<StateChange>,
}

/// How the cache stands to the store.
#[derive(Clone, Debug)]
enum Phase {
    /// Nothing is known; a load is to begin.
    Empty,
    /// Pages come in. A commit may be in doubt: the loaded entries will tell.
    Loading {
        request: Option<u64>,
        entries: BTreeMap<String, (u64, Vec<u8>)>,
        after: Option<String>,
    },
    /// The cache is the store, save for the commit in flight.
    Loaded,
}

/// Durable keys, and commits that are to become durable.
#[derive(Clone, Debug)]
pub(crate) struct StateCache {
    phase: Phase,
    durable: BTreeMap<String, (u64, Vec<u8>)>,
    queue: VecDeque<Commit>,
    in_flight: Option<InFlight>,
    /// The connection was lost, or a conflict came back, while a commit was in flight.
    in_doubt: Option<InFlight>,
    /// A commit that did not happen before the connection was lost. It is sent as it was, joined
    /// with nothing: should the first sending arrive after all, the store still has all or nothing
    /// of it.
    again: Option<InFlight>,
    issued: u64,
    settled: u64,
    next_request: u64,
    retry_at: Option<Monotonic>,
}

impl StateCache {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Empty,
            durable: BTreeMap::new(),
            queue: VecDeque::new(),
            in_flight: None,
            in_doubt: None,
            again: None,
            issued: 0,
            settled: 0,
            next_request: 0,
            retry_at: None,
        }
    }

    /// How many commits were ever issued.
    pub(crate) fn issued(&self) -> u64 {
        self.issued
    }

    /// How many of them are answered; they are answered in order.
    pub(crate) fn settled(&self) -> u64 {
        self.settled
    }

    pub(crate) fn is_loaded(&self) -> bool {
        matches!(self.phase, Phase::Loaded)
    }

    /// The value as of the commits issued so far.
    pub(crate) fn get(&self, key: &str) -> Option<&[u8]> {
        let pending = self.pending().rev().find(|write| write.key == key);
        match pending {
            Some(write) => write.value.as_deref(),
            None => self.durable.get(key).map(|(_, value)| value.as_slice()),
        }
    }

    /// The keys that begin with `prefix`, as of the commits issued so far.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let durable = self.durable.range(prefix.to_owned()..);
        let mut keys: BTreeMap<&str, bool> = durable
            .map(|(key, _)| (key.as_str(), true))
            .take_while(|(key, _)| key.starts_with(prefix))
            .collect();
        for write in self.pending().filter(|write| write.key.starts_with(prefix)) {
            keys.insert(&write.key, write.value.is_some());
        }
        keys.into_iter().filter(|(_, exists)| *exists).map(|(key, _)| key.to_owned()).collect()
    }

    /// Writes that are not durable yet, oldest first.
    fn pending(&self) -> impl DoubleEndedIterator<Item = &StateWrite> {
        let sent = self.in_doubt.iter().chain(&self.again).chain(&self.in_flight);
        sent.flat_map(|sent| &sent.commits).chain(&self.queue).flat_map(|commit| &commit.changes)
    }

    /// Takes a commit in; its number, from 1.
    ///
    /// # Errors
    /// What the store would refuse by its fixed bounds.
    pub(crate) fn issue(&mut self, changes: Vec<StateWrite>, ticket: u64) -> Result<u64, Refusal> {
        let named = changes.iter().map(|it| (it.key.as_str(), it.value.as_deref()));
        StateBudget::default().check_changes(named)?;
        self.issued += 1;
        self.queue.push_back(Commit { ticket, changes, goes_alone: false });
        Ok(self.issued)
    }

    /// A new epoch: what was under way is void, everything is read again.
    pub(crate) fn restart(&mut self) {
        let (issued, next_request) = (self.issued, self.next_request);
        *self = Self { issued, settled: issued, next_request, ..Self::new() };
    }

    /// Commits that were not sent are void: they came from a framework of an older epoch.
    pub(crate) fn drop_queue(&mut self) {
        self.queue.clear();
        self.settled = self.issued;
    }

    /// The connection is lost: the answer to what is in flight will not come.
    pub(crate) fn disconnected(&mut self) {
        self.retry_at = None;
        if let Some(sent) = self.in_flight.take().or_else(|| self.again.take()) {
            self.in_doubt = Some(sent);
        }
        if self.in_doubt.is_some() || !self.is_loaded() {
            self.phase = Phase::Empty;
        }
    }

    /// The next thing to ask of the store, if it is time for one. `may_commit` when the framework
    /// is active.
    pub(crate) fn next_call(&mut self, now: Monotonic) -> Option<(u64, StateCall)> {
        if self.retry_at.is_some_and(|at| at > now) {
            return None;
        }
        self.retry_at = None;
        match &mut self.phase {
            Phase::Empty => {
                self.next_request += 1;
                let request = Some(self.next_request);
                self.phase = Phase::Loading { request, entries: BTreeMap::new(), after: None };
                Some((self.next_request, list(None)))
            }
            Phase::Loading { request: request @ None, after, .. } => {
                self.next_request += 1;
                *request = Some(self.next_request);
                Some((self.next_request, list(after.clone())))
            }
            Phase::Loading { .. } => None,
            Phase::Loaded if self.in_flight.is_some() => None,
            Phase::Loaded => self.send_commits(),
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Monotonic> {
        self.retry_at
    }

    fn send_commits(&mut self) -> Option<(u64, StateCall)> {
        if let Some(again) = self.again.take() {
            self.next_request += 1;
            let call = StateCall::Commit { changes: again.changes.clone() };
            self.in_flight = Some(InFlight { request: self.next_request, ..again });
            return Some((self.next_request, call));
        }
        let first = self.queue.pop_front()?;
        let mut merged = Merged::default();
        merged.add(&first.changes);
        let mut commits = vec![first];
        while !commits[0].goes_alone
            && let Some(next) = self.queue.front()
            && !next.goes_alone
            && merged.has_room(&next.changes)
        {
            merged.add(&next.changes);
            commits.extend(self.queue.pop_front());
        }
        let changes: Vec<StateChange> = merged
            .changes
            .into_iter()
            .map(|(key, value)| StateChange {
                expected: Some(self.durable.get(&key).map_or(0, |(version, _)| *version)),
                key,
                value,
            })
            .collect();
        self.next_request += 1;
        let call = StateCall::Commit { changes: changes.clone() };
        self.in_flight = Some(InFlight { request: self.next_request, commits, changes });
        Some((self.next_request, call))
    }

    /// Takes an answer in. `Err` when nobody asked.
    pub(crate) fn answer(
        &mut self,
        request: u64,
        answer: StateAnswer,
        now: Monotonic,
    ) -> Result<Vec<Notice>, Unasked> {
        if let Phase::Loading { request: asked, entries, after } = &mut self.phase
            && *asked == Some(request)
        {
            *asked = None;
            match answer {
                StateAnswer::Page { entries: page, more } => {
                    *after = page.last().map(|entry| entry.key.clone()).or(after.take());
                    entries.extend(page.into_iter().map(|e| (e.key, (e.version, e.value))));
                    if !more {
                        self.durable = std::mem::take(entries);
                        self.phase = Phase::Loaded;
                        return Ok(self.settle_doubt());
                    }
                }
                StateAnswer::Refused(_) | StateAnswer::Committed { .. } => {
                    self.retry_at = Some(now.after(RETRY_DELAY));
                }
            }
            return Ok(Vec::new());
        }
        match self.in_flight.take_if(|sent| sent.request == request) {
            Some(sent) => Ok(self.commit_answered(sent, answer, now)),
            None => Err(Unasked),
        }
    }

    fn commit_answered(
        &mut self,
        sent: InFlight,
        answer: StateAnswer,
        now: Monotonic,
    ) -> Vec<Notice> {
        match answer {
            StateAnswer::Committed { versions } => {
                for (change, version) in sent.changes.iter().zip(versions) {
                    match &change.value {
                        Some(value) => {
                            self.durable.insert(change.key.clone(), (version, value.clone()));
                        }
                        None => {
                            self.durable.remove(&change.key);
                        }
                    }
                }
                self.committed(&sent)
            }
            StateAnswer::Refused(refusal) => self.commit_refused(sent, &refusal, now),
            StateAnswer::Page { .. } => {
                // Not an answer to a commit: read everything again and see.
                self.in_doubt = Some(sent);
                self.phase = Phase::Empty;
                Vec::new()
            }
        }
    }

    fn commit_refused(&mut self, sent: InFlight, refusal: &Refusal, now: Monotonic) -> Vec<Notice> {
        if refusal.code == RefusalCode::VersionConflict {
            // It may be our own commit, sent twice around a lost connection.
            self.in_doubt = Some(sent);
            self.phase = Phase::Empty;
            return Vec::new();
        }
        if passes_by_itself(refusal) {
            self.retry_at = Some(now.after(RETRY_DELAY));
            self.put_back(sent, Together::Yes);
            return Vec::new();
        }
        if sent.commits.len() > 1 {
            self.put_back(sent, Together::No);
            return Vec::new();
        }
        self.refused(sent.commits, refusal)
    }

    fn put_back(&mut self, sent: InFlight, together: Together) {
        for mut commit in sent.commits.into_iter().rev() {
            commit.goes_alone |= together == Together::No;
            self.queue.push_front(commit);
        }
    }

    fn committed(&mut self, sent: &InFlight) -> Vec<Notice> {
        self.settled += sent.commits.len() as u64;
        sent.commits.iter().map(|c| Notice::StateCommitted { ticket: c.ticket }).collect()
    }

    fn refused(&mut self, commits: Vec<Commit>, refusal: &Refusal) -> Vec<Notice> {
        self.settled += commits.len() as u64;
        commits
            .into_iter()
            .map(|c| Notice::StateRefused { ticket: c.ticket, refusal: refusal.clone() })
            .collect()
    }

    /// The store was read again: did the commit in doubt happen?
    fn settle_doubt(&mut self) -> Vec<Notice> {
        let Some(sent) = self.in_doubt.take() else { return Vec::new() };
        let version = |key: &str| self.durable.get(key).map_or(0, |(version, _)| *version);
        let happened = sent.changes.iter().all(|change| {
            let value = self.durable.get(&change.key).map(|(_, value)| value);
            let moved = change.expected != Some(version(&change.key));
            // Deleting what was not there changes no version.
            value == change.value.as_ref() && (moved || change.value.is_none())
        });
        if happened {
            return self.committed(&sent);
        }
        if sent.changes.iter().all(|change| change.expected == Some(version(&change.key))) {
            self.again = Some(sent);
            return Vec::new();
        }
        let refusal = Refusal::new(
            RefusalCode::VersionConflict,
            "state",
            "another replica has written since this one became active",
        );
        let mut commits = sent.commits;
        commits.extend(self.queue.drain(..));
        self.refused(commits, &refusal)
    }

    /// What must hold at all times.
    pub(crate) fn check(&self) -> Result<(), String> {
        let sent = self.in_flight.iter().chain(&self.in_doubt).chain(&self.again);
        let sent = sent.map(|sent| sent.commits.len());
        let open = (sent.sum::<usize>() + self.queue.len()) as u64;
        if self.settled + open != self.issued {
            return Err(format!(
                "{} commits issued, {} answered, {open} open",
                self.issued, self.settled
            ));
        }
        Ok(())
    }
}

/// An answer to a question that was not asked, or not on this connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unasked;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Together {
    Yes,
    No,
}

fn list(after: Option<String>) -> StateCall {
    StateCall::List { prefix: String::new(), after, limit: PAGE_LIMIT }
}

/// Several commits as one: later writes of a key take the place of earlier ones.
#[derive(Default)]
struct Merged {
    changes: BTreeMap<String, Option<Vec<u8>>>,
    bytes: usize,
}

impl Merged {
    fn add(&mut self, writes: &[StateWrite]) {
        for StateWrite { key, value } in writes {
            self.bytes += change_bytes(key, value.as_deref());
            if let Some(old) = self.changes.insert(key.clone(), value.clone()) {
                self.bytes -= change_bytes(key, old.as_deref());
            }
        }
    }

    /// Whether these fit into the same commit.
    fn has_room(&self, writes: &[StateWrite]) -> bool {
        let (mut keys, mut bytes) = (self.changes.len(), self.bytes);
        for StateWrite { key, value } in writes {
            bytes += change_bytes(key, value.as_deref());
            match self.changes.get(key) {
                Some(old) => bytes -= change_bytes(key, old.as_deref()),
                None => keys += 1,
            }
        }
        keys <= CHANGES_MAX && bytes <= COMMIT_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proffer_types::state_store::{CommitRate, StateEntry};

    fn page(entries: &[(&str, u64, &str)], more: bool) -> StateAnswer {
        let entry = |(key, version, value): &(&str, u64, &str)| StateEntry {
            key: (*key).to_owned(),
            version: *version,
            value: value.as_bytes().to_vec(),
        };
        StateAnswer::Page { entries: entries.iter().map(entry).collect(), more }
    }

    fn loaded(entries: &[(&str, u64, &str)]) -> StateCache {
        let mut cache = StateCache::new();
        reload(&mut cache, entries);
        cache
    }

    fn reload(cache: &mut StateCache, entries: &[(&str, u64, &str)]) -> Vec<Notice> {
        let (request, call) = cache.next_call(Monotonic(0)).expect("loads first");
        assert_eq!(call, list(None));
        cache.answer(request, page(entries, false), Monotonic(0)).expect("asked")
    }

    fn expected(call: &StateCall) -> Vec<(String, Option<u64>)> {
        match call {
            StateCall::Commit { changes } => {
                changes.iter().map(|change| (change.key.clone(), change.expected)).collect()
            }
            StateCall::List { .. } => panic!("a list"),
        }
    }

    #[test]
    fn pages_are_read_to_the_end() {
        let mut cache = StateCache::new();
        let (request, _) = cache.next_call(Monotonic(0)).expect("loads");
        assert_eq!(cache.next_call(Monotonic(0)), None);
        cache.answer(request, page(&[("a", 1, "x")], true), Monotonic(0)).expect("asked");
        let (request, call) = cache.next_call(Monotonic(0)).expect("next page");
        assert_eq!(call, list(Some("a".to_owned())));
        assert!(!cache.is_loaded());
        cache.answer(request, page(&[("b", 2, "y")], false), Monotonic(0)).expect("asked");
        assert!(cache.is_loaded());
        assert_eq!(cache.keys(""), ["a", "b"]);
        assert_eq!(cache.answer(request, page(&[], false), Monotonic(0)), Err(Unasked));
    }

    #[test]
    fn commits_are_seen_at_once_and_sent_one_at_a_time() {
        let mut cache = loaded(&[("a", 7, "old")]);
        cache.issue(vec![StateWrite::put("a", "1")], 1).expect("valid");
        let (request, call) = cache.next_call(Monotonic(0)).expect("sends");
        assert_eq!(expected(&call), [("a".to_owned(), Some(7))]);
        cache.issue(vec![StateWrite::put("a", "2")], 2).expect("valid");
        cache.issue(vec![StateWrite::put("b", "3"), StateWrite::delete("a")], 3).expect("valid");
        assert_eq!(cache.next_call(Monotonic(0)), None, "one in flight");
        assert_eq!((cache.get("a"), cache.keys("")), (None, vec!["b".to_owned()]));
        let told = cache
            .answer(request, StateAnswer::Committed { versions: vec![8] }, Monotonic(0))
            .expect("asked");
        assert_eq!(told, [Notice::StateCommitted { ticket: 1 }]);
        let (_, call) = cache.next_call(Monotonic(0)).expect("both go as one");
        let keys = [("a".to_owned(), Some(8)), ("b".to_owned(), Some(0))];
        assert_eq!(expected(&call), keys);
        assert_eq!((cache.settled(), cache.issued()), (1, 3));
        assert_eq!(cache.check(), Ok(()));
    }

    #[test]
    fn a_commit_in_doubt_is_settled_by_reading() {
        let write = |cache: &mut StateCache| {
            cache.issue(vec![StateWrite::put("a", "new")], 1).expect("valid");
            cache.next_call(Monotonic(0)).expect("sends");
            cache.disconnected();
        };
        let mut happened = loaded(&[("a", 7, "old")]);
        write(&mut happened);
        assert_eq!(happened.get("a"), Some("new".as_bytes()));
        let told = reload(&mut happened, &[("a", 8, "new")]);
        assert_eq!(told, [Notice::StateCommitted { ticket: 1 }]);
        assert_eq!(happened.next_call(Monotonic(0)), None);

        let mut lost = loaded(&[("a", 7, "old")]);
        write(&mut lost);
        assert_eq!(reload(&mut lost, &[("a", 7, "old")]), []);
        lost.issue(vec![StateWrite::put("b", "2")], 2).expect("valid");
        let (request, call) = lost.next_call(Monotonic(0)).expect("sent again");
        assert_eq!(expected(&call), [("a".to_owned(), Some(7))], "as it was, joined with nothing");
        // The first sending arrived after all.
        let conflict = Refusal::new(RefusalCode::VersionConflict, "a", "has version 8");
        let told = lost.answer(request, StateAnswer::Refused(conflict), Monotonic(0));
        assert_eq!(told, Ok(vec![]));
        let told = reload(&mut lost, &[("a", 8, "new")]);
        assert_eq!(told, [Notice::StateCommitted { ticket: 1 }]);
        assert_eq!(lost.check(), Ok(()));

        let mut overtaken = loaded(&[("a", 7, "old")]);
        write(&mut overtaken);
        overtaken.issue(vec![StateWrite::put("b", "late")], 2).expect("valid");
        let told = reload(&mut overtaken, &[("a", 9, "theirs")]);
        let tickets: Vec<u64> = told
            .iter()
            .map(|notice| {
                let Notice::StateRefused { ticket, refusal } = notice else { panic!("{notice:?}") };
                assert_eq!(refusal.code, RefusalCode::VersionConflict);
                *ticket
            })
            .collect();
        assert_eq!(tickets, [1, 2]);
        assert_eq!(overtaken.check(), Ok(()));
    }

    #[test]
    fn a_refused_batch_is_tried_one_by_one() {
        let mut cache = loaded(&[]);
        cache.issue(vec![StateWrite::put("a", "1")], 1).expect("valid");
        cache.issue(vec![StateWrite::put("b", "2")], 2).expect("valid");
        let (request, _) = cache.next_call(Monotonic(0)).expect("sends both");
        let full = Refusal::new(RefusalCode::BudgetExceeded, "bytes", "is used up");
        let answer = StateAnswer::Refused(full.clone());
        assert_eq!(cache.answer(request, answer.clone(), Monotonic(0)), Ok(vec![]));
        let (request, call) = cache.next_call(Monotonic(0)).expect("sends the first");
        assert_eq!(expected(&call), [("a".to_owned(), Some(0))]);
        let told = cache.answer(request, answer, Monotonic(0)).expect("asked");
        assert_eq!(told, [Notice::StateRefused { ticket: 1, refusal: full }]);
        let (_, call) = cache.next_call(Monotonic(0)).expect("sends the second");
        assert_eq!(expected(&call), [("b".to_owned(), Some(0))]);
        assert_eq!(cache.get("a"), None, "a refused write is not seen any more");
    }

    #[test]
    fn the_rate_is_waited_for() {
        let mut cache = loaded(&[]);
        cache.issue(vec![StateWrite::put("a", "1")], 1).expect("valid");
        let (request, _) = cache.next_call(Monotonic(0)).expect("sends");
        let none = StateBudget { commits_per_second: 0, ..StateBudget::default() };
        let rate = CommitRate::default().check(&none, Monotonic(0)).expect_err("too many");
        assert_eq!(cache.answer(request, StateAnswer::Refused(rate), Monotonic(10)), Ok(vec![]));
        assert_eq!(cache.next_call(Monotonic(10)), None);
        let at = cache.next_deadline().expect("tries again");
        assert!(cache.next_call(at).is_some());
    }

    #[test]
    fn k9_commits_are_joined_only_as_far_as_one_may_have_bytes() {
        let mut cache = loaded(&[]);
        let large = vec![7; 64 << 10];
        for number in 0..64 {
            let write = StateWrite::put(format!("k{number:02}"), large.clone());
            cache.issue(vec![write], number).expect("each is small enough");
        }
        let mut sent = 0;
        while sent < 64 {
            let (request, call) = cache.next_call(Monotonic(0)).expect("goes on");
            let StateCall::Commit { changes } = call else { panic!("{call:?}") };
            let named = changes.iter().map(|it| (it.key.as_str(), it.value.as_deref()));
            StateBudget::default().check_changes(named).expect("the master takes it");
            sent += changes.len();
            let versions = (1..=changes.len() as u64).collect();
            let told = cache.answer(request, StateAnswer::Committed { versions }, Monotonic(0));
            assert_eq!(told.expect("asked").len(), changes.len());
        }
        let refusal = cache
            .issue(vec![StateWrite::put("a", "1"), StateWrite::put("b", vec![0; 70_000])], 99)
            .expect_err("no store takes it");
        assert_eq!(refusal.field, "changes[1].value");
    }
}
