//! Sums over several agents: scalars by name only, since the port ranges of two agents overlap.

use proffer_types::resources::{Quantity, ResourceName, Resources};
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Tally(BTreeMap<ResourceName, u64>);

impl Tally {
    pub(crate) fn add(&mut self, resources: &Resources) {
        for (name, value) in scalars(resources) {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(value);
        }
    }

    pub(crate) fn subtract(&mut self, resources: &Resources) {
        for (name, value) in scalars(resources) {
            if let Some(sum) = self.0.get_mut(name) {
                *sum = sum.saturating_sub(value);
            }
        }
    }

    pub(crate) fn resources(&self) -> Resources {
        Resources::scalars(self.0.iter().map(|(name, value)| (name.clone(), *value)))
    }
}

fn scalars(resources: &Resources) -> impl Iterator<Item = (&ResourceName, u64)> {
    resources.entries().iter().filter_map(|entry| match entry.quantity {
        Quantity::Scalar(value) => Some((&entry.key.name, value)),
        Quantity::Ranges(_) | Quantity::Set(_) => None,
    })
}
