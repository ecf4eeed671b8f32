//! The decisions of an agent, without clock, disk, network or randomness.
//!
//! ```text
//! master frames, containers, disk, probes, time ──> Command ──> Agent::apply(command, now) ──> Effects
//! ```
//!
//! The shell performs the effects and returns what came of them as new commands. What an agent
//! promises (K1): a launch counts once its checkpoint came back, and from then on it is in every
//! list sent to a master until its framework has acknowledged its end.
//!
//! | module | what it owns |
//! |---|---|
//! | [`agent`] | the state and the dispatcher |
//! | [`command`], [`effect`] | everything that comes in and goes out |
//! | [`config`] | what the operator and the machine decide |
//! | [`container`] | containers as the core sees them |
//! | [`checkpoint`] | what survives, record by record |
//! | `commands` | one file for each kind of command |
//! | `state` | the facts, one table a file |
//! | [`recovery`] | checkpoint + what is alive → state and effects |
//! | [`invariants`] | what must hold after every apply |
//! | [`model`] | containers, disk and time in memory, for tests and the simulator |

#![warn(missing_docs)]

pub mod agent;
pub mod checkpoint;
pub mod command;
mod commands;
pub mod config;
pub mod container;
pub mod effect;
pub mod invariants;
pub mod model;
pub mod recovery;
mod state;

pub use agent::{Agent, Counters};
pub use checkpoint::{Checkpoint, Write};
pub use command::Command;
pub use config::Config;
pub use effect::Effect;
pub use recovery::Found;
