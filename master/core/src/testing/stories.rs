//! Rules that scripts cannot show: suspension, budgets, slow readers, foreign principals, restored
//! registries. Each story names the rule that it proves.

#![expect(clippy::wildcard_enum_match_arm, reason = "a story looks for one thing among many")]

use super::peers::template;
use super::{AgentPeer, FrameworkPeer, Harness, describe};
use crate::registry::RegistryImage;
use crate::{Command, Config, ConnectionId, Effect, Master, Peer, ReplyTo, WriteResult, limits};
use proffer_types::agent::{AgentMessage, AgentOrder, AgentUp};
use proffer_types::demand::DemandGroup;
use proffer_types::operator::{Change, OperatorCall};
use proffer_types::scheduler::{Call, Event, SchedulerUp};
use proffer_types::state_store::{StateAnswer, StateCall, StateChange};
use proffer_types::{
    AgentId, DurationMs, FrameworkEpoch, FrameworkId, Generation, Incarnation, MasterEpoch,
    Monotonic, Now, OfferId, PrincipalName, RefusalCode, TaskState,
};
use std::collections::BTreeSet;

fn agent(harness: &mut Harness, name: &str) -> AgentPeer {
    let mut agent = AgentPeer::new(name, "cpus:8;mem:16GiB");
    agent.register(harness, |_| true);
    agent
}

fn framework(harness: &mut Harness, name: &str) -> FrameworkPeer {
    let mut framework = FrameworkPeer::new(name, "r1", "eng");
    framework.subscribe(harness, false);
    framework.hear_effects(&harness.take_effects());
    framework
}

fn wants(framework: &FrameworkPeer, count: u32) -> Call {
    Call::Demand {
        groups: vec![DemandGroup {
            name: "web".parse().expect("legal"),
            generation: Generation(1),
            role: framework.info.roles.first().cloned().expect("it has one"),
            shape: "cpus:1;mem:1GiB".parse().expect("legal"),
            fixed_ports: false,
            target: count,
            constraints: Vec::new(),
            priority: 0,
            per_agent_max: None,
            spread: false,
            gang_size: 1,
            deadline: None,
            revocable: proffer_types::RevocableUse::Refuse,
        }],
    }
}

/// Demands, and launches what is offered first.
fn launch(harness: &mut Harness, framework: &mut FrameworkPeer, names: &[&str]) {
    let count = u32::try_from(names.len()).expect("few");
    let demand = wants(framework, count);
    framework.call(harness, demand);
    framework.hear_effects(&harness.take_effects());
    let offers: Vec<_> = framework.offers.values().cloned().collect();
    let shape: proffer_types::Resources = "cpus:1;mem:1GiB".parse().expect("legal");
    let tasks =
        names.iter().map(|name| framework.launch(name, shape.clone(), Some("web"))).collect();
    let accept = framework.accept(&offers, tasks);
    framework.offers.clear();
    let template = template();
    let digest = template.digest();
    framework.calls(harness, vec![Call::Template { digest, template }, Call::Accept(accept)]);
}

fn events(effects: &[Effect]) -> Vec<Event> {
    let mut events = Vec::new();
    for effect in effects {
        if let Effect::SendFramework { frame, .. } = effect {
            events.extend(frame.events.iter().cloned());
        }
    }
    events
}

fn state_answers(effects: &[Effect]) -> Vec<StateAnswer> {
    events(effects)
        .into_iter()
        .filter_map(|event| match event {
            Event::State { answer, .. } => Some(answer),
            _ => None,
        })
        .collect()
}

fn lines(effects: &[Effect]) -> Vec<String> {
    effects.iter().flat_map(describe).collect()
}

#[test]
fn nothing_leaves_while_the_lease_is_not_confirmed() {
    // K8
    let mut harness = Harness::new(Config::default());
    let one = agent(&mut harness, "one");
    let mut svc = framework(&mut harness, "svc");
    harness.take_effects();
    harness.apply(Command::Suspended);
    let call = OperatorCall::DeactivateAgent(AgentId(1));
    let principal = PrincipalName::new("token:operator").expect("legal");
    harness.turn(Command::Operator { reply_to: ReplyTo(1), principal, call });
    let demand = wants(&svc, 1);
    svc.call(&mut harness, demand);
    one.send(&mut harness, vec![AgentMessage::Heartbeat]);
    assert_eq!(lines(&harness.take_effects()), Vec::<String>::new());
    assert_eq!(harness.master.next_deadline(), None);
    // An hour later nobody is timed out, and what was held leaves in order.
    harness.now.monotonic = harness.now.monotonic.after(DurationMs::from_secs(3600));
    harness.turn(Command::LeaseConfirmed { lease_until: Monotonic(u64::MAX) });
    let effects = harness.take_effects();
    assert_eq!(
        lines(&effects),
        ["write agent/1", "reply: a1 takes no new tasks"],
        "the deactivation overtook the offer"
    );
    let granted = effects.iter().any(|effect| {
        matches!(effect, Effect::SendAgent { frame, .. }
            if frame.orders == [AgentOrder::Grant { grant: DurationMs::from_secs(30) }])
    });
    assert!(granted, "the grant says what remains now: {effects:?}");
}

