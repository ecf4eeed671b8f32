//! Owns the real containerizer: puts isolators, control groups and supervisors together.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use proffer_supervisor::wire::{self, Body, ExecOutcome, Phase, Status};
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::cgroups::{self, CgroupDriver, CgroupName, CgroupRoot};
use super::isolators::Place;
use super::{
    BootTime, ContainerError, ContainerEvent, ContainerExit, ContainerId, ContainerResult,
    ContainerSpec, Containerizer, EVENT_CHANNEL_SIZE, ExecExit, ExecOutput, ExecRequest, Isolation,
    IsolationLevel, KillPolicy, Outcome, PreparedContainer, Recovery, StopCause, Usage,
    check_signal,
};
use link::{Link, NoAnswer};
use run_dirs::RunDirs;

mod link;
mod preparation;
mod recovery;
mod run_dirs;
mod teardown;

/// A supervisor that is not ready by then never will be; a command may be late by as much.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(30);

/// The capability without which there are no namespaces (`CAP_SYS_ADMIN`).
const CAPABILITY_SYS_ADMIN: u32 = 21;

/// Which isolation to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsolationChoice {
    /// The best this process can give; what is withheld is said.
    Best,
    /// Exactly this, or not at all.
    Exactly(IsolationLevel),
}

/// Where and how a containerizer works.
#[derive(Debug, Clone)]
pub struct LinuxConfig {
    /// Directory for the run directories, on a tmpfs if possible (`/run/proffer/<agent>`); used by
    /// this containerizer alone.
    pub run_root: PathBuf,
    /// Where its control groups begin.
    pub cgroup_root: CgroupRoot,
    /// How much isolation.
    pub isolation: IsolationChoice,
    /// How long a prepared container waits for `go`.
    pub go_timeout: Duration,
}

/// Runs containers on this machine. See the trait for the promises.
pub struct LinuxContainerizer {
    shared: Arc<Shared>,
    /// Ends the tasks of this value, but no container, when it is dropped.
    _stop: DropGuard,
}

/// What the per-container tasks need.
struct Shared {
    run_dirs: RunDirs,
    /// `None` at level `process`.
    cgroups: Option<Box<dyn CgroupDriver>>,
    isolation: Isolation,
    place: Place,
    go_timeout: Duration,
    containers: Mutex<BTreeMap<ContainerId, Container>>,
    events: mpsc::Sender<ContainerEvent>,
    stop: CancellationToken,
}

/// A container known to this process.
#[derive(Clone)]
struct Container {
    pod: String,
    state: State,
    stop: CancellationToken,
    /// Held while it is prepared and while it is destroyed: one waits for the other.
    busy: Arc<AsyncMutex<()>>,
}

impl Container {
    fn new(pod: String, state: State, stop: CancellationToken) -> Self {
        Self { pod, state, stop, busy: Arc::default() }
    }
}

/// What this process can do with a container.
#[derive(Clone)]
enum State {
    /// Only wait.
    Preparing,
    /// Talk to its supervisor.
    Linked(Link),
    /// Nothing: it was found to have ended.
    Ended,
}

impl LinuxContainerizer {
    /// Makes ready the run root and the control group root, and decides on the isolation. Touches
    /// no container; call [`Containerizer::recover`] next. The receiver gets what they report.
    ///
    /// # Errors
    /// When the wanted isolation cannot be had, or another agent uses the run root.
    pub fn new(config: LinuxConfig) -> ContainerResult<(Self, mpsc::Receiver<ContainerEvent>)> {
        let run_dirs = RunDirs::open(&config.run_root)?;
        let (cgroups, isolation) = decide(config.isolation, config.cgroup_root)?;
        let place = Place {
            level: isolation.level,
            may_switch_user: nix::unistd::geteuid().is_root(),
            hidden_dirs: vec![run_dirs.root().as_os_str().as_encoded_bytes().to_vec()],
        };
        let (events, receiver) = mpsc::channel(EVENT_CHANNEL_SIZE);
        let stop = CancellationToken::new();
        let shared = Shared {
            run_dirs,
            cgroups,
            isolation,
            place,
            go_timeout: config.go_timeout,
            containers: Mutex::new(BTreeMap::new()),
            events,
            stop: stop.clone(),
        };
        Ok((Self { shared: Arc::new(shared), _stop: stop.drop_guard() }, receiver))
    }

    /// Moves this process into its own control group leaf. Once per process, at its start.
    ///
    /// # Errors
    /// When this process may not.
    pub fn enter_agent_leaf(&self) -> ContainerResult<()> {
        let Some(cgroups) = &self.shared.cgroups else { return Ok(()) };
        cgroups.enter_agent_leaf().map_err(|e| place_error(&e))
    }

