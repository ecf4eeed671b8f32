//! Quotas over random histories, by their statements alone: no limit is passed after any step, and who
//! is owed something and has a place for it never waits for somebody who is owed nothing (I6, I9).

mod cluster;

use cluster::{Cluster, group, role};
use proffer_allocator::{Delta, LeaseId, Use};
use proffer_types::demand::DemandGroup;
use proffer_types::role::RoleConfig;
use proffer_types::{AgentId, FrameworkId, GroupName, ResourceName, Resources, RoleName};
use proptest::prelude::*;
use std::collections::BTreeMap;

const ROLES: [&str; 6] = ["a", "a/x", "a/y", "b", "b/z", "c"];
/// Frameworks of the last take classical offers, all others state demand.
const CLASSICAL: usize = 5;

#[derive(Clone, Debug)]
enum Op {
    Agent { cpus: u64, mem: u64 },
    Usable { which: usize, usable: bool },
    Quota { role: usize, guarantee: Option<(u64, u64)>, limit: Option<(u64, u64)> },
    Demand { role: usize, cpus: u64, mem: u64, target: u32 },
    Accept { which: usize },
    Return { which: usize },
    End { which: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let pair = |most: u64| prop::option::weighted(0.6, (0..most, 0..most));
    prop_oneof![
        2 => (1u64..10, 1u64..10).prop_map(|(cpus, mem)| Op::Agent { cpus, mem }),
        1 => (any::<usize>(), prop::bool::weighted(0.7))
            .prop_map(|(which, usable)| Op::Usable { which, usable }),
        3 => (0..ROLES.len(), pair(10), pair(16))
            .prop_map(|(role, guarantee, limit)| Op::Quota { role, guarantee, limit }),
        5 => (0..CLASSICAL, 1u64..4, 1u64..4, 0u32..12)
            .prop_map(|(role, cpus, mem, target)| Op::Demand { role, cpus, mem, target }),
        4 => any::<usize>().prop_map(|which| Op::Accept { which }),
        2 => any::<usize>().prop_map(|which| Op::Return { which }),
        4 => any::<usize>().prop_map(|which| Op::End { which }),
    ]
}

/// What is set, stated and held, kept apart from the allocator.
#[derive(Default)]
struct History {
    cluster: Cluster,
    agents: BTreeMap<AgentId, (Resources, bool)>,
    configs: BTreeMap<RoleName, RoleConfig>,
    stated: BTreeMap<FrameworkId, DemandGroup>,
    uses: Vec<Use>,
    /// What each role held when it was last looked at.
    before: BTreeMap<RoleName, Resources>,
    seen: Seen,
}

/// How often a statement had something to say.
#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    at_limit: u64,
    owed: u64,
    owed_and_full: u64,
    to_others: u64,
}

fn amounts((cpus, mem): (u64, u64)) -> String {
    format!("cpus:{cpus};mem:{mem}GiB")
}

