//! The rollout invariant under any order of events, and that every rollout ends: N from 1 to 50,
//! all percentages, both orders, with instances that crash, flap, get lost and come back.

use proffer_service_core::plan::{Advance, Goal, Member, Phase, Step, plan};
use proffer_service_core::spec::model::{
    AvailabilitySpec, OnFailure, Order, RolloutSpec, Strategy as How,
};
use proffer_service_core::spec::quantity::Amount;
use proffer_service_core::spec::validate;
use proffer_types::DurationMs;
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct World {
    rollout: RolloutSpec,
    availability: AvailabilitySpec,
    count: u32,
    members: Vec<Member<u64>>,
    next: u64,
    advance: Advance,
}

impl World {
    fn new(rollout: RolloutSpec, count: u32) -> Self {
        let mut world = Self {
            rollout,
            availability: AvailabilitySpec::default(),
            count,
            members: Vec::new(),
            next: 0,
            advance: Advance::Yes,
        };
        for slot in 0..count {
            world.add(slot, Phase::Available);
        }
        world
    }

    fn add(&mut self, slot: u32, phase: Phase) {
        self.next += 1;
        let (id, age) = (self.next, self.next);
        self.members.push(Member { id, slot, is_current: true, is_leaving: false, phase, age });
    }

    fn goal(&self) -> Goal<'_> {
        Goal {
            count: self.count,
            rollout: &self.rollout,
            availability: self.availability,
            advance: self.advance,
        }
    }

    fn ready(&self) -> u32 {
        let counts = |member: &&Member<u64>| match member.phase {
            Phase::Available => true,
            Phase::Ready => !member.is_current,
            Phase::Waiting
            | Phase::Starting
            | Phase::Lingering
            | Phase::Stopping
            | Phase::Unreachable
            | Phase::Lost => false,
        };
        u32::try_from(self.members.iter().filter(counts).count()).expect("few")
    }

    fn live(&self) -> u32 {
        u32::try_from(self.members.iter().filter(|m| m.phase.is_live()).count()).expect("few")
    }

    /// Takes every step of a plan and checks the invariant at each.
    fn turn(&mut self) -> usize {
        let steps = {
            let goal = self.goal();
            plan(&goal, &self.members, |_| true)
        };
        for step in &steps {
            let before = self.ready();
            match step {
                Step::Launch { slot } => {
                    self.add(*slot, Phase::Waiting);
                    assert!(
                        self.live() <= self.goal().live_max(),
                        "{step:?}: live {}",
                        self.live()
                    );
                }
                Step::Cancel(id) => {
                    assert_eq!(self.get(*id).phase, Phase::Waiting);
                    self.members.retain(|member| member.id != *id);
                }
                Step::Drain(id) => {
                    assert!(matches!(
                        self.get(*id).phase,
                        Phase::Starting | Phase::Ready | Phase::Available
                    ));
                    self.get(*id).phase = Phase::Lingering;
                }
                Step::Stop(id) => {
                    let phase = self.get(*id).phase;
                    if phase == Phase::Unreachable {
                        self.get(*id).phase = Phase::Stopping;
                    } else {
                        assert_eq!(phase, Phase::Lost, "others can be drained");
                        self.members.retain(|member| member.id != *id);
                    }
                }
            }
            if self.ready() < before {
                assert!(
                    self.ready() >= self.goal().ready_min(),
                    "{step:?}: {} ready of {} needed",
                    self.ready(),
                    self.goal().ready_min()
                );
            }
        }
        steps.len()
    }

    fn get(&mut self, id: u64) -> &mut Member<u64> {
        self.members.iter_mut().find(|member| member.id == id).expect("a step names a member")
    }

    /// One thing happens to one instance.
    fn happen(&mut self, pick: usize, event: u8) {
        if self.members.is_empty() {
            return;
        }
        let index = pick % self.members.len();
        let member = &mut self.members[index];
        let next = match (member.phase, event % 10) {
            (Phase::Waiting, 0..=6) => Some(Phase::Starting),
            (Phase::Starting, 0..=4) => Some(Phase::Ready),
            (Phase::Ready, 0..=5) => Some(Phase::Available),
            (Phase::Ready | Phase::Available, 6) => Some(Phase::Starting),
            (Phase::Lingering, 0..=7) => Some(Phase::Stopping),
            (Phase::Stopping, 0..=7) => None,
            (Phase::Starting | Phase::Ready | Phase::Available, 8) => Some(Phase::Unreachable),
            (Phase::Unreachable, 0..=4) => Some(Phase::Lost),
            (Phase::Unreachable | Phase::Lost, 5..=7) => Some(Phase::Available),
            (Phase::Starting | Phase::Ready | Phase::Available | Phase::Lost, 9) => None,
            (phase, _) => Some(phase),
        };
        match next {
            Some(phase) => member.phase = phase,
            None => drop(self.members.remove(index)),
        }
    }

    /// The agent of every third instance is to be emptied, or not any more.
    fn leave(&mut self, pick: usize, leaves: bool) {
        let asked = |member: &&mut Member<u64>| {
            member.age as usize % 3 == pick % 3 && member.phase != Phase::Waiting
        };
        self.members.iter_mut().filter(asked).for_each(|member| member.is_leaving = leaves);
    }

    /// What happens when nothing goes wrong any more.
    fn heal(&mut self) {
        self.members.retain_mut(|member| {
            member.phase = match member.phase {
                Phase::Waiting => Phase::Starting,
                Phase::Starting => Phase::Ready,
                Phase::Ready | Phase::Available => Phase::Available,
                Phase::Lingering => Phase::Stopping,
                Phase::Stopping => return false,
                Phase::Unreachable => Phase::Lost,
                Phase::Lost => return false,
            };
            true
        });
    }

    fn has_converged(&self) -> bool {
        self.members.len() == self.count as usize
            && (0..self.count).all(|slot| {
                self.members.iter().any(|member| {
                    member.slot == slot
                        && (member.is_current || self.advance == Advance::No)
                        && !member.is_leaving
                        && member.phase == Phase::Available
                })
            })
    }
}

