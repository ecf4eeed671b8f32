//! What frameworks may rely on: nobody waits while his task fits, everybody gets his part, demand
//! and classical offers live side by side, refusals hold and end (K7, K10, I3, I9).

mod cluster;

use cluster::{Cluster, PLENTY, group, role};
use proffer_allocator::{Decision, Delta, DeltaError, Use};
use proffer_types::demand::DemandGroup;
use proffer_types::role::RoleConfig;
use proffer_types::{
    AgentId, Constraint, ConstraintRule, FrameworkId, GroupName, Monotonic, ResourceName, Resources,
};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn shape_text(cpus: u64, mem: u64) -> String {
    format!("cpus:{cpus};mem:{mem}MiB")
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(1000),
        ..ProptestConfig::default()
    })]

    /// T18: at quiescence no unmet task fits anywhere.
    #[test]
    fn nobody_waits_while_his_task_fits(
        agents in prop::collection::vec((0u64..12, 0u64..12), 1..6),
        users in prop::collection::vec((0u64..5, 1u64..5, 0u32..12), 1..6),
    ) {
        let mut cluster = Cluster::new();
        let ids: Vec<AgentId> =
            agents.iter().map(|(c, m)| cluster.agent(&shape_text(*c, *m))).collect();
        for (id, (c, m, target)) in (1u64..).zip(&users) {
            let framework = cluster.framework(id, "*");
            cluster.demand(framework, vec![group("tasks", "*", &shape_text(*c, *m), *target)]);
        }
        cluster.settle();
        let name = GroupName::new("tasks").expect("valid");
        for (id, (c, m, target)) in (1u64..).zip(&users) {
            let framework = FrameworkId(id);
            let unmet = cluster.allocator.unmet(framework, &name);
            prop_assert_eq!(unmet + cluster.tasks_of(framework), *target);
            let shape: Resources = shape_text(*c, *m).parse().expect("valid");
            prop_assert!(
                unmet == 0 || !ids.iter().any(|a| cluster.allocator.free(*a).contains(&shape))
            );
        }
    }

    /// T18: everybody who wants more has the n-th part of his dominant resource, short of one task.
    #[test]
    fn everybody_gets_at_least_the_nth_part(
        total in (20u64..60, 20u64..60),
        users in prop::collection::vec((1u64..5, 1u64..5), 1..6),
    ) {
        let mut cluster = Cluster::new();
        cluster.agent(&shape_text(total.0, total.1));
        for (id, (c, m)) in (1u64..).zip(&users) {
            let framework = cluster.framework(id, "*");
            cluster.demand(framework, vec![group("tasks", "*", &shape_text(*c, *m), 1000)]);
        }
        cluster.settle();
        let task_ppm = |(c, m): &(u64, u64)| {
            (c * 1_000_000).div_ceil(total.0).max((m * 1_000_000).div_ceil(total.1))
        };
        let largest = users.iter().map(task_ppm).max().unwrap_or(0);
        for id in 1..=users.len() as u64 {
            let share = cluster.allocator.framework_share_ppm(FrameworkId(id), &role("*"));
            prop_assert!(share + largest + 1 >= 1_000_000 / users.len() as u64);
        }
    }

    /// K7: how the budget is cut changes nothing; the same changes give the same decisions (I20).
    #[test]
    fn slices_of_any_size_decide_the_same(
        agents in prop::collection::vec((1u64..12, 1u64..12), 1..6),
        users in prop::collection::vec((any::<bool>(), 0u64..5, 1u64..5, 0u32..12), 1..6),
        budget in 1u64..9,
    ) {
        let run = |budget: u64| {
            let mut cluster = Cluster::new();
            for (c, m) in &agents {
                cluster.agent(&shape_text(*c, 64 * *m));
            }
            for (id, (states_demand, c, m, target)) in (1u64..).zip(&users) {
                let framework = cluster.framework(id, "*");
                if *states_demand {
                    let shape = shape_text(*c, 64 * *m);
                    cluster.demand(framework, vec![group("tasks", "*", &shape, *target)]);
                }
            }
            let mut steps: Vec<(FrameworkId, AgentId, Option<GroupName>, u32)> = Vec::new();
            loop {
                let turn = cluster.turn(budget);
                for Decision { framework, agent, group, count, .. } in turn.decisions {
                    match steps.last_mut() {
                        Some((f, a, g, c))
                            if group.is_some() && (*f, *a, &*g) == (framework, agent, &group) =>
                        {
                            *c += count;
                        }
                        _ => steps.push((framework, agent, group, count)),
                    }
                }
                if !turn.more {
                    return steps;
                }
            }
        };
        let whole = run(PLENTY);
        prop_assert_eq!(&run(budget), &whole);
        prop_assert_eq!(&run(PLENTY), &whole);
    }
}

