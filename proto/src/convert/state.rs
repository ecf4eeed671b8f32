//! state.proto: a framework's state store.

use super::field::{bounded, invalid, list};
use crate::pb;
use proffer_types::RefusalCode;
use proffer_types::refusal::Refusal;
use proffer_types::state_store::{
    CHANGES_MAX, KEY_MAX, StateAnswer, StateCall, StateChange, StateEntry,
};

impl From<StateCall> for pb::StateCall {
    fn from(call: StateCall) -> Self {
        use pb::state_call::{Commit, Kind, List};
        Self {
            kind: Some(match call {
                StateCall::List { prefix, after, limit } => {
                    Kind::List(List { prefix, after, limit })
                }
                StateCall::Commit { changes } => Kind::Commit(Commit {
                    changes: changes.into_iter().map(pb::StateChange::from).collect(),
                }),
            }),
        }
    }
}

impl TryFrom<pb::StateCall> for StateCall {
    type Error = Refusal;
    fn try_from(call: pb::StateCall) -> Result<Self, Refusal> {
        use pb::state_call::Kind;
        match call.kind {
            Some(Kind::List(call)) => {
                key_within_bounds(&call.prefix, "list.prefix")?;
                if let Some(after) = &call.after {
                    key_within_bounds(after, "list.after")?;
                }
                Ok(Self::List { prefix: call.prefix, after: call.after, limit: call.limit })
            }
            Some(Kind::Commit(call)) => {
                Ok(Self::Commit { changes: list(call.changes, "commit.changes", CHANGES_MAX)? })
            }
            None => Err(invalid("kind", "is not set or not known to this version")),
        }
    }
}

fn key_within_bounds(key: &str, field: &str) -> Result<(), Refusal> {
    if key.len() > KEY_MAX {
        return Err(invalid(field, format!("is {} bytes long, more than {KEY_MAX}", key.len())));
    }
    if !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(invalid(field, "is not printable ASCII without spaces"));
    }
    Ok(())
}

impl From<StateChange> for pb::StateChange {
    fn from(change: StateChange) -> Self {
        Self { key: change.key, expected: change.expected, value: change.value }
    }
}

impl TryFrom<pb::StateChange> for StateChange {
    type Error = Refusal;
    fn try_from(change: pb::StateChange) -> Result<Self, Refusal> {
        if change.key.is_empty() {
            return Err(invalid("key", "is empty"));
        }
        key_within_bounds(&change.key, "key")?;
        Ok(Self { key: change.key, expected: change.expected, value: change.value })
    }
}

impl From<StateEntry> for pb::StateEntry {
    fn from(entry: StateEntry) -> Self {
        Self { key: entry.key, version: entry.version, value: entry.value }
    }
}

impl From<pb::StateEntry> for StateEntry {
    fn from(entry: pb::StateEntry) -> Self {
        Self { key: entry.key, version: entry.version, value: entry.value }
    }
}

impl From<StateAnswer> for pb::StateAnswer {
    fn from(answer: StateAnswer) -> Self {
        use pb::state_answer::{Committed, Kind, Page};
        Self {
            kind: Some(match answer {
                StateAnswer::Page { entries, more } => Kind::Page(Page {
                    entries: entries.into_iter().map(pb::StateEntry::from).collect(),
                    more,
                }),
                StateAnswer::Committed { versions } => Kind::Committed(Committed { versions }),
                StateAnswer::Refused(refusal) => Kind::Refused(refusal.into()),
            }),
        }
    }
}

impl TryFrom<pb::StateAnswer> for StateAnswer {
    type Error = Refusal;

    /// An answer of an unknown kind is a refusal of the request, not of the frame (K5).
    fn try_from(answer: pb::StateAnswer) -> Result<Self, Refusal> {
        use pb::state_answer::Kind;
        Ok(match answer.kind {
            Some(Kind::Page(page)) => Self::Page {
                entries: page.entries.into_iter().map(StateEntry::from).collect(),
                more: page.more,
            },
            Some(Kind::Committed(answer)) => {
                bounded(answer.versions.len(), "committed.versions", CHANGES_MAX)?;
                Self::Committed { versions: answer.versions }
            }
            Some(Kind::Refused(refusal)) => Self::Refused(refusal.into()),
            None => Self::Refused(Refusal::new(
                RefusalCode::Other,
                "answer",
                "the master's answer is of a later version",
            )),
        })
    }
}
