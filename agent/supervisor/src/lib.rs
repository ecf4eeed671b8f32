//! Owns what an agent and a supervisor must agree on: messages, frames, file names, step names.
//!
//! The schema is `proto/schema/supervisor.proto`, frozen and additive (K5). Shared by the agent
//! and the supervisor program; holds no behaviour of either, except how everything in a control
//! group is killed, which both must be able to do.

pub mod cgroup_kill;
pub mod frame;
pub mod run_dir;
pub mod step;
pub mod wire;

/// The format version this build writes. A reader refuses files and frames above its own.
pub const FORMAT_VERSION: u32 = 1;
