//! Every "why" has an answer that is right: the funnel, the nearest miss, what would help.

mod cluster;

use cluster::{Cluster, group, role};
use proffer_allocator::Delta;
use proffer_types::demand::DemandGroup;
use proffer_types::explanation::{Explanation, Subject};
use proffer_types::{AgentId, Constraint, ConstraintRule, FrameworkId, GroupName};
use proptest::prelude::*;

fn why(cluster: &Cluster, framework: FrameworkId, name: &str) -> Explanation {
    let name = GroupName::new(name).expect("valid");
    cluster.allocator.explain(&Subject::Demand(framework, name), cluster.now)
}

fn funnel(explanation: &Explanation) -> Vec<(String, u32)> {
    explanation.funnel.iter().map(|step| (step.rule.clone(), step.remaining)).collect()
}

fn steps(steps: &[(&str, u32)]) -> Vec<(String, u32)> {
    steps.iter().map(|(rule, left)| ((*rule).to_owned(), *left)).collect()
}

fn in_zone(zone: &str) -> Constraint {
    let rule = ConstraintRule::In([zone.to_owned()].into());
    Constraint { attribute: "zone".to_owned(), rule }
}

#[test]
fn a_task_that_fits_nowhere_says_what_is_missing() {
    let mut cluster = Cluster::new();
    cluster.agent_with("cpus:4;mem:8GiB", "zone:a");
    cluster.agent_with("cpus:2;mem:64GiB", "zone:a");
    cluster.agent_with("cpus:64;mem:64GiB", "zone:b");
    let idle = cluster.agent_with("cpus:64;mem:64GiB", "zone:a");
    cluster.tell(&Delta::AgentUsable { agent: idle, usable: false });
    let framework = cluster.framework(1, "*");
    let wanted =
        DemandGroup { constraints: vec![in_zone("a")], ..group("db", "*", "cpus:6;mem:4GiB", 2) };
    cluster.demand(framework, vec![wanted]);
    cluster.settle();
    let explanation = why(&cluster, framework, "db");
    let expected = [("agents", 4), ("active", 3), ("zone in (a)", 2), ("large enough", 0)];
    assert_eq!(funnel(&explanation), steps(&expected));
    assert_eq!(
        explanation.summary,
        "2 of 2 tasks of demand db wait: no agent is left after the rule \"large enough\""
    );
    assert_eq!(explanation.nearest_miss, "agent a1 (agent1): has only cpus 4 of 6 wanted");
    assert_eq!(
        explanation.hints,
        ["no agent is large enough: the largest has cpus 4 of 6 wanted; start a larger one \
         or ask for less"]
    );
}

/// What never fits is not said to wait for tasks that end, however busy the agents are.
#[test]
fn what_no_agent_can_ever_hold_is_told_before_what_is_taken() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:2;mem:24GiB");
    cluster.agent("cpus:1;mem:32GiB");
    let framework = cluster.framework(1, "*");
    cluster.demand(framework, vec![group("busy", "*", "cpus:1;mem:1GiB", 3)]);
    for decision in cluster.settle() {
        cluster.accept(decision.lease);
    }
    let big = group("big", "*", "cpus:1;mem:900GiB", 1);
    let wide = group("wide", "*", "cpus:2;mem:32GiB", 1);
    let later = group("later", "*", "cpus:2;mem:24GiB", 1);
    cluster.demand(framework, vec![group("busy", "*", "cpus:1;mem:1GiB", 3), big, wide, later]);
    cluster.settle();
    let why = |name: &str| why(&cluster, framework, name);
    assert_eq!(funnel(&why("big")), steps(&[("agents", 2), ("active", 2), ("large enough", 0)]));
    assert_eq!(
        why("big").hints,
        ["no agent is large enough: the largest has mem 32GiB of 900GiB wanted; start a larger \
          one or ask for less"]
    );
    assert_eq!(
        why("big").nearest_miss,
        "agent a1 (agent1): has only mem 24GiB of 900GiB wanted; lacks cpus 1 (0 of 1 wanted are \
         not in use)"
    );
    assert_eq!(
        why("wide").hints,
        ["no agent has all of cpus:2;mem:32GiB: start one that has, or ask for less"]
    );
    assert!(why("later").hints[0].starts_with("it fits when tasks end"), "{:?}", why("later"));
}

