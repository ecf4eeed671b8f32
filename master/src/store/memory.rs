//! Owns the in-memory store behind the [`Store`] trait: several handles on one [`MemoryCore`], with
//! faults and delays that the caller chooses.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::clock::since_boot;
use super::memory_core::MemoryCore;
use super::model::{
    Campaign, Entry, Guard, Key, LeaderRecord, LeaderToken, Limits, Page, RangeRequest, Revision,
    Transaction, TransactionResult, Usage, Value,
};
use super::watch::stream_of_log;
use super::{Answer, ChangeStream, Store, StoreError};

/// What happens to one transaction, in the order in which they were planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the transaction passes.
    Pass,
    /// It is not applied, and the caller is told so.
    Refuse,
    /// It is applied, but the answer is lost: unknown outcome.
    LoseAnswer,
    /// It is lost on its way: unknown outcome, not applied.
    LoseRequest,
    /// The answer is lost, and it is applied only at [`MemoryStore::deliver_late`].
    Delay,
    /// Its answer waits for [`MemoryStore::release`]; it is applied before.
    HoldAnswer,
    /// It is applied, and after [`MemoryStore::release`] the answer turns out to be lost.
    HoldAndLoseAnswer,
    /// It waits for [`MemoryStore::release`], then is applied.
    HoldRequest,
}

/// A handle; clones share one store.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    newest: watch::Sender<Revision>,
    /// Counts what ends a term, so that candidates look again.
    seat_changed: watch::Sender<u64>,
    /// How many held transactions were let go in all.
    released: watch::Sender<u64>,
    /// How many transactions are held now.
    held: watch::Sender<usize>,
}

#[derive(Debug)]
struct Inner {
    core: MemoryCore,
    faults: VecDeque<Fault>,
    late: VecDeque<Arc<Transaction>>,
    holds: u64,
    reachable: bool,
}

impl MemoryStore {
    /// An empty store with these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let inner = Inner {
            core: MemoryCore::new(limits),
            faults: VecDeque::new(),
            late: VecDeque::new(),
            holds: 0,
            reachable: true,
        };
        Self {
            shared: Arc::new(Shared {
                inner: Mutex::new(inner),
                newest: watch::Sender::new(Revision(0)),
                seat_changed: watch::Sender::new(0),
                released: watch::Sender::new(0),
                held: watch::Sender::new(0),
            }),
        }
    }

    /// Plans what happens to the next transactions, one each.
    pub fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.inner().faults.extend(faults);
    }

    /// Applies the transactions that a [`Fault::Delay`] kept back, if their guard still holds.
    pub fn deliver_late(&self) -> Vec<TransactionResult> {
        let mut inner = self.shared.inner();
        let late: Vec<_> = inner.late.drain(..).collect();
        let results = late.iter().map(|transaction| inner.core.transact(transaction)).collect();
        self.shared.publish(&inner);
        results
    }

    /// Waits until so many transactions are held.
    pub async fn holding(&self, count: usize) {
        let mut held = self.shared.held.subscribe();
        let reached = held.wait_for(|held| *held >= count).await;
        drop(reached.expect("the sender lives in the store itself"));
    }

    /// Lets the oldest held transaction go.
    pub fn release(&self) {
        self.shared.released.send_modify(|released| *released += 1);
    }

    /// While unreachable, everything fails as if the connection were refused.
    pub fn set_reachable(&self, reachable: bool) {
        self.shared.inner().reachable = reachable;
    }

    /// Ends the standing lease at once.
    pub fn expire_lease(&self) {
        let mut inner = self.shared.inner();
        inner.core.expire_now();
        self.shared.publish(&inner);
        drop(inner);
        self.shared.seat_changed.send_modify(|n| *n += 1);
    }
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reached(&self) -> Result<MutexGuard<'_, Inner>, StoreError> {
        let inner = self.inner();
        if inner.reachable {
            Ok(inner)
        } else {
            Err(StoreError::Unavailable { reason: "connection refused".to_owned() })
        }
    }

    fn publish(&self, inner: &Inner) {
        self.newest.send_replace(inner.core.revision());
    }

    fn apply(&self, transaction: &Transaction) -> TransactionResult {
        let mut inner = self.inner();
        let result = inner.core.transact(transaction);
        self.publish(&inner);
        result
    }

    /// Waits for the turn of this held transaction.
    async fn hold(&self) {
        let turn = {
            let mut inner = self.inner();
            inner.holds += 1;
            inner.holds
        };
        let mut released = self.released.subscribe();
        self.held.send_modify(|held| *held += 1);
        let let_go = released.wait_for(|released| *released >= turn).await;
        drop(let_go.expect("the sender lives in the store itself"));
        self.held.send_modify(|held| *held -= 1);
    }

    async fn transact(&self, transaction: Arc<Transaction>) -> TransactionResult {
        let fault = match self.reached() {
            Ok(mut inner) => inner.faults.pop_front().unwrap_or(Fault::Pass),
            Err(error) => return TransactionResult::NotApplied { reason: error.to_string() },
        };
        let lost = || TransactionResult::Unknown { reason: "the answer was lost".to_owned() };
        match fault {
            Fault::Pass => self.apply(&transaction),
            Fault::Refuse => TransactionResult::NotApplied { reason: "refused".to_owned() },
            Fault::LoseAnswer => {
                self.apply(&transaction);
                lost()
            }
            Fault::LoseRequest => lost(),
            Fault::Delay => {
                self.inner().late.push_back(transaction);
                lost()
            }
            Fault::HoldAnswer => {
                let result = self.apply(&transaction);
                self.hold().await;
                result
            }
            Fault::HoldAndLoseAnswer => {
                self.apply(&transaction);
                self.hold().await;
                lost()
            }
            Fault::HoldRequest => {
                self.hold().await;
                self.apply(&transaction)
            }
        }
    }

    async fn campaign(&self, candidate: Value, ttl: Duration) -> Result<Campaign, StoreError> {
        let mut seat_changed = self.seat_changed.subscribe();
        loop {
            let confirmed_at = since_boot();
            let until = {
                let mut inner = self.reached()?;
                let won = inner.core.campaign(candidate.clone(), ttl, confirmed_at);
                self.publish(&inner);
                if let Some(token) = won {
                    return Ok(Campaign { token, ttl, confirmed_at });
                }
                inner.core.lease_until().unwrap_or(confirmed_at)
            };
            // Either the seat is given up, or its lease may have run out: look again.
            let wait = until.saturating_sub(confirmed_at);
            let _ = tokio::time::timeout(wait, seat_changed.changed()).await;
        }
    }
}

