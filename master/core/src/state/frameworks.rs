//! Frameworks: their durable record, the active replica's stream, those that stand by.

use super::outbox::Outbox;
use super::tally::Tally;
use crate::effect::{ConnectionId, ReplyTo};
use crate::registry::{FrameworkRecord, StateHead, StateMeta};
use proffer_types::demand::DemandGroup;
use proffer_types::scheduler::FrameworkInfo;
use proffer_types::state_store::CommitRate;
use proffer_types::template::PodTemplate;
use proffer_types::{
    AgentId, FrameworkEpoch, FrameworkId, FrameworkName, GroupName, InverseOfferId, Monotonic,
    OfferConditions, OfferId, PrincipalName, Refusal, RefusalCode, ReplicaId, RoleName,
    TemplateDigest, WallTime,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The active replica's subscription.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) connection: ConnectionId,
    pub(crate) outbox: Outbox,
    pub(crate) heard: Monotonic,
    /// Agents that its last snapshot could not speak for and that have not been resolved since (K2).
    pub(crate) unresolved: BTreeSet<AgentId>,
    /// Templates that it named.
    pub(crate) templates: BTreeMap<TemplateDigest, Arc<PodTemplate>>,
    pub(crate) template_bytes: usize,
    /// It has said something since it subscribed; before that its demand is not known, and it gets
    /// no offers that it would only decline.
    pub(crate) settled: bool,
}

/// A replica that is not active yet: its stream, and what it wants to be offered when it is.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) connection: ConnectionId,
    pub(crate) credits: u32,
    pub(crate) conditions: OfferConditions,
}

/// A replica that waits.
#[derive(Clone, Debug)]
pub(crate) struct Standby {
    pub(crate) candidate: Candidate,
    pub(crate) replica: ReplicaId,
    pub(crate) info: FrameworkInfo,
}

/// A replica whose activation is being written.
#[derive(Clone, Debug)]
pub(crate) struct Activation {
    pub(crate) record: FrameworkRecord,
    pub(crate) candidate: Candidate,
}

/// The state store as the core knows it: versions and sizes, those being written included (K4, K9).
#[derive(Clone, Debug)]
pub(crate) struct StateStore {
    pub(crate) head: StateHead,
    pub(crate) index: BTreeMap<String, StateMeta>,
    pub(crate) bytes: u64,
    pub(crate) operations: usize,
    /// Of commits that are not durable yet.
    pub(crate) writing_bytes: usize,
    pub(crate) rate: CommitRate,
}

impl StateStore {
    pub(crate) fn recover(head: StateHead, index: BTreeMap<String, StateMeta>) -> Self {
        let bytes = index.iter().map(|(key, meta)| key.len() as u64 + meta.bytes).sum();
        let rate = CommitRate::default();
        Self { head, index, bytes, operations: 0, writing_bytes: 0, rate }
    }
}

