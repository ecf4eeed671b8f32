//! No bytes bring a reader down, and what is refused is refused by name.

use super::strategies as any;
use proffer_proto::convert::calls_from_pb;
use proffer_proto::{codec, pb, request, routes, status};
use proffer_types::agent::{AgentDown, AgentOrder, AgentUp, KillCause};
use proffer_types::attributes::Attribute;
use proffer_types::executor::{ExecutorDown, ExecutorUp};
use proffer_types::operator::{Change, OperatorCall};
use proffer_types::scheduler::{Event, SchedulerDown, SchedulerUp};
use proffer_types::task::{IsolationLevel, StatusReason, TaskState, TaskStatus};
use proffer_types::{Refusal, RefusalCode};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use prost::{Message, Name};

/// A small generator of our own: the inputs are the same in every run.
struct Lots(u64);

impl Lots {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).expect("below usize")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// Flips, inserts, cuts, doubles; or takes something else altogether.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 if !bytes.is_empty() => bytes[at] = self.byte(),
                2 => bytes.truncate(at),
                3 => bytes.insert(at.min(bytes.len()), self.byte()),
                4 => bytes.extend_from_within(at.min(bytes.len())..),
                _ => *bytes = (0..self.below(64)).map(|_| self.byte()).collect(),
            }
        }
    }
}

fn samples(runner: &mut TestRunner) -> [Vec<u8>; 7] {
    fn sample<T>(runner: &mut TestRunner, strategy: impl Strategy<Value = T>) -> T {
        strategy.new_tree(runner).expect("no strategy here rejects").current()
    }
    [
        pb::SchedulerUp::from(sample(runner, any::scheduler_up())).encode_to_vec(),
        pb::SchedulerDown::from(sample(runner, any::scheduler_down())).encode_to_vec(),
        pb::AgentUp::from(sample(runner, any::agent_up())).encode_to_vec(),
        pb::AgentDown::from(sample(runner, any::agent_down())).encode_to_vec(),
        pb::Change::from(sample(runner, any::change())).encode_to_vec(),
        pb::ExecutorUp::from(sample(runner, any::executor_up())).encode_to_vec(),
        pb::ExecutorDown::from(sample(runner, any::executor_down())).encode_to_vec(),
    ]
}

/// Reads `bytes` as everything that comes from a peer. Returns how many readings were accepted.
fn read_all(bytes: &[u8]) -> usize {
    fn read<P: Message + Name + Default, D: TryFrom<P, Error = Refusal>>(bytes: &[u8]) -> usize {
        match codec::read::<P>(bytes).and_then(D::try_from) {
            Ok(_) => 1,
            Err(refusal) => {
                assert!(!refusal.message.is_empty());
                assert!(!status::to_status(&refusal).message().is_empty());
                0
            }
        }
    }
    if let Ok(frame) = pb::SchedulerUp::decode(bytes)
        && let Ok((_, calls)) = calls_from_pb(frame)
    {
        for refused in calls.into_iter().filter_map(Result::err) {
            assert!(refused.refusal.field.starts_with("calls["), "{}", refused.refusal);
            let _: pb::Event = refused.answer().into();
        }
    }
    read::<pb::SchedulerUp, SchedulerUp>(bytes)
        + read::<pb::SchedulerDown, SchedulerDown>(bytes)
        + read::<pb::AgentUp, AgentUp>(bytes)
        + read::<pb::AgentDown, AgentDown>(bytes)
        + read::<pb::Change, Change>(bytes)
        + read::<pb::ExecutorUp, ExecutorUp>(bytes)
        + read::<pb::ExecutorDown, ExecutorDown>(bytes)
        + read::<pb::SetRoleRequest, OperatorCall>(bytes)
        + read::<pb::KillTaskRequest, OperatorCall>(bytes)
        + read::<pb::ReserveRequest, OperatorCall>(bytes)
        + read::<pb::CreateVolumeRequest, OperatorCall>(bytes)
        + read::<pb::UpdateHoldRequest, OperatorCall>(bytes)
}

#[test]
fn ten_thousand_damaged_frames_are_read_or_refused() {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut lots = Lots(7);
    let mut accepted = 0;
    for _ in 0..1429 {
        for mut bytes in samples(&mut runner) {
            lots.mutate(&mut bytes);
            accepted += usize::from(read_all(&bytes) > 0);
        }
    }
    // Neither all nor none: the damage must reach both the decoder and the conversions.
    assert!((500..9500).contains(&accepted), "{accepted} of 10003 were accepted");
}

