//! Owns the messages of `proto/schema/supervisor.proto`, written by hand so that the supervisor
//! links nothing but `prost`.
//!
//! Frozen: add fields and numbers, never change one. `samples/` holds kept bytes of each file.

use prost::{Enumeration, Message, Oneof};

/// Everything a supervisor needs to launch one container.
#[derive(Clone, PartialEq, Message)]
pub struct LaunchSpec {
    #[prost(uint32, tag = "1")]
    pub format_version: u32,
    #[prost(string, tag = "2")]
    pub container_id: String,
    #[prost(string, tag = "3")]
    pub boot_id: String,
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub argv: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub env: Vec<Vec<u8>>,
    #[prost(message, optional, tag = "6")]
    pub user: Option<User>,
    #[prost(bytes = "vec", tag = "7")]
    pub sandbox: Vec<u8>,
    #[prost(bytes = "vec", tag = "8")]
    pub root_dir: Vec<u8>,
    #[prost(bytes = "vec", tag = "9")]
    pub working_dir: Vec<u8>,
    #[prost(string, tag = "10")]
    pub hostname: String,
    #[prost(message, repeated, tag = "11")]
    pub rlimits: Vec<Rlimit>,
    #[prost(bool, tag = "12")]
    pub isolate: bool,
    #[prost(bool, tag = "13")]
    pub set_user: bool,
    #[prost(uint32, repeated, tag = "14")]
    pub capabilities: Vec<u32>,
    #[prost(bytes = "vec", repeated, tag = "15")]
    pub masked_paths: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "16")]
    pub readonly_paths: Vec<Vec<u8>>,
    #[prost(message, optional, tag = "17")]
    pub container_cgroup: Option<CgroupJoin>,
    #[prost(message, optional, tag = "18")]
    pub supervisor_cgroup: Option<CgroupJoin>,
    #[prost(message, optional, tag = "19")]
    pub log: Option<LogLimits>,
    #[prost(message, optional, tag = "20")]
    pub kill_policy: Option<KillPolicy>,
    #[prost(uint64, tag = "21")]
    pub stop_after_ns: u64,
    #[prost(uint64, tag = "22")]
    pub go_timeout_ns: u64,
    #[prost(bytes = "vec", tag = "23")]
    pub sandbox_in_root: Vec<u8>,
    #[prost(message, repeated, tag = "24")]
    pub binds: Vec<Bind>,
}

/// A directory of the machine that appears below the sandbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Bind {
    #[prost(bytes = "vec", tag = "1")]
    pub source: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub target: Vec<u8>,
}

/// Whom the task runs as.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct User {
    #[prost(uint32, tag = "1")]
    pub uid: u32,
    #[prost(uint32, tag = "2")]
    pub gid: u32,
    #[prost(uint32, repeated, tag = "3")]
    pub supplementary_gids: Vec<u32>,
}

/// One `setrlimit`, with the kernel's number of the resource; `u64::MAX` is unlimited.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Rlimit {
    #[prost(uint32, tag = "1")]
    pub resource: u32,
    #[prost(uint64, tag = "2")]
    pub soft: u64,
    #[prost(uint64, tag = "3")]
    pub hard: u64,
}

/// How a process enters a control group.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CgroupJoin {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub v1_tasks_files: Vec<Vec<u8>>,
    #[prost(bytes = "vec", tag = "2")]
    pub v2_dir: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub v1_freezer_dir: Vec<u8>,
}

/// Bounds of the kept output, for each stream.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LogLimits {
    #[prost(uint64, tag = "1")]
    pub bytes_per_file_max: u64,
    #[prost(uint32, tag = "2")]
    pub files_max: u32,
}

/// A signal, a grace, then everything is killed.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct KillPolicy {
    #[prost(int32, tag = "1")]
    pub signal: i32,
    #[prost(uint64, tag = "2")]
    pub grace_ns: u64,
}

/// Says that the task was, or is about to be, executed.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StartedRecord {
    #[prost(uint32, tag = "1")]
    pub format_version: u32,
    #[prost(string, tag = "2")]
    pub boot_id: String,
    #[prost(uint32, tag = "3")]
    pub pid: u32,
    #[prost(uint64, tag = "4")]
    pub started_boottime_ns: u64,
}

/// How the container ended.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ExitRecord {
    #[prost(uint32, tag = "1")]
    pub format_version: u32,
    #[prost(oneof = "ExitOutcome", tags = "2, 3, 4")]
    pub outcome: Option<ExitOutcome>,
    #[prost(enumeration = "StopCause", tag = "5")]
    pub cause: i32,
    #[prost(bool, tag = "6")]
    pub forced: bool,
    #[prost(uint64, tag = "7")]
    pub started_boottime_ns: u64,
    #[prost(uint64, tag = "8")]
    pub exited_boottime_ns: u64,
    #[prost(uint64, tag = "9")]
    pub log_bytes_dropped: u64,
    #[prost(string, tag = "10")]
    pub boot_id: String,
}

