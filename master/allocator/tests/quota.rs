//! Guarantees, limits and headroom, each from its rule.

mod cluster;

use cluster::{Cluster, group, role};
use proffer_allocator::{Delta, Use};
use proffer_types::explanation::Subject;
use proffer_types::role::RoleConfig;
use proffer_types::{Constraint, ConstraintRule, FrameworkId, GroupName, ResourceName, Resources};
use std::collections::BTreeSet;

impl Cluster {
    fn quota(&mut self, role_name: &str, guarantee: &str, limit: &str) {
        let config = RoleConfig {
            guarantee: guarantee.parse().expect("valid"),
            limit: limit.parse().expect("valid"),
            ..RoleConfig::default()
        };
        self.tell(&Delta::RoleSet { role: role(role_name), config });
    }

    fn cpus(&self, framework: FrameworkId) -> u64 {
        self.leased(framework).scalar(&ResourceName::Cpus) / 1000
    }

    /// States one group of one-cpu tasks.
    fn wants(&mut self, framework: FrameworkId, role_name: &str, tasks: u32) {
        self.demand(framework, vec![group("g", role_name, "cpus:1", tasks)]);
    }
}

fn waits(cluster: &Cluster, framework: FrameworkId) -> u32 {
    cluster.allocator.unmet(framework, &GroupName::new("g").expect("valid"))
}

#[test]
fn a_limit_holds_for_demand_and_for_classical_offers() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:10;mem:10GiB");
    cluster.quota("a", "", "cpus:3");
    let demands = cluster.framework(1, "a");
    cluster.wants(demands, "a", 9);
    cluster.settle();
    assert_eq!(cluster.tasks_of(demands), 3, "no task beyond the limit");

    let mut cluster = Cluster::new();
    cluster.agent("cpus:10;mem:10GiB");
    cluster.quota("a", "", "cpus:3");
    let takes = cluster.framework(1, "a");
    let decisions = cluster.settle();
    assert_eq!(decisions.len(), 1);
    let offered: Resources = "cpus:3;mem:10GiB".parse().expect("valid");
    assert_eq!(decisions[0].resources, offered, "what is not named is not limited");
    assert_eq!(cluster.cpus(takes), 3);
}

#[test]
fn a_limit_holds_for_the_whole_subtree_and_every_level() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:100;mem:100GiB");
    cluster.quota("eng", "", "cpus:10");
    cluster.quota("eng/a", "", "cpus:2");
    for (id, name) in [(1, "eng"), (2, "eng/a"), (3, "eng/a/deep"), (4, "eng/b")] {
        let framework = cluster.framework(id, name);
        cluster.wants(framework, name, 50);
    }
    cluster.settle();
    let cpus = |id| cluster.cpus(FrameworkId(id));
    assert_eq!(cpus(2) + cpus(3), 2, "eng/a with what is below it");
    assert_eq!((1..=4).map(cpus).sum::<u64>(), 10, "all below eng");
}

#[test]
fn zero_forbids_and_raising_a_limit_goes_on_at_once() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:10;gpus:4");
    cluster.quota("a", "", "gpus:0");
    let framework = cluster.framework(1, "a");
    cluster.demand(framework, vec![group("g", "a", "cpus:1;gpus:1", 4)]);
    cluster.settle();
    assert_eq!(cluster.tasks_of(framework), 0);
    cluster.quota("a", "", "gpus:3");
    cluster.settle();
    assert_eq!(cluster.tasks_of(framework), 3);
    cluster.quota("a", "", "");
    cluster.settle();
    assert_eq!(cluster.tasks_of(framework), 4);
}

