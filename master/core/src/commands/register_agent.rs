//! Admits a new agent, takes back a known one with its tasks. A registration is a barrier: a launch
//! that is not on the list never ran and never will (K1).

use crate::effect::{ConnectionId, WriteLane};
use crate::limits;
use crate::master::Master;
use crate::registry::{AgentMode, AgentRecord, AgentStanding, Record, RecordKey, RegistryChange};
use crate::state::agents::{AgentEntry, Link, Registration};
use crate::state::changes::RowKey;
use crate::state::deadlines::Deadline;
use crate::state::pending::Continuation;
use proffer_allocator::Delta;
use proffer_types::agent::{AgentInfo, AgentTask};
use proffer_types::hold::{AGENT_HOLDS_MAX, AgentHold};
use proffer_types::{AgentId, AgentName, AgentSession, LogIncarnation, Now, Refusal, RefusalCode};
use std::collections::BTreeSet;

use super::texts::{check_info, check_listed};

/// What a complete registration leads to.
enum Admission {
    /// A new agent, or a new try of one whose admission is being written.
    New,
    /// A known agent.
    Known(AgentId),
}

impl Master {
    pub(crate) fn begin_registration(
        &mut self,
        connection: ConnectionId,
        agent: Option<AgentId>,
        session: AgentSession,
        info: AgentInfo,
        (log, knows_gangs): (LogIncarnation, bool),
    ) {
        let Some(principal) = self.connections.get(connection).map(|c| c.principal.clone()) else {
            return;
        };
        if let Err(refusal) = self.check(|master| master.check_assemblies(connection)) {
            self.refuse_agent(connection, agent, session, refusal, false);
            return;
        }
        let registration = Registration {
            connection,
            principal,
            session,
            info,
            log,
            knows_gangs,
            tasks: Vec::new(),
            holds: None,
        };
        self.agents.assembling.insert((connection, agent, session), registration);
    }

    fn check_assemblies(&self, connection: ConnectionId) -> Result<(), Refusal> {
        let begun = self
            .agents
            .assembling
            .range((connection, None, AgentSession(0))..)
            .take_while(|((owner, _, _), _)| *owner == connection)
            .count();
        if begun < limits::ASSEMBLIES_MAX {
            return Ok(());
        }
        Err(Refusal::new(
            RefusalCode::BudgetExceeded,
            "register",
            "too many registrations are under way on one connection",
        ))
    }

    pub(crate) fn registration_tasks(
        &mut self,
        connection: ConnectionId,
        agent: Option<AgentId>,
        session: AgentSession,
        tasks: Vec<AgentTask>,
    ) {
        let key = (connection, agent, session);
        let Some(registration) = self.agents.assembling.get_mut(&key) else {
            self.counters.stale_frames += 1;
            return;
        };
        if registration.tasks.len() + tasks.len() > limits::AGENT_TASKS_MAX {
            self.agents.assembling.remove(&key);
            let refusal = Refusal::new(
                RefusalCode::BudgetExceeded,
                "tasks",
                format!("more than {} tasks on one agent", limits::AGENT_TASKS_MAX),
            );
            self.refuse_agent(connection, agent, session, refusal, false);
            return;
        }
        registration.tasks.extend(tasks);
    }

    pub(crate) fn registration_holds(
        &mut self,
        connection: ConnectionId,
        agent: Option<AgentId>,
        session: AgentSession,
        holds: Vec<AgentHold>,
    ) {
        let key = (connection, agent, session);
        let Some(registration) = self.agents.assembling.get_mut(&key) else {
            self.counters.stale_frames += 1;
            return;
        };
        let listed = registration.holds.get_or_insert_default();
        listed.extend(holds);
        // An agent keeps no more; what is above is checked when the list is complete.
        listed.truncate(AGENT_HOLDS_MAX + 1);
    }

    pub(crate) fn registration_ended(
        &mut self,
        connection: ConnectionId,
        agent: Option<AgentId>,
        session: AgentSession,
        now: Now,
    ) {
        let key = (connection, agent, session);
        let checked = self.check(|master| {
            let registration = master.agents.assembling.get(&key)?;
            Some(master.check_registration(agent, registration))
        });
        let registration = self.agents.assembling.remove(&key);
        let (Some(checked), Some(registration)) = (checked, registration) else {
            self.counters.stale_frames += 1;
            return;
        };
        match checked {
            Ok(Admission::New) => self.admit(registration),
            Ok(Admission::Known(id)) => self.register_known(id, registration, now),
            Err((refusal, gone)) => {
                self.refuse_agent(connection, agent, session, refusal, gone);
            }
        }
    }

