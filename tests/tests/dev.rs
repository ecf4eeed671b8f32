//! `proffer dev` as a user has it: one command brings up a cluster and a service, Ctrl-C leaves
//! nothing, two side by side do not touch each other, and a killed one can be mended.

use nix::sys::signal::Signal;
use proffer_tests::cluster::{Dev, records};
use proffer_tests::processes::{
    PATIENCE, Place, Program, binary, is_root, pause, proffer, tree, turn, until,
};
use proffer_tests::traces;
use proffer_tests::wire::{Answer, exchange, read};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

/// Instance, address and port of each published endpoint.
fn endpoints(dev: &Dev) -> Vec<(String, SocketAddr)> {
    let view = dev.api.json("/v1/services/web/endpoints");
    let rows = view["endpoints"].as_array().cloned().unwrap_or_default();
    let row = |row: &Value| {
        let address = format!("{}:{}", row["address"].as_str()?, row["port"]).parse().ok()?;
        Some((row["instance"].as_str()?.to_owned(), address))
    };
    rows.iter().filter_map(row).collect()
}

fn ask(address: SocketAddr) -> Answer {
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    read(&exchange(address, request.as_bytes()).unwrap_or_default())
}

/// The processes of the tasks of a `dev`, without their supervisors.
fn tasks(dev: &Dev) -> BTreeSet<i32> {
    let all = traces::processes(&format!("proffer-dev-{}", dev.instance));
    let own = |(pid, words): &(i32, String)| {
        *pid != dev.program.pid() && !words.contains("proffer-supervisor") && words.contains("perl")
    };
    all.into_iter().filter(own).map(|(pid, _)| pid).collect()
}

fn web_is_up(dev: &Dev, instances: usize) -> Vec<(String, SocketAddr)> {
    until("all instances are published", PATIENCE, || {
        let found = endpoints(dev);
        (found.len() == instances).then_some(found)
    })
}

/// Nothing of the `dev` and of its place is left; the place's own directory does not count.
fn assert_gone(place: &Place, instance: &str) {
    let left = traces::of(&format!("dev-{instance}"));
    assert!(left.is_empty(), "left behind: {left:#?}");
    let entry = format!("entry {}", place.path().display());
    let left: Vec<_> = traces::of(&place.name).into_iter().filter(|it| *it != entry).collect();
    assert!(left.is_empty(), "left behind: {left:#?}");
    let inside = std::fs::read_dir(place.path()).expect("the place is there");
    let directories: Vec<_> =
        inside.flatten().map(|it| it.path()).filter(|it| it.is_dir()).collect();
    assert!(directories.is_empty(), "left behind: {directories:?}");
}