#[test]
fn ten_thousand_damaged_requests_are_read_or_refused() {
    let mut lots = Lots(11);
    let body = br#"{"weight_milli":"1000","guarantee":[{"name":"cpus","scalar":"4000"}]}"#;
    let put = routes::ROUTES.iter().find(|r| r.path == "/v1/roles/{*role}").expect("is there");
    let list = routes::ROUTES.iter().find(|r| r.path == "/v1/tasks").expect("is there");
    for _ in 0..10_000 {
        let mut bytes = body.to_vec();
        lots.mutate(&mut bytes);
        let role = [("role".to_owned(), "eng".to_owned())];
        if let Err(refusal) = request::read_request::<pb::SetRoleRequest>(put, &role, &[], &bytes) {
            assert_eq!(refusal.code, RefusalCode::InvalidArgument);
            assert!(refusal.message.len() < 2000);
        }
        let query = [(
            String::from_utf8_lossy(&bytes[..lots.below(bytes.len())]).into_owned(),
            String::from_utf8_lossy(&bytes).into_owned(),
        )];
        let read = request::read_request::<pb::ListTasksRequest>(list, &[], &query, b"");
        assert!(read.is_err() || query[0].0.len() < 20);
    }
}

#[test]
fn an_error_names_the_path_to_the_field() {
    let resource = |name: &str, quantity| pb::Resource {
        name: name.to_owned(),
        quantity,
        ..pb::Resource::default()
    };
    let launch = pb::TaskLaunch {
        name: "web.0".to_owned(),
        token: Some(pb::LaunchToken { session: 1, sequence: 1 }),
        template: vec![0; 32],
        resources: vec![
            resource("cpus", Some(pb::resource::Quantity::Scalar(1000))),
            resource("mem", Some(pb::resource::Quantity::Scalar(1 << 20))),
            resource("ports", Some(pb::resource::Quantity::Scalar(1))),
        ],
        ..pb::TaskLaunch::default()
    };
    let operations = vec![
        pb::Operation {
            kind: Some(pb::operation::Kind::Unreserve(pb::operation::Unreserve::default())),
        },
        pb::Operation {
            kind: Some(pb::operation::Kind::Launch(pb::operation::Launch {
                agent: 2,
                tasks: vec![launch],
            })),
        },
    ];
    let heartbeat = || pb::Call { kind: Some(pb::call::Kind::Heartbeat(pb::call::Heartbeat {})) };
    let accept = pb::Accept { accept: 9, operations, ..pb::Accept::default() };
    let accept = pb::Call { kind: Some(pb::call::Kind::Accept(accept)) };
    let frame = pb::SchedulerUp {
        epoch: 1,
        calls: vec![heartbeat(), heartbeat(), heartbeat(), accept, heartbeat()],
    };
    let whole = SchedulerUp::try_from(frame.clone()).expect_err("ports are ranges");
    let path = "calls[3].accept.operations[1].launch.tasks[0].resources[2].quantity";
    assert_eq!((whole.code, whole.field.as_str()), (RefusalCode::InvalidArgument, path));
    let (_, mut calls) = calls_from_pb(frame).expect("short enough");
    assert_eq!(calls.iter().filter(|call| call.is_ok()).count(), 4, "the others go on");
    let refused = calls.remove(3).expect_err("the accept");
    assert_eq!(refused.call, "accept");
    let Event::Accepted { accept: 9, refusal: Some(refusal), .. } = refused.answer() else {
        panic!("an accept is answered as one");
    };
    assert_eq!(refusal, whole);
}

