//! What the cases share: a place with two clients, a term to write in, deadlines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proffer_master::store::commit_queue::QueueBudget;
use proffer_master::store::{
    Batch, CommitOutcome, Entry, Key, Lane, Leadership, LeadershipSettings, OperationId,
    RangeRequest, Revision, Store, campaign,
};

/// Nothing here takes so long; it only keeps a broken test from hanging.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// An empty store and two ways to it.
pub(crate) struct Place {
    pub(crate) first: Arc<dyn Store>,
    /// Another connection where the store has connections, else the same.
    pub(crate) second: Arc<dyn Store>,
    /// As short as this store grants.
    pub(crate) shortest_ttl: Duration,
}

pub(crate) fn settings(candidate: &str, ttl: Duration) -> LeadershipSettings {
    LeadershipSettings { candidate: candidate.into(), ttl, budget: QueueBudget::default() }
}

/// Leads with a lease that no test outlives.
pub(crate) async fn lead(store: &Arc<dyn Store>, candidate: &str) -> Leadership {
    let settings = settings(candidate, Duration::from_secs(60));
    within(campaign(Arc::clone(store), settings)).await.expect("campaign")
}

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("done within the deadline")
}

/// Commits one batch and waits for it.
pub(crate) async fn commit(leadership: &mut Leadership, batch: Batch) -> CommitOutcome {
    let id = OperationId(1);
    leadership.commits().submit(id, Lane::Registry, batch).expect("the batch is fine");
    let completed = within(leadership.completed()).await.expect("the term is not over");
    assert_eq!(completed.operations, [id]);
    completed.outcome
}

/// Commits one batch that has to succeed.
pub(crate) async fn write(leadership: &mut Leadership, batch: Batch) -> Revision {
    let outcome = commit(leadership, batch).await;
    let CommitOutcome::Committed { revision, .. } = outcome else {
        panic!("not committed: {outcome:?}");
    };
    revision
}

/// Reads everything below a prefix, in pages of `limit`, at the revision of the first page.
pub(crate) async fn read_all(
    store: &Arc<dyn Store>,
    prefix: &str,
    limit: usize,
) -> (Vec<Entry>, Revision) {
    let mut request = RangeRequest { prefix: prefix.into(), after: None, limit, at: None };
    let mut entries = Vec::new();
    loop {
        let page = within(store.range(request.clone())).await.expect("readable");
        assert!(page.entries.len() <= limit);
        entries.extend(page.entries);
        if !page.more {
            return (entries, page.revision);
        }
        request.at = Some(page.revision);
        request.after = entries.last().map(|entry| entry.key.clone());
    }
}

pub(crate) async fn records(store: &Arc<dyn Store>, prefix: &str) -> BTreeMap<Key, Vec<u8>> {
    let (entries, _) = read_all(store, prefix, 100).await;
    entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
}

pub(crate) fn text(key: &[u8]) -> &str {
    std::str::from_utf8(key).expect("the tests use text")
}