#[test]
fn one_command_brings_up_a_cluster_and_three_instances_and_ctrl_c_leaves_nothing() {
    let _turn = turn();
    if !is_root("dev with a service") {
        return;
    }
    let place = Place::new();
    let mut dev = Dev::start(&place, &["--deploy", "examples/web.yaml"]);
    assert!(!dev.instance.is_empty(), "it has left a record for cleanup");
    dev.deployed();
    let endpoints = web_is_up(&dev, 3);
    let mut slots = BTreeSet::new();
    for (_, address) in &endpoints {
        let answer = ask(*address);
        assert_eq!(answer.status, 200, "{answer:?}");
        slots.insert(answer.body.split_whitespace().nth(3).unwrap_or_default().to_owned());
    }
    assert_eq!(slots.len(), 3, "each answers for its own slot: {slots:?}");

    // Each instance in a control group of its own, below that of its agent.
    let pids = tasks(&dev);
    let groups: BTreeSet<String> =
        pids.iter().filter_map(|pid| traces::control_group_of(*pid)).collect();
    assert_eq!((pids.len(), groups.len()), (3, 3), "{groups:?}");
    let below = format!("proffer-dev-{}/agent-1/", dev.instance);
    assert!(groups.iter().all(|group| group.contains(&below)), "{groups:?}");

    // The master knows them, each by a different port.
    let rows = dev.api.json("/v1/tasks");
    let rows = rows["tasks"].as_array().cloned().unwrap_or_default();
    let ports: BTreeSet<String> =
        rows.iter().map(|row| row["variables"]["port.web"].to_string()).collect();
    assert_eq!((rows.len(), ports.len()), (3, 3), "{rows:?}");
    assert!(rows.iter().all(|row| row["state"] == "running" && row["isolation"] == "full"));

    // The token is for this user alone, and asked for.
    let token = format!("/run/proffer/{}.token", dev.api.address);
    let mode = std::fs::metadata(&token).expect("a token is left").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut stranger = dev.api.clone();
    stranger.token = "0".repeat(64);
    assert_eq!(stranger.get("/v1/tasks").status, 401);
    let other_host = "GET /v1/tasks HTTP/1.0\r\nHost: evil.example\r\n\r\n";
    let refused = read(&exchange(dev.api.address, other_host.as_bytes()).expect("an answer"));
    assert!((400..500).contains(&refused.status), "{refused:?}");
    assert_eq!(dev.cli(&place, &["logs", "web"]).well().out.matches("listens on").count(), 3);

    let instance = dev.instance.clone();
    dev.interrupt();
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "task {pid} has ended");
    }
    assert!(!std::path::Path::new(&token).exists(), "its token is gone");
    assert_gone(&place, &instance);
}

#[test]
fn several_agents_divide_the_machine() {
    let _turn = turn();
    if !is_root("dev with three agents") {
        return;
    }
    let place = Place::new();
    let mut one = Dev::start(&place, &[]);
    let whole = agents(&one);
    // Two signals at once are one wish, not an insisting one.
    one.program.signal(Signal::SIGTERM);
    one.interrupt();
    let mut three = Dev::start(&place, &["--agents", "3"]);
    let parts = agents(&three);
    assert_eq!((whole.len(), parts.len()), (1, 3));
    for name in ["cpus", "mem"] {
        let of = |row: &Value| scalar(row, name);
        assert_eq!(of(&parts[0]), of(&whole[0]) / 3, "{name}");
        assert!(parts.iter().all(|row| of(row) == of(&parts[0])), "{name}");
    }
    let mut ranges: Vec<(u64, u64)> = parts.iter().map(ports).collect();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "no port twice: {ranges:?}");
    let sizes: Vec<u64> = ranges.iter().map(|(low, high)| high - low).collect();
    assert!(sizes.iter().all(|size| *size > 100 && *size == sizes[0]), "{ranges:?}");
    let groups = traces::control_groups(&format!("proffer-dev-{}", three.instance));
    for agent in ["agent-1", "agent-2", "agent-3"] {
        assert!(groups.iter().any(|it| it.ends_with(agent)), "{agent} has a subtree of its own");
    }
    let instance = three.instance.clone();
    three.interrupt();
    assert_gone(&place, &instance);
}

fn agents(dev: &Dev) -> Vec<Value> {
    dev.api.json("/v1/agents")["agents"].as_array().cloned().unwrap_or_default()
}

fn resource<'a>(row: &'a Value, name: &str) -> &'a Value {
    let all = row["info"]["resources"].as_array().expect("an agent has resources");
    all.iter().find(|it| it["name"] == name).expect("it has this one")
}

fn scalar(row: &Value, name: &str) -> u64 {
    resource(row, name)["scalar"].as_str().and_then(|text| text.parse().ok()).expect("a number")
}

fn ports(row: &Value) -> (u64, u64) {
    let range = &resource(row, "ports")["ranges"]["items"][0];
    let end = |name: &str| range[name].as_str().and_then(|it| it.parse().ok()).expect("a port");
    (end("low"), end("high"))
}

