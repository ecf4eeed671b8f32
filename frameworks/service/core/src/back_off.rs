//! Growing pauses between the starts of one slot. Each slot has its own: one poisoned agent or one
//! bad slot holds up no other.

use crate::spec::ServiceName;
use crate::spec::model::BackoffSpec;
use proffer_types::{DurationMs, Monotonic};
use sha2::{Digest, Sha256};

/// The crash history of one slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BackOff {
    /// Crashes in a row.
    pub crashes: u32,
    /// Nothing starts before.
    pub until: Option<Monotonic>,
}

impl BackOff {
    /// Notes a crash.
    pub fn crashed(&mut self, spec: &BackoffSpec, seed: (&ServiceName, u32), now: Monotonic) {
        self.crashes = self.crashes.saturating_add(1);
        self.until = Some(now.after(jittered(pause(spec, self.crashes), seed, self.crashes)));
    }

    /// Notes an end that says nothing about the service, such as a lost agent: a short pause that
    /// does not grow.
    pub fn lost(&mut self, spec: &BackoffSpec, now: Monotonic) {
        self.until = Some(now.after(spec.first));
    }

    /// A history taken over from the store: the pause starts anew, in full.
    #[must_use]
    pub fn restored(
        spec: &BackoffSpec,
        crashes: u32,
        seed: (&ServiceName, u32),
        now: Monotonic,
    ) -> Self {
        let until = Some(now.after(jittered(pause(spec, crashes), seed, crashes)));
        Self { crashes, until }
    }

    /// Whether the slot may start something.
    #[must_use]
    pub fn is_over(&self, now: Monotonic) -> bool {
        self.until.is_none_or(|until| until <= now)
    }
}

/// The pause after so many crashes in a row.
#[must_use]
pub fn pause(spec: &BackoffSpec, crashes: u32) -> DurationMs {
    let mut pause = u128::from(spec.first.0);
    let max = u128::from(spec.max.0);
    for _ in 1..crashes {
        if pause >= max || spec.factor.0 <= 1000 {
            break;
        }
        pause = pause * u128::from(spec.factor.0) / 1000;
    }
    DurationMs(u64::try_from(pause.min(max)).expect("at most `max`"))
}

/// Up to a tenth more, so that slots that crashed together do not come back together. Derived from
/// the slot: the core has no randomness.
fn jittered(pause: DurationMs, (service, slot): (&ServiceName, u32), crashes: u32) -> DurationMs {
    let digest = Sha256::digest(format!("{service}/{slot}/{crashes}"));
    let part = u64::from(digest[0]);
    DurationMs(pause.0.saturating_add(pause.0 / 10 * part / 255))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proffer_types::Milli;

    const SPEC: BackoffSpec = BackoffSpec {
        first: DurationMs(1000),
        factor: Milli(2000),
        max: DurationMs(300_000),
        reset: DurationMs(600_000),
    };

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses: Vec<u64> = (1..=11).map(|crashes| pause(&SPEC, crashes).0 / 1000).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(pause(&SPEC, u32::MAX).0, 300_000);
        let flat = BackoffSpec { factor: Milli(1000), ..SPEC };
        assert_eq!(pause(&flat, u32::MAX).0, 1000);
    }

    #[test]
    fn a_lost_agent_does_not_raise_it() {
        let name = ServiceName::new("web").expect("valid");
        let mut slot = BackOff::default();
        slot.lost(&SPEC, Monotonic(0));
        assert_eq!((slot.crashes, slot.is_over(Monotonic(1000))), (0, true));
        slot.crashed(&SPEC, (&name, 0), Monotonic(0));
        assert!(!slot.is_over(Monotonic(999)));
        assert!(slot.is_over(Monotonic(1100)));
    }
}
