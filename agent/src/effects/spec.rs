//! From the core's container request to the containerizer's spec: names of users and limits become
//! numbers, the environment is completed, the sandbox is made.

use crate::containerizer::{
    ContainerId, ContainerSpec, ContainerUser, IsolationLevel, KillPolicy, LogLimits, Rlimit,
    RlimitResource, VolumeDir,
};
use crate::work_dir::WorkDir;
use nix::unistd::{Gid, Uid, User};
use proffer_agent_core::container::{ContainerRequest, PrepareFailure, VolumeMount};
use std::ffi::CString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where programs without a `/` are looked up when the template says nothing.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Only the task's user and the agent see a sandbox.
const SANDBOX_MODE: u32 = 0o700;
/// Everybody may write into a shared volume, and remove what is his own.
const SHARED_MODE: u32 = 0o1777;

/// What every spec of an agent has in common.
#[derive(Clone, Debug)]
pub(crate) struct SpecContext {
    pub(crate) agent_name: String,
    pub(crate) address: String,
    pub(crate) isolation: IsolationLevel,
    pub(crate) work_dir: WorkDir,
}

/// Makes the sandbox and the spec. Blocks on the disk and on the user database.
pub(crate) fn spec_of(
    request: &ContainerRequest,
    sandbox: PathBuf,
    context: &SpecContext,
) -> Result<ContainerSpec, PrepareFailure> {
    let id =
        ContainerId::new(request.container.as_str()).map_err(|error| refused(error.to_string()))?;
    let user = user_of(request.user.as_deref())?;
    make_sandbox(&sandbox, &user)?;
    let volumes = request
        .volumes
        .iter()
        .map(|mount| place_volume(mount, &sandbox, &user, context))
        .collect::<Result<Vec<_>, _>>()?;
    let mut spec = ContainerSpec::new(id, sandbox, request.command.clone());
    spec.env = environment(request, &spec.sandbox, context);
    spec.user = user;
    spec.volumes = volumes;
    spec.root_dir = request.root.as_ref().map(PathBuf::from);
    spec.working_dir = request.workdir.as_ref().map(PathBuf::from);
    spec.rlimits = rlimits(request)?;
    spec.cpu_millis = (request.cpus.0 > 0).then_some(request.cpus.0);
    spec.cpu_ceiling = request.cpu_limit;
    spec.memory_bytes = (request.memory.0 > 0).then_some(request.memory.0);
    spec.pids_max = Some(request.pids_max);
    spec.log =
        LogLimits { bytes_per_file_max: request.log.file_max.0, files_max: request.log.files };
    spec.kill_policy = kill_policy(request.kill);
    spec.stop_after = request.stop_after.map(|span| Duration::from_millis(span.0));
    spec.isolation_at_least = context.isolation;
    if context.isolation == IsolationLevel::Process {
        // Without control groups there is nothing to enforce these with, and the operator chose
        // that; every status says so (K20).
        spec.cpu_millis = None;
        spec.memory_bytes = None;
        spec.pids_max = None;
    }
    Ok(spec)
}

/// The containerizer's words for a kill policy.
pub(crate) fn kill_policy(policy: proffer_types::template::KillPolicy) -> KillPolicy {
    KillPolicy { signal: policy.signal, grace: Duration::from_millis(policy.grace.0) }
}

fn refused(message: String) -> PrepareFailure {
    PrepareFailure::Refused { message }
}

fn failed(step: &str, error: &std::io::Error) -> PrepareFailure {
    PrepareFailure::Failed {
        step: step.to_owned(),
        errno: error.raw_os_error().unwrap_or(0),
        message: error.to_string(),
    }
}

fn environment(
    request: &ContainerRequest,
    sandbox: &Path,
    context: &SpecContext,
) -> Vec<(String, String)> {
    let seen = match request.root {
        Some(_) => crate::containerizer::SANDBOX_IN_ROOT.to_owned(),
        None => sandbox.display().to_string(),
    };
    let ours = [
        ("PATH", PATH.to_owned()),
        ("HOME", seen.clone()),
        ("PROFFER_SANDBOX", seen),
        ("PROFFER_TASK", request.task.to_string()),
        ("PROFFER_FRAMEWORK", request.framework.to_string()),
        ("PROFFER_CONTAINER", request.container.to_string()),
        ("PROFFER_AGENT", context.agent_name.clone()),
        ("PROFFER_ADDRESS", context.address.clone()),
    ];
    let mut env: Vec<(String, String)> = ours
        .into_iter()
        .filter(|(name, _)| !request.env.contains_key(*name))
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    env.extend(request.env.iter().map(|(name, value)| (name.clone(), value.clone())));
    env
}

