//! Owns the first process of a container's namespaces: it makes them what they should be, then
//! gives everything up and only keeps them alive.
//!
//! The task is not its child: the supervisor clones the task itself into the pid namespace, so
//! that the task is an ordinary process there (default signal actions work), its exit goes to the
//! supervisor and orphans go to init. When init is killed the kernel kills all that is in there.
//! Init dies with its supervisor: nothing runs without one.
//!
//! Mounts are made detached and put on open targets that were walked without symbolic links.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mkdirat, mknod, umask};
use proffer_supervisor::step::Step;
use proffer_supervisor::wire::{Bind, LaunchSpec};

use crate::child::{At, CgroupHandles, Failed, drop_bounding_set, send_report};
use crate::sys::{self, Walk, mount_attr};

/// The namespaces of a container.
pub(crate) const NAMESPACES: i32 =
    libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// Size of `/dev` itself: nodes and links, no files.
const DEV_BYTES: &CStr = c"65536";
/// Size of `/dev/shm`; what is written there is charged to the container's memory.
const SHM_BYTES: &CStr = c"67108864";
/// The group that owns terminals on every distribution.
const TTY_GID: &CStr = c"5";

/// Name, major and minor of the devices of every container.
const DEVICES: [(&CStr, u64, u64); 6] = [
    (c"/dev/null", 1, 3),
    (c"/dev/zero", 1, 5),
    (c"/dev/full", 1, 7),
    (c"/dev/random", 1, 8),
    (c"/dev/urandom", 1, 9),
    (c"/dev/tty", 5, 0),
];

const LINKS: [(&CStr, &CStr); 5] = [
    (c"/proc/self/fd", c"/dev/fd"),
    (c"/proc/self/fd/0", c"/dev/stdin"),
    (c"/proc/self/fd/1", c"/dev/stdout"),
    (c"/proc/self/fd/2", c"/dev/stderr"),
    (c"pts/ptmx", c"/dev/ptmx"),
];

/// What init does, prepared before the clone.
pub(crate) struct InitPlan {
    root_dir: Option<CString>,
    sandbox: CString,
    sandbox_in_root: CString,
    /// Directories, and where they appear as the task sees it.
    binds: Vec<(CString, CString)>,
    hostname: String,
    masked: Vec<CString>,
    readonly: Vec<CString>,
}

impl InitPlan {
    pub(crate) fn new(spec: &LaunchSpec) -> std::io::Result<Self> {
        let text = |b: &[u8]| CString::new(b).map_err(std::io::Error::from);
        let all = |l: &[Vec<u8>]| l.iter().map(|b| text(b)).collect::<Result<Vec<_>, _>>();
        Ok(Self {
            root_dir: if spec.root_dir.is_empty() { None } else { Some(text(&spec.root_dir)?) },
            sandbox: text(&spec.sandbox)?,
            sandbox_in_root: text(&spec.sandbox_in_root)?,
            binds: binds(spec)?,
            hostname: spec.hostname.clone(),
            masked: all(&spec.masked_paths)?,
            readonly: all(&spec.readonly_paths)?,
        })
    }

    /// Runs in the clone; never returns.
    pub(crate) fn run(&self, cgroup: &CgroupHandles, report: BorrowedFd<'_>) -> ! {
        match self.steps(cgroup) {
            Ok(()) => send_report(report, 0, 0),
            Err(failed) => {
                send_report(report, failed.step as u32, failed.errno);
                sys::exit_now(1);
            }
        }
        // Also the report pipe and everything inherited: init holds nothing open.
        if sys::close_from(0).is_err() {
            sys::exit_now(1);
        }
        loop {
            sys::pause();
        }
    }

    fn steps(&self, cgroup: &CgroupHandles) -> Result<(), Failed> {
        sys::set_process_name(c"proffer-init");
        sys::prctl(libc::PR_SET_DUMPABLE, 0, 0).at(Step::DropInitPrivileges)?;
        cgroup.join_v1()?;
        nix::unistd::setsid().at(Step::NewSession)?;
        umask(Mode::empty());
        none_mount(c"/", MsFlags::MS_REC | MsFlags::MS_PRIVATE).at(Step::PrivateMounts)?;
        let volumes = self.open_binds()?;
        if let Some(root) = &self.root_dir {
            self.change_root(root)?;
        }
        for (volume, (_, target)) in volumes.iter().zip(&self.binds) {
            let target = open_dir(target).at(Step::MountVolume)?;
            sys::attach_mount(volume.as_fd(), target.as_fd()).at(Step::MountVolume)?;
        }
        mount_proc()?;
        self.mount_sys()?;
        mount_dev()?;
        self.cover_paths()?;
        if !self.hostname.is_empty() {
            nix::unistd::sethostname(&self.hostname).at(Step::SetHostname)?;
        }
        umask(Mode::from_bits_truncate(0o022));
        give_up_privileges()
    }

