//! The token that a master on this machine asks for: made at its start, kept in a file for its user
//! alone, found again by the address.

use crate::exit::{ExitCode, Failure};
use crate::runtime_dir;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file with a token.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(ExitCode::Denied, format!("{}: cannot read the token", path.display()))
            .cause(error.to_string())
    })?;
    Ok(text.trim().to_owned())
}

/// Where a master at `address` leaves its token.
pub(crate) fn path_for(address: &str) -> Option<PathBuf> {
    let port = address.rsplit_once(':')?.1.trim_end_matches('/').parse::<u16>().ok()?;
    Some(runtime_dir::path().join(format!("{port}.token")))
}

/// What to show a master at one of `addresses`.
pub(crate) fn find(given: Option<&Path>, addresses: &[String]) -> Result<Option<String>, Failure> {
    if let Some(path) = given {
        return read(path).map(Some);
    }
    let left = addresses.iter().filter_map(|address| path_for(address)).find(|path| path.exists());
    left.map(|path| read(&path)).transpose()
}

/// Leaves `token` for those who look for the master at `address`; the file goes with the guard.
pub(crate) fn publish(address: SocketAddr, token: &str) -> Result<Published, Failure> {
    let path = runtime_dir::create()?.join(format!("{}.token", address.port()));
    write_private(&path, token)?;
    Ok(Published { path })
}

/// Writes a file that only this user can read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let wrong = |error: std::io::Error| {
        Failure::new(ExitCode::Error, format!("{}: cannot be written", path.display()))
            .cause(error.to_string())
    };
    // A file of an earlier run may have other rights: begin with a new one.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(wrong(error)),
        Ok(()) | Err(_) => {}
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(wrong)?;
    writeln!(file, "{text}").map_err(wrong)
}

/// A token file that lives as long as this.
pub(crate) struct Published {
    path: PathBuf,
}

impl Published {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        // It may be gone already; a stale token opens nothing.
        let _ = std::fs::remove_file(&self.path);
    }
}
