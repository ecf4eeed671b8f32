//! Owns the reading of `/proc/self/mountinfo`: where each hierarchy of control groups is mounted.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The mounts of all hierarchies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CgroupMounts {
    /// Mount point of each v1 controller.
    pub v1: BTreeMap<String, PathBuf>,
    /// Mount point of the v2 hierarchy.
    pub v2: Option<PathBuf>,
}

impl CgroupMounts {
    /// Reads the text of a mountinfo file. Of several mounts of one hierarchy the first counts,
    /// as it does for `cgroups-rs`. Lines that make no sense are left out.
    #[must_use]
    pub fn parse(mountinfo: &str) -> Self {
        let mut mounts = Self::default();
        for line in mountinfo.lines() {
            let Some((mount, file_system)) = line.split_once(" - ") else { continue };
            let Some(point) = mount.split(' ').nth(4).map(unescape) else { continue };
            let mut fields = file_system.split(' ');
            match fields.next() {
                Some("cgroup2") => {
                    mounts.v2.get_or_insert(PathBuf::from(point));
                }
                Some("cgroup") => {
                    for option in fields.nth(1).unwrap_or_default().split(',') {
                        // `rw` and `name=…` are no controllers, but harmless under their names.
                        mounts.v1.entry(option.to_owned()).or_insert(PathBuf::from(&point));
                    }
                }
                _ => {}
            }
        }
        mounts
    }
}

/// Octal escapes of space, tab, newline and backslash, as the kernel writes them.
fn unescape(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..3).and_then(|d| std::str::from_utf8(d).ok());
        match digits.and_then(|d| u8::from_str_radix(d, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw,relatime - cgroup2 cgroup2 rw
42 31 0:32 / /other/memory rw - cgroup cgroup rw,memory
nonsense
1 2 - cgroup";

    #[test]
    fn a_hybrid_machine_is_read() {
        let mounts = CgroupMounts::parse(HYBRID);
        assert_eq!(mounts.v1["cpu"], PathBuf::from("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(mounts.v1["cpu"], mounts.v1["cpuacct"]);
        assert_eq!(mounts.v1["memory"], PathBuf::from("/sys/fs/cgroup/memory"));
        assert!(!mounts.v1.contains_key("pids"));
        assert_eq!(mounts.v2, Some(PathBuf::from("/sys/fs/cgroup/uni fied")));
    }

    #[test]
    fn a_pure_v2_machine_is_read() {
        let mounts =
            CgroupMounts::parse("25 22 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate");
        assert!(mounts.v1.is_empty());
        assert_eq!(mounts.v2, Some(PathBuf::from("/sys/fs/cgroup")));
    }
}
