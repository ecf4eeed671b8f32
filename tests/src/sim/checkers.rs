//! The statements that must hold, one file each. Each keeps a model of its own, made only of what was
//! seen at the edges: what was sent, told, written, started. None asks a core what it believes.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a checker names what it looks at; what else there is or will be is none of its business"
)]

use super::observe::Checker;
use super::world::World;
use proffer_master_core::registry::{Record, RecordKey};
use proffer_master_core::{ConnectionId, Effect};
use proffer_types::agent::AgentDown;
use proffer_types::operator::OperatorCall;
use proffer_types::scheduler::{Event, SchedulerDown, TaskRecord};
use proffer_types::{AgentId, FrameworkId, TaskState, TaskStatus};

mod i1;
mod i10;
mod i11;
mod i11_services;
mod i13;
mod i15;
mod i16;
mod i17;
mod i2;
mod i21;
mod i3;
mod i4;
mod i5;
mod i6;
mod i7;
mod i8;
mod k1;
mod k10;
mod k11;
mod k14;
mod k15;
mod k17;
mod k19;
mod k2;
mod k20;
mod k2_endpoints;
mod k3;
mod k4;
mod k7;
mod k8;

/// All of them, new for each run.
#[must_use]
pub fn all() -> Vec<Box<dyn Checker>> {
    vec![
        Box::<i1::NoLostTask>::default(),
        Box::<i2::NoDoubleLaunch>::default(),
        Box::<i3::NoOversubscription>::default(),
        Box::<i4::Conservation>::default(),
        Box::<i5::Known>::default(),
        Box::<i6::Quota>::default(),
        Box::<i7::Status>::default(),
        Box::<i8::Reservations>::default(),
        Box::<i10::OneLeader>::default(),
        Box::<i11::DurableBeforePromise>::default(),
        Box::<i11_services::AnsweredCalls>::default(),
        Box::<i13::Maintenance>::default(),
        Box::<i15::Bounded>::default(),
        Box::<i16::Convergence>::default(),
        Box::<i17::Observable>::default(),
        Box::<i21::Wanted>::default(),
        Box::<k1::Launch>::default(),
        Box::<k2::CompleteSnapshots>::default(),
        Box::<k2_endpoints::CompleteEndpoints>::default(),
        Box::<k3::Gangs>::default(),
        Box::<k4::Writes>::default(),
        Box::<k7::Allocation>::default(),
        Box::<k8::Leadership>::default(),
        Box::<k10::Demand>::default(),
        Box::<k11::Preemption>::default(),
        Box::<k14::Supervisor>::default(),
        Box::<k15::Streams>::default(),
        Box::<k17::Cursors>::default(),
        Box::<k19::Ids>::default(),
        Box::<k20::Identity>::default(),
    ]
}

/// Turns a statement into a result.
fn holds(condition: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(what()) }
}

/// What the store holds under a key now.
fn stored(world: &World, key: &RecordKey) -> Option<Record> {
    let entry = world.store.get(key.encode().as_bytes())?;
    Record::decode(key, &entry.value).ok()
}

/// Frames that leave for frameworks.
fn to_frameworks(
    effects: &[Effect],
) -> impl Iterator<Item = (ConnectionId, &SchedulerDown)> + use<'_> {
    effects.iter().filter_map(|effect| match effect {
        Effect::SendFramework { connection, frame } => Some((*connection, frame)),
        _ => None,
    })
}

/// Frames that leave for agents.
fn to_agents(effects: &[Effect]) -> impl Iterator<Item = (ConnectionId, &AgentDown)> + use<'_> {
    effects.iter().filter_map(|effect| match effect {
        Effect::SendAgent { connection, frame } => Some((*connection, frame)),
        _ => None,
    })
}

/// Statuses in an event: its own, that of a record, those of a page.
fn statuses(event: &Event) -> Vec<&TaskStatus> {
    match event {
        Event::Status(status) => vec![status],
        Event::Task(record) => vec![&record.status],
        Event::SnapshotPage { tasks } => tasks.iter().map(|record| &record.status).collect(),
        _ => Vec::new(),
    }
}

/// The agent's machine that goes by an id, as its disk has it.
fn machine_of(world: &World, id: AgentId) -> Option<usize> {
    (0..world.agents.len()).find(|node| id_of(world, *node) == Some(id))
}

/// The id that a machine goes by, as its disk has it.
fn id_of(world: &World, node: usize) -> Option<AgentId> {
    world.agents[node].machine.checkpoint().identity.as_ref()?.agent
}

/// The framework that a process speaks for, once it knows.
fn framework_of(world: &World, node: usize) -> Option<FrameworkId> {
    world.frameworks[node].driver.as_ref()?.context().framework_id()
}

/// Whether a framework is there and not being ended, as the store has it.
fn is_kept(world: &World, framework: FrameworkId) -> bool {
    match stored(world, &RecordKey::Framework(framework)) {
        Some(Record::Framework(record)) => !record.ending,
        _ => false,
    }
}

/// The agent that an operator gives up with this call.
fn given_up(call: &OperatorCall) -> Option<AgentId> {
    match call {
        OperatorCall::MarkAgentGone { agent: id, .. } => Some(*id),
        _ => None,
    }
}

/// Rows of tasks that the view shows as alive on an agent.
fn alive_on(world: &World, agent: AgentId) -> impl Iterator<Item = &TaskRecord> {
    world
        .view
        .tasks
        .values()
        .filter(move |row| row.status.agent == agent && !row.status.state.is_terminal())
}

/// Whether a status says that nothing of the launch ever ran.
fn never_ran(status: &TaskStatus) -> bool {
    matches!(status.state, TaskState::Dropped | TaskState::Error)
}

/// Whether a master is the newest that has published anything: what an older one says it says of a
/// view of its own.
fn is_newest(world: &World, node: usize) -> bool {
    let epoch = world.masters[node].leading().map(|leading| leading.core.epoch());
    epoch == Some(world.view.cursor.epoch)
}
