//! A replica's connection ended or fell silent: the next one takes over, and a framework without any is
//! kept as long as it asked for.

use crate::effect::ConnectionId;
use crate::master::Master;
use crate::state::changes::RowKey;
use crate::state::deadlines::Deadline;
use crate::state::frameworks::Standby;
use proffer_allocator::Delta;
use proffer_types::{FrameworkId, Now, Refusal, RefusalCode};

impl Master {
    /// A replica's connection ended.
    pub(crate) fn replica_disconnected(
        &mut self,
        id: FrameworkId,
        connection: ConnectionId,
        now: Now,
    ) {
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        entry.standbys.retain(|standby| standby.candidate.connection != connection);
        self.row(RowKey::Framework(id));
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        let Some(stream) = entry.stream.as_ref().filter(|s| s.connection == connection) else {
            return;
        };
        let settled = stream.settled;
        entry.stream = None;
        entry.since = now.wall;
        let message = format!("replica {} is disconnected", entry.record.replica);
        self.return_leases(id);
        if settled {
            self.tell_allocator(Delta::FrameworkActive { framework: id, active: false });
        }
        self.event("framework_disconnected", id.to_string(), message, now);
        self.framework_without_replica(id, now);
    }

    /// No replica is active: the next one is waited for, not for ever if the framework said so.
    pub(crate) fn framework_without_replica(&mut self, id: FrameworkId, now: Now) {
        self.deadlines.clear(Deadline::FrameworkSilent(id));
        self.asks_wait(id);
        let Some(entry) = self.frameworks.get(id).filter(|entry| entry.is_live()) else { return };
        if !entry.standbys.is_empty() {
            let at = now.monotonic.after(self.config.standby_grace);
            self.deadlines.set(Deadline::FrameworkPromote(id), at);
        }
        self.arm_failover(id, now);
    }

    /// Starts the framework's time without a replica, in full.
    pub(crate) fn arm_failover(&mut self, id: FrameworkId, now: Now) {
        let timeout = self.frameworks.get(id).and_then(|e| e.record.info.failover_timeout);
        if let Some(timeout) = timeout {
            let at = now.monotonic.after(timeout);
            self.deadlines.set(Deadline::FrameworkFailover(id), at);
        }
    }

    /// The active replica did not come back in time: the next one takes its place.
    pub(crate) fn promote(&mut self, id: FrameworkId, now: Now) {
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        if entry.stream.is_some() || entry.activation.is_some() || !entry.is_live() {
            return;
        }
        if entry.standbys.is_empty() {
            return;
        }
        let raised = Some(entry.epoch().next());
        let Standby { candidate, replica, info } = entry.standbys.remove(0);
        self.row(RowKey::Framework(id));
        let record = self.next_record(id, info, replica, raised);
        self.activate(id, candidate, record, now);
    }

    /// A framework's stream may be silent for too long.
    pub(crate) fn framework_silent(&mut self, id: FrameworkId, now: Now) {
        let Some(stream) = self.frameworks.get(id).and_then(|entry| entry.stream.as_ref()) else {
            return;
        };
        let due = stream.heard.after(self.config.framework_silent_after);
        if due > now.monotonic {
            self.deadlines.set(Deadline::FrameworkSilent(id), due);
            return;
        }
        let connection = stream.connection;
        let refusal = Refusal::new(
            RefusalCode::Unavailable,
            "stream",
            format!("nothing was heard for {}", self.config.framework_silent_after),
        );
        self.close(connection, refusal);
        self.replica_disconnected(id, connection, now);
    }
}
