//! Between a handler that waits and the framework's loop that answers: channels stay in the shell.

use proffer_service_core::command::{ServiceCall, ServiceReply};
use proffer_service_core::{Answer, ReplyTo, ServiceCommand};
use proffer_types::{Refusal, RefusalCode};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A call is durable long before, unless the master or its store is away.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Handlers that wait, by the number of their call.
#[derive(Default)]
pub(crate) struct Waiting {
    by_number: Mutex<BTreeMap<u64, oneshot::Sender<Result<ServiceReply, Refusal>>>>,
}

impl Waiting {
    /// Hands answers to those who wait; one who has gone away misses his.
    pub(crate) fn answer(&self, answers: Vec<Answer>) {
        if answers.is_empty() {
            return;
        }
        let mut waiting = self.by_number.lock().unwrap_or_else(PoisonError::into_inner);
        for Answer { reply, result } in answers {
            if let Some(sender) = waiting.remove(&reply.0) {
                let _ = sender.send(result);
            }
        }
    }

    fn enter(&self, number: u64) -> oneshot::Receiver<Result<ServiceReply, Refusal>> {
        let (sender, receiver) = oneshot::channel();
        self.by_number.lock().unwrap_or_else(PoisonError::into_inner).insert(number, sender);
        receiver
    }

    fn leave(&self, number: u64) {
        self.by_number.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }
}

/// Asks the framework and waits for its answer. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) inputs: mpsc::Sender<ServiceCommand>,
    pub(crate) next: Arc<AtomicU64>,
}

impl Caller {
    pub(crate) async fn call(
        &self,
        author: String,
        call: ServiceCall,
    ) -> Result<ServiceReply, Refusal> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let answer = self.waiting.enter(number);
        // Also when the handler is dropped because its caller hung up.
        let _leave = Leave { waiting: &self.waiting, number };
        let command = ServiceCommand { reply: ReplyTo(number), author, call };
        let unavailable = |why: &str| Refusal::new(RefusalCode::Unavailable, "", why);
        let asked = async {
            self.inputs
                .send(command)
                .await
                .map_err(|_| unavailable("the service framework is ending"))?;
            answer.await.map_err(|_| unavailable("the service framework is ending"))?
        };
        tokio::time::timeout(ANSWER_MAX, asked).await.unwrap_or_else(|_| {
            let why = "no master stored this in time; it may be carried out later";
            Err(unavailable(why).hint("look at the status, then ask again"))
        })
    }
}

struct Leave<'a> {
    waiting: &'a Waiting,
    number: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.waiting.leave(self.number);
    }
}
