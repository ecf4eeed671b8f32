//! Service files as text: what is accepted, and how faults are told.

use proffer_service::spec_file::{parse, parse_bytes, render, to_yaml};
use proffer_service_core::spec::model::{HostPort, Order};
use proffer_service_core::spec::quantity::{Amount, Wait};
use proffer_service_core::spec::{Diagnostic, ServiceName, fields, template};
use proffer_types::template::Placeholders;
use proffer_types::{DurationMs, Milli, RefusalCode};
use std::collections::BTreeSet;

const WEB: &str = include_str!("../../../examples/web.yaml");

fn file(service: &str) -> String {
    let indented: String = service.lines().map(|line| format!("    {line}\n")).collect();
    format!("schema: service/v1\nservices:\n  web:\n{indented}")
}

fn faults(service: &str) -> Vec<Diagnostic> {
    parse(&file(service)).expect_err(service)
}

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).expect("valid")
}

#[test]
fn the_example_is_accepted_and_its_script_is_passed_on_unharmed() {
    let parsed = parse(WEB).expect("the example is a good file");
    let web = &parsed.services[&name("web")];
    assert_eq!(web.instances, Some(3));
    let pod = template::pod(web);
    pod.validate().expect("the agent takes it");
    let variables = ["port.web", "meta.slot", "meta.revision"];
    let variables = variables.iter().map(|name| ((*name).to_owned(), "7".to_owned())).collect();
    let script = Placeholders::new(&variables).expand(&pod.containers[0].command[2]);
    assert_eq!(script.expect("no placeholder is missing"), web.command[2]);
    assert_eq!(pod.containers[0].env["PORT_WEB"], "${port.web}");
}

#[test]
fn every_example_is_accepted() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("there are examples") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).expect("text");
            let outcome = parse(&text);
            assert!(outcome.is_ok(), "{}: {:?}", path.display(), outcome.err());
            count += 1;
        }
    }
    assert!(count >= 2, "{count} examples");
}

#[test]
fn the_smallest_file_gets_defaults_that_are_safe() {
    let text =
        "schema: service/v1\nservices: {web: {command: [/bin/server], ports: {b: {}, a: {}}}}";
    let parsed = parse(text).expect("accepted");
    let web = &parsed.services[&name("web")];
    assert_eq!(web.instances, None);
    assert_eq!(web.rollout.order, Order::StartFirst);
    assert_eq!(web.rollout.surge, Amount::Percent(25));
    assert_eq!(web.unreachable.replace_after, Wait::For(DurationMs::from_secs(60)));
    assert_eq!(web.resources.limit.mem, web.resources.request.mem);
    let ready = web.checks.ready.as_ref().expect("tcp on the first port");
    assert_eq!(serde_json::to_value(ready).expect("serialises")["tcp"]["port"], "b");
}

#[test]
fn a_fault_is_told_with_file_line_column_field_and_what_was_meant() {
    let text = file("command: [/bin/server]\ninstnaces: 3");
    let faults = parse(&text).expect_err("refused");
    assert_eq!(faults.len(), 1);
    assert_eq!(
        render(&faults[0], "web.yaml", &text),
        "web.yaml:5:5: services.web.instnaces: is not a known field\n  \
         5 |     instnaces: 3\n    \
         |     ^\n  \
         did you mean instances?\n"
    );
}

#[test]
fn all_faults_of_a_file_are_told_at_once_in_the_order_of_the_text() {
    let faults = faults(
        "command: [/bin/server, \"${port.wbe}\"]\n\
         resources: {request: {mem: 512}}\n\
         stop: {grace: 30}\n\
         ports: {web: {host: 99999}}\n\
         checks: {ready: {http: {port: wbe}, fail: 0}}\n\
         rollout: {order: start_frist, min_ready: 101%}",
    );
    let told: Vec<(&str, u32)> =
        faults.iter().map(|fault| (fault.field.as_str(), fault.mark.line)).collect();
    assert_eq!(
        told,
        [
            ("services.web.command[1]", 4),
            ("services.web.resources.request.mem", 5),
            ("services.web.stop.grace", 6),
            ("services.web.ports.web.host", 7),
            ("services.web.checks.ready.http.port", 8),
            ("services.web.rollout.order", 9),
            ("services.web.rollout.min_ready", 9),
        ],
        "{faults:#?}"
    );
    assert!(faults[0].hint.contains("${port.web}"), "{}", faults[0]);
    assert!(faults[1].message.contains("needs a unit"), "{}", faults[1]);
    assert_eq!(faults[5].hint, "did you mean start_first?");
}

