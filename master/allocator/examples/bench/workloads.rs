//! Workloads of known shape: agents of 24 cpus, 4096 MB, 4096 MB of disk and 1001 ports, each with
//! a use of 16 cpus, 2014 MB, 1024 MB and ports in 16 pieces by framework `i mod F`, as the
//! workload "DeclineOffers" of Apache Mesos has them.

use crate::measure::{cpu_ms, cpu_ns, print, print_value, quantile, resident_bytes};
use proffer_allocator::{Allocator, Decision, Delta, LeaseId, Use};
use proffer_types::demand::DemandGroup;
use proffer_types::explanation::Subject;
use proffer_types::{
    AgentId, AgentName, FrameworkId, Generation, GroupName, Monotonic, Resources, RoleName,
};
use std::collections::BTreeSet;
use std::io::Result;

const NOW: Monotonic = Monotonic(1_000);

pub(crate) struct Cluster {
    allocator: Allocator,
    decisions: Vec<Decision>,
}

fn resources(text: &str) -> Resources {
    text.parse().expect("the benchmark's own text")
}

fn has() -> Resources {
    resources("cpus:24;mem:4096MB;disk:4096MB;ports:[31000-32000]")
}

fn used() -> Resources {
    let single: Vec<String> = (0..15).map(|n| (31_000 + 2 * n).to_string()).collect();
    let ports = format!("{},31030-32000", single.join(","));
    resources(&format!("cpus:16;mem:2014MB;disk:1024MB;ports:[{ports}]"))
}

fn star() -> RoleName {
    RoleName::new("*").expect("valid")
}

fn group(shape: &str, role: RoleName, target: u64) -> DemandGroup {
    DemandGroup {
        name: GroupName::new("tasks").expect("valid"),
        generation: Generation(1),
        role,
        shape: resources(shape),
        fixed_ports: false,
        target: u32::try_from(target).expect("a small number"),
        constraints: Vec::new(),
        priority: 0,
        per_agent_max: None,
        spread: false,
        gang_size: 1,
        deadline: None,
    }
}

impl Cluster {
    fn new() -> Self {
        Self { allocator: Allocator::new(), decisions: Vec::new() }
    }

    fn tell(&mut self, delta: &Delta) {
        self.allocator.on_change(delta).expect("a consistent change");
    }

    fn add_framework(&mut self, id: u64, role: RoleName) {
        let framework = FrameworkId(id);
        self.tell(&Delta::FrameworkAdded { framework, roles: BTreeSet::from([role]) });
        self.tell(&Delta::FrameworkActive { framework, active: true });
    }

    fn add_agents(&mut self, agents: u64, role_of: impl Fn(u64) -> (FrameworkId, RoleName)) {
        let (has, used) = (has(), used());
        for id in 0..agents {
            let agent = AgentId(id);
            self.tell(&Delta::AgentAdded {
                agent,
                name: AgentName::new(&format!("agent{id}")).expect("valid"),
                resources: has.clone(),
                attributes: Default::default(),
                usable: true,
            });
            let (framework, role) = role_of(id);
            let resources = used.clone();
            self.tell(&Delta::Allocated(Use {
                agent,
                framework,
                role,
                resources,
                group: None,
                tasks: 0,
            }));
        }
    }

    /// All frameworks take classical offers; and the CPU time of adding the agents.
    pub(crate) fn declining(agents: u64, frameworks: u64) -> (Self, f64) {
        let mut cluster = Self::new();
        for id in 0..frameworks {
            cluster.add_framework(id, star());
        }
        let role_of = |id| (FrameworkId(id % frameworks), star());
        let (spent, ()) = cpu_ms(|| cluster.add_agents(agents, role_of));
        (cluster, spent)
    }

    /// All frameworks state demand: two tasks for each agent in all, which fit.
    pub(crate) fn demanding(agents: u64, frameworks: u64) -> (Self, f64) {
        let (mut cluster, spent) = Self::declining(agents, frameworks);
        for id in 0..frameworks {
            let groups =
                Some(vec![group("cpus:4;mem:1000MB;ports:[1-1]", star(), 2 * agents / frameworks)]);
            cluster.tell(&Delta::Demand { framework: FrameworkId(id), groups });
        }
        (cluster, spent)
    }

    /// Decides all that can be decided; returns how many leases that were.
    pub(crate) fn cycle(&mut self) -> usize {
        let turn = self.allocator.offers(u64::MAX, NOW);
        let made = turn.decisions.len();
        self.decisions.extend(turn.decisions);
        made
    }

    pub(crate) fn give_all_back(&mut self) {
        for decision in std::mem::take(&mut self.decisions) {
            self.tell(&Delta::Returned { lease: decision.lease });
        }
    }

    /// Declines everything for ever.
    fn refuse_all(&mut self) {
        for decision in std::mem::take(&mut self.decisions) {
            self.tell(&Delta::Returned { lease: decision.lease });
            self.tell(&Delta::Filtered {
                framework: decision.framework,
                role: decision.role,
                agent: decision.agent,
                resources: decision.resources,
                until: Monotonic(u64::MAX),
            });
        }
    }
}

