//! Owns the file: opening it, refusing a newer one, reading all of it, committing a group of writes.

use super::format;
use proffer_agent_core::checkpoint::{Checkpoint, Write};
use proffer_types::refusal::Refusal;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::path::{Path, PathBuf};

const RECORDS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("records");
const META: TableDefinition<'static, &str, u32> = TableDefinition::new("meta");
const FORMAT: &str = "format";

/// The file did not do as told.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Another process has it, or the disk refuses.
    #[error("failed to {action} checkpoint {path}", path = .path.display())]
    File {
        /// The verb.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Box<redb::Error>,
    },
    /// It was written by a later version.
    #[error("checkpoint {path} cannot be used", path = .path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// Which version it has.
        source: Refusal,
    },
    /// A record is not what it should be.
    #[error("record {key} of checkpoint {path}: {reason}", path = .path.display())]
    Record {
        /// Which file.
        path: PathBuf,
        /// Which record.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The file, open and locked.
pub struct CheckpointStore {
    database: Database,
    path: PathBuf,
}

impl CheckpointStore {
    /// Opens or makes the file and reads it.
    ///
    /// # Errors
    /// When another process has it, when its format is newer, when a record cannot be read.
    pub fn open(path: &Path) -> Result<(Self, Checkpoint), CheckpointError> {
        let database = Database::create(path)
            .map_err(|error| file_error("open", path, redb::Error::from(error)))?;
        let store = Self { database, path: path.to_owned() };
        store.check_format()?;
        let checkpoint = store.read()?;
        Ok((store, checkpoint))
    }

    fn check_format(&self) -> Result<(), CheckpointError> {
        let version = self.format().map_err(|error| self.failed("read", error))?;
        match version {
            Some(version) => {
                let known = proffer_types::format::CHECKPOINT;
                proffer_types::format::check("checkpoint", version, known).map_err(|source| {
                    CheckpointError::Format { path: self.path.clone(), source }
                })?;
                if version < known {
                    // Before the first record that an earlier version would not know.
                    self.initialise(known).map_err(|error| self.failed("raise", error))?;
                }
                Ok(())
            }
            None => self
                .initialise(proffer_types::format::CHECKPOINT)
                .map_err(|error| self.failed("initialise", error)),
        }
    }

    fn format(&self) -> Result<Option<u32>, redb::Error> {
        let transaction = self.database.begin_read()?;
        match transaction.open_table(META) {
            Ok(table) => Ok(table.get(FORMAT)?.map(|version| version.value())),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn initialise(&self, version: u32) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        transaction.open_table(META)?.insert(FORMAT, version)?;
        transaction.open_table(RECORDS)?;
        transaction.commit()?;
        Ok(())
    }

    fn read(&self) -> Result<Checkpoint, CheckpointError> {
        let mut checkpoint = Checkpoint::default();
        let records = self.records().map_err(|error| self.failed("read", error))?;
        for (key, value) in records {
            format::decode(&key, &value, &mut checkpoint).map_err(|error| {
                let reason = error.to_string();
                CheckpointError::Record { path: self.path.clone(), key, reason }
            })?;
        }
        Ok(checkpoint)
    }

    fn records(&self) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
        let table = self.database.begin_read()?.open_table(RECORDS)?;
        let mut records = Vec::new();
        for entry in table.iter()? {
            let (key, value) = entry?;
            records.push((key.value().to_owned(), value.value().to_vec()));
        }
        Ok(records)
    }

    /// Makes writes durable with one sync, all or none of them.
    ///
    /// # Errors
    /// When the disk refuses; what is on it is then unknown and the process must end.
    pub(super) fn commit<'a>(
        &self,
        writes: impl IntoIterator<Item = &'a Write>,
    ) -> Result<(), CheckpointError> {
        self.try_commit(writes).map_err(|error| self.failed("write", error))
    }

    fn try_commit<'a>(
        &self,
        writes: impl IntoIterator<Item = &'a Write>,
    ) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for write in writes {
                match format::encode(write) {
                    (key, Some(value)) => table.insert(key.as_str(), value.as_slice())?,
                    (key, None) => table.remove(key.as_str())?,
                };
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn failed(&self, action: &'static str, error: redb::Error) -> CheckpointError {
        file_error(action, &self.path, error)
    }
}

fn file_error(action: &'static str, path: &Path, error: redb::Error) -> CheckpointError {
    CheckpointError::File { action, path: path.to_owned(), source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proffer_agent_core::checkpoint::LogCheckpoint;
    use proffer_types::ids::FrameworkId;

    #[test]
    fn what_was_committed_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("checkpoint.redb");
        let log = LogCheckpoint { last_sequence: 7, ended: true };
        let writes = [
            Write::PutLog(FrameworkId(1), log),
            Write::PutLog(FrameworkId(2), log),
            Write::DeleteLog(FrameworkId(2)),
        ];
        let mut expected = Checkpoint::default();
        writes.iter().for_each(|write| expected.apply(write));
        let (store, empty) = CheckpointStore::open(&path).unwrap();
        assert_eq!(empty, Checkpoint::default());
        store.commit(&writes).unwrap();
        assert!(CheckpointStore::open(&path).is_err(), "one process at a time");
        drop(store);
        let (_, found) = CheckpointStore::open(&path).unwrap();
        assert_eq!(found, expected);
    }

    #[test]
    fn k5_an_older_file_is_raised_before_anything_new_is_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("checkpoint.redb");
        let (store, _) = CheckpointStore::open(&path).unwrap();
        store.initialise(1).unwrap();
        drop(store);
        let (store, _) = CheckpointStore::open(&path).unwrap();
        assert_eq!(store.format().unwrap(), Some(proffer_types::format::CHECKPOINT));
    }

    #[test]
    fn k5_a_newer_format_is_refused_in_words() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("checkpoint.redb");
        let (store, _) = CheckpointStore::open(&path).unwrap();
        store.initialise(proffer_types::format::CHECKPOINT + 1).unwrap();
        drop(store);
        let Err(CheckpointError::Format { source, .. }) = CheckpointStore::open(&path) else {
            panic!("it was opened")
        };
        assert!(source.message.contains("this program reads 1 to"), "{source}");
    }
}
