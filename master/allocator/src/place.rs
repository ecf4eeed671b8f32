//! Where the next task of a group goes.
//!
//! Rule: among agents that are usable, pass the constraints, have room for one task, hold fewer of
//! the group than `per_agent_max` and are not refused, agents without gpus come first for shapes
//! without gpus. Then, packed: the agent known longest (lowest slot) — first fit fills agents one
//! by one. Spread: fewest of the group first, before gpus are looked at; then most cpus and memory
//! free; then the lowest slot.

use crate::agents::Agent;
use crate::demand::{Bucket, Group, Spec};
use crate::state::Allocator;
use proffer_types::Monotonic;
use std::collections::BTreeSet;

/// Outcome of a search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Placement {
    /// In this slot.
    On(u32),
    /// No agent has room for the bucket.
    NoRoom,
    /// Some have, but not for this group.
    NoLeave,
}

/// One search and what it has seen.
struct Search<'a> {
    allocator: &'a Allocator,
    group: &'a Group,
    spec: &'a Spec,
    bucket: &'a Bucket,
    now: Monotonic,
    saw_room: bool,
    steps: u64,
}

impl Search<'_> {
    fn takes(&mut self, slot: u32, has_gpus: bool) -> bool {
        self.steps += 1;
        let agent = &self.allocator.agents[slot];
        if !self.bucket.is_in_pass(agent.class, has_gpus) || !self.bucket.suits(agent) {
            return false;
        }
        self.saw_room = true;
        self.allocator.has_leave(self.group, self.spec, self.bucket, (slot, agent), self.now)
    }

    /// The slot, and whether the first pass found it.
    fn packed(&mut self, from: u32) -> Option<(u32, bool)> {
        let (fit, bucket) = (&self.allocator.fit, self.bucket);
        bucket.passes().zip([(from, true), (0, false)]).find_map(|(pass, (from, is_first))| {
            let (has_gpus, need) = pass;
            let found = fit.first(&need, from, |slot| self.takes(slot, has_gpus));
            found.map(|slot| (slot, is_first))
        })
    }

    fn spread(&mut self) -> Option<u32> {
        let mut levels: BTreeSet<u32> = self.group.by_agent.values().copied().collect();
        if self.group.by_agent.len() < self.allocator.slots.len() {
            levels.insert(0);
        }
        let (fit, bucket, group) = (&self.allocator.fit, self.bucket, self.group);
        levels.into_iter().find_map(|level| {
            bucket.passes().find_map(|(has_gpus, need)| {
                let is_level = |slot: u32| group.on_agent(slot) == level;
                fit.roomiest(&need, |slot| is_level(slot) && self.takes(slot, has_gpus))
            })
        })
    }
}

impl Allocator {
    /// Whether a group may have one more task on an agent that has room for it.
    pub(crate) fn has_leave(
        &self,
        group: &Group,
        spec: &Spec,
        bucket: &Bucket,
        (slot, agent): (u32, &Agent),
        now: Monotonic,
    ) -> bool {
        if spec.stated.per_agent_max.is_some_and(|most| group.on_agent(slot) >= most) {
            return false;
        }
        let key = (spec.client, self.clients[spec.client].filter_epoch);
        !agent.filters.block_shape(&self.refused, key, bucket.shape(), now)
    }

    /// Looks for an agent for the group's next task, and counts its steps.
    pub(crate) fn place(&mut self, index: u32, now: Monotonic, steps: &mut u64) -> Placement {
        let group = &self.groups[index];
        let spec = group.spec.as_ref().expect("only stated groups are placed");
        let bucket = &self.buckets[spec.bucket];
        *steps += 1;
        if !bucket.has_room {
            return Placement::NoRoom;
        }
        let from = if group.lowest_as_of == self.gains { group.lowest } else { 0 };
        let mut search =
            Search { allocator: self, group, spec, bucket, now, saw_room: false, steps: 0 };
        let found = if spec.stated.spread {
            search.spread().map(|slot| (slot, false))
        } else {
            search.packed(from)
        };
        *steps += search.steps;
        // What lies below `from` was ruled out for the group, not for the bucket.
        let saw_room = search.saw_room
            || (found.is_none() && from > 0 && {
                let suits = |slot: u32| bucket.suits(&self.agents[slot]);
                self.fit.first(&bucket.need(), 0, suits).is_some()
            });
        match found {
            Some((slot, is_first)) => {
                if is_first {
                    let gains = self.gains;
                    let group = &mut self.groups[index];
                    (group.lowest, group.lowest_as_of) = (slot, gains);
                }
                Placement::On(slot)
            }
            None if saw_room => Placement::NoLeave,
            None => Placement::NoRoom,
        }
    }
}
