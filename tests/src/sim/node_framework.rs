//! A framework process: the real driver around a framework, and its life.

use super::batch::{Batch, Order};
use proffer_sdk_core::driver::Standing;
use proffer_sdk_core::{Command, Config, Driver, Output};
use proffer_types::scheduler::SchedulerDown;
use proffer_types::{Monotonic, Now, Refusal, ReplicaId};

/// What happens to a process apart from its own commands.
pub enum Link {
    /// See [`Command::Connected`].
    Connected(u64),
    /// See [`Command::Disconnected`].
    Disconnected(u64),
    /// See [`Command::Rejected`].
    Rejected(u64, Refusal),
    /// See [`Command::Frame`].
    Frame(u64, SchedulerDown),
    /// See [`Command::Tick`].
    Tick,
}

/// The frameworks that take part.
pub enum AnyDriver {
    /// Tasks to completion.
    Batch(Box<Driver<Batch>>),
}

impl AnyDriver {
    /// Tells it what happened.
    pub fn apply(&mut self, link: Link, now: Now) {
        match self {
            Self::Batch(driver) => driver.apply(command(link), now),
        }
    }

    /// What it wants done next.
    pub fn next_output(&mut self, now: Now) -> Option<Output> {
        match self {
            Self::Batch(driver) => driver.next_output(now),
        }
    }

    /// When it wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        match self {
            Self::Batch(driver) => driver.next_deadline(),
        }
    }

    /// Its own invariants.
    ///
    /// # Errors
    /// Which is broken.
    pub fn check_invariants(&self) -> Result<(), String> {
        match self {
            Self::Batch(driver) => driver.check_invariants(),
        }
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self {
            Self::Batch(driver) => driver.status().standing,
        }
    }

    /// A user's order.
    pub fn order(&mut self, order: Order, now: Now) {
        match self {
            Self::Batch(driver) => driver.apply(Command::Input(order), now),
        }
    }
}

fn command<I>(link: Link) -> Command<I> {
    match link {
        Link::Connected(connection) => Command::Connected { connection },
        Link::Disconnected(connection) => {
            Command::Disconnected { connection, why: "simulated".to_owned() }
        }
        Link::Rejected(connection, refusal) => Command::Rejected { connection, refusal },
        Link::Frame(connection, frame) => Command::Frame { connection, frame },
        Link::Tick => Command::Tick,
    }
}

/// What kind of framework a process is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The batch framework of this number, and how many tasks it is started with.
    Batch(usize, u32),
}

/// A process and its lives.
pub struct FrameworkNode {
    /// Of which framework.
    pub kind: Kind,
    /// Which replica.
    pub replica: usize,
    /// Counts lives.
    pub life: u64,
    /// `None`: dead.
    pub driver: Option<AnyDriver>,
    /// Its clock is ahead of virtual time by so much.
    pub clock_ahead_ms: u64,
    /// For which moment it has asked to be called.
    pub called_at_ms: Option<u64>,
}

impl FrameworkNode {
    /// A new life.
    pub fn start(&mut self, seed: u64) {
        self.life += 1;
        self.called_at_ms = None;
        let Kind::Batch(number, wanted) = self.kind;
        let replica = ReplicaId::new(&format!("r{}-{}", self.replica, self.life)).expect("valid");
        let config = Config::new(replica, seed ^ (self.life << 8) ^ self.replica as u64);
        self.driver =
            Some(AnyDriver::Batch(Box::new(Driver::new(Batch::new(number, wanted), config))));
    }

    /// The batch framework in it.
    #[must_use]
    pub fn batch(&self) -> Option<&Batch> {
        match &self.driver {
            Some(AnyDriver::Batch(driver)) => Some(driver.framework()),
            None => None,
        }
    }
}
