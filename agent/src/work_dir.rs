//! Owns the work directory: what lies where, drawn once.
//!
//! ```text
//! WORK_DIR/
//!   checkpoint.redb        what the agent has promised
//!   sandboxes/<container>/ one directory for each task, with its stdout and stderr
//! ```

use proffer_types::ids::ContainerId;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Users of tasks pass through to their own sandbox and see nothing of the others'.
const PASS_THROUGH: u32 = 0o711;

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
        for directory in [this.root.as_path(), this.sandboxes().as_path()] {
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
