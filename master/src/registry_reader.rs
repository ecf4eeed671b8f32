//! Reads the whole registry when a term begins, and pages of a framework's state while it runs.

use crate::store::{RangeRequest, Store, StoreError};
use proffer_master_core::registry::{
    Record, RecordKey, RegistryError, RegistryImage, state_prefix,
};
use proffer_master_core::{StateList, StatePage};
use proffer_types::state_store::StateEntry;
use proffer_types::{FrameworkId, Refusal, RefusalCode};
use std::sync::Arc;

/// Why a registry cannot be led from.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store did not answer.
    #[error("reading the registry")]
    Store(#[from] StoreError),
    /// A record is not for this version.
    #[error("the registry holds what this program cannot use")]
    Record(#[from] RegistryError),
}

/// Everything stored, as of one revision.
///
/// # Errors
/// See [`ReadError`]; this program must not lead then.
pub(crate) async fn read_registry(store: &Arc<dyn Store>) -> Result<RegistryImage, ReadError> {
    let mut image = RegistryImage::default();
    let mut request =
        RangeRequest { limit: store.limits().page_entries_max, ..RangeRequest::default() };
    loop {
        let page = store.range(request.clone()).await?;
        for entry in &page.entries {
            image.add(&entry.key, &entry.value)?;
        }
        if !page.more {
            return Ok(image);
        }
        request.at = Some(page.revision);
        request.after = page.entries.last().map(|entry| entry.key.clone());
    }
}

/// A page of a framework's state store.
pub(crate) async fn read_state(
    store: &Arc<dyn Store>,
    framework: FrameworkId,
    list: &StateList,
) -> Result<StatePage, Refusal> {
    let unavailable = |why: String| Refusal::new(RefusalCode::Unavailable, "state", why);
    let own = state_prefix(framework, "");
    let request = RangeRequest {
        prefix: state_prefix(framework, &list.prefix).into_bytes(),
        after: list.after.as_ref().map(|key| state_prefix(framework, key).into_bytes()),
        limit: list.limit as usize,
        at: None,
    };
    let page = store.range(request).await.map_err(|error| unavailable(error.to_string()))?;
    let mut entries = Vec::with_capacity(page.entries.len());
    for entry in page.entries {
        let broken = |error: RegistryError| {
            Refusal::new(RefusalCode::InternalBug, "state", error.to_string())
        };
        let key = RecordKey::decode(&entry.key).map_err(broken)?;
        if let (RecordKey::State(_, name), Record::State(value)) =
            (&key, Record::decode(&key, &entry.value).map_err(broken)?)
        {
            debug_assert!(entry.key.starts_with(own.as_bytes()));
            entries.push(StateEntry {
                key: name.clone(),
                version: value.version,
                value: value.value,
            });
        }
    }
    Ok(StatePage { entries, more: page.more })
}