    /// Removes the roots if no container is left: at the end of a `dev`, and for `cleanup`. What
    /// is still in use stays, and is found again by the next who tries.
    pub fn remove_roots_if_empty(&self) {
        if !self.shared.found().is_empty() {
            return;
        }
        let gone = self.shared.cgroups.as_ref().is_none_or(|c| c.remove_root_if_empty());
        if gone {
            self.shared.run_dirs.remove_root_if_empty();
        }
    }
}

/// Level, driver and words on what is missing.
fn decide(
    choice: IsolationChoice,
    root: CgroupRoot,
) -> ContainerResult<(Option<Box<dyn CgroupDriver>>, Isolation)> {
    let process = |withheld| Ok((None, Isolation { level: IsolationLevel::Process, withheld }));
    if choice == IsolationChoice::Exactly(IsolationLevel::Process) {
        return process(vec!["everything but process limits: told so".to_owned()]);
    }
    let mut withheld = Vec::new();
    if !may_make_namespaces() {
        withheld.push("namespaces: this process has no CAP_SYS_ADMIN (is not root)".to_owned());
    }
    let driver = cgroups::detect(root).and_then(|d| d.create_root().map(|()| d));
    match driver {
        Ok(driver) if withheld.is_empty() => {
            let isolation = Isolation { level: IsolationLevel::Full, withheld };
            return Ok((Some(driver), isolation));
        }
        Ok(_) => {}
        Err(error) => withheld.push(format!("control groups: {}", chain(&error))),
    }
    if choice == IsolationChoice::Exactly(IsolationLevel::Full) {
        return Err(ContainerError::InvalidSpec {
            field: "isolation",
            reason: format!("`full` cannot be had: {}", withheld.join("; ")),
        });
    }
    process(withheld)
}

fn may_make_namespaces() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    let set = effective.and_then(|l| u64::from_str_radix(l.trim(), 16).ok()).unwrap_or(0);
    set & (1 << CAPABILITY_SYS_ADMIN) != 0
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn place_error(error: &cgroups::CgroupError) -> ContainerError {
    ContainerError::InvalidSpec { field: "cgroup_root", reason: chain(error) }
}

