//! Tasks that are to make room (K11): they keep their time whoever leads and whatever dies, and who is let
//! go runs on.

use crate::world::{FRAMEWORK, World, launch, name};
use proffer_types::agent::{AgentMessage, AgentOrder};
use proffer_types::task::StatusReason;
use proffer_types::{
    Claim, ClaimId, ClaimMark, DurationMs, FrameworkId, MasterEpoch, TaskKey, TaskState,
};

const GRACE: DurationMs = DurationMs(30_000);

fn claim(number: u64) -> Claim {
    Claim {
        id: ClaimId { epoch: MasterEpoch(3), sequence: number },
        framework: FrameworkId(9),
        group: "web".parse().expect("legal"),
        role: "prod".parse().expect("legal"),
        resources: "cpus:1".parse().expect("legal"),
        fixed_ports: false,
        creditor: None,
    }
}

fn key(number: u64) -> TaskKey {
    TaskKey { framework: FRAMEWORK, name: name(number) }
}

fn preempt(world: &mut World, number: u64, tasks: &[u64], grace: DurationMs) {
    let tasks = tasks.iter().map(|task| key(*task)).collect();
    world.order(AgentOrder::Preempt { claim: claim(number), tasks, grace });
    world.settle();
}

/// What the newest list says of a task.
fn listed(world: &World, number: u64) -> Option<ClaimMark> {
    let mut found = None;
    for message in world.frames.iter().flat_map(|frame| &frame.messages) {
        match message {
            AgentMessage::Register { .. } => found = None,
            AgentMessage::Tasks { tasks } => {
                let task = tasks.iter().find(|task| task.record.status.task == name(number));
                found = task.and_then(|task| task.claim.clone()).or(found);
            }
            AgentMessage::RegisterEnd
            | AgentMessage::Holds { .. }
            | AgentMessage::HoldDone { .. }
            | AgentMessage::Statuses { .. }
            | AgentMessage::Heartbeat
            | AgentMessage::Leaving => {}
        }
    }
    found
}

fn two_running() -> World {
    let mut world = World::ready("cpus:4;mem:1GiB");
    world.launch(launch(1));
    world.launch(launch(2));
    world.settle();
    assert_eq!(world.last(2).state, TaskState::Running);
    world
}

#[test]
fn k11_a_task_ends_when_its_time_is_over_and_not_before_and_its_end_has_its_own_name() {
    let mut world = two_running();
    preempt(&mut world, 1, &[1], GRACE);
    world.pass(GRACE.0 - 1_000);
    assert_eq!(world.last(1).state, TaskState::Running);
    // A repeat gives no more time.
    preempt(&mut world, 1, &[1], GRACE);
    world.pass(1_001);
    world.settle();
    assert_eq!(
        (world.last(1).state, world.last(1).reason),
        (TaskState::Killed, StatusReason::Preempted)
    );
    assert_eq!(world.last(2).state, TaskState::Running);
}

#[test]
fn k11_the_time_runs_on_over_a_crash_and_without_a_master_and_the_next_one_is_told() {
    let mut world = two_running();
    preempt(&mut world, 1, &[1], GRACE);
    world.disconnect();
    world.restart(99);
    world.register();
    let mark = listed(&world, 1).expect("it stayed on the disk");
    assert_eq!(mark.claim, claim(1));
    assert!(mark.left <= GRACE && mark.left.0 > GRACE.0 / 2, "{}", mark.left);
    assert_eq!(listed(&world, 2), None);
    world.disconnect();
    world.pass(GRACE.0 + 1);
    world.register();
    world.settle();
    assert_eq!(world.last(1).reason, StatusReason::Preempted);
}

#[test]
fn k11_who_is_let_go_runs_on_and_other_claims_stand() {
    let mut world = two_running();
    preempt(&mut world, 1, &[1], GRACE);
    preempt(&mut world, 2, &[2], GRACE);
    world.order(AgentOrder::DropClaim { claim: claim(1).id });
    world.settle();
    // Also after a crash: that it was let go is durable.
    world.disconnect();
    world.restart(99);
    world.register();
    assert_eq!(listed(&world, 1), None);
    assert!(listed(&world, 2).is_some());
    world.pass(GRACE.0 + 1);
    world.settle();
    assert_eq!(
        (world.last(1).state, world.last(2).reason),
        (TaskState::Running, StatusReason::Preempted)
    );
}

/// A crash at the write of the mark: either it was noted and stands, or the next master names it again.
#[test]
fn k11_a_mark_is_on_the_disk_or_it_is_named_again() {
    for durable in 0..3 {
        let mut world = two_running();
        let tasks = vec![key(1)];
        world.order(AgentOrder::Preempt { claim: claim(1), tasks, grace: GRACE });
        world.disconnect();
        world.restart(durable);
        world.register();
        if listed(&world, 1).is_none() {
            assert_eq!(durable, 0, "written");
            preempt(&mut world, 1, &[1], GRACE);
        }
        world.pass(GRACE.0 + 1);
        world.settle();
        assert_eq!(world.last(1).reason, StatusReason::Preempted, "after {durable} writes");
    }
}

#[test]
fn a_task_that_is_killed_or_over_is_named_for_nothing() {
    let mut world = two_running();
    world.kill(1, false);
    world.settle();
    preempt(&mut world, 1, &[1, 7], GRACE);
    assert_eq!(world.last(1).reason, StatusReason::KilledByFramework);
    world.disconnect();
    world.register();
    assert_eq!(listed(&world, 1), None);
}
