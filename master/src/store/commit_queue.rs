//! Owns the order of a leader's writes: groups batches into transactions, numbers them, keeps one in
//! flight, and settles unknown outcomes (K4). Pure: the caller carries requests and answers.
//!
//! The caller's loop is always the same:
//!
//! 1. [`CommitQueue::submit`] whenever the core wants something durable;
//! 2. [`CommitQueue::next_request`] until it says `None`; carry the request to the store;
//! 3. hand the answer to [`CommitQueue::transacted`] or [`CommitQueue::guard_read`];
//! 4. tell the core what [`CommitQueue::take_completed`] returns.
//!
//! Every operation id that was accepted by `submit` completes exactly once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use proffer_master_core::WriteLane;
use serde::{Deserialize, Serialize};

use super::model::{
    Batch, CommitMark, Guard, Key, LeaderToken, Limits, Operation, OperationId, Revision,
    Transaction, TransactionResult, Value,
};

/// Which of the two queues a batch waits in (K9). Batches of one lane stay in order; the registry's
/// go first, except that no batch ever overtakes an earlier one that touches the same record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Lane {
    /// What the cluster itself must remember.
    Registry,
    /// What frameworks keep in their state stores.
    FrameworkState,
}

impl From<WriteLane> for Lane {
    fn from(lane: WriteLane) -> Self {
        match lane {
            WriteLane::Registry => Self::Registry,
            WriteLane::FrameworkState => Self::FrameworkState,
        }
    }
}

/// How much may wait. Beyond it `submit` refuses, which ends the term; the core counts what is on its way
/// and refuses or puts off long before (its `limits`), so that nobody outside can fill it.
#[derive(Clone, Copy, Debug)]
pub struct QueueBudget {
    /// Batches of both lanes.
    pub operations_max: usize,
    /// Bytes of both lanes.
    pub bytes_max: usize,
    /// Of these, what framework state may take: the rest is kept for the registry.
    pub framework_state_bytes_max: usize,
}

impl Default for QueueBudget {
    /// A minute of writing at etcd's pace; more would only hide that the store cannot follow.
    fn default() -> Self {
        Self { operations_max: 100_000, bytes_max: 64 << 20, framework_state_bytes_max: 16 << 20 }
    }
}

/// Why a batch was not taken. Nothing was queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// More operations than one transaction can hold.
    #[error("a batch of {count} operations is over the limit of {limit}")]
    TooManyOperations {
        /// In the batch.
        count: usize,
        /// Of the store.
        limit: usize,
    },
    /// More bytes than one transaction can hold.
    #[error("a batch of {bytes} bytes is over the limit of {limit}")]
    BatchTooLarge {
        /// Of the batch.
        bytes: usize,
        /// Of the store.
        limit: usize,
    },
    /// One value is too long.
    #[error("a value of {bytes} bytes is over the limit of {limit}")]
    ValueTooLarge {
        /// Of the value.
        bytes: usize,
        /// Of the store.
        limit: usize,
    },
    /// A key is empty or too long.
    #[error("a key of {bytes} bytes is not between 1 and {limit}")]
    BadKey {
        /// Of the key.
        bytes: usize,
        /// Of the store.
        limit: usize,
    },
    /// Too much is waiting already.
    #[error("too much waits for the store: {operations} batches, {bytes} bytes")]
    Full {
        /// Waiting.
        operations: usize,
        /// Waiting.
        bytes: usize,
    },
    /// This term is over.
    #[error("this leadership has ended")]
    Stopped,
}

/// What the caller has to carry to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Apply this; answer with [`CommitQueue::transacted`].
    Transact(Arc<Transaction>),
    /// Read the guard; answer with [`CommitQueue::guard_read`].
    ReadGuard,
}

/// How a batch ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommitOutcome {
    /// Durable. Promises that waited for it may be told.
    Committed {
        /// The revision that holds it.
        revision: Revision,
        /// The number of the transaction.
        sequence: u64,
    },
    /// Certainly not durable: another term has begun, or this one was given up. Stop leading.
    LeadershipLost,
    /// Nobody can tell whether it is durable. Stop leading.
    Unknown {
        /// What was found.
        reason: String,
    },
    /// Certainly not durable; the store will not take it. Stop leading.
    Failed {
        /// In the store's words.
        reason: String,
    },
}

impl CommitOutcome {
    /// Whether the leader has to end: a failed commit never rolls the core back (K4).
    #[must_use]
    pub fn ends_leadership(&self) -> bool {
        !matches!(self, Self::Committed { .. })
    }
}

