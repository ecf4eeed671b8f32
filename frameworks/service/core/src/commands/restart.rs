//! `restart`: new instances of the same revision, by a rollout of the framework's own: whoever
//! asked for it may go away meanwhile.

use super::{Outcome, Services, changed, find, write_service};
use crate::command::ChangeKind;
use crate::record::RolloutKind;
use crate::spec::{ServiceName, validate};
use proffer_types::{Now, Refusal};

pub(super) fn apply(
    services: &mut Services,
    name: &ServiceName,
    now: Now,
) -> Result<Outcome, Refusal> {
    let service = find(services, name)?;
    validate::progress_or_refuse(service.target(), service.record.count)?;
    service.record.restart += 1;
    let target = service.record.target;
    service.record.begin(RolloutKind::Restart, target, now.wall);
    service.restart_progress(now.monotonic);
    let change = changed(&service.record, ChangeKind::Restarted, None);
    Ok(Outcome { writes: vec![write_service(&service.record)], changes: vec![change] })
}
