//! What not everybody may have. What is revocable is offered to those who accept that, charged to nobody,
//! and taken first by demands that accept it: of each name all that a task wants, or nothing.
//! What is reserved for roles is offered to frameworks of the role of the last reservation and of roles
//! below it, the deepest role first. It counts against the quotas of that role and all above it,
//! used or not; used by a role below it, also against the roles in between.
//!
//! Volumes go into classical offers; a stated demand is not given one. A shared volume may be held by
//! many and is charged to nobody; it goes along with something else, never alone.

use crate::agents::Agent;
use crate::amounts::{Amounts, Dimensions, Kind, SpanList, first_of};
use crate::demand::{Bucket, Group, Spec, Waiting};
use crate::fair_tree::Owned;
use crate::kept::owner;
use crate::place::Placement;
use crate::state::Allocator;
use proffer_types::resources::{Quantity, Resource};
use proffer_types::{Monotonic, Ranges, Resources, RevocableUse, RoleName};

/// What a task of a demand takes of an agent.
#[derive(Clone, Debug)]
pub(crate) struct TaskCut {
    pub(crate) plain: Amounts,
    /// Plain too, but may be taken back; it stands in `sets` too.
    pub(crate) lent: Amounts,
    pub(crate) spans: SpanList,
    pub(crate) sets: Resources,
}

/// Of the role, then of the stack: what is reserved deepest counts against the fewest roles.
fn depth(entry: &Resource) -> (usize, usize) {
    let levels = |role: &RoleName| role.as_str().split('/').count();
    (owner(entry).map_or(0, levels), entry.key.reservations.len())
}

fn is_visible(entry: &Resource, role: &RoleName) -> bool {
    owner(entry).is_some_and(|owner| role.is_within(owner))
}

/// Scalars of entries that are charged.
pub(crate) fn charge_of(dimensions: &mut Dimensions, entries: &[Resource]) -> Amounts {
    let mut charge = Amounts::default();
    for entry in entries.iter().filter(|entry| !entry.key.revocable && !entry.key.shared) {
        if let Quantity::Scalar(value) = entry.quantity {
            charge.add(dimensions.scalar(&entry.key.name), value);
        }
    }
    charge
}

/// What a resource counts in its dimension, if that is one of amounts.
fn counted(entry: &Resource) -> Option<(u64, Kind)> {
    match &entry.quantity {
        Quantity::Scalar(value) => Some((*value, Kind::Scalar)),
        Quantity::Ranges(ranges) => Some((ranges.count(), Kind::Ranges)),
        Quantity::Set(_) => None,
    }
}

impl Allocator {
    /// Makes the books of what is reserved and idle agree with an agent. Only roles of which that may have
    /// changed are touched.
    pub(crate) fn sync_reserved(&mut self, slot: u32) {
        let Some(kept) = &mut self.agents[slot].kept else { return };
        match kept.revocable_free().is_empty() {
            true => self.revocable_at.remove(&slot),
            false => self.revocable_at.insert(slot),
        };
        for role in kept.take_changed() {
            self.sync_idle(slot, &role);
        }
        if self.agents[slot].kept.as_ref().is_some_and(|kept| kept.is_empty()) {
            self.agents[slot].kept = None;
        }
    }

    fn sync_idle(&mut self, slot: u32, role: &RoleName) {
        let Some(kept) = &mut self.agents[slot].kept else { return };
        let mut idle: Option<Amounts> = None;
        for entry in kept.free_for(role) {
            let idle = idle.get_or_insert_default();
            if let Some((value, Kind::Scalar)) = counted(entry) {
                idle.add(self.dimensions.scalar(&entry.key.name), value);
            }
        }
        if kept.idle.get(role) == idle.as_ref() {
            return;
        }
        let before = match &idle {
            Some(idle) => kept.idle.insert(role.clone(), idle.clone()),
            None => kept.idle.remove(role),
        };
        if let Some(idle) = &idle {
            self.fair.add_idle(role, idle);
            self.reserved_at.entry(role.clone()).or_default().insert(slot);
        } else if let Some(slots) = self.reserved_at.get_mut(role) {
            slots.remove(&slot);
            if slots.is_empty() {
                self.reserved_at.remove(role);
            }
        }
        if let Some(before) = before {
            self.fair.remove_idle(role, &before);
        }
    }

    /// Whether anything is free anywhere that is reserved for a role or above it.
    pub(crate) fn sees_reserved(&self, role: &RoleName) -> bool {
        !self.reserved_at.is_empty()
            && std::iter::successors(Some(role.clone()), RoleName::parent)
                .any(|role| self.reserved_at.contains_key(&role))
    }

