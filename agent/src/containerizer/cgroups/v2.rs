//! Owns the driver for version 2, the reference: one directory for limits, kill and events.

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
    group_error, list_pods, quota_and_period, refuse_stale, remove_dir, weight,
};

/// The controllers we use. Always named: see the v1 driver.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// The driver. See the module.
#[derive(Debug)]
pub struct CgroupV2 {
    mount: PathBuf,
    root: CgroupRoot,
}

impl CgroupV2 {
    /// Uses the mount of the unified hierarchy.
    ///
    /// # Errors
    /// When it is not mounted.
    pub fn new(mounts: &CgroupMounts, root: CgroupRoot) -> Result<Self, CgroupError> {
        let missing = || CgroupError::NoController {
            controller: "any",
            reason: "the unified hierarchy is not mounted".to_owned(),
        };
        Ok(Self { mount: mounts.v2.clone().ok_or_else(missing)?, root })
    }

    fn dir(&self, group: &str) -> PathBuf {
        self.mount.join(group)
    }

    /// The controllers that the kernel offers here.
    fn available(&self) -> Vec<String> {
        let offered = fs::read_to_string(self.mount.join("cgroup.controllers")).unwrap_or_default();
        let offered: Vec<&str> = offered.split_whitespace().collect();
        CONTROLLERS.iter().filter(|c| offered.contains(c)).map(|c| (*c).to_owned()).collect()
    }

    /// `cgroups-rs` makes the directories and passes the controllers down in all above the last.
    fn create_group(&self, path: &str) -> Result<Cgroup, CgroupError> {
        let group =
            Cgroup::load_with_specified_controllers(hierarchies::auto(), path, self.available());
        group.create().map_err(|e| group_error("create", path, &e))?;
        Ok(group)
    }

    fn join(&self, group: &str) -> CgroupJoin {
        CgroupJoin { v2_dir: self.dir(group).into_os_string().into_vec(), ..CgroupJoin::default() }
    }

    /// Whether the file that a limit is written to is there: the controller was passed down.
    fn need(&self, group: &str, controller: &'static str, file: &str) -> Result<(), CgroupError> {
        if self.dir(group).join(file).exists() {
            return Ok(());
        }
        let reason = format!(
            "it is not enabled for {}; is it delegated to this agent (Delegate=yes)?",
            self.dir(group).display()
        );
        Err(CgroupError::NoController { controller, reason })
    }

    fn limit(&self, group: &Cgroup, path: &str, limits: &Limits) -> Result<(), CgroupError> {
        let failed = |e| group_error("limit", path, &e);
        let no = |controller| CgroupError::NoController {
            controller,
            reason: "the kernel does not offer it".to_owned(),
        };
        if let Some(cpu_millis) = limits.cpu_millis {
            let cpu: &CpuController = group.controller_of().ok_or_else(|| no("cpu"))?;
            self.need(path, "cpu", "cpu.max")?;
            // Written as it is to `cpu.weight`: the conversion is ours.
            cpu.set_shares(weight(cpu_millis)).map_err(failed)?;
            if limits.cpu_ceiling {
                let (quota, period) = quota_and_period(cpu_millis);
                let quota = i64::try_from(quota).unwrap_or(i64::MAX);
                cpu.set_cfs_quota_and_period(Some(quota), Some(period)).map_err(failed)?;
            }
        }
        if let Some(bytes) = limits.memory_bytes {
            let memory: &MemController = group.controller_of().ok_or_else(|| no("memory"))?;
            self.need(path, "memory", "memory.max")?;
            memory.set_limit(i64::try_from(bytes).unwrap_or(i64::MAX)).map_err(failed)?;
            if memory.path().join("memory.swap.max").exists() {
                // The ceiling is for memory and swap together, as on v1.
                memory.set_memswap_limit(0).map_err(failed)?;
            }
        }
        if let Some(pids_max) = limits.pids_max {
            let pids: &PidController = group.controller_of().ok_or_else(|| no("pids"))?;
            self.need(path, "pids", "pids.max")?;
            let value = MaxValue::Value(i64::try_from(pids_max).unwrap_or(i64::MAX));
            pids.set_pid_max(value).map_err(failed)?;
        }
        Ok(())
    }
}

impl CgroupDriver for CgroupV2 {
    fn version(&self) -> CgroupVersion {
        CgroupVersion::V2
    }

    fn create_root(&self) -> Result<(), CgroupError> {
        // Not through `cgroups-rs`: the leaves need no controllers.
        for group in [self.root.agent(), self.root.supervisors(), self.root.pods()] {
            create_dir(&self.dir(&group))?;
        }
        Ok(())
    }