/// Every field of the later format that is not understood yet says so, and no other word does.
#[test]
fn later_fields_are_not_yet_supported_and_unknown_ones_unknown() {
    let later: BTreeSet<&str> = fields::SERVICE.later.iter().copied().collect();
    for field in &later {
        let faults = faults(&format!("command: [/bin/server]\n{field}: {{}}"));
        assert_eq!(faults[0].code, RefusalCode::NotSupported, "{field}");
        assert_eq!(faults[0].message, "is not yet supported");
    }
    for nested in [
        "rollout: {batches: [1]}",
        "rollout: {canary: {}}",
        "rollout: {strategy: blue_green}",
        "instances: per_node",
        "ports: {web: {container: 80}}",
        "placement: {prefer: []}",
        "placement: {spread: [{by: zone}]}",
        "placement: {require: [attr.kernel >= 5.10]}",
        "stop: {pre_stop: {}}",
        "stop: {drain: {max_wait: 3s}}",
        "restart: {local: 2 in 10m}",
        "unreachable: {on_return: keep_best}",
        "resources: {request: {gpu: 1}}",
        "resources: {request: {cpu: 1}, limit: {cpu: 2}}",
        "env: {A: {secret: shop/db}}",
    ] {
        let faults = faults(&format!("command: [/bin/server]\n{nested}"));
        assert_eq!(faults[0].code, RefusalCode::NotSupported, "{nested}: {faults:?}");
    }
    assert_eq!(
        parse("schema: service/v1\nstack: shop\nservices: {a: {command: [x]}}").expect_err("later")
            [0]
        .code,
        RefusalCode::NotSupported
    );
    assert_eq!(faults("command: [/bin/server]\nfoo: 1")[0].code, RefusalCode::InvalidArgument);
}

#[test]
fn a_fixed_port_makes_start_first_impossible_and_says_so() {
    let fixed = "command: [/bin/server]\ninstances: 3\nports: {web: {host: 8080}}";
    let refused = faults(fixed);
    assert_eq!(refused[0].field, "services.web.ports.web.host");
    assert!(refused[0].message.contains("cannot both bind 8080"), "{}", refused[0]);
    assert_eq!(refused[0].mark.line, 6);
    let mended = format!("{fixed}\nrollout: {{order: stop_first, min_ready: 2}}");
    let parsed = parse(&file(&mended)).expect("as the hint says");
    assert_eq!(parsed.services[&name("web")].ports["web"].host, HostPort::Fixed(8080));
}

/// The rounding trap: what can make no progress is refused, never adjusted silently.
#[test]
fn a_rollout_that_could_never_step_is_refused() {
    for (instances, rollout, refused) in [
        (3, "{surge: 0}", true),
        (3, "{surge: 1%}", false),
        (3, "{order: stop_first}", true),
        (3, "{order: stop_first, min_ready: 67%}", true),
        (3, "{order: stop_first, min_ready: 66%}", false),
        (2, "{order: stop_first, min_ready: 66%}", true),
        (1, "{order: stop_first, min_ready: 0}", false),
        (2, "{order: stop_first, min_ready: 0}\navailability: {min_ready: 51%}", true),
        (2, "{order: stop_first, min_ready: 0}\navailability: {min_ready: 50%}", false),
        (0, "{order: stop_first}", false),
    ] {
        let text =
            file(&format!("command: [/bin/server]\ninstances: {instances}\nrollout: {rollout}"));
        assert_eq!(parse(&text).is_err(), refused, "{instances} {rollout}");
    }
}

#[test]
fn yaml_is_a_strict_subset() {
    for (text, what) in [
        ("schema: service/v1\nschema: service/v1", "twice"),
        ("a: &x {b: 1}\n<<: *x", "merge keys"),
        ("schema: !!str service/v1", "tags"),
        ("--- {}\n--- {}", "more than one document"),
        ("schema: [", "is not YAML"),
        ("", "is empty"),
        ("- 1", "needs a mapping"),
        ("schema: service/v2\nservices: {a: {command: [x]}}", "is not known"),
        ("services: {a: {command: [x]}}", "is required"),
        ("schema: service/v1\nservices: {}", "names no service"),
        ("schema: service/v1\nservices: {Web: {command: [x]}}", "is not a service name"),
    ] {
        let faults = parse(text).expect_err(text);
        assert!(faults[0].message.contains(what), "{text}: {}", faults[0]);
    }
    // `no` and `on` are text, numbers keep what was written.
    let parsed =
        parse(&file("command: [/bin/server]\nenv: {A: no, B: on, C: 1.10, D: true, E: ~}"))
            .expect("accepted");
    let env = &parsed.services[&name("web")].env;
    assert_eq!(
        [&env["A"], &env["B"], &env["C"], &env["D"], &env["E"]],
        ["no", "on", "1.10", "true", ""]
    );
}

