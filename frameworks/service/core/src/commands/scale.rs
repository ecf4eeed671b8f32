//! `scale`: change counts, all or none. Not a revision, so it conflicts with no deploy and is allowed
//! during a rollout.

use super::{Outcome, Services, changed, find, write_service};
use crate::command::{ChangeKind, ScaleTo};
use crate::spec::model::{INSTANCES_MAX, SERVICES_MAX};
use crate::spec::{ServiceName, validate};
use proffer_types::{Refusal, RefusalCode};
use std::collections::BTreeMap;

pub(super) fn apply(
    services: &mut Services,
    targets: &BTreeMap<ServiceName, ScaleTo>,
) -> Result<Outcome, Refusal> {
    if targets.is_empty() || targets.len() > SERVICES_MAX {
        let message = format!("{} services; 1 to {SERVICES_MAX} at a time", targets.len());
        return Err(Refusal::new(RefusalCode::InvalidArgument, "targets", message));
    }
    let mut counts = Vec::new();
    for (name, to) in targets {
        let count = decide(services, name, *to)?;
        counts.push((name, count));
    }
    let mut outcome = Outcome::default();
    for (name, count) in counts {
        let record = &mut find(services, name)?.record;
        let is_same = record.count == count;
        record.count = count;
        if !is_same {
            outcome.writes.push(write_service(record));
        }
        let kind = if is_same { ChangeKind::Unchanged } else { ChangeKind::Scaled };
        outcome.changes.push(changed(record, kind, None));
    }
    Ok(outcome)
}

fn decide(services: &mut Services, name: &ServiceName, to: ScaleTo) -> Result<u32, Refusal> {
    let service = find(services, name)?;
    let present = u64::from(service.record.count);
    let count = match to {
        ScaleTo::Count(count) => u64::from(count),
        ScaleTo::More(more) => present + u64::from(more),
        ScaleTo::Fewer(fewer) => present.saturating_sub(u64::from(fewer)),
        ScaleTo::Percent(percent) => (present * u64::from(percent)).div_ceil(100),
    };
    let count =
        u32::try_from(count).ok().filter(|count| *count <= INSTANCES_MAX).ok_or_else(|| {
            let message = format!("{count} instances; at most {INSTANCES_MAX}");
            Refusal::new(RefusalCode::InvalidArgument, "instances", message)
        })?;
    if service.record.rollout.state.is_moving() {
        validate::progress_or_refuse(service.target(), count)?;
    }
    Ok(count)
}
