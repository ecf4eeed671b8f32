//! The suite on the store in memory, and the faults that only it can make at will.

use std::sync::Arc;
use std::time::Duration;

use proffer_master::store::memory::{Fault, MemoryStore};
use proffer_master::store::{
    Batch, CommitOutcome, Lane, Leadership, Limits, OperationId, Store, TransactionResult,
};

use crate::cases;
use crate::support::{Place, commit, lead, records, within, write};

fn place() -> (MemoryStore, Place) {
    let store = MemoryStore::new(Limits::ETCD);
    let first: Arc<dyn Store> = Arc::new(store.clone());
    let place =
        Place { second: Arc::clone(&first), first, shortest_ttl: Duration::from_millis(300) };
    (store, place)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_store_keeps_every_promise() {
    for (name, case) in cases::ALL {
        eprintln!("memory: {name}");
        case(&place().1).await;
    }
}

#[tokio::test]
async fn k4_every_kind_of_lost_message_is_settled() {
    let (store, place) = place();
    let mut term = lead(&place.first, "one").await;
    for (i, fault) in [Fault::LoseAnswer, Fault::LoseRequest, Fault::Refuse].into_iter().enumerate()
    {
        store.plan([fault, fault]);
        write(&mut term, Batch::new().put("k", i.to_string())).await;
        assert_eq!(records(&place.first, "").await[b"k".as_slice()], i.to_string().as_bytes());
    }
}

#[tokio::test]
async fn k4_a_transaction_that_arrives_late_applies_nothing_twice() {
    let (store, place) = place();
    let mut term = lead(&place.first, "one").await;
    store.plan([Fault::Delay]);
    write(&mut term, Batch::new().put("k", "1")).await;
    write(&mut term, Batch::new().put("k", "2")).await;
    let late = store.deliver_late();
    assert!(matches!(late.as_slice(), [TransactionResult::Guarded(_)]), "{late:?}");
    assert_eq!(records(&place.first, "").await[b"k".as_slice()], b"2");
}

#[tokio::test]
async fn k4_a_deposed_leader_still_learns_what_was_applied() {
    let (store, place) = place();
    let mut old = lead(&place.first, "old").await;
    store.plan([Fault::HoldAndLoseAnswer]);
    submit(&old, 1, Batch::new().put("k", "1"));
    within(store.holding(1)).await;
    store.expire_lease();
    let _new = lead(&place.second, "new").await;
    store.release();
    let ended = within(old.completed()).await.expect("it completes");
    assert!(matches!(ended.outcome, CommitOutcome::Committed { .. }), "{ended:?}");
    assert_eq!(within(old.completed()).await, None, "and its term is over");
}

#[tokio::test]
async fn k4_an_outcome_that_cannot_be_settled_ends_the_term() {
    let (store, place) = place();
    let mut old = lead(&place.first, "old").await;
    store.plan([Fault::HoldAndLoseAnswer]);
    submit(&old, 1, Batch::new().put("k", "1"));
    within(store.holding(1)).await;
    submit(&old, 2, Batch::new().put("k", "never sent"));
    store.expire_lease();
    let mut new = lead(&place.second, "new").await;
    write(&mut new, Batch::new().put("k", "2")).await;
    store.release();
    let first = within(old.completed()).await.expect("it completes");
    let second = within(old.completed()).await.expect("it completes");
    assert!(matches!(first.outcome, CommitOutcome::Unknown { .. }), "{first:?}");
    assert_eq!(
        (second.operations, second.outcome),
        (vec![OperationId(2)], CommitOutcome::LeadershipLost)
    );
    assert_eq!(within(old.completed()).await, None);
    assert_eq!(records(&place.first, "").await[b"k".as_slice()], b"2");
}

fn submit(term: &Leadership, id: u64, batch: Batch) {
    term.commits().submit(OperationId(id), Lane::Registry, batch).expect("it fits");
}

#[tokio::test]
async fn i10_a_held_request_of_a_deposed_leader_is_not_applied() {
    let (store, place) = place();
    let mut old = lead(&place.first, "old").await;
    store.plan([Fault::HoldRequest]);
    let commits = old.commits();
    commits.submit(OperationId(1), Lane::Registry, Batch::new().put("k", "zombie")).expect("fits");
    within(store.holding(1)).await;
    store.expire_lease();
    let mut new = lead(&place.second, "new").await;
    write(&mut new, Batch::new().put("k", "new")).await;
    store.release();
    let ended = within(old.completed()).await.expect("it completes");
    assert!(ended.outcome.ends_leadership(), "{ended:?}");
    assert_eq!(records(&place.first, "").await[b"k".as_slice()], b"new");
}

#[tokio::test]
async fn k4_one_transaction_is_in_flight_and_the_rest_is_grouped() {
    let (store, place) = place();
    let mut term = lead(&place.first, "one").await;
    store.plan([Fault::HoldAnswer]);
    let commits = term.commits();
    for id in 0..100 {
        let batch = Batch::new().put(format!("k/{id}"), "v");
        commits.submit(OperationId(id), Lane::Registry, batch).expect("fits");
        within(store.holding(1)).await;
    }
    assert_eq!(records(&place.first, "").await.len(), 1, "the others wait");
    store.release();
    let first = within(term.completed()).await.expect("it completes");
    let second = within(term.completed()).await.expect("it completes");
    assert_eq!((first.operations.len(), second.operations.len()), (1, 99));
}

#[tokio::test]
async fn k4_a_store_that_is_away_for_a_while_loses_nothing() {
    let (store, place) = place();
    let mut term = lead(&place.first, "one").await;
    store.set_reachable(false);
    let commits = term.commits();
    commits.submit(OperationId(1), Lane::Registry, Batch::new().put("k", "1")).expect("fits");
    let early = tokio::time::timeout(Duration::from_millis(100), term.completed()).await;
    assert!(early.is_err(), "nothing is promised while nothing is stored: {early:?}");
    store.set_reachable(true);
    let ended = within(term.completed()).await.expect("it completes");
    assert!(matches!(ended.outcome, CommitOutcome::Committed { .. }), "{ended:?}");
    assert!(matches!(
        commit(&mut term, Batch::new().put("k", "2")).await,
        CommitOutcome::Committed { .. }
    ));
}
