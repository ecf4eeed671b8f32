//! Owns the end of what is left of a container: kill, wait, remove. Every step may be repeated.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use proffer_supervisor::frame;
use proffer_supervisor::wire::{self, Body};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::run_dirs::{is_supervisor, kill_leftovers};
use super::{Shared, blocking, chain, supervisor_error};
use crate::containerizer::cgroups::CgroupName;
use crate::containerizer::{
    ContainerError, ContainerExit, ContainerId, ContainerResult, Outcome, StopCause,
};

/// Between two looks at something that ends by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(3);

/// A supervisor whose container was killed ends at once; one that does not is killed as well.
const SUPERVISOR_PATIENCE: Duration = Duration::from_secs(3);

/// Processes in an uninterruptible sleep may take their time; beyond this it is an error, and the
/// caller may try again later.
const EMPTY_PATIENCE: Duration = Duration::from_secs(30);

impl Shared {
    /// See [`super::Containerizer::destroy`].
    pub(super) async fn destroy(self: Arc<Self>, id: ContainerId) -> ContainerResult<()> {
        // Found before the table forgets the pod: without it all groups must be looked through.
        let names = self.cgroup_names(&id);
        let known = self.containers().get(&id).cloned();
        let _busy = match known {
            Some(container) => {
                container.stop.cancel();
                // A preparation under way notices, and ends before its work is undone.
                let busy = Arc::clone(&container.busy).lock_owned().await;
                let present = self.containers().get(&id).map(|c| Arc::clone(&c.busy));
                if !present.is_some_and(|p| Arc::ptr_eq(&p, &container.busy)) {
                    // Another has destroyed it meanwhile; what has its name now is not meant.
                    return Ok(());
                }
                Some(busy)
            }
            None => None,
        };
        // A supervisor that was just made and has not taken its lock yet finds no spec and ends; one
        // that has read it holds the lock by then.
        self.run_dirs.forget_spec(&id)?;
        self.end_supervisor(&id, &names).await?;
        self.kill_contents(&id, &names).await?;
        for name in names {
            let this = Arc::clone(&self);
            let deadline = Instant::now() + SUPERVISOR_PATIENCE;
            loop {
                let (this, name) = (Arc::clone(&this), name.clone());
                let removed = blocking(move || match &this.cgroups {
                    Some(c) => c.remove(&name).map_err(|e| Self::cgroup_error(&name.container, &e)),
                    None => Ok(()),
                });
                match removed.await {
                    Ok(()) => break,
                    // Busy for a moment after its last process was reaped.
                    Err(_) if Instant::now() < deadline => tokio::time::sleep(LOOK_AGAIN).await,
                    Err(e) => return Err(e),
                }
            }
        }
        let deadline = Instant::now() + SUPERVISOR_PATIENCE;
        while let Err(error) = self.run_dirs.remove(&id) {
            // The one just mentioned may put its lock there in this moment.
            if Instant::now() > deadline {
                return Err(error);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        self.containers().remove(&id);
        Ok(())
    }

    /// Ends a supervisor that lives: it is asked to kill its container, its container is killed
    /// anyway, and in the end it is killed itself.
    async fn end_supervisor(&self, id: &ContainerId, names: &[CgroupName]) -> ContainerResult<()> {
        let begin = Instant::now();
        let process = self.run_dirs.supervisor_process(id);
        let mut asked = false;
        while self.run_dirs.is_supervised(id) {
            if !asked {
                asked = self.ask_to_kill(id).await;
            }
            self.kill_cgroups(id, names);
            if begin.elapsed() > SUPERVISOR_PATIENCE
                && let Some(pid) = self.run_dirs.supervisor_pid(id)
            {
                tracing::warn!(container = %id, pid, "a supervisor does not end and is killed");
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            if begin.elapsed() > EMPTY_PATIENCE {
                let reason = "it does not end".to_owned();
                return Err(supervisor_error(id, "end", reason));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let released = Instant::now();
        while process.is_some_and(is_supervisor) && released.elapsed() < SUPERVISOR_PATIENCE {
            // Its lock is free a little before it has left the group of the supervisors.
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        if let Some(pid) = process {
            // Ours to reap if this process made it; one of an earlier agent's is init's.
            let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
        }
        Ok(())
    }

    /// True when it was told, whatever it makes of it.
    async fn ask_to_kill(&self, id: &ContainerId) -> bool {
        let Ok(mut stream) = self.run_dirs.connect(id).await else { return false };
        let policy = wire::KillPolicy { signal: libc::SIGKILL, grace_ns: 0 };
        let mut bytes = Vec::new();
        frame::encode(1, Body::Kill(wire::Kill { policy: Some(policy) }), &mut bytes);
        stream.write_all(&bytes).await.is_ok()
    }

    /// Kills what is in a container without a supervisor and waits until it is gone.
    async fn kill_contents(&self, id: &ContainerId, names: &[CgroupName]) -> ContainerResult<()> {
        let begin = Instant::now();
        loop {
            let left = match &self.cgroups {
                Some(c) => names.iter().any(|n| c.is_populated(n)),
                None => kill_leftovers(&self.run_dirs.path(id)),
            };
            if !left {
                return Ok(());
            }
            self.kill_cgroups(id, names);
            if begin.elapsed() > EMPTY_PATIENCE {
                let reason = "processes in it do not end".to_owned();
                return Err(ContainerError::Cgroup { id: id.clone(), reason });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn kill_cgroups(&self, id: &ContainerId, names: &[CgroupName]) {
        let Some(cgroups) = &self.cgroups else { return };
        for name in names {
            if cgroups.is_populated(name)
                && let Err(error) = cgroups.kill(name)
            {
                tracing::warn!(container = %id, error = %chain(&error), "a control group is not killed");
            }
        }
    }

    /// The truth about a container whose supervisor is gone. What still runs is killed first:
    /// nothing runs without one (K14).
    pub(super) async fn settle(&self, id: &ContainerId) -> ContainerExit {
        let begin = Instant::now();
        while self.run_dirs.is_supervised(id) && begin.elapsed() < SUPERVISOR_PATIENCE {
            // Its socket closes before its lock does.
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        if let Some(record) = self.run_dirs.exit(id) {
            return self.exit_of(id, &record);
        }
        let names = self.cgroup_names(id);
        if let Err(error) = self.end_supervisor(id, &names).await {
            tracing::error!(container = %id, error = %chain(&error), "a lost supervisor");
        }
        if let Err(error) = self.kill_contents(id, &names).await {
            tracing::error!(container = %id, error = %chain(&error), "a lost container");
        }
        let started = self.run_dirs.started(id).map(|s| s.started_boottime_ns);
        let outcome = if self.run_dirs.was_started(id) {
            Outcome::SupervisorLost
        } else {
            Outcome::NeverStarted
        };
        ContainerExit {
            outcome,
            cause: StopCause::Itself,
            forced: false,
            oom_killed: self.was_oom_killed(id),
            started_at: started.filter(|t| *t > 0).map(crate::containerizer::BootTime),
            exited_at: None,
            log_bytes_dropped: 0,
        }
    }

    /// See [`super::Containerizer::cleanup_orphans`].
    pub(super) async fn cleanup_orphans(
        self: Arc<Self>,
        keep: Vec<ContainerId>,
    ) -> ContainerResult<Vec<ContainerId>> {
        let orphans: Vec<ContainerId> =
            self.found().into_iter().filter(|i| !keep.contains(i)).collect();
        for id in &orphans {
            Arc::clone(&self).destroy(id.clone()).await?;
        }
        Ok(orphans)
    }

    /// Every container of which there is a trace under our roots.
    pub(super) fn found(&self) -> BTreeSet<ContainerId> {
        let groups = self.cgroups.iter().flat_map(|c| c.list()).map(|n| n.container);
        self.run_dirs.list().into_iter().chain(groups).collect()
    }
}
