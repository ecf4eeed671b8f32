//! The agent: runs tasks as containers on one machine and answers to the master.
//!
//! ```text
//!  start     checks, machine, checkpoint, recovery            once
//!  runtime   receive ─> core apply ─> perform                  one loop
//!  effects   master_client, containers, prober                 do, and report back
//!  checkpoint  what survives                                   one thread
//!  api       logs, files, metrics                              read only
//!  containerizer  containers on this machine                   behind a trait
//! ```

pub mod api;
pub mod checkpoint;
pub mod config;
pub mod containerizer;
mod effects;
pub mod machine;
mod metrics;
pub mod runtime;
mod sandbox;
pub mod start;
mod unit;
mod work_dir;

pub use config::Config;
pub use runtime::{AgentError, RunningAgent, Snapshot};
pub use start::{StartError, start, start_with};
