//! A framework's state store: compare-and-swap is decided here against versions, those being written
//! included; values go to the store and are read from it (K4, K9).

use crate::StatePage;
use crate::effect::{ConnectionId, Effect, OperationId, StateList, WriteLane};
use crate::limits;
use crate::master::Master;
use crate::registry::{Record, RecordKey, RegistryChange, StateHead, StateMeta, StateValue};
use crate::state::changes::RowKey;
use crate::state::frameworks::{FrameworkEntry, StateStore};
use crate::state::pending::{Continuation, StateRead, store_behind};
use crate::turn::weighed;
use proffer_types::scheduler::Event;
use proffer_types::state_store::{
    KEY_MAX, StateAnswer, StateBudget, StateCall, StateChange, change_bytes, too_many_operations,
};
use proffer_types::{FrameworkEpoch, FrameworkId, Now, Refusal, RefusalCode};

impl Master {
    pub(crate) fn state_call(
        &mut self,
        framework: FrameworkId,
        request: u64,
        call: StateCall,
        now: Now,
    ) {
        let done = match call {
            StateCall::List { prefix, after, limit } => {
                self.state_list(framework, request, prefix, after, limit)
            }
            StateCall::Commit { changes } => self.state_commit(framework, request, changes, now),
        };
        if let Err(refusal) = done {
            let answer = StateAnswer::Refused(refusal);
            self.tell(framework, Event::State { request, answer });
        }
    }