fn classical(decisions: &[Decision], framework: FrameworkId) -> Vec<AgentId> {
    let mine = decisions.iter().filter(|d| d.framework == framework && d.group.is_none());
    mine.map(|decision| decision.agent).collect()
}

#[test]
fn a_framework_without_demand_is_offered_whole_agents() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:4;mem:8GiB;disk:1GiB;ports:[100-109];labels:{x,y};cpus(eng):2");
    let framework = cluster.framework(1, "*");
    let decisions = cluster.settle();
    assert_eq!(classical(&decisions, framework).len(), 1);
    assert_eq!(
        decisions[0].resources.to_string(),
        "cpus:4;mem:8GiB;disk:1GiB;ports:[100-109];labels:{x,y}",
        "all that is plain, nothing reserved"
    );
    cluster.accept(decisions[0].lease);
    assert!(cluster.settle().is_empty());
}

#[test]
fn crumbs_are_not_offered() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:0.009;mem:31MiB;disk:100GiB");
    cluster.framework(1, "*");
    assert!(cluster.settle().is_empty());
    cluster.agent("cpus:0.01");
    assert_eq!(cluster.settle().len(), 1);
}

#[test]
fn classical_offers_go_round_by_share_and_then_by_turn() {
    let mut cluster = Cluster::new();
    for _ in 0..6 {
        cluster.agent("cpus:1;mem:1GiB");
    }
    let frameworks = [1, 2, 3].map(|id| cluster.framework(id, "*"));
    let decisions = cluster.settle();
    for framework in frameworks {
        assert_eq!(classical(&decisions, framework).len(), 2);
    }
}

#[test]
fn a_refusal_blocks_what_it_contains_until_it_ends() {
    let mut cluster = Cluster::new();
    let agent = cluster.agent("cpus:4;mem:4GiB");
    let framework = cluster.framework(1, "*");
    let lease = cluster.settle()[0].lease;
    cluster.decline(lease, 5_000);
    assert!(cluster.settle().is_empty(), "the same again is refused");
    assert_eq!(cluster.allocator.next_deadline(), Some(Monotonic(6_000)));

    cluster.tell(&Delta::AgentChanged {
        agent,
        resources: "cpus:5;mem:4GiB".parse().expect("valid"),
        attributes: Default::default(),
    });
    let more = cluster.settle();
    assert_eq!(more.len(), 1, "more than was refused gets through");
    cluster.decline(more[0].lease, 5_000);

    cluster.now = Monotonic(6_000);
    let again = cluster.settle();
    assert_eq!(classical(&again, framework), [agent], "it ends by time");
    cluster.decline(again[0].lease, 5_000);
    assert!(cluster.settle().is_empty());
    cluster.tell(&Delta::FiltersCleared { framework, roles: BTreeSet::new() });
    assert_eq!(cluster.settle().len(), 1, "it ends by revive");
}

#[test]
fn what_is_taken_of_a_reservation_leaves_more_of_the_rest_under_a_limit() {
    let mut cluster = Cluster::new();
    let limit = "cpus:4".parse().expect("valid");
    let config = RoleConfig { limit, ..RoleConfig::default() };
    cluster.tell(&Delta::RoleSet { role: role("batch/1"), config });
    let agent = cluster.agent("cpus:4;mem:4GiB;cpus(batch):1");
    let limited = cluster.framework(1, "batch/1");
    let offered = cluster.settle();
    assert_eq!(offered[0].resources.to_string(), "cpus:3;cpus(batch):1;mem:4GiB");
    cluster.decline(offered[0].lease, 20_000);
    assert_eq!(classical(&cluster.settle(), limited), []);

    let other = cluster.framework(2, "batch/0");
    cluster.demand(other, vec![group("g", "batch/0", "cpus:0.9;mem:1GiB", 1)]);
    let offered = cluster.settle();
    assert_eq!(offered[0].resources.to_string(), "cpus(batch):0.9;mem:1GiB");
    assert_eq!(classical(&offered, limited), [agent]);
    assert_eq!(offered[1].resources.to_string(), "cpus:3.9;cpus(batch):0.1;mem:3GiB");
}

