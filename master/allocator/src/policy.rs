//! What operators decide for the whole cluster.

use crate::amounts::{Amounts, Dimensions};
use crate::state::Allocator;
use proffer_types::ResourceName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Settings of the allocator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Policy {
    /// Resources that count for no share: who holds much of a scarce one is not kept from everything
    /// else for it.
    pub fair_excluded: BTreeSet<ResourceName>,
    /// Resources that are scarce: agents with them are used last for tasks that need none.
    pub scarce: BTreeSet<ResourceName>,
    /// Such agents are not used at all for tasks that need none, nor offered to frameworks that state no
    /// demand.
    pub scarce_for_need_only: bool,
    /// Most that one framework holds in classical offers that it has not answered, in percent of what the
    /// cluster has of each scalar; `None`: no bound. What is reserved does not count.
    #[serde(default)]
    pub held_max_percent: Option<u8>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            fair_excluded: BTreeSet::new(),
            scarce: BTreeSet::from([ResourceName::Gpus]),
            scarce_for_need_only: false,
            held_max_percent: None,
        }
    }
}

/// Scarce dimensions that a shape needs.
#[derive(Clone, Default, Debug)]
pub(crate) struct ScarceNeed {
    pub(crate) all: BTreeSet<usize>,
    /// The one that it is packed by: the first by name.
    pub(crate) packed_by: Option<usize>,
}

impl Policy {
    /// The scarce dimensions that there is something of.
    pub(crate) fn scarce_in(&self, dimensions: &Dimensions, amounts: &Amounts) -> BTreeSet<usize> {
        let scarce = self.scarce.iter().filter_map(|name| dimensions.known(name));
        scarce.filter(|dimension| amounts.get(*dimension) > 0).collect()
    }

    /// What of this a shape needs.
    pub(crate) fn need_of(&self, dimensions: &Dimensions, shape: &Amounts) -> ScarceNeed {
        let mut by_name = self.scarce.iter().filter_map(|name| dimensions.known(name));
        ScarceNeed {
            packed_by: by_name.find(|dimension| shape.get(*dimension) > 0),
            all: self.scarce_in(dimensions, shape),
        }
    }
}

impl Allocator {
    pub(crate) fn set_policy(&mut self, policy: &Policy) {
        self.policy = policy.clone();
        self.cap_changed();
        let excluded = policy.fair_excluded.iter().map(|name| self.dimensions.scalar(name));
        self.fair.exclude(excluded.collect());
        for name in &policy.scarce {
            self.dimensions.scalar(name);
        }
        self.buckets.set_need_only(&self.policy, &self.dimensions);
        let slots: Vec<u32> = self.slots.values().copied().collect();
        for slot in slots {
            let agent = &self.agents[slot];
            let (old, total) = (agent.class, agent.total.clone());
            let attributes = self.classes.classes[old].key.attributes.clone();
            let class = self.join_class(&attributes, &total);
            self.agents[slot].class = class;
            self.classes.leave(old);
        }
        self.buckets.judge_all(&self.classes);
        for slot in self.slots.values().copied().collect::<Vec<u32>>() {
            self.find_sets(slot);
            self.show(slot);
            self.gained(slot);
        }
    }
}
