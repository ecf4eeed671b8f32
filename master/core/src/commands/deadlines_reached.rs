//! Finds what is due and treats each as its own command. While the inbox lags, silence proves nothing
//! and nobody is timed out (K15).

use crate::limits;
use crate::master::{Leadership, Master};
use crate::state::deadlines::Deadline;
use proffer_types::{DurationMs, Now};

impl Master {
    pub(crate) fn deadlines_reached(&mut self, inbox_lag: DurationMs, now: Now) {
        if self.leadership != Leadership::Leading || !self.may_act(now.monotonic) {
            return;
        }
        self.changing = true;
        let lags = inbox_lag.0 > limits::INBOX_LAG_MAX_MS;
        while let Some(due) = self.deadlines.take_due(now.monotonic) {
            if lags && proves_silence(due) {
                let later = now.monotonic.after(DurationMs(limits::INBOX_LAG_MAX_MS));
                self.deadlines.set(due, later);
            } else {
                self.due(due, now);
            }
        }
    }

    fn due(&mut self, due: Deadline, now: Now) {
        match due {
            Deadline::Agent(id) => self.agent_deadline(id, now),
            Deadline::FrameworkSilent(id) => self.framework_silent(id, now),
            Deadline::FrameworkFailover(id) => self.framework_failover_over(id, now),
            Deadline::FrameworkPromote(id) => self.promote(id, now),
            Deadline::Offer(id) => {
                self.counters.offers_expired += 1;
                self.rescind(&[id], "expired");
            }
            Deadline::OccupancySweep => self.sweep_occupancy(now),
        }
    }
}

fn proves_silence(due: Deadline) -> bool {
    match due {
        Deadline::Agent(_) | Deadline::FrameworkSilent(_) | Deadline::FrameworkFailover(_) => true,
        Deadline::FrameworkPromote(_) | Deadline::Offer(_) | Deadline::OccupancySweep => false,
    }
}
