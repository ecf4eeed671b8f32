//! Owns one term of leadership: campaign, read the registry, run the loop, and end.
//!
//! The loop has a thread of its own: receive, apply, perform; then a counted number of allocation
//! steps (K7). It is the only owner of the core.

use crate::connections::Connections;
use crate::effects::{After, Performer};
use crate::guard;
use crate::inbox::{Inbox, Next, Queues, Take, queues};
use crate::leading::Leading;
use crate::metrics::LoopMetrics;
use crate::registry_reader::{ReadError, read_registry};
use crate::replies::Replies;
use crate::store::clock::since_boot;
use crate::store::leader::Commits;
use crate::store::lease::LeaseState;
use crate::store::{CommitOutcome, Leadership, LeadershipSettings, Store, StoreError, campaign};
use crate::view::ViewWriter;
use proffer_master_core::{Command, Config, Master, OperationId, WriteResult};
use proffer_types::{DurationMs, Monotonic, Now, Refusal, WallTime};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Commands applied before the effects of a turn are followed by allocation. Large enough to share
/// one group commit, small enough that offers follow within a few milliseconds.
const TURN_COMMANDS_MAX: usize = 256;
/// Allocation steps a turn: a few milliseconds of work (K7).
const TURN_ALLOCATION_STEPS: u32 = 10_000;
/// How often the core learns of renewals of the lease.
const LEASE_TOLD_EVERY: Duration = Duration::from_millis(500);

