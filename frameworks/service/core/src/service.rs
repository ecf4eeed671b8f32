//! One service in memory: its durable record and revisions, and what is known of its instances.

use crate::back_off::BackOff;
use crate::instance::InstanceName;
use crate::plan::{Advance, Goal, Member, Phase};
use crate::record::{FailureNote, RevisionRecord, RolloutState, ServiceRecord};
use crate::spec::model::ServiceSpec;
use crate::spec::quantity::Wait;
use proffer_sdk_core::{Task, TaskTable, Template};
use proffer_types::inverse_offer::{InverseOffer, VacateReason};
use proffer_types::scheduler::Absence;
use proffer_types::{AgentId, Monotonic, TaskName, TaskState};
use std::collections::{BTreeMap, BTreeSet};

/// A revision with the template that all its instances share.
#[derive(Clone, Debug)]
pub(crate) struct Revision {
    pub(crate) record: RevisionRecord,
    pub(crate) template: Template,
}

/// What is remembered of an instance besides its task. Nothing of it is needed to go on rightly
/// after a crash; it only saves waiting anew.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) name: InstanceName,
    /// Ready without a break since.
    pub(crate) ready_since: Option<Monotonic>,
    /// Its agent is out of reach since.
    pub(crate) unreachable_since: Option<Monotonic>,
    /// On its way out.
    pub(crate) ending: Option<Ending>,
    /// Why it is to leave its agent; `None`: it may stay.
    pub(crate) leaves: Option<VacateReason>,
    /// Whether it was ever in the endpoints: only then must a reader be given time.
    pub(crate) was_published: bool,
}

/// How far an instance is on its way out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// Unpublished; the signal follows then.
    Lingering {
        /// When.
        until: Monotonic,
    },
    /// The signal was asked for.
    Stopping,
}

impl Instance {
    pub(crate) fn new(name: InstanceName) -> Self {
        Self {
            name,
            ready_since: None,
            unreachable_since: None,
            ending: None,
            leaves: None,
            was_published: false,
        }
    }
}

/// A service.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) record: ServiceRecord,
    pub(crate) revisions: BTreeMap<u32, Revision>,
    pub(crate) instances: BTreeMap<TaskName, Instance>,
    pub(crate) slots: BTreeMap<u32, BackOff>,
    pub(crate) last_failures: BTreeMap<u32, FailureNote>,
    /// A commit of it is not durable yet, and it is the only one. Nothing is started or ended
    /// meanwhile, and no further call is carried out: nothing happens on the ground of what may yet be
    /// lost, and no later commit rests on one that may be refused.
    pub(crate) is_storing: bool,
    /// The record has changed while it was being stored: it is stored again then.
    pub(crate) is_ahead: bool,
    /// The record as it is durable, which is what readers see; `None`: the service is new.
    pub(crate) stored: Option<ServiceRecord>,
    /// Since when the rollout has made no progress.
    pub(crate) progress_at: Monotonic,
    /// Most new instances that were available at once in this rollout.
    pub(crate) available_max: u32,
    /// It was made in this session, so no absent agent can hold an instance of it.
    pub(crate) is_new: bool,
    /// Every agent that may hold an instance was heard of since this process began.
    pub(crate) knows_all: bool,
    /// When it wants to be looked at again.
    pub(crate) wake_at: Option<Monotonic>,
    /// When crash counts were stored last.
    pub(crate) crashes_stored_at: Option<Monotonic>,
}

impl Service {
    pub(crate) fn new(record: ServiceRecord, now: Monotonic) -> Self {
        Self {
            record,
            revisions: BTreeMap::new(),
            instances: BTreeMap::new(),
            slots: BTreeMap::new(),
            last_failures: BTreeMap::new(),
            is_storing: false,
            is_ahead: false,
            stored: None,
            progress_at: now,
            available_max: 0,
            is_new: false,
            knows_all: false,
            wake_at: None,
            crashes_stored_at: None,
        }
    }

    /// The spec that is aimed at.
    pub(crate) fn target(&self) -> &ServiceSpec {
        &self.target_revision().record.spec
    }

    pub(crate) fn target_revision(&self) -> &Revision {
        self.revisions
            .get(&self.record.target)
            .expect("a record names only revisions that are stored with it")
    }

    /// How many there should be now.
    pub(crate) fn count(&self) -> u32 {
        if self.record.is_stopped || self.record.is_removed { 0 } else { self.record.count }
    }

