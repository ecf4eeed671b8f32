//! `kill -9` of real `master`, `agent` and `framework service` processes, each alone and all at once,
//! at moments drawn from a seed, during rolling updates. Each instance writes its start to a file:
//! in the end every slot has run once per revision, no task has run twice (I2), none was restarted
//! without cause.

use proffer_tests::cluster::Parts;
use proffer_tests::processes::{PATIENCE, is_long, is_root, pause, turn, until};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Slots of the service, and blows during its rolling updates.
const INSTANCES: u32 = 50;
const BLOWS: usize = 20;
/// Runs of the long suite, each with a seed of its own.
const LONG_RUNS: u64 = 10;

/// One service whose instances note `slot revision directory` when they start. The directory is the
/// sandbox, whose name holds the launch token.
fn service(log: &Path, version: u32) -> String {
    format!(
        "schema: service/v1
services:
  many:
    instances: {INSTANCES}
    command: [/bin/sh, -c, 'echo \"$SLOT $VERSION $PWD\" >> {log}; exec sleep 100000']
    env: {{SLOT: '${{meta.slot}}', VERSION: '{version}'}}
    resources: {{request: {{cpu: 0.01, mem: 16Mi}}}}
    stop: {{drain: {{linger: 0s}}, signal: KILL, grace: 0s}}
    rollout: {{min_available_time: 100ms, surge: 3, progress_deadline: 10m}}
",
        log = log.display()
    )
}

/// Starts by slot and version, with the sandboxes in which they happened.
fn starts(log: &Path) -> BTreeMap<(String, String), Vec<String>> {
    let mut found: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for line in std::fs::read_to_string(log).unwrap_or_default().lines() {
        let mut words = line.split(' ').map(str::to_owned);
        let (Some(slot), Some(version), Some(directory)) =
            (words.next(), words.next(), words.next())
        else {
            panic!("a line that no instance writes: {line:?}");
        };
        found.entry((slot, version)).or_default().push(directory);
    }
    found
}

/// Which of the parts a blow hits.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Master,
    Agent(usize),
    Framework,
    All,
}

fn strike(parts: &mut Parts, blow: Blow) {
    if let Blow::Master | Blow::All = blow {
        parts.master.take().into_iter().for_each(|mut it| it.kill());
    }
    if let Blow::Framework | Blow::All = blow {
        parts.framework.take().into_iter().for_each(|mut it| it.kill());
    }
    for number in 0..parts.agents.len() {
        if matches!(blow, Blow::All) || matches!(blow, Blow::Agent(it) if it == number) {
            parts.agents[number].take().into_iter().for_each(|mut it| it.kill());
        }
    }
}

fn raise(parts: &mut Parts) {
    if parts.master.is_none() {
        parts.start_master();
    }
    for number in 0..parts.agents.len() {
        if parts.agents[number].is_none() {
            parts.start_agent(number);
        }
    }
    if parts.framework.is_none() {
        parts.start_framework();
    }
}

/// Whether all instances are of `revision`, and no rollout goes on.
fn settled(parts: &Parts, revision: u64) -> Option<()> {
    let view = parts.api.json("/v1/services/many");
    let it = &view["summary"];
    let good = it["ready"] == INSTANCES
        && it["instances"] == INSTANCES
        && it["old"] == 0
        && it["revision"] == revision
        && it["rollout"]["state"] == "succeeded";
    good.then_some(())
}

/// The seeds to run: the one that is asked for, else drawn from the clock, so that every run of the
/// gate strikes at moments of its own.
fn seeds() -> Vec<u64> {
    if let Ok(text) = std::env::var("PROFFER_TEST_SEED") {
        return vec![text.parse().expect("PROFFER_TEST_SEED is a number")];
    }
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let first = since.map_or(0, |since| since.as_secs());
    let runs = if is_long() { LONG_RUNS } else { 1 };
    (first..first + runs).collect()
}

#[test]
fn killed_processes_change_nothing_about_how_a_rolling_update_ends() {
    let _turn = turn();
    if !is_root("kill -9 during a rolling update") {
        return;
    }
    for seed in seeds() {
        println!("seed {seed} (again with PROFFER_TEST_SEED={seed})");
        story(seed);
    }
}

/// Twenty blows of one seed, then what must be true.
fn story(seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut parts = Parts::start(2, "cpus:4;mem:4GiB");
    parts.start_framework();
    parts.agents_active(2);
    parts.services_answer();
    let log = parts.place.path().join("starts");
    let file = parts.place.file("1.yaml", &service(&log, 1));
    let _ = parts.cli(&["deploy", &file.to_string_lossy()]).well();
    until("all run", PATIENCE, || settled(&parts, 1));

    let mut revision: u64 = 1;
    let mut during = 0;
    for number in 0..BLOWS {
        // A rolling update goes on at each blow: the next begins when the last is through.
        let rolling =
            parts.api.json("/v1/services/many")["summary"]["rollout"]["state"] == "rolling";
        if !rolling && settled(&parts, revision).is_some() {
            revision += 1;
            let version = u32::try_from(revision).expect("few revisions");
            let file = parts.place.file("next.yaml", &service(&log, version));
            let _ = parts.cli(&["deploy", "-d", &file.to_string_lossy()]).well();
        }
        let blow = match number % 4 {
            0 => Blow::Framework,
            1 => Blow::Agent(random.random_range(0..2)),
            2 => Blow::Master,
            _ => Blow::All,
        };
        pause(Duration::from_millis(random.random_range(0..600)));
        let state = parts.api.json("/v1/services/many")["summary"]["rollout"]["state"].clone();
        during += u32::from(state == "rolling");
        strike(&mut parts, blow);
        println!("blow {number}: {blow:?}, the rollout to r{revision} is {state}");
        pause(Duration::from_millis(random.random_range(0..300)));
        raise(&mut parts);
        until("services are answered for again", PATIENCE, || {
            parts.api.json("/v1/services/many")["summary"].is_object().then_some(())
        });
    }
    until("the last update is through", PATIENCE * 3, || settled(&parts, revision));
    assert!(during as usize >= BLOWS / 2, "most blows hit a rolling update: {during} of {BLOWS}");

    // Every slot once per version, and nobody in a sandbox of another.
    let starts = starts(&log);
    let mut sandboxes = BTreeMap::new();
    for directory in starts.values().flatten() {
        *sandboxes.entry(directory.clone()).or_insert(0) += 1;
    }
    let twice: Vec<_> = sandboxes.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "tasks that ran twice (I2): {twice:?}");
    let again: Vec<_> = starts.iter().filter(|(_, runs)| runs.len() > 1).collect();
    assert!(again.is_empty(), "slots that were started anew without cause: {again:#?}");
    let slots = usize::try_from(INSTANCES).expect("few");
    let expected = slots * usize::try_from(revision).expect("few");
    assert_eq!(starts.len(), expected, "every slot ran every version");

    // What runs is what the master says, what the service says, and what the machine has.
    let rows = parts.api.json("/v1/tasks");
    let running: Vec<Value> = rows["tasks"].as_array().cloned().unwrap_or_default();
    let running = running.iter().filter(|row| row["state"] == "running").count();
    assert_eq!(running, slots);
    let sleeping = proffer_tests::traces::processes(&parts.place.name);
    let sleeping = sleeping.iter().filter(|(_, words)| words.starts_with("sleep 100000")).count();
    assert_eq!(sleeping, slots, "no process is left over");
    let events = parts.cli(&["events", "many"]).well().out;
    assert!(!events.contains("crashed"), "{events}");
}
