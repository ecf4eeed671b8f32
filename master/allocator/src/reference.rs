//! The same policy written down as plainly as possible: every decision from scratch, by looking at
//! everything. The indexed allocator is compared with it, decision by decision (T18). Not for
//! production: one decision costs the whole cluster. Scalars, plain or reserved, and plain ports only.

mod lent;
mod quota;
mod reserved;

use crate::delta::{Decision, Delta, LeaseId, Use};
use crate::policy::Policy;
use proffer_types::demand::DemandGroup;
use proffer_types::role::RoleConfig;
use proffer_types::{
    AgentId, Attributes, Claim, ClaimId, FrameworkId, GroupName, Monotonic, OfferCondition,
    OfferConditions, ResourceName, Resources, RevocableUse, RoleName,
};
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};

type Key = (FrameworkId, RoleName);

#[derive(Clone, Debug)]
struct Agent {
    slot: u32,
    total: Resources,
    attributes: Attributes,
    usable: bool,
}

#[derive(Clone, Debug, Default)]
struct Framework {
    active: bool,
    groups: Option<Vec<DemandGroup>>,
    roles: BTreeSet<RoleName>,
    suppressed: BTreeSet<RoleName>,
    conditions: OfferConditions,
}

#[derive(Clone, Debug)]
struct Filter {
    client: Key,
    agent: AgentId,
    refused: Resources,
    until: Monotonic,
}

/// Room that is being made, and what is held for it.
#[derive(Clone, Debug)]
struct Claimed {
    agent: AgentId,
    claim: Claim,
    held: BTreeMap<ResourceName, u64>,
}

impl Claimed {
    fn resources(&self) -> Resources {
        Resources::scalars(self.held.clone())
    }
}

/// All that is known, in the form in which it was told.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    agents: BTreeMap<AgentId, Agent>,
    frameworks: BTreeMap<FrameworkId, Framework>,
    policy: Policy,
    roles: BTreeMap<RoleName, RoleConfig>,
    filters: Vec<Filter>,
    uses: Vec<Use>,
    leases: BTreeMap<LeaseId, Decision>,
    claims: BTreeMap<ClaimId, Claimed>,
    /// Classical leases that the indexed allocator has named to be taken back.
    asked_back: BTreeSet<LeaseId>,
    out_of_reach: BTreeMap<(FrameworkId, GroupName), u32>,
    /// Grants so far of clients, of a role's own frameworks, and of whole roles.
    client_grants: BTreeMap<Key, u64>,
    direct_grants: BTreeMap<RoleName, u64>,
    role_grants: BTreeMap<RoleName, u64>,
}

/// A place in the role tree, for comparison among siblings.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Place {
    Direct(RoleName),
    Role(RoleName),
    Client(Key),
}

/// How many of a group an agent has, where that counts; whether something scarce is wasted there; its room,
/// where that counts; its slot.
type Rank = (u32, bool, Reverse<u64>, u32);

/// How many agents a shape that needs something scarce chooses among.
const SCARCE_CHOICE_MAX: usize = 256;
/// Classical offers hold at least one of these.
const CPUS_MILLI_MIN: u64 = 10;
const MEM_BYTES_MIN: u64 = 32 << 20;
const FILTERS_MAX: usize = 4;

