//! What users and operators do.

use super::batch::Order;
use super::chance::{between, one_in};
use super::node_framework::Kind;
use super::observe::Seen;
use super::planted::Planted;
use super::services;
use super::world::Event;
use super::world::World;
use proffer_master_core::{Command, ReplyTo};
use proffer_service_core::api::ServiceStatus;
use proffer_service_core::{ServiceCall, ServiceCommand};
use proffer_types::maintenance::MaintenanceWindow;
use proffer_types::operator::OperatorCall;
use proffer_types::role::RoleConfig;
use proffer_types::{AgentId, DurationMs, PrincipalName, Quantities, RoleName, WallTime, WindowId};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// A user does something.
pub fn users(world: &mut World) {
    if !world.faulty {
        return;
    }
    let pause = between(&mut world.chance.workload, 500, 8_000);
    world.queue.after(pause, Event::Workload);
    let node = world.chance.workload.random_range(0..world.frameworks.len());
    match world.frameworks[node].kind {
        Kind::Batch(..) => {
            let order = if one_in(&mut world.chance.workload, 600) {
                Order::More(world.chance.workload.random_range(1..6))
            } else {
                Order::Kill(world.chance.workload.random_range(0..5))
            };
            let order = if one_in(&mut world.chance.notes, 20) {
                // Some are larger than a value may be (K9).
                Order::Note(world.chance.notes.random_range(1..64_000))
            } else {
                order
            };
            let now = world.framework_clock(node);
            if let Some(driver) = &mut world.frameworks[node].driver {
                driver.order(order, now);
                world.framework_outputs(node);
            }
        }
        Kind::Service => {
            let call = services::call(&mut world.chance.workload);
            world.last_reply += 1;
            let mut told = call.clone();
            let deploys = matches!(call, ServiceCall::Deploy { .. });
            if deploys && world.strikes(Planted::ImpatientRollout) {
                services::make_impatient(&mut told);
            }
            let command = services::command(world.last_reply, told);
            // A replica that stands by passes calls on to the active one; here they find it at once.
            if let Some(node) = active_service(world) {
                call_service(world, node, &call, command);
            }
        }
        Kind::Impostor => {}
    }
}

/// Users try what has failed once more: nothing goes on by itself after a rollout was given up.
pub fn try_again(world: &mut World) {
    let Some(node) = active_service(world) else { return };
    let Some(service) = world.frameworks[node].service() else { return };
    let paused =
        service.views().iter().filter(|(_, view)| view.summary.status == ServiceStatus::Paused);
    let services: BTreeMap<_, _> =
        paused.map(|(name, view)| (name.clone(), view.spec.clone())).collect();
    if services.is_empty() {
        return;
    }
    let message = "once more".to_owned();
    let call = ServiceCall::Deploy { services, if_revision: BTreeMap::new(), message };
    world.last_reply += 1;
    let command = services::command(world.last_reply, call.clone());
    call_service(world, node, &call, command);
}

/// Hands a call to a process of the service framework, at the time of its own clock.
fn call_service(world: &mut World, node: usize, call: &ServiceCall, command: ServiceCommand) {
    let now = world.framework_clock(node);
    let reply = command.reply;
    let early = world.frameworks[node].service().and_then(|it| services::early(it, reply, call));
    if let Some(driver) = &mut world.frameworks[node].driver {
        driver.call(command, now);
        world.see(&Seen::Asked { node, reply, call });
        if let Some(answer) = early
            && world.strikes(Planted::EarlyAnswer)
        {
            world.see(&Seen::Answered { node, answer: &answer });
        }
        world.framework_outputs(node);
    }
}

/// The process of the service framework that decides.
#[must_use]
pub fn active_service(world: &World) -> Option<usize> {
    world.frameworks.iter().position(|it| it.service().is_some_and(|service| service.is_active()))
}

/// An operator does something.
pub fn operators(world: &mut World) {
    if !world.faulty {
        return;
    }
    let pause = between(&mut world.chance.workload, 3_000, 15_000);
    world.queue.after(pause, Event::Operate);
    if let Some(call) = call(world) {
        ask(world, &call);
    }
}

