//! A small cluster around one allocator, for tests that speak in frameworks and tasks.
#![allow(dead_code, reason = "each test file uses its own part")]

use proffer_allocator::{Allocator, Decision, Delta, LeaseId, Turn, Use};
use proffer_types::demand::DemandGroup;
use proffer_types::role::RoleConfig;
use proffer_types::{
    AgentId, AgentName, FrameworkId, Generation, GroupName, Monotonic, Resources, RoleName,
    attributes,
};
use std::collections::BTreeMap;

pub(crate) const NOW: Monotonic = Monotonic(1_000);
pub(crate) const PLENTY: u64 = u64::MAX;

pub(crate) fn role(name: &str) -> RoleName {
    RoleName::new(name).expect("valid")
}

pub(crate) fn group(name: &str, role_name: &str, shape: &str, target: u32) -> DemandGroup {
    DemandGroup {
        name: GroupName::new(name).expect("valid"),
        generation: Generation(1),
        role: role(role_name),
        shape: shape.parse().expect("valid"),
        fixed_ports: false,
        target,
        constraints: Vec::new(),
        priority: 0,
        per_agent_max: None,
        spread: false,
        gang_size: 1,
        deadline: None,
        revocable: proffer_types::RevocableUse::Refuse,
    }
}

#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) allocator: Allocator,
    pub(crate) now: Monotonic,
    pub(crate) leases: BTreeMap<LeaseId, Decision>,
    agents: u64,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self { now: NOW, ..Self::default() }
    }

    pub(crate) fn tell(&mut self, delta: &Delta) {
        self.allocator.on_change(delta).expect("a consistent change");
    }

    pub(crate) fn agent_with(&mut self, resources: &str, attributes_text: &str) -> AgentId {
        self.agents += 1;
        let agent = AgentId(self.agents);
        self.tell(&Delta::AgentAdded {
            agent,
            name: AgentName::new(&format!("agent{}", agent.0)).expect("valid"),
            resources: resources.parse().expect("valid"),
            attributes: attributes::parse_attributes(attributes_text).expect("valid"),
            usable: true,
        });
        agent
    }

    pub(crate) fn agent(&mut self, resources: &str) -> AgentId {
        self.agent_with(resources, "")
    }

    /// A connected framework that takes classical offers until it states demand.
    pub(crate) fn framework(&mut self, id: u64, role_name: &str) -> FrameworkId {
        let framework = FrameworkId(id);
        self.tell(&Delta::FrameworkAdded { framework, roles: [role(role_name)].into() });
        self.tell(&Delta::FrameworkActive { framework, active: true });
        framework
    }

    pub(crate) fn demand(&mut self, framework: FrameworkId, groups: Vec<DemandGroup>) {
        self.tell(&Delta::Demand { framework, groups: Some(groups) });
    }

    pub(crate) fn weight(&mut self, role_name: &str, milli: u64) {
        let config = RoleConfig { weight_milli: milli, ..RoleConfig::default() };
        self.tell(&Delta::RoleSet { role: role(role_name), config });
    }

    pub(crate) fn turn(&mut self, budget: u64) -> Turn {
        let turn = self.allocator.offers(budget, self.now);
        for decision in &turn.decisions {
            self.leases.insert(decision.lease, decision.clone());
        }
        turn
    }

    /// Decides and takes leases back as asked, until nothing is left to decide.
    pub(crate) fn settle(&mut self) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for _ in 0..10_000 {
            let turn = self.turn(PLENTY);
            assert!(!turn.more);
            for lease in turn.rescinds.iter().chain(&turn.beyond_limits) {
                self.give_back(*lease);
            }
            let is_done = turn.rescinds.is_empty() && turn.beyond_limits.is_empty();
            decisions.extend(turn.decisions);
            if is_done {
                return decisions;
            }
        }
        panic!("decisions do not come to an end");
    }

    pub(crate) fn give_back(&mut self, lease: LeaseId) {
        self.leases.remove(&lease).expect("held");
        self.tell(&Delta::Returned { lease });
    }

    pub(crate) fn decline(&mut self, lease: LeaseId, refuse_for_ms: u64) {
        let decision = self.leases[&lease].clone();
        self.give_back(lease);
        self.tell(&Delta::Filtered {
            framework: decision.framework,
            role: decision.role,
            agent: decision.agent,
            resources: decision.resources,
            until: Monotonic(self.now.0 + refuse_for_ms),
        });
    }

    /// Uses all of a lease.
    pub(crate) fn accept(&mut self, lease: LeaseId) -> Use {
        let decision = self.leases[&lease].clone();
        self.give_back(lease);
        let held = Use {
            agent: decision.agent,
            framework: decision.framework,
            role: decision.role,
            resources: decision.resources,
            tasks: if decision.group.is_some() { decision.count } else { 0 },
            group: decision.group,
        };
        self.tell(&Delta::Allocated(held.clone()));
        held
    }

    pub(crate) fn tasks_of(&self, framework: FrameworkId) -> u32 {
        self.leases
            .values()
            .filter(|lease| lease.framework == framework && lease.group.is_some())
            .map(|lease| lease.count)
            .sum()
    }

    pub(crate) fn leased(&self, framework: FrameworkId) -> Resources {
        let leases = self.leases.values().filter(|lease| lease.framework == framework);
        let total = Resources::sum(leases.map(|lease| &lease.resources).filter(|r| !r.is_empty()));
        total.unwrap_or_default()
    }
}
