//! The suite on the embedded store, and what concerns its file: lock, modes, format, `kill -9`.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use proffer_master::store::embedded::{EmbeddedStore, database_path};
use proffer_master::store::{Batch, Store, StoreError};

use crate::cases;
use crate::support::{Place, lead, records, write};

fn open(directory: &Path) -> Arc<dyn Store> {
    Arc::new(EmbeddedStore::open(directory).expect("open the store"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_keeps_every_promise() {
    for (name, case) in cases::ALL {
        eprintln!("embedded: {name}");
        let directory = tempfile::tempdir().expect("temporary directory");
        let first = open(directory.path());
        let second = Arc::clone(&first);
        case(&Place { first, second, shortest_ttl: Duration::from_millis(300) }).await;
    }
}

#[tokio::test]
async fn records_and_terms_go_on_after_reopening() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut last = None;
    for round in 0..3 {
        let store = open(directory.path());
        let mut term = lead(&store, "one").await;
        assert!(Some(term.token) > last, "terms rise over restarts");
        assert_eq!(term.recovered.sequence, round * 2);
        last = Some(term.token);
        write(&mut term, Batch::new().put("a", round.to_string())).await;
        write(&mut term, Batch::new().put(format!("k/{round}"), "v")).await;
        assert_eq!(records(&store, "k/").await.len() as u64, round + 1);
        term.resign().await.expect("resign");
    }
}

#[tokio::test]
async fn a_second_opener_is_refused_in_words() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path());
    let refused = EmbeddedStore::open(directory.path()).err().expect("refused").to_string();
    let pid = std::process::id();
    assert!(refused.contains(&format!("in use by process {pid}")), "{refused}");
    drop(store);
    open(directory.path());
}

#[tokio::test]
async fn the_files_are_private_whatever_the_umask() {
    let parent = tempfile::tempdir().expect("temporary directory");
    let directory = parent.path().join("new/registry");
    let _store = open(&directory);
    let mode =
        |path: &Path| std::fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&database_path(&directory)), 0o600);
    assert_eq!(mode(&directory.join("lock")), 0o600);
}

#[test]
fn k5_a_newer_format_is_refused_in_words() {
    let directory = tempfile::tempdir().expect("temporary directory");
    drop(open(directory.path()));
    let path = database_path(directory.path());
    let database = redb::Database::open(&path).expect("nobody has it open");
    let writer = database.begin_write().expect("begin");
    let numbers = redb::TableDefinition::<&str, u64>::new("numbers");
    writer.open_table(numbers).expect("table").insert("format", 7).expect("insert");
    writer.commit().expect("commit");
    drop(database);
    let refused = EmbeddedStore::open(directory.path()).err().expect("refused");
    assert!(matches!(refused, StoreError::NewerFormat { found: 7, supported: 1, .. }));
    assert!(refused.to_string().contains("start a newer proffer"), "{refused}");
}

#[test]
fn a_file_of_something_else_is_refused_in_words() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = database_path(directory.path());
    std::fs::write(&path, b"this is not a database, but long enough to be read as one".repeat(100))
        .expect("write");
    let refused = EmbeddedStore::open(directory.path()).err().expect("refused").to_string();
    assert!(refused.contains("registry.redb"), "{refused}");
}

/// F31: a damaged file is refused or read, never guessed at and never a panic.
#[tokio::test]
async fn damaged_files_are_refused_or_recovered() {
    let whole = tempfile::tempdir().expect("temporary directory");
    {
        let store = open(whole.path());
        let mut term = lead(&store, "one").await;
        for i in 0..50 {
            write(&mut term, Batch::new().put(format!("k/{i:03}"), vec![i; 500])).await;
        }
        term.resign().await.expect("resign");
    }
    let bytes = std::fs::read(database_path(whole.path())).expect("readable");
    let mut refused = 0;
    for step in 0..60_usize {
        let mut damaged = bytes.clone();
        if step % 3 == 0 {
            damaged.truncate(bytes.len() * step / 60);
        } else {
            // Spread over the file, the first page included.
            let at = if step % 3 == 1 { step * 5 } else { bytes.len() * step / 60 };
            damaged[at] ^= 0x41;
        }
        let copy = tempfile::tempdir().expect("temporary directory");
        std::fs::write(database_path(copy.path()), damaged).expect("write");
        match EmbeddedStore::open(copy.path()) {
            Err(error) => {
                assert!(error.to_string().contains("registry.redb"), "{error}");
                refused += 1;
            }
            Ok(store) => {
                let store: Arc<dyn Store> = Arc::new(store);
                let request =
                    proffer_master::store::RangeRequest { limit: 1000, ..Default::default() };
                match store.range(request).await {
                    Ok(page) => assert!(page.entries.len() <= 50),
                    Err(error) => assert!(error.to_string().contains("registry.redb"), "{error}"),
                }
            }
        }
    }
    assert!(refused > 10, "only {refused} of 60 damages were seen");
}

const CHILD_DIRECTORY: &str = "PROFFER_TEST_STORE_CHILD";
const KEYS_OF_A_BATCH: usize = 5;

/// Not a test of its own: the other half of the next one, in a process that is killed.
#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else { return };
    let store = open(Path::new(&directory));
    let mut term = lead(&store, "child").await;
    let start = counters(&store).await.into_iter().max().unwrap_or(0);
    for number in start + 1.. {
        let batch = (0..KEYS_OF_A_BATCH)
            .fold(Batch::new(), |b, key| b.put(format!("k/{key}"), number.to_string()));
        write(&mut term, batch).await;
        println!("acknowledged {number}");
    }
}

async fn counters(store: &Arc<dyn Store>) -> Vec<u64> {
    let found = records(store, "k/").await;
    let number =
        |value: Vec<u8>| String::from_utf8(value).expect("text").parse().expect("a number");
    found.into_values().map(number).collect()
}

/// I11: what was acknowledged survives `kill -9`, and no batch survives in part.
#[tokio::test]
async fn i11_kill_9_loses_no_acknowledged_commit_and_splits_no_batch() {
    let directory = tempfile::tempdir().expect("temporary directory");
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().expect("this test's program"))
            .args(["--exact", "embedded::child_that_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD_DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the child");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut acknowledged = output.lines().map_while(Result::ok).filter_map(|line| {
            line.split_once("acknowledged ").map(|(_, n)| n.parse::<u64>().expect("a number"))
        });
        let before = acknowledged.by_ref().take(20 + round * 17).last().expect("the child writes");
        child.kill().expect("kill -9");
        child.wait().expect("reaped");
        // What it said between our decision and its end counts as well.
        let last = acknowledged.last().unwrap_or(before);
        let store = open(directory.path());
        let found = counters(&store).await;
        assert_eq!(found.len(), KEYS_OF_A_BATCH);
        assert!(found.iter().all(|n| *n == found[0]), "batches are whole: {found:?}");
        assert!(found[0] >= last, "{last} was acknowledged, {} is there", found[0]);
    }
}
