//! Leadership gained, the lease confirmed. The master epoch is raised by the leader's first fenced
//! write; until it is durable nothing is decided (K8).

use crate::effect::WriteLane;
use crate::master::{Leadership, Master};
use crate::registry::{Record, RecordKey, RegistryChange};
use crate::state::pending::Continuation;
use proffer_types::{Incarnation, MasterEpoch, Monotonic, Now, format};

/// Epochs of one incarnation: a restore begins above all epochs of the one before, so that agents and
/// frameworks that remember the greatest epoch they obeyed go on (K19).
const EPOCHS_PER_INCARNATION: u64 = 1 << 40;

impl Master {
    pub(crate) fn leadership_gained(&mut self, lease_until: Monotonic) {
        self.lease_until = lease_until;
        if self.leadership != Leadership::Starting || !self.pending.writes.is_empty() {
            return;
        }
        self.changing = true;
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

    pub(crate) fn lease_confirmed(&mut self, lease_until: Monotonic) {
        self.lease_until = self.lease_until.max(lease_until);
        self.suspended = false;
    }

    /// The epoch is durable.
    pub(crate) fn lead(&mut self, now: Now) {
        self.leadership = Leadership::Leading;
        let message = format!("master epoch {}", self.epoch());
        self.event("leader_elected", self.epoch().to_string(), message, now);
        self.start_deadlines(now);
    }
}
