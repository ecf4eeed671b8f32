//! What is reserved: who is offered it, what it counts for.

mod cluster;

use cluster::{Cluster, group, role};
use proffer_allocator::{Delta, Use};
use proffer_types::resources::{Quantity, Reservation, Resource, ResourceKey, Volume};
use proffer_types::role::RoleConfig;
use proffer_types::{AgentId, FrameworkId, Resources};
use std::collections::BTreeMap;

fn parsed(text: &str) -> Resources {
    text.parse().expect("valid")
}

/// `cpus` cpus under a stack of reservations, outermost first.
fn stacked(roles: &[&str], cpus: u64) -> Resource {
    let level = |name: &&str| Reservation {
        role: role(name),
        principal: None,
        is_static: false,
        labels: BTreeMap::new(),
    };
    let mut key = ResourceKey::plain(proffer_types::ResourceName::Cpus);
    key.reservations = roles.iter().map(level).collect();
    Resource { key, quantity: Quantity::Scalar(cpus * 1000) }
}

fn with(text: &str, entries: impl IntoIterator<Item = Resource>) -> Resources {
    let mut all = parsed(text);
    entries.into_iter().for_each(|entry| all.insert(entry).expect("adds up"));
    all
}

impl Cluster {
    fn reserved_agent(&mut self, resources: &Resources) -> AgentId {
        let agent = self.agent("");
        self.tell(&Delta::AgentChanged {
            agent,
            resources: resources.clone(),
            attributes: Default::default(),
        });
        agent
    }

    fn limit(&mut self, role_name: &str, limit: &str) {
        let limit = limit.parse().expect("valid");
        let config = RoleConfig { limit, ..RoleConfig::default() };
        self.tell(&Delta::RoleSet { role: role(role_name), config });
    }
}

#[test]
fn a_role_and_roles_below_it_are_offered_what_is_reserved_and_nobody_else() {
    let mut cluster = Cluster::new();
    let total = with("cpus:1;mem:1GiB", [stacked(&["eng"], 4)]);
    cluster.reserved_agent(&total);
    let other = cluster.framework(1, "ops");
    let first = cluster.settle();
    assert_eq!(first[0].resources, parsed("cpus:1;mem:1GiB"), "not what is reserved for eng");
    cluster.decline(first[0].lease, 1_000_000);
    let sibling = cluster.framework(2, "engine");
    let below = cluster.framework(3, "eng/db");
    cluster.settle();
    let held = |framework: FrameworkId| cluster.leased(framework);
    assert_eq!(held(other), Resources::new());
    let reserved = |resources: &Resources| resources.filtered(|e| !e.key.is_plain());
    assert!(reserved(&held(sibling)).is_empty(), "a name that begins alike is another role");
    assert_eq!(
        reserved(&held(below)),
        Resources::from_entries(vec![stacked(&["eng"], 4)]).expect("one")
    );
}

#[test]
fn what_is_refined_belongs_to_the_deepest_role() {
    let mut cluster = Cluster::new();
    cluster.reserved_agent(&with("", [stacked(&["eng", "eng/db"], 2), stacked(&["eng"], 1)]));
    let above = cluster.framework(1, "eng");
    cluster.settle();
    let expected = Resources::from_entries(vec![stacked(&["eng"], 1)]).expect("one");
    assert_eq!(cluster.leased(above), expected, "what was passed on to eng/db is not eng's");
    let below = cluster.framework(2, "eng/db");
    cluster.settle();
    let expected = Resources::from_entries(vec![stacked(&["eng", "eng/db"], 2)]).expect("one");
    assert_eq!(cluster.leased(below), expected);
}

#[test]
fn a_demand_is_cut_out_of_what_is_reserved_deepest_first_and_the_rest_of_what_anybody_may_have() {
    let mut cluster = Cluster::new();
    cluster.agent("cpus:100;mem:100GiB");
    let stack = [stacked(&["eng", "eng/db"], 1), stacked(&["eng"], 1)];
    let agent = cluster.reserved_agent(&with("cpus:4;mem:4GiB", stack));
    let framework = cluster.framework(1, "eng/db");
    cluster.demand(framework, vec![group("g", "eng/db", "cpus:3;mem:1GiB", 1)]);
    let decisions = cluster.settle();
    assert_eq!(decisions[0].agent, agent, "where something is reserved comes first");
    let expected = with("cpus:1;mem:1GiB", [stacked(&["eng", "eng/db"], 1), stacked(&["eng"], 1)]);
    assert_eq!(decisions[0].resources, expected);
    let held = cluster.accept(decisions[0].lease);
    cluster.demand(framework, vec![group("g", "eng/db", "cpus:3;mem:1GiB", 2)]);
    let second = cluster.settle();
    assert!(
        second[0].resources.entries().iter().all(|entry| entry.key.is_plain()),
        "it is used up"
    );
    cluster.tell(&Delta::Released(held));
    assert_eq!(cluster.allocator.free(agent).scalar(&proffer_types::ResourceName::Cpus), 6_000);
}

