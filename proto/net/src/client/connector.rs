//! Owns the way to one of the addresses: TCP, then TLS where it is asked for. The same for HTTP and gRPC.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::endpoint::{Address, Endpoint};

/// A machine that does not answer within this is tried again later, or another one is.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, as gRPC needs it.
    Http2,
}

/// Connects to the first address that answers, starting with the one that answered last.
#[derive(Clone)]
pub struct Connector {
    endpoint: Arc<Endpoint>,
    /// Index of the address that answered last; shared by clones.
    last: Arc<AtomicUsize>,
}

impl Connector {
    /// For one list of addresses; `protocol` is what TLS is to say that we speak.
    #[must_use]
    pub fn new(endpoint: &Endpoint, protocol: Protocol) -> Self {
        let endpoint = endpoint.clone().speaking(protocol);
        Self { endpoint: Arc::new(endpoint), last: Arc::default() }
    }

    /// The address that answered last, or the first one.
    #[must_use]
    pub fn current(&self) -> &Address {
        let addresses = self.endpoint.addresses();
        &addresses[self.last.load(Ordering::Relaxed) % addresses.len()]
    }

    async fn connect(self) -> io::Result<Stream> {
        let addresses = self.endpoint.addresses();
        let start = self.last.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        for step in 0..addresses.len() {
            let index = (start + step) % addresses.len();
            let address = &addresses[index];
            match self.connect_to(address).await {
                Ok(stream) => {
                    self.last.store(index, Ordering::Relaxed);
                    return Ok(stream);
                }
                Err(error) => failures.push((error.kind(), format!("{address}: {error}"))),
            }
        }
        let kind = failures.last().map_or(io::ErrorKind::NotFound, |(kind, _)| *kind);
        let texts: Vec<_> = failures.into_iter().map(|(_, text)| text).collect();
        Err(io::Error::new(kind, texts.join("; ")))
    }

    async fn connect_to(&self, address: &Address) -> io::Result<Stream> {
        let tls = self.endpoint.tls_of(address).map_err(io::Error::other)?;
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer");
        let dial = TcpStream::connect((address.host(), address.port()));
        let tcp = tokio::time::timeout(CONNECT_MAX, dial).await.map_err(late)??;
        tcp.set_nodelay(true)?;
        let Some(tls) = tls else { return Ok(Stream::Plain(TokioIo::new(tcp))) };
        let name = ServerName::try_from(address.host().to_owned()).map_err(io::Error::other)?;
        let handshake = TlsConnector::from(tls).connect(name, tcp);
        let tls = tokio::time::timeout(CONNECT_MAX, handshake).await.map_err(late)??;
        Ok(Stream::Tls(Box::new(TokioIo::new(tls))))
    }
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Stream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The address asked for is a name for the whole list.
    fn call(&mut self, _: Uri) -> Self::Future {
        self.clone().connect().boxed()
    }
}

/// A connection, encrypted or not.
pub enum Stream {
    /// Not.
    Plain(TokioIo<TcpStream>),
    /// Encrypted. In a box because it is a kilobyte, and plain ones are many in tests.
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(context, buffer),
            Self::Tls(io) => Pin::new(io).poll_read(context, buffer),
        }
    }
}

impl Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(context, bytes),
            Self::Tls(io) => Pin::new(io).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(context),
            Self::Tls(io) => Pin::new(io).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(context),
            Self::Tls(io) => Pin::new(io).poll_shutdown(context),
        }
    }
}