    fn check_registration(
        &self,
        agent: Option<AgentId>,
        registration: &Registration,
    ) -> Result<Admission, (Refusal, bool)> {
        let refuse =
            |code, field: &str, message: String| (Refusal::new(code, field, message), false);
        check_info(&registration.info).map_err(|refusal| (refusal.within("info"), false))?;
        check_list(&registration.tasks).map_err(|refusal| (refusal, false))?;
        check_holds(registration.holds.as_deref().unwrap_or_default())
            .map_err(|refusal| (refusal, false))?;
        check_name(registration).map_err(|refusal| (refusal.within("info"), false))?;
        self.pending.check_room().map_err(|refusal| (refusal, false))?;
        let by_name = self.agents.by_name.get(&registration.info.name).copied();
        let id = match agent {
            Some(id) if self.agents.get(id).is_none() => {
                return Err(if id <= self.cluster.agent_mark {
                    let refusal = Refusal::new(
                        RefusalCode::Removed,
                        "agent",
                        format!("{id} was marked gone"),
                    )
                    .hint("it ends its tasks and starts anew without an id");
                    (refusal, true)
                } else {
                    refuse(
                        RefusalCode::Unavailable,
                        "agent",
                        format!("{id} is ahead of this registry, which was restored from a copy"),
                    )
                });
            }
            Some(id) => id,
            None => match by_name {
                Some(id) => id,
                None if self.agents.table.len() + self.agents.admitting.len()
                    >= limits::AGENTS_MAX =>
                {
                    return Err(refuse(
                        RefusalCode::BudgetExceeded,
                        "agents",
                        format!("the cluster has {} agents", limits::AGENTS_MAX),
                    ));
                }
                None => return Ok(Admission::New),
            },
        };
        let Some(entry) = self.agents.get(id) else { return Ok(Admission::New) };
        if entry.link == Link::Gone || entry.record.standing == AgentStanding::Gone {
            // Without an id it starts anew as soon as the old one is forgotten.
            let refusal =
                Refusal::new(RefusalCode::Removed, "agent", format!("{id} was marked gone"));
            return Err((refusal, agent.is_some()));
        }
        if entry.record.principal != registration.principal {
            return Err(refuse(
                RefusalCode::PermissionDenied,
                "agent",
                format!("{id} belongs to another principal"),
            ));
        }
        if by_name.is_some_and(|other| other != id) {
            return Err(refuse(
                RefusalCode::AlreadyExists,
                "name",
                format!("{} is the name of another agent", registration.info.name),
            ));
        }
        // Without its id it is the agent of that name only if it may be the same machine that has lost
        // its memory.
        let same_machine = entry.record.info.hostname == registration.info.hostname;
        if agent.is_none() && (matches!(entry.link, Link::Connected { .. }) || !same_machine) {
            let refusal = Refusal::new(
                RefusalCode::AlreadyExists,
                "name",
                format!("{} is the name of {id}", registration.info.name),
            )
            .hint("give each agent its own name, or mark the old one gone");
            return Err((refusal, false));
        }
        if agent.is_some() && registration.session <= entry.session {
            return Err(refuse(
                RefusalCode::StaleEpoch,
                "session",
                format!("session {} is not after {}", registration.session, entry.session),
            ));
        }
        Ok(Admission::Known(id))
    }

    /// Writes a new agent's record; a repeat while that is under way takes its place.
    fn admit(&mut self, registration: Registration) {
        let name = registration.info.name.clone();
        if let Some((_, waiting)) = self.agents.admitting.get_mut(&name) {
            if waiting.principal == registration.principal {
                *waiting = registration;
            }
            return;
        }
        self.cluster.agent_mark.0 += 1;
        let id = self.cluster.agent_mark;
        let record = AgentRecord {
            info: registration.info.clone(),
            principal: registration.principal.clone(),
            standing: AgentStanding::Reachable,
            mode: AgentMode::Active,
        };
        let changes = vec![
            self.cluster_change(),
            RegistryChange::put(RecordKey::Agent(id), Record::Agent(Box::new(record))),
        ];
        self.agents.admitting.insert(name.clone(), (id, registration));
        self.persist(WriteLane::Registry, changes, Continuation::AdmitAgent(name));
    }

