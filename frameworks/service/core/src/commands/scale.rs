//! `scale`: change the count. Not a revision, so it conflicts with no deploy and is allowed during
//! a rollout.

use super::{Outcome, Services, changed, find, write_service};
use crate::command::{ChangeKind, ScaleTo};
use crate::spec::model::INSTANCES_MAX;
use crate::spec::{ServiceName, validate};
use proffer_types::{Refusal, RefusalCode};

pub(super) fn apply(
    services: &mut Services,
    name: &ServiceName,
    to: ScaleTo,
) -> Result<Outcome, Refusal> {
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
        validate::progress_or_refuse(&service.target().rollout, count)?;
    }
    let kind =
        if service.record.count == count { ChangeKind::Unchanged } else { ChangeKind::Scaled };
    service.record.count = count;
    let change = changed(&service.record, kind, None);
    let writes =
        if kind == ChangeKind::Scaled { vec![write_service(&service.record)] } else { Vec::new() };
    Ok(Outcome { writes, changes: vec![change] })
}
