//! Ten thousand malformed inputs to the HTTP door, and as many to the door of service files: clear
//! errors, no panic, no growth, and it serves afterwards.

use proffer_tests::cluster::Dev;
use proffer_tests::mutation::{INPUTS, Said, WARM, assert_unharmed, mutate, resident_kib};
use proffer_tests::processes::{Place, is_root, tree, turn};
use proffer_tests::wire::{Answer, read};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

const SEED: u64 = 2026;

/// Sends, says that no more comes, and reads what there is. No answer is an answer: empty.
fn poke(dev: &Dev, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(dev.api.address).expect("the door is open");
    // What the mutation has made a stream goes on for ever.
    stream.set_read_timeout(Some(Duration::from_millis(1500))).expect("a socket");
    // It may close before it has read all: that is its right.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while answer.len() < 65536 {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => answer.extend_from_slice(&buffer[..count]),
            Ok(_) | Err(_) => break,
        }
    }
    read(&answer)
}

/// Well-formed requests of all kinds.
fn requests(dev: &Dev) -> Vec<Vec<u8>> {
    let bodies: &[(&str, &str, &str)] = &[
        ("GET", "/v1/overview", ""),
        ("GET", "/v1/agents?page_size=10", ""),
        ("GET", "/v1/agents/a1", ""),
        ("GET", "/v1/frameworks", ""),
        ("GET", "/v1/tasks?framework=f1&page_size=5", ""),
        ("GET", "/v1/tasks/f1/web.0.r1.1-1", ""),
        ("GET", "/v1/tasks/f1/web.0.r1.1-1/logs?stream=stdout&tail=5", ""),
        ("GET", "/v1/offers", ""),
        ("GET", "/v1/roles", ""),
        ("GET", "/v1/events?page_size=3", ""),
        ("GET", "/v1/why?subject=agent&id=a1", ""),
        ("GET", "/metrics", ""),
        ("GET", "/healthz", ""),
        ("GET", "/openapi.json", ""),
        ("GET", "/ui", ""),
        ("GET", "/v1/services", ""),
        ("GET", "/v1/services/web/events?after=1.1&limit=3", ""),
        ("POST", "/v1/services/web/scale", "{\"to\":{\"count\":5}}"),
        ("POST", "/v1/services/web/rollback", "{\"to\":2,\"if_revision\":3}"),
        ("POST", "/v1/services", "schema: service/v1\nservices: {x: {}}\n"),
        ("POST", "/v1/tasks/f1/x/kill", "{}"),
        ("PUT", "/v1/roles/eng%2Fdb", "{\"weight\":2000}"),
        ("DELETE", "/v1/services/web", ""),
    ];
    let whole = |(method, path, body): &(&str, &str, &str)| {
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}",
            dev.api.address, dev.api.token
        )
        .into_bytes()
    };
    bodies.iter().map(whole).collect()
}

/// Inputs that mutation would hardly find.
fn monsters(dev: &Dev) -> Vec<Vec<u8>> {
    let head = |method: &str, path: &str, more: &str, length: usize| {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n{more}Content-Length: {length}\r\n\r\n",
            dev.api.address, dev.api.token
        )
        .into_bytes()
    };
    let with = |method: &str, path: &str, body: &[u8]| {
        [head(method, path, "", body.len()), body.to_vec()].concat()
    };
    let deep = |open: &str, close: &str| [open.repeat(100_000), close.repeat(100_000)].concat();
    let long = "x".repeat(1 << 20);
    let mut all = Vec::new();
    for path in
        ["/v1/services/web/scale", "/v1/services", "/v1/agents/a1/drain", "/v1/services/-/validate"]
    {
        all.push(with("POST", path, deep("[", "]").as_bytes()));
        all.push(with("POST", path, deep("{\"a\":", "}").as_bytes()));
        all.push(with("POST", path, "[".repeat(100_000).as_bytes()));
        all.push(with(
            "POST",
            path,
            format!("{{\"to\":{{\"count\":{}}}}}", "9".repeat(100_000)).as_bytes(),
        ));
        all.push(with("POST", path, &[0xff; 4096]));
        all.push(with("POST", path, long.repeat(3).as_bytes()));
    }
    all.push(with("PUT", "/v1/roles/x", deep("{\"weight\":", "}").as_bytes()));
    all.push(head("GET", "/v1/agents", &format!("X-Long: {long}\r\n"), 0));
    all.push(head("GET", "/v1/agents", &"X-Many: y\r\n".repeat(5000), 0));
    all.push(head("GET", &format!("/v1/agents?{long}"), "", 0));
    all.push(head("GET", &format!("/{}", "a/".repeat(30_000)), "", 0));
    for path in [
        "/%00",
        "/v1/tasks/%2e%2e%2f%2e%2e/x",
        "/v1/../../etc/passwd",
        "/ui/../../../etc/passwd",
        "/ui/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/v1/tasks/f1/x/files?path=../../../../etc/passwd",
        "/v1/agents/a18446744073709551616",
        "/v1/agents/%ff%fe",
        "/v1/tasks?page_size=-1",
        "/v1/tasks?page_token=%00%ff",
        "/v1/watch?after=zzz.zzz",
        "//",
        "*",
        "/v1/services/%0d%0aX:%20y",
    ] {
        all.push(head("GET", path, "", 0));
    }
    all.push(head("GET", "/v1/agents", "Transfer-Encoding: chunked\r\n", 5));
    all.push(head("POST", "/v1/services", "", usize::MAX));
    all.push(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec());
    all.push(vec![0; 65536]);
    all
}

