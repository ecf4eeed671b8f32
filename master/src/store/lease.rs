//! Owns the leader's view of its own lease: confirmed, suspended or lost (K8). Pure: time is passed in.

use std::time::Duration;

/// What a leader may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// Lead. Grants to agents may run for at most `remaining`.
    Confirmed {
        /// Time to the moment of suspension.
        remaining: Duration,
    },
    /// Let no effect leave and mark what is read as perhaps out of date; the term may still be
    /// confirmed again.
    Suspended,
    /// The term is over for good.
    Lost,
}

/// Times are readings of one clock that goes on while the machine sleeps, since any fixed origin.
///
/// A confirmation counts from the moment its request was *sent*: the store cannot have started the
/// lease's time before that, so we always stop before the store lets another lead.
#[derive(Clone, Debug)]
pub struct LeaderLease {
    ttl: Duration,
    margin: Duration,
    confirmed_from: Duration,
    lost: bool,
}

impl LeaderLease {
    /// A term that was won by a request sent at `sent_at`.
    #[must_use]
    pub fn new(sent_at: Duration, ttl: Duration) -> Self {
        Self { ttl, margin: margin_of(ttl), confirmed_from: sent_at, lost: false }
    }

    /// A renewal that was sent at `sent_at` came back with this time to live.
    pub fn confirmed(&mut self, sent_at: Duration, ttl: Duration) {
        if sent_at >= self.confirmed_from {
            self.confirmed_from = sent_at;
            self.ttl = ttl;
            self.margin = margin_of(ttl);
        }
    }

    /// The store said that the campaign key is not ours any more. There is no way back.
    pub fn lost(&mut self) {
        self.lost = true;
    }

    /// What holds at `now`.
    #[must_use]
    pub fn state(&self, now: Duration) -> LeaseState {
        if self.lost {
            return LeaseState::Lost;
        }
        let until = self.confirmed_from + self.ttl.saturating_sub(self.margin);
        match until.checked_sub(now) {
            Some(remaining) if !remaining.is_zero() => LeaseState::Confirmed { remaining },
            Some(_) | None => LeaseState::Suspended,
        }
    }

    /// How long the term outlives its last renewal.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// When to ask the store again; a failed renewal is repeated sooner than this.
    #[must_use]
    pub fn renew_at(&self) -> Duration {
        self.confirmed_from + self.ttl / 3
    }

    /// The pause before a failed renewal is repeated.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        (self.ttl / 20).max(Duration::from_millis(20))
    }
}

/// A fifth of the lease covers clock drift and the way of a message that is already on its way.
fn margin_of(ttl: Duration) -> Duration {
    ttl / 5
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn k8_an_unconfirmed_lease_suspends_before_the_store_lets_go() {
        let mut lease = LeaderLease::new(at(100), TTL);
        assert_eq!(lease.state(at(101)), LeaseState::Confirmed { remaining: at(7) });
        assert_eq!(lease.state(at(108)), LeaseState::Suspended);
        lease.confirmed(at(107), TTL);
        assert_eq!(lease.state(at(108)), LeaseState::Confirmed { remaining: at(7) });
    }

    #[test]
    fn k8_a_late_confirmation_of_an_old_renewal_extends_nothing() {
        let mut lease = LeaderLease::new(at(100), TTL);
        lease.confirmed(at(105), TTL);
        lease.confirmed(at(102), TTL);
        assert_eq!(lease.state(at(112)), LeaseState::Confirmed { remaining: at(1) });
    }

    #[test]
    fn k8_a_lost_term_never_comes_back() {
        let mut lease = LeaderLease::new(at(0), TTL);
        lease.lost();
        lease.confirmed(at(1), TTL);
        assert_eq!(lease.state(at(2)), LeaseState::Lost);
    }
}