    fn state_list(
        &mut self,
        framework: FrameworkId,
        request: u64,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Result<(), Refusal> {
        let reader =
            self.check(|master| master.check_state_list(framework, &prefix, after.as_deref()))?;
        let Some((connection, epoch)) = reader else { return Ok(()) };
        let operation = self.pending.next_operation();
        let read = StateRead { framework, epoch, connection, request };
        self.pending.reads.insert(operation, read);
        if let Some(entry) = self.frameworks.get_mut(framework) {
            entry.state.operations += 1;
        }
        let limit = limit.clamp(1, limits::STATE_PAGE_ENTRIES_MAX);
        let list = StateList { prefix, after, limit };
        self.effect(Effect::ReadState { operation, framework, list });
        Ok(())
    }

    /// Who would get the page; nobody when the stream is gone.
    fn check_state_list(
        &self,
        framework: FrameworkId,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Option<(ConnectionId, FrameworkEpoch)>, Refusal> {
        let entry = self.frameworks.get(framework).ok_or_else(unknown)?;
        check_operations(&entry.state)?;
        if prefix.len() > KEY_MAX || after.is_some_and(|key| key.len() > KEY_MAX) {
            return Err(Refusal::new(
                RefusalCode::InvalidArgument,
                "prefix",
                format!("is longer than {KEY_MAX} bytes"),
            ));
        }
        Ok(entry.stream.as_ref().map(|stream| (stream.connection, entry.epoch())))
    }

    /// A page was read. One for a stream that is gone is dropped.
    pub(crate) fn state_read(
        &mut self,
        operation: OperationId,
        result: Result<StatePage, Refusal>,
    ) {
        let Some(read) = self.pending.reads.remove(&operation) else { return };
        let StateRead { framework, epoch, connection, request } = read;
        self.state_operation_ended(framework);
        let current = self.frameworks.get(framework).is_some_and(|entry| {
            entry.epoch() == epoch
                && entry.stream.as_ref().is_some_and(|stream| stream.connection == connection)
        });
        if !current {
            return;
        }
        let answer = match result {
            Ok(StatePage { entries, more }) => {
                // What is too much for one page is read again with the next.
                let read = entries.len();
                let page = weighed(entries, limits::LIST_WEIGHT_MAX).into_iter().next();
                let entries = page.unwrap_or_default();
                StateAnswer::Page { more: more || entries.len() < read, entries }
            }
            Err(refusal) => StateAnswer::Refused(refusal),
        };
        self.tell(framework, Event::State { request, answer });
    }

    fn state_commit(
        &mut self,
        framework: FrameworkId,
        request: u64,
        changes: Vec<StateChange>,
        now: Now,
    ) -> Result<(), Refusal> {
        let budget = self.config.state_budget;
        self.check(|master| {
            let entry = master.frameworks.get(framework).ok_or_else(unknown)?;
            entry.check_not_superseded()?;
            check_operations(&entry.state)?;
            master.check_state_room(&entry.state, &changes)?;
            check_commit(&entry.state, &budget, &changes)?;
            entry.state.rate.check(&budget, now.monotonic)
        })?;
        let Some(entry) = self.frameworks.get_mut(framework) else { return Ok(()) };
        entry.state.rate.spend(&budget, now.monotonic);
        let (batch, versions) = change_state(framework, entry, changes);
        let bytes = batch.iter().map(RegistryChange::stored_bytes).sum();
        entry.state.writing_bytes += bytes;
        let epoch = entry.epoch();
        // The row tells what counts against the budget, also while it is on its way (I17).
        self.row(RowKey::Framework(framework));
        let then = Continuation::StateCommitted { framework, epoch, request, versions, bytes };
        self.persist(WriteLane::FrameworkState, batch, then);
        Ok(())
    }

    /// What frameworks write never fills the queue to the store, neither one of them nor all (K9).
    fn check_state_room(&self, state: &StateStore, changes: &[StateChange]) -> Result<(), Refusal> {
        let more: usize = changes
            .iter()
            .map(|change| change.key.len() + change.value.as_ref().map_or(0, Vec::len))
            .sum();
        let all = self.pending.load(WriteLane::FrameworkState);
        if state.writing_bytes + more > limits::STATE_WRITES_FRAMEWORK_BYTES_MAX
            || all.bytes + more > limits::STATE_WRITES_BYTES_MAX
        {
            return Err(store_behind("state", all.writes, all.bytes));
        }
        Ok(())
    }

    pub(crate) fn state_written(&mut self, framework: FrameworkId, bytes: usize) {
        if let Some(entry) = self.frameworks.get_mut(framework) {
            entry.state.writing_bytes -= bytes;
        }
    }

    /// The commit is durable: the replica that made it is told, if it is still the active one.
    pub(crate) fn state_committed(
        &mut self,
        framework: FrameworkId,
        epoch: FrameworkEpoch,
        request: u64,
        versions: Vec<u64>,
    ) {
        self.state_operation_ended(framework);
        if self.frameworks.get(framework).is_some_and(|entry| entry.epoch() == epoch) {
            let answer = StateAnswer::Committed { versions };
            self.tell(framework, Event::State { request, answer });
        }
    }

    fn state_operation_ended(&mut self, framework: FrameworkId) {
        let Some(entry) = self.frameworks.get_mut(framework) else { return };
        entry.state.operations = entry.state.operations.saturating_sub(1);
        if entry.is_ended() && entry.state.operations == 0 {
            self.sweep_framework(framework);
        }
    }
}

fn unknown() -> Refusal {
    Refusal::new(RefusalCode::Removed, "framework", "the framework is not known")
}

fn check_operations(state: &StateStore) -> Result<(), Refusal> {
    if state.operations < limits::STATE_OPERATIONS_MAX {
        return Ok(());
    }
    Err(too_many_operations(limits::STATE_OPERATIONS_MAX))
}

/// Every change is legal and expected, and the budget holds afterwards.
fn check_commit(
    state: &StateStore,
    budget: &StateBudget,
    changes: &[StateChange],
) -> Result<(), Refusal> {
    budget.check_changes(changes.iter().map(|it| (it.key.as_str(), it.value.as_deref())))?;
    let before = (state.bytes, state.index.len() as u64);
    let (mut bytes, mut keys) = before;
    for (index, change) in changes.iter().enumerate() {
        let old = state.index.get(&change.key);
        check_version(change, old.map_or(0, |meta| meta.version))
            .map_err(|refusal| refusal.within(format!("changes[{index}]")))?;
        if let Some(old) = old {
            bytes = bytes.saturating_sub(change.key.len() as u64 + old.bytes);
            keys -= 1;
        }
        if let Some(value) = &change.value {
            bytes += change_bytes(&change.key, Some(value)) as u64;
            keys += 1;
        }
    }
    budget.check_growth(before, (bytes, keys))
}

fn check_version(change: &StateChange, have: u64) -> Result<(), Refusal> {
    match change.expected {
        Some(expected) if expected != have => Err(Refusal::new(
            RefusalCode::VersionConflict,
            "expected",
            format!("{} has version {have}, not {expected}", change.key),
        )),
        Some(_) | None => Ok(()),
    }
}

/// Changes the index and says what is to be written. Versions come from one counter of the framework, so
/// a key that was deleted and made anew never has an old version again.
fn change_state(
    framework: FrameworkId,
    entry: &mut FrameworkEntry,
    changes: Vec<StateChange>,
) -> (Vec<RegistryChange>, Vec<u64>) {
    let epoch = entry.epoch();
    let state = &mut entry.state;
    state.operations += 1;
    let mut batch = Vec::with_capacity(changes.len() + 1);
    let mut versions = Vec::with_capacity(changes.len());
    for StateChange { key, value, .. } in changes {
        if let Some(old) = state.index.remove(&key) {
            state.bytes = state.bytes.saturating_sub(key.len() as u64 + old.bytes);
        }
        let record = RecordKey::State(framework, key.clone());
        match value {
            None => {
                versions.push(0);
                batch.push(RegistryChange::delete(record));
            }
            Some(value) => {
                state.head.version += 1;
                let version = state.head.version;
                let bytes = value.len() as u64;
                state.bytes += key.len() as u64 + bytes;
                state.index.insert(key, StateMeta { version, bytes });
                versions.push(version);
                batch.push(RegistryChange::put(
                    record,
                    Record::State(StateValue { version, value }),
                ));
            }
        }
    }
    state.head = StateHead { epoch, version: state.head.version };
    batch.push(RegistryChange::put(RecordKey::StateHead(framework), Record::StateHead(state.head)));
    (batch, versions)
}
