//! Where the next task of a group goes.
//!
//! Rule: agents with something reserved for the group's role come first, as [`crate::reserved`] says.
//! Then, among agents that are usable, pass the constraints, have room for one task, hold fewer of
//! the group than `per_agent_max` and are not refused, agents with something scarce that the shape does
//! not need come last. Then, packed: the agent known longest (lowest slot) — first fit fills agents one
//! by one. A shape that needs something scarce goes to the one of the first hundreds of such agents whose free cpus
//! stand to what is scarce most nearly as they do in the shape: else agents that run out of cpus first keep
//! what is scarce for nobody. Spread: fewest of the group first, before what is scarce is looked at; then most cpus and
//! memory free; then the lowest slot.

use crate::agents::Agent;
use crate::amounts::{Amounts, CPUS};
use crate::demand::{Bucket, Group, Spec};
use crate::fit_tree::Need;
use crate::headroom::KeptBack;
use crate::state::Allocator;
use proffer_types::Monotonic;

/// Agents among which a shape that needs something scarce chooses. Each is a look; with more, whole agents are
/// broken up that only large tasks could use (P27).
const SCARCE_CHOICE_MAX: usize = 256;

/// Outcome of a search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Placement {
    /// In this slot.
    On(u32),
    /// In this slot, with something that is reserved there.
    Reserved(u32),
    /// No agent has room for the bucket.
    NoRoom,
    /// Some have, but not for this group.
    NoLeave,
    /// Some have, but what they have must stay free for others.
    KeptBack,
}

/// One search and what it has seen.
struct Search<'a> {
    allocator: &'a Allocator,
    group: &'a Group,
    spec: &'a Spec,
    bucket: &'a Bucket,
    now: Monotonic,
    kept_back: KeptBack,
    /// Looks for what is kept back for others, and lent.
    is_lent: bool,
    saw_room: bool,
    saw_kept: bool,
    steps: u64,
}

impl Search<'_> {
    fn takes(&mut self, slot: u32, is_wasteful: bool) -> bool {
        self.steps += 1;
        let agent = &self.allocator.agents[slot];
        if !self.bucket.is_in_pass(agent.class, is_wasteful) || !self.bucket.suits(agent) {
            return false;
        }
        self.saw_room = true;
        if !self.allocator.has_leave(self.group, self.spec, self.bucket, (slot, agent), self.now) {
            return false;
        }
        if self.is_lent {
            return self.allocator.lent_task(self.spec, self.bucket, agent).is_some();
        }
        let is_kept = !self.kept_back.allows(agent.sets);
        self.saw_kept |= is_kept;
        !is_kept
    }

    /// The slot; and the lowest that would do, if the first pass found it.
    fn packed(&mut self, from: u32) -> Option<(u32, Option<u32>)> {
        let (fit, bucket) = (&self.allocator.fit, self.bucket);
        bucket.passes().zip([(from, true), (0, false)]).find_map(|(pass, (from, is_first))| {
            let (is_wasteful, need) = pass;
            let found = match bucket.packed_by() {
                None => fit.first(&need, from, |slot| self.takes(slot, is_wasteful)),
                Some(scarce) => return self.balanced(scarce, &need, from, is_wasteful, is_first),
            };
            found.map(|slot| (slot, is_first.then_some(slot)))
        })
    }

    /// The best of the first that would do.
    fn balanced(
        &mut self,
        scarce: usize,
        need: &Need,
        from: u32,
        is_wasteful: bool,
        is_first: bool,
    ) -> Option<(u32, Option<u32>)> {
        let (allocator, bucket) = (self.allocator, self.bucket);
        let (mut lowest, mut best, mut seen) = (None, None, 0);
        allocator.fit.first(need, from, |slot| {
            if !self.takes(slot, is_wasteful) {
                return false;
            }
            lowest = lowest.or(Some(slot));
            let off = imbalance(bucket.shape(), &allocator.agents[slot].free, scarce);
            if best.is_none_or(|(least, _)| off < least) {
                best = Some((off, slot));
            }
            seen += 1;
            off == 0 || seen == SCARCE_CHOICE_MAX
        });
        best.map(|(_, slot)| (slot, lowest.filter(|_| is_first)))
    }

    /// The slot, and how many of the group it has.
    fn spread(&mut self, from: u32) -> Option<(u32, u32)> {
        let (fit, bucket, group) = (&self.allocator.fit, self.bucket, self.group);
        let some_have_none = group.by_agent.len() < self.allocator.slots.len();
        let none = (from == 0 && some_have_none).then_some(0);
        none.into_iter().chain(group.levels.range(from..).map(|(level, _)| *level)).find_map(
            |level| {
                bucket.passes().find_map(|(is_wasteful, need)| {
                    let is_level = |slot: u32| group.on_agent(slot) == level;
                    let accept = |slot| {
                        self.steps += 1;
                        is_level(slot) && self.takes(slot, is_wasteful)
                    };
                    fit.roomiest(&need, accept).map(|slot| (slot, level))
                })
            },
        )
    }
}

