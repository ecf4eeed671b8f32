//! Owns the order of work on each container: one small task for each, fed in the order in which the
//! core spoke (K21). The containers do not wait for each other.

use super::events::core_failure;
use super::spec::{SpecContext, kill_policy, spec_of};
use crate::containerizer::{BootTime, ContainerId as RealId, Containerizer};
use crate::work_dir::WorkDir;
use proffer_agent_core::Command;
use proffer_agent_core::container::{ContainerRequest, PrepareFailure};
use proffer_types::ids::ContainerId;
use proffer_types::template::KillPolicy;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Orders waiting for one container. Prepare, go and destroy come once each; only kills and grants
/// repeat, and a repeat that finds the queue full says nothing new.
const QUEUE_SIZE: usize = 32;
/// Waits between attempts to remove a container's traces, doubled up to the second.
const DESTROY_RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// One order for one container.
enum Action {
    Prepare(Box<ContainerRequest>),
    Go,
    Kill(KillPolicy),
    Grant(BootTime),
    Destroy,
}

/// Containers whose output may still grow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live(Arc<Mutex<BTreeSet<ContainerId>>>);

impl Live {
    pub(crate) fn insert(&self, container: ContainerId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(container);
    }

    pub(crate) fn remove(&self, container: &ContainerId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(container);
    }

    pub(crate) fn contains(&self, container: &ContainerId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(container)
    }
}

/// What the tasks of all containers share.
pub(crate) struct Shared {
    pub(crate) containerizer: Arc<dyn Containerizer>,
    pub(crate) work_dir: WorkDir,
    pub(crate) spec: SpecContext,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) live: Live,
    pub(crate) stop: CancellationToken,
}

/// Hands orders to the containers' tasks.
pub(crate) struct Containers {
    shared: Arc<Shared>,
    queues: BTreeMap<ContainerId, Queue>,
}

struct Queue {
    sender: mpsc::Sender<Action>,
    /// `Destroy` was the last order: nothing follows its answer.
    ends: bool,
}

impl Containers {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, queues: BTreeMap::new() }
    }

    pub(crate) fn prepare(&mut self, request: Box<ContainerRequest>) {
        let container = request.container.clone();
        self.shared.live.insert(container.clone());
        self.send(&container, Action::Prepare(request));
    }

    pub(crate) fn go(&mut self, container: &ContainerId) {
        self.send(container, Action::Go);
    }

    pub(crate) fn kill(&mut self, container: &ContainerId, policy: KillPolicy) {
        self.send(container, Action::Kill(policy));
    }

    pub(crate) fn grant(&mut self, container: &ContainerId, at: BootTime) {
        self.send(container, Action::Grant(at));
    }

    pub(crate) fn destroy(&mut self, container: &ContainerId) {
        // Now, not when it was carried out: it may have been prepared again by then.
        self.shared.live.remove(container);
        self.send(container, Action::Destroy);
    }

    /// Its traces are gone; its task ends unless something was ordered since.
    pub(crate) fn destroyed(&mut self, container: &ContainerId) {
        if self.queues.get(container).is_some_and(|queue| queue.ends) {
            self.queues.remove(container);
        }
    }

    fn send(&mut self, container: &ContainerId, action: Action) {
        let ends = matches!(action, Action::Destroy);
        let shared = &self.shared;
        let queue = self.queues.entry(container.clone()).or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(QUEUE_SIZE);
            tokio::spawn(Arc::clone(shared).carry_out(container.clone(), receiver));
            Queue { sender, ends: false }
        });
        match queue.sender.try_send(action) {
            Ok(()) => queue.ends = ends,
            Err(mpsc::error::TrySendError::Full(Action::Kill(_) | Action::Grant(_))) => {
                tracing::warn!(%container, "its supervisor is slow: a repeated order was dropped");
            }
            Err(mpsc::error::TrySendError::Full(action)) => {
                // Behind many repeats: it keeps its place by waiting in a task of its own, as
                // nothing is ordered after it before its answer.
                queue.ends = ends;
                let sender = queue.sender.clone();
                tokio::spawn(async move { sender.send(action).await.ok() });
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }
}

