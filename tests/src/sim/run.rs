//! One run of one seed: who takes part, what users do, what goes wrong, and what must be true at the
//! end.

use super::batch::Order;
use super::chance::{Chance, between, one_in};
use super::checkers;
use super::network::{Client, Way};
use super::node_agent::AgentNode;
use super::node_framework::{AnyDriver, FrameworkNode, Kind};
use super::node_master::{MasterNode, State};
use super::plan::Plan;
use super::planted::Planted;
use super::report::Counts;
use super::world::{Event, World};
use proffer_agent_core as agent;
use proffer_agent_core::container::Outcome;
use proffer_agent_core::model::Machine;
use proffer_types::agent::AgentInfo;
use proffer_types::task::IsolationLevel;
use proffer_types::{AgentName, Attributes};
use rand::Rng;

/// How a run ended.
pub struct Ended {
    /// What it did.
    pub counts: Counts,
    /// The first broken statement.
    pub broken: Option<String>,
    /// Digest of everything that happened.
    pub digest: u64,
    /// The story, if it was asked for.
    pub story: Vec<String>,
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, planted: Option<Planted>, with_story: bool) -> Ended {
    let mut chance = Chance::new(seed);
    let plan = Plan::of(seed, &mut chance);
    let (faulty_ms, healing_ms) = (plan.faulty_ms, plan.healing_ms);
    let mut world = World::new(plan, chance, checkers::all(), planted);
    world.story = with_story.then(Vec::new);
    let began = world.queue.now_ms();
    world.run_until(began + faulty_ms);
    heal(&mut world);
    // In slices, so that a run that has healed early does not go on for nothing.
    let end = world.queue.now_ms() + healing_ms;
    while world.broken.is_none() && world.queue.now_ms() < end && !is_healed(&world) {
        let until = (world.queue.now_ms() + 5_000).min(end);
        world.run_until(until);
    }
    if world.broken.is_none() && !is_healed(&world) {
        world.broken = Some(format!("I16: not healed after {healing_ms} ms: {}", unhealed(&world)));
    }
    // A little longer: acknowledgements and what follows from them.
    let until = world.queue.now_ms() + 20_000;
    world.run_until(until);
    if world.broken.is_none() {
        world.check_at_rest();
    }
    let mut counts = std::mem::take(&mut world.counts);
    counts.simulated_ms = world.queue.now_ms() - began;
    counts.seeds = 1;
    Ended {
        counts,
        broken: world.broken,
        digest: world.digest,
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
            paused_until_ms: 0,
        });
        world.queue.after(node as u64, Event::StartMaster(node));
    }
    for node in 0..world.plan.agents {
        let clock_ahead_ms = between(&mut world.chance.faults, 0, 1_000_000);
        let config = agent::Config {
            info: agent_info(node, world),
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
            called_at_ms: None,
            flushing: false,
        });
        let delay = between(&mut world.chance.faults, 0, 500);
        world.queue.after(delay, Event::StartAgent(node));
    }
    for number in 0..world.plan.batches {
        let wanted = u32::try_from(between(&mut world.chance.workload, 1, 20)).unwrap_or(1);
        for replica in 0..world.plan.replicas {
            let node = world.frameworks.len();
            let clock_ahead_ms = between(&mut world.chance.faults, 0, 1_000_000);
            world.frameworks.push(FrameworkNode {
                kind: Kind::Batch(number, wanted),
                replica,
                life: 0,
                driver: None,
                clock_ahead_ms,
                called_at_ms: None,
            });
            let delay = between(&mut world.chance.faults, 0, 1_000);
            world.queue.after(delay, Event::StartFramework(node));
        }
    }
    world.queue.after(100, Event::Fault);
    world.queue.after(2_000, Event::Workload);
}

fn agent_info(node: usize, world: &mut World) -> AgentInfo {
    let cpus = between(&mut world.chance.workload, 1, 4);
    let resources = format!("cpus:{cpus};mem:4GiB;ports:[31000-31099]");
    AgentInfo {
        name: AgentName::new(&format!("agent-{node}")).expect("a valid name"),
        hostname: format!("host-{node}"),
        address: format!("10.0.0.{node}"),
        api_url: String::new(),
        resources: resources.parse().expect("valid resources"),
        attributes: Attributes::new(),
        version: "simulated".to_owned(),
        isolation: IsolationLevel::Full,
        boot_id: String::new(),
        insecure: false,
    }
}

