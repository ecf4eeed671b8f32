//! Owns virtual time: what happens next, and in which order when several things happen at once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

struct Entry<E> {
    at: u64,
    order: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl<E> Eq for Entry<E> {}
impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Events by virtual millisecond; first in, first out within one.
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    order: u64,
    now_ms: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        // Far from zero, so that a span before the start does not underflow into it.
        Self { heap: BinaryHeap::new(), order: 0, now_ms: 1_000_000 }
    }
}

impl<E> Queue<E> {
    /// Virtual milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Something that happens `delay_ms` from now.
    pub fn after(&mut self, delay_ms: u64, event: E) {
        self.at(self.now_ms + delay_ms, event);
    }

    /// Something that happens then, or now if then has passed.
    pub fn at(&mut self, at_ms: u64, event: E) {
        self.order += 1;
        let entry = Entry { at: at_ms.max(self.now_ms), order: self.order, event };
        self.heap.push(Reverse(entry));
    }

    /// The next event; time moves to it. `None` when it lies after `until_ms`: time moves there.
    pub fn next(&mut self, until_ms: u64) -> Option<E> {
        if self.heap.peek().is_none_or(|Reverse(entry)| entry.at > until_ms) {
            self.now_ms = until_ms.max(self.now_ms);
            return None;
        }
        let Reverse(entry) = self.heap.pop()?;
        self.now_ms = entry.at;
        Some(entry.event)
    }
}
