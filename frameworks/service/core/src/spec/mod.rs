//! The service file: tree, tables of fields, decoder, model, and what follows from a model.
//!
//! | module | what it owns |
//! |---|---|
//! | [`node`] | a document as a tree with positions |
//! | [`fields`] | every field: value, default, meaning; `docs/service-spec.md` |
//! | [`model`] | a service as it is stored, defaults written out |
//! | [`quantity`] | amounts and waits as text |
//! | [`diagnostic`] | what is wrong, where |
//! | [`validate`] | rules over several fields |
//! | [`template`] | pod template, resources, digest |
//! | [`expression`] | placement expressions |

mod decode;
pub mod diagnostic;
pub mod expression;
pub mod fields;
pub mod model;
pub mod node;
mod placeholder;
pub mod quantity;
mod reader;
pub mod template;
pub mod validate;
mod vars;

pub use decode::decode;
pub use diagnostic::{Diagnostic, did_you_mean};
pub use model::{ServiceFile, ServiceName, ServiceSpec};
