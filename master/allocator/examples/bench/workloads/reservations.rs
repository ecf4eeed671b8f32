//! `PersistentVolumes` and `UpdateAllocation`: reserved resources.

use crate::cells::Cell;
use crate::cluster::{Cluster, role, roles_of, thinned_ports};
use crate::floor::drf_floor;
use crate::measure::{Cost, Report, median, quantile, timed, timed_floor};
use proffer_allocator::{Delta, Use};
use proffer_types::resources::{
    Quantity, Ranges, Reservation, Resource, ResourceKey, ResourceName, Volume,
};
use proffer_types::{AgentId, AgentName, FrameworkId, Resources, RoleName};
use rand_like::Letters;
use std::collections::BTreeMap;
use std::io::Result;

/// Which agents' volumes several tasks may use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shared {
    None,
    All,
    EverySecond,
}

pub(crate) fn regular_volumes(cell: &Cell, report: &Report) -> Result<()> {
    persistent_volumes(cell, report, Shared::None)
}

pub(crate) fn shared_volumes(cell: &Cell, report: &Report) -> Result<()> {
    persistent_volumes(cell, report, Shared::All)
}

pub(crate) fn mixed_volumes(cell: &Cell, report: &Report) -> Result<()> {
    persistent_volumes(cell, report, Shared::EverySecond)
}

/// Everything is reserved to one role, and each agent has a volume.
fn persistent_volumes(cell: &Cell, report: &Report, shared: Shared) -> Result<()> {
    const ROUNDS: usize = 6;
    let mut cluster = Cluster::new(roles_of(cell.frameworks, "test", cell.own_roles));
    cluster.add_frameworks();
    let has: Resources =
        "cpus(test):24;mem(test):4096MB;disk(test):3072MB;ports(test):[31000-32000]"
            .parse()
            .expect("valid");
    let ports = thinned_ports(16);
    let used: Resources =
        format!("cpus(test):16;mem(test):1024MB;disk(test):1024MB;ports(test):{ports}")
            .parse()
            .expect("valid");
    let star = role("*");
    let (cost, ()) = timed(|| {
        for id in 0..cell.agents {
            let is_shared = shared == Shared::All || (shared == Shared::EverySecond && id % 2 == 1);
            let mut has = has.clone();
            has.insert(volume(is_shared)).expect("small numbers");
            cluster.add_agent(id, &has, Some(used.clone()), Some(&star));
        }
        cluster.settle();
    });
    report.section("add_agents", cost, cell.agents)?;
    let (mut cycles, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        cluster.give_all_back();
        floors.push(timed_floor(|| drf_floor(cell.agents, cell.frameworks)));
        let (cost, made) = timed(|| cluster.cycle());
        report.must(made == cell.agents, "each agent's reserved rest is offered", &made)?;
        let volumes = cluster.held.iter().flat_map(|offer| offer.resources.entries());
        let volumes = volumes.filter(|entry| entry.key.volume.is_some()).count() as u64;
        report.must(volumes == cell.agents, "each volume is offered", &volumes)?;
        cycles.push(cost);
    }
    let floor = quantile(&floors, 0.5);
    report.section_and_floor("cycles", median(&cycles), cell.agents, floor)?;
    report.peak_memory()
}

fn volume(shared: bool) -> Resource {
    let key = ResourceKey {
        reservations: vec![reservation(role("test"), true, BTreeMap::new())],
        volume: Some(Volume {
            id: "v1".parse().expect("valid"),
            container_path: "data".to_owned(),
        }),
        shared,
        ..ResourceKey::plain(ResourceName::Disk)
    };
    Resource { key, quantity: Quantity::Scalar(1_024 << 20) }
}

fn reservation(role: RoleName, is_static: bool, labels: BTreeMap<String, String>) -> Reservation {
    Reservation { role, principal: None, is_static, labels }
}

/// One framework's four resources on the agent, reserved or not.
struct Slice {
    reserved: Resources,
    plain: Resources,
}