/// What is reserved for its own role counts against no limit that is not charged already.
#[test]
fn the_deepest_role_comes_first_also_without_a_refinement() {
    let mut cluster = Cluster::new();
    cluster.reserved_agent(&with("", [stacked(&["eng"], 2), stacked(&["eng/db"], 1)]));
    cluster.limit("eng/db", "cpus:1");
    let framework = cluster.framework(1, "eng/db");
    cluster.demand(framework, vec![group("g", "eng/db", "cpus:1", 1)]);
    let decisions = cluster.settle();
    assert_eq!(decisions[0].resources, with("", [stacked(&["eng/db"], 1)]));
}

#[test]
fn a_demand_waits_for_what_comes_to_be_reserved_for_it() {
    let mut cluster = Cluster::new();
    let agent = cluster.agent("cpus:2");
    let ops = cluster.framework(1, "ops");
    cluster.demand(ops, vec![group("g", "ops", "cpus:1", 2)]);
    cluster.settle();
    let eng = cluster.framework(2, "eng");
    cluster.demand(eng, vec![group("g", "eng", "cpus:2", 1)]);
    assert!(cluster.settle().is_empty());
    let resources = with("cpus:2", [stacked(&["eng"], 2)]);
    cluster.tell(&Delta::AgentChanged { agent, resources, attributes: Default::default() });
    cluster.settle();
    assert_eq!((cluster.tasks_of(ops), cluster.tasks_of(eng)), (2, 1));
}

#[test]
fn what_is_reserved_counts_against_the_limit_used_or_not() {
    let mut cluster = Cluster::new();
    cluster.reserved_agent(&with("cpus:10", [stacked(&["eng"], 3)]));
    cluster.limit("eng", "cpus:5");
    assert_eq!(cluster.allocator.consumed(&role("eng")), parsed("cpus:3"));
    let framework = cluster.framework(1, "eng");
    cluster.demand(framework, vec![group("g", "eng", "cpus:1", 10)]);
    cluster.settle();
    assert_eq!(cluster.tasks_of(framework), 5, "3 of what is reserved, 2 more");
    assert_eq!(cluster.allocator.consumed(&role("eng")), parsed("cpus:5"));
}

#[test]
fn what_is_reserved_above_counts_against_a_limit_below_when_it_is_used() {
    let mut cluster = Cluster::new();
    cluster.reserved_agent(&with("", [stacked(&["eng"], 4)]));
    cluster.limit("eng", "cpus:4");
    cluster.limit("eng/db", "cpus:1");
    let framework = cluster.framework(1, "eng/db");
    cluster.demand(framework, vec![group("g", "eng/db", "cpus:1", 4)]);
    cluster.settle();
    assert_eq!(cluster.tasks_of(framework), 1);
    let above = cluster.framework(2, "eng");
    cluster.demand(above, vec![group("g", "eng", "cpus:1", 9)]);
    cluster.settle();
    assert_eq!(cluster.tasks_of(above), 3);
}

#[test]
fn an_exclusive_volume_is_offered_once_and_a_shared_one_to_many() {
    let disk = |id: &str, shared| {
        let mut entry = stacked(&["eng"], 1);
        entry.key.name = proffer_types::ResourceName::Disk;
        entry.key.volume =
            Some(Volume { id: id.parse().expect("valid"), container_path: "data".to_owned() });
        entry.key.shared = shared;
        entry
    };
    let mut cluster = Cluster::new();
    let agent =
        cluster.reserved_agent(&with("cpus:4;mem:4GiB", [disk("v1", false), disk("v2", true)]));
    cluster.framework(1, "eng");
    let first = cluster.settle();
    let both = Resources::from_entries(vec![disk("v1", false), disk("v2", true)]).expect("two");
    assert!(first[0].resources.contains(&both));
    cluster.give_back(first[0].lease);
    let task = |entries: Vec<Resource>| Use {
        agent,
        framework: FrameworkId(1),
        role: role("eng"),
        resources: with("cpus:2;mem:1GiB", entries),
        group: None,
        tasks: 0,
    };
    let writer = task(vec![disk("v1", false), disk("v2", true)]);
    cluster.tell(&Delta::Allocated(writer.clone()));
    let second = cluster.settle();
    let expected = with("cpus:2;mem:3GiB", [disk("v2", true)]);
    assert_eq!(
        second[0].resources, expected,
        "the shared one can be had again, with something else"
    );
    cluster.give_back(second[0].lease);
    let reader = task(vec![disk("v2", true)]);
    cluster.tell(&Delta::Allocated(reader.clone()));
    cluster.settle();
    assert_eq!(
        cluster.leased(FrameworkId(1)),
        parsed("mem:2GiB")
            .checked_add(&Resources::from_entries(vec![disk("v2", true)]).expect("one"))
            .expect("adds up")
    );
    for (lease, _) in cluster.leases.clone() {
        cluster.give_back(lease);
    }
    cluster.tell(&Delta::Released(reader));
    cluster.tell(&Delta::Released(writer));
    assert!(cluster.allocator.free(agent).contains(&both));
}

