//! Growing delays with jitter. The seed is given, so a run can be repeated.

use proffer_types::DurationMs;

/// Delays that double from `min` to `max`; each is between half and all of its step, so that many
/// frameworks that lost one master do not return in one instant.
#[derive(Clone, Debug)]
pub(crate) struct BackOff {
    min: DurationMs,
    max: DurationMs,
    failures: u32,
    random: u64,
}

impl BackOff {
    pub(crate) fn new(min: DurationMs, max: DurationMs, seed: u64) -> Self {
        Self { min, max, failures: 0, random: seed }
    }

    /// The delay before the next try.
    pub(crate) fn next_delay(&mut self) -> DurationMs {
        let step = step(self.min, self.max, self.failures);
        self.failures = self.failures.saturating_add(1);
        let half = step.0 / 2;
        DurationMs(half + self.next_random() % (step.0 - half + 1))
    }

    /// It worked: begin again with the shortest delay.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// SplitMix64: enough to spread delays.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// The delay after `failures` failures, without jitter.
pub(crate) fn step(min: DurationMs, max: DurationMs, failures: u32) -> DurationMs {
    let factor = 1u64.checked_shl(failures).unwrap_or(u64::MAX);
    DurationMs(min.0.saturating_mul(factor).min(max.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_bound_and_differ_by_seed() {
        let delays = |seed| {
            let mut back_off = BackOff::new(DurationMs(100), DurationMs(5000), seed);
            (0..80).map(|_| back_off.next_delay().0).collect::<Vec<_>>()
        };
        let (one, two) = (delays(1), delays(2));
        assert_eq!(one, delays(1));
        assert_ne!(one, two);
        assert!((50..=100).contains(&one[0]));
        assert!(one[10..].iter().all(|delay| (2500..=5000).contains(delay)));
    }
}
