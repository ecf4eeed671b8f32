//! The example of the DRF paper, end to end: one real agent of exactly <9 CPU, 18 GB>, two frameworks
//! of the SDK that state demand through real gRPC, A for tasks of <1 CPU, 4 GB> and B for tasks of
//! <3 CPU, 1 GB>. Order and shares after each step are those of T1b; in the end A runs 3 tasks and
//! B 2. Everything is read from what the master publishes: a share is what its leases, and after each
//! turn its frameworks' rows, say that a framework has, divided by what its agent's row says there is.

use proffer_sdk::types::{FrameworkName, Now, RoleName, TaskName};
use proffer_sdk::{
    Context, Endpoint, Framework, FrameworkEvent, FrameworkInfo, Options, TaskRequest, Template,
    run,
};
use proffer_tests::cluster::Parts;
use proffer_tests::processes::{PATIENCE, is_root, turn, until};
use proffer_tests::wire::events;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// More than fits.
const WANTED: usize = 20;

/// Wants many tasks of one shape.
struct Greedy {
    name: &'static str,
    shape: &'static str,
}

impl Framework for Greedy {
    type Input = ();

    fn info(&self) -> FrameworkInfo {
        FrameworkInfo::new(FrameworkName::new(self.name).expect("a name"), role())
    }

    fn handle(&mut self, event: FrameworkEvent<()>, _now: Now, ctx: &mut Context) {
        if let FrameworkEvent::Active { .. } = event {
            let template = Template::command(["/bin/sleep", "100000"]).expect("a command");
            for number in 0..WANTED {
                let name = TaskName::new(&format!("task-{number}")).expect("a name");
                let shape = self.shape.parse().expect("resources");
                let request = TaskRequest::new(name, template.clone(), role(), shape);
                ctx.launch(request).expect("active, and the name is free");
            }
        }
    }
}

/// One role: between equals, the framework that subscribed first is first.
fn role() -> RoleName {
    RoleName::new("paper").expect("a role")
}

/// Waits until the master has the demand of a framework; its id.
fn demands(parts: &Parts, name: &str) -> String {
    until("its demand is known", PATIENCE, || {
        let rows = parts.api.json("/v1/frameworks");
        let rows = rows["frameworks"].as_array()?;
        let row = rows.iter().find(|row| row["info"]["name"] == name)?;
        let id = row["id"].as_str()?;
        let demand = parts.api.json(&format!("/v1/demand?framework={id}"));
        (!demand["demand"].as_array()?.is_empty()).then(|| id.to_owned())
    })
}

/// What one framework has of the only agent, by resource: `cpus` in thousandths, `mem` in bytes.
type Has = BTreeMap<String, u64>;

/// What the master publishes, in its order.
#[derive(Default)]
struct Noted {
    /// What the agent has in all.
    total: Has,
    /// Every task that a lease on demand has room for: for whom, and what it takes.
    steps: Vec<(String, Has)>,
    /// The newest row of each framework: what its tasks and its offers have.
    rows: BTreeMap<String, Has>,
    /// Rows of a turn that said something else than its leases.
    apart: Vec<String>,
}

impl Noted {
    fn change(&mut self, change: &Value) {
        let offer = &change["offer"];
        let framework = offer["framework"].as_str().unwrap_or_default();
        if offer["group"].is_string() {
            let count = number_of(&offer["count"]).max(1);
            let all = scalars(&offer["resources"]);
            let one: Has = all.into_iter().map(|(name, value)| (name, value / count)).collect();
            let steps = (0..count).map(|_| (framework.to_owned(), one.clone()));
            self.steps.extend(steps);
        }
        let row = &change["framework"];
        if let Some(id) = row["id"].as_str() {
            let mut has = scalars(&row["allocated"]);
            add(&mut has, &scalars(&row["offered"]));
            self.rows.insert(id.to_owned(), has);
        }
        if change["agent"].is_object() {
            self.total = scalars(&change["agent"]["info"]["resources"]);
        }
    }

    /// What frameworks have been given after so many steps.
    fn given(&self, steps: usize) -> BTreeMap<String, Has> {
        let mut given: BTreeMap<String, Has> = BTreeMap::new();
        for (framework, one) in self.steps.iter().take(steps) {
            add(given.entry(framework.clone()).or_default(), one);
        }
        given
    }

    /// At the end of a turn the rows of frameworks say what the leases say.
    fn compare(&mut self) {
        let given = self.given(usize::MAX);
        for (framework, has) in &self.rows {
            let leases = given.get(framework).cloned().unwrap_or_default();
            if *has != leases {
                self.apart.push(format!("{framework} has {has:?}, was given {leases:?}"));
            }
        }
    }

    /// The largest part of any resource of the agent that a framework has after so many steps, in
    /// ninths.
    fn share(&self, framework: &str, steps: usize) -> u64 {
        let given = self.given(steps);
        let has = given.get(framework).cloned().unwrap_or_default();
        let parts = has.iter().map(|(name, value)| (*value, self.total[name]));
        let largest = parts
            .max_by_key(|(value, total)| u128::from(*value) * 1_000_000_000 / u128::from(*total));
        let Some((value, total)) = largest else { return 0 };
        assert_eq!(value * 9 % total, 0, "{value} of {total} are no whole ninths");
        value * 9 / total
    }
}

