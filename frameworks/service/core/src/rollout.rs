//! How a rollout starts, fails, and ends: transitions of the durable record.

use crate::record::{
    FailureNote, RevisionRecord, RolloutKind, RolloutRecord, RolloutState, ServiceRecord,
};
use crate::spec::model::OnFailure;
use proffer_types::WallTime;
use std::collections::{BTreeMap, BTreeSet};

/// Failed slots that are remembered: above the largest `max_failures`, and few enough for a record
/// of the state store.
const FAILED_SLOTS_MAX: usize = 1000;

impl RolloutRecord {
    /// A rollout that begins.
    #[must_use]
    pub fn new(number: u32, kind: RolloutKind, revision: u32, now: WallTime) -> Self {
        Self {
            number,
            kind,
            revision,
            state: RolloutState::Rolling,
            reason: String::new(),
            failed_slots: BTreeSet::new(),
            first_failure: None,
            started_at: now,
            ended_at: None,
        }
    }
}

impl ServiceRecord {
    /// Starts a rollout of `revision`. The newest wins: one that is going on is superseded, and the
    /// planner works from whatever lives.
    pub fn begin(&mut self, kind: RolloutKind, revision: u32, now: WallTime) {
        if self.rollout.ended_at.is_none() && self.rollout.revision != revision {
            self.outcomes.insert(self.rollout.revision, RolloutState::Superseded);
        }
        self.target = revision;
        self.latest = self.latest.max(revision);
        self.rollout = RolloutRecord::new(self.rollout.number + 1, kind, revision, now);
        self.outcomes.insert(revision, RolloutState::Rolling);
        self.crashes.clear();
    }

    /// Notes that the new instance of a slot crashed. Whether that was one too many.
    pub fn note_failure(&mut self, note: FailureNote, max_failures: u32) -> bool {
        if self.rollout.failed_slots.len() < FAILED_SLOTS_MAX {
            self.rollout.failed_slots.insert(note.slot);
        }
        if self.rollout.first_failure.is_none() {
            self.rollout.first_failure = Some(note);
        }
        self.rollout.failed_slots.len() > usize::try_from(max_failures).unwrap_or(usize::MAX)
    }

    /// The rollout has failed. It goes back to the last good revision if it is to, and if there is
    /// one to go back to; a rollback that fails stands still, so that nothing loops.
    pub fn fail(
        &mut self,
        reason: &str,
        on_failure: OnFailure,
        revisions: &BTreeMap<u32, RevisionRecord>,
        now: WallTime,
    ) {
        let digest = |number: u32| revisions.get(&number).map(|revision| &revision.digest);
        let better = self.good.filter(|good| digest(*good) != digest(self.target));
        let rolls_back =
            self.rollout.state == RolloutState::Rolling && on_failure == OnFailure::Rollback;
        match (on_failure, better) {
            (OnFailure::Continue, _) if self.rollout.state == RolloutState::Rolling => return,
            (_, Some(good)) if rolls_back => {
                self.rollout.state = RolloutState::RollingBack;
                self.rollout.reason = format!("{reason}; back to r{good}");
                self.target = good;
            }
            (_, None) if rolls_back => {
                self.rollout.state = RolloutState::Paused;
                self.rollout.reason = format!("{reason}; there is no earlier good revision");
            }
            _ => {
                let was_rollback = self.rollout.state == RolloutState::RollingBack;
                let prefix = if was_rollback { "the rollback failed: " } else { "" };
                self.rollout.state = RolloutState::Paused;
                self.rollout.reason = format!("{prefix}{reason}");
            }
        }
        if self.rollout.state == RolloutState::Paused {
            self.rollout.ended_at = Some(now);
        }
        self.outcomes.insert(self.rollout.revision, self.rollout.state);
        self.crashes.clear();
    }

    /// Every slot runs the target, and nothing else runs.
    pub fn conclude(&mut self, now: WallTime) {
        let state = match self.rollout.state {
            RolloutState::RollingBack => RolloutState::RolledBack,
            RolloutState::Rolling
            | RolloutState::Paused
            | RolloutState::Succeeded
            | RolloutState::RolledBack
            | RolloutState::Superseded => RolloutState::Succeeded,
        };
        self.rollout.state = state;
        self.rollout.ended_at = Some(now);
        self.outcomes.insert(self.rollout.revision, state);
        // With a count of zero nothing ran, so nothing is known to be good.
        if self.count > 0 {
            self.good = Some(self.target);
        }
    }

    /// The revision that an empty slot is filled with. While a failed rollout stands still, that is
    /// the last good one.
    #[must_use]
    pub fn fill(&self) -> u32 {
        match self.rollout.state {
            RolloutState::Paused => self.good.unwrap_or(self.target),
            RolloutState::Rolling
            | RolloutState::RollingBack
            | RolloutState::Succeeded
            | RolloutState::RolledBack
            | RolloutState::Superseded => self.target,
        }
    }

    /// Revisions that may be forgotten: beyond the newest `keep`, and neither aimed at, nor good,
    /// nor running.
    #[must_use]
    pub fn prunable(
        &self,
        revisions: &BTreeMap<u32, RevisionRecord>,
        running: &BTreeSet<u32>,
        keep: u32,
    ) -> Vec<u32> {
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        revisions
            .keys()
            .rev()
            .skip(keep)
            .filter(|number| {
                **number != self.target
                    && **number != self.rollout.revision
                    && Some(**number) != self.good
                    && !running.contains(number)
            })
            .copied()
            .collect()
    }
}
