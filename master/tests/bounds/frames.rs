//! Frames, pages and lists are closed by weight: no legal input makes one that its reader refuses, which
//! would break the stream, for ever (K15).

use proffer_master_core::registry::{
    AgentMode, AgentRecord, AgentStanding, ClusterRecord, OccupancyRecord, Record, RecordKey,
};
use proffer_master_core::testing::{AgentPeer, FrameworkPeer, Harness, template};
use proffer_master_core::{Config, Effect, limits};
use proffer_proto::convert::bounds::FRAME_BYTES_MAX;
use proffer_proto::pb;
use proffer_proto::weight::{PARTS_MAX, is_within};
use proffer_types::agent::{AgentDown, AgentOrder};
use proffer_types::scheduler::{Call, Event, SchedulerDown};
use proffer_types::state_store::{StateAnswer, StateCall, StateChange};
use proffer_types::template::{PodTemplate, TaskLaunch};
use proffer_types::{AgentId, Attribute, PrincipalName, TaskState};
use prost::Message;
use std::collections::BTreeSet;

fn framework_frames(effects: &[Effect]) -> Vec<&SchedulerDown> {
    effects
        .iter()
        .filter_map(|effect| {
            if let Effect::SendFramework { frame, .. } = effect { Some(frame) } else { None }
        })
        .collect()
}

fn agent_frames(effects: &[Effect]) -> Vec<&AgentDown> {
    effects
        .iter()
        .filter_map(
            |effect| if let Effect::SendAgent { frame, .. } = effect { Some(frame) } else { None },
        )
        .collect()
}

/// Every frame, as it travels, is well below what its reader takes.
fn assert_readable(effects: &[Effect]) {
    let fits = |name: &str, bytes: Vec<u8>| {
        assert!(bytes.len() <= FRAME_BYTES_MAX / 2, "a {name} of {} bytes", bytes.len());
        assert!(is_within(name, &bytes, PARTS_MAX / 2), "a {name} of too many parts");
    };
    for frame in framework_frames(effects) {
        fits("SchedulerDown", pb::SchedulerDown::from(frame).encode_to_vec());
    }
    for frame in agent_frames(effects) {
        fits("AgentDown", pb::AgentDown::from(frame).encode_to_vec());
    }
}

/// The longest legal label.
fn heavy_launches(framework: &mut FrameworkPeer, count: usize) -> Vec<TaskLaunch> {
    let text = "x".repeat(limits::LAUNCH_TEXT_BYTES_MAX - 4);
    (0..count)
        .map(|n| {
            let shape = "cpus:0.1".parse().expect("legal");
            let mut launch = framework.launch(&format!("t{n}"), shape, None);
            launch.labels.insert("text".to_owned(), text.clone());
            launch
        })
        .collect()
}

/// An agent, and a framework that has launched heavy tasks there.
fn with_heavy_tasks(count: usize) -> (Harness, AgentPeer, FrameworkPeer) {
    let mut harness = Harness::new(Config::default());
    let mut agent = AgentPeer::new("one", "cpus:64");
    agent.register(&mut harness, |_| true);
    let mut svc = FrameworkPeer::new("svc", "r1", "eng");
    svc.subscribe(&mut harness, false);
    svc.hear_effects(&harness.take_effects());
    svc.call(&mut harness, Call::Revive { roles: BTreeSet::new() });
    svc.hear_effects(&harness.take_effects());
    let offers: Vec<_> = svc.offers.values().cloned().collect();
    let tasks = heavy_launches(&mut svc, count);
    let accept = svc.accept(&offers, tasks);
    let template = template();
    let digest = template.digest();
    svc.calls(&mut harness, vec![Call::Template { digest, template }, Call::Accept(accept)]);
    (harness, agent, svc)
}