/// Why a term could not begin, or ended.
#[derive(Debug, thiserror::Error)]
pub enum TermError {
    /// The store did not let us lead.
    #[error("becoming leader")]
    Campaign(#[source] StoreError),
    /// The registry is not for this program.
    #[error(transparent)]
    Registry(#[from] ReadError),
    /// What was read is not for this version.
    #[error("recovering from the registry: {0}")]
    Recovery(proffer_types::Refusal),
    /// The machine gave no thread.
    #[error("starting the loop")]
    Thread(#[source] std::io::Error),
    /// The core ended the term: it recovers from what is stored (K4).
    #[error("the term ended: {0}")]
    Stopped(String),
}

/// What outlives a term.
pub(crate) struct Surroundings {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) config: Config,
    pub(crate) candidate: Vec<u8>,
    pub(crate) lease_ttl: Duration,
    pub(crate) connections: Arc<Connections>,
    pub(crate) replies: Arc<Replies>,
    pub(crate) view: Arc<ViewWriter>,
    /// Where calls go.
    pub(crate) leading: Arc<Leading>,
    pub(crate) metrics: LoopMetrics,
    pub(crate) shutdown: CancellationToken,
}

/// Leads until shutdown (`Ok`) or until the term ends otherwise.
pub(crate) async fn lead(around: &Surroundings) -> Result<(), TermError> {
    let settings = LeadershipSettings {
        candidate: around.candidate.clone(),
        ttl: around.lease_ttl,
        budget: crate::store::commit_queue::QueueBudget::default(),
    };
    let leadership = tokio::select! {
        won = campaign(Arc::clone(&around.store), settings) => won.map_err(TermError::Campaign)?,
        () = around.shutdown.cancelled() => return Ok(()),
        never = around.leading.follow(&around.store, &around.candidate) => match never {},
    };
    let image = read_registry(&around.store).await?;
    let master =
        Master::recover(around.config.clone(), image, now()).map_err(TermError::Recovery)?;
    let (inbox, inside) = queues();
    let commits = leadership.commits();
    let performer = Performer {
        runtime: Handle::current(),
        store: Arc::clone(&around.store),
        commits: commits.clone(),
        connections: Arc::clone(&around.connections),
        replies: Arc::clone(&around.replies),
        view: Arc::clone(&around.view),
        inbox: inbox.clone(),
        metrics: around.metrics.clone(),
    };
    let ended = CancellationToken::new();
    let lost = CancellationToken::new();
    let forward = tokio::spawn(forward_completions(
        leadership,
        commits.clone(),
        inbox.clone(),
        around.metrics.clone(),
        ended.clone(),
    ));
    let lease =
        tokio::spawn(tell_lease(commits.clone(), inbox.clone(), ended.clone(), lost.clone()));
    let turning = Turning {
        master,
        performer,
        queues: inside,
        metrics: around.metrics.clone(),
        shutdown: around.shutdown.clone(),
        lost,
    };
    let first = Command::LeadershipGained { lease_until: lease_until(commits.lease()) };
    let (done, stopped) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("master".to_owned())
        .spawn(move || drop(done.send(turning.run(first))))
        .map_err(TermError::Thread)?;
    around.leading.begin(inbox, commits);
    let reason = stopped.await;
    around.leading.end();
    around.connections.close_all(&Refusal::not_leader(None));
    around.replies.clear();
    ended.cancel();
    lease.abort();
    if let Ok(leadership) = forward.await {
        // Bounded: a store that is away lets the lease run out by itself.
        let _ = tokio::time::timeout(Duration::from_secs(2), leadership.resign()).await;
    }
    match reason {
        Ok(None) => Ok(()),
        Ok(Some(reason)) => Err(TermError::Stopped(reason)),
        Err(_) => {
            Err(TermError::Stopped("the loop panicked; its last words are in the log".to_owned()))
        }
    }
}

/// Both clocks. The only place where the master reads them for the core.
pub(crate) fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { monotonic: monotonic(since_boot()), wall: WallTime(millis(wall)) }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn monotonic(at: Duration) -> Monotonic {
    Monotonic(millis(at))
}

fn lease_until(state: LeaseState) -> Monotonic {
    match state {
        LeaseState::Confirmed { remaining } => {
            monotonic(since_boot()).after(DurationMs(millis(remaining)))
        }
        LeaseState::Suspended | LeaseState::Lost => Monotonic(0),
    }
}

async fn tell_lease(
    commits: Commits,
    inbox: Inbox,
    ended: CancellationToken,
    lost: CancellationToken,
) {
    let mut seen = commits.lease();
    while !ended.is_cancelled() {
        let state = match tokio::time::timeout(LEASE_TOLD_EVERY, commits.lease_changed(seen)).await
        {
            Ok(state) => state,
            Err(_) => commits.lease(),
        };
        seen = state;
        let command = match state {
            LeaseState::Confirmed { .. } => {
                Command::LeaseConfirmed { lease_until: lease_until(state) }
            }
            LeaseState::Suspended | LeaseState::Lost => Command::Suspended,
        };
        if inbox.send_inside(command).await.is_err() {
            return;
        }
        if state == LeaseState::Lost {
            // The key is another's or gone: this term cannot be resumed (K8).
            lost.cancel();
            return;
        }
    }
}

async fn forward_completions(
    mut leadership: Leadership,
    commits: Commits,
    inbox: Inbox,
    metrics: LoopMetrics,
    ended: CancellationToken,
) -> Leadership {
    loop {
        let completed = tokio::select! {
            completed = leadership.completed() => completed,
            () = ended.cancelled() => return leadership,
        };
        let Some(completed) = completed else { return leadership };
        let result = match completed.outcome {
            CommitOutcome::Committed { .. } => WriteResult::Committed,
            CommitOutcome::LeadershipLost => {
                let reason = match commits.lease() {
                    LeaseState::Confirmed { .. } => "another master leads",
                    LeaseState::Suspended | LeaseState::Lost => "the lease of this term ran out",
                };
                WriteResult::Failed { reason: reason.to_owned() }
            }
            CommitOutcome::Unknown { reason } | CommitOutcome::Failed { reason } => {
                WriteResult::Failed { reason }
            }
        };
        for operation in completed.operations {
            metrics.completed(operation.0);
            let command = Command::RegistryWritten {
                operation: OperationId(operation.0),
                result: result.clone(),
            };
            if inbox.send_inside(command).await.is_err() {
                return leadership;
            }
        }
    }
}

/// The loop and all it owns.
struct Turning {
    master: Master,
    performer: Performer,
    queues: Queues,
    metrics: LoopMetrics,
    shutdown: CancellationToken,
    /// The lease cannot be confirmed any more.
    lost: CancellationToken,
}

impl Turning {
    /// Runs until the core stops (`Some(reason)`) or shutdown is asked for (`None`).
    fn run(mut self, first: Command) -> Option<String> {
        let mut command = Some(first);
        loop {
            if let Err(reason) = self.turn(command.take()) {
                return Some(reason);
            }
            command = match self.wait() {
                Waited::Command(command) => Some(command),
                Waited::Due => None,
                Waited::Shutdown => return None,
                Waited::Lost => return Some("the lease of the leader is lost".to_owned()),
            };
        }
    }

    fn wait(&mut self) -> Waited {
        let deadline = self.master.next_deadline().map(|at| {
            let left = at.0.saturating_sub(monotonic(since_boot()).0);
            Instant::now() + Duration::from_millis(left)
        });
        let take = self.take();
        let runtime = self.performer.runtime.clone();
        let (shutdown, lost) = (self.shutdown.clone(), self.lost.clone());
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => Waited::Shutdown,
                () = lost.cancelled() => Waited::Lost,
                next = self.queues.next(take, deadline) => match next {
                    Next::Command(command) => Waited::Command(command),
                    Next::Deadline => Waited::Due,
                    Next::Ended => Waited::Shutdown,
                },
            }
        })
    }

    /// One turn: what was heard, the commands that are there, what is due, then allocation.
    fn turn(&mut self, first: Option<Command>) -> Result<(), String> {
        let heard = self.performer.connections.take_heard();
        if !heard.is_empty() {
            self.apply(Command::Heard { connections: heard })?;
        }
        let mut applied = 0;
        let mut inbox_lag = DurationMs(0);
        let mut next = first.map(|command| (None, command));
        while let Some((arrived, command)) = next {
            if let Some(arrived) = arrived {
                inbox_lag = inbox_lag.max(DurationMs(millis(Instant::elapsed(&arrived))));
            }
            self.apply(command)?;
            applied += 1;
            let may_go_on = applied < TURN_COMMANDS_MAX;
            next = may_go_on.then(|| self.queues.try_next(self.take())).flatten();
        }
        if self.master.next_deadline().is_some_and(|at| at <= monotonic(since_boot())) {
            self.apply(Command::Tick { inbox_lag })?;
        }
        let ends_at = Instant::now();
        self.apply(Command::EndOfTurn { budget: TURN_ALLOCATION_STEPS, inbox_lag })?;
        self.metrics.end_of_turn(self.master.counters(), ends_at.elapsed());
        self.metrics.turn(applied, self.queues.waiting(), inbox_lag);
        Ok(())
    }

    /// A suspended leader reads no frames: the queue fills, and those who send wait (K8).
    fn take(&self) -> Take {
        if self.master.is_suspended() { Take::Inside } else { Take::All }
    }

    fn apply(&mut self, command: Command) -> Result<(), String> {
        let mut told = vec![command];
        while let Some(command) = told.pop() {
            let Performer { connections, replies, .. } = &self.performer;
            for effect in guard::apply(&mut self.master, command, connections, replies)? {
                match self.performer.perform(effect) {
                    After::Continue => {}
                    After::Tell(command) => told.push(command),
                    After::Stop(reason) => return Err(reason),
                }
            }
        }
        Ok(())
    }
}

enum Waited {
    Command(Command),
    Due,
    Shutdown,
    Lost,
}
