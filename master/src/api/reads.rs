//! Whether what this master knows may be told: only the term that leads reads to others, and one that
//! cannot confirm its lease says so with every answer (K8).

use crate::leading::Leading;
use crate::store::lease::LeaseState;
use crate::view::{View, ViewReader};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use proffer_net::STALE;
use proffer_types::{Cursor, Refusal};
use std::sync::Arc;

/// The way of every read to the published view. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reads {
    pub(crate) view: ViewReader,
    pub(crate) leading: Arc<Leading>,
}

impl Reads {
    /// The view of the term that leads, with all before `at_least`.
    ///
    /// # Errors
    /// `not_leader` with the leader's address; `unavailable` when the term has published nothing yet.
    pub(crate) async fn view(&self, at_least: Option<Cursor>) -> Result<Arc<View>, Refusal> {
        self.lease()?;
        match at_least {
            None => self.view.published().await,
            Some(cursor) => self.view.at_least(cursor).await,
        }
    }

    fn lease(&self) -> Result<LeaseState, Refusal> {
        match self.leading.lease()? {
            LeaseState::Lost => Err(Refusal::not_leader(None)),
            held @ (LeaseState::Confirmed { .. } | LeaseState::Suspended) => Ok(held),
        }
    }

    /// Whether this master answers reads.
    pub(crate) fn leads(&self) -> bool {
        self.lease().is_ok()
    }

    /// Whether what the view shows may be older than another master's.
    pub(crate) fn is_stale(&self) -> bool {
        self.lease().is_ok_and(|lease| lease == LeaseState::Suspended)
    }

    /// Marks an answer over HTTP that may be out of date.
    pub(crate) fn mark(&self, headers: &mut HeaderMap) {
        if self.is_stale() {
            headers.insert(HeaderName::from_static(STALE), HeaderValue::from_static("suspended"));
        }
    }

    /// The same over gRPC.
    pub(crate) fn mark_grpc(&self, metadata: &mut tonic::metadata::MetadataMap) {
        if self.is_stale() {
            metadata.insert(STALE, tonic::metadata::MetadataValue::from_static("suspended"));
        }
    }
}
