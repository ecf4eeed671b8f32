//! Owns control groups: one driver for each kernel interface behind one trait (K22).
//!
//! Version 2 is the reference; version 1 is mapped onto it. On both the layout is
//! `ROOT/agent`, `ROOT/supervisors`, `ROOT/pods/<pod>/<container>`, with processes in leaves only.
//! `cgroups-rs` detects, creates, limits and removes; what it cannot do (attaching by the child
//! itself, killing, events, cheap statistics, the v2 tree beside v1) is done here with plain files.
//! A limit that a driver cannot enforce is an error, never left out.

use std::fmt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use proffer_supervisor::wire::CgroupJoin;

use super::{ContainerError, ContainerId, Usage};

pub mod mounts;
mod statistics;
mod v1;
mod v2;

pub use v1::CgroupV1;
pub use v2::CgroupV2;

/// Every root begins with this, so that what is ours can be told from what is not.
pub const ROOT_PREFIX: &str = "proffer";

/// The leaf of the agent itself.
const AGENT_LEAF: &str = "agent";
/// The leaf of all supervisors.
const SUPERVISORS_LEAF: &str = "supervisors";
/// Above the groups of pods.
const PODS: &str = "pods";

/// Where one containerizer's groups begin, below the mount of each hierarchy. Everything that is
/// created, killed or removed lies under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupRoot(String);

impl CgroupRoot {
    /// `proffer*/<agent name>`, optionally below a delegated group (`base`, as in
    /// `/proc/self/cgroup`; empty or `/` for the top).
    ///
    /// # Errors
    /// [`ContainerError::InvalidSpec`] if the path could lead elsewhere.
    pub fn new(base: &str, root: &str) -> Result<Self, ContainerError> {
        let base = base.trim_matches('/');
        let safe = |path: &str| path.split('/').all(|p| !p.is_empty() && p != "." && p != "..");
        let well_formed = root.starts_with(ROOT_PREFIX) && root.contains('/') && safe(root);
        if !well_formed || !(base.is_empty() || safe(base)) {
            return Err(ContainerError::InvalidSpec {
                field: "cgroup_root",
                reason: format!("`{base}/{root}` is not proffer*/NAME"),
            });
        }
        Ok(Self(if base.is_empty() { root.to_owned() } else { format!("{base}/{root}") }))
    }

    /// The group this process is in now in the v2 hierarchy: the base where it is delegated to us.
    ///
    /// # Errors
    /// When `/proc/self/cgroup` cannot be read.
    pub fn own_group() -> io::Result<String> {
        let text = fs::read_to_string("/proc/self/cgroup")?;
        Ok(text.lines().find_map(|l| l.strip_prefix("0::")).unwrap_or("/").to_owned())
    }

    /// The path as text, relative to a hierarchy's mount.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn agent(&self) -> String {
        format!("{}/{AGENT_LEAF}", self.0)
    }

    fn supervisors(&self) -> String {
        format!("{}/{SUPERVISORS_LEAF}", self.0)
    }

    fn pods(&self) -> String {
        format!("{}/{PODS}", self.0)
    }

    fn pod(&self, name: &CgroupName) -> String {
        format!("{}/{PODS}/{}", self.0, name.pod)
    }

    fn container(&self, name: &CgroupName) -> String {
        format!("{}/{PODS}/{}/{}", self.0, name.pod, name.container)
    }
}

/// The group of one container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CgroupName {
    /// The pod's name.
    pub pod: String,
    /// The container's name.
    pub container: ContainerId,
}

/// Ceilings of one container. What is `None` is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Thousandths of a CPU: weight and ceiling.
    pub cpu_millis: Option<u64>,
    /// Whether that is also a hard ceiling.
    pub cpu_ceiling: bool,
    /// Memory, swap included.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids_max: Option<u64>,
}

