//! Owns the driver for version 1: a directory in each controller's hierarchy for the limits, and
//! one in the v2 tree, where it is mounted beside them, for kill and emptiness.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::{fs, process};

use cgroups_rs::fs::cgroup::Cgroup;
use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::hierarchies;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;
use cgroups_rs::fs::{Controller as _, MaxValue};
use proffer_supervisor::cgroup_kill;
use proffer_supervisor::wire::CgroupJoin;

use super::mounts::CgroupMounts;
use super::statistics::{keyed, number};
use super::{
    CgroupDriver, CgroupError, CgroupName, CgroupRoot, CgroupVersion, Limits, Usage, create_dir,
    group_error, list_pods, quota_and_period, refuse_stale, remove_dir, shares,
};

/// The controllers we use. Named always: by itself `cgroups-rs` makes a directory in every
/// hierarchy that is mounted, `name=systemd` included.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuacct", "memory", "pids", "freezer"];

/// The driver. See the module.
#[derive(Debug)]
pub struct CgroupV1 {
    mounts: CgroupMounts,
    present: Vec<String>,
    root: CgroupRoot,
}

impl CgroupV1 {
    /// Uses the controllers that are mounted; which are missing shows when a limit needs one.
    ///
    /// # Errors
    /// When none is.
    pub fn new(mounts: CgroupMounts, root: CgroupRoot) -> Result<Self, CgroupError> {
        let controllers = CONTROLLERS.iter().filter(|c| mounts.v1.contains_key(**c));
        let present: Vec<String> = controllers.map(|c| (*c).to_owned()).collect();
        if present.is_empty() {
            let reason = "no control group hierarchy is mounted".to_owned();
            return Err(CgroupError::NoController { controller: "any", reason });
        }
        Ok(Self { mounts, present, root })
    }

    fn dir(&self, controller: &str, group: &str) -> Option<PathBuf> {
        let mount = self.mounts.v1.get(controller)?;
        self.present.iter().any(|c| c == controller).then(|| mount.join(group))
    }

    fn v2_dir(&self, group: &str) -> Option<PathBuf> {
        self.mounts.v2.as_ref().map(|mount| mount.join(group))
    }

    /// The group's directory in every hierarchy, each once (controllers may be mounted together).
    fn v1_dirs(&self, group: &str) -> BTreeSet<PathBuf> {
        self.present.iter().filter_map(|c| self.dir(c, group)).collect()
    }

    fn all_dirs(&self, group: &str) -> impl Iterator<Item = PathBuf> {
        self.v1_dirs(group).into_iter().chain(self.v2_dir(group))
    }

    fn load(&self, group: &str) -> Cgroup {
        let controllers = self.present.clone();
        Cgroup::load_with_specified_controllers(hierarchies::auto(), group, controllers)
    }

    fn join(&self, group: &str) -> CgroupJoin {
        let bytes = |path: PathBuf| path.into_os_string().into_vec();
        CgroupJoin {
            v1_tasks_files: self.v1_dirs(group).iter().map(|d| bytes(d.join("tasks"))).collect(),
            v2_dir: self.v2_dir(group).map(bytes).unwrap_or_default(),
            v1_freezer_dir: self.dir("freezer", group).map(bytes).unwrap_or_default(),
        }
    }

    fn missing(controller: &'static str) -> CgroupError {
        let reason = "it is not mounted as a v1 hierarchy".to_owned();
        CgroupError::NoController { controller, reason }
    }

    fn limit(group: &Cgroup, path: &str, limits: &Limits) -> Result<(), CgroupError> {
        let failed = |e| group_error("limit", path, &e);
        if let Some(cpu_millis) = limits.cpu_millis {
            let cpu: &CpuController = group.controller_of().ok_or_else(|| Self::missing("cpu"))?;
            cpu.set_shares(shares(cpu_millis)).map_err(failed)?;
            if limits.cpu_ceiling {
                let (quota, period) = quota_and_period(cpu_millis);
                cpu.set_cfs_period(period).map_err(failed)?;
                cpu.set_cfs_quota(i64::try_from(quota).unwrap_or(i64::MAX)).map_err(failed)?;
            }
        }
        if let Some(bytes) = limits.memory_bytes {
            let memory: &MemController =
                group.controller_of().ok_or_else(|| Self::missing("memory"))?;
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            memory.set_limit(bytes).map_err(failed)?;
            // Memory and swap together, where the kernel accounts swap: else swap would be free.
            if memory.path().join("memory.memsw.limit_in_bytes").exists() {
                memory.set_memswap_limit(bytes).map_err(failed)?;
            }
        }
        if let Some(pids_max) = limits.pids_max {
            let pids: &PidController =
                group.controller_of().ok_or_else(|| Self::missing("pids"))?;
            let value = MaxValue::Value(i64::try_from(pids_max).unwrap_or(i64::MAX));
            pids.set_pid_max(value).map_err(failed)?;
        }
        Ok(())
    }
}