impl Reference {
    /// Notes a change that the indexed allocator took without an error.
    pub fn on_change(&mut self, delta: &Delta) {
        match delta.clone() {
            Delta::AgentAdded { agent, resources, attributes, usable, .. } => {
                let taken: BTreeSet<u32> = self.agents.values().map(|a| a.slot).collect();
                let slot = (0..).find(|slot| !taken.contains(slot)).expect("slots do not run out");
                self.agents.insert(agent, Agent { slot, total: resources, attributes, usable });
            }
            Delta::AgentChanged { agent, resources, attributes } => {
                let entry = self.agents.get_mut(&agent).expect("known");
                let scarce = |r: &Resources| scarce_in(&self.policy, r);
                if entry.attributes != attributes || scarce(&entry.total) != scarce(&resources) {
                    self.filters.retain(|filter| filter.agent != agent);
                }
                (entry.total, entry.attributes) = (resources, attributes);
            }
            Delta::AgentConverted { agent, from, to } => {
                let entry = &self.agents[&agent];
                let rest = entry.total.checked_sub(&from).expect("it is there");
                let resources = rest.checked_add(&to).expect("small numbers");
                let attributes = entry.attributes.clone();
                self.on_change(&Delta::AgentChanged { agent, resources, attributes });
            }
            Delta::AgentRemoved { agent } => {
                self.agents.remove(&agent);
                self.filters.retain(|filter| filter.agent != agent);
                self.leases.retain(|_, lease| lease.agent != agent);
                self.claims.retain(|_, claimed| claimed.agent != agent);
                self.uses.retain(|held| held.agent != agent);
            }
            Delta::AgentUsable { agent, usable } => {
                self.agents.get_mut(&agent).expect("known").usable = usable;
            }
            Delta::PolicySet { policy } => self.policy = policy,
            Delta::RoleSet { role, config } => {
                self.roles.insert(role, config);
            }
            Delta::FrameworkAdded { framework, roles } => {
                let entry = self.frameworks.entry(framework).or_default();
                entry.suppressed.retain(|role| roles.contains(role));
                entry.conditions.retain(|role, _| roles.contains(role));
                entry.roles = roles;
            }
            Delta::FrameworkRemoved { framework } => {
                self.filters.retain(|filter| filter.client.0 != framework);
                self.frameworks.remove(&framework);
            }
            Delta::FrameworkActive { framework, active } => {
                self.frameworks.get_mut(&framework).expect("known").active = active;
                if !active {
                    self.filters.retain(|filter| filter.client.0 != framework);
                }
            }
            Delta::Demand { framework, groups } => {
                self.frameworks.get_mut(&framework).expect("known").groups = groups;
            }
            Delta::Suppressed { framework, role, suppressed } => {
                let entry = self.frameworks.get_mut(&framework).expect("known");
                if suppressed && entry.roles.contains(&role) {
                    entry.suppressed.insert(role);
                } else {
                    entry.suppressed.remove(&role);
                }
            }
            Delta::OfferCondition { framework, role, condition } => {
                let entry = self.frameworks.get_mut(&framework).expect("known");
                if entry.roles.contains(&role) {
                    entry.conditions.insert(role, condition);
                }
            }
            Delta::Filtered { framework, role, agent, resources, until } => {
                let client = (framework, role);
                if self.clients().contains(&client) {
                    self.filter(Filter { client, agent, refused: resources, until });
                }
            }
            Delta::FiltersCleared { framework, roles } => self.filters.retain(|filter| {
                filter.client.0 != framework
                    || !(roles.is_empty() || roles.contains(&filter.client.1))
            }),
            Delta::Allocated(held) => self.uses.push(held),
            Delta::Released(held) => {
                let at = self.uses.iter().position(|have| *have == held);
                self.uses.remove(at.expect("released as it was allocated"));
            }
            Delta::OutOfReach { framework, group, tasks } => {
                self.out_of_reach.insert((framework, group), tasks);
            }
            Delta::Offered(decision) => self.grant(decision),
            Delta::Returned { lease } => {
                self.leases.remove(&lease);
            }
            Delta::Claimed { agent, claim } => {
                let held = BTreeMap::new();
                self.claims.insert(claim.id, Claimed { agent, claim, held });
            }
            Delta::ClaimEnded { claim } => {
                self.claims.remove(&claim);
            }
            Delta::ClaimsHold => self.grow_claims(),
        }
        self.forget();
    }

    /// Claims hold what is free and what limits leave, the oldest first.
    fn grow_claims(&mut self) {
        for id in self.claims.keys().copied().collect::<Vec<_>>() {
            let Claimed { agent, claim, held } = self.claims[&id].clone();
            let key = (claim.framework, claim.role.clone());
            let free = self.free(agent).0;
            for name in names(&claim.resources).filter(|name| **name != ResourceName::Ports) {
                let have = held.get(name).copied().unwrap_or(0);
                let missing = claim.resources.scalar(name) - have;
                let room = self.limit_room(&key, name, &Resources::new());
                let more = missing.min(free.get(name).copied().unwrap_or(0)).min(room);
                let entry = self.claims.get_mut(&id).expect("one of them");
                entry.held.insert(name.clone(), have + more);
            }
        }
    }

