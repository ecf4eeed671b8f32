//! All decisions of the master, pure: commands in, effects out. No clock, no I/O, no randomness.
//!
//! ```text
//!   shell ── Command ──> Master::apply(command, now) ── Effects ──> shell
//!
//!   commands/   one file a command: checks, change, effects
//!   state/      the facts, one table a file, no rules
//!   allocation  who uses and holds what, and the deltas for the allocator
//!   turn        the end of a turn: allocate, send what was gathered, publish the changes
//!   rows        rows of the published view
//!   registry    what survives a failover
//! ```

mod allocation;
mod capability;
mod command;
mod commands;
mod config;
mod effect;
mod invariants;
pub mod limits;
mod master;
pub mod registry;
mod rows;
mod state;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod turn;

pub use capability::{agent_capability_key, framework_capability_key};
pub use command::{Command, Peer, StatePage, WriteResult};
pub use config::{Config, PreemptFor, Preemption};
pub use effect::{ConnectionId, Effect, OperationId, ReplyTo, StateList, WriteLane};
pub use master::{Counters, Master};
pub use proffer_allocator::Policy;
pub use registry::RegistryImage;
pub use rows::{explain_agents_out, explain_claims, explain_ended_task, explain_task};
