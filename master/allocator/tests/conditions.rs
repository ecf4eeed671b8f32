//! What frameworks without demand are offered: only what they want, and at once when they want more.

mod cluster;

use cluster::{Cluster, PLENTY, group, role};
use proffer_allocator::Delta;
use proffer_types::explanation::{Explanation, Subject};
use proffer_types::resources::{Reservation, Resource, ResourceKey};
use proffer_types::{
    AgentId, Constraint, ConstraintRule, FrameworkId, OfferCondition, Pattern, Quantities,
    Quantity, ResourceName, Resources,
};
use std::collections::BTreeMap;

fn matches(attribute: &str, pattern: &str) -> Constraint {
    let rule = ConstraintRule::Matches(Pattern::new(pattern).expect("valid"));
    Constraint { attribute: attribute.to_owned(), rule }
}

fn lacks(attribute: &str) -> Constraint {
    Constraint { attribute: attribute.to_owned(), rule: ConstraintRule::Absent }
}

fn on(any_of: Vec<Vec<Constraint>>) -> OfferCondition {
    OfferCondition { any_of, ..OfferCondition::default() }
}

fn least(minimum: &[&str]) -> OfferCondition {
    let minimum = minimum.iter().map(|text| text.parse::<Quantities>().expect("valid"));
    OfferCondition { minimum: minimum.collect(), ..OfferCondition::default() }
}

fn want(cluster: &mut Cluster, framework: FrameworkId, condition: OfferCondition) {
    cluster.tell(&Delta::OfferCondition { framework, role: role("*"), condition });
}

fn offered(cluster: &mut Cluster) -> Vec<AgentId> {
    cluster.settle().into_iter().map(|decision| decision.agent).collect()
}

fn why(cluster: &Cluster, framework: FrameworkId) -> Explanation {
    cluster.allocator.explain(&Subject::Framework(framework), cluster.now)
}

#[test]
fn one_list_of_rules_is_enough_and_all_of_it_must_hold() {
    let mut cluster = Cluster::new();
    let a = cluster.agent_with("cpus:4;mem:4GiB", "zone:eu-1;hostname:db-1");
    let _slow = cluster.agent_with("cpus:4;mem:4GiB", "zone:eu-2;slow:yes;hostname:db-2");
    let _far = cluster.agent_with("cpus:4;mem:4GiB", "zone:us-1;hostname:web-1");
    let by_name = cluster.agent_with("cpus:4;mem:4GiB", "zone:us-1;hostname:db-10");
    let framework = cluster.framework(1, "*");
    let lists =
        vec![vec![matches("zone", "eu-.*"), lacks("slow")], vec![matches("hostname", r"db-\d\d")]];
    want(&mut cluster, framework, on(lists));
    assert_eq!(offered(&mut cluster), [a, by_name]);
}

#[test]
fn a_framework_is_told_nothing_new_when_it_wants_less() {
    let mut cluster = Cluster::new();
    for number in 0..1000 {
        let zone = if number < 3 { "zone:a" } else { "zone:b" };
        cluster.agent_with("cpus:4;mem:4GiB", zone);
    }
    let framework = cluster.framework(1, "*");
    want(&mut cluster, framework, on(vec![vec![matches("zone", "none")]]));
    assert_eq!(offered(&mut cluster), []);
    // Three agents will do now: as many are looked at, and no others.
    want(&mut cluster, framework, on(vec![vec![matches("zone", "a")]]));
    let turn = cluster.turn(PLENTY);
    assert_eq!(turn.decisions.len(), 3);
    assert!(turn.steps_used < 20, "{} steps", turn.steps_used);
    // Offers that are held stay, and nothing is looked at for less.
    want(&mut cluster, framework, on(vec![vec![matches("zone", "none")]]));
    assert_eq!(cluster.turn(PLENTY).steps_used, 0);
    assert_eq!(cluster.leases.len(), 3);
    want(&mut cluster, framework, OfferCondition::default());
    assert_eq!(cluster.settle().len(), 997);
}

#[test]
fn an_agent_that_becomes_what_is_wanted_is_offered() {
    let mut cluster = Cluster::new();
    let agent = cluster.agent_with("cpus:4;mem:4GiB", "zone:a;hostname:h1");
    let framework = cluster.framework(1, "*");
    let lists = vec![vec![matches("zone", "b"), matches("hostname", "h[2-9]")]];
    want(&mut cluster, framework, on(lists));
    assert_eq!(offered(&mut cluster), []);
    for (attributes, will_do) in [("zone:b;hostname:h1", false), ("zone:b;hostname:h2", true)] {
        cluster.tell(&Delta::AgentChanged {
            agent,
            resources: "cpus:4;mem:4GiB".parse().expect("valid"),
            attributes: proffer_types::attributes::parse_attributes(attributes).expect("valid"),
        });
        assert_eq!(offered(&mut cluster).len(), usize::from(will_do), "{attributes}");
    }
}