fn amounts() -> impl Strategy<Value = Amount> {
    prop_oneof![(0u32..=100).prop_map(Amount::Percent), (0u32..=60).prop_map(Amount::Count)]
}

fn rollouts() -> impl Strategy<Value = RolloutSpec> {
    (amounts(), amounts(), any::<bool>()).prop_map(|(min_ready, surge, start_first)| RolloutSpec {
        strategy: How::Rolling,
        order: if start_first { Order::StartFirst } else { Order::StopFirst },
        min_ready,
        surge,
        min_available_time: DurationMs(0),
        progress_deadline: DurationMs(1),
        max_failures: 0,
        on_failure: OnFailure::Pause,
    })
}

#[derive(Clone, Debug)]
enum Event {
    Happen(usize, u8),
    Deploy,
    /// Agents are to be emptied, or may stay as they are.
    Leave(usize, bool),
    Pause(bool),
    Scale(u32),
    Plan,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        12 => (any::<usize>(), any::<u8>()).prop_map(|(pick, event)| Event::Happen(pick, event)),
        1 => Just(Event::Deploy),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(pick, leaves)| Event::Leave(pick, leaves)),
        1 => any::<bool>().prop_map(Event::Pause),
        1 => (0u32..=50).prop_map(Event::Scale),
        4 => Just(Event::Plan),
    ];
    prop::collection::vec(event, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, max_global_rejects: 100_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The rollout invariant, before every step; and whatever happened, when nothing goes wrong
    /// any more, every slot ends with exactly one available instance of the newest revision.
    #[test]
    fn no_step_breaks_the_invariant_and_every_rollout_ends(
        rollout in rollouts(), kept in amounts(), count in 1u32..=50, events in events(),
    ) {
        let mut world = World::new(rollout, count);
        world.availability = AvailabilitySpec { min_ready: kept };
        for event in events {
            match event {
                Event::Happen(pick, event) => world.happen(pick, event),
                Event::Deploy => world.members.iter_mut().for_each(|member| member.is_current = false),
                Event::Leave(pick, leaves) => world.leave(pick, leaves),
                Event::Pause(paused) => {
                    world.advance = if paused { Advance::No } else { Advance::Yes };
                }
                Event::Scale(count) => world.count = count,
                Event::Plan => drop(world.turn()),
            }
        }
        prop_assume!(validate::progress(&world.rollout, world.availability, world.count).is_ok());
        for _ in 0..2000 {
            let steps = world.turn();
            if steps == 0 && world.has_converged() {
                return Ok(());
            }
            world.heal();
        }
        prop_assert!(false, "never ends: {world:?}");
    }

    /// A second plan over the same picture has nothing to add: the planner is level-triggered, so
    /// being asked again (by a framework that was killed in between) repeats nothing.
    #[test]
    fn a_plan_that_was_carried_out_is_not_repeated(
        rollout in rollouts(), kept in amounts(), count in 1u32..=50, events in events(),
    ) {
        let mut world = World::new(rollout, count);
        world.availability = AvailabilitySpec { min_ready: kept };
        for event in events {
            match event {
                Event::Happen(pick, event) => world.happen(pick, event),
                Event::Deploy => world.members.iter_mut().for_each(|member| member.is_current = false),
                Event::Leave(pick, leaves) => world.leave(pick, leaves),
                Event::Pause(paused) => {
                    world.advance = if paused { Advance::No } else { Advance::Yes };
                }
                Event::Scale(count) => world.count = count,
                Event::Plan => {
                    world.turn();
                    let goal = world.goal();
                    let again = plan(&goal, &world.members, |_| true);
                    prop_assert_eq!(again, vec![], "{:?}", world);
                }
            }
        }
    }
}

