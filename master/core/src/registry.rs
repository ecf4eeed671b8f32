//! What survives a master: the records of the registry, their keys and their stored form. One record
//! an object, nothing that grows with the cluster. A newer format is refused in words (K5).

mod encoding;

pub use crate::state::windows::{Progress, WindowRecord};
pub use encoding::{RegistryError, state_prefix};

use proffer_types::agent::AgentInfo;
use proffer_types::hold::{Hold, HoldId};
use proffer_types::role::RoleConfig;
use proffer_types::scheduler::FrameworkInfo;
use proffer_types::{
    AgentId, DurationMs, FrameworkEpoch, FrameworkId, GangId, Incarnation, MasterEpoch,
    PrincipalName, Refusal, RefusalCode, ReplicaId, RoleName, WallTime, WindowId, format,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Counters of the cluster. Raised with each leader (K8) and each new agent and framework (K19).
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Raised only by an explicit restore.
    pub incarnation: Incarnation,
    /// Raised by a leader's first write.
    pub master_epoch: MasterEpoch,
    /// The last agent id given.
    pub agent_mark: AgentId,
    /// The last framework id given.
    pub framework_mark: FrameworkId,
    /// The last number given to a reservation or a volume.
    #[serde(default)]
    pub hold_mark: u64,
    /// The last id of a maintenance window given.
    #[serde(default)]
    pub window_mark: WindowId,
    /// What the cluster may store and send; at most what every registered master supports (K5).
    pub feature_level: u32,
}

/// What the registry says of an agent beyond its being admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStanding {
    /// Heard of, or awaited.
    Reachable,
    /// Out of reach since then.
    Unreachable(WallTime),
    /// Gone for good; kept only until every framework with tasks there has been told (K2).
    Gone,
}

/// What an operator wants of an agent.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentMode {
    /// Takes tasks.
    #[default]
    Active,
    /// Takes none; its tasks are moved elsewhere or ended.
    Draining {
        /// How long frameworks are asked before what is left is killed; `None`: as long as it takes.
        deadline: Option<DurationMs>,
    },
    /// Takes none.
    Deactivated,
}

/// An admitted agent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AgentRecord {
    /// What it said of itself last.
    pub info: AgentInfo,
    /// Who it belongs to (K20).
    pub principal: PrincipalName,
    /// Whether it is in reach.
    pub standing: AgentStanding,
    /// What operators want.
    pub mode: AgentMode,
}

/// A framework.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FrameworkRecord {
    /// What it said of itself last.
    pub info: FrameworkInfo,
    /// Who created it and may speak for it (K20).
    pub principal: PrincipalName,
    /// Raised with each new active replica.
    pub epoch: FrameworkEpoch,
    /// The last active replica.
    pub replica: ReplicaId,
    /// It was ended; what is left of it is being removed.
    pub ending: bool,
}

/// Who may have tasks on an agent (K2). Written before the first launch of a pair leaves, removed
/// lazily.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct OccupancyRecord {
    /// Roles by framework.
    pub frameworks: BTreeMap<FrameworkId, BTreeSet<RoleName>>,
}

/// Orders the commits of one framework's state store: each commit and each raise of the framework
/// epoch writes it, so that an older replica's commit never lands after a newer one was told that it
/// is active.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct StateHead {
    /// The epoch that wrote last.
    pub epoch: FrameworkEpoch,
    /// The last version given to any key.
    pub version: u64,
}

/// What the cluster wants of a hold (K18).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldIntent {
    /// Its agent is to make it, or to change it from `before`.
    Pending,
    /// Its agent has it.
    Applied,
    /// Its agent is to remove it.
    Removing,
    /// Its agent came back without it.
    Lost,
}

/// A reservation or a volume: what is wanted. What is, is at its agent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HoldRecord {
    /// Where.
    pub agent: AgentId,
    /// It, as it is or is to be.
    pub hold: Hold,
    /// How far.
    pub intent: HoldIntent,
    /// As it was applied, while a change is pending.
    pub before: Option<Hold>,
    /// Number of the last change, carried out or not.
    pub op: u64,
}

/// Launches over several agents that are decided: they start (K3). There is one from the decision until all
/// of them have started or ended, and no other word for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GangRecord {
    /// Whose.
    pub framework: FrameworkId,
    /// Where they wait, at most.
    pub agents: BTreeSet<AgentId>,
}

/// A value of a framework's state store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StateValue {
    /// Its version.
    pub version: u64,
    /// The bytes.
    pub value: Vec<u8>,
}

/// Where a record lives.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKey {
    /// [`ClusterRecord`].
    Cluster,
    /// [`AgentRecord`].
    Agent(AgentId),
    /// [`FrameworkRecord`].
    Framework(FrameworkId),
    /// [`RoleConfig`].
    Role(RoleName),
    /// [`WindowRecord`].
    Maintenance(WindowId),
    /// [`OccupancyRecord`].
    Occupancy(AgentId),
    /// [`HoldRecord`].
    Hold(HoldId),
    /// [`GangRecord`].
    Gang(GangId),
    /// [`StateHead`].
    StateHead(FrameworkId),
    /// [`StateValue`].
    State(FrameworkId, String),
}

/// What a record holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// See there.
    Cluster(ClusterRecord),
    /// See there.
    Agent(Box<AgentRecord>),
    /// See there.
    Framework(Box<FrameworkRecord>),
    /// See there.
    Role(RoleConfig),
    /// See there.
    Maintenance(Box<WindowRecord>),
    /// See there.
    Occupancy(OccupancyRecord),
    /// See there.
    Hold(Box<HoldRecord>),
    /// See there.
    Gang(GangRecord),
    /// See there.
    StateHead(StateHead),
    /// See there.
    State(StateValue),
}

