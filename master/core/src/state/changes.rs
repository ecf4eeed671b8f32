//! The numbered change list of the current turn (K6): which rows changed, each once, in order of the
//! first change. Rows are composed at the end of the turn, so that each is sent as it is then.

use proffer_types::operator::{EventRow, TaskRow};
use proffer_types::{AgentId, DemandKey, FrameworkId, HoldKey, OfferId, RoleName, TaskKey};
use std::collections::BTreeMap;

/// A row that changed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum RowKey {
    Agent(AgentId),
    Framework(FrameworkId),
    Demand(DemandKey),
    Task(TaskKey),
    Offer(OfferId),
    Role(RoleName),
    Hold(HoldKey),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Noted {
    Row(RowKey),
    Event(EventRow),
    /// The end of a task that is forgotten in the turn in which it ended: no table has it any more when
    /// rows are composed, and still it is told (I17).
    TaskEnded(Box<TaskRow>),
    TaskRemoved(TaskKey),
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Changes {
    /// The number of the last published change.
    pub(crate) published: u64,
    noted: Vec<Noted>,
    /// The rows among them, and their places.
    rows: BTreeMap<RowKey, usize>,
}

impl Changes {
    pub(crate) fn row(&mut self, key: RowKey) {
        let place = self.noted.len();
        self.rows.entry(key.clone()).or_insert_with(|| {
            self.noted.push(Noted::Row(key));
            place
        });
    }

    /// A task is forgotten, whose last row this is. The same name may be used again in this turn.
    pub(crate) fn task_removed(&mut self, key: TaskKey, last: TaskRow) {
        match self.rows.remove(&RowKey::Task(key.clone())) {
            // Never published as it is now, and not at its end: the removal says all.
            Some(place) if !last.status.state.is_terminal() => {
                self.noted[place] = Noted::TaskRemoved(key);
            }
            unpublished => {
                if let Some(place) = unpublished {
                    self.noted[place] = Noted::TaskEnded(Box::new(last));
                }
                self.noted.push(Noted::TaskRemoved(key));
            }
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
