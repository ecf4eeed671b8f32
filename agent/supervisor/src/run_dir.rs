//! Owns the names and the reading of the files in a container's run directory.

use std::path::Path;
use std::{fs, io};

use prost::Message;

use crate::FORMAT_VERSION;
use crate::wire::{ExitRecord, LaunchSpec, StartedRecord};

/// Held with `flock(2)` by the supervisor for as long as it lives.
pub const LOCK: &str = "lock";
/// A [`LaunchSpec`].
pub const SPEC: &str = "spec";
/// The supervisor's unix socket.
pub const SOCKET: &str = "socket";
/// A [`StartedRecord`]; its existence means that the task may have run (K14).
pub const STARTED: &str = "started";
/// An [`ExitRecord`].
pub const EXIT: &str = "exit";
/// The exit while it is being written.
pub const EXIT_TMP: &str = "exit.tmp";
/// What a supervisor said before it could serve.
pub const STDERR: &str = "stderr";

/// A message that carries its format version as its first field.
pub trait Versioned: Message + Default {
    /// The version it was written with.
    fn format_version(&self) -> u32;
}

impl Versioned for LaunchSpec {
    fn format_version(&self) -> u32 {
        self.format_version
    }
}

impl Versioned for StartedRecord {
    fn format_version(&self) -> u32 {
        self.format_version
    }
}

impl Versioned for ExitRecord {
    fn format_version(&self) -> u32 {
        self.format_version
    }
}

/// Reads a file of the run directory.
///
/// # Errors
/// `InvalidData` for bytes that are not that message, and for a format newer than this program.
pub fn read<M: Versioned>(path: &Path) -> io::Result<M> {
    decode(&fs::read(path)?)
}

/// Decodes the bytes of a file of the run directory. See [`read`].
///
/// # Errors
/// As [`read`].
pub fn decode<M: Versioned>(bytes: &[u8]) -> io::Result<M> {
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    let message = M::decode(bytes).map_err(|e| invalid(e.to_string()))?;
    match message.format_version() {
        0 => Err(invalid("no format version in it".to_owned())),
        v if v > FORMAT_VERSION => {
            Err(invalid(format!("its format {v} is newer than format {FORMAT_VERSION} known here")))
        }
        _ => Ok(message),
    }
}

/// The identity of the present boot, as every file carries it.
///
/// # Errors
/// When `/proc` is not there.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
