//! The statements that must hold, one file each.

use super::observe::Checker;

/// All of them, new for each run.
#[must_use]
pub fn all() -> Vec<Box<dyn Checker>> {
    Vec::new()
}
