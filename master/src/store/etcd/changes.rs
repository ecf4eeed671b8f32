//! Owns one watch on etcd, for as long as its connection lasts.

use etcd_client::{EventType, WatchClient, WatchOptions, WatchResponse, WatchStream};
use futures_util::{StreamExt, stream};

use super::super::model::{Change, ChangeSet, Key, Revision};
use super::super::{ChangeStream, StoreError};
use super::{etcd_revision, failed, revision};

/// Opens a watch on `prefix`, whose first `strip` bytes are not told.
pub(super) async fn watch(
    mut client: WatchClient,
    prefix: Key,
    strip: usize,
    from: Revision,
) -> Result<ChangeStream, StoreError> {
    // For etcd zero means "from now on"; its first revision is one.
    let from = from.max(Revision(1));
    let options = WatchOptions::new()
        .with_prefix()
        .with_start_revision(etcd_revision(from))
        // A quiet prefix still moves on, so that a later resume does not meet compaction.
        .with_progress_notify();
    let stream = client.watch(prefix, Some(options)).await.map_err(failed)?;
    let told = stream::unfold(Some(stream), move |stream| next(stream, strip, from));
    Ok(told.boxed())
}

type Told = Result<ChangeSet, StoreError>;

async fn next(
    stream: Option<WatchStream>,
    strip: usize,
    from: Revision,
) -> Option<(Told, Option<WatchStream>)> {
    let mut stream = stream?;
    loop {
        match stream.message().await {
            Ok(Some(message)) if message.canceled() => {
                return Some((Err(ended(&message, from)), None));
            }
            Ok(Some(message)) if message.created() => {}
            Ok(Some(message)) => {
                if let Some(set) = change_set(&message, strip) {
                    return Some((Ok(set), Some(stream)));
                }
            }
            Ok(None) => return None,
            Err(error) => return Some((Err(failed(error)), None)),
        }
    }
}

fn ended(message: &WatchResponse, asked: Revision) -> StoreError {
    if message.compact_revision() > 0 {
        return StoreError::Compacted { asked, oldest: revision(message.compact_revision()) };
    }
    StoreError::Unavailable { reason: format!("etcd ended a watch: {}", message.cancel_reason()) }
}

/// The header of a message with events names etcd's newest revision, with others perhaps still to
/// come before it. So only the events themselves, or a message without any, move the watch on.
fn change_set(message: &WatchResponse, strip: usize) -> Option<ChangeSet> {
    let mut changes = Vec::with_capacity(message.events().len());
    let mut newest = None;
    for event in message.events() {
        let Some(kv) = event.kv() else { continue };
        let value = match event.event_type() {
            EventType::Put => Some(kv.value().to_vec()),
            EventType::Delete => None,
        };
        changes.push(Change { key: kv.key().get(strip..).unwrap_or_default().to_vec(), value });
        newest = newest.max(Some(revision(kv.mod_revision())));
    }
    let quiet = || message.header().map(|header| revision(header.revision()));
    let revision = newest.or_else(quiet)?;
    Some(ChangeSet { revision, changes })
}