    fn enter_agent_leaf(&self) -> Result<(), CgroupError> {
        let path = self.dir(&self.root.agent()).join("cgroup.procs");
        fs::write(&path, process::id().to_string()).map_err(|source| CgroupError::File {
            action: "enter",
            path,
            source,
        })
    }

    fn create(&self, name: &CgroupName, limits: &Limits) -> Result<(), CgroupError> {
        let path = self.root.container(name);
        refuse_stale([self.dir(&path)])?;
        let group = self.create_group(&path)?;
        self.limit(&group, &path, limits)
    }

    fn container_join(&self, name: &CgroupName) -> CgroupJoin {
        self.join(&self.root.container(name))
    }

    fn supervisors_join(&self) -> CgroupJoin {
        self.join(&self.root.supervisors())
    }

    fn kill(&self, name: &CgroupName) -> Result<(), CgroupError> {
        let path = self.dir(&self.root.container(name));
        cgroup_kill::kill_all(Some(&path), None).map_err(|source| CgroupError::File {
            action: "kill",
            path,
            source,
        })
    }

    fn is_populated(&self, name: &CgroupName) -> bool {
        let dir = self.dir(&self.root.container(name));
        keyed(&dir.join("cgroup.events"), "populated") == Some(1)
    }

    fn oom_kills(&self, name: &CgroupName) -> Option<u64> {
        keyed(&self.dir(&self.root.container(name)).join("memory.events"), "oom_kill")
    }

    fn usage(&self, name: &CgroupName) -> Usage {
        let dir = self.dir(&self.root.container(name));
        let cpu = dir.join("cpu.stat");
        Usage {
            cpu_ns: keyed(&cpu, "usage_usec").map(|us| us.saturating_mul(1000)),
            cpu_throttled_periods: keyed(&cpu, "nr_throttled"),
            memory_bytes: number(&dir.join("memory.current")),
            memory_peak_bytes: number(&dir.join("memory.peak")),
            pids: number(&dir.join("pids.current")),
            oom_kills: self.oom_kills(name),
        }
    }

    fn remove(&self, name: &CgroupName) -> Result<(), CgroupError> {
        let path = self.root.container(name);
        if self.dir(&path).exists() {
            let group =
                Cgroup::load_with_specified_controllers(hierarchies::auto(), &path, Vec::new());
            group.delete().map_err(|e| group_error("remove", &path, &e))?;
        }
        // The pod's own group goes with its last container.
        let _ = remove_dir(&self.dir(&self.root.pod(name)));
        Ok(())
    }

    fn list(&self) -> Vec<CgroupName> {
        list_pods(&self.dir(&self.root.pods()))
    }

    fn remove_root_if_empty(&self) -> bool {
        let root = self.root.as_str();
        let parent = Path::new(root).parent().and_then(Path::to_str).unwrap_or_default();
        let groups =
            [self.root.pods(), self.root.supervisors(), self.root.agent(), root.to_owned()];
        for group in groups.iter().map(String::as_str).chain([parent]) {
            // Others may still be in it, which keeps it.
            let _ = remove_dir(&self.dir(group));
        }
        !self.dir(root).exists()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerizer::ContainerId;

    fn name() -> CgroupName {
        CgroupName { pod: "p".to_owned(), container: ContainerId::new("c").unwrap() }
    }

    #[test]
    fn statistics_and_listing_are_pure_file_logic() {
        let temp = tempfile::tempdir().unwrap();
        let mounts = CgroupMounts { v2: Some(temp.path().to_owned()), ..Default::default() };
        let root = CgroupRoot::new("unit.service", "proffer-test/a").unwrap();
        let driver = CgroupV2::new(&mounts, root).unwrap();
        driver.create_root().unwrap();
        let dir = temp.path().join("unit.service/proffer-test/a/pods/p/c");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("cpu.stat"), "usage_usec 5\nnr_throttled 2\n").unwrap();
        fs::write(dir.join("memory.events"), "oom 1\noom_kill 1\n").unwrap();
        fs::write(dir.join("memory.current"), "4096\n").unwrap();
        fs::write(dir.join("cgroup.events"), "populated 0\n").unwrap();
        assert_eq!(driver.list(), [name()]);
        assert!(!driver.is_populated(&name()));
        let usage = driver.usage(&name());
        assert_eq!((usage.cpu_ns, usage.oom_kills), (Some(5000), Some(1)));
        assert_eq!(usage.memory_peak_bytes, None);
        assert_eq!(driver.container_join(&name()).v2_dir, dir.into_os_string().into_vec());
    }
}
