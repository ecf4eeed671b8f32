//! The cap on what one framework holds in offers that it has not answered.

mod cluster;

use cluster::{Cluster, PLENTY, group, role};
use proffer_allocator::{Decision, Delta, Policy};
use proffer_types::explanation::Subject;
use proffer_types::{FrameworkId, ResourceName};

fn capped(percent: u8) -> Cluster {
    let mut cluster = Cluster::new();
    let policy = Policy { held_max_percent: Some(percent), ..Policy::default() };
    cluster.tell(&Delta::PolicySet { policy });
    cluster
}

fn held(cluster: &Cluster, framework: FrameworkId) -> u64 {
    let of_it = |lease: &&Decision| lease.framework == framework && lease.group.is_none();
    cluster.leases.values().filter(of_it).map(|l| l.resources.scalar(&ResourceName::Cpus)).sum()
}

#[test]
fn one_that_holds_everything_leaves_the_rest_to_others() {
    let mut cluster = capped(30);
    for _ in 0..10 {
        cluster.agent("cpus:4;mem:4GiB");
    }
    let hoarder = cluster.framework(1, "a");
    cluster.settle();
    assert_eq!(held(&cluster, hoarder), 12_000, "three of ten agents");
    let other = cluster.framework(2, "b");
    cluster.settle();
    assert_eq!(held(&cluster, other), 12_000);
    assert_eq!(held(&cluster, hoarder), 12_000);
}

#[test]
fn an_offer_is_cut_to_what_is_left_and_a_crumb_is_none() {
    let mut cluster = capped(25);
    cluster.agent("cpus:4;mem:4GiB");
    cluster.agent("cpus:4;mem:4GiB");
    let framework = cluster.framework(1, "*");
    let decisions = cluster.settle();
    assert_eq!(decisions.len(), 1);
    assert_eq!(decisions[0].resources, "cpus:2;mem:2GiB".parse().expect("valid"));
    // Nothing more is looked at until something is given back.
    assert_eq!(cluster.turn(PLENTY).steps_used, 0);
    let explained = cluster.allocator.explain(&Subject::Framework(framework), cluster.now);
    assert!(explained.summary.contains("unanswered offers"), "{}", explained.summary);
    assert!(explained.funnel.iter().any(|step| step.rule.contains("25 %") && step.remaining == 0));
}

#[test]
fn it_goes_on_when_a_lease_ends_and_when_the_cluster_grows() {
    let mut cluster = capped(50);
    cluster.agent("cpus:4;mem:4GiB");
    cluster.agent("cpus:4;mem:4GiB");
    let framework = cluster.framework(1, "*");
    let first = cluster.settle();
    assert_eq!((first.len(), held(&cluster, framework)), (1, 4_000));
    // What is launched is no offer any more.
    let used = cluster.accept(first[0].lease);
    assert_eq!(cluster.settle().len(), 1);
    assert_eq!(held(&cluster, framework), 4_000);
    cluster.tell(&Delta::Released(used));
    assert_eq!(cluster.settle(), []);
    cluster.agent("cpus:4;mem:4GiB");
    cluster.settle();
    assert_eq!(held(&cluster, framework), 6_000);
    // Both roles of a framework share one cap.
    cluster.tell(&Delta::FrameworkAdded { framework, roles: [role("*"), role("b")].into() });
    assert_eq!(cluster.settle(), []);
    cluster.tell(&Delta::PolicySet { policy: Policy::default() });
    cluster.settle();
    assert_eq!(held(&cluster, framework), 12_000);
}

#[test]
fn leases_of_stated_demand_do_not_count() {
    let mut cluster = capped(10);
    cluster.agent("cpus:10;mem:10GiB");
    let framework = cluster.framework(1, "*");
    cluster.demand(framework, vec![group("g", "*", "cpus:1;mem:1GiB", 8)]);
    assert_eq!(cluster.settle().iter().map(|decision| decision.count).sum::<u32>(), 8);
}
