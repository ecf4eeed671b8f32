//! The work list (K7): a turn spends a counted number of steps and can be resumed anywhere.
//!
//! The next decision is a function of the state alone:
//! 1. the first client in fair order that has a group which an agent can take: its group of the
//!    highest priority, then by name, placed as [`crate::place`] says;
//! 2. the lowest slot with something worth offering that a classical client does not refuse, and
//!    the first such client in fair order: all that is free there;
//! 3. of the two, the demand, if its client is below its entitlement or before the other in fair
//!    order; else the first demand in fair order whose client is below its entitlement; else the
//!    classical offer. So demand is served first without starving anybody (K10).

use crate::delta::{Decision, LeaseId, Turn};
use crate::demand::Waiting;
use crate::fair_tree::Queue;
use crate::place::Placement;
use crate::state::Allocator;
use proffer_types::{Monotonic, Resources};
use std::cmp::{Ordering, Reverse};

/// What is decided next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    /// One task of a group, in a slot.
    Task { group: u32, slot: u32 },
    /// All that is free in a slot, for a client.
    All { client: u32, slot: u32 },
    /// There is nothing to decide.
    Nothing,
    /// The budget ended first.
    Budget,
}

/// A turn under way.
struct Progress {
    turn: Turn,
    steps: u64,
    budget: u64,
    now: Monotonic,
    /// The lease that further tasks of this group in this slot are added to.
    open: Option<(LeaseId, u32, u32)>,
}

impl Progress {
    fn is_spent(&self) -> bool {
        self.steps >= self.budget
    }
}

/// Slots looked at for one step while the pool is filled again.
const POOL_CHUNK: u32 = 64;

impl Allocator {
    /// Decides until nothing can be decided or `budget_steps` are spent. A step is a search, a
    /// client looked at, or a change told to those who wait. What it decides is booked.
    pub fn offers(&mut self, budget_steps: u64, now: Monotonic) -> Turn {
        let budget = budget_steps.max(1);
        let mut progress = Progress { turn: Turn::default(), steps: 0, budget, now, open: None };
        progress.steps += self.expire_filters(now, budget);
        progress.steps += self.fair.refresh();
        while !progress.is_spent() {
            if let Some(slot) = self.dirty.pop() {
                progress.steps += self.tell_waiting(slot, now);
                continue;
            }
            if self.pool_some() {
                progress.steps += 1;
                continue;
            }
            match self.next(&mut progress) {
                Next::Task { group, slot } => self.decide_task(&mut progress, group, slot),
                Next::All { client, slot } => self.decide_all(&mut progress, client, slot),
                Next::Nothing => break,
                Next::Budget => {}
            }
        }
        self.close(&mut progress);
        progress.turn.more = progress.is_spent() && self.has_work(now);
        progress.turn.steps_used = progress.steps;
        progress.turn
    }

    fn has_work(&self, now: Monotonic) -> bool {
        let pooled = self.pool_all_from.is_some() || !self.pool.is_empty();
        !self.dirty.is_empty()
            || self.refused.first_end().is_some_and(|until| until <= now)
            || (self.may_serve_demand() && !self.fair.is_empty(Queue::Demand))
            || (pooled && !self.fair.is_empty(Queue::Classical))
    }

    /// With no room anywhere nobody has to be looked at, unless leases could be taken back.
    fn may_serve_demand(&self) -> bool {
        self.buckets.any_room() || !self.classical.is_empty()
    }

    /// An agent gained something: wakes those who waited for just that.
    fn tell_waiting(&mut self, slot: u32, now: Monotonic) -> u64 {
        let Some(agent) = self.agents.get_mut(slot) else { return 1 };
        agent.is_dirty = false;
        let watching: Vec<u32> = self.buckets.watching.iter().copied().collect();
        let mut steps = 1 + watching.len() as u64 / 8;
        for id in watching {
            let (agent, bucket) = (&self.agents[slot], &self.buckets[id]);
            if !self.fit.slot_fits(slot, &bucket.need()) || !bucket.suits(agent) {
                continue;
            }
            let mut woken: Vec<u32> = bucket.for_room.iter().copied().collect();
            woken.extend(bucket.for_leave.iter().copied().filter(|group| {
                let group = &self.groups[*group];
                let spec = group.spec.as_ref().expect("only stated groups wait");
                self.has_leave(group, spec, bucket, (slot, agent), now)
            }));
            steps += (bucket.for_leave.len() + woken.len()) as u64;
            self.buckets.set_room(id, true);
            for group in woken {
                self.set_waiting(group, Waiting::Awake);
            }
        }
        steps
    }

    /// Brings some more agents into the pool when all have to come in again.
    fn pool_some(&mut self) -> bool {
        let Some(from) = self.pool_all_from else { return false };
        if self.fair.is_empty(Queue::Classical) {
            return false;
        }
        let end = from.saturating_add(POOL_CHUNK).min(self.agents.end());
        for slot in from..end {
            if self.agents.get(slot).is_some() {
                self.pool_agent(slot);
            }
        }
        self.pool_all_from = (end < self.agents.end()).then_some(end);
        true
    }

