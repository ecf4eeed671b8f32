//! The indexed allocator against the naive reference: after every random sequence of changes the
//! next decision of one is the next decision of the other, down to the end of all work (T18, R6),
//! and no resource is ever given twice (I3, I4).

use crate::reference::Reference;
use crate::{Allocator, Decision, Delta, LeaseId, Policy, Use};
use proffer_types::ResourceName::{Cpus, Mem};
use proffer_types::demand::DemandGroup;
use proffer_types::resources::{Quantity, Reservation, Resource, ResourceKey};
use proffer_types::role::RoleConfig;
use proffer_types::{
    AgentId, AgentName, Claim, ClaimId, Constraint, ConstraintRule, FrameworkId, Generation,
    GroupName, MasterEpoch, Monotonic, OfferCondition, Pattern, Quantities, ResourceName,
    Resources, RevocableUse, RoleName, attributes,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngSeed, TestRunner};
use std::collections::{BTreeMap, BTreeSet};

const ROLES: [&str; 5] = ["*", "a", "a/x", "a/y", "b/z"];
const GROUPS: [&str; 3] = ["g0", "g1", "g2"];

#[derive(Clone, Debug)]
struct Shape {
    cpus: u8,
    mem: u8,
    gpus: u8,
    licences: u8,
    ports: u8,
}

/// What is reserved on an agent.
#[derive(Clone, Debug)]
struct Kept {
    role: usize,
    /// Below a reservation for the role above.
    is_refined: bool,
    cpus: u8,
    mem: u8,
}

/// What becomes what on an agent. May be more than there is, which is refused.
#[derive(Clone, Debug)]
enum Way {
    Reserved(Kept),
    Unreserved(Kept),
    Gone(Shape),
    Come(Shape),
    RevocableGone(Slack),
    RevocableCome(Slack),
}

/// What may be taken back: cpus, and memory.
type Slack = (u8, u8);

/// How a zone is asked for, and which.
#[derive(Clone, Copy, Debug)]
enum Zone {
    In(u8),
    NotIn(u8),
    Matches(u8),
    NotMatches(u8),
}

#[derive(Clone, Debug)]
struct Stated {
    name: usize,
    role: usize,
    shape: Shape,
    fixed_ports: bool,
    target: u8,
    zone: Option<Zone>,
    /// One host, by its name or by a pattern.
    host: Option<(bool, u8)>,
    priority: i8,
    per_agent_max: Option<u8>,
    spread: bool,
    revocable: RevocableUse,
}

#[derive(Clone, Debug)]
enum Op {
    AddAgent {
        has: Shape,
        reserved: Vec<Kept>,
        slack: Slack,
        zone: u8,
        usable: bool,
    },
    ChangeAgent {
        which: u8,
        has: Shape,
        reserved: Vec<Kept>,
        slack: Slack,
        zone: u8,
    },
    ConvertAgent {
        which: u8,
        way: Way,
    },
    RemoveAgent {
        which: u8,
    },
    Usable {
        which: u8,
        usable: bool,
    },
    Policy {
        held_percent: Option<u8>,
        excluded: Option<usize>,
        scarce: Option<usize>,
        need_only: bool,
    },
    Role {
        role: usize,
        milli: u64,
        guarantee: Option<(u8, u8)>,
        limit: Option<(u8, u8)>,
    },
    AddFramework {
        framework: u8,
        roles: u8,
    },
    RemoveFramework {
        framework: u8,
    },
    Active {
        framework: u8,
        active: bool,
    },
    Demand {
        framework: u8,
        groups: Option<Vec<Stated>>,
    },
    Suppressed {
        framework: u8,
        role: usize,
        suppressed: bool,
    },
    Condition {
        framework: u8,
        role: usize,
        any_of: Vec<(Zone, Option<(bool, u8)>)>,
        minimum: Vec<(u8, u8)>,
        revocable: RevocableUse,
    },
    Filter {
        framework: u8,
        role: usize,
        agent: u8,
        refused: Shape,
        for_ms: u8,
    },
    Clear {
        framework: u8,
        roles: u8,
    },
    /// Ends a lease: nothing, or tasks of part of it, and perhaps a refusal of all it held.
    EndLease {
        which: u8,
        tasks: u8,
        refuse_for_ms: u8,
    },
    /// A task that comes with its agent, whether there is room or not (K12).
    Allocate {
        framework: u8,
        role: usize,
        agent: u8,
        held: Shape,
        group: Option<usize>,
    },
    Release {
        which: u8,
    },
    OutOfReach {
        framework: u8,
        group: usize,
        tasks: u8,
    },
    /// Room is to be made for a group as it is stated, or for something else of its name.
    Claim {
        agent: u8,
        framework: u8,
        group: usize,
        other: Option<Shape>,
    },
    EndClaim {
        which: u8,
    },
    Advance {
        ms: u8,
    },
    Decide {
        decisions: u8,
        obey_rescinds: bool,
    },
}

/// What an agent has: most have room for several tasks.
fn has() -> impl Strategy<Value = Shape> {
    (0u8..=9, 0u8..=9, 0u8..=1, 0u8..=2, 0u8..=8)
        .prop_map(|(cpus, mem, gpus, licences, ports)| Shape { cpus, mem, gpus, licences, ports })
}

/// What a task needs: seldom more than cpus and memory.
fn needs() -> impl Strategy<Value = Shape> {
    let seldom = || prop::bool::weighted(0.1).prop_map(u8::from);
    let ports = prop_oneof![3 => Just(0u8), 1 => 1u8..=2];
    (0u8..=3, 0u8..=3, seldom(), seldom(), ports)
        .prop_map(|(cpus, mem, gpus, licences, ports)| Shape { cpus, mem, gpus, licences, ports })
}

