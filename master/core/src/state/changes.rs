//! The numbered change list of the current turn (K6): which rows changed, each once, in order of the
//! first change. Rows are composed at the end of the turn, so that each is sent as it is then.

use proffer_types::operator::EventRow;
use proffer_types::{AgentId, DemandKey, FrameworkId, OfferId, RoleName, TaskKey};
use std::collections::BTreeSet;

/// A row that changed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum RowKey {
    Agent(AgentId),
    Framework(FrameworkId),
    Demand(DemandKey),
    Task(TaskKey),
    Offer(OfferId),
    Role(RoleName),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Noted {
    Row(RowKey),
    Event(EventRow),
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Changes {
    /// The number of the last published change.
    pub(crate) published: u64,
    noted: Vec<Noted>,
    rows: BTreeSet<RowKey>,
}

impl Changes {
    pub(crate) fn row(&mut self, key: RowKey) {
        if self.rows.insert(key.clone()) {
            self.noted.push(Noted::Row(key));
        }
    }

    pub(crate) fn event(&mut self, event: EventRow) {
        self.noted.push(Noted::Event(event));
    }

    /// The number that the last change of this turn has or will have.
    pub(crate) fn last(&self) -> u64 {
        self.published + self.noted.len() as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.noted.is_empty()
    }

    /// Takes the turn's changes and counts them as published.
    pub(crate) fn take(&mut self) -> Vec<Noted> {
        self.rows.clear();
        self.published = self.last();
        std::mem::take(&mut self.noted)
    }
}
