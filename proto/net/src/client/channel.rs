//! Owns gRPC channels: keep-alive that notices a dead peer, and the token on every call.

use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::connector::{Connector, Protocol};
use super::endpoint::Endpoint;

/// Without pings a stream waits for ever for a peer that is gone. They go on while nothing is said.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_ANSWER_MAX: Duration = Duration::from_secs(5);

/// A channel that shows our token.
pub type AuthorizedChannel = InterceptedService<Channel, Bearer>;

/// A channel to the first address that answers. It connects with the first call, and again by itself
/// after a connection was lost; calls fail while nobody answers.
///
/// A lost connection ends a stream with `Unavailable`, or with `Unknown` and "h2 protocol error".
#[must_use]
pub fn channel(endpoint: &Endpoint) -> AuthorizedChannel {
    let connector = Connector::new(endpoint, Protocol::Http2);
    let authority = connector.current().authority();
    // The connector does TLS itself, so tonic has to take this for plain.
    let named = tonic::transport::Endpoint::from_shared(format!("http://{authority}"));
    let channel = named
        .expect("a checked address makes a URI")
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER_MAX)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .connect_with_connector_lazy(connector);
    let token = endpoint.token().and_then(|token| {
        let value = format!("Bearer {}", token.reveal()).parse::<MetadataValue<Ascii>>();
        let mut value = value.ok()?;
        value.set_sensitive(true);
        Some(value)
    });
    InterceptedService::new(channel, Bearer { token })
}

/// Adds the token to each call.
#[derive(Clone, Debug)]
pub struct Bearer {
    token: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}