/// Mostly nothing.
fn kept() -> impl Strategy<Value = Vec<Kept>> {
    prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(one_kept(), 1..3)]
}

fn one_kept() -> impl Strategy<Value = Kept> {
    (0usize..5, any::<bool>(), 0u8..4, 0u8..4).prop_map(|(role, is_refined, cpus, mem)| Kept {
        role,
        is_refined,
        cpus,
        mem,
    })
}

/// Mostly nothing.
fn slack() -> impl Strategy<Value = Slack> {
    prop_oneof![3 => Just((0u8, 0u8)), 2 => (0u8..5, 0u8..5)]
}

fn revocable() -> impl Strategy<Value = RevocableUse> {
    prop_oneof![
        4 => Just(RevocableUse::Refuse),
        3 => Just(RevocableUse::Accept),
        1 => Just(RevocableUse::Only),
    ]
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![
        4 => one_kept().prop_map(Way::Reserved),
        2 => one_kept().prop_map(Way::Unreserved),
        1 => needs().prop_map(Way::Gone),
        1 => needs().prop_map(Way::Come),
        1 => slack().prop_map(Way::RevocableGone),
        1 => slack().prop_map(Way::RevocableCome),
    ]
}

fn zone() -> impl Strategy<Value = Zone> {
    let kinds = vec![Zone::In, Zone::NotIn, Zone::Matches, Zone::NotMatches];
    (prop::sample::select(kinds), 0u8..2).prop_map(|(kind, zone)| kind(zone))
}

fn stated() -> impl Strategy<Value = Stated> {
    (
        (0usize..3, any::<usize>(), needs(), any::<bool>(), 0u8..7),
        (
            prop::option::weighted(0.3, zone()),
            prop::option::weighted(0.1, (any::<bool>(), 0u8..4)),
            -1i8..2,
            prop::option::weighted(0.4, 1u8..3),
            any::<bool>(),
            revocable(),
        ),
    )
        .prop_map(
            |(
                (name, role, shape, fixed_ports, target),
                (zone, host, priority, max, spread, revocable),
            )| {
                Stated {
                    name,
                    role,
                    shape,
                    fixed_ports,
                    target,
                    zone,
                    host,
                    priority,
                    per_agent_max: max,
                    spread,
                    revocable,
                }
            },
        )
}

fn role_set() -> impl Strategy<Value = Op> {
    let weight = prop::sample::select(vec![1, 500, 1000, 2000, 3000]);
    let guarantee = prop::option::weighted(0.5, (0u8..8, 0u8..8));
    let limit = prop::option::weighted(0.5, (0u8..12, 0u8..12));
    (0usize..5, weight, guarantee, limit).prop_map(|(role, milli, guarantee, limit)| {
        // A guarantee is never above a limit; zero of the second stands for "not named".
        let guarantee = guarantee.map(|(cpus, mem)| match limit {
            Some((most, most_mem)) => (cpus.min(most), mem.min(most_mem)),
            None => (cpus, mem),
        });
        Op::Role { role, milli, guarantee, limit }
    })
}

fn quantities(pair: Option<(u8, u8)>) -> Quantities {
    let Some((cpus, mem)) = pair else { return Quantities::new() };
    let mem = if mem == 0 { String::new() } else { format!(";mem:{}MiB", u64::from(mem) * 64) };
    format!("cpus:{cpus}{mem}").parse().expect("valid")
}

fn policy() -> impl Strategy<Value = Op> {
    let named = || prop::option::of(0usize..3);
    let held = prop::option::of(prop::sample::select(vec![1u8, 20, 50, 100]));
    (named(), named(), any::<bool>(), held).prop_map(
        |(excluded, scarce, need_only, held_percent)| Op::Policy {
            held_percent,
            excluded,
            scarce,
            need_only,
        },
    )
}

