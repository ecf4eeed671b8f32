//! Owns the work directory: what lies where, drawn once.
//!
//! ```text
//! WORK_DIR/
//!   checkpoint.redb        what the agent has promised
//!   sandboxes/<container>/ one directory for each task, with its stdout and stderr
//!   volumes/<volume>/      the data of one persistent volume
//! ```

use proffer_types::ids::{ContainerId, VolumeId};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Users of tasks pass through to their own sandbox and see nothing of the others'.
const PASS_THROUGH: u32 = 0o711;

/// Until a task has a volume only the agent sees it.
const VOLUME_MODE: u32 = 0o700;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkDir {
    root: PathBuf,
}

impl WorkDir {
    /// Makes the directories.
    ///
    /// # Errors
    /// When the machine refuses.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = fs::canonicalize(root)?;
        let this = Self { root };
        fs::create_dir_all(this.sandboxes())?;
        fs::create_dir_all(this.volumes())?;
        let ours = [this.root.clone(), this.sandboxes(), this.volumes()];
        for directory in &ours {
            fs::set_permissions(directory, fs::Permissions::from_mode(PASS_THROUGH))?;
        }
        Ok(this)
    }

    /// The checkpoint's file.
    #[must_use]
    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.root.join("checkpoint.redb")
    }

    /// Above all sandboxes.
    #[must_use]
    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.root.join("sandboxes")
    }

    /// Above all volumes.
    #[must_use]
    pub(crate) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// The data of one volume.
    #[must_use]
    pub(crate) fn volume(&self, volume: VolumeId) -> PathBuf {
        self.volumes().join(volume.to_string())
    }

    /// Makes the directory of a volume, durably; one that is there stays as it is.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn make_volume(&self, volume: VolumeId) -> io::Result<()> {
        match fs::create_dir(self.volume(volume)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        fs::set_permissions(self.volume(volume), fs::Permissions::from_mode(VOLUME_MODE))?;
        fs::File::open(self.volumes())?.sync_all()
    }

    /// Removes a volume with all that is in it, durably; one that is not there is removed.
    ///
    /// # Errors
    /// When the disk refuses; a part may be gone.
    pub(crate) fn wipe_volume(&self, volume: VolumeId) -> io::Result<()> {
        match fs::remove_dir_all(self.volume(volume)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        fs::File::open(self.volumes())?.sync_all()
    }

    /// Volumes on disk. What is not named like one is left alone.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(crate) fn list_volumes(&self) -> io::Result<BTreeSet<VolumeId>> {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(self.volumes())? {
            found
                .extend(entry?.file_name().to_str().and_then(|name| name.parse::<VolumeId>().ok()));
        }
        Ok(found)
    }

    /// One sandbox. A container id has no separators and no leading dot.
    #[must_use]
    pub(crate) fn sandbox(&self, container: &ContainerId) -> PathBuf {
        self.sandboxes().join(container.as_str())
    }

    /// Sandboxes on disk. What is not named like one is left alone.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(crate) fn list_sandboxes(&self) -> io::Result<Vec<ContainerId>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.sandboxes())? {
            if let Some(name) = entry?.file_name().to_str()
                && let Ok(container) = ContainerId::new(name)
            {
                found.push(container);
            }
        }
        found.sort();
        Ok(found)
    }
}
