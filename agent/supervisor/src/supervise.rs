//! Owns the life of one container from prepared to ended: one loop, one thread, no waiting but in
//! `poll`. Every wish comes as a frame, every fact as a signal, a report or end-of-file.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use proffer_supervisor::FORMAT_VERSION;
use proffer_supervisor::run_dir::{EXIT, EXIT_TMP};
use proffer_supervisor::wire::{
    Body, Done, ExecOutcome, ExitOutcome, ExitRecord, KillPolicy, LaunchFailure, LaunchSpec, Phase,
    StartedRecord, StopCause,
};
use prost::Message as _;

use crate::child::{Failed, Report, read_report};
use crate::exec::Exec;
use crate::launch::{Container, write_started};
use crate::logs::{LogStream, READ_BYTES};
use crate::server::{ConnectionId, Server};
use crate::sys::End;
use crate::{children, sys};

mod converse;

/// How long the last status may take to reach those who watch before the supervisor ends anyway;
/// the exit stands in its file by then.
const FAREWELL_NS: u64 = 1_000_000_000;

/// Pause before another attempt to write the exit file.
const EXIT_RETRY_NS: u64 = 500_000_000;

/// The task's first process.
struct Task {
    pid: i32,
    pidfd: OwnedFd,
    report: Option<OwnedFd>,
    failed: Option<Failed>,
}

/// An end under way.
struct Ending {
    cause: StopCause,
    /// When everything is killed; `None` once it was.
    force_at_ns: Option<u64>,
    forced: bool,
}

/// What the spec says and the loop needs; the rest of it is not kept.
struct Facts {
    container_id: String,
    boot_id: String,
    kill_policy: KillPolicy,
    stop_after_ns: u64,
}

/// One supervisor.
pub(crate) struct Supervisor {
    facts: Facts,
    container: Container,
    logs: [LogStream; 2],
    server: Server,
    /// The agent that made us: before `go` we do not outlive it.
    birth: ConnectionId,
    signals: SignalFd,
    timer: OwnedFd,
    buffer: Vec<u8>,
    phase: Phase,
    go_deadline_ns: u64,
    go_asked: Option<(ConnectionId, u64)>,
    granted_ns: u64,
    task: Option<Task>,
    started_ns: u64,
    ending: Option<Ending>,
    execs: Vec<Exec>,
    init_gone: bool,
    no_children: bool,
    outcome: Option<(ExitOutcome, u64)>,
    exit: Option<ExitRecord>,
    next_exit_attempt_ns: u64,
    farewell_ns: u64,
}

impl Supervisor {
    pub(crate) fn new(
        spec: &LaunchSpec,
        container: Container,
        logs: [LogStream; 2],
        birth: OwnedFd,
    ) -> io::Result<Self> {
        let mut server = Server::bind()?;
        let birth = server.adopt(birth, true);
        let mask = SigSet::all();
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let policy = KillPolicy { signal: libc::SIGTERM, grace_ns: 10_000_000_000 };
        Ok(Self {
            facts: Facts {
                container_id: spec.container_id.clone(),
                boot_id: spec.boot_id.clone(),
                kill_policy: spec.kill_policy.unwrap_or(policy),
                stop_after_ns: spec.stop_after_ns,
            },
            container,
            logs,
            server,
            birth,
            signals,
            timer: sys::boottime_timer()?,
            buffer: vec![0; READ_BYTES],
            phase: Phase::Prepared,
            go_deadline_ns: sys::boottime_ns().saturating_add(spec.go_timeout_ns),
            go_asked: None,
            granted_ns: 0,
            task: None,
            started_ns: 0,
            ending: None,
            execs: Vec::new(),
            init_gone: false,
            no_children: false,
            outcome: None,
            exit: None,
            next_exit_attempt_ns: 0,
            farewell_ns: 0,
        })
    }

    /// Runs until the container has ended or will never start.
    ///
    /// # Errors
    /// Only when the loop itself cannot go on.
    pub(crate) fn run(mut self) -> io::Result<()> {
        self.announce();
        loop {
            sys::set_timer(self.timer.as_fd(), self.next_deadline_ns())?;
            self.wait()?;
            self.read_signals();
            self.server.accept();
            self.server.flush();
            self.receive();
            self.pump();
            let now_ns = sys::boottime_ns();
            self.keep_deadlines(now_ns);
            self.answer_execs();
            self.advance(now_ns);
            let gone = self.server.sweep();
            if self.phase == Phase::Prepared
                && (self.init_gone || gone.contains(&self.birth) || self.go_deadline_ns <= now_ns)
            {
                return self.withdraw();
            }
            let told = self.server.is_flushed() || self.farewell_ns <= now_ns;
            if self.phase == Phase::Failed || (self.phase == Phase::Ended && told) {
                return Ok(());
            }
        }
    }

