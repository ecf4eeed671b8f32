//! What others say in their own words is bounded, and the refusal names the field (K15, I15); so is what
//! the occupancy of one agent may come to (K2).

#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for one thing among many")]

use super::peers::template;
use super::{AgentPeer, FrameworkPeer, Harness};
use crate::registry::RecordKey;
use crate::{Config, Effect, limits};
use proffer_types::agent::AgentOrder;
use proffer_types::scheduler::{Call, Event, TaskRecord};
use proffer_types::task::{IsolationLevel, StatusReason, TaskStatus};
use proffer_types::{
    AgentId, Attribute, FrameworkId, LaunchToken, LogIncarnation, Refusal, RefusalCode, RoleName,
    StatusId, TaskName, TaskState,
};
use std::collections::{BTreeMap, BTreeSet};

fn refused_agent(effects: &[Effect]) -> Option<Refusal> {
    let mut orders = effects.iter().flat_map(|effect| match effect {
        Effect::SendAgent { frame, .. } => frame.orders.as_slice(),
        _ => &[],
    });
    orders.find_map(|order| match order {
        AgentOrder::Refused { refusal, .. } => Some(refusal.clone()),
        _ => None,
    })
}

fn refused_accept(effects: &[Effect]) -> Option<Refusal> {
    let mut events = effects.iter().flat_map(|effect| match effect {
        Effect::SendFramework { frame, .. } => frame.events.as_slice(),
        _ => &[],
    });
    events.find_map(|event| match event {
        Event::Accepted { refusal, .. } => refusal.clone(),
        _ => None,
    })
}

fn many(entries: usize) -> BTreeMap<String, String> {
    (0..entries).map(|n| (n.to_string(), String::new())).collect()
}

