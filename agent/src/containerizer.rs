//! Owns the contract between the agent and whatever runs its containers, with its vocabulary.
//!
//! A container's life: [`Containerizer::prepare`] makes its control groups and a supervisor that
//! waits; the agent makes its checkpoint durable; [`Containerizer::go`] lets the task start (K14).
//! From then on the supervisor alone keeps the task: this process may end at any moment and find
//! the container again with [`Containerizer::recover`]. Nothing is given up by dropping a value
//! here: only [`Containerizer::destroy`] removes a container.
//!
//! There are two implementations, [`linux::LinuxContainerizer`] and [`fake::FakeContainerizer`],
//! and one test suite (`tests/containerizer.rs`) that both must pass.
#![warn(missing_docs)]

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub mod cgroups;
mod embedded;
pub mod fake;
mod isolators;
pub mod linux;

/// Longest container id; leaves room for suffixes within the 255 bytes of a file name.
const CONTAINER_ID_BYTES_MAX: usize = 200;

/// Size of the channel on which a containerizer reports. When it is full the per-container tasks
/// wait; nothing is lost, because an exit also stands in the container's run directory.
pub const EVENT_CHANNEL_SIZE: usize = 1024;

/// The name of a container: becomes a directory and a control group, so its letters are limited.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(String);

impl ContainerId {
    /// Checks a name: 1 to 200 characters of `A-Z a-z 0-9 . _ -`, not starting with a dot.
    ///
    /// # Errors
    /// [`ContainerError::InvalidSpec`] when it breaks that rule.
    pub fn new(name: impl Into<String>) -> Result<Self, ContainerError> {
        let name = name.into();
        check_file_name("id", &name)?;
        Ok(Self(name))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContainerId({})", self.0)
    }
}

/// A moment on `CLOCK_BOOTTIME`: nanoseconds since this machine started, counting sleep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(
    /// Nanoseconds since boot.
    pub u64,
);

impl BootTime {
    /// Reads the clock. For shells; cores are given their times.
    #[must_use]
    pub fn now() -> Self {
        let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
        let time = time.expect("every kernel that has pidfds has this clock");
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        Self(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0))
    }
}

/// Whom the task runs as, already resolved to numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerUser {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub supplementary_gids: Vec<u32>,
}

/// One resource limit of the process (`setrlimit`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// Which one.
    pub resource: RlimitResource,
    /// Soft limit; `None` is unlimited.
    pub soft: Option<u64>,
    /// Hard limit; `None` is unlimited.
    pub hard: Option<u64>,
}

/// The process limits that may be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of setrlimit(2)")]
pub enum RlimitResource {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

/// How much output of a task is kept, for each of its two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Size at which the current file is rotated.
    pub bytes_per_file_max: u64,
    /// Number of files kept, the current one included: `stdout`, `stdout.1`, … At least 1.
    pub files_max: u32,
}

impl Default for LogLimits {
    /// 10 MiB in each of 2 files: what a person reads after a crash, and a bound for a flood.
    fn default() -> Self {
        Self { bytes_per_file_max: 10 << 20, files_max: 2 }
    }
}

/// How a container is ended: the signal first, after the grace everything in it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KillPolicy {
    /// Signal number sent to the task's first process.
    pub signal: i32,
    /// Time between the signal and the kill; zero kills at once.
    pub grace: Duration,
}

impl Default for KillPolicy {
    /// `SIGTERM` and 10 seconds.
    fn default() -> Self {
        Self { signal: libc::SIGTERM, grace: Duration::from_secs(10) }
    }
}