/// What went wrong with a group: where, doing what.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The kernel here has no means for that limit.
    #[error("the {controller} controller is not available: {reason}")]
    NoController {
        /// Which is missing.
        controller: &'static str,
        /// Why, in words.
        reason: String,
    },
    /// A file or directory of a group did not do as told.
    #[error("failed to {action} {path}")]
    File {
        /// The verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// `cgroups-rs` reported it.
    #[error("failed to {action} group {group}: {reason}")]
    Group {
        /// The verb.
        action: &'static str,
        /// The group, relative to its hierarchy.
        group: String,
        /// All that is known.
        reason: String,
    },
}

/// Which kernel interface a driver uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupVersion {
    /// One hierarchy for each controller, a v2 tree beside them where it is mounted.
    V1,
    /// The unified hierarchy.
    V2,
}

impl fmt::Display for CgroupVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "cgroup v1",
            Self::V2 => "cgroup v2",
        })
    }
}

/// One kernel interface to control groups. All calls are short file operations.
pub trait CgroupDriver: Send + Sync + 'static {
    /// Which.
    fn version(&self) -> CgroupVersion;

    /// Makes root, `supervisors` and `pods`. Safe to repeat.
    ///
    /// # Errors
    /// When this process may not.
    fn create_root(&self) -> Result<(), CgroupError>;

    /// Moves this process into `agent`. Once per process: several agents in one share a leaf.
    ///
    /// # Errors
    /// When this process may not.
    fn enter_agent_leaf(&self) -> Result<(), CgroupError>;

    /// Makes a container's group with its limits.
    ///
    /// # Errors
    /// [`CgroupError::NoController`] if a limit cannot be enforced. What was made may be left;
    /// `remove` takes it away.
    fn create(&self, name: &CgroupName, limits: &Limits) -> Result<(), CgroupError>;

    /// How a child enters a container's group.
    fn container_join(&self, name: &CgroupName) -> CgroupJoin;

    /// How a supervisor enters `supervisors`. Nobody may ever write `cgroup.kill` of that group
    /// and go on to use it: its children would be killed at birth (see `refuse_stale`).
    fn supervisors_join(&self) -> CgroupJoin;

    /// Kills everything in a container's group; returns before it is gone.
    ///
    /// # Errors
    /// When there is no way to.
    fn kill(&self, name: &CgroupName) -> Result<(), CgroupError>;

    /// Whether processes are left. A group that is not there is empty.
    fn is_populated(&self, name: &CgroupName) -> bool;

    /// Processes killed for want of memory so far; `None` if that is not counted here.
    fn oom_kills(&self, name: &CgroupName) -> Option<u64>;

    /// What it uses now.
    fn usage(&self, name: &CgroupName) -> Usage;

    /// Removes an empty group, and its pod's if that is empty too. Safe to repeat.
    ///
    /// # Errors
    /// Busy for some milliseconds after its last process ended: try again.
    fn remove(&self, name: &CgroupName) -> Result<(), CgroupError>;

    /// Every container's group that exists in any hierarchy under the root.
    fn list(&self) -> Vec<CgroupName>;

    /// Removes the root with its leaves if nothing is left in it; true when it is gone.
    fn remove_root_if_empty(&self) -> bool;
}

/// The driver for this machine.
///
/// # Errors
/// When no hierarchy is mounted.
pub fn detect(root: CgroupRoot) -> Result<Box<dyn CgroupDriver>, CgroupError> {
    let path = PathBuf::from("/proc/self/mountinfo");
    let read = fs::read_to_string(&path);
    let text = read.map_err(|source| CgroupError::File { action: "read", path, source })?;
    let mounts = mounts::CgroupMounts::parse(&text);
    if cgroups_rs::fs::hierarchies::is_cgroup2_unified_mode() {
        return Ok(Box::new(CgroupV2::new(&mounts, root)?));
    }
    Ok(Box::new(CgroupV1::new(mounts, root)?))
}

/// Names below `pods` in one hierarchy.
fn list_pods(pods_dir: &Path) -> Vec<CgroupName> {
    let mut names = Vec::new();
    for pod in subdirectories(pods_dir) {
        for container in subdirectories(&pods_dir.join(&pod)) {
            if let Ok(container) = ContainerId::new(container) {
                names.push(CgroupName { pod: pod.clone(), container });
            }
        }
    }
    names
}

