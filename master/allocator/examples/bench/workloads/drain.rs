//! `MultiFrameworkAllocations`: 554 frameworks launch 19,500 tasks out of classical offers, or as demand.
//! No offer gets lost between rounds, as one of each round did in the original.

use crate::cells::Cell;
use crate::cluster::{Cluster, group, resources, role};
use crate::measure::{Cost, Report, median, timed};
use proffer_allocator::{Decision, Delta, Use};
use proffer_types::resources::ResourceName;
use proffer_types::{FrameworkId, Resources, RoleName};
use std::io::Result;

/// A kind of framework.
struct Kind {
    name: &'static str,
    frameworks: u64,
    is_one_role: bool,
    tasks: u64,
    shape: &'static str,
    per_offer_max: u64,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "Marathon",
        frameworks: 4,
        is_one_role: false,
        tasks: 4_000,
        shape: "cpus:0.07;mem:400MB",
        per_offer_max: 100,
    },
    Kind {
        name: "Jenkins",
        frameworks: 500,
        is_one_role: true,
        tasks: 5,
        shape: "cpus:0.1;mem:4000MB",
        per_offer_max: 1,
    },
    Kind {
        name: "Spark",
        frameworks: 50,
        is_one_role: false,
        tasks: 20,
        shape: "cpus:1;mem:1000MB",
        per_offer_max: 5,
    },
];
const TASKS: u64 = 19_500;

/// How a framework lets it be known that it wants no more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Not at all: what it is offered later it gives back at once.
    Silent,
    /// It suppresses offers.
    Suppresses,
}

struct Drain {
    cluster: Cluster,
    kind_of: Vec<usize>,
    missing: Vec<u64>,
    shapes: Vec<Resources>,
    launched: u64,
}

impl Drain {
    fn new() -> Self {
        let (mut roles, mut kind_of, mut missing): (Vec<RoleName>, _, _) = (vec![], vec![], vec![]);
        for (index, kind) in KINDS.iter().enumerate() {
            for id in 0..kind.frameworks {
                let own = format!("{}{id}", kind.name);
                roles.push(role(if kind.is_one_role { kind.name } else { &own }));
                kind_of.push(index);
                missing.push(kind.tasks);
            }
        }
        let shapes = KINDS.iter().map(|kind| resources(kind.shape)).collect();
        Self { cluster: Cluster::new(roles), kind_of, missing, shapes, launched: 0 }
    }

    fn fill(&mut self, agents: u64) {
        let has = resources("cpus:64;mem:488000MB");
        for id in 0..agents {
            self.cluster.add_agent(id, &has, None, None);
        }
        self.cluster.settle();
        self.cluster.add_frameworks_paused();
    }

    /// Launches what fits of one offer and may, and gives the rest back.
    fn use_offer(&mut self, offer: &Decision, ending: Ending) {
        let framework = offer.framework.0 as usize;
        let kind = self.kind_of[framework];
        let shape = &self.shapes[kind];
        let fits = [ResourceName::Cpus, ResourceName::Mem]
            .map(|name| offer.resources.scalar(&name) / shape.scalar(&name));
        let most = KINDS[kind].per_offer_max.min(self.missing[framework]);
        let count = fits.into_iter().fold(most, u64::min);
        self.cluster.tell(&Delta::Returned { lease: offer.lease });
        if count == 0 {
            return;
        }
        let held = [ResourceName::Cpus, ResourceName::Mem]
            .map(|name| (name.clone(), shape.scalar(&name) * count));
        self.cluster.tell(&Delta::Allocated(Use {
            agent: offer.agent,
            framework: offer.framework,
            role: offer.role.clone(),
            resources: Resources::scalars(held),
            group: None,
            tasks: 0,
        }));
        self.missing[framework] -= count;
        self.launched += count;
        if self.missing[framework] == 0 && ending == Ending::Suppresses {
            self.cluster.suppress(offer.framework.0..offer.framework.0 + 1);
        }
    }
}

pub(crate) fn silent(cell: &Cell, report: &Report) -> Result<()> {
    classical(cell, report, Ending::Silent)
}

pub(crate) fn suppressing(cell: &Cell, report: &Report) -> Result<()> {
    classical(cell, report, Ending::Suppresses)
}

fn classical(cell: &Cell, report: &Report, ending: Ending) -> Result<()> {
    /// Frameworks that only give back take what those that want something could use, for ever: fairness
    /// says so. Rounds that launch nothing are enough of it then.
    const IDLE_ROUNDS: u32 = 5;
    let mut drain = Drain::new();
    drain.fill(cell.agents);
    let (mut cycles, mut handling, mut idle): (Vec<Cost>, Vec<Cost>, u32) = (vec![], vec![], 0);
    while drain.launched < TASKS && idle < IDLE_ROUNDS && !report.is_over() {
        let (cost, made) = timed(|| drain.cluster.cycle());
        report.must(made == cell.agents, "every agent is offered in every round", &made)?;
        cycles.push(cost);
        let (before, offers) = (drain.launched, std::mem::take(&mut drain.cluster.held));
        let (cost, ()) = timed(|| offers.iter().for_each(|offer| drain.use_offer(offer, ending)));
        handling.push(cost);
        idle = if drain.launched == before { idle + 1 } else { 0 };
    }
    for (metric, from, to) in [
        ("round_1", 0, 1),
        ("rounds_2_to_5", 1, 5),
        ("rounds_6_to_20", 5, 20),
        ("rounds_21_to_40", 20, 40),
    ] {
        if cycles.len() >= to {
            report.section(metric, median(&cycles[from..to]), cell.agents)?;
        }
    }
    let rounds = cycles.len() as u64;
    report.section("all_cycles", cycles.iter().copied().sum(), rounds * cell.agents)?;
    report.section("all_launches", handling.iter().copied().sum(), drain.launched)?;
    report.count("rounds", rounds)?;
    report.count("launched", drain.launched)?;
    if ending == Ending::Suppresses {
        report.must(drain.launched == TASKS, "all tasks are launched", &drain.launched)?;
    }
    report.peak_memory()
}

/// The same tasks stated as demand: offers are cut to fit.
pub(crate) fn demanding(cell: &Cell, report: &Report) -> Result<()> {
    let mut drain = Drain::new();
    drain.fill(cell.agents);
    let (cost, ()) = timed(|| {
        for id in 0..cell.frameworks {
            let kind = &KINDS[drain.kind_of[id as usize]];
            let role = drain.cluster.roles[id as usize].clone();
            let groups = Some(vec![group(kind.shape, role, kind.tasks)]);
            drain.cluster.tell(&Delta::Demand { framework: FrameworkId(id), groups });
        }
    });
    report.section("state_demand", cost, cell.frameworks)?;
    let (cost, made) = timed(|| drain.cluster.cycle());
    report.section("round_1", cost, TASKS)?;
    report.count("offers_in_round_1", made)?;
    let tasks: u64 = drain.cluster.held.iter().map(|offer| u64::from(offer.count)).sum();
    report.count("launched", tasks)?;
    report.must(tasks == TASKS, "all tasks have a place after one round", &tasks)?;
    let (_, made) = timed(|| drain.cluster.cycle());
    report.must(made == 0, "satisfied demand is offered nothing", &made)?;
    report.peak_memory()
}