/// Everything needed to make one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Its name, unique on this agent for ever.
    pub id: ContainerId,
    /// The pod it belongs to (same letters as an id); a single task is a pod of one.
    pub pod: String,
    /// Program and arguments; a program without `/` is looked up in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment: nothing is inherited from the agent.
    pub env: Vec<(String, String)>,
    /// Whom it runs as.
    pub user: ContainerUser,
    /// The task's own directory on this machine; it must exist. Logs are written into it. Inside
    /// a container with a root directory it appears as [`SANDBOX_IN_ROOT`].
    pub sandbox: PathBuf,
    /// Directory that becomes `/`; `None` shows the machine's files.
    pub root_dir: Option<PathBuf>,
    /// Absolute directory, as the task sees it, in which it starts; `None` is the sandbox.
    pub working_dir: Option<PathBuf>,
    /// Host name inside; `None` keeps the machine's.
    pub hostname: Option<String>,
    /// Process limits.
    pub rlimits: Vec<Rlimit>,
    /// Thousandths of a CPU: the weight against neighbours.
    pub cpu_millis: Option<u64>,
    /// Whether `cpu_millis` is also a hard ceiling.
    pub cpu_ceiling: bool,
    /// Memory ceiling.
    pub memory_bytes: Option<u64>,
    /// Number of processes and threads the task may have at once.
    pub pids_max: Option<u64>,
    /// Directories of this machine that appear below the sandbox.
    pub volumes: Vec<VolumeDir>,
    /// Bounds of the kept output.
    pub log: LogLimits,
    /// How it is ended unless a kill says otherwise.
    pub kill_policy: KillPolicy,
    /// End the task this long after the last grant, also without an agent (K13).
    pub stop_after: Option<Duration>,
    /// Refuse rather than run at a weaker level than this (K20).
    pub isolation_at_least: IsolationLevel,
}

/// A directory that outlives the container and appears below its sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeDir {
    /// Where it is on this machine.
    pub source: PathBuf,
    /// Where the task sees it, relative to the sandbox. At level `full` a directory that is there;
    /// else there is a link already.
    pub target: PathBuf,
}

/// Where the sandbox appears inside a container that has a root directory.
pub const SANDBOX_IN_ROOT: &str = "/sandbox";

impl ContainerSpec {
    /// A spec with defaults for everything but these; runs as the present user.
    #[must_use]
    pub fn new(id: ContainerId, sandbox: PathBuf, argv: Vec<String>) -> Self {
        Self {
            pod: id.as_str().to_owned(),
            id,
            argv,
            env: Vec::new(),
            user: ContainerUser {
                uid: nix::unistd::geteuid().as_raw(),
                gid: nix::unistd::getegid().as_raw(),
                supplementary_gids: Vec::new(),
            },
            sandbox,
            root_dir: None,
            working_dir: None,
            hostname: None,
            rlimits: Vec::new(),
            cpu_millis: None,
            cpu_ceiling: true,
            memory_bytes: None,
            pids_max: None,
            volumes: Vec::new(),
            log: LogLimits::default(),
            kill_policy: KillPolicy::default(),
            stop_after: None,
            isolation_at_least: IsolationLevel::Process,
        }
    }

    /// Checks what can be checked without the machine; both implementations call it first.
    ///
    /// # Errors
    /// [`ContainerError::InvalidSpec`] naming the field.
    pub fn check(&self) -> Result<(), ContainerError> {
        let invalid = |field: &'static str, reason: &str| {
            Err(ContainerError::InvalidSpec { field, reason: reason.to_owned() })
        };
        check_file_name("pod", &self.pod)?;
        if self.argv.first().is_none_or(String::is_empty) {
            return invalid("argv", "names no program");
        }
        if self.argv.iter().any(|a| a.contains('\0')) {
            return invalid("argv", "holds a NUL byte");
        }
        for (key, value) in &self.env {
            if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
                return invalid("env", "a name is empty or holds `=`, or a NUL byte is in it");
            }
        }
        if !self.sandbox.is_absolute() {
            return invalid("sandbox", "is not absolute");
        }
        if self.root_dir.as_ref().is_some_and(|d| !d.is_absolute()) {
            return invalid("root_dir", "is not absolute");
        }
        if self.working_dir.as_ref().is_some_and(|d| !d.is_absolute()) {
            return invalid("working_dir", "is not absolute");
        }
        for volume in &self.volumes {
            let plain = |c: std::path::Component<'_>| matches!(c, std::path::Component::Normal(_));
            if !volume.source.is_absolute() || !volume.target.components().all(plain) {
                return invalid(
                    "volumes",
                    "a source is not absolute, or a target not below the sandbox",
                );
            }
        }
        if self.hostname.as_ref().is_some_and(|h| h.is_empty() || h.len() > 64 || h.contains('\0'))
        {
            return invalid("hostname", "is not 1 to 64 characters long");
        }
        if self.rlimits.iter().any(|l| l.hard.is_some_and(|h| l.soft.is_none_or(|s| s > h))) {
            return invalid("rlimits", "a soft limit is above its hard limit");
        }
        if self.cpu_millis == Some(0) || self.cpu_millis.is_some_and(|c| c > CPU_MILLIS_MAX) {
            return invalid("cpu_millis", "is outside 1 to 10000000");
        }
        if self.memory_bytes.is_some_and(|m| !(MEMORY_BYTES_MIN..=i64::MAX as u64).contains(&m)) {
            return invalid("memory_bytes", "is below 1 MiB or above 2^63-1");
        }
        if self.pids_max == Some(0) || self.pids_max.is_some_and(|p| p > PIDS_MAX) {
            return invalid("pids_max", "is outside 1 to 4194304");
        }
        if self.log.files_max == 0 || self.log.bytes_per_file_max == 0 {
            return invalid("log", "keeps no file or no byte");
        }
        check_signal("kill_policy.signal", self.kill_policy.signal)
    }
}

