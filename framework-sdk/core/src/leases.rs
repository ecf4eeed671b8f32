//! Offers of a framework that wants them raw: held until used, given back, taken back or lapsed.

use crate::framework::Notice;
use proffer_types::offer::Offer;
use proffer_types::{DurationMs, Monotonic, OfferId};
use std::collections::{BTreeMap, BTreeSet};

/// A lease that the framework holds.
#[derive(Clone, Debug)]
struct Lease {
    offer: Offer,
    lapses_at: Monotonic,
    /// Renewed until it is used or given back.
    is_kept: bool,
}

/// All leases that the framework holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    held: BTreeMap<OfferId, Lease>,
}

impl Leases {
    pub(crate) fn offers(&self) -> impl Iterator<Item = &Offer> {
        self.held.values().map(|lease| &lease.offer)
    }

    pub(crate) fn get(&self, id: OfferId) -> Option<&Offer> {
        self.held.get(&id).map(|lease| &lease.offer)
    }

    pub(crate) fn add(&mut self, offer: Offer, now: Monotonic) {
        let lapses_at = now.after(offer.expires_in);
        self.held.insert(offer.id, Lease { offer, lapses_at, is_kept: false });
    }

    pub(crate) fn keep(&mut self, id: OfferId) -> bool {
        self.held.get_mut(&id).map(|lease| lease.is_kept = true).is_some()
    }

    /// Takes those of `ids` out that are held.
    pub(crate) fn release(&mut self, ids: &[OfferId]) -> Vec<OfferId> {
        ids.iter().copied().filter(|id| self.held.remove(id).is_some()).collect()
    }

    /// When something lapses or is to be renewed.
    pub(crate) fn next_deadline(&self) -> Option<Monotonic> {
        self.held.values().map(Lease::due_at).min()
    }

    /// Kept leases to renew now; a notice for those that lapsed.
    pub(crate) fn tick(&mut self, now: Monotonic) -> (Vec<OfferId>, Option<Notice>) {
        let due: Vec<OfferId> = self
            .held
            .iter()
            .filter(|(_, lease)| lease.due_at() <= now)
            .map(|(id, _)| *id)
            .collect();
        let (mut renewed, mut lapsed) = (Vec::new(), Vec::new());
        for id in due {
            let lease = self.held.get_mut(&id).expect("taken from its keys");
            if lease.is_kept {
                lease.lapses_at = now.after(lease.offer.expires_in);
                renewed.push(id);
            } else {
                self.held.remove(&id);
                lapsed.push(id);
            }
        }
        let notice = (!lapsed.is_empty())
            .then(|| Notice::Rescinded { offers: lapsed, reason: "expired".to_owned() });
        (renewed, notice)
    }

    /// Gives all of them up, since the session that held them is over.
    pub(crate) fn drain(&mut self) -> BTreeSet<OfferId> {
        std::mem::take(&mut self.held).into_keys().collect()
    }
}

impl Lease {
    /// A kept lease is renewed at half its term.
    fn due_at(&self) -> Monotonic {
        if !self.is_kept {
            return self.lapses_at;
        }
        Monotonic(self.lapses_at.0.saturating_sub(DurationMs(self.offer.expires_in.0 / 2).0))
    }
}
