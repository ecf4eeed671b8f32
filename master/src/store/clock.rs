//! Owns the one clock reading of the store: leases go on while the machine sleeps, so this does too.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Time since boot, sleep included (`CLOCK_BOOTTIME`).
#[must_use]
pub fn since_boot() -> Duration {
    let now =
        clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has CLOCK_BOOTTIME since 2.6.39");
    Duration::from(now)
}