impl Shared {
    /// The table. A panic elsewhere while it was held leaves it whole: every change is one step.
    fn containers(&self) -> MutexGuard<'_, BTreeMap<ContainerId, Container>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn link(&self, id: &ContainerId) -> ContainerResult<Link> {
        let containers = self.containers();
        let container = containers.get(id).ok_or(ContainerError::Unknown { id: id.clone() })?;
        match &container.state {
            State::Linked(link) => Ok(link.clone()),
            State::Preparing => {
                Err(ContainerError::WrongState { id: id.clone(), state: "being prepared" })
            }
            State::Ended => Err(ContainerError::WrongState { id: id.clone(), state: "ended" }),
        }
    }

    fn cgroup_error(id: &ContainerId, error: &cgroups::CgroupError) -> ContainerError {
        let reason = chain(error);
        match error {
            cgroups::CgroupError::NoController { controller, .. } => {
                let what = format!("a {controller} limit");
                ContainerError::CannotEnforce { id: id.clone(), what, reason }
            }
            cgroups::CgroupError::File { .. } | cgroups::CgroupError::Group { .. } => {
                ContainerError::Cgroup { id: id.clone(), reason }
            }
        }
    }

    // --- events ---

    /// Reports what a supervisor announces, until the container has ended.
    async fn watch(self: Arc<Self>, id: ContainerId, mut statuses: mpsc::Receiver<Status>) {
        while let Some(status) = statuses.recv().await {
            match status.phase() {
                Phase::Running => {
                    let (pid, started_at) = (status.pid, BootTime(status.started_boottime_ns));
                    self.report(ContainerEvent::Started { id: id.clone(), pid, started_at }).await;
                }
                Phase::Ended => {
                    let exit = status.exit.unwrap_or_default();
                    let exit = self.exit_of(&id, &exit);
                    return self.report(ContainerEvent::Exited { id, exit }).await;
                }
                Phase::Unknown
                | Phase::Prepared
                | Phase::Launching
                | Phase::Ending
                | Phase::Failed => {}
            }
        }
        let exit = self.settle(&id).await;
        self.report(ContainerEvent::Exited { id, exit }).await;
    }

    async fn report(&self, event: ContainerEvent) {
        // Nobody listens any more when the agent ends; the facts stay in the run directory.
        let _ = self.events.send(event).await;
    }

    /// The exit as it is recorded, with what the control group knows.
    fn exit_of(&self, id: &ContainerId, record: &wire::ExitRecord) -> ContainerExit {
        let time = |ns: u64| (ns > 0).then_some(BootTime(ns));
        let outcome = match &record.outcome {
            Some(wire::ExitOutcome::Code(code)) => Outcome::Code(*code),
            Some(wire::ExitOutcome::Signal(signal)) => Outcome::Signal(*signal),
            Some(wire::ExitOutcome::LaunchFailure(failure)) => {
                Outcome::LaunchFailed { step: failure.step.clone(), errno: failure.errno }
            }
            // Of a later supervisor: not known is never success.
            None => Outcome::SupervisorLost,
        };
        let cause = match record.cause() {
            wire::StopCause::Itself => StopCause::Itself,
            wire::StopCause::KillRequested => StopCause::KillRequested,
            wire::StopCause::GrantExpired => StopCause::GrantExpired,
        };
        ContainerExit {
            outcome,
            cause,
            forced: record.forced,
            oom_killed: self.was_oom_killed(id),
            started_at: time(record.started_boottime_ns),
            exited_at: time(record.exited_boottime_ns),
            log_bytes_dropped: record.log_bytes_dropped,
        }
    }

    fn was_oom_killed(&self, id: &ContainerId) -> bool {
        let names = self.cgroup_names(id);
        let counted =
            |c: &dyn CgroupDriver| names.iter().filter_map(|n| c.oom_kills(n)).any(|k| k > 0);
        self.cgroups.as_deref().is_some_and(counted)
    }

    /// The groups of a container: by its pod if that is known, else found on the machine.
    fn cgroup_names(&self, id: &ContainerId) -> Vec<CgroupName> {
        let Some(cgroups) = &self.cgroups else { return Vec::new() };
        let pod = self.containers().get(id).map(|c| c.pod.clone());
        match pod {
            Some(pod) if !pod.is_empty() => vec![CgroupName { pod, container: id.clone() }],
            _ => cgroups.list().into_iter().filter(|n| n.container == *id).collect(),
        }
    }

    // --- verbs on a running container ---

    /// Asks its supervisor for something that is answered by `done`.
    async fn order(
        &self,
        id: &ContainerId,
        action: &'static str,
        body: Body,
    ) -> ContainerResult<()> {
        match self.link(id)?.ask(body).await {
            Ok(Body::Done(_)) => Ok(()),
            other => Err(not_done(id, action, other)),
        }
    }

    async fn kill(&self, id: &ContainerId, policy: Option<KillPolicy>) -> ContainerResult<()> {
        if let Some(policy) = &policy {
            check_signal("policy.signal", policy.signal)?;
        }
        let policy = policy.map(|p| wire::KillPolicy {
            signal: p.signal,
            grace_ns: u64::try_from(p.grace.as_nanos()).unwrap_or(u64::MAX),
        });
        let link = match self.link(id) {
            Err(ContainerError::WrongState { state: "ended", .. }) => return Ok(()),
            other => other?,
        };
        match link.ask(Body::Kill(wire::Kill { policy })).await {
            // Without its supervisor the container ends as well, and the event says how.
            Ok(Body::Done(_)) | Err(NoAnswer::Ended) => Ok(()),
            other => Err(not_done(id, "kill", other)),
        }
    }

    async fn exec(&self, id: &ContainerId, request: ExecRequest) -> ContainerResult<ExecOutput> {
        if request.argv.first().is_none_or(String::is_empty) {
            let reason = "names no program".to_owned();
            return Err(ContainerError::InvalidSpec { field: "argv", reason });
        }
        let env = |(key, value): &(String, String)| format!("{key}={value}").into_bytes();
        let body = Body::Exec(wire::Exec {
            argv: request.argv.into_iter().map(String::into_bytes).collect(),
            env: request.env.iter().map(env).collect(),
            timeout_ns: u64::try_from(request.timeout.as_nanos()).unwrap_or(u64::MAX).max(1),
            output_bytes_max: request.output_bytes_max,
        });
        let patience = request.timeout.saturating_add(PREPARE_TIMEOUT);
        match self.link(id)?.ask_for(body, patience).await {
            Ok(Body::ExecResult(result)) => exec_output(id, result),
            other => Err(not_done(id, "exec", other)),
        }
    }

    fn usage(&self, id: &ContainerId) -> ContainerResult<Usage> {
        if !self.containers().contains_key(id) {
            return Err(ContainerError::Unknown { id: id.clone() });
        }
        let names = self.cgroup_names(id);
        let Some((cgroups, name)) = self.cgroups.as_ref().zip(names.first()) else {
            return Ok(Usage::default());
        };
        Ok(cgroups.usage(name))
    }
}

