//! Who may have tasks where: written before the first launch of a pair leaves, trimmed lazily (K2).

use crate::effect::{OperationId, WriteLane};
use crate::master::Master;
use crate::registry::{Record, RecordKey, RegistryChange};
use crate::state::agents::Link;
use crate::state::deadlines::Deadline;
use crate::state::occupancy::{Pair, PairState};
use crate::state::pending::Continuation;
use proffer_types::{AgentId, Now};
use std::collections::BTreeSet;

impl Master {
    /// Makes sure that the pairs are durable for the agent; the operation to wait for, if they are not
    /// yet.
    pub(crate) fn occupy(&mut self, agent: AgentId, pairs: &BTreeSet<Pair>) -> Option<OperationId> {
        let mut wait = None;
        let mut missing = Vec::new();
        for pair in pairs {
            match self.occupancy.state(agent, pair) {
                Some(PairState::Durable) => {}
                Some(PairState::Writing(operation)) => wait = wait.max(Some(operation)),
                None => missing.push(pair.clone()),
            }
        }
        if missing.is_empty() {
            return wait;
        }
        let operation = self.pending.next_operation();
        for pair in missing {
            self.occupancy.set(agent, pair, PairState::Writing(operation));
        }
        // Writes of one record keep their order, so the last one covers those before it.
        self.emit_occupancy(agent, operation);
        Some(operation)
    }

    /// Writes an agent's record as it is to be.
    pub(crate) fn write_occupancy(&mut self, agent: AgentId) {
        let operation = self.pending.next_operation();
        self.emit_occupancy(agent, operation);
    }

    fn emit_occupancy(&mut self, agent: AgentId, operation: OperationId) {
        let key = RecordKey::Occupancy(agent);
        let change = match self.occupancy.record(agent) {
            Some(record) => RegistryChange::put(key, Record::Occupancy(record)),
            None => RegistryChange::delete(key),
        };
        let then = Continuation::Occupancy(agent);
        self.persist_as(operation, WriteLane::Registry, vec![change], then);
    }

    /// Takes out pairs whose tasks have ended, where the agent's list is known: as many as the store has
    /// room for, the rest when it has room again.
    pub(crate) fn sweep_occupancy(&mut self, now: Now) {
        while self.pending.has_room_to_spare()
            && let Some(agent) = self.occupancy.stale.pop_first()
        {
            self.trim_occupancy(agent);
        }
        if self.occupancy.stale.is_empty() {
            let next = now.monotonic.after(self.config.occupancy_sweep);
            self.deadlines.set(Deadline::OccupancySweep, next);
        } else {
            self.deadlines.put_off(Deadline::OccupancySweep);
        }
    }

    fn trim_occupancy(&mut self, id: AgentId) {
        let Some(agent) = self.agents.get(id) else { return };
        let mut in_use: BTreeSet<Pair> = BTreeSet::new();
        for key in &agent.tasks {
            if let Some(task) = self.tasks.get(key) {
                in_use.insert((key.framework, task.record.role.clone()));
            }
        }
        let trimmed = match agent.link {
            Link::Connected { .. } | Link::Disconnected { .. } => {
                self.occupancy.trim(id, |pair| !in_use.contains(pair))
            }
            // Nobody waits for the answer of a framework that was ended.
            Link::Gone => {
                let frameworks = &self.frameworks;
                self.occupancy.trim(id, |(framework, _)| {
                    frameworks.get(*framework).is_none_or(|entry| entry.is_ended())
                })
            }
            Link::Awaited { .. } | Link::Unreachable => false,
        };
        if trimmed {
            self.write_occupancy(id);
        }
        self.forget_gone_agent(id);
    }
}