impl Shared {
    async fn carry_out(
        self: Arc<Self>,
        container: ContainerId,
        mut actions: mpsc::Receiver<Action>,
    ) {
        let Ok(id) = RealId::new(container.as_str()) else {
            tracing::error!(%container, "its name is none for a directory");
            return;
        };
        let work = async {
            while let Some(action) = actions.recv().await {
                self.perform(&container, &id, action).await;
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = work => {}
        }
    }

    async fn perform(&self, container: &ContainerId, id: &RealId, action: Action) {
        let told = match action {
            Action::Prepare(request) => {
                let fact = match self.prepare(request).await {
                    Ok(()) => Command::Prepared { container: container.clone() },
                    Err(failure) => {
                        self.live.remove(container);
                        Command::PrepareFailed { container: container.clone(), failure }
                    }
                };
                self.tell(fact).await;
                return;
            }
            Action::Destroy => {
                self.destroy(id).await;
                self.tell(Command::Destroyed { container: container.clone() }).await;
                return;
            }
            Action::Go => self.containerizer.go(id).await,
            Action::Kill(policy) => self.containerizer.kill(id, Some(kill_policy(policy))).await,
            Action::Grant(at) => self.containerizer.grant(id, at).await,
        };
        // Whatever became of it, the container's end comes as an event.
        if let Err(error) = told {
            tracing::warn!(%container, %error, "its supervisor did not take an order");
        }
    }

    async fn prepare(&self, request: Box<ContainerRequest>) -> Result<(), PrepareFailure> {
        let sandbox = self.work_dir.sandbox(&request.container);
        let context = self.spec.clone();
        let made = tokio::task::spawn_blocking(move || spec_of(&request, sandbox, &context)).await;
        let spec = made.map_err(|error| PrepareFailure::Failed {
            step: "make spec".to_owned(),
            errno: 0,
            message: error.to_string(),
        })??;
        self.containerizer.prepare(spec).await.map_err(|error| core_failure(&error))?;
        Ok(())
    }

    /// Removes all traces, as long as it takes: what stays would be a leak.
    async fn destroy(&self, id: &RealId) {
        let (mut delay, longest) = DESTROY_RETRY;
        while let Err(error) = self.containerizer.destroy(id).await {
            tracing::warn!(%id, %error, "traces of a container stay; trying again");
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(longest);
        }
    }

    async fn tell(&self, fact: Command) {
        // The loop ends before its containers do.
        let _ = self.commands.send(fact).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerizer::IsolationLevel;
    use crate::containerizer::fake::FakeContainerizer;
    use proffer_types::ids::{FrameworkId, TaskName};
    use proffer_types::template::LogPolicy;
    use proffer_types::units::{Bytes, Milli};

    fn request(container: &ContainerId) -> Box<ContainerRequest> {
        Box::new(ContainerRequest {
            container: container.clone(),
            framework: FrameworkId(1),
            task: TaskName::new("t1").unwrap(),
            command: vec!["fake".to_owned(), "run".to_owned()],
            env: BTreeMap::new(),
            user: None,
            root: None,
            workdir: None,
            pids_max: 10,
            rlimits: BTreeMap::new(),
            cpus: Milli(0),
            cpu_limit: false,
            memory: Bytes(0),
            volumes: Vec::new(),
            log: LogPolicy::default(),
            kill: KillPolicy::default(),
            stop_after: None,
        })
    }

    #[tokio::test]
    async fn what_is_prepared_again_after_its_traces_were_removed_is_live() {
        let directory = tempfile::tempdir().unwrap();
        let (containerizer, _events) = FakeContainerizer::new();
        let work_dir = WorkDir::open(directory.path()).unwrap();
        let (commands, mut told) = mpsc::channel(8);
        let live = Live::default();
        let mut containers = Containers::new(Arc::new(Shared {
            containerizer: Arc::new(containerizer),
            work_dir: work_dir.clone(),
            spec: SpecContext {
                agent_name: "one".to_owned(),
                address: "127.0.0.1".to_owned(),
                isolation: IsolationLevel::Process,
                work_dir: work_dir.clone(),
            },
            commands,
            live: live.clone(),
            stop: CancellationToken::new(),
        }));
        let container = ContainerId::new("f1-1-1").unwrap();
        containers.destroy(&container);
        containers.prepare(request(&container));
        assert!(matches!(told.recv().await, Some(Command::Destroyed { .. })));
        assert!(matches!(told.recv().await, Some(Command::Prepared { .. })));
        assert!(live.contains(&container));
        containers.destroy(&container);
        assert!(!live.contains(&container));
    }
}
