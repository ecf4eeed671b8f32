//! One run of one seed: who takes part, what users do, what goes wrong, and what must be true at the
//! end.

use super::batch::Style;
use super::chance::{Chance, between};
use super::checkers;
use super::network::{Client, Way};
use super::node_agent::AgentNode;
use super::node_framework::{AnyDriver, FrameworkNode, Kind};
use super::node_master::{MasterNode, State};
use super::plan::Plan;
use super::planted::Planted;
use super::report::Counts;
use super::reserving::{self, is_for_services};
use super::smaller::Smaller;
use super::workload;
use super::world::{Event, World};
use proffer_agent_core as agent;
use proffer_agent_core::model::Machine;
use proffer_sdk_core::driver::Standing;
use proffer_service_core::api::ServiceStatus;
use proffer_types::agent::AgentInfo;
use proffer_types::operator::{AgentCondition, OperatorCall, RoleRow};
use proffer_types::resources::{Quantity, Resource, ResourceKey};
use proffer_types::role::RoleConfig;
use proffer_types::task::IsolationLevel;
use proffer_types::{AgentName, Attribute, Attributes, ResourceName, Resources};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How a run ended.
pub struct Ended {
    /// What it did.
    pub counts: Counts,
    /// The first broken statement.
    pub broken: Option<String>,
    /// Digest of everything that happened.
    pub digest: u64,
    /// The same without what wall clocks showed.
    pub skeleton: u64,
    /// The story, if it was asked for.
    pub story: Vec<String>,
}