impl History {
    fn new() -> Self {
        let mut history = Self { cluster: Cluster::new(), ..Self::default() };
        for (id, name) in (1u64..).zip(ROLES) {
            let framework = history.cluster.framework(id, name);
            if id as usize <= CLASSICAL {
                history.cluster.demand(framework, Vec::new());
            }
        }
        history
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Agent { cpus, mem } if self.agents.len() < 5 => {
                let resources = amounts((*cpus, *mem));
                let agent = self.cluster.agent(&resources);
                self.agents.insert(agent, (resources.parse().expect("valid"), true));
            }
            Op::Agent { .. } => {}
            Op::Usable { which, usable } => {
                let at = which % self.agents.len().max(1);
                if let Some((agent, (_, is_usable))) = self.agents.iter_mut().nth(at) {
                    *is_usable = *usable;
                    let delta = Delta::AgentUsable { agent: *agent, usable: *usable };
                    self.cluster.tell(&delta);
                }
            }
            Op::Quota { role: index, guarantee, limit } => {
                self.quota(role(ROLES[*index]), *guarantee, *limit);
            }
            Op::Demand { role: index, cpus, mem, target } => {
                let framework = FrameworkId(*index as u64 + 1);
                let shape = amounts((*cpus, *mem));
                let wanted = group("g", ROLES[*index], &shape, *target);
                self.stated.insert(framework, wanted.clone());
                self.cluster.demand(framework, vec![wanted]);
            }
            Op::Accept { which } => {
                if let Some(lease) = self.lease(*which) {
                    let held = self.cluster.accept(lease);
                    self.uses.push(held);
                }
            }
            Op::Return { which } => {
                if let Some(lease) = self.lease(*which) {
                    self.cluster.give_back(lease);
                }
            }
            Op::End { which } => {
                if !self.uses.is_empty() {
                    let held = self.uses.remove(which % self.uses.len());
                    self.cluster.tell(&Delta::Released(held));
                }
            }
        }
    }

    /// Sets a quota unless it contradicts another of the tree, as operators are refused it.
    fn quota(&mut self, role: RoleName, guarantee: Option<(u64, u64)>, limit: Option<(u64, u64)>) {
        let text = |pair: Option<(u64, u64)>| pair.map(amounts).unwrap_or_default();
        let config = RoleConfig {
            guarantee: text(guarantee).parse().expect("valid"),
            limit: text(limit).parse().expect("valid"),
            ..RoleConfig::default()
        };
        let mut configs = self.configs.clone();
        configs.insert(role.clone(), config.clone());
        let guaranteed = |role: &RoleName, name: &ResourceName| {
            configs.get(role).map_or(0, |config| config.guarantee.get(name).unwrap_or(0))
        };
        let agree = configs.iter().all(|(role, config)| {
            [ResourceName::Cpus, ResourceName::Mem].iter().all(|name| {
                let below = configs.keys().filter(|other| other.parent().as_ref() == Some(role));
                let below: u64 = below.map(|child| guaranteed(child, name)).sum();
                let mine = guaranteed(role, name).max(below);
                let is_set = !config.guarantee.is_empty();
                let above = std::iter::successors(Some(role.clone()), RoleName::parent);
                (!is_set || guaranteed(role, name) >= below)
                    && above
                        .filter_map(|role| configs.get(&role)?.limit.get(name))
                        .all(|limit| mine <= limit)
            })
        });
        if agree {
            self.configs = configs;
            self.cluster.tell(&Delta::RoleSet { role, config });
        }
    }

    fn lease(&self, which: usize) -> Option<LeaseId> {
        self.cluster.leases.keys().nth(which % self.cluster.leases.len().max(1)).copied()
    }

    fn held_in(&self, role: &RoleName) -> Resources {
        let leases = self.cluster.leases.values().filter(|lease| lease.role.is_within(role));
        let uses = self.uses.iter().filter(|held| held.role.is_within(role));
        let all = leases.map(|l| &l.resources).chain(uses.map(|u| &u.resources));
        Resources::sum(all).expect("scalars add up")
    }

    fn free(&self, agent: AgentId) -> Resources {
        let leases = self.cluster.leases.values().filter(|lease| lease.agent == agent);
        let uses = self.uses.iter().filter(|held| held.agent == agent);
        let all = leases.map(|l| &l.resources).chain(uses.map(|u| &u.resources));
        let held = Resources::sum(all).expect("scalars add up");
        self.agents[&agent].0.checked_sub(&held).expect("nothing is given twice")
    }

    /// A role holds no more than its limit, or no more than it held before.
    fn check_limits(&mut self) -> Result<(), TestCaseError> {
        for (role, config) in &self.configs {
            let held = self.held_in(role);
            let before = self.before.get(role).cloned().unwrap_or_default();
            for (name, limit) in config.limit.iter() {
                let (now, then) = (held.scalar(name), before.scalar(name));
                prop_assert!(now <= limit || now <= then, "{name} of {role}: {then}, then {now}");
                self.seen.at_limit += u64::from(now == limit);
            }
        }
        let roles = ROLES.map(role);
        self.before = roles.into_iter().map(|role| (role.clone(), self.held_in(&role))).collect();
        Ok(())
    }

    /// `max(guarantee − held, what is owed to the roles below)`.
    fn owed_to(&self, role: &RoleName, name: &ResourceName) -> u64 {
        let guarantee = self.configs.get(role).and_then(|config| config.guarantee.get(name));
        let missing = guarantee.unwrap_or(0).saturating_sub(self.held_in(role).scalar(name));
        missing.max(self.owed_below(role, name))
    }

    fn owed_below(&self, role: &RoleName, name: &ResourceName) -> u64 {
        let all = ROLES.map(crate::role);
        let below = all.iter().filter(|other| other.parent().as_ref() == Some(role));
        below.map(|child| self.owed_to(child, name)).sum()
    }

    /// Groups of which one more task lies within the guarantee of their own role beside what is owed to
    /// roles below it, and within all limits.
    fn owed(&self) -> Vec<&DemandGroup> {
        let name = GroupName::new("g").expect("valid");
        let is_within_guarantee = |wanted: &DemandGroup| {
            let config = self.configs.get(&wanted.role).filter(|c| !c.guarantee.is_empty());
            config.is_some_and(|config| {
                config.guarantee.iter().all(|(name, _)| {
                    let owed = self.owed_to(&wanted.role, name);
                    wanted.shape.scalar(name) + self.owed_below(&wanted.role, name) <= owed
                })
            })
        };
        let is_within_limits = |wanted: &DemandGroup| {
            std::iter::successors(Some(wanted.role.clone()), RoleName::parent).all(|role| {
                let held = self.held_in(&role);
                let limit = self.configs.get(&role).into_iter().flat_map(|c| c.limit.iter());
                let mut limit = limit.map(|(name, most)| (name.clone(), most));
                limit.all(|(name, most)| held.scalar(&name) + wanted.shape.scalar(&name) <= most)
            })
        };
        let stated = self.stated.iter().filter(|(framework, wanted)| {
            self.cluster.allocator.unmet(**framework, &name) > 0
                && is_within_guarantee(wanted)
                && is_within_limits(wanted)
        });
        stated.map(|(_, wanted)| wanted).collect()
    }

    fn has_a_place(
        &self,
        wanted: &DemandGroup,
        counts_as_free: impl Fn(AgentId) -> Resources,
    ) -> bool {
        self.agents.iter().any(|(agent, (_, usable))| {
            *usable && {
                let free = self.free(*agent).checked_add(&counts_as_free(*agent));
                free.expect("scalars add up").contains(&wanted.shape)
            }
        })
    }

    /// Whether a role or one above it is guaranteed something.
    fn is_guaranteed(&self, role: &RoleName) -> bool {
        let mut above = std::iter::successors(Some(role.clone()), RoleName::parent);
        above.any(|role| self.configs.get(&role).is_some_and(|c| !c.guarantee.is_empty()))
    }

    /// Decides one thing after the other and looks at each.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..10_000 {
            let owed: Vec<RoleName> = self
                .owed()
                .into_iter()
                .filter(|wanted| self.has_a_place(wanted, |_| Resources::new()))
                .map(|wanted| wanted.role.clone())
                .collect();
            let turn = self.cluster.turn(1);
            for decision in &turn.decisions {
                let to_others = !self.is_guaranteed(&decision.role);
                self.seen.to_others += u64::from(to_others);
                prop_assert!(
                    !to_others || owed.is_empty(),
                    "{} is served while {owed:?} are owed what fits",
                    decision.role
                );
            }
            self.check_limits()?;
            for lease in turn.rescinds.iter().chain(&turn.beyond_limits) {
                self.cluster.give_back(*lease);
                self.check_limits()?;
            }
            let is_done = turn.rescinds.is_empty() && turn.beyond_limits.is_empty();
            if turn.decisions.is_empty() && !turn.more && is_done {
                return self.check_at_rest();
            }
        }
        Err(TestCaseError::fail("decisions do not come to an end"))
    }

    /// Nobody who is owed something waits for what is free, or for what lies in classical offers of those
    /// who are guaranteed nothing.
    fn check_at_rest(&mut self) -> Result<(), TestCaseError> {
        let in_offers = |agent: AgentId| {
            let leases = self.cluster.leases.values();
            let others = leases.filter(|lease| {
                lease.agent == agent && lease.group.is_none() && !self.is_guaranteed(&lease.role)
            });
            Resources::sum(others.map(|lease| &lease.resources)).expect("scalars add up")
        };
        let owed = self.owed();
        for wanted in &owed {
            prop_assert!(
                !self.has_a_place(wanted, in_offers),
                "{} waits for what fits: {}",
                wanted.role,
                self.cluster.leases.values().map(|l| format!("{l:?}")).collect::<String>()
            );
        }
        let (owed_now, any) = (owed.len() as u64, !owed.is_empty());
        self.seen.owed += owed_now;
        self.seen.owed_and_full += u64::from(any);
        Ok(())
    }
}

fn run(ops: &[Op]) -> Result<Seen, TestCaseError> {
    let mut history = History::new();
    for op in ops {
        history.apply(op);
        history.settle()?;
    }
    Ok(history.seen)
}

fn histories() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(2000),
        ..ProptestConfig::default()
    })]

    #[test]
    fn i6_limits_and_guarantees_hold_after_every_step(ops in histories()) {
        run(&ops)?;
    }
}

/// The statements are worth what the histories reach.
#[test]
fn the_histories_reach_limits_and_guarantees() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (strategy, mut sum) = (histories(), Seen::default());
    for _ in 0..200 {
        let ops = strategy.new_tree(&mut runner).expect("generates").current();
        let seen = run(&ops).expect("holds");
        sum.at_limit += seen.at_limit;
        sum.owed += seen.owed;
        sum.owed_and_full += seen.owed_and_full;
        sum.to_others += seen.to_others;
    }
    println!("{sum:?}");
    assert!(sum.at_limit > 200 && sum.to_others > 200, "{sum:?}");
    assert!(sum.owed > 20 && sum.owed_and_full > 20, "{sum:?}");
}
