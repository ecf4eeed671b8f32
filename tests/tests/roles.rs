//! Who gets what in a role tree, with quotas and with what is reserved: real processes, frameworks of
//! the SDK that want more than there is, operators who use the program's verbs. Counted is what runs.

use proffer_sdk::types::{FrameworkName, Now, RoleName, TaskName};
use proffer_sdk::{
    Context, Endpoint, Framework, FrameworkEvent, FrameworkInfo, Handle, Options, TaskRequest,
    Template, run,
};
use proffer_tests::cluster::Parts;
use proffer_tests::processes::{PATIENCE, is_root, turn, until};
use serde_json::Value;
use std::collections::BTreeMap;

/// More than fits.
const WANTED: usize = 24;

/// Wants many tasks of one cpu in one role, and is called as the role is.
struct Greedy(&'static str);

impl Greedy {
    fn role(&self) -> RoleName {
        RoleName::new(self.0).expect("a role")
    }

    fn name(&self) -> String {
        self.0.replace('/', "-")
    }
}

impl Framework for Greedy {
    type Input = ();

    fn info(&self) -> FrameworkInfo {
        FrameworkInfo::new(FrameworkName::new(&self.name()).expect("a name"), self.role())
    }

    fn handle(&mut self, event: FrameworkEvent<()>, _now: Now, ctx: &mut Context) {
        if let FrameworkEvent::Active { .. } = event {
            let template = Template::command(["/bin/sleep", "100000"]).expect("a command");
            for number in 0..WANTED {
                let name = TaskName::new(&format!("task-{number}")).expect("a name");
                let shape = "cpus:1;mem:1MiB".parse().expect("resources");
                let request = TaskRequest::new(name, template.clone(), self.role(), shape);
                ctx.launch(request).expect("active, and the name is free");
            }
        }
    }
}

/// A master, an agent that waits to be started, and frameworks by role.
struct World {
    parts: Parts,
    runtime: tokio::runtime::Runtime,
    endpoint: Endpoint,
    handles: Vec<Handle<()>>,
    ids: BTreeMap<String, &'static str>,
}

impl World {
    fn new(resources: &str) -> Self {
        Self::with(resources, &[])
    }

    fn with(resources: &str, master_flags: &[&str]) -> Self {
        let mut parts = Parts::prepare(1, resources);
        parts.master_flags = master_flags.iter().map(|&flag| flag.to_owned()).collect();
        parts.start_master();
        until("the master leads", PATIENCE, || {
            (parts.api.get("/v1/agents").status == 200).then_some(())
        });
        let token = proffer_net::Token::parse(&parts.api.token).expect("a token");
        let url = format!("http://{}", parts.api.address);
        let endpoint = Endpoint::parse(&url).expect("an address").with_token(Some(token));
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        Self { parts, runtime, endpoint, handles: Vec::new(), ids: BTreeMap::new() }
    }

    fn set(&self, role: &str, what: &[&str]) {
        self.parts.cli(&[&["roles", "set", role], what].concat()).well();
    }

    /// Starts a framework in a role and waits until the master has its demand.
    fn start(&mut self, role: &'static str) {
        let framework = Greedy(role);
        let name = framework.name();
        let options = Options::new(self.endpoint.clone());
        self.handles.push(self.runtime.block_on(async { run(framework, options) }));
        let id = until("its demand is known", PATIENCE, || {
            let rows = self.parts.api.json("/v1/frameworks");
            let rows = rows["frameworks"].as_array()?;
            let row = rows.iter().find(|row| row["info"]["name"] == name.as_str())?;
            let id = row["id"].as_str()?;
            let demand = self.parts.api.json(&format!("/v1/demand?framework={id}"));
            (!demand["demand"].as_array()?.is_empty()).then(|| id.to_owned())
        });
        self.ids.insert(id, role);
    }

    /// Tasks that run, by role.
    fn running(&self) -> BTreeMap<&'static str, usize> {
        let mut running: BTreeMap<&'static str, usize> =
            self.ids.values().map(|role| (*role, 0)).collect();
        for row in self.tasks().iter().filter(|row| row["state"] == "running") {
            let role = row["framework"].as_str().and_then(|id| self.ids.get(id));
            *running.entry(role.expect("of one of them")).or_default() += 1;
        }
        running
    }

    fn tasks(&self) -> Vec<Value> {
        self.parts.api.json("/v1/tasks")["tasks"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until just so many run: with all resources in use, or kept, nothing comes after.
    fn runs(&self, expected: &[(&'static str, usize)]) {
        let expected = BTreeMap::from_iter(expected.iter().copied());
        let what = format!("{expected:?} run");
        until(&what, PATIENCE, || (self.running() == expected).then_some(()));
    }

    fn end(self) {
        for handle in self.handles {
            self.runtime.block_on(handle.shutdown());
        }
    }
}

/// Siblings share by weight; a role that is parent and client takes part beside its children.
#[test]
fn a_role_tree_is_shared_level_by_level() {
    let _turn = turn();
    if !is_root("a role tree on a real agent") {
        return;
    }
    let mut world = World::new("cpus:16;mem:1GiB");
    world.set("eng/db", &["--weight", "2"]);
    for role in ["ops", "eng", "eng/db", "eng/web"] {
        world.start(role);
    }
    world.parts.start_agent(0);
    world.runs(&[("ops", 8), ("eng", 2), ("eng/db", 4), ("eng/web", 2)]);
    world.end();
}

/// What is guaranteed is kept free until its role comes, a limit holds, and the rest is shared.
#[test]
fn i6_guarantee_and_limit_hold_whoever_comes_first() {
    let _turn = turn();
    if !is_root("quotas on a real agent") {
        return;
    }
    let mut world = World::new("cpus:10;mem:1GiB");
    world.set("late", &["--guarantee", "cpus:6"]);
    world.set("small", &["--limit", "cpus:1"]);
    for role in ["small", "large"] {
        world.start(role);
    }
    world.parts.start_agent(0);
    world.runs(&[("small", 1), ("large", 3)]);
    let why = world.parts.cli(&["why", "role", "large"]).well();
    assert!(why.out.contains("kept"), "{why:?}");
    world.start("late");
    world.runs(&[("small", 1), ("large", 3), ("late", 6)]);
    // Whoever asks is told what a role has, and which agents take nothing.
    world.parts.cli(&["agents", "deactivate", "agent-0", "--yes"]).well();
    let why = until("the view has it", PATIENCE, || {
        let why = world.parts.cli(&["why", "role", "large", "-o", "json"]).well().json();
        why["hints"].to_string().contains("1 deactivated (agent-0)").then_some(why)
    });
    assert_eq!((&why["kind"], &why["subject"]), (&"role".into(), &"large".into()));
    assert!(why["summary"].as_str().is_some_and(|it| it.starts_with("it holds 30.0 %")), "{why}");
    world.end();
}

/// A guarantee that finds no place has others make room, who are told and have time; whoever asks why sees it.
#[test]
fn k11_a_guarantee_has_others_make_room() {
    let _turn = turn();
    if !is_root("preemption on a real agent") {
        return;
    }
    let times = ["--preempt-after", "1s", "--preempt-grace", "8s"];
    let mut world = World::with("cpus:4;mem:1GiB", &times);
    world.start("early");
    world.parts.start_agent(0);
    world.runs(&[("early", 4)]);
    world.set("sure", &["--guarantee", "cpus:2"]);
    world.start("sure");
    let claims = until("room is made", PATIENCE, || {
        let agents = world.parts.api.json("/v1/agents");
        let claims = agents["agents"][0]["claims"].as_array()?.clone();
        (!claims.is_empty()).then_some(claims)
    });
    let victim = claims[0]["victims"][0].as_str().expect("a task's id").to_owned();
    assert_eq!(claims[0]["creditor"], "sure", "{claims:#?}");
    let why = world.parts.cli(&["why", &victim]).well();
    assert!(why.out.contains("to make room for"), "{why:?}");
    assert!(why.out.contains("since sure is guaranteed it"), "{why:?}");
    let framework = claims[0]["framework"].as_str().expect("an id");
    let group = claims[0]["group"].as_str().expect("a name");
    let why = world.parts.cli(&["why", &format!("{framework}/{group}")]).well();
    assert!(why.out.contains("room is being made for 1 of it on agent-0"), "{why:?}");
    world.runs(&[("early", 2), ("sure", 2)]);
    let ended = world.parts.cli(&["tasks", "--ended", "-o", "json"]).well().out;
    assert_eq!(ended.matches("\"preempted\"").count(), 2, "{ended}");
    world.end();
}

/// What is reserved goes to its role and those below it first, and counts for their share.
#[test]
fn what_is_reserved_is_used_first_and_counts_for_the_share() {
    let _turn = turn();
    if !is_root("reserved resources on a real agent") {
        return;
    }
    let mut world = World::new("cpus:4;mem:1GiB;cpus(eng):2");
    for role in ["ops", "eng/db"] {
        world.start(role);
    }
    world.parts.start_agent(0);
    world.runs(&[("ops", 3), ("eng/db", 3)]);
    let of_reserved = |row: &&Value| {
        let resources = row["resources"].as_array().into_iter().flatten();
        let mut roles = resources.filter_map(|entry| entry["reservations"][0]["role"].as_str());
        roles.any(|role| role == "eng")
    };
    let tasks = world.tasks();
    let reserved: Vec<&Value> = tasks.iter().filter(of_reserved).collect();
    assert_eq!(reserved.len(), 2, "{tasks:#?}");
    let is_below = |row: &&Value| {
        row["framework"].as_str().and_then(|id| world.ids.get(id)) == Some(&"eng/db")
    };
    assert!(reserved.iter().all(is_below));
    world.end();
}