/// Batches that ended together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completed {
    /// In the order in which they were submitted within their lane.
    pub operations: Vec<OperationId>,
    /// The same for all of them.
    pub outcome: CommitOutcome,
}

#[derive(Debug)]
struct Waiting {
    operation: OperationId,
    batch: Batch,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// To be sent, for the first time or again.
    Send,
    /// Sent, no answer yet.
    Sent,
    /// The outcome is unknown; the guard is to be read.
    Read,
    /// The guard is being read.
    Reading,
}

#[derive(Debug)]
struct Flight {
    transaction: Arc<Transaction>,
    operations: Vec<OperationId>,
    phase: Phase,
    /// An earlier sending may yet take effect.
    doubtful: bool,
    repeats: u32,
}

/// See the module's description.
#[derive(Debug)]
pub struct CommitQueue {
    token: LeaderToken,
    limits: Limits,
    budget: QueueBudget,
    registry: VecDeque<Waiting>,
    framework_state: VecDeque<Waiting>,
    /// How many waiting batches of framework state touch a record.
    framework_state_keys: BTreeMap<Key, usize>,
    waiting_bytes: usize,
    framework_state_bytes: usize,
    flight: Option<Flight>,
    mark: CommitMark,
    completed: VecDeque<Completed>,
    stopped: bool,
}

impl CommitQueue {
    /// The queue of a new term, whose leader read `mark` after it was elected.
    #[must_use]
    pub fn new(token: LeaderToken, mark: CommitMark, limits: Limits, budget: QueueBudget) -> Self {
        Self {
            token,
            limits,
            budget,
            registry: VecDeque::new(),
            framework_state: VecDeque::new(),
            framework_state_keys: BTreeMap::new(),
            waiting_bytes: 0,
            framework_state_bytes: 0,
            flight: None,
            mark,
            completed: VecDeque::new(),
            stopped: false,
        }
    }

    /// Takes a batch; it completes later under its id. Never waits.
    ///
    /// # Errors
    /// If the batch can never be stored, too much is waiting, or the term is over.
    pub fn submit(
        &mut self,
        operation: OperationId,
        lane: Lane,
        batch: Batch,
    ) -> Result<(), SubmitError> {
        let bytes = self.check(lane, &batch)?;
        self.waiting_bytes += bytes;
        let waiting = Waiting { operation, batch, bytes };
        match lane {
            Lane::Registry => {
                self.keep_order_of_records(&waiting.batch);
                self.registry.push_back(waiting);
            }
            Lane::FrameworkState => {
                self.framework_state_bytes += bytes;
                for change in &waiting.batch.operations {
                    *self.framework_state_keys.entry(change.key().to_vec()).or_default() += 1;
                }
                self.framework_state.push_back(waiting);
            }
        }
        Ok(())
    }

    fn check(&self, lane: Lane, batch: &Batch) -> Result<usize, SubmitError> {
        if self.stopped {
            return Err(SubmitError::Stopped);
        }
        check_batch(batch, &self.limits)?;
        let bytes = batch.encoded_bytes();
        if bytes > self.room(lane) || self.waiting_count() >= self.budget.operations_max {
            return Err(SubmitError::Full {
                operations: self.waiting_count(),
                bytes: self.waiting_bytes,
            });
        }
        Ok(bytes)
    }

    /// Bytes that may still be submitted in a lane.
    fn room(&self, lane: Lane) -> usize {
        if self.waiting_count() >= self.budget.operations_max {
            return 0;
        }
        let all = self.budget.bytes_max.saturating_sub(self.waiting_bytes);
        match lane {
            Lane::Registry => all,
            Lane::FrameworkState => all.min(
                self.budget.framework_state_bytes_max.saturating_sub(self.framework_state_bytes),
            ),
        }
    }

    /// Batches that are neither durable nor refused yet, those in flight included.
    #[must_use]
    pub fn unfinished_count(&self) -> usize {
        self.waiting_count() + self.flight.as_ref().map_or(0, |flight| flight.operations.len())
    }

    /// How often the request now due was already tried. The caller pauses accordingly.
    #[must_use]
    pub fn repeats(&self) -> u32 {
        self.flight.as_ref().map_or(0, |flight| flight.repeats)
    }