#[test]
fn other_frameworks_get_what_one_refused() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:4;mem:4GiB");
    for id in 1..=3 {
        cluster.framework(id, "*");
    }
    let mut seen = Vec::new();
    loop {
        let decisions = cluster.settle();
        let Some(decision) = decisions.first() else { break };
        seen.push(decision.framework.0);
        cluster.decline(decision.lease, 100_000);
    }
    assert_eq!(seen, [1, 2, 3]);
}

#[test]
fn suppressed_and_inactive_frameworks_get_nothing() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:4;mem:4GiB");
    let framework = cluster.framework(1, "*");
    let suppress = |suppressed| Delta::Suppressed { framework, role: role("*"), suppressed };
    cluster.tell(&suppress(true));
    assert!(cluster.settle().is_empty());
    cluster.tell(&suppress(false));
    cluster.tell(&Delta::FrameworkActive { framework, active: false });
    assert!(cluster.settle().is_empty());
    cluster.tell(&Delta::FrameworkActive { framework, active: true });
    assert_eq!(cluster.settle().len(), 1);
}

/// K10: satisfied demand stops offers by itself, also classical ones.
#[test]
fn demand_is_met_exactly_and_then_offers_stop() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:8;mem:8GiB;ports:[100-199]");
    let framework = cluster.framework(1, "*");
    let tasks = GroupName::new("tasks").expect("valid");
    cluster.demand(framework, vec![group("tasks", "*", "cpus:1;mem:1GiB;ports:[1-2]", 3)]);
    let decisions = cluster.settle();
    assert_eq!(decisions.len(), 1);
    assert_eq!(decisions[0].resources.to_string(), "cpus:3;mem:3GiB;ports:[100-105]");
    assert_eq!((decisions[0].count, cluster.allocator.unmet(framework, &tasks)), (3, 0));
    let held = cluster.accept(decisions[0].lease);
    assert!(cluster.settle().is_empty());

    // Two tasks of the three end.
    let one: Resources = "cpus:1;mem:1GiB".parse().expect("valid");
    for ports in ["ports:[100-101]", "ports:[104-105]"] {
        let resources = one.checked_add(&ports.parse().expect("valid")).expect("adds up");
        cluster.tell(&Delta::Released(Use { resources, tasks: 1, ..held.clone() }));
    }
    assert_eq!(cluster.allocator.unmet(framework, &tasks), 2);
    let again = cluster.settle();
    assert_eq!((again.len(), again[0].count), (1, 2));
    assert_eq!(again[0].resources.ports().to_string(), "[100-101,104-105]");
    cluster.demand(framework, Vec::new());
    cluster.give_back(again[0].lease);
    assert!(cluster.settle().is_empty(), "no demand, and no classical offers either");
}

/// K10: launches count also when the demand is stated only after them, as after a failover.
#[test]
fn launches_known_before_the_demand_count() {
    let mut cluster = Cluster::new();
    let agent = cluster.agent("cpus:8;mem:8GiB");
    let framework = FrameworkId(1);
    let name = GroupName::new("tasks").expect("valid");
    let held = Use {
        agent,
        framework,
        role: role("*"),
        resources: "cpus:2;mem:2GiB".parse().expect("valid"),
        group: Some(name.clone()),
        tasks: 2,
    };
    cluster.tell(&Delta::Allocated(held.clone()));
    cluster.framework(1, "*");
    cluster.demand(framework, vec![group("tasks", "*", "cpus:1;mem:1GiB", 3)]);
    assert_eq!(cluster.settle().iter().map(|decision| decision.count).sum::<u32>(), 1);
    cluster.tell(&Delta::AgentRemoved { agent });
    assert_eq!(cluster.allocator.unmet(framework, &name), 3);
    let gone = cluster.allocator.on_change(&Delta::Released(held));
    assert_eq!(gone, Err(DeltaError::UnknownAgent(agent)));
}

fn one_of(attribute: &str, words: &[&str]) -> Constraint {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    Constraint { attribute: attribute.to_owned(), rule: ConstraintRule::In(words) }
}

