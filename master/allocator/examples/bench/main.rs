//! Benchmark of the allocator alone (P1 to P3, P6), beside the bare DRF loop in the same run:
//! `cargo xtask bench allocator`, or
//! `cargo run --release -p proffer-allocator --example bench -- [--quick]`.
//!
//! Prints JSON lines, one metric a line. Times are CPU time of this process; `value` is the median
//! of `samples`. `--quick` leaves the largest cells out.

mod floor;
mod measure;
mod workloads;

use measure::{cpu_ms, print};
use std::io::Result;

fn main() -> Result<()> {
    let flags: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = flags.iter().find(|flag| *flag != "--quick") {
        return Err(std::io::Error::other(format!("unknown flag {unknown:?}; there is --quick")));
    }
    let is_quick = !flags.is_empty();
    // Memory is read as growth of the process, so these come while it is small.
    workloads::roles(10_000, 1_000)?;
    workloads::refusals(if is_quick { 1_000 } else { 10_000 }, 1_000, 200)?;
    let agents: &[u64] = if is_quick { &[1_000, 10_000] } else { &[1_000, 10_000, 50_000] };
    for agents in agents.iter().copied() {
        for frameworks in [10, 100, 1_000] {
            grid(agents, frameworks)?;
        }
    }
    let most = agents[agents.len() - 1];
    workloads::incremental(most, 1_000)?;
    workloads::explain(10_000)
}

/// One cell: the bare loop and a full cycle with everything dirty, in turns.
fn grid(agents: u64, frameworks: u64) -> Result<()> {
    const ROUNDS: usize = 5;
    let case = format!("{agents}x{frameworks}");
    let (mut cluster, add) = workloads::Cluster::declining(agents, frameworks);
    let (mut demanding, _) = workloads::Cluster::demanding(agents, frameworks);
    let (mut bare, mut cycle, mut back, mut demand) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        bare.push(cpu_ms(|| floor::drf_floor(agents, frameworks)).0);
        let (spent, made) = cpu_ms(|| cluster.cycle());
        assert_eq!(made as u64, agents, "each agent is offered once");
        cycle.push(spent);
        back.push(cpu_ms(|| cluster.give_all_back()).0);
        let (spent, made) = cpu_ms(|| demanding.cycle());
        assert!(made as u64 >= agents, "all demand is met");
        demand.push(spent);
        demanding.give_all_back();
    }
    print(&case, "floor_cpu", "ms", &bare)?;
    print(&case, "add_agents_cpu", "ms", &[add])?;
    print(&case, "cycle_cpu", "ms", &cycle)?;
    print(&case, "give_back_cpu", "ms", &back)?;
    print(&case, "cycle_demand_cpu", "ms", &demand)?;
    let ratio: Vec<f64> = cycle.iter().zip(&bare).map(|(ours, floor)| ours / floor).collect();
    print(&case, "cycle_to_floor", "ratio", &ratio)
}
