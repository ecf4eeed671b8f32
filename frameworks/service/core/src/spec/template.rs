//! From a spec to what the master and the agent understand: pod template, resources, constraints,
//! and the digest over what affects running instances.

use super::model::{CheckSpec, HostPort, PriorityClass, ProbeSpec, ServiceSpec, SpreadBy};
use super::{expression, placeholder};
use proffer_types::template::{
    Check, CheckKind, ContainerTemplate, KillPolicy, OnDisconnect, PodTemplate, Probe,
};
use proffer_types::{Constraint, DurationMs, ResourceName, Resources};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// What runs. All instances of a revision share it: what differs is a variable of the launch.
#[must_use]
pub fn pod(spec: &ServiceSpec) -> PodTemplate {
    let texts = |texts: &[String]| texts.iter().map(|t| placeholder::for_template(t)).collect();
    let mut env: BTreeMap<String, String> =
        spec.ports.keys().map(|name| (port_variable(name), format!("${{port.{name}}}"))).collect();
    env.extend(spec.env.iter().map(|(name, v)| (name.clone(), placeholder::for_template(v))));
    let checks = [
        (CheckKind::Startup, &spec.checks.startup),
        (CheckKind::Ready, &spec.checks.ready),
        (CheckKind::Alive, &spec.checks.alive),
    ];
    PodTemplate {
        containers: vec![ContainerTemplate {
            name: "main".to_owned(),
            command: texts(&spec.command),
            user: spec.user.clone(),
            root: spec.root.clone(),
            workdir: spec.workdir.clone(),
            env,
            pids_max: spec.resources.limit.pids,
            cpu_limit: spec.resources.limit.cpu.is_some(),
            checks: checks
                .into_iter()
                .filter_map(|(kind, check)| Some(self::check(kind, check.as_ref()?)))
                .collect(),
            ..ContainerTemplate::default()
        }],
        kill: kill_policy(spec),
        on_disconnect: OnDisconnect::Keep,
        labels: BTreeMap::new(),
    }
}

/// How an instance is asked to end; sent with each kill, so that a change holds at once.
#[must_use]
pub fn kill_policy(spec: &ServiceSpec) -> KillPolicy {
    KillPolicy { signal: spec.stop.signal.number(), grace: spec.stop.grace }
}

/// `PORT_<NAME>`.
fn port_variable(name: &str) -> String {
    format!("PORT_{}", name.to_ascii_uppercase().replace('-', "_"))
}

fn check(kind: CheckKind, spec: &CheckSpec) -> Check {
    let variable = |port: &str| format!("${{port.{port}}}");
    Check {
        kind,
        probe: match &spec.probe {
            ProbeSpec::Http { port, path, status } => {
                Probe::Http { port: variable(port), path: path.clone(), status: status.clone() }
            }
            ProbeSpec::Tcp { port } => Probe::Tcp { port: variable(port) },
            ProbeSpec::Exec(command) => Probe::Command {
                command: command.iter().map(|text| placeholder::for_template(text)).collect(),
            },
        },
        interval: spec.interval,
        timeout: spec.timeout,
        failures: spec.fail,
        successes: spec.success,
        limit: spec.limit.unwrap_or(DurationMs(0)),
    }
}

/// Scalars that one instance takes; ports are asked for by name.
#[must_use]
pub fn scalars(spec: &ServiceSpec) -> Resources {
    let request = &spec.resources.request;
    Resources::scalars(
        [
            (ResourceName::Cpus, request.cpu.0),
            (ResourceName::Mem, request.mem.0),
            (ResourceName::Disk, request.disk.0),
        ]
        .into_iter()
        .filter(|(_, amount)| *amount > 0),
    )
}

/// What must hold of an agent.
#[must_use]
pub fn constraints(spec: &ServiceSpec) -> Vec<Constraint> {
    spec.placement
        .require
        .iter()
        .map(|text| expression::parse(text).expect("checked when the file was read"))
        .collect()
}

/// Whether instances are spread over agents.
#[must_use]
pub fn spread(spec: &ServiceSpec) -> bool {
    spec.placement.spread.iter().any(|rule| rule.by == SpreadBy::Host)
}

/// What affects running instances, in a form that does not change when the model grows by a field
/// that does not.
#[derive(Serialize)]
struct RunAffecting<'a> {
    command: &'a [String],
    user: Option<&'a str>,
    workdir: Option<&'a str>,
    root: Option<&'a str>,
    env: &'a BTreeMap<String, String>,
    resources: &'a super::model::ResourcesSpec,
    ports: BTreeMap<&'a str, HostPort>,
    startup: Option<&'a ProbeSpec>,
    ready: Option<&'a ProbeSpec>,
    alive: Option<&'a ProbeSpec>,
    require: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
}

/// Names what a running instance was made from; two revisions with one digest need no rollout.
#[must_use]
pub fn digest(spec: &ServiceSpec) -> String {
    fn probe(check: &Option<CheckSpec>) -> Option<&ProbeSpec> {
        check.as_ref().map(|check| &check.probe)
    }
    let run = RunAffecting {
        command: &spec.command,
        user: spec.user.as_deref(),
        workdir: spec.workdir.as_deref(),
        root: spec.root.as_deref(),
        env: &spec.env,
        resources: &spec.resources,
        ports: spec.ports.iter().map(|(name, port)| (name.as_str(), port.host)).collect(),
        startup: probe(&spec.checks.startup),
        ready: probe(&spec.checks.ready),
        alive: probe(&spec.checks.alive),
        require: &spec.placement.require,
        class: Some(spec.priority.class)
            .filter(|class| *class != PriorityClass::Standard)
            .map(PriorityClass::as_str),
    };
    let canonical = serde_json::to_vec(&run).expect("plain data with string keys serialises");
    Sha256::digest(canonical).iter().map(|byte| format!("{byte:02x}")).collect()
}
