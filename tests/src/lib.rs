//! Whole-system behaviour: the simulator, real processes, load, benchmarks.

pub mod bench;
pub mod browser;
pub mod cluster;
pub mod load;
pub mod mutation;
pub mod processes;
pub mod quality;
pub mod sim;
pub mod traces;
pub mod wire;