/// One change of one record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RegistryChange {
    /// Which.
    pub key: RecordKey,
    /// To what; `None` removes it.
    pub record: Option<Record>,
}

impl RegistryChange {
    /// Writes a record.
    #[must_use]
    pub fn put(key: RecordKey, record: Record) -> Self {
        Self { key, record: Some(record) }
    }

    /// Removes a record.
    #[must_use]
    pub fn delete(key: RecordKey) -> Self {
        Self { key, record: None }
    }

    /// What it adds to a transaction, or more.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        /// Lengths, the version and names of fields around a key and a value.
        const ENVELOPE: usize = 64;
        let record = match &self.record {
            None => 0,
            Some(Record::State(StateValue { value, .. })) => value.len(),
            Some(record) => record.encode().len(),
        };
        self.key.encode().len() + record + ENVELOPE
    }
}

/// Version and size of a stored value; values themselves are not in the core (K9).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StateMeta {
    /// The key's version.
    pub version: u64,
    /// Bytes of the value.
    pub bytes: u64,
}

/// All that a new leader read. What [`crate::Master::recover`] starts from.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct RegistryImage {
    /// The counters; all zero in an empty store.
    pub cluster: ClusterRecord,
    /// By id.
    pub agents: BTreeMap<AgentId, AgentRecord>,
    /// By id.
    pub frameworks: BTreeMap<FrameworkId, FrameworkRecord>,
    /// By name.
    pub roles: BTreeMap<RoleName, RoleConfig>,
    /// By id.
    pub maintenance: BTreeMap<WindowId, WindowRecord>,
    /// By agent.
    pub occupancy: BTreeMap<AgentId, OccupancyRecord>,
    /// By id.
    #[serde(default)]
    pub holds: BTreeMap<HoldId, HoldRecord>,
    /// By id.
    #[serde(default)]
    pub gangs: BTreeMap<GangId, GangRecord>,
    /// By framework.
    pub state_heads: BTreeMap<FrameworkId, StateHead>,
    /// By framework and key.
    pub state_index: BTreeMap<FrameworkId, BTreeMap<String, StateMeta>>,
}

impl RegistryImage {
    /// Takes in one stored record; the shell calls it for every record of the store, in any order.
    ///
    /// # Errors
    /// See [`RegistryError`]; the master must not lead then.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), RegistryError> {
        let key = RecordKey::decode(key)?;
        let record = Record::decode(&key, value)?;
        self.put(key, record);
        Ok(())
    }

    /// Applies a change to the image, as the store does to its records.
    pub fn apply(&mut self, change: RegistryChange) {
        match change.record {
            Some(record) => self.put(change.key, record),
            None => self.remove(&change.key),
        }
    }

    fn put(&mut self, key: RecordKey, record: Record) {
        match (key, record) {
            (RecordKey::Cluster, Record::Cluster(record)) => self.cluster = record,
            (RecordKey::Agent(id), Record::Agent(record)) => {
                self.agents.insert(id, *record);
            }
            (RecordKey::Framework(id), Record::Framework(record)) => {
                self.frameworks.insert(id, *record);
            }
            (RecordKey::Role(name), Record::Role(record)) => {
                self.roles.insert(name, record);
            }
            (RecordKey::Maintenance(id), Record::Maintenance(record)) => {
                self.maintenance.insert(id, *record);
            }
            (RecordKey::Occupancy(id), Record::Occupancy(record)) => {
                self.occupancy.insert(id, record);
            }
            (RecordKey::Hold(id), Record::Hold(record)) => {
                self.holds.insert(id, *record);
            }
            (RecordKey::Gang(id), Record::Gang(record)) => {
                self.gangs.insert(id, record);
            }
            (RecordKey::StateHead(id), Record::StateHead(record)) => {
                self.state_heads.insert(id, record);
            }
            (RecordKey::State(id, key), Record::State(StateValue { version, value })) => {
                let meta = StateMeta { version, bytes: value.len() as u64 };
                self.state_index.entry(id).or_default().insert(key, meta);
            }
            (key, record) => unreachable!("a record of another kind at {key:?}: {record:?}"),
        }
    }

    fn remove(&mut self, key: &RecordKey) {
        match key {
            RecordKey::Cluster => self.cluster = ClusterRecord::default(),
            RecordKey::Agent(id) => {
                self.agents.remove(id);
            }
            RecordKey::Framework(id) => {
                self.frameworks.remove(id);
            }
            RecordKey::Role(name) => {
                self.roles.remove(name);
            }
            RecordKey::Maintenance(id) => {
                self.maintenance.remove(id);
            }
            RecordKey::Occupancy(id) => {
                self.occupancy.remove(id);
            }
            RecordKey::Hold(id) => {
                self.holds.remove(id);
            }
            RecordKey::Gang(id) => {
                self.gangs.remove(id);
            }
            RecordKey::StateHead(id) => {
                self.state_heads.remove(id);
            }
            RecordKey::State(id, key) => {
                if let Some(index) = self.state_index.get_mut(id) {
                    index.remove(key);
                    if index.is_empty() {
                        self.state_index.remove(id);
                    }
                }
            }
        }
    }

    /// Checks what must hold before a master leads with this image.
    ///
    /// # Errors
    /// `newer_format` when the cluster has reached a feature level that this program lacks (K5).
    pub fn check(&self) -> Result<(), Refusal> {
        let level = self.cluster.feature_level;
        if level > format::REGISTRY {
            return Err(Refusal::new(
                RefusalCode::NewerFormat,
                "cluster.feature_level",
                format!(
                    "the cluster has reached feature level {level}; this program knows 1 to {}",
                    format::REGISTRY
                ),
            )
            .hint("start the version that raised it, or a later one"));
        }
        Ok(())
    }
}