    /// The first claim of which nothing is missing.
    fn claim_step(&self, now: Monotonic) -> Option<Decision> {
        self.claims.values().find_map(|claimed| {
            let Claimed { agent, claim, held } = claimed;
            let key = (claim.framework, claim.role.clone());
            let stated = self.frameworks.get(&claim.framework)?.groups.as_ref()?;
            let group = stated.iter().find(|group| group.name == claim.group)?;
            // Without ports it does not matter which.
            let has_ports = group.shape.ports().count() > 0;
            let is_same = group.role == claim.role
                && group.shape == claim.resources
                && (group.fixed_ports == claim.fixed_ports || !has_ports);
            let is_held = names(&group.shape)
                .filter(|name| **name != ResourceName::Ports)
                .all(|name| held.get(name).copied().unwrap_or(0) == group.shape.scalar(name));
            let is_wanted = self.unmet(claim.framework, group) > 0 && self.is_present(&key);
            let is_beyond = names(&group.shape).any(|name| {
                group.shape.scalar(name) > 0 && self.is_beyond_limit(&claim.role, name)
            });
            if is_beyond || !is_same || !is_held || !is_wanted {
                return None;
            }
            let ports = self.pick(group, *agent)?;
            if !self.has_leave(claim.framework, group, *agent, now) {
                return None;
            }
            Some(Decision {
                lease: LeaseId(0),
                framework: claim.framework,
                role: claim.role.clone(),
                agent: *agent,
                resources: plain_set(held.clone(), ports),
                group: Some(claim.group.clone()),
                count: 1,
                claim: Some(claim.id),
            })
        })
    }

    /// Notes that a classical lease is to come back for somebody's demand.
    pub fn on_asked_back(&mut self, lease: LeaseId) {
        self.asked_back.insert(lease);
    }

    fn filter(&mut self, new: Filter) {
        let same = |have: &Filter| have.client == new.client && have.agent == new.agent;
        self.filters
            .retain(|have| !(same(have) && have.refused == new.refused && have.until <= new.until));
        let mine = self.filters.iter().enumerate().filter(|(_, have)| same(have));
        if mine.clone().count() >= FILTERS_MAX {
            let first = mine.min_by_key(|(_, have)| have.until).map(|(at, _)| at);
            self.filters.remove(first.expect("there are several"));
        }
        self.filters.insert(0, new);
    }

    fn grant(&mut self, decision: Decision) {
        if let Some(claim) = decision.claim {
            self.claims.remove(&claim);
        }
        let grants = if decision.group.is_some() { u64::from(decision.count) } else { 1 };
        let key = (decision.framework, decision.role.clone());
        *self.client_grants.entry(key).or_default() += grants;
        *self.direct_grants.entry(decision.role.clone()).or_default() += grants;
        let mut role = Some(decision.role.clone());
        while let Some(name) = role {
            *self.role_grants.entry(name.clone()).or_default() += grants;
            role = name.parent();
        }
        self.leases.insert(decision.lease, decision);
    }

    /// Who is somebody: subscribed, holding something, or stating demand.
    fn clients(&self) -> BTreeSet<Key> {
        let subscribed = self
            .frameworks
            .iter()
            .flat_map(|(id, entry)| entry.roles.iter().map(|role| (*id, role.clone())));
        let stated = self.frameworks.iter().flat_map(|(id, entry)| {
            entry.groups.iter().flatten().map(|group| (*id, group.role.clone()))
        });
        let held = self.uses.iter().filter(|held| !held.resources.is_empty());
        let held = held.map(|held| (held.framework, held.role.clone()));
        let leased = self.leases.values().map(|lease| (lease.framework, lease.role.clone()));
        let claimed = self.claims.values().map(|it| (it.claim.framework, it.claim.role.clone()));
        subscribed.chain(stated).chain(held).chain(leased).chain(claimed).collect()
    }

