//! All decisions of the master, pure: commands in, effects out. No clock, no I/O, no randomness.

mod command;
mod config;
mod effect;
pub mod limits;
pub mod registry;

pub use command::{Command, Peer, StatePage, WriteResult};
pub use config::Config;
pub use effect::{ConnectionId, Effect, OperationId, ReplyTo, StateList, WriteLane};
