//! Owns a containerizer that keeps everything in memory, for tests of the agent.
//!
//! It keeps the trait's promises and passes the same suite as the real one. What a task does is
//! scripted by its `argv` (see [`Script`]) or by [`FakeContainerizer::finish`]. Time does not pass
//! by itself: graces and `stop_after` run out when [`FakeContainerizer::advance`] says so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::{
    BootTime, ContainerError, ContainerEvent, ContainerExit, ContainerId, ContainerResult,
    ContainerSpec, Containerizer, EVENT_CHANNEL_SIZE, ExecExit, ExecOutput, ExecRequest, Isolation,
    IsolationLevel, KillPolicy, Outcome, PreparedContainer, Recovered, RecoveredState, Recovery,
    StopCause, Usage, check_signal,
};

/// What a fake task does, read from its `argv`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Script {
    /// `fake exit CODE`: ends at once.
    Exit(i32),
    /// `fake signal NUMBER`: is ended by that signal at once.
    Signal(i32),
    /// `fake oom`: is killed for want of memory at once.
    Oom,
    /// `fake missing`: there is no such program.
    Missing,
    /// `fake ignore-term`: runs, and only a kill ends it.
    IgnoreTerm,
    /// Anything else: runs until a signal.
    Run,
}

impl Script {
    fn read(argv: &[String]) -> Self {
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["fake", "exit", code] => Self::Exit(code.parse().unwrap_or(0)),
            ["fake", "signal", number] => Self::Signal(number.parse().unwrap_or(libc::SIGTERM)),
            ["fake", "oom"] => Self::Oom,
            ["fake", "missing"] => Self::Missing,
            ["fake", "ignore-term"] => Self::IgnoreTerm,
            _ => Self::Run,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Prepared,
    Running { pid: u32, started_at: BootTime },
    Ended(ContainerExit),
}

#[derive(Debug, Clone)]
struct Fake {
    spec: ContainerSpec,
    state: State,
    granted_at: BootTime,
    force_at: Option<BootTime>,
    cause: StopCause,
}

/// What outlives a fake agent: hand it to [`FakeContainerizer::on`] to play a restart.
#[derive(Debug, Clone, Default)]
pub struct FakeMachine(Arc<Mutex<Machine>>);

#[derive(Debug, Default)]
struct Machine {
    containers: BTreeMap<ContainerId, Fake>,
    now: BootTime,
    next_pid: u32,
    /// Every container whose task was executed, once for each time.
    launches: Vec<ContainerId>,
    /// Where events go; a restarted agent replaces it.
    events: Option<mpsc::Sender<ContainerEvent>>,
    /// Containers whose exits are reported to the present agent.
    adopted: Vec<ContainerId>,
}

/// See the module.
pub struct FakeContainerizer {
    machine: FakeMachine,
    isolation: Isolation,
}

impl FakeContainerizer {
    /// On a machine of its own.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<ContainerEvent>) {
        Self::on(FakeMachine::default())
    }

    /// On a machine that may hold containers already. Prepared ones withdraw, as their agent is
    /// gone.
    #[must_use]
    pub fn on(machine: FakeMachine) -> (Self, mpsc::Receiver<ContainerEvent>) {
        let (events, receiver) = mpsc::channel(EVENT_CHANNEL_SIZE);
        {
            let mut inner = machine.lock();
            inner.events = Some(events);
            inner.adopted.clear();
            for fake in inner.containers.values_mut().filter(|f| f.state == State::Prepared) {
                fake.state = State::Ended(ended(Outcome::NeverStarted, StopCause::Itself));
            }
        }
        let isolation = Isolation { level: IsolationLevel::Full, withheld: Vec::new() };
        (Self { machine, isolation }, receiver)
    }

    /// The machine, to play a restart of the agent on.
    #[must_use]
    pub fn machine(&self) -> FakeMachine {
        self.machine.clone()
    }