#[test]
fn a_lease_that_ran_out_suspends_without_being_told() {
    // K8: the core looks at the clock it is given.
    let mut harness = Harness::new(Config::default());
    let start = harness.now;
    let image = RegistryImage::default();
    let mut master = Master::recover(Config::default(), image, start).expect("empty");
    let until = start.monotonic.after(DurationMs::from_secs(10));
    let effects = master.apply(Command::LeadershipGained { lease_until: until }, start);
    assert!(matches!(effects.as_slice(), [Effect::Persist { .. }]), "{effects:?}");
    let late = Now { monotonic: until, ..start };
    let operation = crate::OperationId(1);
    let written = Command::RegistryWritten { operation, result: WriteResult::Committed };
    assert_eq!(master.apply(written, late), []);
    let turn = Command::EndOfTurn { budget: 10, inbox_lag: DurationMs(0) };
    assert_eq!(master.apply(turn.clone(), late), []);
    let later = until.after(DurationMs::from_secs(10));
    assert_eq!(master.apply(Command::LeaseConfirmed { lease_until: later }, late), []);
    let published = master.apply(turn, late);
    assert!(matches!(published.as_slice(), [Effect::Publish { .. }]), "{published:?}");
    harness.end_turn();
}

#[test]
fn a_failed_write_ends_the_master() {
    // K4: never rolled back.
    let mut harness = Harness::new(Config::default());
    harness.hold_writes = true;
    let _one = agent(&mut harness, "one");
    let operation = harness
        .take_effects()
        .iter()
        .find_map(|effect| match effect {
            Effect::Persist { operation, .. } => Some(*operation),
            _ => None,
        })
        .expect("the admission is written");
    let result = WriteResult::Failed { reason: "no leader".to_owned() };
    harness.apply(Command::RegistryWritten { operation, result });
    let effects = harness.take_effects();
    assert!(matches!(effects.as_slice(), [Effect::Stop { .. }]), "{effects:?}");
    harness.end_turn();
    assert_eq!(harness.take_effects(), []);
}

#[test]
fn before_the_epoch_is_durable_every_call_is_refused() {
    // K8
    let now = Now { monotonic: Monotonic(5), ..Now::default() };
    let mut master =
        Master::recover(Config::default(), RegistryImage::default(), now).expect("empty");
    let lease_until = Monotonic(u64::MAX);
    master.apply(Command::LeadershipGained { lease_until }, now);
    let connection = ConnectionId(1);
    let principal = PrincipalName::new("token:x").expect("legal");
    master.apply(
        Command::ConnectionOpened { connection, peer: Peer::Agent, principal: principal.clone() },
        now,
    );
    let messages = vec![AgentMessage::Heartbeat];
    let frame = AgentUp {
        agent: None,
        session: Default::default(),
        master_epoch: MasterEpoch(0),
        messages,
    };
    let effects = master.apply(Command::AgentFrame { connection, frame }, now);
    assert_eq!(lines(&effects), ["-> a0 s0: refused unavailable \"\""]);
    let call = drain(1);
    let effects = master.apply(Command::Operator { reply_to: ReplyTo(9), principal, call }, now);
    assert_eq!(lines(&effects), ["reply: refused unavailable \"\""]);
}

#[test]
fn epochs_order_across_failovers_and_restores() {
    // K8, K19
    let now = Now { monotonic: Monotonic(5), ..Now::default() };
    let raised = |image: RegistryImage| {
        let mut master = Master::recover(Config::default(), image, now).expect("known");
        master.apply(Command::LeadershipGained { lease_until: Monotonic(u64::MAX) }, now);
        master.epoch()
    };
    let mut image = RegistryImage::default();
    assert_eq!(raised(image.clone()), MasterEpoch(1));
    image.cluster.incarnation = Incarnation(1);
    image.cluster.master_epoch = MasterEpoch(41);
    assert_eq!(raised(image.clone()), MasterEpoch(42));
    image.cluster.incarnation = Incarnation(2);
    assert!(raised(image) > MasterEpoch(1 << 40));
}

#[test]
fn k16_an_agent_of_a_farm_that_falls_silent_is_out_of_reach_while_others_speak() {
    let mut harness = Harness::new(Config::default());
    let one = agent(&mut harness, "one");
    let mut two = AgentPeer::new("two", "cpus:8");
    two.connection = one.connection;
    two.session = proffer_types::AgentSession(7);
    let info = two.info.clone();
    let log = proffer_types::LogIncarnation(1);
    two.send(
        &mut harness,
        vec![AgentMessage::Register { info, log, knows_gangs: true }, AgentMessage::RegisterEnd],
    );
    two.hear(&harness);
    harness.take_effects();
    let silent = two.id.expect("it is admitted");
    for _ in 0..20 {
        one.send(&mut harness, vec![AgentMessage::Heartbeat]);
        harness.wait(DurationMs::from_secs(1));
    }
    let mut lost = Vec::new();
    for effect in harness.take_effects() {
        let Effect::Publish { changes, .. } = effect else { continue };
        for change in changes {
            if let Change::Event(event) = change
                && event.kind == "agent_unreachable"
            {
                lost.push(event.subject);
            }
        }
    }
    assert_eq!(lost, [silent.to_string()]);
}

