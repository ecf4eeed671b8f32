//! The service framework's core: it keeps services running, rolls revisions out and back, and says
//! what it waits for. Pure: no I/O, no clock, no randomness; the SDK's driver runs it.
//!
//! | module | what it owns |
//! |---|---|
//! | [`spec`] | the service file: fields, decoder, model, digest |
//! | [`record`] | what is durable: one record a service, one a revision |
//! | [`instance`] | names of instances, by which they are recognised |
//! | [`plan`] | which rollout step is taken next, and the invariant |
//! | [`rollout`] | how a rollout starts, fails, ends |
//! | [`back_off`] | pauses of slots that crash |
//! | [`command`], `commands` | what may be asked, one file each |
//! | [`framework`] | dispatch |
//! | `tasks` | what becomes of instances |
//! | `reconcile` | the turn of one service |
//! | `store`, `calls` | commits under way; calls and their answers |
//! | [`api`], `publish` | what readers see |
//! | [`events`] | the last things that happened |

#![warn(missing_docs)]

pub mod api;
pub mod back_off;
mod calls;
pub mod command;
mod commands;
pub mod events;
pub mod framework;
pub mod instance;
pub mod plan;
mod publish;
mod reconcile;
pub mod record;
pub mod rollout;
mod service;
pub mod spec;
mod store;
mod tasks;

pub use command::{ReplyTo, ServiceCall, ServiceCommand, ServiceReply};
pub use framework::{Answer, ServiceConfig, ServiceFramework};
