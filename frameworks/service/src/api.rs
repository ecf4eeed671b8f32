//! The HTTP API. Reads come from the published board, never from the framework's loop.

mod changes;
mod reads;
mod streams;
#[cfg(test)]
mod tests;
pub mod types;

use crate::board::Board;
use crate::calls::Caller;
use crate::metrics::Metrics;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use proffer_net::Routes;
use proffer_types::rights::{Access, ObjectKind, Verb};
use proffer_types::{Refusal, RefusalCode};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What every handler needs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Doors {
    pub(crate) board: Arc<Board>,
    pub(crate) caller: Caller,
    pub(crate) metrics: Arc<Metrics>,
    /// Streams end with the program.
    pub(crate) shutdown: CancellationToken,
}

/// A refusal as an answer.
pub(crate) struct Refused(pub(crate) Refusal);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        proffer_net::refusal::http_response(&self.0)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

/// All routes, each with the right that it needs. `-` stands for all services: it is no name.
pub(crate) fn routes(doors: Doors) -> Routes {
    paths().get("/metrics", Access::new(Verb::Read, ObjectKind::Metrics), scrape).with_state(doors)
}

fn paths() -> Routes<Doors> {
    let read = Access::new(Verb::Read, ObjectKind::Service);
    let write = Access::new(Verb::Change, ObjectKind::Service);
    Routes::new()
        .get("/v1/services", read, reads::list)
        .post("/v1/services", write, changes::deploy)
        .post("/v1/services/-/validate", write, changes::validate)
        .post("/v1/services/-/scale", write, changes::scale_several)
        .get("/v1/services/-/events", read, streams::all_events)
        .get("/v1/services/{name}", read, reads::service)
        .get("/v1/services/{name}/instances", read, reads::instances)
        .get("/v1/services/{name}/history", read, reads::history)
        .get("/v1/services/{name}/why", read, reads::why)
        .get("/v1/services/{name}/endpoints", read, reads::endpoints)
        .get("/v1/services/{name}/events", read, streams::events)
        .post("/v1/services/{name}/scale", write, changes::scale)
        .post("/v1/services/{name}/rollback", write, changes::rollback)
        .post("/v1/services/{name}/restart", write, changes::restart)
        .post("/v1/services/{name}/stop", write, changes::stop)
        .post("/v1/services/{name}/start", write, changes::start)
        .delete("/v1/services/{name}", write, changes::remove)
}

async fn scrape(State(doors): State<Doors>) -> Result<Response, Refused> {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = doors
        .metrics
        .text()
        .map_err(|error| Refusal::new(RefusalCode::InternalBug, "", error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}
