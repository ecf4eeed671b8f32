//! Agents that are to be emptied: instances are replaced elsewhere first, within the rollout rules of
//! their service (I13).
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about")]

mod support;

use proffer_service_core::api::EventKind;
use proffer_types::scheduler::Call;
use proffer_types::{AgentId, DurationMs};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use support::Cluster;

fn web(instances: u32) -> Json {
    json!({"web": {
        "instances": instances,
        "command": ["/bin/server"],
        "stop": {"drain": {"linger": "2s"}},
        "rollout": {"min_available_time": "1s", "progress_deadline": "60s"},
    }})
}

/// Four instances, and the agent of the first of them.
fn spread() -> (Cluster, AgentId) {
    let mut cluster = Cluster::new();
    cluster.deploy(&web(4)).expect("accepted");
    cluster.run(5);
    let (_, agent, _) = cluster.bench.live()[0];
    cluster.bench.take_calls();
    (cluster, agent)
}

fn on(cluster: &Cluster, agent: AgentId) -> usize {
    cluster.bench.live().iter().filter(|(_, at, _)| *at == agent).count()
}

#[test]
fn i13_a_drained_agent_is_emptied_one_by_one_without_a_gap() {
    let (mut cluster, agent) = spread();
    assert!(on(&cluster, agent) > 0);
    let id = cluster.bench.master().drain(agent, None);
    let (mut unpublished_at, mut agreed) = (BTreeMap::new(), false);
    for quarter in 0..200_u32 {
        cluster.step();
        let view = cluster.view("web");
        assert!(view.summary.ready >= 4, "{} ready", view.summary.ready);
        assert!(cluster.bench.live().len() <= 5, "one above the count");
        let published = cluster.published("web");
        for (task, at, _) in cluster.bench.live() {
            if at == agent && !published.contains(&task) {
                unpublished_at.entry(task).or_insert(quarter);
            }
        }
        for call in cluster.bench.take_calls() {
            match call {
                Call::AcceptInverseOffers { offers } => agreed |= offers == [id],
                Call::Kill { task, .. } => {
                    let since = quarter - unpublished_at[task.as_str()];
                    assert!(since >= 7, "{task} was killed after {since} quarters");
                }
                _ => {}
            }
        }
    }
    assert!(agreed);
    assert_eq!(on(&cluster, agent), 0);
    assert_eq!(cluster.view("web").summary.ready, 4);
    assert_eq!(cluster.bench.master().violations(), [""; 0]);
    let events = cluster.bench.framework().events().after(None, 1_000).events;
    let told = events.iter().filter(|event| event.kind == EventKind::Leaving).count();
    assert!(told > 0, "people see why instances are replaced");
}

#[test]
fn without_room_elsewhere_everything_serves_on_and_says_what_it_waits_for() {
    let mut cluster = Cluster::new();
    cluster.deploy(&web(4)).expect("accepted");
    cluster.run(5);
    for agent in 1..=3 {
        cluster.bench.master().drain(AgentId(agent), Some(DurationMs::from_secs(600)));
    }
    cluster.run(30);
    let view = cluster.view("web");
    assert_eq!(view.summary.ready, 4);
    assert!(view.instances.iter().any(|it| it.leaves.is_some() && it.published), "{view:?}");
    let waits: Vec<String> = view.waits.iter().map(|wait| wait.sentence()).collect();
    assert!(waits.iter().any(|wait| wait.contains("serves on until then")), "{waits:?}");
}

#[test]
fn who_may_stay_again_stays() {
    let (mut cluster, agent) = spread();
    let before = on(&cluster, agent);
    cluster.bench.master().drain(agent, None);
    cluster.step();
    cluster.bench.master().activate_agent(agent);
    cluster.run(20);
    assert_eq!(on(&cluster, agent), before);
    let view = cluster.view("web");
    assert_eq!(view.summary.ready, 4);
    assert!(view.instances.iter().all(|it| it.leaves.is_none()));
}

#[test]
fn a_framework_that_was_restarted_goes_on_emptying() {
    let (mut cluster, agent) = spread();
    cluster.bench.master().drain(agent, None);
    cluster.run(2);
    cluster.kill_framework();
    for _ in 0..200 {
        cluster.step();
        assert!(cluster.bench.live().len() <= 5, "one above the count");
    }
    assert_eq!(on(&cluster, agent), 0);
    assert_eq!(cluster.view("web").summary.ready, 4);
}