#[test]
fn constraints_spread_and_most_per_agent_are_kept() {
    let mut cluster = Cluster::new();
    for (zone, host) in [("a", "h1"), ("b", "h2"), ("a", "h3"), ("a", "h4")] {
        let attributes = format!("zone:{zone};hostname:{host}");
        cluster.agent_with("cpus:4;mem:4GiB", &attributes);
    }
    let framework = cluster.framework(1, "*");
    let base = group("tasks", "*", "cpus:1;mem:1GiB", 5);
    let zoned = DemandGroup {
        constraints: vec![one_of("zone", &["a"]), one_of("hostname", &["h1", "h2", "h3"])],
        per_agent_max: Some(2),
        spread: true,
        ..base
    };
    cluster.demand(framework, vec![zoned]);
    let places: Vec<u64> =
        cluster.settle().iter().flat_map(|d| vec![d.agent.0; d.count as usize]).collect();
    assert_eq!(places, [1, 3, 1, 3], "two agents pass, two each; the fifth waits");
}

#[test]
fn fixed_ports_are_those_or_none() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:4;mem:4GiB;ports:[80-89]");
    cluster.agent("cpus:4;mem:4GiB;ports:[443-443,80-81]");
    let framework = cluster.framework(1, "*");
    let fixed = DemandGroup {
        fixed_ports: true,
        ..group("web", "*", "cpus:1;mem:1GiB;ports:[80-80,443-443]", 2)
    };
    cluster.demand(framework, vec![fixed]);
    let decisions = cluster.settle();
    assert_eq!(decisions.len(), 1);
    assert_eq!((decisions[0].agent, decisions[0].count), (AgentId(2), 1));
    assert_eq!(decisions[0].resources.ports().to_string(), "[80-80,443-443]");
}

#[test]
fn tasks_without_need_of_gpus_leave_gpu_agents_for_last() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:2;mem:2GiB;gpus:4");
    cluster.agent("cpus:2;mem:2GiB");
    let framework = cluster.framework(1, "*");
    cluster.demand(framework, vec![group("tasks", "*", "cpus:1;mem:1GiB", 3)]);
    let places: Vec<(u64, u32)> =
        cluster.settle().iter().map(|decision| (decision.agent.0, decision.count)).collect();
    assert_eq!(places, [(2, 2), (1, 1)]);
}

/// P27: cpus and gpus of an agent run out together.
#[test]
fn tasks_that_need_gpus_go_where_cpus_and_gpus_are_free_as_they_need_them() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:8;mem:64GiB;gpus:4");
    cluster.agent("cpus:32;mem:64GiB;gpus:4");
    let framework = cluster.framework(1, "*");
    let few = group("few", "*", "cpus:2;mem:1GiB;gpus:1", 4);
    let many = DemandGroup { priority: 5, ..group("many", "*", "cpus:8;mem:1GiB;gpus:1", 4) };
    cluster.demand(framework, vec![few, many]);
    let places: Vec<(u64, u32)> =
        cluster.settle().iter().map(|decision| (decision.agent.0, decision.count)).collect();
    assert_eq!(places, [(2, 4), (1, 4)], "in order of agents nothing of many has room at the end");
}

#[test]
fn tasks_that_need_gpus_choose_among_the_first_256_agents() {
    for (others, expected) in [(255, 256), (256, 1)] {
        let mut cluster = Cluster::new();
        for _ in 0..others {
            cluster.agent("cpus:1;mem:8GiB;gpus:4");
        }
        cluster.agent("cpus:4;mem:8GiB;gpus:4");
        let framework = cluster.framework(1, "*");
        cluster.demand(framework, vec![group("g", "*", "cpus:1;mem:1GiB;gpus:1", 1)]);
        assert_eq!(cluster.settle()[0].agent.0, expected, "{others} before it");
    }
}

#[test]
fn priority_goes_first_within_a_framework() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:3;mem:8GiB");
    let framework = cluster.framework(1, "*");
    let low = group("a-low", "*", "cpus:1;mem:1GiB", 3);
    let high = DemandGroup { priority: 5, ..group("b-high", "*", "cpus:1;mem:1GiB", 2) };
    cluster.demand(framework, vec![low, high]);
    let served: Vec<(String, u32)> = cluster
        .settle()
        .into_iter()
        .map(|decision| (decision.group.expect("demand").to_string(), decision.count))
        .collect();
    assert_eq!(served, [("b-high".to_owned(), 2), ("a-low".to_owned(), 1)]);
}

