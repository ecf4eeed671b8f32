//! The stored form of keys and records: JSON with the format first, so that a newer one is recognised
//! before it is read; values of state stores as bytes behind a short header.

use super::{Record, RecordKey, StateValue};
use proffer_types::{
    AgentId, FrameworkId, GangId, HoldId, MasterEpoch, Refusal, ReservationId, RoleName, VolumeId,
    WindowId, format,
};
use serde::{Deserialize, Serialize};

const STATE_PREFIX: &str = "state/";

/// The stored key under which the keys of a framework's state store begin that start with `prefix`.
/// What follows the framework's part is the framework's own key.
#[must_use]
pub fn state_prefix(framework: FrameworkId, prefix: &str) -> String {
    format!("{STATE_PREFIX}{:020}/{prefix}", framework.0)
}

impl RecordKey {
    /// The key in the store: sorts by kind, then id.
    #[must_use]
    pub fn encode(&self) -> String {
        match self {
            Self::Cluster => "cluster".to_owned(),
            Self::Agent(id) => format!("agent/{:020}", id.0),
            Self::Framework(id) => format!("framework/{:020}", id.0),
            Self::Role(name) => format!("role/{name}"),
            Self::Maintenance(id) => format!("maintenance/{:020}", id.0),
            Self::Occupancy(id) => format!("occupancy/{:020}", id.0),
            Self::Hold(HoldId::Reservation(id)) => format!("hold/r/{:020}", id.0),
            Self::Hold(HoldId::Volume(id)) => format!("hold/v/{:020}", id.0),
            Self::Gang(id) => format!("gang/{:020}/{:020}", id.epoch.0, id.sequence),
            Self::StateHead(id) => format!("state_head/{:020}", id.0),
            Self::State(id, key) => state_prefix(*id, key),
        }
    }

    /// Reads a stored key.
    ///
    /// # Errors
    /// [`RegistryError::Key`] for one that no version wrote.
    pub fn decode(key: &[u8]) -> Result<Self, RegistryError> {
        let unknown = || RegistryError::Key {
            key: proffer_types::refusal::excerpt(&String::from_utf8_lossy(key)),
        };
        let text = std::str::from_utf8(key).map_err(|_| unknown())?;
        if text == "cluster" {
            return Ok(Self::Cluster);
        }
        let (kind, rest) = text.split_once('/').ok_or_else(unknown)?;
        let id = |text: &str| text.parse::<u64>().map_err(|_| unknown());
        Ok(match kind {
            "agent" => Self::Agent(AgentId(id(rest)?)),
            "framework" => Self::Framework(FrameworkId(id(rest)?)),
            "role" => Self::Role(RoleName::new(rest).map_err(|_| unknown())?),
            "maintenance" => Self::Maintenance(WindowId(id(rest)?)),
            "occupancy" => Self::Occupancy(AgentId(id(rest)?)),
            "hold" => match rest.split_once('/') {
                Some(("r", rest)) => Self::Hold(HoldId::Reservation(ReservationId(id(rest)?))),
                Some(("v", rest)) => Self::Hold(HoldId::Volume(VolumeId(id(rest)?))),
                Some(_) | None => return Err(unknown()),
            },
            "gang" => {
                let (epoch, sequence) = rest.split_once('/').ok_or_else(unknown)?;
                Self::Gang(GangId { epoch: MasterEpoch(id(epoch)?), sequence: id(sequence)? })
            }
            "state_head" => Self::StateHead(FrameworkId(id(rest)?)),
            "state" => {
                let (framework, key) = rest.split_once('/').ok_or_else(unknown)?;
                Self::State(FrameworkId(id(framework)?), key.to_owned())
            }
            _ => return Err(unknown()),
        })
    }
}

/// What is stored and cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegistryError {
    /// A key that no version known here wrote.
    #[error("registry key {key:?} is of no known kind")]
    Key {
        /// It, shortened.
        key: String,
    },
    /// A record that does not read.
    #[error("registry record {key} does not read: {why}")]
    Record {
        /// Where.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// A record or cluster of a newer version.
    #[error("{0}")]
    Newer(Refusal),
}

/// A stored record: the format first, so that a newer one is recognised before it is read.
#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    format: u32,
    record: T,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

/// State values are bytes, not JSON: format, version (big endian), value.
const STATE_HEADER_BYTES: usize = 1 + 8;
const STATE_FORMAT: u8 = 1;

fn to_json<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(&Envelope { format: format::REGISTRY, record })
        .expect("plain data with string keys serialises")
}

