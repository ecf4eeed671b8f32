//! Tests of the commit queue alone: every answer a store can give, in every phase.

use super::*;

const TOKEN: LeaderToken = LeaderToken { create_revision: Revision(7), lease: 1 };
const OLD_MARK: CommitMark = CommitMark { sequence: 41, writer: Revision(3) };
const NEW_MARK: CommitMark = CommitMark { sequence: 42, writer: Revision(7) };

fn queue() -> CommitQueue {
    CommitQueue::new(TOKEN, OLD_MARK, Limits::ETCD, QueueBudget::default())
}

fn put(key: &str) -> Batch {
    Batch::new().put(key, "value")
}

fn submit(queue: &mut CommitQueue, id: u64, batch: Batch) {
    queue.submit(OperationId(id), Lane::Registry, batch).expect("the batch is small");
}

fn transaction(queue: &mut CommitQueue) -> Arc<Transaction> {
    let request = queue.next_request();
    let Some(Request::Transact(transaction)) = request else {
        panic!("expected a transaction, got {request:?}");
    };
    transaction
}

fn guard(leader: Option<u64>, mark: CommitMark) -> Guard {
    Guard { leader: leader.map(Revision), mark, mark_modified: Revision(99) }
}

fn unknown() -> TransactionResult {
    TransactionResult::Unknown { reason: "timed out".into() }
}

fn outcomes(queue: &mut CommitQueue) -> Vec<(Vec<u64>, CommitOutcome)> {
    let ended = queue.take_completed().into_iter();
    ended.map(|c| (c.operations.iter().map(|o| o.0).collect(), c.outcome)).collect()
}

fn committed(revision: u64, sequence: u64) -> CommitOutcome {
    CommitOutcome::Committed { revision: Revision(revision), sequence }
}

#[test]
fn k4_one_transaction_is_in_flight_and_the_rest_goes_in_the_next() {
    let mut queue = queue();
    submit(&mut queue, 1, put("a"));
    let first = transaction(&mut queue);
    assert_eq!((first.token, first.expected, first.mark), (TOKEN, OLD_MARK, NEW_MARK));
    submit(&mut queue, 2, put("b"));
    submit(&mut queue, 3, put("c"));
    assert_eq!(queue.next_request(), None);
    queue.transacted(TransactionResult::Applied { revision: Revision(50) });
    let second = transaction(&mut queue);
    assert_eq!((second.expected, second.mark.sequence), (NEW_MARK, 43));
    queue.transacted(TransactionResult::Applied { revision: Revision(51) });
    assert_eq!(
        outcomes(&mut queue),
        [(vec![1], committed(50, 42)), (vec![2, 3], committed(51, 43))]
    );
    assert_eq!(queue.unfinished_count(), 0);
}

#[test]
fn k4_groups_stay_within_the_limits_and_keep_batches_whole() {
    let mut queue = queue();
    for id in 0..5 {
        let batch = (0..50).fold(Batch::new(), |b, i| b.put(format!("{id}/{i}"), "v"));
        submit(&mut queue, id, batch);
    }
    let mut sizes = Vec::new();
    while let Some(Request::Transact(transaction)) = queue.next_request() {
        sizes.push(transaction.changes.len());
        queue.transacted(TransactionResult::Applied { revision: Revision(1) });
    }
    assert_eq!(sizes, [100, 100, 50]);
}

#[test]
fn the_last_change_of_a_record_wins_within_a_group() {
    let mut queue = queue();
    submit(&mut queue, 1, Batch::new().put("a", "1").put("b", "1"));
    submit(&mut queue, 2, Batch::new().put("a", "2").delete("b"));
    let changes = transaction(&mut queue).changes.clone();
    assert_eq!(changes, [(b"a".to_vec(), Some(b"2".to_vec())), (b"b".to_vec(), None)].into());
}

#[test]
fn k9_the_registry_goes_first_but_never_overtakes_on_one_record() {
    let mut queue = queue();
    let state = Lane::FrameworkState;
    transaction_in_flight(&mut queue);
    queue.submit(OperationId(1), state, put("state/f1/x")).expect("small");
    queue.submit(OperationId(2), Lane::Registry, put("agents/a1")).expect("small");
    queue.submit(OperationId(3), Lane::Registry, Batch::new().delete("state/f1/x")).expect("small");
    queue.submit(OperationId(4), state, put("state/f2/x")).expect("small");
    queue.transacted(TransactionResult::Applied { revision: Revision(1) });
    let changes = transaction(&mut queue).changes.clone();
    assert_eq!(changes[b"state/f1/x".as_slice()], None);
    queue.transacted(TransactionResult::Applied { revision: Revision(2) });
    assert_eq!(outcomes(&mut queue)[1].0, [2, 1, 3, 4]);
    assert_eq!(queue.room(state), QueueBudget::default().framework_state_bytes_max);
}

fn transaction_in_flight(queue: &mut CommitQueue) {
    submit(queue, 0, put("first"));
    transaction(queue);
}

#[test]
fn k4_an_unknown_outcome_is_settled_by_reading_the_mark() {
    let mut queue = queue();
    submit(&mut queue, 1, put("a"));
    transaction(&mut queue);
    queue.transacted(unknown());
    assert_eq!(queue.next_request(), Some(Request::ReadGuard));
    queue.guard_read(Some(guard(Some(7), NEW_MARK)));
    assert_eq!(outcomes(&mut queue), [(vec![1], committed(99, 42))]);
}

