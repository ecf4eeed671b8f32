//! Owns the run directories: one for each container, named after it, so that recovery finds them
//! without knowing a process id (K14).

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use proffer_supervisor::run_dir::{self, EXIT, LOCK, SOCKET, SPEC, STARTED, STDERR};
use proffer_supervisor::wire::{ExitRecord, LaunchSpec, StartedRecord};
use prost::Message as _;
use tokio::net::UnixStream;

use crate::containerizer::{ContainerError, ContainerId, ContainerResult};

/// Held by the agent that uses this root. No container can have this name.
const ROOT_LOCK: &str = ".lock";

/// The root of all run directories of one containerizer.
#[derive(Debug)]
pub(super) struct RunDirs {
    root: PathBuf,
    boot_id: String,
    _lock: Flock<File>,
}

impl RunDirs {
    /// Makes the root (0700) and locks it: two agents must not share one.
    pub(super) fn open(root: &Path) -> ContainerResult<Self> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| ContainerError::Io { action, path, source }
        };
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(root).map_err(failed("create", root))?;
        let root = root.canonicalize().map_err(failed("find", root))?;
        let path = root.join(ROOT_LOCK);
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(failed("open", &path))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, e)| failed("lock (another agent uses it)", &path)(e.into()))?;
        let boot_id = run_dir::boot_id().map_err(failed("read", Path::new("boot_id")))?;
        Ok(Self { root, boot_id, _lock: lock })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    pub(super) fn path(&self, id: &ContainerId) -> PathBuf {
        self.root.join(id.as_str())
    }

    pub(super) fn exists(&self, id: &ContainerId) -> bool {
        self.path(id).exists()
    }

    /// Makes a container's directory with its spec, and the file for its supervisor's last words.
    pub(super) fn create(&self, id: &ContainerId, spec: &LaunchSpec) -> ContainerResult<File> {
        let dir = self.path(id);
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(ContainerError::Exists { id: id.clone() });
            }
            Err(source) => {
                return Err(ContainerError::Io { action: "create", path: dir, source });
            }
            Ok(()) => {}
        }
        let new_file = |name: &str| {
            let path = dir.join(name);
            let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path);
            file.map_err(|source| ContainerError::Io { action: "create", path, source })
        };
        let path = dir.join(SPEC);
        new_file(SPEC)?.write_all(&spec.encode_to_vec()).map_err(|source| ContainerError::Io {
            action: "write",
            path,
            source,
        })?;
        new_file(STDERR)
    }

    /// What its supervisor said before it could serve.
    pub(super) fn last_words(&self, id: &ContainerId) -> String {
        let text = fs::read_to_string(self.path(id).join(STDERR)).unwrap_or_default();
        text.trim().to_owned()
    }

    /// Whether its supervisor lives. Taking the lock for a moment to see that it is free cannot
    /// disturb one that lives, and one that starts only now gives up, as nobody waits for it.
    pub(super) fn is_supervised(&self, id: &ContainerId) -> bool {
        let Ok(file) = File::open(self.path(id).join(LOCK)) else { return false };
        matches!(
            Flock::lock(file, FlockArg::LockSharedNonblock),
            Err((_, Errno::EWOULDBLOCK | Errno::EINTR))
        )
    }

    /// The process id of a supervisor that lives; while the lock is held it cannot be another's.
    pub(super) fn supervisor_pid(&self, id: &ContainerId) -> Option<i32> {
        self.supervisor_process(id).filter(|_| self.is_supervised(id))
    }

    /// The process id its supervisor had, which may be another's by now.
    pub(super) fn supervisor_process(&self, id: &ContainerId) -> Option<i32> {
        let text = fs::read_to_string(self.path(id).join(LOCK)).ok()?;
        text.trim().parse().ok().filter(|pid| *pid > 1)
    }

    /// Whether it was made in an earlier boot and is nothing but files. One without a readable spec is
    /// half made or half removed, and may have a supervisor that has read it.
    pub(super) fn is_of_earlier_boot(&self, id: &ContainerId) -> bool {
        let spec = run_dir::read::<LaunchSpec>(&self.path(id).join(SPEC));
        spec.is_ok_and(|s| s.boot_id != self.boot_id)
    }

    /// Whether the task may have run.
    pub(super) fn was_started(&self, id: &ContainerId) -> bool {
        self.path(id).join(STARTED).exists()
    }

    pub(super) fn started(&self, id: &ContainerId) -> Option<StartedRecord> {
        run_dir::read(&self.path(id).join(STARTED)).ok()
    }

    pub(super) fn exit(&self, id: &ContainerId) -> Option<ExitRecord> {
        run_dir::read(&self.path(id).join(EXIT)).ok()
    }

    /// Connects to its supervisor. By a descriptor of the directory: its name may be longer than
    /// the address of a socket can be.
    pub(super) async fn connect(&self, id: &ContainerId) -> io::Result<UnixStream> {
        let dir = File::open(self.path(id))?;
        UnixStream::connect(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd())).await
    }

    /// From now on no supervisor can begin in this directory.
    pub(super) fn forget_spec(&self, id: &ContainerId) -> ContainerResult<()> {
        let path = self.path(id).join(SPEC);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(ContainerError::Io { action: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn remove(&self, id: &ContainerId) -> ContainerResult<()> {
        let path = self.path(id);
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(ContainerError::Io { action: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    /// All containers that have a directory.
    pub(super) fn list(&self) -> Vec<ContainerId> {
        let Ok(entries) = fs::read_dir(&self.root) else { return Vec::new() };
        let name = |e: fs::DirEntry| e.file_name().to_str().map(str::to_owned);
        let names = entries.flatten().filter(|e| e.path().is_dir()).filter_map(name);
        let mut ids: Vec<ContainerId> = names.filter_map(|n| ContainerId::new(n).ok()).collect();
        ids.sort();
        ids
    }

    /// Removes the root if no container is left in it.
    pub(super) fn remove_root_if_empty(&self) {
        if self.list().is_empty() {
            let _ = fs::remove_file(self.root.join(ROOT_LOCK));
            let _ = fs::remove_dir(&self.root);
        }
    }
}

/// Whether that process is a supervisor (perhaps another than was meant) and not dead.
pub(super) fn is_supervisor(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let alive = |rest: &str| !rest.starts_with(['Z', 'X']);
    stat.split_once(" (proffer-superv) ").is_some_and(|(_, rest)| alive(rest))
}

/// Kills what a lost supervisor left behind at level `process`, found by the run directory in its
/// environment. True if there was anything.
pub(super) fn kill_leftovers(run_dir: &Path) -> bool {
    let marker =
        [format!("{RUN_DIR_VARIABLE}=").as_bytes(), run_dir.as_os_str().as_encoded_bytes()]
            .concat();
    let Ok(entries) = fs::read_dir("/proc") else { return false };
    let mut found = false;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = OsStr::to_str(&name).and_then(|n| n.parse::<i32>().ok()) else { continue };
        let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environ.split(|b| *b == 0).any(|variable| variable == marker) {
            found = true;
            let pid = nix::unistd::Pid::from_raw(pid);
            // Gone already is what is wanted.
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
    found
}

/// In the environment of tasks at level `process`.
pub(super) const RUN_DIR_VARIABLE: &str = "PROFFER_RUN_DIR";
