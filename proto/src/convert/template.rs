//! template.proto: pod templates and launches.

use super::bounds::ENTRIES_MAX;
use super::field::{bounded, from_ref, invalid, labels, list, name, optional_name, part, required};
use super::resources::{resources_from_pb, resources_to_pb};
use super::types::digest_from_pb;
use crate::pb;
use proffer_types::template::{
    Check, CheckKind, ContainerTemplate, KillPolicy, LogPolicy, OnDisconnect, PodTemplate, Probe,
    TaskLaunch,
};
use proffer_types::{Bytes, DurationMs, Refusal};

impl From<PodTemplate> for pb::PodTemplate {
    fn from(template: PodTemplate) -> Self {
        Self {
            containers: template.containers.into_iter().map(pb::ContainerTemplate::from).collect(),
            kill: Some(template.kill.into()),
            stop_after_disconnect_ms: match template.on_disconnect {
                OnDisconnect::Keep => None,
                OnDisconnect::StopAfter(span) => Some(span.0),
            },
            labels: template.labels,
        }
    }
}

impl TryFrom<pb::PodTemplate> for PodTemplate {
    type Error = Refusal;

    /// Reads the shape. Whether it can run is the matter of [`PodTemplate::validate`].
    fn try_from(template: pb::PodTemplate) -> Result<Self, Refusal> {
        Ok(Self {
            containers: list(template.containers, "containers", ENTRIES_MAX)?,
            kill: template.kill.map(KillPolicy::from).unwrap_or_default(),
            on_disconnect: template
                .stop_after_disconnect_ms
                .map_or(OnDisconnect::Keep, |span| OnDisconnect::StopAfter(DurationMs(span))),
            labels: labels(template.labels, "labels")?,
        })
    }
}

impl From<ContainerTemplate> for pb::ContainerTemplate {
    fn from(container: ContainerTemplate) -> Self {
        let rlimit = |(name, (soft, hard))| (name, pb::Rlimit { soft, hard });
        Self {
            name: container.name,
            command: container.command,
            user: container.user,
            root: container.root,
            workdir: container.workdir,
            env: container.env,
            pids_max: container.pids_max,
            rlimits: container.rlimits.into_iter().map(rlimit).collect(),
            cpu_limit: container.cpu_limit,
            log: Some(pb::LogPolicy {
                file_max_bytes: container.log.file_max.0,
                files: container.log.files,
            }),
            checks: container.checks.into_iter().map(pb::Check::from).collect(),
        }
    }
}

impl TryFrom<pb::ContainerTemplate> for ContainerTemplate {
    type Error = Refusal;
    fn try_from(container: pb::ContainerTemplate) -> Result<Self, Refusal> {
        bounded(container.command.len(), "command", PodTemplate::ENTRIES_MAX)?;
        bounded(container.env.len(), "env", PodTemplate::ENTRIES_MAX)?;
        bounded(container.rlimits.len(), "rlimits", ENTRIES_MAX)?;
        let rlimit = |(name, limit): (String, pb::Rlimit)| (name, (limit.soft, limit.hard));
        Ok(Self {
            name: container.name,
            command: container.command,
            user: container.user,
            root: container.root,
            workdir: container.workdir,
            env: container.env,
            pids_max: container.pids_max,
            rlimits: container.rlimits.into_iter().map(rlimit).collect(),
            cpu_limit: container.cpu_limit,
            log: container.log.map_or_else(LogPolicy::default, |log| LogPolicy {
                file_max: Bytes(log.file_max_bytes),
                files: log.files,
            }),
            checks: list(container.checks, "checks", ENTRIES_MAX)?,
        })
    }
}

impl From<KillPolicy> for pb::KillPolicy {
    fn from(policy: KillPolicy) -> Self {
        Self { signal: policy.signal, grace_ms: policy.grace.0 }
    }
}

impl From<pb::KillPolicy> for KillPolicy {
    fn from(policy: pb::KillPolicy) -> Self {
        Self { signal: policy.signal, grace: DurationMs(policy.grace_ms) }
    }
}

