//! Owns the reading of a group's counters: single small files, named by the caller.

use std::fs;
use std::path::Path;

/// A file that holds one number.
pub(super) fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// One value of a file of `key value` lines.
pub(super) fn keyed(path: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(' '));
    line?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_whole_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("memory.events");
        fs::write(&file, "low 0\noom 3\noom_kill 2\noom_group_kill 0\n").unwrap();
        assert_eq!(keyed(&file, "oom_kill"), Some(2));
        assert_eq!(keyed(&file, "oom"), Some(3));
        assert_eq!(keyed(&file, "kill"), None);
        fs::write(&file, "4096\n").unwrap();
        assert_eq!(number(&file), Some(4096));
        fs::write(&file, "max\n").unwrap();
        assert_eq!(number(&file), None);
        assert_eq!(number(&dir.path().join("absent")), None);
    }
}
