//! What two programs must agree on: ids, units, resources, task states, refusals and the messages
//! of every conversation as plain data. No I/O, no clock, no generated code.
//!
//! | module | what it owns |
//! |---|---|
//! | [`ids`] | typed ids, names and epochs |
//! | [`units`] | bytes, thousandths, durations, the two clocks |
//! | [`resources`] | a set of resources and its total arithmetic |
//! | [`quantities`] | amounts by name: guarantees and limits |
//! | [`attributes`] | what an agent says of itself, and constraints on it |
//! | [`pattern`] | regular expressions of bounded cost |
//! | [`refusal`] | every "no", with a stable code |
//! | [`task`] | states, the table of legal moves, statuses |
//! | [`template`] | what runs: pod template, checks, kill policy, launch |
//! | [`demand`] | what a framework wants |
//! | [`hold`] | reservations and volumes as objects |
//! | [`offer`] | leases and the operations that use them |
//! | [`offer_condition`] | what a framework wants to be offered |
//! | [`rights`] | verbs on kinds of objects, which a principal may or may not |
//! | [`revocable`] | who takes what may be taken back at any time |
//! | [`role`] | weight, guarantee, limit |
//! | [`scheduler`] | framework ↔ master |
//! | [`agent`] | agent ↔ master |
//! | [`executor`] | custom executor ↔ agent |
//! | [`state_store`] | a framework's own small durable store |
//! | [`operator`] | people and tools ↔ master: rows, verbs, events |
//! | [`explanation`] | why something waits |
//! | [`cursor`] | where a reader of changes stands |
//! | [`format`] | versions of everything that is stored |

#![warn(missing_docs)]

pub mod agent;
pub mod attributes;
pub mod claim;
pub mod cursor;
pub mod demand;
pub mod executor;
pub mod explanation;
pub mod format;
pub mod hold;
pub mod ids;
pub mod inverse_offer;
pub mod maintenance;
pub mod offer;
pub mod offer_condition;
pub mod operator;
pub mod pattern;
pub mod quantities;
pub mod refusal;
pub mod resources;
pub mod revocable;
pub mod rights;
pub mod role;
pub mod scheduler;
pub mod state_store;
pub mod task;
pub mod template;
pub mod units;
pub mod weight;
mod words;

pub use attributes::{Attribute, Attributes, Constraint, ConstraintRule};
pub use claim::{Claim, ClaimMark};
pub use cursor::Cursor;
pub use hold::{Hold, HoldId, HoldKey};
pub use ids::*;
pub use offer_condition::{OfferCondition, OfferConditions};
pub use pattern::Pattern;
pub use quantities::Quantities;
pub use refusal::{Refusal, RefusalCode};
pub use resources::{Quantity, Ranges, ResourceName, Resources};
pub use revocable::RevocableUse;
pub use task::{TaskState, TaskStatus};
pub use units::{Bytes, DurationMs, Milli, Monotonic, Now, WallTime};
pub use weight::Weight;
