//! Stories of the connection: back-off, leaders, pages, grants, silence, being marked gone.

use crate::world::{
    AGENT, EPOCH, FRAMEWORK, GRANT, HEARTBEAT, World, config, container, launch, launch_of, name,
    template,
};
use proffer_agent_core::{Command, Effect, container::Outcome, container::StopCause, model};
use proffer_types::agent::{AgentMessage, AgentOrder};
use proffer_types::ids::{AgentId, MasterEpoch};
use proffer_types::refusal::{Refusal, RefusalCode};
use proffer_types::task::{StatusReason, TaskState};
use proffer_types::template::OnDisconnect;
use proffer_types::units::DurationMs;

#[test]
fn masters_are_tried_in_turn_and_a_named_leader_next() {
    let mut world = World::new(config("cpus:1"));
    world.settle();
    world.disconnect();
    world.wait_for_deadline();
    let connection = world.connection.take().expect("dialled");
    let leader = Some("m9:1".to_owned());
    world.apply(Command::Disconnected { connection, reason: String::new(), leader });
    world.wait_for_deadline();
    assert_eq!(world.dialled, ["m1:1", "m2:1", "m9:1"]);
    world.open();
    world.settle();
    let refusal = Refusal::new(RefusalCode::NotLeader, "master", "does not lead").hint("m8:1");
    world.order(AgentOrder::Refused { refusal, gone: false });
    world.wait_for_deadline();
    assert_eq!(world.dialled[3], "m8:1");
    assert_eq!(world.agent.last_refusal().expect("kept").code, RefusalCode::NotLeader);
}

#[test]
fn advice_in_place_of_an_address_is_not_dialled() {
    let mut world = World::new(config("cpus:1"));
    world.settle();
    world.open();
    world.settle();
    let refusal = Refusal::new(RefusalCode::NotLeader, "", "does not lead").hint("ask another one");
    world.order(AgentOrder::Refused { refusal, gone: false });
    world.wait_for_deadline();
    assert_eq!(world.dialled, ["m1:1", "m2:1"]);
}

#[test]
fn delays_grow_to_their_bound_and_start_again_after_a_registration() {
    let mut world = World::new(config("cpus:1"));
    world.settle();
    let mut delays = Vec::new();
    for _ in 0..10 {
        world.disconnect();
        let before = world.now;
        world.wait_for_deadline();
        delays.push(world.now - before);
    }
    assert!(delays[0] <= 100, "{delays:?}");
    assert!(delays[9] >= 5_000 && delays.iter().all(|delay| *delay <= 10_000), "{delays:?}");
    world.open();
    world.settle();
    world.admit();
    world.disconnect();
    let before = world.now;
    world.wait_for_deadline();
    assert!(world.now - before <= 100);
}

#[test]
fn an_attempt_or_registration_without_an_answer_is_given_up() {
    let mut world = World::new(config("cpus:1"));
    world.wait_for_deadline();
    assert_eq!(world.connection, None, "no connection in time");
    world.wait_for_deadline();
    world.open();
    world.settle();
    world.wait_for_deadline();
    assert_eq!(world.connection, None, "no answer in time");
}

#[test]
fn the_first_frames_wait_for_the_incarnation_and_come_in_pages() {
    let mut config = config("cpus:100;mem:1GiB");
    config.limits.page_tasks_max = 2;
    let mut world = World::new(config);
    world.open();
    assert_eq!(world.frames, [], "the incarnation in the session is not durable yet");
    world.settle();
    assert_eq!(world.frames[0].agent, None);
    world.admit();
    world.learn(&template());
    for number in 1..=5 {
        world.launch(launch_of(&template(), number, "cpus:1"));
    }
    world.settle();
    world.disconnect();
    world.wait_for_deadline();
    let from = world.frames.len();
    world.open();
    let frames = &world.frames[from..];
    let shape: Vec<usize> = frames
        .iter()
        .flat_map(|frame| &frame.messages)
        .map(|message| match message {
            AgentMessage::Register { .. } => 100,
            AgentMessage::Tasks { tasks } => tasks.len(),
            AgentMessage::RegisterEnd => 200,
            AgentMessage::Holds { .. } => 150,
            AgentMessage::Statuses { .. }
            | AgentMessage::HoldDone { .. }
            | AgentMessage::Heartbeat
            | AgentMessage::Leaving => 300,
        })
        .collect();
    assert_eq!(shape, [100, 2, 2, 1, 150, 200]);
    assert!(frames.iter().all(|f| f.agent == Some(AGENT) && f.master_epoch == MasterEpoch(0)));
}

#[test]
fn an_older_master_than_one_obeyed_is_not_followed_even_after_a_restart() {
    let mut world = World::ready("cpus:1");
    world.restart(9);
    world.open();
    world.settle();
    let session = world.session();
    let order =
        AgentOrder::Registered { heartbeat: HEARTBEAT, grant: GRANT, capability_key: Vec::new() };
    world.order_at(MasterEpoch(EPOCH.0 - 1), session, order);
    assert!(!world.agent.is_registered(), "I10, K1");
    assert_eq!(world.agent.last_refusal().expect("said").code, RefusalCode::StaleEpoch);
}

#[test]
fn heartbeats_keep_the_grant_and_silence_ends_the_connection() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    world.pass(60_000);
    world.launch(launch(1));
    world.settle();
    assert_eq!(world.last(1).state, TaskState::Running);
    let beats = world.frames.iter().filter(|f| f.messages.contains(&AgentMessage::Heartbeat));
    assert!(beats.count() >= 40, "at least one each half heartbeat");
    while world.connection.is_some() {
        world.wait_for_deadline();
    }
    assert!(world.now <= 60_000 + 5 * HEARTBEAT.0);
}

