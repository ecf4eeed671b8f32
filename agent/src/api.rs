//! The agent's own listener: logs and files of sandboxes for whoever shows a capability, and the
//! metrics for whoever shows the agent's token. There is no other way in (K20).
//!
//! | path | what |
//! |---|---|
//! | `GET /v1/containers/{id}/logs?stream=&tail=&offset=&follow=1` | a stream's kept output |
//! | `GET /v1/containers/{id}/files?path=` | a directory as JSON, or a file |
//! | `GET /v1/containers/{id}/file?path=` | a file |
//! | `GET /metrics` | Prometheus text |

mod answer;
pub mod capability;
mod files;
mod follow;
mod listener;
mod logs;

pub use listener::ListenError;
pub(crate) use listener::{ApiListener, serve};

use crate::effects::containers::Live;
use crate::runtime::Request;
use crate::work_dir::WorkDir;
use arc_swap::ArcSwap;
use axum::Router;
use axum::routing::get;
use proffer_net::Endpoint;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What handlers share.
#[derive(Clone)]
pub(crate) struct ApiState {
    pub(crate) work_dir: WorkDir,
    pub(crate) live: Live,
    /// Given by the master at registration; empty before, and then nothing is let in.
    pub(crate) capability_key: Arc<ArcSwap<Vec<u8>>>,
    pub(crate) requests: mpsc::Sender<Request>,
    /// What is shown to them opens `/metrics`.
    pub(crate) masters: Endpoint,
    pub(crate) insecure: bool,
}

pub(crate) fn router(state: ApiState) -> Router {
    Router::new()
        .route("/v1/containers/{id}/logs", get(logs::get_logs))
        .route("/v1/containers/{id}/files", get(files::get_files))
        .route("/v1/containers/{id}/file", get(files::get_file))
        .route("/metrics", get(crate::metrics::get_metrics))
        .fallback(answer::nothing_here)
        .layer(axum::middleware::map_response(proffer_net::refusal::in_our_words))
        .with_state(state)
}