/// Of few values, so that frameworks share some.
fn condition() -> impl Strategy<Value = Op> {
    let list = (zone(), prop::option::weighted(0.3, (any::<bool>(), 0u8..4)));
    let any_of = prop_oneof![1 => Just(Vec::new()), 2 => prop::collection::vec(list, 1..3)];
    let minimum = prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::collection::vec((0u8..5, 0u8..5), 1..3),
    ];
    (1u8..5, any::<usize>(), any_of, minimum, revocable()).prop_map(
        |(framework, role, any_of, minimum, revocable)| Op::Condition {
            framework,
            role,
            any_of,
            minimum,
            revocable,
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => condition(),
        4 => (has(), kept(), slack(), 0u8..2, prop::bool::weighted(0.9)).prop_map(
            |(has, reserved, slack, zone, usable)| {
                Op::AddAgent { has, reserved, slack, zone, usable }
            }
        ),
        1 => (any::<u8>(), has(), kept(), slack(), 0u8..2).prop_map(
            |(which, has, reserved, slack, zone)| {
                Op::ChangeAgent { which, has, reserved, slack, zone }
            }
        ),
        2 => (any::<u8>(), way()).prop_map(|(which, way)| Op::ConvertAgent { which, way }),
        1 => any::<u8>().prop_map(|which| Op::RemoveAgent { which }),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(which, usable)| Op::Usable { which, usable }),
        4 => role_set(),
        2 => policy(),
        3 => (1u8..5, any::<u8>())
            .prop_map(|(framework, roles)| Op::AddFramework { framework, roles }),
        1 => (1u8..5).prop_map(|framework| Op::RemoveFramework { framework }),
        3 => (1u8..5, prop::bool::weighted(0.8))
            .prop_map(|(framework, active)| Op::Active { framework, active }),
        5 => (1u8..5, prop::option::weighted(0.8, prop::collection::vec(stated(), 0..4)))
            .prop_map(|(framework, groups)| Op::Demand { framework, groups }),
        1 => (1u8..5, 0usize..5, any::<bool>()).prop_map(|(framework, role, suppressed)| {
            Op::Suppressed { framework, role, suppressed }
        }),
        2 => (1u8..5, any::<usize>(), any::<u8>(), has(), any::<u8>()).prop_map(
            |(framework, role, agent, refused, for_ms)| {
                Op::Filter { framework, role, agent, refused, for_ms }
            }
        ),
        1 => (1u8..5, any::<u8>()).prop_map(|(framework, roles)| Op::Clear { framework, roles }),
        6 => (any::<u8>(), 0u8..4, prop_oneof![Just(0u8), any::<u8>()]).prop_map(
            |(which, tasks, refuse_for_ms)| Op::EndLease { which, tasks, refuse_for_ms }
        ),
        1 => (1u8..5, 0usize..5, any::<u8>(), needs(), prop::option::of(0usize..3)).prop_map(
            |(framework, role, agent, held, group)| {
                Op::Allocate { framework, role, agent, held, group }
            }
        ),
        3 => any::<u8>().prop_map(|which| Op::Release { which }),
        1 => (1u8..5, 0usize..3, 0u8..4)
            .prop_map(|(framework, group, tasks)| Op::OutOfReach { framework, group, tasks }),
        4 => (any::<u8>(), 1u8..5, 0usize..3, prop::option::weighted(0.1, needs())).prop_map(
            |(agent, framework, group, other)| Op::Claim { agent, framework, group, other }
        ),
        1 => any::<u8>().prop_map(|which| Op::EndClaim { which }),
        2 => any::<u8>().prop_map(|ms| Op::Advance { ms }),
        5 => (1u8..8, any::<bool>()).prop_map(|(decisions, obey_rescinds)| {
            Op::Decide { decisions, obey_rescinds }
        }),
    ]
}

/// Agents and connected frameworks to begin with, then anything.
fn sequence() -> impl Strategy<Value = Vec<Op>> {
    let agent = (has(), kept(), slack(), 0u8..2).prop_map(|(has, reserved, slack, zone)| {
        Op::AddAgent { has, reserved, slack, zone, usable: true }
    });
    let demand = prop::option::weighted(0.7, prop::collection::vec(stated(), 1..4));
    let conditions = prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::collection::vec(condition(), 1..4),
    ];
    let framework =
        (1u8..5, 1u8..32, demand, conditions).prop_map(|(framework, roles, groups, conditions)| {
            let opening = vec![
                Op::AddFramework { framework, roles },
                Op::Demand { framework, groups },
                Op::Active { framework, active: true },
            ];
            opening.into_iter().chain(conditions).collect::<Vec<Op>>()
        });
    let agents = prop::collection::vec(agent, 1..4);
    let frameworks = prop::collection::vec(framework, 1..4);
    // Most are short: what is wrong shows in few steps, and they are quickly compared.
    let rest = prop_oneof![
        3 => prop::collection::vec(op(), 0..16),
        1 => prop::collection::vec(op(), 16..40)
    ];
    let quotas = prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::collection::vec(role_set(), 1..3),
    ];
    (any::<bool>(), agents, frameworks, quotas, rest).prop_map(
        |(agents_first, agents, frameworks, quotas, rest)| {
            let frameworks = frameworks.concat();
            let (a, b) = if agents_first { (agents, frameworks) } else { (frameworks, agents) };
            quotas.into_iter().chain(a).chain(b).chain(rest).collect()
        },
    )
}

fn role(index: usize) -> RoleName {
    RoleName::new(ROLES[index]).expect("valid")
}

fn group_name(index: usize) -> GroupName {
    GroupName::new(GROUPS[index]).expect("valid")
}

fn roles(mask: u8) -> BTreeSet<RoleName> {
    (0..ROLES.len()).filter(|bit| mask & (1 << bit) != 0).map(role).collect()
}

fn resources(shape: &Shape, first_port: u64) -> Resources {
    let mut text = format!(
        "cpus:{};mem:{}MiB;gpus:{};licences:{}",
        shape.cpus,
        u64::from(shape.mem) * 64,
        shape.gpus,
        shape.licences
    );
    if shape.ports > 0 {
        let last = first_port + u64::from(shape.ports) - 1;
        text += &format!(";ports:[{first_port}-{last}]");
    }
    text.parse().expect("valid")
}

fn slack_resources((cpus, mem): Slack) -> Resources {
    let mem = u64::from(mem) * 64;
    format!("cpus{{revocable}}:{cpus};mem{{revocable}}:{mem}MiB").parse().expect("valid")
}

/// With what is reserved on it.
fn agent_resources(shape: &Shape, reserved: &[Kept], slack: Slack) -> Resources {
    let all = resources(shape, 100).checked_add(&slack_resources(slack));
    let mut all = all.expect("of other kinds");
    for kept in reserved {
        let role = role(kept.role);
        let above = role.parent().filter(|_| kept.is_refined);
        let level =
            |role| Reservation { role, principal: None, is_static: false, labels: BTreeMap::new() };
        let stack: Vec<Reservation> = above.into_iter().chain([role]).map(level).collect();
        for (name, value) in
            [(Cpus, u64::from(kept.cpus) * 1000), (Mem, u64::from(kept.mem) * (64 << 20))]
        {
            let key = ResourceKey { reservations: stack.clone(), ..ResourceKey::plain(name) };
            all.insert(Resource { key, quantity: Quantity::Scalar(value) }).expect("adds up");
        }
    }
    all
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).expect("valid")
}

