//! Preemption (K11), as far as it is booked: room that is being made for one task of a group on one
//! agent. What is free of it is held from the next turn on, and whatever else becomes free there, as far as
//! limits allow. It is charged as it grows, so that what victims give back and what is held
//! never count twice. Once nothing is missing it becomes a lease of the group alone.

use crate::agents::Agent;
use crate::amounts::{Amounts, Kind, SpanList, spans_contain};
use crate::delta::DeltaError;
use crate::demand::{Bucket, Group, Spec, Waiting};
use crate::state::Allocator;
use crate::uses::Booking;
use proffer_types::resources::{Quantity, Ranges, ResourceKey};
use proffer_types::{
    AgentId, Claim, ClaimId, DemandKey, FrameworkId, GroupName, Monotonic, ResourceName, Resources,
    RevocableUse, RoleName,
};
use std::cmp::Reverse;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub(crate) struct ClaimEntry {
    slot: u32,
    client: u32,
    framework: FrameworkId,
    group: GroupName,
    /// What one task needs; ranges as counts.
    need: Amounts,
    fixed: SpanList,
    /// Scalars only.
    held: Amounts,
}

/// A group that finds no place, although neither limits nor what others are owed stand in its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Starving {
    /// Whose, and which.
    pub key: DemandKey,
    /// The role that pays.
    pub role: RoleName,
    /// What one task needs.
    pub shape: Resources,
    /// Whether the ports in `shape` are meant as they stand.
    pub fixed_ports: bool,
    /// Its priority.
    pub priority: i32,
    /// The lowest role above it that is itself guaranteed what one more task needs, and lacks it.
    pub creditor: Option<RoleName>,
    /// Tasks that are missing.
    pub missing: u32,
}

impl Allocator {
    pub(crate) fn claim(&mut self, agent: AgentId, claim: &Claim) -> Result<(), DeltaError> {
        let slot = self.slot(agent)?;
        if self.claims.contains_key(&claim.id) {
            return Err(DeltaError::ClaimExists(claim.id));
        }
        let client = self.client(claim.framework, &claim.role);
        self.clients[client].holds += 1;
        let parts = self.dimensions.split(&claim.resources);
        let entry = ClaimEntry {
            slot,
            client,
            framework: claim.framework,
            group: claim.group.clone(),
            need: parts.plain,
            fixed: if claim.fixed_ports { parts.spans } else { SpanList::new() },
            held: Amounts::default(),
        };
        self.claims.insert(claim.id, entry);
        Ok(())
    }

    /// Holds what became free for claims, in the order of their ids.
    pub(crate) fn grow_claims(&mut self) {
        let ids: Vec<ClaimId> = self.claims.keys().copied().collect();
        for id in ids {
            let claim = &self.claims[&id];
            let (slot, client) = (claim.slot, claim.client);
            let free = &self.agents[slot].free;
            let room = self.fair.limit_room(self.clients[client].node, &[]);
            let mut more = Amounts::default();
            for (dimension, wanted) in claim.need.iter() {
                if self.dimensions.kind(dimension) == Kind::Scalar {
                    let missing = wanted - claim.held.get(dimension);
                    more.set(dimension, missing.min(free.get(dimension)).min(room.get(dimension)));
                }
            }
            if more.is_zero() {
                continue;
            }
            let (kept, none) = (Resources::new(), Amounts::default());
            let booking = Booking {
                plain: &more,
                lent: &none,
                charge: &more,
                spans: &[],
                kept: &kept,
                grants: 0,
            };
            self.book(slot, client, &booking);
            let claim = self.claims.get_mut(&id).expect("looked at above");
            claim.held.add_all(&more);
        }
    }

    pub(crate) fn end_claim(&mut self, id: ClaimId) -> Result<(), DeltaError> {
        let claim = self.claims.remove(&id).ok_or(DeltaError::UnknownClaim(id))?;
        self.give_back(&claim);
        self.gained(claim.slot);
        self.drop_hold(claim.client);
        Ok(())
    }

    fn give_back(&mut self, claim: &ClaimEntry) {
        let dimensions = &self.dimensions;
        let agent = &mut self.agents[claim.slot];
        let given =
            agent.give((&claim.held, &Amounts::default()), &[], &Resources::new(), |dimension| {
                dimensions.kind(dimension)
            });
        assert!(given, "what a claim holds on its agent is in use there until it ends");
        self.fair.discharge(self.clients[claim.client].node, &claim.held);
        self.show(claim.slot);
    }