/// Ten thousand CPUs: far above any machine, and safe in every product of the conversions.
const CPU_MILLIS_MAX: u64 = 10_000_000;
/// Below this not even an empty program starts.
const MEMORY_BYTES_MIN: u64 = 1 << 20;
/// The kernel's own limit on process ids.
const PIDS_MAX: u64 = 4_194_304;

/// What stands between a task and the rest of the machine, as a named level (K20). Ordered:
/// a greater level isolates more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IsolationLevel {
    /// An own session and process limits only; no control groups, no namespaces.
    Process,
    /// Control groups, namespaces, dropped capabilities.
    Full,
}

impl IsolationLevel {
    /// Its stable name, carried by every status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Full => "full",
        }
    }
}

/// The level in force, and what is missing from `full` in words for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    /// Level of every container made by this containerizer.
    pub level: IsolationLevel,
    /// Why it is not `full`; empty when it is.
    pub withheld: Vec<String>,
}

/// A container that waits for [`Containerizer::go`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedContainer {
    /// Its name.
    pub id: ContainerId,
    /// Process id of its supervisor, for people; never used to find it again.
    pub supervisor_pid: u32,
    /// The level it will run at.
    pub level: IsolationLevel,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The task's first process ended with this code.
    Code(i32),
    /// It was ended by this signal.
    Signal(i32),
    /// The task never executed: this step failed with this error number (0: no system error).
    LaunchFailed {
        /// What was being done, for example `mount /proc`.
        step: String,
        /// The system's error number.
        errno: i32,
    },
    /// `go` never came through and nothing was started; nothing ever will be.
    NeverStarted,
    /// The supervisor died: everything in the container was killed and the exit is unknown. Never
    /// to be called success (K14).
    SupervisorLost,
}

/// What set the end of a container in motion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// Nothing of ours: the task ended by itself, or by something outside.
    Itself,
    /// A [`Containerizer::kill`].
    KillRequested,
    /// No grant arrived for `stop_after` (K13).
    GrantExpired,
}

/// The end of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerExit {
    /// How.
    pub outcome: Outcome,
    /// Why.
    pub cause: StopCause,
    /// The grace ran out and everything was killed.
    pub forced: bool,
    /// The kernel killed a process of it for want of memory.
    pub oom_killed: bool,
    /// When it started, if it did and that is known.
    pub started_at: Option<BootTime>,
    /// When it ended, if that is known.
    pub exited_at: Option<BootTime>,
    /// Output lost to write errors (a full disk).
    pub log_bytes_dropped: u64,
}

/// What a containerizer reports by itself, in order for each container: at most one `Started`,
/// then exactly one `Exited`. After [`Containerizer::recover`] a container found running reports
/// only its `Exited`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerEvent {
    /// The task's program executes.
    Started {
        /// Which.
        id: ContainerId,
        /// Its first process, in this machine's numbering.
        pid: u32,
        /// When.
        started_at: BootTime,
    },
    /// The container ended and its output is complete on disk. Its control groups and run
    /// directory stay until [`Containerizer::destroy`].
    Exited {
        /// Which.
        id: ContainerId,
        /// How.
        exit: ContainerExit,
    },
}

