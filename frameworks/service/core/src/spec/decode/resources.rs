//! `resources` and `ports`.

use crate::spec::Diagnostic;
use crate::spec::fields;
use crate::spec::model::{HostPort, LimitSpec, PortProtocol, PortSpec, RequestSpec, ResourcesSpec};
use crate::spec::reader::{Faults, Reader};
use proffer_types::refusal::excerpt;
use proffer_types::{Bytes, Milli};
use std::collections::BTreeMap;

const DEFAULT_CPU: Milli = Milli(100);
const DEFAULT_MEM: Bytes = Bytes(64 << 20);

pub(super) fn resources(service: &Reader<'_>, faults: &mut Faults) -> ResourcesSpec {
    let path = service.path("resources");
    let reader = service
        .node("resources")
        .and_then(|node| Reader::open(node, &path, &fields::RESOURCES, faults));
    let request = request(reader.as_ref(), faults);
    let limit = limit(reader.as_ref(), &request, faults);
    ResourcesSpec { request, limit }
}

fn request(resources: Option<&Reader<'_>>, faults: &mut Faults) -> RequestSpec {
    let mut spec = RequestSpec { cpu: DEFAULT_CPU, mem: DEFAULT_MEM, disk: Bytes(0) };
    let Some(reader) = resources.and_then(|reader| {
        let path = reader.path("request");
        Reader::open(reader.node("request")?, &path, &fields::REQUEST, faults)
    }) else {
        return spec;
    };
    spec.cpu = reader.milli("cpu", faults).unwrap_or(spec.cpu);
    spec.mem = reader.size("mem", faults).unwrap_or(spec.mem);
    spec.disk = reader.size("disk", faults).unwrap_or(spec.disk);
    for (name, zero) in [("cpu", spec.cpu.0 == 0), ("mem", spec.mem.0 == 0)] {
        if zero {
            faults.push(Diagnostic::new(reader.path(name), reader.mark_of(name), "is zero"));
        }
    }
    spec
}

fn limit(resources: Option<&Reader<'_>>, request: &RequestSpec, faults: &mut Faults) -> LimitSpec {
    let mut spec = LimitSpec { cpu: None, mem: request.mem, pids: None };
    let Some(reader) = resources.and_then(|reader| {
        let path = reader.path("limit");
        Reader::open(reader.node("limit")?, &path, &fields::LIMIT, faults)
    }) else {
        return spec;
    };
    spec.cpu = reader.milli("cpu", faults);
    spec.mem = reader.size("mem", faults).unwrap_or(spec.mem);
    spec.pids = reader.count("pids", 1..=u64::from(u32::MAX), faults);
    let mut differs = |name: &str, requested: String| {
        let message = "a limit that differs from the request is not yet supported";
        let fault = Diagnostic::new(reader.path(name), reader.mark_of(name), message);
        faults.push(fault.hint(format!("write {requested} at both")).later());
    };
    if spec.cpu.is_some_and(|cpu| cpu != request.cpu) {
        differs("cpu", request.cpu.to_string());
    }
    if spec.mem != request.mem {
        differs("mem", request.mem.to_string());
    }
    spec
}

/// The ports by name, and in the order of the file.
#[derive(Default)]
pub(super) struct Ports {
    pub(super) by_name: BTreeMap<String, PortSpec>,
    pub(super) order: Vec<String>,
}

pub(super) fn ports(service: &Reader<'_>, faults: &mut Faults) -> Ports {
    const PORTS_MAX: usize = 32;
    let mut ports = Ports::default();
    let path = service.path("ports");
    let Some(reader) =
        service.node("ports").and_then(|node| Reader::open_free(node, &path, faults))
    else {
        return ports;
    };
    if reader.entries().len() > PORTS_MAX {
        faults.push(Diagnostic::new(path, reader.mark(), "names more than 32 ports"));
        return ports;
    }
    for entry in reader.entries() {
        let path = reader.path(&excerpt(&entry.key));
        if !crate::spec::model::is_dns_label(&entry.key) {
            let message = "is not a port's name: 1 to 63 of a-z, 0-9 and '-'";
            faults.push(Diagnostic::new(path, entry.mark, message));
            continue;
        }
        let Some(reader) = Reader::open(&entry.value, &path, &fields::PORT, faults) else {
            continue;
        };
        let spec = PortSpec {
            host: reader
                .value("host", faults, |text| HostPort::try_from(text.to_owned()))
                .unwrap_or(HostPort::Auto),
            protocol: reader
                .word("protocol", PortProtocol::WORDS, &["udp", "grpc", "https"], faults)
                .unwrap_or(PortProtocol::Tcp),
        };
        ports.by_name.insert(entry.key.clone(), spec);
        ports.order.push(entry.key.clone());
    }
    ports
}
