//! Limits: who waits for room under one, and classical offers that are cut to what a client may have.

use crate::amounts::{Amounts, Kind, SpanList};
use crate::delta::LeaseId;
use crate::demand::Waiting;
use crate::fair_tree::{FairTree, Guaranteed, Named};
use crate::state::Allocator;
use proffer_types::resources::{Quantity, Resource};
use proffer_types::role::RoleConfig;
use proffer_types::{Quantities, Resources, RoleName};
use std::collections::{BTreeMap, BTreeSet};

/// Who waits for room under a limit, by each role above.
#[derive(Clone, Debug, Default)]
pub(crate) struct AtLimit {
    groups: BTreeMap<u32, BTreeSet<u32>>,
    clients: BTreeMap<u32, BTreeSet<u32>>,
    /// Somebody did not take a part of an agent, and might take a larger one.
    pub(crate) is_cut_short: bool,
}

/// What of an agent a client is offered.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    pub(crate) plain: Amounts,
    /// Plain too, but may be taken back; it stands in `sets` too.
    pub(crate) lent: Amounts,
    pub(crate) spans: SpanList,
    pub(crate) sets: Resources,
    /// All that is free there.
    pub(crate) is_whole: bool,
    pub(crate) is_owed: bool,
}

/// Why a client is offered nothing of an agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoCut {
    /// Limits leave nothing worth an offer on any agent.
    AtLimit,
    /// Its framework holds so much already that nothing worth an offer is left to it on any agent.
    AtCap,
    /// What it may have here is a crumb.
    Crumb,
    /// It does not want the agent, or all that is free there is not enough for it.
    Unwanted,
}

impl AtLimit {
    pub(crate) fn add_group(&mut self, fair: &FairTree, node: u32, group: u32) {
        for role in fair.roles_above(node) {
            self.groups.entry(role).or_default().insert(group);
        }
    }

    pub(crate) fn remove_group(&mut self, fair: &FairTree, node: u32, group: u32) {
        remove(&mut self.groups, fair, node, group);
    }
}

fn remove(table: &mut BTreeMap<u32, BTreeSet<u32>>, fair: &FairTree, node: u32, who: u32) {
    for role in fair.roles_above(node) {
        if let Some(waiting) = table.get_mut(&role) {
            waiting.remove(&who);
            if waiting.is_empty() {
                table.remove(&role);
            }
        }
    }
}

impl Allocator {
    pub(crate) fn set_quota(&mut self, role: &RoleName, config: &RoleConfig) {
        let guarantee = self.named(&config.guarantee);
        let limit = self.named(&config.limit);
        self.fair.set_quota(role, guarantee, limit);
        if !config.limit.is_empty() {
            self.lowered.insert(role.clone());
        }
        self.start_or_stop_headroom();
        self.headroom.role_changed(&self.fair, role);
        if config.guarantee.is_empty() {
            self.let_go_of_owed(role);
        }
    }

    /// Leases that were made out of a guarantee which is no more: they may be asked back from now on.
    fn let_go_of_owed(&mut self, role: &RoleName) {
        let made_of_it = self.classical.iter().filter(|(_, id)| {
            let lease = &self.leases[id];
            lease.is_owed && self.clients[lease.client].role.is_within(role)
        });
        let slots: Vec<u32> = made_of_it.map(|(slot, _)| *slot).collect();
        slots.into_iter().for_each(|slot| self.gained(slot));
    }

    fn named(&mut self, quantities: &Quantities) -> Named {
        let quantities = quantities.iter();
        quantities.map(|(name, value)| (self.dimensions.scalar(name), value)).collect()
    }

    /// Takes a client out of the queue until a limit above it has room again.
    pub(crate) fn enter_limit(&mut self, client: u32) {
        let node = self.clients[client].node;
        self.clients[client].is_at_limit = true;
        for role in self.fair.roles_above(node) {
            self.at_limit.clients.entry(role).or_default().insert(client);
        }
        self.settle_client(client);
    }

    /// The opposite of [`Allocator::enter_limit`]; the caller settles the client.
    pub(crate) fn leave_limit(&mut self, client: u32) {
        self.clients[client].is_at_limit = false;
        remove(&mut self.at_limit.clients, &self.fair, self.clients[client].node, client);
    }

    /// Wakes those who fit under limits again; says how many it looked at.
    pub(crate) fn wake_under_limits(&mut self) -> u64 {
        let mut looked_at = 0;
        let relieved = self.fair.take_relieved();
        if !relieved.is_empty() {
            looked_at += self.wake_near_reserved();
            if std::mem::take(&mut self.at_limit.is_cut_short) {
                self.pool_all();
            }
        }
        for role in relieved {
            let groups = self.at_limit.groups.get(&role).into_iter().flatten();
            let groups: Vec<u32> = groups.copied().collect();
            let clients = self.at_limit.clients.get(&role).into_iter().flatten();
            let clients: Vec<u32> = clients.copied().collect();
            looked_at += (groups.len() + clients.len()) as u64;
            for group in groups {
                let spec = self.groups[group].spec.as_ref().expect("only stated groups wait");
                let shape = self.buckets[spec.bucket].shape();
                if self.fair.limiting(self.clients[spec.client].node, shape).is_none() {
                    self.set_waiting(group, Waiting::Awake);
                }
            }
            for client in clients {
                let room = self.fair.limit_room(self.clients[client].node, &[]);
                let condition = self.clients[client].condition;
                if self.conditions.is_enough(condition, |dimension| room.get(dimension), &[]) {
                    self.leave_limit(client);
                    self.settle_client(client);
                }
            }
        }
        looked_at
    }

