//! Services through the CLI on a real cluster: what a user does, what it prints, how it ends; and a
//! rolling update under constant load, in which not one request may fail.

use proffer_tests::cluster::Dev;
use proffer_tests::load::{Load, Plan, Report};
use proffer_tests::processes::{PATIENCE, Place, is_root, tree, turn, until};
use serde_json::Value;
use std::time::Duration;

fn web() -> String {
    std::fs::read_to_string(tree().join("examples/web.yaml")).expect("the example is there")
}

/// Replaces exactly one place of a file.
fn changed(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from:?} is in the example once");
    text.replace(from, to)
}

fn greeting(text: &str, greeting: &str) -> String {
    changed(text, "change me and deploy again", greeting)
}

fn under_load(dev: &Dev, slow_every: u64) -> Load {
    let plan = Plan {
        service: "web".to_owned(),
        rate: 200,
        slow_every,
        patience: Duration::from_secs(20),
    };
    Load::start(dev.api.clone(), plan)
}

#[expect(clippy::print_stdout, reason = "a test says what it measured")]
fn print(what: &str, report: &Report) {
    println!(
        "{what}: {} sent, {} answered, failures {:?}; by revision {:?}; {} on kept connections; latency p50 {:?} p99 {:?} max {:?}",
        report.sent,
        report.answered,
        report.failures,
        report.by_revision,
        report.on_kept,
        report.percentile(50),
        report.percentile(99),
        report.percentile(100),
    );
}

#[test]
fn a_rolling_update_under_constant_load_fails_no_request() {
    let _turn = turn();
    if !is_root("the rolling update under load") {
        return;
    }
    let place = Place::new();
    let mut dev = Dev::start(&place, &["--deploy", "examples/web.yaml"]);
    dev.deployed();
    let load = under_load(&dev, 10);
    let file = place.file("web.yaml", &greeting(&web(), "the second revision"));
    let ended = dev.cli(&place, &["deploy", &file.to_string_lossy()]);
    let report = load.end();
    print("rolling update", &report);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(report.failures, std::collections::BTreeMap::new());
    assert!(report.by_revision.contains_key("r1") && report.by_revision.contains_key("r2"));
    assert!(report.sent > 1000, "the load went on for long enough: {}", report.sent);
    assert!(report.on_kept > report.sent / 4, "kept connections were used: {}", report.on_kept);
    dev.interrupt();
}

