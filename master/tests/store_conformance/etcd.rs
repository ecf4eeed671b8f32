//! The suite on a real etcd, and what happens when it is killed in the middle.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proffer_master::store::etcd::EtcdStore;
use proffer_master::store::watch_cursor::apply_to_copy;
use proffer_master::store::{
    Batch, CommitOutcome, Lane, OperationId, ResumingWatch, Store, StoreError,
};

use crate::cases;
use crate::etcd_server::EtcdServer;
use crate::lossy_link::LossyLink;
use crate::support::{Place, lead, read_all, records, within, write};

async fn connect(server: &EtcdServer, prefix: &str) -> Arc<dyn Store> {
    Arc::new(EtcdStore::connect(&server.config(prefix)).await.expect("etcd answers"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_keeps_every_promise() {
    let Some(server) = EtcdServer::start().await else { return };
    for (name, case) in cases::ALL {
        eprintln!("etcd: {name}");
        let first = connect(&server, name).await;
        let second = connect(&server, name).await;
        case(&Place { first, second, shortest_ttl: Duration::from_secs(1) }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clusters_with_different_prefixes_do_not_meet() {
    let Some(server) = EtcdServer::start().await else { return };
    let (red, blue) = (connect(&server, "red").await, connect(&server, "blue").await);
    let mut red_term = lead(&red, "red").await;
    let mut blue_term = lead(&blue, "blue").await;
    write(&mut red_term, Batch::new().put("a", "red")).await;
    write(&mut blue_term, Batch::new().put("a", "blue")).await;
    assert_eq!(records(&red, "").await, [(b"a".to_vec(), b"red".to_vec())].into());
}

#[tokio::test]
async fn k5_a_newer_format_is_refused_in_words() {
    let Some(server) = EtcdServer::start().await else { return };
    let config = server.config("newer");
    let mut client = etcd_client::Client::connect(&config.endpoints, None).await.expect("connect");
    client.put(format!("{}format", config.prefix), "9", None).await.expect("put");
    let refused = EtcdStore::connect(&config).await.err().expect("refused");
    assert!(matches!(refused, StoreError::NewerFormat { found: 9, .. }), "{refused}");
}

/// One page of this is twice what a gRPC client decodes by default.
#[tokio::test]
async fn large_pages_are_read() {
    let Some(server) = EtcdServer::start().await else { return };
    let store = connect(&server, "large").await;
    let mut term = lead(&store, "one").await;
    for i in 0..9 {
        write(&mut term, Batch::new().put(format!("k/{i}"), vec![i; 1 << 20])).await;
    }
    let (entries, _) = read_all(&store, "k/", 1000).await;
    assert_eq!(entries.iter().map(|entry| entry.value.len()).sum::<usize>(), 9 << 20);
}

/// F23 on one member: etcd dies twice in the middle of writing. Every batch completes, once, and the
/// watch misses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_etcd_loses_no_commit_and_no_change() {
    const BATCHES: u64 = 600;
    let Some(mut server) = EtcdServer::start().await else { return };
    let store = connect(&server, "killed").await;
    let mut term = lead(&store, "one").await;
    let token = term.token;
    let mut watch = ResumingWatch::from_records(connect(&server, "killed").await, "k/");
    let watching = tokio::spawn(async move {
        let mut copy = BTreeMap::new();
        while copy.len() < usize::try_from(BATCHES).expect("small") {
            apply_to_copy(&mut copy, &watch.next().await.expect("the watch goes on"));
        }
        copy
    });
    let commits = term.commits();
    let mut completed = BTreeSet::new();
    for id in 0..BATCHES {
        let batch = Batch::new().put(format!("k/{id:04}"), id.to_string());
        commits.submit(OperationId(id), Lane::Registry, batch).expect("fits");
        if id == 200 || id == 400 {
            server.kill();
            server.restart().await;
        }
        // Some are in flight at any moment, but not all in one group.
        if id % 7 == 0 {
            let ended = within(term.completed()).await.expect("the term goes on");
            assert!(matches!(ended.outcome, CommitOutcome::Committed { .. }), "{ended:?}");
            completed.extend(ended.operations);
        }
    }
    while completed.len() < usize::try_from(BATCHES).expect("small") {
        let ended = within(term.completed()).await.expect("the term goes on");
        assert!(matches!(ended.outcome, CommitOutcome::Committed { .. }), "{ended:?}");
        completed.extend(ended.operations);
    }
    let found = records(&store, "k/").await;
    assert_eq!(found.len(), usize::try_from(BATCHES).expect("small"));
    assert_eq!(within(watching).await.expect("no panic"), found);
    let leader = within(store.leader()).await.expect("readable").expect("we still lead");
    assert_eq!(leader.create_revision, token.create_revision);
}

/// F25: etcd commits and the answer is lost. Every batch still completes, once, as what it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f25_lost_answers_are_settled_by_the_mark() {
    const ROUNDS: u64 = 25;
    let Some(server) = EtcdServer::start().await else { return };
    let link = LossyLink::to(server.address()).await;
    let mut config = server.config("lossy");
    config.endpoints = vec![format!("http://{}", link.address)];
    let store: Arc<dyn Store> = Arc::new(EtcdStore::connect(&config).await.expect("etcd answers"));
    let direct = connect(&server, "lossy").await;
    let mut term = lead(&store, "one").await;
    let start = term.recovered.sequence;
    for round in 0..ROUNDS {
        link.lose_next_answer();
        let revision = write(&mut term, Batch::new().put("k", round.to_string())).await;
        let found = within(direct.get(b"k".to_vec())).await.expect("readable").expect("there");
        assert_eq!((found.value, found.modified), (round.to_string().into_bytes(), revision));
    }
    let mark = within(direct.guard()).await.expect("readable").mark;
    assert_eq!(mark.sequence, start + ROUNDS, "no commit was applied twice");
    assert!(link.lost() >= ROUNDS / 2, "only {} answers were lost", link.lost());
}
