//! What has to stay free for those who are owed it, lent meanwhile to those who give it back at any time.
//!
//! Rule: when nothing else can be decided. Of each name of which an agent's kept-back part is enough, a
//! task takes all it wants as lent, and the rest as plain as any other task would; of at least one name.
//! Places are looked for as always, for the first group in fair order that accepts it. Then the lowest
//! slot with a kept-back part worth an offer, for the first classical client in fair order that
//! accepts it and does not refuse it, beside what it may have anyway. What is lent takes room, is charged
//! to nobody, and counts as headroom still.

use crate::agents::{Agent, is_worth_offering};
use crate::amounts::{Amounts, Kind};
use crate::demand::{Bucket, Spec};
use crate::limits::Cut;
use crate::reserved::TaskCut;
use crate::slot_set::SlotSet;
use crate::state::Allocator;
use crate::turn::{Next, Progress};
use proffer_types::Resources;
use proffer_types::resources::{Quantity, Resource, ResourceKey};
use std::cmp::Reverse;

/// Who may be lent something, and where, as far as it was not found out that they cannot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lending {
    /// Something has changed since it was looked who may be lent something.
    pub(crate) is_stale: bool,
    groups: Vec<u32>,
    slots: SlotSet,
}

impl Allocator {
    /// Whether there may be something to lend, and somebody to lend it to.
    pub(crate) fn may_lend(&self) -> bool {
        let somebody = !self.accepting.is_empty() || self.conditions.takers().next().is_some();
        let is_open = self.lending.is_stale
            || !self.lending.groups.is_empty()
            || !self.lending.slots.is_empty();
        is_open && somebody && self.fair.is_owing()
    }

    /// What is lent next, when there is nothing else to decide.
    pub(crate) fn next_lent(&mut self, progress: &mut Progress) -> Next {
        if !self.may_lend() {
            return Next::Nothing;
        }
        if std::mem::take(&mut self.lending.is_stale) {
            progress.steps += self.look_who_borrows();
        }
        let lent = self.next_lent_task(progress);
        if matches!(lent, Next::Nothing) { self.next_lent_part(progress) } else { lent }
    }

    fn look_who_borrows(&mut self) -> u64 {
        let wants = |group: &u32| {
            let spec = self.groups[*group].spec.as_ref().expect("only stated groups accept");
            self.groups[*group].unmet() > 0 && self.clients[spec.client].present
        };
        let groups: Vec<u32> = self.accepting.iter().copied().filter(wants).collect();
        self.lending.groups = groups;
        self.lending.slots.clear();
        if !self.borrowers().is_empty() {
            self.lending.slots.add_all(&self.worth);
        }
        1 + self.accepting.len() as u64
    }

    fn next_lent_task(&mut self, progress: &mut Progress) -> Next {
        // A grant moves its client.
        let mut groups = std::mem::take(&mut self.lending.groups);
        groups.sort_by(|a, b| {
            let spec = |group: u32| {
                let spec = self.groups[group].spec.as_ref();
                spec.expect("only stated groups accept")
            };
            let node = |group: u32| self.clients[spec(group).client].node;
            let rank =
                |group: u32| (Reverse(spec(group).stated.priority), &self.groups[group].name);
            self.fair.cmp(node(*a), node(*b)).then_with(|| rank(*a).cmp(&rank(*b)))
        });
        let mut found = Next::Nothing;
        let mut looked_at = 0;
        for group in &groups {
            if self.groups[*group].unmet() > 0
                && let Some(slot) = self.place_lent(*group, progress.now, &mut progress.steps)
            {
                let spec = self.groups[*group].spec.as_ref().expect("only stated groups accept");
                let bucket = &self.buckets[spec.bucket];
                let cut = self.lent_task(spec, bucket, &self.agents[slot]);
                let cut = Box::new(cut.expect("it was found there"));
                self.lending.is_stale |= self.takes_of_owed(&cut.plain);
                found = Next::Task { group: *group, slot, cut };
                break;
            }
            looked_at += 1;
            if progress.is_spent() {
                found = Next::Budget;
                break;
            }
        }
        groups.drain(..looked_at);
        self.lending.groups = groups;
        found
    }

    /// Whether what is given beside what is lent is of a kind that somebody is owed: then there is less to
    /// spare, and more is kept back elsewhere.
    fn takes_of_owed(&self, plain: &Amounts) -> bool {
        let owed = self.fair.owed_in_all();
        plain
            .iter()
            .any(|(dimension, value)| value > 0 && owed.is_some_and(|owed| owed.get(dimension) > 0))
    }

