//! Owns the store of a single master: one redb file in a directory that one process at a time may open.
//!
//! All writes go through one thread ([`writer`]), which is the only one that decides: it holds the
//! seat, the mark and the newest revision, and commits each transaction with one sync. Reads use
//! redb's snapshots and never wait for it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redb::{Database, ReadableDatabase};
use tokio::sync::{mpsc, oneshot, watch};

use super::change_log::ChangeLog;
use super::clock::since_boot;
use super::model::{
    Campaign, Entry, Guard, Key, LeaderRecord, LeaderToken, Limits, Page, RangeRequest, Revision,
    Transaction, TransactionResult, Usage, Value,
};
use super::watch::stream_of_log;
use super::{Answer, ChangeStream, Store, StoreError};

mod files;
mod snapshots;
mod tables;
mod writer;

use files::Directory;
use snapshots::Snapshots;
use writer::Writer;

/// Questions to the writer that wait. A leader has one transaction in flight and asks little else;
/// when full, whoever asks waits.
const JOBS_MAX: usize = 64;

type Job = Box<dyn FnOnce(&mut Writer) + Send>;

/// See the module's description.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What readers and the writer both use.
struct Shared {
    database: Database,
    directory: Directory,
    log: Mutex<ChangeLog>,
    newest: watch::Sender<Revision>,
    snapshots: Mutex<Snapshots>,
    /// Counts the ends of terms, so that candidates look again.
    seat_changed: watch::Sender<u64>,
}

impl EmbeddedStore {
    /// Opens the store in a directory, or creates both. Blocks for the time of a few syncs.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has it open, [`StoreError::NewerFormat`] if a newer
    /// program wrote it, and whatever the disk says.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let directory = Directory::open(directory)?;
        let database = directory.open_database()?;
        let found = tables::prepare(&database, &directory.database_path())?;
        let shared = Arc::new(Shared {
            database,
            directory,
            log: Mutex::new(ChangeLog::after(found.revision)),
            newest: watch::Sender::new(found.revision),
            snapshots: Mutex::new(Snapshots::default()),
            seat_changed: watch::Sender::new(0),
        });
        let (jobs, inbox) = mpsc::channel(JOBS_MAX);
        let writer = Writer::new(Arc::clone(&shared), found);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || serve(writer, inbox))
            .map_err(|source| StoreError::Disk {
                action: "start the writer of",
                path: shared.directory.database_path(),
                source,
            })?;
        Ok(Self { shared, jobs: Some(jobs), thread: Some(thread) })
    }

    /// Asks the writer; an error means that it is gone.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Writer) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let gone = || StoreError::Unavailable { reason: "the store is closed".to_owned() };
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |writer| {
            // Nobody waits any more if the receiver is gone; what was done stays done.
            let _ = reply.send(question(writer));
        });
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    /// Runs a read off the async threads.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || read(&shared)).await;
        done.unwrap_or_else(|error| Err(StoreError::Unavailable { reason: error.to_string() }))
    }

    async fn wait_for_seat(&self, candidate: Value, ttl: Duration) -> Result<Campaign, StoreError> {
        let mut seat_changed = self.shared.seat_changed.subscribe();
        loop {
            let confirmed_at = since_boot();
            let candidate = candidate.clone();
            let tried = self.ask(move |w| w.campaign(candidate, ttl, confirmed_at)).await??;
            let until = match tried {
                writer::Tried::Seated(token) => return Ok(Campaign { token, ttl, confirmed_at }),
                writer::Tried::HeldUntil(until) => until,
            };
            // Either the seat is given up, or its lease may have run out: look again.
            let wait = until.saturating_sub(confirmed_at);
            let _ = tokio::time::timeout(wait, seat_changed.changed()).await;
        }
    }
}

