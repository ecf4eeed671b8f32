//! Carries out what the core decided; what comes of it returns as commands. One file for each kind
//! of work.

pub(crate) mod containers;
pub(crate) mod events;
pub(crate) mod master_client;
pub(crate) mod prober;
pub(crate) mod spec;
