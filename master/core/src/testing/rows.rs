//! Every row as the tables have it now, for a comparison with the rows that were published (I17).

use crate::Master;
use crate::state::changes::RowKey;
use proffer_types::operator::Change;
use proffer_types::{DemandKey, HoldKey, Now};

impl Master {
    fn hold_keys(&self) -> impl Iterator<Item = HoldKey> + '_ {
        // One that is being adopted still stands where its durable record says.
        let known = self.holds.table.iter().filter_map(|(id, entry)| {
            let agent = entry.durable.as_ref()?.agent;
            Some(HoldKey { agent, id: *id })
        });
        known.chain(self.holds.quarantined.iter().copied())
    }

    /// Rows of agents, frameworks, demand, tasks, offers and holds, composed anew.
    pub fn rows(&mut self, now: Now) -> Vec<Change> {
        let frameworks = &self.frameworks.table;
        let demand = frameworks.iter().flat_map(|(id, entry)| {
            let key = |group| RowKey::Demand(DemandKey { framework: *id, group });
            entry.demand.keys().cloned().map(key)
        });
        let keys: Vec<RowKey> = (self.agents.table.keys().copied().map(RowKey::Agent))
            .chain(frameworks.keys().copied().map(RowKey::Framework))
            .chain(demand)
            .chain(self.tasks.table.keys().cloned().map(RowKey::Task))
            .chain(self.offers.table.keys().copied().map(RowKey::Offer))
            .chain(self.hold_keys().map(RowKey::Hold))
            .collect();
        keys.into_iter().map(|key| self.compose(key, now)).collect()
    }
}