    /// Ends a running container in this way.
    ///
    /// # Errors
    /// When there is none.
    pub fn finish(
        &self,
        id: &ContainerId,
        outcome: Outcome,
        oom_killed: bool,
    ) -> ContainerResult<()> {
        let mut machine = self.machine.lock();
        let unknown = || ContainerError::Unknown { id: id.clone() };
        let fake = machine.containers.get(id).ok_or_else(unknown)?;
        let exit = ContainerExit { oom_killed, ..ended(outcome, fake.cause) };
        machine.end(id, exit);
        Ok(())
    }

    /// Lets time pass: graces and `stop_after` run out.
    pub fn advance(&self, by: Duration) {
        let mut machine = self.machine.lock();
        machine.now.0 = machine.now.0.saturating_add(nanoseconds(by));
        let now = machine.now;
        let ids: Vec<ContainerId> = machine.containers.keys().cloned().collect();
        for id in ids {
            let Some(fake) = machine.containers.get_mut(&id) else { continue };
            let expires = fake.spec.stop_after.map(|t| fake.granted_at.0 + nanoseconds(t));
            let running = matches!(fake.state, State::Running { .. });
            let forced = fake.force_at.is_some_and(|at| at <= now);
            if running && fake.force_at.is_none() && expires.is_some_and(|at| at <= now.0) {
                let policy = fake.spec.kill_policy;
                machine.kill(&id, policy, StopCause::GrantExpired);
            } else if running && forced {
                let exit = ended(Outcome::Signal(libc::SIGKILL), fake.cause);
                machine.end(&id, ContainerExit { forced: true, ..exit });
            }
        }
    }

    /// Every container whose task was executed, in order: one that is in it twice ran twice.
    #[must_use]
    pub fn launches(&self) -> Vec<ContainerId> {
        self.machine.lock().launches.clone()
    }

    /// The spec a container was prepared with.
    #[must_use]
    pub fn spec(&self, id: &ContainerId) -> Option<ContainerSpec> {
        self.machine.lock().containers.get(id).map(|f| f.spec.clone())
    }
}

