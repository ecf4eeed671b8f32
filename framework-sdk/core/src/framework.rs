//! What an author writes: one trait, and the events it is given.

use crate::context::Context;
use crate::task_table::Task;
use proffer_types::hold::{HoldId, HoldNews};
use proffer_types::inverse_offer::InverseOffer;
use proffer_types::offer::Offer;
use proffer_types::scheduler::{Absence, FrameworkInfo};
use proffer_types::{
    AgentId, InverseOfferId, Monotonic, Now, OfferConditions, OfferId, Refusal, ReplicaId,
    TaskName, TaskState,
};
use std::convert::Infallible;
use std::sync::Arc;

/// A framework: decides what runs. Pure; the SDK decides how that is said to the master.
pub trait Framework {
    /// The framework's own commands, such as requests of its API. They reach
    /// [`Framework::handle`] as [`FrameworkEvent::Input`]; use `()` when there are none.
    type Input;

    /// What it says of itself. Asked at each subscription.
    fn info(&self) -> FrameworkInfo;

    /// Reacts to `event`. Everything it wants is asked of `ctx`.
    ///
    /// # Guarantees
    /// A status is acknowledged only after `handle` returned *and* every commit issued up to then
    /// is durable. A framework that commits what it concluded from a status loses neither.
    fn handle(&mut self, event: FrameworkEvent<Self::Input>, now: Now, ctx: &mut Context);

    /// When it wants [`FrameworkEvent::Timer`]; `None`: never.
    fn next_deadline(&self) -> Option<Monotonic> {
        None
    }

    /// Whether it wants classical offers as [`FrameworkEvent::Offers`]. Otherwise offers are made
    /// for its requests only, and the SDK answers them.
    fn wants_raw_offers(&self) -> bool {
        false
    }

    /// What classical offers are to hold to begin with; [`Context::want_offers`] changes it.
    fn offer_conditions(&self) -> OfferConditions {
        OfferConditions::new()
    }
}

/// What a framework is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FrameworkEvent<Input> {
    /// It is the active replica in a new epoch, its state is loaded, the snapshot has ended.
    ///
    /// Whatever it knew before is void: requests, commits in flight, tickets. It rebuilds itself
    /// from [`Context::tasks`] and [`Context::state`]. The task table holds live tasks, and ended
    /// ones whose end nobody has acknowledged; the latter follow as [`FrameworkEvent::Task`] with
    /// `previous: None` and then leave the table.
    Active {
        /// Whether [`Context::absent`] is empty. If not, the absence of a task says nothing about
        /// these agents (K2); the SDK holds requests for names that could run there.
        complete: bool,
    },
    /// The connection is back in the same epoch. Requests and commits go on; what changed in the
    /// meantime follows as [`FrameworkEvent::Task`].
    Resumed,
    /// The connection is lost. What is asked of the context is kept until it is back.
    Disconnected,
    /// A task changed, each change told once (I7). An ended task leaves the table afterwards.
    Task {
        /// Where it stood; `None`: the framework has not been told of it in this epoch.
        previous: Option<TaskState>,
        /// Where it stands.
        task: Arc<Task>,
        /// It never ran, and the SDK has asked for it again by itself.
        retried: bool,
    },
    /// A request is given up: the master refuses it for good, or its deadline has passed (the code is
    /// `expired`). Its name is free again.
    LaunchFailed {
        /// Which.
        name: TaskName,
        /// Why.
        refusal: Refusal,
    },
    /// An agent that may hold tasks of the framework is absent, or is no longer.
    Agent {
        /// Which.
        agent: AgentId,
        /// `None`: it is back, and what it holds was told before.
        absence: Option<Absence>,
    },
    /// A commit is durable.
    StateCommitted {
        /// The number given with it.
        ticket: u64,
    },
    /// A commit was refused as a whole. On [`proffer_types::RefusalCode::VersionConflict`] another
    /// replica has written, and [`FrameworkEvent::Standby`] is to be expected.
    StateRefused {
        /// The number given with it.
        ticket: u64,
        /// Why.
        refusal: Refusal,
    },
    /// The master refused a call that has no answer of its own.
    Refused {
        /// Which kind: `kill`, `demand`, `subscribe`, …
        call: String,
        /// Why.
        refusal: Refusal,
    },
    /// Raw offers, for frameworks that want them: to be accepted, declined or kept.
    Offers {
        /// They.
        offers: Vec<Offer>,
    },
    /// Raw offers that are no longer held: taken back, or lapsed.
    Rescinded {
        /// Which.
        offers: Vec<OfferId>,
        /// Why.
        reason: String,
    },
    /// It is asked to give up tasks, because their agent is to be emptied; each request is told once. A
    /// framework answers with [`Context::accept_inverse_offers`] and moves them, or declines; at the
    /// deadline what is left is killed all the same. One that does not answer loses them at the
    /// deadline too, and without one after a time that operators set.
    InverseOffers {
        /// What.
        offers: Vec<InverseOffer>,
    },
    /// It is no longer asked: the tasks have ended, or they may stay.
    InverseOffersRescinded {
        /// Which.
        offers: Vec<InverseOfferId>,
    },
    /// The answer to [`Context::accept`].
    AcceptAnswered {
        /// The number it returned.
        accept: u64,
        /// `None`: booked.
        refusal: Option<Refusal>,
        /// Reservations and volumes that its operations make or change, in their order.
        holds: Vec<HoldId>,
    },
    /// A reservation or volume that this framework made stands otherwise than before. Best effort: what
    /// counts is what is offered.
    Hold(HoldNews),
    /// Another replica is active. Everything known is void until [`FrameworkEvent::Active`].
    Standby {
        /// Which.
        active: ReplicaId,
    },
    /// The framework was ended, by itself or by an operator. Nothing follows.
    TornDown,
    /// [`Framework::next_deadline`] has passed.
    Timer,
    /// The framework's own command.
    Input(Input),
}

