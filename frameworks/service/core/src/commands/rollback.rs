//! `rollback`: roll an earlier revision out again, under a new number, by the same rules as any
//! other rollout. Instances that are what it asks for are kept.

use super::{
    Outcome, Services, changed, expect_revision, find, forget_oldest, with_template,
    write_revision, write_service,
};
use crate::command::ChangeKind;
use crate::record::{RevisionRecord, RolloutKind, RolloutState};
use crate::service::Service;
use crate::spec::{ServiceName, validate};
use proffer_types::{Now, Refusal, RefusalCode};

pub(super) fn apply(
    services: &mut Services,
    name: &ServiceName,
    to: Option<u32>,
    if_revision: Option<u32>,
    author: &str,
    now: Now,
) -> Result<Outcome, Refusal> {
    if let Some(expected) = if_revision {
        expect_revision(name, services.get(name), expected)?;
    }
    let service = find(services, name)?;
    let to = match to {
        Some(to) => to,
        None => last_good(service).ok_or_else(|| {
            Refusal::new(
                RefusalCode::NotFound,
                name.as_str(),
                "has no earlier good revision to go back to",
            )
        })?,
    };
    let Some(earlier) = service.revisions.get(&to) else {
        let known: Vec<String> = service.revisions.keys().map(|n| format!("r{n}")).collect();
        let message = format!("{name} has no revision r{to}");
        return Err(Refusal::new(RefusalCode::NotFound, "to", message)
            .hint(format!("known: {}", known.join(", "))));
    };
    validate::progress_or_refuse(&earlier.record.spec, service.record.count)?;
    let number = service.record.latest + 1;
    let revision = with_template(RevisionRecord {
        number,
        author: author.to_owned(),
        message: format!("rollback to r{to}"),
        created_at: now.wall,
        rollback_of: Some(to),
        ..earlier.record.clone()
    })?;
    let previous = service.record.target;
    let write = write_revision(name, &revision.record);
    service.revisions.insert(number, revision);
    service.record.begin(RolloutKind::Rollback, number, now.wall);
    service.restart_progress(now.monotonic);
    let change = changed(&service.record, ChangeKind::RolledBack, Some(previous));
    let mut writes = vec![write];
    writes.extend(forget_oldest(service));
    writes.push(write_service(&service.record));
    Ok(Outcome { writes, changes: vec![change] })
}

/// The newest revision that succeeded and differs from what is aimed at.
fn last_good(service: &Service) -> Option<u32> {
    let digest = &service.target_revision().record.digest;
    service
        .revisions
        .iter()
        .rev()
        .filter(|(number, revision)| {
            let succeeded = service.record.outcomes.get(number) == Some(&RolloutState::Succeeded);
            (succeeded || service.record.good == Some(**number))
                && **number != service.record.target
                && revision.record.digest != *digest
        })
        .map(|(number, _)| *number)
        .next()
}
