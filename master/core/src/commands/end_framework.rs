//! Ends a framework: durably first, then its streams, its tasks on every agent, those that return later
//! included, and at last what it stored.

use crate::effect::{ReplyTo, WriteLane};
use crate::limits;
use crate::master::Master;
use crate::registry::{FrameworkRecord, RecordKey, RegistryChange};
use crate::state::changes::RowKey;
use crate::state::deadlines::Deadline;
use crate::state::frameworks::{FrameworkEntry, Life, StateStore};
use crate::state::pending::Continuation;
use crate::state::tasks::Stage;
use proffer_allocator::Delta;
use proffer_types::agent::AgentOrder;
use proffer_types::scheduler::{Event, FrameworkInfo, TaskRecord};
use proffer_types::task::StatusReason;
use proffer_types::{
    AgentId, FrameworkEpoch, FrameworkId, FrameworkName, Now, PrincipalName, Refusal, RefusalCode,
    ReplicaId, TaskKey, TaskState,
};
use std::collections::{BTreeMap, BTreeSet};

use super::subscribe_framework::framework_change;

impl Master {
    pub(crate) fn check_teardown(&self, id: FrameworkId) -> Result<(), Refusal> {
        self.pending.check_room()?;
        if self.frameworks.get(id).is_some_and(|entry| !entry.is_ended()) {
            return Ok(());
        }
        Err(if id <= self.cluster.framework_mark && id != FrameworkId(0) {
            Refusal::new(RefusalCode::Removed, "framework", format!("{id} was ended"))
        } else {
            Refusal::new(RefusalCode::NotFound, "framework", format!("there is no framework {id}"))
        })
    }

    /// A framework's own call, an operator's, or the end of its time without a replica.
    pub(crate) fn end_framework(
        &mut self,
        id: FrameworkId,
        reply_to: Option<ReplyTo>,
        why: &str,
        now: Now,
    ) {
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        match &mut entry.life {
            Life::Ended { .. } => return,
            Life::Ending(waiting) => return waiting.extend(reply_to),
            Life::Live => {}
        }
        entry.life = Life::Ending(reply_to.into_iter().collect());
        let record = FrameworkRecord { ending: true, ..entry.record.clone() };
        let name = record.info.name.clone();
        self.persist(
            WriteLane::Registry,
            vec![framework_change(id, &record)],
            Continuation::FrameworkEnded(id),
        );
        self.return_leases(id);
        if let Some(stream) = self.frameworks.get_mut(id).and_then(|entry| entry.stream.as_mut())
            && std::mem::replace(&mut stream.settled, false)
        {
            self.tell_allocator(Delta::FrameworkActive { framework: id, active: false });
        }
        self.event("framework_ending", id.to_string(), format!("{name}: {why}"), now);
    }

    /// Its time without a replica is over, unless one came back.
    pub(crate) fn framework_failover_over(&mut self, id: FrameworkId, now: Now) {
        let waits = self.frameworks.get(id).is_some_and(|entry| {
            entry.stream.is_none() && entry.activation.is_none() && entry.is_live()
        });
        if waits {
            self.end_framework(id, None, "no replica came back in time", now);
        }
    }

    /// The end is durable.
    pub(crate) fn framework_ended(&mut self, id: FrameworkId, now: Now) {
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        let life = std::mem::replace(&mut entry.life, Life::Ended { swept: false });
        let name = entry.record.info.name.clone();
        self.end_streams(id);
        self.return_leases(id);
        self.withdraw_framework(id);
        self.end_tasks(id, now);
        self.reclaim_of(id);
        self.event("framework_ended", id.to_string(), format!("{name} was ended"), now);
        if let Life::Ending(waiting) = life {
            for reply_to in waiting {
                self.reply_done(reply_to, format!("{id} ({name}) is ended; its tasks are killed"));
            }
        }
        self.sweep_framework(id);
    }

    fn end_streams(&mut self, id: FrameworkId) {
        let refusal = || Refusal::new(RefusalCode::Removed, "framework", format!("{id} was ended"));
        self.tell(id, Event::TornDown);
        self.flush_framework(id);
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        let stream = entry.stream.take().map(|stream| stream.connection);
        let standbys: Vec<_> = std::mem::take(&mut entry.standbys)
            .into_iter()
            .map(|s| s.candidate.connection)
            .collect();
        let activation = entry.activation.take().map(|activation| activation.candidate.connection);
        if let Some(connection) = stream {
            self.close(connection, refusal());
        }
        for connection in standbys.into_iter().chain(activation) {
            self.tell_direct(connection, Event::TornDown);
            self.close(connection, refusal());
        }
    }

    /// Takes an ended framework out of every table but its own; its uses stay charged until its tasks
    /// have ended.
    pub(crate) fn withdraw_framework(&mut self, id: FrameworkId) {
        self.forget_demand(id);
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        let name = entry.record.info.name.clone();
        let roles = entry.record.info.roles.clone();
        for deadline in [
            Deadline::FrameworkSilent(id),
            Deadline::FrameworkFailover(id),
            Deadline::FrameworkPromote(id),
        ] {
            self.deadlines.clear(deadline);
        }
        if self.frameworks.by_name.get(&name) == Some(&id) {
            self.frameworks.by_name.remove(&name);
        }
        for role in &roles {
            self.roles.leave(role, id);
            self.row(RowKey::Role(role.clone()));
        }
        self.tell_allocator(Delta::FrameworkRemoved { framework: id });
        self.row(RowKey::Framework(id));
    }

