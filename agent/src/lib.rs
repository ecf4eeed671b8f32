//! The agent: runs tasks as containers on one machine and answers to the master.

pub mod containerizer;
pub mod machine;
