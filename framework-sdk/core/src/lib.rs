//! The protocol between a framework and the master as a pure machine: no I/O, no clock, no threads.
//!
//! An author implements [`Framework`]; [`Driver`] runs it: bytes' worth of [`Command`]s in,
//! [`Output`]s out. The async shell (`proffer-sdk`) and the simulator both do nothing but carry them.
//!
//! | module | what it owns |
//! |---|---|
//! | [`framework`] | the trait, and the events it is given |
//! | [`context`] | what a framework may do |
//! | `command` | the driver's door: commands, outputs, status |
//! | [`request`] | one wanted task, and its template |
//! | [`driver`] | dispatch: commands in, outputs out |
//! | `frames` | calls put into frames |
//! | `link` | the connection: subscribe, epochs, heartbeats, back-off |
//! | `snapshot` | putting a snapshot together and telling what changed (K2) |
//! | [`task_table`] | the framework's own tasks; each status applied once (I7) |
//! | `requests` | what waits for a place, grouped into demand (K10) |
//! | `offer_matcher` | which requests an offer serves; picks ports |
//! | `launches` | accepts under way, their outcome, and tries again (K1) |
//! | `acknowledgements` | cumulative, with exceptions for what is not durable yet (K15) |
//! | `state_cache` | the framework's durable keys, one commit in flight |
//! | `leases` | offers of a framework that wants them raw |
//! | `back_off` | growing delays with jitter from a given seed |
//! | `invariants` | what must hold after every command |
//! | [`testing`] | a cluster in memory for unit tests of frameworks |

#![warn(missing_docs)]

mod acknowledgements;
mod back_off;
mod command;
pub mod context;
mod counters;
pub mod driver;
mod frames;
pub mod framework;
mod invariants;
mod inverse_offers;
mod launches;
mod leases;
mod link;
mod offer_matcher;
pub mod request;
mod requests;
mod snapshot;
mod state_cache;
pub mod task_table;
pub mod testing;

pub use context::Context;
pub use counters::Counters;
pub use driver::{Command, Config, Driver, Output, Status};
pub use framework::{Framework, FrameworkEvent};
pub use request::{Port, TaskRequest, Template};
pub use state_cache::StateWrite;
pub use task_table::{Task, TaskTable};