#[test]
fn two_side_by_side_do_not_touch_each_other() {
    let _turn = turn();
    if !is_root("two devs") {
        return;
    }
    let (left_place, right_place) = (Place::new(), Place::new());
    let mut left = Dev::start(&left_place, &["--deploy", "examples/web.yaml"]);
    let mut right = Dev::start(&right_place, &["--deploy", "examples/web.yaml"]);
    left.deployed();
    right.deployed();
    let (of_left, of_right) = (web_is_up(&left, 3), web_is_up(&right, 3));
    let shared = of_left.iter().filter(|it| of_right.iter().any(|other| other.1 == it.1)).count();
    assert_eq!(shared, 0, "no port twice: {of_left:?} {of_right:?}");
    let survivors = tasks(&right);
    let instance = left.instance.clone();
    left.interrupt();
    assert_gone(&left_place, &instance);
    // The other one goes on: the same processes, and every one answers.
    assert_eq!(tasks(&right), survivors);
    assert!(of_right.iter().all(|(_, address)| ask(*address).status == 200));
    // Nor does a cleanup touch it.
    let cleaned = proffer(&left_place, &[], &["cleanup"]).well();
    assert!(!cleaned.out.contains(&right.instance), "{}", cleaned.out);
    assert_eq!(tasks(&right), survivors);
    right.interrupt();
}

#[test]
fn a_data_directory_keeps_services_and_with_keep_also_the_running_containers() {
    let _turn = turn();
    if !is_root("dev --data --keep") {
        return;
    }
    let place = Place::new();
    let data = place.path().join("data");
    let data = data.to_string_lossy();
    let mut first = Dev::start(&place, &["--data", &data, "--deploy", "examples/web.yaml"]);
    first.deployed();
    web_is_up(&first, 3);
    let instance = first.instance.clone();
    first.interrupt();
    let left = left_of(&instance);
    assert!(left.is_empty(), "the tasks ended: {left:?}");

    // The services are back without being deployed again; this time the containers stay.
    let mut second = Dev::start(&place, &["--data", &data, "--keep"]);
    web_is_up(&second, 3);
    let before = tasks(&second);
    assert_eq!(before.len(), 3);
    second.leave();
    second.interrupt();
    assert!(before.iter().all(|pid| traces::control_group_of(*pid).is_some()), "they run on");

    // Taken over: the same processes, and no other.
    let mut third = Dev::start(&place, &["--data", &data]);
    let published = web_is_up(&third, 3);
    assert_eq!(tasks(&third), before, "the same processes");
    assert!(published.iter().all(|(_, address)| ask(*address).status == 200));
    third.interrupt();
    let left = left_of(&instance);
    assert!(left.is_empty(), "nothing runs on without --keep: {left:?}");
}

#[test]
fn cleanup_mends_what_a_killed_one_left() {
    let _turn = turn();
    if !is_root("cleanup after kill -9") {
        return;
    }
    let place = Place::new();
    let mut dev = Dev::start(&place, &["--agents", "2", "--deploy", "examples/web.yaml"]);
    dev.deployed();
    let of_killed = web_is_up(&dev, 3);
    let name = format!("dev-{}", dev.instance);
    dev.program.kill();
    assert!(!traces::processes(&name).is_empty(), "its tasks run on");
    // A new one keeps off the ports that are still in use.
    let mut next = Dev::start(&place, &["--deploy", "examples/web.yaml"]);
    next.deployed();
    let of_next = web_is_up(&next, 3);
    assert!(of_next.iter().all(|it| of_killed.iter().all(|old| old.1 != it.1)), "{of_next:?}");
    let would = proffer(&place, &[], &["cleanup", "--dry-run"]).well();
    assert!(would.out.contains(&dev.instance), "{}", would.out);
    assert!(!traces::processes(&name).is_empty(), "a dry run changes nothing");
    let cleaned = proffer(&place, &[], &["cleanup"]).well();
    assert!(cleaned.out.contains(&dev.instance), "{}", cleaned.out);
    let left = traces::of(&name);
    assert!(left.is_empty(), "left behind: {left:#?}");
    assert!(!std::path::Path::new(&format!("/run/proffer/{}.token", dev.api.address)).exists());
    assert!(records().iter().all(|(instance, _)| *instance != dev.instance));
    assert!(
        of_next.iter().all(|(_, address)| ask(*address).status == 200),
        "the other one goes on"
    );
    next.interrupt();
}