#[test]
fn stated_demand_is_not_held_to_conditions_of_offers() {
    let mut cluster = Cluster::new();
    cluster.agent_with("cpus:4;mem:4GiB", "zone:a");
    let framework = cluster.framework(1, "*");
    want(&mut cluster, framework, on(vec![vec![matches("zone", "b")]]));
    cluster.demand(framework, vec![group("g", "*", "cpus:1;mem:1GiB", 2)]);
    assert_eq!(cluster.settle().len(), 1);
}

#[test]
fn one_of_the_minima_is_enough() {
    let mut cluster = Cluster::new();
    let _small = cluster.agent("cpus:2;mem:4GiB");
    let large = cluster.agent("cpus:8;mem:1GiB");
    let gpus = cluster.agent("cpus:1;mem:1GiB;gpus:2");
    let framework = cluster.framework(1, "*");
    want(&mut cluster, framework, least(&["cpus:4;mem:1GiB", "gpus:1"]));
    assert_eq!(offered(&mut cluster), [large, gpus]);
}

#[test]
fn a_minimum_of_its_own_takes_what_others_call_a_crumb() {
    let mut cluster = Cluster::new();
    let agent = cluster.agent("gpus:2");
    let framework = cluster.framework(1, "*");
    assert_eq!(offered(&mut cluster), []);
    want(&mut cluster, framework, least(&["gpus:1"]));
    assert_eq!(offered(&mut cluster), [agent]);
    let lease = *cluster.leases.keys().next().expect("one");
    cluster.give_back(lease);
    want(&mut cluster, framework, OfferCondition::default());
    assert_eq!(offered(&mut cluster), []);
}

#[test]
fn what_is_reserved_counts_for_the_minimum() {
    let mut cluster = Cluster::new();
    let level =
        Reservation { role: role("a"), principal: None, is_static: false, labels: BTreeMap::new() };
    let key = ResourceKey { reservations: vec![level], ..ResourceKey::plain(ResourceName::Cpus) };
    let mut resources: Resources = "cpus:1;mem:1GiB".parse().expect("valid");
    resources.insert(Resource { key, quantity: Quantity::Scalar(3_000) }).expect("adds up");
    let agent = cluster.agent("cpus:1");
    cluster.tell(&Delta::AgentChanged { agent, resources, attributes: BTreeMap::new() });
    let framework = cluster.framework(1, "a");
    let condition =
        |text| Delta::OfferCondition { framework, role: role("a"), condition: least(&[text]) };
    cluster.tell(&condition("cpus:5"));
    assert_eq!(offered(&mut cluster), []);
    cluster.tell(&condition("cpus:4"));
    assert_eq!(offered(&mut cluster), [agent]);
}

#[test]
fn the_funnel_says_how_many_agents_conditions_leave() {
    let mut cluster = Cluster::new();
    cluster.agent_with("cpus:4;mem:4GiB", "zone:a");
    cluster.agent_with("cpus:8;mem:4GiB", "zone:b");
    cluster.agent_with("cpus:8;mem:4GiB", "zone:b");
    let framework = cluster.framework(1, "*");
    let rules = vec![vec![matches("zone", "c")]];
    want(&mut cluster, framework, on(rules));
    let explained = why(&cluster, framework);
    let left = |explained: &Explanation, rule: &str| {
        let step = explained.funnel.iter().find(|step| step.rule == rule);
        step.unwrap_or_else(|| panic!("{explained:?}")).remaining
    };
    assert_eq!(left(&explained, "wanted by the framework's offer conditions"), 0);
    assert!(explained.summary.contains("hold of no active agent"), "{}", explained.summary);
    let condition =
        OfferCondition { any_of: vec![vec![matches("zone", "b")]], ..least(&["cpus:16"]) };
    want(&mut cluster, framework, condition);
    let explained = why(&cluster, framework);
    assert_eq!(left(&explained, "wanted by the framework's offer conditions"), 2);
    assert_eq!(left(&explained, "as much free as the framework's minimum"), 0);
    assert!(explained.summary.contains("as its minimum"), "{}", explained.summary);
}