fn exec_output(id: &ContainerId, result: wire::ExecResult) -> ContainerResult<ExecOutput> {
    let exit = match result.outcome {
        Some(ExecOutcome::Code(code)) => ExecExit::Code(code),
        Some(ExecOutcome::Signal(signal)) => ExecExit::Signal(signal),
        Some(ExecOutcome::TimedOut(_)) => ExecExit::TimedOut,
        Some(ExecOutcome::LaunchFailure(f)) => {
            ExecExit::LaunchFailed { step: f.step, errno: f.errno }
        }
        None => {
            return Err(supervisor_error(id, "exec", "it gave no outcome".to_owned()));
        }
    };
    Ok(ExecOutput { exit, output: result.output, truncated: result.truncated })
}

/// What to make of an answer that is not the one hoped for.
fn not_done(
    id: &ContainerId,
    action: &'static str,
    answer: Result<Body, NoAnswer>,
) -> ContainerError {
    match answer {
        Ok(Body::Refused(refused)) if refused.code == "wrong_phase" => {
            ContainerError::WrongState { id: id.clone(), state: "not running" }
        }
        Ok(Body::Refused(refused)) => supervisor_error(id, action, refused.message),
        Ok(other) => supervisor_error(id, action, format!("it answered {other:?}")),
        Err(reason) => supervisor_error(id, action, reason.to_string()),
    }
}

fn supervisor_error(id: &ContainerId, action: &'static str, reason: String) -> ContainerError {
    ContainerError::Supervisor { id: id.clone(), action, reason }
}

/// File work that may take some milliseconds, off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> ContainerResult<T> + Send + 'static,
) -> ContainerResult<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}

/// Runs to its end even if the caller stops waiting: half a preparation would leak.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = ContainerResult<T>> + Send + 'static,
) -> ContainerResult<T> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}

impl Containerizer for LinuxContainerizer {
    fn isolation(&self) -> &Isolation {
        &self.shared.isolation
    }

    fn prepare(&self, spec: ContainerSpec) -> BoxFuture<'_, ContainerResult<PreparedContainer>> {
        Box::pin(to_the_end(Arc::clone(&self.shared).prepare(spec)))
    }

    fn go<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, ContainerResult<()>> {
        Box::pin(self.shared.order(id, "go", Body::Go(wire::Go {})))
    }

    fn signal<'a>(
        &'a self,
        id: &'a ContainerId,
        signal: i32,
    ) -> BoxFuture<'a, ContainerResult<()>> {
        Box::pin(async move {
            check_signal("signal", signal)?;
            self.shared.order(id, "signal", Body::Signal(wire::Signal { signal })).await
        })
    }

    fn kill<'a>(
        &'a self,
        id: &'a ContainerId,
        policy: Option<KillPolicy>,
    ) -> BoxFuture<'a, ContainerResult<()>> {
        Box::pin(self.shared.kill(id, policy))
    }

    fn grant<'a>(
        &'a self,
        id: &'a ContainerId,
        granted_at: BootTime,
    ) -> BoxFuture<'a, ContainerResult<()>> {
        let grant = wire::Grant { granted_boottime_ns: granted_at.0 };
        Box::pin(self.shared.order(id, "grant", Body::Grant(grant)))
    }

    fn exec<'a>(
        &'a self,
        id: &'a ContainerId,
        request: ExecRequest,
    ) -> BoxFuture<'a, ContainerResult<ExecOutput>> {
        Box::pin(self.shared.exec(id, request))
    }

    fn usage<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, ContainerResult<Usage>> {
        Box::pin(async move { self.shared.usage(id) })
    }

    fn recover<'a>(
        &'a self,
        expected: &'a [ContainerId],
    ) -> BoxFuture<'a, ContainerResult<Recovery>> {
        Box::pin(to_the_end(Arc::clone(&self.shared).recover(expected.to_vec())))
    }

    fn destroy<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, ContainerResult<()>> {
        Box::pin(to_the_end(Arc::clone(&self.shared).destroy(id.clone())))
    }

    fn cleanup_orphans<'a>(
        &'a self,
        keep: &'a [ContainerId],
    ) -> BoxFuture<'a, ContainerResult<Vec<ContainerId>>> {
        Box::pin(to_the_end(Arc::clone(&self.shared).cleanup_orphans(keep.to_vec())))
    }
}
