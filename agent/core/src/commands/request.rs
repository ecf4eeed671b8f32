//! From template and launch to a container request: placeholders, ports, defaults.

use crate::config::Limits;
use crate::container::{ContainerRequest, ProbeRequest, VolumeMount};
use crate::state::checks::CheckPlan;
use proffer_types::agent::AgentLaunch;
use proffer_types::ids::ContainerId;
use proffer_types::refusal::{Refusal, RefusalCode};
use proffer_types::resources::{ResourceName, Resources};
use proffer_types::template::{
    Check, ContainerTemplate, OnDisconnect, Placeholders, PodTemplate, Probe,
};
use proffer_types::units::{Bytes, Milli};
use std::collections::BTreeMap;

type Variables = BTreeMap<String, String>;

/// Everything that a launch asks for.
///
/// # Errors
/// A refusal naming the field whose placeholder has no value or whose port is none.
pub(crate) fn expand_launch(
    container: &ContainerId,
    order: &AgentLaunch,
    template: &PodTemplate,
    limits: &Limits,
) -> Result<(ContainerRequest, Vec<CheckPlan>), Refusal> {
    let of = only_container(template)?;
    let launch = &order.launch;
    let mut texts = Placeholders::new(&launch.variables);
    let request = ContainerRequest {
        container: container.clone(),
        framework: order.framework,
        task: launch.name.clone(),
        command: expand_all(&of.command, "command", &mut texts)?,
        env: expand_env(of, &mut texts)?,
        user: of.user.clone(),
        root: of.root.clone(),
        workdir: of.workdir.clone(),
        pids_max: of.pids_max.unwrap_or(limits.pids_max_default),
        rlimits: of.rlimits.clone(),
        cpus: Milli(launch.resources.scalar(&ResourceName::Cpus)),
        cpu_limit: of.cpu_limit,
        memory: Bytes(launch.resources.scalar(&ResourceName::Mem)),
        volumes: volumes_of(&launch.resources)?,
        log: of.log,
        kill: template.kill,
        stop_after: match template.on_disconnect {
            OnDisconnect::Keep => None,
            OnDisconnect::StopAfter(span) => Some(span),
        },
    };
    Ok((request, plans(of, &mut texts)?))
}

/// The volumes among what a launch takes. Each has a place of its own.
fn volumes_of(resources: &Resources) -> Result<Vec<VolumeMount>, Refusal> {
    let mut mounts: Vec<VolumeMount> = Vec::new();
    for entry in resources.entries() {
        let Some(volume) = &entry.key.volume else { continue };
        let path = &volume.container_path;
        let within = |outer: &str, inner: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let other = mounts.iter().find(|mount| {
            within(&mount.container_path, path) || within(path, &mount.container_path)
        });
        if let Some(other) = other {
            let message = format!("{} and {} both appear at {path}", other.volume, volume.id);
            return Err(Refusal::new(RefusalCode::InvalidArgument, "resources", message));
        }
        mounts.push(VolumeMount {
            volume: volume.id,
            container_path: path.clone(),
            shared: entry.key.shared,
        });
    }
    Ok(mounts)
}

/// The checks of a launch.
///
/// # Errors
/// As [`expand_launch`].
pub(crate) fn plans_of(
    template: &PodTemplate,
    variables: &Variables,
) -> Result<Vec<CheckPlan>, Refusal> {
    plans(only_container(template)?, &mut Placeholders::new(variables))
}

fn plans(of: &ContainerTemplate, texts: &mut Placeholders<'_>) -> Result<Vec<CheckPlan>, Refusal> {
    let checks = of.checks.iter().enumerate();
    checks
        .map(|(index, check)| {
            plan(check, texts).map_err(|refusal| refusal.within(format!("checks[{index}]")))
        })
        .collect()
}

fn only_container(template: &PodTemplate) -> Result<&ContainerTemplate, Refusal> {
    match template.containers.as_slice() {
        [container] => Ok(container),
        others => Err(Refusal::new(
            RefusalCode::NotSupported,
            "containers",
            format!("a pod has exactly one container today, not {}", others.len()),
        )),
    }
}

fn expand_all(
    all: &[String],
    field: &str,
    texts: &mut Placeholders<'_>,
) -> Result<Vec<String>, Refusal> {
    let expand = |(index, text): (usize, &String)| {
        texts.expand(text).map_err(|refusal| refusal.within(format!("{field}[{index}]")))
    };
    all.iter().enumerate().map(expand).collect()
}

fn expand_env(of: &ContainerTemplate, texts: &mut Placeholders<'_>) -> Result<Variables, Refusal> {
    let expanded = of.env.iter().map(|(name, value)| {
        let value = texts.expand(value).map_err(|refusal| refusal.within(format!("env.{name}")))?;
        Ok((name.clone(), value))
    });
    expanded.collect()
}

fn plan(check: &Check, texts: &mut Placeholders<'_>) -> Result<CheckPlan, Refusal> {
    let request = match &check.probe {
        Probe::Http { port, path, status } => ProbeRequest::Http {
            port: port_of(port, texts)?,
            path: texts.expand(path)?,
            status: status.clone(),
        },
        Probe::Tcp { port } => ProbeRequest::Tcp { port: port_of(port, texts)? },
        Probe::Command { command } => {
            ProbeRequest::Command { command: expand_all(command, "command", texts)? }
        }
    };
    Ok(CheckPlan {
        kind: check.kind,
        request,
        interval: check.interval,
        timeout: check.timeout,
        failures: check.failures,
        successes: check.successes,
        limit: check.limit,
    })
}

fn port_of(text: &str, texts: &mut Placeholders<'_>) -> Result<u16, Refusal> {
    let expanded = texts.expand(text)?;
    expanded.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
        let shown = proffer_types::refusal::excerpt(&expanded);
        Refusal::new(RefusalCode::InvalidArgument, "port", format!("{shown:?} is not a port"))
    })
}
