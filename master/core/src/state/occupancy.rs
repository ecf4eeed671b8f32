//! Who may have tasks on which agent (K2): what is durable and what is being written. The roles in it
//! are what upper bounds of awaited agents will be charged to once roles have limits (K12).

use crate::effect::OperationId;
use crate::registry::OccupancyRecord;
use proffer_types::{AgentId, FrameworkId, RoleName};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// A framework under a role.
pub(crate) type Pair = (FrameworkId, RoleName);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PairState {
    Durable,
    /// A launch of the pair waits for this write.
    Writing(OperationId),
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Occupancy {
    table: BTreeMap<AgentId, BTreeMap<Pair, PairState>>,
    /// The same by framework.
    agents: BTreeMap<FrameworkId, BTreeSet<AgentId>>,
    /// Agents whose record names pairs that may have ended.
    pub(crate) stale: BTreeSet<AgentId>,
}

impl Occupancy {
    pub(crate) fn load(&mut self, agent: AgentId, record: &OccupancyRecord) {
        for (framework, roles) in &record.frameworks {
            for role in roles {
                self.set(agent, (*framework, role.clone()), PairState::Durable);
            }
        }
    }

    pub(crate) fn state(&self, agent: AgentId, pair: &Pair) -> Option<PairState> {
        self.table.get(&agent)?.get(pair).copied()
    }

    pub(crate) fn set(&mut self, agent: AgentId, pair: Pair, state: PairState) {
        self.agents.entry(pair.0).or_default().insert(agent);
        self.table.entry(agent).or_default().insert(pair, state);
    }

    /// The write came back: what waited for it and is still wanted is durable now.
    pub(crate) fn written(&mut self, agent: AgentId, operation: OperationId) {
        for state in self.table.get_mut(&agent).into_iter().flat_map(BTreeMap::values_mut) {
            if *state == PairState::Writing(operation) {
                *state = PairState::Durable;
            }
        }
    }

    /// The pairs of an agent.
    pub(crate) fn pairs(&self, agent: AgentId) -> impl Iterator<Item = &Pair> {
        self.table.get(&agent).into_iter().flat_map(BTreeMap::keys)
    }

    /// The agents that may have tasks of a framework.
    pub(crate) fn agents(&self, framework: FrameworkId) -> Vec<AgentId> {
        self.agents.get(&framework).into_iter().flatten().copied().collect()
    }

    /// The same, those after one of them.
    pub(crate) fn agents_after(
        &self,
        framework: FrameworkId,
        after: Option<AgentId>,
    ) -> impl Iterator<Item = AgentId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.agents
            .get(&framework)
            .into_iter()
            .flat_map(move |agents| agents.range((from, Bound::Unbounded)))
            .copied()
    }

    /// Takes pairs out for which `ended` holds; returns whether any was.
    pub(crate) fn trim(&mut self, agent: AgentId, ended: impl Fn(&Pair) -> bool) -> bool {
        let Some(pairs) = self.table.get_mut(&agent) else { return false };
        let over: Vec<Pair> = pairs.keys().filter(|pair| ended(pair)).cloned().collect();
        for pair in &over {
            pairs.remove(pair);
        }
        for (framework, _) in &over {
            if !pairs.keys().any(|(id, _)| id == framework)
                && let Some(agents) = self.agents.get_mut(framework)
            {
                agents.remove(&agent);
                if agents.is_empty() {
                    self.agents.remove(framework);
                }
            }
        }
        if pairs.is_empty() {
            self.table.remove(&agent);
        }
        !over.is_empty()
    }

    /// For tests: the two tables say the same (K2).
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut agents: BTreeMap<FrameworkId, BTreeSet<AgentId>> = BTreeMap::new();
        for (agent, pairs) in &self.table {
            for (framework, _) in pairs.keys() {
                agents.entry(*framework).or_default().insert(*agent);
            }
        }
        if agents == self.agents { Ok(()) } else { Err("K2: occupancy is filed wrong".to_owned()) }
    }

    /// What is to be stored for an agent; `None` when nobody has tasks there.
    pub(crate) fn record(&self, agent: AgentId) -> Option<OccupancyRecord> {
        let pairs = self.table.get(&agent)?;
        let mut record = OccupancyRecord::default();
        for (framework, role) in pairs.keys() {
            record.frameworks.entry(*framework).or_default().insert(role.clone());
        }
        Some(record)
    }
}