impl CgroupDriver for CgroupV1 {
    fn version(&self) -> CgroupVersion {
        CgroupVersion::V1
    }

    fn create_root(&self) -> Result<(), CgroupError> {
        for group in [self.root.agent(), self.root.supervisors(), self.root.pods()] {
            self.all_dirs(&group).try_for_each(|dir| create_dir(&dir))?;
        }
        Ok(())
    }

    fn enter_agent_leaf(&self) -> Result<(), CgroupError> {
        for dir in self.all_dirs(&self.root.agent()) {
            let path = dir.join("cgroup.procs");
            fs::write(&path, process::id().to_string()).map_err(|source| CgroupError::File {
                action: "enter",
                path,
                source,
            })?;
        }
        Ok(())
    }

    fn create(&self, name: &CgroupName, limits: &Limits) -> Result<(), CgroupError> {
        let path = self.root.container(name);
        refuse_stale(self.all_dirs(&path))?;
        let group = self.load(&path);
        group.create().map_err(|e| group_error("create", &path, &e))?;
        if let Some(dir) = self.v2_dir(&path) {
            create_dir(&dir)?;
        }
        Self::limit(&group, &path, limits)
    }

    fn container_join(&self, name: &CgroupName) -> CgroupJoin {
        self.join(&self.root.container(name))
    }

    fn supervisors_join(&self) -> CgroupJoin {
        self.join(&self.root.supervisors())
    }

    fn kill(&self, name: &CgroupName) -> Result<(), CgroupError> {
        let group = self.root.container(name);
        let (v2, freezer) = (self.v2_dir(&group), self.dir("freezer", &group));
        cgroup_kill::kill_all(v2.as_deref(), freezer.as_deref()).map_err(|source| {
            CgroupError::File { action: "kill", path: v2.or(freezer).unwrap_or_default(), source }
        })
    }

    fn is_populated(&self, name: &CgroupName) -> bool {
        // The v2 tree says it in one word; the others are asked as well, since a child that is just
        // being made may be in some of them only.
        let group = self.root.container(name);
        let in_v2 = self.v2_dir(&group).and_then(|d| keyed(&d.join("cgroup.events"), "populated"));
        in_v2 == Some(1) || self.v1_dirs(&group).iter().any(|d| has_processes(d))
    }

    fn oom_kills(&self, name: &CgroupName) -> Option<u64> {
        let dir = self.dir("memory", &self.root.container(name))?;
        keyed(&dir.join("memory.oom_control"), "oom_kill")
    }

    fn usage(&self, name: &CgroupName) -> Usage {
        let group = self.root.container(name);
        let in_dir = |controller, file: &str| Some(self.dir(controller, &group)?.join(file));
        let value = |controller, file| number(&in_dir(controller, file)?);
        Usage {
            cpu_ns: value("cpuacct", "cpuacct.usage"),
            cpu_throttled_periods: in_dir("cpu", "cpu.stat")
                .and_then(|f| keyed(&f, "nr_throttled")),
            memory_bytes: value("memory", "memory.usage_in_bytes"),
            memory_peak_bytes: value("memory", "memory.max_usage_in_bytes"),
            pids: value("pids", "pids.current"),
            oom_kills: self.oom_kills(name),
        }
    }

    fn remove(&self, name: &CgroupName) -> Result<(), CgroupError> {
        let path = self.root.container(name);
        if let Some(dir) = self.v2_dir(&path) {
            remove_dir(&dir)?;
        }
        self.load(&path).delete().map_err(|e| group_error("remove", &path, &e))?;
        // The pod's own group goes with its last container; while others are in it, it stays.
        for dir in self.all_dirs(&self.root.pod(name)) {
            let _ = remove_dir(&dir);
        }
        Ok(())
    }