    fn end_tasks(&mut self, id: FrameworkId, now: Now) {
        let mut agents: BTreeSet<AgentId> = self.occupancy.agents(id).into_iter().collect();
        let keys: Vec<TaskKey> = self.tasks.of(id).map(|(key, _)| key.clone()).collect();
        for key in keys {
            let Some(task) = self.tasks.get(&key) else { continue };
            agents.insert(task.agent());
            let out_of_reach = !self.agents.get(task.agent()).is_some_and(|a| a.is_registered());
            if task.is_terminal() || out_of_reach {
                // An agent out of reach is told when it returns.
                self.forget_task(&key);
            } else if task.stage == Stage::Held {
                self.end_task(
                    &key,
                    TaskState::Killed,
                    StatusReason::KilledByOperator,
                    "its framework was ended",
                    now,
                );
            }
        }
        for agent in agents {
            self.order(agent, AgentOrder::EndFramework { framework: id });
        }
    }

    /// Deletes what an ended framework stored, some keys at a time, and at last its record: from then on
    /// it is known to have been by its id alone (K19). Few at a time: nobody waits for it.
    pub(crate) fn sweep_framework(&mut self, id: FrameworkId) {
        self.frameworks.to_sweep.insert(id);
        self.sweep_frameworks();
    }

    fn sweep_frameworks(&mut self) {
        while self.frameworks.sweeping < limits::SWEEPS_MAX
            && let Some(id) = self.frameworks.to_sweep.pop_first()
        {
            self.sweep_some(id);
        }
    }

    fn sweep_some(&mut self, id: FrameworkId) {
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        if entry.state.operations > 0 {
            // Its last commits are on their way; the last of them comes back here.
            return;
        }
        let keys: Vec<String> =
            entry.state.index.keys().take(limits::STATE_SWEEP_KEYS).cloned().collect();
        for key in &keys {
            entry.state.index.remove(key);
        }
        let last = entry.state.index.is_empty();
        let mut changes: Vec<RegistryChange> =
            keys.into_iter().map(|key| RegistryChange::delete(RecordKey::State(id, key))).collect();
        if last {
            changes.push(RegistryChange::delete(RecordKey::StateHead(id)));
            changes.push(RegistryChange::delete(RecordKey::Framework(id)));
        }
        self.frameworks.sweeping += 1;
        let then = Continuation::FrameworkSwept { framework: id, all: last };
        self.persist(WriteLane::FrameworkState, changes, then);
    }

    /// Part of an ended framework's state is deleted, or all of it.
    pub(crate) fn framework_swept(&mut self, id: FrameworkId, all: bool) {
        self.frameworks.sweeping -= 1;
        if !all {
            return self.sweep_framework(id);
        }
        self.sweep_frameworks();
        if let Some(entry) = self.frameworks.get_mut(id) {
            entry.life = Life::Ended { swept: true };
        }
        self.forget_framework(id);
    }

    /// Removes the last trace, once nothing is stored of it and none of its tasks is left.
    pub(crate) fn forget_framework(&mut self, id: FrameworkId) {
        let over = self.frameworks.get(id).is_some_and(|e| e.life == Life::Ended { swept: true });
        if over && self.tasks.of(id).next().is_none() {
            self.frameworks.table.remove(&id);
            self.frameworks.unsent.remove(&id);
            let agents = self.occupancy.agents(id);
            self.occupancy.stale.extend(agents);
        }
    }

    /// An agent returned with tasks of a framework that was ended long ago: something must hold their
    /// charges until they have ended.
    pub(crate) fn stand_in_for_ended(&mut self, id: FrameworkId, record: &TaskRecord) {
        let named = |text: String| FrameworkName::new(&text).expect("an id makes a valid name");
        let record = FrameworkRecord {
            info: FrameworkInfo {
                name: named(format!("ended-{id}")),
                roles: BTreeSet::from([record.role.clone()]),
                api_url: String::new(),
                failover_timeout: None,
                labels: BTreeMap::new(),
            },
            principal: PrincipalName::new("ended").expect("a word is a valid principal"),
            epoch: FrameworkEpoch(0),
            replica: ReplicaId::new("none").expect("a word is a valid replica"),
            ending: true,
        };
        let state = StateStore::recover(Default::default(), BTreeMap::new());
        let mut entry = FrameworkEntry::new(record, state, Default::default());
        entry.life = Life::Ended { swept: true };
        let roles = entry.record.info.roles.clone();
        self.frameworks.table.insert(id, entry);
        self.tell_allocator(Delta::FrameworkAdded { framework: id, roles });
        self.tell_allocator(Delta::FrameworkRemoved { framework: id });
    }
}
