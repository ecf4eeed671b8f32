//! Reservations and volumes: orders about them, what the disk makes of them, and what is told (K18).
//! Everything is booked against this agent's own totals and durable before it is told.

use crate::agent::{Agent, Goal, Turn};
use crate::checkpoint::HoldCheckpoint;
use crate::effect::Effect;
use crate::state::holds::{AfterWrite, HoldEntry};
use crate::state::tasks::Phase;
use proffer_types::agent::AgentMessage;
use proffer_types::hold::{AGENT_HOLDS_MAX, Hold, HoldId, Standing};
use proffer_types::refusal::{Refusal, RefusalCode};
use proffer_types::{Resources, VolumeId};

impl Agent {
    /// Makes a hold or changes it. One that is there already, as it is wanted or as it was wanted
    /// later, is answered again.
    pub(crate) fn apply_hold(&mut self, hold: Hold, turn: &mut Turn) {
        let (id, op) = (hold.id, hold.op);
        if let HoldId::Volume(volume) = id
            && self.holds.making.contains_key(&volume)
        {
            // Its answer comes when the directory is there.
            return;
        }
        let known = self.holds.table.get(&id).and_then(|entry| entry.record.as_ref());
        if known.is_some_and(|record| record.hold.op >= op && record.removing.is_none()) {
            return self.answer_hold(id, op, None, self.writes.last());
        }
        if let Err(refusal) = self.check_hold(&hold) {
            return self.answer_hold(id, op, Some(refusal), self.writes.last());
        }
        match id {
            HoldId::Volume(volume) if known.is_none() => {
                self.holds.making.insert(volume, hold);
                self.settle_holds();
                turn.effects.push(Effect::MakeVolume { volume });
            }
            HoldId::Volume(_) | HoldId::Reservation(_) => self.put_hold(hold, turn),
        }
    }

    fn check_hold(&self, hold: &Hold) -> Result<(), Refusal> {
        hold.validate()?;
        if self.goal != Goal::Serve || self.identity.ending {
            let message = "the agent is ending its tasks";
            return Err(Refusal::new(RefusalCode::Unavailable, "agent", message));
        }
        let known = self.holds.table.get(&hold.id);
        if known.is_none() && self.holds.table.len() >= AGENT_HOLDS_MAX {
            let message = format!("has {AGENT_HOLDS_MAX} reservations and volumes");
            return Err(Refusal::new(RefusalCode::BudgetExceeded, "agent", message));
        }
        if known.is_some_and(|entry| {
            entry.lost || entry.record.as_ref().is_none_or(|record| record.removing.is_some())
        }) {
            let message = format!("{} is lost or being removed", hold.id);
            return Err(Refusal::new(RefusalCode::Unavailable, "id", message));
        }
        if known.is_some() {
            self.check_unused(hold.id)?;
        }
        self.check_standing(&self.holds.with(&self.config.info.resources, hold))
    }

    /// Nothing that is booked may lose its ground.
    fn check_standing(&self, standing: &Standing) -> Result<(), Refusal> {
        let stale = |message: String| {
            Err(Refusal::new(RefusalCode::ResourcesStale, "resources", message)
                .hint("the master's books differ from the agent's"))
        };
        if let Some(unfit) = standing.unfit.first() {
            return stale(format!("{unfit} would not fit what the agent has"));
        }
        match standing.total.checked_sub(self.tasks.used()) {
            Ok(_) => Ok(()),
            Err(error) => stale(format!("tasks use what it takes: {error}")),
        }
    }

    /// A volume is changed and wiped only when no live task has it.
    fn check_unused(&self, id: HoldId) -> Result<(), Refusal> {
        let HoldId::Volume(volume) = id else { return Ok(()) };
        let user = self.tasks.iter().find(|(_, task)| {
            task.phase != Phase::Ended && names(&task.record.launch.resources, volume)
        });
        match user {
            None => Ok(()),
            Some((container, _)) => {
                let message = format!("{container} uses {volume}");
                Err(Refusal::new(RefusalCode::InUse, "id", message))
            }
        }
    }

    fn put_hold(&mut self, hold: Hold, turn: &mut Turn) {
        let (id, op) = (hold.id, hold.op);
        self.record_hold(HoldCheckpoint { hold, removing: None }, turn);
        self.answer_hold(id, op, None, self.writes.last() + 1);
    }

    /// Writes a hold down; it counts as it is from here on and is told once it is durable.
    fn record_hold(&mut self, record: HoldCheckpoint, turn: &mut Turn) {
        let id = record.hold.id;
        let entry = self.holds.table.entry(id).or_insert(HoldEntry {
            record: None,
            announced: None,
            lost: false,
        });
        entry.record = Some(record);
        self.hold_touched(id, turn);
    }

