//! Room that is being made by ending tasks of others (K11), and who waits for some to be made.

use crate::state::tasks::TaskEntry;
use proffer_allocator::Starving;
use proffer_types::operator::ClaimRow;
use proffer_types::{
    AgentId, Claim, ClaimId, DemandKey, FrameworkId, InverseOfferId, LaunchToken, Monotonic,
    TaskKey, WallTime,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ClaimEntry {
    pub(crate) claim: Claim,
    pub(crate) agent: AgentId,
    /// Those that are still to go. A name may be used again, so the launch is what counts.
    pub(crate) victims: BTreeMap<TaskKey, LaunchToken>,
    /// What their frameworks are asked.
    pub(crate) asks: BTreeMap<FrameworkId, InverseOfferId>,
    /// When those that are left are killed.
    pub(crate) until: Monotonic,
    /// The same, for people.
    pub(crate) until_wall: WallTime,
}

impl ClaimEntry {
    pub(crate) fn row(&self) -> ClaimRow {
        let Claim { id, framework, group, role, resources, creditor, .. } = self.claim.clone();
        let (victims, until) = (self.victims.keys().cloned().collect(), self.until_wall);
        ClaimRow { id, framework, group, role, resources, creditor, victims, until }
    }
}

/// What ends on one agent, and what that costs: the highest priority first, none if all of it may be taken
/// back at any time, then how many, then how long they have run, in milliseconds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Plan {
    pub(crate) cost: (Option<i32>, usize, u64),
    pub(crate) agent: AgentId,
    pub(crate) victims: Vec<TaskKey>,
}

/// Who may be ended for a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WhoEnds {
    /// Tasks that use what may be taken back at any time.
    Revocable,
    /// Others too, if need be.
    Anybody,
}

/// Since when a group finds no place, and when victims are looked for at the earliest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wait {
    pub(crate) since: Monotonic,
    pub(crate) look_at: Monotonic,
}

/// A search over all agents, some of them at a time (K7).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Search {
    pub(crate) starving: Starving,
    pub(crate) who: WhoEnds,
    pub(crate) after: Option<AgentId>,
    /// The cheapest so far, as many as tasks are missing.
    pub(crate) plans: BTreeSet<Plan>,
}

impl Search {
    pub(crate) fn new(starving: Starving, who: WhoEnds) -> Self {
        Self { starving, who, after: None, plans: BTreeSet::new() }
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
    /// Groups that find no place.
    pub(crate) waits: BTreeMap<DemandKey, Wait>,
    /// Charged tasks that use what may be taken back at any time.
    pub(crate) revocable: BTreeSet<TaskKey>,
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
    pub(crate) fn names(&self, key: &TaskKey, task: &TaskEntry) -> bool {
        let token = Some(&task.record.status.token);
        self.table.values().any(|entry| entry.victims.get(key) == token)
    }
}
