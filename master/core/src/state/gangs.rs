//! Gangs (K3): launches over several agents that start together or not at all.

use crate::state::tasks::TaskEntry;
use proffer_types::task::StatusReason;
use proffer_types::{AgentId, FrameworkId, GangId, LaunchToken, TaskKey, TaskState};
use std::collections::{BTreeMap, BTreeSet};

/// How far a gang is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Its agents prepare. Nothing is decided; no record means that it never starts.
    Preparing,
    /// The record that decides is on its way to the store.
    Deciding,
    /// The record is durable: it starts, whoever leads.
    Starting,
    /// All of it has started or ended: the record is being removed.
    Ending,
}

/// A task that has neither started nor ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Member {
    pub(crate) token: LaunchToken,
    pub(crate) agent: AgentId,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct GangEntry {
    pub(crate) framework: FrameworkId,
    pub(crate) step: Step,
    pub(crate) members: BTreeMap<TaskKey, Member>,
    /// Agents whose lists have not come, so that nobody knows what of it waits there.
    pub(crate) awaited: BTreeSet<AgentId>,
}

/// What has become of a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// Its agent has not prepared it.
    Unprepared,
    /// It waits.
    Prepared,
    /// It waits, or has started: its agent is out of reach.
    Away,
    /// Somebody wants it ended.
    Unwanted,
    /// It has started.
    Started,
    /// It has ended, or its name belongs to a later launch.
    Over,
}

impl Member {
    /// What its row says of it.
    pub(crate) fn standing(&self, row: Option<&TaskEntry>) -> Standing {
        let Some(row) = row.filter(|row| row.record.status.token == self.token) else {
            return Standing::Over;
        };
        let status = &row.record.status;
        match status.state {
            _ if status.state.is_terminal() => Standing::Over,
            TaskState::Unreachable => Standing::Away,
            TaskState::Staging if row.kill.is_some() => Standing::Unwanted,
            TaskState::Staging if status.reason == StatusReason::GangPrepared => Standing::Prepared,
            TaskState::Staging => Standing::Unprepared,
            TaskState::Taken
            | TaskState::Starting
            | TaskState::Running
            | TaskState::Killing
            | TaskState::Finished
            | TaskState::Failed
            | TaskState::Killed
            | TaskState::Error
            | TaskState::Dropped
            | TaskState::Gone
            | TaskState::Unknown => Standing::Started,
        }
    }
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Gangs {
    pub(crate) table: BTreeMap<GangId, GangEntry>,
    /// Something has happened to a task of theirs since the last look.
    pub(crate) unsettled: BTreeSet<GangId>,
    /// Gangs of this epoch so far.
    pub(crate) made: u64,
}

impl GangEntry {
    pub(crate) fn new(framework: FrameworkId, step: Step) -> Self {
        Self { framework, step, members: BTreeMap::new(), awaited: BTreeSet::new() }
    }

    /// Where members of it are, each once.
    pub(crate) fn agents(&self) -> BTreeSet<AgentId> {
        self.members.values().map(|member| member.agent).collect()
    }
}
