//! The connection to the master: one at a time, numbered; subscribe, epochs, heartbeats, back-off.

use crate::back_off::BackOff;
use crate::driver::Config;
use proffer_types::{DurationMs, FrameworkEpoch, Incarnation, MasterEpoch, Monotonic};

/// Where the connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// There is none; the next try is then.
    Away { retry_at: Monotonic },
    /// One is being made.
    Connecting { deadline: Monotonic },
    /// It is made and `Subscribe` is sent.
    Subscribing { deadline: Monotonic },
    /// Another replica is active.
    StandingBy,
    /// This replica is active; its snapshot may still come in.
    Subscribed,
    /// The framework was ended.
    Ended,
}

/// The one connection there is, and what is known of the master behind it.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) phase: Phase,
    /// Number of the connection at hand; events about others are late.
    pub(crate) connection: u64,
    /// Where to connect, when the last master said so.
    pub(crate) hint: Option<String>,
    pub(crate) incarnation: Incarnation,
    pub(crate) master_epoch: MasterEpoch,
    /// The epoch presented at the next subscription; zero: as a new replica.
    pub(crate) presented: FrameworkEpoch,
    pub(crate) heartbeat: DurationMs,
    pub(crate) last_error: Option<String>,
    /// Of the master that this replica subscribed at last.
    pub(crate) capability_key: Vec<u8>,
    last_heard: Monotonic,
    last_sent: Monotonic,
    back_off: BackOff,
    connect_timeout: DurationMs,
}

/// Before the master says how often: as seldom as any of them would.
const DEFAULT_HEARTBEAT: DurationMs = DurationMs(5_000);
/// So many heartbeats without a word mean that nobody is there.
const MISSED_HEARTBEATS_MAX: u64 = 3;

impl Link {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            phase: Phase::Away { retry_at: Monotonic(0) },
            connection: 0,
            hint: None,
            incarnation: Incarnation(0),
            master_epoch: MasterEpoch(0),
            presented: FrameworkEpoch(0),
            heartbeat: DEFAULT_HEARTBEAT,
            last_error: None,
            capability_key: Vec::new(),
            last_heard: Monotonic(0),
            last_sent: Monotonic(0),
            back_off: BackOff::new(config.back_off_min, config.back_off_max, config.seed),
            connect_timeout: config.connect_timeout,
        }
    }

    /// Whether frames go to and fro.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Subscribing { .. } | Phase::StandingBy | Phase::Subscribed)
    }

    /// Whether an event about `connection` is about the one at hand.
    pub(crate) fn is_current(&self, connection: u64) -> bool {
        connection == self.connection && !matches!(self.phase, Phase::Away { .. } | Phase::Ended)
    }

    pub(crate) fn heard(&mut self, now: Monotonic) {
        self.last_heard = now;
    }

    pub(crate) fn sent(&mut self, now: Monotonic) {
        self.last_sent = now;
    }

    /// Begins a connection; its number.
    pub(crate) fn connect(&mut self, now: Monotonic) -> u64 {
        self.connection += 1;
        self.phase = Phase::Connecting { deadline: now.after(self.connect_timeout) };
        self.connection
    }

    /// It is made.
    pub(crate) fn connected(&mut self, now: Monotonic) {
        self.phase = Phase::Subscribing { deadline: now.after(self.connect_timeout) };
        self.heartbeat = DEFAULT_HEARTBEAT;
        self.heard(now);
    }

    /// The master takes this replica, as active or to stand by.
    pub(crate) fn admitted(&mut self, phase: Phase) {
        self.phase = phase;
        self.last_error = None;
        self.back_off.reset();
    }

    /// It is over; the next try follows after a delay.
    pub(crate) fn lost(&mut self, why: &str, now: Monotonic) {
        self.last_error = Some(why.to_owned());
        self.phase = Phase::Away { retry_at: now.after(self.back_off.next_delay()) };
    }

    /// It is over, and the next try need not wait: the master named another.
    pub(crate) fn redirected(&mut self, hint: String, now: Monotonic) {
        // A hint that names the same address twice is no better than none.
        let delay = if self.hint.as_ref() == Some(&hint) {
            self.back_off.next_delay()
        } else {
            DurationMs(0)
        };
        self.hint = Some(hint);
        self.phase = Phase::Away { retry_at: now.after(delay) };
    }

    /// The time at which it counts as lost, or is to be tried.
    pub(crate) fn deadline(&self) -> Option<Monotonic> {
        match self.phase {
            Phase::Away { retry_at } => Some(retry_at),
            Phase::Connecting { deadline } | Phase::Subscribing { deadline } => Some(deadline),
            Phase::StandingBy | Phase::Subscribed => {
                let silence = self.heartbeat.0.saturating_mul(MISSED_HEARTBEATS_MAX);
                Some(self.last_heard.after(DurationMs(silence)))
            }
            Phase::Ended => None,
        }
    }

    /// When something must be said, so that the master does not take this side for lost.
    pub(crate) fn heartbeat_at(&self) -> Option<Monotonic> {
        matches!(self.phase, Phase::StandingBy | Phase::Subscribed)
            .then(|| self.last_sent.after(DurationMs((self.heartbeat.0 / 3).max(1))))
    }
}