/// What the machine itself has to tell: everything but inputs.
pub(crate) type Notice = FrameworkEvent<Infallible>;

impl FrameworkEvent<Infallible> {
    /// The same as an event of a framework with inputs.
    pub(crate) fn widen<Input>(self) -> FrameworkEvent<Input> {
        match self {
            Self::Active { complete } => FrameworkEvent::Active { complete },
            Self::Resumed => FrameworkEvent::Resumed,
            Self::Disconnected => FrameworkEvent::Disconnected,
            Self::Task { previous, task, retried } => {
                FrameworkEvent::Task { previous, task, retried }
            }
            Self::LaunchFailed { name, refusal } => FrameworkEvent::LaunchFailed { name, refusal },
            Self::Agent { agent, absence } => FrameworkEvent::Agent { agent, absence },
            Self::StateCommitted { ticket } => FrameworkEvent::StateCommitted { ticket },
            Self::StateRefused { ticket, refusal } => {
                FrameworkEvent::StateRefused { ticket, refusal }
            }
            Self::Refused { call, refusal } => FrameworkEvent::Refused { call, refusal },
            Self::Offers { offers } => FrameworkEvent::Offers { offers },
            Self::Rescinded { offers, reason } => FrameworkEvent::Rescinded { offers, reason },
            Self::AcceptAnswered { accept, refusal, holds } => {
                FrameworkEvent::AcceptAnswered { accept, refusal, holds }
            }
            Self::InverseOffers { offers } => FrameworkEvent::InverseOffers { offers },
            Self::InverseOffersRescinded { offers } => {
                FrameworkEvent::InverseOffersRescinded { offers }
            }
            Self::Hold(news) => FrameworkEvent::Hold(news),
            Self::Standby { active } => FrameworkEvent::Standby { active },
            Self::TornDown => FrameworkEvent::TornDown,
            Self::Timer => FrameworkEvent::Timer,
            Self::Input(never) => match never {},
        }
    }
}
