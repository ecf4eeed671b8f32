//! Owns the container between its spec and its processes: what is open, its init, new children.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use nix::fcntl::OFlag;
use nix::unistd::{Gid, Uid, fchown, pipe2};
use proffer_supervisor::cgroup_kill;
use proffer_supervisor::run_dir::STARTED;
use proffer_supervisor::step::Step;
use proffer_supervisor::wire::{CgroupJoin, LaunchSpec, LogLimits};
use prost::Message as _;

use crate::child::{At, CgroupHandles, Child, Failed, Identity, Report, read_report};
use crate::image::Image;
use crate::init::{InitPlan, NAMESPACES, open_cgroup};
use crate::logs::{LogStream, RotatedFile};
use crate::sys::{self, Side};

/// A child that was made and will execute, or say why not.
pub(crate) struct Spawned {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) report: OwnedFd,
}

/// The container's init, which keeps its namespaces alive.
struct Init {
    pid: i32,
    pidfd: OwnedFd,
    /// The pid namespace to come back to after making a child in the other.
    own_pid_namespace: OwnedFd,
    /// Its root directory. Entering its mount namespace leads to that namespace's root, which is
    /// another directory if the agent itself runs in a changed root.
    root: OwnedFd,
}

/// Write ends of the task's pipes, until it has them.
struct Streams {
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// Everything prepared for one container.
pub(crate) struct Container {
    cgroup: CgroupHandles,
    v2_dir: Option<PathBuf>,
    v1_freezer_dir: Option<PathBuf>,
    identity: Identity,
    init: Option<Init>,
    task: Option<(Image, Streams)>,
}

impl Container {
    /// Opens and makes everything that does not run the task: its log files, control group
    /// descriptors and, with isolation, its namespaces with all mounts.
    pub(crate) fn prepare(spec: &LaunchSpec) -> Result<(Self, [LogStream; 2]), Failed> {
        let identity = Identity::new(spec).at(Step::ReadSpec)?;
        let image = Image::new(&spec.argv, &spec.env, &[]).at(Step::ReadSpec)?;
        let (logs, streams) = open_logs(spec, &identity)?;
        let join = spec.container_cgroup.clone().unwrap_or_default();
        let cgroup = open_cgroup(&join.v1_tasks_files, &join.v2_dir)?;
        let init = if spec.isolate { Some(start_init(spec, &cgroup)?) } else { None };
        let (v2_dir, v1_freezer_dir) = kill_paths(&join);
        let task = Some((image, streams));
        Ok((Self { cgroup, v2_dir, v1_freezer_dir, identity, init, task }, logs))
    }

    pub(crate) fn init_pid(&self) -> Option<i32> {
        self.init.as_ref().map(|i| i.pid)
    }

    /// Executes the task. Only ever once: `started` is made first, and only if it is not there.
    pub(crate) fn start(&mut self) -> Result<Spawned, Failed> {
        let already = std::io::Error::from_raw_os_error(libc::EEXIST);
        let (image, streams) = self.task.take().ok_or(already).at(Step::MarkStarted)?;
        let new = OpenOptions::new().write(true).create_new(true).open(STARTED);
        drop(new.at(Step::MarkStarted)?);
        self.spawn(&image, &streams.stdout, &streams.stderr)
    }

    /// Makes a child inside the container.
    pub(crate) fn spawn(
        &self,
        image: &Image,
        stdout: &OwnedFd,
        stderr: &OwnedFd,
    ) -> Result<Spawned, Failed> {
        let (report, report_write) = pipe2(OFlag::O_CLOEXEC).at(Step::CreateProcess)?;
        set_nonblocking(&report).at(Step::CreateProcess)?;
        if let Some(init) = &self.init {
            sys::set_namespaces(init.pidfd.as_fd(), libc::CLONE_NEWPID)
                .at(Step::EnterNamespaces)?;
        }
        let side = sys::clone_process(0, self.cgroup.v2_dir.as_ref().map(AsFd::as_fd));
        if let Ok(Side::Child) = side {
            let child = Child {
                cgroup: &self.cgroup,
                init: self.init.as_ref().map(|i| (i.pidfd.as_fd(), i.root.as_fd())),
                stdout: stdout.as_fd(),
                stderr: stderr.as_fd(),
                identity: &self.identity,
                image,
            };
            child.run(report_write.as_fd());
        }
        if let Some(init) = &self.init {
            let own = init.own_pid_namespace.as_fd();
            sys::set_namespaces(own, libc::CLONE_NEWPID).at(Step::EnterNamespaces)?;
        }
        match side.at(Step::CreateProcess)? {
            Side::Parent { pid, pidfd } => Ok(Spawned { pid, pidfd, report }),
            Side::Child => unreachable!("a child never comes here: it executes or exits"),
        }
    }

    /// Makes a child that runs a command, with its output on one pipe.
    pub(crate) fn spawn_command(&self, image: &Image) -> Result<(Spawned, OwnedFd), Failed> {
        let (read, write) = output_pipe(&self.identity).at(Step::ConnectStreams)?;
        Ok((self.spawn(image, &write, &write)?, read))
    }

