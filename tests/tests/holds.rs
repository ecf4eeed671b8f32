//! Reservations and volumes with real processes and the real program on the command line: what was
//! promised and what was written stays over `kill -9` of agent and master; what is destroyed is gone.

use proffer_tests::cluster::Parts;
use proffer_tests::processes::{Ended, PATIENCE, is_root, turn, until};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn kill(parts: &mut Parts) {
    for program in parts.agents.iter_mut().chain([&mut parts.master]).flatten() {
        program.kill();
    }
}

/// Starts both again and waits until the agent is back.
fn start(parts: &mut Parts) {
    parts.start_master();
    parts.start_agent(0);
    parts.agents_active(1);
}

fn rows(parts: &Parts, what: &[&str]) -> Vec<Value> {
    let mut args = what.to_vec();
    args.extend(["-o", "json"]);
    let rows = parts.cli(&args).well().json();
    rows.as_array().cloned().unwrap_or_default()
}

/// Id and state of each row, once none of them is on its way.
fn settled(parts: &Parts, what: &[&str]) -> Vec<(String, String)> {
    let text =
        |row: &Value, path: &str| row.pointer(path).and_then(Value::as_str).map(str::to_owned);
    until("nothing is on its way", PATIENCE, || {
        let rows = rows(parts, what).into_iter().filter(|row| row["state"] != "static");
        let states: Option<Vec<_>> =
            rows.map(|row| Some((text(&row, "/hold/id")?, text(&row, "/state")?))).collect();
        states.filter(|states| states.iter().all(|(_, state)| state != "pending"))
    })
}

fn refused(ended: &Ended, code: i32, words: &str) {
    assert_eq!(ended.code, code, "{ended:?}");
    assert!(ended.err.contains(words), "{words:?} is not in {:?}", ended.err);
}

fn data(volumes: &Path, id: &str) -> PathBuf {
    volumes.join(id).join("data.txt")
}

#[test]
fn k18_what_is_reserved_and_written_outlives_kill_9_and_what_is_destroyed_is_gone() {
    let _turn = turn();
    if !is_root("reservations and volumes") {
        return;
    }
    let mut parts = Parts::start(1, "cpus:4;mem:1GiB;disk:1GiB;cpus(legacy):2");
    parts.agents_active(1);
    let volumes = parts.place.path().join("agent-0/volumes");
    let pair = |id: &str, state: &str| (id.to_owned(), state.to_owned());

    // A preview changes nothing.
    let reserve = ["reserve", "agent-0", "--role", "db", "--resources", "cpus:1;disk:512MiB"];
    let preview = parts.cli(&[&reserve[..], &["--dry-run"]].concat()).well();
    assert!(preview.out.starts_with("would be done: r1 on a1"), "{preview:?}");
    assert_eq!(settled(&parts, &["reservations"]), []);
    // What the agent was started with is listed beside, and nobody takes it off.
    let of_role = |role: &str| rows(&parts, &["reservations", "--role", role]);
    let legacy = of_role("legacy");
    assert_eq!((legacy.len(), &legacy[0]["state"]), (1, &Value::from("static")), "{legacy:?}");
    assert_eq!(legacy[0]["hold"]["resources"][0]["scalar"], "2000", "{legacy:?}");
    assert_eq!(of_role("db"), rows(&parts, &["volumes"]), "neither has any");
    let table = parts.cli(&["reservations", "--state", "static"]).well();
    assert!(table.out.contains("its agent was started with it"), "{table:?}");
    parts.cli(&reserve).well();
    let below = ["--below", "r1", "--resources", "cpus:0.5", "--label", "for=orders"];
    parts.cli(&[&["reserve", "a1", "--role", "db/orders"][..], &below].concat()).well();
    let create = ["volumes", "create", "--on", "r1", "--size", "128MiB", "--path", "state/db"];
    parts.cli(&create).well();
    std::fs::write(data(&volumes, "v3"), "precious").expect("the volume is there");

    // What cannot be says why, with the documented codes.
    let much = ["reserve", "agent-0", "--role", "db", "--resources", "cpus:9"];
    refused(&parts.cli(&much), 5, "resources");
    refused(&parts.cli(&["unreserve", "r1", "--yes"]), 5, "r1");
    refused(&parts.cli(&["unreserve", "r9", "--yes"]), 7, "there is no r9");
    refused(&parts.cli(&["unreserve", "v3", "--yes"]), 64, "v3 is no reservation");
    refused(&parts.cli(&["volumes", "destroy", "v3"]), 5, "not confirmed");

    for _ in 0..2 {
        kill(&mut parts);
        start(&mut parts);
        let expected = [pair("r1", "applied"), pair("r2", "applied")];
        assert_eq!(settled(&parts, &["reservations"]), expected);
        assert_eq!(settled(&parts, &["volumes"]), [pair("v3", "applied")]);
        assert_eq!(std::fs::read_to_string(data(&volumes, "v3")).expect("kept"), "precious");
    }

    // One that was asked for while its agent was about to die is there in the end, once.
    let detached = ["reserve", "agent-0", "--role", "web", "--resources", "cpus:1", "--detach"];
    parts.cli(&detached).well();
    kill(&mut parts);
    start(&mut parts);
    let states = settled(&parts, &["reservations", "--role", "web", "--agent", "agent-0"]);
    assert_eq!(states, [pair("r4", "applied")]);

    parts.cli(&["reservations", "update", "r4", "--role", "www", "--label", "a=b"]).well();
    parts.cli(&["volumes", "grow", "v3", "--size", "256MiB"]).well();
    assert_eq!(std::fs::read_to_string(data(&volumes, "v3")).expect("kept"), "precious");
    let row = &rows(&parts, &["volumes", "list", "--state", "applied"])[0];
    assert_eq!(row.pointer("/hold/resources/0/scalar").and_then(Value::as_str), Some("268435456"));

    // A disk that is lost is said to be so, and nothing is made in its place.
    parts.agents[0].as_mut().expect("it runs").kill();
    std::fs::remove_dir_all(volumes.join("v3")).expect("the disk is lost");
    parts.start_agent(0);
    let lost = until("the volume is lost", PATIENCE, || {
        let states = settled(&parts, &["volumes"]);
        (states == [pair("v3", "lost")]).then_some(states)
    });
    assert!(!volumes.join("v3").exists(), "{lost:?}");

    parts.cli(&["volumes", "destroy", "v3", "--yes"]).well();
    let again = ["volumes", "create", "--on", "r1", "--size", "1MiB", "--shared"];
    parts.cli(&again).well();
    std::fs::write(data(&volumes, "v5"), "precious").expect("the volume is there");
    parts.cli(&["volumes", "destroy", "v5", "--yes"]).well();
    assert!(!volumes.join("v5").exists(), "its data are wiped");
    for id in ["r2", "r1", "r4"] {
        parts.cli(&["unreserve", id, "--yes"]).well();
    }
    assert_eq!(settled(&parts, &["reservations"]), []);
    let total = parts.api.json("/v1/agents")["agents"][0]["total"].clone();
    assert_eq!(total.as_array().map(Vec::len), Some(4), "{total}");
}