#[test]
fn an_executor_is_refused_by_the_path_to_what_it_said_wrongly() {
    use pb::executor_message::{Kind, Statuses, Subscribe};
    let status = |sequence, task: &str, state: pb::TaskState| pb::ExecutorStatus {
        sequence,
        task: task.to_owned(),
        state: state.into(),
        ..Default::default()
    };
    let refused = |kinds: Vec<Kind>| {
        let messages = kinds.into_iter().map(|kind| pb::ExecutorMessage { kind: Some(kind) });
        let frame = pb::ExecutorUp {
            container_id: "f1-1-1".to_owned(),
            messages: messages.collect(),
            ..Default::default()
        };
        ExecutorUp::try_from(frame).expect_err("wrong").field
    };
    let good = || status(1, "a", pb::TaskState::Running);
    let later = Statuses { statuses: vec![good(), status(0, "a", pb::TaskState::Running)] };
    assert_eq!(refused(vec![Kind::Statuses(later)]), "messages[0].statuses.statuses[1].sequence");
    let lost = Subscribe {
        unacknowledged: vec![status(7, "a", pb::TaskState::Gone)],
        ..Subscribe::default()
    };
    let field = refused(vec![Kind::Statuses(Statuses::default()), Kind::Subscribe(lost)]);
    assert_eq!(field, "messages[1].subscribe.unacknowledged[0].state");
    let misnamed =
        Subscribe { tasks: vec!["a".to_owned(), "a b".to_owned()], ..Subscribe::default() };
    assert_eq!(refused(vec![Kind::Subscribe(misnamed)]), "messages[0].subscribe.tasks[1]");
    let launch =
        pb::executor_order::Launch { task: Some(pb::TaskLaunch::default()), template: None };
    let order = pb::ExecutorOrder { kind: Some(pb::executor_order::Kind::Launch(launch)) };
    let frame = pb::ExecutorDown { orders: vec![order], ..Default::default() };
    let field = ExecutorDown::try_from(frame).expect_err("no name").field;
    assert!(field.starts_with("orders[0].launch.task."), "{field}");
}

#[test]
fn too_long_lists_are_refused_by_name() {
    let frame = pb::SchedulerUp { epoch: 0, calls: vec![pb::Call::default(); 1025] };
    assert_eq!(calls_from_pb(frame).expect_err("too many").field, "calls");
    let commit = pb::state_call::Commit {
        changes: vec![pb::StateChange { key: "k".to_owned(), ..Default::default() }; 65],
    };
    let call = pb::StateCall { kind: Some(pb::state_call::Kind::Commit(commit)) };
    let call = pb::call::State { request: 4, call: Some(call) };
    let frame = pb::SchedulerUp {
        epoch: 0,
        calls: vec![pb::Call { kind: Some(pb::call::Kind::State(call)) }],
    };
    let (_, calls) = calls_from_pb(frame).expect("one call");
    let refused = calls.into_iter().next().expect("one").expect_err("65 changes");
    assert_eq!(refused.refusal.field, "calls[0].state.call.commit.changes");
    assert!(matches!(refused.answer(), Event::State { request: 4, .. }));
}

fn refused_call(kind: pb::call::Kind) -> Refusal {
    let frame = pb::SchedulerUp { epoch: 0, calls: vec![pb::Call { kind: Some(kind) }] };
    let (_, calls) = calls_from_pb(frame).expect("one call");
    calls.into_iter().next().expect("one").expect_err("malformed").refusal
}

fn matching(pattern: String) -> pb::Constraint {
    let rule = Some(pb::constraint::Rule::Matches(pattern));
    pb::Constraint { attribute: "rack".to_owned(), rule }
}

fn demand_of(constraints: Vec<pb::Constraint>) -> pb::call::Kind {
    let group = pb::DemandGroup {
        name: "g".to_owned(),
        role: "*".to_owned(),
        gang_size: 1,
        constraints,
        ..Default::default()
    };
    pb::call::Kind::Demand(pb::call::Demand { groups: vec![group] })
}

#[test]
fn i15_patterns_that_cost_too_much_are_refused_by_name() {
    for (pattern, code) in [
        ("(", RefusalCode::InvalidArgument),
        ("a{0,99999}", RefusalCode::BudgetExceeded),
        ("", RefusalCode::InvalidArgument),
    ] {
        let constraints = vec![matching("a".to_owned()), matching(pattern.to_owned())];
        let refusal = refused_call(demand_of(constraints));
        assert_eq!(refusal.field, "calls[0].demand.groups[0].constraints[1].matches");
        assert_eq!(refusal.code, code, "{pattern}");
    }
    let many = (0..65).map(|number| matching(format!("rack-{number}"))).collect();
    let refusal = refused_call(demand_of(many));
    assert_eq!(refusal.field, "calls[0].demand.groups");
    assert_eq!(refusal.code, RefusalCode::BudgetExceeded);
}