#[test]
fn a_limit_below_use_takes_offers_back_and_no_task() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:10");
    let framework = cluster.framework(1, "a/b");
    cluster.wants(framework, "a/b", 3);
    let first = cluster.settle();
    let held = cluster.accept(first[0].lease);
    cluster.wants(framework, "a/b", 8);
    let second = cluster.settle();
    cluster.quota("a", "", "cpus:4");
    let turn = cluster.turn(cluster::PLENTY);
    assert!(turn.decisions.is_empty() && turn.rescinds.is_empty());
    assert_eq!(turn.beyond_limits, [second[0].lease], "offers count, so they go back");
    cluster.give_back(second[0].lease);
    cluster.settle();
    assert_eq!(cluster.tasks_of(framework), 1, "3 run, as much more as is allowed");

    cluster.quota("a", "", "cpus:2");
    let turn = cluster.turn(cluster::PLENTY);
    assert_eq!(turn.beyond_limits.len(), 1);
    cluster.give_back(turn.beyond_limits[0]);
    cluster.settle();
    assert_eq!(cluster.tasks_of(framework), 0);
    assert_eq!(cluster.allocator.consumed(&role("a")), held.resources, "the tasks stay");
}

#[test]
fn what_would_go_beyond_a_limit_is_named() {
    let mut cluster = Cluster::new();
    cluster.quota("eng", "", "cpus:4");
    cluster.quota("eng/db", "", "mem:1GiB");
    let beyond = |more: &str| {
        let found = cluster.allocator.beyond_limit(&role("eng/db"), &more.parse().expect("valid"));
        found.map(|found| found.to_string())
    };
    assert_eq!(beyond("cpus:4;mem:1GiB;disk:9GiB"), None);
    let text = "role eng may have cpus 4, and it and all below it use, hold or reserve 0";
    assert_eq!(beyond("cpus:5").as_deref(), Some(text));
    assert!(beyond("mem:2GiB").expect("too much").starts_with("role eng/db may have mem 1GiB"));
}

#[test]
fn guarantees_come_first_whatever_the_shares() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:10");
    cluster.quota("a", "cpus:6", "");
    let (a, b) = (cluster.framework(1, "a"), cluster.framework(2, "b"));
    cluster.wants(a, "a", 20);
    cluster.wants(b, "b", 20);
    cluster.settle();
    assert_eq!((cluster.cpus(a), cluster.cpus(b)), (6, 4), "6 owed; b's share is lower after that");
}

#[test]
fn what_is_owed_and_not_asked_for_is_kept_free() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:10");
    cluster.quota("a", "cpus:6", "");
    let b = cluster.framework(2, "b");
    cluster.wants(b, "b", 20);
    cluster.settle();
    assert_eq!(cluster.cpus(b), 4);
    let a = cluster.framework(1, "a");
    cluster.wants(a, "a", 6);
    cluster.settle();
    assert_eq!((cluster.cpus(a), cluster.cpus(b)), (6, 4));
    cluster.quota("a", "", "");
    cluster.wants(a, "a", 0);
    let lease = *cluster.leases.iter().find(|(_, l)| l.framework == a).expect("held").0;
    cluster.give_back(lease);
    cluster.settle();
    assert_eq!(cluster.cpus(b), 10, "nothing is owed any more");
}

#[test]
fn classical_offers_are_cut_to_what_is_owed_and_to_what_nobody_is_owed() {
    let mut cluster = Cluster::new();
    let agent = cluster.agent("cpus:10;mem:10GiB");
    cluster.quota("a", "cpus:6;mem:6GiB", "");
    let b = cluster.framework(2, "b");
    cluster.settle();
    assert_eq!(cluster.leased(b), "cpus:4;mem:4GiB".parse().expect("valid"));
    let a = cluster.framework(1, "a");
    cluster.settle();
    assert_eq!(cluster.leased(a), "cpus:6;mem:6GiB".parse().expect("valid"));
    assert_eq!(cluster.allocator.free(agent), Resources::new());
}

#[test]
fn a_childs_guarantee_comes_out_of_its_parents() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:20");
    cluster.quota("eng", "cpus:10", "");
    cluster.quota("eng/a", "cpus:6", "");
    let (b, other) = (cluster.framework(2, "eng/b"), cluster.framework(3, "other"));
    cluster.wants(b, "eng/b", 4);
    cluster.wants(other, "other", 50);
    cluster.settle();
    assert_eq!(cluster.cpus(b), 4, "what eng is owed beyond eng/a");
    assert_eq!(cluster.cpus(other), 10, "6 are kept for eng/a");
    let a = cluster.framework(1, "eng/a");
    cluster.wants(a, "eng/a", 50);
    cluster.settle();
    assert_eq!((cluster.cpus(a), cluster.cpus(b), cluster.cpus(other)), (6, 4, 10));
}

