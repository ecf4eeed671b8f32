//! The driver's door: what happens to it, what it wants done, how it stands. Plain data, so that a
//! recorded list repeats a run.

use proffer_types::scheduler::{SchedulerDown, SchedulerUp};
use proffer_types::{DurationMs, FrameworkEpoch, FrameworkId, MasterEpoch, Refusal, ReplicaId};
use serde::{Deserialize, Serialize};

/// What a driver is started with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Which process of the framework this is.
    pub replica: ReplicaId,
    /// Decides the jitter of delays; give each process its own.
    pub seed: u64,
    /// Become active at the first subscription even though another replica is.
    pub take_over: bool,
    /// Shortest delay before a new connection.
    pub back_off_min: DurationMs,
    /// Longest delay before a new connection.
    pub back_off_max: DurationMs,
    /// Longest wait for a connection, and for the answer to `Subscribe`.
    pub connect_timeout: DurationMs,
}

impl Config {
    /// The usual delays.
    #[must_use]
    pub fn new(replica: ReplicaId, seed: u64) -> Self {
        Self {
            replica,
            seed,
            take_over: false,
            back_off_min: DurationMs(50),
            back_off_max: DurationMs(5_000),
            connect_timeout: DurationMs(10_000),
        }
    }
}

/// What happens to a driver. A recorded list of these, each with its time, repeats a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command<Input> {
    /// The shell made the connection that [`Output::Connect`] asked for.
    Connected {
        /// Its number.
        connection: u64,
    },
    /// The connection could not be made, or has ended.
    Disconnected {
        /// Its number.
        connection: u64,
        /// Why, for people.
        why: String,
    },
    /// The master refused the connection itself, in words.
    Rejected {
        /// Its number.
        connection: u64,
        /// Why; `not_leader` with an address as its hint leads there.
        refusal: Refusal,
    },
    /// The master sent a frame.
    Frame {
        /// On which connection.
        connection: u64,
        /// It.
        frame: SchedulerDown,
    },
    /// The framework's own command.
    Input(Input),
    /// Time has passed: to be called at [`Driver::next_deadline`]; more often does no harm.
    Tick,
}

/// What a driver wants done, in order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Make a connection to a master.
    Connect {
        /// Its number from now on.
        connection: u64,
        /// The leader's address, when a master named it; else the next of the list.
        hint: Option<String>,
    },
    /// Send a frame.
    Send {
        /// On which connection.
        connection: u64,
        /// It.
        frame: SchedulerUp,
    },
    /// End a connection. No [`Command::Disconnected`] is needed for it.
    Close {
        /// Its number.
        connection: u64,
    },
    /// The framework was torn down; nothing follows.
    Ended,
}

/// How a driver stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// No connection.
    #[default]
    Disconnected,
    /// Connected, not subscribed.
    Connecting,
    /// Another replica is active.
    StandingBy,
    /// Active; snapshot or state still come in.
    Loading,
    /// Active.
    Active,
    /// Torn down.
    Ended,
}

/// A summary for people and watchers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// How it stands.
    pub standing: Standing,
    /// Its id, once known.
    pub framework: Option<FrameworkId>,
    /// Its epoch.
    pub epoch: FrameworkEpoch,
    /// The master's epoch.
    pub master_epoch: MasterEpoch,
    /// Requests without a place.
    pub waiting: u64,
    /// Tasks in the table.
    pub tasks: u64,
    /// Agents that nobody can speak for.
    pub absent: u64,
    /// Why the last connection ended; cleared when one works.
    pub last_error: Option<String>,
    /// Key with which the leading master signs its requests to the framework's own API; empty while
    /// there is none, and then no capability holds.
    pub capability_key: Vec<u8>,
}