/// Something goes wrong, or nothing: called every tenth of a simulated second.
pub fn fault(world: &mut World) {
    const EVERY_MS: u64 = 100;
    if !world.faulty {
        return;
    }
    world.queue.after(EVERY_MS, Event::Fault);
    let rates = world.plan.rates.clone();
    let strikes = |world: &mut World, per_minute_in_thousandths: u64| {
        let per_call = per_minute_in_thousandths * EVERY_MS / 60;
        world.chance.faults.random_range(0..1_000_000) < per_call
    };
    if strikes(world, rates.crash_master) {
        let node = world.chance.faults.random_range(0..world.masters.len());
        world.counts.fault("crash_master");
        world.kill_master(node);
    }
    if strikes(world, rates.crash_agent) {
        let node = world.chance.faults.random_range(0..world.agents.len());
        world.counts.fault("crash_agent");
        world.kill_agent(node, false);
    }
    if strikes(world, rates.reboot) {
        let node = world.chance.faults.random_range(0..world.agents.len());
        world.counts.fault("reboot");
        world.kill_agent(node, true);
    }
    if strikes(world, rates.crash_framework) {
        let node = world.chance.faults.random_range(0..world.frameworks.len());
        world.counts.fault("crash_framework");
        world.kill_framework(node);
    }
    if strikes(world, rates.crash_supervisor) {
        lose_supervisor(world);
    }
    if strikes(world, rates.break_connection) {
        let wires = world.network.matching(|_| true);
        if !wires.is_empty() {
            let wire = wires[world.chance.faults.random_range(0..wires.len())];
            let silent = one_in(&mut world.chance.faults, 300);
            world.counts.fault("break_connection");
            world.break_wire(wire, silent);
        }
    }
    if strikes(world, rates.partition) {
        partition(world);
    }
    if strikes(world, rates.pause_master) {
        let node = world.chance.faults.random_range(0..world.masters.len());
        let span = between(&mut world.chance.faults, 500, 12_000);
        world.counts.fault("pause_master");
        world.masters[node].paused_until_ms = world.queue.now_ms() + span;
    }
}

fn lose_supervisor(world: &mut World) {
    let node = world.chance.faults.random_range(0..world.agents.len());
    let running = world.agents[node].machine.running();
    if !running.is_empty() {
        let container = running[world.chance.faults.random_range(0..running.len())].clone();
        world.counts.fault("crash_supervisor");
        world.end_container(node, &container, Outcome::SupervisorLost);
    }
}

/// A link swallows everything for a while, in one direction or both.
fn partition(world: &mut World) {
    let place = world.chance.faults.random_range(0..world.agents.len() + world.frameworks.len());
    let client = match place.checked_sub(world.agents.len()) {
        None => Client::Agent(place),
        Some(framework) => Client::Framework(framework),
    };
    let node = world.chance.faults.random_range(0..world.masters.len());
    let span = between(&mut world.chance.faults, 500, 40_000);
    let both = one_in(&mut world.chance.faults, 600);
    world.counts.fault(if both { "partition" } else { "partition_one_way" });
    let ways: &[Way] = if both { &[Way::Up, Way::Down] } else { &[Way::Up] };
    for way in ways {
        world.network.cut.insert((client, node, *way));
    }
    world.queue.after(span, Event::Mend(client, node));
    for wire in world.network.matching(|it| it.client == client && it.master == node) {
        world.break_wire(wire, true);
    }
}

/// A user does something.
pub fn workload(world: &mut World) {
    if !world.faulty {
        return;
    }
    let pause = between(&mut world.chance.workload, 500, 8_000);
    world.queue.after(pause, Event::Workload);
    let node = world.chance.workload.random_range(0..world.frameworks.len());
    let order = if one_in(&mut world.chance.workload, 600) {
        Order::More(world.chance.workload.random_range(1..6))
    } else {
        Order::Kill(world.chance.workload.random_range(0..5))
    };
    let now = world.clock(world.frameworks[node].clock_ahead_ms);
    if let Some(driver) = &mut world.frameworks[node].driver {
        driver.order(order, now);
        world.framework_outputs(node);
    }
}

/// No more faults: what is dead comes back, links work.
fn heal(world: &mut World) {
    world.faulty = false;
    world.network.cut.clear();
    for node in &mut world.masters {
        node.paused_until_ms = 0;
    }
}

/// Whether every batch framework has an active replica that is done, and nothing is left to report.
fn is_healed(world: &World) -> bool {
    (0..world.plan.batches).all(|number| {
        world.frameworks.iter().any(|node| {
            let Kind::Batch(of, _) = node.kind;
            of == number && node.batch().is_some_and(super::batch::Batch::is_done)
        })
    })
}

fn unhealed(world: &World) -> String {
    let lines: Vec<String> = world
        .frameworks
        .iter()
        .enumerate()
        .map(|(place, node)| {
            let standing = node.driver.as_ref().map(AnyDriver::standing);
            let progress = node.batch().map(super::batch::Batch::progress);
            format!("framework {place} {standing:?} {progress:?}")
        })
        .collect();
    lines.join("; ")
}
