//! Owns what a cloned child does until it executes the task, or a command run inside (`exec`).
//!
//! Everything that can be prepared is prepared before the clone; here are only the steps, in an
//! order that matters: groups and namespaces while privileged, the user, then the working directory
//! as that user, last the descriptors. Seccomp filters are not set yet; they belong between
//! `no_new_privs` and `execve`.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid};
use proffer_supervisor::step::Step;
use proffer_supervisor::wire::{LaunchSpec, Rlimit};

use crate::image::Image;
use crate::sys;

/// How readily the kernel kills this process when memory runs out: -1000 to 1000.
const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// Highest capability number the kernel may know; the loop ends at its own highest.
const CAPABILITY_NUMBER_MAX: u32 = 63;

/// A failed step, on its way from a child to the supervisor.
pub(crate) struct Failed {
    pub(crate) step: Step,
    pub(crate) errno: i32,
}

/// Attaches the step to an error.
pub(crate) trait At<T> {
    fn at(self, step: Step) -> Result<T, Failed>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, step: Step) -> Result<T, Failed> {
        self.map_err(|e| Failed { step, errno: e.raw_os_error().unwrap_or(libc::EINVAL) })
    }
}

impl<T> At<T> for nix::Result<T> {
    fn at(self, step: Step) -> Result<T, Failed> {
        self.map_err(|e| Failed { step, errno: e as i32 })
    }
}

/// The control group of the container, open before the clone.
pub(crate) struct CgroupHandles {
    pub(crate) v1_tasks: Vec<OwnedFd>,
    pub(crate) v2_dir: Option<OwnedFd>,
}

impl CgroupHandles {
    /// The calling process enters the v1 groups. By the `tasks` files, of itself: that skips the
    /// kernel's global lock, for which a write to `cgroup.procs` waits some 10 ms.
    pub(crate) fn join_v1(&self) -> Result<(), Failed> {
        for file in &self.v1_tasks {
            nix::unistd::write(file, b"0").at(Step::JoinCgroup)?;
        }
        Ok(())
    }
}

/// Who the task is and what it may do.
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<Gid>,
    pub(crate) set_user: bool,
    /// `None`: leave the capabilities as they are.
    pub(crate) capabilities: Option<u64>,
    pub(crate) rlimits: Vec<Rlimit>,
    pub(crate) working_dir: CString,
    /// The agent's unit spares it, and us with it, when memory runs out. The task is not to be.
    pub(crate) is_spared: bool,
}

impl Identity {
    pub(crate) fn new(spec: &LaunchSpec) -> io::Result<Self> {
        let user = spec.user.clone().unwrap_or_default();
        let bit = |set: u64, number: &u32| set | 1_u64.checked_shl(*number).unwrap_or(0);
        Ok(Self {
            uid: user.uid,
            gid: user.gid,
            groups: user.supplementary_gids.iter().map(|g| Gid::from_raw(*g)).collect(),
            set_user: spec.set_user,
            capabilities: spec.isolate.then(|| spec.capabilities.iter().fold(0, bit)),
            rlimits: spec.rlimits.clone(),
            working_dir: CString::new(spec.working_dir.as_slice())?,
            is_spared: std::fs::read_to_string(OOM_SCORE)?.starts_with('-'),
        })
    }
}

/// Everything a child needs, borrowed from the supervisor's copy.
pub(crate) struct Child<'a> {
    pub(crate) cgroup: &'a CgroupHandles,
    /// The init whose mount, ipc and uts namespaces are entered (the pid namespace came with the
    /// clone), and its root directory.
    pub(crate) init: Option<(BorrowedFd<'a>, BorrowedFd<'a>)>,
    pub(crate) stdout: BorrowedFd<'a>,
    pub(crate) stderr: BorrowedFd<'a>,
    pub(crate) identity: &'a Identity,
    pub(crate) image: &'a Image,
}

