//! The connection to the master as a machine without I/O: back-off, registration, grant, silence.

use crate::command::{ConnectionId, WriteId};
use crate::config::Limits;
use proffer_types::ids::{AgentSession, MasterEpoch};
use proffer_types::units::{DurationMs, Monotonic};
use std::collections::VecDeque;

/// Heartbeats that may be unanswered; more of them would only mean that silence is noticed late.
const HEARTBEATS_OUTSTANDING_MAX: usize = 64;

/// A registration that the master has answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Registration {
    pub(crate) connection: ConnectionId,
    pub(crate) session: AgentSession,
    pub(crate) epoch: MasterEpoch,
    /// The master hears something at least this often.
    pub(crate) heartbeat: DurationMs,
    /// Orders are obeyed until here (K8).
    pub(crate) grant_until: Monotonic,
    pub(crate) next_heartbeat_at: Monotonic,
    pub(crate) last_received_at: Monotonic,
    /// When the unanswered heartbeats were sent, oldest first.
    pub(crate) outstanding: VecDeque<Monotonic>,
}

impl Registration {
    /// Half of what the master asks for, and often enough that a short grant does not run out.
    pub(crate) fn heartbeat_interval(&self, grant: DurationMs) -> DurationMs {
        DurationMs((self.heartbeat.0 / 2).min(grant.0 / 3).max(self.heartbeat.0 / 10).max(1))
    }

    /// Notes a heartbeat; false when too many are unanswered.
    pub(crate) fn heartbeat_sent(&mut self, now: Monotonic, interval: DurationMs) -> bool {
        self.outstanding.push_back(now);
        self.next_heartbeat_at = now.after(interval);
        self.outstanding.len() <= HEARTBEATS_OUTSTANDING_MAX
    }

    /// Takes the grant that answers the oldest heartbeat. It counts from when that one was sent:
    /// the leader cannot have confirmed its lease for longer than from then on (K8).
    pub(crate) fn granted(&mut self, grant: DurationMs) -> Option<Monotonic> {
        let from = self.outstanding.pop_front()?;
        self.grant_until = self.grant_until.max(from.after(grant));
        Some(from)
    }
}

/// Where the connection stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    /// No master is wanted: the agent leaves, or ends its tasks to start anew.
    Stopped,
    /// Until the next attempt.
    Waiting { at: Monotonic },
    /// An attempt is under way.
    Connecting { connection: ConnectionId, since: Monotonic },
    /// Open; the list is composed once all writes up to `barrier` are durable.
    Opening { connection: ConnectionId, since: Monotonic, barrier: WriteId },
    /// The list was sent. Nothing is obeyed before the answer (K1).
    Registering { connection: ConnectionId, session: AgentSession, sent_at: Monotonic },
    /// Registered.
    Registered(Registration),
}

impl Link {
    pub(crate) fn connection(&self) -> Option<ConnectionId> {
        match self {
            Self::Stopped | Self::Waiting { .. } => None,
            Self::Connecting { connection, .. }
            | Self::Opening { connection, .. }
            | Self::Registering { connection, .. } => Some(*connection),
            Self::Registered(registration) => Some(registration.connection),
        }
    }

    pub(crate) fn next_deadline(&self, limits: &Limits) -> Option<Monotonic> {
        match self {
            Self::Stopped => None,
            Self::Waiting { at } => Some(*at),
            Self::Connecting { since, .. } => Some(since.after(limits.register_timeout)),
            Self::Registering { sent_at, .. } => Some(sent_at.after(limits.register_timeout)),
            // The disk decides how long; a dead connection is noticed by the shell's keep-alive.
            Self::Opening { .. } => None,
            Self::Registered(registration) => {
                Some(registration.next_heartbeat_at.min(silent_at(registration, limits)))
            }
        }
    }
}

/// When a silent master counts as lost.
pub(crate) fn silent_at(registration: &Registration, limits: &Limits) -> Monotonic {
    let span = registration.heartbeat.0.saturating_mul(u64::from(limits.silent_heartbeats_max));
    registration.last_received_at.after(DurationMs(span))
}

/// Delays between attempts and the choice of the next master.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Attempts {
    failures: u32,
    next_master: usize,
    leader_hint: Option<String>,
    jitter: u64,
    last_connection: ConnectionId,
}

impl Attempts {
    pub(crate) fn new(seed: u64) -> Self {
        Self { failures: 0, next_master: 0, leader_hint: None, jitter: seed, last_connection: 0 }
    }

    /// A registration succeeded.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// An attempt failed or a connection ended: how long to wait. Doubles with each failure, and
    /// lies between half of that and all of it, so that agents do not come back in step.
    pub(crate) fn failed(&mut self, leader: Option<String>, limits: &Limits) -> DurationMs {
        let doubled = limits.reconnect_delay_min.0.saturating_mul(1 << self.failures.min(20));
        let full = doubled.min(limits.reconnect_delay_max.0);
        self.failures = self.failures.saturating_add(1);
        self.leader_hint = leader;
        let half = full / 2;
        DurationMs(half + self.random() % (full - half + 1))
    }

    /// The next connection and where to: the leader if one was named, else the next in turn.
    pub(crate) fn next(&mut self, masters: &[String]) -> (ConnectionId, String) {
        self.last_connection += 1;
        let master = self.leader_hint.take().unwrap_or_else(|| {
            let turn = self.next_master % masters.len().max(1);
            self.next_master = self.next_master.wrapping_add(1);
            masters.get(turn).cloned().unwrap_or_default()
        });
        (self.last_connection, master)
    }

    /// splitmix64: good enough to spread delays, and the same for the same seed.
    fn random(&mut self) -> u64 {
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.jitter;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
