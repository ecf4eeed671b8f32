//! Owns what this machine has: CPUs, memory, disk, and facts for attributes. Only reads.
//!
//! The operator's word (`--resources`, `--attributes`) goes before what is found here; joining the
//! two is the caller's.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// What was found. Amounts are what the machine has, nothing held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Thousandths of the CPUs this process may use.
    pub cpu_millis: u64,
    /// Memory, or the ceiling of our own control group where that is lower.
    pub memory_bytes: u64,
    /// Size of the file system that holds the given directory.
    pub disk_bytes: u64,
    /// Name of the machine.
    pub hostname: String,
    /// Facts that constraints are likely to ask for: `os`, `kernel`, `arch`, `os_id`, `os_version`.
    pub attributes: BTreeMap<String, String>,
}

impl Machine {
    /// Looks at the machine; `work_dir` is where sandboxes are kept.
    ///
    /// # Errors
    /// When `/proc` or that directory cannot be read.
    pub fn detect(work_dir: &Path) -> io::Result<Self> {
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let total = memory_total_bytes(&meminfo)
            .ok_or_else(|| invalid("/proc/meminfo names no MemTotal"))?;
        let cpus = std::thread::available_parallelism()?.get() as u64;
        let name = nix::sys::utsname::uname()?;
        let text = |field: &std::ffi::OsStr| field.to_string_lossy().into_owned();
        let mut attributes = BTreeMap::from([
            ("os".to_owned(), text(name.sysname()).to_lowercase()),
            ("kernel".to_owned(), text(name.release())),
            ("arch".to_owned(), text(name.machine())),
        ]);
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        attributes.extend(os_release(&release));
        Ok(Self {
            cpu_millis: cpus * 1000,
            memory_bytes: own_memory_limit().map_or(total, |limit| limit.min(total)),
            disk_bytes: disk_bytes(work_dir)?,
            hostname: text(name.nodename()),
            attributes,
        })
    }
}

fn memory_total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The ceiling of the control group this process is in, where it has one. Groups above it may be
/// lower still; an agent in a container is told its resources.
fn own_memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mounts = crate::containerizer::cgroups::mounts::CgroupMounts::parse(&mounts);
    let v1 = own_group(&groups, "memory").zip(mounts.v1.get("memory"));
    let file = match v1 {
        Some((group, mount)) => mount.join(group).join("memory.limit_in_bytes"),
        None => mounts.v2?.join(own_group(&groups, "")?).join("memory.max"),
    };
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The path of a group, relative to its mount, in the text of `/proc/self/cgroup`.
fn own_group<'a>(groups: &'a str, controller: &str) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let found = controllers.split(',').any(|c| c == controller);
        found.then(|| path.trim_start_matches('/'))
    })
}

fn disk_bytes(directory: &Path) -> io::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(directory)?;
    // The widths of the fields differ between platforms.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
    let (blocks, size) = (stat.blocks() as u64, stat.fragment_size() as u64);
    Ok(blocks.saturating_mul(size))
}

/// `os_id` and `os_version` from the text of `/etc/os-release`.
fn os_release(text: &str) -> Vec<(String, String)> {
    let value = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='))?;
        let value = line.trim().trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| value.to_owned())
    };
    [("os_id", "ID"), ("os_version", "VERSION_ID")]
        .into_iter()
        .filter_map(|(name, key)| Some((name.to_owned(), value(key)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something_of_everything() {
        let machine = Machine::detect(Path::new("/")).unwrap();
        assert!(machine.cpu_millis >= 1000 && machine.cpu_millis.is_multiple_of(1000));
        assert!(machine.memory_bytes > 64 << 20);
        assert!(machine.disk_bytes > 0);
        assert!(!machine.hostname.is_empty());
        assert_eq!(machine.attributes["os"], "linux");
        assert!(machine.attributes.contains_key("arch"));
    }

    #[test]
    fn files_of_other_machines_are_read() {
        let meminfo = "MemTotal:       24684092 kB\nMemFree: 1 kB\n";
        assert_eq!(memory_total_bytes(meminfo), Some(24_684_092 * 1024));
        assert_eq!(memory_total_bytes("MemFree: 1 kB\n"), None);
        let release = "NAME=\"Debian\"\nVERSION_ID=\"12\"\nID=debian\nID_LIKE=x\n";
        assert_eq!(
            os_release(release),
            [("os_id".to_owned(), "debian".to_owned()), ("os_version".to_owned(), "12".to_owned())]
        );
        let groups = "4:memory:/a/b\n2:cpu,cpuacct:/c\n0::/d\n";
        assert_eq!(own_group(groups, "memory"), Some("a/b"));
        assert_eq!(own_group(groups, "cpuacct"), Some("c"));
        assert_eq!(own_group(groups, ""), Some("d"));
        assert_eq!(own_group(groups, "pids"), None);
    }
}
