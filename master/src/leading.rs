//! Knows who leads: the way into the loop while this master does, else where the leader is.

use crate::inbox::Inbox;
use crate::store::Store;
use arc_swap::ArcSwapOption;
use proffer_types::{Refusal, RefusalCode};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often a master that waits looks who leads.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Shared by the term and all doors.
#[derive(Default)]
pub(crate) struct Leading {
    inbox: ArcSwapOption<Inbox>,
    leader: ArcSwapOption<String>,
    suspended: AtomicBool,
}

impl Leading {
    /// The way into the loop.
    ///
    /// # Errors
    /// `not_leader`, with the leader's address if it is known.
    pub(crate) fn inbox(&self) -> Result<Arc<Inbox>, Refusal> {
        self.inbox.load_full().ok_or_else(|| {
            let leader = self.leader.load();
            Refusal::not_leader(leader.as_ref().map(|leader| leader.as_str()))
        })
    }

    /// The same for calls that want an answer: while the lease is not confirmed there is none (K8).
    ///
    /// # Errors
    /// `not_leader`, or `unavailable` while this master is suspended.
    pub(crate) fn calls(&self) -> Result<Arc<Inbox>, Refusal> {
        let inbox = self.inbox()?;
        if !self.suspended.load(Ordering::Relaxed) {
            return Ok(inbox);
        }
        let message = "this master cannot confirm that it leads: the store does not answer it";
        Err(Refusal::new(RefusalCode::Unavailable, "", message).hint("try again in a moment"))
    }

    /// Whether what the view shows may be older than another master's.
    pub(crate) fn is_stale(&self) -> bool {
        self.suspended.load(Ordering::Relaxed) || self.inbox.load().is_none()
    }

    /// The loop says whether its lease is confirmed.
    pub(crate) fn suspend(&self, suspended: bool) {
        self.suspended.store(suspended, Ordering::Relaxed);
    }

    /// This master leads from now on.
    pub(crate) fn begin(&self, inbox: Inbox) {
        self.leader.store(None);
        self.inbox.store(Some(Arc::new(inbox)));
    }

    /// It does not lead any more.
    pub(crate) fn end(&self) {
        self.inbox.store(None);
    }

    /// Keeps looking who leads, while this master waits to be elected.
    pub(crate) async fn follow(&self, store: &Arc<dyn Store>) -> Infallible {
        loop {
            // A store that does not answer is the campaign's to complain of.
            let found = store.leader().await.ok().flatten();
            let leader = found.and_then(|leader| String::from_utf8(leader.candidate.to_vec()).ok());
            self.leader.store(leader.map(Arc::new));
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