    /// Grants and refusals end with the client, grants of a role with the last client, configuration or
    /// reservation below it.
    fn forget(&mut self) {
        let clients = self.clients();
        self.client_grants.retain(|key, _| clients.contains(key));
        self.filters.retain(|filter| clients.contains(&filter.client));
        let is_set = |(_, config): &(&RoleName, &RoleConfig)| **config != RoleConfig::default();
        let idle: Vec<RoleName> = self.agents.keys().flat_map(|id| self.idle_owners(*id)).collect();
        let needed: BTreeSet<RoleName> = clients
            .iter()
            .map(|(_, role)| role)
            .chain(self.roles.iter().filter(is_set).map(|(role, _)| role))
            .chain(&idle)
            .flat_map(|role| std::iter::successors(Some(role.clone()), RoleName::parent))
            .collect();
        self.direct_grants.retain(|role, _| needed.contains(role));
        self.role_grants.retain(|role, _| needed.contains(role));
    }

    fn cluster(&self, name: &ResourceName) -> u128 {
        let counts =
            |agent: &Agent| agent.total.filtered(|entry| !entry.key.revocable).scalar(name);
        self.agents.values().map(|agent| u128::from(counts(agent))).sum()
    }

    /// Everything that is charged below a place.
    fn charged(&self, place: &Place) -> Vec<Resources> {
        let within = |framework: FrameworkId, role: &RoleName| match place {
            Place::Direct(name) => role == name,
            Place::Role(name) => role.is_within(name),
            Place::Client(key) => *key == (framework, role.clone()),
        };
        let used = self.uses.iter().filter(|held| within(held.framework, &held.role));
        let leased = self.leases.values().filter(|lease| within(lease.framework, &lease.role));
        let claimed = self.claims.values().filter(|it| within(it.claim.framework, &it.claim.role));
        let all = used.map(|held| &held.resources).chain(leased.map(|lease| &lease.resources));
        let all = all.map(|held| held.filtered(|entry| !entry.key.shared && !entry.key.revocable));
        all.chain(claimed.map(Claimed::resources)).collect()
    }

    /// The dominant share as a fraction.
    fn share(&self, place: &Place) -> (u128, u128) {
        let charged = self.charged(place);
        let names: BTreeSet<ResourceName> = self
            .agents
            .values()
            .flat_map(|agent| agent.total.entries())
            .map(|entry| entry.key.name.clone())
            .filter(|name| *name != ResourceName::Ports)
            .filter(|name| !self.policy.fair_excluded.contains(name))
            .collect();
        let fractions = names.iter().map(|name| {
            let part: u128 = charged.iter().map(|held| u128::from(held.scalar(name))).sum();
            (part, self.cluster(name))
        });
        fractions
            .filter(|(_, whole)| *whole > 0)
            .reduce(|a, b| if b.0 * a.1 > a.0 * b.1 { b } else { a })
            .unwrap_or((0, 1))
    }

    fn weight(&self, place: &Place) -> u128 {
        match place {
            Place::Role(role) => {
                u128::from(self.roles.get(role).map_or(1000, |config| config.weight_milli))
            }
            Place::Direct(_) | Place::Client(_) => 1000,
        }
    }

    fn grants(&self, place: &Place) -> u64 {
        let found = match place {
            Place::Direct(role) => self.direct_grants.get(role),
            Place::Role(role) => self.role_grants.get(role),
            Place::Client(key) => self.client_grants.get(key),
        };
        found.copied().unwrap_or(0)
    }

    fn sibling_cmp(&self, a: &Place, b: &Place) -> Ordering {
        let ((part_a, whole_a), (part_b, whole_b)) = (self.share(a), self.share(b));
        let left = part_a * whole_b * self.weight(b);
        let right = part_b * whole_a * self.weight(a);
        left.cmp(&right).then(self.grants(a).cmp(&self.grants(b))).then(a.cmp(b))
    }

    /// From the top: the roles on the way, the role's own frameworks, the client.
    fn path(key: &Key) -> Vec<Place> {
        let mut roles: Vec<RoleName> =
            std::iter::successors(Some(key.1.clone()), RoleName::parent).collect();
        roles.reverse();
        let mut path: Vec<Place> = roles.into_iter().map(Place::Role).collect();
        path.push(Place::Direct(key.1.clone()));
        path.push(Place::Client(key.clone()));
        path
    }

