//! How the programs reach each other: one port for gRPC, HTTP and event streams, with TLS, tokens and
//! one gate that every call passes; and the client side of the same.
//!
//! ```text
//!  server                                           client
//!    listen    may this address be opened?            client::endpoint   addresses, token, CA
//!    serve     accept, first byte, timeouts           client::connector  TCP and TLS
//!    gate      Host, Origin, principal,               client::http       JSON calls, streams
//!              table, authorize                       client::channel    gRPC
//!    routes    handlers and their rules, together     client::events     server-sent events
//!    capability  a short right to one sandbox or API  proof             which token to show
//!                                                     local             tokens of this machine
//! ```
//!
//! No word about clusters is said here: what a principal may do is the program's `authorize`.

pub mod body;
pub mod capability;
pub mod client;
pub mod complaints;
pub mod gate;
pub mod listen;
pub mod local;
pub mod origin;
pub mod principal;
pub mod proof;
pub mod refusal;
pub mod routes;
pub mod serve;
pub mod table;
pub mod tls;
pub mod token;

pub use client::{ClientError, Endpoint, HttpClient, STALE};
pub use gate::{Authorize, Decision, Gate, GateConfig};
pub use listen::{ListenConfig, ListenError, Listener};
pub use principal::{Peer, Principal, PrincipalKind};
pub use proof::Proof;
pub use routes::Routes;
pub use serve::{serve, serve_routes};
pub use table::RouteTable;
pub use tls::{TlsError, TlsFiles, install_crypto};
pub use token::{Token, TokenError, Tokens};