fn call(world: &mut World) -> Option<OperatorCall> {
    let rng = &mut world.chance.workload;
    let kind = between(rng, 0, 19);
    let place = rng.random_range(0..usize::MAX);
    let nth = |count: usize| place.checked_rem(count);
    let agents = &world.view.agents;
    let agent = || nth(agents.len()).and_then(|place| agents.keys().nth(place).copied());
    match kind {
        0..=3 if one_in(&mut world.chance.emptying, 300) => plan_window(world, agent()?),
        4 if one_in(&mut world.chance.emptying, 500) => {
            let rng = &mut world.chance.emptying;
            let window = WindowId(between(rng, 1, 4));
            Some(match between(rng, 0, 2) {
                0 => OperatorCall::StartMaintenance(window),
                1 => OperatorCall::EndMaintenance(window),
                _ => OperatorCall::RemoveMaintenance(window),
            })
        }
        0..=3 => {
            let rng = &mut world.chance.emptying;
            let deadline = match between(rng, 0, 3) {
                0 | 1 => None,
                2 => Some(DurationMs(between(rng, 500, 8_000))),
                _ => Some(DurationMs(0)),
            };
            Some(OperatorCall::DrainAgent { agent: agent()?, deadline })
        }
        4 | 5 => Some(OperatorCall::DeactivateAgent(agent()?)),
        6..=11 => Some(OperatorCall::ActivateAgent(agent()?)),
        12..=15 => {
            let tasks = &world.view.tasks;
            let key = nth(tasks.len()).and_then(|place| tasks.keys().nth(place))?;
            Some(OperatorCall::KillTask(key.clone()))
        }
        16 | 17 => {
            let role = ROLES[place % ROLES.len()];
            let weight_milli = between(rng, 500, 4_000);
            let guaranteed = between(rng, 0, 3);
            let more = between(rng, 0, 6);
            let cpus = |whole: u64| format!("cpus:{whole}").parse().expect("valid");
            let guarantee = if guaranteed > 1 { cpus(guaranteed - 1) } else { Quantities::new() };
            let limit = if more > 2 { cpus(guaranteed + more - 3) } else { Quantities::new() };
            let config = RoleConfig { weight_milli, guarantee, limit };
            Some(OperatorCall::SetRole { role: RoleName::new(role).expect("valid"), config })
        }
        18 => Some(OperatorCall::MarkAgentGone { agent: agent()?, force: true }),
        _ => {
            let frameworks: BTreeMap<_, _> = world
                .view
                .frameworks
                .iter()
                .filter(|(_, row)| {
                    // The impostor's victim stays, so that its name is never free.
                    let name = row.info.name.as_str();
                    name == "batch-1" || (name == "batch-0" && !world.plan.impostor)
                })
                .collect();
            let id = nth(frameworks.len()).and_then(|place| frameworks.keys().nth(place))?;
            Some(OperatorCall::TeardownFramework(**id))
        }
    }
}

/// Roles that operators set.
pub const ROLES: [&str; 4] = ["batch", "batch/0", "batch/1", "services"];

/// Windows begin by the wall clock, so that they are planned only where it does not jump (I14).
fn plan_window(world: &mut World, agent: AgentId) -> Option<OperatorCall> {
    if world.plan.rates.wall_jump > 0 {
        return None;
    }
    let node = (0..world.masters.len()).find(|node| world.masters[*node].leading().is_some())?;
    let wall = world.master_clock(node).wall;
    let rng = &mut world.chance.emptying;
    Some(OperatorCall::AddMaintenance(MaintenanceWindow {
        agents: BTreeSet::from([agent]),
        start: WallTime(wall.0 + between(rng, 0, 20_000)),
        duration: DurationMs(between(rng, 1_000, 20_000)),
        lead: DurationMs(between(rng, 0, 10_000)),
        message: "new disks".to_owned(),
    }))
}

/// Asks whoever leads.
pub fn ask(world: &mut World, call: &OperatorCall) {
    let Some(node) = (0..world.masters.len()).find(|node| world.masters[*node].leading().is_some())
    else {
        return;
    };
    world.last_reply += 1;
    let number = world.last_reply;
    world.asked.insert(number, (node, world.masters[node].life, call.clone()));
    world.counts.asked += 1;
    let mut told = call.clone();
    if let OperatorCall::DrainAgent { agent, deadline } = call {
        if world.strikes(Planted::ForgottenDrain) {
            told = OperatorCall::ActivateAgent(*agent);
        }
        if *deadline != Some(DurationMs(0)) && world.strikes(Planted::ImpatientDrain) {
            told = OperatorCall::DrainAgent { agent: *agent, deadline: Some(DurationMs(0)) };
        }
    }
    if let OperatorCall::SetRole { role, config } = call
        && !config.limit.is_empty()
        && world.strikes(Planted::ForgottenLimit)
    {
        let config = RoleConfig { limit: Quantities::new(), ..config.clone() };
        told = OperatorCall::SetRole { role: role.clone(), config };
    }
    let principal = PrincipalName::new("token:operator").expect("a valid name");
    let command = Command::Operator { reply_to: ReplyTo(number), principal, call: told };
    world.push(node, Some(command));
}