#[test]
fn each_rule_is_named_when_it_is_the_last() {
    let mut cluster = Cluster::new();
    let framework = cluster.framework(1, "*");
    let base = group("web", "*", "cpus:1;mem:1GiB;ports:[1-2]", 4);
    cluster.demand(framework, vec![base.clone()]);
    let last = |cluster: &Cluster| {
        let explanation = why(cluster, framework, "web");
        let step = explanation.funnel.last().expect("a funnel").clone();
        assert_eq!(step.remaining, 0, "{explanation:?}");
        (step.rule, explanation.hints.first().expect("a hint").clone())
    };
    assert_eq!(last(&cluster).1, "start an agent");

    let agent = cluster.agent_with("cpus:4;mem:4GiB;ports:[80-85]", "zone:b");
    cluster.tell(&Delta::AgentUsable { agent, usable: false });
    assert_eq!(last(&cluster).0, "active");
    cluster.tell(&Delta::AgentUsable { agent, usable: true });

    let zoned = DemandGroup { constraints: vec![in_zone("a")], ..base.clone() };
    cluster.demand(framework, vec![zoned]);
    let (rule, hint) = last(&cluster);
    assert_eq!(rule, "zone in (a)");
    assert_eq!(hint, "start an agent with zone in (a), or relax the constraint");

    cluster.demand(framework, vec![DemandGroup { per_agent_max: Some(1), ..base.clone() }]);
    assert_eq!(cluster.settle().len(), 1);
    assert_eq!(last(&cluster).0, "fewer than 1 of the group on the agent");

    cluster.demand(framework, vec![base.clone()]);
    cluster.settle();
    for lease in cluster.leases.clone().into_keys() {
        cluster.accept(lease);
    }
    assert_eq!(last(&cluster).0, "ports 2", "six ports are three tasks");

    let fixed = DemandGroup { fixed_ports: true, ..group("web", "*", "cpus:1;ports:[80]", 4) };
    cluster.demand(framework, vec![fixed]);
    assert_eq!(last(&cluster).0, "ports 80");

    let other = cluster.framework(2, "*");
    let offered = cluster.settle();
    assert_eq!(offered[0].framework, other);
    cluster.demand(framework, vec![group("web", "*", "cpus:1", 4)]);
    // The other is below its part too, and nothing was decided since: an offer holds the room.
    assert_eq!(last(&cluster).0, "not held by offers");
    cluster.give_back(offered[0].lease);

    let refuse = |resources: &str| Delta::Filtered {
        framework,
        role: role("*"),
        agent,
        resources: resources.parse().expect("valid"),
        until: proffer_types::Monotonic(99_000),
    };
    cluster.tell(&refuse("cpus:9;mem:9GiB"));
    assert_eq!(last(&cluster).0, "not refused by the framework");
}

#[test]
fn a_port_that_is_taken_is_told_from_one_that_no_agent_offers() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:4;mem:4GiB;ports:[80-81]");
    let framework = cluster.framework(1, "*");
    let fixed = |port: u16, target| DemandGroup {
        fixed_ports: true,
        ..group("web", "*", &format!("cpus:1;ports:[{port}]"), target)
    };
    cluster.demand(framework, vec![fixed(80, 2)]);
    cluster.settle();
    for lease in cluster.leases.clone().into_keys() {
        cluster.accept(lease);
    }
    let taken = why(&cluster, framework, "web");
    assert!(taken.nearest_miss.contains("ports 80 are taken"), "{taken:?}");
    cluster.demand(framework, vec![fixed(8080, 2)]);
    cluster.settle();
    let absent = why(&cluster, framework, "web");
    assert!(absent.nearest_miss.contains("not among what the agent offers"), "{absent:?}");
    assert!(absent.hints.iter().any(|hint| hint.contains("ports:[8080]")), "{absent:?}");
}

#[test]
fn what_is_met_absent_or_unknown_is_said_in_one_sentence() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:4;mem:4GiB");
    let framework = cluster.framework(1, "*");
    let summary = |cluster: &Cluster, name: &str| why(cluster, framework, name).summary;
    assert_eq!(summary(&cluster, "web"), "framework f1 states no demand web");
    cluster.demand(framework, vec![group("web", "*", "cpus:1", 2)]);
    cluster.settle();
    assert_eq!(
        summary(&cluster, "web"),
        "demand web is met: target 2, 0 launched, 2 in offers not yet answered"
    );
    cluster.demand(framework, vec![group("web", "eng", "cpus:1", 9)]);
    assert_eq!(summary(&cluster, "web"), "framework f1 is not subscribed to role eng");
    cluster.tell(&Delta::FrameworkActive { framework, active: false });
    assert_eq!(summary(&cluster, "web"), "framework f1 is not connected");
    let of = |cluster: &Cluster, subject| cluster.allocator.explain(&subject, cluster.now).summary;
    assert_eq!(of(&cluster, Subject::Framework(framework)), "framework f1 is not connected");
    let unknown = Subject::Framework(FrameworkId(9));
    assert_eq!(of(&cluster, unknown), "framework f9 is not known");
    let unknown = Subject::Agent(AgentId(9));
    assert_eq!(of(&cluster, unknown), "agent a9 is not registered with this master");
}