    /// The new agent's record is durable.
    pub(crate) fn agent_admitted(&mut self, name: &AgentName, now: Now) {
        let Some((id, registration)) = self.agents.admitting.remove(name) else { return };
        let record = AgentRecord {
            info: registration.info.clone(),
            principal: registration.principal.clone(),
            standing: AgentStanding::Reachable,
            mode: AgentMode::Active,
        };
        let until = now.monotonic.after(self.config.agent_awaited_for);
        self.agents.insert(id, AgentEntry::new(record, Link::Awaited { until }, now.wall));
        self.deadlines.set(Deadline::Agent(id), until);
        self.event("agent_admitted", id.to_string(), format!("{name} was admitted as {id}"), now);
        self.row(RowKey::Agent(id));
        self.register_known(id, registration, now);
    }

    /// Registers a known agent, after writing what its record must say first.
    fn register_known(&mut self, id: AgentId, registration: Registration, now: Now) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        if agent.writing.is_some() {
            agent.waiting = Some(registration);
            return;
        }
        let record = AgentRecord {
            info: registration.info.clone(),
            principal: agent.record.principal.clone(),
            standing: AgentStanding::Reachable,
            mode: agent.record.mode,
        };
        if record == agent.record {
            self.complete_registration(id, registration, now);
            return;
        }
        agent.waiting = Some(registration);
        self.write_agent(id, record, Continuation::RegisterAgent(id));
    }

    /// Writes an agent's record. Until it is durable the agent gets nothing new, and nothing else of
    /// its record changes.
    pub(crate) fn write_agent(&mut self, id: AgentId, record: AgentRecord, then: Continuation) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        agent.writing = Some(record.clone());
        let change = RegistryChange::put(RecordKey::Agent(id), Record::Agent(Box::new(record)));
        self.persist(WriteLane::Registry, vec![change], then);
        self.sync_usable(id);
    }

    /// The agent's record is durable as it was written. What it has may have changed with it.
    pub(crate) fn agent_written(&mut self, id: AgentId) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        let Some(record) = agent.writing.take() else { return };
        let old = std::mem::replace(&mut agent.record, record);
        let info = &agent.record.info;
        let same = old.info.resources == info.resources && old.info.attributes == info.attributes;
        if same {
            return;
        }
        agent.version = agent.version.next();
        let attributes = info.attributes.clone();
        let in_pool = agent.in_pool;
        self.rescind_agent(id, "agent_changed");
        self.settle_total(id);
        if in_pool && let Some(agent) = self.agents.get(id) {
            let resources = agent.total.clone();
            self.tell_allocator(Delta::AgentChanged { agent: id, resources, attributes });
        }
        self.row(RowKey::Agent(id));
    }

    /// Goes on with a registration that waited for a write of the agent's record.
    pub(crate) fn resume_registration(&mut self, id: AgentId, now: Now) {
        match self.agents.get_mut(id).and_then(|agent| agent.waiting.take()) {
            Some(registration) => self.register_known(id, registration, now),
            None => self.sync_usable(id),
        }
    }
}

/// The certificate of one agent registers no other (K20).
fn check_name(registration: &Registration) -> Result<(), Refusal> {
    let (name, principal) = (&registration.info.name, &registration.principal);
    match principal.agent_of_certificate() {
        Some(own) if own != name.as_str() => Err(Refusal::new(
            RefusalCode::PermissionDenied,
            "name",
            format!("{principal} may not register {name}"),
        )
        .hint(format!("it is the certificate of {own}"))),
        Some(_) | None => Ok(()),
    }
}

/// What is on the list was made by a master, so that it is as it may be.
fn check_holds(holds: &[AgentHold]) -> Result<(), Refusal> {
    if holds.len() > AGENT_HOLDS_MAX {
        let message = format!("are more than {AGENT_HOLDS_MAX}");
        return Err(Refusal::new(RefusalCode::BudgetExceeded, "holds", message));
    }
    for (index, it) in holds.iter().enumerate() {
        it.hold.validate().map_err(|refusal| refusal.within(format!("holds[{index}]")))?;
    }
    Ok(())
}

/// What is on the list was launched by a master, so that nothing on it is larger than a launch may be.
fn check_list(tasks: &[AgentTask]) -> Result<(), Refusal> {
    let mut pairs = BTreeSet::new();
    for (index, task) in tasks.iter().enumerate() {
        check_listed(task).map_err(|refusal| refusal.within(format!("tasks[{index}]")))?;
        pairs.insert((task.record.status.framework, &task.record.role));
    }
    if pairs.len() > limits::AGENT_PAIRS_MAX {
        let message = format!("are of more than {} frameworks and roles", limits::AGENT_PAIRS_MAX);
        return Err(Refusal::new(RefusalCode::BudgetExceeded, "tasks", message));
    }
    Ok(())
}
