//! Owns who leads, for the stores that decide it themselves: one holder, until its lease runs out. Pure.

use std::time::Duration;

use super::model::{LeaderRecord, LeaderToken, Revision, Value};

#[derive(Clone, Debug)]
struct Holder {
    token: LeaderToken,
    candidate: Value,
    ttl: Duration,
    until: Duration,
}

/// The seat of the leader. Times are readings of one clock that never goes back.
#[derive(Clone, Debug, Default)]
pub(super) struct Seat {
    holder: Option<Holder>,
}

impl Seat {
    /// Seats a new leader.
    ///
    /// # Assumes
    /// The seat is free: [`Seat::expire`] was called and [`Seat::leader`] is `None`.
    pub(super) fn take(
        &mut self,
        token: LeaderToken,
        candidate: Value,
        ttl: Duration,
        now: Duration,
    ) {
        assert!(self.holder.is_none(), "a seat is taken only when it is free");
        self.holder = Some(Holder { token, candidate, ttl, until: now + ttl });
    }

    /// The standing term.
    #[must_use]
    pub(super) fn leader(&self) -> Option<LeaderRecord> {
        self.holder.as_ref().map(|holder| LeaderRecord {
            create_revision: holder.token.create_revision,
            candidate: holder.candidate.clone(),
        })
    }

    /// The standing term's first transaction.
    #[must_use]
    pub(super) fn create_revision(&self) -> Option<Revision> {
        self.holder.as_ref().map(|holder| holder.token.create_revision)
    }

    /// The standing term's token.
    #[must_use]
    pub(super) fn token(&self) -> Option<LeaderToken> {
        self.holder.as_ref().map(|holder| holder.token)
    }

    /// Whether this is the standing term.
    #[must_use]
    pub(super) fn is_held_by(&self, token: LeaderToken) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.token == token)
    }

    /// When the lease of the standing term runs out.
    #[must_use]
    pub(super) fn until(&self) -> Option<Duration> {
        self.holder.as_ref().map(|holder| holder.until)
    }

    /// Renews the lease; `None` if this is not the standing term.
    pub(super) fn keep_alive(&mut self, token: LeaderToken, now: Duration) -> Option<Duration> {
        let holder = self.holder.as_mut().filter(|holder| holder.token == token)?;
        holder.until = now + holder.ttl;
        Some(holder.ttl)
    }

    /// Frees the seat if this term holds it; says whether it did.
    pub(super) fn resign(&mut self, token: LeaderToken) -> bool {
        let held = self.is_held_by(token);
        if held {
            self.holder = None;
        }
        held
    }

    /// Frees the seat if the lease has run out; says whether it had.
    pub(super) fn expire(&mut self, now: Duration) -> bool {
        let over = self.holder.as_ref().is_some_and(|holder| holder.until <= now);
        if over {
            self.holder = None;
        }
        over
    }
}
