//! One file a command: its checks first, then the change. All return the writes that make the
//! change durable; the answer follows when they are.

pub(crate) mod deploy;
pub(crate) mod restart;
pub(crate) mod rollback;
pub(crate) mod run_state;
pub(crate) mod scale;

use crate::command::{ChangeKind, ServiceCall, ServiceChange};
use crate::record::{RevisionRecord, ServiceRecord, encode, revision_key, service_key};
use crate::service::{Revision, Service};
use crate::spec::{ServiceName, template};
use proffer_sdk_core::{StateWrite, Template};
use proffer_types::{Now, Refusal, RefusalCode};
use std::collections::BTreeMap;

/// All services by name.
pub(crate) type Services = BTreeMap<ServiceName, Service>;

/// What a command did: what to store, and what to answer then.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) writes: Vec<StateWrite>,
    pub(crate) changes: Vec<ServiceChange>,
}

/// Carries a call out in memory.
///
/// # Errors
/// A refusal; nothing was changed.
pub(crate) fn apply(
    services: &mut Services,
    call: ServiceCall,
    author: &str,
    now: Now,
) -> Result<Outcome, Refusal> {
    match call {
        ServiceCall::Deploy { services: specs, if_revision, message } => {
            deploy::apply(services, specs, &if_revision, (author, &message), now)
        }
        ServiceCall::Scale { targets } => scale::apply(services, &targets),
        ServiceCall::Rollback { service, to, if_revision } => {
            rollback::apply(services, &service, to, if_revision, author, now)
        }
        ServiceCall::Restart { service } => restart::apply(services, &service, now),
        ServiceCall::Stop { service } => run_state::stop(services, &service),
        ServiceCall::Start { service } => run_state::start(services, &service, now),
        ServiceCall::Remove { service } => run_state::remove(services, &service),
    }
}

/// A service that exists and is not going away.
pub(crate) fn find<'a>(
    services: &'a mut Services,
    name: &ServiceName,
) -> Result<&'a mut Service, Refusal> {
    let known: Vec<String> = services
        .iter()
        .filter(|(_, service)| !service.record.is_removed)
        .map(|(name, _)| name.to_string())
        .collect();
    match services.get_mut(name) {
        Some(service) if !service.record.is_removed => Ok(service),
        Some(_) => Err(Refusal::new(
            RefusalCode::Removed,
            name.as_str(),
            "is being removed; its last instances are ending",
        )),
        None => {
            let near = crate::spec::did_you_mean(name.as_str(), known.iter().map(String::as_str));
            let hint = near.map(|near| format!("did you mean {near}?")).unwrap_or_default();
            Err(Refusal::new(RefusalCode::NotFound, name.as_str(), "is not a service").hint(hint))
        }
    }
}

/// Refuses when somebody else made a newer revision than the caller knows.
pub(crate) fn expect_revision(
    name: &ServiceName,
    known: Option<&Service>,
    expected: u32,
) -> Result<(), Refusal> {
    let latest = known.filter(|s| !s.record.is_removed).map_or(0, |s| s.record.latest);
    if latest == expected {
        return Ok(());
    }
    let author = known
        .and_then(|service| service.revisions.get(&latest))
        .map(|revision| format!(", made by {}", revision.record.author))
        .unwrap_or_default();
    let message = format!("the newest revision is r{latest}{author}, not r{expected}");
    Err(Refusal::new(RefusalCode::VersionConflict, name.as_str(), message)
        .hint(format!("look at it: proffer history {name}")))
}

pub(crate) fn write_service(record: &ServiceRecord) -> StateWrite {
    StateWrite { key: service_key(&record.name), value: Some(encode(record)) }
}

pub(crate) fn write_revision(name: &ServiceName, record: &RevisionRecord) -> StateWrite {
    StateWrite { key: revision_key(name, record.number), value: Some(encode(record)) }
}

/// Forgets the oldest revision that may be forgotten, one for each new one: also when no rollout
/// ever ends, history stays bounded.
pub(crate) fn forget_oldest(service: &mut Service) -> Option<StateWrite> {
    let keep = service.target().history.keep;
    let running = service.running_revisions();
    let number = service.record.prunable(&service.revision_records(), &running, keep).pop()?;
    service.revisions.remove(&number);
    service.record.outcomes.remove(&number);
    Some(StateWrite { key: revision_key(&service.record.name, number), value: None })
}

/// A revision with its template.
pub(crate) fn with_template(record: RevisionRecord) -> Result<Revision, Refusal> {
    let template = Template::new(template::pod(&record.spec))?;
    Ok(Revision { record, template })
}

/// The answer about one service.
pub(crate) fn changed(
    record: &ServiceRecord,
    change: ChangeKind,
    previous: Option<u32>,
) -> ServiceChange {
    ServiceChange {
        service: record.name.clone(),
        change,
        revision: record.target,
        previous: previous.filter(|previous| *previous != record.target),
        rollout: record.rollout.number,
        instances: record.count,
    }
}
