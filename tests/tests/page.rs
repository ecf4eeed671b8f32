//! The page in a real browser: what it shows is what the cluster has, it changes by itself, and it
//! needs nothing but the master. The whole test lives in a network of its own, in which there is
//! only loopback. Pictures are kept in `target/screenshots/`.

use nix::sched::{CloneFlags, unshare};
use proffer_tests::browser::{Browser, is_installed};
use proffer_tests::cluster::Dev;
use proffer_tests::processes::{Place, is_root, tree, turn};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

const PAGES: [&str; 6] = ["", "agents", "frameworks", "tasks", "offers", "roles"];

/// Writes a line five times a second, for as long as it lives, and a file into a directory.
const TICKER: &str = r#"
  ticker:
    command:
      - /usr/bin/perl
      - -e
      - |
        $| = 1;
        mkdir "notes" or die $!;
        open my $file, ">", "notes/first" or die $!;
        print $file "x" x 2048;
        close $file;
        while (1) { print "tick ", ++$n, "\n"; select undef, undef, undef, 0.2 }
    resources:
      request: {cpu: 0.1, mem: 32Mi}
"#;

/// From here on this thread and what it starts know no network but loopback.
fn leave_the_network() {
    unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network");
    let status = Command::new("/bin/busybox").args(["ip", "link", "set", "lo", "up"]).status();
    assert!(status.expect("busybox is installed").success(), "loopback comes up");
}

fn pictures() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own file");
    own.ancestors().nth(3).expect("it lies in target/debug/deps").join("screenshots")
}

fn go(browser: &Browser, page: &str) {
    let _ = browser.script("location.hash = '#/' + arguments[0]", &json!([page]));
}

fn numbers(texts: &[String]) -> Vec<f64> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

#[test]
fn the_page_shows_the_cluster_and_changes_with_it() {
    let _turn = turn();
    if !is_root("the page") || !is_installed("the page") {
        return;
    }
    leave_the_network();
    let place = Place::new();
    let web = std::fs::read_to_string(tree().join("examples/web.yaml")).expect("it is there");
    let file = place.file("services.yaml", &format!("{web}{TICKER}"));
    let resources = "cpus:1;mem:2GiB;disk:1GiB;ports:[23000-23099]";
    let file = file.to_string_lossy();
    let mut dev =
        Dev::start(&place, &["--agents", "2", "--resources", resources, "--deploy", &file]);
    dev.deployed();
    let browser = Browser::start(&place, &pictures());
    browser.resize(1400, 900);

    signs_in(&browser, &dev);
    // Whatever happens below happens without another load of the page.
    let _ = browser.script("window.loadedOnce = true", &json!([]));
    shows_the_overview(&browser);
    shows_agents_frameworks_and_roles(&browser);
    shows_tasks_and_filters_as_one_types(&browser, &dev);
    shows_a_task_with_sandbox_and_live_log(&browser);
    changes_when_a_service_is_scaled(&browser, &dev, &place);
    says_why_something_waits(&browser, &dev, &place);
    fits_narrow_and_dark_windows(&browser);

    assert_eq!(browser.script("return window.loadedOnce", &json!([])), Value::Bool(true));
    needs_nothing_but_the_master(&browser, &dev);
    assert_eq!(browser.console(), Vec::<String>::new(), "the console stays empty");

    dev.interrupt();
    browser.shows("that the master is gone", "#link", |texts| texts == ["▲ lost"]);
    browser.picture("lost");
}

fn signs_in(browser: &Browser, dev: &Dev) {
    browser.open(&format!("http://{}/ui/", dev.api.address));
    browser.shows("that a token is needed", "body", |texts| {
        texts.first().is_some_and(|text| text.starts_with("This page needs a token"))
    });
    let refused = browser.console();
    assert!(refused.iter().all(|line| line.contains("401")), "{refused:?}");

    browser.open(&format!("http://{}/?token={}", dev.api.address, dev.api.token));
    browser.shows("that it is connected", "#link", |texts| texts == ["● live"]);
    let address = browser.script("return location.href", &json!([]));
    let address = address.as_str().expect("a page has an address");
    assert!(!address.contains(&dev.api.token), "the token does not stay in {address}");
}

