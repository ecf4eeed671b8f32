//! Owns the pauses between repeats. Pure; the spread over many callers is the caller's business.

use std::time::Duration;

/// Doubles from `first` up to `most`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// No failure yet.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0 }
    }

    /// One more failure: wait this long before the next try.
    pub fn failed(&mut self) -> Duration {
        let pause = pause_after(self.failures, self.first, self.most);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// It worked: the next failure starts from the beginning.
    pub fn worked(&mut self) {
        self.failures = 0;
    }
}

/// The pause after `failures` earlier ones.
#[must_use]
pub fn pause_after(failures: u32, first: Duration, most: Duration) -> Duration {
    // 2^20 of any sensible first pause is past every sensible bound.
    first.saturating_mul(1 << failures.min(20)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_start_over() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(10), ms(50));
        assert_eq!(
            [backoff.failed(), backoff.failed(), backoff.failed(), backoff.failed()],
            [ms(10), ms(20), ms(40), ms(50)]
        );
        backoff.worked();
        assert_eq!(backoff.failed(), ms(10));
    }
}
