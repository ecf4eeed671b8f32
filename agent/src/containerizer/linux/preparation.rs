//! Owns the preparation of a container: everything up to a supervisor that waits for `go`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proffer_supervisor::wire::{Phase, Status};
use tokio::net::UnixStream;
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio_util::sync::CancellationToken;

use super::link::Link;
use super::{Container, PREPARE_TIMEOUT, Shared, State, blocking, chain, run_dirs};
use crate::containerizer::cgroups::CgroupName;
use crate::containerizer::isolators::{self, Plan};
use crate::containerizer::{
    ContainerError, ContainerId, ContainerResult, ContainerSpec, PreparedContainer, embedded,
};

impl Shared {
    /// See [`super::Containerizer::prepare`].
    pub(super) async fn prepare(
        self: Arc<Self>,
        mut spec: ContainerSpec,
    ) -> ContainerResult<PreparedContainer> {
        spec.check()?;
        spec.sandbox = existing_dir("sandbox", &spec.sandbox)?;
        if let Some(root) = &spec.root_dir {
            let root = existing_dir("root_dir", root)?;
            if root == Path::new("/") {
                let reason = "is `/`; leave it out to show the machine's files".to_owned();
                return Err(ContainerError::InvalidSpec { field: "root_dir", reason });
            }
            spec.root_dir = Some(root);
        }
        let plan = self.finish_plan(&spec, isolators::plan(&spec, &self.place)?);
        let id = spec.id.clone();
        let (stop, busy) = self.reserve(&spec)?;
        let result = Arc::clone(&self).prepare_reserved(&spec, plan, stop).await;
        drop(busy);
        if let Err(error) = &result
            && !matches!(error, ContainerError::Exists { .. })
        {
            // What was made is taken away again; the error that counts is the first.
            if let Err(error) = Arc::clone(&self).destroy(id.clone()).await {
                tracing::warn!(container = %id, error = %chain(&error), "a failed preparation is not cleaned up");
            }
        } else if result.is_err() {
            self.containers().remove(&id);
        }
        result
    }

    /// What only this containerizer knows: the boot, the groups, the run directory.
    fn finish_plan(&self, spec: &ContainerSpec, mut plan: Plan) -> Plan {
        let launch = &mut plan.launch;
        launch.boot_id = self.run_dirs.boot_id().to_owned();
        launch.go_timeout_ns = u64::try_from(self.go_timeout.as_nanos()).unwrap_or(u64::MAX);
        match &self.cgroups {
            Some(cgroups) => {
                launch.container_cgroup = Some(cgroups.container_join(&cgroup_name(spec)));
                launch.supervisor_cgroup = Some(cgroups.supervisors_join());
            }
            None => {
                let dir = self.run_dirs.path(&spec.id);
                let dir = dir.as_os_str().as_encoded_bytes();
                let name = format!("{}=", run_dirs::RUN_DIR_VARIABLE);
                launch.env.retain(|e| !e.starts_with(name.as_bytes()));
                launch.env.push([name.as_bytes(), dir].concat());
            }
        }
        plan
    }

    /// Takes the name.
    fn reserve(
        &self,
        spec: &ContainerSpec,
    ) -> ContainerResult<(CancellationToken, OwnedMutexGuard<()>)> {
        let mut containers = self.containers();
        if containers.contains_key(&spec.id) || self.run_dirs.exists(&spec.id) {
            return Err(ContainerError::Exists { id: spec.id.clone() });
        }
        let stop = self.stop.child_token();
        let entry = Container::new(spec.pod.clone(), State::Preparing, stop.clone());
        let busy = Arc::clone(&entry.busy);
        let busy = busy.try_lock_owned().expect("nobody else knows of it yet");
        containers.insert(spec.id.clone(), entry);
        Ok((stop, busy))
    }

    async fn prepare_reserved(
        self: Arc<Self>,
        spec: &ContainerSpec,
        plan: Plan,
        stop: CancellationToken,
    ) -> ContainerResult<PreparedContainer> {
        let id = &spec.id;
        let failed =
            |reason: String| ContainerError::Supervisor { id: id.clone(), action: "start", reason };
        let (this, name) = (Arc::clone(&self), cgroup_name(spec));
        let stderr = blocking(move || {
            let stderr = this.run_dirs.create(&name.container, &plan.launch)?;
            if let Some(cgroups) = &this.cgroups {
                let made = cgroups.create(&name, &plan.limits);
                made.map_err(|e| Self::cgroup_error(&name.container, &e))?;
            }
            Ok(stderr)
        })
        .await?;
        let stream = self.spawn_supervisor(id, stderr).map_err(|e| failed(chain(&e)))?;
        let (link, mut statuses) = Link::start(stream, stop.clone());
        let first = tokio::time::timeout(PREPARE_TIMEOUT, statuses.recv()).await;
        let status = match first {
            Err(_) => return Err(failed("it is not ready in time".to_owned())),
            Ok(None) => return Err(failed(self.run_dirs.last_words(id))),
            Ok(Some(status)) => status,
        };
        if let Some(failure) = status.failure {
            let (step, errno) = (failure.step, failure.errno);
            return Err(ContainerError::LaunchFailed { id: id.clone(), step, errno });
        }
        if status.phase() != Phase::Prepared {
            return Err(failed(format!("it is in phase {:?}", status.phase())));
        }
        self.adopt(id, link, statuses, stop);
        let (id, supervisor_pid) = (id.clone(), status.supervisor_pid);
        Ok(PreparedContainer { id, supervisor_pid, level: self.isolation.level })
    }

    fn spawn_supervisor(
        &self,
        id: &ContainerId,
        stderr: std::fs::File,
    ) -> std::io::Result<UnixStream> {
        let (ours, birth) = std::os::unix::net::UnixStream::pair()?;
        let mut child = embedded::spawn(&self.run_dirs.path(id), birth, stderr)?;
        // Only reaps: where control groups are of version 2 it ends at once, and a sibling that was born
        // in the group of the supervisors goes on. What that did stands in its run directory.
        tokio::spawn(async move { child.wait().await });
        ours.set_nonblocking(true)?;
        UnixStream::from_std(ours)
    }

    /// Enters a connected container into the table and watches it.
    pub(super) fn adopt(
        self: &Arc<Self>,
        id: &ContainerId,
        link: Link,
        statuses: mpsc::Receiver<Status>,
        stop: CancellationToken,
    ) {
        if let Some(container) = self.containers().get_mut(id) {
            container.state = State::Linked(link);
        }
        let (this, id) = (Arc::clone(self), id.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = this.watch(id, statuses) => {}
            }
        });
    }
}

fn cgroup_name(spec: &ContainerSpec) -> CgroupName {
    CgroupName { pod: spec.pod.clone(), container: spec.id.clone() }
}

/// The real path of a directory: the supervisor walks it without symbolic links.
fn existing_dir(field: &'static str, path: &Path) -> ContainerResult<PathBuf> {
    let invalid = |reason: String| ContainerError::InvalidSpec { field, reason };
    let real = path.canonicalize();
    let real = real.map_err(|e| invalid(format!("`{}` cannot be used: {e}", path.display())))?;
    if !real.is_dir() {
        return Err(invalid(format!("`{}` is not a directory", path.display())));
    }
    Ok(real)
}
