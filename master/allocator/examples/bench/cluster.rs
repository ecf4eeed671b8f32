//! A cluster under the allocator alone: its clock, its held offers, and the shapes that the workloads
//! of Apache Mesos' allocator use. Changes come in turns, as the master's loop takes them.

use proffer_allocator::{Allocator, Decision, Delta, Use};
use proffer_types::demand::DemandGroup;
use proffer_types::role::RoleConfig;
use proffer_types::{
    AgentId, AgentName, FrameworkId, Generation, GroupName, Monotonic, OfferCondition, Quantities,
    Resources, RevocableUse, RoleName,
};
use std::collections::BTreeSet;

/// Changes that the master's loop takes in one turn, and the steps that a turn may spend.
const TURN_CHANGES: u32 = 256;
const TURN_STEPS: u64 = 10_000;
/// One allocation interval of the original.
const INTERVAL_MS: u64 = 1_000;
/// What "decline for ever" comes to there.
const REFUSED_MS: u64 = 365 * 24 * 3_600 * 1_000;

pub(crate) struct Cluster {
    pub(crate) allocator: Allocator,
    pub(crate) now: Monotonic,
    /// Offers that nobody has answered.
    pub(crate) held: Vec<Decision>,
    /// The role of each framework.
    pub(crate) roles: Vec<RoleName>,
    pub(crate) turns: u64,
    changes: u32,
}

pub(crate) fn resources(text: &str) -> Resources {
    text.parse().expect("the benchmark's own text")
}

pub(crate) fn role(name: &str) -> RoleName {
    RoleName::new(name).expect("the benchmark's own name")
}

/// The standard agent.
pub(crate) fn standard_agent() -> Resources {
    resources("cpus:24;mem:4096MB;disk:4096MB;ports:[31000-32000]")
}

/// 31000 to 32000 thinned to `pieces`: single ports two apart, then the rest.
pub(crate) fn thinned_ports(pieces: u64) -> String {
    let single: Vec<String> = (0..pieces - 1).map(|n| (31_000 + 2 * n).to_string()).collect();
    format!("[{},{}-32000]", single.join(","), 31_000 + 2 * (pieces - 1))
}

/// What stands in use on a standard agent.
pub(crate) fn standard_use(mem_mb: u64) -> Resources {
    let ports = thinned_ports(16);
    resources(&format!("cpus:16;mem:{mem_mb}MB;disk:1024MB;ports:{ports}"))
}

/// Demand for `target` tasks of a shape.
pub(crate) fn group(shape: &str, role: RoleName, target: u64) -> DemandGroup {
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
        revocable: RevocableUse::Refuse,
    }
}

/// The roles of `frameworks`: all in `shared`, or each in one of its own below it.
pub(crate) fn roles_of(frameworks: u64, shared: &str, own: bool) -> Vec<RoleName> {
    let name = |id| match (own, shared) {
        (false, _) => shared.to_owned(),
        (true, "*") => format!("role{id}"),
        (true, _) => format!("{shared}/role{id}"),
    };
    (0..frameworks).map(|id| role(&name(id))).collect()
}

impl Cluster {
    /// Without agents; framework `i` will be in role `i`.
    pub(crate) fn new(roles: Vec<RoleName>) -> Self {
        Self {
            allocator: Allocator::new(),
            now: Monotonic(INTERVAL_MS),
            held: Vec::new(),
            roles,
            turns: 0,
            changes: 0,
        }
    }

    pub(crate) fn tell(&mut self, delta: &Delta) {
        self.allocator.on_change(delta).expect("a consistent change");
    }

    /// Decides what can be decided, in as many turns as that takes; returns how many offers.
    pub(crate) fn settle(&mut self) -> u64 {
        let before = self.held.len();
        self.changes = 0;
        loop {
            let turn = self.allocator.offers(TURN_STEPS, self.now);
            self.turns += 1;
            self.held.extend(turn.decisions);
            if !turn.more {
                return (self.held.len() - before) as u64;
            }
        }
    }

    /// The end of one change that may cause offers: a turn ends when it has taken its fill.
    pub(crate) fn changed(&mut self) {
        self.changes += 1;
        if self.changes >= TURN_CHANGES {
            self.settle();
        }
    }

    /// One allocation interval later, all that can be decided.
    pub(crate) fn cycle(&mut self) -> u64 {
        self.now.0 += INTERVAL_MS;
        self.settle()
    }

