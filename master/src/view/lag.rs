//! Owns how far the published view is behind the loop (K6): since when each turn waits that readers do
//! not see yet.

use super::TURNS_WAITING_MAX;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Turns that are counted: those that wait, and those that are being taken in. Were the thread gone, the
/// oldest would stay and the rest not be counted.
const COUNTED_MAX: usize = 2 * TURNS_WAITING_MAX;

/// Shared by the loop, the view thread and whoever asks.
#[derive(Default)]
pub(super) struct Lag {
    handed_over: Mutex<VecDeque<Instant>>,
}

impl Lag {
    fn turns(&self) -> MutexGuard<'_, VecDeque<Instant>> {
        self.handed_over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn handed_over(&self) {
        let mut turns = self.turns();
        if turns.len() < COUNTED_MAX {
            turns.push_back(Instant::now());
        }
    }

    /// The oldest `turns` are published.
    pub(super) fn published(&self, turns: usize) {
        let mut waiting = self.turns();
        let turns = turns.min(waiting.len());
        waiting.drain(..turns);
    }

    /// Turns that are not published, and the age of the oldest.
    pub(super) fn now(&self) -> (usize, Duration) {
        let turns = self.turns();
        (turns.len(), turns.front().map_or(Duration::ZERO, Instant::elapsed))
    }
}
