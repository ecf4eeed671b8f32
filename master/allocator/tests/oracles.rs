//! Exact results from the literature (T1 to T12): shapes, totals, tasks and shares.

mod cluster;

use cluster::{Cluster, PLENTY, group, role};
use proffer_allocator::Delta;
use proffer_types::{FrameworkId, RoleName};

/// Frameworks with endless demand, each in a role of its own with a weight, on one agent; the
/// tasks each of them ends with.
fn tasks(agent: &str, users: &[(&str, u64)]) -> Vec<u32> {
    let mut cluster = Cluster::new();
    let mut ids = Vec::new();
    for (index, (shape, weight_milli)) in (1u64..).zip(users) {
        let name = format!("user{index}");
        cluster.weight(&name, *weight_milli);
        let framework = cluster.framework(index, &name);
        cluster.demand(framework, vec![group("tasks", &name, shape, 10_000)]);
        ids.push(framework);
    }
    cluster.agent(agent);
    cluster.settle();
    ids.into_iter().map(|id| cluster.tasks_of(id)).collect()
}

const PAPER: &str = "cpus:9;mem:18GB";
const A: &str = "cpus:1;mem:4GB";
const B: &str = "cpus:3;mem:1GB";

#[test]
fn t1_the_example_of_the_drf_paper() {
    assert_eq!(tasks(PAPER, &[(A, 1000), (B, 1000)]), [3, 2]);
}

/// Decides step by step; who was served, and both shares in millionths after each step.
fn schedule(first: FrameworkId, cluster: &mut Cluster) -> (String, Vec<(u64, u64)>) {
    let star = role("*");
    let (mut order, mut shares) = (String::new(), Vec::new());
    loop {
        let turn = cluster.turn(1);
        for decision in &turn.decisions {
            assert_eq!(decision.count, 1);
            order.push(if decision.framework == FrameworkId(7) { 'A' } else { 'B' });
            let share = |id| cluster.allocator.framework_share_ppm(FrameworkId(id), &star);
            let a = share(7);
            shares.push((a, share(if first == FrameworkId(1) { 1 } else { 8 })));
        }
        if !turn.more {
            return (order, shares);
        }
    }
}

/// Both frameworks in one role; on equal shares the one that was registered first.
fn paper_cluster(b: u64) -> Cluster {
    let mut cluster = Cluster::new();
    for (id, shape) in [(7, A), (b, B)] {
        let framework = cluster.framework(id, "*");
        cluster.demand(framework, vec![group("tasks", "*", shape, 100)]);
    }
    cluster.agent(PAPER);
    cluster
}

#[test]
fn t1b_the_schedule_of_the_drf_paper() {
    let third = |n: u64| n * 1_000_000 / 9;
    let (order, shares) = schedule(FrameworkId(1), &mut paper_cluster(1));
    assert_eq!(order, "BAABA");
    let expected = [(0, 3), (2, 3), (4, 3), (4, 6), (6, 6)].map(|(a, b)| (third(a), third(b)));
    assert_eq!(shares, expected);

    let (order, _) = schedule(FrameworkId(8), &mut paper_cluster(8));
    assert_eq!(order, "ABABA");
}

/// In one turn, consecutive tasks of one framework on one agent are one lease.
#[test]
fn t1b_in_one_turn_merges_consecutive_steps() {
    let turn = paper_cluster(1).turn(PLENTY);
    let leases: Vec<(u64, u32, String)> = turn
        .decisions
        .iter()
        .map(|decision| (decision.framework.0, decision.count, decision.resources.to_string()))
        .collect();
    let expected = [
        (1, 1, "cpus:3;mem:1000000000B"),
        (7, 2, "cpus:2;mem:7812500KiB"),
        (1, 1, "cpus:3;mem:1000000000B"),
        (7, 1, "cpus:1;mem:3906250KiB"),
    ];
    assert_eq!(leases, expected.map(|(id, count, text)| (id, count, text.to_owned())));
}

