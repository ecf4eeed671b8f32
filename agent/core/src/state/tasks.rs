//! The tasks of this agent, taken or refused, with the indexes to find them.

use crate::checkpoint::TaskCheckpoint;
use crate::state::checks::Checks;
use proffer_types::hold::taken;
use proffer_types::ids::{ContainerId, FrameworkId, TaskName};
use proffer_types::resources::Resources;
use proffer_types::task::TaskStatus;
use std::collections::{BTreeMap, BTreeSet};

/// How far the container is; the task's state for the outside is in its status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// `Prepare` was emitted.
    Preparing,
    /// It waits for the checkpoint.
    Prepared,
    /// `Go` was emitted.
    Launched,
    /// Its program executes.
    Running,
    /// It ended, or never was.
    Ended,
}

/// One task.
#[derive(Debug)]
pub(crate) struct Task {
    /// As in the checkpoint, or as it will be once the writes under way are durable.
    pub(crate) record: TaskCheckpoint,
    /// Its newest durable status; `None` while the launch itself is being written.
    pub(crate) announced: Option<TaskStatus>,
    /// Whether the framework acknowledged `record.status`.
    pub(crate) acknowledged: bool,
    /// How far its container is.
    pub(crate) phase: Phase,
    /// A container of it was asked for and not destroyed.
    pub(crate) has_container: bool,
    /// Counted among the uses of its template; a refused launch is not.
    pub(crate) uses_template: bool,
    /// Ends itself without grants: grants are passed on.
    pub(crate) wants_grants: bool,
    /// What is asked of it.
    pub(crate) checks: Checks,
}

/// Tasks by container, and what they use together.
#[derive(Default, Debug)]
pub(crate) struct Tasks {
    by_container: BTreeMap<ContainerId, Task>,
    by_name: BTreeMap<FrameworkId, BTreeMap<TaskName, BTreeSet<ContainerId>>>,
    count_by_framework: BTreeMap<FrameworkId, usize>,
    /// Sequence of the newest status, per framework: what acknowledgements run over.
    unacknowledged: BTreeMap<FrameworkId, BTreeMap<u64, ContainerId>>,
    used: Resources,
}

impl Tasks {
    pub(crate) fn get(&self, container: &ContainerId) -> Option<&Task> {
        self.by_container.get(container)
    }

    pub(crate) fn get_mut(&mut self, container: &ContainerId) -> Option<&mut Task> {
        self.by_container.get_mut(container)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ContainerId, &Task)> {
        self.by_container.iter()
    }

    pub(crate) fn containers(&self) -> Vec<ContainerId> {
        self.by_container.keys().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_container.len()
    }

    pub(crate) fn count_of(&self, framework: FrameworkId) -> usize {
        self.count_by_framework.get(&framework).copied().unwrap_or(0)
    }

    /// All containers of one framework.
    pub(crate) fn of_framework(&self, framework: FrameworkId) -> Vec<ContainerId> {
        let names = self.by_name.get(&framework);
        names.into_iter().flat_map(|names| names.values().flatten().cloned()).collect()
    }

    /// All containers of one task name: several only while an ended one is unacknowledged.
    pub(crate) fn of_name(&self, framework: FrameworkId, name: &TaskName) -> Vec<ContainerId> {
        let containers = self.by_name.get(&framework).and_then(|names| names.get(name));
        containers.into_iter().flatten().cloned().collect()
    }

    /// What live tasks use; shared volumes are never used up.
    pub(crate) fn used(&self) -> &Resources {
        &self.used
    }

    /// Adds a task; the caller has checked that its resources can be added.
    pub(crate) fn insert(&mut self, container: ContainerId, task: Task) {
        let framework = task.record.framework;
        let name = task.record.launch.name.clone();
        let names = self.by_name.entry(framework).or_default();
        names.entry(name).or_default().insert(container.clone());
        *self.count_by_framework.entry(framework).or_default() += 1;
        if task.phase != Phase::Ended {
            self.book(&task.record.launch.resources);
        }
        if let Some(id) = task.record.status.id {
            let log = self.unacknowledged.entry(framework).or_default();
            log.insert(id.sequence, container.clone());
        }
        self.by_container.insert(container, task);
    }

