//! How well work is placed (P27): a trace or a synthetic load replayed in simulated time against the real
//! allocator and, in the same run, against plain dominant resource fairness; packing beside its bound.

pub mod bound;
pub mod draw;
pub mod engine;
pub mod generator;
pub mod openb;
pub mod ours;
pub mod plain;
pub mod replay;
pub mod report;
pub mod workload;