#[test]
fn t2_weights_in_whole_tasks() {
    assert_eq!(tasks(PAPER, &[(A, 2000), (B, 1000)]), [3, 2]);
    assert_eq!(tasks(PAPER, &[(A, 1000), (B, 2000)]), [3, 2]);
    assert_eq!(tasks(PAPER, &[(A, 3000), (B, 1000)]), [4, 1]);
}

#[test]
fn t3_sharing_incentive_where_asset_fairness_breaks_it() {
    let users = [("cpus:1;mem:3GB", 1000), ("cpus:1;mem:1GB", 1000)];
    assert_eq!(tasks("cpus:30;mem:30GB", &users), [5, 15]);
}

#[test]
fn t6_the_numbers_of_yarn() {
    let users = [("cpus:2;mem:300MB", 1000), ("cpus:6;mem:100MB", 1000)];
    assert_eq!(tasks("cpus:100;mem:10000MB", &users), [20, 10]);
}

/// A full resource stops only those who need it.
#[test]
fn t10_saturation_stops_nobody_else() {
    let agent = "cpus:10;mem:10GB;disk:100GB";
    let users = [("cpus:1;mem:1GB", 1000), ("cpus:1", 1000), ("disk:1GB", 1000)];
    let result = tasks(agent, &users);
    assert_eq!(result[0] + result[1], 10, "cpus are used up");
    assert_eq!(result[2], 100, "disk goes on");
}

#[test]
fn t11_one_resource_is_split_evenly_and_the_rest_goes_by_order() {
    assert_eq!(tasks("cpus:11;mem:1GB", &[("cpus:1", 1000); 3]), [4, 4, 3]);
    assert_eq!(tasks("cpus:12;mem:1GB", &[("cpus:1", 1000), ("cpus:1", 2000)]), [4, 8]);
}

#[test]
fn t12_one_bottleneck_for_all_means_equal_shares_of_it() {
    let users = [("cpus:2;mem:1MB", 1000), ("cpus:1;mem:50MB", 1000), ("cpus:4;disk:1MB", 1000)];
    let result = tasks("cpus:48;mem:100GB;disk:100GB", &users);
    assert_eq!(result, [8, 16, 4], "16 cpus each");
}

/// A role that is parent and client competes through its inner child, and a subtree's share is the
/// sum of what is below it.
#[test]
fn the_tree_is_fair_level_by_level() {
    let mut cluster = Cluster::new();
    let roles = ["eng", "eng/db", "eng/web", "ops"];
    for (id, name) in (1u64..).zip(roles) {
        let framework = cluster.framework(id, name);
        cluster.demand(framework, vec![group("tasks", name, "cpus:1", 1000)]);
    }
    cluster.agent("cpus:60;mem:1GB");
    cluster.settle();
    let of = |id| cluster.tasks_of(FrameworkId(id));
    assert_eq!([of(1), of(2), of(3), of(4)], [10, 10, 10, 30]);
    assert_eq!(cluster.allocator.dominant_share_ppm(&role("eng")), 500_000);
    assert_eq!(cluster.allocator.allocated(&role("eng")).to_string(), "cpus:30");
}

/// Roles that nobody uses leave nothing behind, and a weight outlives its frameworks.
#[test]
fn weights_stay_and_empty_roles_go() {
    let mut cluster = Cluster::new();
    cluster.weight("a/b", 3000);
    let framework = cluster.framework(1, "a/b");
    cluster.demand(framework, vec![group("tasks", "a/b", "cpus:1", 100)]);
    let other = cluster.framework(2, "a/c");
    cluster.demand(other, vec![group("tasks", "a/c", "cpus:1", 100)]);
    cluster.agent("cpus:40;mem:1GB");
    cluster.settle();
    assert_eq!((cluster.tasks_of(framework), cluster.tasks_of(other)), (30, 10));
    for lease in cluster.leases.clone().into_keys() {
        cluster.give_back(lease);
    }
    for framework in [framework, other] {
        cluster.tell(&Delta::FrameworkRemoved { framework });
    }
    let nothing = |name: &RoleName| cluster.allocator.allocated(name).is_empty();
    assert!(nothing(&role("a/b")) && nothing(&role("a/c")));
}
