//! `stop`, `start`, `rm`: whether a service runs at all. Count and revision are kept until the end.

use super::{Outcome, Services, changed, find, write_service};
use crate::command::ChangeKind;
use crate::service::Service;
use crate::spec::ServiceName;
use proffer_types::{Now, Refusal, RefusalCode};

pub(super) fn stop(services: &mut Services, name: &ServiceName) -> Result<Outcome, Refusal> {
    let service = find(services, name)?;
    if service.record.is_stopped {
        return Ok(unchanged(service));
    }
    service.record.is_stopped = true;
    Ok(written(service, ChangeKind::Stopped))
}

pub(super) fn start(
    services: &mut Services,
    name: &ServiceName,
    now: Now,
) -> Result<Outcome, Refusal> {
    let service = find(services, name)?;
    if !service.record.is_stopped {
        return Ok(unchanged(service));
    }
    service.record.is_stopped = false;
    service.restart_progress(now.monotonic);
    Ok(written(service, ChangeKind::Started))
}

pub(super) fn remove(services: &mut Services, name: &ServiceName) -> Result<Outcome, Refusal> {
    let service = services
        .get_mut(name)
        .ok_or_else(|| Refusal::new(RefusalCode::NotFound, name.as_str(), "is not a service"))?;
    if service.record.is_removed {
        return Ok(unchanged(service));
    }
    service.record.is_removed = true;
    Ok(written(service, ChangeKind::Removed))
}

fn unchanged(service: &Service) -> Outcome {
    let change = changed(&service.record, ChangeKind::Unchanged, None);
    Outcome { writes: Vec::new(), changes: vec![change] }
}

fn written(service: &Service, kind: ChangeKind) -> Outcome {
    let change = changed(&service.record, kind, None);
    Outcome { writes: vec![write_service(&service.record)], changes: vec![change] }
}