    fn fair_cmp(&self, a: &Key, b: &Key) -> Ordering {
        let (a, b) = (Self::path(a), Self::path(b));
        let parted = a.iter().zip(&b).find(|(a, b)| a != b);
        parted.map_or(Ordering::Equal, |(a, b)| self.sibling_cmp(a, b))
    }

    fn is_present(&self, key: &Key) -> bool {
        self.frameworks.get(&key.0).is_some_and(|entry| {
            entry.active && entry.roles.contains(&key.1) && !entry.suppressed.contains(&key.1)
        })
    }

    fn is_below_entitlement(&self, key: &Key) -> bool {
        let present: Vec<Key> = self.clients().into_iter().filter(|k| self.is_present(k)).collect();
        let path = Self::path(key);
        let mut entitled = 1u128 << 64;
        for (depth, place) in path.iter().enumerate() {
            let siblings: BTreeSet<Place> = present
                .iter()
                .map(Self::path)
                .filter(|other| other.len() > depth && other[..depth] == path[..depth])
                .map(|other| other[depth].clone())
                .collect();
            let weights: u128 = siblings.iter().map(|sibling| self.weight(sibling)).sum();
            entitled = entitled * self.weight(place) / weights.max(1);
        }
        let (part, whole) = self.share(&Place::Client(key.clone()));
        (part << 64) / whole < entitled
    }

    /// Scalars and ports that nobody holds.
    fn free(&self, id: AgentId) -> (BTreeMap<ResourceName, u64>, BTreeSet<u64>) {
        self.free_beside(id, |held, name| plain_scalar(held, name) + lent_scalar(held, name))
    }

    /// The same, if all that is lent were given back.
    fn free_or_lent(&self, id: AgentId) -> BTreeMap<ResourceName, u64> {
        self.free_beside(id, plain_scalar).0
    }

    /// What is left of an agent beside what its users take.
    fn free_beside(
        &self,
        id: AgentId,
        takes: impl Fn(&Resources, &ResourceName) -> u64,
    ) -> (BTreeMap<ResourceName, u64>, BTreeSet<u64>) {
        let total = &self.agents[&id].total;
        let claimed: Vec<Resources> = self
            .claims
            .values()
            .filter(|claimed| claimed.agent == id)
            .map(Claimed::resources)
            .collect();
        let held: Vec<&Resources> = self
            .uses
            .iter()
            .filter(|held| held.agent == id)
            .map(|held| &held.resources)
            .chain(self.leases.values().filter(|l| l.agent == id).map(|l| &l.resources))
            .chain(&claimed)
            .collect();
        let mut scalars = BTreeMap::new();
        let plain = total.entries().iter().filter(|entry| entry.key.is_plain());
        for entry in plain.filter(|entry| entry.key.name != ResourceName::Ports) {
            let name = entry.key.name.clone();
            let used: u64 = held.iter().map(|held| takes(held, &name)).sum();
            scalars.insert(name.clone(), plain_scalar(total, &name).saturating_sub(used));
        }
        let mut ports: BTreeSet<u64> = total.ports().iter().collect();
        for held in held {
            held.ports().iter().for_each(|port| {
                ports.remove(&port);
            });
        }
        (scalars, ports)
    }

    fn on_agent(&self, framework: FrameworkId, group: &GroupName, agent: AgentId) -> u32 {
        let used = self.uses.iter().filter(|held| {
            held.framework == framework && held.agent == agent && held.group.as_ref() == Some(group)
        });
        let leased = self.leases.values().filter(|lease| {
            lease.framework == framework
                && lease.agent == agent
                && lease.group.as_ref() == Some(group)
        });
        used.map(|held| held.tasks).sum::<u32>() + leased.map(|lease| lease.count).sum::<u32>()
    }

    /// `target − leases − launches`.
    #[must_use]
    pub fn unmet(&self, framework: FrameworkId, group: &DemandGroup) -> u32 {
        let met: u32 =
            self.agents.keys().map(|agent| self.on_agent(framework, &group.name, *agent)).sum();
        let key = (framework, group.name.clone());
        let out_of_reach = self.out_of_reach.get(&key).copied().unwrap_or(0);
        group.target.saturating_sub(met).saturating_sub(out_of_reach)
    }

