//! Gangs (K3): what is prepared waits, whatever dies; it starts when it is told to, ends when it is told to,
//! and the agent does neither by itself.

use crate::world::{World, container, launch};
use proffer_agent_core::Command;
use proffer_agent_core::container::PrepareFailure;
use proffer_types::agent::{AgentMessage, AgentOrder, KillCause};
use proffer_types::task::StatusReason;
use proffer_types::{GangId, MasterEpoch, TaskState};

const GANG: GangId = GangId { epoch: MasterEpoch(3), sequence: 1 };
const OTHER: GangId = GangId { epoch: MasterEpoch(3), sequence: 2 };

fn prepare(numbers: &[u64]) -> AgentOrder {
    AgentOrder::Prepare { gang: GANG, tasks: numbers.iter().map(|it| launch(*it)).collect() }
}

fn start() -> AgentOrder {
    AgentOrder::StartGang { gang: GANG }
}

fn abort() -> AgentOrder {
    AgentOrder::AbortGang { gang: GANG, why: "one was refused".to_owned() }
}

fn two_waiting() -> World {
    let mut world = World::ready("cpus:4;mem:1GiB");
    world.order(prepare(&[1, 2]));
    world.settle();
    world
}

fn newest(world: &World, number: u64) -> (TaskState, StatusReason) {
    let status = world.last(number);
    (status.state, status.reason)
}