/// K10: demand goes first up to its fair part; beyond it, classical frameworks have their turn.
#[test]
fn demand_and_classical_frameworks_starve_neither() {
    let mut cluster = Cluster::new();
    for _ in 0..8 {
        cluster.agent("cpus:4;mem:4GiB");
    }
    let stated = cluster.framework(1, "*");
    let classical_one = cluster.framework(2, "*");
    cluster.demand(stated, vec![group("tasks", "*", "cpus:1;mem:1GiB", 1000)]);
    loop {
        let decisions = cluster.settle();
        if decisions.is_empty() {
            break;
        }
        for decision in decisions {
            cluster.accept(decision.lease);
        }
    }
    let share = |id| cluster.allocator.framework_share_ppm(id, &role("*"));
    assert_eq!((share(stated), share(classical_one)), (500_000, 500_000));
}

/// A classical framework that gives everything back at once keeps nobody from anything.
#[test]
fn one_that_declines_everything_delays_nobody() {
    let mut cluster = Cluster::new();
    for _ in 0..4 {
        cluster.agent("cpus:4;mem:4GiB");
    }
    let picky = cluster.framework(1, "*");
    let stated = cluster.framework(2, "*");
    cluster.demand(stated, vec![group("tasks", "*", "cpus:1;mem:1GiB", 16)]);
    for round in 0..200 {
        let decisions = cluster.turn(PLENTY).decisions;
        for decision in decisions.iter().filter(|decision| decision.framework == picky) {
            cluster.decline(decision.lease, 1 + round % 3);
        }
        if cluster.tasks_of(stated) == 16 {
            return;
        }
        cluster.now.0 += 1;
    }
    panic!("demand waits for ever: {} of 16", cluster.tasks_of(stated));
}

/// K10: classical leases are asked back for demand below its share, and no further.
#[test]
fn a_hoarder_gives_way_up_to_the_fair_part() {
    let mut cluster = Cluster::new();
    for _ in 0..4 {
        cluster.agent("cpus:4;mem:4GiB");
    }
    let hoarder = cluster.framework(1, "*");
    assert_eq!(cluster.settle().len(), 4);
    let stated = cluster.framework(2, "*");
    cluster.demand(stated, vec![group("tasks", "*", "cpus:1;mem:1GiB", 100)]);
    cluster.settle();
    assert_eq!(cluster.tasks_of(stated), 8);
    assert_eq!(cluster.leased(hoarder).scalar(&ResourceName::Cpus), 8_000);
}

#[test]
fn overshoot_is_kept_in_the_books_and_blocks_offers() {
    let mut cluster = Cluster::new();
    let agent = cluster.agent("cpus:2;mem:2GiB;ports:[10-12]");
    let framework = cluster.framework(1, "*");
    let held = |resources: &str| Use {
        agent,
        framework,
        role: role("*"),
        resources: resources.parse().expect("valid"),
        group: None,
        tasks: 0,
    };
    let (one, two) = (held("cpus:2;mem:1GiB;ports:[10-11]"), held("cpus:1;mem:2GiB;ports:[11-12]"));
    cluster.tell(&Delta::Allocated(one.clone()));
    cluster.tell(&Delta::Allocated(two.clone()));
    assert!(cluster.allocator.free(agent).is_empty());
    assert!(cluster.settle().is_empty());
    cluster.tell(&Delta::Released(one.clone()));
    assert_eq!(cluster.allocator.free(agent).to_string(), "cpus:1;ports:[10-10]");
    let twice = cluster.allocator.on_change(&Delta::Released(one));
    assert!(matches!(twice, Err(DeltaError::NotHeld { .. })));
    cluster.tell(&Delta::Released(two));
    assert_eq!(cluster.allocator.free(agent).to_string(), "cpus:2;mem:2GiB;ports:[10-12]");
}

