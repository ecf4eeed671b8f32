//! The service framework's core: it keeps services running, rolls revisions out and back, and says
//! what it waits for. Pure: no I/O, no clock, no randomness.

pub mod plan;
pub mod spec;