    fn book(&mut self, resources: &Resources) {
        // A launch is only taken when this sum exists; a checkpoint of a foreign hand may break it,
        // and then the books stay where they are and refuse what does not fit.
        if let Ok(sum) = taken(resources).and_then(|more| self.used.checked_add(&more)) {
            self.used = sum;
        }
    }

    /// Sets a task's newest status, which is not acknowledged.
    pub(crate) fn set_status(&mut self, container: &ContainerId, status: TaskStatus) {
        let Some(task) = self.by_container.get_mut(container) else { return };
        let log = self.unacknowledged.entry(task.record.framework).or_default();
        if let Some(old) = task.record.status.id {
            log.remove(&old.sequence);
        }
        if let Some(id) = status.id {
            log.insert(id.sequence, container.clone());
        }
        task.acknowledged = false;
        task.record.status = status;
    }

    /// The container ended: what it used is free.
    pub(crate) fn end(&mut self, container: &ContainerId) {
        let Some(task) = self.by_container.get_mut(container) else { return };
        if task.phase == Phase::Ended {
            return;
        }
        task.phase = Phase::Ended;
        let given = taken(&task.record.launch.resources);
        if let Ok(rest) = given.and_then(|less| self.used.checked_sub(&less)) {
            self.used = rest;
        }
    }

    /// Marks newest, durable statuses up to `through` as acknowledged, except some; returns their
    /// containers.
    pub(crate) fn acknowledge(
        &mut self,
        framework: FrameworkId,
        through: u64,
        except: &BTreeSet<u64>,
    ) -> Vec<ContainerId> {
        let Some(log) = self.unacknowledged.get_mut(&framework) else { return Vec::new() };
        let mut acknowledged = Vec::new();
        for (sequence, container) in log.range(..=through) {
            let durable = self.by_container.get(container).is_some_and(|task| {
                task.announced.as_ref().and_then(|status| status.id).map(|id| id.sequence)
                    == Some(*sequence)
            });
            if durable && !except.contains(sequence) {
                acknowledged.push((*sequence, container.clone()));
            }
        }
        for (sequence, container) in &acknowledged {
            log.remove(sequence);
            if let Some(task) = self.by_container.get_mut(container) {
                task.acknowledged = true;
            }
        }
        acknowledged.into_iter().map(|(_, container)| container).collect()
    }

    /// Forgets a task.
    pub(crate) fn remove(&mut self, container: &ContainerId) -> Option<Task> {
        self.end(container);
        let task = self.by_container.remove(container)?;
        let framework = task.record.framework;
        if let Some(names) = self.by_name.get_mut(&framework) {
            if let Some(containers) = names.get_mut(&task.record.launch.name) {
                containers.remove(container);
                if containers.is_empty() {
                    names.remove(&task.record.launch.name);
                }
            }
            if names.is_empty() {
                self.by_name.remove(&framework);
            }
        }
        if let Some(count) = self.count_by_framework.get_mut(&framework) {
            *count -= 1;
            if *count == 0 {
                self.count_by_framework.remove(&framework);
            }
        }
        if let Some(log) = self.unacknowledged.get_mut(&framework) {
            if let Some(id) = task.record.status.id {
                log.remove(&id.sequence);
            }
            if log.is_empty() {
                self.unacknowledged.remove(&framework);
            }
        }
        Some(task)
    }

    /// Unacknowledged statuses of all frameworks.
    pub(crate) fn unacknowledged_count(&self) -> usize {
        self.unacknowledged.values().map(BTreeMap::len).sum()
    }
}