#[test]
fn a_refused_reservation_is_not_offered_again_until_there_is_more() {
    let mut cluster = Cluster::new();
    let agent = cluster.reserved_agent(&with("cpus:1;mem:1GiB", [stacked(&["eng"], 2)]));
    cluster.framework(1, "eng");
    let first = cluster.settle();
    cluster.decline(first[0].lease, 1_000_000);
    assert!(cluster.settle().is_empty());
    let resources = with("cpus:1;mem:1GiB", [stacked(&["eng"], 3)]);
    cluster.tell(&Delta::AgentChanged { agent, resources, attributes: Default::default() });
    assert_eq!(cluster.settle().len(), 1);
}

#[test]
fn ranges_sets_and_volumes_are_converted_as_scalars_are_or_not_at_all() {
    let mut cluster = Cluster::new();
    let agent = cluster.agent("cpus:4;mem:4GiB;disk:8GiB;ports:[100-109];zones:{a,b}");
    let reserved = |text: &str| {
        let entries = parsed(text).entries().to_vec().into_iter().map(|mut entry| {
            entry.key.reservations = stacked(&["eng"], 1).key.reservations;
            entry
        });
        Resources::from_entries(entries.collect()).expect("each once")
    };
    let convert = |cluster: &mut Cluster, from: &Resources, to: &Resources| {
        let (from, to) = (from.clone(), to.clone());
        cluster.allocator.on_change(&Delta::AgentConverted { agent, from, to })
    };
    let part = "cpus:1;disk:4GiB;ports:[103-104];zones:{b}";
    convert(&mut cluster, &parsed(part), &reserved(part)).expect("it is there");
    let rest = parsed("cpus:3;mem:4GiB;disk:4GiB;ports:[100-102,105-109];zones:{a}");
    let expected = rest.checked_add(&reserved(part)).expect("of other kinds");
    assert_eq!(cluster.allocator.free(agent), expected);
    assert_eq!(cluster.allocator.consumed(&role("eng")), parsed("cpus:1;disk:4GiB"));

    let mut volume = reserved("disk:1GiB").entries()[0].clone();
    volume.key.volume =
        Some(Volume { id: "v1".parse().expect("valid"), container_path: "data".to_owned() });
    let volume = Resources::from_entries(vec![volume]).expect("one");
    convert(&mut cluster, &reserved("disk:1GiB"), &volume).expect("it is there");
    for (from, to) in [
        (reserved("disk:4GiB"), volume.clone()),
        (parsed("ports:[103-103]"), Resources::new()),
        (parsed("zones:{b}"), parsed("cpus:1")),
        (parsed("cpus:1"), parsed("ports:[100-100]")),
        (parsed("cpus:1"), parsed("zones:{a}")),
        (parsed("cpus:4"), reserved("cpus:4")),
    ] {
        convert(&mut cluster, &from, &to).expect_err("it is not there, or there already");
    }
    let rest = expected.checked_sub(&reserved("disk:1GiB")).expect("it is there");
    let expected = rest.checked_add(&volume).expect("of another kind");
    assert_eq!(cluster.allocator.free(agent), expected);

    cluster.framework(1, "eng");
    let offered = cluster.settle();
    assert_eq!(offered[0].resources, expected);
    let part = reserved("cpus:1;ports:[103-104]");
    convert(&mut cluster, &part, &parsed("cpus:1;ports:[103-104]")).expect("it is there, in use");
    cluster.give_back(offered[0].lease);
    let free = cluster.allocator.free(agent);
    assert_eq!(
        free,
        expected
            .checked_sub(&part)
            .and_then(|it| it.checked_add(&parsed("cpus:1;ports:[103-104]")))
            .expect("adds up")
    );
}
