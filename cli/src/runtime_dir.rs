//! Where programs of this machine leave what others look for while they run: tokens, and what a `dev`
//! would have to remove.

use crate::exit::{ExitCode, Failure};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;

/// `/run/proffer` for root, else a directory of the user's own.
pub(crate) fn path() -> PathBuf {
    if nix::unistd::Uid::effective().is_root() {
        return PathBuf::from("/run/proffer");
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(directory) => PathBuf::from(directory).join("proffer"),
        None => std::env::temp_dir().join(format!("proffer-{}", nix::unistd::Uid::effective())),
    }
}

/// The same, made if missing, for this user alone.
pub(crate) fn create() -> Result<PathBuf, Failure> {
    let path = path();
    let wrong = |why: String| {
        Failure::new(ExitCode::Error, format!("{}: cannot be used", path.display())).cause(why)
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)
        .map_err(|error| wrong(error.to_string()))?;
    let meta = std::fs::symlink_metadata(&path).map_err(|error| wrong(error.to_string()))?;
    let own = std::os::unix::fs::MetadataExt::uid(&meta) == nix::unistd::Uid::effective().as_raw();
    if !meta.is_dir() || !own || meta.permissions().mode() & 0o077 != 0 {
        return Err(wrong("it must be a directory of this user with mode 0700".to_owned()));
    }
    Ok(path)
}
