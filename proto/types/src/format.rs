//! Versions of everything that is stored. A newer one is refused in words (K5).

use crate::refusal::{Refusal, RefusalCode};

/// What the registry holds; also the feature level a cluster has reached. 2: reservations and volumes.
pub const REGISTRY: u32 = 2;
/// An agent's checkpoint. 2: reservations and volumes.
pub const CHECKPOINT: u32 = 2;
/// The files in a container's run directory.
pub const SUPERVISOR: u32 = 1;
/// A recorded command log.
pub const COMMAND_LOG: u32 = 1;
/// The state that the service framework keeps in its store.
pub const SERVICE_STATE: u32 = 1;

/// Accepts `found` when this program knows it.
///
/// # Errors
/// A refusal that says what holds which version and what to do.
pub fn check(what: &str, found: u32, known: u32) -> Result<(), Refusal> {
    if found <= known && found > 0 {
        return Ok(());
    }
    let message = format!("format version {found} is not known; this program reads 1 to {known}");
    Err(Refusal::new(RefusalCode::NewerFormat, what, message)
        .hint("start the version that wrote it, or a later one"))
}