/// How far an agent's free cpus are from what its tasks would need if what is scarce there were used up by
/// tasks of this shape. Not in parts of what is scarce: of agents alike in that, the fuller one comes first.
fn imbalance(shape: &Amounts, free: &Amounts, scarce: usize) -> u128 {
    let wide = |amounts: &Amounts, dimension| u128::from(amounts.get(dimension));
    let wanted = wide(shape, CPUS) * wide(free, scarce);
    wanted.abs_diff(wide(free, CPUS) * wide(shape, scarce))
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
        !agent.filters.block_shape(&self.refused, spec.client, bucket.shape(), now)
    }

    /// Looks for an agent for the group's next task, and counts its steps.
    ///
    /// What others are owed is left alone, unless the task itself is owed to the group.
    pub(crate) fn place(
        &mut self,
        index: u32,
        is_owed: bool,
        now: Monotonic,
        steps: &mut u64,
    ) -> Placement {
        let group = &self.groups[index];
        let spec = group.spec.as_ref().expect("only stated groups are placed");
        let bucket = &self.buckets[spec.bucket];
        *steps += 1;
        if !bucket.has_room {
            return Placement::NoRoom;
        }
        let from = if group.lowest_as_of == self.gains { group.lowest } else { 0 };
        let kept_back = match is_owed {
            true => KeptBack::default(),
            false => self.kept_back(spec.client, bucket.shape()),
        };
        let mut search = Search {
            allocator: self,
            group,
            spec,
            bucket,
            now,
            kept_back,
            is_lent: false,
            saw_room: false,
            saw_kept: false,
            steps: 0,
        };
        // Where to go on next time, if that is known.
        let found = if spec.stated.spread {
            search.spread(from).map(|(slot, level)| (slot, Some(level)))
        } else {
            search.packed(from)
        };
        *steps += search.steps;
        let saw_kept = search.saw_kept;
        // What lies below `from` was ruled out for the group, not for the bucket.
        let saw_room = search.saw_room
            || (found.is_none() && from > 0 && {
                let suits = |slot: u32| bucket.suits(&self.agents[slot]);
                self.fit.first(&bucket.need(), 0, suits).is_some()
            });
        match found {
            Some((slot, lowest)) => {
                // What was kept back may be given while no agent gains anything.
                if let Some(lowest) = lowest.filter(|_| !saw_kept) {
                    let gains = self.gains;
                    let group = &mut self.groups[index];
                    (group.lowest, group.lowest_as_of) = (lowest, gains);
                }
                Placement::On(slot)
            }
            None if saw_kept => Placement::KeptBack,
            None if saw_room => Placement::NoLeave,
            None => Placement::NoRoom,
        }
    }

    /// Looks for an agent that lends the group's next task something, in the same order.
    pub(crate) fn place_lent(&self, index: u32, now: Monotonic, steps: &mut u64) -> Option<u32> {
        let group = &self.groups[index];
        let spec = group.spec.as_ref().expect("only stated groups are placed");
        let bucket = &self.buckets[spec.bucket];
        *steps += 1;
        if !bucket.has_room {
            return None;
        }
        let mut search = Search {
            allocator: self,
            group,
            spec,
            bucket,
            now,
            kept_back: KeptBack::default(),
            is_lent: true,
            saw_room: false,
            saw_kept: false,
            steps: 0,
        };
        let found = match spec.stated.spread {
            true => search.spread(0).map(|(slot, _)| slot),
            false => search.packed(0).map(|(slot, _)| slot),
        };
        *steps += search.steps;
        found
    }
}