fn zone_constraint(zone: Zone) -> Constraint {
    let one_of = |zone: u8| BTreeSet::from([format!("z{zone}")]);
    let rule = match zone {
        Zone::In(zone) => ConstraintRule::In(one_of(zone)),
        Zone::NotIn(zone) => ConstraintRule::NotIn(one_of(zone)),
        Zone::Matches(zone) => ConstraintRule::Matches(pattern(&format!("[a-z]{zone}+"))),
        Zone::NotMatches(zone) => ConstraintRule::NotMatches(pattern(&format!(".*{zone}"))),
    };
    Constraint { attribute: "zone".to_owned(), rule }
}

fn host_constraint(by_pattern: bool, host: u8) -> Constraint {
    let rule = match by_pattern {
        true => ConstraintRule::Matches(pattern(&format!("host[{host}-9]"))),
        false => ConstraintRule::In(BTreeSet::from([format!("host{host}")])),
    };
    Constraint { attribute: "hostname".to_owned(), rule }
}

fn offer_condition(
    any_of: &[(Zone, Option<(bool, u8)>)],
    minimum: &[(u8, u8)],
    revocable: RevocableUse,
) -> OfferCondition {
    let rules = |(zone, host): &(Zone, Option<(bool, u8)>)| {
        let host = host.map(|(by_pattern, host)| host_constraint(by_pattern, host));
        std::iter::once(zone_constraint(*zone)).chain(host).collect()
    };
    // A core and up, or what others call a crumb.
    let least = |(cpus, mem): &(u8, u8)| {
        let first = match cpus {
            0 => "licences:1".to_owned(),
            cpus => format!("cpus:{cpus}"),
        };
        let mem =
            if *mem == 0 { String::new() } else { format!(";mem:{}MiB", u32::from(*mem) * 64) };
        format!("{first}{mem}").parse().expect("valid")
    };
    OfferCondition {
        any_of: any_of.iter().map(rules).collect(),
        minimum: minimum.iter().map(least).collect(),
        revocable,
    }
}

fn demand(stated: &Stated, roles: &[RoleName]) -> Option<DemandGroup> {
    let zone = stated.zone.map(zone_constraint);
    let host = stated.host.map(|(by_pattern, host)| host_constraint(by_pattern, host));
    let group = DemandGroup {
        name: group_name(stated.name),
        generation: Generation(1),
        role: roles.get(stated.role % roles.len().max(1))?.clone(),
        shape: resources(&stated.shape, 101),
        fixed_ports: stated.fixed_ports,
        target: u32::from(stated.target),
        constraints: zone.into_iter().chain(host).collect(),
        priority: i32::from(stated.priority),
        per_agent_max: stated.per_agent_max.map(u32::from),
        spread: stated.spread,
        gang_size: 1,
        deadline: None,
        revocable: stated.revocable,
    };
    group.validate().is_ok().then_some(group)
}

/// Both allocators under the same changes, and the little that their caller keeps.
#[derive(Default)]
struct Pair {
    indexed: Allocator,
    reference: Reference,
    /// Fed with changes and decisions only, as the one that explains is.
    mirror: Allocator,
    now: Monotonic,
    agents: BTreeMap<AgentId, Resources>,
    agent_next: u64,
    frameworks: BTreeMap<FrameworkId, Vec<RoleName>>,
    stated: BTreeMap<FrameworkId, Vec<DemandGroup>>,
    leases: BTreeMap<LeaseId, Decision>,
    claims: BTreeMap<ClaimId, AgentId>,
    claim_next: u64,
    uses: Vec<Use>,
    roles: BTreeMap<RoleName, RoleConfig>,
    /// As said last.
    conditions: BTreeMap<(FrameworkId, RoleName), OfferCondition>,
    seen: Seen,
}

/// What a run exercised.
#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    tasks: u64,
    spread: u64,
    classical: u64,
    rescinds: u64,
    claims_met: u64,
    accepts: u64,
    contested: u64,
    /// Under a role with a guarantee, and under one with a limit.
    guaranteed: u64,
    limited: u64,
    beyond_limits: u64,
    /// Of what is reserved.
    reserved: u64,
    reserved_tasks: u64,
    /// To clients with a condition.
    conditioned: u64,
    /// Classical offers that leave something to others.
    part_of_agent: u64,
    converted: u64,
    /// Of what is revocable, and of what is lent.
    revocable: u64,
    revocable_tasks: u64,
    lent: u64,
    lent_tasks: u64,
}

impl Pair {
    fn tell(&mut self, delta: &Delta) {
        self.indexed.on_change(delta).expect("a consistent change");
        self.mirror.on_change(delta).expect("a consistent change");
        self.reference.on_change(delta);
    }

    fn agent(&self, which: u8) -> Option<AgentId> {
        let count = self.agents.len();
        self.agents.keys().nth(usize::from(which) % count.max(1)).copied()
    }