/// States of a task in the newest list, with its gang.
fn listed(world: &World, number: u64) -> Option<(TaskState, Option<GangId>)> {
    let mut found = None;
    for message in world.frames.iter().flat_map(|frame| &frame.messages) {
        match message {
            AgentMessage::Register { knows_gangs, .. } => {
                assert!(knows_gangs);
                found = None;
            }
            AgentMessage::Tasks { tasks } => {
                let of_number =
                    tasks.iter().find(|task| task.record.status.container() == container(number));
                found =
                    of_number.map(|task| (task.record.status.state, task.record.gang)).or(found);
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

const PREPARED: (TaskState, StatusReason) = (TaskState::Staging, StatusReason::GangPrepared);
const ABORTED: (TaskState, StatusReason) = (TaskState::Dropped, StatusReason::GangAborted);

#[test]
fn k3_what_is_prepared_holds_its_resources_and_waits_until_it_is_told_to_start() {
    let mut world = two_waiting();
    for number in [1, 2] {
        let states = world.states(number);
        let preparing = (TaskState::Staging, StatusReason::GangPreparing);
        assert_eq!(states, [preparing, PREPARED]);
    }
    assert_eq!(world.machine.starts().len(), 0);
    assert_eq!(world.agent.used(), &"cpus:2;mem:128MiB".parse().expect("legal"));
    // Another gang's start is not theirs, a repeat of the order is not another task.
    world.order(AgentOrder::StartGang { gang: OTHER });
    world.order(prepare(&[1]));
    world.settle();
    assert_eq!((newest(&world, 1), world.states(1).len()), (PREPARED, 2));
    world.order(start());
    world.settle();
    for number in [1, 2] {
        assert_eq!(newest(&world, number).0, TaskState::Running);
        assert_eq!(world.states(number)[2], (TaskState::Taken, StatusReason::None), "K1");
    }
    // Neither a repeat nor a late word changes anything.
    world.order(start());
    world.order(abort());
    world.settle();
    assert_eq!(newest(&world, 1).0, TaskState::Running);
    assert_eq!(world.machine.starts()[&container(1)], 1);
}

#[test]
fn k3_what_is_given_up_never_ran_and_leaves_nothing() {
    let mut world = two_waiting();
    world.order(abort());
    world.settle();
    assert_eq!((newest(&world, 1), newest(&world, 2)), (ABORTED, ABORTED));
    assert_eq!(world.last(1).message, "one was refused");
    world.order(start());
    world.settle();
    assert!(world.machine.starts().is_empty());
    assert_eq!(world.machine.container_count(), 0);
    assert!(world.agent.used().is_empty());
}

#[test]
fn k3_the_word_may_come_while_a_container_is_made() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    world.order(prepare(&[1]));
    world.order(start());
    world.settle();
    assert_eq!(newest(&world, 1).0, TaskState::Running);
    let mut world = World::ready("cpus:4;mem:1GiB");
    world.order(prepare(&[1]));
    world.order(abort());
    world.settle();
    assert_eq!(newest(&world, 1), ABORTED);
    assert!(world.machine.starts().is_empty());
}

#[test]
fn k3_what_cannot_be_prepared_says_so_and_the_others_wait_on() {
    let mut world = World::ready("cpus:2;mem:1GiB");
    world.order(prepare(&[1, 2, 3]));
    world.facts.clear();
    let failure = PrepareFailure::Refused { message: "no such limit".to_owned() };
    world.apply(Command::PrepareFailed { container: container(1), failure });
    world.apply(Command::Prepared { container: container(2) });
    world.settle();
    assert_eq!(newest(&world, 1), (TaskState::Error, StatusReason::AgentRefused));
    assert_eq!(newest(&world, 2), PREPARED);
    assert_eq!(newest(&world, 3), (TaskState::Error, StatusReason::AgentRefused), "no room");
}

/// A crash after each number of writes, before and after the word to start: a task is on the list as
/// waiting, or it was not taken; after the word it is waiting or starts; and what waits starts when it is
/// told so by the next master too.
#[test]
fn k3_what_waits_waits_on_over_a_crash_at_every_write_and_starts_once() {
    for durable in 0..4 {
        let mut world = World::ready("cpus:4;mem:1GiB");
        world.order(prepare(&[1, 2]));
        while !world.facts.is_empty() {
            let fact = world.facts.remove(0);
            world.apply(fact);
        }
        world.restart(durable);
        world.register();
        let both = (listed(&world, 1), listed(&world, 2));
        if durable == 0 {
            assert_eq!(both, (None, None), "K1: it was not taken and never will be");
            continue;
        }
        let waits = Some((TaskState::Staging, Some(GANG)));
        assert_eq!(both, (waits, waits), "after {durable} writes");
        world.settle();
        assert_eq!((newest(&world, 1), newest(&world, 2)), (PREPARED, PREPARED));
        assert!(world.machine.starts().is_empty(), "the agent never decides alone");

        world.order(start());
        world.restart(durable - 1);
        world.register();
        assert_eq!(listed(&world, 1).and_then(|(_, gang)| gang), Some(GANG));
        if durable == 1 {
            assert_eq!(listed(&world, 1), waits, "the word was not written");
            assert!(world.machine.starts().is_empty());
        }
        world.order(start());
        world.settle();
        for number in [1, 2] {
            assert_eq!(newest(&world, number).0, TaskState::Running, "after {durable} writes");
            assert_eq!(world.machine.starts()[&container(number)], 1);
        }
    }
}

#[test]
fn k3_a_crash_at_the_write_of_the_end_leaves_it_waiting_or_ended() {
    for durable in 0..2 {
        let mut world = two_waiting();
        world.order(abort());
        world.restart(durable);
        world.register();
        world.settle();
        if durable == 0 {
            assert_eq!(newest(&world, 1), PREPARED);
            world.order(abort());
            world.settle();
        }
        assert_eq!((newest(&world, 1), newest(&world, 2)), (ABORTED, ABORTED));
        assert!(world.machine.starts().is_empty());
        assert_eq!(world.machine.container_count(), 0);
    }
}

#[test]
fn k3_a_kill_ends_what_waits_and_a_reboot_never_starts_it() {
    let mut world = two_waiting();
    world.kill(1, false);
    world.settle();
    assert_eq!(newest(&world, 1), (TaskState::Killed, StatusReason::KilledByFramework));
    world.order(AgentOrder::Kill {
        framework: crate::world::FRAMEWORK,
        task: crate::world::name(2),
        policy: None,
        cause: KillCause::Operator,
    });
    world.settle();
    assert_eq!(newest(&world, 2), (TaskState::Killed, StatusReason::KilledByOperator));

    let mut world = two_waiting();
    let (checkpoint, found) = world.machine.reboot(9);
    world.config.info.boot_id = "boot-2".to_owned();
    world.recover(checkpoint, &found);
    world.register();
    world.order(start());
    world.settle();
    assert_eq!(newest(&world, 1), (TaskState::Failed, StatusReason::AgentRebooted), "K14");
    assert!(world.machine.starts().is_empty());
}
