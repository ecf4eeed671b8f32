//! Everything that goes over a wire or into a file that another program reads: schema, stubs and
//! checked conversions. No I/O.
//!
//! | module | what it owns |
//! |---|---|
//! | [`pb`] | generated: messages, clients, servers, JSON (schema in `schema/proffer/v1`) |
//! | [`codec`] | how services read and write: prost behind a bound on parts |
//! | [`weight`] | how many parts a message has, before it is decoded |
//! | [`convert`] | between wire and domain, checked, one file per file of the schema |
//! | [`status`] | a refusal as a gRPC or HTTP status, and back |
//! | [`routes`] | every rpc and HTTP route with its verb and object |
//! | [`request`] | an rpc's request out of path, query and body |
//! | [`openapi`] | the OpenAPI document |
//! | [`descriptor`] | the schema as data |
//!
//! *To add a wire field*: edit the schema, convert it both ways in [`convert`], extend the strategy
//! in `tests/wire/strategies.rs`, regenerate `schema/api.lock.txt` and `docs/openapi.json` as the failing
//! tests say. Answer three questions in the change: what does an old reader do with it, what does a
//! new reader do without it, does an old writer drop it when passing the message on?

#![warn(missing_docs)]

pub mod codec;
pub mod convert;
pub mod descriptor;
pub mod openapi;
pub mod pb;
pub mod request;
pub mod routes;
pub mod status;
pub mod weight;