fn subdirectories(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let is_dir = |e: &fs::DirEntry| e.file_type().is_ok_and(|t| t.is_dir());
    entries.flatten().filter(is_dir).filter_map(|e| e.file_name().into_string().ok()).collect()
}

/// A container never gets a group that another had before: its counters would go on, and since
/// some kernel (seen on 6.18) a group once killed by `cgroup.kill` kills every child that is cloned
/// into it from another group. A leftover that is empty is removed.
fn refuse_stale(dirs: impl IntoIterator<Item = PathBuf>) -> Result<(), CgroupError> {
    dirs.into_iter().try_for_each(|dir| remove_dir(&dir))
}

/// `rmdir`, for which absence is success.
fn remove_dir(path: &Path) -> Result<(), CgroupError> {
    match fs::remove_dir(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(CgroupError::File { action: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn create_dir(path: &Path) -> Result<(), CgroupError> {
    /// Another agent that ends may just have removed a parent that was empty.
    const ATTEMPTS: usize = 3;
    let mut result = fs::create_dir_all(path);
    for _ in 1..ATTEMPTS {
        match &result {
            Err(e) if e.kind() == io::ErrorKind::NotFound => result = fs::create_dir_all(path),
            _ => break,
        }
    }
    result.map_err(|source| CgroupError::File { action: "create", path: path.to_owned(), source })
}

fn group_error(
    action: &'static str,
    group: &str,
    error: &cgroups_rs::fs::error::Error,
) -> CgroupError {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        reason = format!("{reason}: {cause}");
        source = cause.source();
    }
    CgroupError::Group { action, group: group.to_owned(), reason }
}

/// CPU shares of v1 for a number of thousandths: 1024 are one CPU, the kernel's least is 2.
fn shares(cpu_millis: u64) -> u64 {
    (cpu_millis * 1024 / 1000).clamp(2, 262_144)
}

/// Weight of v2 for v1's shares, by the mapping that runc and systemd use: 2..262144 to 1..10000.
fn weight(cpu_millis: u64) -> u64 {
    1 + (shares(cpu_millis) - 2) * 9999 / 262_142
}

/// Quota and period in microseconds. The kernel takes no quota below 1 ms, so a small ceiling gets
/// a longer period instead of a greater ceiling.
fn quota_and_period(cpu_millis: u64) -> (u64, u64) {
    let period = if cpu_millis < 10 { 1_000_000 } else { 100_000 };
    (cpu_millis * period / 1000, period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_cannot_lead_out_of_our_tree() {
        assert_eq!(CgroupRoot::new("", "proffer/a1").unwrap().as_str(), "proffer/a1");
        assert_eq!(
            CgroupRoot::new("/system.slice/x.service", "proffer/a1").unwrap().as_str(),
            "system.slice/x.service/proffer/a1"
        );
        for root in ["proffer", "other/a1", "proffer/../x", "proffer//x", "/proffer/x", "proffer/"]
        {
            assert!(CgroupRoot::new("", root).is_err(), "{root}");
        }
        assert!(CgroupRoot::new("/a/../b", "proffer/a1").is_err());
    }

    /// K22: the ceiling is exact down to a thousandth of a CPU.
    #[test]
    fn quota_is_never_rounded_up() {
        for millis in [1, 5, 9, 10, 100, 250, 1000, 64_000] {
            let (quota, period) = quota_and_period(millis);
            assert_eq!(quota * 1000, millis * period, "{millis}");
            assert!(quota >= 1000, "{millis}: below the kernel's least quota");
        }
    }

    #[test]
    fn weights_keep_their_order_and_range() {
        assert_eq!((shares(1), shares(1000)), (2, 1024));
        assert_eq!((weight(1), weight(1_000_000_000)), (1, 10_000));
        assert!(weight(500) < weight(2000));
    }
}
