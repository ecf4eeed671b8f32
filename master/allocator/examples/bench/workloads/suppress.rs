//! `SuppressOffers` and `ExtremeSuppressOffers`: fewer and fewer frameworks want offers.

use crate::cells::Cell;
use crate::cluster::{Cluster, roles_of};
use crate::floor::drf_floor;
use crate::measure::{Report, median, quantile, timed, timed_floor};
use std::io::Result;

const ROUNDS: u64 = 5;

/// A fifth of the frameworks more is suppressed in each round.
pub(crate) fn suppress_offers(cell: &Cell, report: &Report) -> Result<()> {
    let mut cluster = filled(cell, report)?;
    let fifth = cell.frameworks / ROUNDS;
    let (mut giving, mut floors) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        cluster.give_all_back();
        cluster.suppress(round * fifth..(round + 1) * fifth);
        floors.push(timed_floor(|| drf_floor(cell.agents, cell.frameworks)));
        let (cost, made) = timed(|| cluster.cycle());
        let are_all_suppressed = fifth * (round + 1) == cell.frameworks;
        let expected = if are_all_suppressed { 0 } else { cell.agents };
        report.must(made == expected, "who is not suppressed is offered everything", &made)?;
        if round < ROUNDS - 1 {
            giving.push(cost);
        } else {
            report.section("round_4", cost, cell.agents)?;
            report.count("offers_in_round_4", made)?;
        }
    }
    let floor = quantile(&floors, 0.5);
    report.section_and_floor("round_0", giving[0], cell.agents, floor)?;
    report.section_and_floor("rounds_0_to_3", median(&giving), cell.agents, floor)?;
    report.peak_memory()
}

/// 99 of 100 frameworks are suppressed all the time.
pub(crate) fn extreme_suppress_offers(cell: &Cell, report: &Report) -> Result<()> {
    let mut cluster = filled(cell, report)?;
    cluster.suppress(0..cell.frameworks * 99 / 100);
    let (mut cycles, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        cluster.give_all_back();
        floors.push(timed_floor(|| drf_floor(cell.agents, cell.frameworks.div_ceil(100))));
        let (cost, made) = timed(|| cluster.cycle());
        report.must(made == cell.agents, "each agent is offered once", &made)?;
        cycles.push(cost);
    }
    let floor = quantile(&floors, 0.5);
    report.section_and_floor("cycles", median(&cycles), cell.agents, floor)?;
    report.peak_memory()
}

fn filled(cell: &Cell, report: &Report) -> Result<Cluster> {
    let mut cluster = Cluster::new(roles_of(cell.frameworks, "*", cell.own_roles));
    let (cost, ()) = timed(|| cluster.add_frameworks());
    report.section("add_frameworks", cost, cell.frameworks)?;
    let (cost, ()) = timed(|| {
        cluster.add_standard_agents(cell.agents, 1_024);
        cluster.settle();
    });
    report.section("add_agents", cost, cell.agents)?;
    let made = cluster.held.len() as u64;
    report.must(made == cell.agents, "each agent is offered while it is added", &made)?;
    Ok(cluster)
}