#[test]
fn k4_what_was_not_applied_is_sent_again_and_cannot_apply_twice() {
    let mut queue = queue();
    submit(&mut queue, 1, put("a"));
    let first = transaction(&mut queue);
    queue.transacted(unknown());
    queue.next_request();
    queue.guard_read(None);
    assert_eq!((queue.next_request(), queue.repeats()), (Some(Request::ReadGuard), 2));
    queue.guard_read(Some(guard(Some(7), OLD_MARK)));
    assert_eq!(transaction(&mut queue), first);
    // The first sending arrived after all; ours then meets the mark it wrote.
    queue.transacted(TransactionResult::Guarded(guard(Some(7), NEW_MARK)));
    assert_eq!(outcomes(&mut queue), [(vec![1], committed(99, 42))]);
    assert!(!queue.is_stopped());
}

#[test]
fn i10_a_deposed_leader_learns_that_nothing_of_it_was_written() {
    let mut queue = queue();
    submit(&mut queue, 1, put("a"));
    transaction(&mut queue);
    submit(&mut queue, 2, put("b"));
    queue.transacted(TransactionResult::Guarded(guard(Some(9), OLD_MARK)));
    assert_eq!(
        outcomes(&mut queue),
        [(vec![1], CommitOutcome::LeadershipLost), (vec![2], CommitOutcome::LeadershipLost)]
    );
    assert_eq!(queue.submit(OperationId(3), Lane::Registry, put("c")), Err(SubmitError::Stopped));
    assert_eq!(queue.next_request(), None);
}

#[test]
fn k4_what_cannot_be_settled_stays_unknown() {
    let mut queue = queue();
    submit(&mut queue, 1, put("a"));
    transaction(&mut queue);
    queue.transacted(unknown());
    queue.next_request();
    let theirs = CommitMark { sequence: 43, writer: Revision(9) };
    queue.guard_read(Some(guard(Some(9), theirs)));
    let ended = outcomes(&mut queue);
    assert!(matches!(ended[0].1, CommitOutcome::Unknown { .. }), "{ended:?}");
    assert!(ended[0].1.ends_leadership());
}

/// Found by the model of all orders of messages: the first copy was applied, the second one answered.
#[test]
fn k4_a_doubled_request_makes_even_the_first_answer_no_proof() {
    let mut queue = queue();
    submit(&mut queue, 1, put("a"));
    transaction(&mut queue);
    let theirs = CommitMark { sequence: 43, writer: Revision(9) };
    queue.transacted(TransactionResult::Guarded(guard(Some(9), theirs)));
    let ended = outcomes(&mut queue);
    assert!(matches!(ended[0].1, CommitOutcome::Unknown { .. }), "{ended:?}");
}

#[test]
fn k4_a_lost_term_still_learns_that_its_last_commit_counted() {
    let mut queue = queue();
    submit(&mut queue, 1, put("a"));
    transaction(&mut queue);
    submit(&mut queue, 2, put("b"));
    queue.transacted(unknown());
    queue.leadership_lost();
    assert_eq!(queue.next_request(), Some(Request::ReadGuard));
    queue.guard_read(Some(guard(None, NEW_MARK)));
    assert_eq!(
        outcomes(&mut queue),
        [(vec![2], CommitOutcome::LeadershipLost), (vec![1], committed(99, 42))]
    );
}

#[test]
fn a_rejected_transaction_ends_the_term() {
    let mut queue = queue();
    submit(&mut queue, 1, put("a"));
    transaction(&mut queue);
    queue.transacted(TransactionResult::Rejected { reason: "no".into() });
    assert_eq!(outcomes(&mut queue), [(vec![1], CommitOutcome::Failed { reason: "no".into() })]);
    assert!(queue.is_stopped());
}

#[test]
fn what_no_transaction_can_hold_is_refused_at_once() {
    let mut queue = queue();
    let limits = Limits::ETCD;
    let many =
        (0..=limits.batch_operations_max).fold(Batch::new(), |b, i| b.put(format!("{i}"), ""));
    let id = OperationId(1);
    let count = limits.batch_operations_max + 1;
    assert_eq!(
        queue.submit(id, Lane::Registry, many),
        Err(SubmitError::TooManyOperations { count, limit: limits.batch_operations_max })
    );
    let long = Batch::new().put("k", vec![0; limits.value_bytes_max + 1]);
    assert!(matches!(
        queue.submit(id, Lane::Registry, long),
        Err(SubmitError::ValueTooLarge { .. })
    ));
    let heavy = (0..2).fold(Batch::new(), |b, i| b.put(format!("{i}"), vec![0; 1 << 20]));
    assert!(matches!(
        queue.submit(id, Lane::Registry, heavy),
        Err(SubmitError::BatchTooLarge { .. })
    ));
    assert!(matches!(
        queue.submit(id, Lane::Registry, Batch::new().put("", "x")),
        Err(SubmitError::BadKey { .. })
    ));
    assert_eq!(queue.unfinished_count(), 0);
}

#[test]
fn k9_framework_state_is_refused_before_the_registry_is() {
    let budget =
        QueueBudget { operations_max: 10, bytes_max: 10_000, framework_state_bytes_max: 100 };
    let mut queue = CommitQueue::new(TOKEN, OLD_MARK, Limits::ETCD, budget);
    let heavy = || Batch::new().put("k", vec![0; 80]);
    assert!(matches!(
        queue.submit(OperationId(1), Lane::FrameworkState, heavy()),
        Err(SubmitError::Full { .. })
    ));
    submit(&mut queue, 2, heavy());
    assert_eq!(queue.room(Lane::FrameworkState), 100);
}