#[test]
fn a_slow_reader_gets_the_newest_state_once() {
    // K15: keys, not messages.
    let mut harness = Harness::new(Config::default());
    let mut one = agent(&mut harness, "one");
    let mut svc = framework(&mut harness, "svc");
    launch(&mut harness, &mut svc, &["a", "b"]);
    one.hear_effects(&harness.take_effects());
    harness.hold_credits = true;
    // The window closes.
    for _ in 0..limits::FRAMEWORK_WINDOW {
        svc.call(&mut harness, Call::Kill { task: "nobody".parse().expect("legal"), policy: None });
    }
    harness.take_effects();
    one.report(&mut harness, svc.id, "a", TaskState::Running);
    one.report(&mut harness, svc.id, "b", TaskState::Running);
    one.report(&mut harness, svc.id, "a", TaskState::Killing);
    one.report(&mut harness, svc.id, "a", TaskState::Killed);
    let told: Vec<Event> = events(&harness.take_effects());
    assert!(told.iter().all(|event| !matches!(event, Event::Status(_))), "{told:?}");
    harness.hold_credits = false;
    let connection = svc.connection.expect("subscribed");
    harness.turn(Command::FrameworkDrained { connection, credits: limits::FRAMEWORK_WINDOW });
    let states: Vec<(String, TaskState)> = events(&harness.take_effects())
        .into_iter()
        .filter_map(|event| match event {
            Event::Status(status) => Some((status.task.to_string(), status.state)),
            _ => None,
        })
        .collect();
    assert_eq!(
        states,
        [("b".to_owned(), TaskState::Running), ("a".to_owned(), TaskState::Killed)],
        "ascending by sequence, each task once"
    );
}