    /// Names the leases to take back because a role's limit was set below what is consumed: the newest
    /// first, and none that holds nothing of what there is too much of. Tasks are never ended for it.
    pub(crate) fn take_back_beyond_limits(&mut self, rescinds: &mut Vec<LeaseId>) -> u64 {
        let mut looked_at = 0;
        for role in std::mem::take(&mut self.lowered) {
            let found = self.fair.node_of(&role).and_then(|node| self.fair.limits_of(node));
            let mut excess: Vec<(usize, u64)> = found
                .into_iter()
                .flat_map(|(_, limits)| limits)
                .map(|limited| (limited.dimension, limited.consumed.saturating_sub(limited.limit)))
                .filter(|(_, excess)| *excess > 0)
                .collect();
            if excess.is_empty() {
                continue;
            }
            looked_at += self.leases.len() as u64;
            for (id, lease) in self.leases.iter_mut().rev() {
                let holds = excess.iter().any(|(d, excess)| *excess > 0 && lease.plain.get(*d) > 0);
                if !holds || !self.clients[lease.client].role.is_within(&role) {
                    continue;
                }
                for (dimension, excess) in &mut excess {
                    *excess = excess.saturating_sub(lease.plain.get(*dimension));
                }
                if !std::mem::replace(&mut lease.is_rescinded, true) {
                    rescinds.push(*id);
                }
            }
        }
        looked_at
    }

    /// Whether what a client may have is always all that is free.
    pub(crate) fn gives_whole(&self) -> bool {
        !self.fair.has_limits()
            && !self.fair.is_owing()
            && self.conditions.are_trivial()
            && self.policy.held_max_percent.is_none()
    }

    /// All that is free on an agent.
    pub(crate) fn whole(&self, slot: u32) -> Cut {
        let agent = &self.agents[slot];
        Cut {
            plain: agent.free.clone(),
            lent: Amounts::default(),
            spans: agent.free_spans(),
            sets: agent.sets_free().clone(),
            is_whole: true,
            is_owed: false,
        }
    }

    /// What of an agent a client may have: as much as limits leave it and others are not owed. Of what
    /// it is owed itself, when `owed` is given, and then of what has no guarantee what it may have
    /// anyway. Ranges and sets go with it whole.
    pub(crate) fn cut(
        &self,
        client: u32,
        slot: u32,
        surplus: Option<&Amounts>,
        owed: Option<&Guaranteed>,
    ) -> Result<Cut, NoCut> {
        let (node, condition) = (self.clients[client].node, self.clients[client].condition);
        if !self.conditions.admits(condition, &self.agents[slot]) {
            return Err(NoCut::Unwanted);
        }
        let reserved = match owed {
            Some(_) => Vec::new(),
            None => self.reserved_cut(client, &self.agents[slot]),
        };
        let accepts = self.conditions.revocable(condition);
        let revocable = match owed {
            None if accepts.is_accepted() => self.agents[slot].revocable_free(),
            None | Some(_) => &[],
        };
        let owned = self.owned(&reserved);
        let room = self.fair.limit_room(node, &owned);
        if !self.conditions.is_enough(condition, |dimension| room.get(dimension), &[])
            && !self.sees_aside(client, accepts)
        {
            return Err(NoCut::AtLimit);
        }
        if !self.has_cap_room(client) && !self.sees_aside(client, accepts) {
            return Err(NoCut::AtCap);
        }
        let cap = self.cap_room(self.clients[client].framework);
        let mut cut = self.whole(slot);
        let free = &self.agents[slot].free;
        let mut is_of_owed = false;
        for (dimension, value) in free.iter().filter(|(_, value)| *value > 0) {
            if self.dimensions.kind(dimension) != Kind::Scalar {
                continue;
            }
            let most = match owed.filter(|owed| owed.is_named(dimension)) {
                Some(owed) => owed.room.get(dimension),
                None => surplus.map_or(u64::MAX, |surplus| surplus.get(dimension)),
            };
            let given = value.min(most).min(room.get(dimension)).min(cap.get(dimension));
            is_of_owed |= given > 0 && owed.is_some_and(|owed| owed.is_named(dimension));
            cut.is_whole &= given == value;
            cut.plain.set(dimension, given);
        }
        cut.is_owed = owed.is_some();
        // No task takes both kinds of one name.
        let amount = |dimension| cut.plain.get(dimension).max(self.amount_of(revocable, dimension));
        let is_worth = self.conditions.is_enough(condition, amount, &owned);
        let is_all = cut.is_whole && !self.agents[slot].has_aside();
        let too_little = if is_all { NoCut::Unwanted } else { NoCut::Crumb };
        if owed.is_some() {
            return if is_worth && is_of_owed { Ok(cut) } else { Err(too_little) };
        }
        let takes_any = !self.conditions.has_own_minimum(condition);
        if is_worth || (takes_any && reserved.iter().any(|entry| !entry.key.shared)) {
            let aside = reserved.into_iter().chain(revocable.iter().cloned());
            let entries = cut.sets.entries().iter().cloned().chain(aside);
            cut.sets = Resources::from_entries(entries.collect()).expect("each stands there once");
            return Ok(cut);
        }
        Err(too_little)
    }

    /// How much entries have of a scalar.
    pub(crate) fn amount_of(&self, entries: &[Resource], dimension: usize) -> u64 {
        let of_it =
            entries.iter().filter(|entry| entry.key.name == *self.dimensions.name(dimension));
        of_it.fold(0, |sum, entry| match entry.quantity {
            Quantity::Scalar(value) => sum.saturating_add(value),
            Quantity::Ranges(_) | Quantity::Set(_) => sum,
        })
    }
}
