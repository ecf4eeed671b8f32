//! Admitted agents: registered, disconnected, awaited, unreachable, gone; and registrations under way.

use crate::effect::ConnectionId;
use crate::registry::{AgentMode, AgentRecord, AgentStanding};
use crate::state::vacate::Vacate;
use proffer_types::agent::{AgentInfo, AgentOrder, AgentTask};
use proffer_types::hold::{AgentHold, HoldId};
use proffer_types::maintenance::Unavailability;
use proffer_types::operator::AgentCondition;
use proffer_types::{
    AgentId, AgentName, AgentSession, AgentVersion, FrameworkId, LogIncarnation, Monotonic,
    OfferId, PrincipalName, Resources, TaskKey, TaskName, TemplateDigest, WallTime, WindowId,
};
use std::collections::{BTreeMap, BTreeSet};

/// A registration being received: everything an agent says between `Register` and `RegisterEnd`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Registration {
    pub(crate) connection: ConnectionId,
    pub(crate) principal: PrincipalName,
    pub(crate) session: AgentSession,
    pub(crate) info: AgentInfo,
    pub(crate) log: LogIncarnation,
    /// It takes the orders of gangs (K3).
    pub(crate) knows_gangs: bool,
    pub(crate) tasks: Vec<AgentTask>,
    /// `None`: it says nothing of reservations and volumes, and takes no orders about them.
    pub(crate) holds: Option<Vec<AgentHold>>,
}

/// How the master reaches an agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    /// Not registered with this master yet; counts as unreachable after the moment.
    Awaited { until: Monotonic },
    /// Registered, and its connection stands.
    Connected { connection: ConnectionId, heard: Monotonic },
    /// Registered, its connection ended; may come back before it counts as unreachable.
    Disconnected { heard: Monotonic },
    /// Durably out of reach.
    Unreachable,
    /// Durably gone; kept until every framework with tasks there knows.
    Gone,
}

/// The end of one framework's status log at one agent, as far as it has come (K15).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct StatusLog {
    /// Rows whose newest status has this sequence and is not acknowledged.
    pub(crate) waiting: BTreeMap<u64, TaskName>,
}

#[derive(Clone, Debug)]
pub(crate) struct AgentEntry {
    /// What is durable.
    pub(crate) record: AgentRecord,
    pub(crate) link: Link,
    pub(crate) since: WallTime,
    pub(crate) session: AgentSession,
    pub(crate) version: AgentVersion,
    pub(crate) log: LogIncarnation,
    /// By framework and life of the log.
    pub(crate) logs: BTreeMap<(FrameworkId, LogIncarnation), StatusLog>,
    /// Every row of a task here, terminal ones included.
    pub(crate) tasks: BTreeSet<TaskKey>,
    /// Its reservations and volumes, as it said last (K18).
    pub(crate) reported: BTreeMap<HoldId, AgentHold>,
    /// It takes orders about them.
    pub(crate) knows_holds: bool,
    /// It takes the orders of gangs (K3).
    pub(crate) knows_gangs: bool,
    /// What it has for whoever asks: what it reports, with its holds as such.
    pub(crate) total: Resources,
    /// Its holds take more than it has.
    pub(crate) overbooked: bool,
    /// Used by tasks that are not terminal; shared volumes are never used up.
    pub(crate) allocated: Resources,
    /// Held by offers.
    pub(crate) offered: Resources,
    pub(crate) offers: BTreeSet<OfferId>,
    pub(crate) tasks_active: u32,
    pub(crate) templates_sent: BTreeSet<TemplateDigest>,
    /// Orders that leave at the end of the turn.
    pub(crate) outgoing: Vec<AgentOrder>,
    /// Its record as it is being written; registrations and other changes wait for it.
    pub(crate) writing: Option<AgentRecord>,
    pub(crate) waiting: Option<Registration>,
    /// It is being emptied.
    pub(crate) vacate: Option<Vacate>,
    /// Maintenance windows that name it.
    pub(crate) windows: BTreeSet<WindowId>,
    /// One of them has begun.
    pub(crate) in_window: bool,
    /// The earliest of them.
    pub(crate) unavailability: Option<Unavailability>,
    /// Its books contradict each other: it gets no launches until it registers anew (K23).
    pub(crate) frozen: Option<String>,
    /// The allocator counts it.
    pub(crate) in_pool: bool,
    /// The allocator may make leases on it.
    pub(crate) usable: bool,
}

impl AgentEntry {
    pub(crate) fn new(record: AgentRecord, link: Link, since: WallTime) -> Self {
        Self {
            total: record.info.resources.clone(),
            reported: BTreeMap::new(),
            knows_holds: false,
            knows_gangs: false,
            overbooked: false,
            record,
            link,
            since,
            session: AgentSession(0),
            version: AgentVersion(0),
            log: LogIncarnation(0),
            logs: BTreeMap::new(),
            tasks: BTreeSet::new(),
            allocated: Resources::new(),
            offered: Resources::new(),
            offers: BTreeSet::new(),
            tasks_active: 0,
            templates_sent: BTreeSet::new(),
            outgoing: Vec::new(),
            writing: None,
            waiting: None,
            vacate: None,
            windows: BTreeSet::new(),
            in_window: false,
            unavailability: None,
            frozen: None,
            in_pool: false,
            usable: false,
        }
    }