    /// While the machine's own root is in sight.
    fn open_binds(&self) -> Result<Vec<OwnedFd>, Failed> {
        let open = |(source, _): &(CString, CString)| {
            let directory = open_dir(source).at(Step::OpenVolume)?;
            sys::copy_mount(directory.as_fd(), false).at(Step::OpenVolume)
        };
        self.binds.iter().map(open).collect()
    }

    fn change_root(&self, root: &CStr) -> Result<(), Failed> {
        let sandbox = open_dir(&self.sandbox).at(Step::OpenSandbox)?;
        let sandbox = sys::copy_mount(sandbox.as_fd(), false).at(Step::OpenSandbox)?;
        // A mount of its own, which pivot_root asks for; the old root is stacked below and taken off.
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(root), root, None::<&CStr>, bind, None::<&CStr>).at(Step::ChangeRoot)?;
        nix::unistd::chdir(root).at(Step::ChangeRoot)?;
        nix::unistd::pivot_root(c".", c".").at(Step::ChangeRoot)?;
        umount2(c".", MntFlags::MNT_DETACH).at(Step::ChangeRoot)?;
        nix::unistd::chdir(c"/").at(Step::ChangeRoot)?;
        let target = mount_point(&self.sandbox_in_root).at(Step::MountSandbox)?;
        sys::attach_mount(sandbox.as_fd(), target.as_fd()).at(Step::MountSandbox)
    }

    /// Without write access nobody inside can move himself to another control group, though `/sys`
    /// shows them all.
    fn mount_sys(&self) -> Result<(), Failed> {
        if self.root_dir.is_none() {
            let sys_dir = open_dir(c"/sys").at(Step::MountSys)?;
            let copy = sys::copy_mount(sys_dir.as_fd(), true).at(Step::MountSys)?;
            sys::set_mount_attr(copy.as_fd(), mount_attr::RDONLY).at(Step::MountSys)?;
            return sys::attach_mount(copy.as_fd(), sys_dir.as_fd()).at(Step::MountSys);
        }
        let attr = mount_attr::RDONLY | mount_attr::NOSUID | mount_attr::NODEV | mount_attr::NOEXEC;
        place(c"sysfs", &[], attr, c"/sys", Step::MountSys)
    }

    fn cover_paths(&self) -> Result<(), Failed> {
        let null = open_path(c"/dev/null").at(Step::MaskPath)?;
        for path in &self.masked {
            let Some(target) = existing(path).at(Step::MaskPath)? else { continue };
            let cover = if is_dir(&target).at(Step::MaskPath)? {
                let attr = mount_attr::RDONLY | mount_attr::NOSUID | mount_attr::NODEV;
                sys::new_mount(c"tmpfs", &[(c"size", Some(c"0k")), (c"mode", Some(c"555"))], attr)
            } else {
                sys::copy_mount(null.as_fd(), false)
            };
            let cover = cover.at(Step::MaskPath)?;
            sys::attach_mount(cover.as_fd(), target.as_fd()).at(Step::MaskPath)?;
        }
        for path in &self.readonly {
            let Some(target) = existing(path).at(Step::ReadonlyPath)? else { continue };
            let copy = sys::copy_mount(target.as_fd(), true).at(Step::ReadonlyPath)?;
            let attr = mount_attr::RDONLY | mount_attr::NOSUID | mount_attr::NODEV;
            sys::set_mount_attr(copy.as_fd(), attr | mount_attr::NOEXEC).at(Step::ReadonlyPath)?;
            sys::attach_mount(copy.as_fd(), target.as_fd()).at(Step::ReadonlyPath)?;
        }
        Ok(())
    }
}

fn binds(spec: &LaunchSpec) -> std::io::Result<Vec<(CString, CString)>> {
    let seen = if spec.root_dir.is_empty() { &spec.sandbox } else { &spec.sandbox_in_root };
    let bind = |bind: &Bind| {
        let target = [seen.as_slice(), b"/", bind.target.as_slice()].concat();
        Ok((CString::new(bind.source.as_slice())?, CString::new(target)?))
    };
    spec.binds.iter().map(bind).collect()
}

fn mount_proc() -> Result<(), Failed> {
    let attr = mount_attr::NOSUID | mount_attr::NODEV | mount_attr::NOEXEC;
    place(c"proc", &[], attr, c"/proc", Step::MountProc)
}

