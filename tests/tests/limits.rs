//! Tasks that misbehave on a real agent: one eats memory, one forks without end, one does not want to
//! die. Each meets its limit, its status says so, and a neighbour serves on undisturbed.

use proffer_tests::cluster::Dev;
use proffer_tests::load::{Load, Plan};
use proffer_tests::processes::{PATIENCE, Place, is_root, turn, until};
use proffer_tests::traces;
use serde_json::Value;
use std::time::Duration;

/// Processes of the bomb, by its limit.
const PIDS: usize = 20;

const BAD: &str = r#"
schema: service/v1
services:
  hog:
    command: [/usr/bin/perl, -e, 'my @x; while (1) { push @x, "x" x 1048576 }']
    resources: {request: {cpu: 0.05, mem: 48Mi}}
    restart: {backoff: {first: 30s}}
  bomb:
    command: [/usr/bin/perl, -e, 'fork while 1']
    resources: {request: {cpu: 0.05, mem: 64Mi}, limit: {pids: 20}}
    stop: {signal: TERM, grace: 500ms, drain: {linger: 0s}}
  stubborn:
    command: [/bin/sh, -c, 'trap "" TERM; while :; do sleep 1; done']
    resources: {request: {cpu: 0.05, mem: 16Mi}}
    stop: {signal: TERM, grace: 500ms, drain: {linger: 0s}}
    rollout: {min_available_time: 200ms}
"#;

fn instances(dev: &Dev, service: &str) -> Vec<Value> {
    let list = dev.api.json(&format!("/v1/services/{service}/instances"));
    list["instances"].as_array().cloned().unwrap_or_default()
}

/// The processes in the control group of the one task of a service.
fn processes(dev: &Dev, service: &str) -> Vec<(i32, String)> {
    let rows = dev.api.json("/v1/tasks");
    let rows = rows["tasks"].as_array().cloned().unwrap_or_default();
    let of = |row: &&Value| row["labels"]["service"] == service;
    let Some(container) = rows.iter().find(of).and_then(|row| row["container"].as_str()) else {
        return Vec::new();
    };
    let group = format!("proffer-dev-{}/agent-1/pods/{container}", dev.instance);
    let all = traces::processes(&group);
    all.into_iter().filter(|(_, words)| !words.starts_with("proffer-supervisor")).collect()
}

/// The events of the cluster about tasks of a service.
fn events(dev: &Dev, place: &Place, service: &str) -> String {
    let all = dev.cli(place, &["events"]).well().out;
    all.lines()
        .filter(|line| line.contains(&format!("/{service}.0.")))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn each_bad_task_meets_its_limit_and_the_neighbour_serves_on() {
    let _turn = turn();
    if !is_root("limits") {
        return;
    }
    let place = Place::new();
    let mut dev = Dev::start(&place, &["--deploy", "examples/web.yaml"]);
    dev.deployed();
    let neighbours: Vec<Value> =
        instances(&dev, "web").into_iter().map(|it| it["name"].clone()).collect();
    let plan = Plan {
        service: "web".to_owned(),
        rate: 50,
        slow_every: 0,
        patience: Duration::from_secs(20),
    };
    let load = Load::start(dev.api.clone(), plan);
    let file = place.file("bad.yaml", BAD);
    let _ = dev.cli(&place, &["deploy", "-d", &file.to_string_lossy()]).well();

    // The hog: killed at its limit, and every place where one would look says so.
    let failure = until("the hog is killed", PATIENCE, || {
        let view = dev.api.json("/v1/services/hog");
        let failure = view["summary"]["rollout"]["first_failure"].clone();
        failure.is_object().then_some(failure)
    });
    let said = failure.to_string();
    assert!(said.contains("out_of_memory") || said.contains("memory limit"), "{said}");
    let status = dev.cli(&place, &["status", "hog"]).well().out;
    assert!(status.contains("out_of_memory") && status.contains("memory limit"), "{status}");
    until("the master's events tell of it", PATIENCE, || {
        events(&dev, &place, "hog").contains("memory limit").then_some(())
    });

    // The bomb: as many processes as it may have, never more, and it is ended like any other.
    until("the bomb has filled its limit", PATIENCE, || {
        (processes(&dev, "bomb").len() >= PIDS / 2).then_some(())
    });
    for _ in 0..20 {
        let now = processes(&dev, "bomb").len();
        assert!(now <= PIDS + 1, "{now} processes, {PIDS} are allowed");
    }
    assert!(instances(&dev, "bomb").iter().any(|it| it["state"] == "running"), "it runs on");
    let _ = dev.cli(&place, &["stop", "bomb"]).well();
    until("nothing is left of the bomb", PATIENCE, || {
        traces::processes("proffer-dev-")
            .iter()
            .all(|(pid, words)| !words.contains("fork while") || !belongs(*pid, &dev))
            .then_some(())
    });

    // The stubborn one: dead after its grace, by a kill that is called by its name.
    until("the stubborn one runs", PATIENCE, || {
        instances(&dev, "stubborn").iter().any(|it| it["state"] == "running").then_some(())
    });
    let stubborn = processes(&dev, "stubborn");
    assert!(!stubborn.is_empty());
    let _ = dev.cli(&place, &["stop", "stubborn"]).well();
    until("the stubborn one is dead", PATIENCE, || {
        stubborn.iter().all(|(pid, _)| !belongs(*pid, &dev)).then_some(())
    });
    until("its end is called by its name", PATIENCE, || {
        events(&dev, &place, "stubborn").contains("did not end within its grace").then_some(())
    });

    // The neighbours: not one request failed, not one instance is another than before.
    let report = load.end();
    println!(
        "neighbour: {} sent, failures {:?}, p99 {:?}",
        report.sent,
        report.failures,
        report.percentile(99)
    );
    assert!(report.sent > 100, "{}", report.sent);
    assert_eq!(report.failures, std::collections::BTreeMap::new());
    let after: Vec<Value> =
        instances(&dev, "web").into_iter().map(|it| it["name"].clone()).collect();
    assert_eq!(after, neighbours);
    dev.interrupt();
}

/// Whether a process is in a control group of this cluster: its number may be another's by now.
fn belongs(pid: i32, dev: &Dev) -> bool {
    traces::control_group_of(pid).is_some_and(|group| group.contains(&dev.instance))
}
