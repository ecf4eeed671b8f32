//! When a client says that it has no master: soon, then now and then. Not at the first attempt, which
//! may only be earlier than the master.

use std::time::{Duration, Instant};

/// A trouble that is over sooner is not spoken of.
const COMPLAIN_AFTER: Duration = Duration::from_secs(2);

/// One that goes on is told this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// What was said so far about the present trouble.
#[derive(Debug, Default)]
pub struct Complaints {
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Complaints {
    /// There is trouble: whether to speak of it now.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let first = *self.first.get_or_insert(now);
        let is_due = match self.last {
            None => now.duration_since(first) >= COMPLAIN_AFTER,
            Some(last) => now.duration_since(last) >= COMPLAIN_EVERY,
        };
        if is_due {
            self.last = Some(now);
        }
        is_due
    }

    /// It is over; the next one is another.
    pub fn end(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_soon_and_then_once_a_minute() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        let told = |complaints: &mut Complaints, from: u64| {
            let seconds = (from..=from + 125)
                .filter(|second| complaints.is_due(start + Duration::from_secs(*second)));
            seconds.map(|second| second - from).collect::<Vec<_>>()
        };
        assert_eq!(told(&mut complaints, 0), [2, 62, 122]);
        complaints.end();
        assert_eq!(told(&mut complaints, 1000), [2, 62, 122]);
    }
}
