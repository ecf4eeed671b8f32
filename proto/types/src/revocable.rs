//! Whether somebody takes what may be taken back at any time.

use serde::{Deserialize, Serialize};

/// What a demand, or a framework that states none, says of revocable resources. A task that uses some may be
/// ended at any time to make room, before all others.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum RevocableUse {
    /// It is not offered any.
    #[default]
    Refuse,
    /// They will do, and are taken first where they are enough.
    Accept,
    /// Nothing else will do.
    Only,
}

impl RevocableUse {
    /// Whether some may be offered.
    #[must_use]
    pub fn is_accepted(self) -> bool {
        self != RevocableUse::Refuse
    }

    /// Whether nothing is said of them.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == RevocableUse::default()
    }
}
