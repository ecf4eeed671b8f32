//! I11 for users of the service framework: what they are answered is in the store at that moment and stays
//! until somebody asks for something else; what readers are shown was in the store.

use super::{framework_of, holds, stored};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_master_core::registry::{Record, RecordKey};
use proffer_service_core::Answer;
use proffer_service_core::api::{ServiceStatus, ServiceView};
use proffer_service_core::command::{ChangeKind, ServiceChange};
use proffer_service_core::record::{self, RolloutState, ServiceRecord};
use proffer_service_core::spec::ServiceName;
use proffer_types::{FrameworkId, RefusalCode};
use std::collections::{BTreeMap, BTreeSet};

/// What readers see of what is stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Shown {
    count: u32,
    latest: u32,
    target: u32,
    rollout: (u32, RolloutState),
    is_removed: bool,
    /// Nobody is told of one that goes away.
    is_stopped: bool,
}

impl Shown {
    fn stored(record: &ServiceRecord) -> Self {
        Self {
            count: record.count,
            latest: record.latest,
            target: record.target,
            rollout: (record.rollout.number, record.rollout.state),
            is_removed: record.is_removed,
            is_stopped: record.is_stopped && !record.is_removed,
        }
    }

    fn in_view(view: &ServiceView) -> Self {
        let summary = &view.summary;
        Self {
            count: summary.instances,
            latest: view.latest,
            target: summary.revision,
            rollout: (summary.rollout.number, summary.rollout.state),
            is_removed: summary.status == ServiceStatus::Removing,
            is_stopped: summary.status == ServiceStatus::Stopped,
        }
    }
}

/// What is known of one service.
#[derive(Default)]
struct Known {
    /// Everything that the store has ever held of it.
    versions: BTreeSet<Shown>,
    /// The call that was made last.
    newest: u64,
    /// Calls that may still be carried out.
    open: BTreeSet<u64>,
    /// What was answered last.
    promised: Option<ServiceChange>,
}

/// See the module's description.
#[derive(Default)]
pub(super) struct AnsweredCalls {
    services: BTreeMap<ServiceName, Known>,
    looked: u64,
}

fn read(world: &World, framework: FrameworkId, name: &ServiceName) -> Option<ServiceRecord> {
    let key = record::service_key(name);
    match stored(world, &RecordKey::State(framework, key.clone()))? {
        Record::State(kept) => record::decode(&key, &kept.value).ok(),
        _ => None,
    }
}

/// Whether what is stored is what was answered.
fn is_kept(change: &ServiceChange, record: Option<&ServiceRecord>) -> bool {
    let Some(record) = record else { return change.change == ChangeKind::Removed };
    let is_as_told = match change.change {
        ChangeKind::Removed => return record.is_removed,
        ChangeKind::Stopped => record.is_stopped,
        ChangeKind::Started => !record.is_stopped,
        _ => true,
    };
    is_as_told
        && record.count == change.instances
        && record.latest >= change.revision
        && record.rollout.number >= change.rollout
}

impl AnsweredCalls {
    fn committed(&mut self, key: &[u8], world: &World) -> Result<(), String> {
        let Ok(RecordKey::State(framework, key)) = RecordKey::decode(key) else { return Ok(()) };
        let name = key.strip_prefix(record::service_prefix());
        let Some(name) = name.and_then(|name| ServiceName::new(name).ok()) else { return Ok(()) };
        let record = read(world, framework, &name);
        let known = self.services.entry(name).or_default();
        known.versions.extend(record.as_ref().map(Shown::stored));
        let Some(promised) = known.promised.as_ref().filter(|_| known.open.is_empty()) else {
            return Ok(());
        };
        self.looked += 1;
        holds(is_kept(promised, record.as_ref()), || {
            let shown = record.as_ref().map(Shown::stored);
            format!("answered was {promised:?}, nobody asked for more, and stored is {shown:?}")
        })
    }

    fn answered(&mut self, node: usize, answer: &Answer, world: &World) -> Result<(), String> {
        let number = answer.reply.0;
        let reply = match &answer.result {
            Ok(reply) => reply,
            // It may have been carried out, or may still be.
            Err(refusal) if refusal.code == RefusalCode::Unavailable => return Ok(()),
            Err(_) => {
                self.services.values_mut().for_each(|known| {
                    known.open.remove(&number);
                });
                return Ok(());
            }
        };
        let Some(framework) = framework_of(world, node) else { return Ok(()) };
        for change in &reply.services {
            let known = self.services.entry(change.service.clone()).or_default();
            known.open.remove(&number);
            if change.change != ChangeKind::Unchanged {
                // What was written after them keeps them out.
                known.open.retain(|open| *open > number);
            }
            known.promised = None;
            if known.newest != number || !known.open.is_empty() {
                continue;
            }
            self.looked += 1;
            let record = read(world, framework, &change.service);
            holds(is_kept(change, record.as_ref()), || {
                let shown = record.as_ref().map(Shown::stored);
                format!("call {number} is answered {change:?}; stored is {shown:?}")
            })?;
            let mut promised = change.clone();
            if record.is_some_and(|record| record.is_removed) {
                // Asked for once more, a removal changes nothing and goes on to its end.
                promised.change = ChangeKind::Removed;
            }
            known.promised = Some(promised);
        }
        Ok(())
    }

    fn shown(&mut self, view: &ServiceView) -> Result<(), String> {
        let name = &view.summary.name;
        let shown = Shown::in_view(view);
        let known = self.services.get(name);
        self.looked += 1;
        holds(known.is_some_and(|known| known.versions.contains(&shown)), || {
            format!("readers are shown {shown:?} of {name}, which was never stored")
        })
    }
}

impl Checker for AnsweredCalls {
    fn id(&self) -> &'static str {
        "I11 (services)"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        match seen {
            Seen::Asked { reply, call, .. } => {
                for name in call.services() {
                    let known = self.services.entry(name.clone()).or_default();
                    known.newest = reply.0;
                    known.open.insert(reply.0);
                }
                Ok(())
            }
            Seen::Answered { node, answer } => self.answered(*node, answer, world),
            Seen::Committed { changes, .. } => {
                changes.keys().try_for_each(|key| self.committed(key, world))
            }
            Seen::Served { node } => {
                let Some(service) = world.frameworks[*node].service() else { return Ok(()) };
                service.views().values().try_for_each(|view| self.shown(view))
            }
            _ => Ok(()),
        }
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
