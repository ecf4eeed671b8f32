//! Stories of launches and kills: the normal one, the refusal, the repeat, the late arrival.

use crate::world::{AGENT, EPOCH, FRAMEWORK, World, container, launch, launch_of, name, template};
use proffer_agent_core::checkpoint::Write;
use proffer_agent_core::container::{Outcome, PrepareFailure, StopCause};
use proffer_agent_core::{Command, Effect, model};
use proffer_types::agent::{AgentDown, AgentMessage, AgentOrder, KillCause};
use proffer_types::ids::{AgentSession, MasterEpoch};
use proffer_types::task::{StatusReason, TaskState};
use proffer_types::template::KillPolicy;
use proffer_types::units::DurationMs;

const PLAIN: StatusReason = StatusReason::None;

#[test]
fn a_launch_is_written_before_it_is_promised_and_before_it_goes() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    let (connection, session) = (world.connection.expect("connected"), world.session());
    let orders = vec![AgentOrder::Launch { tasks: vec![launch(1)] }];
    let frame = AgentDown { agent: AGENT, session, master_epoch: EPOCH, orders };
    let effects = world.apply(Command::Frame { connection, frame });

    let [Effect::Checkpoint { writes, .. }, Effect::Prepare(request)] = effects.as_slice() else {
        panic!("K1, K14: write and prepare, nothing else: {effects:?}");
    };
    assert!(matches!(writes[0], Write::PutSandbox(..)));
    assert!(matches!(writes[1], Write::PutTemplate(..)));
    assert!(writes.iter().any(|write| matches!(write, Write::PutTask(task)
        if task.status.state == TaskState::Taken)));
    assert_eq!(request.command, ["/bin/serve", "--port=80"]);
    assert_eq!(request.cpus.0, 1000);

    let prepared = world.facts.remove(0);
    assert_eq!(world.apply(prepared), [], "K14: prepared, but not durable yet");
    let written = world.machine.flush(1).expect("one write");
    let effects = world.apply(written);
    assert!(effects.contains(&Effect::Go { container: container(1) }));
    assert_eq!(world.states(1), [(TaskState::Taken, PLAIN)], "K1: told when durable");

    world.settle();
    assert_eq!(
        world.states(1),
        [(TaskState::Taken, PLAIN), (TaskState::Starting, PLAIN), (TaskState::Running, PLAIN)]
    );
    assert_eq!(world.machine.starts()[&container(1)], 1);

    world.facts =
        world.machine.end(&container(1), model::exit(Outcome::Code(0), StopCause::Itself));
    let exited = world.facts.remove(0);
    let effects = world.apply(exited);
    assert!(matches!(effects.as_slice(), [Effect::Checkpoint { .. }]), "traces stay until durable");
    assert!(world.agent.used().is_empty(), "a terminal state frees resources at once");
    world.settle();
    assert_eq!(world.last(1).state, TaskState::Finished);
    assert_eq!(world.machine.container_count(), 0);

    world.acknowledge(4, &[]);
    world.settle();
    assert!(world.machine.checkpoint().tasks.is_empty());
    assert!(world.machine.checkpoint().templates.is_empty());
    assert!(world.agent.is_idle());
}

/// I3: what is lent is of what is there for good; of a name a task takes one kind only.
#[test]
fn what_may_be_taken_back_is_in_the_books_like_everything_else() {
    let mut world = World::ready("cpus:4;mem:1GiB;cpus{revocable}:2");
    for (number, resources) in
        [(1, "cpus{lent}:3"), (2, "cpus{revocable}:2"), (3, "cpus:2"), (4, "cpus{revocable}:1")]
    {
        world.launch(launch_of(&template(), number, resources));
        world.settle();
    }
    world.launch(launch_of(&template(), 5, "cpus:0.5;cpus{lent}:0.5"));
    world.settle();
    let states: Vec<TaskState> = (1..=5).map(|number| world.last(number).state).collect();
    let [running, error] = [TaskState::Running, TaskState::Error];
    assert_eq!(states, [running, running, error, error, error]);
    assert_eq!(*world.agent.used(), "cpus:3;cpus{revocable}:2".parse().expect("valid"));
    for beyond in [3, 4] {
        assert!(world.last(beyond).message.starts_with("resources_stale: resources: "));
    }
    let mixed = "invalid_argument: resources: cpus is taken both revocable and not";
    assert!(world.last(5).message.starts_with(mixed), "{}", world.last(5).message);
}