#[test]
fn guarantees_of_children_count_where_the_parent_has_none() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:10");
    cluster.quota("eng/a", "cpus:3", "");
    cluster.quota("eng/b", "cpus:4", "");
    let other = cluster.framework(3, "other");
    cluster.wants(other, "other", 50);
    cluster.settle();
    assert_eq!(cluster.cpus(other), 3);
}

#[test]
fn headroom_is_real_what_the_guaranteed_demand_cannot_use_is_given() {
    let zone = |name: &str| Constraint {
        attribute: "zone".to_owned(),
        rule: ConstraintRule::In(BTreeSet::from([name.to_owned()])),
    };
    let mut cluster = Cluster::new();
    cluster.quota("a", "cpus:8", "");
    let (a, b) = (cluster.framework(1, "a"), cluster.framework(2, "b"));
    let mut wanted = group("g", "a", "cpus:4", 2);
    wanted.constraints = vec![zone("z2")];
    cluster.demand(a, vec![wanted]);
    cluster.wants(b, "b", 50);
    cluster.agent_with("cpus:10", "zone:z1");
    cluster.agent_with("cpus:2", "zone:z2");
    cluster.settle();
    assert_eq!(cluster.cpus(b), 12, "another zone, and too small an agent, are no headroom");

    let large = cluster.agent_with("cpus:6", "zone:z2");
    cluster.settle();
    assert_eq!(cluster.cpus(a), 4, "a task has a place");
    assert_eq!(cluster.cpus(b), 12, "and what is left there is kept for what is owed still");
    cluster.tell(&Delta::AgentUsable { agent: large, usable: false });
    cluster.agent_with("cpus:6", "zone:z3");
    cluster.settle();
    assert_eq!(cluster.cpus(b), 18);
}

#[test]
fn an_agent_that_takes_no_tasks_is_no_headroom() {
    let mut cluster = Cluster::new();
    cluster.quota("a", "cpus:5", "");
    let b = cluster.framework(2, "b");
    cluster.wants(b, "b", 50);
    cluster.agent("cpus:7");
    let free = cluster.agent("cpus:5");
    cluster.settle();
    assert_eq!(cluster.cpus(b), 7);
    cluster.tell(&Delta::AgentUsable { agent: free, usable: false });
    cluster.agent("cpus:1");
    cluster.settle();
    assert_eq!(cluster.cpus(b), 7, "5 are kept, and only 1 is there");
    cluster.tell(&Delta::AgentUsable { agent: free, usable: true });
    cluster.settle();
    assert_eq!(cluster.cpus(b), 8);
}

#[test]
fn what_is_owed_takes_offers_back_from_those_who_are_not_owed_them() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:10;mem:1GiB");
    let b = cluster.framework(2, "b");
    cluster.settle();
    assert_eq!(cluster.cpus(b), 10);
    cluster.quota("a", "cpus:6", "");
    let a = cluster.framework(1, "a");
    cluster.wants(a, "a", 6);
    cluster.settle();
    assert_eq!((cluster.cpus(a), cluster.cpus(b)), (6, 4));
}

/// A demand that waits already asks when it comes to be owed something.
#[test]
fn a_raised_guarantee_takes_offers_back_for_demand_that_waits() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:10;mem:1GiB");
    let (a, b) = (cluster.framework(1, "a"), cluster.framework(2, "b"));
    cluster.wants(a, "a", 6);
    cluster.settle();
    assert_eq!((cluster.cpus(a), cluster.cpus(b)), (5, 5), "the fair part");
    cluster.quota("a", "cpus:6", "");
    cluster.settle();
    assert_eq!((cluster.cpus(a), cluster.cpus(b)), (6, 4));
}

