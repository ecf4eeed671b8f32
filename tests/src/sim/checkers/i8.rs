//! I8: reservations and volumes. What an operator was told to be there is on its agent's disk; it is as it
//! was wanted, for the role that was named and no other, and nobody else is given what it takes. The data
//! of a volume are the same as long as it is there, and go only when its removal is durable in the store
//! and on the disk.

use super::{alive_on, holds, is_newest, machine_of};
use crate::sim::observe::{Checker, Seen};
use crate::sim::reserving::is_for_services;
use crate::sim::world::World;
use proffer_agent_core as agent;
use proffer_master_core::registry::{HoldIntent, HoldRecord, Record, RecordKey};
use proffer_master_core::{Command, Effect};
use proffer_types::hold::{Hold, HoldId, HoldState};
use proffer_types::operator::{Change, HoldRow};
use proffer_types::{AgentId, ResourceName, Resources, RoleName, VolumeId};
use std::collections::{BTreeMap, BTreeSet};

/// See the module's description.
#[derive(Default)]
pub(super) struct Reservations {
    /// What the store holds.
    stored: BTreeMap<HoldId, HoldRecord>,
    /// Everything that was ever wanted, by its change.
    wanted: BTreeMap<(HoldId, u64), Hold>,
    /// Holds whose removal was durable in the store.
    doomed: BTreeSet<HoldId>,
    /// What is in each volume.
    data: BTreeMap<(usize, VolumeId), u64>,
    looked: u64,
}

impl Reservations {
    fn committed(&mut self, changes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>) {
        for (key, value) in changes {
            let Ok(key @ RecordKey::Hold(id)) = RecordKey::decode(key) else { continue };
            let record = value.as_ref().and_then(|bytes| Record::decode(&key, bytes).ok());
            let Some(Record::Hold(record)) = record else {
                self.stored.remove(&id);
                continue;
            };
            if record.intent == HoldIntent::Removing {
                self.doomed.insert(id);
            }
            self.wanted.insert((id, record.hold.op), record.hold.clone());
            self.stored.insert(id, *record);
        }
    }

