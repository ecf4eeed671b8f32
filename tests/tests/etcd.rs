//! A cluster of real processes whose registry is in a real etcd, over what happens to masters and to
//! etcd: what people read is the truth at each step, and no task notices.

use nix::sys::signal::Signal;
use proffer_tests::cluster::{Parts, free_port};
use proffer_tests::processes::{
    Ended, PATIENCE, Place, Program, is_root, pause, proffer, turn, until,
};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const INSTANCES: usize = 3;
/// Longer than a master's term lasts without a renewal.
const PAST_THE_LEASE: Duration = Duration::from_secs(7);

/// `None`, with the reason printed, if this machine has no etcd.
fn start_etcd(place: &Place) -> Option<(Program, String)> {
    let path = std::env::var_os("PATH")?;
    if !std::env::split_paths(&path).any(|directory| directory.join("etcd").is_file()) {
        eprintln!("skipped: there is no `etcd` in PATH (Debian: apt-get install etcd-server)");
        return None;
    }
    let port = free_port();
    let [client, peer] = [port, free_port()].map(|port| format!("http://127.0.0.1:{port}"));
    let mut command = Command::new("etcd");
    command
        .args(["--name", "test", "--log-level", "error", "--logger", "zap"])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("test={peer}")])
        .arg("--data-dir")
        .arg(place.path().join("etcd"));
    let etcd = Program::run(place, "etcd", command);
    until("etcd listens", PATIENCE, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
    Some((etcd, client))
}

/// How often each slot has started.
fn starts(log: &Path) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for line in std::fs::read_to_string(log).unwrap_or_default().lines() {
        *found.entry(line.to_owned()).or_default() += 1;
    }
    found
}

/// A table that is not empty, or words why there is none: a cluster that is there is never read as one
/// that is not.
fn truth(ended: Ended) -> Option<Ended> {
    if ended.code == 0 {
        let rows = ended.json();
        assert_eq!(rows.as_array().map(Vec::len), Some(1), "{ended:?}");
        return Some(ended);
    }
    assert_eq!(ended.code, 1, "it is out of reach, and not gone: {ended:?}");
    assert!(ended.out.is_empty() && !ended.err.is_empty(), "{ended:?}");
    None
}

/// Whether all that was deployed serves, by `ls` and by `agents`, each of which has told the truth.
fn all_is_well(parts: &Parts) -> Option<()> {
    let services = truth(parts.cli(&["ls", "-o", "json"]));
    let agents = truth(parts.cli(&["agents", "-o", "json"]));
    let ready = services?.json()[0]["ready"] == INSTANCES;
    (agents?.json()[0]["condition"] == "active" && ready).then_some(())
}

#[test]
fn e2e_masters_on_etcd_tell_the_truth_and_no_task_notices() {
    let _turn = turn();
    if !is_root("a cluster on etcd") {
        return;
    }
    let mut parts = Parts::prepare(1, "cpus:4;mem:4GiB");
    let Some((etcd, endpoint)) = start_etcd(&parts.place) else { return };
    parts.master_flags =
        ["--store", "etcd", "--etcd-endpoints", &endpoint].map(str::to_owned).to_vec();
    parts.start_master();
    parts.start_agent(0);
    parts.start_framework();
    parts.agents_active(1);
    parts.services_answer();
    let log = parts.place.path().join("starts");
    let text = format!(
        "schema: service/v1
services:
  few:
    instances: {INSTANCES}
    command: [/bin/sh, -c, 'echo $SLOT >> {log}; exec sleep 100000']
    env: {{SLOT: '${{meta.slot}}'}}
    resources: {{request: {{cpu: 0.01, mem: 16Mi}}}}
    stop: {{drain: {{linger: 0s}}, signal: KILL, grace: 0s}}
    rollout: {{min_available_time: 0s}}
",
        log = log.display()
    );
    let file = parts.place.file("few.yaml", &text);
    let _ = parts.cli(&["deploy", &file.to_string_lossy()]).well();
    until("all serve", PATIENCE, || all_is_well(&parts));

    a_standby_leads_to_the_leader(&parts);

    // The next one waits for the end of the term that the dead one has left behind.
    parts.master.take().expect("runs").kill();
    parts.start_master();
    until("all serve again", PATIENCE, || all_is_well(&parts));

    etcd.signal(Signal::SIGSTOP);
    until("the leader says that it is out of touch", PATIENCE, || {
        let listed = truth(parts.cli(&["agents", "-o", "json"]))?;
        listed.err.contains("may be out of date").then_some(())
    });
    pause(PAST_THE_LEASE);
    truth(parts.cli(&["agents", "-o", "json"])).expect("it has not lost its memory");
    etcd.signal(Signal::SIGCONT);
    let mut master = parts.master.take().expect("was started");
    until("the master has seen that its term is over, or goes on with it", PATIENCE, || {
        let _ = truth(parts.cli(&["ls", "-o", "json"]));
        let goes_on =
            || truth(parts.cli(&["agents", "-o", "json"])).is_some_and(|it| it.err.is_empty());
        (!master.is_alive() || goes_on()).then_some(())
    });
    if master.is_alive() {
        parts.master = Some(master);
    } else {
        let words = master.err();
        assert!(words.contains("lease"), "{words}");
        assert!(!words.contains("another master leads"), "there is none: {words}");
        parts.start_master();
    }
    until("all serve still", PATIENCE, || all_is_well(&parts));
    let once: BTreeMap<String, usize> = (0..INSTANCES).map(|slot| (slot.to_string(), 1)).collect();
    assert_eq!(starts(&log), once, "nothing was started anew");
    let _ = parts.cli(&["rm", "few", "--yes"]).well();
}

/// A master that stands by sends the CLI on: its own view is nobody's.
fn a_standby_leads_to_the_leader(parts: &Parts) {
    let address = format!("127.0.0.1:{}", free_port());
    let token = parts.place.path().join("token").to_string_lossy().into_owned();
    let mut args = vec!["master", "--listen", &address, "--token-file", &token];
    args.extend(parts.master_flags.iter().map(String::as_str));
    let standby = Program::start(&parts.place, "standby", &args);
    let environment = [("PROFFER_ADDR", address.as_str()), ("PROFFER_TOKEN_FILE", token.as_str())];
    for command in ["ls", "agents"] {
        let sent_on = until("a standby knows the leader", PATIENCE, || {
            truth(proffer(&parts.place, &environment, &[command, "-o", "json"]))
        });
        let direct = parts.cli(&[command, "-o", "json"]).well();
        let name = |ended: &Ended| ended.json()[0]["name"].clone();
        assert_eq!(name(&sent_on), name(&direct), "{command}");
    }
    drop(standby);
}
