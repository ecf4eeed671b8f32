//! Whole-system behaviour: the simulator, real processes, load, benchmarks.

pub mod sim;