#[test]
fn ten_thousand_malformed_http_requests_do_no_harm() {
    let _turn = turn();
    if !is_root("malformed HTTP") {
        return;
    }
    let place = Place::new();
    let mut dev = Dev::start(&place, &[]);
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let (good, bad) = (requests(&dev), monsters(&dev));
    let mut said = Said::default();
    let mut warm = 0;
    for number in 0..INPUTS {
        let input = match bad.get(number) {
            Some(monster) => monster.clone(),
            None => {
                let seed = &good[random.random_range(0..good.len())];
                mutate(&mut random, seed)
            }
        };
        let answer = poke(&dev, &input);
        let shown = || String::from_utf8_lossy(&input[..input.len().min(400)]).into_owned();
        assert!(answer.status != 500, "{answer:?} to {}", shown());
        if (400..500).contains(&answer.status) && answer.body.starts_with('{') {
            // A second answer follows when what is left of the input is a request as well.
            let mut values = serde_json::Deserializer::from_str(&answer.body).into_iter::<Value>();
            let error = values.next().and_then(Result::ok).unwrap_or_default();
            let message = error["message"].as_str().unwrap_or_default();
            assert!(error["code"].is_string() && !message.is_empty(), "{answer:?} to {}", shown());
        }
        said.note(answer.status.to_string());
        if number == WARM {
            warm = resident_kib(dev.program.pid());
        }
    }
    println!("HTTP answers by status (0: closed without one): {:?}", said.0);
    assert!(said.0.get("400").is_some_and(|count| *count > 100), "{said:?}");
    assert_unharmed(&mut dev, "HTTP", warm);
    still_serves(&mut dev, &place);
}

/// A service is deployed and runs.
fn still_serves(dev: &mut Dev, place: &Place) {
    let text = "schema: service/v1\nservices: {after: {command: [/bin/sleep, '1000'], \
                resources: {request: {cpu: 0.01, mem: 16Mi}}, stop: {signal: KILL}, \
                rollout: {min_available_time: 100ms}}}\n";
    let file = place.file("after.yaml", text);
    let _ = dev.cli(place, &["deploy", "--timeout", "30s", &file.to_string_lossy()]).well();
    dev.interrupt();
}

/// Bytes of a file that are read in any case.
const READ_BYTES_MAX: usize = 1 << 20;

/// Files that are wrong in ways of their own.
fn wrong_files() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut bomb =
        String::from("schema: service/v1\nvars:\n  a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("  a{level}: &a{level} [{items}]\n"));
    }
    all.push(bomb.into_bytes());
    all.push("[".repeat(100_000).into_bytes());
    all.push("{a: ".repeat(100_000).into_bytes());
    all.push("- ".repeat(100_000).into_bytes());
    all.push(
        (0..20_000).flat_map(|n| format!("{}k:\n", " ".repeat(n % 500)).into_bytes()).collect(),
    );
    all.push(
        format!("schema: service/v1\nservices: {{web: {{command: [{}]}}}}", "a, ".repeat(300_000))
            .into_bytes(),
    );
    all.push(format!("schema: {}", "x".repeat(900_000)).into_bytes());
    all.push(b"a: &a [*a]".to_vec());
    all.push(b"<<: *x".to_vec());
    all.push(b"!!binary |\n AAAA".to_vec());
    all.push(b"\xff\xfe\0s\0c".to_vec());
    all.push(b"%YAML 9.9\n---\n...\n---\n".to_vec());
    all.push(b"schema: service/v1\nservices:\n  web:\n    instances: 1e400\n".to_vec());
    all
}

#[test]
fn ten_thousand_malformed_files_do_no_harm() {
    let _turn = turn();
    if !is_root("malformed files") {
        return;
    }
    let place = Place::new();
    let mut dev = Dev::start(&place, &[]);
    let example = std::fs::read(tree().join("examples/web.yaml")).expect("the example is there");
    let small = b"schema: service/v1\nvars: {x: a}\ndefaults: {labels: {team: a}}\nservices:\n  api:\n    instances: 2\n    command: [/bin/true, \"${x}\"]\n    env: {A: b, C: \"${meta.slot}\"}\n    resources: {request: {cpu: 0.25, mem: 1Gi}, limit: {pids: 9}}\n    ports: {web: {host: auto}, admin: {host: auto}}\n    checks: {ready: {http: {port: web, path: /x, status: [200]}, interval: 1s}}\n    placement: {require: [zone == a, attr.gpu exists], max_per: {host: 1}}\n    rollout: {order: stop_first, min_ready: 50%, surge: 0}\n".to_vec();
    let wrong = wrong_files();
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut said = Said::default();
    let mut warm = 0;
    for number in 0..INPUTS {
        let input = match wrong.get(number) {
            Some(file) => file.clone(),
            None if number % 8 == 0 => mutate(&mut random, &example),
            None => mutate(&mut random, &small),
        };
        let answer = dev.api.call("POST", "/v1/services/-/validate", &input);
        let shown = || String::from_utf8_lossy(&input[..input.len().min(600)]).into_owned();
        match answer.status {
            200 => {}
            // Who sends more than is read may lose the answer with the connection.
            0 if input.len() > READ_BYTES_MAX => {}
            // A field that will be known later is refused as not yet supported.
            400..=499 | 501 => {
                let error = answer.json();
                let message = error["message"].as_str().unwrap_or_default();
                assert!(
                    error["code"].is_string() && !message.is_empty(),
                    "{answer:?} to {}",
                    shown()
                );
            }
            _ => panic!("{answer:?} to {}", shown()),
        }
        said.note(answer.status.to_string());
        if number == WARM {
            warm = resident_kib(dev.program.pid());
        }
    }
    println!("answers to files by status: {:?}", said.0);
    assert_unharmed(&mut dev, "files", warm);
    still_serves(&mut dev, &place);
}
