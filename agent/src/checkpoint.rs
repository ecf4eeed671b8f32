//! What survives the agent, on disk: one redb file, one writer thread, group commit (K14).

mod format;
mod store;
mod writer;

pub use store::{CheckpointError, CheckpointStore};
pub use writer::{CheckpointWriter, Progress};
