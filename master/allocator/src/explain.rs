//! x
use crate::state::Allocator;
use proffer_types::Monotonic;
use proffer_types::explanation::{Explanation, Subject};
impl Allocator {
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
}
