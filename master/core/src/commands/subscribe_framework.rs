//! A replica subscribes: a new framework, one that resumes, takes over, or stands by. The epoch is
//! durable before a replica is told that it is the active one.

use crate::effect::{ConnectionId, WriteLane};
use crate::limits;
use crate::master::Master;
use crate::registry::{FrameworkRecord, Record, RecordKey, RegistryChange, StateHead};
use crate::state::changes::RowKey;
use crate::state::connections::ConnectionKind;
use crate::state::deadlines::Deadline;
use crate::state::frameworks::{Activation, Creation, FrameworkEntry, Standby, StateStore, Stream};
use crate::state::outbox::Outbox;
use crate::state::pending::Continuation;
use proffer_allocator::Delta;
use proffer_types::scheduler::{Call, Event, FrameworkInfo};
use proffer_types::{
    FrameworkEpoch, FrameworkId, FrameworkName, Monotonic, Now, PrincipalName, Refusal,
    RefusalCode, ReplicaId,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a subscription leads to.
enum Plan {
    Create,
    /// The same session goes on, over this stream.
    Resume(FrameworkId),
    /// A new session: the epoch rises.
    Activate(FrameworkId),
    /// Another replica is active, or about to be.
    Wait(FrameworkId, ReplicaId),
}

impl Master {
    pub(crate) fn subscribe(
        &mut self,
        connection: ConnectionId,
        epoch: FrameworkEpoch,
        info: FrameworkInfo,
        replica: ReplicaId,
        take_over: bool,
        now: Now,
    ) {
        let Some(peer) = self.connections.get(connection) else { return };
        let principal = peer.principal.clone();
        let fresh = matches!(peer.kind, ConnectionKind::Replica);
        let plan = self
            .check_subscribe(&principal, epoch, &info, &replica, take_over, fresh)
            .and_then(|plan| self.check_room(&plan).map(|()| plan));
        self.changing = true;
        match plan {
            Err(refusal) => {
                let call = "subscribe".to_owned();
                self.tell_direct(connection, Event::Refused { call, refusal: refusal.clone() });
                self.close(connection, refusal);
            }
            Ok(Plan::Create) => self.create_framework(connection, principal, info, replica),
            Ok(Plan::Resume(id)) => {
                let record = self.next_record(id, info, replica, None);
                self.activate(id, connection, record, limits::FRAMEWORK_WINDOW, now);
            }
            Ok(Plan::Activate(id)) => {
                let raised = self.frameworks.get(id).map(|entry| entry.epoch().next());
                let record = self.next_record(id, info, replica, raised);
                self.activate(id, connection, record, limits::FRAMEWORK_WINDOW, now);
            }
            Ok(Plan::Wait(id, active)) => {
                self.stand_by(id, connection, info, replica, active);
            }
        }
    }

    fn check_subscribe(
        &self,
        principal: &PrincipalName,
        epoch: FrameworkEpoch,
        info: &FrameworkInfo,
        replica: &ReplicaId,
        take_over: bool,
        fresh: bool,
    ) -> Result<Plan, Refusal> {
        self.check_leading()?;
        if !fresh {
            return Err(Refusal::new(
                RefusalCode::AlreadyExists,
                "subscribe",
                "this stream has subscribed already",
            ));
        }
        check_info(info)?;
        let foreign = || {
            Err(Refusal::new(
                RefusalCode::PermissionDenied,
                "info.name",
                format!("framework {} belongs to another principal", info.name),
            ))
        };
        if let Some(creation) = self.frameworks.creating.get(&info.name) {
            if creation.record.principal != *principal {
                return foreign();
            }
            return Err(Refusal::new(
                RefusalCode::Unavailable,
                "info.name",
                "the framework is being created",
            )
            .hint("try again in a moment"));
        }
        let Some(id) = self.frameworks.by_name.get(&info.name).copied() else {
            return Ok(Plan::Create);
        };
        let Some(entry) = self.frameworks.get(id) else { return Ok(Plan::Create) };
        if self.frameworks.principal(id) != Some(principal) {
            return foreign();
        }
        if !entry.is_live() {
            return Err(Refusal::new(
                RefusalCode::Removed,
                "info.name",
                format!("framework {} is being ended", info.name),
            ));
        }
        if let Some(activation) = &entry.activation {
            return Ok(Plan::Wait(id, activation.record.replica.clone()));
        }
        let same_replica = entry.record.replica == *replica;
        if entry.granted_here && same_replica && entry.epoch() == epoch {
            return Ok(Plan::Resume(id));
        }
        if entry.stream.is_some() && !same_replica && !take_over {
            return Ok(Plan::Wait(id, entry.record.replica.clone()));
        }
        Ok(Plan::Activate(id))
    }

    fn check_room(&self, plan: &Plan) -> Result<(), Refusal> {
        let over = |field: &str, message: String| {
            Err(Refusal::new(RefusalCode::BudgetExceeded, field, message))
        };
        match plan {
            Plan::Create
                if self.frameworks.table.len() + self.frameworks.creating.len()
                    >= limits::FRAMEWORKS_MAX =>
            {
                over("frameworks", format!("there are {} frameworks", limits::FRAMEWORKS_MAX))
            }
            Plan::Wait(id, _)
                if self
                    .frameworks
                    .get(*id)
                    .is_some_and(|entry| entry.standbys.len() >= limits::STANDBYS_MAX) =>
            {
                over("replica", format!("{} replicas stand by already", limits::STANDBYS_MAX))
            }
            Plan::Create | Plan::Resume(_) | Plan::Activate(_) | Plan::Wait(..) => Ok(()),
        }
    }

    fn create_framework(
        &mut self,
        connection: ConnectionId,
        principal: PrincipalName,
        info: FrameworkInfo,
        replica: ReplicaId,
    ) {
        self.cluster.framework_mark.0 += 1;
        let framework = self.cluster.framework_mark;
        let name = info.name.clone();
        let record =
            FrameworkRecord { info, principal, epoch: FrameworkEpoch(1), replica, ending: false };
        let head = StateHead { epoch: record.epoch, version: 0 };
        let changes = vec![
            self.cluster_change(),
            framework_change(framework, &record),
            RegistryChange::put(RecordKey::StateHead(framework), Record::StateHead(head)),
        ];
        let creation =
            Creation { framework, connection, record, credits: limits::FRAMEWORK_WINDOW };
        self.frameworks.creating.insert(name.clone(), creation);
        self.persist(WriteLane::Registry, changes, Continuation::CreateFramework(name));
    }

    /// The new framework's record is durable.
    pub(crate) fn framework_created(&mut self, name: &FrameworkName, now: Now) {
        let Some(creation) = self.frameworks.creating.remove(name) else { return };
        let Creation { framework, connection, record, credits } = creation;
        let head = StateHead { epoch: record.epoch, version: 0 };
        let state = StateStore::recover(head, BTreeMap::new());
        let entry = FrameworkEntry::new(record.clone(), state, now.wall);
        self.insert_framework(framework, entry);
        self.event(
            "framework_created",
            framework.to_string(),
            format!("{name} was created as {framework} by {}", record.principal),
            now,
        );
        self.begin_session(framework, connection, record, credits, now);
    }

    fn next_record(
        &self,
        id: FrameworkId,
        info: FrameworkInfo,
        replica: ReplicaId,
        raised: Option<FrameworkEpoch>,
    ) -> Option<FrameworkRecord> {
        let record = &self.frameworks.get(id)?.record;
        Some(FrameworkRecord {
            info,
            principal: record.principal.clone(),
            epoch: raised.unwrap_or(record.epoch),
            replica,
            ending: false,
        })
    }

    /// Makes a replica the active one, after writing what the record must say first.
    fn activate(
        &mut self,
        id: FrameworkId,
        connection: ConnectionId,
        record: Option<FrameworkRecord>,
        credits: u32,
        now: Now,
    ) {
        let Some(record) = record else { return };
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        self.connections.bind_replica(connection, id);
        if entry.record == record {
            self.begin_session(id, connection, record, credits, now);
            return;
        }
        entry.state.head.epoch = record.epoch;
        let head = entry.state.head;
        // The head orders this after every commit of the session before.
        let changes = vec![
            framework_change(id, &record),
            RegistryChange::put(RecordKey::StateHead(id), Record::StateHead(head)),
        ];
        entry.activation = Some(Activation { connection, record, credits });
        self.persist(WriteLane::Registry, changes, Continuation::ActivateFramework(id));
    }

    /// The active replica's record is durable.
    pub(crate) fn framework_activated(&mut self, id: FrameworkId, now: Now) {
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        let Some(Activation { connection, record, credits }) = entry.activation.take() else {
            return;
        };
        if !entry.is_live() {
            return;
        }
        self.begin_session(id, connection, record, credits, now);
    }

    /// From here on the replica is the active one.
    fn begin_session(
        &mut self,
        id: FrameworkId,
        connection: ConnectionId,
        record: FrameworkRecord,
        credits: u32,
        now: Now,
    ) {
        self.end_stream(id, connection, &record.replica);
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        let new_session = entry.record.epoch != record.epoch || !entry.granted_here;
        let roles_changed = entry.record.info.roles != record.info.roles;
        let old_roles = std::mem::replace(&mut entry.record, record).info.roles;
        entry.granted_here = true;
        entry.since = now.wall;
        entry.standbys.retain(|standby| standby.connection != connection);
        if new_session {
            entry.token_mark = 0;
        }
        if roles_changed {
            self.change_roles(id, &old_roles);
        }
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
        self.reset_wishes(id);
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        entry.subscriptions += 1;
        let mut outbox = Outbox::new(credits);
        outbox.push(Event::Subscribed {
            framework: id,
            epoch: entry.epoch(),
            incarnation,
            heartbeat,
            offer_ttl,
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
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        entry.demand.clear();
        entry.waiting_since.clear();
        entry.states_demand = false;
        entry.revived = false;
        entry.clogged = false;
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
    fn end_stream(&mut self, id: FrameworkId, connection: ConnectionId, by: &ReplicaId) {
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

    fn stand_by(
        &mut self,
        id: FrameworkId,
        connection: ConnectionId,
        info: FrameworkInfo,
        replica: ReplicaId,
        active: ReplicaId,
    ) {
        self.connections.bind_replica(connection, id);
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        let credits = limits::FRAMEWORK_WINDOW - 1;
        entry.standbys.push(Standby { connection, replica, info, credits });
        self.tell_direct(connection, Event::Standby { active });
        self.row(RowKey::Framework(id));
    }

    /// A replica's connection ended.
    pub(crate) fn replica_disconnected(
        &mut self,
        id: FrameworkId,
        connection: ConnectionId,
        now: Now,
    ) {
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        entry.standbys.retain(|standby| standby.connection != connection);
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
    fn framework_without_replica(&mut self, id: FrameworkId, now: Now) {
        self.deadlines.clear(Deadline::FrameworkSilent(id));
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
        let Standby { connection, replica, info, credits } = entry.standbys.remove(0);
        let raised = Some(entry.epoch().next());
        let record = self.next_record(id, info, replica, raised);
        self.activate(id, connection, record, credits, now);
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

impl FrameworkEntry {
    /// Bytes arrived on one of its connections.
    pub(crate) fn heard(&mut self, connection: ConnectionId, now: Monotonic) {
        if let Some(stream) = self.stream.as_mut().filter(|s| s.connection == connection) {
            stream.heard = stream.heard.max(now);
        }
    }
}

pub(crate) fn framework_change(id: FrameworkId, record: &FrameworkRecord) -> RegistryChange {
    RegistryChange::put(RecordKey::Framework(id), Record::Framework(Box::new(record.clone())))
}

/// Checks what a framework says of itself.
fn check_info(info: &FrameworkInfo) -> Result<(), Refusal> {
    let refuse = |code, field: &str, message: String| Err(Refusal::new(code, field, message));
    if info.roles.is_empty() {
        return refuse(
            RefusalCode::InvalidArgument,
            "info.roles",
            "a framework takes part in at least one role".to_owned(),
        );
    }
    if info.roles.len() > limits::FRAMEWORK_ROLES_MAX {
        return refuse(
            RefusalCode::BudgetExceeded,
            "info.roles",
            format!("more than {} roles", limits::FRAMEWORK_ROLES_MAX),
        );
    }
    let labels: usize = info.labels.iter().map(|(key, value)| key.len() + value.len()).sum();
    if info.api_url.len() + labels > limits::FRAMEWORK_TEXT_BYTES_MAX {
        return refuse(
            RefusalCode::BudgetExceeded,
            "info.labels",
            format!("url and labels are over {} bytes", limits::FRAMEWORK_TEXT_BYTES_MAX),
        );
    }
    Ok(())
}
