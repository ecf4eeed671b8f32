//! Chooses the steps of a rollout, a scaling or a repair: from what is wanted and what there is,
//! level-triggered. It remembers nothing, so a framework that was killed and started again chooses
//! what it would have chosen anyway.
//!
//! The invariant is checked before every single step:
//! `ready(old+new) ≥ ceil(N·min_ready)`, by `rollout` and by `availability`, after any step that takes a ready instance away, and
//! `live including terminating ≤ N + surge` after any step that adds one.

use crate::spec::model::{AvailabilitySpec, Order, RolloutSpec};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Where an instance stands, as far as the planner is concerned.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Asked for, without a place yet: costs nothing to take back.
    Waiting,
    /// Booked, starting, or running and not ready.
    Starting,
    /// Ready, for less than `min_available_time`.
    Ready,
    /// Ready for long enough.
    Available,
    /// Unpublished; the signal follows after the linger.
    Lingering,
    /// Asked to end.
    Stopping,
    /// Its agent is out of reach or has not reported yet; it may run, and nothing takes its place.
    Unreachable,
    /// Out of reach for longer than `replace_after`: something may take its place.
    Lost,
}

impl Phase {
    /// Whether it holds its slot: it runs there, will, or may.
    #[must_use]
    pub const fn occupies(self) -> bool {
        matches!(
            self,
            Self::Waiting | Self::Starting | Self::Ready | Self::Available | Self::Unreachable
        )
    }

    /// Whether it counts against `N + surge`.
    #[must_use]
    pub const fn is_live(self) -> bool {
        !matches!(self, Self::Lost)
    }
}

/// An instance, as the planner sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member<Id> {
    /// Whose.
    pub id: Id,
    /// Its slot.
    pub slot: u32,
    /// Whether it is what the target asks for; otherwise it is old.
    pub is_current: bool,
    /// Whether its agent is to be emptied: it is replaced like an old one, whatever it is.
    pub is_leaving: bool,
    /// Where it stands.
    pub phase: Phase,
    /// Grows with each launch: the oldest of a slot stays.
    pub age: u64,
}

impl<Id> Member<Id> {
    /// Whether it counts as ready. A new instance counts once it has been ready for long enough;
    /// an old one has proved itself before.
    fn counts_as_ready(&self) -> bool {
        match self.phase {
            Phase::Available => true,
            Phase::Ready => !self.is_current,
            Phase::Waiting
            | Phase::Starting
            | Phase::Lingering
            | Phase::Stopping
            | Phase::Unreachable
            | Phase::Lost => false,
        }
    }
}

/// What is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Goal<'a> {
    /// How many.
    pub count: u32,
    /// By which rules.
    pub rollout: &'a RolloutSpec,
    /// What stays ready whatever the rollout would allow.
    pub availability: AvailabilitySpec,
    /// Whether old instances are to be replaced.
    pub advance: Advance,
}

/// Whether old instances are to be replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advance {
    /// They are.
    Yes,
    /// The rollout stands still: what runs stays, what is missing is filled.
    No,
}

impl Goal<'_> {
    /// Instances that must stay ready.
    #[must_use]
    pub fn ready_min(&self) -> u32 {
        let kept = self.availability.kept(self.count);
        self.rollout.min_ready.of(self.count).min(self.count).max(kept)
    }

    /// Instances that may live at once.
    #[must_use]
    pub fn live_max(&self) -> u32 {
        self.count.saturating_add(self.rollout.surge.of(self.count))
    }
}

/// One step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step<Id> {
    /// Ask for a new instance.
    Launch {
        /// In this slot.
        slot: u32,
    },
    /// Take a request back that has no place yet.
    Cancel(Id),
    /// Unpublish, linger, then stop.
    Drain(Id),
    /// Stop now: it is out of reach, nobody is sent to it, and it is to end when it comes back.
    Stop(Id),
}

/// All steps that may be taken now, in order.
///
/// `launchable` says whether a slot may start something now: its back-off is over, and no absent
/// agent may hold an instance of it.
#[must_use]
pub fn plan<Id: Clone>(
    goal: &Goal<'_>,
    members: &[Member<Id>],
    launchable: impl Fn(u32) -> bool,
) -> Vec<Step<Id>> {
    let mut planner = Planner::new(goal, members);
    planner.shrink();
    planner.cancel_old();
    planner.end_duplicates();
    planner.end_going();
    planner.launch(&launchable);
    planner.make_room(&launchable);
    planner.steps
}

