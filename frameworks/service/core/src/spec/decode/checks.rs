//! `checks`.

use crate::spec::fields;
use crate::spec::model::{CheckSpec, ChecksSpec, ProbeSpec};
use crate::spec::node::Node;
use crate::spec::reader::{Faults, Reader};
use crate::spec::{Diagnostic, did_you_mean, placeholder};
use proffer_types::DurationMs;
use proffer_types::refusal::excerpt;

const TIMEOUT: DurationMs = DurationMs::from_secs(2);
const INTERVAL: DurationMs = DurationMs::from_secs(5);
const STARTUP_INTERVAL: DurationMs = DurationMs::from_secs(1);
const STARTUP_LIMIT: DurationMs = DurationMs::from_secs(300);
const FAIL: u32 = 3;

/// Reads them; `ports` in the order of the file.
pub(super) fn checks(service: &Reader<'_>, ports: &[String], faults: &mut Faults) -> ChecksSpec {
    let path = service.path("checks");
    let reader =
        service.node("checks").and_then(|node| Reader::open(node, &path, &fields::CHECKS, faults));
    let mut read = |kind: &str| {
        let reader = reader.as_ref()?;
        check(reader.node(kind)?, kind, &reader.path(kind), ports, faults)
    };
    let (startup, ready, alive) = (read("startup"), read("ready"), read("alive"));
    let stated = |kind| reader.as_ref().is_some_and(|reader| reader.node(kind).is_some());
    let ready = match (ready, ports.first(), &startup) {
        (None, Some(port), _) if !stated("ready") => {
            Some(pace(ProbeSpec::Tcp { port: port.clone() }))
        }
        (None, None, Some(startup)) if !stated("ready") => Some(pace(startup.probe.clone())),
        (ready, _, _) => ready,
    };
    ChecksSpec { startup, ready, alive }
}

fn pace(probe: ProbeSpec) -> CheckSpec {
    CheckSpec { probe, interval: INTERVAL, timeout: TIMEOUT, fail: FAIL, success: 1, limit: None }
}

fn check(
    node: &Node,
    kind: &str,
    path: &str,
    ports: &[String],
    faults: &mut Faults,
) -> Option<CheckSpec> {
    let reader = Reader::open(node, path, &fields::CHECK, faults)?;
    let probe = probe(&reader, ports, faults)?;
    let startup = kind == "startup";
    let interval = if startup { STARTUP_INTERVAL } else { INTERVAL };
    let limit = reader.span_above_zero("limit", faults);
    if limit.is_some() && !startup {
        let message = "is for the startup check only";
        faults.push(Diagnostic::new(reader.path("limit"), reader.mark_of("limit"), message));
    }
    let success_max = if kind == "ready" { u32::MAX } else { 1 };
    Some(CheckSpec {
        probe,
        interval: reader.span_above_zero("interval", faults).unwrap_or(interval),
        timeout: reader.span_above_zero("timeout", faults).unwrap_or(TIMEOUT),
        fail: reader.count_32("fail", 1..=1000, faults).unwrap_or(FAIL),
        success: reader.count_32("success", 1..=success_max.min(1000), faults).unwrap_or(1),
        limit: startup.then(|| limit.unwrap_or(STARTUP_LIMIT)),
    })
}

fn probe(reader: &Reader<'_>, ports: &[String], faults: &mut Faults) -> Option<ProbeSpec> {
    let kinds = ["http", "tcp", "exec"];
    let stated: Vec<&str> = kinds.into_iter().filter(|kind| reader.node(kind).is_some()).collect();
    let [kind] = stated.as_slice() else {
        let message = match stated.as_slice() {
            [] => "needs one of http, tcp, exec".to_owned(),
            many => format!("has {}; it takes one", many.join(" and ")),
        };
        faults.push(Diagnostic::new(reader.path(""), reader.mark(), message));
        return None;
    };
    let path = reader.path(kind);
    let node = reader.node(kind)?;
    match *kind {
        "http" => http(&Reader::open(node, &path, &fields::HTTP, faults)?, ports, faults),
        "tcp" => {
            let reader = Reader::open(node, &path, &fields::TCP, faults)?;
            Some(ProbeSpec::Tcp { port: port(&reader, ports, faults)? })
        }
        _ => exec(reader, ports, faults),
    }
}

fn exec(reader: &Reader<'_>, ports: &[String], faults: &mut Faults) -> Option<ProbeSpec> {
    let command = reader.texts("exec", faults)?;
    let mut refuse = |message: String, hint: String| {
        faults
            .push(Diagnostic::new(reader.path("exec"), reader.mark_of("exec"), message).hint(hint));
    };
    if command.first().is_none_or(String::is_empty) {
        refuse("names no program".to_owned(), String::new());
        return None;
    }
    for text in &command {
        if let Err((message, hint)) = placeholder::check_names(text, ports) {
            refuse(message, hint);
            return None;
        }
    }
    Some(ProbeSpec::Exec(command))
}

fn http(reader: &Reader<'_>, ports: &[String], faults: &mut Faults) -> Option<ProbeSpec> {
    let path = reader.text("path", faults).unwrap_or_else(|| "/".to_owned());
    if !path.starts_with('/') || path.contains(['\r', '\n', ' ', '$']) {
        let message = "is not a path: starts with '/', without spaces, line ends and '$'";
        faults.push(Diagnostic::new(reader.path("path"), reader.mark_of("path"), message));
    }
    let status = reader
        .texts("status", faults)
        .unwrap_or_default()
        .iter()
        .filter_map(|text| {
            let code = text.parse().ok().filter(|code| (100..=599).contains(code));
            if code.is_none() {
                let message = format!("{:?} is not a status from 100 to 599", excerpt(text));
                let fault =
                    Diagnostic::new(reader.path("status"), reader.mark_of("status"), message);
                faults.push(fault);
            }
            code
        })
        .collect();
    Some(ProbeSpec::Http { port: port(reader, ports, faults)?, path, status })
}

/// A name of `ports`; the only one when none is given.
fn port(reader: &Reader<'_>, ports: &[String], faults: &mut Faults) -> Option<String> {
    let mut refuse = |message: String, hint: String| {
        let fault = Diagnostic::new(reader.path("port"), reader.mark_of("port"), message);
        faults.push(fault.hint(hint));
    };
    let known = ports.join(", ");
    let Some(node) = reader.node("port") else {
        if let [only] = ports {
            return Some(only.clone());
        }
        refuse("is required".to_owned(), format!("one of `ports`: {known}"));
        return None;
    };
    let mut inner = Faults::new();
    let name = crate::spec::reader::text_of(node, "", &mut inner).unwrap_or_default();
    if ports.contains(&name) {
        return Some(name);
    }
    let hint = match did_you_mean(&name, ports.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None if ports.is_empty() => "name it under `ports` first".to_owned(),
        None => format!("known: {known}"),
    };
    refuse(format!("{:?} is not one of `ports`", excerpt(&name)), hint);
    None
}
