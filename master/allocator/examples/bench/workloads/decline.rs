//! `DeclineOffers` and `ResourceLabels`: every offer is declined for ever, round after round.

use crate::cells::Cell;
use crate::cluster::{Cluster, resources, roles_of, standard_agent, standard_use, thinned_ports};
use crate::floor::drf_floor;
use crate::measure::{Cost, Report, median, resident_bytes, timed, timed_floor};
use proffer_types::Resources;
use proffer_types::resources::{Quantity, Reservation, Resource, ResourceKey, ResourceName};
use proffer_types::{PrincipalName, RoleName};
use std::collections::BTreeMap;
use std::io::Result;

/// Rounds without an offer that are enough: they are all alike.
const EMPTY_ROUNDS: usize = 5;

pub(crate) fn decline_offers(cell: &Cell, report: &Report) -> Result<()> {
    let mut cluster = Cluster::new(roles_of(cell.frameworks, "*", cell.own_roles));
    let (cost, ()) = timed(|| cluster.add_frameworks());
    report.section("add_frameworks", cost, cell.frameworks)?;
    let (cost, ()) = timed(|| {
        cluster.add_standard_agents(cell.agents, 2_014);
        cluster.settle();
    });
    report.section("add_agents", cost, cell.agents)?;
    rounds(cell, report, &mut cluster)
}

/// The same with two labelled reservations in use on each agent, different on each.
pub(crate) fn resource_labels(cell: &Cell, report: &Report) -> Result<()> {
    let mut cluster = Cluster::new(roles_of(cell.frameworks, "role1", cell.own_roles));
    let (cost, ()) = timed(|| cluster.add_frameworks());
    report.section("add_frameworks", cost, cell.frameworks)?;
    let has = standard_agent();
    let (cost, ()) = timed(|| {
        for id in 0..cell.agents {
            let owner = cluster.roles[(id % cell.frameworks) as usize].clone();
            cluster.add_agent(id, &has, Some(labelled_use(id, &owner)), None);
        }
        cluster.settle();
    });
    report.section("add_agents", cost, cell.agents)?;
    rounds(cell, report, &mut cluster)
}

fn labelled_use(id: u64, owner: &RoleName) -> Resources {
    let mut used = resources(&format!("mem:2014MB;disk:1024MB;ports:{}", thinned_ports(16)));
    let common = (0..11).map(|n| (format!("key{n}"), format!("value{n}")));
    let unique = (1..3).map(|n| (format!("unique_key_{n}"), format!("value_{id}")));
    let plain: BTreeMap<String, String> = common.collect();
    let marked: BTreeMap<String, String> = plain.clone().into_iter().chain(unique).collect();
    for labels in [marked, plain] {
        let reservation = Reservation {
            role: owner.clone(),
            principal: Some(PrincipalName::new("principal1").expect("valid")),
            is_static: false,
            labels,
        };
        let key = ResourceKey {
            reservations: vec![reservation],
            ..ResourceKey::plain(ResourceName::Cpus)
        };
        used.insert(Resource { key, quantity: Quantity::Scalar(8_000) }).expect("small numbers");
    }
    used
}

