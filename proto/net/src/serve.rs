//! Owns the accept loop: one port, TLS or plain by what the listener was opened with, HTTP/1.1 and
//! HTTP/2 by what the caller speaks, every request through the gate.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::body::BoundedBody;
use super::gate::{Authorize, Connection, Gate};
use super::listen::Listener;
use super::principal::Transport;
use super::refusal::{in_our_words, is_grpc};
use super::routes::Routes;
use super::tls::subject_name;

/// Ten thousand agents and their frameworks, with room. When full, new callers wait in the kernel.
const CONNECTIONS_MAX: usize = 16_384;

/// From the connection to the end of the TLS handshake, and for the first byte on a plain one.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// For the head of a request, and between two requests of HTTP/1.1.
const HEADER_MAX: Duration = Duration::from_secs(10);

/// A peer that does not answer a ping for this long is gone. Streams would wait for it for ever.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_ANSWER_MAX: Duration = Duration::from_secs(5);

/// Calls at once on one connection: many agents may share one (K16).
const STREAMS_MAX: u32 = 1024;

const HEADER_BYTES_MAX: u32 = 32 << 10;

/// How long open calls may go on after we were told to end. Streams never end by themselves.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Serves routes until `shutdown`: every call passes a gate made of their table and `authorize`.
/// `browser`: whether people look at pages here, and log in by `/?token=…`.
pub async fn serve_routes(
    listener: Listener,
    routes: Routes,
    browser: bool,
    authorize: Arc<dyn Authorize>,
    shutdown: CancellationToken,
) {
    let (router, table) = routes.into_parts();
    let gate = Gate::new(listener.gate_config(browser), table, authorize);
    serve(listener, router, Arc::new(gate), shutdown).await;
}

/// Serves until `shutdown`, then lets open calls end for a moment.
pub async fn serve(
    listener: Listener,
    router: Router,
    gate: Arc<Gate>,
    shutdown: CancellationToken,
) {
    let acceptor = listener.tls.clone().map(TlsAcceptor::from);
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let (stream, remote, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: let some connections end.
                tracing::warn!(%error, "no connection accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let door = Door { router: router.clone(), gate: Arc::clone(&gate) };
        let (acceptor, watcher) = (acceptor.clone(), graceful.watcher());
        let ended = shutdown.clone();
        tokio::spawn(async move {
            let _slot = slot;
            tokio::select! {
                () = drained(&ended) => {}
                () = converse(stream, remote, acceptor, door, watcher) => {}
            }
        });
    }
    let _ = tokio::time::timeout(DRAIN_MAX, graceful.shutdown()).await;
}

async fn drained(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(DRAIN_MAX).await;
}

type Accepted = (TcpStream, std::net::SocketAddr, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &Listener, slots: &Arc<Semaphore>) -> std::io::Result<Accepted> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, remote) = listener.socket.accept().await?;
    // Small frames are the rule here; waiting to fill a packet only delays them.
    stream.set_nodelay(true)?;
    Ok((stream, remote, slot))
}

/// What stands behind a connection.
#[derive(Clone)]
struct Door {
    router: Router,
    gate: Arc<Gate>,
}

async fn converse(
    stream: TcpStream,
    remote: std::net::SocketAddr,
    acceptor: Option<TlsAcceptor>,
    door: Door,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let first = tokio::time::timeout(HANDSHAKE_MAX, first_byte(&stream)).await;
    let Ok(Some(first)) = first else { return };
    match (acceptor, first == TLS_HANDSHAKE) {
        (Some(acceptor), true) => {
            let handshake = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await;
            let stream = match handshake {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(%remote, %error, "TLS handshake failed"),
                Err(_elapsed) => return,
            };
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let certificate = shown.and_then(subject_name);
            if shown.is_some() && certificate.is_none() {
                return tracing::debug!(%remote, "a client certificate without a name");
            }
            let transport = Transport::Tls;
            answer(stream, Connection { remote, transport, certificate }, door, watcher).await;
        }
        (None, false) => {
            let transport = Transport::Plain;
            answer(stream, Connection { remote, transport, certificate: None }, door, watcher)
                .await;
        }
        (Some(_), false) => tracing::debug!(%remote, "plain text on a TLS port"),
        (None, true) => tracing::debug!(%remote, "TLS on a plain port"),
    }
}

/// The content type of a TLS record that starts a connection; no HTTP method starts with it.
const TLS_HANDSHAKE: u8 = 0x16;

async fn first_byte(stream: &TcpStream) -> Option<u8> {
    let mut byte = [0];
    let seen = stream.peek(&mut byte).await.ok()?;
    (seen == 1).then_some(byte[0])
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: Connection,
    door: Door,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let remote = connection.remote;
    let connection = Arc::new(connection);
    let service = service_fn(move |request| {
        let (door, connection) = (door.clone(), Arc::clone(&connection));
        async move { Ok::<_, Infallible>(door.call(request, &connection).await) }
    });
    let builder = builder();
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(serving.into_owned()).await {
        tracing::debug!(%remote, error, "connection ended");
    }
}

impl Door {
    async fn call(self, request: Request<Incoming>, connection: &Connection) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let peer = match self.gate.admit(&parts, connection) {
            Ok(peer) => peer,
            Err(answer) => return answer,
        };
        parts.extensions.insert(peer);
        let grpc = is_grpc(&parts.headers);
        let body = if grpc { Body::new(body) } else { Body::new(BoundedBody::new(body)) };
        let answered = self.router.oneshot(Request::from_parts(parts, body)).await;
        let answer = answered.unwrap_or_else(|never| match never {});
        if grpc { answer } else { in_our_words(answer).await }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER_MAX)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX);
    builder
}
