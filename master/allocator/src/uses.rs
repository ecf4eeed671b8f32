//! Who holds what: tasks and leases, booked on the agent, in the role tree and in demand groups
//! at once (K10).

use crate::agents::Agent;
use crate::amounts::{Amounts, Kind, Parts, SpanList, Spans};
use crate::delta::{Decision, DeltaError, LeaseId, Use};
use crate::demand::Bucket;
use crate::limits::Cut;
use crate::reserved::{TaskCut, charge_of};
use crate::state::{Allocator, Lease};
use proffer_types::{FrameworkId, GroupName, Resources};

/// What is taken from an agent, and what of it counts.
pub(crate) struct Booking<'a> {
    pub(crate) plain: &'a Amounts,
    /// Plain too, but may be taken back; charged to nobody.
    pub(crate) lent: &'a Amounts,
    /// Charged to roles. Counts of ranges may be in it: they have no total, so no share.
    pub(crate) charge: &'a Amounts,
    pub(crate) spans: &'a [(usize, Spans)],
    pub(crate) kept: &'a Resources,
    pub(crate) grants: u64,
}

impl Allocator {
    /// Takes from an agent and charges a client. All bookings pass here.
    pub(crate) fn book(&mut self, slot: u32, client: u32, booking: &Booking<'_>) {
        let Booking { plain, lent, charge, spans, kept, grants } = *booking;
        let dimensions = &self.dimensions;
        self.agents[slot].take((plain, lent), spans, kept, |dimension| dimensions.kind(dimension));
        self.fair.charge(self.clients[client].node, charge, grants);
        self.show(slot);
        if !kept.is_empty() {
            // With less that is reserved, more of the rest fits under a limit or a cap.
            self.pool_agent(slot);
        }
    }

    pub(crate) fn allocate(&mut self, held: &Use) -> Result<(), DeltaError> {
        let slot = self.slot(held.agent)?;
        let parts = self.dimensions.split(&held.resources);
        let held_now = self.held(&parts);
        if !self.fair.can_charge(&held_now) {
            return Err(DeltaError::TooMuch(held.agent));
        }
        let client = self.client(held.framework, &held.role);
        let Parts { plain, lent, spans, kept, .. } = &parts;
        let charge = &held_now;
        self.book(slot, client, &Booking { plain, lent, charge, spans, kept, grants: 0 });
        if !held_now.is_zero() {
            if self.agents[slot].held_by(client).is_none() {
                self.clients[client].holds += 1;
            }
            self.agents[slot].holding(client).held.add_all(&held_now);
        }
        self.forget_client(client);
        if let Some(name) = held.group.as_ref().filter(|_| held.tasks > 0) {
            let group = self.group(held.framework, name);
            let entry = &mut self.groups[group];
            entry.launched = entry.launched.saturating_add(held.tasks);
            self.count_in(group, slot, held.tasks);
            self.settle_group(group);
        }
        Ok(())
    }

    pub(crate) fn release(&mut self, held: &Use) -> Result<(), DeltaError> {
        let slot = self.slot(held.agent)?;
        let not_held = || DeltaError::NotHeld {
            framework: held.framework,
            role: held.role.clone(),
            agent: held.agent,
            resources: held.resources.clone(),
        };
        let framework = self.frameworks.get(&held.framework);
        let group = match held.group.as_ref().filter(|_| held.tasks > 0) {
            None => None,
            Some(name) => {
                let known = framework.and_then(|framework| framework.groups.get(name));
                Some(*known.ok_or_else(not_held)?)
            }
        };
        if group.is_some_and(|group| self.groups[group].launched < held.tasks) {
            return Err(not_held());
        }
        let client = framework.and_then(|framework| framework.clients.get(&held.role)).copied();
        let parts = self.dimensions.split(&held.resources);
        let given = self.held(&parts);
        let holder = match client {
            // What counts nowhere, such as nothing at all, has no holder.
            _ if given.is_zero() => None,
            Some(client) => {
                let holding = self.agents[slot].held_by(client);
                let holds = holding.is_some_and(|holding| holding.held.covers(&given));
                Some(holds.then_some(client).ok_or_else(not_held)?)
            }
            None => return Err(not_held()),
        };
        let dimensions = &self.dimensions;
        let kind_of = |dimension| dimensions.kind(dimension);
        let agent = &mut self.agents[slot];
        if !agent.give((&parts.plain, &parts.lent), &parts.spans, &parts.kept, kind_of) {
            return Err(not_held());
        }
        let mut ended = None;
        if let Some(client) = holder {
            self.fair.discharge(self.clients[client].node, &given);
            let holding = agent.holding(client);
            holding.held.sub_all(&given);
            if holding.held.is_zero() {
                agent.holdings.retain(|have| have.client != client);
                ended = Some(client);
            }
        }
        self.show(slot);
        self.gained(slot);
        // After what became idle is booked: a role that has something idle is not forgotten.
        if let Some(client) = ended {
            self.drop_hold(client);
        }
        if let Some(group) = group {
            self.groups[group].launched -= held.tasks;
            self.count_out(group, slot, held.tasks);
            self.settle_group(group);
        }
        Ok(())
    }