impl Record {
    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Cluster(record) => to_json(record),
            Self::Agent(record) => to_json(record),
            Self::Framework(record) => to_json(record),
            Self::Role(record) => to_json(record),
            Self::Maintenance(record) => to_json(record),
            Self::Occupancy(record) => to_json(record),
            Self::Hold(record) => to_json(record),
            Self::Gang(record) => to_json(record),
            Self::StateHead(record) => to_json(record),
            Self::State(StateValue { version, value }) => {
                let mut bytes = Vec::with_capacity(STATE_HEADER_BYTES + value.len());
                bytes.push(STATE_FORMAT);
                bytes.extend_from_slice(&version.to_be_bytes());
                bytes.extend_from_slice(value);
                bytes
            }
        }
    }

    /// Reads the stored form of the record at `key`.
    ///
    /// # Errors
    /// [`RegistryError::Newer`] for a later format, [`RegistryError::Record`] for what does not read.
    pub fn decode(key: &RecordKey, bytes: &[u8]) -> Result<Self, RegistryError> {
        fn json<T: for<'a> Deserialize<'a>>(
            key: &RecordKey,
            bytes: &[u8],
        ) -> Result<T, RegistryError> {
            let wrong = |error: serde_json::Error| RegistryError::Record {
                key: key.encode(),
                why: error.to_string(),
            };
            let found = serde_json::from_slice::<FormatOnly>(bytes).map_err(wrong)?.format;
            check_format(key, found)?;
            Ok(serde_json::from_slice::<Envelope<T>>(bytes).map_err(wrong)?.record)
        }
        Ok(match key {
            RecordKey::Cluster => Self::Cluster(json(key, bytes)?),
            RecordKey::Agent(_) => Self::Agent(json(key, bytes)?),
            RecordKey::Framework(_) => Self::Framework(json(key, bytes)?),
            RecordKey::Role(_) => Self::Role(json(key, bytes)?),
            RecordKey::Maintenance(_) => Self::Maintenance(json(key, bytes)?),
            RecordKey::Occupancy(_) => Self::Occupancy(json(key, bytes)?),
            RecordKey::Hold(_) => Self::Hold(json(key, bytes)?),
            RecordKey::Gang(_) => Self::Gang(json(key, bytes)?),
            RecordKey::StateHead(_) => Self::StateHead(json(key, bytes)?),
            RecordKey::State(..) => Self::State(decode_state(key, bytes)?),
        })
    }
}

fn check_format(key: &RecordKey, found: u32) -> Result<(), RegistryError> {
    format::check(&format!("registry record {}", key.encode()), found, format::REGISTRY)
        .map_err(RegistryError::Newer)
}

fn decode_state(key: &RecordKey, bytes: &[u8]) -> Result<StateValue, RegistryError> {
    let short = || RegistryError::Record {
        key: key.encode(),
        why: format!("{} bytes are fewer than its header has", bytes.len()),
    };
    let (header, value) = bytes.split_first_chunk::<STATE_HEADER_BYTES>().ok_or_else(short)?;
    let [found, version @ ..] = *header;
    check_format(key, u32::from(found))?;
    Ok(StateValue { version: u64::from_be_bytes(version), value: value.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::super::{ClusterRecord, OccupancyRecord, RegistryChange, RegistryImage, StateMeta};
    use super::*;
    use proffer_types::RefusalCode;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn keys_read_back_and_sort_by_id() {
        let keys = [
            RecordKey::Cluster,
            RecordKey::Agent(AgentId(7)),
            RecordKey::Framework(FrameworkId(u64::MAX)),
            RecordKey::Role("eng/db".parse().expect("valid")),
            RecordKey::Occupancy(AgentId(1)),
            RecordKey::Hold(HoldId::Reservation(ReservationId(4))),
            RecordKey::Hold(HoldId::Volume(VolumeId(5))),
            RecordKey::Gang(GangId { epoch: MasterEpoch(4), sequence: 17 }),
            RecordKey::StateHead(FrameworkId(3)),
            RecordKey::State(FrameworkId(3), "services/a/b".to_owned()),
        ];
        for key in keys {
            assert_eq!(RecordKey::decode(key.encode().as_bytes()), Ok(key));
        }
        assert!(RecordKey::Agent(AgentId(9)).encode() < RecordKey::Agent(AgentId(10)).encode());
        assert!(RecordKey::decode(b"colour/blue").is_err());
        assert!(RecordKey::decode(&[0xff]).is_err());
    }

    #[test]
    fn a_newer_record_is_refused_in_words() {
        // K5
        let error = Record::decode(&RecordKey::Cluster, br#"{"format":9,"record":{"moon":1}}"#)
            .expect_err("newer");
        assert!(matches!(&error, RegistryError::Newer(r) if r.code == RefusalCode::NewerFormat));
        assert!(error.to_string().contains("format version 9"), "{error}");
        let key = RecordKey::State(FrameworkId(1), "k".to_owned());
        assert!(matches!(
            Record::decode(&key, &[9, 0, 0, 0, 0, 0, 0, 0, 1]),
            Err(RegistryError::Newer(_))
        ));
        assert!(matches!(Record::decode(&key, &[1, 0]), Err(RegistryError::Record { .. })));
        let mut image = RegistryImage::default();
        image.cluster.feature_level = format::REGISTRY + 1;
        assert_eq!(image.check().expect_err("newer").code, RefusalCode::NewerFormat);
    }

    #[test]
    fn what_is_stored_is_what_is_read() {
        let mut written = RegistryImage::default();
        let mut read = RegistryImage::default();
        let changes = [
            RegistryChange::put(
                RecordKey::Cluster,
                Record::Cluster(ClusterRecord { feature_level: 1, ..ClusterRecord::default() }),
            ),
            RegistryChange::put(
                RecordKey::State(FrameworkId(1), "a".to_owned()),
                Record::State(StateValue { version: 300, value: vec![0, 255, 7] }),
            ),
            RegistryChange::put(
                RecordKey::Occupancy(AgentId(4)),
                Record::Occupancy(OccupancyRecord {
                    frameworks: BTreeMap::from([(
                        FrameworkId(1),
                        BTreeSet::from(["eng".parse().expect("valid")]),
                    )]),
                }),
            ),
        ];
        for change in changes {
            let record = change.record.clone().expect("all are written");
            read.add(change.key.encode().as_bytes(), &record.encode()).expect("reads back");
            written.apply(change);
        }
        assert_eq!(read, written);
        assert_eq!(read.state_index[&FrameworkId(1)]["a"], StateMeta { version: 300, bytes: 3 });
    }
}