#[test]
fn grants_count_from_the_question_and_reach_the_supervisors_that_want_them() {
    let mut world = World::ready("cpus:4;mem:1GiB");
    let mut careful = template();
    careful.on_disconnect = OnDisconnect::StopAfter(DurationMs(4000));
    world.learn(&careful);
    world.launch(launch(1));
    world.launch(launch_of(&careful, 2, "cpus:1"));
    world.settle();
    world.wait_for_deadline();
    world.now += 40;
    world.order(AgentOrder::Grant { grant: GRANT });
    let Some(Effect::Grant { containers, age }) = world.grants.last() else {
        panic!("K13: passed on")
    };
    assert_eq!((containers.as_slice(), age.0), (&[container(2)][..], 40), "K8");
    let grants = world.grants.len();
    world.order(AgentOrder::Grant { grant: GRANT });
    assert_eq!(world.grants.len(), grants, "a grant that answers no heartbeat counts for nothing");
    world.wait_for_deadline();
    world.order(AgentOrder::Grant { grant: DurationMs(0) });
    assert_eq!(world.grants.len(), grants, "a leader that cannot confirm its lease grants nothing");
}

#[test]
fn acknowledgements_are_cumulative_with_exceptions_and_of_this_log_only() {
    let mut world = World::ready("cpus:9;mem:1GiB");
    for number in 1..=3 {
        world.launch(launch(number));
    }
    world.settle();
    for number in 1..=3 {
        let exit = model::exit(Outcome::Code(0), StopCause::Itself);
        world.facts.extend(world.machine.end(&container(number), exit));
    }
    world.settle();
    let last: Vec<u64> =
        (1..=3).map(|number| world.last(number).id.expect("logged").sequence).collect();
    let incarnation = proffer_types::ids::LogIncarnation(1);
    let except = std::collections::BTreeSet::new();
    world.order(AgentOrder::Acknowledge { framework: FRAMEWORK, incarnation, through: 99, except });
    assert_eq!(world.machine.checkpoint().tasks.len(), 3, "K15: another life of the log");
    world.acknowledge(last[1], &[last[0]]);
    world.settle();
    let left: Vec<_> =
        world.machine.checkpoint().tasks.values().map(|task| task.launch.name.clone()).collect();
    assert_eq!(left, [name(1), name(3)], "K15");
    world.acknowledge(last[2], &[]);
    world.settle();
    assert!(world.machine.checkpoint().tasks.is_empty());
}

#[test]
fn an_acknowledgement_of_an_older_status_does_not_cover_the_newest() {
    let mut world = World::ready("cpus:9;mem:1GiB");
    world.launch(launch(1));
    world.settle();
    world.acknowledge(2, &[]);
    world.disconnect();
    world.register();
    assert_eq!(world.list(), [(name(1), TaskState::Running, false)]);
    world.acknowledge(3, &[]);
    world.disconnect();
    world.register();
    assert_eq!(world.list(), [(name(1), TaskState::Running, true)]);
}

#[test]
fn an_ended_framework_leaves_nothing_and_stays_ended_through_a_crash() {
    let mut world = World::ready("cpus:9;mem:1GiB");
    for number in 1..=2 {
        world.launch(launch(number));
    }
    world.settle();
    let exit = model::exit(Outcome::Code(0), StopCause::Itself);
    world.facts = world.machine.end(&container(2), exit);
    world.settle();
    world.order(AgentOrder::EndFramework { framework: FRAMEWORK });
    world.restart(9);
    world.settle();
    assert!(world.machine.checkpoint().tasks.is_empty(), "ended and forgotten unasked");
    assert!(world.machine.checkpoint().logs.is_empty());
    assert_eq!(world.machine.container_count(), 0);
}

#[test]
fn an_agent_marked_gone_ends_its_tasks_and_asks_to_be_a_new_one() {
    let mut world = World::ready("cpus:9;mem:1GiB");
    world.launch(launch(1));
    world.settle();
    let before = world.machine.checkpoint().identity.clone().expect("written");
    world.disconnect();
    world.wait_for_deadline();
    world.open();
    let refusal = Refusal::new(RefusalCode::Removed, "agent", "marked gone");
    let session = world.session();
    world.order(AgentOrder::Refused { refusal, gone: true });
    assert_eq!(world.connection, None);
    world.restart(9);
    world.settle();
    assert_eq!(world.machine.container_count(), 0);
    let after = world.machine.checkpoint().identity.clone().expect("written");
    assert_eq!((after.agent, after.ending), (None, false));
    assert!(after.log > before.log, "K15: another life of the log");
    world.wait_for_deadline();
    world.open();
    world.settle();
    let last = world.frames.last().expect("registers");
    assert_eq!(last.agent, None::<AgentId>);
    assert!(last.session > session);
    assert_eq!(world.list(), []);
}

#[test]
fn leaving_says_so_and_ending_all_waits_for_the_last() {
    let mut world = World::ready("cpus:9;mem:1GiB");
    world.launch(launch(1));
    world.settle();
    world.apply(Command::EndTasks { at_once: false });
    world.launch(launch(2));
    assert!(!world.agent.is_idle());
    world.settle();
    assert!(world.agent.is_idle());
    assert_eq!(world.last(1).reason, StatusReason::KilledByOperator);
    assert_eq!(world.last(2).reason, StatusReason::AgentRefused);
    world.apply(Command::Leave);
    let last = world.frames.last().expect("said");
    assert_eq!(last.messages, [AgentMessage::Leaving]);
    assert_eq!(world.agent.next_deadline().map(|due| due.0 > 60_000), Some(true), "sandboxes only");
}