/// Two instances, each of which needs an agent's cpu for itself; deaf to the request to end.
const DEAF: &str = "schema: service/v1
services:
  deaf:
    instances: 2
    command: [/bin/sh, -c, 'trap : TERM; while :; do sleep 1; done']
    resources: {request: {cpu: 0.6, mem: 16Mi}}
    stop: {drain: {linger: 0s}, signal: TERM, grace: GRACE}
    rollout: {min_available_time: 0s}
";

fn left_of(instance: &str) -> Vec<String> {
    let all = traces::of(&format!("dev-{instance}")).into_iter();
    all.filter(|it| !it.starts_with("entry")).collect()
}

#[test]
fn kept_containers_survive_a_failed_start_and_fewer_agents_leave_none_behind() {
    let _turn = turn();
    if !is_root("dev --data with fewer agents than before") {
        return;
    }
    let place = Place::new();
    let data = place.path().join("data");
    let data = data.to_string_lossy();
    let file = place.file("deaf.yaml", &DEAF.replace("GRACE", "100ms"));
    let resources = ["--resources", "cpus:2;mem:1GiB"];
    let mut args = vec!["--data", &data, "--keep", "--agents", "2", "--deploy"];
    let file = file.to_string_lossy();
    args.push(&file);
    args.extend(resources);
    let mut first = Dev::start(&place, &args);
    first.deployed();
    let instance = first.instance.clone();
    first.leave();
    first.interrupt();

    // A cleanup leaves alone what was kept on purpose.
    let cleaned = proffer(&place, &[], &["cleanup"]).well();
    assert!(cleaned.out.contains("kept dev in"), "{cleaned:?}");
    assert!(!left_of(&instance).is_empty(), "it was ended");

    // A start that fails does not forget them.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let refused = proffer(&place, &[], &["dev", "--data", &data, "--listen", &address]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let would = proffer(&place, &[], &["cleanup", "--dry-run"]).well();
    assert!(would.out.contains(&*data), "{would:?}");

    // Those of the agent that is not there any more are ended, and started on the one that is.
    let mut args = vec!["--data", &data];
    args.extend(resources);
    let mut second = Dev::start(&place, &args);
    assert_eq!(second.instance, instance);
    until("all are ready on one agent", PATIENCE, || {
        let view = second.api.json("/v1/services/deaf");
        let rows = view["instances"].as_array()?;
        let on_one = rows.len() == 2 && rows.iter().all(|it| it["agent_name"] == "agent-1");
        (on_one && view["summary"]["ready"] == 2).then_some(())
    });
    second.interrupt();
    assert!(left_of(&instance).is_empty(), "left behind: {:?}", left_of(&instance));
}