#[test]
fn contradictions_are_refused_and_change_nothing() {
    let mut cluster = Cluster::new();
    let agent = cluster.agent("cpus:2;mem:2GiB");
    let huge = Delta::AgentAdded {
        agent: AgentId(99),
        name: "big".parse().expect("valid"),
        resources: Resources::scalars([(ResourceName::Mem, u64::MAX)]),
        attributes: Default::default(),
        usable: true,
    };
    let mut refuse = |delta: &Delta| cluster.allocator.on_change(delta).expect_err("refused");
    assert_eq!(refuse(&huge), DeltaError::TooMuch(AgentId(99)));
    assert_eq!(
        refuse(&Delta::Returned { lease: proffer_allocator::LeaseId(4) }),
        DeltaError::UnknownLease(proffer_allocator::LeaseId(4))
    );
    let unknown = FrameworkId(5);
    assert_eq!(
        refuse(&Delta::FrameworkActive { framework: unknown, active: true }),
        DeltaError::UnknownFramework(unknown)
    );
    assert_eq!(
        refuse(&Delta::AgentRemoved { agent: AgentId(99) }),
        DeltaError::UnknownAgent(AgentId(99))
    );
    assert_eq!(cluster.allocator.free(agent).to_string(), "cpus:2;mem:2GiB");
}

/// A change list is plain data: it reads back from text and replays to the same decisions.
#[test]
fn changes_survive_being_stored() {
    let delta = Delta::Demand {
        framework: FrameworkId(1),
        groups: Some(vec![group("tasks", "eng/db", "cpus:1;ports:[1-2]", 3)]),
    };
    let text = serde_json::to_string(&delta).expect("plain data");
    assert_eq!(serde_json::from_str::<Delta>(&text).expect("reads back"), delta);
}

fn set(cluster: &mut Cluster, excluded: &[&str], need_only: bool) {
    let names = |list: &[&str]| list.iter().map(|name| name.parse().expect("valid")).collect();
    let policy = proffer_allocator::Policy {
        fair_excluded: names(excluded),
        scarce: names(&["gpus"]),
        scarce_for_need_only: need_only,
        ..proffer_allocator::Policy::default()
    };
    cluster.tell(&Delta::PolicySet { policy });
}

/// The holder of all gpus gets no cpus in plain DRF, and its fair part of them when gpus do not count.
#[test]
fn what_is_excluded_counts_for_no_share() {
    for (excluded, tasks) in [(&[][..], (0, 10)), (&["gpus"][..], (5, 5))] {
        let mut cluster = Cluster::new();
        set(&mut cluster, excluded, false);
        cluster.agent("cpus:10;mem:100GiB;gpus:2");
        let learns = cluster.framework(1, "a");
        cluster.demand(learns, vec![group("g", "a", "gpus:1", 2)]);
        cluster.settle();
        let serves = cluster.framework(2, "b");
        cluster.demand(serves, vec![group("c", "b", "cpus:1", 20)]);
        let both = vec![group("g", "a", "gpus:1", 2), group("c", "a", "cpus:1", 20)];
        cluster.demand(learns, both);
        cluster.settle();
        assert_eq!((cluster.tasks_of(learns) - 2, cluster.tasks_of(serves)), tasks, "{excluded:?}");
    }
}

#[test]
fn agents_with_something_scarce_come_last_or_not_at_all_for_those_who_do_not_need_it() {
    for need_only in [false, true] {
        let mut cluster = Cluster::new();
        set(&mut cluster, &[], need_only);
        let with_gpus = cluster.agent("cpus:4;mem:4GiB;gpus:1");
        let without = cluster.agent("cpus:4;mem:4GiB");
        let framework = cluster.framework(1, "a");
        cluster.demand(framework, vec![group("g", "a", "cpus:2;mem:2GiB", 3)]);
        let agents: Vec<_> = cluster.settle().iter().map(|d| (d.agent, d.count)).collect();
        let expected = [(without, 2), (with_gpus, 1)];
        assert_eq!(agents, if need_only { &expected[..1] } else { &expected[..] });
        let classical = cluster.framework(2, "b");
        cluster.settle();
        let offered = !cluster.leased(classical).is_empty();
        assert_eq!(offered, !need_only, "a framework that states nothing needs nothing scarce");
        let learns = cluster.framework(3, "c");
        cluster.demand(learns, vec![group("g", "c", "cpus:1;gpus:1", 1)]);
        cluster.settle();
        assert_eq!(cluster.tasks_of(learns), 1);
        if need_only {
            let name = GroupName::new("g").expect("valid");
            let subject = proffer_types::explanation::Subject::Demand(framework, name);
            let answer = cluster.allocator.explain(&subject, cluster.now);
            let rules: Vec<&str> = answer.funnel.iter().map(|step| step.rule.as_str()).collect();
            assert!(rules.contains(&"nothing scarce that is not needed"), "{rules:?}");
        }
    }
}