    /// Whether a client refused at least as much on an agent.
    fn refuses_shape(&self, client: &Key, id: AgentId, shape: &Resources, now: Monotonic) -> bool {
        self.filters.iter().any(|filter| {
            filter.client == *client
                && filter.agent == id
                && filter.until > now
                && names(shape).all(|name| filter.refused.scalar(name) >= shape.scalar(name))
        })
    }

    /// Whether the group may go there, room or not.
    fn has_leave(
        &self,
        framework: FrameworkId,
        group: &DemandGroup,
        id: AgentId,
        now: Monotonic,
    ) -> bool {
        let agent = &self.agents[&id];
        let client = (framework, group.role.clone());
        agent.usable
            && (!self.policy.scarce_for_need_only || !self.wastes(id, &group.shape))
            && group.constraints.iter().all(|rule| rule.holds(&agent.attributes))
            && group
                .per_agent_max
                .is_none_or(|most| self.on_agent(framework, &group.name, id) < most)
            && !self.refuses_shape(&client, id, &group.shape, now)
    }

    /// The ports that one task of the group would get on the agent.
    fn pick(&self, group: &DemandGroup, id: AgentId) -> Option<Vec<u64>> {
        let (_, ports) = self.free(id);
        let wanted = group.shape.ports();
        let picked: Vec<u64> = if group.fixed_ports {
            wanted.iter().collect()
        } else {
            ports.iter().copied().take(usize::try_from(wanted.count()).ok()?).collect()
        };
        let is_there = picked.iter().all(|port| ports.contains(port));
        (is_there && picked.len() as u64 == wanted.count()).then_some(picked)
    }

    /// What one task of the group would get on the agent, if it may go there. `owed`: what others are
    /// owed does not stand in its way.
    fn fit(
        &self,
        framework: FrameworkId,
        group: &DemandGroup,
        id: AgentId,
        owed: bool,
        now: Monotonic,
    ) -> Option<Resources> {
        if let Some(cut) = self.reserved_fit(framework, group, id, owed, now) {
            return Some(cut);
        }
        if group.revocable == RevocableUse::Only {
            return None;
        }
        let (scalars, _) = self.free(id);
        let picked = self.pick(group, id)?;
        let client = (framework, group.role.clone());
        let fits = self.has_leave(framework, group, id, now)
            && names(&group.shape)
                .filter(|name| **name != ResourceName::Ports)
                .all(|name| scalars.get(name).copied().unwrap_or(0) >= group.shape.scalar(name))
            && self.is_within_limits(&client, &group.shape)
            && (owed || !self.is_kept_back(&client, &group.shape, id));
        fits.then(|| {
            let plain = names(&group.shape).filter(|name| **name != ResourceName::Ports);
            plain_set(plain.map(|name| (name.clone(), group.shape.scalar(name))), picked)
        })
    }

    /// The first task that `may` be given, of clients in fair order.
    fn demand_step(
        &self,
        owed: bool,
        now: Monotonic,
        may: impl Fn(&Key, &DemandGroup) -> bool,
    ) -> Option<Decision> {
        self.task_step(may, |framework, group, id| self.fit(framework, group, id, owed, now))
    }

    /// The same, where tasks get of agents what `fit` says.
    fn task_step(
        &self,
        may: impl Fn(&Key, &DemandGroup) -> bool,
        fit: impl Fn(FrameworkId, &DemandGroup, AgentId) -> Option<Resources>,
    ) -> Option<Decision> {
        let mut clients: Vec<Key> =
            self.clients().into_iter().filter(|key| self.is_present(key)).collect();
        clients.sort_by(|a, b| self.fair_cmp(a, b));
        clients.into_iter().find_map(|(framework, role)| {
            let key = (framework, role.clone());
            let stated = self.frameworks[&framework].groups.iter().flatten();
            let mut groups: Vec<&DemandGroup> = stated
                .filter(|group| {
                    group.role == role && self.unmet(framework, group) > 0 && may(&key, group)
                })
                .collect();
            groups.sort_by_key(|group| (Reverse(group.priority), group.name.clone()));
            groups.into_iter().find_map(|group| {
                let fits =
                    self.agents.keys().filter_map(|id| Some((*id, fit(framework, group, *id)?)));
                let mut ranked: Vec<((bool, Rank), AgentId, Resources)> = fits
                    .map(|(id, resources)| {
                        let mut entries = resources.entries().iter();
                        let is_aside =
                            entries.any(|entry| !entry.key.is_plain() && !entry.key.lent);
                        let rank = match is_aside {
                            true => self.preference_reserved(framework, group, id),
                            false => self.preference(framework, group, id),
                        };
                        ((!is_aside, rank), id, resources)
                    })
                    .collect();
                ranked.sort_by_key(|(rank, ..)| *rank);
                let (_, agent, resources) = self.balanced(group, ranked)?;
                Some(Decision {
                    lease: LeaseId(0),
                    framework,
                    role: role.clone(),
                    agent,
                    resources,
                    group: Some(group.name.clone()),
                    count: 1,
                    claim: None,
                })
            })
        })
    }

