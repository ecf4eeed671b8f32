//! Measurements of this project's own: a full cycle (P1, P2), one change (P3), questions, and the naive
//! reference beside the indexed allocator.

use crate::cells::Cell;
use crate::cluster::{Cluster, group, resources, role, roles_of, standard_agent};
use crate::floor::drf_floor;
use crate::measure::{Report, cpu_ns, median, quantile, resident_bytes, timed, timed_floor};
use proffer_allocator::reference::Reference;
use proffer_allocator::{Delta, LeaseId};
use proffer_types::explanation::Subject;
use proffer_types::{AgentId, FrameworkId, GroupName, RoleName};
use std::collections::BTreeSet;
use std::io::Result;

/// One role each in a tree of three levels.
fn tree(frameworks: u64) -> Vec<RoleName> {
    let name = |id: u64| format!("top{}/middle{}/leaf{id}", id % 10, id / 10 % 10);
    (0..frameworks).map(|id| role(&name(id))).collect()
}

/// Everything is dirty: all agents are offered at once, over and over.
pub(crate) fn full_cycle(cell: &Cell, report: &Report) -> Result<()> {
    cycles(cell, report, roles_of(cell.frameworks, "*", cell.own_roles))
}

pub(crate) fn full_cycle_in_tree(cell: &Cell, report: &Report) -> Result<()> {
    cycles(cell, report, tree(cell.frameworks))
}

fn cycles(cell: &Cell, report: &Report, roles: Vec<RoleName>) -> Result<()> {
    const ROUNDS: usize = 5;
    report.value("resident_per_agent", "bytes", resident_per_agent(cell, &roles))?;
    let mut cluster = Cluster::new(roles);
    cluster.add_frameworks_paused();
    let (cost, ()) = timed(|| {
        cluster.add_standard_agents(cell.agents, 2_014);
        cluster.settle();
    });
    report.section("add_agents", cost, cell.agents)?;
    cluster.give_all_back();
    let (mut floors, mut cycles, mut back) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        floors.push(timed_floor(|| drf_floor(cell.agents, cell.frameworks)));
        let (cost, made) = timed(|| cluster.cycle());
        report.must(made == cell.agents, "each agent is offered once", &made)?;
        cycles.push(cost);
        back.push(timed(|| cluster.give_all_back()).0);
    }
    let floor = quantile(&floors, 0.5);
    report.section_and_floor("cycle", least(&cycles), cell.agents, floor)?;
    report.section("give_back", least(&back), cell.agents)?;
    report.peak_memory()
}

/// What a cluster of partly used agents takes, roles and frameworks included, before offers are made.
/// Memory is read as growth of the process, so this comes while it is small.
fn resident_per_agent(cell: &Cell, roles: &[RoleName]) -> f64 {
    let before = resident_bytes();
    let mut cluster = Cluster::new(roles.to_vec());
    cluster.add_frameworks_paused();
    cluster.add_standard_agents_paused(cell.agents, 2_014);
    resident_bytes().saturating_sub(before) as f64 / cell.agents as f64
}

/// The same where frameworks state demand: two tasks for each agent in all, which fit.
pub(crate) fn full_cycle_of_demand(cell: &Cell, report: &Report) -> Result<()> {
    const ROUNDS: usize = 5;
    let mut cluster = demanding(cell);
    let tasks = 2 * cell.agents / cell.frameworks * cell.frameworks;
    let (mut floors, mut cycles, mut back) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        floors.push(timed_floor(|| drf_floor(cell.agents, cell.frameworks)));
        let (cost, _) = timed(|| cluster.cycle());
        let placed: u64 = cluster.held.iter().map(|offer| u64::from(offer.count)).sum();
        report.must(placed == tasks, "all demand is met", &placed)?;
        cycles.push(cost);
        back.push(timed(|| cluster.give_all_back()).0);
    }
    let floor = quantile(&floors, 0.5);
    report.section_and_floor("cycle", least(&cycles), tasks, floor)?;
    report.section("give_back", least(&back), tasks)?;
    report.peak_memory()
}

fn least(costs: &[crate::measure::Cost]) -> crate::measure::Cost {
    let least = costs.iter().min_by(|a, b| a.cpu_ms.total_cmp(&b.cpu_ms));
    least.copied().unwrap_or_default()
}

fn declining(cell: &Cell) -> Cluster {
    let mut cluster = Cluster::new(roles_of(cell.frameworks, "*", cell.own_roles));
    cluster.add_frameworks_paused();
    cluster.add_standard_agents(cell.agents, 2_014);
    cluster.settle();
    cluster.give_all_back();
    cluster
}

fn demanding(cell: &Cell) -> Cluster {
    let mut cluster = declining(cell);
    let each = 2 * cell.agents / cell.frameworks;
    for id in 0..cell.frameworks {
        let role = cluster.roles[id as usize].clone();
        let groups = Some(vec![group("cpus:4;mem:1000MB;ports:[1-1]", role, each)]);
        cluster.tell(&Delta::Demand { framework: FrameworkId(id), groups });
    }
    cluster
}

