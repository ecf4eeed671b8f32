//! A replica subscribes: a new framework, one that resumes, takes over, or stands by. The epoch is
//! durable before a replica is told that it is the active one.

use crate::effect::{ConnectionId, WriteLane};
use crate::limits;
use crate::master::Master;
use crate::registry::{FrameworkRecord, Record, RecordKey, RegistryChange, StateHead};
use crate::state::changes::RowKey;
use crate::state::connections::ConnectionKind;
use crate::state::frameworks::{
    Activation, Candidate, Creation, FrameworkEntry, Standby, StateStore,
};
use crate::state::pending::Continuation;
use proffer_types::scheduler::{Event, FrameworkInfo};
use proffer_types::{
    FrameworkEpoch, FrameworkId, FrameworkName, Monotonic, Now, OfferConditions, PrincipalName,
    Refusal, RefusalCode, ReplicaId,
};
use std::collections::BTreeMap;

use super::offer_conditions::check_conditions;
use super::texts::check_labels;

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

/// What a replica subscribes with.
pub(crate) struct Asked {
    pub(crate) epoch: FrameworkEpoch,
    pub(crate) info: FrameworkInfo,
    pub(crate) replica: ReplicaId,
    pub(crate) take_over: bool,
    pub(crate) conditions: OfferConditions,
}

impl Master {
    pub(crate) fn subscribe(&mut self, connection: ConnectionId, asked: Asked, now: Now) {
        let Some(peer) = self.connections.get(connection) else { return };
        let principal = peer.principal.clone();
        let fresh = matches!(peer.kind, ConnectionKind::Replica);
        let plan = self.check(|master| {
            let plan = master.check_subscribe(&principal, &asked, fresh)?;
            master.check_room(&plan).map(|()| plan)
        });
        let Asked { info, replica, conditions, .. } = asked;
        let candidate = Candidate { connection, credits: limits::FRAMEWORK_WINDOW, conditions };
        match plan {
            Err(refusal) => {
                let call = "subscribe".to_owned();
                self.tell_direct(connection, Event::Refused { call, refusal: refusal.clone() });
                self.close(connection, refusal);
            }
            Ok(Plan::Create) => self.create_framework(candidate, principal, info, replica),
            Ok(Plan::Resume(id)) => {
                let record = self.next_record(id, info, replica, None);
                self.activate(id, candidate, record, now);
            }
            Ok(Plan::Activate(id)) => {
                let raised = self.frameworks.get(id).map(|entry| entry.epoch().next());
                let record = self.next_record(id, info, replica, raised);
                self.activate(id, candidate, record, now);
            }
            Ok(Plan::Wait(id, active)) => {
                self.stand_by(id, candidate, info, replica, active);
            }
        }
    }

    fn check_subscribe(
        &self,
        principal: &PrincipalName,
        asked: &Asked,
        fresh: bool,
    ) -> Result<Plan, Refusal> {
        let Asked { epoch, info, replica, take_over, conditions } = asked;
        let (epoch, take_over) = (*epoch, *take_over);
        self.check_leading()?;
        if !fresh {
            return Err(Refusal::new(
                RefusalCode::AlreadyExists,
                "subscribe",
                "this stream has subscribed already",
            ));
        }
        check_info(info)?;
        check_name(principal, info)?;
        check_conditions(&info.roles, conditions)?;
        self.pending.check_room()?;
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
        candidate: Candidate,
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
        let creation = Creation { framework, record, candidate };
        self.frameworks.creating.insert(name.clone(), creation);
        self.persist(WriteLane::Registry, changes, Continuation::CreateFramework(name));
    }

    /// The new framework's record is durable.
    pub(crate) fn framework_created(&mut self, name: &FrameworkName, now: Now) {
        let Some(creation) = self.frameworks.creating.remove(name) else { return };
        let Creation { framework, record, candidate } = creation;
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
        self.begin_session(framework, candidate, record, now);
    }

    pub(crate) fn next_record(
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
    pub(crate) fn activate(
        &mut self,
        id: FrameworkId,
        candidate: Candidate,
        record: Option<FrameworkRecord>,
        now: Now,
    ) {
        let Some(record) = record else { return };
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        self.connections.bind_replica(candidate.connection, id);
        if entry.record == record {
            self.begin_session(id, candidate, record, now);
            return;
        }
        entry.state.head.epoch = record.epoch;
        let head = entry.state.head;
        // The head orders this after every commit of the session before.
        let changes = vec![
            framework_change(id, &record),
            RegistryChange::put(RecordKey::StateHead(id), Record::StateHead(head)),
        ];
        entry.activation = Some(Activation { record, candidate });
        self.persist(WriteLane::Registry, changes, Continuation::ActivateFramework(id));
    }

    /// The active replica's record is durable.
    pub(crate) fn framework_activated(&mut self, id: FrameworkId, now: Now) {
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        let Some(Activation { record, candidate }) = entry.activation.take() else { return };
        if !entry.is_live() {
            return;
        }
        self.begin_session(id, candidate, record, now);
    }

    fn stand_by(
        &mut self,
        id: FrameworkId,
        mut candidate: Candidate,
        info: FrameworkInfo,
        replica: ReplicaId,
        active: ReplicaId,
    ) {
        let connection = candidate.connection;
        self.connections.bind_replica(connection, id);
        let Some(entry) = self.frameworks.get_mut(id) else { return };
        candidate.credits -= 1;
        entry.standbys.push(Standby { candidate, replica, info });
        self.tell_direct(connection, Event::Standby { active });
        self.row(RowKey::Framework(id));
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

/// The certificate of one framework subscribes no other (K20).
fn check_name(principal: &PrincipalName, info: &FrameworkInfo) -> Result<(), Refusal> {
    match principal.framework_of_certificate() {
        Some(own) if own != info.name.as_str() => Err(Refusal::new(
            RefusalCode::PermissionDenied,
            "info.name",
            format!("{principal} may not subscribe {}", info.name),
        )
        .hint(format!("it is the certificate of {own}"))),
        Some(_) | None => Ok(()),
    }
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
    check_labels(&info.labels, &info.api_url).map_err(|refusal| refusal.within("info"))
}