    /// An agent goes, and what is claimed there with it.
    pub(crate) fn end_claims_on(&mut self, slot: u32) -> Result<(), DeltaError> {
        let on_it = self.claims.iter().filter(|(_, claim)| claim.slot == slot);
        let ids: Vec<ClaimId> = on_it.map(|(id, _)| *id).collect();
        ids.into_iter().try_for_each(|id| self.end_claim(id))
    }

    /// The first claim of which nothing is missing, with its group.
    pub(crate) fn complete_claim(&self, now: Monotonic) -> Option<(ClaimId, u32)> {
        self.claims.iter().find_map(|(id, claim)| {
            let group = self.group_of(claim)?;
            self.is_complete(claim, group, now).then_some((*id, group))
        })
    }

    /// The group as it is stated now, if it still wants just this and limits still allow it.
    fn group_of(&self, claim: &ClaimEntry) -> Option<u32> {
        let group = *self.frameworks.get(&claim.framework)?.groups.get(&claim.group)?;
        let spec = self.groups[group].spec.as_ref()?;
        let bucket = &self.buckets[spec.bucket];
        let is_same = spec.client == claim.client
            && *bucket.shape() == claim.need
            && *bucket.fixed() == *claim.fixed
            && !self.fair.is_beyond_limit(self.clients[claim.client].node, &claim.need);
        is_same.then_some(group)
    }

    fn is_complete(&self, claim: &ClaimEntry, group: u32, now: Monotonic) -> bool {
        let entry = &self.groups[group];
        let Some(spec) = &entry.spec else { return false };
        let (bucket, agent) = (&self.buckets[spec.bucket], &self.agents[claim.slot]);
        let has_all = claim.need.iter().all(|(dimension, wanted)| {
            let has = match self.dimensions.kind(dimension) {
                Kind::Scalar => claim.held.get(dimension),
                Kind::Ranges => agent.free.get(dimension),
            };
            has >= wanted
        });
        has_all
            && entry.unmet() > 0
            && self.clients[claim.client].present
            && agent.usable
            && bucket.suits(agent)
            && self.has_leave(entry, spec, bucket, (claim.slot, agent), now)
    }

    /// Ends a complete claim without waking anybody: its lease is made at once. Returns its slot.
    pub(crate) fn take_claim(&mut self, id: ClaimId) -> Option<u32> {
        let claim = self.claims.remove(&id)?;
        self.give_back(&claim);
        self.clients[claim.client].holds -= 1;
        Some(claim.slot)
    }

    /// Groups that find no place and might be made one: those that are owed it, then higher priority
    /// first.
    #[must_use]
    pub fn starving(&self) -> Vec<Starving> {
        let mut found: Vec<Starving> = Vec::new();
        // While there is room for nobody, nobody is looked at.
        let is_hopeless = !self.may_serve_demand();
        for (_, entry) in self.groups.iter() {
            let Some(spec) = entry.spec.as_ref() else { continue };
            let is_stuck = match entry.waiting {
                Waiting::ForRoom | Waiting::ForLeave => true,
                Waiting::Awake => is_hopeless,
                Waiting::ForLimit | Waiting::ForHeadroom | Waiting::No => false,
            };
            let is_for_good = spec.stated.revocable != RevocableUse::Only;
            let is_stuck = is_stuck && is_for_good;
            if !is_stuck || !self.clients[spec.client].present || entry.unmet() == 0 {
                continue;
            }
            let shape = self.buckets[spec.bucket].shape();
            let node = self.clients[spec.client].node;
            if self.fair.limiting(node, shape).is_some() {
                continue;
            }
            found.push(Starving {
                key: DemandKey { framework: entry.framework, group: entry.name.clone() },
                role: spec.stated.role.clone(),
                shape: spec.stated.shape.clone(),
                fixed_ports: spec.stated.fixed_ports,
                priority: spec.stated.priority,
                creditor: self.fair.creditor(node, shape).cloned(),
                missing: entry.unmet(),
            });
        }
        found.sort_by(|a, b| {
            let rank = |one: &Starving| (one.creditor.is_none(), Reverse(one.priority));
            rank(a).cmp(&rank(b)).then_with(|| a.key.cmp(&b.key))
        });
        found
    }

    /// What claims hold on an agent.
    #[must_use]
    pub fn claimed(&self, agent: AgentId) -> Resources {
        let slot = self.slots.get(&agent).copied();
        let on_it = self.claims.values().filter(|claim| Some(claim.slot) == slot);
        let held = on_it.fold(Amounts::default(), |mut sum, claim| {
            sum.add_all(&claim.held);
            sum
        });
        self.dimensions.join(&held, &[], &[])
    }