fn user_of(name: Option<&str>) -> Result<ContainerUser, PrepareFailure> {
    let Some(name) = name else {
        let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
        return Ok(numbers(uid, gid, &[]));
    };
    let lookup = |error: nix::errno::Errno| failed("look up user", &error.into());
    if let Ok(uid) = name.parse::<u32>() {
        // A number without an entry is its own group and nothing else.
        let entry = User::from_uid(Uid::from_raw(uid)).map_err(lookup)?;
        let gid = entry.as_ref().map_or(Gid::from_raw(uid), |user| user.gid);
        let groups = entry.map(|user| groups_of(&user)).transpose()?.unwrap_or_default();
        return Ok(numbers(Uid::from_raw(uid), gid, &groups));
    }
    let user = User::from_name(name)
        .map_err(lookup)?
        .ok_or_else(|| refused(format!("there is no user {name:?} on this machine")))?;
    let groups = groups_of(&user)?;
    Ok(numbers(user.uid, user.gid, &groups))
}

fn groups_of(user: &User) -> Result<Vec<Gid>, PrepareFailure> {
    let name = CString::new(user.name.as_str())
        .map_err(|_| refused("the user's name holds a NUL byte".to_owned()))?;
    nix::unistd::getgrouplist(&name, user.gid)
        .map_err(|error| failed("look up groups", &error.into()))
}

fn numbers(uid: Uid, gid: Gid, groups: &[Gid]) -> ContainerUser {
    let others = groups.iter().filter(|group| **group != gid);
    ContainerUser {
        uid: uid.as_raw(),
        gid: gid.as_raw(),
        supplementary_gids: others.map(|group| group.as_raw()).collect(),
    }
}

fn make_sandbox(path: &Path, user: &ContainerUser) -> Result<(), PrepareFailure> {
    match std::fs::create_dir(path) {
        Ok(()) => {}
        // Left by a life of the agent that died before the container started.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("create sandbox", &error)),
    }
    let mode = std::fs::Permissions::from_mode(SANDBOX_MODE);
    std::fs::set_permissions(path, mode).map_err(|error| failed("create sandbox", &error))?;
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid))
            .map_err(|error| failed("give sandbox to its user", &error))?;
    }
    Ok(())
}

/// Makes the place where a volume appears: at level `full` it is mounted there, else it is a link. The
/// volume belongs to the user of the task that has it; a shared one takes files of any user.
fn place_volume(
    mount: &VolumeMount,
    sandbox: &Path,
    user: &ContainerUser,
    context: &SpecContext,
) -> Result<VolumeDir, PrepareFailure> {
    let wrong = |error: &std::io::Error| failed(&format!("place volume {}", mount.volume), error);
    let source = context.work_dir.volume(mount.volume);
    if !source.is_dir() {
        return Err(refused(format!("{} is not on the disk", mount.volume)));
    }
    let is_root = nix::unistd::geteuid().is_root();
    let mode = if mount.shared && is_root { SHARED_MODE } else { SANDBOX_MODE };
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(&source, mode).map_err(|error| wrong(&error))?;
    if is_root && !mount.shared {
        std::os::unix::fs::lchown(&source, Some(user.uid), Some(user.gid))
            .map_err(|error| wrong(&error))?;
    }
    let target = PathBuf::from(&mount.container_path);
    let place = sandbox.join(&target);
    let made = if context.isolation == IsolationLevel::Full {
        make_owned_dirs(sandbox, &target, user)
    } else {
        let above = target.parent().unwrap_or(Path::new(""));
        make_owned_dirs(sandbox, above, user).and_then(|()| {
            match std::os::unix::fs::symlink(&source, &place) {
                // Left by a life of the agent that died before the container started.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
                made => made,
            }
        })
    };
    made.map_err(|error| wrong(&error))?;
    Ok(VolumeDir { source, target })
}

/// Makes each directory of a path below the sandbox, for the task's user.
fn make_owned_dirs(sandbox: &Path, path: &Path, user: &ContainerUser) -> std::io::Result<()> {
    let mut place = sandbox.to_owned();
    for part in path.components() {
        place.push(part);
        match std::fs::create_dir(&place) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::lchown(&place, Some(user.uid), Some(user.gid))?;
        }
    }
    Ok(())
}

fn rlimits(request: &ContainerRequest) -> Result<Vec<Rlimit>, PrepareFailure> {
    let limit = |value: u64| (value != u64::MAX).then_some(value);
    let known = request.rlimits.iter().map(|(name, (soft, hard))| {
        let resource = rlimit_resource(name)
            .ok_or_else(|| refused(format!("there is no resource limit {name:?}")))?;
        Ok(Rlimit { resource, soft: limit(*soft), hard: limit(*hard) })
    });
    known.collect()
}

fn rlimit_resource(name: &str) -> Option<RlimitResource> {
    use RlimitResource as R;
    Some(match name {
        "as" => R::As,
        "core" => R::Core,
        "cpu" => R::Cpu,
        "data" => R::Data,
        "fsize" => R::Fsize,
        "memlock" => R::Memlock,
        "msgqueue" => R::Msgqueue,
        "nice" => R::Nice,
        "nofile" => R::Nofile,
        "nproc" => R::Nproc,
        "rtprio" => R::Rtprio,
        "rttime" => R::Rttime,
        "sigpending" => R::Sigpending,
        "stack" => R::Stack,
        _ => return None,
    })
}