#[test]
fn a_classical_framework_learns_why_it_has_no_offers() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:4;mem:4GiB");
    let framework = cluster.framework(1, "*");
    let lease = cluster.settle()[0].lease;
    let explain =
        |cluster: &Cluster| cluster.allocator.explain(&Subject::Framework(framework), cluster.now);
    assert_eq!(
        explain(&cluster).summary,
        "framework f1 states no demand; nothing worth offering is free; it holds 100.0 % of the \
         cluster, its fair part is 100.0 %"
    );
    cluster.decline(lease, 5_000);
    let explanation = explain(&cluster);
    let expected = [
        ("agents", 1),
        ("active", 1),
        ("cpus 0.01 or mem 32MiB free", 1),
        ("not refused by the framework", 0),
    ];
    assert_eq!(funnel(&explanation), steps(&expected));
    assert!(explanation.summary.contains("it refused all that is free"));
}

#[test]
fn an_agent_says_who_holds_it_and_whom_it_could_serve() {
    let mut cluster = Cluster::new();
    let agent = cluster.agent("cpus:4;mem:4GiB");
    let framework = cluster.framework(1, "*");
    cluster.demand(
        framework,
        vec![group("small", "*", "cpus:1;mem:1GiB", 1), group("wide", "*", "cpus:4;mem:1GiB", 1)],
    );
    for decision in cluster.settle() {
        cluster.accept(decision.lease);
    }
    let explanation = cluster.allocator.explain(&Subject::Agent(agent), cluster.now);
    assert_eq!(
        explanation.summary,
        "agent a1 (agent1) is active: free cpus:3;mem:3GiB; tasks of 1 frameworks hold \
         cpus:1;mem:1GiB; 0 offers hold nothing"
    );
    assert_eq!(
        explanation.nearest_miss,
        "demand wide of f1: the agent lacks cpus 1 (3 of 4 wanted are not in use)"
    );
}

proptest! {
    /// At quiescence an unmet group has a rule that nobody passes, and the funnel only narrows.
    #[test]
    fn the_funnel_ends_at_the_rule_that_rules_out(
        agents in prop::collection::vec((0u64..8, 0u64..8, 0u8..2), 0..5),
        groups in prop::collection::vec(
            (1u64..4, 0u64..4, 1u32..6, any::<bool>(), prop::option::of(1u32..3), 0u8..3), 1..4),
    ) {
        let mut cluster = Cluster::new();
        for (cpus, mem, zone) in &agents {
            let resources = format!("cpus:{cpus};mem:{mem}GiB;ports:[10-13]");
            cluster.agent_with(&resources, &format!("zone:z{zone}"));
        }
        for (id, (cpus, mem, target, spread, per_agent_max, zone)) in (1u64..).zip(&groups) {
            let framework = cluster.framework(id, "*");
            let shape = format!("cpus:{cpus};mem:{mem}GiB;ports:[1-1]");
            let mut wanted = group("tasks", "*", &shape, *target);
            wanted.spread = *spread;
            wanted.per_agent_max = *per_agent_max;
            wanted.constraints.extend((*zone > 0).then(|| in_zone(&format!("z{}", zone - 1))));
            cluster.demand(framework, vec![wanted]);
        }
        cluster.settle();
        for lease in cluster.leases.clone().into_keys() {
            cluster.accept(lease);
        }
        let name = GroupName::new("tasks").expect("valid");
        for id in 1..=groups.len() as u64 {
            let explanation = why(&cluster, FrameworkId(id), "tasks");
            let counts: Vec<u32> = explanation.funnel.iter().map(|step| step.remaining).collect();
            prop_assert!(counts.windows(2).all(|pair| pair[0] >= pair[1]));
            if cluster.allocator.unmet(FrameworkId(id), &name) > 0 {
                prop_assert_eq!(counts.last(), Some(&0));
                prop_assert!(!explanation.hints.is_empty());
                prop_assert_eq!(explanation.nearest_miss.is_empty(), agents.is_empty());
            } else {
                prop_assert!(counts.is_empty());
            }
        }
    }
}

