//! Owns what the view keeps of the past: the latest changes, from which readers resume (K17), and the
//! rows of tasks that have ended. Both are bounded by number and by bytes (I15).

use imbl::{OrdMap, Vector};
use proffer_types::operator::{Change, TaskRow};
use proffer_types::{Resources, TaskKey};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Changes kept for readers that resume; an older cursor gets a reset (K17).
const CHANGES_MAX: usize = 50_000;
/// Bytes of them, about.
const CHANGES_BYTES_MAX: usize = 32 << 20;
/// Ended tasks that can still be looked at, and their sandboxes read.
const ENDED_MAX: usize = 10_000;
/// Bytes of them, about.
const ENDED_BYTES_MAX: usize = 16 << 20;

/// The latest changes, ascending, without a gap.
#[derive(Clone, Default)]
pub(crate) struct History {
    changes: Vector<(Arc<Change>, usize)>,
    bytes: usize,
}

impl History {
    pub(super) fn push(&mut self, change: Arc<Change>) {
        let bytes = bytes_of(&change);
        self.bytes += bytes;
        self.changes.push_back((change, bytes));
        while self.changes.len() > CHANGES_MAX || self.bytes > CHANGES_BYTES_MAX {
            let Some((_, bytes)) = self.changes.pop_front() else { break };
            self.bytes -= bytes;
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// At most `max` of the last `count`, the oldest of them first.
    ///
    /// Readers ask this each time that something changes: it goes straight to the place, and does not
    /// walk there.
    pub(super) fn last(&self, count: usize, max: usize) -> Vec<Arc<Change>> {
        let first = self.changes.len().saturating_sub(count);
        let end = first.saturating_add(max).min(self.changes.len());
        let page = self.changes.focus().narrow(first..end);
        page.into_iter().map(|(change, _)| Arc::clone(change)).collect()
    }
}

/// The last rows of tasks that have ended and whose framework knows: the newest of each name.
#[derive(Clone, Default)]
pub(crate) struct Ended {
    rows: OrdMap<TaskKey, Arc<TaskRow>>,
    /// In the order of their ends; one whose name was used again is passed over.
    order: Vector<(Arc<TaskRow>, usize)>,
    bytes: usize,
}

impl Ended {
    pub(super) fn push(&mut self, row: Arc<TaskRow>) {
        let bytes = bytes_of_task(&row);
        self.bytes += bytes;
        self.rows.insert(row.status.key(), Arc::clone(&row));
        self.order.push_back((row, bytes));
        while self.order.len() > ENDED_MAX || self.bytes > ENDED_BYTES_MAX {
            let Some((oldest, bytes)) = self.order.pop_front() else { break };
            self.bytes -= bytes;
            let key = oldest.status.key();
            if self.rows.get(&key).is_some_and(|row| Arc::ptr_eq(row, &oldest)) {
                self.rows.remove(&key);
            }
        }
    }

    /// By framework and name.
    pub(crate) fn rows(&self) -> &OrdMap<TaskKey, Arc<TaskRow>> {
        &self.rows
    }
}

/// About how many bytes a change takes in memory.
fn bytes_of(change: &Change) -> usize {
    let rest = match change {
        Change::Agent(row) => {
            let texts = row.info.attributes.keys().map(|name| name.len() + 64);
            texts.sum::<usize>()
                + bytes_of_resources(&row.info.resources)
                + bytes_of_resources(&row.total)
                + bytes_of_resources(&row.allocated)
                + bytes_of_resources(&row.offered)
        }
        Change::Framework(row) => {
            bytes_of_texts(&row.info.labels)
                + bytes_of_resources(&row.allocated)
                + bytes_of_resources(&row.offered)
        }
        Change::Demand(row) => {
            bytes_of_resources(&row.group.shape) + row.group.constraints.len() * 128
        }
        Change::Task(row) => bytes_of_task(row),
        Change::Offer(row) => bytes_of_resources(&row.resources) + row.attributes.len() * 64,
        Change::Role(row) => bytes_of_resources(&row.allocated) + row.frameworks.len() * 8,
        Change::Hold(row) => bytes_of_resources(&row.hold.resources) + row.message.len() + 512,
        Change::Event(row) => row.message.len() + row.subject.len(),
        Change::AgentRemoved(_)
        | Change::FrameworkRemoved(_)
        | Change::DemandRemoved(_)
        | Change::HoldRemoved(_)
        | Change::TaskRemoved(_)
        | Change::OfferRemoved(_) => 0,
    };
    size_of::<Change>() + rest
}

fn bytes_of_task(row: &TaskRow) -> usize {
    size_of::<TaskRow>()
        + bytes_of_texts(&row.variables)
        + bytes_of_texts(&row.labels)
        + bytes_of_resources(&row.resources)
        + row.status.message.len()
}

/// Two strings and their place in a map.
fn bytes_of_texts(texts: &BTreeMap<String, String>) -> usize {
    texts.iter().map(|(key, value)| key.len() + value.len() + 64).sum()
}

fn bytes_of_resources(resources: &Resources) -> usize {
    resources.entries().len() * 96
}

#[cfg(test)]
mod tests {
    use super::*;
    use proffer_types::WallTime;
    use proffer_types::operator::EventRow;

    fn event(message: String) -> Arc<Change> {
        let (kind, subject) = ("test".to_owned(), "s".to_owned());
        Arc::new(Change::Event(EventRow { at: WallTime(1), kind, subject, message }))
    }

    #[test]
    fn a_page_is_the_one_that_was_asked_for() {
        let mut history = History::default();
        for number in 0..2_000 {
            history.push(event(number.to_string()));
        }
        let first = |page: &[Arc<Change>]| match page.first().map(AsRef::as_ref) {
            Some(Change::Event(row)) => row.message.clone(),
            other => panic!("{other:?}"),
        };
        let page = history.last(1_500, 100);
        assert_eq!((page.len(), first(&page).as_str()), (100, "500"));
        let page = history.last(7, 100);
        assert_eq!((page.len(), first(&page).as_str()), (7, "1993"));
        assert_eq!(history.last(9_999, 3).len(), 3);
        assert!(history.last(0, 100).is_empty() && History::default().last(5, 5).is_empty());
    }

    #[test]
    fn i15_large_changes_are_bounded_by_bytes_and_small_ones_by_number() {
        let mut history = History::default();
        for _ in 0..1000 {
            history.push(event("x".repeat(1 << 20)));
        }
        assert!(history.len() < 33 && history.len() > 16, "{}", history.len());
        for _ in 0..100_000 {
            history.push(event(String::new()));
        }
        assert!(history.len() <= CHANGES_MAX);
        let kept: usize = history.changes.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(kept, history.bytes);
    }
}
