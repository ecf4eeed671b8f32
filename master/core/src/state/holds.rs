//! Reservations and volumes as the registry has them, beside what their agents say (K18).

use crate::registry::{HoldIntent, HoldRecord};
use proffer_types::AgentId;
use proffer_types::hold::{HoldId, HoldKey};
use std::collections::{BTreeMap, BTreeSet};

/// A write of a hold's record on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Writing {
    Put(Box<HoldRecord>),
    Delete,
}

#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct HoldEntry {
    /// `None`: it is being written for the first time.
    pub(crate) durable: Option<HoldRecord>,
    /// Until it is durable nothing else of the hold changes, and nobody gets it.
    pub(crate) writing: Option<Writing>,
    /// Made in one accept with it, and what it takes is of them. Known to the master that made it.
    pub(crate) on: Vec<HoldId>,
}

impl HoldEntry {
    /// Whether somebody may have it.
    pub(crate) fn is_usable(&self) -> bool {
        let is_applied = |record: &HoldRecord| record.intent == HoldIntent::Applied;
        self.writing.is_none() && self.durable.as_ref().is_some_and(is_applied)
    }

    /// As it is, or as it is about to be.
    pub(crate) fn record(&self) -> Option<&HoldRecord> {
        match &self.writing {
            Some(Writing::Put(record)) => Some(record),
            Some(Writing::Delete) | None => self.durable.as_ref(),
        }
    }
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Holds {
    pub(crate) table: BTreeMap<HoldId, HoldEntry>,
    pub(crate) by_agent: BTreeMap<AgentId, BTreeSet<HoldId>>,
    /// What agents have otherwise than the registry knows it: neither offered nor removed.
    pub(crate) quarantined: BTreeSet<HoldKey>,
    /// Agents where something may be removed because its framework is.
    pub(crate) to_reclaim: BTreeSet<AgentId>,
}

impl Holds {
    pub(crate) fn get(&self, id: HoldId) -> Option<&HoldEntry> {
        self.table.get(&id)
    }

    /// Ids of what an agent has or should have.
    pub(crate) fn at(&self, agent: AgentId) -> impl Iterator<Item = HoldId> + '_ {
        self.by_agent.get(&agent).into_iter().flatten().copied()
    }

    pub(crate) fn count_at(&self, agent: AgentId) -> usize {
        self.by_agent.get(&agent).map_or(0, BTreeSet::len)
    }

    pub(crate) fn load(&mut self, id: HoldId, record: HoldRecord) {
        self.by_agent.entry(record.agent).or_default().insert(id);
        self.table.insert(id, HoldEntry { durable: Some(record), ..HoldEntry::default() });
    }

    /// A write begins.
    pub(crate) fn begin(&mut self, id: HoldId, writing: Writing) {
        let entry = self.table.entry(id).or_default();
        let before = entry.record().map(|record| record.agent);
        entry.writing = Some(writing);
        let after = entry.record().map(|record| record.agent);
        if before != after {
            if let Some(before) = before {
                self.leave(before, id);
            }
            if let Some(after) = after {
                self.by_agent.entry(after).or_default().insert(id);
            }
        }
    }

    /// It is durable.
    pub(crate) fn written(&mut self, id: HoldId) {
        let Some(entry) = self.table.get_mut(&id) else { return };
        match entry.writing.take() {
            Some(Writing::Put(record)) => entry.durable = Some(*record),
            Some(Writing::Delete) => {
                let agent = entry.durable.as_ref().map(|record| record.agent);
                self.table.remove(&id);
                if let Some(agent) = agent {
                    self.leave(agent, id);
                }
            }
            None => {}
        }
    }

    fn leave(&mut self, agent: AgentId, id: HoldId) {
        if let Some(ids) = self.by_agent.get_mut(&agent) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_agent.remove(&agent);
            }
        }
    }
}