fn rounds(cell: &Cell, report: &Report, cluster: &mut Cluster) -> Result<()> {
    let made = cluster.held.len() as u64;
    report.must(made == cell.agents, "each agent is offered while it is added", &made)?;
    let before = resident_bytes();
    let (mut giving, mut empty, mut declines) = (Vec::new(), Vec::new(), Vec::new());
    let (mut floors, mut declined) = (Vec::new(), 0u64);
    let mut is_cut = false;
    for _ in 0..2 * cell.frameworks {
        declined += cluster.held.len() as u64;
        let (cost, ()) = timed(|| cluster.decline_all());
        if cost.cpu_ms > 0.0 && empty.is_empty() {
            declines.push(cost);
        }
        if floors.len() < 5 {
            floors.push(timed_floor(|| drf_floor(cell.agents, cell.frameworks)));
        }
        let (cost, made) = timed(|| cluster.cycle());
        if made > 0 {
            report.must(made == cell.agents, "a round offers each agent or none", &made)?;
            giving.push(cost);
        } else {
            empty.push(cost);
        }
        is_cut = empty.len() < EMPTY_ROUNDS && report.is_over();
        if empty.len() >= EMPTY_ROUNDS || is_cut {
            break;
        }
    }
    let filters = resident_bytes().saturating_sub(before) as f64 / declined as f64;
    let floor = crate::measure::quantile(&floors, 0.5);
    if let (Some(first), Some(last)) = (giving.first(), giving.last()) {
        report.section_and_floor("first_giving_round", *first, cell.agents, floor)?;
        if !is_cut {
            let middle = giving[giving.len() / 2];
            report.section_and_floor("middle_giving_round", middle, cell.agents, floor)?;
            report.section_and_floor("last_giving_round", *last, cell.agents, floor)?;
            let sum: Cost = giving.iter().copied().sum();
            report.section("sum_of_giving_rounds", sum, cell.agents * giving.len() as u64)?;
        }
    }
    if let Some(first) = empty.first() {
        // The one that finds out that everybody has refused; in those after it nothing has changed.
        let filters = cell.agents * cell.frameworks;
        report.section("first_zero_round", *first, filters)?;
        report.section("zero_offer_tail", median(&empty), filters)?;
    }
    report.section("first_declines", declines[0], cell.agents)?;
    report.section("last_declines", declines[declines.len() - 1], cell.agents)?;
    let expected = cell.frameworks - 1;
    let all = giving.len() as u64 == expected || is_cut;
    report.must(all, "each agent is offered to each framework once", &giving.len())?;
    report.count("giving_rounds", giving.len() as u64)?;
    report.count("zero_rounds", empty.len() as u64)?;
    report.count("declined", declined)?;
    report.value("resident_per_filter", "bytes", filters)?;
    if is_cut {
        report.note("cut: the cell has used its time or memory")?;
    }
    report.peak_memory()
}

/// P6: 200 rounds in which all is refused for ever; the last beside the first, whole rounds.
pub(crate) fn refusals(cell: &Cell, report: &Report) -> Result<()> {
    const ROUNDS: usize = 200;
    const ALIKE: usize = 5;
    let mut cluster = Cluster::new(roles_of(cell.frameworks, "*", cell.own_roles));
    cluster.add_frameworks();
    let used = standard_use(2_014);
    let has = standard_agent();
    for id in 0..cell.agents {
        cluster.add_agent(id, &has, Some(used.clone()), None);
    }
    cluster.settle();
    cluster.give_all_back();
    let before = resident_bytes();
    let (mut cycles, mut declines) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (cost, made) = timed(|| cluster.cycle());
        report.must(made == cell.agents, "somebody has not refused yet", &made)?;
        cycles.push(cost);
        declines.push(timed(|| cluster.decline_all()).0);
    }
    let grown = resident_bytes().saturating_sub(before) as f64;
    let (first, last) = (median(&cycles[..ALIKE]), median(&cycles[ROUNDS - ALIKE..]));
    report.section("first_cycle", first, cell.agents)?;
    report.section("last_cycle", last, cell.agents)?;
    let (taken, given) = (median(&declines[..ALIKE]), median(&declines[ROUNDS - ALIKE..]));
    report.section("first_declines", taken, cell.agents)?;
    report.section("last_declines", given, cell.agents)?;
    report.value("last_cycle_to_first", "ratio", last.cpu_ms / first.cpu_ms)?;
    let (whole, at_first) = (last.cpu_ms + given.cpu_ms, first.cpu_ms + taken.cpu_ms);
    report.value("last_round_to_first", "ratio", whole / at_first)?;
    let filters = (cell.agents * ROUNDS as u64) as f64;
    report.value("resident_per_filter", "bytes", grown / filters)?;
    report.peak_memory()
}