    /// The first; of a shape that needs something scarce, the most balanced of the first hundreds.
    fn balanced(
        &self,
        group: &DemandGroup,
        ranked: Vec<((bool, Rank), AgentId, Resources)>,
    ) -> Option<((bool, Rank), AgentId, Resources)> {
        let ((_, (_, is_wasteful, ..)), _, resources) = ranked.first()?;
        let is_wasteful = *is_wasteful;
        // What is lent is placed as it comes.
        let is_plain = resources.entries().iter().all(|entry| entry.key.is_plain());
        let scarce = scarce_in(&self.policy, &group.shape).into_iter().next();
        let Some(scarce) = scarce.filter(|_| is_plain && !group.spread) else {
            return ranked.into_iter().next();
        };
        let wide = |name: &ResourceName| u128::from(plain_scalar(&group.shape, name));
        let (cpus, amount) = (wide(&ResourceName::Cpus), wide(&scarce));
        let alike = ranked.into_iter().filter(|((_, rank), ..)| rank.1 == is_wasteful);
        alike.take(SCARCE_CHOICE_MAX).min_by_key(|(_, id, _)| {
            let (scalars, _) = self.free(*id);
            let free = |name| u128::from(scalars.get(name).copied().unwrap_or(0));
            (cpus * free(&scarce)).abs_diff(free(&ResourceName::Cpus) * amount)
        })
    }

    /// Smaller is better.
    fn preference(&self, framework: FrameworkId, group: &DemandGroup, id: AgentId) -> Rank {
        let agent = &self.agents[&id];
        let is_wasteful = self.wastes(id, &group.shape);
        if !group.spread {
            return (0, is_wasteful, Reverse(0), agent.slot);
        }
        let (scalars, _) = self.free(id);
        let amount = |name| scalars.get(&name).copied().unwrap_or(0);
        let room = amount(ResourceName::Cpus).min(amount(ResourceName::Mem) >> 22);
        (self.on_agent(framework, &group.name, id), is_wasteful, Reverse(room), agent.slot)
    }

    fn classical_step(&self, owed: bool, now: Monotonic) -> Option<Decision> {
        self.part_step(now, |client, id| {
            self.cut(client, id, owed).filter(|cut| {
                self.condition(client).revocable != RevocableUse::Only || cut.is_revocable()
            })
        })
    }

    /// The first part of an agent, as `cut` says, that a classical client does not refuse.
    fn part_step(
        &self,
        now: Monotonic,
        cut: impl Fn(&Key, AgentId) -> Option<Resources>,
    ) -> Option<Decision> {
        let takes = |key: &Key| self.is_present(key) && self.frameworks[&key.0].groups.is_none();
        let mut clients: Vec<Key> = self.clients().into_iter().filter(takes).collect();
        clients.sort_by(|a, b| self.fair_cmp(a, b));
        let mut agents: Vec<(&AgentId, &Agent)> = self.agents.iter().collect();
        agents.sort_by_key(|(_, agent)| agent.slot);
        let may_offer = |id: &AgentId| {
            let kept = self.policy.scarce_for_need_only && self.wastes(*id, &Resources::new());
            let on_their_way =
                |lease: &LeaseId| self.leases.get(lease).is_some_and(|l| l.agent == *id);
            let kept = kept || self.asked_back.iter().any(on_their_way);
            !kept && self.agents[id].usable
        };
        agents.into_iter().filter(|(id, _)| may_offer(id)).find_map(|(id, _)| {
            clients.iter().find_map(|client| {
                let offered = cut(client, *id)?;
                let is_refused = self.filters.iter().any(|filter| {
                    filter.client == *client
                        && filter.agent == *id
                        && filter.until > now
                        && filter.refused.contains(&offered)
                });
                (!is_refused).then(|| Decision {
                    lease: LeaseId(0),
                    framework: client.0,
                    role: client.1.clone(),
                    agent: *id,
                    resources: offered,
                    group: None,
                    count: 1,
                    claim: None,
                })
            })
        })
    }

