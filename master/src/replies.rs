//! Owns the answers that operators wait for: one slot a call, filled once by the loop.

use proffer_master_core::ReplyTo;
use proffer_types::operator::OperatorAnswer;
use proffer_types::{Cursor, Refusal, RefusalCode};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::sync::oneshot;

/// Operators that may wait at a time; each holds a few hundred bytes.
const WAITING_MAX: usize = 10_000;

/// An answer, and where a view must stand to show what it says.
pub(crate) type Answered = (OperatorAnswer, Cursor);

/// Slots by number.
#[derive(Default)]
pub(crate) struct Replies {
    next: AtomicU64,
    slots: Mutex<HashMap<ReplyTo, oneshot::Sender<Answered>>>,
}

impl Replies {
    /// A slot and the way to wait for it.
    pub(crate) fn expect(&self) -> Result<(ReplyTo, oneshot::Receiver<Answered>), Refusal> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // Those who stopped waiting are cleared only when there are many: it costs a pass over all.
        if slots.len() >= WAITING_MAX {
            slots.retain(|_, sender| !sender.is_closed());
        }
        if slots.len() >= WAITING_MAX {
            let message = format!("{WAITING_MAX} calls wait for an answer already");
            return Err(Refusal::new(RefusalCode::Unavailable, "", message).hint("try again later"));
        }
        let reply_to = ReplyTo(self.next.fetch_add(1, Ordering::Relaxed) + 1);
        let (sender, receiver) = oneshot::channel();
        slots.insert(reply_to, sender);
        Ok((reply_to, receiver))
    }

    /// Fills a slot.
    pub(crate) fn answer(&self, reply_to: ReplyTo, answer: OperatorAnswer, at: Cursor) {
        let slot = self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(&reply_to);
        if let Some(sender) = slot {
            // Whoever asked may have hung up.
            let _ = sender.send((answer, at));
        }
    }

    /// Whoever waits is told that nobody will answer.
    pub(crate) fn clear(&self) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