    /// Whether this term is over.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    fn waiting_count(&self) -> usize {
        self.registry.len() + self.framework_state.len()
    }

    /// A registry batch that touches a waiting framework record lets all framework batches go first.
    fn keep_order_of_records(&mut self, batch: &Batch) {
        let conflict =
            batch.operations.iter().any(|c| self.framework_state_keys.contains_key(c.key()));
        if conflict {
            self.registry.append(&mut self.framework_state);
            self.framework_state_keys.clear();
            self.framework_state_bytes = 0;
        }
    }

    /// What to carry to the store now; `None` while an answer is awaited or nothing waits.
    pub fn next_request(&mut self) -> Option<Request> {
        if self.flight.is_none() {
            self.flight = self.next_group();
        }
        let flight = self.flight.as_mut()?;
        match flight.phase {
            Phase::Send => {
                flight.phase = Phase::Sent;
                Some(Request::Transact(Arc::clone(&flight.transaction)))
            }
            Phase::Read => {
                flight.phase = Phase::Reading;
                Some(Request::ReadGuard)
            }
            Phase::Sent | Phase::Reading => None,
        }
    }

    fn next_group(&mut self) -> Option<Flight> {
        if self.stopped || self.waiting_count() == 0 {
            return None;
        }
        let mut group = Group::new(self.limits);
        group.take_from(&mut self.registry);
        if self.registry.is_empty() {
            for taken in group.take_from(&mut self.framework_state) {
                self.framework_state_bytes -= taken.bytes;
                release_keys(&mut self.framework_state_keys, &taken.keys);
            }
        }
        self.waiting_bytes -= group.bytes;
        let mark =
            CommitMark { sequence: self.mark.sequence + 1, writer: self.token.create_revision };
        Some(Flight {
            transaction: Arc::new(Transaction {
                token: self.token,
                expected: self.mark,
                mark,
                changes: group.changes,
            }),
            operations: group.operations,
            phase: Phase::Send,
            doubtful: false,
            repeats: 0,
        })
    }

    /// The store answered a [`Request::Transact`].
    pub fn transacted(&mut self, result: TransactionResult) {
        let Some(flight) = self.flight.as_mut() else { return };
        match result {
            TransactionResult::Applied { revision } => self.committed(revision),
            TransactionResult::Guarded(guard) => self.judge(guard),
            TransactionResult::NotApplied { .. } => {
                flight.phase = Phase::Send;
                flight.repeats = flight.repeats.saturating_add(1);
            }
            TransactionResult::Unknown { .. } => {
                flight.doubtful = true;
                flight.phase = Phase::Read;
                flight.repeats = flight.repeats.saturating_add(1);
            }
            TransactionResult::Broken { reason } => {
                self.stop_with(CommitOutcome::Unknown { reason });
            }
            TransactionResult::Rejected { reason } => {
                let outcome = if flight.doubtful {
                    CommitOutcome::Unknown { reason }
                } else {
                    CommitOutcome::Failed { reason }
                };
                self.stop_with(outcome);
            }
        }
    }

    /// The store answered a [`Request::ReadGuard`]; `None` if it could not be read.
    pub fn guard_read(&mut self, guard: Option<Guard>) {
        let Some(flight) = self.flight.as_mut() else { return };
        match guard {
            Some(guard) => self.judge(guard),
            None => {
                flight.phase = Phase::Read;
                flight.repeats = flight.repeats.saturating_add(1);
            }
        }
    }

    /// Draws the conclusion from what guards the writes (K4).
    fn judge(&mut self, guard: Guard) {
        let Some(flight) = self.flight.as_mut() else { return };
        let leads = guard.leader == Some(self.token.create_revision);
        if guard.mark == flight.transaction.mark {
            // The mark carries our term, so it is our transaction that wrote it.
            self.committed(guard.mark_modified);
            if !leads {
                self.stop_with(CommitOutcome::LeadershipLost);
            }
        } else if leads && guard.mark == flight.transaction.expected {
            // Not applied so far. An earlier sending may still arrive, but of two equal
            // transactions the second finds the mark moved: sending again is safe.
            flight.phase = Phase::Send;
            flight.repeats = flight.repeats.saturating_add(1);
        } else if leads {
            let reason = format!(
                "commit {} of our term is in the store, expected {}",
                guard.mark.sequence, flight.transaction.expected.sequence
            );
            self.stop_with(CommitOutcome::Unknown { reason });
        } else if guard.mark == flight.transaction.expected {
            // Nobody has written since, and our key is gone for good: it can never apply.
            self.stop_with(CommitOutcome::LeadershipLost);
        } else {
            // Even an answer to the first sending proves nothing: the network may have doubled it,
            // and the other copy may have come before the new leader's write.
            let reason = "another leader has written since".to_owned();
            self.stop_with(CommitOutcome::Unknown { reason });
        }
    }

    fn committed(&mut self, revision: Revision) {
        let Some(flight) = self.flight.take() else { return };
        self.mark = flight.transaction.mark;
        let outcome =
            CommitOutcome::Committed { revision, sequence: flight.transaction.mark.sequence };
        self.completed.push_back(Completed { operations: flight.operations, outcome });
    }

    /// The lease is known to be lost: what was not sent will never be. What is in flight is still
    /// settled, as its answer may yet come.
    pub fn leadership_lost(&mut self) {
        self.stopped = true;
        self.abandon_waiting();
    }

    /// The caller gives up: whatever is in flight stays unknown.
    pub fn give_up(&mut self, reason: &str) {
        self.stop_with(CommitOutcome::Unknown { reason: reason.to_owned() });
    }

    fn stop_with(&mut self, outcome: CommitOutcome) {
        self.stopped = true;
        if let Some(flight) = self.flight.take() {
            self.completed.push_back(Completed { operations: flight.operations, outcome });
        }
        self.abandon_waiting();
    }

    fn abandon_waiting(&mut self) {
        let waiting = self.registry.drain(..).chain(self.framework_state.drain(..));
        let operations: Vec<_> = waiting.map(|waiting| waiting.operation).collect();
        self.framework_state_keys.clear();
        self.waiting_bytes = 0;
        self.framework_state_bytes = 0;
        if !operations.is_empty() {
            let outcome = CommitOutcome::LeadershipLost;
            self.completed.push_back(Completed { operations, outcome });
        }
    }

    /// What ended since the last call, in order.
    pub fn take_completed(&mut self) -> Vec<Completed> {
        self.completed.drain(..).collect()
    }
}

