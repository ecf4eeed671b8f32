//! One session of a framework's active replica: how its stream begins, what it has said, how it is
//! replaced by the next.

use crate::capability::framework_capability_key;
use crate::effect::ConnectionId;
use crate::master::Master;
use crate::registry::FrameworkRecord;
use crate::state::changes::RowKey;
use crate::state::deadlines::Deadline;
use crate::state::frameworks::{Candidate, Stream};
use crate::state::outbox::Outbox;
use proffer_allocator::Delta;
use proffer_types::scheduler::{Call, Event};
use proffer_types::{FrameworkId, Now, Refusal, RefusalCode, ReplicaId};
use std::collections::{BTreeMap, BTreeSet};

impl Master {
    /// From here on the replica is the active one.
    pub(crate) fn begin_session(
        &mut self,
        id: FrameworkId,
        candidate: Candidate,
        record: FrameworkRecord,
        now: Now,
    ) {
        let Candidate { connection, credits, conditions } = candidate;
        self.end_stream(id, connection, &record.replica);
        self.reset_wishes(id);
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        let new_session = entry.record.epoch != record.epoch || !entry.granted_here;
        let roles_changed = entry.record.info.roles != record.info.roles;
        let old_roles = std::mem::replace(&mut entry.record, record).info.roles;
        entry.granted_here = true;
        entry.since = now.wall;
        entry.standbys.retain(|standby| standby.candidate.connection != connection);
        if new_session {
            entry.token_mark = 0;
            // The replica may know nothing of what the last one wanted.
            entry.budgets.clear();
        }
        if roles_changed {
            self.change_roles(id, &old_roles);
        }
        self.set_conditions(id, &conditions);
        self.row(RowKey::Framework(id));
        if self.connections.get(connection).is_none() {
            // It went away while its record was written.
            self.framework_without_replica(id, now);
            return;
        }
        self.open_stream(id, connection, credits, now);
    }

    fn change_roles(&mut self, id: FrameworkId, old: &BTreeSet<proffer_types::RoleName>) {
        let Some(entry) = self.frameworks.get(id) else { return };
        let roles = entry.record.info.roles.clone();
        for role in old.difference(&roles) {
            self.roles.leave(role, id);
            self.row(RowKey::Role(role.clone()));
        }
        for role in roles.difference(old) {
            self.roles.join(role, id);
            self.row(RowKey::Role(role.clone()));
        }
        self.tell_allocator(Delta::FrameworkAdded { framework: id, roles });
    }

    fn open_stream(&mut self, id: FrameworkId, connection: ConnectionId, credits: u32, now: Now) {
        self.connections.bind_replica(connection, id);
        let incarnation = self.cluster.incarnation;
        let (heartbeat, offer_ttl) = (self.config.framework_heartbeat, self.config.offer_ttl);
        let capability_key = framework_capability_key(&self.config.capability_secret, id);
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        entry.subscriptions += 1;
        let mut outbox = Outbox::new(credits);
        outbox.urge(Event::Subscribed {
            framework: id,
            epoch: entry.epoch(),
            incarnation,
            heartbeat,
            offer_ttl,
            capability_key,
        });
        outbox.snapshot();
        entry.stream = Some(Stream {
            connection,
            outbox,
            heard: now.monotonic,
            unresolved: BTreeSet::new(),
            templates: BTreeMap::new(),
            template_bytes: 0,
            settled: false,
        });
        let message =
            format!("{} is active with epoch {}", entry.record.replica, entry.record.epoch);
        self.frameworks.unsent.insert(id);
        self.tell_all_asks(id, now);
        self.tell_all_claims(id, now);
        self.deadlines.clear(Deadline::FrameworkFailover(id));
        self.deadlines.clear(Deadline::FrameworkPromote(id));
        self.deadlines.set(
            Deadline::FrameworkSilent(id),
            now.monotonic.after(self.config.framework_silent_after),
        );
        self.row(RowKey::Framework(id));
        self.event("framework_subscribed", id.to_string(), message, now);
    }

    /// Demand and suppression are re-sent whole at each subscription and never outlive it (K10).
    fn reset_wishes(&mut self, id: FrameworkId) {
        if self.frameworks.get(id).is_some_and(|entry| entry.clogged) {
            self.set_clogged(id, false);
        }
        self.forget_demand(id);
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        entry.states_demand = false;
        entry.revived = false;
        let suppressed = std::mem::take(&mut entry.suppressed);
        for role in suppressed {
            let delta = Delta::Suppressed { framework: id, role, suppressed: false };
            self.tell_allocator(delta);
        }
        self.tell_allocator(Delta::Demand { framework: id, groups: None });
    }

    /// The first call after the subscription says what the framework is; only now it gets offers.
    pub(crate) fn settle(&mut self, id: FrameworkId, call: &Call) {
        let Some(stream) = self.frameworks.get_mut(id).and_then(|entry| entry.stream.as_mut())
        else {
            return;
        };
        if stream.settled {
            return;
        }
        stream.settled = true;
        if matches!(call, Call::Demand { .. }) {
            // Demand mode begins with the activation, so that no classical offer slips in between.
            self.tell_allocator(Delta::Demand { framework: id, groups: Some(Vec::new()) });
        }
        self.tell_allocator(Delta::FrameworkActive { framework: id, active: true });
    }

    /// Ends the stream that `connection` replaces. Its leases go back: they were its session's.
    pub(crate) fn end_stream(&mut self, id: FrameworkId, connection: ConnectionId, by: &ReplicaId) {
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        let Some(old) = entry.stream.as_mut() else { return };
        let (old_connection, settled) = (old.connection, old.settled);
        if old_connection == connection {
            return;
        }
        old.outbox.push(Event::Superseded { by: by.clone() });
        self.flush_framework(id);
        if let Some(entry) = self.frameworks.get_mut(id) {
            entry.stream = None;
        }
        self.return_leases(id);
        if settled {
            self.tell_allocator(Delta::FrameworkActive { framework: id, active: false });
        }
        let refusal = Refusal::new(
            RefusalCode::Superseded,
            "replica",
            format!("replica {by} is the active one"),
        );
        self.close(old_connection, refusal);
    }
}
