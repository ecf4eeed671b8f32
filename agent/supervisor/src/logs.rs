//! Owns the kept output of a task: two pipes read, two rotated files in the sandbox written.
//!
//! The task may write its sandbox, so nothing found there is trusted: files are opened without
//! following links and must be regular. A write that fails drops output, counts it and says so in
//! the file when writing works again; it never stops or kills the task.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, ftruncate, unlinkat};
use proffer_supervisor::wire::LogLimits;

/// Read at once. One static buffer serves both streams: it is private memory of every supervisor.
pub(crate) const READ_BYTES: usize = 16 << 10;

/// Reads in one turn of the loop, so that a flood on one stream does not starve the rest.
const READS_PER_TURN: usize = 4;

/// One stream of a task.
pub(crate) struct LogStream {
    pipe: Option<OwnedFd>,
    file: RotatedFile,
}

impl LogStream {
    pub(crate) fn new(pipe: OwnedFd, file: RotatedFile) -> Self {
        Self { pipe: Some(pipe), file }
    }

    /// The pipe to poll, until its other end is closed.
    pub(crate) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn bytes_dropped(&self) -> u64 {
        self.file.dropped_total
    }

    /// Moves what is there, at most a turn's worth; true if there may be more.
    pub(crate) fn pump(&mut self, buffer: &mut [u8]) -> bool {
        for _ in 0..READS_PER_TURN {
            let Some(pipe) = &self.pipe else { return false };
            match nix::unistd::read(pipe, buffer) {
                Ok(0) => self.pipe = None,
                Ok(n) => self.file.append(&buffer[..n]),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return false,
                Err(_) => self.pipe = None,
            }
        }
        self.pipe.is_some()
    }

    /// Moves all that is there. What a process outside the container may still write into the pipe
    /// is not waited for; the pipe's size bounds the work.
    pub(crate) fn drain(&mut self, buffer: &mut [u8]) {
        /// Far above any pipe's size over [`READ_BYTES`] times the reads of a turn.
        const TURNS_MAX: usize = 64;
        for _ in 0..TURNS_MAX {
            if !self.pump(buffer) {
                break;
            }
        }
        self.file.finish();
        self.pipe = None;
    }
}

/// A file of bounded size with a bounded number of older ones: `NAME`, `NAME.1`, …
pub(crate) struct RotatedFile {
    directory: OwnedFd,
    name: &'static str,
    file: Option<File>,
    size: u64,
    limits: LogLimits,
    owner: (Uid, Gid),
    dropped: u64,
    dropped_total: u64,
}

impl RotatedFile {
    /// Opens the current file, going on after what it holds.
    pub(crate) fn open(
        directory: OwnedFd,
        name: &'static str,
        limits: LogLimits,
        owner: (Uid, Gid),
    ) -> io::Result<Self> {
        let mut this = Self {
            directory,
            name,
            file: None,
            size: 0,
            limits,
            owner,
            dropped: 0,
            dropped_total: 0,
        };
        this.reopen()?;
        Ok(this)
    }

