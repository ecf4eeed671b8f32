//! The cap on what one framework holds in classical offers that it has not answered: a part of what
//! the cluster has of each scalar. Leases of stated demand do not count: they are bounded by the
//! demand and used at once.

use crate::amounts::{Amounts, Kind};
use crate::state::Allocator;
use proffer_types::FrameworkId;
use std::collections::BTreeSet;

/// Who waits for room under the cap, and who has more of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct AtCap {
    clients: BTreeSet<u32>,
    /// Frameworks that gave something back.
    relieved: BTreeSet<FrameworkId>,
    /// The cap itself may have grown.
    has_grown: bool,
    /// Somebody did not take a part of an agent, and might take a larger one.
    pub(crate) is_cut_short: bool,
}

/// What the cap leaves a framework.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CapRoom<'a> {
    of: Option<(&'a Amounts, Option<&'a Amounts>, u8)>,
}

impl CapRoom<'_> {
    /// Of one scalar; `u64::MAX` without a cap.
    pub(crate) fn get(&self, dimension: usize) -> u64 {
        let Some((totals, held, percent)) = self.of else { return u64::MAX };
        let most = u128::from(totals.get(dimension)) * u128::from(percent) / 100;
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        most.saturating_sub(held.map_or(0, |held| held.get(dimension)))
    }
}

impl AtCap {
    pub(crate) fn has_news(&self) -> bool {
        self.has_grown || !self.relieved.is_empty()
    }

    pub(crate) fn forget_news(&mut self) {
        self.has_grown = false;
        self.relieved.clear();
    }
}

impl Allocator {
    pub(crate) fn cap_room(&self, framework: FrameworkId) -> CapRoom<'_> {
        let held = self.frameworks.get(&framework).map(|entry| &entry.held);
        let percent = self.policy.held_max_percent;
        CapRoom { of: percent.map(|percent| (self.fair.totals(), held, percent)) }
    }

    /// A classical lease was made.
    pub(crate) fn hold(&mut self, framework: FrameworkId, plain: &Amounts) {
        let entry = self.frameworks.entry(framework).or_default();
        for (dimension, value) in plain.iter() {
            if self.dimensions.kind(dimension) == Kind::Scalar {
                entry.held.add(dimension, value);
            }
        }
    }

    /// A classical lease has ended.
    pub(crate) fn unhold(&mut self, framework: FrameworkId, plain: &Amounts) {
        let Some(entry) = self.frameworks.get_mut(&framework) else { return };
        for (dimension, value) in plain.iter() {
            if self.dimensions.kind(dimension) == Kind::Scalar {
                let rest = entry.held.get(dimension).saturating_sub(value);
                entry.held.set(dimension, rest);
            }
        }
        if self.policy.held_max_percent.is_some() {
            self.at_cap.relieved.insert(framework);
        }
    }

    /// The cluster has more or less than before, or the cap was set.
    pub(crate) fn cap_changed(&mut self) {
        self.at_cap.has_grown |=
            self.policy.held_max_percent.is_some() || !self.at_cap.clients.is_empty();
    }

    /// Takes a client out of the queue until the cap has room for it again.
    pub(crate) fn enter_cap(&mut self, client: u32) {
        self.clients[client].is_at_cap = true;
        self.at_cap.clients.insert(client);
        self.settle_client(client);
    }

    /// The opposite of [`Allocator::enter_cap`]; the caller settles the client.
    pub(crate) fn leave_cap(&mut self, client: u32) {
        self.clients[client].is_at_cap = false;
        self.at_cap.clients.remove(&client);
    }

    /// Whether the cap leaves a client enough for an offer.
    pub(crate) fn has_cap_room(&self, client: u32) -> bool {
        let entry = &self.clients[client];
        let room = self.cap_room(entry.framework);
        self.conditions.is_enough(entry.condition, |dimension| room.get(dimension), &[])
    }

    /// Wakes those who have room under the cap again; says how many it looked at.
    pub(crate) fn wake_under_cap(&mut self) -> u64 {
        if !self.at_cap.has_news() {
            return 0;
        }
        let has_grown = std::mem::take(&mut self.at_cap.has_grown);
        let relieved = std::mem::take(&mut self.at_cap.relieved);
        if std::mem::take(&mut self.at_cap.is_cut_short) {
            self.pool_all();
        }
        let waiting = self.at_cap.clients.iter().copied();
        let of_them =
            |client: &u32| has_grown || relieved.contains(&self.clients[*client].framework);
        let waiting: Vec<u32> = waiting.filter(of_them).collect();
        let looked_at = 1 + waiting.len() as u64;
        for client in waiting {
            if self.has_cap_room(client) {
                self.leave_cap(client);
                self.settle_client(client);
            }
        }
        looked_at
    }
}