/// The nodes are made here, so there is nothing to bind and verify; without CAP_MKNOD the task can
/// make no others.
fn mount_dev() -> Result<(), Failed> {
    let options: [(&CStr, Option<&CStr>); 2] =
        [(c"size", Some(DEV_BYTES)), (c"mode", Some(c"755"))];
    let attr = mount_attr::NOSUID | mount_attr::NOEXEC;
    place(c"tmpfs", &options, attr, c"/dev", Step::MountDev)?;
    for (path, major, minor) in DEVICES {
        let mode = Mode::from_bits_truncate(0o666);
        mknod(path, SFlag::S_IFCHR, mode, makedev(major, minor)).at(Step::MakeDevice)?;
    }
    for (target, link) in LINKS {
        nix::unistd::symlinkat(target, nix::fcntl::AT_FDCWD, link).at(Step::MakeDevice)?;
    }
    let options: [(&CStr, Option<&CStr>); 4] = [
        (c"newinstance", None),
        (c"ptmxmode", Some(c"666")),
        (c"mode", Some(c"620")),
        (c"gid", Some(TTY_GID)),
    ];
    place(
        c"devpts",
        &options,
        mount_attr::NOSUID | mount_attr::NOEXEC,
        c"/dev/pts",
        Step::MountPts,
    )?;
    let options: [(&CStr, Option<&CStr>); 2] =
        [(c"size", Some(SHM_BYTES)), (c"mode", Some(c"1777"))];
    let attr = mount_attr::NOSUID | mount_attr::NODEV | mount_attr::NOEXEC;
    place(c"tmpfs", &options, attr, c"/dev/shm", Step::MountShm)
}

/// Init only has to exist from now on, and to die with its supervisor. The report that follows
/// fails if the supervisor died before this took hold.
fn give_up_privileges() -> Result<(), Failed> {
    sys::ignore_children();
    drop_bounding_set(0).at(Step::DropInitPrivileges)?;
    sys::set_capabilities(0).at(Step::DropInitPrivileges)?;
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).at(Step::DropInitPrivileges)?;
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0).at(Step::DropInitPrivileges)?;
    Ok(())
}

fn place(
    kind: &CStr,
    options: &[(&CStr, Option<&CStr>)],
    attr: u64,
    at: &CStr,
    step: Step,
) -> Result<(), Failed> {
    let new = sys::new_mount(kind, options, attr).at(step)?;
    let target = mount_point(at).at(step)?;
    sys::attach_mount(new.as_fd(), target.as_fd()).at(step)
}

/// Opens a directory to mount on, making it if it is missing.
fn mount_point(path: &CStr) -> std::io::Result<OwnedFd> {
    match open_dir(path) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
            mkdirat(nix::fcntl::AT_FDCWD, path, Mode::from_bits_truncate(0o755))?;
            open_dir(path)
        }
        other => other,
    }
}

fn open_dir(path: &CStr) -> std::io::Result<OwnedFd> {
    sys::open_resolved(path, libc::O_PATH | libc::O_DIRECTORY, Walk::NoSymlinks)
}

fn open_path(path: &CStr) -> std::io::Result<OwnedFd> {
    sys::open_resolved(path, libc::O_PATH, Walk::NoSymlinks)
}

fn existing(path: &CStr) -> std::io::Result<Option<OwnedFd>> {
    match open_path(path) {
        Ok(fd) => Ok(Some(fd)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(e) => Err(e),
    }
}

fn is_dir(fd: &OwnedFd) -> nix::Result<bool> {
    let stat = nix::sys::stat::fstat(fd.as_fd())?;
    Ok(SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR)
}

fn none_mount(target: &CStr, flags: MsFlags) -> nix::Result<()> {
    mount(None::<&CStr>, target, None::<&CStr>, flags, None::<&CStr>)
}

/// Opens the v1 `tasks` files and the v2 directory of a control group.
pub(crate) fn open_cgroup(tasks: &[Vec<u8>], v2_dir: &[u8]) -> Result<CgroupHandles, Failed> {
    use std::os::unix::ffi::OsStrExt;
    let path = |b: &[u8]| Path::new(std::ffi::OsStr::from_bytes(b)).to_owned();
    let open_tasks = |b: &Vec<u8>| {
        let file = std::fs::OpenOptions::new().write(true).open(path(b));
        file.map(OwnedFd::from).at(Step::OpenCgroup)
    };
    Ok(CgroupHandles {
        v1_tasks: tasks.iter().map(open_tasks).collect::<Result<_, _>>()?,
        v2_dir: match v2_dir {
            [] => None,
            dir => Some(std::fs::File::open(path(dir)).map(OwnedFd::from).at(Step::OpenCgroup)?),
        },
    })
}