    fn hold_touched(&mut self, id: HoldId, turn: &mut Turn) {
        turn.touched.holds.insert(id);
        self.settle_holds();
        self.holds.wait_for(self.writes.last() + 1, AfterWrite::Announce(id));
    }

    pub(crate) fn settle_holds(&mut self) {
        self.holds.settle(&self.config.info.resources);
    }

    fn answer_hold(&mut self, id: HoldId, op: u64, refusal: Option<Refusal>, through: u64) {
        self.holds.wait_for(through, AfterWrite::Answer { id, op, refusal });
    }

    /// The directory of a volume is there, or cannot be made.
    pub(crate) fn volume_made(
        &mut self,
        volume: VolumeId,
        failure: Option<String>,
        turn: &mut Turn,
    ) {
        let Some(hold) = self.holds.making.remove(&volume) else {
            self.counters.facts_late += 1;
            return;
        };
        match failure {
            None => self.put_hold(hold, turn),
            Some(failure) => {
                self.settle_holds();
                let refusal = Refusal::new(RefusalCode::CannotEnforce, "volume", failure);
                self.answer_hold(hold.id, hold.op, Some(refusal), self.writes.last());
            }
        }
    }

    /// Forgets a reservation, or begins to wipe a volume. One that is not there is answered again.
    pub(crate) fn remove_hold(&mut self, id: HoldId, op: u64, turn: &mut Turn) {
        let making = matches!(id, HoldId::Volume(it) if self.holds.making.contains_key(&it));
        if making {
            let message = format!("{id} is being made");
            let refusal = Refusal::new(RefusalCode::Unavailable, "id", message);
            return self.answer_hold(id, op, Some(refusal), self.writes.last());
        }
        let Some(entry) = self.holds.table.get(&id) else {
            return self.answer_hold(id, op, None, self.writes.last());
        };
        let Some(record) = entry.record.clone() else {
            // Its end is being written: it is durable with all that was written before this.
            return self.answer_hold(id, op, None, self.writes.last());
        };
        if record.removing.is_some() {
            return;
        }
        let free = self.check_unused(id).and_then(|()| {
            self.check_standing(&self.holds.without(&self.config.info.resources, id))
        });
        if let Err(refusal) = free {
            return self.answer_hold(id, op, Some(refusal), self.writes.last());
        }
        match id {
            HoldId::Reservation(_) => self.forget_hold(id, op, turn),
            HoldId::Volume(volume) => {
                self.record_hold(HoldCheckpoint { removing: Some(op), ..record }, turn);
                // Not before it is durable that the data are to go.
                self.holds.wait_for(self.writes.last() + 1, AfterWrite::Wipe(volume));
            }
        }
    }

    fn forget_hold(&mut self, id: HoldId, op: u64, turn: &mut Turn) {
        if let Some(entry) = self.holds.table.get_mut(&id) {
            entry.record = None;
        }
        self.hold_touched(id, turn);
        self.answer_hold(id, op, None, self.writes.last() + 1);
    }

    /// Nothing is left of a volume's data.
    pub(crate) fn volume_wiped(&mut self, volume: VolumeId, turn: &mut Turn) {
        let id = HoldId::Volume(volume);
        let record = self.holds.table.get(&id).and_then(|entry| entry.record.as_ref());
        match record.and_then(|record| record.removing) {
            Some(op) => self.forget_hold(id, op, turn),
            None => self.counters.facts_late += 1,
        }
    }

    /// What waited for writes that are durable now happens, in its order.
    pub(crate) fn holds_written(&mut self, turn: &mut Turn) {
        while let Some((through, _)) = self.holds.after.front()
            && self.writes.is_durable(*through)
        {
            let Some((_, after)) = self.holds.after.pop_front() else { return };
            match after {
                AfterWrite::Announce(id) => self.announce_hold(id),
                AfterWrite::Answer { id, op, refusal } => {
                    let done = AgentMessage::HoldDone { id, op, refusal };
                    // To nobody in particular when there is no registration: the next one tells.
                    self.send_registered(vec![done], turn);
                }
                AfterWrite::Wipe(volume) => turn.effects.push(Effect::WipeVolume { volume }),
            }
        }
    }

    /// Of several changes under way each is announced as the newest: what is durable is at least that
    /// one's write, and a later crash finds it so or newer.
    fn announce_hold(&mut self, id: HoldId) {
        let later = self.holds.after.iter().any(|(_, after)| *after == AfterWrite::Announce(id));
        let Some(entry) = self.holds.table.get_mut(&id) else { return };
        if later {
            return;
        }
        match &entry.record {
            Some(record) => entry.announced = Some(record.clone()),
            None => {
                self.holds.table.remove(&id);
            }
        }
    }
}

/// Whether a task has the volume.
pub(crate) fn names(resources: &Resources, volume: VolumeId) -> bool {
    resources
        .entries()
        .iter()
        .any(|entry| entry.key.volume.as_ref().is_some_and(|it| it.id == volume))
}
