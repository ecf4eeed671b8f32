//! Owns a watch that survives the loss of its connection and compaction, on any store. Decides
//! nothing: [`WatchCursor`] does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::watch;

use super::backoff::Backoff;
use super::model::{ChangeSet, Key, RangeRequest, Revision};
use super::watch_cursor::{WatchCursor, WatchEvent, WatchStep};
use super::{ChangeStream, Store, StoreError};

/// See the module's description.
pub struct ResumingWatch {
    store: Arc<dyn Store>,
    prefix: Key,
    cursor: WatchCursor,
    stream: Option<ChangeStream>,
    told_later: VecDeque<WatchEvent>,
    backoff: Backoff,
}

impl ResumingWatch {
    /// Tells every change below a prefix from a revision on.
    #[must_use]
    pub fn from(store: Arc<dyn Store>, prefix: impl Into<Key>, from: Revision) -> Self {
        Self::with_cursor(store, prefix.into(), WatchCursor::from(from))
    }

    /// Tells all records below a prefix, then every change.
    #[must_use]
    pub fn from_records(store: Arc<dyn Store>, prefix: impl Into<Key>) -> Self {
        Self::with_cursor(store, prefix.into(), WatchCursor::from_records())
    }

    fn with_cursor(store: Arc<dyn Store>, prefix: Key, cursor: WatchCursor) -> Self {
        let backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2));
        Self { store, prefix, cursor, stream: None, told_later: VecDeque::new(), backoff }
    }

    /// What happened next. Waits through failures of the store that may pass. Dropping the future
    /// loses nothing.
    ///
    /// # Errors
    /// A failure that does not pass by itself.
    pub async fn next(&mut self) -> Result<WatchEvent, StoreError> {
        loop {
            if let Some(event) = self.told_later.pop_front() {
                return Ok(event);
            }
            let tried = match self.cursor.step() {
                WatchStep::Follow { from } => self.follow(from).await,
                WatchStep::Read { after, at } => self.read(after, at).await,
            };
            match tried {
                Ok(()) => self.backoff.worked(),
                Err(StoreError::Compacted { .. }) => {
                    self.stream = None;
                    self.told_later.push_back(self.cursor.compacted());
                }
                Err(error) if error.is_transient() => {
                    tracing::debug!(%error, "a watch has to be opened again");
                    self.stream = None;
                    tokio::time::sleep(self.backoff.failed()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn follow(&mut self, from: Revision) -> Result<(), StoreError> {
        if self.stream.is_none() {
            self.stream = Some(self.store.watch(self.prefix.clone(), from).await?);
        }
        let Some(stream) = self.stream.as_mut() else { return Ok(()) };
        let told = stream.next().await.unwrap_or_else(|| {
            Err(StoreError::Unavailable { reason: "the watch was closed".to_owned() })
        });
        self.told_later.extend(self.cursor.changed(told?));
        Ok(())
    }

    async fn read(&mut self, after: Option<Key>, at: Option<Revision>) -> Result<(), StoreError> {
        let limit = self.store.limits().page_entries_max;
        let request = RangeRequest { prefix: self.prefix.clone(), after, limit, at };
        let page = self.store.range(request).await?;
        self.told_later.extend(self.cursor.page(page));
        Ok(())
    }
}

/// A change stream over a log that the store keeps itself: `read` looks, `newest` wakes.
pub(super) fn stream_of_log<R>(
    from: Revision,
    newest: watch::Receiver<Revision>,
    read: R,
) -> ChangeStream
where
    R: Fn(Revision) -> Result<Option<ChangeSet>, StoreError> + Send + 'static,
{
    let reader = LogReader { next: from, newest, read };
    let next = |reader: Option<LogReader<R>>| async move { reader?.next().await };
    stream::unfold(Some(reader), next).boxed()
}

struct LogReader<R> {
    next: Revision,
    newest: watch::Receiver<Revision>,
    read: R,
}

impl<R> LogReader<R>
where
    R: Fn(Revision) -> Result<Option<ChangeSet>, StoreError>,
{
    /// Waits for news; an error is the last thing told.
    async fn next(mut self) -> Option<(Result<ChangeSet, StoreError>, Option<Self>)> {
        loop {
            self.newest.borrow_and_update();
            match (self.read)(self.next) {
                Ok(Some(set)) => {
                    self.next = set.revision.next();
                    return Some((Ok(set), Some(self)));
                }
                Ok(None) => self.newest.changed().await.ok()?,
                Err(error) => return Some((Err(error), None)),
            }
        }
    }
}
