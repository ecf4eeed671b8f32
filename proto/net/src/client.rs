//! The caller's side: where to call, with which proof, by HTTP or gRPC.

pub mod channel;
pub mod connector;
pub mod endpoint;
pub mod events;
pub mod http;

pub use channel::{AuthorizedChannel, channel};
pub use endpoint::{Address, AddressError, Endpoint};
pub use events::Event;
pub use http::{ClientError, HttpClient, STALE};