#[test]
fn k15_what_an_agent_says_of_itself_is_bounded() {
    let long = "x".repeat(limits::FIELD_BYTES_MAX + 1);
    let text = |bytes| Attribute::Text("x".repeat(bytes));
    type Change<'a> = &'a dyn Fn(&mut AgentPeer);
    let changes: [(&str, Change<'_>); 5] = [
        ("info.hostname", &|agent| agent.info.hostname = long.clone()),
        ("info.address", &|agent| agent.info.address = long.clone()),
        ("info.api_url", &|agent| agent.info.api_url = long.clone()),
        ("info.attributes", &|agent| {
            agent.info.attributes = many(limits::TEXT_ENTRIES_MAX + 1)
                .into_keys()
                .map(|name| (name, Attribute::Scalar(1)))
                .collect();
        }),
        ("info.attributes", &|agent| {
            let heavy = text(limits::AGENT_INFO_BYTES_MAX);
            agent.info.attributes.insert("heavy".to_owned(), heavy);
        }),
    ];
    for (field, change) in changes {
        let mut harness = Harness::new(Config::default());
        let mut agent = AgentPeer::new("one", "cpus:8");
        change(&mut agent);
        agent.register(&mut harness, |_| true);
        let refusal = refused_agent(&harness.take_effects()).expect(field);
        assert_eq!((refusal.code, refusal.field.as_str()), (RefusalCode::BudgetExceeded, field));
    }
}

fn record(framework: FrameworkId, role: &RoleName, n: u64) -> TaskRecord {
    TaskRecord {
        status: TaskStatus {
            id: Some(StatusId {
                agent: AgentId(1),
                incarnation: LogIncarnation(1),
                sequence: n + 1,
            }),
            framework,
            task: TaskName::new(&format!("t{n}")).expect("legal"),
            token: LaunchToken { session: proffer_types::FrameworkEpoch(1), sequence: n + 1 },
            agent: AgentId(1),
            state: TaskState::Running,
            reason: StatusReason::None,
            message: String::new(),
            exit: None,
            ready: None,
            at: Default::default(),
            isolation: IsolationLevel::Full,
        },
        template: template().digest(),
        resources: "cpus:0.001".parse().expect("legal"),
        role: role.clone(),
        variables: BTreeMap::new(),
        labels: BTreeMap::new(),
        group: None,
        agent_name: "one".parse().expect("legal"),
        address: "127.0.0.1".to_owned(),
        priority: 0,
        budget: None,
        gang: None,
    }
}

fn lists(agent: &mut AgentPeer, record: TaskRecord) {
    agent.tasks.insert((record.status.framework, record.status.task.clone()), record);
}

#[test]
fn k15_what_an_agent_says_of_its_tasks_is_bounded() {
    let role = RoleName::new("eng").expect("legal");
    let heavy: BTreeMap<_, _> =
        [("a".to_owned(), "x".repeat(limits::LAUNCH_TEXT_BYTES_MAX))].into();
    let legal = || record(FrameworkId(1), &role, 0);
    let records = [
        ("tasks[0].labels", TaskRecord { labels: many(limits::TEXT_ENTRIES_MAX + 1), ..legal() }),
        ("tasks[0].labels", TaskRecord { labels: heavy.clone(), ..legal() }),
        ("tasks[0].variables", TaskRecord { variables: heavy, ..legal() }),
        (
            "tasks[0].address",
            TaskRecord { address: "x".repeat(limits::FIELD_BYTES_MAX + 1), ..legal() },
        ),
    ];
    for (field, record) in records {
        let mut harness = Harness::new(Config::default());
        let mut agent = AgentPeer::new("one", "cpus:8");
        lists(&mut agent, record);
        agent.register(&mut harness, |_| true);
        let refusal = refused_agent(&harness.take_effects()).expect(field);
        assert_eq!((refusal.code, refusal.field.as_str()), (RefusalCode::BudgetExceeded, field));
    }
}

#[test]
fn k15_what_a_launch_says_is_bounded() {
    let mut harness = Harness::new(Config::default());
    AgentPeer::new("one", "cpus:8;ports:[1-65000]").register(&mut harness, |_| true);
    let mut svc = FrameworkPeer::new("svc", "r1", "eng");
    svc.subscribe(&mut harness, false);
    svc.hear_effects(&harness.take_effects());
    let template = template();
    svc.call(&mut harness, Call::Template { digest: template.digest(), template });
    svc.hear_effects(&harness.take_effects());
    let offers: Vec<_> = svc.offers.values().cloned().collect();
    let ports: Vec<String> = (1..3000).map(|n| (n * 2).to_string()).collect();
    let shape = format!("cpus:1;ports:[{}]", ports.join(","));
    let shapes: [(&str, &str, usize, usize); 3] = [
        ("cpus:1", "labels", 0, limits::TEXT_ENTRIES_MAX + 1),
        ("cpus:1", "variables", limits::TEXT_ENTRIES_MAX + 1, 0),
        (&shape, "resources", 0, 0),
    ];
    for (shape, field, variables, labels) in shapes {
        let mut launch = svc.launch("t", shape.parse().expect("legal"), None);
        launch.variables = many(variables);
        launch.labels = many(labels);
        let accept = svc.accept(&offers, vec![launch]);
        svc.call(&mut harness, Call::Accept(accept));
        let refusal = refused_accept(&harness.take_effects()).expect(field);
        assert_eq!(refusal.code, RefusalCode::BudgetExceeded, "{refusal}");
        assert_eq!(refusal.field, format!("operations[0].tasks[0].{field}"));
    }
}

/// An agent with as many pairs as it may have, of the longest names.
fn full_agent(harness: &mut Harness, pairs: usize) -> (AgentPeer, Vec<FrameworkPeer>) {
    let mut agent = AgentPeer::new("one", "cpus:64");
    let mut frameworks = Vec::new();
    for part in 0..pairs.div_ceil(limits::FRAMEWORK_ROLES_MAX) {
        let mut svc = FrameworkPeer::new(&format!("svc{part}"), "r1", "eng");
        let count = limits::FRAMEWORK_ROLES_MAX.min(pairs - part * limits::FRAMEWORK_ROLES_MAX);
        let role = |n: usize| RoleName::new(&format!("r{n:0>255}")).expect("legal");
        svc.info.roles = (0..count).map(role).collect();
        svc.subscribe(harness, false);
        svc.hear_effects(&harness.take_effects());
        for (n, role) in svc.info.roles.iter().enumerate() {
            lists(&mut agent, record(svc.id, role, n as u64));
        }
        frameworks.push(svc);
    }
    agent.register(harness, |_| true);
    (agent, frameworks)
}

fn launches(harness: &mut Harness, svc: &mut FrameworkPeer, name: &str) -> Option<Refusal> {
    let template = template();
    svc.call(harness, Call::Template { digest: template.digest(), template });
    svc.call(harness, Call::Revive { roles: BTreeSet::new() });
    svc.hear_effects(&harness.take_effects());
    let offer = svc.offers.pop_first().expect("it is offered something").1;
    let launch = svc.launch(name, "cpus:1".parse().expect("legal"), None);
    let accept = svc.accept(&[offer], vec![launch]);
    svc.call(harness, Call::Accept(accept));
    let effects = harness.take_effects();
    svc.hear_effects(&effects);
    refused_accept(&effects)
}

#[test]
fn k2_an_agent_has_tasks_of_a_bounded_number_of_pairs() {
    /// What the stores take.
    const VALUE_BYTES_MAX: usize = 1 << 20;
    let mut harness = Harness::new(Config::default());
    let (_agent, _frameworks) = full_agent(&mut harness, limits::AGENT_PAIRS_MAX);
    let effects = harness.take_effects();
    assert_eq!(refused_agent(&effects), None);
    let writes = effects.iter().filter(|effect| {
        matches!(effect, Effect::Persist { changes, .. }
        if changes.iter().any(|change| matches!(change.key, RecordKey::Occupancy(_))))
    });
    assert_eq!(writes.count(), 1, "however many pairs the registry does not know");
    let record = harness.store.iter().find(|(key, _)| key.starts_with("occupancy/"));
    let bytes = record.map(|(_, value)| value.len()).expect("it is stored");
    assert!(2 * bytes < VALUE_BYTES_MAX, "{bytes}");
    let mut one_more = FrameworkPeer::new("one-more", "r1", "eng");
    one_more.subscribe(&mut harness, false);
    one_more.hear_effects(&harness.take_effects());
    let refusal = launches(&mut harness, &mut one_more, "t").expect("it is refused");
    assert_eq!(refusal.code, RefusalCode::BudgetExceeded, "{refusal}");
    assert_eq!(refusal.field, "operations[0].agent");
}

#[test]
fn k2_the_last_pair_is_launched_and_its_next_task_too() {
    let mut harness = Harness::new(Config::default());
    let (_agent, _frameworks) = full_agent(&mut harness, limits::AGENT_PAIRS_MAX - 1);
    let mut last = FrameworkPeer::new("last", "r1", "eng");
    last.subscribe(&mut harness, false);
    last.hear_effects(&harness.take_effects());
    assert_eq!(launches(&mut harness, &mut last, "t1"), None);
    assert_eq!(launches(&mut harness, &mut last, "t2"), None);
}

#[test]
fn k2_an_agent_that_lists_more_pairs_is_refused() {
    let mut harness = Harness::new(Config::default());
    let (_agent, _frameworks) = full_agent(&mut harness, limits::AGENT_PAIRS_MAX + 1);
    let refusal = refused_agent(&harness.take_effects()).expect("it is refused");
    assert_eq!((refusal.code, refusal.field.as_str()), (RefusalCode::BudgetExceeded, "tasks"));
}
