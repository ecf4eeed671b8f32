//! Owns the state. `apply` only dispatches: decisions are in [`crate::commands`].

#[cfg(any(test, feature = "testing"))]
pub(crate) mod planted;

use crate::command::{Command, WriteResult};
use crate::config::Config;
use crate::effect::{Effect, OperationId, ReplyTo, WriteLane};
use crate::limits;
use crate::registry::{ClusterRecord, RegistryChange, RegistryImage};
use crate::state::agents::Agents;
use crate::state::changes::{Changes, RowKey};
use crate::state::claims::Claims;
use crate::state::connections::Connections;
use crate::state::deadlines::Deadlines;
use crate::state::frameworks::Frameworks;
use crate::state::gangs::Gangs;
use crate::state::holds::Holds;
use crate::state::occupancy::Occupancy;
use crate::state::offers::Offers;
use crate::state::pending::{Continuation, Pending, Write};
use crate::state::roles::Roles;
use crate::state::tasks::Tasks;
use crate::state::windows::Windows;
use proffer_allocator::{Allocator, Delta};
use proffer_types::operator::{EventRow, OperatorAnswer};
use proffer_types::{Cursor, DurationMs, MasterEpoch, Monotonic, Now, Refusal, RefusalCode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far this master leads (K8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leadership {
    /// Recovered; the election is not won, or the epoch is not durable yet.
    Starting,
    /// Its epoch is durable.
    Leading,
    /// A write failed: nothing more leaves.
    Stopped,
}

/// What the core counts of things that should be rare.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Counters {
    /// Frames or messages of an older session, epoch or connection.
    pub stale_frames: u64,
    /// Statuses that the table of legal moves forbids.
    pub illegal_moves: u64,
    /// Statuses of tasks that have no row.
    pub unknown_statuses: u64,
    /// Contradictions found by cheap checks (K23). Zero in a sound program.
    pub drift: u64,
    /// Launches that never reached their agent.
    pub dropped_launches: u64,
    /// Offers made.
    pub offers_made: u64,
    /// Offers that lapsed.
    pub offers_expired: u64,
    /// Tasks booked.
    pub launches: u64,
    /// Work of the allocator, in its steps (K7).
    pub allocation_steps: u64,
}

/// The master: all its decisions and the facts they rest on.
#[derive(Clone, Debug)]
pub struct Master {
    pub(crate) config: Config,
    /// With the marks of ids whose records are still being written.
    pub(crate) cluster: ClusterRecord,
    pub(crate) leadership: Leadership,
    pub(crate) lease_until: Monotonic,
    pub(crate) suspended: bool,
    pub(crate) connections: Connections,
    pub(crate) agents: Agents,
    pub(crate) frameworks: Frameworks,
    pub(crate) tasks: Tasks,
    pub(crate) offers: Offers,
    pub(crate) roles: Roles,
    pub(crate) windows: Windows,
    pub(crate) occupancy: Occupancy,
    pub(crate) holds: Holds,
    pub(crate) claims: Claims,
    pub(crate) gangs: Gangs,
    pub(crate) pending: Pending,
    pub(crate) deadlines: Deadlines,
    pub(crate) changes: Changes,
    pub(crate) allocator: Allocator,
    /// What the allocator was told this turn.
    pub(crate) deltas: Vec<Delta>,
    /// The allocator had more to do than its budget.
    pub(crate) allocation_unfinished: bool,
    /// Events for connections that have no subscription, until the end of the turn.
    pub(crate) direct: BTreeMap<crate::ConnectionId, Vec<proffer_types::scheduler::Event>>,
    pub(crate) counters: Counters,
    /// Inverse offers of this epoch so far.
    pub(crate) inverse_offers_made: u64,
    /// Contradictions of this turn, by kind of event and object (K23).
    pub(crate) troubles: BTreeMap<(&'static str, String), String>,
    /// A check runs, so nothing is being changed (K23).
    checking: bool,
    #[cfg(any(test, feature = "testing"))]
    planted: Option<planted::PlantedPanic>,
    /// What falls due is being done: nobody asked for it.
    pub(crate) unasked: bool,
    out: Vec<Effect>,
    held: Vec<Effect>,
}

impl Master {
    /// A master that starts from what is stored. The epoch is the stored one plus one; it is written
    /// by the first command, [`Command::LeadershipGained`].
    ///
    /// # Errors
    /// `newer_format` when the cluster has reached a level that this program lacks (K5).
    pub fn recover(config: Config, image: RegistryImage, now: Now) -> Result<Self, Refusal> {
        image.check()?;
        let mut master = Self {
            config,
            cluster: image.cluster.clone(),
            leadership: Leadership::Starting,
            lease_until: Monotonic(0),
            suspended: false,
            connections: Connections::default(),
            agents: Agents::default(),
            frameworks: Frameworks::default(),
            tasks: Tasks::default(),
            offers: Offers::default(),
            roles: Roles::default(),
            windows: Windows::default(),
            occupancy: Occupancy::default(),
            holds: Holds::default(),
            claims: Claims::default(),
            gangs: Gangs::default(),
            pending: Pending::default(),
            deadlines: Deadlines::default(),
            changes: Changes::default(),
            allocator: Allocator::new(),
            deltas: Vec::new(),
            allocation_unfinished: false,
            direct: BTreeMap::new(),
            counters: Counters::default(),
            inverse_offers_made: 0,
            troubles: BTreeMap::new(),
            checking: false,
            #[cfg(any(test, feature = "testing"))]
            planted: None,
            unasked: false,
            out: Vec::new(),
            held: Vec::new(),
        };
        master.load(image, now);
        Ok(master)
    }

    /// Takes one command. Effects of one command are in order; see [`Effect`] for what that means.
    pub fn apply(&mut self, command: Command, now: Now) -> Vec<Effect> {
        if self.leadership == Leadership::Stopped {
            return Vec::new();
        }
        self.checking = false;
        if now.monotonic >= self.lease_until {
            self.suspended = true;
        }
        self.dispatch(command, now);
        self.emit()
    }

    fn dispatch(&mut self, command: Command, now: Now) {
        match command {
            Command::LeadershipGained { lease_until } => {
                self.leadership_gained(lease_until, now.monotonic);
            }
            Command::LeaseConfirmed { lease_until } => {
                self.lease_confirmed(lease_until, now.monotonic);
            }
            Command::Suspended => self.suspended = true,
            Command::ConnectionOpened { connection, peer, principal } => {
                self.connections.open(connection, peer, principal);
            }
            Command::ConnectionClosed { connection } => self.connection_closed(connection, now),
            Command::Heard { connections } => self.heard(&connections, now.monotonic),
            Command::AgentFrame { connection, frame } => self.agent_frame(connection, frame, now),
            Command::SchedulerFrame { connection, frame } => {
                self.scheduler_frame(connection, frame, now);
            }
            Command::CallsRefused { connection, epoch, answers } => {
                self.calls_refused(connection, epoch, answers, now);
            }
            Command::FrameworkDrained { connection, credits } => {
                self.framework_drained(connection, credits);
            }
            Command::Operator { reply_to, principal, call } => {
                self.operator(reply_to, &principal, call, now);
            }
            Command::RegistryWritten { operation, result: WriteResult::Committed } => {
                self.registry_written(operation, now);
            }
            Command::RegistryWritten { operation, result: WriteResult::Failed { reason } } => {
                self.stop(format!("write {} failed: {reason}", operation.0));
            }
            Command::StateRead { operation, result } => self.state_read(operation, result),
            Command::EndOfTurn { budget, inbox_lag } => {
                self.deadlines_reached(inbox_lag, now);
                self.end_of_turn(budget, now);
            }
            Command::Tick { inbox_lag } => self.deadlines_reached(inbox_lag, now),
        }
    }

    /// When to send [`Command::Tick`], and [`Command::EndOfTurn`] after it.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        if self.leadership != Leadership::Leading || self.suspended {
            return None;
        }
        let store_has_room = self.deadlines.put_off_count() > 0 && self.pending.has_room_to_spare();
        if self.allocation_unfinished || store_has_room {
            return Some(Monotonic(0));
        }
        let allocator = self.allocator.next_deadline();
        [self.deadlines.next(), allocator].into_iter().flatten().min()
    }

    /// The epoch of this master, once it leads.
    #[must_use]
    pub fn epoch(&self) -> MasterEpoch {
        self.cluster.master_epoch
    }

    /// What was counted since this master began.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether the last command had begun to change the state. A shell that catches a panic may go on
    /// only when it had not (K23).
    #[must_use]
    pub fn was_changing(&self) -> bool {
        !self.checking
    }

    /// Runs the first half of a call, which cannot change anything: only a panic in here refuses the
    /// call, a panic anywhere else ends the process (K23).
    pub(crate) fn check<T>(&mut self, check: impl FnOnce(&Self) -> T) -> T {
        self.checking = true;
        #[cfg(any(test, feature = "testing"))]
        self.strike(planted::PlantedPanic::InCheck);
        let found = check(self);
        self.checking = false;
        #[cfg(any(test, feature = "testing"))]
        self.strike(planted::PlantedPanic::InChange);
        found
    }

    /// Whether the lease is not confirmed: nothing leaves, and nobody should be listened to (K8).
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// Where a view stands that has applied everything so far.
    pub(crate) fn cursor(&self) -> Cursor {
        Cursor {
            incarnation: self.cluster.incarnation,
            epoch: self.epoch(),
            change: self.changes.last(),
        }
    }

    /// Whether this master leads and effects may leave (K8).
    pub(crate) fn may_act(&self) -> bool {
        self.leadership == Leadership::Leading && !self.suspended
    }

    /// How long agents may obey from now on (K8).
    pub(crate) fn grant(&self, now: Monotonic) -> DurationMs {
        if self.suspended {
            return DurationMs(0);
        }
        self.lease_until.since(now).min(self.config.grant_max)
    }

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.out.push(effect);
    }

    /// Emits a write and remembers what waits for it.
    pub(crate) fn persist(
        &mut self,
        lane: WriteLane,
        changes: Vec<RegistryChange>,
        then: Continuation,
    ) -> OperationId {
        let operation = self.pending.next_operation();
        self.persist_as(operation, lane, changes, then);
        operation
    }

    /// The same under a number that was taken before.
    pub(crate) fn persist_as(
        &mut self,
        operation: OperationId,
        lane: WriteLane,
        changes: Vec<RegistryChange>,
        then: Continuation,
    ) {
        let bytes = changes.iter().map(RegistryChange::stored_bytes).sum();
        self.pending
            .begin(operation, Write { lane, unasked: self.unasked, bytes, then: vec![then] });
        self.effect(Effect::Persist { operation, lane, changes });
    }

    pub(crate) fn reply(&mut self, reply_to: ReplyTo, answer: OperatorAnswer) {
        let at = self.cursor();
        self.effect(Effect::Reply { reply_to, answer, at });
    }

    pub(crate) fn reply_done(&mut self, reply_to: ReplyTo, message: String) {
        self.reply(reply_to, OperatorAnswer::Done { message });
    }

    /// Adds a line to the event log.
    pub(crate) fn event(&mut self, kind: &str, subject: String, message: String, now: Now) {
        let kind = kind.to_owned();
        self.changes.event(EventRow { at: now.wall, kind, subject, message });
    }

    pub(crate) fn row(&mut self, key: RowKey) {
        self.changes.row(key);
    }

    /// A failed write never rolls back: the process ends and recovers (K4).
    pub(crate) fn stop(&mut self, reason: String) {
        self.leadership = Leadership::Stopped;
        self.out.clear();
        self.held.clear();
        self.effect(Effect::Stop { reason });
    }

    fn emit(&mut self) -> Vec<Effect> {
        if self.leadership == Leadership::Stopped || !self.suspended {
            self.held.append(&mut self.out);
            return std::mem::take(&mut self.held);
        }
        self.held.append(&mut self.out);
        if self.held.len() > limits::HELD_EFFECTS_MAX {
            self.stop("suspended with more effects held than memory is set aside for".to_owned());
            return std::mem::take(&mut self.out);
        }
        Vec::new()
    }

    /// Refusal while this master cannot decide yet.
    pub(crate) fn check_leading(&self) -> Result<(), Refusal> {
        match self.leadership {
            Leadership::Leading => Ok(()),
            Leadership::Starting | Leadership::Stopped => {
                Err(Refusal::new(RefusalCode::Unavailable, "", "the master is recovering")
                    .hint("try again in a moment"))
            }
        }
    }
}
