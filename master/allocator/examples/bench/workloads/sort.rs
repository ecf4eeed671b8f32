//! `FullSort` and `HierarchyFullSort`: the order of clients, found anew for all of them at once. And
//! `Resources`: arithmetic of resource sets.

use crate::cells::Cell;
use crate::cluster::{Cluster, resources, role, roles_of, thinned_ports};
use crate::measure::{Report, timed};
use proffer_allocator::{Delta, Use};
use proffer_types::{AgentId, FrameworkId, Resources, RoleName};
use std::hint::black_box;
use std::io::Result;

/// Clients of one role that hold one agent after the other.
pub(crate) fn full_sort(cell: &Cell, report: &Report) -> Result<()> {
    sort(cell, report, roles_of(cell.frameworks, "*", cell.own_roles))
}

/// Clients are the leaves of a tree of height 3 whose nodes have 32 children.
pub(crate) fn wide_tree(cell: &Cell, report: &Report) -> Result<()> {
    sort(cell, report, leaves(3, 32))
}

/// Of height 7 with 3 children.
pub(crate) fn middle_tree(cell: &Cell, report: &Report) -> Result<()> {
    sort(cell, report, leaves(7, 3))
}

/// Of height 9 with 2 children, and two clients in each leaf. (The original's has height 10; a role has
/// at most eight levels.)
pub(crate) fn deep_tree(cell: &Cell, report: &Report) -> Result<()> {
    let leaves = leaves(9, 2);
    sort(cell, report, leaves.iter().flat_map(|role| [role.clone(), role.clone()]).collect())
}

/// The root is the first level, so `height - 1` of them are named.
fn leaves(height: u32, children: u64) -> Vec<RoleName> {
    let mut paths = vec![String::new()];
    for _ in 1..height {
        let below = |path: &String| {
            let path = path.clone();
            (0..children).map(move |child| format!("{path}/n{child}"))
        };
        paths = paths.iter().flat_map(below).collect();
    }
    paths.iter().map(|path| role(path.trim_start_matches('/'))).collect()
}

fn sort(cell: &Cell, report: &Report, roles: Vec<RoleName>) -> Result<()> {
    let mut cluster = Cluster::new(roles);
    let clients = cluster.roles.len() as u64;
    let (cost, ()) = timed(|| cluster.add_frameworks());
    report.section("add_clients", cost, clients)?;
    // Nothing is ever free, so that nothing is decided: only the order is looked at.
    let ports = thinned_ports(100);
    let has = resources(&format!("cpus:24;mem:4096MB;disk:4096MB;ports:{ports}"));
    let with =
        |mem_mb: u64| resources(&format!("cpus:24;mem:{mem_mb}MB;disk:4096MB;ports:{ports}"));
    let held = |cluster: &Cluster, id: u64, resources: Resources| {
        let framework = id % clients;
        Use {
            agent: AgentId(id),
            framework: FrameworkId(framework),
            role: cluster.roles[framework as usize].clone(),
            resources,
            group: None,
            tasks: 0,
        }
    };
    let (cost, ()) = timed(|| {
        for id in 0..cell.agents {
            cluster.add_agent(id, &has, Some(has.clone()), None);
        }
    });
    report.section("add_agents_and_allocate", cost, cell.agents)?;
    cluster.settle();
    // The cluster's composition changes, so every share does.
    let agent = AgentId(0);
    let more = with(4_096 + 1_000);
    let changed =
        Delta::AgentChanged { agent, resources: more.clone(), attributes: Default::default() };
    cluster.tell(&Delta::Released(held(&cluster, 0, has.clone())));
    cluster.tell(&changed);
    cluster.tell(&Delta::Allocated(held(&cluster, 0, more)));
    let (cost, made) = timed(|| cluster.settle());
    report.section("full_sort", cost, clients)?;
    report.must(made == 0, "nothing is free", &made)?;
    let (cost, made) = timed(|| cluster.settle());
    report.section("no_op_sort", cost, clients)?;
    report.must(made == 0, "nothing is free", &made)?;
    let (cost, ()) = timed(|| {
        for id in 1..cell.agents {
            cluster.tell(&Delta::Released(held(&cluster, id, has.clone())));
        }
    });
    report.section("unallocate", cost, cell.agents - 1)?;
    report.peak_memory()
}

/// Arithmetic on the standard agent: what is in use is taken off and put back; both are read as text.
pub(crate) fn resource_sets(cell: &Cell, report: &Report) -> Result<()> {
    let times = cell.agents;
    for (kind, has, used) in [
        (
            "scalars",
            "cpus:24;mem:4096MB;disk:4096MB".to_owned(),
            "cpus:16;mem:2014MB;disk:1024MB".to_owned(),
        ),
        ("ports", "ports:[31000-32000]".to_owned(), format!("ports:{}", thinned_ports(100))),
        (
            "reserved",
            "cpus(eng):24;mem(eng/db):4096MB;disk(ops):4096MB;cpus:1;mem:1MB".to_owned(),
            "cpus(eng):16;mem(eng/db):2014MB;disk(ops):1024MB".to_owned(),
        ),
    ] {
        let (cost, ()) = timed(|| (0..times).for_each(|_| drop(black_box(resources(&has)))));
        report.section(&format!("parse_{kind}"), cost, times)?;
        let (all, part) = (resources(&has), resources(&used));
        let rest = all.checked_sub(&part).expect("it is within");
        let (cost, ()) = timed(|| (0..times).for_each(|_| drop(black_box(all.checked_sub(&part)))));
        report.section(&format!("subtract_{kind}"), cost, times)?;
        let (cost, ()) =
            timed(|| (0..times).for_each(|_| drop(black_box(rest.checked_add(&part)))));
        report.section(&format!("add_{kind}"), cost, times)?;
        let (cost, ()) =
            timed(|| (0..times).for_each(|_| assert!(black_box(&all).contains(black_box(&part)))));
        report.section(&format!("contains_{kind}"), cost, times)?;
        report.must(rest.checked_add(&part) == Ok(all), "what is taken off and put back", &rest)?;
    }
    report.peak_memory()
}
