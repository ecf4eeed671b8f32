//! Leadership gained, the lease confirmed. The master epoch is raised by the leader's first fenced
//! write; until it is durable nothing is decided (K8).

use crate::effect::WriteLane;
use crate::master::{Leadership, Master};
use crate::registry::{Record, RecordKey, RegistryChange};
use crate::state::agents::Link;
use crate::state::pending::Continuation;
use proffer_types::{Incarnation, MasterEpoch, Monotonic, Now, format};

/// Epochs of one incarnation: a restore begins above all epochs of the one before, so that agents and
/// frameworks that remember the greatest epoch they obeyed go on (K19).
const EPOCHS_PER_INCARNATION: u64 = 1 << 40;

impl Master {
    pub(crate) fn leadership_gained(&mut self, lease_until: Monotonic, now: Monotonic) {
        self.lease_until = lease_until;
        self.suspended = now >= lease_until;
        if self.leadership != Leadership::Starting || !self.pending.nothing_is_written() {
            return;
        }
        let cluster = &mut self.cluster;
        cluster.incarnation = cluster.incarnation.max(Incarnation(1));
        cluster.feature_level = cluster.feature_level.max(format::REGISTRY);
        let first = (cluster.incarnation.0 - 1).saturating_mul(EPOCHS_PER_INCARNATION);
        cluster.master_epoch = cluster.master_epoch.max(MasterEpoch(first)).next();
        let change = self.cluster_change();
        self.persist(WriteLane::Registry, vec![change], Continuation::Lead);
    }

    /// The counters as they are to be stored.
    pub(crate) fn cluster_change(&self) -> RegistryChange {
        RegistryChange::put(RecordKey::Cluster, Record::Cluster(self.cluster.clone()))
    }

    /// A suspension ends when the lease reaches ahead again. What was not heard meanwhile proves
    /// nothing: peers are timed from now on (K15).
    pub(crate) fn lease_confirmed(&mut self, lease_until: Monotonic, now: Monotonic) {
        self.lease_until = self.lease_until.max(lease_until);
        if !self.suspended || now >= self.lease_until {
            return;
        }
        self.suspended = false;
        for agent in self.agents.table.values_mut() {
            match &mut agent.link {
                Link::Connected { heard, .. } | Link::Disconnected { heard } => *heard = now,
                Link::Awaited { until } => {
                    *until = (*until).max(now.after(self.config.agent_awaited_for));
                }
                Link::Unreachable | Link::Gone => {}
            }
        }
        for stream in self.frameworks.table.values_mut().filter_map(|e| e.stream.as_mut()) {
            stream.heard = now;
        }
    }

    /// The epoch is durable.
    pub(crate) fn lead(&mut self, now: Now) {
        self.leadership = Leadership::Leading;
        let message = format!("master epoch {}", self.epoch());
        self.event("leader_elected", self.epoch().to_string(), message, now);
        self.start_deadlines(now);
    }
}