fn world(order: Order, min_ready: &str, surge: &str, count: u32) -> World {
    let amount = |text| Amount::parse(text).expect("valid");
    let rollout = RolloutSpec {
        strategy: How::Rolling,
        order,
        min_ready: amount(min_ready),
        surge: amount(surge),
        min_available_time: DurationMs(0),
        progress_deadline: DurationMs(1),
        max_failures: 0,
        on_failure: OnFailure::Pause,
    };
    World::new(rollout, count)
}

fn deploy(world: &mut World) {
    world.members.iter_mut().for_each(|member| member.is_current = false);
}

#[test]
fn start_first_adds_before_it_takes_away() {
    let mut world = world(Order::StartFirst, "100%", "25%", 3);
    deploy(&mut world);
    world.turn();
    assert_eq!(world.live(), 4, "one above the count");
    assert_eq!(world.ready(), 3, "all old ones serve");
    world.heal();
    world.heal();
    world.heal();
    world.turn();
    let lingering = world.members.iter().filter(|m| m.phase == Phase::Lingering).count();
    assert_eq!((lingering, world.ready()), (1, 3));
}

#[test]
fn stop_first_takes_away_no_more_than_min_ready_allows() {
    let mut world = world(Order::StopFirst, "66%", "0", 3);
    deploy(&mut world);
    world.turn();
    assert_eq!(world.ready(), 2, "ceil(1.98) = 2 stay");
    assert_eq!(world.live(), 3, "nothing starts until it has ended");
}

#[test]
fn a_revision_that_never_gets_ready_is_replaced_by_one_that_does() {
    let mut world = world(Order::StartFirst, "100%", "1", 3);
    world.members.iter_mut().for_each(|member| member.phase = Phase::Starting);
    deploy(&mut world);
    for _ in 0..50 {
        world.turn();
        world.members.retain_mut(|member| {
            member.phase = match member.phase {
                Phase::Waiting => Phase::Starting,
                Phase::Starting if member.is_current => Phase::Available,
                Phase::Lingering => Phase::Stopping,
                Phase::Stopping => return false,
                Phase::Starting
                | Phase::Ready
                | Phase::Available
                | Phase::Unreachable
                | Phase::Lost => member.phase,
            };
            true
        });
    }
    assert!(world.has_converged(), "{world:?}");
}

#[test]
fn of_two_in_a_slot_the_older_stays() {
    let mut world = world(Order::StartFirst, "100%", "1", 2);
    world.members[0].phase = Phase::Lost;
    world.turn();
    for _ in 0..3 {
        world.members.iter_mut().filter(|m| m.id == 3).for_each(|m| m.phase = Phase::Available);
    }
    assert_eq!(world.turn(), 0);
    world.members[0].phase = Phase::Available;
    world.turn();
    assert_eq!(world.get(3).phase, Phase::Lingering);
    assert_eq!(world.get(1).phase, Phase::Available);
}

#[test]
fn a_paused_rollout_fills_what_is_missing_and_replaces_nothing() {
    let mut world = world(Order::StartFirst, "100%", "1", 3);
    deploy(&mut world);
    world.members.remove(1);
    let goal = Goal { advance: Advance::No, ..world.goal() };
    assert_eq!(plan(&goal, &world.members, |_| true), vec![Step::Launch { slot: 1 }]);
}

#[test]
fn a_slot_in_back_off_holds_up_no_other_slot() {
    let mut world = world(Order::StartFirst, "100%", "1", 3);
    world.members.clear();
    let steps = plan(&world.goal(), &world.members, |slot| slot != 0);
    assert_eq!(steps, vec![Step::Launch { slot: 1 }, Step::Launch { slot: 2 }]);
}

#[test]
fn who_is_to_leave_is_replaced_first_also_while_the_rollout_stands_still() {
    for advance in [Advance::Yes, Advance::No] {
        let mut world = world(Order::StartFirst, "100%", "1", 3);
        world.advance = advance;
        world.get(2).is_leaving = true;
        assert_eq!(world.turn(), 1, "one beside it");
        assert_eq!((world.live(), world.ready()), (4, 3));
        assert_eq!(world.turn(), 0, "it serves until the other one is available");
        (0..3).for_each(|_| world.heal());
        world.turn();
        assert_eq!(world.get(2).phase, Phase::Lingering);
        assert_eq!(world.ready(), 3);
    }
}

#[test]
fn who_may_stay_again_stays_and_what_was_started_beside_it_ends() {
    let mut world = world(Order::StartFirst, "100%", "1", 3);
    world.get(2).is_leaving = true;
    world.turn();
    world.heal();
    world.get(2).is_leaving = false;
    world.turn();
    assert_eq!(world.get(2).phase, Phase::Available);
    assert_eq!(world.get(4).phase, Phase::Lingering);
}

#[test]
fn stop_first_lets_go_of_as_many_as_min_ready_allows_when_all_are_to_leave() {
    let mut world = world(Order::StopFirst, "50%", "0", 4);
    world.members.iter_mut().for_each(|member| member.is_leaving = true);
    world.turn();
    assert_eq!((world.ready(), world.live()), (2, 4));
}
