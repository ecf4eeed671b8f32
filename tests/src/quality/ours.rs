//! The real allocator, with one framework in a role of its own for each user. A user states one demand
//! group for each shape, those with the oldest waiting job first; leases are accepted at once.

use super::engine::{Engine, Placed};
use super::workload::{Shape, Workload};
use proffer_allocator::{Allocator, Decision, Delta, Use};
use proffer_types::demand::DemandGroup;
use proffer_types::{
    AgentId, AgentName, FrameworkId, Generation, GroupName, Monotonic, ResourceName, Resources,
    RoleName,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const TURN_STEPS: u64 = 10_000;

/// Jobs of one user and shape.
#[derive(Default)]
struct Kind {
    waiting: VecDeque<usize>,
    running: u32,
}

/// The allocator and what its users know.
pub struct Ours {
    allocator: Allocator,
    kinds: Vec<BTreeMap<Shape, Kind>>,
    /// Names of shapes.
    names: BTreeMap<Shape, GroupName>,
    by_name: BTreeMap<GroupName, Shape>,
    /// Users whose demand has changed since they stated it.
    changed: BTreeSet<usize>,
    offered: u64,
    used: u64,
}

fn role(user: usize) -> RoleName {
    RoleName::new(&format!("user{user}")).expect("valid")
}

fn resources(shape: &Shape, times: u64) -> Resources {
    Resources::scalars([
        (ResourceName::Cpus, shape[0] * times),
        (ResourceName::Mem, (shape[1] * times) << 20),
        (ResourceName::Gpus, shape[2] * times),
    ])
}

impl Ours {
    /// With all machines empty.
    #[must_use]
    pub fn new(workload: &Workload) -> Self {
        let mut allocator = Allocator::new();
        let mut tell = |delta: &Delta| allocator.on_change(delta).expect("a consistent change");
        for user in 0..workload.users {
            let framework = FrameworkId(user as u64);
            tell(&Delta::FrameworkAdded { framework, roles: BTreeSet::from([role(user)]) });
            tell(&Delta::FrameworkActive { framework, active: true });
            tell(&Delta::Demand { framework, groups: Some(Vec::new()) });
        }
        for (index, machine) in workload.machines.iter().enumerate() {
            tell(&Delta::AgentAdded {
                agent: AgentId(index as u64),
                name: AgentName::new(&format!("machine{index}")).expect("valid"),
                resources: resources(&machine.has, 1),
                attributes: Default::default(),
                usable: true,
            });
        }
        let shapes: BTreeSet<Shape> = workload.jobs.iter().map(|job| job.needs).collect();
        let name = |index| GroupName::new(&format!("shape{index}")).expect("valid");
        let names: BTreeMap<Shape, GroupName> =
            shapes.into_iter().enumerate().map(|(index, shape)| (shape, name(index))).collect();
        let by_name = names.iter().map(|(shape, name)| (name.clone(), *shape)).collect();
        Self {
            allocator,
            kinds: (0..workload.users).map(|_| BTreeMap::new()).collect(),
            names,
            by_name,
            changed: BTreeSet::new(),
            offered: 0,
            used: 0,
        }
    }

    fn tell(&mut self, delta: &Delta) {
        self.allocator.on_change(delta).expect("a consistent change");
    }

    fn state_demand(&mut self, workload: &Workload) {
        for user in std::mem::take(&mut self.changed) {
            let group = |(shape, kind): (&Shape, &Kind)| {
                let waiting = u32::try_from(kind.waiting.len()).unwrap_or(u32::MAX);
                let oldest = kind.waiting.front().map_or(0, |job| workload.jobs[*job].created_s);
                DemandGroup {
                    name: self.names[shape].clone(),
                    generation: Generation(1),
                    role: role(user),
                    shape: resources(shape, 1),
                    fixed_ports: false,
                    target: kind.running.saturating_add(waiting),
                    constraints: Vec::new(),
                    priority: -i32::try_from(oldest).unwrap_or(i32::MAX),
                    per_agent_max: None,
                    spread: false,
                    gang_size: 1,
                    deadline: None,
                    revocable: proffer_types::RevocableUse::Refuse,
                }
            };
            self.kinds[user].retain(|_, kind| kind.running > 0 || !kind.waiting.is_empty());
            let groups = Some(self.kinds[user].iter().map(group).collect());
            self.tell(&Delta::Demand { framework: FrameworkId(user as u64), groups });
        }
    }

    fn hold(&self, user: usize, machine: usize, shape: &Shape, tasks: u32) -> Use {
        Use {
            agent: AgentId(machine as u64),
            framework: FrameworkId(user as u64),
            role: role(user),
            resources: resources(shape, u64::from(tasks)),
            group: Some(self.names[shape].clone()),
            tasks,
        }
    }

    fn accept(&mut self, decision: &Decision) -> Vec<Placed> {
        let user = usize::try_from(decision.framework.0).expect("a user");
        let machine = usize::try_from(decision.agent.0).expect("a machine");
        let name = decision.group.as_ref().expect("all state demand");
        let shape = self.by_name[name];
        let kind = self.kinds[user].get_mut(&shape).expect("a stated group");
        let jobs: Vec<usize> =
            kind.waiting.drain(..(decision.count as usize).min(kind.waiting.len())).collect();
        let count = u32::try_from(jobs.len()).expect("as many as were offered");
        kind.running += count;
        self.offered += u64::from(decision.count);
        self.used += u64::from(count);
        let held = self.hold(user, machine, &shape, count);
        self.tell(&Delta::Returned { lease: decision.lease });
        if count > 0 {
            self.tell(&Delta::Allocated(held));
        }
        jobs.into_iter().map(|job| Placed { job, machine }).collect()
    }
}

impl Engine for Ours {
    fn name(&self) -> &'static str {
        "Proffer"
    }

    fn submit(&mut self, workload: &Workload, job: usize) {
        let entry = &workload.jobs[job];
        self.kinds[entry.user].entry(entry.needs).or_default().waiting.push_back(job);
        self.changed.insert(entry.user);
    }

    fn end(&mut self, workload: &Workload, placed: Placed) {
        let Workload { jobs, .. } = workload;
        let (user, shape) = (jobs[placed.job].user, jobs[placed.job].needs);
        if let Some(kind) = self.kinds[user].get_mut(&shape) {
            kind.running -= 1;
        }
        // The target goes down first, so that the place is not filled for work that is done.
        self.changed.insert(user);
        self.state_demand(workload);
        let held = self.hold(user, placed.machine, &shape, 1);
        self.tell(&Delta::Released(held));
    }

    fn decide(&mut self, workload: &Workload, now_s: u64) -> Vec<Placed> {
        self.state_demand(workload);
        let mut all = Vec::new();
        loop {
            let turn = self.allocator.offers(TURN_STEPS, Monotonic(now_s * 1_000));
            let decided = !turn.decisions.is_empty();
            for decision in &turn.decisions {
                all.extend(self.accept(decision));
            }
            if !turn.more && !decided {
                return all;
            }
        }
    }

    fn offer_efficiency(&self) -> f64 {
        if self.offered == 0 { 1.0 } else { self.used as f64 / self.offered as f64 }
    }
}
