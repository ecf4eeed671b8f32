//! Owns commands run inside a running container: their processes, output and timeouts.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use proffer_supervisor::wire::{ExecOutcome, ExecResult, LaunchFailure};

use crate::child::{Failed, Report, read_report};
use crate::server::ConnectionId;
use crate::sys;

/// Commands at once in one container.
pub(crate) const EXECS_MAX: usize = 8;

/// Most output kept of one command, whatever is asked for: it must fit a frame.
pub(crate) const OUTPUT_BYTES_MAX: usize = 256 << 10;

/// One command.
pub(crate) struct Exec {
    pub(crate) connection: ConnectionId,
    pub(crate) request_id: u64,
    pub(crate) pid: i32,
    pidfd: OwnedFd,
    output: Option<OwnedFd>,
    report: Option<OwnedFd>,
    kept: Vec<u8>,
    kept_max: usize,
    truncated: bool,
    deadline_ns: Option<u64>,
    timed_out: bool,
    failed: Option<Failed>,
    ended: Option<ExecOutcome>,
}

/// What a started command is made of.
pub(crate) struct Started {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) output: OwnedFd,
    pub(crate) report: OwnedFd,
}

impl Exec {
    pub(crate) fn new(
        asked_by: (ConnectionId, u64),
        started: Started,
        kept_max: u32,
        deadline_ns: Option<u64>,
    ) -> Self {
        Self {
            connection: asked_by.0,
            request_id: asked_by.1,
            pid: started.pid,
            pidfd: started.pidfd,
            output: Some(started.output),
            report: Some(started.report),
            kept: Vec::new(),
            kept_max: (kept_max as usize).min(OUTPUT_BYTES_MAX),
            truncated: false,
            deadline_ns,
            timed_out: false,
            failed: None,
            ended: None,
        }
    }

    /// Descriptors to poll.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.output.iter().chain(&self.report).map(AsFd::as_fd)
    }

    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        self.deadline_ns.filter(|_| !self.timed_out)
    }

    /// Reads what is there.
    pub(crate) fn pump(&mut self, buffer: &mut [u8]) {
        if let Some(report) = &self.report {
            match read_report(report.as_fd()) {
                Report::Pending => {}
                Report::Failed(failed) => {
                    self.failed = Some(failed);
                    self.report = None;
                }
                Report::Executed | Report::Ready => self.report = None,
            }
        }
        /// Reads in one turn of the loop.
        const READS_PER_TURN: usize = 4;
        for _ in 0..READS_PER_TURN {
            let Some(output) = &self.output else { return };
            match nix::unistd::read(output, buffer) {
                Ok(0) => self.output = None,
                Ok(n) => self.keep(&buffer[..n]),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => self.output = None,
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.kept_max - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.truncated |= bytes.len() > room;
    }

    /// Kills it and its process group when its time is over.
    pub(crate) fn check_deadline(&mut self, now_ns: u64) {
        if self.deadline_ns().is_some_and(|d| d <= now_ns) {
            self.timed_out = true;
            self.kill();
        }
    }

    pub(crate) fn kill(&self) {
        let _ = killpg(Pid::from_raw(self.pid), Signal::SIGKILL);
        let _ = sys::pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL);
    }

    /// Its process was reaped.
    pub(crate) fn reaped(&mut self, outcome: ExecOutcome, buffer: &mut [u8]) {
        self.pump(buffer);
        self.ended = Some(outcome);
    }

    /// The answer, once it has ended. Its output so far is all: what a process left behind by it
    /// writes later is not waited for.
    pub(crate) fn result(&mut self, buffer: &mut [u8]) -> Option<ExecResult> {
        let ended = self.ended.clone()?;
        self.pump(buffer);
        let outcome = match (&self.failed, self.timed_out) {
            (Some(failed), _) => ExecOutcome::LaunchFailure(LaunchFailure {
                step: failed.step.words().to_owned(),
                errno: failed.errno,
            }),
            (None, true) => ExecOutcome::TimedOut(true),
            (None, false) => ended,
        };
        let output = std::mem::take(&mut self.kept);
        Some(ExecResult { outcome: Some(outcome), output, truncated: self.truncated })
    }
}
