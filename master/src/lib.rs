//! The master's shell: it moves bytes and wakes the core, which decides.
//!
//! ```text
//!   api/      doors: gRPC for agents and frameworks, gRPC and HTTP for operators, the page
//!     |         writes: Command into the loop        reads: the published view
//!     v
//!   inbox  ->  term (the loop; owns the core)  ->  effects  ->  store, connections, replies
//!                                                    |
//!                                                    +-> view (thread): rows, history, "why"
//! ```
//!
//! Tasks: the accept loop and one task pair a stream (`proffer-net`, [`api`]); the loop (thread
//! `master`, [`term`]) from election to shutdown; the view (thread `view`) as long as anybody reads;
//! the store's own. All end with one shutdown token; the loop ends first and resigns.

mod advertise;
mod api;
pub mod authorize;
mod connections;
mod effects;
mod guard;
mod inbox;
mod leading;
mod metrics;
mod overview;
mod registry_reader;
mod replies;
pub mod store;
mod term;
mod view;

use crate::connections::Connections;
use crate::store::Store;
use crate::store::embedded::EmbeddedStore;
use crate::store::etcd::{EtcdConfig, EtcdStore};
use proffer_net::{Gate, ListenConfig, ListenError, Listener, Token};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use advertise::AdvertiseError;
pub use proffer_master_core::{Config as CoreConfig, Policy, PreemptFor, Preemption};
pub use registry_reader::ReadError;
pub use term::TermError;
pub use view::{TurnChanges, View, ViewReader, ViewWriter, start as start_view};

/// Where the registry is kept.
#[derive(Clone)]
pub enum StoreChoice {
    /// A file in this directory.
    Embedded(PathBuf),
    /// An etcd cluster.
    Etcd(EtcdConfig),
    /// One that the caller has opened.
    Given(Arc<dyn Store>),
}

/// Everything a master needs to be told.
pub struct Settings {
    /// Its one port.
    pub listen: ListenConfig,
    /// `HOST` or `HOST:PORT` at which others reach it; by default found out.
    pub advertise: Option<String>,
    /// What keeps the registry.
    pub store: StoreChoice,
    /// What operators may set of its decisions. The capability secret is chosen here when empty.
    pub core: CoreConfig,
    /// How long its term outlives its last sign of life.
    pub lease_ttl: Duration,
    /// Trust for agents' and frameworks' own listeners, and who the master is to them.
    pub outward_tls: Option<proffer_net::tls::ClientTlsFiles>,
}

/// Why a master did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its port was not opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Nobody could reach it.
    #[error(transparent)]
    Advertise(#[from] AdvertiseError),
    /// Its store was not opened.
    #[error("opening the store")]
    Store(#[from] store::StoreError),
    /// The machine gave no thread.
    #[error("starting a thread")]
    Thread(#[from] std::io::Error),
    /// The machine gives no random numbers.
    #[error(transparent)]
    Token(#[from] proffer_net::TokenError),
}

/// A master that runs until its shutdown token is cancelled.
pub struct Running {
    address: SocketAddr,
    url: String,
    view: ViewReader,
    leading: JoinHandle<Result<(), TermError>>,
    serving: JoinHandle<()>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where others reach it: `http://10.0.0.1:7330`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it publishes.
    #[must_use]
    pub fn view(&self) -> &ViewReader {
        &self.view
    }

    /// Waits for its end: `Ok` after shutdown.
    ///
    /// # Errors
    /// Why its term ended otherwise. The process should end too: the next start recovers (K4).
    pub async fn ended(self) -> Result<(), TermError> {
        let ended =
            self.leading.await.unwrap_or_else(|panic| Err(TermError::Stopped(panic.to_string())));
        self.serving.abort();
        ended
    }
}

/// Starts a master. It serves at once and leads as soon as it is elected.
///
/// # Errors
/// See [`StartError`].
pub async fn start(
    mut settings: Settings,
    shutdown: CancellationToken,
) -> Result<Running, StartError> {
    let listener = Listener::bind(settings.listen.clone()).await?;
    let address = listener.address();
    let advertise = settings.advertise.take();
    let advertised =
        move || advertise::address(advertise.as_deref(), address, advertise::of_this_machine);
    // A look at the machine's name may wait for an answer.
    let advertised =
        tokio::task::spawn_blocking(advertised).await.map_err(std::io::Error::other)??;
    let url = listener.url_at(&advertised);
    let store: Arc<dyn Store> = match &settings.store {
        StoreChoice::Embedded(directory) => {
            let directory = directory.clone();
            // Opening syncs a few times: not on a thread that others wait for.
            let opened = tokio::task::spawn_blocking(move || EmbeddedStore::open(&directory)).await;
            Arc::new(opened.map_err(std::io::Error::other)??)
        }
        StoreChoice::Etcd(config) => Arc::new(EtcdStore::connect(config).await?),
        StoreChoice::Given(store) => Arc::clone(store),
    };
    if settings.core.capability_secret.is_empty() {
        settings.core.capability_secret = Token::random()?.reveal().as_bytes().to_vec();
    }
    let (writer, view) = view::start()?;
    let connections = Arc::new(Connections::default());
    let replies = Arc::new(replies::Replies::default());
    let leading = Arc::new(leading::Leading::default());
    let reads = api::reads::Reads { view: view.clone(), leading: Arc::clone(&leading) };
    let (metrics, loop_metrics) = metrics::Metrics::new(reads.clone(), Arc::clone(&connections));
    let operator = api::operator::Operator {
        reads: reads.clone(),
        replies: Arc::clone(&replies),
        insecure: listener.is_insecure(),
    };
    let proxy = api::proxy::Proxy {
        reads,
        capability_secret: Arc::from(settings.core.capability_secret.as_slice()),
        tls: settings.outward_tls.clone(),
    };
    let doors = api::http::Doors { operator: operator.clone(), proxy, metrics: Arc::new(metrics) };
    let grpc = api::grpc(operator, Arc::clone(&connections), Arc::clone(&leading));
    let (router, table) = api::http::routes(doors).merge(grpc).into_parts();
    let gate = Gate::new(listener.gate_config(true), table, Arc::new(authorize::authorize));
    let serving =
        tokio::spawn(proffer_net::serve(listener, router, Arc::new(gate), shutdown.clone()));
    let around = term::Surroundings {
        store,
        config: settings.core,
        candidate: url.clone().into_bytes(),
        lease_ttl: settings.lease_ttl,
        connections,
        replies,
        view: Arc::new(writer),
        leading,
        metrics: loop_metrics,
        shutdown,
    };
    let leading = tokio::spawn(async move { term::lead(&around).await });
    Ok(Running { address, url, view, leading, serving })
}
