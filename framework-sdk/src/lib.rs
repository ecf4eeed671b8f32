//! Write a framework: implement [`Framework`], call [`run`].
//!
//! The SDK owns connection, leader discovery, resubscription, epochs, acknowledgement, snapshots
//! and deltas, demand, offer matching, the state store and back-off. What is left is the decision
//! what should run: see [`Context::launch`] and [`FrameworkEvent`]. `docs/writing-a-framework.md`
//! has the whole story; [`testing`] has a cluster in memory for unit tests of frameworks.
//!
#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod connection;
mod environment;
mod runtime;

pub mod testing;

pub use environment::EnvironmentError;
pub use proffer_net::Endpoint;
pub use proffer_sdk_core::driver::{Standing, Status};
pub use proffer_sdk_core::{
    Context, Counters, Framework, FrameworkEvent, StateWrite, Task, TaskRequest, TaskTable,
    Template,
};
pub use proffer_types as types;
pub use proffer_types::scheduler::FrameworkInfo;
pub use runtime::{Handle, Options, Stopped, run, run_with};
