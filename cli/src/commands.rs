//! One file per command or family of commands. Each asks the master and prints; none decides.

pub(crate) mod agent;
pub(crate) mod agents;
pub(crate) mod cleanup;
pub(crate) mod completion;
pub(crate) mod deploy;
pub(crate) mod dev;
pub(crate) mod ending;
pub(crate) mod endpoints;
pub(crate) mod events;
pub(crate) mod follow;
pub(crate) mod framework;
pub(crate) mod frameworks;
pub(crate) mod holds;
pub(crate) mod logs;
pub(crate) mod maintenance;
pub(crate) mod master;
pub(crate) mod offers;
pub(crate) mod roles;
pub(crate) mod services;
pub(crate) mod tasks;
pub(crate) mod vacate;
pub(crate) mod version;
pub(crate) mod wait;
pub(crate) mod why;