    /// Whether anything is free anywhere that a client sees and not everybody: reserved for its role, or
    /// revocable and accepted.
    pub(crate) fn sees_aside(&self, client: u32, revocable: RevocableUse) -> bool {
        (revocable.is_accepted() && !self.revocable_at.is_empty())
            || self.sees_reserved(&self.clients[client].role)
    }

    /// What of an agent's reserved resources a classical client is offered: all that it sees and that
    /// limits between allow.
    pub(crate) fn reserved_cut(&self, client: u32, agent: &Agent) -> Vec<Resource> {
        let entry = &self.clients[client];
        let mut given = Vec::new();
        for resource in agent.reserved_free() {
            if is_visible(resource, &entry.role) {
                given.push(resource.clone());
                if self.is_limited(entry.node, &Amounts::default(), &given) {
                    given.pop();
                }
            }
        }
        given
    }

    /// Whether a limit above a client has no room for this.
    pub(crate) fn is_limited(&self, node: u32, plain: &Amounts, reserved: &[Resource]) -> bool {
        self.fair.has_limits() && self.fair.limits_cut(node, plain, &self.owned(reserved))
    }

    /// What of reserved resources is charged.
    pub(crate) fn owned<'a>(&self, reserved: &'a [Resource]) -> Vec<Owned<'a>> {
        let charged = reserved.iter().filter(|entry| !entry.key.revocable && !entry.key.shared);
        let charged = charged.filter_map(|entry| {
            let (value, Kind::Scalar) = counted(entry)? else { return None };
            let dimension = self.dimensions.known(&entry.key.name)?;
            Some(Owned { owner: owner(entry)?, dimension, value })
        });
        charged.collect()
    }

    /// Of a name all or nothing is revocable: takes out of `plain` what an agent has enough of.
    fn take_revocable(&self, agent: &Agent, plain: &mut Amounts) -> Vec<Resource> {
        let mut given = Vec::new();
        for entry in agent.revocable_free() {
            let Some((has, Kind::Scalar)) = counted(entry) else { continue };
            let Some(dimension) = self.dimensions.known(&entry.key.name) else { continue };
            let wanted = plain.get(dimension);
            if wanted > 0 && wanted <= has && self.dimensions.kind(dimension) == Kind::Scalar {
                plain.set(dimension, 0);
                let quantity = Quantity::Scalar(wanted);
                given.push(Resource { key: entry.key.clone(), quantity });
            }
        }
        given
    }

    /// One task of a bucket on an agent, out of what is revocable, if that will do, and what is reserved for
    /// a role as far as there is something, and the rest out of what anybody may have. `None` when that
    /// is not enough, or when nothing of the first two is of use.
    fn reserved_task(
        &self,
        agent: &Agent,
        role: &RoleName,
        revocable: RevocableUse,
        bucket: &Bucket,
    ) -> Option<TaskCut> {
        let mut plain = bucket.shape().clone();
        let mut given = match revocable.is_accepted() {
            true => self.take_revocable(agent, &mut plain),
            false => Vec::new(),
        };
        if revocable == RevocableUse::Only && given.is_empty() {
            return None;
        }
        let mut sees: Vec<&Resource> =
            agent.reserved_free().iter().filter(|entry| is_visible(entry, role)).collect();
        sees.retain(|entry| entry.key.volume.is_none() && !entry.key.shared);
        sees.sort_by_key(|entry| std::cmp::Reverse(depth(entry)));
        for entry in sees {
            let Some((has, kind)) = counted(entry) else { continue };
            let Some(dimension) = self.dimensions.known(&entry.key.name) else { continue };
            let wanted = plain.get(dimension);
            let taken = wanted.min(has);
            let is_fixed = kind == Kind::Ranges && !bucket.fixed().is_empty();
            if taken == 0 || is_fixed || self.dimensions.kind(dimension) != kind {
                continue;
            }
            plain.set(dimension, wanted - taken);
            let quantity = match &entry.quantity {
                Quantity::Ranges(ranges) => {
                    Quantity::Ranges(Ranges::new(first_of(ranges.parts(), taken)).ok()?)
                }
                Quantity::Scalar(_) | Quantity::Set(_) => Quantity::Scalar(taken),
            };
            given.push(Resource { key: entry.key.clone(), quantity });
        }
        if given.is_empty() || !agent.free.covers(&plain) {
            return None;
        }
        let spans = self.pick_spans(bucket, &plain, agent);
        let sets = Resources::from_entries(given).ok()?;
        Some(TaskCut { plain, lent: Amounts::default(), spans, sets })
    }

    /// Whether a task of a group fits on an agent with the help of what is reserved for its role.
    pub(crate) fn reserved_place(
        &self,
        group: &Group,
        spec: &Spec,
        (slot, agent): (u32, &Agent),
        is_owed: bool,
        now: Monotonic,
    ) -> Option<TaskCut> {
        let bucket = &self.buckets[spec.bucket];
        let client = &self.clients[spec.client];
        if !agent.usable || !bucket.suits(agent) {
            return None;
        }
        let cut = self.reserved_task(agent, &client.role, spec.stated.revocable, bucket)?;
        let may = self.has_leave(group, spec, bucket, (slot, agent), now)
            && !self.is_limited(client.node, &cut.plain, cut.sets.entries())
            && (is_owed || self.kept_back(spec.client, &cut.plain).allows(agent.sets));
        may.then_some(cut)
    }

    /// Looks for an agent with something reserved for the group's role: fewest of the group first for
    /// those that spread, then the lowest slot.
    pub(crate) fn place_reserved(
        &self,
        index: u32,
        is_owed: bool,
        now: Monotonic,
        steps: &mut u64,
    ) -> Option<Placement> {
        let group = &self.groups[index];
        let spec = group.spec.as_ref().expect("only stated groups are placed");
        let role = &self.clients[spec.client].role;
        let revocable = spec.stated.revocable;
        if !self.sees_aside(spec.client, revocable) {
            return None;
        }
        let above = std::iter::successors(Some(role.clone()), RoleName::parent);
        let mut slots: std::collections::BTreeSet<u32> =
            above.filter_map(|role| self.reserved_at.get(&role)).flatten().copied().collect();
        if revocable.is_accepted() {
            slots.extend(&self.revocable_at);
        }
        let fits = slots.into_iter().filter(|slot| {
            *steps += 1;
            let agent = (*slot, &self.agents[*slot]);
            self.reserved_place(group, spec, agent, is_owed, now).is_some()
        });
        let level = |slot: &u32| if spec.stated.spread { group.on_agent(*slot) } else { 0 };
        fits.min_by_key(|slot| (level(slot), *slot)).map(Placement::Reserved)
    }

    fn is_held_off(&self, client: u32) -> bool {
        self.clients[client].is_at_limit || self.clients[client].is_at_cap
    }

    /// Lets clients that are at a limit or the cap be looked at again: what is reserved for them may be given.
    pub(crate) fn free_of_limits(&mut self, slot: u32) -> u64 {
        let nodes = self.agents[slot].idle_roles().filter_map(|role| self.fair.node_of(role));
        let clients = nodes.filter_map(|node| self.fair.clients_below(node)).flatten();
        let mut held: Vec<u32> = clients.filter(|client| self.is_held_off(*client)).collect();
        if !self.agents[slot].revocable_free().is_empty() {
            let takers = self.conditions.takers();
            held.extend(takers.filter(|client| self.is_held_off(*client)));
        }
        for client in &held {
            if self.clients[*client].is_at_limit {
                self.leave_limit(*client);
            }
            self.leave_cap(*client);
            self.settle_client(*client);
        }
        held.len() as u64
    }

    /// A group waits: what is reserved for its role may be had later.
    pub(crate) fn note_reserved(&mut self, group: u32) {
        let spec = self.groups[group].spec.as_ref().expect("only stated groups wait");
        if !self.sees_aside(spec.client, spec.stated.revocable) {
            return;
        }
        self.near_reserved.insert(group);
        if self.fair.is_owing() {
            self.headroom.keep(&self.fair);
        }
    }

    /// More may be had under limits, or beside what others are owed.
    pub(crate) fn wake_near_reserved(&mut self) -> u64 {
        let woken = self.near_reserved.clone();
        for group in &woken {
            self.set_waiting(*group, Waiting::Awake);
        }
        woken.len() as u64
    }

    /// Groups that wait and that fit on an agent with the help of what is reserved there.
    pub(crate) fn woken_by_reserved(&mut self, slot: u32, now: Monotonic) -> Vec<u32> {
        let roles = self.agents[slot].idle_roles();
        let nodes = roles.filter_map(|role| self.fair.node_of(role));
        let clients = nodes.filter_map(|node| self.fair.clients_below(node)).flatten();
        let groups = clients.flat_map(|client| self.clients[client].groups.iter().copied());
        let accepting = match self.agents[slot].revocable_free().is_empty() {
            true => None,
            false => Some(self.accepting.iter().copied()),
        };
        let groups = groups.chain(accepting.into_iter().flatten());
        let asleep: Vec<u32> = groups.filter(|group| self.groups[*group].is_asleep()).collect();
        for group in &asleep {
            self.note_reserved(*group);
        }
        let agent = &self.agents[slot];
        let waits = |group: &u32| {
            let entry = &self.groups[*group];
            let spec = entry.spec.as_ref().expect("only stated groups wait");
            self.reserved_place(entry, spec, (slot, agent), false, now).is_some()
        };
        asleep.into_iter().filter(waits).collect()
    }
}