fn scalars(resources: &Value) -> Has {
    let entries = resources.as_array().into_iter().flatten();
    let pair =
        |entry: &Value| Some((entry["name"].as_str()?.to_owned(), number_of(&entry["scalar"])));
    entries.filter_map(pair).collect()
}

fn add(to: &mut Has, more: &Has) {
    for (name, value) in more {
        *to.entry(name.clone()).or_default() += value;
    }
}

/// Notes what the master publishes, turn by turn.
fn note(parts: &Parts) -> Arc<Mutex<Noted>> {
    let noted = Arc::<Mutex<Noted>>::default();
    let notes = Arc::clone(&noted);
    let frames = events(&parts.api, "/v1/watch").expect("the master can be watched");
    std::thread::spawn(move || {
        for frame in frames {
            let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
            for change in frame["changes"].as_array().into_iter().flatten() {
                notes.change(change);
            }
            notes.compare();
        }
    });
    noted
}

fn number_of(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
}

/// Who was served, step by step, and both shares after each step in ninths: A's and B's.
type Story = (String, Vec<(u64, u64)>);

/// The whole story with the frameworks subscribing in this order.
fn story(first: &'static str, second: &'static str) -> Story {
    let shape = |name| if name == "a" { "cpus:1;mem:4GB" } else { "cpus:3;mem:1GB" };
    let mut parts = Parts::prepare(1, "cpus:9;mem:18GB");
    parts.start_master();
    until("the master leads", PATIENCE, || {
        (parts.api.get("/v1/agents").status == 200).then_some(())
    });
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let url = format!("http://{}", parts.api.address);
    let token = proffer_net::Token::parse(&parts.api.token).expect("a token");
    let endpoint = Endpoint::parse(&url).expect("an address").with_token(Some(token));
    let mut handles = Vec::new();
    let mut names = BTreeMap::new();
    for name in [first, second] {
        let framework = Greedy { name, shape: shape(name) };
        let options = Options::new(endpoint.clone());
        handles.push(runtime.block_on(async { run(framework, options) }));
        names.insert(demands(&parts, name), name);
    }
    let noted = note(&parts);
    // Only now is there anything to have.
    parts.start_agent(0);
    let running = |name: &str| {
        let rows = parts.api.json("/v1/tasks");
        let of = |row: &&Value| {
            row["state"] == "running"
                && names.get(row["framework"].as_str().unwrap_or("")) == Some(&name)
        };
        rows["tasks"].as_array().map_or(0, |rows| rows.iter().filter(of).count())
    };
    until("A runs 3 tasks and B 2", PATIENCE, || {
        ((running("a"), running("b")) == (3, 2)).then_some(())
    });
    let rows = parts.api.json("/v1/agents");
    let has = &rows["agents"][0]["info"]["resources"];
    assert_eq!(
        *has,
        serde_json::json!([
            {"name": "cpus", "scalar": "9000"}, {"name": "mem", "scalar": "18000000000"},
        ]),
        "exactly what the paper has"
    );
    let id = |wanted: &str| {
        let found = names.iter().find(|(_, name)| **name == wanted);
        found.map(|(id, _)| id.clone()).expect("both have subscribed")
    };
    let (a, b) = (id("a"), id("b"));
    let story = until("all five steps are noted", PATIENCE, || {
        let noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.steps.len() < 5 {
            return None;
        }
        assert_eq!(noted.apart, Vec::<String>::new(), "rows and leases say the same");
        let name = |(framework, _): &(String, Has)| names[framework].to_uppercase();
        let order = noted.steps.iter().map(name).collect();
        let after = 1..=noted.steps.len();
        Some((order, after.map(|step| (noted.share(&a, step), noted.share(&b, step))).collect()))
    });
    // In the end the frameworks' rows say what was reached step by step.
    let rows = parts.api.json("/v1/frameworks");
    let noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
    for row in rows["frameworks"].as_array().into_iter().flatten() {
        let id = row["id"].as_str().unwrap_or_default();
        assert_eq!(scalars(&row["allocated"]), noted.given(usize::MAX)[id], "{row}");
    }
    drop(noted);
    for handle in handles {
        runtime.block_on(handle.shutdown());
    }
    story
}

#[test]
fn t1b_order_and_shares_on_one_agent_through_grpc() {
    let _turn = turn();
    if !is_root("the example of the DRF paper on a real agent") {
        return;
    }
    let (order, shares) = story("b", "a");
    assert_eq!(order, "BAABA");
    // (0, 1/3) (2/9, 1/3) (4/9, 1/3) (4/9, 2/3) (2/3, 2/3)
    assert_eq!(shares, [(0, 3), (2, 3), (4, 3), (4, 6), (6, 6)]);
    // The other one first on the tie: another order, the same end.
    let (order, shares) = story("a", "b");
    assert_eq!(order, "ABABA");
    assert_eq!(shares, [(2, 0), (2, 3), (4, 3), (4, 6), (6, 6)]);
}
