//! The loop of an agent: receive, apply, perform. One task owns the core; nothing else touches it.
//!
//! Tasks of an agent: this loop (started by `start`, ends on request, by its handle's drop or by a
//! failed write), one for the stream to the master, one for what containers report, one for each container,
//! one for each probe, the listener with one for each connection, and the checkpoint's thread. All others end with the loop.

use crate::checkpoint::{CheckpointError, CheckpointWriter, Progress};
use crate::containerizer::BootTime;
use crate::effects::containers::{Containers, Shared};
use crate::effects::master_client::MasterClient;
use crate::effects::prober::{Prober, Question};
use arc_swap::ArcSwap;
use proffer_agent_core::{Agent, Command, Counters, Effect};
use proffer_types::ids::{AgentId, ContainerId, VolumeId};
use proffer_types::refusal::{Refusal, RefusalCode};
use proffer_types::task::TaskStatus;
use proffer_types::units::{DurationMs, Monotonic, Now, WallTime};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::DropGuard;

/// Commands taken before effects of other kinds get their turn.
const BATCH_MAX: usize = 256;
/// Wait before a volume that could not be wiped is tried again.
const WIPE_RETRY: Duration = Duration::from_secs(1);
/// Without any deadline the loop looks anyway.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Reads both clocks. The deadline clock counts sleep, as grants must (K8, K13).
pub(crate) fn clock_now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        monotonic: Monotonic(BootTime::now().0 / 1_000_000),
        wall: WallTime(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)),
    }
}

/// What may be asked of the loop.
pub(crate) enum Request {
    /// How it stands.
    Snapshot(oneshot::Sender<Snapshot>),
    /// End every task, with or without its grace; answered when nothing is left of them.
    EndTasks(oneshot::Sender<()>, bool),
    /// Tell the master and end; tasks run on.
    Stop(oneshot::Sender<()>),
}

/// How an agent stands.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its id, once admitted.
    pub id: Option<AgentId>,
    /// Whether a master has answered the present registration.
    pub registered: bool,
    /// Why the last one was refused.
    pub last_refusal: Option<Refusal>,
    /// What happened how often.
    pub counters: Counters,
    /// Newest status of every task not forgotten.
    pub tasks: BTreeMap<ContainerId, TaskStatus>,
}

/// An agent ended because it had to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AgentError {
    /// It can promise nothing any more; the next process recovers.
    #[error("the checkpoint could not be written")]
    Checkpoint(#[source] Arc<CheckpointError>),
    /// A mistake of this program (K23).
    #[error("the agent's loop panicked: {reason}")]
    Panicked {
        /// What it said.
        reason: String,
    },
}

/// A running agent. Dropping it ends the process's part of it at once, as a crash would: tasks run
/// on and are found again.
pub struct RunningAgent {
    requests: mpsc::Sender<Request>,
    address: SocketAddr,
    loop_task: JoinHandle<Result<(), AgentError>>,
    has_ended: bool,
    remove_roots: Option<Box<dyn FnOnce() + Send>>,
    withheld: Vec<String>,
}

impl RunningAgent {
    pub(crate) fn spawn(
        runtime: Runtime,
        effects: Vec<Effect>,
        inputs: (mpsc::Receiver<Command>, mpsc::Receiver<Request>),
        requests: mpsc::Sender<Request>,
        address: SocketAddr,
    ) -> Self {
        let loop_task = tokio::spawn(runtime.run(effects, inputs));
        Self {
            requests,
            address,
            loop_task,
            has_ended: false,
            remove_roots: None,
            withheld: Vec::new(),
        }
    }

    pub(crate) fn remove_roots_at_end(&mut self, remove: impl FnOnce() + Send + 'static) {
        self.remove_roots = Some(Box::new(remove));
    }

    pub(crate) fn set_withheld(&mut self, withheld: Vec<String>) {
        self.withheld = withheld;
    }