#[test]
fn a_launch_that_cannot_be_is_refused_durably_and_says_why() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    let mut unknown = template();
    unknown.kill.grace = DurationMs(1);
    let mut no_port = launch(3);
    no_port.launch.variables.clear();
    let mut bomb = launch(4);
    bomb.launch.variables.insert("port".to_owned(), "x".repeat(256 << 10));
    let cases = [
        (launch_of(&template(), 1, "cpus:5"), "resources_stale: resources: "),
        (launch_of(&unknown, 2, "cpus:1"), "unknown_template: template: "),
        (no_port, "invalid_argument: command[1].variables: ${port} has no value"),
        (bomb, "invalid_argument: command[1].variables: is longer than 128KiB"),
    ];
    for (index, (order, why)) in (1u64..).zip(cases) {
        world.launch(order);
        world.settle();
        let status = world.last(index);
        assert_eq!((status.state, status.reason), (TaskState::Error, StatusReason::AgentRefused));
        assert!(status.message.starts_with(why), "{}", status.message);
    }
    assert_eq!(world.machine.starts().len(), 0);
    assert_eq!(world.machine.checkpoint().tasks.len(), 4, "kept until acknowledged");
    world.restart(0);
    world.register();
    assert_eq!(world.list().len(), 4);
    world.acknowledge(4, &[]);
    world.settle();
    assert!(world.machine.checkpoint().tasks.is_empty());
}

#[test]
fn the_agents_own_books_refuse_what_is_taken_already() {
    let mut world = World::ready("cpus:1;mem:1GiB;ports:[1-9]");
    world.launch(launch_of(&template(), 1, "cpus:0.6;ports:[3-3]"));
    world.launch(launch_of(&template(), 2, "cpus:0.6"));
    world.launch(launch_of(&template(), 3, "cpus:0.1;ports:[3-3]"));
    world.launch(launch_of(&template(), 4, "cpus:0.4;ports:[4-4]"));
    world.settle();
    assert_eq!(world.last(1).state, TaskState::Running);
    assert_eq!(world.last(2).state, TaskState::Error, "I3: cpus are used");
    assert_eq!(world.last(3).state, TaskState::Error, "I3: the port is used");
    assert_eq!(world.last(4).state, TaskState::Running);
}

#[test]
fn a_repeated_launch_changes_nothing_even_after_the_task_was_forgotten() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    world.launch(launch(1));
    world.settle();
    world.launch(launch(1));
    world.settle();
    assert_eq!(world.states(1).len(), 3, "I2");
    world.facts =
        world.machine.end(&container(1), model::exit(Outcome::Code(1), StopCause::Itself));
    world.settle();
    world.acknowledge(9, &[]);
    world.settle();
    world.launch(launch(1));
    world.settle();
    assert_eq!(world.machine.starts()[&container(1)], 1, "I2");
    assert_eq!(world.agent.counters().launches_repeated, 2);
}

#[test]
fn launches_of_another_session_epoch_or_agent_are_dropped() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    let old_session = world.session();
    world.disconnect();
    world.register();
    world.learn(&template());
    let order = || AgentOrder::Launch { tasks: vec![launch(1)] };
    world.order_at(EPOCH, old_session, order());
    world.order_at(MasterEpoch(2), world.session(), order());
    world.order_at(MasterEpoch(4), world.session(), order());
    assert!(world.session() > old_session, "sessions grow");
    assert_eq!(world.machine.pending_writes(), 0, "K1: nothing was taken");
    assert_eq!(world.agent.counters().frames_stale, 1);
    assert_eq!(world.agent.counters().orders_stale, 2);
}

#[test]
fn an_order_after_the_grant_ran_out_ends_the_session() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    let old = world.session();
    world.now += crate::world::GRANT.0;
    world.launch(launch(1));
    assert_eq!(world.connection, None, "K8: not obeyed, and the master will learn it");
    assert_eq!(world.agent.counters().orders_without_grant, 1);
    world.register();
    assert!(world.session() > old);
    assert_eq!(world.list(), [], "K1: it is not on the list, so it was never taken");
}