/// A frame within its limit of bytes that would take 200 times as many in memory (I15).
#[test]
fn a_frame_of_too_many_parts_is_refused_before_it_is_decoded() {
    let tasks = pb::agent_message::Tasks { tasks: vec![pb::AgentTask::default(); 250_000] };
    let message = pb::AgentMessage { kind: Some(pb::agent_message::Kind::Tasks(tasks)) };
    let bytes = pb::AgentUp { messages: vec![message], ..Default::default() }.encode_to_vec();
    assert!(bytes.len() < proffer_proto::convert::bounds::FRAME_BYTES_MAX);
    let refusal = codec::read::<pb::AgentUp>(&bytes).expect_err("too many");
    assert_eq!(refusal.code, RefusalCode::BudgetExceeded);
    assert_eq!(refusal.field, "AgentUp");
}

/// K5: what a later version says is kept as unknown, and no message is refused for it.
#[test]
fn values_of_a_later_version_are_kept() {
    let status = pb::TaskStatus {
        task: "web.0".to_owned(),
        state: 1000,
        reason: 1000,
        isolation: 1000,
        ..pb::TaskStatus::default()
    };
    let status = TaskStatus::try_from(status).expect("never refused");
    assert_eq!(status.state, TaskState::Unknown);
    assert_eq!(status.reason, StatusReason::Other);
    assert_eq!(status.isolation, IsolationLevel::Process);

    let refusal = pb::Refusal {
        code: "from_the_future".to_owned(),
        message: "the moon is full".to_owned(),
        ..pb::Refusal::default()
    };
    let refusal = Refusal::from(refusal);
    assert_eq!(refusal.code, RefusalCode::Other);
    assert_eq!(refusal.message, "from_the_future: the moon is full");

    // Field 2000 of a oneof that ends at 15: an event of a later version.
    let mut later =
        pb::SchedulerDown { master_epoch: 3, epoch: 4, events: Vec::new() }.encode_to_vec();
    let unknown_event = [0x82, 0x7d, 0x02, 0x08, 0x01];
    later.extend([0x1a, 5]);
    later.extend(unknown_event);
    let heartbeat = pb::Event { kind: Some(pb::event::Kind::Heartbeat(pb::event::Heartbeat {})) };
    later.push(0x1a);
    later.push(u8::try_from(heartbeat.encoded_len()).expect("short"));
    later.extend(heartbeat.encode_to_vec());
    let frame = pb::SchedulerDown::decode(later.as_slice()).expect("unknown fields are legal");
    assert_eq!(frame.events.len(), 2);
    let frame = SchedulerDown::try_from(frame).expect("never refused");
    assert_eq!(frame.events, [Event::Heartbeat]);

    let attributes = [
        ("zone".to_owned(), pb::AttributeValue::from(Attribute::Text("a".to_owned()))),
        ("later".to_owned(), pb::AttributeValue::default()),
    ];
    let known = proffer_proto::convert::attributes_from_pb(attributes.into(), "attributes")
        .expect("never refused");
    assert_eq!(known.keys().collect::<Vec<_>>(), ["zone"]);

    let (_, calls) = calls_from_pb(pb::SchedulerUp { epoch: 0, calls: vec![pb::Call::default()] })
        .expect("short");
    let refused = calls.into_iter().next().expect("one").expect_err("cannot be done");
    assert_eq!((refused.call, refused.refusal.code), ("unknown", RefusalCode::NotSupported));
}

/// K5: a kill for a cause of a later version is one that its framework did not ask for; a master that
/// knows no causes says only whether an operator asked.
#[test]
fn k5_an_unknown_cause_of_a_kill_is_told_from_who_asked() {
    let read = |cause: i32, by_operator: bool| {
        let kill = pb::agent_order::Kill {
            framework: 1,
            task: "a".to_owned(),
            policy: None,
            by_operator,
            cause,
        };
        let orders = vec![pb::AgentOrder { kind: Some(pb::agent_order::Kind::Kill(kill)) }];
        let frame = pb::AgentDown { orders, ..pb::AgentDown::default() };
        let frame = AgentDown::try_from(frame).expect("whole");
        let [AgentOrder::Kill { cause, .. }] = frame.orders.as_slice() else { panic!("{frame:?}") };
        *cause
    };
    assert_eq!(read(0, false), KillCause::Framework);
    assert_eq!(read(0, true), KillCause::Operator);
    assert_eq!(read(3, true), KillCause::Drain);
    assert_eq!(read(4, true), KillCause::Maintenance);
    assert_eq!(read(99, true), KillCause::Operator);
}