/// A command to run inside a running container, as its user and with its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Added to, or replacing, the container's own environment.
    pub env: Vec<(String, String)>,
    /// It is killed after this.
    pub timeout: Duration,
    /// Bytes of output kept (standard output and error together); the rest is read and dropped.
    pub output_bytes_max: u32,
}

/// The result of an [`ExecRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// How the command ended.
    pub exit: ExecExit,
    /// The first bytes of its output.
    pub output: Vec<u8>,
    /// There was more.
    pub truncated: bool,
}

/// How an executed command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecExit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Killed at its timeout.
    TimedOut,
    /// It could not be executed.
    LaunchFailed {
        /// What was being done.
        step: String,
        /// The system's error number.
        errno: i32,
    },
}

/// What a container uses now. Fields the level or kernel does not account for are `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time used since the start.
    pub cpu_ns: Option<u64>,
    /// Periods in which the ceiling stopped it.
    pub cpu_throttled_periods: Option<u64>,
    /// Memory charged now, page cache included.
    pub memory_bytes: Option<u64>,
    /// Highest memory charged so far.
    pub memory_peak_bytes: Option<u64>,
    /// Processes and threads now.
    pub pids: Option<u64>,
    /// Processes killed for want of memory.
    pub oom_kills: Option<u64>,
}

/// What [`Containerizer::recover`] found for one expected container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Which.
    pub id: ContainerId,
    /// In what state.
    pub state: RecoveredState,
}

/// The state of an expected container after a restart of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoveredState {
    /// It runs and is adopted: its exit will come as an event.
    Running {
        /// Its first process.
        pid: u32,
        /// When it started.
        started_at: BootTime,
    },
    /// It ended meanwhile, never started ([`Outcome::NeverStarted`]) or lost its supervisor (its
    /// processes are killed by now). No event follows.
    Exited(ContainerExit),
    /// There is no trace of it in this boot: it was never prepared, was destroyed, or the machine
    /// restarted since. The caller knows which from its checkpoint.
    Absent,
}

/// The answer of [`Containerizer::recover`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// One entry for each expected container, in the order asked.
    pub containers: Vec<Recovered>,
    /// Containers found that nobody expected; [`Containerizer::cleanup_orphans`] removes them.
    pub orphans: Vec<ContainerId>,
}

/// Why a containerizer could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// The caller's mistake: the spec can never be run.
    #[error("container spec field {field} {reason}")]
    InvalidSpec {
        /// Field at fault.
        field: &'static str,
        /// What is wrong, continuing the field's name.
        reason: String,
    },
    /// This machine cannot enforce what the spec asks for, so it does not run it (K22).
    #[error("container {id} refused: {what} cannot be enforced here: {reason}")]
    CannotEnforce {
        /// Which.
        id: ContainerId,
        /// The limit or isolation that is missing.
        what: String,
        /// Why.
        reason: String,
    },
    /// A container of this name exists, or existed and was not destroyed.
    #[error("container {id} exists already")]
    Exists {
        /// Which.
        id: ContainerId,
    },
    /// No container of this name is known.
    #[error("no container {id}")]
    Unknown {
        /// Which.
        id: ContainerId,
    },
    /// It is not in a state in which this can be done (not started, or ended).
    #[error("container {id} is {state}")]
    WrongState {
        /// Which.
        id: ContainerId,
        /// The state it is in.
        state: &'static str,
    },
    /// A step of the launch failed before anything ran.
    #[error("container {id} could not be launched: {step}: {}", errno_text(*.errno))]
    LaunchFailed {
        /// Which.
        id: ContainerId,
        /// The step.
        step: String,
        /// The system's error number, 0 if there is none.
        errno: i32,
    },
    /// The supervisor did not answer, or answered something else than asked.
    #[error("supervisor of container {id} failed to {action}: {reason}")]
    Supervisor {
        /// Which.
        id: ContainerId,
        /// What was asked.
        action: &'static str,
        /// What happened.
        reason: String,
    },
    /// The machine did not cooperate.
    #[error("failed to {action} {path}")]
    Io {
        /// The verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A control group could not be made, read, emptied or removed.
    #[error("control group of container {id}: {reason}")]
    Cgroup {
        /// Which.
        id: ContainerId,
        /// What failed, with the file.
        reason: String,
    },
}