    /// Why tasks are not isolated in full; empty when they are.
    #[must_use]
    pub fn withheld(&self) -> &[String] {
        &self.withheld
    }

    /// Where its sandboxes are read.
    #[must_use]
    pub fn api_address(&self) -> SocketAddr {
        self.address
    }

    /// How it stands; `None` when it has ended.
    pub async fn snapshot(&self) -> Option<Snapshot> {
        self.ask(Request::Snapshot).await
    }

    /// Ends every task and removes all traces but the sandboxes. Waits until it is done, graces
    /// included unless they are to end `at_once`.
    pub async fn end_tasks(&self, at_once: bool) {
        self.ask(|answer| Request::EndTasks(answer, at_once)).await;
    }

    /// Ends the agent in good order. Its tasks run on.
    ///
    /// # Errors
    /// What had ended it before.
    pub async fn stop(mut self) -> Result<(), AgentError> {
        self.ask(Request::Stop).await;
        let ended = self.wait().await;
        // Only when nothing is left below them.
        if let Some(remove) = self.remove_roots.take() {
            let _ = tokio::task::spawn_blocking(remove).await;
        }
        ended
    }

    /// Waits for the end of the agent, whatever ends it.
    ///
    /// # Errors
    /// What ended it, unless it was asked to; said once.
    pub async fn wait(&mut self) -> Result<(), AgentError> {
        if self.has_ended {
            return Ok(());
        }
        let ended = (&mut self.loop_task).await;
        self.has_ended = true;
        match ended {
            Ok(result) => result,
            Err(error) if error.is_cancelled() => Ok(()),
            Err(error) => Err(AgentError::Panicked { reason: error.to_string() }),
        }
    }

    /// Whether [`RunningAgent::wait`] has seen its end.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.ok()?;
        answered.await.ok()
    }
}

impl Drop for RunningAgent {
    fn drop(&mut self) {
        self.loop_task.abort();
    }
}

/// The loop's own things.
pub(crate) struct Runtime {
    pub(crate) agent: Agent,
    pub(crate) writer: CheckpointWriter,
    pub(crate) master: MasterClient,
    pub(crate) containers: Containers,
    pub(crate) prober: Prober,
    pub(crate) shared: Arc<Shared>,
    pub(crate) capability_key: Arc<ArcSwap<Vec<u8>>>,
    /// The last reason not to be taken that was spoken of.
    pub(crate) told_refusal: Option<Refusal>,
    /// Ends everything else with the loop.
    pub(crate) _stop: DropGuard,
}

/// What woke the loop.
enum Wake {
    Commands,
    Progress,
    Deadline,
    Request(Request),
    /// Everybody who could say something is gone.
    Abandoned,
}

impl Runtime {
    async fn run(
        mut self,
        effects: Vec<Effect>,
        (mut commands, mut requests): (mpsc::Receiver<Command>, mpsc::Receiver<Request>),
    ) -> Result<(), AgentError> {
        let mut progress = self.writer.progress();
        let mut waiting_for_idle: Vec<oneshot::Sender<()>> = Vec::new();
        let mut batch = Vec::with_capacity(BATCH_MAX);
        self.perform(effects).await;
        loop {
            if !waiting_for_idle.is_empty() && self.agent.is_idle() {
                waiting_for_idle.drain(..).for_each(|answer| {
                    let _ = answer.send(());
                });
            }
            let deadline = self.until_deadline();
            let wake = tokio::select! {
                changed = progress.changed() => {
                    if changed.is_ok() { Wake::Progress } else { Wake::Abandoned }
                }
                count = commands.recv_many(&mut batch, BATCH_MAX) => {
                    if count > 0 { Wake::Commands } else { Wake::Abandoned }
                }
                Some(request) = requests.recv() => Wake::Request(request),
                () = tokio::time::sleep(deadline) => Wake::Deadline,
            };
            match wake {
                Wake::Progress => self.written(&mut progress).await?,
                Wake::Commands => {
                    for command in batch.drain(..) {
                        self.take(command).await;
                    }
                }
                Wake::Deadline => self.take(Command::DeadlineReached).await,
                Wake::Request(Request::Snapshot(answer)) => {
                    let _ = answer.send(self.snapshot());
                }
                Wake::Request(Request::EndTasks(answer, at_once)) => {
                    self.take(Command::EndTasks { at_once }).await;
                    waiting_for_idle.push(answer);
                }
                Wake::Request(Request::Stop(answer)) => {
                    self.leave().await;
                    let _ = answer.send(());
                    return Ok(());
                }
                Wake::Abandoned => return self.failure(&progress),
            }
        }
    }