    pub(crate) fn set_out_of_reach(
        &mut self,
        framework: FrameworkId,
        name: &GroupName,
        tasks: u32,
    ) {
        let group = self.group(framework, name);
        self.groups[group].out_of_reach = tasks;
        self.settle_group(group);
    }

    pub(crate) fn drop_hold(&mut self, client: u32) {
        self.clients[client].holds -= 1;
        self.forget_client(client);
    }

    fn count_in(&mut self, group: u32, slot: u32, tasks: u32) {
        let entry = &mut self.groups[group];
        let more = entry.on_agent(slot).saturating_add(tasks);
        if entry.set_on_agent(slot, more) == 0 {
            self.agents[slot].groups.push(group);
        }
    }

    fn count_out(&mut self, group: u32, slot: u32, tasks: u32) {
        let entry = &mut self.groups[group];
        let rest = entry.on_agent(slot).saturating_sub(tasks);
        entry.set_on_agent(slot, rest);
        if rest == 0 {
            self.agents[slot].groups.retain(|have| *have != group);
        }
    }

    /// Books `lease`, as a new one or on top of the one of that number.
    fn book_lease(&mut self, id: LeaseId, lease: Lease) {
        let (slot, client, group, count) = (lease.slot, lease.client, lease.group, lease.count);
        let grants = if group.is_some() { u64::from(count) } else { 1 };
        let charge = self.lease_charge(&lease);
        let Lease { plain, lent, spans, sets: kept, .. } = &lease;
        self.book(slot, client, &Booking { plain, lent, charge: &charge, spans, kept, grants });
        match self.leases.get_mut(&id) {
            Some(have) => {
                have.count += count;
                have.plain.add_all(&lease.plain);
                have.lent.add_all(&lease.lent);
                if !lease.sets.is_empty() {
                    have.sets = have.sets.checked_add(&lease.sets).expect("of what was free");
                }
                have.spans.extend(lease.spans);
            }
            None => {
                self.clients[client].holds += 1;
                self.agents[slot].leases.push(id);
                if group.is_none() {
                    self.classical.insert((slot, id));
                    self.hold(self.clients[client].framework, &lease.plain);
                }
                self.leases.insert(id, lease);
            }
        }
        self.lease_next = self.lease_next.max(id.0 + 1);
        if let Some(group) = group {
            self.groups[group].leased += count;
            self.count_in(group, slot, count);
            self.settle_group(group);
        }
    }

    /// What one task takes of an agent that has room for it.
    pub(crate) fn task_cut(&self, bucket: u32, slot: u32) -> TaskCut {
        let bucket = &self.buckets[bucket];
        let plain = bucket.shape().clone();
        let spans = self.pick_spans(bucket, &plain, &self.agents[slot]);
        TaskCut { plain, lent: Amounts::default(), spans, sets: Resources::new() }
    }

    /// One more task of a group on an agent, under lease `id`.
    pub(crate) fn grant_task(&mut self, id: LeaseId, group: u32, slot: u32, cut: TaskCut) {
        let TaskCut { plain, lent, spans, sets } = cut;
        let spec = self.groups[group].spec.as_ref().expect("only stated groups are served");
        let client = spec.client;
        let lease = Lease {
            slot,
            client,
            group: Some(group),
            count: 1,
            plain,
            lent,
            spans,
            sets,
            is_owed: false,
            is_rescinded: false,
        };
        self.book_lease(id, lease);
    }