    /// What of an agent's free scalars has to stay free for others.
    fn kept_on(&self, agent: &Agent) -> Amounts {
        let mut kept = Amounts::default();
        let Some(surplus) = self.surplus_on(agent.slot).filter(|_| agent.usable) else {
            return kept;
        };
        for (dimension, free) in agent.free.iter() {
            if self.dimensions.kind(dimension) == Kind::Scalar {
                kept.set(dimension, free.saturating_sub(surplus.get(dimension)));
            }
        }
        kept
    }

    fn lent_entry(&self, dimension: usize, value: u64) -> Resource {
        let key = ResourceKey::lent(self.dimensions.name(dimension).clone());
        Resource { key, quantity: Quantity::Scalar(value) }
    }

    /// What one task takes of an agent that has room for it and lends it something.
    pub(crate) fn lent_task(&self, spec: &Spec, bucket: &Bucket, agent: &Agent) -> Option<TaskCut> {
        let kept = self.kept_on(agent);
        let (mut plain, mut lent) = (bucket.shape().clone(), Amounts::default());
        let mut given = Vec::new();
        for (dimension, wanted) in bucket.shape().iter() {
            let is_scalar = self.dimensions.kind(dimension) == Kind::Scalar;
            if is_scalar && wanted > 0 && wanted <= kept.get(dimension) {
                plain.set(dimension, 0);
                lent.set(dimension, wanted);
                given.push(self.lent_entry(dimension, wanted));
            }
        }
        let node = self.clients[spec.client].node;
        let may = !given.is_empty()
            && !self.is_limited(node, &plain, &[])
            && self.kept_back(spec.client, &plain).allows(agent.sets);
        let sets = Resources::from_entries(given).ok().filter(|_| may)?;
        let spans = self.pick_spans(bucket, &plain, agent);
        Some(TaskCut { plain, lent, spans, sets })
    }

    /// Classical clients that are there and accept what is revocable, in fair order.
    fn borrowers(&self) -> Vec<u32> {
        let takes = |client: &u32| {
            let entry = &self.clients[*client];
            let framework = self.frameworks.get(&entry.framework);
            entry.present && framework.is_some_and(|framework| !framework.states_demand)
        };
        let mut borrowers: Vec<u32> = self.conditions.takers().filter(takes).collect();
        borrowers.sort_by(|a, b| self.fair.cmp(self.clients[*a].node, self.clients[*b].node));
        borrowers
    }

    fn next_lent_part(&mut self, progress: &mut Progress) -> Next {
        if self.lending.slots.is_empty() {
            return Next::Nothing;
        }
        let borrowers = self.borrowers();
        while let Some(slot) = self.lending.slots.first() {
            let found = borrowers.iter().find_map(|client| {
                progress.steps += 1;
                Some((*client, self.lent_cut(*client, slot)?))
            });
            if let Some((client, cut)) = found {
                self.lending.is_stale |= self.takes_of_owed(&cut.plain);
                return Next::Part { client, slot, cut: Box::new(cut) };
            }
            self.lending.slots.remove(slot);
            if progress.is_spent() {
                return Next::Budget;
            }
        }
        Next::Nothing
    }

    /// What of an agent a classical client is lent, and may have beside it, if that is worth an offer.
    fn lent_cut(&self, client: u32, slot: u32) -> Option<Cut> {
        let agent = self.agents.get(slot)?;
        if !self.may_offer(agent) || self.is_kept_for_need(agent) || self.is_asked_back(slot) {
            return None;
        }
        let condition = self.clients[client].condition;
        let lent = self.kept_on(agent);
        if !is_worth_offering(|dimension| lent.get(dimension))
            || !self.conditions.admits(condition, agent)
        {
            return None;
        }
        let surplus = self.surplus_on(slot);
        let mut cut = match self.cut(client, slot, surplus.as_ref(), None) {
            Ok(cut) => cut,
            Err(_) => Cut { plain: Amounts::default(), ..self.whole(slot) },
        };
        let amount = |dimension| cut.plain.get(dimension).max(lent.get(dimension));
        if !self.conditions.is_enough(condition, amount, &[]) {
            return None;
        }
        let entries = lent.iter().filter(|(_, value)| *value > 0);
        let entries = entries.map(|(dimension, value)| self.lent_entry(dimension, value));
        let entries = cut.sets.entries().iter().cloned().chain(entries);
        cut.sets = Resources::from_entries(entries.collect()).ok()?;
        cut.lent = lent;
        cut.is_whole = false;
        (!self.agents[slot].filters.block_cut(&self.refused, client, &cut)).then_some(cut)
    }
}
