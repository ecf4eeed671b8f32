//! Owns how records are named and encoded. A key is the kind and the id; a value is the record as
//! JSON under the format version of the whole file: unknown fields of it never occur, since a newer
//! format is refused before any record is read (K5).

use proffer_agent_core::checkpoint::{
    Checkpoint, HoldCheckpoint, Identity, LogCheckpoint, SandboxCheckpoint, TaskCheckpoint, Write,
};
use proffer_types::hold::HoldId;
use proffer_types::ids::{ContainerId, FrameworkId};
use proffer_types::template::PodTemplate;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What stands behind a record key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    /// No kind of record is named like that.
    #[error("there is no such kind of record")]
    Kind,
    /// The id in the key is none.
    #[error("the id in its key is not valid")]
    Id,
    /// The value is not what its key says.
    #[error("its value cannot be read")]
    Value(#[from] serde_json::Error),
}

/// A change of the file: `None` deletes.
pub(super) fn encode(write: &Write) -> (String, Option<Vec<u8>>) {
    match write {
        Write::PutIdentity(identity) => ("identity".to_owned(), Some(bytes(identity))),
        Write::PutTask(task) => (task_key(&task.container()), Some(bytes(task.as_ref()))),
        Write::DeleteTask(container) => (task_key(container), None),
        Write::PutTemplate(digest, template) => {
            (format!("template/{digest}"), Some(bytes(template.as_ref())))
        }
        Write::DeleteTemplate(digest) => (format!("template/{digest}"), None),
        Write::PutLog(framework, log) => (log_key(*framework), Some(bytes(log))),
        Write::DeleteLog(framework) => (log_key(*framework), None),
        Write::PutSandbox(container, sandbox) => (sandbox_key(container), Some(bytes(sandbox))),
        Write::DeleteSandbox(container) => (sandbox_key(container), None),
        Write::PutHold(record) => (hold_key(record.hold.id), Some(bytes(record.as_ref()))),
        Write::DeleteHold(id) => (hold_key(*id), None),
    }
}

fn task_key(container: &ContainerId) -> String {
    format!("task/{container}")
}

fn log_key(framework: FrameworkId) -> String {
    format!("log/{framework}")
}

fn sandbox_key(container: &ContainerId) -> String {
    format!("sandbox/{container}")
}

fn hold_key(id: HoldId) -> String {
    format!("hold/{id}")
}

fn bytes(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("plain data with text keys serialises")
}

/// Takes one record into a checkpoint.
pub(super) fn decode(key: &str, value: &[u8], into: &mut Checkpoint) -> Result<(), RecordError> {
    if key == "identity" {
        into.identity = Some(read::<Identity>(value)?);
        return Ok(());
    }
    let (kind, id) = key.split_once('/').ok_or(RecordError::Kind)?;
    match kind {
        "task" => {
            let task: TaskCheckpoint = read(value)?;
            let container = ContainerId::new(id).map_err(|_| RecordError::Id)?;
            if task.container() != container {
                return Err(RecordError::Id);
            }
            into.tasks.insert(container, task);
        }
        "template" => {
            let template: PodTemplate = read(value)?;
            let digest = template.digest();
            if digest.to_string() != id {
                return Err(RecordError::Id);
            }
            into.templates.insert(digest, template);
        }
        "log" => {
            let framework: FrameworkId = id.parse().map_err(|_| RecordError::Id)?;
            into.logs.insert(framework, read::<LogCheckpoint>(value)?);
        }
        "sandbox" => {
            let container = ContainerId::new(id).map_err(|_| RecordError::Id)?;
            into.sandboxes.insert(container, read::<SandboxCheckpoint>(value)?);
        }
        "hold" => {
            let record: HoldCheckpoint = read(value)?;
            let id: HoldId = id.parse().map_err(|_| RecordError::Id)?;
            if record.hold.id != id {
                return Err(RecordError::Id);
            }
            into.holds.insert(id, record);
        }
        _ => return Err(RecordError::Kind),
    }
    Ok(())
}

fn read<T: DeserializeOwned>(value: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(value)
}
