//! Between the wire and the domain, one file per file of the schema. Outwards cannot fail
//! (`From`). Inwards is checked (`TryFrom`): an error is a [`Refusal`] whose field names the path,
//! such as `calls[3].accept.operations[1].launch.tasks[0].resources[2].quantity`.
//!
//! Enum values and words of a later version are kept as the `Unknown` or `Other` of their kind;
//! messages of an unknown kind are skipped where they inform and refused where they ask (K5).
//!
//! [`Refusal`]: proffer_types::Refusal

mod agent;
pub mod bounds;
mod executor;
mod field;
mod hold;
mod inverse_offer;
mod maintenance;
mod offer_condition;
mod operator;
mod resources;
mod scheduler;
mod state;
mod template;
mod types;

pub use operator::{Page, page, requested_cursor};
pub use resources::{
    attributes_from_pb, attributes_to_pb, quantities_from_pb, quantities_to_pb, resources_from_pb,
    resources_to_pb,
};
pub use scheduler::{RefusedCall, call_name, calls_from_pb};
pub use types::{digest_from_pb, digest_from_text};