/// The result of every verb.
pub type ContainerResult<T> = Result<T, ContainerError>;

/// Runs containers. All verbs may be called from any task at any time; those on one container
/// take effect in the order in which they were called.
pub trait Containerizer: Send + Sync + 'static {
    /// The isolation every container of this containerizer gets.
    fn isolation(&self) -> &Isolation;

    /// Makes the control groups and a supervisor with everything ready, and runs nothing of the
    /// task. A prepared container that gets no `go` within the containerizer's deadline, or whose
    /// agent ends before, reports [`Outcome::NeverStarted`] and never runs.
    ///
    /// # Errors
    /// Nothing is left behind after an error, except [`ContainerError::Exists`].
    fn prepare(&self, spec: ContainerSpec) -> BoxFuture<'_, ContainerResult<PreparedContainer>>;

    /// Starts a prepared container; call it when the launch is durable. `Started`, or `Exited`
    /// with the failed step, follows as an event. May be repeated: it starts at most once.
    ///
    /// # Errors
    /// [`ContainerError::Supervisor`] if it could not be told; the truth then comes as an event.
    fn go<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, ContainerResult<()>>;

    /// Sends a signal to the task's first process, without any further consequence.
    fn signal<'a>(&'a self, id: &'a ContainerId, signal: i32)
    -> BoxFuture<'a, ContainerResult<()>>;

    /// Begins to end the container: by the given policy or its own. The supervisor times the
    /// grace, so it runs out also without this process. A repeat can only shorten the grace.
    /// Before `go` it cancels the launch. A container that has ended is not an error.
    fn kill<'a>(
        &'a self,
        id: &'a ContainerId,
        policy: Option<KillPolicy>,
    ) -> BoxFuture<'a, ContainerResult<()>>;

    /// Notes that the agent held a grant at this moment: `stop_after` counts from the latest (K13).
    fn grant<'a>(
        &'a self,
        id: &'a ContainerId,
        granted_at: BootTime,
    ) -> BoxFuture<'a, ContainerResult<()>>;

    /// Runs a command inside a running container and waits for it.
    fn exec<'a>(
        &'a self,
        id: &'a ContainerId,
        request: ExecRequest,
    ) -> BoxFuture<'a, ContainerResult<ExecOutput>>;

    /// What it uses now.
    fn usage<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, ContainerResult<Usage>>;

    /// Finds containers of an earlier agent process. Call it once, before anything else; what runs
    /// is adopted, what lost its supervisor is killed and reported.
    fn recover<'a>(
        &'a self,
        expected: &'a [ContainerId],
    ) -> BoxFuture<'a, ContainerResult<Recovery>>;

    /// Removes every trace of a container: kills what still runs in it, ends its supervisor,
    /// removes its control groups and run directory. The sandbox is the caller's. Safe to repeat;
    /// an unknown container is not an error. No event follows.
    fn destroy<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, ContainerResult<()>>;

    /// Destroys every container under this containerizer's own root that is not in `keep`, and
    /// returns their names.
    fn cleanup_orphans<'a>(
        &'a self,
        keep: &'a [ContainerId],
    ) -> BoxFuture<'a, ContainerResult<Vec<ContainerId>>>;
}

/// A name that becomes a directory of the file system and of the control groups.
fn check_file_name(field: &'static str, name: &str) -> Result<(), ContainerError> {
    let good = !name.is_empty()
        && name.len() <= CONTAINER_ID_BYTES_MAX
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if good {
        return Ok(());
    }
    let reason = format!(
        "`{}` is not 1 to 200 of A-Z a-z 0-9 . _ - without a leading dot",
        name.escape_debug()
    );
    Err(ContainerError::InvalidSpec { field, reason })
}

/// A signal number the kernel knows.
pub(crate) fn check_signal(field: &'static str, signal: i32) -> Result<(), ContainerError> {
    if (1..=64).contains(&signal) {
        return Ok(());
    }
    Err(ContainerError::InvalidSpec { field, reason: format!("{signal} is not a signal") })
}

/// The system's words for an error number.
fn errno_text(errno: i32) -> String {
    if errno == 0 {
        "no details".to_owned()
    } else {
        nix::errno::Errno::from_raw(errno).desc().to_owned()
    }
}
