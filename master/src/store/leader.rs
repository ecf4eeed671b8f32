//! Owns a term of leadership: the task that carries commits to the store and the one that renews the
//! lease. Decides nothing: [`CommitQueue`] and [`LeaderLease`] do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::backoff::pause_after;
use super::clock::since_boot;
use super::commit_queue::{CommitQueue, Completed, Lane, QueueBudget, Request, SubmitError};
use super::lease::{LeaderLease, LeaseState};
use super::model::{Batch, CommitMark, LeaderToken, Limits, OperationId, Value};
use super::{Store, StoreError};

/// Completions waiting for the master's loop. When full, the next commit waits: the loop always comes
/// back to them, as submitting never blocks it.
const COMPLETIONS_MAX: usize = 1024;

const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_MOST: Duration = Duration::from_secs(1);

/// How to lead.
#[derive(Clone, Debug)]
pub struct LeadershipSettings {
    /// What others read of the leader, usually its addresses.
    pub candidate: Value,
    /// How long the term outlives the last renewal. A store may round it up.
    pub ttl: Duration,
    /// How much may wait for the store.
    pub budget: QueueBudget,
}

/// A term, from winning the campaign to [`Leadership::resign`] or the loss of the lease. Dropping it
/// leaves the lease to run out by itself.
pub struct Leadership {
    /// Tells this term from others.
    pub token: LeaderToken,
    /// The last commit before this term.
    pub recovered: CommitMark,
    commits: Commits,
    completions: mpsc::Receiver<Completed>,
    tasks: Tasks,
}

/// Waits to be elected and starts the term.
///
/// # Errors
/// What the store says, if it is not transient.
pub async fn campaign(
    store: Arc<dyn Store>,
    settings: LeadershipSettings,
) -> Result<Leadership, StoreError> {
    let mut failures = 0;
    loop {
        match try_campaign(&store, &settings).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "campaign failed, trying again");
                tokio::time::sleep(pause_after(failures, RETRY_FIRST, RETRY_MOST)).await;
                failures += 1;
            }
            // Elected and deposed before the first read: stand again.
            Err(StoreError::LeadershipEnded { .. }) => {}
            ended => return ended,
        }
    }
}

async fn try_campaign(
    store: &Arc<dyn Store>,
    settings: &LeadershipSettings,
) -> Result<Leadership, StoreError> {
    let won = store.campaign(settings.candidate.clone(), settings.ttl).await?;
    let token = won.token;
    // Nobody else can write from here on, so the mark read now is the one to go on from.
    let guard = store.guard().await?;
    if guard.leader != Some(token.create_revision) {
        return Err(StoreError::LeadershipEnded { create_revision: token.create_revision });
    }
    let queue = CommitQueue::new(token, guard.mark, store.limits(), settings.budget);
    let commits = Commits {
        shared: Arc::new(Shared {
            queue: Mutex::new(queue),
            submitted: Notify::new(),
            idle: watch::Sender::new(true),
            lease: Mutex::new(LeaderLease::new(won.confirmed_at, won.ttl)),
            lease_changed: watch::Sender::new(()),
            limits: store.limits(),
        }),
    };
    let (sender, completions) = mpsc::channel(COMPLETIONS_MAX);
    let cancel = CancellationToken::new();
    let carry = tokio::spawn(stop_with(
        cancel.clone(),
        carry_commits(Arc::clone(store), Arc::clone(&commits.shared), sender),
    ));
    let renew = tokio::spawn(stop_with(
        cancel.clone(),
        renew_lease(Arc::clone(store), token, Arc::clone(&commits.shared)),
    ));
    let tasks = Tasks { store: Arc::clone(store), cancel, handles: vec![carry, renew] };
    Ok(Leadership { token, recovered: guard.mark, commits, completions, tasks })
}

impl std::fmt::Debug for Leadership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leadership")
            .field("token", &self.token)
            .field("recovered", &self.recovered)
            .finish_non_exhaustive()
    }
}

impl Leadership {
    /// The handle that submits; it may be cloned and used from anywhere.
    #[must_use]
    pub fn commits(&self) -> Commits {
        self.commits.clone()
    }

    /// The next batches that ended; `None` after the last one of a term that is over. Safe to drop
    /// while it waits.
    pub async fn completed(&mut self) -> Option<Completed> {
        self.completions.recv().await
    }

    /// Waits for what was submitted, then lets another lead. Completions that were not taken yet are
    /// dropped. While the store is away this waits with it: bound it where that matters.
    ///
    /// # Errors
    /// If the store cannot be told; the lease then runs out by itself.
    pub async fn resign(mut self) -> Result<(), StoreError> {
        let mut idle = self.commits.shared.idle.subscribe();
        loop {
            tokio::select! {
                settled = idle.wait_for(|idle| *idle) => {
                    drop(settled);
                    break;
                }
                ended = self.completions.recv() => if ended.is_none() { break },
            }
        }
        self.commits.shared.queue().leadership_lost();
        self.tasks.end().await;
        self.tasks.store.resign(self.token).await
    }
}

/// Submits batches and tells the state of the lease.
#[derive(Clone, Debug)]
pub struct Commits {
    shared: Arc<Shared>,
}

impl Commits {
    /// Queues a batch; [`Leadership::completed`] tells its end under this id. Never blocks.
    ///
    /// # Errors
    /// If the batch can never be stored, too much is waiting, or the term is over.
    pub fn submit(
        &self,
        operation: OperationId,
        lane: Lane,
        batch: Batch,
    ) -> Result<(), SubmitError> {
        let mut queue = self.shared.queue();
        queue.submit(operation, lane, batch)?;
        self.shared.idle.send_replace(false);
        drop(queue);
        self.shared.submitted.notify_one();
        Ok(())
    }