    fn attributes(agent: AgentId, zone: u8) -> attributes::Attributes {
        let text = format!("zone:z{zone};hostname:host{}", agent.0 % 4);
        attributes::parse_attributes(&text).expect("valid")
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "each applies its own part")]
    fn apply(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match op {
            Op::AddAgent { has, reserved, slack, zone, usable } if self.agents.len() < 5 => {
                let agent = AgentId(self.agent_next);
                self.agent_next += 1;
                let resources = agent_resources(has, reserved, *slack);
                self.agents.insert(agent, resources.clone());
                self.tell(&Delta::AgentAdded {
                    agent,
                    name: AgentName::new(&agent.to_string()).expect("valid"),
                    resources,
                    attributes: Self::attributes(agent, *zone),
                    usable: *usable,
                });
            }
            Op::AddAgent { .. } => {}
            Op::ChangeAgent { which, has, reserved, slack, zone } => {
                let Some(agent) = self.agent(*which) else { return Ok(()) };
                let resources = agent_resources(has, reserved, *slack);
                self.agents.insert(agent, resources.clone());
                let attributes = Self::attributes(agent, *zone);
                self.tell(&Delta::AgentChanged { agent, resources, attributes });
            }
            Op::ConvertAgent { which, way } => {
                let Some(agent) = self.agent(*which) else { return Ok(()) };
                self.convert(agent, way);
            }
            Op::RemoveAgent { which } => {
                let Some(agent) = self.agent(*which) else { return Ok(()) };
                self.agents.remove(&agent);
                self.leases.retain(|_, lease| lease.agent != agent);
                self.claims.retain(|_, at| *at != agent);
                self.uses.retain(|held| held.agent != agent);
                self.tell(&Delta::AgentRemoved { agent });
            }
            Op::Usable { which, usable } => {
                let Some(agent) = self.agent(*which) else { return Ok(()) };
                self.tell(&Delta::AgentUsable { agent, usable: *usable });
            }
            Op::Policy { held_percent, excluded, scarce, need_only } => {
                let name = |at: usize| -> ResourceName {
                    ["gpus", "licences", "mem"][at].parse().expect("valid")
                };
                let policy = Policy {
                    held_max_percent: *held_percent,
                    fair_excluded: excluded.map(name).into_iter().collect(),
                    scarce: scarce.map(name).into_iter().collect(),
                    scarce_for_need_only: *need_only,
                };
                self.tell(&Delta::PolicySet { policy });
            }
            Op::Role { role: index, milli, guarantee, limit } => {
                let (guarantee, limit) = (quantities(*guarantee), quantities(*limit));
                let config = RoleConfig { weight_milli: *milli, guarantee, limit };
                self.roles.insert(role(*index), config.clone());
                self.tell(&Delta::RoleSet { role: role(*index), config });
            }
            _ => return self.apply_of_framework(op),
        }
        Ok(())
    }

    /// What cannot be converted is refused, and changes nothing.
    fn convert(&mut self, agent: AgentId, way: &Way) {
        let has = self.agents[&agent].clone();
        let nothing = Shape { cpus: 0, mem: 0, gpus: 0, licences: 0, ports: 0 };
        let reserved = |kept: &Kept| agent_resources(&nothing, std::slice::from_ref(kept), (0, 0));
        let plain = |kept: &Kept| {
            resources(&Shape { cpus: kept.cpus, mem: kept.mem, ..nothing.clone() }, 0)
        };
        let (from, to) = match way {
            Way::Reserved(kept) => (plain(kept), reserved(kept)),
            Way::Unreserved(kept) => (reserved(kept), plain(kept)),
            Way::Gone(shape) => (resources(shape, 101), Resources::new()),
            Way::Come(shape) => (Resources::new(), resources(shape, 107)),
            Way::RevocableGone(slack) => (slack_resources(*slack), Resources::new()),
            Way::RevocableCome(slack) => (Resources::new(), slack_resources(*slack)),
        };
        let mut converted = has;
        let is_possible = converted.convert(&from, &to).is_ok();
        let delta = Delta::AgentConverted { agent, from, to };
        if is_possible {
            self.agents.insert(agent, converted);
            self.seen.converted += 1;
            self.tell(&delta);
        } else {
            self.indexed.on_change(&delta).expect_err("it is not there, or there already");
        }
    }

    fn known(&self, framework: u8) -> Option<FrameworkId> {
        let framework = FrameworkId(u64::from(framework));
        self.frameworks.contains_key(&framework).then_some(framework)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "each applies its own part")]
    fn apply_of_framework(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match op {
            Op::AddFramework { framework, roles: mask } => {
                let framework = FrameworkId(u64::from(*framework));
                self.frameworks.insert(framework, roles(*mask).into_iter().collect());
                self.tell(&Delta::FrameworkAdded { framework, roles: roles(*mask) });
            }
            Op::RemoveFramework { framework } => {
                let Some(framework) = self.known(*framework) else { return Ok(()) };
                self.frameworks.remove(&framework);
                self.stated.remove(&framework);
                self.tell(&Delta::FrameworkRemoved { framework });
            }
            Op::Active { framework, active } => {
                let Some(framework) = self.known(*framework) else { return Ok(()) };
                self.tell(&Delta::FrameworkActive { framework, active: *active });
            }
            Op::Demand { framework, groups } => {
                let Some(framework) = self.known(*framework) else { return Ok(()) };
                let groups = groups.as_ref().map(|groups| {
                    let by_name: BTreeMap<usize, &Stated> =
                        groups.iter().map(|group| (group.name, group)).collect();
                    let roles = &self.frameworks[&framework];
                    by_name.into_values().filter_map(|g| demand(g, roles)).collect::<Vec<_>>()
                });
                self.stated.insert(framework, groups.clone().unwrap_or_default());
                self.tell(&Delta::Demand { framework, groups });
            }
            Op::OutOfReach { framework, group, tasks } => {
                let framework = FrameworkId((*framework).into());
                let (group, tasks) = (group_name(*group), (*tasks).into());
                self.tell(&Delta::OutOfReach { framework, group, tasks });
            }
            Op::Suppressed { framework, role: index, suppressed } => {
                let Some(framework) = self.known(*framework) else { return Ok(()) };
                let (role, suppressed) = (role(*index), *suppressed);
                self.tell(&Delta::Suppressed { framework, role, suppressed });
            }
            Op::Condition { framework, role: index, any_of, minimum, revocable } => {
                let Some(framework) = self.known(*framework) else { return Ok(()) };
                let roles = &self.frameworks[&framework];
                let Some(role) = roles.get(*index % roles.len().max(1)).cloned() else {
                    return Ok(());
                };
                let condition = offer_condition(any_of, minimum, *revocable);
                self.conditions.insert((framework, role.clone()), condition.clone());
                self.tell(&Delta::OfferCondition { framework, role, condition });
            }
            Op::Filter { framework, role: index, agent, refused, for_ms } => {
                let known = self.known(*framework).zip(self.agent(*agent));
                let Some((framework, agent)) = known else { return Ok(()) };
                let until = Monotonic(self.now.0 + u64::from(*for_ms));
                let roles = &self.frameworks[&framework];
                let Some(role) = roles.get(*index % roles.len().max(1)).cloned() else {
                    return Ok(());
                };
                let resources = resources(refused, 100);
                self.tell(&Delta::Filtered { framework, role, agent, resources, until });
            }
            Op::Clear { framework, roles: mask } => {
                let Some(framework) = self.known(*framework) else { return Ok(()) };
                self.tell(&Delta::FiltersCleared { framework, roles: roles(*mask) });
            }
            _ => return self.apply_of_lease(op),
        }
        Ok(())
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "each applies its own part")]
    fn apply_of_lease(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match op {
            Op::EndLease { which, tasks, refuse_for_ms } => {
                let at = usize::from(*which) % self.leases.len().max(1);
                let Some(id) = self.leases.keys().nth(at).copied() else { return Ok(()) };
                self.end_lease(id, *tasks, *refuse_for_ms);
            }
            Op::Allocate { framework, role: index, agent, held, group } => {
                let known = self.known(*framework).zip(self.agent(*agent));
                let Some((framework, agent)) = known else { return Ok(()) };
                let held = Use {
                    agent,
                    framework,
                    role: role(*index),
                    resources: resources(held, 100),
                    group: group.map(group_name),
                    tasks: 1,
                };
                self.uses.push(held.clone());
                self.tell(&Delta::Allocated(held));
            }
            Op::Release { which } => {
                if !self.uses.is_empty() {
                    let held = self.uses.remove(usize::from(*which) % self.uses.len());
                    self.tell(&Delta::Released(held));
                }
            }
            Op::Claim { agent, framework, group, other } => {
                let known = self.known(*framework).zip(self.agent(*agent));
                let Some((framework, agent)) = known else { return Ok(()) };
                let stated = self.stated.get(&framework).into_iter().flatten();
                let stated = stated.collect::<Vec<_>>();
                let Some(group) = stated.get(*group % stated.len().max(1)) else { return Ok(()) };
                self.claim_next += 1;
                let id = ClaimId { epoch: MasterEpoch(1), sequence: self.claim_next };
                let shape = other.as_ref().map(|other| resources(other, 100));
                let claim = Claim {
                    id,
                    framework,
                    group: group.name.clone(),
                    role: group.role.clone(),
                    resources: shape.unwrap_or_else(|| group.shape.clone()),
                    fixed_ports: group.fixed_ports,
                    creditor: None,
                };
                self.claims.insert(id, agent);
                self.tell(&Delta::Claimed { agent, claim });
            }
            Op::EndClaim { which } => {
                let at = usize::from(*which) % self.claims.len().max(1);
                let Some(id) = self.claims.keys().nth(at).copied() else { return Ok(()) };
                self.claims.remove(&id);
                self.tell(&Delta::ClaimEnded { claim: id });
            }
            Op::Advance { ms } => self.now.0 += u64::from(*ms),
            Op::Decide { decisions, obey_rescinds } => {
                for _ in 0..*decisions {
                    if !self.decide(*obey_rescinds)? {
                        break;
                    }
                }
            }
            other => unreachable!("applied elsewhere: {other:?}"),
        }
        Ok(())
    }

    /// An accept (`tasks` above zero), a decline or an expiry, as the master tells it.
    fn end_lease(&mut self, id: LeaseId, tasks: u8, refuse_for_ms: u8) {
        let lease = self.leases.remove(&id).expect("held");
        self.tell(&Delta::Returned { lease: id });
        let tasks = u32::from(tasks).min(lease.count);
        if tasks > 0 {
            self.seen.accepts += 1;
            // All of it serves `tasks` tasks of the lease's count; shares stay as they were.
            let held = Use {
                agent: lease.agent,
                framework: lease.framework,
                role: lease.role.clone(),
                resources: lease.resources.clone(),
                group: lease.group.clone(),
                tasks,
            };
            self.uses.push(held.clone());
            self.tell(&Delta::Allocated(held));
        }
        if refuse_for_ms > 0 && self.frameworks.contains_key(&lease.framework) {
            let until = Monotonic(self.now.0 + u64::from(refuse_for_ms));
            self.tell(&Delta::Filtered {
                framework: lease.framework,
                role: lease.role,
                agent: lease.agent,
                resources: lease.resources,
                until,
            });
        }
    }

    /// Makes both take one decision and compares; `false` when there is none.
    fn decide(&mut self, obey_rescinds: bool) -> Result<bool, TestCaseError> {
        if !self.claims.is_empty() {
            self.tell(&Delta::ClaimsHold);
        }
        let (mut decided, mut rescinds) = (Vec::new(), Vec::new());
        let mut beyond_limits = Vec::new();
        loop {
            let turn = self.indexed.offers(1, self.now);
            prop_assert!(turn.steps_used > 0 || !turn.more, "a turn makes progress");
            decided.extend(turn.decisions);
            turn.rescinds.iter().for_each(|lease| self.reference.on_asked_back(*lease));
            rescinds.extend(turn.rescinds);
            beyond_limits.extend(turn.beyond_limits);
            if !decided.is_empty() || !turn.more {
                break;
            }
        }
        prop_assert!(decided.len() <= 1, "one step decides one thing");
        let decided = decided.pop();
        let unnamed = decided.clone().map(|one| Decision { lease: LeaseId(0), ..one });
        prop_assert_eq!(unnamed, self.reference.next(self.now), "the next decision");
        let is_any = decided.is_some();
        if let Some(decision) = decided {
            if let Some(claim) = &decision.claim {
                self.claims.remove(claim);
                self.seen.claims_met += 1;
            }
            self.note(&decision);
            let offered = Delta::Offered(decision.clone());
            self.reference.on_change(&offered);
            self.mirror.on_change(&offered).expect("a consistent change");
            self.leases.insert(decision.lease, decision.clone());
            self.check_limits(&decision)?;
        }
        for id in rescinds {
            prop_assert!(self.leases.get(&id).is_some_and(|lease| lease.group.is_none()));
            self.seen.rescinds += 1;
            if obey_rescinds {
                self.end_lease(id, 0, 0);
            }
        }
        for id in beyond_limits {
            prop_assert!(self.leases.contains_key(&id));
            self.seen.beyond_limits += 1;
            if obey_rescinds {
                self.end_lease(id, 0, 0);
            }
        }
        self.check_books()?;
        Ok(is_any || obey_rescinds && self.reference.next(self.now).is_some())
    }

    /// I6: no decision takes a role and all below it beyond its limit.
    fn check_limits(&self, decision: &Decision) -> Result<(), TestCaseError> {
        for (role, config) in self.roles.iter().filter(|(r, _)| decision.role.is_within(r)) {
            let uses = self.uses.iter().filter(|held| held.role.is_within(role));
            let leases = self.leases.values().filter(|lease| lease.role.is_within(role));
            let held: Vec<&Resources> =
                uses.map(|u| &u.resources).chain(leases.map(|l| &l.resources)).collect();
            for (name, limit) in config.limit.iter() {
                let counts = |held: &Resources| held.filtered(|entry| !entry.key.revocable);
                let consumed: u64 = held.iter().map(|held| counts(held).scalar(name)).sum();
                // What is reserved below the role counts against it already.
                let more = decision.resources.filtered(|entry| {
                    let owner = entry.key.reservations.last();
                    !entry.key.revocable && owner.is_none_or(|level| !level.role.is_within(role))
                });
                let given = more.scalar(name);
                prop_assert!(given == 0 || consumed <= limit, "{name} of {role}: {consumed}");
            }
        }
        Ok(())
    }

    fn note(&mut self, decision: &Decision) {
        let above: Vec<&RoleConfig> =
            self.roles.iter().filter(|(r, _)| decision.role.is_within(r)).map(|(_, c)| c).collect();
        let is_guaranteed = above.iter().any(|config| !config.guarantee.is_empty());
        self.seen.guaranteed += u64::from(is_guaranteed);
        self.seen.limited += u64::from(above.iter().any(|config| !config.limit.is_empty()));
        let has = |kind: fn(&ResourceKey) -> bool| {
            u64::from(decision.resources.entries().iter().any(|entry| kind(&entry.key)))
        };
        let is_task = u64::from(decision.group.is_some());
        let (slack, lent) = (has(|key| key.revocable && !key.lent), has(|key| key.lent));
        self.seen.revocable += slack;
        self.seen.revocable_tasks += slack * is_task;
        self.seen.lent += lent;
        self.seen.lent_tasks += lent * is_task;
        let is_reserved =
            decision.resources.entries().iter().any(|entry| !entry.key.reservations.is_empty());
        self.seen.reserved += u64::from(is_reserved);
        self.seen.reserved_tasks += u64::from(is_reserved && decision.group.is_some());
        let scalars = |r: &Resources| r.scalar(&Cpus) + r.scalar(&Mem);
        let is_part = decision.group.is_none() && scalars(&self.indexed.free(decision.agent)) > 0;
        self.seen.part_of_agent += u64::from(is_part);
        match &decision.group {
            None => {
                self.seen.classical += 1;
                let key = (decision.framework, decision.role.clone());
                self.seen.conditioned += u64::from(self.conditions.contains_key(&key));
            }
            Some(name) => {
                let stated = &self.stated[&decision.framework];
                let is_spread = stated.iter().any(|group| group.name == *name && group.spread);
                self.seen.spread += u64::from(is_spread);
                self.seen.tasks += 1;
            }
        }
        let frameworks: BTreeSet<FrameworkId> =
            self.leases.values().map(|lease| lease.framework).collect();
        self.seen.contested += u64::from(frameworks.len() > 1);
    }

    /// I3, I4: what is free, used and leased is what there is; K10: unmet is what it says.
    fn check_books(&self) -> Result<(), TestCaseError> {
        for (agent, total) in &self.agents {
            let leased = self.leases.values().filter(|l| l.agent == *agent).map(|l| &l.resources);
            let used = self.uses.iter().filter(|u| u.agent == *agent).map(|u| &u.resources);
            // Uses told by agents may overlap (K12); then there is no sum to compare with. Nor while
            // claims hold something.
            let is_claimed = self.claims.values().any(|at| at == agent);
            if !is_claimed
                && let Ok(held) = held_of(leased.chain(used))
                && let Ok(rest) = total.checked_sub(&held)
            {
                prop_assert_eq!(&self.indexed.free(*agent), &rest, "free on {}", agent);
            }
            prop_assert!(total.contains(&self.indexed.free(*agent)));
            prop_assert_eq!(self.indexed.free(*agent), self.mirror.free(*agent));
        }
        for (framework, groups) in &self.stated {
            for group in groups {
                let unmet = self.reference.unmet(*framework, group);
                prop_assert_eq!(self.indexed.unmet(*framework, &group.name), unmet);
                prop_assert_eq!(self.mirror.unmet(*framework, &group.name), unmet);
            }
        }
        for index in 0..ROLES.len() {
            let role = role(index);
            let here = |framework: &FrameworkId| {
                self.indexed.framework_share_ppm(*framework, &role)
                    == self.mirror.framework_share_ppm(*framework, &role)
            };
            prop_assert!(self.frameworks.keys().all(here), "shares in {}", role);
            prop_assert_eq!(self.indexed.allocated(&role), self.mirror.allocated(&role));
        }
        Ok(())
    }
}

