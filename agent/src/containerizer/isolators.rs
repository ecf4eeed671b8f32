//! Owns the isolators: each looks at one concern of a spec and adds to the plan of its launch.
//!
//! *Add an isolator*: one file here with a function of this shape, a line in [`plan`], a test of
//! what it writes into the plan, and one in `tests/containerizer.rs` of what the task then sees.

use proffer_supervisor::FORMAT_VERSION;
use proffer_supervisor::wire::{KillPolicy, LaunchSpec, LogLimits};

use super::cgroups::Limits;
use super::{ContainerError, ContainerResult, ContainerSpec, IsolationLevel};

mod capabilities;
mod cpu;
mod filesystem;
mod memory;
mod namespaces;
mod pids;
mod rlimits;

/// What the isolators make of a spec: limits for the driver, orders for the supervisor.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Plan {
    pub(super) limits: Limits,
    pub(super) launch: LaunchSpec,
}

/// What the isolators may ask about the place they plan for.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) level: IsolationLevel,
    /// Whether this process may take on other users.
    pub(super) may_switch_user: bool,
    /// Directories of ours that a container must not see.
    pub(super) hidden_dirs: Vec<Vec<u8>>,
}

/// Plans a launch. Nothing is touched.
///
/// # Errors
/// When the spec asks for what this place cannot give.
pub(super) fn plan(spec: &ContainerSpec, place: &Place) -> ContainerResult<Plan> {
    spec.check()?;
    if spec.isolation_at_least > place.level {
        let what = format!("isolation level {}", spec.isolation_at_least.name());
        return Err(refuse(spec, &what, &format!("the level here is {}", place.level.name())));
    }
    let mut plan = Plan { launch: base(spec), ..Plan::default() };
    cpu::plan(spec, place, &mut plan);
    memory::plan(spec, place, &mut plan);
    pids::plan(spec, place, &mut plan);
    namespaces::plan(spec, place, &mut plan)?;
    rlimits::plan(spec, &mut plan);
    capabilities::plan(spec, place, &mut plan)?;
    filesystem::plan(spec, place, &mut plan)?;
    Ok(plan)
}

/// What is the same for every container.
fn base(spec: &ContainerSpec) -> LaunchSpec {
    let nanoseconds = |d: std::time::Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
    let mut env: Vec<Vec<u8>> =
        spec.env.iter().map(|(key, value)| format!("{key}={value}").into_bytes()).collect();
    if !spec.env.iter().any(|(key, _)| key == CONTAINER_ID_VARIABLE) {
        env.push(format!("{CONTAINER_ID_VARIABLE}={}", spec.id).into_bytes());
    }
    LaunchSpec {
        format_version: FORMAT_VERSION,
        container_id: spec.id.to_string(),
        argv: spec.argv.iter().map(|a| a.clone().into_bytes()).collect(),
        env,
        log: Some(LogLimits {
            bytes_per_file_max: spec.log.bytes_per_file_max,
            files_max: spec.log.files_max,
        }),
        kill_policy: Some(KillPolicy {
            signal: spec.kill_policy.signal,
            grace_ns: nanoseconds(spec.kill_policy.grace),
        }),
        stop_after_ns: spec.stop_after.map_or(0, |t| nanoseconds(t).max(1)),
        ..LaunchSpec::default()
    }
}

/// In every task's environment: tells the task its container, and at level `process` finds what a
/// lost supervisor left behind.
pub(super) const CONTAINER_ID_VARIABLE: &str = "PROFFER_CONTAINER_ID";