    fn next(&mut self, progress: &mut Progress) -> Next {
        let first = self.next_demand(progress, Self::first_waiting);
        let Next::Task { group, .. } = first else {
            return if first == Next::Budget { first } else { self.next_classical(progress) };
        };
        let classical = self.next_classical(progress);
        let Next::All { client, .. } = classical else {
            return if classical == Next::Budget { classical } else { first };
        };
        let spec = self.groups[group].spec.as_ref().expect("only stated groups are served");
        let (node, other) = (self.clients[spec.client].node, self.clients[client].node);
        if self.fair.is_below_entitlement(node) || self.fair.cmp(node, other) == Ordering::Less {
            return first;
        }
        match self.next_demand(progress, Self::first_entitled) {
            Next::Nothing => classical,
            entitled @ (Next::Task { .. } | Next::All { .. } | Next::Budget) => entitled,
        }
    }

    fn first_waiting(&self) -> Option<u32> {
        self.fair.first(Queue::Demand)
    }

    fn first_entitled(&self) -> Option<u32> {
        self.fair.first_that(Queue::Demand, &mut |client| {
            self.fair.is_below_entitlement(self.clients[client].node)
        })
    }

    /// The first group in the order of `pick` that has a place. Those that have none go to sleep.
    fn next_demand(&mut self, progress: &mut Progress, pick: fn(&Self) -> Option<u32>) -> Next {
        while self.may_serve_demand() {
            let Some(client) = pick(self) else { return Next::Nothing };
            let awake = self.clients[client].awake.first();
            let group = awake.expect("a queued client has a group to be tried").2;
            match self.place(group, progress.now, &mut progress.steps) {
                Placement::On(slot) => return Next::Task { group, slot },
                Placement::NoRoom => {
                    let spec = self.groups[group].spec.as_ref();
                    let bucket = spec.expect("only stated groups are served").bucket;
                    self.buckets.set_room(bucket, false);
                    self.set_waiting(group, Waiting::ForRoom);
                    self.ask_back(group, progress);
                }
                Placement::NoLeave => {
                    self.set_waiting(group, Waiting::ForLeave);
                    self.ask_back(group, progress);
                }
            }
            if progress.is_spent() {
                return Next::Budget;
            }
        }
        Next::Nothing
    }

    fn ask_back(&mut self, group: u32, progress: &mut Progress) {
        let Progress { turn, steps, now, .. } = progress;
        self.ask_leases_back(group, *now, &mut turn.rescinds, steps);
    }

    fn next_classical(&mut self, progress: &mut Progress) -> Next {
        if self.fair.is_empty(Queue::Classical) {
            return Next::Nothing;
        }
        while let Some(Reverse(slot)) = self.pool.peek().copied() {
            progress.steps += 1;
            if let Some(client) = self.first_willing(slot, &mut progress.steps) {
                return Next::All { client, slot };
            }
            self.pool.pop();
            if let Some(agent) = self.agents.get_mut(slot) {
                agent.is_pooled = false;
            }
            if progress.is_spent() {
                return Next::Budget;
            }
        }
        Next::Nothing
    }

    /// The first classical client in fair order that does not refuse what is free in a slot.
    fn first_willing(&mut self, slot: u32, steps: &mut u64) -> Option<u32> {
        let agent = self.agents.get(slot)?;
        if !agent.is_pooled || !agent.is_worth_offering() {
            return None;
        }
        if agent.filters.is_empty() {
            return self.fair.first(Queue::Classical);
        }
        agent.filters.mark(&self.refused, &agent.free_now(), &mut self.marks);
        let mut looked_at = 0;
        let willing = self.fair.first_that(Queue::Classical, &mut |client| {
            looked_at += 1;
            !self.marks.has(client, self.filter_epochs[client as usize])
        });
        *steps += looked_at;
        willing
    }

    fn decide_task(&mut self, progress: &mut Progress, group: u32, slot: u32) {
        let id = match progress.open {
            Some((id, g, s)) if (g, s) == (group, slot) => id,
            Some(_) | None => {
                self.close(progress);
                let id = LeaseId(self.lease_next);
                progress.open = Some((id, group, slot));
                id
            }
        };
        self.grant_task(id, group, slot);
    }

    fn decide_all(&mut self, progress: &mut Progress, client: u32, slot: u32) {
        self.close(progress);
        let lease = LeaseId(self.lease_next);
        let resources = self.grant_all(lease, client, slot);
        let entry = &self.clients[client];
        progress.turn.decisions.push(Decision {
            lease,
            framework: entry.framework,
            role: entry.role.clone(),
            agent: self.agents[slot].id,
            resources,
            group: None,
            count: 1,
        });
    }

    /// Makes a decision of the steps that were taken for one group on one agent.
    fn close(&mut self, progress: &mut Progress) {
        let Some((id, group, slot)) = progress.open.take() else { return };
        let lease = &self.leases[&id];
        let entry = &self.clients[lease.client];
        progress.turn.decisions.push(Decision {
            lease: id,
            framework: entry.framework,
            role: entry.role.clone(),
            agent: self.agents[slot].id,
            resources: self.lease_resources(id),
            group: Some(self.groups[group].name.clone()),
            count: lease.count,
        });
    }

    pub(crate) fn lease_resources(&self, id: LeaseId) -> Resources {
        let lease = &self.leases[&id];
        self.dimensions.join(&lease.plain, &lease.spans, lease.sets.entries())
    }
}
