//! `deploy`: make the services of a file so. All or none.

use super::{
    Outcome, Services, changed, expect_revision, forget_oldest, with_template, write_revision,
    write_service,
};
use crate::command::{ChangeKind, ServiceChange};
use crate::record::{
    RevisionRecord, RolloutKind, RolloutRecord, RolloutState, ServiceRecord, encode,
};
use crate::service::{Revision, Service};
use crate::spec::model::REVISION_BYTES_MAX;
use crate::spec::{ServiceName, ServiceSpec, template, validate};
use proffer_sdk_core::StateWrite;
use proffer_types::{Now, Refusal, RefusalCode, format};
use std::collections::BTreeMap;

/// Most services the framework keeps: bounded by the keys and bytes of its store.
const SERVICES_MAX: usize = 400;

/// What is to become of one service; nothing was changed yet.
enum Decision {
    Create(Box<Revision>),
    Update { revision: Box<Revision>, count: u32 },
    Retry { count: u32 },
    Scale { count: u32 },
    Keep,
}

pub(super) fn apply(
    services: &mut Services,
    specs: BTreeMap<ServiceName, ServiceSpec>,
    if_revision: &BTreeMap<ServiceName, u32>,
    (author, message): (&str, &str),
    now: Now,
) -> Result<Outcome, Refusal> {
    if specs.is_empty() || specs.len() > crate::spec::model::SERVICES_MAX {
        let message = format!(
            "{} services; 1 to {} at a time",
            specs.len(),
            crate::spec::model::SERVICES_MAX
        );
        return Err(Refusal::new(RefusalCode::InvalidArgument, "services", message));
    }
    let new = specs.keys().filter(|name| !services.contains_key(name)).count();
    if services.len() + new > SERVICES_MAX {
        let message = format!("more than {SERVICES_MAX} services");
        return Err(Refusal::new(RefusalCode::BudgetExceeded, "services", message));
    }
    if let Some(name) = if_revision.keys().find(|name| !specs.contains_key(name)) {
        return Err(Refusal::new(
            RefusalCode::InvalidArgument,
            "if_revision",
            format!("{name} is not in the file"),
        ));
    }
    let mut decisions = Vec::new();
    for (name, spec) in specs {
        let known = services.get(&name);
        if let Some(expected) = if_revision.get(&name) {
            expect_revision(&name, known, *expected)?;
        }
        let decision = decide(known, &spec, (author, message), now)
            .map_err(|refusal| refusal.within(format!("services.{name}")))?;
        decisions.push((name, decision));
    }
    let mut outcome = Outcome::default();
    for (name, decision) in decisions {
        let change = carry_out(services, &name, decision, now, &mut outcome.writes);
        outcome.changes.push(change);
    }
    Ok(outcome)
}

fn decide(
    known: Option<&Service>,
    spec: &ServiceSpec,
    (author, message): (&str, &str),
    now: Now,
) -> Result<Decision, Refusal> {
    // The spec may have come from a program that built it; the rules hold all the same.
    let count = known.map_or(spec.instances.unwrap_or(1), |service| next_count(service, spec));
    if let Some(fault) = validate::service(spec, Some(count)).first() {
        return Err(fault.refusal());
    }
    let revision = |number| {
        let record = RevisionRecord {
            format: format::SERVICE_STATE,
            number,
            digest: template::digest(spec),
            spec: spec.clone(),
            author: author.to_owned(),
            message: message.to_owned(),
            created_at: now.wall,
            rollback_of: None,
        };
        if encode(&record).len() > REVISION_BYTES_MAX {
            let message = format!("is longer than {REVISION_BYTES_MAX} bytes as stored");
            return Err(Refusal::new(RefusalCode::BudgetExceeded, "", message)
                .hint("move large texts into files below `root`"));
        }
        with_template(record).map(Box::new)
    };
    let Some(service) = known else {
        return Ok(Decision::Create(revision(1)?));
    };
    let unchanged = ServiceSpec { instances: None, ..spec.clone() }
        == ServiceSpec { instances: None, ..service.target().clone() };
    let is_failed = service.record.rollout.state == RolloutState::Paused;
    Ok(match (unchanged && !service.record.is_removed, is_failed) {
        (false, _) => Decision::Update { revision: revision(service.record.latest + 1)?, count },
        (true, true) => Decision::Retry { count },
        (true, false) if count != service.record.count => Decision::Scale { count },
        (true, false) => Decision::Keep,
    })
}

/// The file's count counts when the file changed it: a file that repeats its number does not undo
/// a `scale` made since.
fn next_count(service: &Service, spec: &ServiceSpec) -> u32 {
    let before = service
        .revisions
        .get(&service.record.latest)
        .and_then(|revision| revision.record.spec.instances);
    match spec.instances {
        Some(count) if Some(count) != before || service.record.is_removed => count,
        Some(_) | None => service.record.count,
    }
}

fn carry_out(
    services: &mut Services,
    name: &ServiceName,
    decision: Decision,
    now: Now,
    writes: &mut Vec<StateWrite>,
) -> ServiceChange {
    if let Decision::Create(revision) = decision {
        let service = create(name, *revision, now);
        writes.push(write_service(&service.record));
        writes.push(write_revision(name, &service.target_revision().record));
        let change = changed(&service.record, ChangeKind::Created, None);
        services.insert(name.clone(), service);
        return change;
    }
    let service = services.get_mut(name).expect("decided to exist");
    let previous = Some(service.record.target);
    let kind = match decision {
        Decision::Create(_) => unreachable!("handled above"),
        Decision::Keep => return changed(&service.record, ChangeKind::Unchanged, None),
        Decision::Scale { count } => {
            service.record.count = count;
            ChangeKind::Scaled
        }
        Decision::Retry { count } => {
            service.record.count = count;
            let target = service.record.target;
            service.record.begin(RolloutKind::Deploy, target, now.wall);
            service.restart_progress(now.monotonic);
            ChangeKind::Retried
        }
        Decision::Update { revision, count } => {
            let number = revision.record.number;
            writes.push(write_revision(name, &revision.record));
            service.revisions.insert(number, *revision);
            service.record.count = count;
            service.record.is_removed = false;
            service.record.begin(RolloutKind::Deploy, number, now.wall);
            service.restart_progress(now.monotonic);
            writes.extend(forget_oldest(service));
            ChangeKind::Updated
        }
    };
    writes.push(write_service(&service.record));
    changed(&service.record, kind, previous)
}

fn create(name: &ServiceName, revision: Revision, now: Now) -> Service {
    let number = revision.record.number;
    let record = ServiceRecord {
        format: format::SERVICE_STATE,
        name: name.clone(),
        count: revision.record.spec.instances.unwrap_or(1),
        is_stopped: false,
        is_removed: false,
        latest: number,
        target: number,
        good: None,
        restart: 0,
        rollout: RolloutRecord::new(1, RolloutKind::Deploy, number, now.wall),
        outcomes: BTreeMap::from([(number, RolloutState::Rolling)]),
        crashes: BTreeMap::new(),
    };
    let mut service = Service::new(record, now.monotonic);
    service.revisions.insert(number, revision);
    service.is_new = true;
    service
}