    fn list(&self) -> Vec<CgroupName> {
        let names: BTreeSet<CgroupName> =
            self.all_dirs(&self.root.pods()).flat_map(|d| list_pods(&d)).collect();
        names.into_iter().collect()
    }

    fn remove_root_if_empty(&self) -> bool {
        let root = self.root.as_str();
        let parent = Path::new(root).parent().and_then(Path::to_str).unwrap_or_default();
        let groups =
            [self.root.pods(), self.root.supervisors(), self.root.agent(), root.to_owned()];
        for group in groups.iter().map(String::as_str).chain([parent]) {
            for dir in self.all_dirs(group) {
                // Others may still be in it, which keeps it.
                let _ = remove_dir(&dir);
            }
        }
        !self.all_dirs(root).any(|dir| dir.exists())
    }
}

fn has_processes(dir: &Path) -> bool {
    fs::read_to_string(dir.join("cgroup.procs")).is_ok_and(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerizer::ContainerId;

    fn driver(root: &Path) -> CgroupV1 {
        let mut mounts = CgroupMounts { v2: Some(root.join("unified")), ..Default::default() };
        for controller in ["cpu", "cpuacct"] {
            mounts.v1.insert(controller.to_owned(), root.join("cpu,cpuacct"));
        }
        mounts.v1.insert("memory".to_owned(), root.join("memory"));
        mounts.v1.insert("devices".to_owned(), root.join("devices"));
        CgroupV1::new(mounts, CgroupRoot::new("", "proffer-test/a").unwrap()).unwrap()
    }

    fn name() -> CgroupName {
        CgroupName { pod: "p".to_owned(), container: ContainerId::new("c").unwrap() }
    }

    #[test]
    fn a_child_joins_each_hierarchy_once_and_only_ours() {
        let join = driver(Path::new("/m")).container_join(&name());
        let files: Vec<String> =
            join.v1_tasks_files.iter().map(|f| String::from_utf8_lossy(f).into_owned()).collect();
        assert_eq!(
            files,
            [
                "/m/cpu,cpuacct/proffer-test/a/pods/p/c/tasks",
                "/m/memory/proffer-test/a/pods/p/c/tasks"
            ]
        );
        assert_eq!(join.v2_dir, b"/m/unified/proffer-test/a/pods/p/c");
        assert_eq!(join.v1_freezer_dir, b"");
    }

    /// K22: without its controller a limit is refused.
    #[test]
    fn a_limit_without_its_controller_is_an_error() {
        let driver = driver(Path::new("/m"));
        let group = driver.load("proffer-test/none");
        let limits = Limits { pids_max: Some(5), ..Default::default() };
        let with = Cgroup::load_with_specified_controllers(
            hierarchies::auto(),
            "proffer-test/none",
            vec!["cpu".to_owned()],
        );
        drop(group);
        let error = CgroupV1::limit(&with, "proffer-test/none", &limits).unwrap_err();
        assert!(error.to_string().contains("pids"), "{error}");
    }

    #[test]
    fn statistics_and_listing_are_pure_file_logic() {
        let temp = tempfile::tempdir().unwrap();
        let driver = driver(temp.path());
        driver.create_root().unwrap();
        let group = "proffer-test/a/pods/p/c";
        for mount in ["memory", "unified", "cpu,cpuacct"] {
            fs::create_dir_all(temp.path().join(mount).join(group)).unwrap();
        }
        let file = |mount: &str, file: &str| temp.path().join(mount).join(group).join(file);
        fs::write(file("memory", "memory.oom_control"), "under_oom 0\noom_kill 3\n").unwrap();
        fs::write(file("memory", "memory.usage_in_bytes"), "8192\n").unwrap();
        fs::write(file("cpu,cpuacct", "cpuacct.usage"), "77\n").unwrap();
        fs::write(file("unified", "cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
        assert_eq!(driver.list(), [name()]);
        assert!(driver.is_populated(&name()));
        let usage = driver.usage(&name());
        assert_eq!(
            (usage.cpu_ns, usage.memory_bytes, usage.oom_kills),
            (Some(77), Some(8192), Some(3))
        );
        assert_eq!(usage.pids, None);
    }
}
