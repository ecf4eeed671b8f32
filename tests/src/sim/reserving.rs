//! What operators do about reservations and volumes.

use super::chance::{between, one_in};
use super::workload::ask;
use super::world::{Event, World};
use proffer_types::hold::{
    HoldCall, HoldChange, HoldId, HoldState, NewReservation, NewVolume, ReclaimPolicy,
};
use proffer_types::operator::{HoldRow, OperatorCall};
use proffer_types::{AgentId, Hold, ReservationId, RoleName, VolumeId};
use rand::Rng;
use std::collections::BTreeMap;

/// Reservations and volumes at a time: what tasks need is to be left over.
const HOLDS_MAX: usize = 12;
const GIB: u64 = 1 << 30;

/// An operator does something.
pub fn operators(world: &mut World) {
    if !world.faulty {
        return;
    }
    let pause = between(&mut world.chance.holds, 300, 4_000);
    world.queue.after(pause, Event::Reserve);
    if let Some(call) = call(world) {
        ask(world, &OperatorCall::Hold { call, dry_run: false });
    }
}

/// After the faults operators remove everything: quarantined ones are adopted first.
pub fn clean_up(world: &mut World) {
    let calls: Vec<HoldCall> = world.view.holds.values().filter_map(removal).collect();
    for call in calls {
        ask(world, &OperatorCall::Hold { call, dry_run: false });
    }
}

fn removal(row: &HoldRow) -> Option<HoldCall> {
    match row.state {
        HoldState::Applied | HoldState::Lost => Some(HoldCall::Remove { id: row.hold.id }),
        HoldState::Quarantined => Some(HoldCall::Adopt { key: row.key() }),
        HoldState::Pending | HoldState::Removing => None,
    }
}

fn role(text: &str) -> RoleName {
    RoleName::new(text).expect("a valid role")
}

fn call(world: &mut World) -> Option<HoldCall> {
    let rng = &mut world.chance.holds;
    let (kind, place) = (between(rng, 0, 19), rng.random_range(0..usize::MAX));
    let amount = between(rng, 1, 8);
    let reclaim = if one_in(rng, 500) { ReclaimPolicy::Delete } else { ReclaimPolicy::Retain };
    let agents: Vec<AgentId> = world.view.agents.keys().copied().collect();
    let agent = *agents.get(place.checked_rem(agents.len())?)?;
    let rows: Vec<&HoldRow> = world.view.holds.values().collect();
    let row = place.checked_rem(rows.len()).and_then(|place| rows.get(place).copied());
    let full = rows.len() >= HOLDS_MAX;
    let reservation = |resources: String, below: Option<ReservationId>, role: RoleName| {
        let resources = resources.parse().expect("valid resources");
        let labels = match amount % 2 {
            0 => BTreeMap::new(),
            _ => BTreeMap::from([("for".to_owned(), amount.to_string())]),
        };
        NewReservation { resources, below, role, labels, reclaim }
    };
    let of = |row: &HoldRow| match row.hold.id {
        HoldId::Reservation(id) => Some(id),
        HoldId::Volume(_) => None,
    };
    Some(match kind {
        0..=5 if !full => {
            let role = role(["batch", "batch/0", "services"][place % 3]);
            let resources =
                format!("cpus:0.{amount};disk:{amount}GiB;ports:[3109{amount}-3109{amount}]");
            HoldCall::Reserve { agent, new: reservation(resources, None, role) }
        }
        6 | 7 if !full => {
            let (below, above) = (of(row?)?, row?.hold.role()?);
            let role = role(&format!("{above}/x"));
            let new = reservation("cpus:0.1;disk:1GiB".to_owned(), Some(below), role);
            HoldCall::Reserve { agent: row?.agent, new }
        }
        8..=10 if !full => {
            let container_path = "data".to_owned();
            let (on, bytes, shared) = (of(row?)?, GIB / 2, amount.is_multiple_of(2));
            HoldCall::CreateVolume { new: NewVolume { on, bytes, container_path, shared, reclaim } }
        }
        11 | 12 => {
            let HoldId::Volume(VolumeId(id)) = row?.hold.id else { return None };
            HoldCall::GrowVolume { id: VolumeId(id), bytes: GIB / 2 + amount * GIB / 16 }
        }
        13 | 14 => {
            let role = role(["batch", "batch/1", "services"][place % 3]);
            let change =
                HoldChange { role: Some(role), reclaim: Some(reclaim), ..HoldChange::default() };
            HoldCall::Update { id: row?.hold.id, change }
        }
        _ => removal(row?)?,
    })
}

/// Services run on what is reserved for them, so that it stays.
#[must_use]
pub fn is_for_services(hold: &Hold) -> bool {
    let held = hold.held();
    let mut owners = held.entries().iter().filter_map(|entry| entry.key.reservations.last());
    owners.any(|level| level.role.as_str() == "services")
}
