//! The work list (K7): a turn spends a counted number of steps and can be resumed anywhere.
//!
//! The next decision is a function of the state alone:
//! 0. a claim of which nothing is missing ([`crate::claims`]), lowest id first; then
//! 1. what is owed, while anything is ([`crate::headroom`]): the first client in fair order that has a
//!    group, of the highest priority and then by name, of which one more task lies within what the client
//!    is owed, within limits, and has a place; else the lowest slot and the first classical client in fair
//!    order that is owed something worth an offer of it: as much as that;
//! 2. the first client in fair order that has a group which an agent can take: its group of the
//!    highest priority, then by name, placed as [`crate::place`] says;
//! 3. the lowest slot with something worth offering that a classical client does not refuse, and
//!    the first such client in fair order: all that is free there and that it may have;
//! 4. of these two, the demand, if its client is below its entitlement or before the other in fair
//!    order; else the first demand in fair order whose client is below its entitlement; else the
//!    classical offer. So demand is served first without starving anybody (K10);
//! 5. when there is nothing of these: what has to stay free for others is lent ([`crate::lend`]).
//!
//! Where leases are asked back for a demand, nothing is offered to classical clients until they came.
//! Nothing is given beyond a limit, and but for what is owed nothing that has to stay free for others.

use crate::agents::Agent;
use crate::delta::{Decision, LeaseId, Turn};
use crate::demand::Waiting;
use crate::fair_tree::Queue;
use crate::filters::Refusing;
use crate::limits::{Cut, NoCut};
use crate::place::Placement;
use crate::reserved::TaskCut;
use crate::state::Allocator;
use proffer_types::resources::ResourceKey;
use proffer_types::{ClaimId, Monotonic, Resources, RevocableUse};
use std::cmp::Ordering;

/// What is decided next.
#[derive(Clone, Debug)]
pub(crate) enum Next {
    /// One task of a group, in a slot.
    Task { group: u32, slot: u32, cut: Box<TaskCut> },
    /// A part of what is free in a slot, for a client.
    Part { client: u32, slot: u32, cut: Box<Cut> },
    /// The claim that is met, of a group.
    Claim { claim: ClaimId, group: u32 },
    /// There is nothing to decide.
    Nothing,
    /// The budget ended first.
    Budget,
}

/// A group to be tried next.
struct Pick {
    group: u32,
    /// One more task of it is owed.
    is_owed: bool,
}

/// A turn under way.
pub(crate) struct Progress {
    turn: Turn,
    pub(crate) steps: u64,
    budget: u64,
    pub(crate) now: Monotonic,
    /// The lease that further tasks of this group in this slot are added to.
    open: Option<(LeaseId, u32, u32)>,
}

impl Progress {
    pub(crate) fn is_spent(&self) -> bool {
        self.steps >= self.budget
    }
}