    fn condition(&self, key: &Key) -> OfferCondition {
        self.frameworks[&key.0].conditions.get(&key.1).cloned().unwrap_or_default()
    }

    /// Whether an agent has something scarce that a shape does not need.
    fn wastes(&self, id: AgentId, shape: &Resources) -> bool {
        let needed = scarce_in(&self.policy, shape);
        !scarce_in(&self.policy, &self.agents[&id].total).is_subset(&needed)
    }

    /// Usable, and with more than a crumb free or lent that is not reserved.
    fn is_headroom(&self, id: AgentId) -> bool {
        self.agents[&id].usable && is_no_crumb(&self.free_or_lent(id))
    }

    /// The next decision, one task or one agent at a time, under lease 0. Books nothing.
    #[must_use]
    pub fn next(&self, now: Monotonic) -> Option<Decision> {
        if let Some(met) = self.claim_step(now) {
            return Some(met);
        }
        let owed = self
            .demand_step(true, now, |key, group| self.is_owed(key, &group.shape))
            .or_else(|| self.classical_step(true, now));
        if owed.is_some() {
            return owed;
        }
        let demand = self.demand_step(false, now, |_, _| true);
        match (demand, self.classical_step(false, now)) {
            (Some(demand), Some(classical)) => {
                let client = (demand.framework, demand.role.clone());
                let other = (classical.framework, classical.role.clone());
                let first = self.is_below_entitlement(&client)
                    || self.fair_cmp(&client, &other) == Ordering::Less;
                if first {
                    return Some(demand);
                }
                let entitled =
                    self.demand_step(false, now, |key, _| self.is_below_entitlement(key));
                Some(entitled.unwrap_or(classical))
            }
            (demand, classical) => demand.or(classical).or_else(|| self.lent_step(now)),
        }
    }
}

fn scarce_in(policy: &Policy, resources: &Resources) -> BTreeSet<ResourceName> {
    let scarce = policy.scarce.iter().filter(|name| plain_scalar(resources, name) > 0);
    scarce.cloned().collect()
}

fn plain_scalar(resources: &Resources, name: &ResourceName) -> u64 {
    resources.filtered(|entry| entry.key.is_plain()).scalar(name)
}

fn lent_scalar(resources: &Resources, name: &ResourceName) -> u64 {
    resources.filtered(|entry| entry.key.lent).scalar(name)
}

fn is_no_crumb(scalars: &BTreeMap<ResourceName, u64>) -> bool {
    let amount = |name| scalars.get(&name).copied().unwrap_or(0);
    amount(ResourceName::Cpus) >= CPUS_MILLI_MIN || amount(ResourceName::Mem) >= MEM_BYTES_MIN
}

fn names(shape: &Resources) -> impl Iterator<Item = &ResourceName> {
    shape.entries().iter().map(|entry| &entry.key.name)
}

fn plain_set(
    scalars: impl IntoIterator<Item = (ResourceName, u64)>,
    ports: impl IntoIterator<Item = u64>,
) -> Resources {
    let ports: Vec<(u64, u64)> = ports.into_iter().map(|port| (port, port)).collect();
    let ports = proffer_types::Ranges::new(ports).expect("single numbers are disjoint");
    let mut set = Resources::scalars(scalars);
    let quantity = proffer_types::Quantity::Ranges(ports);
    let key = proffer_types::resources::ResourceKey::plain(ResourceName::Ports);
    set.insert(proffer_types::resources::Resource { key, quantity }).expect("no ports in it yet");
    set
}
