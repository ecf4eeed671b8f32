//! Rules over several fields: what could never make progress is refused at submit, with the reason.

use super::Diagnostic;
use super::model::{AvailabilitySpec, HostPort, Order, RolloutSpec, ServiceSpec};
use super::node::Mark;
use proffer_types::Refusal;

/// Checks one service; field paths are relative to it. `count`: how many instances there will be,
/// if that is known: a file may leave it to the service that it changes.
#[must_use]
pub fn service(spec: &ServiceSpec, count: Option<u32>) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    faults.extend(fixed_ports(spec));
    if let Some(count) = count
        && faults.is_empty()
    {
        faults.extend(progress(&spec.rollout, spec.availability, count).err());
    }
    if let Err(refusal) = super::template::pod(spec).validate() {
        let mut fault = Diagnostic::new("", Mark::default(), refusal.to_string());
        fault.code = refusal.code;
        faults.push(fault);
    }
    faults
}

/// Two instances of a slot cannot both hold a fixed port of one agent, so the new one might never
/// find a place while the old one runs.
fn fixed_ports(spec: &ServiceSpec) -> Vec<Diagnostic> {
    let mut numbers = std::collections::BTreeMap::new();
    let mut faults = Vec::new();
    let fixed = spec.ports.values().filter(|port| port.host != HostPort::Auto).count();
    if fixed > 0 && fixed < spec.ports.len() {
        let message = "fixed and automatic ports in one service are not yet supported together";
        let fault = Diagnostic::new("ports", Mark::default(), message).later();
        return vec![fault.hint("make them all fixed or all auto")];
    }
    for (name, port) in &spec.ports {
        let HostPort::Fixed(number) = port.host else { continue };
        let field = format!("ports.{name}.host");
        if let Some(other) = numbers.insert(number, name) {
            let message = format!("{number} is also the port {other:?}");
            faults.push(Diagnostic::new(field, Mark::default(), message));
        } else if spec.rollout.order == Order::StartFirst {
            let message = format!(
                "a fixed port cannot be used with rollout.order start_first: old and new instance \
                 of a slot run side by side and cannot both bind {number}"
            );
            let fault = Diagnostic::new(field, Mark::default(), message);
            faults.push(fault.hint(format!(
                "host: auto, or rollout: {{order: stop_first, min_ready: {}}}",
                spec.instances.unwrap_or(1).saturating_sub(1)
            )));
        }
    }
    faults
}

/// Whether a rollout over `count` instances can ever take a step.
///
/// # Errors
/// What is in the way, and which value would do.
pub fn progress(
    rollout: &RolloutSpec,
    availability: AvailabilitySpec,
    count: u32,
) -> Result<(), Diagnostic> {
    if count == 0 {
        return Ok(());
    }
    let needed = rollout.min_ready.of(count).min(count);
    let kept = availability.kept(count);
    match rollout.order {
        Order::StartFirst if rollout.surge.of(count) == 0 => Err(Diagnostic::new(
            "rollout.surge",
            Mark::default(),
            "start_first with surge 0 can make no progress: no new instance may start before an \
             old one stops",
        )
        .hint("surge: 1, or order: stop_first with min_ready below the count")),
        Order::StopFirst if needed >= count => Err(Diagnostic::new(
            "rollout.min_ready",
            Mark::default(),
            format!(
                "stop_first with min_ready {} can make no progress: of {count} instances {needed} \
                 must stay ready, so none may stop",
                rollout.min_ready
            ),
        )
        .hint(format!("min_ready: {}, or order: start_first", count - 1))),
        Order::StopFirst if kept >= count => Err(Diagnostic::new(
            "availability.min_ready",
            Mark::default(),
            format!(
                "rollout.order stop_first with min_ready {} can make no progress: of {count} instances \
                 {kept} must stay ready, so none may stop",
                availability.min_ready
            ),
        )
        .hint(format!("min_ready: {}, or rollout: {{order: start_first}}", count - 1))),
        Order::StartFirst | Order::StopFirst => Ok(()),
    }
}

/// As [`progress`], as an answer to a call.
///
/// # Errors
/// The refusal.
pub fn progress_or_refuse(spec: &ServiceSpec, count: u32) -> Result<(), Refusal> {
    progress(&spec.rollout, spec.availability, count).map_err(|fault| fault.refusal())
}
