//! The supervisor: one small process that keeps one container, and outlives the agent (K14).
//!
//! Started by the agent as `proffer-supervisor RUN_DIR` with a connected socket as standard input.
//! It prepares everything from the spec in that directory, waits for `go`, executes the task once,
//! keeps its output, enforces its deadlines, and writes its exit.

mod child;
mod children;
mod exec;
mod image;
mod init;
mod launch;
mod logs;
mod server;
mod supervise;
mod sys;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{FcntlArg, Flock, FlockArg, OFlag, fcntl};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use proffer_supervisor::run_dir::{self, EXIT, LOCK, SPEC, STARTED};
use proffer_supervisor::step::Step;
use proffer_supervisor::wire::{Body, LaunchSpec, Phase, Status};

use crate::child::{At, Failed};
use crate::launch::{Container, GoesOn};
use crate::supervise::{Supervisor, failure};

fn main() -> std::process::ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: proffer-supervisor RUN_DIR, with a socket as standard input");
        return 2.into();
    };
    match supervise(Path::new(&directory)) {
        Ok(()) => 0.into(),
        Err(e) => {
            eprintln!("proffer-supervisor in {}: {e}", Path::new(&directory).display());
            1.into()
        }
    }
}

fn supervise(directory: &Path) -> io::Result<()> {
    std::env::set_current_dir(directory)?;
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(LOCK)?;
    let mut lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| e)?;
    let birth = take_birth_socket()?;
    let spec = match begin() {
        Ok(Some(spec)) => spec,
        Ok(None) => {
            // Dropped, it would be unlocked for the sibling as well.
            std::mem::forget(lock);
            return Ok(());
        }
        Err(failed) => {
            tell_failure(&birth, &failed);
            return Ok(());
        }
    };
    // For whoever must end a supervisor that hangs; while the lock is held the number is ours.
    writeln!(lock, "{}", std::process::id())?;
    become_supervisor()?;
    match Container::prepare(&spec) {
        Ok((container, logs)) => Supervisor::new(&spec, container, logs, birth)?.run(),
        Err(failed) => {
            tell_failure(&birth, &failed);
            Ok(())
        }
    }
}

/// Standard input is the connection to the agent; in its place comes `/dev/null`, for the task too.
fn take_birth_socket() -> io::Result<OwnedFd> {
    let birth = io::stdin().as_fd().try_clone_to_owned()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    fcntl(&birth, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(birth)
}

fn become_supervisor() -> io::Result<()> {
    sys::set_process_name(c"proffer-superv");
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    nix::unistd::setsid()?;
    sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0)?;
    // A task of the same user must not be able to trace it.
    sys::prctl(libc::PR_SET_DUMPABLE, 0, 0)?;
    Ok(())
}

/// Reads the spec and goes where supervisors belong; `None` when a sibling goes on, which has the lock
/// and the connection as well.
fn begin() -> Result<Option<LaunchSpec>, Failed> {
    let spec: LaunchSpec = run_dir::read(Path::new(SPEC)).at(Step::ReadSpec)?;
    let this_boot = run_dir::boot_id().at(Step::ReadSpec)?;
    if spec.boot_id != this_boot || Path::new(STARTED).exists() || Path::new(EXIT).exists() {
        // Launched before, or made for an earlier boot: never again (K14).
        return Err(Failed { step: Step::MarkStarted, errno: libc::EEXIST });
    }
    let goes_on = match &spec.supervisor_cgroup {
        Some(join) => launch::enter_supervisor_cgroup(join)?,
        None => GoesOn::This,
    };
    Ok(match goes_on {
        GoesOn::This => Some(spec),
        GoesOn::Sibling => None,
    })
}

/// The only thing said when there will be no container; the agent reads it and cleans up.
fn tell_failure(birth: &OwnedFd, failed: &Failed) {
    let status = Status {
        phase: Phase::Failed as i32,
        supervisor_pid: std::process::id(),
        failure: Some(failure(failed)),
        ..Default::default()
    };
    let mut bytes = Vec::new();
    proffer_supervisor::frame::encode(0, Body::Status(status), &mut bytes);
    // Far below what a fresh socket takes at once; if the agent is gone nobody needs to know.
    let _ = nix::unistd::write(birth, &bytes);
}
