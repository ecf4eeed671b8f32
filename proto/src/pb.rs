//! Generated from schema/proffer/v1: messages, clients, servers and JSON. The documentation of each
//! item is its comment in the schema.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated code follows the generator's style"
)]

tonic::include_proto!("proffer.v1");
include!(concat!(env!("OUT_DIR"), "/proffer.v1.serde.rs"));
include!(concat!(env!("OUT_DIR"), "/sparse/proffer.v1.serde.rs"));

/// All files of the schema with their comments, as an encoded `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/proffer.v1.descriptor.bin"));