    /// A disk has what was wanted, and forgets what is to go.
    fn written(
        &mut self,
        node: usize,
        writes: &[agent::Write],
        world: &World,
    ) -> Result<(), String> {
        for write in writes {
            match write {
                agent::Write::PutHold(record) => {
                    self.looked += 1;
                    let (id, op) = (record.hold.id, record.hold.op);
                    let wanted = self.wanted.get(&(id, op));
                    holds(wanted == Some(&record.hold), || {
                        format!("agent {node} has {:?}, wanted was {wanted:?}", record.hold)
                    })?;
                    if record.removing.is_some() {
                        self.is_doomed(id)?;
                    }
                }
                agent::Write::DeleteHold(id) => {
                    self.looked += 1;
                    self.is_doomed(*id)?;
                    if let HoldId::Volume(volume) = id {
                        let there = world.agents[node].machine.volumes().contains_key(volume);
                        holds(!there, || format!("agent {node} forgets {id} and keeps its data"))?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn is_doomed(&self, id: HoldId) -> Result<(), String> {
        holds(self.doomed.contains(&id), || {
            format!("{id} is being removed, and nobody has wanted that durably")
        })
    }

    /// What an agent does to its volumes.
    fn volumes(
        &mut self,
        node: usize,
        effects: &[agent::Effect],
        world: &World,
    ) -> Result<(), String> {
        let machine = &world.agents[node].machine;
        for effect in effects {
            match effect {
                agent::Effect::WipeVolume { volume } => {
                    let id = HoldId::Volume(*volume);
                    self.looked += 1;
                    self.is_doomed(id)?;
                    let record = machine.checkpoint().holds.get(&id);
                    let durable = record.is_some_and(|record| record.removing.is_some());
                    holds(durable, || format!("{id} is wiped, which its disk does not know yet"))?;
                    self.data.remove(&(node, *volume));
                }
                agent::Effect::MakeVolume { volume } => {
                    let lost = world.lost_volumes.contains(&(node, *volume));
                    holds(!lost, || format!("{volume} was lost and is made anew"))?;
                }
                _ => {}
            }
        }
        self.data_stay(node, world)
    }

    fn data_stay(&mut self, node: usize, world: &World) -> Result<(), String> {
        let now = world.agents[node].machine.volumes();
        for ((_, volume), data) in self.data.range((node, VolumeId(0))..=(node, VolumeId(u64::MAX)))
        {
            let same = now.get(volume) == Some(data);
            holds(same || world.lost_volumes.contains(&(node, *volume)), || {
                format!("the data of {volume} on agent {node} are others than before, or gone")
            })?;
        }
        for (volume, data) in now {
            let doomed = self.doomed.contains(&HoldId::Volume(*volume));
            if !doomed {
                self.looked += 1;
                self.data.entry((node, *volume)).or_insert(*data);
            }
        }
        Ok(())
    }

    /// What people are shown as there is there.
    fn shown(&mut self, row: &HoldRow, world: &World) -> Result<(), String> {
        if row.state != HoldState::Applied {
            return Ok(());
        }
        let Some(node) = machine_of(world, row.agent) else { return Ok(()) };
        self.looked += 1;
        let disk = world.agents[node].machine.checkpoint().holds.get(&row.hold.id);
        holds(disk.is_some_and(|record| record.hold == row.hold), || {
            format!("{} is said to be applied on {}; its disk has {disk:?}", row.hold.id, row.agent)
        })
    }

    /// Tasks and offers leave room for everything that is held, and reserved parts go to their role.
    fn given_out(&mut self, id: AgentId, world: &World) -> Result<(), String> {
        let Some(node) = machine_of(world, id) else { return Ok(()) };
        let offers = world.view.offers.values().filter(|offer| offer.agent == id);
        let given: Vec<(&RoleName, &Resources)> = alive_on(world, id)
            .map(|row| (&row.role, &row.resources))
            .chain(offers.map(|offer| (&offer.role, &offer.resources)))
            .collect();
        let entries =
            || given.iter().flat_map(|(role, it)| it.entries().iter().map(move |e| (role, e)));
        for (role, entry) in entries() {
            let Some(level) = entry.key.reservations.last() else { continue };
            let below = role.as_str().strip_prefix(level.role.as_str());
            self.looked += 1;
            holds(below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')), || {
                format!("{id}: what is reserved for {} is given to {role}", level.role)
            })?;
        }
        let held = self.held_by(id, node, world);
        for name in [ResourceName::Cpus, ResourceName::Mem, ResourceName::Disk] {
            let used: u64 = entries()
                .filter(|(_, entry)| entry.key.is_plain())
                .map(|(_, entry)| Resources::from_entries(vec![entry.clone()]).unwrap_or_default())
                .map(|entry| entry.scalar(&name))
                .sum();
            let taken: u64 = held.iter().map(|resources| resources.scalar(&name)).sum();
            let total = world.agents[node].resources.scalar(&name);
            self.looked += 1;
            holds(used + taken <= total, || {
                let of = name.display_scalar(total);
                format!("{id}: {used} {name} are given out, {taken} are held of {of}")
            })?;
        }
        Ok(())
    }

    /// What holds take of what is for anybody: those of the store, and those of the disk.
    fn held_by(&self, id: AgentId, node: usize, world: &World) -> Vec<Resources> {
        let disk = &world.agents[node].machine.checkpoint().holds;
        let of_store = self.stored.values().filter(|record| record.agent == id);
        let mut all: BTreeMap<HoldId, &Hold> =
            of_store.map(|record| (record.hold.id, &record.hold)).collect();
        all.extend(disk.values().map(|record| (record.hold.id, &record.hold)));
        let lowest = all.into_values().filter(|hold| hold.levels().is_empty());
        lowest.map(|hold| hold.resources.clone()).collect()
    }
}

impl Checker for Reservations {
    fn id(&self) -> &'static str {
        "I8"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        match seen {
            Seen::Committed { changes, .. } => {
                self.committed(changes);
                Ok(())
            }
            Seen::Written { node, writes } => self.written(*node, writes, world),
            Seen::Agent { node, effects, .. } => self.volumes(*node, effects, world),
            Seen::Master { node, command: Command::EndOfTurn { .. }, effects, .. }
                if is_newest(world, *node) =>
            {
                let mut agents = BTreeSet::new();
                for effect in *effects {
                    let Effect::Publish { changes, .. } = effect else { continue };
                    for change in changes {
                        match change {
                            Change::Hold(row) => {
                                self.shown(row, world)?;
                                agents.insert(row.agent);
                            }
                            Change::Task(row) => {
                                agents.insert(row.status.agent);
                            }
                            Change::Offer(row) => {
                                agents.insert(row.agent);
                            }
                            _ => {}
                        }
                    }
                }
                agents.into_iter().try_for_each(|id| self.given_out(id, world))
            }
            _ => Ok(()),
        }
    }

    /// Operators have cleaned up: nothing is left, nowhere, but for what services run on.
    fn at_rest(&mut self, world: &World) -> Result<(), String> {
        let rows = world.view.holds.values().filter(|row| !is_for_services(&row.hold));
        let left: Vec<_> = rows.map(HoldRow::key).collect();
        holds(left.is_empty(), || format!("{left:?} is left"))?;
        let stored = self.stored.iter().filter(|(_, record)| !is_for_services(&record.hold));
        let stored: Vec<_> = stored.map(|(id, _)| id).collect();
        holds(stored.is_empty(), || format!("{stored:?} is stored"))?;
        for (node, it) in world.agents.iter().enumerate() {
            let disk = it.machine.checkpoint().holds.values();
            let disk: Vec<_> = disk.filter(|record| !is_for_services(&record.hold)).collect();
            holds(disk.is_empty(), || format!("agent {node} has {disk:?}"))?;
            let volumes: Vec<_> = it.machine.volumes().keys().collect();
            // Of a change that its agent refused between two of its lives.
            let data = volumes.iter().any(|id| self.doomed.contains(&HoldId::Volume(**id)));
            holds(!data, || format!("agent {node} has data of {volumes:?}"))?;
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