    /// Without a turn, as the original does it with runs paused.
    pub(crate) fn add_frameworks_paused(&mut self) {
        for id in 0..self.roles.len() {
            let framework = FrameworkId(id as u64);
            let roles = BTreeSet::from([self.roles[id].clone()]);
            self.tell(&Delta::FrameworkAdded { framework, roles });
            self.tell(&Delta::FrameworkActive { framework, active: true });
        }
    }

    /// All of them take what may be taken back.
    pub(crate) fn accept_revocable(&mut self) {
        let condition =
            OfferCondition { revocable: RevocableUse::Accept, ..OfferCondition::default() };
        for id in 0..self.roles.len() {
            let (framework, role) = (FrameworkId(id as u64), self.roles[id].clone());
            let condition = condition.clone();
            self.tell(&Delta::OfferCondition { framework, role, condition });
        }
    }

    pub(crate) fn add_frameworks(&mut self) {
        self.add_frameworks_paused();
        self.settle();
    }

    /// Adds an agent; `used` stands in use by framework `id mod F`, as `role` or the framework's own.
    pub(crate) fn add_agent(
        &mut self,
        id: u64,
        has: &Resources,
        used: Option<Resources>,
        as_role: Option<&RoleName>,
    ) {
        self.add_agent_paused(id, has, used, as_role);
        self.changed();
    }

    fn add_agent_paused(
        &mut self,
        id: u64,
        has: &Resources,
        used: Option<Resources>,
        as_role: Option<&RoleName>,
    ) {
        let agent = AgentId(id);
        self.tell(&Delta::AgentAdded {
            agent,
            name: AgentName::new(&format!("agent{id}")).expect("valid"),
            resources: has.clone(),
            attributes: Default::default(),
            usable: true,
        });
        if let Some(resources) = used {
            let framework = id % self.roles.len() as u64;
            let role = as_role.unwrap_or(&self.roles[framework as usize]).clone();
            let framework = FrameworkId(framework);
            let held = Use { agent, framework, role, resources, group: None, tasks: 0 };
            self.tell(&Delta::Allocated(held));
        }
    }

    /// Standard agents, partly used.
    pub(crate) fn add_standard_agents(&mut self, agents: u64, used_mem_mb: u64) {
        let (has, used) = (standard_agent(), standard_use(used_mem_mb));
        for id in 0..agents {
            self.add_agent(id, &has, Some(used.clone()), None);
        }
    }

    pub(crate) fn add_standard_agents_paused(&mut self, agents: u64, used_mem_mb: u64) {
        let (has, used) = (standard_agent(), standard_use(used_mem_mb));
        for id in 0..agents {
            self.add_agent_paused(id, &has, Some(used.clone()), None);
        }
    }

    pub(crate) fn give_all_back(&mut self) {
        for decision in std::mem::take(&mut self.held) {
            self.tell(&Delta::Returned { lease: decision.lease });
        }
    }

    /// Declines everything for ever.
    pub(crate) fn decline_all(&mut self) {
        let until = Monotonic(self.now.0 + REFUSED_MS);
        for decision in std::mem::take(&mut self.held) {
            self.tell(&Delta::Returned { lease: decision.lease });
            self.tell(&Delta::Filtered {
                framework: decision.framework,
                role: decision.role,
                agent: decision.agent,
                resources: decision.resources,
                until,
            });
        }
    }

    pub(crate) fn suppress(&mut self, frameworks: std::ops::Range<u64>) {
        for id in frameworks {
            let (framework, role) = (FrameworkId(id), self.roles[id as usize].clone());
            self.tell(&Delta::Suppressed { framework, role, suppressed: true });
        }
    }

    /// Guarantee and limit alike.
    pub(crate) fn set_quota(&mut self, role: &RoleName, quota: &Resources) {
        let amounts = quota.entries().iter().map(|entry| {
            let name = entry.key.name.clone();
            (name.clone(), quota.scalar(&name))
        });
        let quota = Quantities::try_from(amounts.collect::<Vec<_>>()).expect("each name once");
        let config =
            RoleConfig { guarantee: quota.clone(), limit: quota.clone(), ..RoleConfig::default() };
        self.tell(&Delta::RoleSet { role: role.clone(), config });
    }
}
