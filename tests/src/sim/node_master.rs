//! A master process: the real core with the real commit queue and lease, as the shell puts them
//! together, without sockets and threads.

use super::network::Wire;
use proffer_master::store::commit_queue::CommitQueue;
use proffer_master::store::lease::LeaderLease;
use proffer_master::store::model::LeaderToken;
use proffer_master_core::{Command, ConnectionId, Master};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A process and its lives.
pub struct MasterNode {
    /// Counts lives.
    pub life: u64,
    /// What it does.
    pub state: State,
    /// Its clock is ahead of virtual time by so much.
    pub clock_ahead_ms: u64,
    /// Its wall clock is ahead by so much more (F38).
    pub wall_ahead_ms: i64,
    /// Stands still until then (F10).
    pub paused_until_ms: u64,
    /// The member of the store that it talks to.
    pub member: usize,
    /// Turns in which millisecond.
    pub turns_at: (u64, u32),
}

/// What a master process does.
pub enum State {
    /// It is dead.
    Down,
    /// It waits to be elected.
    Standby,
    /// It leads.
    Leading(Box<Leading>),
}

/// A term.
pub struct Leading {
    /// The core.
    pub core: Master,
    /// Commits on their way.
    pub queue: CommitQueue,
    /// The lease as this process sees it.
    pub lease: LeaderLease,
    /// Tells this term from others.
    pub token: LeaderToken,
    /// Commands that wait for the next turn, and since when.
    pub inbox: VecDeque<(u64, Command)>,
    /// Whether a turn is scheduled.
    pub turn_scheduled: bool,
    /// For which moment a tick is scheduled.
    pub called_at_ms: Option<u64>,
    /// The core's number for each wire.
    pub connections: BTreeMap<ConnectionId, Wire>,
    /// Last number given.
    pub last_connection: u64,
    /// Connections heard of since the last turn.
    pub heard: BTreeSet<ConnectionId>,
    /// Whether a request of the commit queue is with the store.
    pub asking: bool,
}

impl Leading {
    /// Puts a command behind those that wait.
    pub fn hear(&mut self, now_ms: u64, command: Command) {
        self.inbox.push_back((now_ms, command));
    }
}

impl MasterNode {
    /// The term it leads, if it does.
    #[must_use]
    pub fn leading(&self) -> Option<&Leading> {
        match &self.state {
            State::Leading(leading) => Some(leading),
            State::Down | State::Standby => None,
        }
    }

    /// The same, to change.
    pub fn leading_mut(&mut self) -> Option<&mut Leading> {
        match &mut self.state {
            State::Leading(leading) => Some(leading),
            State::Down | State::Standby => None,
        }
    }
}