#[test]
fn who_insists_is_told_what_is_left_and_cleanup_can_insist_as_well() {
    let _turn = turn();
    if !is_root("two ctrl-c") {
        return;
    }
    let place = Place::new();
    let file = place.file("deaf.yaml", &DEAF.replace("GRACE", "10m"));
    let args = ["--resources", "cpus:2;mem:1GiB", "--deploy", &file.to_string_lossy()];
    let mut dev = Dev::start(&place, &args);
    dev.deployed();
    dev.program.signal(Signal::SIGINT);
    dev.program.says("what it waits for", |line| {
        (line.contains("2 tasks have not ended yet") && line.contains("deaf.")).then_some(())
    });
    dev.program.signal(Signal::SIGINT);
    assert_eq!(dev.program.end(PATIENCE).code(), Some(130));
    let said = dev.program.err();
    assert!(said.contains("left behind") && said.contains("proffer cleanup --force"), "{said}");
    assert!(!left_of(&dev.instance).is_empty());
    let cleaned = proffer(&place, &[], &["cleanup", "--force"]).well();
    assert!(cleaned.out.contains(&dev.instance), "{cleaned:?}");
    let left = traces::of(&format!("dev-{}", dev.instance));
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn a_closed_terminal_ends_it_in_good_order() {
    let _turn = turn();
    if !is_root("dev and SIGHUP") {
        return;
    }
    let place = Place::new();
    let mut dev = Dev::start(&place, &["--deploy", "examples/web.yaml"]);
    dev.deployed();
    let instance = dev.instance.clone();
    dev.program.signal(Signal::SIGHUP);
    dev.program.end(PATIENCE);
    assert_gone(&place, &instance);
}

#[test]
fn when_a_part_ends_by_itself_it_says_which_and_leaves_nothing() {
    let _turn = turn();
    if !is_root("dev whose framework is torn down") {
        return;
    }
    let place = Place::new();
    let mut dev = Dev::start(&place, &["--deploy", "examples/web.yaml"]);
    dev.deployed();
    let instance = dev.instance.clone();
    dev.cli(&place, &["frameworks", "teardown", "service", "--yes"]).well();
    let status = dev.program.end(PATIENCE);
    let said = dev.program.err();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("error: the service framework ended by itself"), "{said}");
    assert!(said.contains("cause: it was torn down"), "{said}");
    assert_gone(&place, &instance);
}

/// Runs as a user without any right. The program and its example are copied where he may read them.
#[test]
fn without_root_it_says_in_one_line_what_is_withheld_and_runs_with_the_rest() {
    let _turn = turn();
    if !is_root("dev of another user (root is needed to become one)") {
        return;
    }
    let place = Place::new();
    let home = place.path().join("home");
    std::fs::create_dir(&home).expect("an own place");
    let copy = home.join("program");
    std::fs::copy(binary(), &copy).expect("the program can be copied");
    std::fs::copy(tree().join("examples/web.yaml"), home.join("web.yaml"))
        .expect("the example is there");
    for path in [place.path(), &home, &copy, &home.join("web.yaml")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("own files");
    }
    std::os::unix::fs::chown(&home, Some(65534), Some(65534)).expect("root may");
    // Another user's services keep off his ports, and he off theirs.
    let roots_place = Place::new();
    let mut roots = Dev::start(&roots_place, &["--deploy", "examples/web.yaml"]);
    roots.deployed();
    let of_root = web_is_up(&roots, 3);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]);
    command
        .arg(&copy)
        .args(["dev", "--listen", "127.0.0.1:0", "--deploy"])
        .arg(home.join("web.yaml"));
    command.env("XDG_RUNTIME_DIR", &home).env("HOME", &home);
    let mut program = Program::run_in(&place, "dev", command, &home);
    let until_said = until("it is ready, or has said why not", PATIENCE, || {
        let said = program.err();
        (said.contains("press ctrl-c") || !program.is_alive()).then_some(said)
    });
    let lines: Vec<&str> = until_said.lines().filter(|line| line.contains("root")).collect();
    assert_eq!(lines.len(), 1, "one line says what is withheld without root:\n{until_said}");
    if !program.is_alive() {
        println!("without root it does not run, and says so: {}", lines[0]);
        return;
    }
    let dev = Dev::watch(program);
    let found = web_is_up(&dev, 3);
    assert!(found.iter().all(|(_, address)| ask(*address).status == 200));
    assert!(found.iter().all(|it| of_root.iter().all(|other| other.1 != it.1)), "{found:?}");
    roots.interrupt();
    let mut dev = dev;
    dev.interrupt();
    pause(Duration::from_millis(100));
    let left = traces::processes(&place.name);
    assert!(left.is_empty(), "nothing runs on: {left:?}");
}