/// Checks a batch against what the store takes at once; the core may ask before it decides.
///
/// # Errors
/// If no transaction can hold the batch.
pub fn check_batch(batch: &Batch, limits: &Limits) -> Result<(), SubmitError> {
    let count = batch.operations.len();
    if count > limits.batch_operations_max {
        let limit = limits.batch_operations_max;
        return Err(SubmitError::TooManyOperations { count, limit });
    }
    for operation in &batch.operations {
        let bytes = operation.key().len();
        if bytes == 0 || bytes > limits.key_bytes_max {
            return Err(SubmitError::BadKey { bytes, limit: limits.key_bytes_max });
        }
        let bytes = operation.value().map_or(0, <[u8]>::len);
        if bytes > limits.value_bytes_max {
            return Err(SubmitError::ValueTooLarge { bytes, limit: limits.value_bytes_max });
        }
    }
    let bytes = batch.encoded_bytes();
    if bytes > limits.batch_bytes_max {
        return Err(SubmitError::BatchTooLarge { bytes, limit: limits.batch_bytes_max });
    }
    Ok(())
}

/// Batches on their way into one transaction.
struct Group {
    limits: Limits,
    changes: BTreeMap<Key, Option<Value>>,
    operations: Vec<OperationId>,
    operation_count: usize,
    bytes: usize,
}

struct Taken {
    keys: Vec<Key>,
    bytes: usize,
}

impl Group {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            changes: BTreeMap::new(),
            operations: Vec::new(),
            operation_count: 0,
            bytes: 0,
        }
    }

    /// Moves batches from the front as long as the whole fits.
    fn take_from(&mut self, queue: &mut VecDeque<Waiting>) -> Vec<Taken> {
        let mut taken = Vec::new();
        while queue.front().is_some_and(|waiting| self.fits(waiting)) {
            let waiting = queue.pop_front().expect("the front was just seen");
            taken.push(self.add(waiting));
        }
        taken
    }

    /// Counts before records are merged, so it errs on the small side.
    fn fits(&self, waiting: &Waiting) -> bool {
        let count = self.operation_count + waiting.batch.operations.len();
        count <= self.limits.batch_operations_max
            && self.bytes + waiting.bytes <= self.limits.batch_bytes_max
    }

    /// A later change of a record replaces an earlier one: a transaction names each key once.
    fn add(&mut self, waiting: Waiting) -> Taken {
        self.operations.push(waiting.operation);
        self.operation_count += waiting.batch.operations.len();
        self.bytes += waiting.bytes;
        let mut keys = Vec::with_capacity(waiting.batch.operations.len());
        for operation in waiting.batch.operations {
            let (key, value) = match operation {
                Operation::Put { key, value } => (key, Some(value)),
                Operation::Delete { key } => (key, None),
            };
            keys.push(key.clone());
            self.changes.insert(key, value);
        }
        Taken { keys, bytes: waiting.bytes }
    }
}

fn release_keys(counts: &mut BTreeMap<Key, usize>, keys: &[Key]) {
    for key in keys {
        if let Some(count) = counts.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(key);
            }
        }
    }
}

#[cfg(test)]
#[path = "commit_queue_tests.rs"]
mod tests;