/// Too little comes back for the demand by itself, and enough with the offer beside it.
#[test]
fn what_comes_back_counts_together_with_the_offers_beside_it() {
    let mut cluster = Cluster::new();
    let agent = cluster.agent("cpus:4;mem:4GiB");
    let (a, b) = (cluster.framework(1, "a"), cluster.framework(2, "b"));
    let held = Use {
        agent,
        framework: FrameworkId(9),
        role: role("c"),
        resources: "cpus:3;mem:3GiB".parse().expect("valid"),
        group: None,
        tasks: 0,
    };
    cluster.tell(&Delta::Allocated(held.clone()));
    cluster.demand(a, Vec::new());
    cluster.settle();
    assert_eq!(cluster.cpus(b), 1);
    cluster.quota("a", "cpus:4", "");
    cluster.demand(a, vec![group("g", "a", "cpus:4;mem:4GiB", 1)]);
    cluster.settle();
    assert_eq!(cluster.tasks_of(a), 0, "tasks hold what it needs");
    cluster.tell(&Delta::Released(held));
    cluster.settle();
    assert_eq!((cluster.tasks_of(a), cluster.cpus(b)), (1, 0));
}

#[test]
fn a_task_larger_than_what_is_left_of_a_guarantee_competes_by_its_share() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:12");
    cluster.quota("a", "cpus:10", "");
    let a = cluster.framework(1, "a");
    cluster.demand(a, vec![group("g", "a", "cpus:4", 3)]);
    cluster.settle();
    assert_eq!(cluster.cpus(a), 12, "what it is owed itself never stands in its way");
    assert_eq!(waits(&cluster, a), 0);
}

#[test]
fn all_roles_of_the_quota_benchmark_get_what_they_are_guaranteed_in_one_cycle() {
    let mut cluster = Cluster::new();
    let (small, large) = (25, 5);
    for _ in 0..small / 5 + 5 * large {
        cluster.agent("cpus:2;mem:2GiB;disk:2GiB");
    }
    for id in 1..=small + large {
        let name = format!("role{id}");
        cluster.framework(id, &name);
        let amounts = match id <= small {
            true => "cpus:1;mem:1GiB;disk:1GiB",
            false => "cpus:4;mem:4GiB;disk:4GiB",
        };
        cluster.quota(&name, amounts, amounts);
    }
    cluster.settle();
    for id in 1..=small + large {
        assert_eq!(cluster.cpus(FrameworkId(id)), if id <= small { 1 } else { 4 });
    }
    assert!(cluster.settle().is_empty(), "a second cycle has nothing to give");
}

#[test]
fn explanations_name_the_limit_and_what_is_kept_for_others() {
    let ask = |cluster: &Cluster, framework| {
        let subject = Subject::Demand(framework, GroupName::new("g").expect("valid"));
        cluster.allocator.explain(&subject, cluster.now)
    };
    let mut cluster = Cluster::new();
    cluster.agent("cpus:10");
    cluster.quota("eng", "", "cpus:3");
    let a = cluster.framework(1, "eng/a");
    cluster.wants(a, "eng/a", 5);
    cluster.settle();
    let answer = ask(&cluster, a);
    assert!(answer.summary.contains("role eng is at its limit"), "{}", answer.summary);
    assert!(answer.summary.contains("cpus 3 of at most 3"), "{}", answer.summary);
    assert!(answer.hints[0].contains("proffer roles set eng --limit"), "{:?}", answer.hints);

    cluster.quota("other", "cpus:7", "");
    let b = cluster.framework(2, "b");
    cluster.wants(b, "b", 5);
    cluster.settle();
    let answer = ask(&cluster, b);
    let last = answer.funnel.last().expect("a funnel");
    assert_eq!(last.rule, "not kept free for guarantees of others");
    assert_eq!(last.remaining, 0);
    assert!(answer.nearest_miss.contains("owed to other (cpus:7)"), "{}", answer.nearest_miss);

    let classical = cluster.framework(3, "c");
    cluster.settle();
    let answer = cluster.allocator.explain(&Subject::Framework(classical), cluster.now);
    assert!(answer.summary.contains("kept for guarantees of others"), "{}", answer.summary);
}
