//! Bugs planted on purpose, one a checker: the gate fails when a checker misses its own.

/// A bug, named for the checker that must catch it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {}