#[test]
fn json_is_accepted_unchanged() {
    let text = r#"{"schema": "service/v1", "services": {"web": {"command": ["/bin/server"], "resources": {"request": {"cpu": 0.5, "mem": "1Gi"}}}}}"#;
    let parsed = parse(text).expect("accepted");
    assert_eq!(parsed.services[&name("web")].resources.request.cpu, Milli(500));
}

#[test]
fn variables_are_literals_and_placeholders_a_closed_list() {
    let text = "schema: service/v1\nvars: {tag: \"1.8.3\", count: 2, price: \"5$\"}\nservices:\n  web:\n    instances: ${count}\n    command: [/bin/server, \"${tag}\", \"${price}\", \"$$HOME\", \"${meta.slot}\"]\n    labels: {tag: \"${tag}\", price: \"${price}\"}";
    let parsed = parse(text).expect("accepted");
    let web = &parsed.services[&name("web")];
    assert_eq!(web.instances, Some(2));
    assert_eq!(web.labels["price"], "5$");
    let pod = template::pod(web);
    let variables = [("meta.slot".to_owned(), "0".to_owned())].into_iter().collect();
    let words: Vec<String> = pod.containers[0]
        .command
        .iter()
        .map(|word| Placeholders::new(&variables).expand(word).expect("known"))
        .collect();
    assert_eq!(words, ["/bin/server", "1.8.3", "5$", "$HOME", "0"]);
    let faults = faults("command: [/bin/server, \"${tga}\"]");
    assert!(faults[0].message.contains("is not one of `vars`"), "{}", faults[0]);
    let faults =
        parse(&file("command: [/bin/server]\nworkdir: \"/srv/${meta.slot}\"")).expect_err("no");
    assert!(faults[0].message.contains("placeholders are for"), "{}", faults[0]);
}

#[test]
fn a_stored_spec_prints_as_a_file_that_reads_back_the_same() {
    let long = file(
        "command: [/bin/server, \"a b\", \"x\\ty\", \"line\\nline\\n\", \"-\", \"yes\", \"1\", \"\"]\n\
         instances: 4\nuser: \"1000\"\nworkdir: /srv/a$$b\nroot: /opt/root\nenv: {A: \"${port.web}\"}\n\
         labels: {team: \"a$$b: c\"}\n\
         resources: {request: {cpu: 1.5, mem: 1500Mi, disk: 2Gi}, limit: {cpu: 1.5, pids: 50}}\n\
         ports: {web: {host: 8080, protocol: http}, admin: {host: 8081}}\n\
         checks: {startup: {exec: [/bin/true], limit: 60s}, ready: {http: {port: web, path: /r, status: [200, 204]}}, alive: {tcp: {port: admin}}}\n\
         stop: {drain: {linger: 0s}, signal: QUIT, grace: 1m}\n\
         restart: {backoff: {first: 2s, factor: 1.5, max: 1m, reset: 2m}}\n\
         rollout: {order: stop_first, min_ready: 50%, max_failures: 2, on_failure: pause}\n\
         placement: {require: [\"zone in (a, b)\"], spread: [], max_per: {host: 2}}\n\
         unreachable: {replace_after: never}\nhistory: {keep: 5}\n\
         availability: {min_ready: 50%}\npriority: {class: spot, level: 7}",
    );
    for text in [WEB, &long] {
        let spec = parse(text).expect("a good file").services[&name("web")].clone();
        let printed = to_yaml(&name("web"), &spec);
        let again = parse(&printed).unwrap_or_else(|faults| panic!("{}\n{printed}", faults[0]));
        assert_eq!(again.services[&name("web")], spec, "{printed}");
        // What is stored is JSON of the same shape.
        let stored = serde_json::to_vec(&spec).expect("serialises");
        let read: proffer_service_core::spec::ServiceSpec =
            serde_json::from_slice(&stored).expect("reads back");
        assert_eq!(read, spec);
    }
}