/// What is held of what an agent says it has: what is lent is plain there.
fn held_of<'a>(
    parts: impl Iterator<Item = &'a Resources>,
) -> Result<Resources, proffer_types::resources::ResourceError> {
    let mut sum = Resources::new();
    for entry in parts.flat_map(|part| part.entries()) {
        let mut entry = entry.clone();
        if entry.key.lent {
            entry.key = ResourceKey::plain(entry.key.name);
        }
        sum.insert(entry)?;
    }
    Ok(sum)
}

fn run(ops: &[Op]) -> Result<Seen, TestCaseError> {
    let mut pair = Pair { agent_next: 1, now: Monotonic(1000), ..Pair::default() };
    for op in ops {
        pair.apply(op)?;
    }
    let mut decisions = 0;
    while pair.decide(true)? {
        decisions += 1;
        prop_assert!(decisions < 2_000, "decisions come to an end");
    }
    for claim in std::mem::take(&mut pair.claims).into_keys() {
        pair.tell(&Delta::ClaimEnded { claim });
    }
    let ids: Vec<LeaseId> = pair.leases.keys().copied().collect();
    for id in ids {
        pair.end_lease(id, 0, 0);
    }
    for held in std::mem::take(&mut pair.uses) {
        pair.tell(&Delta::Released(held));
    }
    for (agent, total) in &pair.agents {
        prop_assert_eq!(&pair.indexed.free(*agent), total, "all is free again");
    }
    Ok(pair.seen)
}