/// The writer's thread: one question after the other, until the store is dropped.
fn serve(mut writer: Writer, mut inbox: mpsc::Receiver<Job>) {
    while let Some(job) = inbox.blocking_recv() {
        job(&mut writer);
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the writer of the store panicked");
        }
    }
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, ChangeLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshots(&self) -> MutexGuard<'_, Snapshots> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names the file in what redb says.
    fn damaged(&self, error: impl Into<redb::Error>) -> StoreError {
        tables::damaged(&self.directory.database_path(), error)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        let reader = self.database.begin_read().map_err(|e| self.damaged(e))?;
        tables::get(&reader, key).map_err(|e| self.damaged(e))
    }

    fn range(&self, request: &RangeRequest) -> Result<Page, StoreError> {
        let reader = self.snapshot_of(request.at)?;
        let revision = tables::revision(&reader).map_err(|e| self.damaged(e))?;
        let page = tables::range(&reader, request, revision).map_err(|e| self.damaged(e))?;
        if page.more {
            self.snapshots().keep(revision, reader, since_boot());
        }
        Ok(page)
    }

    fn snapshot_of(&self, at: Option<Revision>) -> Result<Arc<redb::ReadTransaction>, StoreError> {
        if let Some(at) = at
            && let Some(reader) = self.snapshots().get(at, since_boot())
        {
            return Ok(reader);
        }
        let reader = self.database.begin_read().map_err(|e| self.damaged(e))?;
        let newest = tables::revision(&reader).map_err(|e| self.damaged(e))?;
        match at {
            Some(at) if at < newest => Err(StoreError::Compacted { asked: at, oldest: newest }),
            Some(at) if at > newest => Err(StoreError::Refused {
                reason: format!("revision {} has not happened yet", at.0),
            }),
            Some(_) | None => Ok(Arc::new(reader)),
        }
    }
}

impl Store for EmbeddedStore {
    fn limits(&self) -> Limits {
        Limits::ETCD
    }

    fn get(&self, key: Key) -> Answer<'_, Option<Entry>> {
        self.read(move |shared| shared.get(&key)).boxed()
    }

    fn range(&self, request: RangeRequest) -> Answer<'_, Page> {
        self.read(move |shared| shared.range(&request)).boxed()
    }

    fn watch(&self, prefix: Key, from: Revision) -> Answer<'_, ChangeStream> {
        let shared = Arc::clone(&self.shared);
        let newest = shared.newest.subscribe();
        let read = move |from| {
            let told = shared.log().since(from, &prefix);
            told.map_err(|oldest| StoreError::Compacted { asked: from, oldest })
        };
        async move { Ok(stream_of_log(from, newest, read)) }.boxed()
    }

    fn transact(&self, transaction: Arc<Transaction>) -> BoxFuture<'_, TransactionResult> {
        async move {
            let result = self.ask(move |writer| writer.transact(&transaction)).await;
            result.unwrap_or_else(|e| TransactionResult::Broken { reason: e.to_string() })
        }
        .boxed()
    }

    fn guard(&self) -> Answer<'_, Guard> {
        self.ask(|writer| writer.guard()).boxed()
    }

    fn campaign(&self, candidate: Value, ttl: Duration) -> Answer<'_, Campaign> {
        self.wait_for_seat(candidate, ttl).boxed()
    }

    fn keep_alive(&self, token: LeaderToken) -> Answer<'_, Duration> {
        async move { self.ask(move |writer| writer.keep_alive(token, since_boot())).await? }.boxed()
    }

    fn resign(&self, token: LeaderToken) -> Answer<'_, ()> {
        async move {
            self.ask(move |writer| writer.resign(token)).await?;
            self.shared.seat_changed.send_modify(|n| *n += 1);
            Ok(())
        }
        .boxed()
    }

    fn leader(&self) -> Answer<'_, Option<LeaderRecord>> {
        self.ask(|writer| writer.leader()).boxed()
    }

    fn compact(&self, revision: Revision) -> Answer<'_, ()> {
        async move {
            self.shared.log().compact(revision);
            self.shared.snapshots().forget_before(revision);
            Ok(())
        }
        .boxed()
    }

    fn usage(&self) -> Answer<'_, Usage> {
        self.read(|shared| {
            let path = shared.directory.database_path();
            let found = std::fs::metadata(&path);
            let metadata =
                found.map_err(|source| StoreError::Disk { action: "look at", path, source })?;
            Ok(Usage { bytes: metadata.len(), quota_bytes: None })
        })
        .boxed()
    }
}

/// Where the records of a store are, for messages and tests.
#[must_use]
pub fn database_path(directory: &Path) -> PathBuf {
    files::database_path(directory)
}