    fn until_deadline(&self) -> Duration {
        let Some(at) = self.agent.next_deadline() else { return IDLE_MAX };
        let DurationMs(ms) = at.since(clock_now().monotonic);
        Duration::from_millis(ms).min(IDLE_MAX)
    }

    /// The writer's thread has said something.
    async fn written(
        &mut self,
        progress: &mut watch::Receiver<Progress>,
    ) -> Result<(), AgentError> {
        let Progress { through, failed } = progress.borrow_and_update().clone();
        if let Some(error) = failed {
            return Err(AgentError::Checkpoint(error));
        }
        self.take(Command::Written { through }).await;
        Ok(())
    }

    fn failure(&self, progress: &watch::Receiver<Progress>) -> Result<(), AgentError> {
        match &progress.borrow().failed {
            Some(error) => Err(AgentError::Checkpoint(Arc::clone(error))),
            None => Ok(()),
        }
    }

    async fn take(&mut self, command: Command) {
        let destroyed = match &command {
            Command::Destroyed { container } => Some(container.clone()),
            Command::Connected { .. }
            | Command::Disconnected { .. }
            | Command::Frame { .. }
            | Command::Written { .. }
            | Command::Prepared { .. }
            | Command::PrepareFailed { .. }
            | Command::Started { .. }
            | Command::Exited { .. }
            | Command::VolumeMade { .. }
            | Command::VolumeWiped { .. }
            | Command::ProbeResult { .. }
            | Command::DeadlineReached
            | Command::Leave
            | Command::EndTasks { .. } => None,
        };
        let effects = self.agent.apply(command, clock_now());
        self.tell_refusal();
        self.perform(effects).await;
        if let Some(container) = destroyed {
            self.containers.destroyed(&container);
        }
    }

    /// Why a master does not take this agent, once for each reason. One that names the leader is none, nor
    /// is one that passes: the connection speaks of it when it does not.
    fn tell_refusal(&mut self) {
        let refusal = self.agent.last_refusal();
        if refusal == self.told_refusal.as_ref() {
            return;
        }
        let lasts = |refusal: &&Refusal| {
            refusal.leader().is_none() && refusal.code != RefusalCode::Unavailable
        };
        if let Some(refusal) = refusal.filter(lasts) {
            tracing::warn!(%refusal, hint = refusal.hint, "the master does not take this agent");
        }
        self.told_refusal = refusal.cloned();
    }

