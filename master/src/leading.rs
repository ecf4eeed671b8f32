//! Knows who leads: the way into the loop while this master does, else where the leader is.

use crate::inbox::Inbox;
use crate::store::Store;
use arc_swap::ArcSwapOption;
use proffer_types::Refusal;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// How often a master that waits looks who leads.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Shared by the term and all doors.
#[derive(Default)]
pub(crate) struct Leading {
    inbox: ArcSwapOption<Inbox>,
    leader: ArcSwapOption<String>,
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