struct Planner<'a, Id> {
    goal: &'a Goal<'a>,
    /// By slot, oldest first; without those that were given a step.
    slots: BTreeMap<u32, Vec<&'a Member<Id>>>,
    ready: u32,
    live: u32,
    steps: Vec<Step<Id>>,
}

impl<'a, Id: Clone> Planner<'a, Id> {
    fn new(goal: &'a Goal<'a>, members: &'a [Member<Id>]) -> Self {
        let mut slots: BTreeMap<u32, Vec<&Member<Id>>> = BTreeMap::new();
        for member in members {
            slots.entry(member.slot).or_default().push(member);
        }
        for members in slots.values_mut() {
            members.sort_by_key(|member| member.age);
        }
        let count = |is: &dyn Fn(&Member<Id>) -> bool| {
            u32::try_from(members.iter().filter(|member| is(member)).count()).unwrap_or(u32::MAX)
        };
        Self {
            goal,
            ready: count(&Member::counts_as_ready),
            live: count(&|member| member.phase.is_live()),
            slots,
            steps: Vec::new(),
        }
    }

    /// Ends `member` if the invariant allows it.
    fn end(&mut self, member: &'a Member<Id>) -> bool {
        let counts = member.counts_as_ready();
        if counts && self.ready.saturating_sub(1) < self.goal.ready_min() {
            return false;
        }
        let id = member.id.clone();
        self.steps.push(match member.phase {
            Phase::Waiting => {
                self.live -= 1;
                Step::Cancel(id)
            }
            Phase::Unreachable | Phase::Lost => Step::Stop(id),
            Phase::Starting | Phase::Ready | Phase::Available => Step::Drain(id),
            Phase::Lingering | Phase::Stopping => return false,
        });
        self.ready -= u32::from(counts);
        let members = self.slots.get_mut(&member.slot).expect("a member is in its slot");
        members.retain(|other| !std::ptr::eq(*other, member));
        true
    }

    /// Slots that are no longer wanted, highest first; the unready ones cost nothing.
    fn shrink(&mut self) {
        let surplus: Vec<&Member<Id>> = self
            .slots
            .range(self.goal.count..)
            .rev()
            .flat_map(|(_, m)| m.iter().copied())
            .collect();
        let (ready, unready): (Vec<_>, Vec<_>) =
            surplus.into_iter().partition(|member| member.counts_as_ready());
        for member in unready.into_iter().chain(ready) {
            self.end(member);
        }
    }

    /// Whether it may be what its slot holds in the end. All others are replaced: old ones while the
    /// rollout goes on, and those whose agents are to be emptied.
    fn stays(&self, member: &Member<Id>) -> bool {
        !member.is_leaving && (member.is_current || self.goal.advance == Advance::No)
    }

    /// Two in one slot that both stay, or both go: the older is kept. It happens when an agent comes back
    /// after its instances were replaced, and when a rollout is superseded.
    fn end_duplicates(&mut self) {
        for slot in self.wanted_slots() {
            let (staying, going): (Vec<_>, Vec<_>) =
                self.occupants(slot).into_iter().partition(|member| self.stays(member));
            for alike in [staying, going] {
                if self.goal.advance == Advance::No {
                    self.end_all_but_the_best(alike);
                    continue;
                }
                // One out of reach is no reason to end one that serves.
                let keep = alike
                    .iter()
                    .position(|member| member.phase != Phase::Unreachable)
                    .unwrap_or_default();
                for member in alike.into_iter().skip(keep + 1) {
                    self.end(member);
                }
            }
        }
    }

    /// While a rollout stands still nothing will ever replace anything, so a slot needs only one: the
    /// one that serves best, and of equals the old one, which has proved itself.
    fn end_all_but_the_best(&mut self, mut occupants: Vec<&'a Member<Id>>) {
        occupants.sort_by_key(|member| {
            let rank = match member.phase {
                Phase::Available | Phase::Ready => 0,
                Phase::Starting => 1,
                Phase::Waiting => 2,
                Phase::Unreachable | Phase::Lingering | Phase::Stopping | Phase::Lost => 3,
            };
            (rank, member.is_current, member.age)
        });
        // One out of reach is judged when it comes back.
        for member in occupants.into_iter().skip(1).filter(|m| m.phase != Phase::Unreachable) {
            self.end(member);
        }
    }