impl Store for MemoryStore {
    fn limits(&self) -> Limits {
        self.shared.inner().core.limits()
    }

    fn get(&self, key: Key) -> Answer<'_, Option<Entry>> {
        async move { Ok(self.shared.reached()?.core.get(&key)) }.boxed()
    }

    fn range(&self, request: RangeRequest) -> Answer<'_, Page> {
        async move { self.shared.reached()?.core.range(&request) }.boxed()
    }

    fn watch(&self, prefix: Key, from: Revision) -> Answer<'_, ChangeStream> {
        let shared = Arc::clone(&self.shared);
        let newest = shared.newest.subscribe();
        let read = move |from| shared.reached()?.core.changes(&prefix, from);
        async move { Ok(stream_of_log(from, newest, read)) }.boxed()
    }

    fn transact(&self, transaction: Arc<Transaction>) -> BoxFuture<'_, TransactionResult> {
        self.shared.transact(transaction).boxed()
    }

    fn guard(&self) -> Answer<'_, Guard> {
        async move { Ok(self.shared.reached()?.core.guard()) }.boxed()
    }

    fn campaign(&self, candidate: Value, ttl: Duration) -> Answer<'_, Campaign> {
        self.shared.campaign(candidate, ttl).boxed()
    }

    fn keep_alive(&self, token: LeaderToken) -> Answer<'_, Duration> {
        async move {
            let renewed = self.shared.reached()?.core.keep_alive(token, since_boot());
            let create_revision = token.create_revision;
            renewed.ok_or(StoreError::LeadershipEnded { create_revision })
        }
        .boxed()
    }

    fn resign(&self, token: LeaderToken) -> Answer<'_, ()> {
        async move {
            {
                let mut inner = self.shared.reached()?;
                inner.core.resign(token);
                self.shared.publish(&inner);
            }
            self.shared.seat_changed.send_modify(|n| *n += 1);
            Ok(())
        }
        .boxed()
    }

    fn leader(&self) -> Answer<'_, Option<LeaderRecord>> {
        async move { Ok(self.shared.reached()?.core.leader()) }.boxed()
    }

    fn compact(&self, revision: Revision) -> Answer<'_, ()> {
        async move {
            self.shared.reached()?.core.compact(revision);
            Ok(())
        }
        .boxed()
    }

    fn usage(&self) -> Answer<'_, Usage> {
        async move { Ok(self.shared.reached()?.core.usage()) }.boxed()
    }
}
