//! The promises, one function each. Every store runs all of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use proffer_master::store::lease::LeaseState;
use proffer_master::store::model::CommitMark;
use proffer_master::store::watch_cursor::apply_to_copy;
use proffer_master::store::{
    Batch, CommitOutcome, Lane, Leadership, OperationId, RangeRequest, ResumingWatch, Revision,
    StoreError, SubmitError, Transaction, TransactionResult, WatchEvent, campaign,
};

use crate::support::{Place, commit, lead, read_all, records, settings, text, within, write};

type Case = for<'a> fn(&'a Place) -> BoxFuture<'a, ()>;

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        /// Every promise, by name.
        pub(crate) const ALL: &[(&str, Case)] =
            &[$((stringify!($name), |place| Box::pin($name(place)))),*];
    };
}

cases![
    what_was_committed_is_read,
    k4_every_batch_of_many_completes_once_and_in_order,
    k4_the_largest_batch_fits_and_one_more_is_refused,
    pages_share_the_revision_of_the_first,
    compacted_revisions_are_refused,
    k4_a_repeated_transaction_applies_once,
    i10_a_deposed_leader_writes_nothing,
    i10_the_next_term_goes_on_from_the_last_commit,
    k8_a_term_that_is_not_renewed_ends,
    k8_a_renewed_term_stays_confirmed,
    watches_tell_each_change_in_order,
    k17_watches_resume_where_they_stopped,
    k17_compaction_resets_a_watch,
    the_leader_can_be_looked_up,
];

async fn what_was_committed_is_read(place: &Place) {
    let mut term = lead(&place.first, "one").await;
    let store = &place.second;
    assert_eq!(within(store.get(b"a".to_vec())).await.expect("readable"), None);
    let first = write(&mut term, Batch::new().put("a", "1").put("b", "1")).await;
    let second = write(&mut term, Batch::new().put("a", "2").delete("b").delete("never")).await;
    assert!(second > first);
    let found = within(store.get(b"a".to_vec())).await.expect("readable").expect("there");
    assert_eq!((found.value.as_slice(), found.modified), (b"2".as_slice(), second));
    assert_eq!(within(store.get(b"b".to_vec())).await.expect("readable"), None);
    let empty = write(&mut term, Batch::new()).await;
    assert!(empty > second, "an empty batch proves the leadership with a transaction");
    assert!(within(store.usage()).await.expect("readable").bytes > 0);
}

async fn k4_every_batch_of_many_completes_once_and_in_order(place: &Place) {
    const BATCHES: u64 = 2_000;
    let mut term = lead(&place.first, "one").await;
    let commits = term.commits();
    for id in 0..BATCHES {
        let lane = if id % 3 == 0 { Lane::FrameworkState } else { Lane::Registry };
        let batch = Batch::new().put(format!("k/{id:05}"), id.to_string());
        commits.submit(OperationId(id), lane, batch).expect("it fits");
    }
    let mut seen = BTreeMap::new();
    let mut sequences = Vec::new();
    while seen.len() < usize::try_from(BATCHES).expect("small") {
        let completed = within(term.completed()).await.expect("the term is not over");
        let CommitOutcome::Committed { sequence, revision } = completed.outcome else {
            panic!("not committed: {completed:?}");
        };
        sequences.push((sequence, revision));
        for id in completed.operations {
            assert_eq!(seen.insert(id, sequence), None, "{id:?} completed twice");
        }
    }
    assert!(sequences.is_sorted());
    assert_eq!(commits.unfinished_count(), 0);
    let (entries, _) = read_all(&place.second, "k/", 300).await;
    let values: Vec<_> = entries.iter().map(|entry| text(&entry.value).to_owned()).collect();
    assert_eq!(values, (0..BATCHES).map(|id| id.to_string()).collect::<Vec<_>>());
}