    fn reopen(&mut self) -> io::Result<()> {
        let flags = OFlag::O_WRONLY
            | OFlag::O_APPEND
            | OFlag::O_CREAT
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_CLOEXEC;
        let fd = openat(&self.directory, self.name, flags, Mode::from_bits_truncate(0o644))?;
        let stat = fstat(&fd)?;
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        if kind != SFlag::S_IFREG || stat.st_nlink != 1 {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        // The task's own user may read it and its sandbox can be removed as one; root may do
        // without where that is not permitted.
        let _ = fchown(&fd, Some(self.owner.0), Some(self.owner.1));
        self.size = u64::try_from(stat.st_size).unwrap_or(0);
        self.file = Some(File::from(fd));
        Ok(())
    }

    fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.size >= self.limits.bytes_per_file_max {
                self.rotate();
            }
            if self.file.is_none() && self.reopen().is_err() {
                return self.drop_bytes(bytes.len());
            }
            if self.dropped > 0 && !self.write_marker() {
                return self.drop_bytes(bytes.len());
            }
            let room = self.limits.bytes_per_file_max.saturating_sub(self.size);
            let take = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            let written = self.write(&bytes[..take]);
            bytes = &bytes[written..];
            if written < take {
                return self.drop_bytes(bytes.len());
            }
        }
    }

    /// Says how much was lost, where it was lost.
    fn write_marker(&mut self) -> bool {
        let marker = format!("\n[{} bytes of output were lost: writing failed]\n", self.dropped);
        let complete = self.write(marker.as_bytes()) == marker.len();
        if complete {
            self.dropped = 0;
        }
        complete
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        let Some(file) = &mut self.file else { return 0 };
        let mut done = 0;
        while done < bytes.len() {
            match file.write(&bytes[done..]) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.size += done as u64;
        done
    }

    fn drop_bytes(&mut self, count: usize) {
        self.dropped += count as u64;
        self.dropped_total += count as u64;
    }

    fn finish(&mut self) {
        if self.dropped > 0 {
            self.write_marker();
        }
    }

    /// Shifts the older files by one and begins a new one. If the task put something in the way,
    /// the current file is emptied instead: the bound holds in any case.
    fn rotate(&mut self) {
        let numbered = |n: u32| format!("{}.{n}", self.name);
        let mut shifted = self.limits.files_max > 1;
        for n in (1..self.limits.files_max).rev() {
            let from = if n == 1 { self.name.to_owned() } else { numbered(n - 1) };
            let result =
                renameat(&self.directory, from.as_str(), &self.directory, numbered(n).as_str());
            if n == 1 && result.is_err() {
                shifted = false;
            }
        }
        if shifted {
            self.file = None;
            self.size = 0;
        } else if let Some(file) = &self.file {
            if ftruncate(file, 0).is_err() {
                let _ = unlinkat(&self.directory, self.name, UnlinkatFlags::NoRemoveDir);
                self.file = None;
            }
            self.size = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("proffer-logs-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn file(&self, max: u64, files: u32) -> RotatedFile {
            let directory = OwnedFd::from(File::open(&self.0).unwrap());
            let limits = LogLimits { bytes_per_file_max: max, files_max: files };
            RotatedFile::open(directory, "stdout", limits, (Uid::current(), Gid::current()))
                .unwrap()
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.0.join(name)).unwrap()
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn files_are_bounded_in_size_and_number() {
        let dir = Dir::new("bound");
        let mut file = dir.file(4, 3);
        file.append(b"aaaabbbbccccddddee");
        assert_eq!(dir.read("stdout"), "ee");
        assert_eq!(dir.read("stdout.1"), "dddd");
        assert_eq!(dir.read("stdout.2"), "cccc");
        assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 3);
    }

    #[test]
    fn one_file_is_emptied_when_full() {
        let dir = Dir::new("single");
        let mut file = dir.file(4, 1);
        file.append(b"aaaabb");
        assert_eq!(dir.read("stdout"), "bb");
        assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_in_the_way_does_not_break_the_bound() {
        let dir = Dir::new("way");
        fs::create_dir_all(dir.0.join("stdout.1/full")).unwrap();
        let mut file = dir.file(4, 2);
        file.append(b"aaaabbbbcc");
        assert_eq!(dir.read("stdout"), "cc");
    }

    #[test]
    fn a_link_in_the_way_is_never_followed() {
        let dir = Dir::new("link");
        let canary = dir.0.join("canary");
        fs::write(&canary, "safe").unwrap();
        let mut file = dir.file(4, 2);
        file.append(b"aaaa");
        fs::rename(dir.0.join("stdout"), dir.0.join("old")).unwrap();
        std::os::unix::fs::symlink(&canary, dir.0.join("stdout")).unwrap();
        file.append(b"bbbb");
        assert_eq!(fs::read_to_string(&canary).unwrap(), "safe");
        let _ = fs::remove_file(dir.0.join("stdout"));
    }

    #[test]
    fn a_failed_write_is_counted_and_marked_once_writing_works() {
        let dir = Dir::new("full");
        let mut file = dir.file(1000, 2);
        file.file = Some(File::options().write(true).open("/dev/full").unwrap());
        file.append(b"lost!");
        assert_eq!(file.dropped_total, 5);
        file.file = None;
        file.append(b"kept");
        assert_eq!(dir.read("stdout"), "\n[5 bytes of output were lost: writing failed]\nkept");
        assert_eq!((file.dropped, file.dropped_total), (0, 5));
    }
}