fn refuse(spec: &ContainerSpec, what: &str, reason: &str) -> ContainerError {
    ContainerError::CannotEnforce {
        id: spec.id.clone(),
        what: what.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerizer::{ContainerId, Rlimit, RlimitResource};
    use std::path::PathBuf;

    fn spec() -> ContainerSpec {
        let id = ContainerId::new("c1").unwrap();
        ContainerSpec::new(id, PathBuf::from("/sandbox/c1"), vec!["true".to_owned()])
    }

    fn full() -> Place {
        Place {
            level: IsolationLevel::Full,
            may_switch_user: true,
            hidden_dirs: vec![b"/run/p".to_vec()],
        }
    }

    fn process() -> Place {
        Place { level: IsolationLevel::Process, may_switch_user: false, hidden_dirs: vec![] }
    }

    #[test]
    fn full_isolation_is_the_default_and_complete() {
        let mut spec = spec();
        spec.pids_max = Some(10);
        spec.cpu_millis = Some(500);
        spec.memory_bytes = Some(64 << 20);
        let plan = plan(&spec, &full()).unwrap();
        // One more than asked for: the container's init, which the task does not know of.
        assert_eq!(plan.limits.pids_max, Some(11));
        assert_eq!(plan.limits.cpu_millis, Some(500));
        assert_eq!(plan.limits.memory_bytes, Some(64 << 20));
        assert!(plan.launch.isolate && plan.launch.set_user);
        assert!(!plan.launch.capabilities.contains(&13), "NET_RAW is dropped");
        assert!(!plan.launch.capabilities.contains(&27), "MKNOD is dropped");
        assert!(plan.launch.masked_paths.contains(&b"/proc/kcore".to_vec()));
        assert!(plan.launch.masked_paths.contains(&b"/run/p".to_vec()));
        assert_eq!(plan.launch.working_dir, b"/sandbox/c1");
        assert_eq!(plan.launch.env, [b"PROFFER_CONTAINER_ID=c1".to_vec()]);
    }

    #[test]
    fn with_a_root_directory_the_sandbox_has_its_fixed_place() {
        let mut spec = spec();
        spec.root_dir = Some(PathBuf::from("/roots/debian"));
        let plan = plan(&spec, &full()).unwrap();
        assert_eq!(plan.launch.working_dir, b"/sandbox");
        assert_eq!(plan.launch.sandbox_in_root, b"/sandbox");
        assert_eq!(plan.launch.root_dir, b"/roots/debian");
    }

    /// K20, K22: what the level cannot give is refused, never left out.
    #[test]
    fn the_process_level_refuses_what_it_cannot_give() {
        let refused = |change: &dyn Fn(&mut ContainerSpec)| {
            let mut spec = spec();
            spec.user.uid = nix::unistd::geteuid().as_raw();
            change(&mut spec);
            matches!(plan(&spec, &process()), Err(ContainerError::CannotEnforce { .. }))
        };
        assert!(!refused(&|_| ()));
        assert!(refused(&|s| s.isolation_at_least = IsolationLevel::Full));
        assert!(refused(&|s| s.root_dir = Some(PathBuf::from("/roots/debian"))));
        assert!(refused(&|s| s.hostname = Some("h".to_owned())));
        assert!(refused(&|s| s.user.uid += 1));
    }

    #[test]
    fn limits_of_the_process_keep_the_kernels_numbers() {
        let mut spec = spec();
        spec.rlimits =
            vec![Rlimit { resource: RlimitResource::Nofile, soft: Some(10), hard: None }];
        let plan = plan(&spec, &full()).unwrap();
        let limit = plan.launch.rlimits[0];
        assert_eq!((limit.resource, limit.soft, limit.hard), (7, 10, u64::MAX));
    }

    #[test]
    fn a_sandbox_that_the_container_would_not_see_is_refused() {
        let mut spec = spec();
        spec.sandbox = PathBuf::from("/dev/shm/sandbox");
        let refused = plan(&spec, &full());
        assert!(matches!(refused, Err(ContainerError::InvalidSpec { field: "sandbox", .. })));
        spec.root_dir = Some(PathBuf::from("/roots/debian"));
        assert!(plan(&spec, &full()).is_ok());
    }

    #[test]
    fn working_directories_through_descriptors_are_refused() {
        for dir in ["/proc/self/fd/7", "/proc/1/root", "/tmp/../proc/self/cwd"] {
            let mut spec = spec();
            spec.working_dir = Some(PathBuf::from(dir));
            assert!(
                matches!(plan(&spec, &full()), Err(ContainerError::InvalidSpec { .. })),
                "{dir}"
            );
        }
    }
}