async fn k4_the_largest_batch_fits_and_one_more_is_refused(place: &Place) {
    let mut term = lead(&place.first, "one").await;
    let limits = place.first.limits();
    let of_count = |count| (0..count).fold(Batch::new(), |b, i| b.put(format!("n/{i:04}"), "v"));
    write(&mut term, of_count(limits.batch_operations_max)).await;
    assert_eq!(records(&place.second, "n/").await.len(), limits.batch_operations_max);
    write(&mut term, Batch::new().put("large", vec![7; limits.value_bytes_max])).await;

    let heavy = Batch::new().put("h/1", vec![1; limits.value_bytes_max]).put("h/2", "");
    let rest = limits.batch_bytes_max - heavy.encoded_bytes();
    let heavy = Batch::new().put("h/1", vec![1; limits.value_bytes_max]).put("h/2", vec![2; rest]);
    assert_eq!(heavy.encoded_bytes(), limits.batch_bytes_max);
    write(&mut term, heavy).await;
    assert_eq!(records(&place.second, "h/").await[b"h/2".as_slice()].len(), rest);

    let refused = term.commits().submit(
        OperationId(9),
        Lane::Registry,
        of_count(limits.batch_operations_max + 1),
    );
    assert!(matches!(refused, Err(SubmitError::TooManyOperations { .. })), "{refused:?}");
}

async fn pages_share_the_revision_of_the_first(place: &Place) {
    let mut term = lead(&place.first, "one").await;
    for tens in 0..5 {
        let batch =
            (0..50).fold(Batch::new(), |b, i| b.put(format!("p/{:03}", tens * 50 + i), "old"));
        write(&mut term, batch).await;
    }
    write(&mut term, Batch::new().put("q", "outside")).await;
    let request = RangeRequest { prefix: b"p/".to_vec(), after: None, limit: 100, at: None };
    let first = within(place.second.range(request.clone())).await.expect("readable");
    assert_eq!((first.entries.len(), first.more), (100, true));

    write(&mut term, Batch::new().put("p/150", "new").delete("p/151").put("p/1500", "new")).await;
    let mut entries = first.entries;
    let mut more = true;
    while more {
        let after = entries.last().map(|entry| entry.key.clone());
        let request = RangeRequest { after, at: Some(first.revision), ..request.clone() };
        let page = within(place.second.range(request)).await.expect("still kept");
        assert_eq!(page.revision, first.revision);
        more = page.more;
        entries.extend(page.entries);
    }
    let keys: Vec<_> = entries.iter().map(|entry| text(&entry.key).to_owned()).collect();
    assert_eq!(keys, (0..250).map(|i| format!("p/{i:03}")).collect::<Vec<_>>());
    assert!(entries.iter().all(|entry| entry.value == b"old"));

    let now = records(&place.second, "p/").await;
    assert_eq!(now[b"p/150".as_slice()], b"new");
    assert!(!now.contains_key(b"p/151".as_slice()) && now.contains_key(b"p/1500".as_slice()));
}

async fn compacted_revisions_are_refused(place: &Place) {
    let mut term = lead(&place.first, "one").await;
    let old = write(&mut term, Batch::new().put("a", "1")).await;
    let new = write(&mut term, Batch::new().put("a", "2")).await;
    within(place.first.compact(new)).await.expect("compact");
    within(place.first.compact(new)).await.expect("once more is fine");
    let read = |at| RangeRequest { prefix: vec![], after: None, limit: 10, at: Some(at) };
    let refused = within(place.second.range(read(old))).await;
    assert!(matches!(refused, Err(StoreError::Compacted { .. })), "{refused:?}");
    let page = within(place.second.range(read(new))).await.expect("the bound itself is kept");
    assert_eq!(page.entries[0].value, b"2");
}

async fn k4_a_repeated_transaction_applies_once(place: &Place) {
    let won = within(place.first.campaign(b"one".to_vec(), Duration::from_secs(60))).await;
    let token = won.expect("campaign").token;
    let expected = within(place.first.guard()).await.expect("readable").mark;
    let mark = CommitMark { sequence: expected.sequence + 1, writer: token.create_revision };
    let changes = [(b"a".to_vec(), Some(b"1".to_vec()))].into();
    let transaction = Arc::new(Transaction { token, expected, mark, changes });
    let applied = within(place.first.transact(Arc::clone(&transaction))).await;
    let TransactionResult::Applied { revision } = applied else { panic!("{applied:?}") };
    let again = within(place.second.transact(transaction)).await;
    let TransactionResult::Guarded(guard) = again else { panic!("{again:?}") };
    assert_eq!((guard.mark, guard.mark_modified), (mark, revision));
    assert_eq!(guard, within(place.second.guard()).await.expect("readable"));
}

