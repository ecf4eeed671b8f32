//! What a run leaves on the machine under a name: processes, control groups, mounts, sockets,
//! directories. Tests compare it before and after; places of tests remove it.

use crate::processes::pause;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often an emptied control group is tried before it is given up.
const TRIES: u32 = 100;

/// Everything that bears `name`, one line each.
#[must_use]
pub fn of(name: &str) -> Vec<String> {
    let mut found: Vec<String> =
        processes(name).into_iter().map(|(pid, what)| format!("process {pid}: {what}")).collect();
    found.extend(control_groups(name).iter().map(|path| format!("cgroup {}", path.display())));
    found.extend(lines("/proc/self/mountinfo", name).map(|line| format!("mount {line}")));
    found.extend(lines("/proc/net/unix", name).map(|line| format!("socket {line}")));
    for directory in [PathBuf::from("/run/proffer"), std::env::temp_dir()] {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        let named = entries.flatten().map(|it| it.path()).filter(|it| bears(it, name));
        found.extend(named.map(|path| format!("entry {}", path.display())));
    }
    found
}

fn bears(path: &Path, name: &str) -> bool {
    path.file_name().is_some_and(|own| own.to_string_lossy().contains(name))
}

fn lines(path: &str, name: &str) -> impl Iterator<Item = String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter(|line| line.contains(name))
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .into_iter()
}

/// Processes in a control group with `name`, or started with it in their words or environment. This
/// process and those that have ended are none.
#[must_use]
pub fn processes(name: &str) -> Vec<(i32, String)> {
    let own = std::process::id().cast_signed();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let file = |file: &str| {
            let bytes = std::fs::read(entry.path().join(file)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let words = file("cmdline");
        let ended = file("stat").rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'));
        let bears =
            words.contains(name) || file("cgroup").contains(name) || file("environ").contains(name);
        if pid != own && !ended && bears {
            let short: String = words.chars().take(120).collect();
            found.push((pid, short.trim().to_owned()));
        }
    }
    found
}

/// Control groups with `name` in theirs, in every hierarchy, parents before children.
#[must_use]
pub fn control_groups(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(Path::new("/sys/fs/cgroup"), name, 0, &mut found);
    found
}

fn collect(directory: &Path, name: &str, depth: u32, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        // A symbolic link to another controller would be counted twice.
        if !path.is_dir() || path.is_symlink() {
            continue;
        }
        let inside = path.to_string_lossy().contains(name);
        if inside {
            found.push(path.clone());
        }
        if inside || depth < 3 {
            collect(&path, name, depth + 1, found);
        }
    }
}

/// The control group of a process in one hierarchy that limits memory: v1 `memory`, or v2.
#[must_use]
pub fn control_group_of(pid: i32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let of = |wanted: &str| {
        text.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            (parts.next()? == wanted).then(|| parts.next().unwrap_or_default().to_owned())
        })
    };
    of("memory").or_else(|| of(""))
}

/// Ends every process in the control groups of `name` and removes those; removes its entries.
pub fn remove(name: &str) {
    for _ in 0..TRIES {
        for (pid, _) in processes(name) {
            // It may have ended since.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let groups = control_groups(name);
        groups.iter().rev().for_each(|path| drop(std::fs::remove_dir(path)));
        if groups.is_empty() {
            break;
        }
        pause(Duration::from_millis(20));
    }
    for line in lines("/proc/self/mountinfo", name) {
        if let Some(at) = line.split_whitespace().nth(4) {
            let _ = nix::mount::umount(at);
        }
    }
}
