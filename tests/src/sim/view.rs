//! The published view, built from change lists as any watcher would: what I5 and I17 are checked on.

use proffer_types::operator::{
    AgentRow, Change, DemandRow, FrameworkRow, HoldRow, OfferRow, RoleRow, TaskRow,
};
use proffer_types::{AgentId, Cursor, DemandKey, FrameworkId, HoldKey, OfferId, RoleName, TaskKey};
use std::collections::BTreeMap;

/// Rows as of a change.
#[derive(Default)]
pub struct View {
    /// Where it stands.
    pub cursor: Cursor,
    /// Rows.
    pub agents: BTreeMap<AgentId, AgentRow>,
    /// Rows.
    pub frameworks: BTreeMap<FrameworkId, FrameworkRow>,
    /// Rows.
    pub tasks: BTreeMap<TaskKey, TaskRow>,
    /// Rows.
    pub offers: BTreeMap<OfferId, OfferRow>,
    /// Rows.
    pub demand: BTreeMap<DemandKey, DemandRow>,
    /// Rows.
    pub roles: BTreeMap<RoleName, RoleRow>,
    /// Rows.
    pub holds: BTreeMap<HoldKey, HoldRow>,
}

impl View {
    /// Takes in a turn's changes.
    ///
    /// # Errors
    /// When numbers are missing or repeated within an epoch.
    pub fn take(&mut self, first: Cursor, changes: &[Change]) -> Result<(), String> {
        if first.epoch != self.cursor.epoch {
            *self = Self { cursor: first, ..Self::default() };
        }
        if first != self.cursor {
            return Err(format!("changes begin at {first}, expected {}", self.cursor));
        }
        for change in changes {
            self.apply(change);
            self.cursor.change += 1;
        }
        Ok(())
    }

    /// Takes in one row.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Agent(row) => {
                self.agents.insert(row.id, row.clone());
            }
            Change::AgentRemoved(id) => {
                self.agents.remove(id);
            }
            Change::Framework(row) => {
                self.frameworks.insert(row.id, row.clone());
            }
            Change::FrameworkRemoved(id) => {
                self.frameworks.remove(id);
            }
            Change::Task(row) => {
                self.tasks.insert(row.status.key(), row.clone());
            }
            Change::TaskRemoved(key) => {
                self.tasks.remove(key);
            }
            Change::Offer(row) => {
                self.offers.insert(row.id, row.clone());
            }
            Change::OfferRemoved(id) => {
                self.offers.remove(id);
            }
            Change::Demand(row) => {
                let key = DemandKey { framework: row.framework, group: row.group.name.clone() };
                self.demand.insert(key, row.clone());
            }
            Change::DemandRemoved(key) => {
                self.demand.remove(key);
            }
            Change::Role(row) => {
                self.roles.insert(row.name.clone(), row.clone());
            }
            Change::Hold(row) => {
                self.holds.insert(row.key(), row.clone());
            }
            Change::HoldRemoved(key) => {
                self.holds.remove(key);
            }
            Change::Event(_) => {}
        }
    }
}