fn about_role(cluster: &Cluster, name: &str) -> Explanation {
    cluster.allocator.explain(&Subject::Role(role(name)), cluster.now)
}

#[test]
fn a_role_says_what_it_has_and_who_comes_before_it() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:10;mem:10GiB");
    cluster.weight("ops", 3000);
    let (eng, ops) = (cluster.framework(1, "eng/db"), cluster.framework(2, "ops"));
    cluster.demand(eng, vec![group("g", "eng/db", "cpus:1;mem:1GiB", 20)]);
    cluster.demand(ops, vec![group("g", "ops", "cpus:1;mem:1GiB", 20)]);
    cluster.settle();
    let answer = about_role(&cluster, "eng");
    let first = "it holds 30.0 % of the cluster with weight 1, its fair part is 25.0 %; it uses, \
                 holds or reserves cpus:3;mem:3GiB; 17 of 20 tasks of demand g wait: no agent is left";
    assert!(answer.summary.starts_with(first), "{}", answer.summary);
    let expected = [
        ("frameworks in the role and below it", 1),
        ("connected, subscribed and not suppressed", 1),
        ("of these, with demand or open to any offer", 1),
        ("agents", 1),
    ];
    assert_eq!(funnel(&answer)[..4], steps(&expected));
    let before = "before it comes role ops: it holds 70.0 % with weight 3: less for its weight";
    assert!(answer.hints.iter().any(|hint| hint == before), "{:?}", answer.hints);
    assert!(!about_role(&cluster, "ops").hints.iter().any(|hint| hint.starts_with("before it")));
}

#[test]
fn a_role_names_its_quota_and_what_keeps_its_frameworks() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:2;mem:2GiB");
    let config = proffer_types::role::RoleConfig {
        guarantee: "cpus:4".parse().expect("valid"),
        limit: "cpus:6".parse().expect("valid"),
        ..Default::default()
    };
    cluster.tell(&Delta::RoleSet { role: role("eng"), config });
    let answer = about_role(&cluster, "eng");
    let first = "it holds 0.0 % of the cluster with weight 1, its fair part is 100.0 %; it uses, \
                 holds or reserves nothing; it is owed cpus:4; it may have at most cpus 6; no \
                 framework uses it";
    assert_eq!(answer.summary, first);

    let framework = cluster.framework(1, "eng");
    cluster.tell(&Delta::Suppressed { framework, role: role("eng"), suppressed: true });
    let answer = about_role(&cluster, "eng");
    assert!(answer.summary.ends_with("none of its frameworks can be offered anything"));
    assert!(answer.hints[0].starts_with("framework f1 suppressed offers for role eng"));

    cluster.tell(&Delta::Suppressed { framework, role: role("eng"), suppressed: false });
    cluster.settle();
    let answer = about_role(&cluster, "eng");
    assert!(answer.summary.contains("1 of its frameworks take any offer"), "{}", answer.summary);
    let unknown = about_role(&cluster, "nobody/here");
    assert!(unknown.summary.contains("nobody uses role nobody/here"), "{}", unknown.summary);
}

#[test]
fn what_is_reserved_for_others_is_named_and_what_is_reserved_for_oneself_counts() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:1;mem:8GiB;cpus(ops):4");
    cluster.agent("cpus:1;mem:8GiB;cpus(eng):2");
    let framework = cluster.framework(1, "eng/db");
    cluster.demand(framework, vec![group("g", "eng/db", "cpus:4;mem:1GiB", 1)]);
    cluster.settle();
    let answer = why(&cluster, framework, "g");
    let expected =
        [("agents", 2), ("active", 2), ("large enough", 1), ("not reserved for other roles", 0)];
    assert_eq!(funnel(&answer), steps(&expected));
    assert_eq!(
        answer.nearest_miss,
        "agent a1 (agent1): is large enough only with what is reserved for ops"
    );
    assert!(answer.hints[0].contains("proffer unreserve"), "{:?}", answer.hints);

    // Two of its own and one more do for three; a task then holds them.
    cluster.demand(framework, vec![group("g", "eng/db", "cpus:3;mem:1GiB", 2)]);
    cluster.settle();
    assert_eq!(cluster.tasks_of(framework), 1);
    let lease = *cluster.leases.keys().next().expect("one");
    cluster.accept(lease);
    let answer = why(&cluster, framework, "g");
    let last = answer.funnel.last().map(|step| (step.rule.as_str(), step.remaining));
    assert_eq!(last, Some(("cpus 3", 0)));
    assert!(answer.nearest_miss.contains("lacks cpus 3 (0 of 3 wanted"), "{}", answer.nearest_miss);
}