/// How many histories: few by default, a hundred thousand in the gate, which sets `PROFFER_HISTORIES`.
#[expect(clippy::disallowed_methods, reason = "how long a test runs is told from outside")]
fn histories() -> u32 {
    let asked = std::env::var("PROFFER_HISTORIES").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(3_000).max(ProptestConfig::default().cases)
}

/// Parts that run at the same time.
const PARTS: u32 = 4;

/// A seed that is given is another one for each part.
fn config(part: u64) -> ProptestConfig {
    let default = ProptestConfig::default();
    let rng_seed = match default.rng_seed {
        RngSeed::Fixed(seed) => RngSeed::Fixed(seed.wrapping_mul(31).wrapping_add(part)),
        RngSeed::Random => RngSeed::Random,
    };
    ProptestConfig { cases: histories() / PARTS, rng_seed, ..default }
}

macro_rules! part {
    ($name:ident, $part:literal) => {
        proptest! {
            #![proptest_config(config($part))]

            #[test]
            fn $name(ops in sequence()) {
                run(&ops)?;
            }
        }
    };
}

part!(every_next_decision_is_the_references, 1);
part!(every_next_decision_is_the_references_part_2, 2);
part!(every_next_decision_is_the_references_part_3, 3);
part!(every_next_decision_is_the_references_part_4, 4);