/// P3: one agent changes, an offer is decided. Agents are visited in a fixed shuffled order.
pub(crate) fn one_agent_changed(cell: &Cell, report: &Report) -> Result<()> {
    for (metric, mut cluster) in
        [("returned", declining(cell)), ("returned_to_demand", demanding(cell))]
    {
        cluster.cycle();
        let held = cluster.held.len() as u64;
        changes(report, metric, |event| {
            let at = usize::try_from(event * 7_919 % held).expect("an index into a vector");
            let lease: LeaseId = cluster.held[at].lease;
            let start = cpu_ns();
            cluster.tell(&Delta::Returned { lease });
            let turn = cluster.allocator.offers(10_000, cluster.now);
            let took = cpu_ns() - start;
            let made = turn.decisions.len();
            if let Some(decision) = turn.decisions.into_iter().next() {
                cluster.held[at] = decision;
            }
            (took, made)
        })?;
    }
    let mut cluster = declining(cell);
    cluster.cycle();
    changes(report, "grown", |event| {
        let agent = AgentId(event * 7_919 % cell.agents);
        let cpus = 25 + event / cell.agents;
        let resources = resources(&format!("cpus:{cpus};mem:4096MB;disk:4096MB"));
        let changed = Delta::AgentChanged { agent, resources, attributes: Default::default() };
        let start = cpu_ns();
        cluster.tell(&changed);
        let turn = cluster.allocator.offers(10_000, cluster.now);
        (cpu_ns() - start, turn.decisions.len())
    })?;
    report.peak_memory()
}

fn changes(report: &Report, metric: &str, mut one: impl FnMut(u64) -> (u64, usize)) -> Result<()> {
    const EVENTS: u64 = 10_000;
    let mut samples = Vec::new();
    for event in 0..EVENTS {
        let (took, made) = one(event);
        samples.push(took as f64 / 1e3);
        report.must(made == 1, "what an agent gained is offered", &made)?;
    }
    for (name, part) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        report.value(&format!("{metric}_{name}"), "us", quantile(&samples, part))?;
    }
    Ok(())
}

/// Questions that no index answers: why a task that fits nowhere waits, and what keeps its role.
pub(crate) fn explain(cell: &Cell, report: &Report) -> Result<()> {
    let mut cluster = declining(cell);
    let framework = FrameworkId(0);
    let groups = group("cpus:30;mem:1000MB;disk:1MB;ports:[1-1]", cluster.roles[0].clone(), 5);
    cluster.tell(&Delta::Demand { framework, groups: Some(vec![groups]) });
    cluster.cycle();
    let subject = Subject::Demand(framework, GroupName::new("tasks").expect("valid"));
    let mut costs = Vec::new();
    for _ in 0..5 {
        let (cost, explanation) = timed(|| cluster.allocator.explain(&subject, cluster.now));
        let misses = explanation.nearest_miss.len();
        report.must(misses > 0, "the nearest miss is named", &misses)?;
        costs.push(cost);
    }
    report.section("explain", median(&costs), cell.agents)?;
    let role = cluster.roles[0].clone();
    let about = [
        ("explain role", Subject::Role(role)),
        ("explain framework", Subject::Framework(FrameworkId(1))),
    ];
    for (section, subject) in about {
        let mut costs = Vec::new();
        for _ in 0..5 {
            let (cost, explanation) = timed(|| cluster.allocator.explain(&subject, cluster.now));
            let steps = explanation.funnel.len();
            report.must(steps > 0, "there is a funnel", &steps)?;
            costs.push(cost);
        }
        report.section(section, median(&costs), cell.agents)?;
    }
    report.peak_memory()
}

/// A full cycle by the naive reference and by the indexed allocator, decision by decision the same.
pub(crate) fn naive_reference(cell: &Cell, report: &Report) -> Result<()> {
    let mut naive = Reference::default();
    let mut cluster = Cluster::new(roles_of(cell.frameworks, "*", cell.own_roles));
    let mut tell = |cluster: &mut Cluster, delta: Delta| {
        cluster.tell(&delta);
        naive.on_change(&delta);
    };
    for id in 0..cell.frameworks {
        let framework = FrameworkId(id);
        let roles = BTreeSet::from([cluster.roles[id as usize].clone()]);
        tell(&mut cluster, Delta::FrameworkAdded { framework, roles });
        tell(&mut cluster, Delta::FrameworkActive { framework, active: true });
    }
    let has = standard_agent();
    for id in 0..cell.agents {
        let delta = Delta::AgentAdded {
            agent: AgentId(id),
            name: proffer_types::AgentName::new(&format!("agent{id}")).expect("valid"),
            resources: has.clone(),
            attributes: Default::default(),
            usable: true,
        };
        tell(&mut cluster, delta);
    }
    let (ours, made) = timed(|| cluster.cycle());
    report.section("indexed", ours, made)?;
    let mut decided = Vec::new();
    let theirs = timed_floor(|| {
        while let Some(mut decision) = naive.next(cluster.now) {
            // It numbers nothing itself.
            decision.lease = LeaseId(decided.len() as u64 + 1);
            naive.on_change(&Delta::Offered(decision.clone()));
            decided.push(decision);
        }
    });
    report.must(decided == cluster.held, "both decide the same", &decided.len())?;
    report.value("naive_to_indexed", "ratio", theirs / ours.cpu_ms)?;
    report.peak_memory()
}
