//! Where a reader of the change list stands (K17).

use crate::ids::{Incarnation, MasterEpoch};
use crate::refusal::{Refusal, RefusalCode};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A position in the change list. An unknown one is answered with a reset, never with an error.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
pub struct Cursor {
    /// Raised only by an explicit restore.
    pub incarnation: Incarnation,
    /// The master that numbered the change.
    pub epoch: MasterEpoch,
    /// The change's number in that epoch.
    pub change: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.incarnation, self.epoch, self.change)
    }
}

impl FromStr for Cursor {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let mut parts = text.split('.').map(str::parse::<u64>);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(incarnation)), Some(Ok(epoch)), Some(Ok(change)), None) => Ok(Self {
                incarnation: Incarnation(incarnation),
                epoch: MasterEpoch(epoch),
                change,
            }),
            _ => Err(Refusal::new(
                RefusalCode::InvalidArgument,
                "cursor",
                format!("{:?} is not a cursor", crate::refusal::excerpt(text)),
            )),
        }
    }
}