    /// Kills all processes in the container; they are gone when they were reaped.
    pub(crate) fn kill_all(&self) {
        if let Some(init) = &self.init {
            // The kernel kills the whole pid namespace with it.
            let _ = sys::pidfd_send_signal(init.pidfd.as_fd(), libc::SIGKILL);
        }
        if self.v2_dir.is_some() || self.v1_freezer_dir.is_some() {
            let freezer = self.v1_freezer_dir.as_deref();
            // Another way was taken above already, and the agent empties the group as well.
            let _ = cgroup_kill::kill_all(self.v2_dir.as_deref(), freezer);
        }
    }

    /// Whether the container has namespaces of its own.
    pub(crate) fn is_isolated(&self) -> bool {
        self.init.is_some()
    }
}

/// Who goes on as the supervisor.
pub(crate) enum GoesOn {
    /// This process.
    This,
    /// Its sibling: this process is to end at once.
    Sibling,
}

/// The supervisor enters the leaf of the supervisors. A group of version 2 is entered by being born in
/// it: a move there waits until every processor has passed a quiet state, which takes ten milliseconds
/// on a busy machine (`cgroup_threadgroup_rwsem`).
pub(crate) fn enter_supervisor_cgroup(join: &CgroupJoin) -> Result<GoesOn, Failed> {
    let step = Step::EnterSupervisorCgroup;
    let group =
        open_cgroup(&join.v1_tasks_files, &join.v2_dir).map_err(|f| Failed { step, ..f })?;
    group.join_v1().map_err(|failed| Failed { step, ..failed })?;
    let Some(v2_dir) = group.v2_dir else { return Ok(GoesOn::This) };
    match sys::clone_sibling(v2_dir.as_fd()).at(step)? {
        Side::Parent { .. } => Ok(GoesOn::Sibling),
        Side::Child => Ok(GoesOn::This),
    }
}

/// Writes what is known of the start into the file that [`Container::start`] made.
pub(crate) fn write_started(
    record: &proffer_supervisor::wire::StartedRecord,
) -> std::io::Result<()> {
    OpenOptions::new().write(true).open(STARTED)?.write_all(&record.encode_to_vec())
}

fn kill_paths(join: &CgroupJoin) -> (Option<PathBuf>, Option<PathBuf>) {
    let path = |b: &Vec<u8>| (!b.is_empty()).then(|| PathBuf::from(std::ffi::OsStr::from_bytes(b)));
    (path(&join.v2_dir), path(&join.v1_freezer_dir))
}

fn start_init(spec: &LaunchSpec, cgroup: &CgroupHandles) -> Result<Init, Failed> {
    let plan = InitPlan::new(spec).at(Step::ReadSpec)?;
    let own_pid_namespace = File::open("/proc/self/ns/pid").at(Step::CreateProcess)?;
    let (report, report_write) = pipe2(OFlag::O_CLOEXEC).at(Step::CreateProcess)?;
    let side = sys::clone_process(NAMESPACES, cgroup.v2_dir.as_ref().map(AsFd::as_fd));
    let (pid, pidfd) = match side.at(Step::CreateProcess)? {
        Side::Child => plan.run(cgroup, report_write.as_fd()),
        Side::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop(report_write);
    match read_report(report.as_fd()) {
        Report::Ready => {
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY);
            let root = options.open(format!("/proc/{pid}/root")).at(Step::LostInit)?.into();
            Ok(Init { pid, pidfd, own_pid_namespace: own_pid_namespace.into(), root })
        }
        Report::Failed(failed) => Err(failed),
        Report::Executed | Report::Pending => {
            Err(Failed { step: Step::LostInit, errno: libc::ESRCH })
        }
    }
}

fn open_logs(spec: &LaunchSpec, identity: &Identity) -> Result<([LogStream; 2], Streams), Failed> {
    let limits = spec.log.unwrap_or(LogLimits { bytes_per_file_max: 10 << 20, files_max: 2 });
    let owner = if identity.set_user {
        (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid))
    } else {
        (nix::unistd::geteuid(), nix::unistd::getegid())
    };
    let stream = |name: &'static str| {
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(&spec.sandbox));
        let directory = File::open(path).at(Step::OpenSandbox)?;
        let file = RotatedFile::open(directory.into(), name, limits, owner).at(Step::OpenLog)?;
        let (read, write) = output_pipe(identity).at(Step::ConnectStreams)?;
        Ok((LogStream::new(read, file), write))
    };
    let (out, stdout) = stream("stdout")?;
    let (err, stderr) = stream("stderr")?;
    Ok(([out, err], Streams { stdout, stderr }))
}

/// A pipe whose ends belong to the task's user, so that it can open `/dev/stdout` again.
fn output_pipe(identity: &Identity) -> nix::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    if identity.set_user {
        fchown(&write, Some(Uid::from_raw(identity.uid)), Some(Gid::from_raw(identity.gid)))?;
    }
    set_nonblocking(&read)?;
    Ok((read, write))
}

/// Only on the end that is read here: the other end stays blocking for the task.
fn set_nonblocking(fd: &OwnedFd) -> nix::Result<()> {
    nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop)
}
