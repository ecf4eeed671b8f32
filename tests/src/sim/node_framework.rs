//! A framework process: the real driver around a framework, and its life.

use super::batch::{Batch, Order, Style};
use super::services;
use super::watched::Watched;
use proffer_sdk_core::driver::Standing;
use proffer_sdk_core::{Command, Config, Context, Driver, Output};
use proffer_service_core::{ServiceCommand, ServiceFramework};
use proffer_types::scheduler::SchedulerDown;
use proffer_types::{FrameworkEpoch, Monotonic, Now, Refusal, ReplicaId, TaskStatus};

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
    Batch(Box<Driver<Watched<Batch>>>),
    /// The service framework.
    Service(Box<Driver<Watched<ServiceFramework>>>),
}

impl AnyDriver {
    /// Tells it what happened.
    pub fn apply(&mut self, link: Link, now: Now) {
        match self {
            Self::Batch(driver) => driver.apply(command(link), now),
            Self::Service(driver) => driver.apply(command(link), now),
        }
    }

    /// What it wants done next.
    pub fn next_output(&mut self, now: Now) -> Option<Output> {
        match self {
            Self::Batch(driver) => driver.next_output(now),
            Self::Service(driver) => driver.next_output(now),
        }
    }

    /// What its framework was told of tasks since the last look, and in which epoch.
    pub fn take_handled(&mut self) -> Vec<(FrameworkEpoch, TaskStatus)> {
        match self {
            Self::Batch(driver) => driver.framework_mut().take_handled(),
            Self::Service(driver) => driver.framework_mut().take_handled(),
        }
    }

    /// When it wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        match self {
            Self::Batch(driver) => driver.next_deadline(),
            Self::Service(driver) => driver.next_deadline(),
        }
    }

    /// Its own invariants.
    ///
    /// # Errors
    /// Which is broken.
    pub fn check_invariants(&self) -> Result<(), String> {
        match self {
            Self::Batch(driver) => driver.check_invariants(),
            Self::Service(driver) => driver.check_invariants(),
        }
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self {
            Self::Batch(driver) => driver.status().standing,
            Self::Service(driver) => driver.status().standing,
        }
    }

    /// A user's order to a batch framework.
    pub fn order(&mut self, order: Order, now: Now) {
        if let Self::Batch(driver) = self {
            driver.apply(Command::Input(order), now);
        }
    }

    /// A user's call to the service framework.
    pub fn call(&mut self, call: ServiceCommand, now: Now) {
        if let Self::Service(driver) = self {
            driver.apply(Command::Input(call), now);
        }
    }

    /// What its framework sees.
    #[must_use]
    pub fn context(&self) -> &Context {
        match self {
            Self::Batch(driver) => driver.context(),
            Self::Service(driver) => driver.context(),
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
    /// The batch framework of this number, how many tasks it is started with, and how it gets its places.
    Batch(usize, u32, Style),
    /// The service framework.
    Service,
    /// A process that says it is the first batch framework and is not (K20).
    Impostor,
}

impl Kind {
    /// To whom a process of this kind belongs.
    #[must_use]
    pub fn principal(self) -> String {
        match self {
            Self::Batch(number, ..) => format!("cert:batch-{number}"),
            Self::Service => "cert:service".to_owned(),
            Self::Impostor => "cert:impostor".to_owned(),
        }
    }
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
    /// Its wall clock is ahead by so much more (F38).
    pub wall_ahead_ms: i64,
    /// For which moment it has asked to be called.
    pub called_at_ms: Option<u64>,
}

impl FrameworkNode {
    /// A new life.
    pub fn start(&mut self, seed: u64, take_over: bool) {
        self.life += 1;
        self.called_at_ms = None;
        let replica = ReplicaId::new(&format!("r{}-{}", self.replica, self.life)).expect("valid");
        let seed = seed ^ (self.life << 8) ^ self.replica as u64;
        let config = Config { take_over, ..Config::new(replica, seed) };
        let batch = |number, wanted, style, config| {
            let batch = Watched::new(Batch::new(number, wanted, style));
            AnyDriver::Batch(Box::new(Driver::new(batch, config)))
        };
        self.driver = Some(match self.kind {
            Kind::Batch(number, wanted, style) => batch(number, wanted, style, config),
            Kind::Impostor => batch(0, 3, Style::Demand, config),
            Kind::Service => {
                let services = Watched::new(services::framework());
                AnyDriver::Service(Box::new(Driver::new(services, config)))
            }
        });
    }

    /// The batch framework in it.
    #[must_use]
    pub fn batch(&self) -> Option<&Batch> {
        match &self.driver {
            Some(AnyDriver::Batch(driver)) => Some(&driver.framework().inner),
            Some(AnyDriver::Service(_)) | None => None,
        }
    }

    /// The service framework in it.
    #[must_use]
    pub fn service(&self) -> Option<&ServiceFramework> {
        match &self.driver {
            Some(AnyDriver::Service(driver)) => Some(&driver.framework().inner),
            Some(AnyDriver::Batch(_)) | None => None,
        }
    }
}
