//! What the wire promises: every message survives the way through bytes, no bytes bring a reader
//! down, the API only grows, and its JSON and its document stay as they are.

mod api_lock;
mod grpc;
mod json;
mod malformed;
mod openapi;
mod round_trip;
mod strategies;
