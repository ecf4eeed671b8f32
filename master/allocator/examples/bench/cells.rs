//! Which cells there are: a workload and its size, each measured in a process of its own.

use crate::measure::Report;
use crate::workloads::{agents, decline, drain, own, quota, reservations, sort, suppress};
use std::fmt;
use std::io::{Error, Result};

/// A workload and its size.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cell {
    /// A name of [`WORKLOADS`].
    pub(crate) workload: String,
    /// Each framework has a role of its own.
    pub(crate) own_roles: bool,
    pub(crate) agents: u64,
    pub(crate) frameworks: u64,
}

/// What follows the workload when each framework has a role of its own.
const OWN_ROLES: &str = "/roles";

impl fmt::Display for Cell {
    /// As it is named on the command line: `DeclineOffers/roles:1000x100`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = if self.own_roles { OWN_ROLES } else { "" };
        write!(f, "{}{own}:{}x{}", self.workload, self.agents, self.frameworks)
    }
}

impl std::str::FromStr for Cell {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::other(format!("{text:?} is no cell, such as DeclineOffers:1000x100"));
        let (workload, size) = text.split_once(':').ok_or_else(wrong)?;
        let (agents, frameworks) = size.split_once('x').ok_or_else(wrong)?;
        let number = |text: &str| text.parse().map_err(|_| wrong());
        let (name, own_roles) = match workload.strip_suffix(OWN_ROLES) {
            Some(name) => (name, true),
            None => (workload, false),
        };
        let (agents, frameworks) = (number(agents)?, number(frameworks)?);
        if agents == 0 || frameworks == 0 {
            return Err(wrong());
        }
        Ok(Self { workload: name.to_owned(), own_roles, agents, frameworks })
    }
}