fn shows_the_overview(browser: &Browser) {
    browser.shows("four running tasks", "#count-tasks", |texts| {
        texts.len() == 1 && texts[0].contains('4') && texts[0].contains("running")
    });
    assert!(browser.text("#count-agents").contains("active"));
    let names = browser.texts("#capacity .bar-name");
    assert_eq!(names, ["cpus", "mem", "disk", "ports"]);
    let words = browser.texts("#capacity .bar-words");
    assert_eq!(words, ["0.4 of 1", "224 MiB of 2 GiB", "0 B of 1 GiB", "3 of 100"]);
    assert_eq!(browser.texts("#capacity .bar-share")[0], "40 %");
    let events = browser.texts("#events li");
    assert!(events.iter().any(|event| event.contains("agent-2 registered")), "{events:?}");
    browser.picture("overview");
}

fn shows_agents_frameworks_and_roles(browser: &Browser) {
    go(browser, "agents");
    browser.shows("two agents", "#agents tbody tr", |rows| {
        rows.len() == 2 && rows.iter().all(|row| row.contains("active"))
    });
    let bars = browser.texts("#agents .bar-words");
    assert_eq!(bars.len(), 2 * 4, "{bars:?}");
    let tasks = numbers(&browser.texts("#agents td.number"));
    assert_eq!(tasks.iter().sum::<f64>(), 4.0, "{tasks:?}");
    browser.picture("agents");

    go(browser, "frameworks");
    let rows = browser.shows("the framework", "#frameworks tbody tr", |rows| rows.len() == 1);
    for part in ["service", "connected", "0.4 cpus", "224 MiB mem", "epoch 1"] {
        assert!(rows[0].contains(part), "{part} in {rows:?}");
    }
    browser.picture("frameworks");

    go(browser, "roles");
    let rows = browser.shows("its role", "#roles tbody tr", |rows| rows.len() == 1);
    assert!(rows[0].contains("40.0 %"), "{rows:?}");
    browser.picture("roles");
}

fn shows_tasks_and_filters_as_one_types(browser: &Browser, dev: &Dev) {
    go(browser, "tasks");
    let rows = browser.shows("four tasks", "#tasks tbody tr", |rows| rows.len() == 4);
    assert!(rows.iter().all(|row| row.contains("running")), "{rows:?}");
    let endpoints = dev.api.json("/v1/services/web/endpoints");
    let endpoints = endpoints["endpoints"].as_array().expect("web answers somewhere").clone();
    assert_eq!(endpoints.len(), 3);
    for endpoint in endpoints {
        let host = endpoint["address"].as_str().expect("an endpoint has an address");
        let address = format!("{host}:{}", endpoint["port"]);
        assert!(rows.iter().any(|row| row.contains(&address)), "{address} in {rows:?}");
    }
    browser.picture("tasks");

    browser.press("/");
    browser.press("web.1");
    let rows = browser.shows("one task", "#tasks tbody tr", |rows| rows.len() == 1);
    assert!(rows[0].starts_with("web.1."), "{rows:?}");
    assert_eq!(browser.text(".tools .count"), "1 of 4");
    browser.picture("tasks-filtered");
    browser.press("zzz");
    browser.shows("that nothing matches", "p.empty", |texts| {
        texts.iter().any(|text| text.contains("None of 4"))
    });
    browser.press(ESCAPE);
    browser.shows("all tasks again", "#tasks tbody tr", |rows| rows.len() == 4);
}

/// Escape, as WebDriver names it.
const ESCAPE: &str = "\u{e00c}";

