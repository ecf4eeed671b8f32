//! Sandbox directories and which of them may go: by age and by count, oldest first (I15).

use crate::config::Limits;
use proffer_types::ids::ContainerId;
use proffer_types::units::Monotonic;
use std::collections::{BTreeMap, BTreeSet};

/// All sandboxes on disk.
#[derive(Default, Debug)]
pub(crate) struct Sandboxes {
    /// `None` while its container may run.
    since_end: BTreeMap<ContainerId, Option<Monotonic>>,
    by_end: BTreeSet<(Monotonic, ContainerId)>,
}

impl Sandboxes {
    pub(crate) fn contains(&self, container: &ContainerId) -> bool {
        self.since_end.contains_key(container)
    }

    pub(crate) fn insert_live(&mut self, container: ContainerId) {
        self.since_end.insert(container, None);
    }

    /// Its container has ended. Ages are counted from here, or from a restart of the agent: the
    /// wall clock decides nothing (I14).
    pub(crate) fn ended(&mut self, container: &ContainerId, now: Monotonic) {
        if let Some(since @ None) = self.since_end.get_mut(container) {
            *since = Some(now);
            self.by_end.insert((now, container.clone()));
        }
    }

    /// Takes out one that is too old or one too many.
    pub(crate) fn pop(&mut self, limits: &Limits, now: Monotonic) -> Option<ContainerId> {
        let (ended, _) = self.by_end.first()?;
        let over_age = ended.after(limits.sandbox_age_max) <= now;
        if !over_age && self.by_end.len() <= limits.sandbox_count_max {
            return None;
        }
        let (_, container) = self.by_end.pop_first()?;
        self.since_end.remove(&container);
        Some(container)
    }

    pub(crate) fn next_deadline(&self, limits: &Limits) -> Option<Monotonic> {
        self.by_end.first().map(|(ended, _)| ended.after(limits.sandbox_age_max))
    }

    pub(crate) fn ended_count(&self) -> usize {
        self.by_end.len()
    }
}
