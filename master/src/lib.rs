//! The master's shell: it moves bytes and wakes the core, which decides.

pub mod store;
