//! What goes wrong, when, and to whom.

use super::chance::{between, one_in};
use super::network::{Client, Way};
use super::observe::Seen;
use super::planted::Planted;
use super::world::{Event, World};
use proffer_agent_core::container::Outcome;
use rand::Rng;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is outside every seed, for the bug that asks it: a number that no two runs get.
#[must_use]
pub fn outside() -> u64 {
    static OUTSIDE: AtomicU64 = AtomicU64::new(1);
    OUTSIDE.fetch_add(1, Ordering::Relaxed) % 250 + 1
}

/// Something goes wrong, or nothing: called every tenth of a simulated second.
pub fn strike(world: &mut World) {
    const EVERY_MS: u64 = 100;
    if !world.faulty {
        return;
    }
    world.queue.after(EVERY_MS, Event::Fault);
    let rates = world.plan.rates;
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
    if rates.stall > 0 {
        let per_call = rates.stall * EVERY_MS / 60;
        if world.chance.twists.random_range(0..1_000_000) < per_call {
            stall(world);
        }
    }
    strike_members(world, EVERY_MS);
    lose_volume(world, EVERY_MS);
    if strikes(world, rates.expire_lease)
        && world.members.leader().is_some()
        && let Some(leader) = world.store.leader()
    {
        world.counts.fault("expire_lease");
        world.store.expire_now();
        world.see(&Seen::Expired { term: leader.create_revision.0 });
    }
    if strikes(world, rates.compact) {
        world.counts.fault("compact");
        let revision = world.store.revision();
        world.store.compact(revision);
    }
    if strikes(world, rates.wall_jump) {
        jump(world);
    }
    if world.planted == Some(Planted::OutsideChance) && world.outside_ticks > 0 {
        world.outside_ticks -= 1;
        if world.outside_ticks == 0 {
            world.kill_master(0);
        }
    }
    if strikes(world, rates.pause_master) {
        let node = world.chance.faults.random_range(0..world.masters.len());
        let span = between(&mut world.chance.faults, 500, 12_000);
        world.counts.fault("pause_master");
        world.masters[node].paused_until_ms = world.queue.now_ms() + span;
    }
}

/// A disk loses a volume; its agent learns of it when it starts again.
fn lose_volume(world: &mut World, every_ms: u64) {
    let per_call = world.plan.lose_volume * every_ms / 60;
    if !world.plan.holds || world.chance.holds.random_range(0..1_000_000) >= per_call {
        return;
    }
    let volumes: Vec<_> = (0..world.agents.len())
        .flat_map(|node| world.agents[node].machine.volumes().keys().map(move |id| (node, *id)))
        .collect();
    if volumes.is_empty() {
        return;
    }
    let (node, volume) = volumes[world.chance.holds.random_range(0..volumes.len())];
    world.counts.fault("lose_volume");
    world.lost_volumes.insert((node, volume));
    world.agents[node].machine.lose_volume(volume);
}

/// Members of the store die, are cut off from each other or from a master, or change their leader.
fn strike_members(world: &mut World, every_ms: u64) {
    let rates = world.plan.rates;
    let strikes = |world: &mut World, per_minute_in_thousandths: u64| {
        let per_call = per_minute_in_thousandths * every_ms / 60;
        world.chance.members.random_range(0..1_000_000) < per_call
    };
    if strikes(world, rates.crash_member) {
        let (member, span) = some_member(world, 8_000);
        world.counts.fault("crash_member");
        world.members.crash(member);
        world.queue.after(span, Event::StartMember(member));
        world.members_look();
    }
    if strikes(world, rates.isolate_member) && world.members.count() > 1 {
        let (member, span) = some_member(world, 20_000);
        world.counts.fault("isolate_member");
        world.members.isolate(member);
        world.queue.after(span, Event::JoinMember(member));
        world.members_look();
    }
    if strikes(world, rates.cut_member) {
        let (member, span) = some_member(world, 20_000);
        let node = world.chance.members.random_range(0..world.masters.len());
        world.counts.fault("cut_member");
        world.members.cut(node, member);
        world.queue.after(span, Event::MendMember(node, member));
    }
    if strikes(world, rates.change_member) {
        world.counts.fault("change_member");
        world.members.step_down();
        world.members_look();
    }
}

/// A member that something happens to, and for how long.
fn some_member(world: &mut World, most_ms: u64) -> (usize, u64) {
    let member = world.chance.members.random_range(0..world.members.count());
    (member, between(&mut world.chance.members, 100, most_ms))
}

/// A wall clock jumps by up to an hour, forward or back (F38, I14).
fn jump(world: &mut World) {
    const HOUR_MS: i64 = 3_600_000;
    let span = world.chance.faults.random_range(-HOUR_MS..=HOUR_MS);
    let place = world.chance.faults.random_range(0..3);
    let node = world.chance.faults.random_range(0..usize::MAX);
    world.counts.fault("wall_jump");
    if world.still_clocks {
        return;
    }
    let follows = world.strikes(Planted::OneClock);
    let (wall, clock) = match place {
        0 => {
            let node = node % world.masters.len();
            let it = &mut world.masters[node];
            (&mut it.wall_ahead_ms, &mut it.clock_ahead_ms)
        }
        1 => {
            let node = node % world.agents.len();
            let it = &mut world.agents[node];
            (&mut it.wall_ahead_ms, &mut it.clock_ahead_ms)
        }
        _ => {
            let node = node % world.frameworks.len();
            let it = &mut world.frameworks[node];
            (&mut it.wall_ahead_ms, &mut it.clock_ahead_ms)
        }
    };
    *wall = span;
    if follows {
        *clock = clock.saturating_add_signed(span);
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

/// A connection holds back what is on its way. Mostly its client gives it up meanwhile, so that what
/// was held back arrives after the first frames of the next connection (F13); the master reads it to
/// its end.
fn stall(world: &mut World) {
    let wires = world.network.matching(|it| it.client_open && it.master_open);
    if wires.is_empty() {
        return;
    }
    let chance = &mut world.chance.twists;
    let wire = wires[chance.random_range(0..wires.len())];
    let span = between(chance, 500, 10_000);
    let gives_up = one_in(chance, 700);
    let notice = between(chance, 1, span);
    world.counts.fault("stall");
    let until_ms = world.queue.now_ms() + span;
    world.network.stall(wire, until_ms);
    if gives_up {
        world.queue.after(notice, Event::Ends(wire, Way::Down, None));
        world.queue.at(until_ms + notice, Event::Ends(wire, Way::Up, None));
    }
}

/// A link swallows everything for a while, in one direction or both.
fn partition(world: &mut World) {
    let place = world.chance.faults.random_range(0..world.agents.len() + world.frameworks.len());
    let client = match place.checked_sub(world.agents.len()) {
        None => world.client_of_agent(place),
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
