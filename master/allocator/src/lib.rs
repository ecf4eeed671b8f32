//! The allocator: who is offered what, where, and why not. Pure and indexed: no clock, no
//! randomness, no function that takes the whole cluster.
//!
//! Feed it [`Delta`]s with [`Allocator::on_change`], let it decide with [`Allocator::offers`], ask
//! it with [`Allocator::explain`]. [`turn`] says in which order things are decided, [`place`]
//! where a task goes.
//!
//! | module | what it owns |
//! |---|---|
//! | [`delta`] | inputs and answers |
//! | [`amounts`] | resources as dense vectors, ranges on an agent |
//! | [`share`] | exact comparison of weighted dominant shares |
//! | [`fair_tree`] | roles and frameworks in fair order |
//! | [`fit_tree`] | search for an agent with room |
//! | [`headroom`] | what has to stay free for those who are owed something |
//! | [`lend`] | what is kept free for others, lent to those who give it back at once |
//! | [`limits`] | who waits for room under a limit, and offers cut to it |
//! | [`agents`] | free and used on an agent, classes of agents |
//! | [`kept`] | of it what is reserved, marked or a set |
//! | [`cap`] | who waits to hold less in unanswered offers |
//! | [`conditions`] | what frameworks without demand want to be offered |
//! | [`filters`] | refusals |
//! | [`demand`] | groups, and buckets of groups with one shape |
//! | [`policy`] | what operators decide for the whole cluster |
//! | [`state`] | the tables, and what waits for what |
//! | [`apply`] and its two | changes taken in |
//! | [`uses`] | bookings of tasks and leases |
//! | [`reserved`] | what is reserved for roles |
//! | [`turn`], [`place`], [`rescind`] | decisions |
//! | [`claims`] | room that is being made by ending tasks of others |
//! | [`explain`] | why something waits |

#![warn(missing_docs)]

mod agents;
mod amounts;
mod apply;
mod apply_agents;
mod apply_frameworks;
mod cap;
mod claims;
mod conditions;
mod delta;
mod demand;
#[cfg(test)]
mod equivalence;
mod explain;
mod fair_tree;
mod filters;
mod fit_tree;
mod headroom;
mod kept;
mod lend;
mod limits;
mod place;
mod policy;
#[cfg(any(test, feature = "reference"))]
pub mod reference;
mod report;
mod rescind;
mod reserved;
mod share;
mod slab;
mod slot_set;
mod state;
mod turn;
mod uses;

pub use claims::Starving;
pub use delta::{Decision, Delta, DeltaError, LeaseId, Turn, Use};
pub use policy::Policy;
pub use report::BeyondLimit;
pub use state::Allocator;