    /// Nothing was started and nothing will be.
    fn withdraw(&mut self) -> io::Result<()> {
        self.container.kill_all();
        Ok(())
    }

    fn wait(&self) -> io::Result<()> {
        let input = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![
            input(self.signals.as_fd()),
            input(self.timer.as_fd()),
            input(self.server.listener()),
        ];
        for connection in self.server.connections() {
            let mut flags = PollFlags::POLLIN;
            if connection.wants_to_write() {
                flags |= PollFlags::POLLOUT;
            }
            fds.push(PollFd::new(connection.fd(), flags));
        }
        fds.extend(self.logs.iter().filter_map(LogStream::pipe).map(input));
        fds.extend(self.execs.iter().flat_map(Exec::descriptors).map(input));
        fds.extend(self.task.iter().filter_map(|t| t.report.as_ref()).map(|r| input(r.as_fd())));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        // Only its wake-up is of use.
        let _ = nix::unistd::read(&self.timer, &mut [0; 8]);
        Ok(())
    }

    fn next_deadline_ns(&self) -> Option<u64> {
        let go = (self.phase == Phase::Prepared).then_some(self.go_deadline_ns);
        let force = self.ending.as_ref().and_then(|e| e.force_at_ns);
        let farewell = (self.phase == Phase::Ended).then_some(self.farewell_ns);
        let retry = (self.next_exit_attempt_ns > 0).then_some(self.next_exit_attempt_ns);
        let execs = self.execs.iter().filter_map(Exec::deadline_ns);
        let all = [go, force, farewell, retry, self.grant_expires_ns()].into_iter().flatten();
        all.chain(execs).min()
    }

    /// When the task must end for want of a grant (K13).
    fn grant_expires_ns(&self) -> Option<u64> {
        let bound = self.facts.stop_after_ns > 0 && self.is_live() && self.ending.is_none();
        bound.then(|| self.granted_ns.saturating_add(self.facts.stop_after_ns))
    }

    fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Launching | Phase::Running)
    }

    fn keep_deadlines(&mut self, now_ns: u64) {
        if self.grant_expires_ns().is_some_and(|t| t <= now_ns) {
            self.begin_kill(self.facts.kill_policy, StopCause::GrantExpired);
        }
        let force = self.ending.as_ref().and_then(|e| e.force_at_ns);
        if self.is_live() && force.is_some_and(|t| t <= now_ns) {
            self.force();
        }
        for exec in &mut self.execs {
            exec.check_deadline(now_ns);
        }
    }

    // --- processes ---

    fn read_signals(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        loop {
            match sys::reap() {
                Ok(Some((pid, end))) => self.reaped(pid, end),
                Ok(None) => return,
                Err(e) if e.raw_os_error() == Some(libc::ECHILD) => {
                    self.no_children = true;
                    return;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn reaped(&mut self, pid: i32, end: End) {
        if self.container.init_pid() == Some(pid) {
            self.init_gone = true;
        } else if self.task.as_ref().is_some_and(|t| t.pid == pid) {
            self.task_ended(match end {
                End::Code(code) => ExitOutcome::Code(code),
                End::Signal(signal) => ExitOutcome::Signal(signal),
            });
        } else if let Some(exec) = self.execs.iter_mut().find(|e| e.pid == pid) {
            let outcome = match end {
                End::Code(code) => ExecOutcome::Code(code),
                End::Signal(signal) => ExecOutcome::Signal(signal),
            };
            exec.reaped(outcome, &mut self.buffer);
        }
    }

    fn task_ended(&mut self, outcome: ExitOutcome) {
        self.read_task_report();
        let failed = self.task.as_mut().and_then(|t| t.failed.take());
        let outcome = failed.map_or(outcome, |f| ExitOutcome::LaunchFailure(failure(&f)));
        self.outcome = Some((outcome, sys::boottime_ns()));
        self.phase = Phase::Ending;
        self.kill_everything();
    }

    fn kill_everything(&mut self) {
        self.container.kill_all();
        self.execs.iter().for_each(Exec::kill);
        if !self.container.is_isolated() {
            if let Some(task) = &self.task {
                let _ = killpg(Pid::from_raw(task.pid), Signal::SIGKILL);
            }
            // What left its session came to us as its reaper.
            children::kill_all();
        }
    }

    fn read_task_report(&mut self) {
        let Some(task) = &mut self.task else { return };
        let Some(report) = &task.report else { return };
        match read_report(report.as_fd()) {
            Report::Pending => return,
            Report::Failed(failed) => task.failed = Some(failed),
            Report::Executed | Report::Ready => {
                self.phase = Phase::Running;
                self.started_ns = sys::boottime_ns();
            }
        }
        task.report = None;
        if self.phase == Phase::Running {
            let record = StartedRecord {
                format_version: FORMAT_VERSION,
                boot_id: self.facts.boot_id.clone(),
                pid: task.pid as u32,
                started_boottime_ns: self.started_ns,
            };
            // The file is there, which is what counts; its content is for people and reports.
            let _ = write_started(&record);
            self.announce();
        }
        if let Some((connection, request_id)) = self.go_asked.take() {
            self.answer(connection, request_id, Body::Done(Done {}));
        }
    }

    // --- ending ---

    fn begin_kill(&mut self, policy: KillPolicy, cause: StopCause) {
        let force_at_ns = sys::boottime_ns().saturating_add(policy.grace_ns);
        let ending = self.ending.get_or_insert(Ending {
            cause,
            force_at_ns: Some(force_at_ns),
            forced: false,
        });
        ending.force_at_ns = ending.force_at_ns.map(|at| at.min(force_at_ns));
        if policy.grace_ns == 0 {
            self.force();
        } else if let Some(task) = &self.task {
            // Gone already is what is wanted.
            let _ = sys::pidfd_send_signal(task.pidfd.as_fd(), policy.signal);
        }
    }

    fn force(&mut self) {
        if let Some(ending) = &mut self.ending {
            ending.force_at_ns = None;
            ending.forced = true;
        }
        if let Some(task) = &self.task {
            let _ = sys::pidfd_send_signal(task.pidfd.as_fd(), libc::SIGKILL);
        }
        self.kill_everything();
    }

    /// Takes the last steps when nothing is left in the container.
    fn advance(&mut self, now_ns: u64) {
        if self.phase != Phase::Ending || now_ns < self.next_exit_attempt_ns {
            return;
        }
        if !self.container.is_isolated() && !self.no_children {
            children::kill_all();
            return;
        }
        if self.container.is_isolated() && !self.init_gone {
            return;
        }
        let Some((outcome, exited_ns)) = self.outcome.clone() else { return };
        for log in &mut self.logs {
            log.drain(&mut self.buffer);
        }
        let record = ExitRecord {
            format_version: FORMAT_VERSION,
            outcome: Some(outcome),
            cause: self.ending.as_ref().map_or(StopCause::Itself, |e| e.cause) as i32,
            forced: self.ending.as_ref().is_some_and(|e| e.forced),
            started_boottime_ns: self.started_ns,
            exited_boottime_ns: exited_ns,
            log_bytes_dropped: self.logs.iter().map(LogStream::bytes_dropped).sum(),
            boot_id: self.facts.boot_id.clone(),
        };
        if write_exit(&record).is_err() {
            // Without the file an exit could be lost; it is worth waiting for.
            self.next_exit_attempt_ns = now_ns + EXIT_RETRY_NS;
            return;
        }
        self.next_exit_attempt_ns = 0;
        self.exit = Some(record);
        self.phase = Phase::Ended;
        self.farewell_ns = now_ns + FAREWELL_NS;
        self.announce();
    }

    // --- output ---

    fn pump(&mut self) {
        for log in &mut self.logs {
            log.pump(&mut self.buffer);
        }
        for exec in &mut self.execs {
            exec.pump(&mut self.buffer);
        }
        if self.phase == Phase::Launching {
            self.read_task_report();
        }
    }
}

/// The wire form of a failed step.
pub(crate) fn failure(failed: &Failed) -> LaunchFailure {
    LaunchFailure { step: failed.step.words().to_owned(), errno: failed.errno }
}

fn write_exit(record: &ExitRecord) -> io::Result<()> {
    fs::write(EXIT_TMP, record.encode_to_vec())?;
    fs::rename(EXIT_TMP, EXIT)
}