    /// How many tasks of just this kind the group of a claim still lacks and may have.
    #[must_use]
    pub fn claimable(&self, id: ClaimId) -> u32 {
        let Some(claim) = self.claims.get(&id) else { return 0 };
        let mut rest = claim.need.clone();
        rest.sub_all(&claim.held);
        let client = &self.clients[claim.client];
        let may_have = client.present && self.fair.limiting(client.node, &rest).is_none();
        let group = self.group_of(claim).filter(|_| may_have);
        group.map_or(0, |group| self.groups[group].unmet())
    }

    /// Whether a group could place a task on an agent on which `freed` were free too.
    #[must_use]
    pub fn would_fit(
        &self,
        key: &DemandKey,
        agent: AgentId,
        freed: &Resources,
        is_owed: bool,
        now: Monotonic,
    ) -> bool {
        let found = self.find(key).zip(self.slots.get(&agent).copied());
        let Some(((entry, spec, bucket), slot)) = found else { return false };
        let agent = &self.agents[slot];
        agent.usable
            && bucket.in_class(agent.class)
            && bucket.suits_host(agent)
            && self.has_leave(entry, spec, bucket, (slot, agent), now)
            && (is_owed || self.kept_back(spec.client, bucket.shape()).allows(agent.sets))
            && self.covers_with(bucket, agent, freed)
    }

    /// Whether an agent has as much in all as one task of a group needs, free or not.
    #[must_use]
    pub fn is_large_enough(&self, key: &DemandKey, agent: AgentId) -> bool {
        let found = self.find(key).zip(self.slots.get(&agent).copied());
        found.is_some_and(|((_, _, bucket), slot)| {
            let agent = &self.agents[slot];
            agent.usable && agent.total.covers(bucket.shape()) && bucket.in_class(agent.class)
        })
    }

    fn find(&self, key: &DemandKey) -> Option<(&Group, &Spec, &Bucket)> {
        let group = *self.frameworks.get(&key.framework)?.groups.get(&key.group)?;
        let entry = &self.groups[group];
        let spec = entry.spec.as_ref()?;
        Some((entry, spec, &self.buckets[spec.bucket]))
    }

    fn covers_with(&self, bucket: &Bucket, agent: &Agent, freed: &Resources) -> bool {
        let is_enough = |(dimension, wanted): (usize, u64)| {
            let name = self.dimensions.name(dimension);
            let freed = match self.dimensions.kind(dimension) {
                Kind::Scalar => freed.filtered(|entry| entry.key.is_plain()).scalar(name),
                Kind::Ranges => ranges_of(freed, name).map_or(0, Ranges::count),
            };
            agent.free.get(dimension).saturating_add(freed) >= wanted
        };
        let is_there = |(dimension, wanted): &(usize, crate::amounts::Spans)| {
            let name = self.dimensions.name(*dimension);
            let free = agent.book_of(*dimension).map(|book| book.free.as_slice());
            let freed = ranges_of(freed, name).map(Ranges::parts);
            let places: Vec<&[(u64, u64)]> = free.into_iter().chain(freed).collect();
            wanted.iter().all(|one| places.iter().any(|have| spans_contain(have, &[*one])))
        };
        bucket.shape().iter().all(is_enough) && bucket.fixed().iter().all(is_there)
    }

    /// Whether roles keep what they are guaranteed when they lose this. Roles above `beneficiary` lose
    /// nothing: what goes from below them comes back.
    #[must_use]
    pub fn stay_guaranteed(
        &self,
        beneficiary: &RoleName,
        losses: &BTreeMap<RoleName, Resources>,
    ) -> bool {
        let above = |role: &RoleName| std::iter::successors(Some(role.clone()), RoleName::parent);
        let mut lost: BTreeMap<RoleName, Vec<&Resources>> = BTreeMap::new();
        for (role, resources) in losses {
            for role in above(role).filter(|role| !beneficiary.is_within(role)) {
                lost.entry(role).or_default().push(resources);
            }
        }
        lost.iter().all(|(role, lost)| {
            self.fair.guarantees_of(role).all(|(dimension, guarantee, consumed)| {
                let name = self.dimensions.name(dimension);
                let lost: u64 = lost.iter().map(|part| part.scalar(name)).sum();
                lost == 0 || consumed.saturating_sub(lost) >= guarantee
            })
        })
    }
}

fn ranges_of<'a>(resources: &'a Resources, name: &ResourceName) -> Option<&'a Ranges> {
    match resources.get(&ResourceKey::plain(name.clone()))? {
        Quantity::Ranges(ranges) => Some(ranges),
        Quantity::Scalar(_) | Quantity::Set(_) => None,
    }
}