/// The comparison above is worth what its sequences reach.
#[test]
fn the_sequences_reach_every_kind_of_decision() {
    let mut runner = TestRunner::deterministic();
    let sequences = sequence();
    let mut sum = Seen::default();
    for _ in 0..800 {
        let ops = sequences.new_tree(&mut runner).expect("generates").current();
        let seen = run(&ops).expect("equal");
        sum.tasks += seen.tasks;
        sum.spread += seen.spread;
        sum.classical += seen.classical;
        sum.rescinds += seen.rescinds;
        sum.claims_met += seen.claims_met;
        sum.accepts += seen.accepts;
        sum.contested += seen.contested;
        sum.guaranteed += seen.guaranteed;
        sum.limited += seen.limited;
        sum.beyond_limits += seen.beyond_limits;
        sum.reserved += seen.reserved;
        sum.reserved_tasks += seen.reserved_tasks;
        sum.part_of_agent += seen.part_of_agent;
        sum.converted += seen.converted;
        sum.conditioned += seen.conditioned;
        sum.revocable += seen.revocable;
        sum.revocable_tasks += seen.revocable_tasks;
        sum.lent += seen.lent;
        sum.lent_tasks += seen.lent_tasks;
    }
    println!("{sum:?}");
    assert!(sum.tasks > 300 && sum.spread > 100 && sum.classical > 300, "{sum:?}");
    assert!(sum.claims_met > 10, "{sum:?}");
    assert!(sum.rescinds > 1 && sum.accepts > 50 && sum.contested > 200, "{sum:?}");
    assert!(
        sum.guaranteed > 100
            && sum.limited > 100
            && sum.part_of_agent > 50
            && sum.beyond_limits > 3
            && sum.reserved > 50
            && sum.reserved_tasks > 20
            && sum.converted > 50
            && sum.conditioned > 50,
        "{sum:?}"
    );
    assert!(sum.revocable > sum.revocable_tasks + 20 && sum.revocable_tasks > 100, "{sum:?}");
    assert!(sum.lent > sum.lent_tasks + 5 && sum.lent_tasks > 20, "{sum:?}");
}
