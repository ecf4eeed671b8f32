//! Reservations and volumes of this agent, and what it has for tasks because of them (K18).

use crate::checkpoint::HoldCheckpoint;
use crate::command::WriteId;
use proffer_types::hold::{AgentHold, Hold, HoldId, HoldStage, Standing, Use};
use proffer_types::{Refusal, Resources, VolumeId};
use std::collections::{BTreeMap, VecDeque};

/// A hold as it is, or will be once the writes under way are durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct HoldEntry {
    /// `None`: its removal is being written.
    pub(crate) record: Option<HoldCheckpoint>,
    /// What is durable of it; `None` while it is being written for the first time.
    pub(crate) announced: Option<HoldCheckpoint>,
    /// The disk says that there is a volume, and its directory is not there.
    pub(crate) lost: bool,
}

/// What follows once a write is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum AfterWrite {
    /// The entry is as the write made it.
    Announce(HoldId),
    /// The master is answered.
    Answer { id: HoldId, op: u64, refusal: Option<Refusal> },
    /// The data of a volume go.
    Wipe(VolumeId),
}

#[derive(Default, Debug)]
pub(crate) struct Holds {
    pub(crate) table: BTreeMap<HoldId, HoldEntry>,
    /// Volumes whose directory is being made: they are in the books, and in no list.
    pub(crate) making: BTreeMap<VolumeId, Hold>,
    pub(crate) after: VecDeque<(WriteId, AfterWrite)>,
    /// What tasks may use.
    total: Resources,
}

impl Holds {
    /// As it was left.
    pub(crate) fn restore(&mut self, record: HoldCheckpoint, lost: bool) {
        let id = record.hold.id;
        let entry = HoldEntry { announced: Some(record.clone()), record: Some(record), lost };
        self.table.insert(id, entry);
    }

    /// Once the write is durable, and all that waits already.
    pub(crate) fn wait_for(&mut self, write: WriteId, after: AfterWrite) {
        let last = self.after.back().map_or(0, |(last, _)| *last);
        self.after.push_back((write.max(last), after));
    }

    pub(crate) fn total(&self) -> &Resources {
        &self.total
    }

    /// Everything that is booked, with whether tasks may use it.
    fn booked(&self) -> impl Iterator<Item = (&Hold, Use)> {
        let stored = self.table.values().filter_map(|entry| {
            let record = entry.record.as_ref()?;
            let usable = record.removing.is_none() && !entry.lost;
            Some((&record.hold, if usable { Use::Offered } else { Use::Withheld }))
        });
        stored.chain(self.making.values().map(|hold| (hold, Use::Withheld)))
    }

    /// What there would be with one hold more, or in place of the one of its id.
    pub(crate) fn with(&self, reported: &Resources, hold: &Hold) -> Standing {
        let others = self.booked().filter(|(other, _)| other.id != hold.id);
        Standing::of(reported, others.chain([(hold, Use::Offered)]))
    }

    /// What there would be without one.
    pub(crate) fn without(&self, reported: &Resources, id: HoldId) -> Standing {
        Standing::of(reported, self.booked().filter(|(other, _)| other.id != id))
    }

    /// What there is. Holds that do not fit what the agent is configured with are left out.
    pub(crate) fn settle(&mut self, reported: &Resources) {
        self.total = Standing::of(reported, self.booked()).total;
    }

    /// Everything that is durable, for a registration.
    pub(crate) fn list(&self) -> Vec<AgentHold> {
        let listed = self.table.values().filter_map(|entry| {
            let record = entry.announced.as_ref()?;
            let stage = match record.removing {
                Some(_) => HoldStage::Removing,
                None if entry.lost => HoldStage::Lost,
                None => HoldStage::Applied,
            };
            Some(AgentHold { hold: record.hold.clone(), stage })
        });
        listed.collect()
    }
}
