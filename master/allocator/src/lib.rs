//! The allocator: who is offered what, where, and why not. Pure and indexed.

mod delta;

pub use delta::{Decision, Delta, DeltaError, LeaseId, Turn, Use};

use proffer_types::explanation::{Explanation, Subject};
use proffer_types::{AgentId, FrameworkId, GroupName, Monotonic, Resources, RoleName};

/// Not there yet: the indexed state follows.
#[derive(Clone, Debug, Default)]
pub struct Allocator {}

impl Allocator {
    /// x
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// x
    /// # Errors
    pub fn on_change(&mut self, _delta: &Delta) -> Result<(), DeltaError> {
        Ok(())
    }
    /// x
    pub fn offers(&mut self, _budget_steps: u64, _now: Monotonic) -> Turn {
        Turn::default()
    }
    /// x
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        None
    }
    /// x
    #[must_use]
    pub fn explain(&self, subject: &Subject, _now: Monotonic) -> Explanation {
        Explanation {
            subject: subject.clone(),
            summary: String::new(),
            funnel: vec![],
            nearest_miss: String::new(),
            hints: vec![],
        }
    }
    /// x
    #[must_use]
    pub fn unmet(&self, _framework: FrameworkId, _group: &GroupName) -> u32 {
        0
    }
    /// x
    #[must_use]
    pub fn free(&self, _agent: AgentId) -> Resources {
        Resources::new()
    }
    /// x
    #[must_use]
    pub fn dominant_share_ppm(&self, _role: &RoleName) -> u64 {
        0
    }
    /// x
    #[must_use]
    pub fn framework_share_ppm(&self, _framework: FrameworkId, _role: &RoleName) -> u64 {
        0
    }
    /// x
    #[must_use]
    pub fn allocated(&self, _role: &RoleName) -> Resources {
        Resources::new()
    }
}