/// Where a framework is between its creation and its last trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Life {
    /// It exists.
    Live,
    /// Its end is being written; who is to be told.
    Ending(Vec<ReplyTo>),
    /// Durably ended; it stays until its tasks have ended and its records are deleted.
    Ended {
        /// Its records are deleted.
        swept: bool,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct FrameworkEntry {
    /// What is durable.
    pub(crate) record: FrameworkRecord,
    /// The active replica; `None` while none is.
    pub(crate) stream: Option<Stream>,
    pub(crate) since: WallTime,
    pub(crate) standbys: Vec<Standby>,
    pub(crate) activation: Option<Activation>,
    /// The epoch was granted by this master, so a replica that presents it resumes.
    pub(crate) granted_here: bool,
    /// Subscriptions so far; rows remember which of them saw their full record.
    pub(crate) subscriptions: u64,
    /// Highest launch token of the epoch (K1).
    pub(crate) token_mark: u64,
    pub(crate) demand: BTreeMap<GroupName, DemandGroup>,
    /// When groups are given up; those without a deadline are not in it.
    pub(crate) demand_ends: BTreeMap<GroupName, Monotonic>,
    /// Since when a group is not met; absent: it is.
    pub(crate) waiting_since: BTreeMap<GroupName, WallTime>,
    /// It has stated demand, perhaps none, in this subscription (K10).
    pub(crate) states_demand: bool,
    /// It asked for offers beside its demand.
    pub(crate) revived: bool,
    pub(crate) suppressed: BTreeSet<RoleName>,
    /// What it wants to be offered while it states no demand.
    pub(crate) conditions: OfferConditions,
    /// How many of its tasks are to stay available, as it said last.
    pub(crate) budgets: BTreeMap<GroupName, u32>,
    /// It holds or has unread so much that it gets no new offers for now.
    pub(crate) clogged: bool,
    pub(crate) offers: BTreeSet<OfferId>,
    pub(crate) allocated: Tally,
    pub(crate) offered: Tally,
    /// What it is asked to give up, by agent.
    pub(crate) asked: BTreeMap<InverseOfferId, AgentId>,
    /// Tasks by group on agents that are not counted, because they are out of reach.
    pub(crate) out_of_reach: BTreeMap<GroupName, u32>,
    pub(crate) tasks_active: u32,
    pub(crate) state: StateStore,
    pub(crate) life: Life,
}

impl FrameworkEntry {
    pub(crate) fn new(record: FrameworkRecord, state: StateStore, since: WallTime) -> Self {
        Self {
            record,
            stream: None,
            since,
            standbys: Vec::new(),
            activation: None,
            granted_here: false,
            subscriptions: 0,
            token_mark: 0,
            demand: BTreeMap::new(),
            demand_ends: BTreeMap::new(),
            waiting_since: BTreeMap::new(),
            states_demand: false,
            revived: false,
            suppressed: BTreeSet::new(),
            conditions: OfferConditions::new(),
            budgets: BTreeMap::new(),
            clogged: false,
            offers: BTreeSet::new(),
            allocated: Tally::default(),
            offered: Tally::default(),
            asked: BTreeMap::new(),
            out_of_reach: BTreeMap::new(),
            tasks_active: 0,
            state,
            life: Life::Live,
        }
    }

    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.life, Life::Ended { .. })
    }

    pub(crate) fn epoch(&self) -> FrameworkEpoch {
        self.record.epoch
    }

    /// While the next session is being written, the one before may start and write nothing: the new
    /// replica decides from what it reads, and must not miss what lands after that.
    pub(crate) fn check_not_superseded(&self) -> Result<(), Refusal> {
        match &self.activation {
            None => Ok(()),
            Some(activation) => Err(Refusal::new(
                RefusalCode::Superseded,
                "replica",
                format!("replica {} is about to be the active one", activation.record.replica),
            )),
        }
    }

    /// Whether it exists for people and may be used.
    pub(crate) fn is_live(&self) -> bool {
        self.life == Life::Live
    }
}

/// A framework whose first record is being written.
#[derive(Clone, Debug)]
pub(crate) struct Creation {
    pub(crate) framework: FrameworkId,
    pub(crate) record: FrameworkRecord,
    pub(crate) candidate: Candidate,
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Frameworks {
    pub(crate) table: BTreeMap<FrameworkId, FrameworkEntry>,
    pub(crate) by_name: BTreeMap<FrameworkName, FrameworkId>,
    pub(crate) creating: BTreeMap<FrameworkName, Creation>,
    /// Frameworks whose stream has something to send.
    pub(crate) unsent: BTreeSet<FrameworkId>,
    /// Frameworks that were sent something or gave offers back since it was last looked whether they may
    /// have more. Those of `unsent` are looked at too.
    pub(crate) unweighed: BTreeSet<FrameworkId>,
    /// Ended frameworks whose stored state is to be deleted.
    pub(crate) to_sweep: BTreeSet<FrameworkId>,
    /// How many of them are being deleted.
    pub(crate) sweeping: usize,
}

impl Frameworks {
    pub(crate) fn get(&self, id: FrameworkId) -> Option<&FrameworkEntry> {
        self.table.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: FrameworkId) -> Option<&mut FrameworkEntry> {
        self.table.get_mut(&id)
    }

    /// The framework's active stream, marked as having something to send.
    pub(crate) fn outbox(&mut self, id: FrameworkId) -> Option<&mut Outbox> {
        let stream = self.table.get_mut(&id)?.stream.as_mut()?;
        self.unsent.insert(id);
        Some(&mut stream.outbox)
    }

    pub(crate) fn principal(&self, id: FrameworkId) -> Option<&PrincipalName> {
        self.table.get(&id).map(|entry| &entry.record.principal)
    }
}