#[test]
fn what_was_taken_while_the_connection_broke_is_on_the_next_list() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    world.launch(launch(1));
    world.disconnect();
    world.wait_for_deadline();
    let frames = world.frames.len();
    world.open();
    assert_eq!(world.frames.len(), frames, "K1: the list waits for the write under way");
    world.settle();
    assert_eq!(world.list().len(), 1, "K1: the list holds everything ever taken");
    assert_eq!(world.states(1), [], "nothing is told before the answer");
    world.admit();
    let after: Vec<TaskState> = world.states(1).into_iter().map(|(state, _)| state).collect();
    assert_eq!(after, [TaskState::Running], "what became durable meanwhile follows, newest only");
}

#[test]
fn a_kill_before_the_start_means_that_nothing_ever_starts() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    world.launch(launch(1));
    world.kill(1, false);
    world.settle();
    assert_eq!(
        world.states(1),
        [(TaskState::Taken, PLAIN), (TaskState::Killed, StatusReason::KilledByFramework)]
    );
    assert!(world.machine.starts().is_empty());
    assert_eq!(world.machine.container_count(), 0);
}

#[test]
fn a_kill_is_passed_on_again_but_reported_once_and_keeps_its_first_cause() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    world.launch(launch(1));
    world.settle();
    world.kill(1, true);
    let policy = Some(KillPolicy { signal: 15, grace: DurationMs(1) });
    let task = name(1);
    world.order(AgentOrder::Kill {
        framework: FRAMEWORK,
        task,
        policy,
        cause: KillCause::Framework,
    });
    world.settle();
    assert_eq!(
        world.states(1)[3..],
        [
            (TaskState::Killing, StatusReason::KilledByOperator),
            (TaskState::Killed, StatusReason::KilledByOperator)
        ]
    );
    world.kill(1, false);
    world.kill(9, false);
    assert_eq!(world.agent.counters().kills_unknown, 1);
}

#[test]
fn a_kill_reaches_only_the_live_one_of_two_tasks_of_a_name() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    world.launch(launch(1));
    world.settle();
    world.facts =
        world.machine.end(&container(1), model::exit(Outcome::Code(0), StopCause::Itself));
    world.settle();
    let mut second = launch(2);
    second.launch.name = name(1);
    world.launch(second);
    world.settle();
    world.kill(1, false);
    world.settle();
    assert_eq!(world.last(1).token.sequence, 2);
    assert_eq!(world.last(1).state, TaskState::Killed);
}

#[test]
fn what_this_machine_cannot_enforce_is_refused_and_what_fails_has_its_step() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    world.launch(launch(1));
    world.facts.clear();
    let failure = PrepareFailure::Refused { message: "no pids controller".to_owned() };
    world.apply(Command::PrepareFailed { container: container(1), failure });
    world.launch(launch(2));
    world.facts.clear();
    let failure = PrepareFailure::Failed {
        step: "create cgroup".to_owned(),
        errno: 28,
        message: "no space left on device".to_owned(),
    };
    world.apply(Command::PrepareFailed { container: container(2), failure });
    world.settle();
    assert_eq!(world.last(1).state, TaskState::Error, "K22: never quietly weaker");
    assert_eq!(world.last(1).message, "cannot_enforce: no pids controller");
    assert_eq!(world.last(2).reason, StatusReason::LaunchFailed);
    assert_eq!(world.last(2).message, "create cgroup: no space left on device (errno 28)");
    assert!(world.agent.used().is_empty());
}

#[test]
fn late_facts_about_ended_containers_are_counted_and_ignored() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    world.launch(launch(1));
    world.kill(1, false);
    world.settle();
    let container = container(1);
    let exit = model::exit(Outcome::Code(0), StopCause::Itself);
    for fact in [
        Command::Prepared { container: container.clone() },
        Command::Started { container: container.clone(), pid: 1 },
        Command::Exited { container: container.clone(), exit },
        Command::Destroyed { container },
        Command::Connected { connection: 99 },
        Command::Written { through: 0 },
    ] {
        assert_eq!(world.apply(fact.clone()), [], "{fact:?}");
    }
    let late = world.frames.last().expect("sent").messages.last();
    assert!(matches!(late, Some(AgentMessage::Statuses { .. })));
    assert_ne!(world.session(), AgentSession(0));
}
