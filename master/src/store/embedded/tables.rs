//! Owns what the database file holds: its tables, its format version, and how they are read.

use std::ops::Bound;
use std::path::Path;

use redb::{Database, ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use super::super::StoreError;
use super::super::model::{CommitMark, Entry, Limits, Page, RangeRequest, Revision, prefix_end};

/// Key to (revision that wrote it, value).
pub(super) const RECORDS: TableDefinition<'_, &[u8], (u64, &[u8])> =
    TableDefinition::new("records");

/// Numbers of the store itself.
pub(super) const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");

/// The layout of these tables. Raise it when an older program would misread them (K5).
pub(super) const FORMAT: u32 = 1;

pub(super) const FORMAT_KEY: &str = "format";
pub(super) const REVISION_KEY: &str = "revision";
pub(super) const SEQUENCE_KEY: &str = "commit_sequence";
pub(super) const WRITER_KEY: &str = "commit_writer";
pub(super) const MARK_MODIFIED_KEY: &str = "commit_revision";

/// Where a writer goes on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) revision: Revision,
    pub(super) mark: CommitMark,
    pub(super) mark_modified: Revision,
}

/// Checks the format of a database, or makes the tables of a new one.
pub(super) fn prepare(database: &Database, path: &Path) -> Result<Found, StoreError> {
    let writer = begin_write(database).map_err(|e| damaged(path, e))?;
    let found = prepare_in(&writer).map_err(|e| damaged(path, e))?;
    match found {
        Prepared::Newer(found) => Err(StoreError::NewerFormat {
            place: path.display().to_string(),
            found,
            supported: FORMAT,
        }),
        Prepared::Known(found) => Ok(found),
        Prepared::Fresh => {
            writer.commit().map_err(|e| damaged(path, e))?;
            Ok(Found::default())
        }
    }
}

enum Prepared {
    Fresh,
    Known(Found),
    Newer(u32),
}

fn prepare_in(writer: &WriteTransaction) -> Result<Prepared, redb::Error> {
    let mut numbers = writer.open_table(NUMBERS)?;
    let number = |key| -> Result<Option<u64>, redb::Error> {
        Ok(numbers.get(key)?.map(|found| found.value()))
    };
    if let Some(format) = number(FORMAT_KEY)? {
        let format = u32::try_from(format).unwrap_or(u32::MAX);
        if format > FORMAT {
            return Ok(Prepared::Newer(format));
        }
        return Ok(Prepared::Known(Found {
            revision: Revision(number(REVISION_KEY)?.unwrap_or(0)),
            mark: CommitMark {
                sequence: number(SEQUENCE_KEY)?.unwrap_or(0),
                writer: Revision(number(WRITER_KEY)?.unwrap_or(0)),
            },
            mark_modified: Revision(number(MARK_MODIFIED_KEY)?.unwrap_or(0)),
        }));
    }
    numbers.insert(FORMAT_KEY, u64::from(FORMAT))?;
    numbers.insert(REVISION_KEY, 0)?;
    writer.open_table(RECORDS)?;
    Ok(Prepared::Fresh)
}

/// Every commit is quick to repair, as the time to open after a crash is the time without a master.
pub(super) fn begin_write(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut writer = database.begin_write()?;
    writer.set_quick_repair(true);
    Ok(writer)
}

/// The newest revision that a reader sees.
pub(super) fn revision(reader: &ReadTransaction) -> Result<Revision, redb::Error> {
    let numbers = reader.open_table(NUMBERS)?;
    Ok(Revision(numbers.get(REVISION_KEY)?.map_or(0, |found| found.value())))
}

pub(super) fn get(reader: &ReadTransaction, key: &[u8]) -> Result<Option<Entry>, redb::Error> {
    let records = reader.open_table(RECORDS)?;
    let found = records.get(key)?;
    Ok(found.map(|record| entry(key, record.value())))
}

pub(super) fn range(
    reader: &ReadTransaction,
    request: &RangeRequest,
    revision: Revision,
) -> Result<Page, redb::Error> {
    let limit = request.limit.clamp(1, Limits::ETCD.page_entries_max);
    let mut page = Page { entries: Vec::new(), revision, more: false };
    let end = prefix_end(&request.prefix);
    let start = match &request.after {
        Some(after) if *after >= request.prefix => Bound::Excluded(after.as_slice()),
        Some(_) | None => Bound::Included(request.prefix.as_slice()),
    };
    let upper = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    if let (Some(after), Some(end)) = (&request.after, &end)
        && after >= end
    {
        return Ok(page);
    }
    let records = reader.open_table(RECORDS)?;
    for record in records.range::<&[u8]>((start, upper))? {
        let (key, record) = record?;
        if page.entries.len() == limit {
            page.more = true;
            break;
        }
        page.entries.push(entry(key.value(), record.value()));
    }
    Ok(page)
}

fn entry(key: &[u8], (modified, value): (u64, &[u8])) -> Entry {
    Entry { key: key.to_vec(), value: value.to_vec(), modified: Revision(modified) }
}

/// What redb says, with the file's name.
pub(super) fn damaged(path: &Path, error: impl Into<redb::Error>) -> StoreError {
    let error = error.into();
    if let redb::Error::Io(source) = error {
        return StoreError::Disk { action: "use", path: path.to_owned(), source };
    }
    StoreError::Damaged { place: path.display().to_string(), reason: error.to_string() }
}
