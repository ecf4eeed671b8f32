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
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One service whose instances note `slot revision directory` when they start. The directory is the
/// sandbox, whose name holds the launch token.
fn service(instances: u32, log: &Path, version: u32) -> String {
    format!(
        "schema: service/v1
services:
  many:
    instances: {instances}
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
fn settled(parts: &Parts, instances: u32, revision: u64) -> Option<()> {
    let view = parts.api.json("/v1/services/many");
    let it = &view["summary"];
    let good = it["ready"] == instances
        && it["instances"] == instances
        && it["old"] == 0
        && it["revision"] == revision
        && it["rollout"]["state"] == "succeeded";
    good.then_some(())
}

#[test]
fn killed_processes_change_nothing_about_how_a_rolling_update_ends() {
    let _turn = turn();
    if !is_root("kill -9 during a rolling update") {
        return;
    }
    let (instances, blows) = if is_long() { (50_u32, 20_usize) } else { (20, 8) };
    let seed: u64 =
        std::env::var("PROFFER_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    println!(
        "seed {seed}: {instances} instances, {blows} blows (again with PROFFER_TEST_SEED={seed})"
    );
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut parts = Parts::start(2, "cpus:4;mem:4GiB");
    parts.start_framework();
    parts.agents_active(2);
    parts.services_answer();
    let log = parts.place.path().join("starts");
    let file = parts.place.file("1.yaml", &service(instances, &log, 1));
    let _ = parts.cli(&["deploy", &file.to_string_lossy()]).well();
    until("all run", PATIENCE, || settled(&parts, instances, 1));

    let mut revision: u64 = 1;
    let mut during = 0;
    for number in 0..blows {
        // A rolling update goes on at each blow: the next begins when the last is through.
        let rolling =
            parts.api.json("/v1/services/many")["summary"]["rollout"]["state"] == "rolling";
        if !rolling && settled(&parts, instances, revision).is_some() {
            revision += 1;
            let version = u32::try_from(revision).expect("few revisions");
            let file = parts.place.file("next.yaml", &service(instances, &log, version));
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
    until("the last update is through", PATIENCE * 3, || settled(&parts, instances, revision));
    assert!(during as usize >= blows / 2, "most blows hit a rolling update: {during} of {blows}");

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
    let expected =
        usize::try_from(instances).expect("few") * usize::try_from(revision).expect("few");
    assert_eq!(starts.len(), expected, "every slot ran every version");

    // What runs is what the master says, what the service says, and what the machine has.
    let rows = parts.api.json("/v1/tasks");
    let running: Vec<Value> = rows["tasks"].as_array().cloned().unwrap_or_default();
    let running = running.iter().filter(|row| row["state"] == "running").count();
    assert_eq!(running, usize::try_from(instances).expect("few"));
    let sleeping = proffer_tests::traces::processes(&parts.place.name);
    let sleeping = sleeping.iter().filter(|(_, words)| words.starts_with("sleep 100000")).count();
    assert_eq!(sleeping, usize::try_from(instances).expect("few"), "no process is left over");
    let events = parts.cli(&["events", "many"]).well().out;
    assert!(!events.contains("crashed"), "{events}");
}

#[test]
fn with_default_trust_a_master_that_was_killed_gets_its_agents_and_frameworks_back() {
    let _turn = turn();
    if !is_root("kill -9 of a master with default trust") {
        return;
    }
    let mut parts = Parts::prepare(1, "cpus:1;mem:1GiB").default_trust();
    // Whoever comes first waits for the master, and for its token.
    parts.start_agent(0);
    parts.start_master();
    parts.learn_token();
    parts.agents_active(1);
    parts.start_framework();
    parts.services_answer();
    let token = parts.api.token.clone();
    let left = PathBuf::from(format!("/run/proffer/{}.token", parts.api.address));
    strike(&mut parts, Blow::Master);
    assert!(left.exists(), "a killed master takes nothing away");
    let refused = parts.cli(&["ls"]);
    assert!(refused.err.contains("no master answers"), "{refused:?}");
    let cleaned = parts.cli(&["cleanup"]).well();
    assert!(cleaned.out.contains(&*left.to_string_lossy()) && !left.exists(), "{cleaned:?}");

    parts.start_master();
    parts.agents_active(1);
    parts.services_answer();
    let _ = parts.cli(&["ls"]).well();
    assert_eq!(std::fs::read_to_string(&left).expect("it is left again").trim(), token);

    // A token that was lost is made anew, and all the others find that one.
    strike(&mut parts, Blow::Master);
    let kept = parts.place.path().join("master/token");
    let mode = std::fs::metadata(&kept).expect("it is kept").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::remove_file(&kept).expect("its directory is ours");
    parts.start_master();
    parts.learn_token();
    assert_ne!(parts.api.token, token);
    parts.agents_active(1);
    until("the framework is back", PATIENCE, || {
        let rows = parts.api.json("/v1/frameworks");
        (rows["frameworks"][0]["connected"] == true).then_some(())
    });
    parts.master.take().into_iter().for_each(|mut master| {
        master.signal(nix::sys::signal::Signal::SIGTERM);
        master.end(PATIENCE);
    });
    assert!(!left.exists(), "it goes with a master that ends in good order");
}
