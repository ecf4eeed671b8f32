//! Starts the framework: listener first, since its address is announced to the master; then the
//! SDK's loop, which owns the core.
//!
//! | task | owns | ends |
//! |---|---|---|
//! | SDK loop | the core | by [`Running::shutdown`], or when the framework is torn down |
//! | server | the listener | by [`Running::shutdown`] |

use crate::api::{Doors, routes};
use crate::board::Board;
use crate::calls::{Caller, Waiting};
use crate::metrics::Metrics;
use crate::rights::Rights;
use proffer_net::{ListenConfig, ListenError, Listener};
use proffer_sdk::{Handle, Options, Status, run_with};
use proffer_service_core::{ServiceCommand, ServiceConfig, ServiceFramework};
use proffer_types::scheduler::FrameworkInfo;
use proffer_types::{DurationMs, FrameworkName, RoleName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What it takes to start.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// Where the masters are, and which replica this is.
    pub sdk: Options,
    /// Where the API listens.
    pub listen: ListenConfig,
    /// Its name in the cluster; the master passes `/v1/services` on to `service`.
    pub name: FrameworkName,
    /// The role that pays for instances.
    pub role: RoleName,
    /// Where the master reaches the API, if not at the listener's own address.
    pub announce: Option<String>,
    /// How long instances are kept after the last replica left; `None`: for ever.
    pub failover_timeout: Option<DurationMs>,
}

/// It could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The API's address.
    #[error("open the API of the service framework")]
    Listen(#[source] ListenError),
}

/// A framework that runs.
#[derive(Debug)]
pub struct Running {
    handle: Handle<ServiceCommand>,
    server: JoinHandle<()>,
    address: SocketAddr,
    api_url: String,
    shutdown: CancellationToken,
}

impl Running {
    /// Where the API is.
    #[must_use]
    pub fn api_url(&self) -> &str {
        &self.api_url
    }

    /// Where the API listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it stands with the master.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.handle.status()
    }

    /// Ends loop and server. Instances run on; another replica or the next start takes over.
    pub async fn shutdown(self) {
        self.shutdown.cancel();
        self.handle.shutdown().await;
        if let Err(error) = self.server.await {
            tracing::warn!(%error, "the API ended badly");
        }
    }

    /// Waits until it was torn down.
    pub async fn ended(&self) {
        self.handle.ended().await;
    }
}

/// Starts the framework on the current tokio runtime.
///
/// # Errors
/// When its API cannot listen.
pub async fn start(options: ServiceOptions) -> Result<Running, StartError> {
    let listener = Listener::bind(options.listen).await.map_err(StartError::Listen)?;
    let (address, url) = (listener.address(), listener.url());
    let api_url = options.announce.unwrap_or_else(|| url.clone());
    let framework = ServiceFramework::new(ServiceConfig {
        info: FrameworkInfo {
            name: options.name,
            roles: BTreeSet::from([options.role.clone()]),
            api_url: api_url.clone(),
            failover_timeout: options.failover_timeout,
            labels: BTreeMap::new(),
        },
        role: options.role,
    });
    let (board, waiting) = (Arc::new(Board::new()), Arc::new(Waiting::default()));
    let (metrics, mut loop_metrics) = Metrics::new(Arc::clone(&board));
    let handle = run_with(framework, options.sdk, {
        let (board, waiting) = (Arc::clone(&board), Arc::clone(&waiting));
        move |framework: &mut ServiceFramework| {
            loop_metrics.turn(framework);
            // Who has his answer sees what he asked for.
            board.publish(framework);
            waiting.answer(framework.take_answers());
        }
    });
    let shutdown = CancellationToken::new();
    let next = Arc::new(AtomicU64::new(1));
    let caller = Caller { waiting, inputs: handle.inputs(), next };
    let doors = Doors { board, caller, metrics: Arc::new(metrics), shutdown: shutdown.clone() };
    let server = tokio::spawn(proffer_net::serve_routes(
        listener,
        routes(doors),
        false,
        Arc::new(Rights::new(handle.status())),
        shutdown.clone(),
    ));
    tracing::info!(%address, %api_url, "service framework started");
    Ok(Running { handle, server, address, api_url, shutdown })
}
