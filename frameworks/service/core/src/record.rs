//! What is durable: one record a service, one a revision, in the framework's state store. Intent
//! only; instances are recognised from the snapshot, so nothing is written per task (K9).

use crate::spec::{ServiceName, ServiceSpec};
use proffer_types::{Refusal, RefusalCode, WallTime, format};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

const SERVICE_PREFIX: &str = "service/";
const REVISION_PREFIX: &str = "revision/";

/// A service as it is wanted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Version of this format.
    pub format: u32,
    /// Its name.
    pub name: ServiceName,
    /// How many instances; a sub-resource of its own, which no revision changes.
    pub count: u32,
    /// Whether it stands still, with its count kept.
    pub is_stopped: bool,
    /// Whether it goes away once nothing runs.
    pub is_removed: bool,
    /// The newest revision.
    pub latest: u32,
    /// The revision that is aimed at.
    pub target: u32,
    /// The last revision that all slots ran.
    pub good: Option<u32>,
    /// Instances of an earlier restart are old.
    pub restart: u32,
    /// What is or was going on.
    pub rollout: RolloutRecord,
    /// How the rollout of each remembered revision ended.
    pub outcomes: BTreeMap<u32, RolloutState>,
    /// Crashes in a row of slots that crash again and again; survives a failover, so that their
    /// back-off does.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub crashes: BTreeMap<u32, u32>,
}

/// A rollout: from a mixed set of instances to one revision.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RolloutRecord {
    /// Counts the rollouts of the service; a reader who started one recognises it.
    pub number: u32,
    /// Why there is one.
    pub kind: RolloutKind,
    /// The revision that was to be rolled out. Differs from the target while rolling back.
    pub revision: u32,
    /// Where it stands.
    pub state: RolloutState,
    /// Why it stands there; empty when all is well.
    pub reason: String,
    /// Slots whose new instance crashed.
    pub failed_slots: BTreeSet<u32>,
    /// The first crash, with the last lines of its log.
    pub first_failure: Option<FailureNote>,
    /// When it started.
    pub started_at: WallTime,
    /// When it ended.
    pub ended_at: Option<WallTime>,
}

/// Why there is a rollout.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutKind {
    /// A new revision.
    Deploy,
    /// An earlier revision under a new number.
    Rollback,
    /// The same revision, new instances.
    Restart,
}

/// Where a rollout stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Goes on.
    Rolling,
    /// Failed; stands still.
    Paused,
    /// Failed; goes back to the last good revision.
    RollingBack,
    /// Every slot runs it.
    Succeeded,
    /// Failed; every slot runs the last good revision again.
    RolledBack,
    /// A newer one took its place.
    Superseded,
}

impl RolloutState {
    /// Whether old instances are being replaced.
    #[must_use]
    pub const fn is_moving(self) -> bool {
        matches!(self, Self::Rolling | Self::RollingBack)
    }

    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::Paused => "paused",
            Self::RollingBack => "rolling_back",
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolled_back",
            Self::Superseded => "superseded",
        }
    }
}

/// How an instance ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FailureNote {
    /// Its slot.
    pub slot: u32,
    /// Its name.
    pub instance: String,
    /// In a word or two: `exited(1)`, `out_of_memory`.
    pub reason: String,
    /// What its agent said, with the last lines of its log.
    pub message: String,
    /// When.
    pub at: WallTime,
}

impl FailureNote {
    /// Longest message that is kept.
    pub const MESSAGE_BYTES_MAX: usize = 4096;
}

/// One revision. Never changed once written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RevisionRecord {
    /// Version of this format.
    pub format: u32,
    /// Its number, from 1.
    pub number: u32,
    /// Over what affects running instances.
    pub digest: String,
    /// All of it, defaults written out.
    pub spec: ServiceSpec,
    /// Who made it.
    pub author: String,
    /// Why, in his words.
    pub message: String,
    /// When.
    pub created_at: WallTime,
    /// The revision it repeats, for a rollback.
    pub rollback_of: Option<u32>,
}

/// Key of a service's record.
#[must_use]
pub fn service_key(name: &ServiceName) -> String {
    format!("{SERVICE_PREFIX}{name}")
}

/// Key of a revision's record; ordered by number.
#[must_use]
pub fn revision_key(name: &ServiceName, number: u32) -> String {
    format!("{REVISION_PREFIX}{name}/{number:010}")
}

/// Prefix of all services' keys.
#[must_use]
pub const fn service_prefix() -> &'static str {
    SERVICE_PREFIX
}

/// Prefix of all revisions' keys of a service.
#[must_use]
pub fn revision_prefix(name: &ServiceName) -> String {
    format!("{REVISION_PREFIX}{name}/")
}

/// The bytes of a record.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).expect("plain data with string keys serialises")
}

#[derive(Deserialize)]
struct Header {
    format: u32,
}

/// Reads a record.
///
/// # Errors
/// A newer format is refused in words (K5); so are bytes that are no record.
pub fn decode<'a, T: Deserialize<'a>>(key: &str, bytes: &'a [u8]) -> Result<T, Refusal> {
    let damaged = |error: serde_json::Error| {
        Refusal::new(RefusalCode::InternalBug, key, format!("the record cannot be read: {error}"))
    };
    let header: Header = serde_json::from_slice(bytes).map_err(damaged)?;
    format::check(key, header.format, format::SERVICE_STATE)?;
    serde_json::from_slice(bytes).map_err(damaged)
}