/// I13: instances are replaced on the other agent first, one by one, and linger before they end.
#[test]
fn an_agent_is_drained_under_constant_load_and_no_request_fails() {
    let _turn = turn();
    if !is_root("the drain under load") {
        return;
    }
    let place = Place::new();
    let file = place.file("web.yaml", &changed(&web(), "instances: 3", "instances: 4"));
    let mut dev = Dev::start(&place, &["--agents", "2", "--deploy", &file.to_string_lossy()]);
    dev.deployed();
    let agents = || -> Vec<String> {
        let view = dev.api.json("/v1/services/web");
        let instances = view["instances"].as_array().cloned().unwrap_or_default();
        let published = instances.iter().filter(|it| it["published"] == true);
        published.map(|it| it["agent"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let emptied = agents().first().expect("four serve").clone();
    let preview = dev.cli(&place, &["agents", "drain", &emptied, "--dry-run", "-o", "json"]).well();
    let preview = preview.json();
    let touched = preview["frameworks"][0]["services"]["web"].as_u64().expect("web is there");
    assert!(touched > 0 && preview["tasks"] == touched, "{preview}");
    let load = under_load(&dev, 10);
    let drain = ["agents", "drain", &emptied, "--wait", "--timeout", "3m", "--yes"];
    let ended = dev.cli(&place, &drain);
    let report = load.end();
    print("drain", &report);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(report.failures, std::collections::BTreeMap::new());
    assert!(report.sent > 1000, "the load went on for long enough: {}", report.sent);
    let serving = agents();
    assert_eq!(serving.len(), 4);
    assert!(serving.iter().all(|agent| *agent != emptied), "{serving:?}");
    let rows = dev.cli(&place, &["agents", "-o", "json"]).well().json();
    let row = |rows: &Value| {
        let rows = rows.as_array().cloned().unwrap_or_default();
        rows.into_iter().find(|row| row["id"] == emptied.as_str()).expect("it is listed")
    };
    assert_eq!(row(&rows)["condition"], "drained");
    dev.cli(&place, &["agents", "activate", &emptied]).well();
    let rows = dev.cli(&place, &["agents", "-o", "json"]).well().json();
    assert_eq!(row(&rows)["condition"], "active");
    let maintenance = |verb: &[&str]| {
        let args: Vec<&str> = [&["agents", "maintenance"], verb].concat();
        dev.cli(&place, &args)
    };
    maintenance(&["add", &emptied, "--in", "2h", "--duration", "1h", "-m", "new disks"]).well();
    let windows = maintenance(&["list", "-o", "json"]).well().json();
    assert_eq!((&windows[0]["phase"], &windows[0]["id"]), (&"scheduled".into(), &"w1".into()));
    assert_eq!(windows[0]["agents"][0], emptied.as_str());
    let early = maintenance(&["end", "w1"]);
    assert_eq!(early.code, 5, "{early:?}");
    maintenance(&["start", "w1", "--yes"]).well();
    let rows = dev.cli(&place, &["agents", "-o", "json"]).well().json();
    assert_eq!(row(&rows)["condition"], "drained");
    maintenance(&["end", "w1"]).well();
    assert_eq!(maintenance(&["list", "-o", "json"]).well().json(), serde_json::json!([]));
    dev.interrupt();
}

#[test]
fn the_same_with_an_abrupt_end_and_no_linger_fails_requests() {
    let _turn = turn();
    if !is_root("the negative control of the load client") {
        return;
    }
    let place = Place::new();
    let mut abrupt = changed(&web(), "linger: 3s", "linger: 0s");
    abrupt = changed(&abrupt, "signal: TERM", "signal: KILL");
    abrupt = changed(&abrupt, "grace: 15s", "grace: 0s");
    abrupt = changed(&abrupt, "min_available_time: 2s", "min_available_time: 500ms");
    let first = place.file("first.yaml", &abrupt);
    let second = place.file("second.yaml", &greeting(&abrupt, "the second revision"));
    let mut dev = Dev::start(&place, &["--deploy", &first.to_string_lossy()]);
    dev.deployed();
    let load = under_load(&dev, 10);
    let ended = dev.cli(&place, &["deploy", &second.to_string_lossy()]);
    let report = load.end();
    print("negative control", &report);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(report.failed() > 0, "a client that sees no failure here would see none anywhere");
    assert!(report.answered > report.failed(), "it saw more than failures");
    dev.interrupt();
}

/// A service that is quick to roll out: no port, no soak.
fn quick(instances: u32, words: &str) -> String {
    format!(
        "schema: service/v1
services:
  quick:
    instances: {instances}
    command: [/bin/sh, -c, \"{words}\"]
    resources: {{request: {{cpu: 0.01, mem: 16Mi}}}}
    stop: {{drain: {{linger: 0s}}, signal: KILL, grace: 0s}}
    rollout: {{min_available_time: 200ms, progress_deadline: 1m}}
"
    )
}

fn ready(dev: &Dev) -> (u64, u64, u64) {
    let view = dev.api.json("/v1/services/quick");
    let number = |field: &str| view["summary"][field].as_u64().unwrap_or(u64::MAX);
    (number("ready"), number("instances"), number("revision"))
}

#[test]
fn the_verbs_on_services_do_what_they_say_and_end_with_documented_codes() {
    let _turn = turn();
    if !is_root("the verbs on services") {
        return;
    }
    let place = Place::new();
    let mut dev = Dev::start(&place, &[]);
    let cli = |args: &[&str]| dev.cli(&place, args);
    let file = |name: &str, text: &str| place.file(name, text).to_string_lossy().into_owned();
    let good = file("good.yaml", &quick(2, "exec sleep 100001"));
    let second = file("second.yaml", &quick(2, "exec sleep 100002"));

    let made = cli(&["deploy", &good]).well();
    assert!(made.out.contains("created, revision 1"), "{}", made.out);
    assert!(cli(&["deploy", &good]).well().out.contains("unchanged"));
    assert_eq!(ready(&dev), (2, 2, 1));

    // A file that is not well: code 5, its place, and what was meant.
    let bad = file("bad.yaml", &quick(2, "exec sleep 1").replace("instances:", "instance:"));
    let refused = cli(&["deploy", &bad]);
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.err.contains("bad.yaml:4:5"), "file:line:column: {}", refused.err);
    assert!(refused.err.contains("instances"), "did you mean: {}", refused.err);
    assert_eq!(cli(&["validate", &bad]).code, 5);
    assert_eq!(ready(&dev), (2, 2, 1));

    // A fixed port and start-first exclude each other; said before anything changes.
    let fixed = "    ports: {web: {host: 25999}}\n    rollout: {order: start_first}\n";
    let text = quick(1, "exec sleep 1");
    let (before, _) = text.split_once("    rollout:").expect("it has one");
    let impossible = cli(&["deploy", &file("fixed.yaml", &format!("{before}{fixed}"))]);
    assert_eq!(impossible.code, 5, "{impossible:?}");
    assert!(impossible.err.contains("stop_first"), "{}", impossible.err);

    // A new revision that crashes is taken back by itself: code 3, and its last words.
    let crash = file("crash.yaml", &quick(2, "echo the last words of it; exit 41"));
    let failed = cli(&["deploy", &crash]);
    assert_eq!(failed.code, 3, "{failed:?}");
    let said = format!("{}{}", failed.out, failed.err);
    assert!(said.contains("the last words of it"), "the end of the log is shown: {said}");
    assert!(said.contains("41"), "the exit code is shown: {said}");
    until("both instances are back", PATIENCE, || (ready(&dev).0 == 2).then_some(()));
    let instances = cli(&["-o", "json", "ps", "quick"]).well().json();
    let rows = instances.as_array().expect("a list").clone();
    assert!(rows.iter().filter(|row| row["phase"] != "ended").count() >= 2, "{rows:?}");

    // Revisions: history, rollback to a given one, conflict.
    assert_eq!(cli(&["deploy", "--if-revision", "77", &second]).code, 6);
    let moved = cli(&["deploy", "-m", "a better one", &second]).well();
    assert!(moved.out.contains("->"), "{}", moved.out);
    let history = cli(&["-o", "json", "history", "quick"]).well().json();
    let revisions = history.as_array().expect("a list");
    assert!(revisions.iter().any(|it| it["message"] == "a better one"), "{history}");
    let present = ready(&dev).2;
    cli(&["rollback", "quick", "--to", "1"]).well();
    assert!(ready(&dev).2 > present, "a rollback is a new revision");
    let written = cli(&["-o", "json", "get", "quick"]).well();
    let command = written.json()["services"]["quick"]["command"].to_string();
    assert!(command.contains("100001"), "{command}");
    let again = place.file("again.json", &written.out);
    cli(&["validate", &again.to_string_lossy()]).well();

    // Count, restart, stop, start.
    cli(&["scale", "quick=4"]).well();
    assert_eq!((ready(&dev).0, ready(&dev).1), (4, 4));
    cli(&["scale", "quick=-1"]).well();
    assert_eq!((ready(&dev).0, ready(&dev).1), (3, 3));
    let names = |dev: &Dev| -> Vec<Value> {
        let list = dev.api.json("/v1/services/quick/instances");
        let rows = list["instances"].as_array().cloned().unwrap_or_default();
        rows.into_iter()
            .filter(|row| row["published"] == true)
            .map(|row| row["name"].clone())
            .collect()
    };
    let before = names(&dev);
    cli(&["restart", "quick"]).well();
    let after = names(&dev);
    assert_eq!(after.len(), 3);
    assert!(after.iter().all(|name| !before.contains(name)), "{before:?} {after:?}");
    cli(&["stop", "quick"]).well();
    assert_eq!(ready(&dev).0, 0);
    cli(&["start", "quick"]).well();
    assert_eq!(ready(&dev).0, 3);

    // Waiting, and the time it may take.
    cli(&["wait", "quick", "--for", "ready"]).well();
    cli(&["wait", "quick", "--for", "instances=3"]).well();
    assert_eq!(cli(&["wait", "quick", "--for", "instances=9", "--timeout", "300ms"]).code, 4);
    assert_eq!(cli(&["scale", "quick=5", "--timeout", "1ms"]).code, 4);
    assert_eq!(cli(&["wait", "quick", "--for", "a miracle"]).code, 64);

    // What is not there, wrong words, a missing yes, a wrong token.
    assert_eq!(cli(&["status", "nothing"]).code, 7);
    assert_eq!(cli(&["statsu", "quick"]).code, 64);
    assert_eq!(cli(&["rm", "quick"]).code, 5);
    let wrong =
        file("wrong-token", "0000000000000000000000000000000000000000000000000000000000000000\n");
    assert_eq!(cli(&["--token-file", &wrong, "ls"]).code, 8);
    let lonely =
        proffer_tests::processes::proffer(&place, &[("PROFFER_ADDR", "127.0.0.1:9")], &["ls"]);
    assert_eq!(lonely.code, 1, "{lonely:?}");

    json_everywhere(&dev, &place);

    cli(&["rm", "quick", "--yes"]).well();
    cli(&["wait", "quick", "--for", "deleted"]).well();
    assert_eq!(cli(&["status", "quick"]).code, 7);
    assert_eq!(cli(&["-o", "json", "ls"]).well().json(), serde_json::json!([]));
    dev.interrupt();
}

/// Every reading command prints one JSON document with `-o json`, and something without.
fn json_everywhere(dev: &Dev, place: &Place) {
    let reading: &[&[&str]] = &[
        &["ls"],
        &["status", "quick"],
        &["ps"],
        &["get", "quick"],
        &["history", "quick"],
        &["why", "quick"],
        &["why", "f1"],
        &["why", "a1"],
        &["endpoints", "quick"],
        &["agents"],
        &["frameworks"],
        &["offers"],
        &["tasks"],
        &["roles"],
        &["version"],
    ];
    for args in reading {
        let mut all = vec!["-o", "json"];
        all.extend(*args);
        let value = dev.cli(place, &all).well().json();
        assert!(value.is_array() || value.is_object(), "{args:?}: {value}");
        let text = dev.cli(place, args).well().out;
        assert!(!text.trim().is_empty(), "{args:?} prints something for people");
    }
    let events = dev.cli(place, &["-o", "json", "events", "quick"]).well().out;
    assert!(events.lines().count() > 5, "{events}");
    for line in events.lines() {
        serde_json::from_str::<Value>(line).expect("one object a line");
    }
    let refused = dev.cli(place, &["-o", "json", "status", "nothing"]);
    let error: Value = serde_json::from_str(&refused.err).expect("an error is JSON as well");
    assert_eq!(error["code"], "not_found", "{error}");
}

#[test]
fn completion_scripts_are_printed_for_three_shells() {
    let place = Place::new();
    for (shell, sign) in [("bash", "complete -F"), ("zsh", "#compdef"), ("fish", "complete -c")] {
        let script =
            proffer_tests::processes::proffer(&place, &[], &["completion", shell]).well().out;
        assert!(script.contains(sign) && script.contains("rollback"), "{shell}");
    }
}

/// Two services that write to both streams.
const PAIR: &str = "schema: service/v1
services:
  left:
    instances: 1
    command: [/bin/sh, -c, 'echo said; echo complained >&2; exec sleep 100000']
    resources: {request: {cpu: 0.01, mem: 16Mi}}
    stop: {drain: {linger: 0s}, signal: KILL, grace: 0s}
    rollout: {min_available_time: 0s}
  right:
    instances: 1
    command: [/bin/sh, -c, 'exec sleep 100000']
    resources: {request: {cpu: 0.01, mem: 16Mi}}
    stop: {drain: {linger: 0s}, signal: KILL, grace: 0s}
    rollout: {min_available_time: 0s, on_failure: pause}
";

fn error_of(err: &str) -> Value {
    serde_json::from_str(err).unwrap_or_else(|error| panic!("{error}: no single object: {err}"))
}

#[test]
fn what_the_cli_says_is_the_whole_truth() {
    let _turn = turn();
    if !is_root("what the CLI says") {
        return;
    }
    let place = Place::new();
    let mut dev = Dev::start(&place, &[]);
    let cli = |args: &[&str]| dev.cli(&place, args);
    let json = |args: &[&str]| {
        let mut all = vec!["-o", "json"];
        all.extend(args);
        dev.cli(&place, &all)
    };
    let count = |service: &str| {
        dev.api.json(&format!("/v1/services/{service}"))["summary"]["instances"].as_u64()
    };
    let file = place.file("pair.yaml", PAIR);
    let file = file.to_string_lossy();
    let made = json(&["deploy", &file]).well().json();
    assert_eq!(made["services"][0]["change"], "created");
    assert_eq!(made["services"][0]["outcome"]["state"], "done", "{made}");

    // Both streams, or the one that is asked for.
    let both = cli(&["logs", "left"]).well().out;
    assert!(both.contains("said") && both.contains("complained"), "{both}");
    assert_eq!(cli(&["logs", "left", "--stdout"]).well().out, "said\n");
    assert_eq!(cli(&["logs", "left", "--stderr"]).well().out, "complained\n");
    let row = json(&["logs", "left", "--stderr"]).well().json();
    assert_eq!(
        (row["stream"].as_str(), row["line"].as_str()),
        (Some("stderr"), Some("complained"))
    );
    let unknown = cli(&["logs", "f1/nope"]);
    assert_eq!((unknown.code, unknown.err.matches("error:").count()), (7, 1), "{unknown:?}");

    // Several are scaled, or none.
    let refused = cli(&["scale", "left=2", "nope=3"]);
    assert_eq!((refused.code, count("left")), (7, Some(1)), "{refused:?}");
    cli(&["scale", "left=2", "right=2"]).well();
    assert_eq!((count("left"), count("right")), (Some(2), Some(2)));

    // The newest events, in one shape.
    cli(&["scale", "left=1"]).well();
    let all = json(&["events", "left"]).well().out;
    let last: Value = serde_json::from_str(all.lines().last().expect("there are events"))
        .expect("one object a line");
    let shown = cli(&["status", "left"]).well().out;
    let shown = shown.lines().last().expect("it ends with events");
    assert!(shown.contains(last["message"].as_str().expect("words")), "{shown} but {last}");
    for events in [all, json(&["events"]).well().out] {
        for event in events.lines() {
            let event: Value = serde_json::from_str(event).expect("one object a line");
            let keys: Vec<&String> = event.as_object().expect("an object").keys().collect();
            assert_eq!(keys, ["at_ms", "kind", "message", "subject"]);
        }
    }

    // A stopped service is changed, and nobody waits for it to run.
    cli(&["stop", "left"]).well();
    for args in [vec!["scale", "left=3"], vec!["restart", "left"], vec!["deploy", &file]] {
        let said = cli(&args).well().out;
        assert!(said.contains("is stopped: nothing runs until"), "{args:?}: {said}");
    }
    let waited = cli(&["wait", "left"]);
    assert_eq!((waited.code, waited.err.contains("left is stopped")), (5, true), "{waited:?}");

    // A failed rollout says as data how it ended.
    let crash = PAIR.replace("'exec sleep 100000'", "'echo its last words; exit 41'");
    let crash = place.file("crash.yaml", &crash);
    let failed = json(&["deploy", &crash.to_string_lossy()]);
    assert_eq!(failed.code, 3, "{failed:?}");
    let outcome = &failed.json()["services"][1]["outcome"];
    assert_eq!(outcome["state"], "failed", "{outcome}");
    let words = outcome["first_failure"].as_str().unwrap_or_default();
    assert!(words.contains("41"), "{outcome}");

    // What an instance said can be read after its end; of a stopped service without being asked.
    let last = cli(&["logs", "right", "--previous"]).well().out;
    assert!(last.contains("its last words"), "{last}");
    assert!(cli(&["logs", "left"]).well().out.contains("said"));
    let ended = cli(&["tasks", "--ended"]).well().out;
    assert!(ended.contains("right.0.r2"), "{ended}");

    // Mistakes are objects with the same keys, whoever found them.
    let bad = place.file("bad.yaml", &PAIR.replace("instances: 1", "instance: 1"));
    let faulty = error_of(&json(&["validate", &bad.to_string_lossy()]).err);
    let fault = &faulty["faults"][0];
    assert_eq!((fault["line"].as_u64(), fault["column"].as_u64()), (Some(4), Some(5)), "{faulty}");
    assert_eq!(fault["key"], "services.left.instance");
    let usage = json(&["scale"]);
    assert_eq!((usage.code, &error_of(&usage.err)["code"]), (64, &Value::from("usage")));
    let config = place.file("config.toml", "mastrs = 1\n");
    let config = json(&["--config", &config.to_string_lossy(), "ls"]);
    assert_eq!(error_of(&config.err)["code"], "refused", "{config:?}");

    // An agent that is there is not gone.
    let refused = cli(&["agents", "gone", "agent-1", "--yes"]);
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.err.contains("agents drain"), "{}", refused.err);
    dev.interrupt();
}
