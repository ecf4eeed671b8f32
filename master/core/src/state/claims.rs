//! Room that is being made by ending tasks of others (K11), and who waits for some to be made.

use proffer_allocator::Starving;
use proffer_types::{
    AgentId, Claim, ClaimId, DemandKey, FrameworkId, InverseOfferId, Monotonic, TaskKey,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ClaimEntry {
    pub(crate) claim: Claim,
    pub(crate) agent: AgentId,
    /// Those that were named; some may have ended.
    pub(crate) victims: BTreeSet<TaskKey>,
    /// What their frameworks are asked.
    pub(crate) asks: BTreeMap<FrameworkId, InverseOfferId>,
    /// When those that are left are killed.
    pub(crate) until: Monotonic,
}

/// A group that finds no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hunger {
    pub(crate) since: Monotonic,
    /// No victims are looked for before this.
    pub(crate) look_at: Monotonic,
}

/// What ends on one agent, and what that costs: the highest priority first, then how many, then how long
/// they have run, in milliseconds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Plan {
    pub(crate) cost: (i32, usize, u64),
    pub(crate) agent: AgentId,
    pub(crate) victims: Vec<TaskKey>,
}

/// A search over all agents, some of them at a time (K7).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Search {
    pub(crate) starving: Starving,
    pub(crate) after: Option<AgentId>,
    /// The cheapest so far, as many as tasks are missing.
    pub(crate) plans: BTreeSet<Plan>,
}

impl Search {
    pub(crate) fn new(starving: Starving) -> Self {
        Self { starving, after: None, plans: BTreeSet::new() }
    }

    pub(crate) fn note(&mut self, plan: Plan, most: usize) {
        self.plans.insert(plan);
        while self.plans.len() > most {
            self.plans.pop_last();
        }
    }
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Claims {
    pub(crate) table: BTreeMap<ClaimId, ClaimEntry>,
    pub(crate) by_ask: BTreeMap<InverseOfferId, ClaimId>,
    pub(crate) hunger: BTreeMap<DemandKey, Hunger>,
    pub(crate) search: Option<Search>,
    /// Claims of this epoch so far.
    pub(crate) made: u64,
}

impl Claims {
    /// Claims on an agent. There is at most one that this master made; earlier leaders may have made more.
    pub(crate) fn on(&self, agent: AgentId) -> impl Iterator<Item = (&ClaimId, &ClaimEntry)> {
        self.table.iter().filter(move |(_, entry)| entry.agent == agent)
    }

    /// For a group, the newest first.
    pub(crate) fn of(&self, key: &DemandKey) -> Vec<ClaimId> {
        let of_group = self.table.iter().filter(|(_, entry)| {
            entry.claim.framework == key.framework && entry.claim.group == key.group
        });
        let mut found: Vec<ClaimId> = of_group.map(|(id, _)| *id).collect();
        found.sort_by_key(|id| Reverse(*id));
        found
    }

    /// Whether a task is to make room.
    pub(crate) fn names(&self, key: &TaskKey) -> bool {
        self.table.values().any(|entry| entry.victims.contains(key))
    }
}
