//! Owns the supervisor program carried inside this one: a sealed file in memory, and its spawning.
//!
//! Sealed, so that nobody who gets hold of `/proc/PID/exe` can change what other supervisors run;
//! in memory, so that an upgrade of the agent's file changes nothing under a running supervisor;
//! one file for all, so that they share their pages.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::process::{Child, Command};

const PROGRAM: &[u8] = include_bytes!(env!("PROFFER_SUPERVISOR"));

/// The program's file in memory, made at first use.
fn program() -> io::Result<&'static OwnedFd> {
    static FILE: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(file) = FILE.get() {
        return Ok(file);
    }
    let file = make_file()?;
    Ok(FILE.get_or_init(|| file))
}

fn make_file() -> io::Result<OwnedFd> {
    let base = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // Asked for where the kernel knows it: some are set to make memory files not executable.
    let executable = base | MFdFlags::from_bits_retain(libc::MFD_EXEC);
    let fd = match memfd_create("proffer-supervisor", executable) {
        Err(Errno::EINVAL) => memfd_create("proffer-supervisor", base)?,
        other => other?,
    };
    let mut file = File::from(fd);
    file.write_all(PROGRAM)?;
    let seals = SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

/// Starts a supervisor for this run directory with `birth` as its end of the first connection.
///
/// Only what `posix_spawn` can do is asked for (no `pre_exec`, no user): a fork of a large agent
/// would stop it for tens of milliseconds. The supervisor moves itself where it belongs.
///
/// # Errors
/// When no process or no file can be made.
pub(super) fn spawn(run_dir: &Path, birth: UnixStream, stderr: File) -> io::Result<Child> {
    let path = format!("/proc/self/fd/{}", program()?.as_raw_fd());
    Command::new(path)
        .arg0("proffer-supervisor")
        .arg(run_dir)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(birth)))
        .stdout(Stdio::null())
        .stderr(Stdio::from(stderr))
        .kill_on_drop(false)
        .spawn()
}
