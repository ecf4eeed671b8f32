//! Owns the system calls that `nix` does not wrap. The only unsafe code of the project.
//!
//! The supervisor is a single-threaded process: a child made by `clone3` without `CLONE_VM` owns a
//! consistent copy of everything, so it may go on in Rust. That is assumed by [`clone_process`].
#![expect(unsafe_code, reason = "raw system calls of the launcher, each with its argument")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use libc::{c_char, c_int, c_long, c_uint};

/// Turns the result of a raw system call into a value or the error it set.
fn checked(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(result: c_long) -> io::Result<OwnedFd> {
    let fd = checked(result)? as RawFd;
    // SAFETY: the call just made this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Which side of [`clone_process`] this is.
pub(crate) enum Side {
    /// The new process.
    Child,
    /// The caller, with the child's process id and a descriptor of it.
    Parent {
        /// In the caller's numbering.
        pid: i32,
        /// Names the process for ever, also when the number is used again.
        pidfd: OwnedFd,
    },
}

/// Enter the control group given by descriptor (`linux/sched.h`; the constant of `libc` is too narrow).
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A copy of this process, in the given new namespaces and in the given v2 control group.
///
/// # Assumes
/// The process has one thread. The child must not return from the function it was made in: it ends
/// by `execve` or `_exit`.
pub(crate) fn clone_process(namespaces: c_int, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Side> {
    clone(namespaces as u64, libc::SIGCHLD, cgroup)
}

/// A copy of this process in the given v2 control group and with the same parent, which is told of its
/// end as of ours.
///
/// # Assumes
/// The process has one thread.
pub(crate) fn clone_sibling(cgroup: BorrowedFd<'_>) -> io::Result<Side> {
    // A sibling's signal is that of the one it is copied from.
    clone(libc::CLONE_PARENT as u64, 0, Some(cgroup))
}

fn clone(flags: u64, exit_signal: c_int, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Side> {
    let mut pidfd: c_int = -1;
    // SAFETY: clone_args is plain numbers, for which zero is "not used".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = libc::CLONE_PIDFD as u64 | flags;
    args.pidfd = ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = exit_signal as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` and `pidfd` outlive the call; no stack is given, so the child runs on its own
    // copy of this one, as after fork; the process has one thread (see above).
    let pid = checked(unsafe {
        libc::syscall(libc::SYS_clone3, ptr::from_mut(&mut args), size_of::<libc::clone_args>())
    })?;
    if pid == 0 {
        return Ok(Side::Child);
    }
    // SAFETY: the kernel stored a new descriptor there because of CLONE_PIDFD.
    Ok(Side::Parent { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
}

/// Sends a signal to exactly that process.
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: c_int) -> io::Result<()> {
    // SAFETY: no pointer is passed but the null one, which is allowed.
    checked(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(drop)
}

/// A `prctl` with plain numbers.
pub(crate) fn prctl(option: c_int, a: u64, b: u64) -> io::Result<c_int> {
    // SAFETY: used only with options whose arguments are numbers, see the callers.
    checked(c_long::from(unsafe { libc::prctl(option, a, b, 0_u64, 0_u64) })).map(|v| v as c_int)
}

/// Names this process for people.
pub(crate) fn set_process_name(name: &CStr) {
    // SAFETY: the kernel copies at most 16 bytes of a string that ends with NUL.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Sets the permitted and effective capabilities to this set, the inheritable ones to none.
pub(crate) fn set_capabilities(set: u64) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    /// `_LINUX_CAPABILITY_VERSION_3`: two words of 32 capabilities.
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let words = [set as u32, (set >> 32) as u32];
    let data = words.map(|w| Data { effective: w, permitted: w, inheritable: 0 });
    // SAFETY: both structures have the kernel's layout for this version and outlive the call.
    checked(unsafe { libc::syscall(libc::SYS_capset, ptr::from_ref(&header), data.as_ptr()) })
        .map(drop)
}

/// Marks every descriptor from `first` on to be closed by `execve`.
pub(crate) fn close_range_on_exec(first: RawFd) -> io::Result<()> {
    /// `CLOSE_RANGE_CLOEXEC`
    const CLOEXEC: c_uint = 1 << 2;
    close_range(first as c_uint, c_uint::MAX, CLOEXEC)
}

/// Closes every descriptor from `first` on. Only for a child that uses none of them again.
pub(crate) fn close_from(first: RawFd) -> io::Result<()> {
    close_range(first as c_uint, c_uint::MAX, 0)
}

fn close_range(first: c_uint, last: c_uint, flags: c_uint) -> io::Result<()> {
    // SAFETY: numbers only; the callers say who may still hold these descriptors.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// Sets one limit by the kernel's number of it.
pub(crate) fn set_rlimit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the structure outlives the call; pid 0 is this process.
    checked(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            ptr::from_ref(&limit),
            ptr::null::<libc::rlimit>(),
        )
    })
    .map(drop)
}

/// Gives a signal its default action again (Rust ignores SIGPIPE at its start). Past the C library,
/// which would not touch the two signals that it keeps for itself.
pub(crate) fn default_signal_action(signal: c_int) {
    #[repr(C)]
    struct KernelAction {
        handler: usize,
        flags: libc::c_ulong,
        restorer: usize,
        mask: u64,
    }
    let action = KernelAction { handler: libc::SIG_DFL, flags: 0, restorer: 0, mask: 0 };
    // SAFETY: the structure has the kernel's layout and outlives the call; 8 is the size of its
    // mask. An error (SIGKILL, SIGSTOP) means that the default is in force anyway.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            ptr::from_ref(&action),
            ptr::null::<KernelAction>(),
            size_of::<u64>(),
        )
    };
}

/// Lets the kernel reap the children of this process.
pub(crate) fn ignore_children() {
    // SAFETY: SIG_IGN is no function of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Replaces this process; returns only an error. The arrays end with null pointers, see
/// [`PointerArray`].
pub(crate) fn execve(path: &CStr, argv: &PointerArray, envp: &PointerArray) -> io::Error {
    // SAFETY: the arrays hold pointers into strings they keep alive, and end with null.
    unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// Strings with the null-ended array of pointers to them that `execve` takes.
pub(crate) struct PointerArray {
    pointers: Vec<*const c_char>,
    _strings: Vec<std::ffi::CString>,
}

impl PointerArray {
    /// Takes the strings; moving the array does not move them.
    pub(crate) fn new(strings: Vec<std::ffi::CString>) -> Self {
        let mut pointers: Vec<*const c_char> = strings.iter().map(|s| s.as_ptr()).collect();
        pointers.push(ptr::null());
        Self { pointers, _strings: strings }
    }
}

/// Ends this process without running anything of the parent's at exit.
pub(crate) fn exit_now(code: c_int) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// Nanoseconds since boot, counting sleep.
pub(crate) fn boottime_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure outlives the call; this clock exists on every kernel we run on.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A timer descriptor on the clock of [`boottime_ns`].
pub(crate) fn boottime_timer() -> io::Result<OwnedFd> {
    let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
    // SAFETY: numbers only.
    owned(c_long::from(unsafe { libc::timerfd_create(libc::CLOCK_BOOTTIME, flags) }))
}

/// Sets the moment at which the timer becomes readable; `None` stops it.
pub(crate) fn set_timer(timer: BorrowedFd<'_>, at_ns: Option<u64>) -> io::Result<()> {
    // A moment of zero would stop it; one nanosecond after boot is as much in the past.
    let at = at_ns.map_or(0, |t| t.max(1));
    let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let value = libc::timespec {
        tv_sec: i64::try_from(at / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: (at % 1_000_000_000) as c_long,
    };
    let spec = libc::itimerspec { it_interval: zero, it_value: value };
    // SAFETY: the structure outlives the call; the old value is not asked for.
    checked(c_long::from(unsafe {
        libc::timerfd_settime(timer.as_raw_fd(), libc::TFD_TIMER_ABSTIME, &spec, ptr::null_mut())
    }))
    .map(drop)
}

/// How a path may be walked by [`open_resolved`].
#[derive(Clone, Copy)]
pub(crate) enum Walk {
    /// No symbolic link anywhere in it.
    NoSymlinks,
    /// Links are followed, but not the magic ones of `/proc`.
    NoMagicLinks,
}

/// Opens a path as `openat2` with that walk.
pub(crate) fn open_resolved(path: &CStr, flags: c_int, walk: Walk) -> io::Result<OwnedFd> {
    // SAFETY: open_how is plain numbers, for which zero is "not used".
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.resolve = match walk {
        Walk::NoSymlinks => libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS,
        Walk::NoMagicLinks => libc::RESOLVE_NO_MAGICLINKS,
    };
    // SAFETY: path and structure outlive the call.
    owned(unsafe {
        libc::syscall(
            libc::SYS_openat2,
            libc::AT_FDCWD,
            path.as_ptr(),
            ptr::from_ref(&how),
            size_of::<libc::open_how>(),
        )
    })
}

const OPEN_TREE_CLONE: c_uint = 1;
const AT_RECURSIVE: c_uint = 0x8000;
const MOVE_MOUNT_F_EMPTY_PATH: c_uint = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: c_uint = 0x40;
const FSCONFIG_SET_FLAG: c_uint = 0;
const FSCONFIG_SET_STRING: c_uint = 1;
const FSCONFIG_CMD_CREATE: c_uint = 6;

/// Attributes of a mount, as in `linux/mount.h`.
pub(crate) mod mount_attr {
    /// Nothing can be written.
    pub(crate) const RDONLY: u64 = 1;
    /// Set-user-id bits mean nothing.
    pub(crate) const NOSUID: u64 = 2;
    /// Device nodes cannot be opened.
    pub(crate) const NODEV: u64 = 4;
    /// Nothing can be executed.
    pub(crate) const NOEXEC: u64 = 8;
}

/// A detached copy of the mount at an open path (`recursive`: with those below it).
pub(crate) fn copy_mount(at: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as c_uint | libc::AT_EMPTY_PATH as c_uint;
    if recursive {
        flags |= AT_RECURSIVE;
    }
    // SAFETY: the empty path is a static string.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, at.as_raw_fd(), c"".as_ptr(), flags) })
}

/// A detached new file system. An option without a value is a flag.
pub(crate) fn new_mount(
    kind: &CStr,
    options: &[(&CStr, Option<&CStr>)],
    attr: u64,
) -> io::Result<OwnedFd> {
    // SAFETY: the name outlives the call; 1 is FSOPEN_CLOEXEC.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), 1) })?;
    let configure = |command: c_uint, key: *const c_char, value: *const c_char| {
        // SAFETY: key and value are null or strings that outlive the call.
        checked(unsafe {
            libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key, value, 0)
        })
    };
    for (key, value) in options {
        match value {
            Some(value) => configure(FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())?,
            None => configure(FSCONFIG_SET_FLAG, key.as_ptr(), ptr::null())?,
        };
    }
    configure(FSCONFIG_CMD_CREATE, ptr::null(), ptr::null())?;
    // SAFETY: numbers only; 1 is FSMOUNT_CLOEXEC.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 1, attr) })
}

/// Puts a detached mount on an open directory or file.
pub(crate) fn attach_mount(mount: BorrowedFd<'_>, at: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both paths are the empty static string.
    checked(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            at.as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// Sets attributes on a mount and on all below it.
pub(crate) fn set_mount_attr(mount: BorrowedFd<'_>, attr: u64) -> io::Result<()> {
    #[repr(C)]
    struct MountAttr {
        set: u64,
        clear: u64,
        propagation: u64,
        userns_fd: u64,
    }
    let attr = MountAttr { set: attr, clear: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the structure has the kernel's layout and outlives the call; the path is empty.
    checked(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH as c_uint | AT_RECURSIVE,
            ptr::from_ref(&attr),
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// Enters namespaces of the process behind a pidfd, or of an open namespace file.
pub(crate) fn set_namespaces(fd: BorrowedFd<'_>, namespaces: c_int) -> io::Result<()> {
    // SAFETY: numbers only.
    checked(c_long::from(unsafe { libc::setns(fd.as_raw_fd(), namespaces) })).map(drop)
}

/// The user id at the other end of a unix socket.
pub(crate) fn peer_uid(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: structure and length outlive the call and fit each other.
    checked(c_long::from(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            ptr::from_mut(&mut credentials).cast(),
            &mut length,
        )
    }))?;
    Ok(credentials.uid)
}

/// Waits until the process ends, for ever.
pub(crate) fn pause() {
    // SAFETY: takes nothing.
    unsafe { libc::pause() };
}

/// Takes ownership of a descriptor that a call outside this module just returned.
pub(crate) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the callers pass the result of accept4, which nobody else knows.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself.
    Code(i32),
    /// By a signal, real-time ones included (which `nix` cannot name).
    Signal(i32),
}

/// Reaps one child that has ended, if there is one.
pub(crate) fn reap() -> io::Result<Option<(i32, End)>> {
    let mut status: c_int = 0;
    // SAFETY: the status outlives the call.
    let pid = checked(c_long::from(unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) }))?;
    if pid == 0 {
        return Ok(None);
    }
    let end = if libc::WIFSIGNALED(status) {
        End::Signal(libc::WTERMSIG(status))
    } else {
        End::Code(libc::WEXITSTATUS(status))
    };
    Ok(Some((pid as i32, end)))
}