impl Child<'_> {
    /// Runs in the child. Reports a failed step on `report`, which `execve` closes.
    pub(crate) fn run(&self, report: BorrowedFd<'_>) -> ! {
        let Err(failed) = self.steps();
        send_report(report, failed.step as u32, failed.errno);
        sys::exit_now(127)
    }

    fn steps(&self) -> Result<std::convert::Infallible, Failed> {
        if self.identity.is_spared {
            std::fs::write(OOM_SCORE, "0").at(Step::ResetOomScore)?;
        }
        // Nobody inside the namespaces may look into this copy of the supervisor before execve.
        sys::prctl(libc::PR_SET_DUMPABLE, 0, 0).at(Step::EnterNamespaces)?;
        self.cgroup.join_v1()?;
        if let Some((init, root)) = self.init {
            let namespaces = libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
            sys::set_namespaces(init, namespaces).at(Step::EnterNamespaces)?;
            nix::unistd::fchdir(root).at(Step::EnterNamespaces)?;
            nix::unistd::chroot(c".").at(Step::EnterNamespaces)?;
        }
        setsid().at(Step::NewSession)?;
        nix::unistd::dup2_stdout(self.stdout).at(Step::ConnectStreams)?;
        nix::unistd::dup2_stderr(self.stderr).at(Step::ConnectStreams)?;
        for limit in &self.identity.rlimits {
            sys::set_rlimit(limit.resource, limit.soft, limit.hard).at(Step::SetRlimit)?;
        }
        umask(Mode::from_bits_truncate(0o022));
        reset_signals()?;
        self.become_user()?;
        enter_directory(&self.identity.working_dir)?;
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).at(Step::NoNewPrivileges)?;
        sys::close_range_on_exec(3).at(Step::CloseDescriptors)?;
        Err(self.image.execute()).at(Step::Execute)
    }

    fn become_user(&self) -> Result<(), Failed> {
        let identity = self.identity;
        if let Some(kept) = identity.capabilities {
            drop_bounding_set(kept).at(Step::DropCapabilities)?;
        }
        if identity.set_user {
            let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
            setgroups(&identity.groups).at(Step::SetUser)?;
            setresgid(gid, gid, gid).at(Step::SetUser)?;
            setresuid(uid, uid, uid).at(Step::SetUser)?;
        }
        if let Some(kept) = identity.capabilities {
            // Another user than root has lost all of them by now and keeps none.
            let set = if identity.uid == 0 { kept } else { 0 };
            sys::set_capabilities(set).at(Step::DropCapabilities)?;
        }
        Ok(())
    }
}

/// Drops what is not in the set from the bounding set, and everything from the ambient one.
pub(crate) fn drop_bounding_set(kept: u64) -> io::Result<()> {
    for number in 0..=CAPABILITY_NUMBER_MAX {
        if kept & (1 << number) != 0 {
            continue;
        }
        match sys::prctl(libc::PR_CAPBSET_DROP, u64::from(number), 0) {
            Ok(_) => {}
            // The first number the kernel does not know: there are no more.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => break,
            Err(e) => return Err(e),
        }
    }
    sys::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0).map(drop)
}

fn reset_signals() -> Result<(), Failed> {
    for signal in 1..=64 {
        sys::default_signal_action(signal);
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).at(Step::ResetSignals)
}

/// By an open directory and without magic links, so that no path through `/proc/self/fd` leads
/// out of the container.
fn enter_directory(path: &CString) -> Result<(), Failed> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let directory = sys::open_resolved(path, flags, sys::Walk::NoMagicLinks).at(Step::ChangeDir)?;
    nix::unistd::fchdir(directory.as_fd()).at(Step::ChangeDir)
}

/// Sends (step, errno) in one write; step 0 says that all went well.
pub(crate) fn send_report(report: BorrowedFd<'_>, step: u32, errno: i32) {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&step.to_le_bytes());
    bytes[4..].copy_from_slice(&errno.to_le_bytes());
    // If the supervisor is gone there is nobody to tell.
    let _ = nix::unistd::write(report, &bytes);
}

/// What came through a report pipe.
pub(crate) enum Report {
    /// Nothing yet.
    Pending,
    /// Closed without a word: the program executes.
    Executed,
    /// The child said that it is ready.
    Ready,
    /// A step failed.
    Failed(Failed),
}

/// Reads a report pipe.
pub(crate) fn read_report(report: BorrowedFd<'_>) -> Report {
    let mut bytes = [0; 8];
    match nix::unistd::read(report, &mut bytes) {
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => Report::Pending,
        Ok(8) => {
            let (step, errno) = bytes.split_at(4);
            let number = |b: &[u8]| u32::from_le_bytes(b.try_into().expect("cut at four of eight"));
            match Step::from_number(number(step)) {
                Some(step) => Report::Failed(Failed { step, errno: number(errno) as i32 }),
                None => Report::Ready,
            }
        }
        Ok(_) | Err(_) => Report::Executed,
    }
}