    /// Requests of an earlier revision that have no place yet.
    fn cancel_old(&mut self) {
        for slot in self.wanted_slots() {
            for member in self.occupants(slot) {
                if !self.stays(member) && member.phase == Phase::Waiting {
                    self.end(member);
                }
            }
        }
    }

    fn end_going(&mut self) {
        for slot in self.wanted_slots() {
            let occupants = self.occupants(slot);
            let replaced = occupants
                .iter()
                .any(|member| self.stays(member) && member.phase == Phase::Available);
            let has_staying = occupants.iter().any(|member| self.stays(member));
            let lost: Vec<&Member<Id>> = self.slots[&slot]
                .iter()
                .copied()
                .filter(|member| !self.stays(member) && member.phase == Phase::Lost)
                .collect();
            let stop_first = self.goal.rollout.order == Order::StopFirst && !has_staying;
            for member in occupants {
                if !self.stays(member) && (replaced || stop_first) {
                    self.end(member);
                }
            }
            for member in lost {
                self.end(member);
            }
        }
    }

    /// Empty slots first, then the new instances that start beside those that go.
    fn launch(&mut self, launchable: &impl Fn(u32) -> bool) {
        let (empty, beside) = self.wanting();
        for slot in empty.into_iter().chain(beside) {
            if self.live >= self.goal.live_max() {
                break;
            }
            if launchable(slot) {
                self.live += 1;
                self.steps.push(Step::Launch { slot });
            }
        }
    }

    /// Instances that go and are not ready hold places that new ones need: without this, a broken
    /// revision could never be replaced by a good one. As many new ones as the surge allows are on
    /// their way at a time.
    fn make_room(&mut self, launchable: &impl Fn(u32) -> bool) {
        let (empty, beside) = self.wanting();
        let launched = self.steps.iter().filter(|s| matches!(s, Step::Launch { .. })).count();
        let on_their_way = launched
            + self
                .slots
                .values()
                .flatten()
                .filter(|member| {
                    self.stays(member)
                        && matches!(member.phase, Phase::Waiting | Phase::Starting | Phase::Ready)
                })
                .count();
        let leaving = self
            .slots
            .values()
            .flatten()
            .filter(|member| matches!(member.phase, Phase::Lingering | Phase::Stopping));
        let window = usize::try_from(self.goal.rollout.surge.of(self.goal.count).max(1))
            .unwrap_or(usize::MAX);
        let mut room = window.saturating_sub(on_their_way + leaving.count());
        let wants = empty.into_iter().chain(beside).any(launchable);
        if self.live < self.goal.live_max() || !wants {
            return;
        }
        let unready: Vec<&Member<Id>> = self
            .slots
            .values()
            .flatten()
            .copied()
            .filter(|member| !self.stays(member) && member.phase == Phase::Starting)
            .collect();
        for member in unready {
            if room == 0 {
                break;
            }
            room -= usize::from(self.end(member));
        }
    }

    /// Slots without anything, and slots where a new instance may start beside one that goes.
    fn wanting(&self) -> (Vec<u32>, Vec<u32>) {
        let launched: BTreeSet<u32> = self
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Launch { slot } => Some(*slot),
                Step::Cancel(_) | Step::Drain(_) | Step::Stop(_) => None,
            })
            .collect();
        let start_first = self.goal.rollout.order == Order::StartFirst;
        let mut empty = Vec::new();
        let mut beside = Vec::new();
        for slot in (0..self.goal.count).filter(|slot| !launched.contains(slot)) {
            let occupants = self.occupants(slot);
            if occupants.is_empty() {
                empty.push(slot);
            } else if start_first && !occupants.iter().any(|member| self.stays(member)) {
                beside.push(slot);
            }
        }
        (empty, beside)
    }

    fn wanted_slots(&self) -> Vec<u32> {
        self.slots.range(..self.goal.count).map(|(slot, _)| *slot).collect()
    }

    fn occupants(&self, slot: u32) -> Vec<&'a Member<Id>> {
        let members = self.slots.get(&slot).map(Vec::as_slice).unwrap_or_default();
        members.iter().copied().filter(|member| member.phase.occupies()).collect()
    }
}