    async fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Checkpoint { op, writes } => self.writer.submit(op, writes).await,
                Effect::Connect { connection, master } => self.master.connect(connection, &master),
                Effect::Disconnect { connection } => drop(self.master.disconnect(connection)),
                Effect::Send { connection, frame } => self.send(connection, frame),
                Effect::Prepare(request) => self.containers.prepare(request),
                Effect::Go { container } => self.containers.go(&container),
                Effect::Kill { container, policy } => self.containers.kill(&container, policy),
                Effect::Destroy { container } => self.containers.destroy(&container),
                Effect::Grant { containers, age } => {
                    let granted = BootTime(BootTime::now().0.saturating_sub(age.0 * 1_000_000));
                    for container in containers {
                        self.containers.grant(&container, granted);
                    }
                }
                Effect::Probe { container, check, probe, request, timeout } => {
                    self.prober.ask(Question { container, check, probe, request, timeout });
                }
                Effect::RemoveSandbox { container } => self.remove_sandbox(&container),
                Effect::MakeVolume { volume } => self.make_volume(volume),
                Effect::WipeVolume { volume } => self.wipe_volume(volume),
                Effect::SetCapabilityKey { key } => self.capability_key.store(Arc::new(key)),
            }
        }
    }

    fn send(&mut self, connection: u64, frame: proffer_types::agent::AgentUp) {
        if !self.master.send(connection, frame) {
            let reason = "the master reads nothing".to_owned();
            tracing::warn!(reason, "the connection was given up");
            let commands = self.shared.commands.clone();
            let command = Command::Disconnected { connection, reason, leader: None };
            tokio::spawn(async move { commands.send(command).await.ok() });
        }
    }

    fn remove_sandbox(&self, container: &ContainerId) {
        let path = self.shared.work_dir.sandbox(container);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = std::fs::remove_dir_all(&path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "a sandbox stays until the next start");
            }
        });
    }

    fn make_volume(&self, volume: VolumeId) {
        let (work_dir, commands) = (self.shared.work_dir.clone(), self.shared.commands.clone());
        tokio::spawn(async move {
            let made = tokio::task::spawn_blocking(move || work_dir.make_volume(volume)).await;
            let failure = match made {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("its directory cannot be made: {error}")),
                Err(error) => Some(error.to_string()),
            };
            // The loop ends before its volumes do.
            let _ = commands.send(Command::VolumeMade { volume, failure }).await;
        });
    }

    /// As long as it takes: what stays would be somebody's data.
    fn wipe_volume(&self, volume: VolumeId) {
        let (work_dir, commands) = (self.shared.work_dir.clone(), self.shared.commands.clone());
        tokio::spawn(async move {
            loop {
                let work_dir = work_dir.clone();
                let wiped = tokio::task::spawn_blocking(move || work_dir.wipe_volume(volume)).await;
                match wiped {
                    Ok(Ok(())) => break,
                    Ok(Err(error)) => {
                        tracing::warn!(%volume, %error, "a volume is not wiped; trying again");
                    }
                    // The agent ends; its next life goes on.
                    Err(_) => return,
                }
                tokio::time::sleep(WIPE_RETRY).await;
            }
            let _ = commands.send(Command::VolumeWiped { volume }).await;
        });
    }

    async fn leave(&mut self) {
        let effects = self.agent.apply(Command::Leave, clock_now());
        let connection = effects.iter().find_map(|effect| match effect {
            Effect::Disconnect { connection } => Some(*connection),
            Effect::Checkpoint { .. }
            | Effect::Connect { .. }
            | Effect::Send { .. }
            | Effect::Prepare(_)
            | Effect::Go { .. }
            | Effect::Kill { .. }
            | Effect::Destroy { .. }
            | Effect::Grant { .. }
            | Effect::Probe { .. }
            | Effect::RemoveSandbox { .. }
            | Effect::MakeVolume { .. }
            | Effect::WipeVolume { .. }
            | Effect::SetCapabilityKey { .. } => None,
        });
        let others = effects.into_iter().filter(|e| !matches!(e, Effect::Disconnect { .. }));
        self.perform(others.collect()).await;
        let drained = connection.and_then(|connection| self.master.disconnect(connection));
        if let Some(drained) = drained {
            // Bounded by the client itself.
            let _ = drained.await;
        }
        tracing::debug!("the agent leaves; its tasks run on");
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            id: self.agent.id(),
            registered: self.agent.is_registered(),
            last_refusal: self.agent.last_refusal().cloned(),
            counters: self.agent.counters(),
            tasks: self
                .agent
                .tasks()
                .map(|(container, status)| (container.clone(), status.clone()))
                .collect(),
        }
    }
}
