//! Stories of checks: the gate, thresholds, transitions, and what a failure does.

use crate::world::{World, container, launch_of, template};
use proffer_agent_core::{Command, Effect};
use proffer_types::task::{StatusReason, TaskState};
use proffer_types::template::{Check, CheckKind, PodTemplate, Probe};
use proffer_types::units::DurationMs;

fn check(kind: CheckKind) -> Check {
    Check {
        kind,
        probe: Probe::Tcp { port: "${port}".to_owned() },
        interval: DurationMs(1000),
        timeout: DurationMs(200),
        failures: 2,
        successes: 1,
        limit: DurationMs(5000),
    }
}

fn checked(kinds: &[CheckKind]) -> PodTemplate {
    let mut template = template();
    template.containers[0].checks = kinds.iter().map(|kind| check(*kind)).collect();
    template
}

fn running(kinds: &[CheckKind]) -> World {
    let mut world = World::ready("cpus:4;mem:1GiB");
    let template = checked(kinds);
    world.learn(&template);
    world.launch(launch_of(&template, 1, "cpus:1"));
    world.settle();
    world
}

/// Answers every probe that waits; returns which checks were asked.
fn answer(world: &mut World, passed: impl Fn(u32) -> bool) -> Vec<u32> {
    let mut asked = Vec::new();
    for effect in std::mem::take(&mut world.probes) {
        let Effect::Probe { container, check, probe, .. } = effect else { continue };
        asked.push(check);
        let passed = passed(check);
        let detail = "refused".to_owned();
        world.apply(Command::ProbeResult { container, check, probe, passed, detail });
    }
    world.settle();
    asked
}

#[test]
fn the_startup_check_gates_the_others_and_stays_passed_through_a_restart() {
    let mut world = running(&[CheckKind::Startup, CheckKind::Ready]);
    assert_eq!(answer(&mut world, |_| false), [0]);
    world.pass(1000);
    assert_eq!(answer(&mut world, |_| true), [0]);
    assert_eq!(answer(&mut world, |_| true), [1]);
    let status = world.last(1);
    assert_eq!((status.ready, status.reason), (Some(true), StatusReason::CheckChanged));
    world.pass(1000);
    assert_eq!(answer(&mut world, |_| true), [1], "startup is over");
    world.restart(9);
    world.register();
    assert_eq!(answer(&mut world, |_| true), [1], "and stays over");
}

#[test]
fn a_startup_check_that_never_passes_ends_the_task_at_its_limit() {
    let mut world = running(&[CheckKind::Startup]);
    for _ in 0..4 {
        answer(&mut world, |_| false);
        world.pass(1000);
    }
    assert_eq!(world.last(1).state, TaskState::Running, "its limit is not over");
    answer(&mut world, |_| false);
    world.pass(1000);
    world.settle();
    let status = world.last(1);
    assert_eq!((status.state, status.reason), (TaskState::Failed, StatusReason::StartupTimeout));
    assert!(status.message.contains("5s"), "{}", status.message);
}

#[test]
fn ready_reports_transitions_only_and_counts_to_its_thresholds() {
    let mut world = running(&[CheckKind::Ready]);
    assert_eq!(world.last(1).ready, None);
    let mut seen = Vec::new();
    for passed in [false, false, false, true, true, false, true, false, false] {
        answer(&mut world, |_| passed);
        seen.push(world.last(1).ready);
        world.pass(1000);
    }
    let (yes, no) = (Some(true), Some(false));
    assert_eq!(seen, [None, no, no, yes, yes, yes, yes, yes, no]);
    assert_eq!(world.states(1).len(), 3 + 3, "three transitions after taken, starting, running");
    assert_eq!(world.last(1).message, "refused");
    world.kill(1, false);
    world.settle();
    assert_eq!(world.last(1).ready, Some(false));
}

#[test]
fn a_failing_alive_check_ends_the_task_and_nothing_is_asked_meanwhile() {
    let mut world = running(&[CheckKind::Alive]);
    answer(&mut world, |_| false);
    world.pass(1000);
    answer(&mut world, |_| false);
    assert_eq!(
        world.states(1)[3..],
        [
            (TaskState::Killing, StatusReason::CheckFailed),
            (TaskState::Failed, StatusReason::CheckFailed)
        ]
    );
    assert!(world.last(1).message.contains("its alive check failed: refused"));
    world.pass(5000);
    assert_eq!(answer(&mut world, |_| true), [0u32; 0]);
}

#[test]
fn an_answer_that_nobody_awaits_counts_for_nothing() {
    let mut world = running(&[CheckKind::Ready]);
    for (number, probe) in [(0, 0), (0, 2), (5, 1)] {
        world.apply(Command::ProbeResult {
            container: container(1),
            check: number,
            probe,
            passed: true,
            detail: String::new(),
        });
    }
    world.settle();
    assert_eq!(world.last(1).ready, None);
    answer(&mut world, |_| true);
    assert_eq!(world.last(1).ready, Some(true));
}
