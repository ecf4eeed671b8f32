//! The store of the world: commits on their way there and back, with what goes wrong on it.

use super::*;

impl World {
    /// Carries what the commit queue wants to the store.
    pub(super) fn pump_store(&mut self, node: usize) {
        let life = Life { node, life: self.masters[node].life };
        let now_ms = self.queue.now_ms();
        let Some(leading) = self.masters[node].leading_mut() else { return };
        for completed in leading.queue.take_completed() {
            let result = match completed.outcome {
                CommitOutcome::Committed { .. } => WriteResult::Committed,
                CommitOutcome::LeadershipLost => {
                    WriteResult::Failed { reason: "deposed".to_owned() }
                }
                CommitOutcome::Unknown { reason } | CommitOutcome::Failed { reason } => {
                    WriteResult::Failed { reason }
                }
            };
            for operation in completed.operations {
                let operation = master::OperationId(operation.0);
                let command = Command::RegistryWritten { operation, result: result.clone() };
                leading.hear(now_ms, command);
            }
        }
        let request = if leading.asking { None } else { leading.queue.next_request() };
        let waits = !leading.inbox.is_empty();
        leading.asking |= request.is_some();
        let delay = heavy_tail(&mut self.chance.store, self.plan.commit_ms);
        match request {
            Some(Request::Transact(transaction)) => self.ask_store(life, transaction, delay),
            Some(Request::ReadGuard) => self.queue.after(delay, Event::ReadGuard(life)),
            None => {}
        }
        if waits {
            self.schedule_turn(node);
        }
    }

    /// A request on its way to the store: mostly it arrives, sometimes twice (F12), sometimes long after
    /// its sender was told that nobody knows what became of it (F13).
    fn ask_store(&mut self, life: Life, transaction: Arc<Transaction>, delay: u64) {
        /// How long a request can be on its way, at most.
        const LATE_MS_MAX: u64 = 8_000;
        let twists = &mut self.chance.twists;
        if self.faulty && one_in(twists, self.plan.late_requests) {
            let late = between(twists, 1, LATE_MS_MAX);
            self.counts.fault("late_request");
            self.queue.after(late, Event::Copy(life, transaction));
            let reason = "no answer in time".to_owned();
            let unknown = TransactionResult::Unknown { reason };
            return self.queue.after(delay, Event::Transacted(life, unknown));
        }
        if self.faulty && one_in(twists, self.plan.doubled_requests) {
            // The copy may be the first of the two to arrive.
            let late = between(twists, 0, 2 * delay.max(20));
            self.counts.fault("doubled_request");
            self.queue.after(late, Event::Copy(life, Arc::clone(&transaction)));
        }
        self.queue.after(delay, Event::Transact(life, transaction));
    }

    /// A request of which nobody awaits the answer reaches the store.
    pub(super) fn copied(&mut self, life: Life, transaction: &Transaction) {
        let mut written = transaction.clone();
        if self.store.guard().mark != transaction.expected && self.strikes(Planted::DoubledCommit) {
            written.expected = self.store.guard().mark;
        }
        self.apply_in_store(life, transaction, &written);
    }

    fn apply_in_store(
        &mut self,
        life: Life,
        transaction: &Transaction,
        written: &Transaction,
    ) -> TransactionResult {
        self.store.expire(Duration::from_millis(self.queue.now_ms()));
        let result = self.store.transact(written);
        if let TransactionResult::Applied { .. } = &result {
            self.counts.commits += 1;
            self.see(&Seen::Committed {
                node: life.node,
                life: life.life,
                term: transaction.token.create_revision.0,
                mark: written.mark,
                changes: &transaction.changes,
            });
        }
        result
    }

    pub(super) fn transact(&mut self, life: Life, transaction: &Transaction) {
        let delay = heavy_tail(&mut self.chance.store, self.plan.commit_ms);
        if self.faulty && one_in(&mut self.chance.store, self.plan.refused_commits) {
            self.counts.fault("refused_commit");
            let result = if self.strikes(Planted::UnwrittenCommit) {
                TransactionResult::Applied { revision: self.store.revision() }
            } else {
                TransactionResult::NotApplied { reason: "simulated".to_owned() }
            };
            return self.queue.after(delay, Event::Transacted(life, result));
        }
        self.store.expire(Duration::from_millis(self.queue.now_ms()));
        let mut written = transaction.clone();
        if let Some(planted) = self.planted {
            let guard = self.store.guard();
            planted.to_store(&mut self.planted_memory, &mut written, guard, self.elected);
        }
        let mut result = self.apply_in_store(life, transaction, &written);
        if self.faulty && one_in(&mut self.chance.store, self.plan.lost_answers) {
            self.counts.fault("lost_answer");
            result = TransactionResult::Unknown { reason: "simulated".to_owned() };
        }
        self.queue.after(delay, Event::Transacted(life, result));
    }

    pub(super) fn transacted(&mut self, life: Life, result: TransactionResult) {
        if self.master_at(life)
            && let Some(leading) = self.masters[life.node].leading_mut()
        {
            leading.asking = false;
            leading.queue.transacted(result);
            self.pump_store(life.node);
        }
    }

    pub(super) fn read_guard(&mut self, life: Life) {
        let guard = self.store.guard();
        if self.master_at(life)
            && let Some(leading) = self.masters[life.node].leading_mut()
        {
            leading.asking = false;
            leading.queue.guard_read(Some(guard));
            self.pump_store(life.node);
        }
    }

    pub(super) fn read_state(
        &mut self,
        life: Life,
        operation: master::OperationId,
        framework: proffer_types::FrameworkId,
        list: &master::StateList,
    ) {
        let request = RangeRequest {
            prefix: state_prefix(framework, &list.prefix).into_bytes(),
            after: list.after.as_ref().map(|key| state_prefix(framework, key).into_bytes()),
            limit: list.limit as usize,
            at: None,
        };
        let Ok(page) = self.store.range(&request) else { return };
        let mut entries = Vec::new();
        for entry in page.entries {
            let Ok(key) = RecordKey::decode(&entry.key) else { continue };
            let Ok(record) = Record::decode(&key, &entry.value) else { continue };
            if let (RecordKey::State(_, name), Record::State(value)) = (key, record) {
                entries.push(StateEntry { key: name, version: value.version, value: value.value });
            }
        }
        let result = Ok(master::StatePage { entries, more: page.more });
        if self.master_at(life) {
            self.push(life.node, Some(Command::StateRead { operation, result }));
        }
    }
}
