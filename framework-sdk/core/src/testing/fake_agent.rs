//! An agent in memory: the truth about its tasks, with a log of statuses that it keeps until they
//! are acknowledged.

use proffer_types::scheduler::TaskRecord;
use proffer_types::task::{Exit, StatusReason};
use proffer_types::{
    AgentId, AgentName, AgentVersion, Attributes, LogIncarnation, Resources, StatusId, TaskName,
    TaskState, WallTime,
};
use std::collections::{BTreeMap, BTreeSet};

/// How the master stands to an agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// Registered: the master knows all it holds.
    Registered,
    /// Out of reach; the master knows what it held.
    Unreachable(WallTime),
    /// Not registered with this master yet.
    Awaited,
    /// Given up for good.
    Gone,
}

/// A task at its agent.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) record: TaskRecord,
    /// Whether the status in the record is acknowledged.
    pub(crate) is_acknowledged: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct FakeAgent {
    pub(crate) id: AgentId,
    pub(crate) name: AgentName,
    pub(crate) version: AgentVersion,
    pub(crate) total: Resources,
    pub(crate) attributes: Attributes,
    pub(crate) standing: Standing,
    pub(crate) tasks: BTreeMap<TaskName, Held>,
    /// Launches that left the master and have not arrived.
    pub(crate) on_the_way: Vec<TaskRecord>,
    /// Acknowledgements do not reach it.
    pub(crate) is_deaf: bool,
    last_sequence: u64,
}

impl FakeAgent {
    pub(crate) fn new(
        id: AgentId,
        name: AgentName,
        total: Resources,
        attributes: Attributes,
    ) -> Self {
        Self {
            id,
            name,
            version: AgentVersion(1),
            total,
            attributes,
            standing: Standing::Registered,
            tasks: BTreeMap::new(),
            on_the_way: Vec::new(),
            is_deaf: false,
            last_sequence: 0,
        }
    }

    /// Whether something of that name could run here now or soon.
    pub(crate) fn may_run(&self, name: &TaskName) -> bool {
        self.tasks.get(name).is_some_and(|held| !held.record.status.state.is_terminal())
            || self.on_the_way.iter().any(|record| record.status.task == *name)
    }

    /// The launches on the way arrive: each is checkpointed and reported as taken, or as prepared if it is
    /// of a gang.
    pub(crate) fn take(&mut self, now: WallTime) -> Vec<TaskRecord> {
        std::mem::take(&mut self.on_the_way)
            .into_iter()
            .map(|record| {
                let name = record.status.task.clone();
                let state =
                    if record.gang.is_some() { TaskState::Staging } else { TaskState::Taken };
                self.tasks.insert(name.clone(), Held { record, is_acknowledged: false });
                self.report(&name, state, now).expect("just put in")
            })
            .collect()
    }

    /// Writes a status to the log, if the task may get into that state.
    pub(crate) fn report(
        &mut self,
        name: &TaskName,
        state: TaskState,
        now: WallTime,
    ) -> Option<TaskRecord> {
        let held = self.tasks.get_mut(name)?;
        let known = held.record.status.state;
        if known.is_terminal() || !known.may_become(state) {
            return None;
        }
        self.last_sequence += 1;
        let status = &mut held.record.status;
        status.id = Some(StatusId {
            agent: self.id,
            incarnation: LogIncarnation(1),
            sequence: self.last_sequence,
        });
        status.state = state;
        status.at = now;
        (status.reason, status.exit) = match state {
            TaskState::Finished => (StatusReason::None, Some(exit(0))),
            TaskState::Failed => (StatusReason::Exited, Some(exit(1))),
            TaskState::Killed => (StatusReason::KilledByFramework, None),
            TaskState::Error => (StatusReason::AgentRefused, None),
            TaskState::Staging => (StatusReason::GangPrepared, None),
            TaskState::Dropped => (StatusReason::GangAborted, None),
            TaskState::Taken
            | TaskState::Starting
            | TaskState::Running
            | TaskState::Killing
            | TaskState::Unreachable
            | TaskState::Gone
            | TaskState::Unknown => (StatusReason::None, None),
        };
        held.is_acknowledged = false;
        Some(held.record.clone())
    }

    /// Forgets the end of a launch.
    pub(crate) fn dismiss(&mut self, record: &TaskRecord) {
        let name = &record.status.task;
        let is_it = |held: &Held| {
            held.record.status.token == record.status.token
                && held.record.status.state.is_terminal()
        };
        if self.tasks.get(name).is_some_and(is_it) {
            self.tasks.remove(name);
        }
    }

    /// What an acknowledgement covers is forgotten, unless it does not get here; the ended tasks that
    /// it covers.
    pub(crate) fn acknowledge(&mut self, through: u64, except: &BTreeSet<u64>) -> Vec<TaskRecord> {
        let mut ended = Vec::new();
        for held in self.tasks.values_mut() {
            let sequence = held.record.status.id.map_or(u64::MAX, |id| id.sequence);
            let is_covered = sequence <= through && !except.contains(&sequence);
            held.is_acknowledged |= is_covered && !self.is_deaf;
            if is_covered && held.record.status.state.is_terminal() {
                ended.push(held.record.clone());
            }
        }
        if !self.is_deaf {
            for record in &ended {
                self.tasks.remove(&record.status.task);
            }
        }
        ended
    }
}

fn exit(code: i32) -> Exit {
    Exit { code: Some(code), ..Exit::default() }
}