    /// The ranges for one task: the fixed ones, or the lowest that are free.
    pub(crate) fn pick_spans(&self, bucket: &Bucket, plain: &Amounts, agent: &Agent) -> SpanList {
        if !bucket.fixed().is_empty() {
            return bucket.fixed().into();
        }
        let ranges = plain.iter().filter(|(dimension, wanted)| {
            *wanted > 0 && self.dimensions.kind(*dimension) == Kind::Ranges
        });
        ranges
            .map(|(dimension, wanted)| {
                let book = agent.book_of(dimension);
                let book = book.expect("an agent that fits has ranges of that name");
                (dimension, crate::amounts::first_of(&book.free, wanted))
            })
            .collect()
    }

    /// What a client may have of an agent.
    pub(crate) fn grant_cut(&mut self, id: LeaseId, client: u32, slot: u32, cut: Cut) -> Resources {
        let Cut { plain, lent, spans, sets, is_owed, .. } = cut;
        let offered = self.dimensions.join(&plain, &spans, sets.entries());
        let lease = Lease {
            slot,
            client,
            group: None,
            count: 1,
            plain,
            lent,
            spans,
            sets,
            is_owed,
            is_rescinded: false,
        };
        self.book_lease(id, lease);
        offered
    }

    /// What a lease is charged: what it holds, but for what is shared or revocable.
    fn lease_charge(&mut self, lease: &Lease) -> Amounts {
        let mut charge = lease.plain.clone();
        if !lease.sets.is_empty() {
            charge.add_all(&charge_of(&mut self.dimensions, lease.sets.entries()));
        }
        charge
    }

    /// What a use is worth in an agent's table of holders.
    fn held(&self, parts: &Parts) -> Amounts {
        let mut held = parts.charge.clone();
        for (dimension, spans) in &parts.spans {
            held.set(*dimension, crate::amounts::count(spans));
        }
        held
    }

    /// Books a decision of another instance.
    pub(crate) fn mirror(&mut self, decision: &Decision) -> Result<(), DeltaError> {
        let slot = self.slot(decision.agent)?;
        if self.leases.contains_key(&decision.lease) {
            return Err(DeltaError::LeaseExists(decision.lease));
        }
        let parts = self.dimensions.split(&decision.resources);
        if !self.fair.can_charge(&parts.plain) {
            return Err(DeltaError::TooMuch(decision.agent));
        }
        let client = self.client(decision.framework, &decision.role);
        if let Some(claim) = decision.claim {
            self.take_claim(claim);
        }
        let group = decision.group.as_ref().map(|name| self.group(decision.framework, name));
        let lease = Lease {
            slot,
            client,
            group,
            count: decision.count,
            plain: parts.plain,
            lent: parts.lent,
            spans: parts.spans,
            sets: parts.kept,
            is_owed: false,
            is_rescinded: false,
        };
        self.book_lease(decision.lease, lease);
        Ok(())
    }

    pub(crate) fn end_lease(&mut self, id: LeaseId) -> Result<(), DeltaError> {
        let lease = self.leases.remove(&id).ok_or(DeltaError::UnknownLease(id))?;
        let charge = self.lease_charge(&lease);
        let dimensions = &self.dimensions;
        let agent = &mut self.agents[lease.slot];
        let kind_of = |dimension| dimensions.kind(dimension);
        let given = agent.give((&lease.plain, &lease.lent), &lease.spans, &lease.sets, kind_of);
        assert!(given, "what a lease took from its agent is in use there until it ends");
        agent.leases.retain(|have| *have != id);
        self.classical.remove(&(lease.slot, id));
        self.asked_back.remove(&(lease.slot, id));
        self.fair.discharge(self.clients[lease.client].node, &charge);
        self.show(lease.slot);
        self.gained(lease.slot);
        if lease.group.is_none() {
            self.unhold(self.clients[lease.client].framework, &lease.plain);
        }
        if let Some(group) = lease.group {
            self.groups[group].leased -= lease.count;
            self.count_out(group, lease.slot, lease.count);
            self.settle_group(group);
        }
        self.drop_hold(lease.client);
        Ok(())
    }
}
