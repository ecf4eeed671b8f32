//! Owns what the task sees of files: its root, its sandbox, and what is covered.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use super::{Place, Plan, refuse};
use crate::containerizer::{
    ContainerError, ContainerResult, ContainerSpec, IsolationLevel, SANDBOX_IN_ROOT, VolumeDir,
};
use proffer_supervisor::wire::Bind;

/// Parts of `/proc` and `/sys` that tell about or act on the whole machine.
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Parts that may be read but not written.
const READONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

pub(super) fn plan(spec: &ContainerSpec, place: &Place, plan: &mut Plan) -> ContainerResult<()> {
    let launch = &mut plan.launch;
    launch.sandbox = bytes(&spec.sandbox);
    launch.sandbox_in_root = SANDBOX_IN_ROOT.as_bytes().to_vec();
    if let Some(root) = &spec.root_dir {
        if place.level < IsolationLevel::Full {
            return Err(refuse(spec, "a root directory", "it needs namespaces"));
        }
        launch.root_dir = bytes(root);
    }
    let inside = if spec.root_dir.is_some() { Path::new(SANDBOX_IN_ROOT) } else { &spec.sandbox };
    launch.working_dir = bytes(spec.working_dir.as_deref().unwrap_or(inside));
    check_working_dir(Path::new(std::ffi::OsStr::from_bytes(&launch.working_dir)))?;
    if place.level == IsolationLevel::Full && spec.root_dir.is_none() {
        check_not_covered("sandbox", &spec.sandbox)?;
    }
    if place.level == IsolationLevel::Full {
        let bind = |volume: &VolumeDir| Bind {
            source: bytes(&volume.source),
            target: bytes(&volume.target),
        };
        launch.binds = spec.volumes.iter().map(bind).collect();
        let text = |path: &&str| path.as_bytes().to_vec();
        launch.masked_paths = MASKED.iter().map(text).chain(place.hidden_dirs.clone()).collect();
        launch.readonly_paths = READONLY.iter().map(text).collect();
    }
    Ok(())
}

/// A container has its own `/dev`, `/proc` and `/sys`, in which nothing of the machine's is found.
fn check_not_covered(field: &'static str, dir: &Path) -> ContainerResult<()> {
    if ["/dev", "/proc", "/sys"].iter().any(|covered| dir.starts_with(covered)) {
        let reason = format!("`{}` is under a directory that containers do not see", dir.display());
        return Err(ContainerError::InvalidSpec { field, reason });
    }
    Ok(())
}

/// Refused by its looks already: through `/proc` a working directory could lead out. The
/// supervisor walks the path without magic links as well.
fn check_working_dir(dir: &Path) -> ContainerResult<()> {
    let parents = dir.components().any(|c| c == Component::ParentDir);
    if parents || dir.starts_with("/proc") {
        return Err(ContainerError::InvalidSpec {
            field: "working_dir",
            reason: format!("`{}` leads through `..` or /proc", dir.display()),
        });
    }
    Ok(())
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}
