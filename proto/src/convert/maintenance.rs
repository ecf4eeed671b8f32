//! Maintenance windows and what offers and rows say of them.

use super::field::{name, names};
use crate::pb;
use proffer_types::maintenance::{MaintenanceWindow, Unavailability, WindowPhase, WindowRow};
use proffer_types::{DurationMs, Refusal, WallTime};

impl From<Unavailability> for pb::Unavailability {
    fn from(planned: Unavailability) -> Self {
        Self { start_ms: planned.start.0, duration_ms: planned.duration.0 }
    }
}

impl From<pb::Unavailability> for Unavailability {
    fn from(planned: pb::Unavailability) -> Self {
        Self { start: WallTime(planned.start_ms), duration: DurationMs(planned.duration_ms) }
    }
}

impl From<WindowRow> for pb::WindowRow {
    fn from(row: WindowRow) -> Self {
        Self {
            id: row.id.to_string(),
            phase: row.phase.as_str().to_owned(),
            start_ms: row.start.0,
            duration_ms: row.duration.0,
            lead_ms: row.lead.0,
            message: row.message,
        }
    }
}

impl TryFrom<pb::WindowRow> for WindowRow {
    type Error = Refusal;

    /// A phase of a later version reads as open: an agent not to count on (K5).
    fn try_from(row: pb::WindowRow) -> Result<Self, Refusal> {
        Ok(Self {
            id: name(&row.id, "id")?,
            phase: WindowPhase::from_text(&row.phase).unwrap_or(WindowPhase::Open),
            start: WallTime(row.start_ms),
            duration: DurationMs(row.duration_ms),
            lead: DurationMs(row.lead_ms),
            message: row.message,
        })
    }
}

impl TryFrom<pb::MaintenanceWindow> for MaintenanceWindow {
    type Error = Refusal;
    fn try_from(window: pb::MaintenanceWindow) -> Result<Self, Refusal> {
        let window = Self {
            agents: names(&window.agents, "agents", Self::AGENTS_MAX)?,
            start: WallTime(window.start_ms),
            duration: DurationMs(window.duration_ms),
            lead: DurationMs(window.lead_ms),
            message: window.message,
        };
        window.validate()?;
        Ok(window)
    }
}