impl FakeMachine {
    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machine {
    fn report(&self, event: ContainerEvent) {
        if let Some(events) = &self.events {
            // A test that leaves a thousand events unread learns it here.
            let sent = events.try_send(event);
            assert!(
                !matches!(sent, Err(mpsc::error::TrySendError::Full(_))),
                "nobody reads the events of the fake containerizer"
            );
        }
    }

    fn end(&mut self, id: &ContainerId, exit: ContainerExit) {
        let now = self.now;
        let Some(fake) = self.containers.get_mut(id) else { return };
        let started_at = match fake.state {
            State::Running { started_at, .. } => Some(started_at),
            State::Prepared => None,
            State::Ended(_) => return,
        };
        let exit = ContainerExit { started_at, exited_at: started_at.map(|_| now), ..exit };
        fake.state = State::Ended(exit.clone());
        if self.adopted.contains(id) {
            self.report(ContainerEvent::Exited { id: id.clone(), exit });
        }
    }

    fn go(&mut self, id: &ContainerId) -> ContainerResult<()> {
        let unknown = || ContainerError::Unknown { id: id.clone() };
        let now = self.now;
        let fake = self.containers.get_mut(id).ok_or_else(unknown)?;
        if fake.state != State::Prepared {
            return Ok(());
        }
        let script = Script::read(&fake.spec.argv);
        fake.granted_at = now;
        if script == Script::Missing {
            let (step, errno) = ("execute the program".to_owned(), libc::ENOENT);
            let outcome = Outcome::LaunchFailed { step, errno };
            self.end(id, ended(outcome, StopCause::Itself));
            return Ok(());
        }
        self.next_pid += 1;
        let (pid, started_at) = (self.next_pid, now);
        fake.state = State::Running { pid, started_at };
        self.launches.push(id.clone());
        self.report(ContainerEvent::Started { id: id.clone(), pid, started_at });
        match script {
            Script::Exit(code) => self.end(id, ended(Outcome::Code(code), StopCause::Itself)),
            Script::Signal(number) => {
                self.end(id, ended(Outcome::Signal(number), StopCause::Itself));
            }
            Script::Oom => {
                let exit = ended(Outcome::Signal(libc::SIGKILL), StopCause::Itself);
                self.end(id, ContainerExit { oom_killed: true, ..exit });
            }
            Script::Missing | Script::IgnoreTerm | Script::Run => {}
        }
        Ok(())
    }

    fn kill(&mut self, id: &ContainerId, policy: KillPolicy, cause: StopCause) {
        let now = self.now;
        let Some(fake) = self.containers.get_mut(id) else { return };
        match fake.state {
            State::Ended(_) => return,
            State::Prepared => {
                return self.end(id, ended(Outcome::NeverStarted, StopCause::Itself));
            }
            State::Running { .. } => {}
        }
        if fake.force_at.is_none() {
            fake.cause = cause;
        }
        let at = BootTime(now.0.saturating_add(nanoseconds(policy.grace)));
        fake.force_at = Some(fake.force_at.map_or(at, |before| before.min(at)));
        let (cause, forced) = (fake.cause, policy.grace.is_zero());
        if forced {
            let exit = ended(Outcome::Signal(libc::SIGKILL), cause);
            self.end(id, ContainerExit { forced: true, ..exit });
        } else {
            self.signal(id, policy.signal);
        }
    }

    /// Every signal ends a fake task, but not one that ignores them, unless it is SIGKILL.
    fn signal(&mut self, id: &ContainerId, signal: i32) {
        let Some(fake) = self.containers.get(id) else { return };
        let ignores = Script::read(&fake.spec.argv) == Script::IgnoreTerm;
        if !ignores || signal == libc::SIGKILL {
            let exit = ended(Outcome::Signal(signal), fake.cause);
            self.end(id, exit);
        }
    }

    fn recover(&mut self, expected: &[ContainerId]) -> Recovery {
        let state = |fake: Option<&Fake>| match fake.map(|f| &f.state) {
            Some(State::Running { pid, started_at }) => {
                RecoveredState::Running { pid: *pid, started_at: *started_at }
            }
            Some(State::Ended(exit)) => RecoveredState::Exited(exit.clone()),
            Some(State::Prepared) | None => RecoveredState::Absent,
        };
        let one =
            |id: &ContainerId| Recovered { id: id.clone(), state: state(self.containers.get(id)) };
        let containers = expected.iter().map(one).collect();
        let orphans = self.containers.keys().filter(|id| !expected.contains(id)).cloned().collect();
        self.adopted.extend(expected.iter().cloned());
        Recovery { containers, orphans }
    }
}

fn ended(outcome: Outcome, cause: StopCause) -> ContainerExit {
    ContainerExit {
        outcome,
        cause,
        forced: false,
        oom_killed: false,
        started_at: None,
        exited_at: None,
        log_bytes_dropped: 0,
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A future that is ready: nothing here waits.
fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl FakeContainerizer {
    fn running<T>(
        &self,
        id: &ContainerId,
        then: impl FnOnce(&mut Machine) -> T,
    ) -> ContainerResult<T> {
        let mut machine = self.machine.lock();
        match machine.containers.get(id).map(|f| &f.state) {
            Some(State::Running { .. }) => Ok(then(&mut machine)),
            Some(State::Prepared | State::Ended(_)) => {
                Err(ContainerError::WrongState { id: id.clone(), state: "not running" })
            }
            None => Err(ContainerError::Unknown { id: id.clone() }),
        }
    }

    fn prepare_now(&self, spec: ContainerSpec) -> ContainerResult<PreparedContainer> {
        spec.check()?;
        let mut machine = self.machine.lock();
        if machine.containers.contains_key(&spec.id) {
            return Err(ContainerError::Exists { id: spec.id });
        }
        machine.next_pid += 1;
        let (id, supervisor_pid, now) = (spec.id.clone(), machine.next_pid, machine.now);
        let (state, cause) = (State::Prepared, StopCause::Itself);
        let fake = Fake { spec, state, granted_at: now, force_at: None, cause };
        machine.containers.insert(id.clone(), fake);
        machine.adopted.push(id.clone());
        Ok(PreparedContainer { id, supervisor_pid, level: self.isolation.level })
    }
}

impl Containerizer for FakeContainerizer {
    fn isolation(&self) -> &Isolation {
        &self.isolation
    }

    fn prepare(&self, spec: ContainerSpec) -> BoxFuture<'_, ContainerResult<PreparedContainer>> {
        ready(self.prepare_now(spec))
    }

    fn go<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, ContainerResult<()>> {
        ready(self.machine.lock().go(id))
    }

    fn signal<'a>(
        &'a self,
        id: &'a ContainerId,
        signal: i32,
    ) -> BoxFuture<'a, ContainerResult<()>> {
        let checked = check_signal("signal", signal);
        ready(checked.and_then(|()| self.running(id, |machine| machine.signal(id, signal))))
    }