    /// The connection over which orders leave, if there is one.
    pub(crate) fn connection(&self) -> Option<ConnectionId> {
        match self.link {
            Link::Connected { connection, .. } => Some(connection),
            Link::Awaited { .. } | Link::Disconnected { .. } | Link::Unreachable | Link::Gone => {
                None
            }
        }
    }

    /// Whether its list of tasks is known to this master.
    pub(crate) fn is_registered(&self) -> bool {
        matches!(self.link, Link::Connected { .. } | Link::Disconnected { .. })
    }

    /// Whether it may get offers and launches.
    pub(crate) fn takes_tasks(&self) -> bool {
        self.connection().is_some()
            && self.record.mode == AgentMode::Active
            && !self.in_window
            && self.record.standing == AgentStanding::Reachable
            && self.writing.is_none()
            && self.frozen.is_none()
            && !self.overshoots()
    }

    /// Its tasks or holds use more than it has: permitted when it returns with less than before, and
    /// nothing more goes there until it fits again (K12). What it has beyond that for a while is its own
    /// affair.
    pub(crate) fn overshoots(&self) -> bool {
        let for_good = self.allocated.filtered(|entry| !entry.key.is_slack());
        self.overbooked || !self.total.contains(&for_good)
    }

    pub(crate) fn condition(&self) -> AgentCondition {
        match (self.link, self.record.mode) {
            (Link::Awaited { .. }, _) => AgentCondition::Awaited,
            (Link::Unreachable | Link::Gone, _) => AgentCondition::Unreachable,
            (Link::Connected { .. } | Link::Disconnected { .. }, _) if self.in_window => {
                if self.tasks_active == 0 {
                    AgentCondition::Drained
                } else {
                    AgentCondition::Draining
                }
            }
            (Link::Connected { .. } | Link::Disconnected { .. }, mode) => match mode {
                AgentMode::Active if self.frozen.is_some() => AgentCondition::Deactivated,
                AgentMode::Active => AgentCondition::Active,
                AgentMode::Draining { .. } if self.tasks_active == 0 => AgentCondition::Drained,
                AgentMode::Draining { .. } => AgentCondition::Draining,
                AgentMode::Deactivated => AgentCondition::Deactivated,
            },
        }
    }

    /// Gathers an order; without a connection it is dropped, for the next registration brings
    /// everything anew.
    pub(crate) fn order(&mut self, order: AgentOrder) {
        if self.connection().is_some() {
            self.outgoing.push(order);
        }
    }
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Agents {
    pub(crate) table: BTreeMap<AgentId, AgentEntry>,
    pub(crate) by_name: BTreeMap<AgentName, AgentId>,
    /// Registrations whose end has not come, by connection, agent and session.
    pub(crate) assembling: BTreeMap<(ConnectionId, Option<AgentId>, AgentSession), Registration>,
    /// New agents whose admission is being written.
    pub(crate) admitting: BTreeMap<AgentName, (AgentId, Registration)>,
    /// Agents that are emptied whose tasks have changed in this turn.
    pub(crate) recount: BTreeSet<AgentId>,
    /// Agents with gathered orders.
    pub(crate) unsent: BTreeSet<AgentId>,
}

impl Agents {
    pub(crate) fn get(&self, id: AgentId) -> Option<&AgentEntry> {
        self.table.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: AgentId) -> Option<&mut AgentEntry> {
        self.table.get_mut(&id)
    }

    pub(crate) fn insert(&mut self, id: AgentId, entry: AgentEntry) {
        // The name of a gone agent is free.
        if entry.record.standing != AgentStanding::Gone {
            self.by_name.insert(entry.record.info.name.clone(), id);
        }
        self.table.insert(id, entry);
    }

    pub(crate) fn remove(&mut self, id: AgentId) -> Option<AgentEntry> {
        self.unsent.remove(&id);
        self.recount.remove(&id);
        let entry = self.table.remove(&id)?;
        if self.by_name.get(&entry.record.info.name) == Some(&id) {
            self.by_name.remove(&entry.record.info.name);
        }
        Some(entry)
    }

    pub(crate) fn order(&mut self, id: AgentId, order: AgentOrder) {
        if let Some(entry) = self.table.get_mut(&id) {
            entry.order(order);
            self.unsent.insert(id);
        }
    }

    /// Forgets what a connection had begun.
    pub(crate) fn drop_assemblies(&mut self, connection: ConnectionId) {
        self.assembling.retain(|(owner, _, _), _| *owner != connection);
    }
}
