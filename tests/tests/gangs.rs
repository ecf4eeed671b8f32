//! Launches on several agents in one accept, with real processes (K3): when one agent refuses its task nobody
//! starts and the others are told that they never ran; when nobody refuses all start.

use proffer_sdk::types::offer::{Offer, Operation};
use proffer_sdk::types::task::StatusReason;
use proffer_sdk::types::template::TaskLaunch;
use proffer_sdk::types::{
    AgentId, DurationMs, FrameworkName, Now, OfferId, RoleName, TaskName, TaskState,
};
use proffer_sdk::{
    Context, Endpoint, Framework, FrameworkEvent, FrameworkInfo, Options, Template, run,
};
use proffer_tests::cluster::Parts;
use proffer_tests::processes::{PATIENCE, is_root, turn, until};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What its framework was told of each task, in order.
type Told = Arc<Mutex<BTreeMap<String, Vec<(TaskState, StatusReason)>>>>;

/// Launches two tasks on one agent and one on the other, as soon as it has offers on both.
struct Gang {
    name: &'static str,
    /// Each task leaves a file here when it runs.
    ran: PathBuf,
    /// The third task has a placeholder that nobody fills: its agent refuses it.
    one_is_refused: bool,
    launched: bool,
    told: Told,
}

fn role() -> RoleName {
    RoleName::new("hpc").expect("a role")
}

impl Gang {
    fn template(&self, is_refused: bool) -> Template {
        let ran = format!("touch {}/${{task.name}}; exec sleep 100000", self.ran.display());
        let nobody_fills = if is_refused { "${nothing}" } else { "" };
        Template::command(["/bin/sh", "-c", &ran, nobody_fills]).expect("a command")
    }

    fn launch(&self, name: &str, is_refused: bool, ctx: &mut Context) -> TaskLaunch {
        TaskLaunch {
            name: TaskName::new(name).expect("a name"),
            token: ctx.next_token(),
            template: ctx.send_template(&self.template(is_refused)),
            resources: "cpus:1;mem:64MiB".parse().expect("resources"),
            variables: BTreeMap::from([("task.name".to_owned(), name.to_owned())]),
            labels: BTreeMap::new(),
            group: None,
            priority: 0,
            budget: None,
        }
    }

    fn launch_all(&mut self, ctx: &mut Context) {
        let offers: BTreeMap<AgentId, Offer> =
            ctx.offers().map(|offer| (offer.agent, offer.clone())).collect();
        let [one, two] = offers.values().collect::<Vec<_>>()[..] else { return };
        if std::mem::replace(&mut self.launched, true) {
            return;
        }
        let first = vec![self.launch("a", false, ctx), self.launch("b", false, ctx)];
        let second = vec![self.launch("c", self.one_is_refused, ctx)];
        let operations = vec![
            Operation::Launch { agent: one.agent, tasks: first },
            Operation::Launch { agent: two.agent, tasks: second },
        ];
        let ids: Vec<OfferId> = vec![one.id, two.id];
        ctx.accept(&ids, operations, DurationMs(0)).expect("both are held");
    }
}

impl Framework for Gang {
    type Input = ();

    fn info(&self) -> FrameworkInfo {
        FrameworkInfo::new(FrameworkName::new(self.name).expect("a name"), role())
    }

    fn wants_raw_offers(&self) -> bool {
        true
    }

    fn handle(&mut self, event: FrameworkEvent<()>, _now: Now, ctx: &mut Context) {
        if let FrameworkEvent::Task { task, .. } = &event {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let states = told.entry(task.name().to_string()).or_default();
            states.push((task.state(), task.record.status.reason));
        }
        self.launch_all(ctx);
    }
}

struct Story {
    parts: Parts,
    told: Told,
    ran: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Story {
    fn new(name: &'static str, one_is_refused: bool) -> Self {
        let parts = Parts::start(2, "cpus:2;mem:1GiB");
        parts.agents_active(2);
        let ran = parts.place.path().join("ran");
        std::fs::create_dir(&ran).expect("the place can be written to");
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let url = format!("http://{}", parts.api.address);
        let token = proffer_net::Token::parse(&parts.api.token).expect("a token");
        let endpoint = Endpoint::parse(&url).expect("an address").with_token(Some(token));
        let told = Told::default();
        let gang = Gang {
            name,
            ran: ran.clone(),
            one_is_refused,
            launched: false,
            told: Arc::clone(&told),
        };
        // It runs as long as the runtime: its tasks end with the place.
        let _handle = runtime.block_on(async { run(gang, Options::new(endpoint)) });
        Self { parts, told, ran, runtime }
    }

    fn last(&self, task: &str) -> Option<(TaskState, StatusReason)> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.get(task).and_then(|states| states.last()).copied()
    }

    fn end(self) {
        self.runtime.shutdown_background();
        drop(self.parts);
    }
}

fn files(path: &Path) -> usize {
    std::fs::read_dir(path).map_or(0, Iterator::count)
}

#[test]
fn k3_tasks_on_two_agents_start_together_or_not_at_all() {
    let _turn = turn();
    if !is_root("gangs of real processes") {
        return;
    }
    let story = Story::new("whole", false);
    until("all three run", PATIENCE, || {
        let runs = |task| story.last(task).is_some_and(|(state, _)| state == TaskState::Running);
        (["a", "b", "c"].into_iter().all(runs) && files(&story.ran) == 3).then_some(())
    });
    let seen = story.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for (task, states) in seen {
        assert!(
            states.contains(&(TaskState::Staging, StatusReason::GangPrepared)),
            "{task} is prepared before it starts: {states:?}"
        );
    }
    story.end();

    let story = Story::new("halved", true);
    until("all three have ended", PATIENCE, || {
        let ended = |task| story.last(task).is_some_and(|(state, _)| state.is_terminal());
        ["a", "b", "c"].into_iter().all(ended).then_some(())
    });
    let aborted = Some((TaskState::Dropped, StatusReason::GangAborted));
    assert_eq!((story.last("a"), story.last("b")), (aborted, aborted));
    assert_eq!(story.last("c"), Some((TaskState::Error, StatusReason::AgentRefused)));
    // What they held is free again, and nothing ever ran.
    until("the agents are empty", PATIENCE, || {
        let rows = story.parts.api.json("/v1/agents");
        let rows = rows["agents"].as_array()?;
        rows.iter().all(|row| row["allocated"].as_array().is_none_or(Vec::is_empty)).then_some(())
    });
    assert_eq!(files(&story.ran), 0, "nobody starts");
    story.end();
}