impl Allocator {
    /// Decides until nothing can be decided or `budget_steps` are spent. A step is a search, a
    /// client looked at, or a change told to those who wait. What it decides is booked.
    pub fn offers(&mut self, budget_steps: u64, now: Monotonic) -> Turn {
        let budget = budget_steps.max(1);
        let mut progress = Progress { turn: Turn::default(), steps: 0, budget, now, open: None };
        progress.steps += self.expire_filters(now, budget);
        progress.steps += self.fair.refresh();
        progress.steps += self.renew_sets();
        progress.steps += self.take_back_beyond_limits(&mut progress.turn.beyond_limits);
        while !progress.is_spent() {
            if let Some(slot) = self.dirty.pop() {
                progress.steps += self.tell_waiting(slot, now);
                continue;
            }
            progress.steps += self.wake_under_limits() + self.wake_for_headroom();
            progress.steps += self.wake_under_cap();
            let next = match self.next(&mut progress) {
                Next::Nothing => self.next_lent(&mut progress),
                Next::Budget => Next::Budget,
                next @ (Next::Task { .. } | Next::Part { .. } | Next::Claim { .. }) => {
                    self.lending.is_stale = true;
                    next
                }
            };
            match next {
                Next::Task { group, slot, cut } => {
                    self.decide_task(&mut progress, group, slot, *cut);
                }
                Next::Part { client, slot, cut } => {
                    self.decide_part(&mut progress, client, slot, *cut);
                }
                Next::Claim { claim, group } => self.decide_claim(&mut progress, claim, group),
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
        !self.dirty.is_empty()
            || self.fair.has_news()
            || self.at_cap.has_news()
            || self.headroom.has_grown(&self.fair)
            || self.refused.first_end().is_some_and(|until| until <= now)
            || self.complete_claim(now).is_some()
            || (self.may_serve_demand() && !self.fair.is_empty(Queue::Demand))
            || (!self.pool.is_empty() && !self.fair.is_empty(Queue::Classical))
            || (!self.owed_pool.is_empty() && !self.fair.is_empty(Queue::OwedClassical))
            || self.may_lend()
    }

    /// With no room anywhere nobody has to be looked at, unless leases could be taken back.
    pub(crate) fn may_serve_demand(&self) -> bool {
        self.buckets.any_room()
            || !self.classical.is_empty()
            || !self.reserved_at.is_empty()
            || !self.revocable_at.is_empty()
    }

    /// An agent gained something: wakes those who waited for just that.
    fn tell_waiting(&mut self, slot: u32, now: Monotonic) -> u64 {
        let Some(agent) = self.agents.get_mut(slot) else { return 1 };
        agent.is_dirty = false;
        let has_aside = agent.has_aside();
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
                    && (group.waiting == Waiting::ForLeave
                        || self.kept_back(spec.client, bucket.shape()).allows(agent.sets))
            }));
            steps += (bucket.for_leave.len() + woken.len()) as u64;
            self.buckets.set_room(id, true);
            for group in woken {
                self.set_waiting(group, Waiting::Awake);
            }
        }
        steps += self.wake_beside_classical(slot);
        if has_aside {
            steps += self.free_of_limits(slot);
            let woken = self.woken_by_reserved(slot, now);
            steps += 1 + woken.len() as u64;
            for group in woken {
                self.set_waiting(group, Waiting::Awake);
            }
        }
        steps
    }

    fn next(&mut self, progress: &mut Progress) -> Next {
        if let Some((claim, group)) = self.complete_claim(progress.now) {
            return Next::Claim { claim, group };
        }
        if self.fair.is_owing() {
            match self.next_owed(progress) {
                Next::Nothing => {}
                owed @ (Next::Task { .. }
                | Next::Part { .. }
                | Next::Claim { .. }
                | Next::Budget) => return owed,
            }
        }
        let first = self.next_demand(progress, Self::first_waiting);
        let Next::Task { group, .. } = first else {
            return if matches!(first, Next::Budget) { first } else { self.next_part(progress) };
        };
        let classical = self.next_part(progress);
        let Next::Part { client, .. } = classical else {
            return if matches!(classical, Next::Budget) { classical } else { first };
        };
        let spec = self.groups[group].spec.as_ref().expect("only stated groups are served");
        let (node, other) = (self.clients[spec.client].node, self.clients[client].node);
        if self.fair.is_below_entitlement(node) || self.fair.cmp(node, other) == Ordering::Less {
            return first;
        }
        match self.next_demand(progress, Self::first_entitled) {
            Next::Nothing => classical,
            entitled @ (Next::Task { .. }
            | Next::Part { .. }
            | Next::Claim { .. }
            | Next::Budget) => entitled,
        }
    }

    fn next_owed(&mut self, progress: &mut Progress) -> Next {
        match self.next_demand(progress, Self::first_owed) {
            Next::Nothing => self.next_owed_part(progress),
            owed @ (Next::Task { .. } | Next::Part { .. } | Next::Claim { .. } | Next::Budget) => {
                owed
            }
        }
    }

    fn first_waiting(&self, _steps: &mut u64) -> Option<Pick> {
        self.fair.first(Queue::Demand).map(|client| self.first_awake(client))
    }

    fn first_entitled(&self, steps: &mut u64) -> Option<Pick> {
        let client = self.fair.first_that(Queue::Demand, &mut |client| {
            *steps += 1;
            self.fair.is_below_entitlement(self.clients[client].node)
        });
        client.map(|client| self.first_awake(client))
    }

    fn first_awake(&self, client: u32) -> Pick {
        let awake = self.clients[client].awake.first();
        Pick { group: awake.expect("a queued client has a group to be tried").2, is_owed: false }
    }

    /// The first group of which one more task is owed.
    fn first_owed(&self, steps: &mut u64) -> Option<Pick> {
        let mut picked = None;
        self.fair.first_owed(Queue::Demand, &mut |client| {
            *steps += 1;
            let client = &self.clients[client];
            let owed = self.fair.guaranteed(client.node);
            picked = client.awake.iter().map(|(_, _, group)| *group).find(|group| {
                let spec = self.groups[*group].spec.as_ref().expect("only stated groups wait");
                owed.covers(self.buckets[spec.bucket].shape())
            });
            picked.is_some()
        });
        picked.map(|group| Pick { group, is_owed: true })
    }

    /// The first group in the order of `pick` that has a place. Those that have none go to sleep.
    fn next_demand(
        &mut self,
        progress: &mut Progress,
        pick: fn(&Self, &mut u64) -> Option<Pick>,
    ) -> Next {
        while self.may_serve_demand() {
            let Some(Pick { group, is_owed }) = pick(self, &mut progress.steps) else {
                return Next::Nothing;
            };
            let spec = self.groups[group].spec.as_ref().expect("only stated groups are served");
            let (client, bucket) = (spec.client, spec.bucket);
            let is_only_revocable = spec.stated.revocable == RevocableUse::Only;
            let (now, steps) = (progress.now, &mut progress.steps);
            if let Some(Placement::Reserved(slot)) = self.place_reserved(group, is_owed, now, steps)
            {
                let agent = (slot, &self.agents[slot]);
                let entry = &self.groups[group];
                let spec = entry.spec.as_ref().expect("only stated groups are served");
                let cut = self.reserved_place(entry, spec, agent, is_owed, now);
                let cut = Box::new(cut.expect("it was found there"));
                return Next::Task { group, slot, cut };
            }
            if is_only_revocable {
                self.set_waiting(group, Waiting::ForLeave);
                if progress.is_spent() {
                    return Next::Budget;
                }
                continue;
            }
            let shape = self.buckets[bucket].shape();
            if self.fair.limiting(self.clients[client].node, shape).is_some() {
                progress.steps += 1;
                self.set_waiting(group, Waiting::ForLimit);
                if progress.is_spent() {
                    return Next::Budget;
                }
                continue;
            }
            match self.place(group, is_owed, progress.now, &mut progress.steps) {
                Placement::On(slot) | Placement::Reserved(slot) => {
                    let cut = Box::new(self.task_cut(bucket, slot));
                    return Next::Task { group, slot, cut };
                }
                Placement::NoRoom => {
                    self.buckets.set_room(bucket, false);
                    self.set_waiting(group, Waiting::ForRoom);
                    self.ask_back(group, is_owed, progress);
                }
                Placement::NoLeave => {
                    self.set_waiting(group, Waiting::ForLeave);
                    self.ask_back(group, is_owed, progress);
                }
                Placement::KeptBack => {
                    self.headroom.keep(&self.fair);
                    self.set_waiting(group, Waiting::ForHeadroom);
                }
            }
            if progress.is_spent() {
                return Next::Budget;
            }
        }
        Next::Nothing
    }

    fn ask_back(&mut self, group: u32, is_owed: bool, progress: &mut Progress) {
        let Progress { turn, steps, now, .. } = progress;
        self.ask_leases_back(group, is_owed, *now, &mut turn.rescinds, steps);
    }

    fn next_part(&mut self, progress: &mut Progress) -> Next {
        if self.fair.is_empty(Queue::Classical) {
            return Next::Nothing;
        }
        while let Some(slot) = self.pool.first() {
            progress.steps += 1;
            if let Some((client, cut)) = self.first_willing(slot, false, &mut progress.steps) {
                return Next::Part { client, slot, cut: Box::new(cut) };
            }
            self.pool.remove(slot);
            if progress.is_spent() {
                return Next::Budget;
            }
        }
        Next::Nothing
    }

    fn next_owed_part(&mut self, progress: &mut Progress) -> Next {
        if self.fair.is_empty(Queue::OwedClassical) {
            return Next::Nothing;
        }
        while let Some(slot) = self.owed_pool.first() {
            progress.steps += 1;
            if let Some((client, cut)) = self.first_willing(slot, true, &mut progress.steps) {
                return Next::Part { client, slot, cut: Box::new(cut) };
            }
            self.owed_pool.remove(slot);
            if progress.is_spent() {
                return Next::Budget;
            }
        }
        Next::Nothing
    }

    /// The first classical client in fair order that does not refuse what it may have of an agent.
    fn first_willing(&mut self, slot: u32, is_owed: bool, steps: &mut u64) -> Option<(u32, Cut)> {
        self.agents.get_mut(slot)?.filters.drop_void(&mut self.refused, slot);
        let agent = &self.agents[slot];
        if !self.may_offer(agent) || self.is_kept_for_need(agent) || self.is_asked_back(slot) {
            return None;
        }
        let has_aside = agent.has_aside();
        let refusing = match has_aside {
            false => agent.filters.refusing(&self.refused, &agent.free_now(), &mut self.marks),
            true => Refusing::None,
        };
        if !has_aside && self.gives_whole() {
            let client = self.fair.first_that(Queue::Classical, &mut |client| {
                *steps += 1;
                !refusing.has(client, &self.marks)
            });
            return Some((client?, self.whole(slot)));
        }
        let surplus = self.surplus_on(slot);
        let (mut found, mut is_cut_short) = (None, false);
        let (mut at_limit, mut at_cap) = (Vec::new(), Vec::new());
        let mut accept = |client: u32| {
            *steps += 1;
            if refusing.has(client, &self.marks) {
                return false;
            }
            let owed = is_owed.then(|| self.fair.guaranteed(self.clients[client].node));
            match self.cut(client, slot, surplus.as_ref(), owed.as_ref()) {
                // Something revocable may come.
                Ok(cut) if self.lacks_revocable(client, &cut) => {}
                Ok(cut) if (cut.is_whole && !has_aside) || !self.refuses(client, slot, &cut) => {
                    found = Some((client, cut));
                }
                // It might take more.
                Ok(_) | Err(NoCut::Crumb) => is_cut_short = true,
                Err(NoCut::Unwanted) => {}
                Err(NoCut::AtLimit) => at_limit.push(client),
                Err(NoCut::AtCap) => at_cap.push(client),
            }
            found.is_some()
        };
        if is_owed {
            self.fair.first_owed(Queue::Classical, &mut accept);
        } else {
            self.fair.first_that(Queue::Classical, &mut accept);
        }
        if is_cut_short && surplus.is_some() {
            self.headroom.keep(&self.fair);
        }
        self.at_limit.is_cut_short |= is_cut_short;
        self.at_cap.is_cut_short |= is_cut_short && self.policy.held_max_percent.is_some();
        for client in at_limit {
            self.enter_limit(client);
        }
        for client in at_cap {
            self.enter_cap(client);
        }
        found
    }

    /// Whether a client takes nothing but what is revocable, and there is nothing of it.
    fn lacks_revocable(&self, client: u32, cut: &Cut) -> bool {
        let condition = self.clients[client].condition;
        self.conditions.revocable(condition) == RevocableUse::Only && !cut.sets.is_revocable()
    }

    /// Whether an agent has something scarce that is only for those who state that they need it.
    pub(crate) fn is_kept_for_need(&self, agent: &Agent) -> bool {
        let has_scarce = || !self.classes.classes[agent.class].key.scarce.is_empty();
        self.policy.scarce_for_need_only && has_scarce()
    }

    /// Whether a client refused what it would be offered. Refusals that have ended are gone.
    fn refuses(&self, client: u32, slot: u32, cut: &Cut) -> bool {
        self.agents[slot].filters.block_cut(&self.refused, client, cut)
    }

    fn decide_task(&mut self, progress: &mut Progress, group: u32, slot: u32, cut: TaskCut) {
        let id = match progress.open {
            Some((id, g, s)) if (g, s) == (group, slot) && self.is_alike(id, &cut) => id,
            Some(_) | None => {
                self.close(progress);
                let id = LeaseId(self.lease_next);
                progress.open = Some((id, group, slot));
                id
            }
        };
        self.grant_task(id, group, slot, cut);
    }

    /// Whether a task takes what a lease has of the same kinds: so any task of it can take its part.
    fn is_alike(&self, id: LeaseId, cut: &TaskCut) -> bool {
        fn kinds(sets: &Resources) -> impl Iterator<Item = &ResourceKey> {
            sets.entries().iter().map(|entry| &entry.key).filter(|key| key.revocable)
        }
        kinds(&self.leases[&id].sets).eq(kinds(&cut.sets))
    }

    fn decide_part(&mut self, progress: &mut Progress, client: u32, slot: u32, cut: Cut) {
        self.close(progress);
        let lease = LeaseId(self.lease_next);
        let resources = self.grant_cut(lease, client, slot, cut);
        let entry = &self.clients[client];
        progress.turn.decisions.push(Decision {
            lease,
            framework: entry.framework,
            role: entry.role.clone(),
            agent: self.agents[slot].id,
            resources,
            group: None,
            count: 1,
            claim: None,
        });
    }

    /// What was held becomes a lease, with ranges that are picked now.
    fn decide_claim(&mut self, progress: &mut Progress, claim: ClaimId, group: u32) {
        self.close(progress);
        progress.steps += 1;
        let Some(slot) = self.take_claim(claim) else { return };
        let spec = self.groups[group].spec.as_ref().expect("only stated groups are served");
        let cut = self.task_cut(spec.bucket, slot);
        self.decide_task(progress, group, slot, cut);
        self.close(progress);
        if let Some(decision) = progress.turn.decisions.last_mut() {
            decision.claim = Some(claim);
        }
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
            claim: None,
        });
    }

    pub(crate) fn lease_resources(&self, id: LeaseId) -> Resources {
        let lease = &self.leases[&id];
        self.dimensions.join(&lease.plain, &lease.spans, lease.sets.entries())
    }
}
