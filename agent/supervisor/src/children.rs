//! Owns the search for leftover children where no namespace ends them: at level `process`, what a
//! task leaves behind is re-parented to the supervisor and killed here.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

/// Kills every present child. Their own children come to us next and are found the next time.
pub(crate) fn kill_all() {
    let own = getpid().as_raw();
    let Ok(entries) = fs::read_dir("/proc") else { return };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if parent_of(&stat) == Some(own) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// The parent in a line of `/proc/PID/stat`: second field after the name, which may hold anything.
fn parent_of(stat: &str) -> Option<i32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parent_of;

    #[test]
    fn a_hostile_process_name_does_not_confuse() {
        assert_eq!(parent_of("12 (sh) S 7 12 12 0 -1"), Some(7));
        assert_eq!(parent_of("12 (a) S 9 (b) R 7 12 12 0 -1"), Some(7));
        assert_eq!(parent_of("garbage"), None);
    }
}
