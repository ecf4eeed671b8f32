//! Finds what is due and treats each as its own command. While the inbox lags, silence proves nothing
//! and nobody is timed out (K15).

use crate::limits;
use crate::master::Master;
use crate::state::deadlines::Deadline;
use proffer_types::scheduler::Event;
use proffer_types::{DurationMs, Monotonic, Now};

impl Master {
    pub(crate) fn deadlines_reached(&mut self, inbox_lag: DurationMs, now: Now) {
        if !self.may_act() {
            return;
        }
        let lags = inbox_lag.0 > limits::INBOX_LAG_MAX_MS;
        let waited = self.deadlines.put_off_count();
        while let Some(due) = self.next_due(now.monotonic) {
            if lags && proves_silence(due) {
                let later = now.monotonic.after(DurationMs(limits::INBOX_LAG_MAX_MS));
                self.deadlines.set(due, later);
            } else if writes(due) && !self.pending.has_room_to_spare() {
                self.deadlines.put_off(due);
            } else {
                self.unasked = true;
                self.due(due, now);
                self.unasked = false;
            }
        }
        self.explain_put_off(waited, now);
    }

    /// What waited for the store goes first.
    fn next_due(&mut self, now: Monotonic) -> Option<Deadline> {
        let waited =
            if self.pending.has_room_to_spare() { self.deadlines.take_put_off() } else { None };
        waited.or_else(|| self.deadlines.take_due(now))
    }

    fn explain_put_off(&mut self, before: usize, now: Now) {
        let waiting = self.deadlines.put_off_count();
        if before == 0 && waiting > 0 {
            let message = format!(
                "{waiting} agents or frameworks are out of reach at once; their records are written \
                 {} at a time",
                limits::SPARE_WRITES_MAX
            );
            self.event("store_behind", "registry".to_owned(), message, now);
        }
    }

    fn due(&mut self, due: Deadline, now: Now) {
        match due {
            Deadline::Agent(id) => self.agent_deadline(id, now),
            Deadline::FrameworkSilent(id) => self.framework_silent(id, now),
            Deadline::FrameworkFailover(id) => self.framework_failover_over(id, now),
            Deadline::FrameworkPromote(id) => self.promote(id, now),
            Deadline::Demand(id) => self.demand_due(id, now),
            Deadline::Offer(id) => {
                self.counters.offers_expired += 1;
                self.rescind(&[id], "expired");
            }
            Deadline::Vacate(id) => self.vacate_deadline(id, now),
            Deadline::InverseOffer(id, framework) => {
                self.inverse_offer_lapsed(id, framework, now);
            }
            Deadline::Window(id) => self.window_due(id, now),
            Deadline::Schedule => self.look_at_schedule(now),
            Deadline::OccupancySweep => self.sweep_occupancy(now),
            Deadline::Heartbeats => self.send_heartbeats(now),
            Deadline::Preemption => self.preemption_due(now),
            Deadline::Claim(id) => self.claim_overdue(id, now),
            Deadline::Gang(id) => self.gang_due(id, now),
        }
    }

    /// Every replica that reads hears from the master at least this often, also one that stands by.
    pub(crate) fn send_heartbeats(&mut self, now: Now) {
        let mut direct = Vec::new();
        for (id, entry) in &mut self.frameworks.table {
            if let Some(stream) = entry.stream.as_mut()
                && stream.outbox.is_empty()
            {
                stream.outbox.push(Event::Heartbeat);
                self.frameworks.unsent.insert(*id);
            }
            let standbys = entry.standbys.iter_mut().map(|standby| &mut standby.candidate);
            for standby in standbys.filter(|standby| standby.credits > 0) {
                standby.credits -= 1;
                direct.push(standby.connection);
            }
        }
        for connection in direct {
            self.tell_direct(connection, Event::Heartbeat);
        }
        let next = now.monotonic.after(self.config.framework_heartbeat);
        self.deadlines.set(Deadline::Heartbeats, next);
    }
}

fn proves_silence(due: Deadline) -> bool {
    match due {
        Deadline::Agent(_)
        | Deadline::FrameworkSilent(_)
        | Deadline::FrameworkFailover(_)
        | Deadline::InverseOffer(..) => true,
        Deadline::FrameworkPromote(_)
        | Deadline::Demand(_)
        | Deadline::Offer(_)
        | Deadline::Vacate(_)
        | Deadline::Window(_)
        | Deadline::Schedule
        | Deadline::OccupancySweep
        | Deadline::Heartbeats
        | Deadline::Preemption
        | Deadline::Gang(_)
        | Deadline::Claim(_) => false,
    }
}

/// Whether it may end in a write, so that many of them at once have to wait for each other.
fn writes(due: Deadline) -> bool {
    match due {
        Deadline::Agent(_)
        | Deadline::FrameworkFailover(_)
        | Deadline::FrameworkPromote(_)
        | Deadline::Window(_)
        | Deadline::Schedule
        | Deadline::OccupancySweep => true,
        Deadline::FrameworkSilent(_)
        | Deadline::Demand(_)
        | Deadline::Offer(_)
        | Deadline::Vacate(_)
        | Deadline::InverseOffer(..)
        | Deadline::Heartbeats
        | Deadline::Preemption
        | Deadline::Gang(_)
        | Deadline::Claim(_) => false,
    }
}