impl From<Check> for pb::Check {
    fn from(check: Check) -> Self {
        let kind = match check.kind {
            CheckKind::Startup => pb::CheckKind::Startup,
            CheckKind::Ready => pb::CheckKind::Ready,
            CheckKind::Alive => pb::CheckKind::Alive,
        };
        let probe = match check.probe {
            Probe::Http { port, path, status } => pb::check::Probe::Http(pb::HttpProbe {
                port,
                path,
                status: status.into_iter().map(u32::from).collect(),
            }),
            Probe::Tcp { port } => pb::check::Probe::Tcp(pb::TcpProbe { port }),
            Probe::Command { command } => pb::check::Probe::Command(pb::CommandProbe { command }),
        };
        Self {
            kind: kind.into(),
            probe: Some(probe),
            interval_ms: check.interval.0,
            timeout_ms: check.timeout.0,
            failures: check.failures,
            successes: check.successes,
            limit_ms: check.limit.0,
        }
    }
}

impl TryFrom<pb::Check> for Check {
    type Error = Refusal;

    /// An unknown kind or probe is refused: it asks for something that could not be done.
    fn try_from(check: pb::Check) -> Result<Self, Refusal> {
        let kind = match pb::CheckKind::try_from(check.kind) {
            Ok(pb::CheckKind::Startup) => CheckKind::Startup,
            Ok(pb::CheckKind::Ready) => CheckKind::Ready,
            Ok(pb::CheckKind::Alive) => CheckKind::Alive,
            Ok(pb::CheckKind::Unspecified) => return Err(invalid("kind", "is not set")),
            Err(_) => {
                return Err(invalid("kind", format!("{} is not known here", check.kind)));
            }
        };
        Ok(Self {
            kind,
            probe: probe_from_pb(check.probe)?,
            interval: DurationMs(check.interval_ms),
            timeout: DurationMs(check.timeout_ms),
            failures: check.failures,
            successes: check.successes,
            limit: DurationMs(check.limit_ms),
        })
    }
}

fn probe_from_pb(probe: Option<pb::check::Probe>) -> Result<Probe, Refusal> {
    match probe {
        Some(pb::check::Probe::Http(http)) => {
            bounded(http.status.len(), "http.status", ENTRIES_MAX)?;
            let mut status = Vec::with_capacity(http.status.len());
            for (index, code) in http.status.into_iter().enumerate() {
                status.push(u16::try_from(code).map_err(|_| {
                    invalid(&format!("http.status[{index}]"), format!("{code} is no status code"))
                })?);
            }
            Ok(Probe::Http { port: http.port, path: http.path, status })
        }
        Some(pb::check::Probe::Tcp(tcp)) => Ok(Probe::Tcp { port: tcp.port }),
        Some(pb::check::Probe::Command(probe)) => {
            bounded(probe.command.len(), "command.command", PodTemplate::ENTRIES_MAX)?;
            Ok(Probe::Command { command: probe.command })
        }
        None => Err(invalid("probe", "is not set or not known to this version")),
    }
}

impl From<TaskLaunch> for pb::TaskLaunch {
    fn from(launch: TaskLaunch) -> Self {
        Self {
            name: launch.name.into(),
            token: Some(launch.token.into()),
            template: launch.template.0.to_vec(),
            resources: resources_to_pb(launch.resources),
            variables: launch.variables,
            labels: launch.labels,
            group: launch.group.map(String::from),
            priority: launch.priority,
            budget: launch.budget.map(pb::Budget::from),
        }
    }
}

impl TryFrom<pb::TaskLaunch> for TaskLaunch {
    type Error = Refusal;
    fn try_from(launch: pb::TaskLaunch) -> Result<Self, Refusal> {
        Ok(Self {
            name: name(&launch.name, "name")?,
            token: required(launch.token, "token")?.into(),
            template: digest_from_pb(&launch.template, "template")?,
            resources: resources_from_pb(launch.resources, "resources")?,
            variables: labels(launch.variables, "variables")?,
            labels: labels(launch.labels, "labels")?,
            group: optional_name(launch.group.as_deref(), "group")?,
            priority: launch.priority,
            budget: launch.budget.map(|budget| part(Some(budget), "budget")).transpose()?,
        })
    }
}

from_ref! {
    PodTemplate => pb::PodTemplate,
    TaskLaunch => pb::TaskLaunch,
}
