//! The example of the DRF paper, end to end: one real agent of exactly <9 CPU, 18 GB>, two frameworks
//! of the SDK that state demand through real gRPC, A for tasks of <1 CPU, 4 GB> and B for tasks of
//! <3 CPU, 1 GB>. Order and shares after each step are those of T1b; in the end A runs 3 tasks and
//! B 2.

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
        (!row["demand"].as_array()?.is_empty()).then(|| row["id"].as_str().map(str::to_owned))?
    })
}

/// Tasks that an offer has room for, by the number of the offer: `o3-17` is the 17th of its epoch.
type Offers = Arc<Mutex<BTreeMap<u64, (String, u64)>>>;

/// Notes every lease on demand from the numbered changes of the master.
fn note_offers(parts: &Parts) -> Offers {
    let offers = Offers::default();
    let noted = Arc::clone(&offers);
    let frames = events(&parts.api, "/v1/watch").expect("the master can be watched");
    std::thread::spawn(move || {
        for frame in frames {
            for change in frame["changes"].as_array().into_iter().flatten() {
                let offer = &change["offer"];
                let number =
                    offer["id"].as_str().and_then(|id| id.rsplit('-').next()?.parse().ok());
                let (Some(number), Some(_)) = (number, offer["group"].as_str()) else { continue };
                let framework = offer["framework"].as_str().unwrap_or_default().to_owned();
                let count = number_of(&offer["count"]);
                let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                noted.insert(number, (framework, count));
            }
        }
    });
    offers
}

fn number_of(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
}

/// The whole story with the frameworks subscribing in this order; who was served, step by step.
fn story(first: &'static str, second: &'static str) -> String {
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
    let offers = note_offers(&parts);
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
    let order = until("all five steps are noted", PATIENCE, || {
        let noted = offers.lock().unwrap_or_else(PoisonError::into_inner);
        let steps = noted.values().flat_map(|(framework, count)| {
            let name = names.get(framework).copied().unwrap_or("?");
            std::iter::repeat_n(name.to_uppercase(), usize::try_from(*count).unwrap_or(0))
        });
        let order: String = steps.collect();
        (order.len() >= 5).then_some(order)
    });
    for handle in handles {
        runtime.block_on(handle.shutdown());
    }
    order
}

/// Both shares after each step, in ninths: A's dominant resource is memory, B's the processors.
fn shares(order: &str) -> Vec<(u32, u32)> {
    let (mut a, mut b) = (0, 0);
    let step = |who| {
        if who == 'A' {
            a += 2;
        } else {
            b += 3;
        }
        (a, b)
    };
    order.chars().map(step).collect()
}

#[test]
fn t1b_order_and_shares_on_one_agent_through_grpc() {
    let _turn = turn();
    if !is_root("the example of the DRF paper on a real agent") {
        return;
    }
    let order = story("b", "a");
    assert_eq!(order, "BAABA");
    // (0, 1/3) (2/9, 1/3) (4/9, 1/3) (4/9, 2/3) (2/3, 2/3)
    assert_eq!(shares(&order), [(0, 3), (2, 3), (4, 3), (4, 6), (6, 6)]);
    // The other one first on the tie: another order, the same end.
    assert_eq!(story("a", "b"), "ABABA");
}
