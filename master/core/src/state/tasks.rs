//! Tasks by framework and name. A row lives from the booking until its end was acknowledged.

use proffer_types::agent::KillCause;
use proffer_types::scheduler::TaskRecord;
use proffer_types::template::KillPolicy;
use proffer_types::{AgentId, FrameworkId, TaskKey, TaskName};
use std::collections::BTreeMap;
use std::ops::Bound;

/// How far a launch has come towards its agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Booked; waits for the occupancy record (K2). The agent has never heard of it.
    Held,
    /// Sent, or lost on the way: the agent's next list will tell (K1).
    Sent,
    /// The agent reported it.
    Reported,
}

/// In which books a task's resources and its place in a demand group are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Counted {
    /// In none: it has ended, or its agent's books contradict each other.
    No,
    /// At its agent, framework, role and group.
    Charged,
    /// Its agent is out of reach and not counted: only its group's target knows of it (K10).
    OutOfReach,
}

/// A kill that was asked for and not yet come true; repeated when the agent registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct KillOrder {
    pub(crate) policy: Option<KillPolicy>,
    pub(crate) cause: KillCause,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TaskEntry {
    pub(crate) record: TaskRecord,
    pub(crate) stage: Stage,
    pub(crate) kill: Option<KillOrder>,
    pub(crate) counted: Counted,
    /// The subscription that was told the full record; an earlier one was not.
    pub(crate) told_in: u64,
}

impl TaskEntry {
    pub(crate) fn agent(&self) -> AgentId {
        self.record.status.agent
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.record.status.state.is_terminal()
    }
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Tasks {
    /// Boxed: most nodes of the tree are half full, and an entry has half a kilobyte (P14).
    pub(crate) table: BTreeMap<TaskKey, Box<TaskEntry>>,
}

impl Tasks {
    pub(crate) fn get(&self, key: &TaskKey) -> Option<&TaskEntry> {
        self.table.get(key).map(Box::as_ref)
    }

    pub(crate) fn get_mut(&mut self, key: &TaskKey) -> Option<&mut TaskEntry> {
        self.table.get_mut(key).map(Box::as_mut)
    }

    /// The tasks of a framework after a name, ascending.
    pub(crate) fn after<'a>(
        &'a self,
        framework: FrameworkId,
        after: Option<&TaskName>,
    ) -> impl Iterator<Item = (&'a TaskKey, &'a TaskEntry)> {
        let range = match after {
            Some(name) => self.table.range((
                Bound::Excluded(TaskKey { framework, name: name.clone() }),
                Bound::Unbounded,
            )),
            None => self.table.range(first_key(framework)..),
        };
        let entries = range.map(|(key, entry)| (key, entry.as_ref()));
        entries.take_while(move |(key, _)| key.framework == framework)
    }

    pub(crate) fn of(
        &self,
        framework: FrameworkId,
    ) -> impl Iterator<Item = (&TaskKey, &TaskEntry)> {
        self.after(framework, None)
    }
}

/// A key that sorts at or before every task of the framework: `-` and digits begin no name before
/// `-`… so the least legal name is taken.
fn first_key(framework: FrameworkId) -> TaskKey {
    TaskKey { framework, name: TaskName::new("0").expect("one digit is a valid name") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_legal_name_sorts_before_the_first_key() {
        let first = first_key(FrameworkId(1));
        for byte in 0u8..=127 {
            if let Ok(name) = TaskName::new(&char::from(byte).to_string()) {
                assert!(first.name <= name, "{name}");
            }
        }
    }
}