async fn i10_a_deposed_leader_writes_nothing(place: &Place) {
    let mut first = lead(&place.first, "first").await;
    write(&mut first, Batch::new().put("a", "first")).await;
    // Behind its back, as when its lease runs out while it is frozen.
    within(place.second.resign(first.token)).await.expect("resign");
    let mut second = lead(&place.second, "second").await;
    assert!(second.token > first.token);

    // Nobody has written since: certainly not applied.
    let zombie = || Batch::new().put("a", "zombie");
    assert_eq!(commit(&mut first, zombie()).await, CommitOutcome::LeadershipLost);
    let refused = first.commits().submit(OperationId(2), Lane::Registry, Batch::new());
    assert_eq!(refused, Err(SubmitError::Stopped));
    assert_eq!(within(first.completed()).await, None);

    within(place.first.resign(second.token)).await.expect("resign");
    let mut third = lead(&place.first, "third").await;
    write(&mut third, Batch::new().put("a", "third")).await;
    let outcome = commit(&mut second, zombie()).await;
    assert!(outcome.ends_leadership(), "{outcome:?}");
    assert_eq!(records(&place.second, "").await[b"a".as_slice()], b"third");

    let renewed = within(place.first.keep_alive(second.token)).await;
    assert!(matches!(renewed, Err(StoreError::LeadershipEnded { .. })), "{renewed:?}");
    // Its late goodbye does not depose the new leader.
    within(place.second.resign(second.token)).await.expect("fine");
    write(&mut third, Batch::new().put("b", "third")).await;
}

async fn i10_the_next_term_goes_on_from_the_last_commit(place: &Place) {
    let mut first = lead(&place.first, "one").await;
    write(&mut first, Batch::new().put("a", "1")).await;
    let waiting = tokio::spawn({
        let store = Arc::clone(&place.second);
        async move { lead(&store, "two").await }
    });
    let commits = first.commits();
    for id in 0..300 {
        let batch = Batch::new().put(format!("k/{id}"), "v");
        commits.submit(OperationId(id), Lane::Registry, batch).expect("it fits");
    }
    assert!(!waiting.is_finished(), "one leads at a time");
    let token = first.token;
    within(first.resign()).await.expect("resign");
    let second = within(waiting).await.expect("the candidate waits without panic");
    assert!(second.token.create_revision > token.create_revision);
    assert_eq!(second.recovered.writer, token.create_revision);
    assert_eq!(
        records(&place.second, "k/").await.len(),
        300,
        "resigning waits for what was submitted"
    );
}

async fn k8_a_term_that_is_not_renewed_ends(place: &Place) {
    let ttl = place.shortest_ttl;
    let first = campaign(Arc::clone(&place.first), settings("one", ttl));
    let first = within(first).await.expect("campaign");
    let (token, commits) = (first.token, first.commits());
    // Its tasks end, so nobody renews; nothing tells the store.
    drop(first);
    let second = lead(&place.second, "two").await;
    assert!(second.token > token);
    assert_eq!(commits.lease(), LeaseState::Suspended, "it stops by itself before another leads");
}

async fn k8_a_renewed_term_stays_confirmed(place: &Place) {
    let ttl = place.shortest_ttl;
    let term = campaign(Arc::clone(&place.first), settings("one", ttl));
    let mut term = within(term).await.expect("campaign");
    let commits = term.commits();
    // Twice the time for which the lease lasts without a renewal.
    tokio::time::sleep(ttl * 2).await;
    let confirmed = async {
        let mut state = commits.lease();
        while !matches!(state, LeaseState::Confirmed { .. }) {
            state = commits.lease_changed(state).await;
        }
    };
    within(confirmed).await;
    let leader = within(place.second.leader()).await.expect("readable").expect("somebody leads");
    assert_eq!(leader.create_revision, term.token.create_revision);
    write(&mut term, Batch::new().put("a", "1")).await;

    within(place.second.resign(term.token)).await.expect("resign");
    let lost = async {
        let mut state = commits.lease();
        while state != LeaseState::Lost {
            state = commits.lease_changed(state).await;
        }
    };
    within(lost).await;
}

/// Reads events until the copy has this many records and is at least at this revision.
async fn follow(
    watch: &mut ResumingWatch,
    copy: &mut BTreeMap<Vec<u8>, Vec<u8>>,
    until: Revision,
) -> Vec<WatchEvent> {
    let mut events = Vec::new();
    loop {
        let event = within(watch.next()).await.expect("the watch goes on");
        apply_to_copy(copy, &event);
        let reached = match &event {
            WatchEvent::Changes(set) => set.revision >= until,
            WatchEvent::Current(revision) => *revision >= until,
            WatchEvent::Reset | WatchEvent::Records(_) => false,
        };
        events.push(event);
        if reached {
            return events;
        }
    }
}

