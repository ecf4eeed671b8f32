//! The facts, one table a file, no rules.

pub(crate) mod agents;
pub(crate) mod changes;
pub(crate) mod claims;
pub(crate) mod connections;
pub(crate) mod deadlines;
pub(crate) mod frameworks;
pub(crate) mod gangs;
pub(crate) mod holds;
pub(crate) mod occupancy;
pub(crate) mod offers;
pub(crate) mod outbox;
pub(crate) mod pending;
pub(crate) mod roles;
pub(crate) mod tally;
pub(crate) mod tasks;
pub(crate) mod vacate;
pub(crate) mod windows;