#[test]
fn in_place_fields_do_not_change_the_digest_and_others_do() {
    let digest = |service: &str| {
        template::digest(&parse(&file(service)).expect(service).services[&name("web")])
    };
    let base = "command: [/bin/server]\nports: {web: {}}\n";
    for same in [
        "labels: {a: b}",
        "instances: 9",
        "rollout: {surge: 50%}",
        "checks: {ready: {tcp: {port: web}, interval: 9s}}",
        "stop: {grace: 1s}",
        "unreachable: {replace_after: never}",
        "history: {keep: 3}",
        "placement: {max_per: {host: 1}}",
        "availability: {min_ready: 50%}",
        "priority: {class: standard, level: 90}",
    ] {
        assert_eq!(digest(base), digest(&format!("{base}{same}")), "{same}");
    }
    for other in [
        "env: {A: b}",
        "user: \"1\"",
        "root: /opt",
        "workdir: /srv",
        "resources: {request: {cpu: 2}}",
        "checks: {alive: {tcp: {port: web}}}",
        "placement: {require: [zone == a]}",
        "priority: {class: spot}",
    ] {
        assert_ne!(digest(base), digest(&format!("{base}{other}")), "{other}");
    }
}

#[test]
fn the_document_of_the_format_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/service-spec.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, fields::document()).expect("the tree is writable");
    }
    let committed = std::fs::read_to_string(path).expect("it is committed");
    let is_up_to_date = committed == fields::document();
    assert!(is_up_to_date, "print it anew: UPDATE_DOCS=1 cargo test -p proffer-service");
}

/// 10 000 malformed inputs to the YAML door: clear errors, no panic, no unbounded work.
#[test]
fn malformed_files_are_refused_in_words() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    const ODD: &[u8] = b"{}[]:,-&*!|>'\"%@`#\t\n ~<$";
    let mut refused = 0;
    for round in 0..10_000u32 {
        let mut bytes = WEB.as_bytes().to_vec();
        for _ in 0..=next() % 8 {
            let at = usize::try_from(next()).unwrap_or(0) % bytes.len().max(1);
            if bytes.is_empty() {
                break;
            }
            match next() % 5 {
                0 => bytes[at] = u8::try_from(next() % 256).expect("a byte"),
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, ODD[usize::try_from(next()).unwrap_or(0) % ODD.len()]),
                3 => bytes.truncate(at.max(1)),
                _ => {
                    let end = (at + 40).min(bytes.len());
                    let part = bytes[at..end].to_vec();
                    bytes.splice(at..at, part);
                }
            }
        }
        if let Err(faults) = parse_bytes(&bytes) {
            refused += 1;
            assert!(!faults.is_empty() && faults.len() <= 100, "round {round}");
            let text = String::from_utf8_lossy(&bytes);
            for fault in faults {
                assert!(!fault.message.is_empty(), "round {round}");
                assert!(render(&fault, "web.yaml", &text).len() < 2000, "round {round}: {fault}");
            }
        }
    }
    assert!(refused > 5_000, "only {refused} were refused: the inputs are too tame");
}

#[test]
fn bombs_end_at_a_bound() {
    let mut aliases = String::from("a: &a [x, x, x, x, x, x, x, x, x, x]\n");
    for level in b'b'..=b'z' {
        let (this, before) = (char::from(level), char::from(level - 1));
        let repeated = vec![format!("*{before}"); 10].join(", ");
        aliases.push_str(&format!("{this}: &{this} [{repeated}]\n"));
    }
    let nested = "[".repeat(100_000);
    let deep: String = (0..1000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let long = format!("schema: {}", "x".repeat(2 << 20));
    let items = format!("a: [{}]", "1,".repeat(200_000));
    let expansion = format!(
        "schema: service/v1\nvars: {{v: {}}}\nservices: {{web: {{command: [{}]}}}}",
        "x".repeat(100_000),
        vec!["\"${v}${v}${v}\""; 1000].join(", ")
    );
    for (what, text) in [
        ("aliases", aliases),
        ("nested", nested),
        ("deep", deep),
        ("long", long),
        ("items", items),
        ("expansion", expansion),
    ] {
        let faults = parse(&text).expect_err(what);
        assert!(faults.iter().all(|fault| fault.to_string().len() < 2000), "{what}");
    }
}
