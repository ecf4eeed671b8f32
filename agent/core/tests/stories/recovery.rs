//! Stories of restarts: what ran is adopted, what ended is told, what never started starts once.

use crate::world::{World, container, launch, name};
use proffer_agent_core::container::{Outcome, StopCause};
use proffer_agent_core::{Effect, model};
use proffer_types::agent::KillCause;
use proffer_types::task::{StatusReason, TaskState};

#[test]
fn a_running_task_is_adopted_without_a_word() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    world.launch(launch(1));
    world.settle();
    let told = world.states(1).len();
    world.restart(9);
    world.register();
    assert_eq!(world.list(), [(name(1), TaskState::Running, false)]);
    assert_eq!(world.states(1).len(), told, "nothing about it has changed");
    assert_eq!(world.machine.starts()[&container(1)], 1);
    assert_eq!(world.agent.used().to_string(), "cpus:1;mem:64MiB");
    world.kill(1, false);
    world.settle();
    assert_eq!(world.last(1).state, TaskState::Killed);
}

#[test]
fn a_task_that_ended_meanwhile_is_told_with_its_exit() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    world.launch(launch(1));
    world.settle();
    world.machine.end(&container(1), model::exit(Outcome::Code(0), StopCause::Itself));
    world.restart(9);
    world.register();
    assert_eq!(world.last(1).exit.expect("it ran").code, Some(0));
    assert_eq!(world.machine.container_count(), 0, "its traces went after the status was durable");
}

#[test]
fn what_was_taken_and_never_started_starts_once() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    world.launch(launch(1));
    // The write of the launch becomes durable, then the agent dies before `Go`.
    world.restart(1);
    world.settle();
    assert_eq!(world.machine.starts()[&container(1)], 1, "I1");
    world.register();
    assert_eq!(world.list(), [(name(1), TaskState::Running, false)]);
}

#[test]
fn what_was_not_durable_never_starts_and_is_on_no_list() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    world.launch(launch(1));
    world.restart(0);
    world.register();
    assert_eq!(world.list(), [], "K1");
    assert!(world.machine.starts().is_empty());
    assert_eq!(world.machine.container_count(), 0);
    assert_eq!(world.machine.sandbox_count(), 0, "its directory is removed, too");
}

#[test]
fn a_kill_that_the_supervisor_may_have_missed_is_repeated() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    world.launch(launch(1));
    world.settle();
    // The supervisor is deaf: the effect is not performed, the intent is written.
    let connection = world.connection.expect("connected");
    let frame = proffer_types::agent::AgentDown {
        agent: crate::world::AGENT,
        session: world.session(),
        master_epoch: crate::world::EPOCH,
        orders: vec![proffer_types::agent::AgentOrder::Kill {
            framework: crate::world::FRAMEWORK,
            task: name(1),
            policy: None,
            cause: KillCause::Operator,
        }],
    };
    let command = proffer_agent_core::Command::Frame { connection, frame };
    let effects = world.agent.apply(command, crate::world::at(world.now));
    for effect in effects.iter().filter(|effect| matches!(effect, Effect::Checkpoint { .. })) {
        world.machine.perform(effect);
    }
    world.restart(9);
    world.register();
    assert_eq!(world.last(1).reason, StatusReason::KilledByOperator);
    assert_eq!(world.machine.container_count(), 0);
}

#[test]
fn after_a_reboot_every_task_that_was_not_over_has_failed() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    world.launch(launch(1));
    world.settle();
    world.launch(launch(2));
    let (checkpoint, found) = world.machine.reboot(1);
    world.config.info.boot_id = "boot-2".to_owned();
    world.recover(checkpoint, &found);
    world.register();
    for number in [1, 2] {
        let status = world.last(number);
        assert_eq!(
            (status.state, status.reason),
            (TaskState::Failed, StatusReason::AgentRebooted),
            "K14: a container of an earlier boot is never spawned again"
        );
    }
    assert!(world.agent.used().is_empty());
}

#[test]
fn a_running_task_without_a_trace_is_called_lost_never_success() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    world.launch(launch(1));
    world.settle();
    let (checkpoint, mut found) = world.machine.crash(9);
    found.containers.clear();
    world.recover(checkpoint, &found);
    world.register();
    let status = world.last(1);
    assert_eq!((status.state, status.reason), (TaskState::Failed, StatusReason::SupervisorLost));
}

#[test]
fn sessions_and_sequences_grow_through_restarts() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    world.launch(launch(1));
    world.settle();
    let mut session = world.session();
    let sequence = world.last(1).id.expect("logged").sequence;
    for _ in 0..3 {
        world.restart(9);
        world.register();
        assert!(world.session() > session);
        session = world.session();
    }
    world.kill(1, false);
    world.settle();
    assert_eq!(world.last(1).id.expect("logged").sequence, sequence + 2, "K15");
}
