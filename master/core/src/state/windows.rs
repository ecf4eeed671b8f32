//! Maintenance windows: what is planned, and how far each has come.

use proffer_types::inverse_offer::VacateReason;
use proffer_types::maintenance::{MaintenanceWindow, WindowPhase, WindowRow};
use proffer_types::{DurationMs, WindowId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far a window has come, durably. It never goes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Nothing has happened yet.
    Scheduled,
    /// Its agents are being emptied.
    Emptying {
        /// After so long it begins; a new leader starts that in full (K19).
        opens_in: DurationMs,
    },
    /// It has begun. It lasts its duration, which a new leader starts in full.
    Open,
}

/// A maintenance window as it is stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WindowRecord {
    /// What was asked for.
    pub window: MaintenanceWindow,
    /// How far it has come.
    pub progress: Progress,
}

#[derive(Clone, Debug)]
pub(crate) struct WindowEntry {
    /// What is durable.
    pub(crate) record: WindowRecord,
    /// A change of it is being written.
    pub(crate) is_writing: bool,
}

impl WindowEntry {
    pub(crate) fn has_begun(&self) -> bool {
        self.record.progress != Progress::Scheduled
    }

    /// Why and until when its agents are emptied; `None`: they are not.
    pub(crate) fn vacate(&self) -> Option<(VacateReason, Option<DurationMs>)> {
        let deadline = match self.record.progress {
            Progress::Scheduled => return None,
            Progress::Emptying { opens_in } => opens_in,
            Progress::Open => DurationMs(0),
        };
        let window = &self.record.window;
        let reason = VacateReason::Maintenance {
            start: window.start,
            duration: window.duration,
            message: window.message.clone(),
        };
        Some((reason, Some(deadline)))
    }

    pub(crate) fn row(&self, id: WindowId) -> WindowRow {
        let window = &self.record.window;
        WindowRow {
            id,
            phase: match self.record.progress {
                Progress::Scheduled => WindowPhase::Scheduled,
                Progress::Emptying { .. } => WindowPhase::Emptying,
                Progress::Open => WindowPhase::Open,
            },
            start: window.start,
            duration: window.duration,
            lead: window.lead,
            message: window.message.clone(),
        }
    }
}

/// By id.
pub(crate) type Windows = BTreeMap<WindowId, WindowEntry>;