/// Over which sizes a workload is measured.
enum Sizes {
    /// The grid of agents and frameworks, in one role and, where that is said, in own ones.
    Grid { own_roles: bool },
    /// Agents of the grid by fixed numbers of clients.
    Agents(&'static [u64]),
    /// Just these.
    Fixed(&'static [(u64, u64)]),
}

type Run = fn(&Cell, &Report) -> Result<()>;

const WORKLOADS: &[(&str, Run, Sizes)] = &[
    ("FullCycle", own::full_cycle, Sizes::Grid { own_roles: true }),
    ("FullCycleOfTree", own::full_cycle_in_tree, Sizes::Agents(&[1_000])),
    ("FullCycleOfDemand", own::full_cycle_of_demand, Sizes::Grid { own_roles: false }),
    ("OneAgentChanged", own::one_agent_changed, Sizes::Agents(&[1_000])),
    ("Refusals", decline::refusals, Sizes::Fixed(&[(1_000, 1_000), (10_000, 1_000)])),
    ("Explain", own::explain, Sizes::Agents(&[10])),
    ("NaiveReference", own::naive_reference, Sizes::Fixed(&[(30, 5), (100, 10)])),
    ("AddAndUpdateSlave", agents::add_and_update, Sizes::Grid { own_roles: true }),
    ("DeclineOffers", decline::decline_offers, Sizes::Grid { own_roles: true }),
    ("ResourceLabels", decline::resource_labels, Sizes::Grid { own_roles: true }),
    ("SuppressOffers", suppress::suppress_offers, Sizes::Grid { own_roles: true }),
    ("ExtremeSuppressOffers", suppress::extreme_suppress_offers, Sizes::Grid { own_roles: true }),
    ("Metrics", quota::metrics, Sizes::Grid { own_roles: false }),
    ("AllocatorBacklog", agents::backlog, Sizes::Grid { own_roles: true }),
    ("PersistentVolumes", reservations::regular_volumes, Sizes::Grid { own_roles: true }),
    ("PersistentVolumes/shared", reservations::shared_volumes, Sizes::Grid { own_roles: true }),
    ("PersistentVolumes/mixed", reservations::mixed_volumes, Sizes::Grid { own_roles: true }),
    (
        "UpdateAllocation",
        reservations::update_allocation,
        Sizes::Fixed(&[(1, 50), (1, 100), (1, 200), (1, 1_600)]),
    ),
    ("MultiFrameworkAllocations", drain::silent, Sizes::Fixed(&[(80, 554)])),
    ("MultiFrameworkAllocations/suppressing", drain::suppressing, Sizes::Fixed(&[(80, 554)])),
    ("MultiFrameworkAllocations/demand", drain::demanding, Sizes::Fixed(&[(80, 554)])),
    (
        "LargeAndSmallQuota",
        quota::large_and_small_quota,
        Sizes::Fixed(&[(30, 30), (300, 300), (3_000, 3_000)]),
    ),
    ("NonQuotaVsQuota", quota::non_quota, Sizes::Fixed(&[(20, 20), (200, 200), (2_000, 2_000)])),
    (
        "NonQuotaVsQuota/quota",
        quota::whole_agent_quota,
        Sizes::Fixed(&[(20, 20), (200, 200), (2_000, 2_000)]),
    ),
    ("FullSort", sort::full_sort, Sizes::Agents(&[1, 50, 100, 200, 500, 1_000])),
    ("HierarchyFullSort/3x32", sort::wide_tree, Sizes::Agents(&[1_024])),
    ("HierarchyFullSort/7x3", sort::middle_tree, Sizes::Agents(&[729])),
    ("HierarchyFullSort/9x2", sort::deep_tree, Sizes::Agents(&[512])),
    ("Resources", sort::resource_sets, Sizes::Fixed(&[(1_000, 1), (50_000, 1)])),
];

const AGENTS: [u64; 6] = [1_000, 5_000, 10_000, 20_000, 30_000, 50_000];
const FRAMEWORKS: [u64; 8] = [1, 50, 100, 200, 500, 1_000, 3_000, 6_000];
const QUICK_AGENTS: [u64; 2] = [1_000, 10_000];
const QUICK_FRAMEWORKS: [u64; 3] = [1, 100, 1_000];
/// The largest cells that goals are set for: also in the quick grid.
const GOALS: [(&str, &[(u64, u64)]); 2] = [
    ("FullCycle", &[(50_000, 1), (50_000, 100), (50_000, 1_000)]),
    ("OneAgentChanged", &[(50_000, 1_000)]),
];

/// All cells, or those of the quick grid.
pub(crate) fn all(full: bool) -> Vec<Cell> {
    let agents: &[u64] = if full { &AGENTS } else { &QUICK_AGENTS };
    let frameworks: &[u64] = if full { &FRAMEWORKS } else { &QUICK_FRAMEWORKS };
    let mut cells = Vec::new();
    for (workload, _, sizes) in WORKLOADS {
        let mut add = |own_roles, agents, frameworks| {
            cells.push(Cell { workload: (*workload).to_owned(), own_roles, agents, frameworks });
        };
        match sizes {
            Sizes::Grid { own_roles } => {
                for own in [false, true] {
                    if own && !own_roles {
                        continue;
                    }
                    for a in agents {
                        frameworks.iter().for_each(|f| add(own, *a, *f));
                    }
                }
            }
            Sizes::Agents(clients) => {
                let known = |c: &u64| full || clients.len() == 1 || QUICK_FRAMEWORKS.contains(c);
                for a in agents {
                    clients.iter().filter(|c| known(c)).for_each(|c| add(false, *a, *c));
                }
            }
            Sizes::Fixed(sizes) => sizes.iter().for_each(|(a, f)| add(false, *a, *f)),
        }
        let goals = GOALS.iter().filter(|(name, _)| !full && name == workload);
        for (a, f) in goals.flat_map(|(_, sizes)| *sizes) {
            add(false, *a, *f);
        }
    }
    cells
}

/// Measures one cell.
pub(crate) fn run(cell: &Cell, limit_s: u64) -> Result<()> {
    let found = WORKLOADS.iter().find(|(name, ..)| *name == cell.workload);
    let Some((_, run, _)) = found else {
        return Err(Error::other(format!("there is no workload {:?}", cell.workload)));
    };
    run(cell, &Report::new(cell.to_string(), limit_s))
}