#[test]
fn k15_heavy_launches_reach_the_agent_in_several_frames() {
    const TASKS: usize = 600;
    let (mut harness, mut agent, _) = with_heavy_tasks(TASKS);
    let effects = harness.take_effects();
    assert_readable(&effects);
    agent.hear_effects(&effects);
    assert_eq!(agent.launched.len(), TASKS);
}

#[test]
fn k15_a_snapshot_of_heavy_tasks_comes_in_pages_by_weight() {
    const TASKS: usize = 600;
    let (mut harness, _agent, mut svc) = with_heavy_tasks(TASKS);
    harness.take_effects();
    svc.call(&mut harness, Call::Snapshot);
    let effects = harness.take_effects();
    assert_readable(&effects);
    let mut told = 0;
    for event in framework_frames(&effects).iter().flat_map(|frame| &frame.events) {
        if let Event::SnapshotPage { tasks } = event {
            told += tasks.len();
        }
    }
    assert_eq!(told, TASKS);
}

#[test]
fn k15_a_snapshot_names_any_number_of_absent_agents_in_pages() {
    const AGENTS: u64 = 70_000;
    let mut harness = Harness::new(Config::default());
    let mut svc = FrameworkPeer::new("svc", "r1", "eng");
    svc.subscribe(&mut harness, false);
    svc.hear_effects(&harness.take_effects());
    let occupied =
        OccupancyRecord { frameworks: [(svc.id, svc.info.roles.clone())].into_iter().collect() };
    let mut store = |key: RecordKey, record: Record| {
        harness.store.insert(key.encode(), record.encode());
    };
    for id in (1..=AGENTS).map(AgentId) {
        let record = AgentRecord {
            info: AgentPeer::new(&format!("a{}", id.0), "cpus:1").info,
            principal: PrincipalName::new("cert:agents").expect("legal"),
            standing: AgentStanding::Reachable,
            mode: AgentMode::Active,
        };
        store(RecordKey::Agent(id), Record::Agent(Box::new(record)));
        store(RecordKey::Occupancy(id), Record::Occupancy(occupied.clone()));
    }
    let cluster = ClusterRecord {
        agent_mark: AgentId(AGENTS),
        framework_mark: svc.id,
        ..ClusterRecord::default()
    };
    store(RecordKey::Cluster, Record::Cluster(cluster));
    harness.fail_over();
    harness.take_effects();
    svc.subscribe(&mut harness, false);
    let effects = harness.take_effects();
    assert_readable(&effects);
    let mut named = BTreeSet::new();
    for event in framework_frames(&effects).iter().flat_map(|frame| &frame.events) {
        if let Event::SnapshotAbsent { absent } | Event::SnapshotEnd { absent, .. } = event {
            named.extend(absent.iter().map(|absent| absent.agent.0));
        }
    }
    assert!(named.into_iter().eq(1..=AGENTS), "each is named");
}

#[test]
fn k15_a_page_of_state_is_closed_by_weight_and_goes_on() {
    let mut harness = Harness::new(Config::default());
    let mut svc = FrameworkPeer::new("svc", "r1", "eng");
    svc.subscribe(&mut harness, false);
    svc.hear_effects(&harness.take_effects());
    for part in 0..8 {
        let change = |key: usize| StateChange {
            key: format!("k{:03}", part * 8 + key),
            expected: None,
            value: Some(vec![7; 64 << 10]),
        };
        let call = StateCall::Commit { changes: (0..8).map(change).collect() };
        let request = svc.number();
        svc.call(&mut harness, Call::State { request, call });
    }
    harness.take_effects();
    let (mut after, mut keys) = (None, 0);
    loop {
        let call = StateCall::List { prefix: String::new(), after, limit: 64 };
        let request = svc.number();
        svc.call(&mut harness, Call::State { request, call });
        let effects = harness.take_effects();
        let frames = framework_frames(&effects);
        let page = frames.iter().flat_map(|frame| &frame.events).find_map(|event| {
            if let Event::State { answer: StateAnswer::Page { entries, more }, .. } = event {
                Some((entries.clone(), *more))
            } else {
                None
            }
        });
        let (entries, more) = page.expect("a page");
        assert_readable(&effects);
        assert!(!entries.is_empty());
        keys += entries.len();
        after = entries.last().map(|entry| entry.key.clone());
        if !more {
            break;
        }
    }
    assert_eq!(keys, 64);
}

