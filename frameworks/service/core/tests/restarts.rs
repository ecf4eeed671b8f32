//! `kill -9` of the framework at any moment ends in the same state, and nothing is launched or
//! killed twice.

mod support;

use proffer_service_core::command::{ScaleTo, ServiceCall, ServiceReply};
use proffer_service_core::record::RolloutState;
use proffer_types::{DurationMs, Refusal, RefusalCode, TaskName, TaskState};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use support::{Cluster, name};

fn web(version: &str) -> Json {
    json!({"web": {
        "instances": 4,
        "command": ["/bin/server", version],
        "stop": {"drain": {"linger": "1s"}},
        "rollout": {"min_available_time": "1s", "progress_deadline": "10m"},
    }})
}

/// Quarters of a second until a rolling update of four is over without any restart.
const QUARTERS: usize = 120;

/// A rolling update with a new framework process after each of these quarters.
fn roll(restarts: &[usize]) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.deploy(&web("1")).expect("accepted");
    cluster.run(5);
    cluster.deploy(&web("2")).expect("accepted");
    for quarter in 0..QUARTERS {
        if restarts.contains(&quarter) {
            cluster.kill_framework();
        }
        cluster.step();
    }
    cluster.run(40);
    cluster
}

fn check(cluster: &mut Cluster, restarts: &[usize]) {
    let view = cluster.view("web");
    assert_eq!(view.summary.rollout.state, RolloutState::Succeeded, "restarts at {restarts:?}");
    assert_eq!((view.summary.revision, view.summary.ready), (2, 4));
    assert_eq!(cluster.running(), [(0, 2), (1, 2), (2, 2), (3, 2)]);
    // Each slot of each revision was started exactly once: nothing twice, nothing without cause.
    let mut launches: BTreeMap<String, u32> = BTreeMap::new();
    for (task, _) in cluster.bench.master().launched() {
        *launches.entry(slot_and_revision(task)).or_default() += 1;
    }
    assert_eq!(launches.len(), 8, "{launches:?}");
    assert!(launches.values().all(|count| *count == 1), "at {restarts:?}: {launches:?}");
    assert_eq!(cluster.bench.master().violations(), &[] as &[String]);
}

fn slot_and_revision(task: &TaskName) -> String {
    task.as_str().rsplit_once('.').expect("an instance").0.to_owned()
}