fn shows_a_task_with_sandbox_and_live_log(browser: &Browser) {
    browser.click("#tasks a[href*=ticker]");
    browser.shows("its files", "#sandbox td:first-child", |names| {
        names == ["notes/", "stderr", "stdout"]
    });
    let last = |texts: &[String]| -> u64 {
        let line = texts.first().and_then(|text| text.lines().last()).unwrap_or_default();
        line.strip_prefix("tick ").and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    let before = last(&browser.shows("its output", "#log", |texts| last(texts) > 0));
    browser.shows("that it goes on", "#log", |texts| last(texts) >= before + 3);
    let facts = browser.text("#facts");
    for part in ["0.1 cpus · 32 MiB mem", "service=ticker", "Isolation"] {
        assert!(facts.contains(part), "{part} in {facts}");
    }
    browser.picture("task");
    browser.click("#sandbox button.plain");
    let rows = browser.shows("the directory", "#sandbox tbody tr", |rows| {
        rows.iter().any(|row| row.contains("first"))
    });
    assert!(rows.iter().any(|row| row.contains("2 KiB")), "{rows:?}");

    // A program that writes to standard error alone is shown without a click.
    go(browser, "tasks?q=web.0");
    browser.click("#tasks a[href*='web.0']");
    browser.shows("its standard error", "#log", |texts| {
        texts.first().is_some_and(|text| text.starts_with("slot 0 r1 listens on"))
    });
    browser.picture("task-web");
}

fn changes_when_a_service_is_scaled(browser: &Browser, dev: &Dev, place: &Place) {
    go(browser, "tasks");
    browser.shows("four tasks", "#tasks tbody tr", |rows| rows.len() == 4);
    let _ = dev.cli(place, &["scale", "web=5"]).well();
    browser.shows("six running tasks", "#tasks tbody tr", |rows| {
        rows.len() == 6 && rows.iter().all(|row| row.contains("running"))
    });
    let counts = browser.texts("nav a .count");
    assert_eq!(counts[2], "6", "{counts:?}");
    browser.picture("tasks-scaled");
}

fn says_why_something_waits(browser: &Browser, dev: &Dev, place: &Place) {
    let _ = dev.cli(place, &["scale", "web=15", "--detach"]).well();
    go(browser, "");
    browser.shows("what waits", "#waiting li", |texts| {
        texts.iter().any(|text| text.contains("of service"))
    });
    browser.picture("overview-waiting");
    browser.click("#waiting li a");
    browser.shows("the reason", "#why p", |texts| texts.iter().any(|text| text.contains("cpus")));
    browser.picture("why");
    let _ = dev.cli(place, &["scale", "web=3", "--detach"]).well();
    go(browser, "");
    browser.shows("that nothing waits", "#waiting .empty", |texts| texts == ["Nothing waits."]);
    go(browser, "tasks");
    browser.shows("four tasks again", "#tasks tbody tr", |rows| rows.len() == 4);
}

/// Pixels by which the page is wider than its window.
const OVERFLOW: &str =
    "const page = document.documentElement; return page.scrollWidth - page.clientWidth";

fn fits_narrow_and_dark_windows(browser: &Browser) {
    for (scheme, width, height) in [("light", 420, 860), ("dark", 1400, 900)] {
        browser.prefer(scheme);
        browser.resize(width, height);
        for page in PAGES {
            go(browser, page);
            browser.shows("the page", "nav a[aria-current=page]", |texts| {
                let title = if page.is_empty() { "overview" } else { page };
                texts.len() == 1 && texts[0].to_lowercase().starts_with(title)
            });
            let over = browser.script(OVERFLOW, &json!([]));
            assert_eq!(over, json!(0), "{page:?} fits into {width} pixels");
            let name = if page.is_empty() { "overview" } else { page };
            browser.picture(&format!("{scheme}-{width}-{name}"));
        }
    }
}

fn needs_nothing_but_the_master(browser: &Browser, dev: &Dev) {
    let all = "return performance.getEntriesByType('resource').map((it) => it.name)";
    let asked = browser.script(all, &json!([]));
    let own = format!("http://{}/", dev.api.address);
    let asked: Vec<String> = serde_json::from_value(asked).expect("a list of addresses");
    assert!(asked.len() > 10, "the page has parts: {asked:?}");
    assert!(asked.iter().all(|address| address.starts_with(&own)), "{asked:?}");
    let lists = asked.iter().filter(|address| address.contains("/v1/watch")).count();
    assert!(lists <= 1, "one watch feeds it all, nothing is polled: {asked:?}");
}
