//! Owns the store's directory: its modes, its lock, and where the database lies in it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use redb::Database;

use super::super::StoreError;
use super::tables;

/// ```text
/// DIR/               0700
///   lock             0600  locked while the store is open; holds the pid of who opened it last
///   registry.redb    0600  the records
/// ```
pub(super) struct Directory {
    path: PathBuf,
    /// The lock lasts as long as this is open.
    _lock: File,
}

pub(super) fn database_path(directory: &Path) -> PathBuf {
    directory.join("registry.redb")
}

impl Directory {
    /// Creates the directory if need be, and takes its lock.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let disk = |action, source| StoreError::Disk { action, path: path.to_owned(), source };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|e| disk("create directory", e))?;
        // The umask may have opened it further, or an earlier hand.
        std::fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(|e| disk("set the mode of directory", e))?;
        let lock = lock(path)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(super) fn database_path(&self) -> PathBuf {
        database_path(&self.path)
    }

    /// Opens the database, or creates an empty one.
    pub(super) fn open_database(&self) -> Result<Database, StoreError> {
        let path = self.database_path();
        let file = open_private(&path)?;
        Database::builder().create_file(file).map_err(|error| {
            if matches!(error, redb::DatabaseError::DatabaseAlreadyOpen) {
                let holder = "another program".to_owned();
                StoreError::InUse { path: self.path.clone(), holder }
            } else {
                tables::damaged(&path, error)
            }
        })
    }
}

fn open_private(path: &Path) -> Result<File, StoreError> {
    let disk = |action, source| StoreError::Disk { action, path: path.to_owned(), source };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| disk("open", e))?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(|e| disk("set the mode of", e))?;
    Ok(file)
}

fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join("lock");
    let mut file = open_private(&path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let read = file.read_to_string(&mut holder);
            let holder = if read.is_ok() && !holder.trim().is_empty() {
                holder.trim().to_owned()
            } else {
                "another process".to_owned()
            };
            return Err(StoreError::InUse { path: directory.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => {
            return Err(StoreError::Disk { action: "lock", path, source });
        }
    }
    let noted = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "process {}", std::process::id()));
    noted.map_err(|source| StoreError::Disk { action: "write", path, source })?;
    Ok(file)
}
