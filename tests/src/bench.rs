//! Measurements of the whole: each prints JSON lines, compares within one run, and asserts no time.
//! How they are made honest is said in `docs/benchmarks.md`.

pub mod container;
pub mod dev;
pub mod launch;
pub mod launch_agents;
pub mod launch_framework;
pub mod memory;
pub mod misbehaved;
pub mod offers;
pub mod openb;
pub mod placement;
pub mod samples;
pub mod stamp;