    pub(crate) fn goal(&self) -> Goal<'_> {
        let moves = self.record.rollout.state != RolloutState::Paused;
        Goal {
            count: self.count(),
            rollout: &self.target().rollout,
            availability: self.target().availability,
            advance: if moves { Advance::Yes } else { Advance::No },
        }
    }

    /// The spec by which an instance is handled: its own, unless the target differs only in what
    /// holds at once.
    pub(crate) fn spec_of(&self, instance: &Instance) -> &ServiceSpec {
        match self.revisions.get(&instance.name.revision) {
            Some(own) if !self.is_current(instance) => &own.record.spec,
            Some(_) | None => self.target(),
        }
    }

    /// Whether it was made from what the target asks for.
    pub(crate) fn is_current(&self, instance: &Instance) -> bool {
        self.matches(instance, self.record.target)
    }

    /// Whether it was made from what `revision` asks for, and not before the last restart.
    pub(crate) fn matches(&self, instance: &Instance, revision: u32) -> bool {
        let digest = |number: u32| self.revisions.get(&number).map(|r| &r.record.digest);
        instance.name.restart >= self.record.restart
            && digest(instance.name.revision).is_some()
            && digest(instance.name.revision) == digest(revision)
    }

    /// Whether `task` passes what its revision asks before it is published.
    pub(crate) fn is_ready(&self, instance: &Instance, task: &Task) -> bool {
        let status = &task.record.status;
        let has_check = self
            .revisions
            .get(&instance.name.revision)
            .map_or(status.ready.is_some(), |r| r.record.spec.checks.ready.is_some());
        status.state == TaskState::Running
            && if has_check { status.ready == Some(true) } else { status.ready != Some(false) }
    }

    /// Where an instance stands; `None`: it neither serves nor takes a place, only its end is
    /// awaited somewhere out of reach.
    pub(crate) fn phase(
        &self,
        instance: &Instance,
        task: Option<&Task>,
        now: Monotonic,
    ) -> Option<Phase> {
        let Some(task) = task else {
            return Some(if instance.ending.is_some() { Phase::Stopping } else { Phase::Waiting });
        };
        if task.state() == TaskState::Unreachable || !task.is_certain {
            let is_lost = instance
                .unreachable_since
                .zip(self.replace_after())
                .is_some_and(|(since, after)| now.since(since) >= after);
            return match (is_lost, instance.ending) {
                (true, None) => Some(Phase::Lost),
                (true, Some(_)) => None,
                (false, None) => Some(Phase::Unreachable),
                (false, Some(_)) => Some(Phase::Stopping),
            };
        }
        if task.state() == TaskState::Killing {
            return Some(Phase::Stopping);
        }
        Some(match (instance.ending, instance.ready_since) {
            (Some(Ending::Lingering { .. }), _) => Phase::Lingering,
            (Some(Ending::Stopping), _) => Phase::Stopping,
            (None, Some(since)) => {
                if now.since(since) >= self.target().rollout.min_available_time {
                    Phase::Available
                } else {
                    Phase::Ready
                }
            }
            (None, None) => Phase::Starting,
        })
    }

    /// After how long out of reach an instance may be replaced.
    pub(crate) fn replace_after(&self) -> Option<proffer_types::DurationMs> {
        match self.target().unreachable.replace_after {
            Wait::For(span) => Some(span),
            Wait::Never => None,
        }
    }

    /// All instances, as the planner sees them.
    pub(crate) fn members(&self, tasks: &TaskTable, now: Monotonic) -> Vec<Member<TaskName>> {
        self.instances
            .iter()
            .filter_map(|(name, instance)| {
                let task = tasks.get(name).map(AsRef::as_ref);
                Some(Member {
                    id: name.clone(),
                    slot: instance.name.slot,
                    is_current: self.is_current(instance),
                    is_leaving: instance.leaves.is_some(),
                    phase: self.phase(instance, task, now)?,
                    age: instance.name.age(),
                })
            })
            .collect()
    }

    /// Notes what a task's state says about readiness and reach.
    pub(crate) fn observe(
        &mut self,
        name: &TaskName,
        task: &Task,
        absence: Option<Absence>,
        asked: Option<&InverseOffer>,
        now: Monotonic,
    ) {
        let Some(instance) = self.instances.get(name) else { return };
        let is_out_of_reach = task.state() == TaskState::Unreachable
            || (!task.is_certain
                && matches!(absence, Some(Absence::UnreachableSince(_) | Absence::Gone)));
        let is_ready = self.is_ready(instance, task);
        let instance = self.instances.get_mut(name).expect("looked up above");
        // Nothing takes the place of one that is out of reach, also when its agent is to be emptied.
        let is_in_reach = task.is_certain && !is_out_of_reach;
        instance.leaves = asked.filter(|_| is_in_reach).map(|offer| offer.reason.clone());
        instance.unreachable_since =
            is_out_of_reach.then(|| instance.unreachable_since.unwrap_or(now));
        instance.ready_since = match (is_ready, instance.ready_since) {
            // A task that cannot be spoken of keeps what was known of it.
            (_, since) if !task.is_certain && !is_out_of_reach => since,
            (true, since) => Some(since.unwrap_or(now)),
            (false, _) => None,
        };
    }

    /// Whether it is to be found in the endpoints. Readiness is the only signal.
    pub(crate) fn is_published(&self, instance: &Instance, task: &Task) -> bool {
        instance.ending.is_none()
            && instance.ready_since.is_some()
            && instance.unreachable_since.is_none()
            && task.state() == TaskState::Running
    }

    /// Whether absent agents may hold instances that nobody can speak of, so that an empty slot may
    /// not be empty (K2).
    pub(crate) fn is_held(
        &self,
        absent: &BTreeMap<AgentId, (Absence, Monotonic)>,
        now: Monotonic,
    ) -> bool {
        !self.is_new
            && absent.values().any(|(absence, since)| match absence {
                Absence::Awaited => true,
                Absence::UnreachableSince(_) => {
                    self.replace_after().is_none_or(|after| now.since(*since) < after)
                }
                Absence::Gone => false,
            })
    }

    /// Revisions that have instances.
    pub(crate) fn running_revisions(&self) -> BTreeSet<u32> {
        self.instances.values().map(|instance| instance.name.revision).collect()
    }

    /// The records alone.
    pub(crate) fn revision_records(&self) -> BTreeMap<u32, RevisionRecord> {
        self.revisions.iter().map(|(number, r)| (*number, r.record.clone())).collect()
    }

    /// Begins to measure a new rollout.
    pub(crate) fn restart_progress(&mut self, now: Monotonic) {
        self.progress_at = now;
        self.available_max = 0;
        self.slots.clear();
    }
}
