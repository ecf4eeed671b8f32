//! Owns the accept loop of the agent's listener. It never opens an address that others reach
//! without TLS, unless the operator insists (K20).

use crate::config::Config;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use proffer_net::TlsError;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Readers at a time, followers included; more wait in the kernel.
const CONNECTIONS_MAX: usize = 256;
/// For the TLS handshake, and for the head of a request.
const HEAD_MAX: Duration = Duration::from_secs(10);

/// The address cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Others could read along.
    #[error(
        "refusing to listen on {address} without TLS: give --tls-cert, --tls-key and \
         --tls-client-ca, or --insecure"
    )]
    NotProtected {
        /// What was asked for.
        address: SocketAddr,
    },
    /// The certificates are not usable.
    #[error("the certificates of {address} cannot be used")]
    Tls {
        /// What was asked for.
        address: SocketAddr,
        /// Why.
        source: TlsError,
    },
    /// The machine refused.
    #[error("failed to listen on {address}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// An open address.
pub(crate) struct ApiListener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    address: SocketAddr,
}

impl ApiListener {
    /// Opens the address if it may be opened.
    pub(crate) async fn bind(config: &Config) -> Result<Self, ListenError> {
        let address = config.listen;
        if !address.ip().is_loopback() && config.listen_tls.is_none() && !config.insecure {
            return Err(ListenError::NotProtected { address });
        }
        let tls = config.listen_tls.as_ref().map(proffer_net::tls::server_config).transpose();
        let tls = tls.map_err(|source| ListenError::Tls { address, source })?;
        let bound = TcpListener::bind(address).await;
        let socket = bound.map_err(|source| ListenError::Bind { address, source })?;
        let address =
            socket.local_addr().map_err(|source| ListenError::Bind { address, source })?;
        Ok(Self { socket, tls: tls.map(TlsAcceptor::from), address })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// Serves until `stop`.
pub(crate) async fn serve(listener: ApiListener, router: Router, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = accept(&listener.socket, &slots) => accepted,
        };
        let (stream, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: let some connections end.
                tracing::warn!(%error, "no connection accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (tls, router, stopped) = (listener.tls.clone(), router.clone(), stop.clone());
        tokio::spawn(async move {
            let _slot = slot;
            tokio::select! {
                () = stopped.cancelled() => {}
                () = converse(stream, tls, router) => {}
            }
        });
    }
}

type Accepted = (TcpStream, tokio::sync::OwnedSemaphorePermit);

async fn accept(socket: &TcpListener, slots: &Arc<Semaphore>) -> std::io::Result<Accepted> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = socket.accept().await?;
    Ok((stream, slot))
}

async fn converse(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router) {
    match tls {
        None => requests(stream, router).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_MAX, tls.accept(stream)).await {
                requests(stream, router).await;
            }
        }
    }
}

async fn requests(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
    builder.http2().timer(TokioTimer::new());
    let service = TowerToHyperService::new(router);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection ended badly");
    }
}
