//! The rules, one file for each kind of command. Each first checks, then changes.

mod acknowledge;
mod checks;
pub(crate) mod claim;
mod container;
mod deadline_reached;
mod end_tasks;
mod ending;
mod frame;
mod gang;
mod hold;
mod kill;
mod launch;
mod link;
mod registered;
mod request;
mod status;
mod written;

pub(crate) use ending::classify;
pub(crate) use kill::Kill;
pub(crate) use request::{expand_launch, plans_of};
pub(crate) use status::Report;
