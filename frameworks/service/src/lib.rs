//! The service framework: keeps long-running services alive on a cluster. The shell around
//! `proffer-service-core`: reads service files, runs the core through the SDK, serves the API.
//!
//! | module | what it owns |
//! |---|---|
//! | [`spec_file`] | the text of a service file: strict YAML, faults with their place |
//! | [`api`] | HTTP: reads, changes, streams; [`api::types`] is its JSON |
//! | [`runtime`] | start and end |
//! | `board` | what readers see |
//! | `calls` | handlers that wait for the loop's answer |
//! | `rights` | who may do what |
//! | `metrics` | what it exports |

pub mod api;
mod board;
mod calls;
mod metrics;
mod rights;
pub mod runtime;
pub mod spec_file;

pub use runtime::{Running, ServiceOptions, StartError, start};