async fn write_many(term: &mut Leadership, count: usize, value: &str) -> Revision {
    let mut last = Revision(0);
    for i in 0..count {
        let batch =
            Batch::new().put(format!("w/{i:03}/a"), value).put(format!("w/{i:03}/b"), value);
        last = write(term, batch.put(format!("other/{i}"), value)).await;
    }
    last
}

async fn watches_tell_each_change_in_order(place: &Place) {
    let mut term = lead(&place.first, "one").await;
    let start = write(&mut term, Batch::new().put("w/zzz", "before")).await;
    let mut watch = ResumingWatch::from(Arc::clone(&place.second), "w/", start.next());
    write_many(&mut term, 20, "x").await;
    let last = write(&mut term, Batch::new().delete("w/zzz").delete("w/never")).await;
    let mut copy = BTreeMap::new();
    let mut told = Vec::new();
    for event in follow(&mut watch, &mut copy, last).await {
        let WatchEvent::Changes(set) = event else { panic!("no reset is due: {event:?}") };
        told.extend(set.changes.into_iter().map(|c| (text(&c.key).to_owned(), c.value.is_some())));
    }
    let mut expected: Vec<_> = (0..20)
        .flat_map(|i| [(format!("w/{i:03}/a"), true), (format!("w/{i:03}/b"), true)])
        .collect();
    expected.push(("w/zzz".to_owned(), false));
    assert_eq!(told, expected);
}

async fn k17_watches_resume_where_they_stopped(place: &Place) {
    let mut term = lead(&place.first, "one").await;
    let mut copy = BTreeMap::new();
    let mut watch = ResumingWatch::from_records(Arc::clone(&place.first), "w/");
    let half = write_many(&mut term, 10, "x").await;
    let events = follow(&mut watch, &mut copy, half).await;
    let told = events.iter().filter_map(|event| match event {
        WatchEvent::Changes(set) => Some(set.revision),
        WatchEvent::Current(revision) => Some(*revision),
        WatchEvent::Reset | WatchEvent::Records(_) => None,
    });
    let seen = told.max().expect("something was told");
    drop(watch);
    let last = write_many(&mut term, 10, "y").await;
    let mut resumed = ResumingWatch::from(Arc::clone(&place.second), "w/", seen.next());
    let events = follow(&mut resumed, &mut copy, last).await;
    assert!(events.iter().all(|event| matches!(event, WatchEvent::Changes(_))), "no reset is due");
    assert_eq!(copy, records(&place.first, "w/").await);
}

async fn k17_compaction_resets_a_watch(place: &Place) {
    let mut term = lead(&place.first, "one").await;
    let old = write_many(&mut term, 5, "x").await;
    write(&mut term, Batch::new().delete("w/000/a")).await;
    let new = write_many(&mut term, 5, "y").await;
    let new = write(&mut term, Batch::new().delete("w/001/a")).await.max(new);
    within(place.first.compact(new)).await.expect("compact");

    let mut copy: BTreeMap<_, _> = [(b"w/stale".to_vec(), b"gone".to_vec())].into();
    let mut watch = ResumingWatch::from(Arc::clone(&place.second), "w/", old);
    let events = follow(&mut watch, &mut copy, new).await;
    assert_eq!(events[0], WatchEvent::Reset);
    assert_eq!(copy, records(&place.first, "w/").await);
    let last = write_many(&mut term, 3, "z").await;
    follow(&mut watch, &mut copy, last).await;
    assert_eq!(copy, records(&place.first, "w/").await);
}

async fn the_leader_can_be_looked_up(place: &Place) {
    assert_eq!(within(place.second.leader()).await.expect("readable"), None);
    let term = lead(&place.first, "http://127.0.0.1:1").await;
    let found = within(place.second.leader()).await.expect("readable").expect("somebody leads");
    assert_eq!(found.candidate, b"http://127.0.0.1:1");
    assert_eq!(found.create_revision, term.token.create_revision);
    within(term.resign()).await.expect("resign");
    assert_eq!(within(place.second.leader()).await.expect("readable"), None);
}