#[test]
fn a_restart_at_any_moment_of_a_rolling_update_changes_nothing() {
    for quarter in 0..QUARTERS {
        let mut cluster = roll(&[quarter]);
        check(&mut cluster, &[quarter]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn so_do_many_restarts(mut restarts in prop::collection::vec(0..QUARTERS, 0..12)) {
        restarts.sort_unstable();
        let mut cluster = roll(&restarts);
        check(&mut cluster, &restarts);
    }
}

/// The same when the new revision is broken: the process that finds out, and the one that rolls
/// back, may be different ones.
#[test]
fn a_rollback_goes_on_across_restarts() {
    for quarter in 0..60 {
        let mut cluster = Cluster::new();
        cluster.deploy(&web("1")).expect("accepted");
        cluster.run(5);
        let before = cluster.bench.live();
        cluster.crashes = Some(".r2.".to_owned());
        cluster.deploy(&web("2")).expect("accepted");
        for at in 0..60 {
            if at == quarter {
                cluster.kill_framework();
            }
            cluster.step();
        }
        cluster.run(20);
        let view = cluster.view("web");
        assert_eq!(view.summary.rollout.state, RolloutState::RolledBack, "restart at {quarter}");
        assert_eq!(cluster.bench.live(), before, "old instances are left alone");
    }
}

/// It may have been told to the process before, whose word about it did not arrive.
#[test]
fn i7_an_end_that_no_instance_is_known_for_is_not_held_against_its_slot() {
    let mut cluster = Cluster::new();
    cluster.deploy(&web("1")).expect("accepted");
    cluster.run(5);
    let (task, _, _) = cluster.bench.live()[0].clone();
    let task = TaskName::new(&task).expect("listed");
    assert!(cluster.bench.master().move_task(&task, TaskState::Failed));
    cluster.kill_framework();
    cluster.step();
    let view = cluster.view("web");
    assert!(view.waits.iter().all(|wait| wait.crashes == 0), "{:?}", view.waits);
    assert_eq!(cluster.running().len(), 4, "and it is filled again without a pause");
}

/// An agent that returns while the framework has no connection is told by the next snapshot, also in
/// the same epoch; otherwise its slots would be held for ever (K2).
#[test]
fn an_agent_that_returns_during_a_cut_is_absent_no_more() {
    let mut cluster = Cluster::new();
    cluster.deploy(&web("1")).expect("accepted");
    cluster.run(5);
    cluster.kill_framework();
    let agents = cluster.bench.master().agents();
    cluster.bench.fail_over();
    for agent in &agents[1..] {
        cluster.bench.master().return_agent(*agent);
    }
    cluster.bench.advance(DurationMs(5_000));
    assert!(cluster.bench.context().absent().contains_key(&agents[0]), "it is awaited");
    cluster.bench.cut();
    cluster.bench.master().return_agent(agents[0]);
    cluster.bench.advance(DurationMs(1_000));
    cluster.bench.mend();
    cluster.deploy(&web("2")).expect("accepted");
    cluster.run(60);
    let view = cluster.view("web");
    assert_eq!((view.summary.rollout.state, view.summary.available), (RolloutState::Succeeded, 4));
    assert_eq!(cluster.bench.master().violations(), &[] as &[String]);
}

#[derive(Clone, Debug)]
enum Happening {
    Deploy(u8),
    Scale(u32),
    Restart,
    Crash(usize),
    LoseAgent(usize),
    ReturnAgents,
    KillFramework,
    CutAndMend,
    FailOver,
    Run(u64),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let happening = prop_oneof![
        2 => (1u8..5).prop_map(Happening::Deploy),
        1 => (1u32..7).prop_map(Happening::Scale),
        1 => Just(Happening::Restart),
        2 => any::<usize>().prop_map(Happening::Crash),
        1 => any::<usize>().prop_map(Happening::LoseAgent),
        1 => Just(Happening::ReturnAgents),
        3 => Just(Happening::KillFramework),
        1 => Just(Happening::CutAndMend),
        1 => Just(Happening::FailOver),
        6 => (1u64..8).prop_map(Happening::Run),
    ];
    prop::collection::vec(happening, 0..25)
}

/// A call whose outcome the connection took with it is refused as unavailable; all others hold.
fn accepted_or_cut_off(reply: Result<ServiceReply, Refusal>) {
    if let Err(refusal) = reply {
        assert_eq!(refusal.code, RefusalCode::Unavailable, "{refusal}");
    }
}

impl Cluster {
    fn happens(&mut self, happening: &Happening) {
        let pick = |count: usize, place: usize| (count > 0).then(|| place % count);
        match happening {
            Happening::Deploy(version) => {
                let reply = self.deploy(&web(&version.to_string()));
                accepted_or_cut_off(reply);
            }
            Happening::Scale(count) => {
                let targets = BTreeMap::from([(name("web"), ScaleTo::Count(*count))]);
                accepted_or_cut_off(self.call(ServiceCall::Scale { targets }));
            }
            Happening::Restart => {
                accepted_or_cut_off(self.call(ServiceCall::Restart { service: name("web") }));
            }
            Happening::Crash(place) => {
                let live = self.bench.live();
                if let Some(index) = pick(live.len(), *place) {
                    let task = TaskName::new(&live[index].0).expect("listed");
                    self.bench.master().move_task(&task, TaskState::Failed);
                    self.bench.settle();
                }
            }
            Happening::LoseAgent(place) => {
                let agents = self.bench.master().agents();
                let index = pick(agents.len(), *place).expect("there are three");
                self.bench.master().lose_agent(agents[index]);
                self.bench.settle();
            }
            Happening::ReturnAgents => self.return_agents(),
            Happening::KillFramework => self.kill_framework(),
            Happening::CutAndMend => {
                self.bench.cut();
                self.bench.advance(DurationMs(2_000));
                self.bench.mend();
            }
            Happening::FailOver => {
                self.bench.fail_over();
                self.bench.settle();
            }
            Happening::Run(seconds) => self.run(*seconds),
        }
    }

    fn return_agents(&mut self) {
        for agent in self.bench.master().agents() {
            self.bench.master().return_agent(agent);
        }
        self.bench.settle();
    }
}

/// When it is over, every slot has exactly one instance of what is aimed at, and the master never saw a
/// name used twice (K1, K2).
fn ends_with_one_instance_a_slot(events: &[Happening]) {
    let mut cluster = Cluster::new();
    cluster.deploy(&web("1")).expect("accepted");
    cluster.run(5);
    for event in events {
        cluster.happens(event);
    }
    cluster.return_agents();
    // Longer than the longest pause of a slot that crashed a few times.
    cluster.run(200);
    let view = cluster.view("web");
    let count = view.summary.instances;
    assert_eq!(view.summary.ready, count, "{:?} {:?}", view.summary, view.waits);
    // A rollout that failed with nothing good to go back to stands still: all serve, some of them
    // still the revision before.
    if view.summary.rollout.state != RolloutState::Paused {
        assert_eq!(view.summary.available, count);
    }
    let slots: Vec<u32> = cluster.running().into_iter().map(|(slot, _)| slot).collect();
    assert_eq!(slots, (0..count).collect::<Vec<_>>());
    assert_eq!(cluster.bench.master().violations(), &[] as &[String]);
}

/// A rollout that stands still, without a good revision to go back to, kept the surge instance of a
/// slot beside the old one that it was to replace.
#[test]
fn a_paused_rollout_keeps_one_instance_a_slot() {
    use Happening::{Crash, LoseAgent, Restart, Run, Scale};
    ends_with_one_instance_a_slot(&[Restart, Run(5), LoseAgent(0), Crash(4297648877978214915)]);
    ends_with_one_instance_a_slot(&[Scale(5), Restart, Run(3), Crash(1901998463535245235)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens, and whichever process sees it.
    #[test]
    fn whatever_happens_every_slot_ends_with_one_instance(events in happenings()) {
        ends_with_one_instance_a_slot(&events);
    }
}