/// What a run is asked for beyond its seed.
#[derive(Clone, Copy, Default)]
pub struct Asked {
    /// A bug to plant, and the id of the only checker that looks.
    pub planted: Option<(Planted, &'static str)>,
    /// Keep the story.
    pub with_story: bool,
    /// Wall clocks do not jump where they would (I14).
    pub still_clocks: bool,
    /// What is left out of the seed's plan.
    pub smaller: Smaller,
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, asked: Asked) -> Ended {
    let mut chance = Chance::new(seed);
    let mut plan = Plan::of(seed, &mut chance);
    if let Some((planted, _)) = asked.planted {
        planted.favour(&mut plan);
    }
    asked.smaller.apply(&mut plan);
    let (faulty_ms, healing_ms) = (plan.faulty_ms, plan.healing_ms);
    let mut checkers = checkers::all();
    if let Some((_, own)) = asked.planted {
        checkers.retain(|checker| checker.id() == own);
    }
    let planted = asked.planted.map(|(planted, _)| planted);
    let mut world = World::new(plan, chance, checkers, planted);
    world.story = asked.with_story.then(Vec::new);
    world.still_clocks = asked.still_clocks;
    let began = world.queue.now_ms();
    world.run_until(began + faulty_ms);
    heal(&mut world);
    // In slices, so that a run that has healed early does not go on for nothing.
    let end = world.queue.now_ms() + healing_ms;
    while world.broken.is_none() && world.queue.now_ms() < end && !is_healed(&world) {
        let until = (world.queue.now_ms() + 5_000).min(end);
        world.run_until(until);
        activate_all(&mut world);
        reserving::clean_up(&mut world);
        workload::try_again(&mut world);
    }
    if !is_healed(&world) {
        world.unhealed = Some(format!("not after {healing_ms} ms: {}", unhealed(&world)));
    }
    // A little longer: acknowledgements and what follows from them.
    let until = world.queue.now_ms() + 30_000;
    world.run_until(until);
    world.check_at_rest();
    let mut counts = std::mem::take(&mut world.counts);
    counts.simulated_ms = world.queue.now_ms() - began;
    counts.seeds = 1;
    counts.marks = std::mem::take(&mut world.marks).into_reached();
    Ended {
        counts,
        broken: world.broken,
        digest: world.digest,
        skeleton: world.skeleton,
        story: world.story.unwrap_or_default(),
    }
}

/// Puts everybody in place.
pub fn populate(world: &mut World) {
    for node in 0..world.plan.masters {
        let clock_ahead_ms = between(&mut world.chance.faults, 0, 1_000_000);
        world.masters.push(MasterNode {
            life: 0,
            state: State::Down,
            clock_ahead_ms,
            wall_ahead_ms: 0,
            paused_until_ms: 0,
            member: node % world.plan.members,
            turns_at: (0, 0),
        });
        world.queue.after(node as u64, Event::StartMaster(node));
    }
    for node in 0..world.plan.agents {
        let clock_ahead_ms = between(&mut world.chance.faults, 0, 1_000_000);
        let mut info = agent_info(node, world);
        let resources = info.resources.clone();
        if world.strikes(Planted::BoastfulAgent) {
            info.resources = BOASTED.parse().expect("valid resources");
        }
        let config = agent::Config {
            info,
            masters: (0..world.plan.masters).map(|place| place.to_string()).collect(),
            seed: world.plan.seed ^ node as u64,
            limits: agent::config::Limits::default(),
        };
        world.agents.push(AgentNode {
            life: 0,
            boot: 1,
            config,
            core: None,
            machine: Machine::default(),
            clock_ahead_ms,
            wall_ahead_ms: 0,
            called_at_ms: None,
            resources,
            unwritten: VecDeque::new(),
            flushing: false,
        });
        let delay = between(&mut world.chance.faults, 0, 500);
        world.queue.after(delay, Event::StartAgent(node));
    }
    for number in 0..world.plan.batches {
        let wanted = u32::try_from(between(&mut world.chance.workload, 1, 20)).unwrap_or(1);
        let is_classical = world.plan.classical == Some(number);
        let style = match (is_classical, world.plan.holds) {
            (true, true) => Style::Reserving,
            (true, false) => Style::Classical,
            (false, _) => Style::Demand,
        };
        for replica in 0..world.plan.replicas {
            join(world, Kind::Batch(number, wanted, style), replica);
        }
    }
    if world.plan.services {
        for replica in 0..world.plan.replicas {
            join(world, Kind::Service, replica);
        }
    }
    if world.plan.impostor {
        join(world, Kind::Impostor, 9);
    }
    if world.plan.holds {
        world.queue.after(3_000, Event::Reserve);
    }
    if world.plan.operators {
        world.queue.after(5_000, Event::Operate);
    }
    world.queue.after(100, Event::Fault);
    world.queue.after(2_000, Event::Workload);
}

fn join(world: &mut World, kind: Kind, replica: usize) {
    let node = world.frameworks.len();
    let clock_ahead_ms = between(&mut world.chance.faults, 0, 1_000_000);
    world.frameworks.push(FrameworkNode {
        kind,
        replica,
        life: 0,
        driver: None,
        clock_ahead_ms,
        wall_ahead_ms: 0,
        called_at_ms: None,
    });
    let delay = between(&mut world.chance.faults, 0, 1_000);
    world.queue.after(delay, Event::StartFramework(node));
}

/// What a boastful agent says it has.
const BOASTED: &str = "cpus:64;mem:64GiB;disk:100GiB;ports:[31000-31999]";

/// Most cpus that a machine has beyond its own; each start of its agent finds others.
const SLACK_CPUS_MAX: u64 = 2;

/// What an agent finds at a start: what its machine has for good, and what its tasks leave then.
#[must_use]
pub fn with_slack(resources: &Resources, life: u64) -> Resources {
    let mut found = resources.filtered(|entry| !entry.key.revocable);
    let key = ResourceKey::revocable(ResourceName::Cpus);
    let slack = life % (SLACK_CPUS_MAX + 1) * 1_000;
    let entry = Resource { key, quantity: Quantity::Scalar(slack) };
    found.insert(entry).expect("nothing of it is there");
    found
}

/// What the agent of a machine says of itself.
#[must_use]
pub fn attributes_of(node: usize) -> Attributes {
    Attributes::from([("zone".to_owned(), Attribute::Text(format!("z{}", node % 2)))])
}

fn agent_info(node: usize, world: &mut World) -> AgentInfo {
    let cpus = between(&mut world.chance.workload, 2, 6);
    let resources = format!("cpus:{cpus};mem:4GiB;disk:100GiB;ports:[31000-31099]");
    let slack = SLACK_CPUS_MAX;
    let resources = format!("{resources};cpus{{revocable}}:{slack}");
    AgentInfo {
        name: AgentName::new(&format!("agent-{node}")).expect("a valid name"),
        hostname: format!("host-{node}"),
        address: format!("10.0.0.{node}"),
        api_url: String::new(),
        resources: resources.parse().expect("valid resources"),
        attributes: attributes_of(node),
        version: "simulated".to_owned(),
        isolation: IsolationLevel::Full,
        boot_id: String::new(),
        insecure: false,
    }
}

/// No more faults: what is dead comes back, links work, agents take tasks.
fn heal(world: &mut World) {
    world.faulty = false;
    world.network.cut.clear();
    world.heal_members();
    for place in 0..world.frameworks.len() {
        if world.strikes(Planted::NeverMends) {
            never_mends(world, Client::Framework(place));
        }
    }
    for node in &mut world.masters {
        node.paused_until_ms = 0;
    }
    activate_all(world);
}

/// Cuts a client off from every master.
fn never_mends(world: &mut World, client: Client) {
    for way in [Way::Up, Way::Down] {
        for node in 0..world.masters.len() {
            world.network.cut.insert((client, node, way));
        }
    }
    for wire in world.network.matching(|it| it.client == client) {
        world.break_wire(wire, false);
    }
}

/// Operators end what they began.
fn activate_all(world: &mut World) {
    let held: Vec<_> = world
        .view
        .agents
        .values()
        .filter(|row| {
            matches!(
                row.condition,
                AgentCondition::Draining | AgentCondition::Drained | AgentCondition::Deactivated
            )
        })
        .map(|row| row.id)
        .collect();
    let windows: BTreeSet<_> =
        world.view.agents.values().flat_map(|row| row.windows.iter().map(|it| it.id)).collect();
    for window in windows {
        workload::ask(world, &OperatorCall::RemoveMaintenance(window));
        workload::ask(world, &OperatorCall::EndMaintenance(window));
    }
    for id in held {
        workload::ask(world, &OperatorCall::ActivateAgent(id));
    }
    // A guarantee that nobody uses is kept free of everybody else, on the last agent too.
    let bound = |row: &&RoleRow| !row.config.limit.is_empty() || !row.config.guarantee.is_empty();
    let bound: Vec<_> =
        world.view.roles.values().filter(bound).map(|row| row.name.clone()).collect();
    for role in bound {
        let config = RoleConfig::default();
        workload::ask(world, &OperatorCall::SetRole { role, config });
    }
}

/// Whether every framework has an active replica that has what it wants.
fn is_healed(world: &World) -> bool {
    let batches = (0..world.plan.batches).all(|number| {
        world.frameworks.iter().any(|node| {
            matches!(node.kind, Kind::Batch(of, ..) if of == number)
                && node.batch().is_some_and(super::batch::Batch::is_done)
        })
    });
    batches
        && world.view.holds.values().all(|row| is_for_services(&row.hold))
        && (!world.plan.services || world.frameworks.iter().any(serves))
}

/// Whether a process is the active one of the service framework and has nothing left to do.
fn serves(node: &FrameworkNode) -> bool {
    node.service().is_some_and(|service| {
        let is_active = node.driver.as_ref().map(AnyDriver::standing) == Some(Standing::Active);
        let at_rest = service.views().values().all(|view| {
            let is_moving = view.summary.rollout.state.is_moving();
            match view.summary.status {
                ServiceStatus::Stopped => true,
                ServiceStatus::Running => !is_moving,
                ServiceStatus::Rolling
                | ServiceStatus::RollingBack
                | ServiceStatus::Paused
                | ServiceStatus::Degraded
                | ServiceStatus::CrashLooping
                | ServiceStatus::Removing => false,
            }
        });
        is_active && service.is_active() && at_rest
    })
}

fn unhealed(world: &World) -> String {
    let mut lines = Vec::new();
    for (place, node) in world.frameworks.iter().enumerate() {
        let standing = node.driver.as_ref().map(AnyDriver::standing);
        let waits = node.driver.as_ref().map(|driver| driver.context().waiting().count());
        let mut line = format!("framework {place} {:?} {standing:?} waits {waits:?}", node.kind);
        if let Some(batch) = node.batch() {
            line += &format!(" done {:?}", batch.progress());
        }
        for view in node.service().iter().flat_map(|service| service.views().values()) {
            let it = &view.summary;
            line += &format!(" [{} {:?} {:?} {}]", it.name, it.status, it.rollout.state, it.reason);
        }
        lines.push(line);
    }
    let mut conditions: BTreeMap<String, usize> = BTreeMap::new();
    for row in world.view.agents.values() {
        *conditions.entry(format!("{:?}", row.condition)).or_default() += 1;
    }
    let left: Vec<_> = world.view.holds.values().map(|row| (row.key(), row.state)).collect();
    format!("{}; agents {conditions:?}; left {left:?}", lines.join("; "))
}