fn slice(id: u64, owner: &RoleName, letters: &mut Letters) -> Slice {
    let (mut reserved, mut plain) = (Resources::new(), Resources::new());
    let port = 1_024 + id * 10;
    let ports = Ranges::new(vec![(port, port + 8)]).expect("one range");
    for (name, quantity) in [
        (ResourceName::Cpus, Quantity::Scalar(100_000)),
        (ResourceName::Mem, Quantity::Scalar(100 << 20)),
        (ResourceName::Disk, Quantity::Scalar(100 << 20)),
        (ResourceName::Ports, Quantity::Ranges(ports)),
    ] {
        let labels = BTreeMap::from([("label".to_owned(), letters.word())]);
        let reservations = vec![reservation(owner.clone(), false, labels)];
        let key = ResourceKey { reservations, ..ResourceKey::plain(name.clone()) };
        reserved.insert(Resource { key, quantity: quantity.clone() }).expect("small numbers");
        let key = ResourceKey::plain(name);
        plain.insert(Resource { key, quantity }).expect("small numbers");
    }
    Slice { reserved, plain }
}

/// One agent with four reservations for each of many roles; one framework's four are given up and made
/// again, twenty times.
pub(crate) fn update_allocation(cell: &Cell, report: &Report) -> Result<()> {
    const TIMES: usize = 20;
    let mut letters = Letters::new();
    let roles = (0..cell.frameworks).map(|_| role(&format!("role-{}", letters.word()))).collect();
    let mut cluster = Cluster::new(roles);
    let slices: Vec<Slice> = (0..cell.frameworks)
        .map(|id| slice(id, &cluster.roles[id as usize], &mut letters))
        .collect();
    let entries = slices.iter().flat_map(|slice| slice.reserved.entries().iter().cloned());
    let total = Resources::from_entries(entries.collect()).expect("small numbers");
    cluster.add_frameworks();
    let agent = AgentId(0);
    let added = Delta::AgentAdded {
        agent,
        name: AgentName::new("agent0").expect("valid"),
        resources: total,
        attributes: Default::default(),
        usable: true,
    };
    let uses = |cluster: &Cluster, id: usize, resources: &Resources| Use {
        agent,
        framework: FrameworkId(id as u64),
        role: cluster.roles[id].clone(),
        resources: resources.clone(),
        group: None,
        tasks: 0,
    };
    let (cost, ()) = timed(|| {
        cluster.tell(&added);
        for (id, slice) in slices.iter().enumerate() {
            let held = uses(&cluster, id, &slice.reserved);
            cluster.tell(&Delta::Allocated(held));
        }
        cluster.settle();
    });
    report.section("fill_agent", cost, 4 * cell.frameworks)?;
    let made = cluster.held.len();
    report.must(made == 0, "all is in use", &made)?;
    let (mut unreserve, mut reserve) = (Vec::new(), Vec::new());
    let chosen = slices.len() / 2;
    let Slice { reserved, plain } = &slices[chosen];
    for _ in 0..TIMES {
        for (from, to, costs) in
            [(reserved, plain, &mut unreserve), (plain, reserved, &mut reserve)]
        {
            let (old, new) = (uses(&cluster, chosen, from), uses(&cluster, chosen, to));
            let converted = Delta::AgentConverted { agent, from: from.clone(), to: to.clone() };
            let (cost, made) = timed(|| {
                cluster.tell(&Delta::Released(old));
                cluster.tell(&converted);
                cluster.tell(&Delta::Allocated(new));
                cluster.settle()
            });
            report.must(made == 0, "all is in use", &made)?;
            costs.push(cost);
        }
    }
    let mean = |costs: &[Cost]| {
        let sum: Cost = costs.iter().copied().sum();
        let times = costs.len() as f64;
        Cost { cpu_ms: sum.cpu_ms / times, wall_ms: sum.wall_ms / times }
    };
    report.section("unreserve", mean(&unreserve), 4)?;
    report.section("reserve", mean(&reserve), 4)?;
    let all: Cost = unreserve.iter().chain(&reserve).copied().sum();
    report.section("twenty_pairs", all, 8 * TIMES as u64)?;
    report.peak_memory()
}

/// Words of 36 letters out of a fixed sequence.
mod rand_like {
    pub(super) struct Letters(u64);

    impl Letters {
        pub(super) fn new() -> Self {
            Self(0x9e37_79b9_7f4a_7c15)
        }

        pub(super) fn word(&mut self) -> String {
            let mut letter = || {
                // xorshift
                self.0 ^= self.0 << 13;
                self.0 ^= self.0 >> 7;
                self.0 ^= self.0 << 17;
                char::from(b'a' + u8::try_from(self.0 % 26).expect("below 26"))
            };
            (0..36).map(|_| letter()).collect()
        }
    }
}