#[test]
fn k15_large_templates_reach_the_agent_one_by_one() {
    let mut harness = Harness::new(Config::default());
    let mut agent = AgentPeer::new("one", "cpus:64");
    agent.register(&mut harness, |_| true);
    let mut svc = FrameworkPeer::new("svc", "r1", "eng");
    svc.subscribe(&mut harness, false);
    svc.hear_effects(&harness.take_effects());
    svc.call(&mut harness, Call::Revive { roles: BTreeSet::new() });
    svc.hear_effects(&harness.take_effects());
    let offers: Vec<_> = svc.offers.values().cloned().collect();
    let mut calls = Vec::new();
    let mut launches = Vec::new();
    for n in 0..5 {
        let template = large_template(n);
        let mut launch = svc.launch(&format!("t{n}"), "cpus:1".parse().expect("legal"), None);
        launch.template = template.digest();
        launches.push(launch);
        calls.push(Call::Template { digest: template.digest(), template });
    }
    calls.push(Call::Accept(svc.accept(&offers, launches)));
    svc.calls(&mut harness, calls);
    let effects = harness.take_effects();
    assert_readable(&effects);
    let templates = agent_frames(&effects)
        .iter()
        .flat_map(|frame| &frame.orders)
        .filter(|order| matches!(order, AgentOrder::Template { .. }))
        .count();
    assert_eq!(templates, 5);
}

/// Some 900 KiB.
fn large_template(number: usize) -> PodTemplate {
    let mut template = template();
    for part in 0..15 {
        template.labels.insert(format!("{number}-{part}"), "x".repeat(60 << 10));
    }
    template
}

#[test]
fn k15_offers_of_talkative_agents_and_long_messages_are_closed_by_weight() {
    let mut harness = Harness::new(Config::default());
    let mut agents = Vec::new();
    for n in 0..20 {
        let mut agent = AgentPeer::new(&format!("a{n}"), "cpus:4");
        let text = Attribute::Text("x".repeat(200 << 10));
        agent.info.attributes.insert("text".to_owned(), text);
        agent.register(&mut harness, |_| true);
        agents.push(agent);
    }
    let mut svc = FrameworkPeer::new("svc", "r1", "eng");
    svc.subscribe(&mut harness, false);
    svc.hear_effects(&harness.take_effects());
    svc.call(&mut harness, Call::Revive { roles: BTreeSet::new() });
    let effects = harness.take_effects();
    assert_readable(&effects);
    svc.hear_effects(&effects);
    assert_eq!(svc.offers.len(), 20);
    // A status whose message is longer than it may be arrives, shortened.
    let offer = svc.offers.values().next().cloned().expect("one");
    let launch = svc.launch("t", "cpus:1".parse().expect("legal"), None);
    let accept = svc.accept(&[offer], vec![launch]);
    let template = template();
    let digest = template.digest();
    svc.calls(&mut harness, vec![Call::Template { digest, template }, Call::Accept(accept)]);
    let effects = harness.take_effects();
    for agent in &mut agents {
        agent.hear_effects(&effects);
        for record in agent.tasks.values_mut() {
            record.status.message = "ä".repeat(1 << 20);
        }
        if !agent.tasks.is_empty() {
            agent.report(&mut harness, svc.id, "t", TaskState::Failed);
        }
    }
    let effects = harness.take_effects();
    svc.hear_effects(&effects);
    assert_readable(&effects);
    let message = &svc.statuses[&"t".parse().expect("legal")].message;
    assert_eq!(message.len(), limits::STATUS_MESSAGE_BYTES_MAX);
}