#[test]
fn k15_a_status_that_waits_keeps_its_place_when_it_is_asked_for_again() {
    let mut harness = Harness::new(Config::default());
    let mut one = agent(&mut harness, "one");
    let mut svc = framework(&mut harness, "svc");
    launch(&mut harness, &mut svc, &["a", "b"]);
    one.hear_effects(&harness.take_effects());
    harness.apply(Command::Suspended);
    one.report(&mut harness, svc.id, "a", TaskState::Finished);
    one.report(&mut harness, svc.id, "b", TaskState::Finished);
    svc.call(&mut harness, Call::Kill { task: "a".parse().expect("legal"), policy: None });
    harness.turn(Command::LeaseConfirmed { lease_until: Monotonic(u64::MAX) });
    let told = events(&harness.take_effects());
    let tasks: Vec<&str> = told
        .iter()
        .filter_map(|event| match event {
            Event::Status(status) => Some(status.task.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(tasks, ["a", "b"], "statuses of one log leave in ascending order");
}

#[test]
fn a_reader_that_reads_nothing_is_cut() {
    // K15, I15
    let mut harness = Harness::new(Config::default());
    let mut svc = framework(&mut harness, "svc");
    harness.hold_credits = true;
    let nobody = Call::Kill { task: "nobody".parse().expect("legal"), policy: None };
    for _ in 0..6 {
        svc.calls(&mut harness, vec![nobody.clone(); 1000]);
    }
    let effects = harness.take_effects();
    let sent = events(&effects).len();
    assert!(sent <= limits::FRAMEWORK_WINDOW as usize, "{sent} events left");
    let closed = effects.iter().any(|effect| {
        matches!(effect, Effect::Close { refusal, .. }
            if refusal.code == RefusalCode::BudgetExceeded)
    });
    assert!(closed, "the stream was not cut");
}

#[test]
fn k15_the_next_replica_takes_over_from_one_that_reads_nothing() {
    // Its connection stands and it goes on sending; what it does not read is what counts.
    let mut harness = Harness::new(Config::default());
    let _one = agent(&mut harness, "one");
    let mut svc = framework(&mut harness, "svc");
    svc.call(&mut harness, Call::Revive { roles: BTreeSet::new() });
    svc.hear_effects(&harness.take_effects());
    assert_eq!(svc.offers.len(), 1);
    let mut next = FrameworkPeer::new("svc", "r2", "eng");
    next.subscribe(&mut harness, false);
    harness.hold_credits = true;
    harness.hold_closes = true;
    let nobody = Call::Kill { task: "nobody".parse().expect("legal"), policy: None };
    for _ in 0..6 {
        svc.calls(&mut harness, vec![nobody.clone(); 1000]);
    }
    assert_eq!(harness.master.agents.get(AgentId(1)).map(|agent| agent.offers.len()), Some(0));
    for _ in 0..5 {
        svc.call(&mut harness, Call::Heartbeat);
        harness.wait(DurationMs::from_secs(1));
    }
    next.hear_effects(&harness.take_effects());
    assert_eq!(next.epoch, FrameworkEpoch(2), "the standby did not take over");
}

#[test]
fn a_framework_that_does_not_acknowledge_launches_nothing_more_there() {
    // K15
    let config = Config { unacknowledged_max: 2, ..Config::default() };
    let mut harness = Harness::new(config);
    let mut one = agent(&mut harness, "one");
    let mut svc = framework(&mut harness, "svc");
    launch(&mut harness, &mut svc, &["a", "b"]);
    one.hear_effects(&harness.take_effects());
    one.report(&mut harness, svc.id, "a", TaskState::Running);
    one.report(&mut harness, svc.id, "b", TaskState::Running);
    harness.take_effects();
    launch(&mut harness, &mut svc, &["c", "d", "e"]);
    let refused = events(&harness.take_effects()).into_iter().find_map(|event| match event {
        Event::Accepted { refusal, .. } => refusal,
        _ => None,
    });
    let refusal = refused.expect("the accept is refused");
    assert_eq!(refusal.code, RefusalCode::BudgetExceeded);
    assert_eq!(refusal.field, "operations[0].agent");
}

#[test]
fn a_launch_token_is_good_once_and_in_its_session() {
    // K1
    let mut harness = Harness::new(Config::default());
    let _one = agent(&mut harness, "one");
    let mut svc = framework(&mut harness, "svc");
    launch(&mut harness, &mut svc, &["a"]);
    harness.take_effects();
    for (session, sequence) in [(1, 1), (7, 2), (0, 2)] {
        let demand = wants(&svc, 2);
        svc.call(&mut harness, demand);
        svc.hear_effects(&harness.take_effects());
        let offers: Vec<_> = svc.offers.values().cloned().collect();
        let mut task = svc.launch("b", "cpus:1".parse().expect("legal"), None);
        task.token.session = FrameworkEpoch(session);
        task.token.sequence = sequence;
        let accept = svc.accept(&offers, vec![task]);
        svc.call(&mut harness, Call::Accept(accept));
        let refusal = events(&harness.take_effects()).into_iter().find_map(|event| match event {
            Event::Accepted { refusal, .. } => refusal,
            _ => None,
        });
        let refusal = refusal.expect("refused");
        assert_eq!(refusal.code, RefusalCode::TokenReused, "{session}-{sequence}");
        assert_eq!(refusal.field, "operations[0].tasks[0].token");
    }
}

#[test]
fn the_end_of_an_earlier_launch_does_not_speak_for_a_later_one_of_its_name() {
    // K1: acknowledgement and launch are lost together; the agent lists the old end only.
    let mut harness = Harness::new(Config::default());
    let mut one = agent(&mut harness, "one");
    let mut svc = framework(&mut harness, "svc");
    launch(&mut harness, &mut svc, &["a"]);
    one.hear_effects(&harness.take_effects());
    one.report(&mut harness, svc.id, "a", TaskState::Finished);
    svc.hear_effects(&harness.take_effects());
    let log = proffer_types::LogIncarnation(1);
    let agent = one.id.expect("registered");
    let handled =
        Call::Acknowledge { agent, incarnation: log, through: 1, except: BTreeSet::new() };
    svc.call(&mut harness, handled);
    launch(&mut harness, &mut svc, &["a"]);
    harness.take_effects();

    harness.cut(one.connection.take().expect("connected"));
    one.register(&mut harness, |_| true);
    let effects = harness.take_effects();
    let dropped = events(&effects).into_iter().any(|event| {
        matches!(event, Event::Status(status)
            if status.state == TaskState::Dropped && status.token.sequence == 2)
    });
    assert!(dropped, "{:#?}", lines(&effects));
}

#[test]
fn a_framework_belongs_to_who_made_it() {
    // K20
    let mut harness = Harness::new(Config::default());
    let _svc = framework(&mut harness, "svc");
    let mut thief = FrameworkPeer::new("svc", "r9", "eng");
    thief.principal = "token:thief".to_owned();
    thief.subscribe(&mut harness, true);
    let told = lines(&harness.take_effects());
    assert_eq!(
        told,
        [
            "-> c2@0: subscribe refused permission_denied \"info.name\"",
            "close c2: permission_denied \"info.name\""
        ]
    );
}

#[test]
fn an_agent_speaks_only_for_itself() {
    // K20: what it writes of other agents counts as its own.
    let mut harness = Harness::new(Config::default());
    let mut one = agent(&mut harness, "one");
    let two = agent(&mut harness, "two");
    let mut svc = framework(&mut harness, "svc");
    launch(&mut harness, &mut svc, &["a"]);
    one.hear_effects(&harness.take_effects());
    let mut status = one.tasks.values().next().expect("launched").status.clone();
    status.state = TaskState::Failed;
    two.send(&mut harness, vec![AgentMessage::Statuses { statuses: vec![status] }]);
    assert_eq!(lines(&harness.take_effects()), Vec::<String>::new());
    assert_eq!(harness.master.counters().unknown_statuses, 1);
}

fn drain(agent: u64) -> OperatorCall {
    OperatorCall::DrainAgent { agent: AgentId(agent), deadline: None }
}

#[test]
fn ids_that_were_given_are_never_given_again() {
    // K19
    let mut harness = Harness::new(Config::default());
    let one = agent(&mut harness, "one");
    let gone = OperatorCall::MarkAgentGone { agent: AgentId(1), force: true };
    let principal = PrincipalName::new("token:operator").expect("legal");
    let call =
        |call| Command::Operator { reply_to: ReplyTo(1), principal: principal.clone(), call };
    harness.turn(call(gone));
    harness.fail_over();
    harness.take_effects();
    harness.turn(call(drain(1)));
    harness.turn(call(drain(2)));
    harness.turn(call(OperatorCall::TeardownFramework(FrameworkId(1))));
    assert_eq!(
        lines(&harness.take_effects()),
        [
            "reply: refused removed \"agent\"",
            "reply: refused not_found \"agent\"",
            "reply: refused not_found \"framework\""
        ]
    );
    let mut zombie = one.clone();
    zombie.register(&mut harness, |_| true);
    assert_eq!(lines(&harness.take_effects()), ["-> a1 s2: refused removed \"agent\", gone"]);
    let mut ahead = one;
    ahead.id = Some(AgentId(77));
    ahead.register(&mut harness, |_| true);
    assert_eq!(lines(&harness.take_effects()), ["-> a77 s2: refused unavailable \"agent\""]);
}

#[test]
fn while_the_inbox_lags_nobody_is_timed_out() {
    // K15
    let mut harness = Harness::new(Config::default());
    let _one = agent(&mut harness, "one");
    harness.take_effects();
    harness.now.monotonic = harness.now.monotonic.after(DurationMs::from_secs(60));
    harness.apply(Command::Tick { inbox_lag: DurationMs(5000) });
    assert_eq!(lines(&harness.take_effects()), Vec::<String>::new());
    harness.now.monotonic = harness.now.monotonic.after(DurationMs::from_secs(2));
    harness.apply(Command::Tick { inbox_lag: DurationMs(0) });
    assert_eq!(lines(&harness.take_effects()), ["write agent/1"]);
}

#[test]
fn the_state_store_keeps_its_budgets() {
    // K9
    let mut config = Config::default();
    config.state_budget.bytes_max = 100;
    config.state_budget.value_max = 60;
    config.state_budget.keys_max = 2;
    config.state_budget.commits_per_second = 2;
    let mut harness = Harness::new(config);
    let mut svc = framework(&mut harness, "svc");
    let commit = |changes: &[(&str, usize)]| {
        let changes = changes
            .iter()
            .map(|(key, size)| StateChange {
                key: (*key).to_owned(),
                expected: None,
                value: Some(vec![1; *size]),
            })
            .collect();
        Call::State { request: 1, call: StateCall::Commit { changes } }
    };
    let mut refused = |call| {
        svc.call(&mut harness, call);
        match state_answers(&harness.take_effects()).as_slice() {
            [StateAnswer::Refused(refusal)] => Some(refusal.field.clone()),
            [StateAnswer::Committed { .. }] => None,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(commit(&[("a", 61)])), Some("changes[0].value".to_owned()));
    assert_eq!(refused(commit(&[("a", 60), ("b", 60)])), Some("state".to_owned()));
    assert_eq!(refused(commit(&[("a", 1), ("b", 1), ("c", 1)])), Some("state".to_owned()));
    assert_eq!(refused(commit(&[("a", 1), ("a", 1)])), Some("changes[1].key".to_owned()));
    assert_eq!(refused(commit(&[("a\n", 1)])), Some("changes[0].key".to_owned()));
    assert_eq!(refused(commit(&[])), Some("changes".to_owned()));
    // Five seconds of the rate may be saved up, and no more.
    for n in 0..10 {
        assert_eq!(refused(commit(&[("a", 10)])), None, "commit {n}");
    }
    assert_eq!(refused(commit(&[("a", 10)])), Some("state.commits_per_second".to_owned()));
    harness.wait(DurationMs(500));
    svc.call(&mut harness, commit(&[("a", 10)]));
    assert!(matches!(
        state_answers(&harness.take_effects()).as_slice(),
        [StateAnswer::Committed { .. }]
    ));
}

#[test]
fn a_commit_of_the_session_before_is_not_answered_to_the_next() {
    // K9: fenced by the framework epoch; K4: the newer session comes after it in the store.
    let mut harness = Harness::new(Config::default());
    let mut first = framework(&mut harness, "svc");
    harness.hold_writes = true;
    let changes = vec![StateChange { key: "k".to_owned(), expected: None, value: Some(vec![1]) }];
    first.call(&mut harness, Call::State { request: 1, call: StateCall::Commit { changes } });
    let mut second = FrameworkPeer::new("svc", "r2", "eng");
    second.subscribe(&mut harness, true);
    assert_eq!(
        lines(&harness.take_effects()),
        ["write state/1/k, state_head/1", "write framework/1, state_head/1"],
        "both write the head, so the store keeps their order"
    );
    harness.complete_writes();
    let told = lines(&harness.take_effects());
    assert_eq!(
        told,
        [
            "-> c1@1: state 1: committed [1]",
            "-> c1@1: superseded by r2",
            "close c1: superseded \"replica\"",
            "-> c2@2: subscribed f1 epoch 2",
            "-> c2@2: snapshot complete"
        ]
    );
}

#[test]
fn calls_of_an_older_epoch_are_dropped() {
    let mut harness = Harness::new(Config::default());
    let svc = framework(&mut harness, "svc");
    let connection = svc.connection.expect("subscribed");
    let calls = vec![Call::Teardown];
    let frame = SchedulerUp { epoch: FrameworkEpoch(0), calls };
    harness.turn(Command::SchedulerFrame { connection, frame });
    assert_eq!(lines(&harness.take_effects()), Vec::<String>::new());
    assert_eq!(harness.master.counters().stale_frames, 1);
}

#[test]
fn an_offer_of_another_framework_cannot_be_used() {
    let mut harness = Harness::new(Config::default());
    let _one = agent(&mut harness, "one");
    let mut owner = framework(&mut harness, "owner");
    let mut other = framework(&mut harness, "other");
    owner.call(&mut harness, Call::Revive { roles: BTreeSet::new() });
    owner.hear_effects(&harness.take_effects());
    let stolen: Vec<OfferId> = owner.offers.keys().copied().collect();
    assert_eq!(stolen.len(), 1);
    let offers: Vec<_> = owner.offers.values().cloned().collect();
    let task = other.launch("t", "cpus:1".parse().expect("legal"), None);
    let accept = other.accept(&offers, vec![task]);
    let refuse_for = DurationMs::from_secs(60);
    other.calls(
        &mut harness,
        vec![Call::Accept(accept), Call::Decline { offers: stolen, refuse_for }],
    );
    let told = lines(&harness.take_effects());
    assert_eq!(told, ["-> c3@1: accept 1 refused offer_not_held \"offers[0]\""]);
}

#[test]
fn snapshots_come_in_pages_and_lose_nothing_that_changes_meanwhile() {
    // K15
    let mut harness = Harness::new(Config::default());
    let mut one = AgentPeer::new("one", "cpus:1000;mem:1000GiB");
    one.register(&mut harness, |_| true);
    let mut svc = framework(&mut harness, "svc");
    let names: Vec<String> = (0..150).map(|n| format!("t{n:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    launch(&mut harness, &mut svc, &names);
    one.hear_effects(&harness.take_effects());
    harness.hold_credits = true;
    // A window with room for one page and a bit.
    let connection = svc.connection.expect("subscribed");
    let nobody = Call::Kill { task: "nobody".parse().expect("legal"), policy: None };
    svc.calls(&mut harness, vec![nobody; limits::FRAMEWORK_WINDOW as usize - 1]);
    harness.take_effects();
    svc.call(&mut harness, Call::Snapshot);
    let first = events(&harness.take_effects());
    assert!(matches!(first.as_slice(), [Event::SnapshotPage { tasks }] if tasks.len() == 64));
    one.report(&mut harness, svc.id, "t000", TaskState::Running);
    one.report(&mut harness, svc.id, "t149", TaskState::Running);
    harness.turn(Command::FrameworkDrained { connection, credits: 10 });
    let rest = events(&harness.take_effects());
    assert!(
        matches!(
            rest.as_slice(),
            [
                Event::SnapshotPage { .. },
                Event::SnapshotPage { tasks },
                Event::SnapshotEnd { .. },
                Event::Status(changed),
            ] if tasks.len() == 22
                && tasks.last().is_some_and(|t| t.status.state == TaskState::Running)
                && changed.task.as_str() == "t000"
        ),
        "{rest:?}"
    );
}

#[test]
fn changes_are_numbered_without_gaps_and_replies_name_theirs() {
    // K6
    let mut harness = Harness::new(Config::default());
    let _one = agent(&mut harness, "one");
    let principal = PrincipalName::new("token:operator").expect("legal");
    let call = OperatorCall::DeactivateAgent(AgentId(1));
    harness.turn(Command::Operator { reply_to: ReplyTo(1), principal, call });
    let mut next = 1;
    let mut replied = None;
    for effect in harness.take_effects() {
        match effect {
            Effect::Publish { first, changes, .. } => {
                assert_eq!(first.change, next);
                next += changes.len() as u64;
                if replied.is_some() {
                    let shown = changes.iter().any(|change| {
                        matches!(change, Change::Agent(row)
                            if row.condition == proffer_types::operator::AgentCondition::Deactivated)
                    });
                    assert!(shown, "{changes:?}");
                }
            }
            Effect::Reply { at, .. } => replied = Some(at.change),
            _ => {}
        }
    }
    let replied = replied.expect("answered");
    assert!(replied < next && replied > 1, "{replied} of {next}");
}

/// The task rows that are published, in order: name and state, or `-` for a removal.
fn task_rows(effects: &[Effect]) -> Vec<String> {
    let mut rows = Vec::new();
    for effect in effects {
        let Effect::Publish { changes, .. } = effect else { continue };
        for change in changes {
            match change {
                Change::Task(row) => {
                    rows.push(format!("{} {}", row.status.task, row.status.state.as_str()));
                }
                Change::TaskRemoved(key) => rows.push(format!("{} -", key.name)),
                _ => {}
            }
        }
    }
    rows
}

#[test]
fn i17_the_end_of_a_task_is_published_though_it_is_forgotten_in_the_same_turn() {
    let mut harness = Harness::new(Config::default());
    let mut one = agent(&mut harness, "one");
    let mut svc = framework(&mut harness, "svc");
    launch(&mut harness, &mut svc, &["a"]);
    one.hear_effects(&harness.take_effects());
    one.report(&mut harness, svc.id, "a", TaskState::Running);
    harness.cut(one.connection.expect("connected"));
    harness.take_effects();
    // The framework reads: its copy of the status leaves in the turn of the end, and nobody owes the
    // master an acknowledgement of its own word.
    let principal = PrincipalName::new("token:operator").expect("legal");
    let call = OperatorCall::MarkAgentGone { agent: AgentId(1), force: true };
    harness.turn(Command::Operator { reply_to: ReplyTo(1), principal, call });
    assert_eq!(task_rows(&harness.take_effects()), ["a gone", "a -"]);
    assert!(harness.master.check_invariants().is_ok());
}

#[test]
fn k20_the_certificate_of_an_agent_registers_no_other() {
    let mut harness = Harness::new(Config::default());
    let registers = |harness: &mut Harness, certificate: &str, name: &str| {
        let mut peer = AgentPeer::new(name, "cpus:1");
        peer.connection = Some(harness.connect(crate::Peer::Agent, certificate));
        peer.session = proffer_types::AgentSession(1);
        let info = peer.info.clone();
        let log = proffer_types::LogIncarnation(1);
        let messages = vec![
            AgentMessage::Register { info, log, knows_gangs: true },
            AgentMessage::RegisterEnd,
        ];
        peer.send(harness, messages);
        lines(&harness.take_effects()).join("; ")
    };
    let own = "cert:proffer://agent/one";
    let refused = registers(&mut harness, own, "two");
    assert!(refused.contains("refused permission_denied \"info.name\""), "{refused}");
    let admitted = registers(&mut harness, own, "one");
    assert!(admitted.contains("a1 s1: registered"), "{admitted}");
    // A token is not bound to a name: it may do everything.
    let admitted = registers(&mut harness, "token:local", "two");
    assert!(admitted.contains("a2 s1: registered"), "{admitted}");
}

/// The row of a framework as it was published last.
fn last_row(effects: &[Effect]) -> Option<proffer_types::operator::FrameworkRow> {
    let published = effects.iter().filter_map(|effect| match effect {
        Effect::Publish { changes, .. } => Some(changes),
        _ => None,
    });
    let mut rows = published.flatten().filter_map(|change| match change {
        Change::Framework(row) => Some(row.clone()),
        _ => None,
    });
    rows.next_back()
}

#[test]
fn i17_a_standby_that_goes_away_while_it_is_promoted_is_shown_no_more() {
    let mut harness = Harness::new(Config::default());
    let svc = framework(&mut harness, "svc");
    let mut next = FrameworkPeer::new("svc", "r2", "eng");
    next.subscribe(&mut harness, false);
    let shown = last_row(&harness.take_effects()).expect("it has a standby now");
    assert_eq!(shown.standbys.len(), 1);
    harness.hold_writes = true;
    harness.cut(svc.connection.expect("subscribed"));
    harness.wait(DurationMs::from_secs(3));
    let shown = last_row(&harness.take_effects()).expect("it is being promoted");
    assert_eq!(shown.standbys.len(), 0);
    harness.cut(next.connection.expect("subscribed"));
    harness.complete_writes();
    let shown = last_row(&harness.take_effects()).expect("it went away");
    assert!(!shown.connected && shown.replica.as_str() == "r2" && shown.standbys.is_empty());
}

#[test]
fn k20_the_certificate_of_a_framework_subscribes_no_other() {
    let mut harness = Harness::new(Config::default());
    let subscribes = |harness: &mut Harness, certificate: &str, name: &str| {
        let mut peer = FrameworkPeer::new(name, "r1", "eng");
        peer.principal = certificate.to_owned();
        peer.subscribe(harness, false);
        lines(&harness.take_effects()).join("; ")
    };
    let own = "cert:proffer://framework/batch";
    let refused = subscribes(&mut harness, own, "service");
    assert!(refused.contains("permission_denied \"info.name\""), "{refused}");
    let admitted = subscribes(&mut harness, own, "batch");
    assert!(admitted.contains("subscribed"), "{admitted}");
    let admitted = subscribes(&mut harness, "token:local", "service");
    assert!(admitted.contains("subscribed"), "{admitted}");
}

#[test]
fn k23_a_contradiction_with_the_allocator_freezes_the_agent_until_it_registers_anew() {
    let mut harness = Harness::new(Config::default());
    let mut one = agent(&mut harness, "one");
    let two = agent(&mut harness, "two");
    let mut svc = framework(&mut harness, "svc");
    launch(&mut harness, &mut svc, &["a"]);
    let effects = harness.take_effects();
    one.hear_effects(&effects);
    let task = harness.master.tasks.table.values().next().expect("booked").record.clone();
    let victim = task.status.agent;
    // What no command does: the allocator forgets that the task holds anything.
    let forgotten = proffer_allocator::Use {
        agent: victim,
        framework: svc.id,
        role: task.role.clone(),
        resources: task.resources.clone(),
        group: task.group.clone(),
        tasks: 1,
    };
    harness.is_planted = true;
    let released = proffer_allocator::Delta::Released(forgotten);
    harness.master.allocator.on_change(&released).expect("it holds it");
    let (mut concerned, other) = if victim == AgentId(1) { (one, two) } else { (two, one) };
    concerned.hear_effects(&effects);
    concerned.report(&mut harness, svc.id, "a", TaskState::Finished);
    assert_eq!(harness.master.counters().drift, 1);
    let effects = harness.take_effects();
    let told = effects.iter().any(|effect| {
        matches!(effect, Effect::Publish { changes, .. } if changes.iter().any(|change| {
            matches!(change, Change::Event(row)
                if row.kind == "agent_frozen" && row.subject == victim.to_string())
        }))
    });
    assert!(told, "{effects:?}");

    svc.hear_effects(&effects);
    let demand = wants(&svc, 40);
    svc.call(&mut harness, demand);
    svc.hear_effects(&harness.take_effects());
    let offered = |svc: &FrameworkPeer| -> BTreeSet<AgentId> {
        svc.offers.values().map(|offer| offer.agent).collect()
    };
    assert_eq!(offered(&svc), [other.id.expect("registered")].into(), "the other is used on");
    concerned.register(&mut harness, |_| true);
    svc.hear_effects(&harness.take_effects());
    assert!(offered(&svc).contains(&victim), "its books began anew");
    assert_eq!(std::mem::take(&mut harness.master.counters.drift), 1);
    assert_eq!(harness.master.check_invariants(), Ok(()));
}

#[test]
fn a_framework_that_was_full_gets_offers_again_in_its_next_session() {
    // K15: what holds offers back ends with the session.
    let config = Config { offers_held_max: 1, ..Config::default() };
    let mut harness = Harness::new(config);
    let _one = agent(&mut harness, "one");
    let _two = agent(&mut harness, "two");
    let mut svc = framework(&mut harness, "svc");
    svc.call(&mut harness, Call::Revive { roles: BTreeSet::new() });
    svc.hear_effects(&harness.take_effects());
    assert_eq!(svc.offers.len(), 1, "one offer is what it may hold");
    harness.end_turn();
    svc.hear_effects(&harness.take_effects());
    assert_eq!(svc.offers.len(), 1);
    let connection = svc.connection.expect("subscribed");
    harness.cut(connection);
    svc.subscribe(&mut harness, false);
    svc.call(&mut harness, Call::Revive { roles: BTreeSet::new() });
    svc.hear_effects(&harness.take_effects());
    assert!(!svc.offers.is_empty(), "{:?}", harness.master.check_invariants());
}

#[test]
fn a_stream_may_name_any_number_of_templates() {
    // K16: a framework of many revisions launches its newest one after months on one connection.
    let mut harness = Harness::new(Config::default());
    let _one = agent(&mut harness, "one");
    let mut svc = framework(&mut harness, "svc");
    for revision in 0..=limits::TEMPLATES_MAX {
        let mut template = template();
        template.containers[0].command.push(revision.to_string());
        let digest = template.digest();
        svc.call(&mut harness, Call::Template { digest, template });
    }
    let effects = harness.take_effects();
    let told = lines(&effects);
    assert!(!told.iter().any(|line| line.contains("refuse")), "{told:?}");
    svc.hear_effects(&effects);
    launch(&mut harness, &mut svc, &["a"]);
    assert!(harness.master.check_invariants().is_ok());
    let told = lines(&harness.take_effects());
    assert!(told.iter().any(|line| line.contains("write occupancy")), "{told:?}");
}

#[test]
fn what_ended_while_its_framework_was_torn_down_leaves_no_row() {
    // I15: nobody is left who would acknowledge it.
    let mut harness = Harness::new(Config::default());
    let mut one = agent(&mut harness, "one");
    let mut web = framework(&mut harness, "web");
    launch(&mut harness, &mut web, &["a"]);
    one.hear_effects(&harness.take_effects());
    one.report(&mut harness, web.id, "a", TaskState::Running);
    harness.cut(one.connection.expect("connected"));
    let principal = PrincipalName::new("token:operator").expect("legal");
    let call = OperatorCall::TeardownFramework(web.id);
    harness.turn(Command::Operator { reply_to: ReplyTo(1), principal, call });
    harness.take_effects();
    // It comes back with the task at its end, as after a restart of its machine.
    let record = one.tasks.values_mut().next().expect("launched");
    record.status.state = TaskState::Failed;
    if let Some(id) = &mut record.status.id {
        id.sequence += 1;
    }
    one.register(&mut harness, |_| true);
    let rows = harness.master.clone().rows(Now::default());
    let tasks: Vec<_> = rows.iter().filter(|row| matches!(row, Change::Task(_))).collect();
    assert_eq!(tasks, Vec::<&Change>::new());
}

#[test]
fn k7_who_has_room_after_a_rescission_is_offered_the_rest_in_the_same_turn() {
    let config = Config { offers_held_max: 1, ..Config::default() };
    let mut harness = Harness::new(config);
    let mut hoarder = framework(&mut harness, "hoarder");
    let one = agent(&mut harness, "one");
    hoarder.call(&mut harness, Call::Revive { roles: BTreeSet::new() });
    hoarder.hear_effects(&harness.take_effects());
    assert_eq!(hoarder.offers.len(), 1, "it holds all of {:?}", one.id);
    let mut svc = framework(&mut harness, "svc");
    let demand = wants(&svc, 1);
    svc.call(&mut harness, demand);
    let effects = harness.take_effects();
    let offered: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::SendFramework { connection, frame } => {
                let offers = |event: &Event| matches!(event, Event::Offers { .. });
                frame.events.iter().any(offers).then_some(*connection)
            }
            _ => None,
        })
        .collect();
    assert!(offered.contains(&svc.connection.expect("subscribed")), "{effects:?}");
    assert!(offered.contains(&hoarder.connection.expect("subscribed")), "{effects:?}");
}
