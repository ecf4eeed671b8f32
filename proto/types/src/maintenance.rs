//! Maintenance windows: when agents are to be empty, and for how long.

use crate::ids::{AgentId, WindowId};
use crate::refusal::{Refusal, RefusalCode};
use crate::units::{DurationMs, WallTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What an operator plans.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MaintenanceWindow {
    /// Of which agents; at least one.
    pub agents: BTreeSet<AgentId>,
    /// When it begins. The only moment that is looked up on a wall clock.
    pub start: WallTime,
    /// How long it lasts, from when it has begun.
    pub duration: DurationMs,
    /// So long before it begins the agents take no new tasks, and frameworks are asked to move theirs.
    pub lead: DurationMs,
    /// What it is for.
    pub message: String,
}

impl MaintenanceWindow {
    /// Agents of one window.
    pub const AGENTS_MAX: usize = 10_000;
    /// Bytes of its message.
    pub const MESSAGE_BYTES_MAX: usize = 1024;
    /// Longest window and longest lead.
    pub const SPAN_MAX: DurationMs = DurationMs::from_secs(365 * 24 * 3600);

    /// Checks one window alone.
    ///
    /// # Errors
    /// A refusal that names the field.
    pub fn validate(&self) -> Result<(), Refusal> {
        let wrong = |field: &str, message: String| {
            Err(Refusal::new(RefusalCode::InvalidArgument, field, message))
        };
        if self.agents.is_empty() || self.agents.len() > Self::AGENTS_MAX {
            return wrong(
                "agents",
                format!("names {}; 1 to {}", self.agents.len(), Self::AGENTS_MAX),
            );
        }
        if self.duration.0 == 0 || self.duration > Self::SPAN_MAX {
            return wrong("duration", format!("is {}; up to {}", self.duration, Self::SPAN_MAX));
        }
        if self.lead > Self::SPAN_MAX {
            return wrong("lead", format!("is {}; up to {}", self.lead, Self::SPAN_MAX));
        }
        if self.message.len() > Self::MESSAGE_BYTES_MAX {
            return wrong("message", format!("is longer than {} bytes", Self::MESSAGE_BYTES_MAX));
        }
        Ok(())
    }

    /// What offers on its agents say of it.
    #[must_use]
    pub fn unavailability(&self) -> Unavailability {
        Unavailability { start: self.start, duration: self.duration }
    }
}

/// When an agent is planned to be out of use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Unavailability {
    /// From when on.
    pub start: WallTime,
    /// For how long.
    pub duration: DurationMs,
}

/// How far a window has come. It never goes back, whatever clocks do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowPhase {
    /// Nothing has happened yet.
    Scheduled,
    /// Frameworks are asked to move their tasks.
    Emptying,
    /// It has begun: what was left was killed.
    Open,
}

crate::words::words!(WindowPhase {
    Scheduled = "scheduled",
    Emptying = "emptying",
    Open = "open",
});

/// A window as its agents' rows show it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WindowRow {
    /// Its id.
    pub id: WindowId,
    /// How far it has come.
    pub phase: WindowPhase,
    /// When it is to begin.
    pub start: WallTime,
    /// How long it lasts.
    pub duration: DurationMs,
    /// How long before its beginning agents are emptied.
    pub lead: DurationMs,
    /// What it is for.
    pub message: String,
}