    /// Batches that have not ended yet.
    #[must_use]
    pub fn unfinished_count(&self) -> usize {
        self.shared.queue().unfinished_count()
    }

    /// What the store takes at once.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// Whether to lead now (K8).
    #[must_use]
    pub fn lease(&self) -> LeaseState {
        self.shared.lease().state(since_boot())
    }

    /// Returns when the state of the lease is not `seen` any more.
    pub async fn lease_changed(&self, seen: LeaseState) -> LeaseState {
        let mut changed = self.shared.lease_changed.subscribe();
        loop {
            let now = self.lease();
            if std::mem::discriminant(&now) != std::mem::discriminant(&seen) {
                return now;
            }
            let suspended_in = match now {
                LeaseState::Confirmed { remaining } => remaining,
                LeaseState::Suspended | LeaseState::Lost => Duration::MAX,
            };
            // Either it is renewed, or the time has passed: look again.
            let _ = tokio::time::timeout(suspended_in, changed.changed()).await;
        }
    }
}

#[derive(Debug)]
struct Shared {
    /// Held for a few map operations at a time, never across an await.
    queue: Mutex<CommitQueue>,
    submitted: Notify,
    idle: watch::Sender<bool>,
    lease: Mutex<LeaderLease>,
    lease_changed: watch::Sender<()>,
    limits: Limits,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, CommitQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What ended and what is to be done, taken in one go so that nothing slips in between.
    fn next_turn(&self) -> Turn {
        let mut queue = self.queue();
        let ended = queue.take_completed();
        let idle = queue.unfinished_count() == 0 && ended.is_empty();
        self.idle.send_if_modified(|was| std::mem::replace(was, idle) != idle);
        let repeats = queue.repeats();
        let request = queue.next_request();
        if request.is_none() && !ended.is_empty() {
            // Come back once they are delivered.
            self.submitted.notify_one();
        }
        Turn { ended, repeats, stopped: queue.is_stopped(), request }
    }

    fn lease(&self) -> MutexGuard<'_, LeaderLease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One round of [`carry_commits`].
struct Turn {
    ended: Vec<Completed>,
    repeats: u32,
    stopped: bool,
    request: Option<Request>,
}

/// Ends the two tasks of a term.
struct Tasks {
    store: Arc<dyn Store>,
    cancel: CancellationToken,
    handles: Vec<JoinHandle<()>>,
}

impl Tasks {
    async fn end(&mut self) {
        self.cancel.cancel();
        for handle in self.handles.drain(..) {
            if let Err(error) = handle.await {
                tracing::error!(%error, "a task of the leadership failed");
            }
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

async fn stop_with(cancel: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = cancel.cancelled() => {}
        () = work => {}
    }
}

/// Carries requests and answers between the queue and the store until the term is over.
async fn carry_commits(
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    completions: mpsc::Sender<Completed>,
) {
    loop {
        let turn = shared.next_turn();
        for completed in turn.ended {
            if completions.send(completed).await.is_err() {
                return;
            }
        }
        if turn.repeats > 0 {
            tokio::time::sleep(pause_after(turn.repeats - 1, RETRY_FIRST, RETRY_MOST)).await;
        }
        match turn.request {
            Some(Request::Transact(transaction)) => {
                let result = store.transact(transaction).await;
                log_trouble(&result);
                shared.queue().transacted(result);
            }
            Some(Request::ReadGuard) => {
                let guard = store.guard().await;
                if let Err(error) = &guard {
                    tracing::warn!(%error, "the outcome of a commit cannot be read yet");
                }
                shared.queue().guard_read(guard.ok());
            }
            None if turn.stopped => return,
            None => shared.submitted.notified().await,
        }
    }
}

fn log_trouble(result: &super::TransactionResult) {
    use super::TransactionResult::{Applied, Broken, Guarded, NotApplied, Rejected, Unknown};
    match result {
        Applied { .. } => {}
        Guarded(guard) => tracing::warn!(?guard, "a commit met another guard"),
        NotApplied { reason } => tracing::warn!(reason, "a commit has to be repeated"),
        Unknown { reason } => tracing::warn!(reason, "the outcome of a commit is unknown"),
        Rejected { reason } => tracing::error!(reason, "the store rejected a commit"),
        Broken { reason } => tracing::error!(reason, "the store is broken"),
    }
}

/// Renews at a third of the lease, more often after a failure, until the term is over.
async fn renew_lease(store: Arc<dyn Store>, token: LeaderToken, shared: Arc<Shared>) {
    loop {
        let due = shared.lease().renew_at().saturating_sub(since_boot());
        tokio::time::sleep(due).await;
        let sent_at = since_boot();
        // An answer that takes longer than the lease is worth nothing.
        let ttl = shared.lease().ttl();
        let answer = tokio::time::timeout(ttl, store.keep_alive(token)).await;
        match answer {
            Ok(Ok(ttl)) => shared.lease().confirmed(sent_at, ttl),
            Ok(Err(StoreError::LeadershipEnded { .. })) => {
                tracing::warn!("the lease of the leadership is lost");
                shared.lease().lost();
                shared.queue().leadership_lost();
                shared.lease_changed.send_replace(());
                shared.submitted.notify_one();
                return;
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lease could not be renewed");
                let pause = shared.lease().retry_after();
                tokio::time::sleep(pause).await;
            }
            Err(_elapsed) => tracing::warn!("the renewal of the lease was not answered"),
        }
        shared.lease_changed.send_replace(());
    }
}