    fn kill<'a>(
        &'a self,
        id: &'a ContainerId,
        policy: Option<KillPolicy>,
    ) -> BoxFuture<'a, ContainerResult<()>> {
        let mut machine = self.machine.lock();
        let Some(own) = machine.containers.get(id).map(|f| f.spec.kill_policy) else {
            return ready(Err(ContainerError::Unknown { id: id.clone() }));
        };
        let policy = policy.unwrap_or(own);
        if let Err(error) = check_signal("policy.signal", policy.signal) {
            return ready(Err(error));
        }
        machine.kill(id, policy, StopCause::KillRequested);
        ready(Ok(()))
    }

    fn grant<'a>(
        &'a self,
        id: &'a ContainerId,
        granted_at: BootTime,
    ) -> BoxFuture<'a, ContainerResult<()>> {
        let mut machine = self.machine.lock();
        let now = machine.now;
        let Some(fake) = machine.containers.get_mut(id) else {
            return ready(Err(ContainerError::Unknown { id: id.clone() }));
        };
        fake.granted_at = fake.granted_at.max(granted_at.min(now));
        ready(Ok(()))
    }

    /// Reads the command as it reads a task: `fake exit CODE` gives that code; what would run on
    /// times out.
    fn exec<'a>(
        &'a self,
        id: &'a ContainerId,
        request: ExecRequest,
    ) -> BoxFuture<'a, ContainerResult<ExecOutput>> {
        let exit = match Script::read(&request.argv) {
            Script::Exit(code) => ExecExit::Code(code),
            Script::Signal(number) => ExecExit::Signal(number),
            Script::Oom => ExecExit::Signal(libc::SIGKILL),
            Script::Missing => {
                let (step, errno) = ("execute the program".to_owned(), libc::ENOENT);
                ExecExit::LaunchFailed { step, errno }
            }
            Script::IgnoreTerm | Script::Run => ExecExit::TimedOut,
        };
        ready(self.running(id, |_| ExecOutput { exit, output: Vec::new(), truncated: false }))
    }

    fn usage<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, ContainerResult<Usage>> {
        let known = self.machine.lock().containers.contains_key(id);
        let unknown = || ContainerError::Unknown { id: id.clone() };
        ready(known.then(Usage::default).ok_or_else(unknown))
    }

    fn recover<'a>(
        &'a self,
        expected: &'a [ContainerId],
    ) -> BoxFuture<'a, ContainerResult<Recovery>> {
        ready(Ok(self.machine.lock().recover(expected)))
    }

    fn destroy<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, ContainerResult<()>> {
        let mut machine = self.machine.lock();
        machine.containers.remove(id);
        machine.adopted.retain(|a| a != id);
        ready(Ok(()))
    }

    fn cleanup_orphans<'a>(
        &'a self,
        keep: &'a [ContainerId],
    ) -> BoxFuture<'a, ContainerResult<Vec<ContainerId>>> {
        let mut machine = self.machine.lock();
        let orphans: Vec<ContainerId> =
            machine.containers.keys().filter(|id| !keep.contains(id)).cloned().collect();
        for id in &orphans {
            machine.containers.remove(id);
        }
        ready(Ok(orphans))
    }
}
