//! Owns safe access to a sandbox. Its task may put anything there, links and pipes included: every
//! path is walked from the sandbox's own directory, name by name, and no link is followed (I12).

use nix::dir::Dir;
use nix::fcntl::AtFlags;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

/// Entries of one listing; more are counted out loud as truncated.
const ENTRIES_MAX: usize = 10_000;
/// Depth of a path: each name costs a system call.
const DEPTH_MAX: usize = 64;

/// What a path leads to.
pub(crate) enum Found {
    /// A regular file, open for reading.
    File(File),
    /// A directory.
    Directory(Directory),
}

/// An open directory of a sandbox.
pub(crate) struct Directory(OwnedFd);

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Entry {
    /// Its name; bytes that are not text are shown as replacement characters.
    pub name: String,
    /// `file`, `directory`, `link` or `other`.
    pub kind: &'static str,
    /// In bytes.
    pub size: u64,
}

/// A listing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Listing {
    /// In order of their names.
    pub entries: Vec<Entry>,
    /// There are more.
    pub truncated: bool,
}

impl Directory {
    /// Opens a sandbox itself; the path above it belongs to the agent.
    ///
    /// # Errors
    /// When it is not there, or no directory.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
        Ok(Self(nix::fcntl::open(path, flags, Mode::empty())?))
    }

    /// Opens what a relative path names.
    ///
    /// # Errors
    /// `InvalidInput` when the path could lead out or through a link, or to a pipe or device.
    pub(crate) fn find(self, path: &Path) -> io::Result<Found> {
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => names.push(name),
                Component::CurDir | Component::RootDir => {}
                Component::ParentDir | Component::Prefix(_) => return Err(leads_out()),
            }
        }
        if names.len() > DEPTH_MAX {
            return Err(leads_out());
        }
        let mut at = self.0;
        for (index, name) in names.iter().enumerate() {
            let last = index + 1 == names.len();
            at = open_below(&at, name, last)?;
        }
        match kind_of(&fstat(&at)?) {
            "directory" => Ok(Found::Directory(Self(at))),
            "file" => Ok(Found::File(File::from(at))),
            _ => Err(leads_out()),
        }
    }

    /// Opens a regular file in this directory.
    ///
    /// # Errors
    /// As [`Self::find`]; also when it is a directory.
    pub(crate) fn file(&self, name: &str) -> io::Result<File> {
        let opened = open_below(&self.0, name.as_ref(), true)?;
        match kind_of(&fstat(&opened)?) {
            "file" => Ok(File::from(opened)),
            _ => Err(leads_out()),
        }
    }

    /// What is in it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn list(&self) -> io::Result<Listing> {
        let again = self.0.try_clone()?;
        let mut directory = Dir::from_fd(again)?;
        let mut entries = Vec::new();
        let mut truncated = false;
        for entry in directory.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if entries.len() == ENTRIES_MAX {
                truncated = true;
                break;
            }
            // One that went away meanwhile is not in it any more.
            let Ok(stat) = fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
            entries.push(Entry {
                name: name.to_string_lossy().into_owned(),
                kind: kind_of(&stat),
                size: u64::try_from(stat.st_size).unwrap_or(0),
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Listing { entries, truncated })
    }
}

fn open_below(at: &OwnedFd, name: &std::ffi::OsStr, last: bool) -> io::Result<OwnedFd> {
    // Without O_NONBLOCK a pipe would hold us until somebody writes into it.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let flags = if last { flags } else { flags | OFlag::O_DIRECTORY };
    openat(at.as_fd(), name, flags, Mode::empty())
        .map_err(|error| if error == nix::errno::Errno::ELOOP { leads_out() } else { error.into() })
}

fn leads_out() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "the path leads through a link, out of the sandbox, or to no plain file",
    )
}

fn kind_of(stat: &FileStat) -> &'static str {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => "file",
        SFlag::S_IFDIR => "directory",
        SFlag::S_IFLNK => "link",
        _ => "other",
    }
}

/// The last lines of a file, at most `bytes_max` of it.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn tail(file: &mut File, lines_max: usize, bytes_max: u64) -> io::Result<String> {
    let length = file.seek(SeekFrom::End(0))?;
    let from = length.saturating_sub(bytes_max);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_end();
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(lines_max)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn find(root: &Path, path: &str) -> io::Result<Found> {
        Directory::open(root)?.find(Path::new(path))
    }

    #[test]
    fn i12_no_path_leads_out_of_a_sandbox() {
        let outer = tempfile::tempdir().unwrap();
        std::fs::write(outer.path().join("secret"), "s").unwrap();
        let root = outer.path().join("sandbox");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/b/file"), "hello").unwrap();
        symlink("../secret", root.join("link")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink(root.join("a"), root.join("inside")).unwrap();
        nix::unistd::mkfifo(&root.join("pipe"), Mode::S_IRWXU).unwrap();
        for bad in ["../secret", "link", "up/secret", "a/../../secret", "inside/b/file", "pipe"] {
            assert!(find(&root, bad).is_err(), "{bad}");
        }
        for good in ["a/b/file", "/a/b/file", "./a/./b/file"] {
            let Ok(Found::File(mut file)) = find(&root, good) else { panic!("{good}") };
            assert_eq!(tail(&mut file, 9, 99).unwrap(), "hello");
        }
        let Ok(Found::Directory(directory)) = find(&root, "") else { panic!("the sandbox itself") };
        let kinds: Vec<_> =
            directory.list().unwrap().entries.iter().map(|e| (e.name.clone(), e.kind)).collect();
        let expected = [
            ("a", "directory"),
            ("inside", "link"),
            ("link", "link"),
            ("pipe", "other"),
            ("up", "link"),
        ];
        assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind)));
    }

    #[test]
    fn a_tail_is_bounded_in_lines_and_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "one\ntwo\nthree\n\n").unwrap();
        let mut file = File::open(&path).unwrap();
        assert_eq!(tail(&mut file, 2, 100).unwrap(), "two\nthree");
        assert_eq!(tail(&mut file, 9, 6).unwrap(), "hree", "bytes are counted first");
    }
}