/// The outcome in an [`ExitRecord`].
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum ExitOutcome {
    #[prost(int32, tag = "2")]
    Code(i32),
    #[prost(int32, tag = "3")]
    Signal(i32),
    #[prost(message, tag = "4")]
    LaunchFailure(LaunchFailure),
}

/// The step that failed and the system's error number.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LaunchFailure {
    #[prost(string, tag = "1")]
    pub step: String,
    #[prost(int32, tag = "2")]
    pub errno: i32,
}

/// What set the end in motion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum StopCause {
    Itself = 0,
    KillRequested = 1,
    GrantExpired = 2,
}

/// One message on the socket, in either direction.
#[derive(Clone, PartialEq, Message)]
pub struct Frame {
    #[prost(uint32, tag = "1")]
    pub format_version: u32,
    #[prost(uint64, tag = "2")]
    pub request_id: u64,
    #[prost(oneof = "Body", tags = "10, 11, 12, 13, 14, 15, 30, 31, 32, 33")]
    pub body: Option<Body>,
}

/// What a [`Frame`] says.
#[derive(Clone, PartialEq, Oneof)]
pub enum Body {
    #[prost(message, tag = "10")]
    Hello(Hello),
    #[prost(message, tag = "11")]
    Go(Go),
    #[prost(message, tag = "12")]
    Signal(Signal),
    #[prost(message, tag = "13")]
    Kill(Kill),
    #[prost(message, tag = "14")]
    Grant(Grant),
    #[prost(message, tag = "15")]
    Exec(Exec),
    #[prost(message, tag = "30")]
    Status(Status),
    #[prost(message, tag = "31")]
    Done(Done),
    #[prost(message, tag = "32")]
    Refused(Refused),
    #[prost(message, tag = "33")]
    ExecResult(ExecResult),
}

/// Asks for a [`Status`], and for every further one with `watch`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Hello {
    #[prost(bool, tag = "1")]
    pub watch: bool,
}

/// Starts the task.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Go {}

/// Sends a signal to the task's first process.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Signal {
    #[prost(int32, tag = "1")]
    pub signal: i32,
}

/// Begins to end the container.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Kill {
    #[prost(message, optional, tag = "1")]
    pub policy: Option<KillPolicy>,
}

/// Notes a grant (K13).
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Grant {
    #[prost(uint64, tag = "1")]
    pub granted_boottime_ns: u64,
}

/// Runs a command inside.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Exec {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub argv: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub env: Vec<Vec<u8>>,
    #[prost(uint64, tag = "3")]
    pub timeout_ns: u64,
    #[prost(uint32, tag = "4")]
    pub output_bytes_max: u32,
}

/// Where a container stands.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Status {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(enumeration = "Phase", tag = "2")]
    pub phase: i32,
    #[prost(uint32, tag = "3")]
    pub supervisor_pid: u32,
    #[prost(uint32, tag = "4")]
    pub pid: u32,
    #[prost(uint64, tag = "5")]
    pub started_boottime_ns: u64,
    #[prost(message, optional, tag = "6")]
    pub exit: Option<ExitRecord>,
    #[prost(message, optional, tag = "7")]
    pub failure: Option<LaunchFailure>,
    #[prost(string, tag = "8")]
    pub supervisor_version: String,
}

/// The phases of a supervisor's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Phase {
    Unknown = 0,
    Prepared = 1,
    Launching = 2,
    Running = 3,
    Ending = 4,
    Ended = 5,
    Failed = 6,
}

/// It was done.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Done {}

/// It was not done, and why.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Refused {
    #[prost(string, tag = "1")]
    pub code: String,
    #[prost(string, tag = "2")]
    pub message: String,
}

/// The end of an [`Exec`].
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ExecResult {
    #[prost(oneof = "ExecOutcome", tags = "1, 2, 3, 4")]
    pub outcome: Option<ExecOutcome>,
    #[prost(bytes = "vec", tag = "5")]
    pub output: Vec<u8>,
    #[prost(bool, tag = "6")]
    pub truncated: bool,
}

/// How an executed command ended.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum ExecOutcome {
    #[prost(int32, tag = "1")]
    Code(i32),
    #[prost(int32, tag = "2")]
    Signal(i32),
    #[prost(message, tag = "3")]
    LaunchFailure(LaunchFailure),
    #[prost(bool, tag = "4")]
    TimedOut(bool),
}
