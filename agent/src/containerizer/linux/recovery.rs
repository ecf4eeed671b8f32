//! Owns finding the containers of an earlier agent process again.

use std::sync::Arc;
use std::time::Duration;

use proffer_supervisor::wire::{Body, Hello, Phase, Status};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::link::Link;
use super::{Container, Shared, State};
use crate::containerizer::{
    BootTime, ContainerExit, ContainerId, ContainerResult, Recovered, RecoveredState, Recovery,
};

/// How long a supervisor may be in a state that passes by itself: starting, withdrawing, ending.
const PASSING_PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(3);

/// What a look at one container showed.
enum Look {
    State(RecoveredState),
    /// In a state that passes.
    Again,
}

impl Shared {
    /// See [`super::Containerizer::recover`].
    pub(super) async fn recover(
        self: Arc<Self>,
        expected: Vec<ContainerId>,
    ) -> ContainerResult<Recovery> {
        let mut recovery = Recovery::default();
        for id in &expected {
            let state = self.recover_one(id).await;
            recovery.containers.push(Recovered { id: id.clone(), state });
        }
        let found = self.found();
        recovery.orphans = found.into_iter().filter(|id| !expected.contains(id)).collect();
        Ok(recovery)
    }

    async fn recover_one(self: &Arc<Self>, id: &ContainerId) -> RecoveredState {
        if !self.run_dirs.exists(id) || self.run_dirs.is_of_earlier_boot(id) {
            return RecoveredState::Absent;
        }
        let begin = Instant::now();
        while self.run_dirs.is_supervised(id) {
            match self.look(id).await {
                Look::State(state) => return state,
                Look::Again if begin.elapsed() > PASSING_PATIENCE => break,
                Look::Again => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
        self.known_as_ended(id);
        RecoveredState::Exited(self.settle(id).await)
    }

    /// Asks a supervisor that lives.
    async fn look(self: &Arc<Self>, id: &ContainerId) -> Look {
        let Ok(stream) = self.run_dirs.connect(id).await else { return Look::Again };
        let stop = self.stop.child_token();
        let (link, mut statuses) = Link::start(stream, stop.clone());
        let answer = link.ask(Body::Hello(Hello { watch: true })).await;
        let Ok(Body::Status(mut status)) = answer else { return Look::Again };
        if status.phase() == Phase::Launching {
            status = next_status(&mut statuses).await.unwrap_or(status);
        }
        match status.phase() {
            Phase::Running | Phase::Ending | Phase::Launching => {
                let pod = self.pod_of(id);
                let entry = Container::new(pod, State::Preparing, stop.clone());
                self.containers().insert(id.clone(), entry);
                self.adopt(id, link, statuses, stop);
                let started_at = BootTime(status.started_boottime_ns);
                Look::State(RecoveredState::Running { pid: status.pid, started_at })
            }
            Phase::Ended => {
                stop.cancel();
                let exit: ContainerExit = self.exit_of(id, &status.exit.unwrap_or_default());
                self.known_as_ended(id);
                Look::State(RecoveredState::Exited(exit))
            }
            // Its agent is gone, so it withdraws.
            Phase::Prepared | Phase::Failed | Phase::Unknown => {
                stop.cancel();
                Look::Again
            }
        }
    }

    /// A container that has ended is known until it is destroyed; there is nobody to talk to.
    fn known_as_ended(&self, id: &ContainerId) {
        let entry = Container::new(self.pod_of(id), State::Ended, self.stop.child_token());
        self.containers().insert(id.clone(), entry);
    }

    /// From its control group; empty where there is none.
    fn pod_of(&self, id: &ContainerId) -> String {
        let groups = self.cgroups.iter().flat_map(|c| c.list());
        groups.filter(|n| n.container == *id).map(|n| n.pod).next().unwrap_or_default()
    }
}

async fn next_status(statuses: &mut mpsc::Receiver<Status>) -> Option<Status> {
    tokio::time::timeout(PASSING_PATIENCE, statuses.recv()).await.ok().flatten()
}
