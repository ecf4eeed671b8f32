//! Owns how programs of one machine find a master's token without being told: the master leaves it in
//! a directory of its user, and holds a lock on the file for as long as it lives. A file that nobody
//! holds is of a dead master: whoever listens at that address now is somebody else.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

use crate::client::Address;
use crate::token::{Token, Tokens};

/// Of root, and of all services of the machine below it.
const SYSTEM: &str = "/run/proffer";

/// Where the master of the shipped systemd unit leaves its token.
const SYSTEM_MASTER: &str = "/run/proffer/master";

const SUFFIX: &str = ".token";

/// The directory cannot be used, or a file in it.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Someone else may put files there.
    #[error("{path}: must be a directory of this user that nobody else may write to", path = path.display())]
    NotOwn {
        /// The directory.
        path: PathBuf,
    },
    /// The disk says no.
    #[error("{action} {path}", path = path.display())]
    Disk {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

fn disk(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> LocalError {
    let path = path.to_owned();
    move |source| LocalError::Disk { action, path, source }
}

/// The directory of this user: `/run/proffer` for root; else that of the systemd unit, of the login
/// session, or one below the directory for temporary files.
#[must_use]
pub fn directory() -> PathBuf {
    let user = Uid::effective();
    if user.is_root() {
        return PathBuf::from(SYSTEM);
    }
    let in_variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(of_unit) = in_variable("RUNTIME_DIRECTORY") {
        return PathBuf::from(of_unit);
    }
    match in_variable("XDG_RUNTIME_DIR") {
        Some(of_session) => PathBuf::from(of_session).join("proffer"),
        None => std::env::temp_dir().join(format!("proffer-{user}")),
    }
}

/// The same, made if it is missing.
///
/// # Errors
/// If it cannot be made, or others may write to it.
pub fn make_directory() -> Result<PathBuf, LocalError> {
    let path = directory();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
    made.map_err(disk("make", &path))?;
    let meta = std::fs::symlink_metadata(&path).map_err(disk("look at", &path))?;
    let is_own = meta.uid() == Uid::effective().as_raw();
    if !meta.is_dir() || !is_own || meta.permissions().mode() & 0o022 != 0 {
        return Err(LocalError::NotOwn { path });
    }
    Ok(path)
}

/// A token that is left for others of this machine as long as this lives.
#[derive(Debug)]
pub struct Left {
    path: PathBuf,
    _lock: File,
}

impl Drop for Left {
    fn drop(&mut self) {
        // It may be gone already; without the lock it opens nothing anyway.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Leaves `token` (mode 0600) for those who look for the master that listens at `address`. `None`: this
/// machine does not reach it on loopback, so nobody would look.
///
/// # Errors
/// If the file cannot be written.
pub fn leave(address: SocketAddr, token: &Token) -> Result<Option<Left>, LocalError> {
    let Some(address) = on_loopback(address) else { return Ok(None) };
    let directory = make_directory()?;
    let path = directory.join(format!("{address}{SUFFIX}"));
    let unfinished = directory.join(format!(".{address}.{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(disk("write", &unfinished))?;
    // Locked before it has its name: whoever finds it finds it held.
    file.lock()
        .and_then(|()| writeln!(file, "{}", token.reveal()))
        .and_then(|()| std::fs::rename(&unfinished, &path))
        .map_err(disk("write", &path))?;
    Ok(Some(Left { path, _lock: file }))
}

fn on_loopback(mut address: SocketAddr) -> Option<SocketAddr> {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address.ip().is_loopback().then_some(address)
}

/// The token that a living master at one of `addresses` has left. Nothing unless all of them are on
/// loopback: elsewhere somebody else could be listening, and gets only what he is meant to get.
pub(crate) fn find(addresses: &[Address]) -> Option<Token> {
    let at: Option<Vec<Vec<SocketAddr>>> = addresses.iter().map(loopback_addresses).collect();
    let places = [directory(), PathBuf::from(SYSTEM_MASTER)];
    let names = at?.into_iter().flatten().map(|address| format!("{address}{SUFFIX}"));
    let mut paths = names.flat_map(|name| places.each_ref().map(|place| place.join(&name)));
    paths.find_map(|path| read_held(&path))
}

/// What a host means on this machine; `None` if it is, or may be, another machine.
fn loopback_addresses(address: &Address) -> Option<Vec<SocketAddr>> {
    let hosts = match address.host() {
        "localhost" => vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
        host => vec![host.parse::<IpAddr>().ok().filter(IpAddr::is_loopback)?],
    };
    Some(hosts.into_iter().map(|host| SocketAddr::new(host, address.port())).collect())
}

fn read_held(path: &Path) -> Option<Token> {
    let mut file = File::open(path).ok()?;
    if !is_held(&file) {
        tracing::debug!(path = %path.display(), "the master that left this token is gone");
        return None;
    }
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    Tokens::parse(&text, path, "local").ok()?.first().cloned()
}

fn is_held(file: &File) -> bool {
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// The files in this user's directory whose masters are gone.
#[must_use]
pub fn forgotten() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory()) else { return Vec::new() };
    let mut paths: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(SUFFIX))
        .filter(|path| File::open(path).is_ok_and(|file| !is_held(&file)))
        .collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_hosts_are_of_this_machine() {
        let of = |text: &str| loopback_addresses(&text.parse().unwrap());
        assert_eq!(of("127.0.0.2:7330").unwrap(), ["127.0.0.2:7330".parse().unwrap()]);
        assert_eq!(of("https://[::1]:1").unwrap(), ["[::1]:1".parse().unwrap()]);
        assert_eq!(of("localhost:7330").unwrap().len(), 2);
        for other in ["10.0.0.1:7330", "typo.example:7330", "localhost.example:1", "0.0.0.0:1"] {
            assert_eq!(of(other), None, "{other}");
        }
        assert_eq!(on_loopback("0.0.0.0:5".parse().unwrap()), Some(([127, 0, 0, 1], 5).into()));
        assert_eq!(on_loopback("10.0.0.1:5".parse().unwrap()), None);
    }

    #[test]
    fn a_file_is_believed_only_while_its_master_holds_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.token");
        let master = File::create(&path).unwrap();
        std::fs::write(&path, "0123456789abcdef0\n").unwrap();
        assert!(read_held(&path).is_none(), "of a dead master");
        master.lock().unwrap();
        assert!(read_held(&path).unwrap().matches("0123456789abcdef0"));
        drop(master);
        assert!(read_held(&path).is_none());
    }
}
