//! Knows who leads: the way into the loop while this master does, else where the leader is.

use crate::inbox::Inbox;
use crate::store::Store;
use crate::store::leader::Commits;
use crate::store::lease::LeaseState;
use arc_swap::ArcSwapOption;
use proffer_types::{Refusal, RefusalCode};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// How often a master that waits looks who leads.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Shared by the term and all doors.
#[derive(Default)]
pub(crate) struct Leading {
    term: ArcSwapOption<Term>,
    leader: ArcSwapOption<String>,
}

struct Term {
    inbox: Inbox,
    commits: Commits,
}

impl Leading {
    /// The way into the loop.
    ///
    /// # Errors
    /// `not_leader`, with the leader's address if it is known.
    pub(crate) fn inbox(&self) -> Result<Inbox, Refusal> {
        self.term().map(|term| term.inbox.clone())
    }

    /// Whether to lead now, by the clock of this moment: a master that was frozen and thawed knows
    /// before anything in it has moved (K8).
    ///
    /// # Errors
    /// `not_leader`, with the leader's address if it is known.
    pub(crate) fn lease(&self) -> Result<LeaseState, Refusal> {
        self.term().map(|term| term.commits.lease())
    }

    fn term(&self) -> Result<Arc<Term>, Refusal> {
        self.term.load_full().ok_or_else(|| {
            let leader = self.leader.load();
            Refusal::not_leader(leader.as_ref().map(|leader| leader.as_str()))
        })
    }

    /// The same for calls that want an answer: while the lease is not confirmed there is none (K8).
    ///
    /// # Errors
    /// `not_leader`, or `unavailable` while this master is suspended.
    pub(crate) fn calls(&self) -> Result<Inbox, Refusal> {
        let inbox = self.inbox()?;
        if matches!(self.lease()?, LeaseState::Confirmed { .. }) {
            return Ok(inbox);
        }
        let message = "this master cannot confirm that it leads: the store does not answer it";
        Err(Refusal::new(RefusalCode::Unavailable, "", message).hint("try again in a moment"))
    }

    /// This master leads from now on.
    pub(crate) fn begin(&self, inbox: Inbox, commits: Commits) {
        self.leader.store(None);
        self.term.store(Some(Arc::new(Term { inbox, commits })));
    }

    /// It does not lead any more.
    pub(crate) fn end(&self) {
        self.term.store(None);
    }

    /// Keeps looking who leads, while this master waits to be elected. The term that an earlier life
    /// of this master has left behind is nobody's: it only has to run out.
    pub(crate) async fn follow(&self, store: &Arc<dyn Store>, candidate: &[u8]) -> Infallible {
        loop {
            // A store that does not answer is the campaign's to complain of.
            let found = store.leader().await.ok().flatten();
            let other = found.filter(|leader| leader.candidate != candidate);
            let leader = other.and_then(|leader| String::from_utf8(leader.candidate.to_vec()).ok());
            self.leader.store(leader.map(Arc::new));
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
