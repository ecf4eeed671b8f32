//! `kill -9` of the framework at any moment ends in the same state, and nothing is launched or
//! killed twice.

mod support;

use proffer_service_core::record::RolloutState;
use proffer_types::TaskName;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use support::Cluster;

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