/// P3: one agent changes, an offer is decided. Agents are visited in a fixed shuffled order.
pub(crate) fn incremental(agents: u64, frameworks: u64) -> Result<()> {
    const EVENTS: u64 = 10_000;
    let case = format!("{agents}x{frameworks}");
    for (metric, mut cluster) in [
        ("one_agent_returned", Cluster::declining(agents, frameworks).0),
        ("one_agent_returned_demand", Cluster::demanding(agents, frameworks).0),
    ] {
        cluster.cycle();
        let mut samples = Vec::new();
        for event in 0..EVENTS {
            let at = usize::try_from(event * 7_919 % cluster.decisions.len() as u64)
                .expect("an index into a vector");
            let lease: LeaseId = cluster.decisions[at].lease;
            let start = cpu_ns();
            cluster.tell(&Delta::Returned { lease });
            let turn = cluster.allocator.offers(10_000, NOW);
            samples.push((cpu_ns() - start) as f64 / 1e3);
            assert_eq!(turn.decisions.len(), 1, "what came back is offered again");
            cluster.decisions[at] = turn.decisions[0].clone();
        }
        for (name, part) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            let value = quantile(&samples, part);
            print_value(&case, &format!("{metric}_{name}"), "us", value, &[])?;
        }
    }
    let mut cluster = Cluster::declining(agents, frameworks).0;
    cluster.cycle();
    let mut samples = Vec::new();
    for event in 0..EVENTS {
        let agent = AgentId(event * 7_919 % agents);
        let more = resources(&format!("cpus:{};mem:4096MB;disk:4096MB", 25 + event / agents));
        let start = cpu_ns();
        let attributes = Default::default();
        cluster.tell(&Delta::AgentChanged { agent, resources: more, attributes });
        let turn = cluster.allocator.offers(10_000, NOW);
        samples.push((cpu_ns() - start) as f64 / 1e3);
        assert_eq!(turn.decisions.len(), 1, "what is new is offered");
    }
    for (name, part) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        let value = quantile(&samples, part);
        print_value(&case, &format!("one_agent_grown_{name}"), "us", value, &[])?;
    }
    Ok(())
}

/// P2: one role per framework in a tree of three levels.
pub(crate) fn roles(agents: u64, frameworks: u64) -> Result<()> {
    let case = format!("{agents}x{frameworks} roles");
    let role = |id: u64| {
        let (top, middle) = (id % 10, id / 10 % 10);
        RoleName::new(&format!("top{top}/middle{middle}/leaf{id}")).expect("valid")
    };
    let before = resident_bytes();
    let mut cluster = Cluster::new();
    for id in 0..frameworks {
        cluster.add_framework(id, role(id));
    }
    let role_of = |id: u64| (FrameworkId(id % frameworks), role(id % frameworks));
    let (add, ()) = cpu_ms(|| cluster.add_agents(agents, role_of));
    let grown = resident_bytes().saturating_sub(before);
    let mut samples = Vec::new();
    for _ in 0..5 {
        let (spent, made) = cpu_ms(|| cluster.cycle());
        assert_eq!(made as u64, agents, "each agent is offered once");
        samples.push(spent);
        cluster.give_all_back();
    }
    print(&case, "add_agents_cpu", "ms", &[add])?;
    print(&case, "cycle_cpu", "ms", &samples)?;
    print(&case, "resident_per_agent", "bytes", &[grown as f64 / agents as f64])
}

/// P6: everybody refuses everything for ever, round after round.
pub(crate) fn refusals(agents: u64, frameworks: u64, rounds: usize) -> Result<()> {
    let case = format!("{agents}x{frameworks}");
    let (mut cluster, _) = Cluster::declining(agents, frameworks);
    let before = resident_bytes();
    let (mut cycle, mut refuse) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (spent, made) = cpu_ms(|| cluster.cycle());
        assert_eq!(made as u64, agents, "somebody has not refused yet");
        cycle.push(spent);
        refuse.push(cpu_ms(|| cluster.refuse_all()).0);
    }
    let filters = agents as f64 * rounds as f64;
    let grown = resident_bytes().saturating_sub(before) as f64;
    let last = rounds - 5;
    print(&case, "refuse_all_first_cycles_cpu", "ms", &cycle[..5])?;
    print(&case, "refuse_all_last_cycles_cpu", "ms", &cycle[last..])?;
    print(&case, "refuse_all_first_declines_cpu", "ms", &refuse[..5])?;
    print(&case, "refuse_all_last_declines_cpu", "ms", &refuse[last..])?;
    print(&case, "resident_per_filter", "bytes", &[grown / filters])
}

/// One question that no index answers: why a task that fits nowhere waits.
pub(crate) fn explain(agents: u64) -> Result<()> {
    let (mut cluster, _) = Cluster::declining(agents, 10);
    let framework = FrameworkId(0);
    let groups = Some(vec![group("cpus:30;mem:1000MB;disk:1MB;ports:[1-1]", star(), 5)]);
    cluster.tell(&Delta::Demand { framework, groups });
    cluster.cycle();
    let subject = Subject::Demand(framework, GroupName::new("tasks").expect("valid"));
    let mut samples = Vec::new();
    for _ in 0..5 {
        let (spent, explanation) = cpu_ms(|| cluster.allocator.explain(&subject, NOW));
        assert!(!explanation.nearest_miss.is_empty());
        samples.push(spent);
    }
    print(&format!("{agents}x10"), "explain_cpu", "ms", &samples)
}
