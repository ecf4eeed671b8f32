//! The framework's own view of its tasks. Each status is applied once, in the order of the log, and
//! only along the table of legal moves (I7).

use proffer_types::scheduler::TaskRecord;
use proffer_types::{AgentId, GroupName, LaunchToken, StatusId, TaskName, TaskState, TaskStatus};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A task as the framework knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Task {
    /// What the master says of it, its latest status included.
    pub record: TaskRecord,
    /// Whether that is current. If not, its agent is absent, or the connection was lost before the
    /// master answered its launch; nothing takes its place until that is settled (K2).
    pub is_certain: bool,
    /// The last status of a log that was applied.
    pub(crate) last: Option<StatusId>,
}

impl Task {
    pub(crate) fn new(record: TaskRecord) -> Self {
        Self { last: record.status.id, record, is_certain: true }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &TaskName {
        &self.record.status.task
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> TaskState {
        self.record.status.state
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !self.state().is_terminal()
    }

    /// The launch it stems from.
    #[must_use]
    pub fn token(&self) -> LaunchToken {
        self.record.status.token
    }

    /// Where it is.
    #[must_use]
    pub fn agent(&self) -> AgentId {
        self.record.status.agent
    }

    /// The number of the port it asked for under `name`.
    #[must_use]
    pub fn port(&self, name: &str) -> Option<u16> {
        self.record.variables.get(&format!("port.{name}"))?.parse().ok()
    }
}

/// All tasks of the framework that have not ended, and ended ones it is about to be told of.
#[derive(Clone, Debug, Default)]
pub struct TaskTable {
    tasks: BTreeMap<TaskName, Arc<Task>>,
    /// Live tasks that the master counts as launches of a demand group, too: one that is not certain
    /// it may not know of (K10).
    met_by_group: BTreeMap<GroupName, u32>,
}

/// What a status means for the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It changes the task.
    Applies,
    /// It was applied before, or a later one was.
    Repeated,
    /// It stems from an earlier launch of the name or an earlier life of the log.
    Stale,
    /// The table of legal moves forbids it.
    Illegal,
    /// No such task, or a later launch than the one known.
    Unknown,
}

impl TaskTable {
    /// The task of that name.
    #[must_use]
    pub fn get(&self, name: &TaskName) -> Option<&Arc<Task>> {
        self.tasks.get(name)
    }

    /// All, ascending by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.values()
    }

    /// Those that have not ended, ascending by name.
    pub fn live(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.iter().filter(|task| task.is_live())
    }

    /// Those on one agent, ascending by name.
    pub fn on_agent(&self, agent: AgentId) -> impl Iterator<Item = &Arc<Task>> {
        self.iter().filter(move |task| task.agent() == agent)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Launches that the master counts towards the target of `group`.
    pub(crate) fn met_in(&self, group: &GroupName) -> u32 {
        self.met_by_group.get(group).copied().unwrap_or(0)
    }

    /// Live tasks that serve `group` on `agent`.
    pub(crate) fn live_in_on(&self, group: &GroupName, agent: AgentId) -> u32 {
        let count = self
            .on_agent(agent)
            .filter(|task| task.is_live() && task.record.group.as_ref() == Some(group))
            .count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// What `status` would do. Changes nothing.
    pub(crate) fn judge(&self, status: &TaskStatus) -> Verdict {
        let Some(task) = self.tasks.get(&status.task) else { return Verdict::Unknown };
        let known = &task.record.status;
        match status.token.cmp(&known.token) {
            std::cmp::Ordering::Less => return Verdict::Stale,
            std::cmp::Ordering::Greater => return Verdict::Unknown,
            std::cmp::Ordering::Equal => {}
        }
        if known.state.is_terminal() {
            return Verdict::Repeated;
        }
        let returns = known.state == TaskState::Unreachable && status.state != known.state;
        match (status.id, task.last) {
            (Some(id), Some(last)) if id.agent == last.agent => {
                let (new, old) = ((id.incarnation, id.sequence), (last.incarnation, last.sequence));
                if new.0 < old.0 {
                    return Verdict::Stale;
                }
                // The last status again is news only when the master declared the task
                // unreachable in between: it is back as it was.
                if new < old || (new == old && !returns) {
                    return Verdict::Repeated;
                }
            }
            (None, _) if status.state == known.state => return Verdict::Repeated,
            (None | Some(_), _) => {}
        }
        if known.state.may_become(status.state) { Verdict::Applies } else { Verdict::Illegal }
    }

    /// Applies a status that [`TaskTable::judge`] found to apply; the former state and the task.
    pub(crate) fn apply(&mut self, status: TaskStatus) -> (TaskState, Arc<Task>) {
        let name = status.task.clone();
        let mut task =
            self.tasks.get(&name).expect("judged to apply, so it is known").as_ref().clone();
        let previous = task.state();
        task.last = status.id.or(task.last);
        task.is_certain = true;
        task.record.status = status;
        let task = Arc::new(task);
        self.put(Arc::clone(&task));
        (previous, task)
    }

    /// Puts a task in the place of whatever has its name.
    pub(crate) fn put(&mut self, task: Arc<Task>) {
        let name = task.name().clone();
        self.remove(&name);
        if let Some(group) = met_group(&task) {
            *self.met_by_group.entry(group.clone()).or_default() += 1;
        }
        self.tasks.insert(name, task);
    }

    /// Takes a task out.
    pub(crate) fn remove(&mut self, name: &TaskName) -> Option<Arc<Task>> {
        let task = self.tasks.remove(name)?;
        if let Some(group) = met_group(&task)
            && let Some(count) = self.met_by_group.get_mut(group)
        {
            *count -= 1;
            if *count == 0 {
                self.met_by_group.remove(group);
            }
        }
        Some(task)
    }

    /// Notes whether what is known of a task is current.
    pub(crate) fn set_certain(&mut self, name: &TaskName, certain: Certainty) {
        let is_certain = certain == Certainty::Certain;
        if self.tasks.get(name).is_some_and(|task| task.is_certain != is_certain)
            && let Some(mut task) = self.remove(name)
        {
            Arc::make_mut(&mut task).is_certain = is_certain;
            self.put(task);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The count by group, made anew from the tasks.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut counted: BTreeMap<GroupName, u32> = BTreeMap::new();
        for group in self.iter().filter_map(|task| met_group(task)) {
            *counted.entry(group.clone()).or_default() += 1;
        }
        if counted != self.met_by_group {
            return Err(format!("met by group: counted {counted:?}, kept {:?}", self.met_by_group));
        }
        Ok(())
    }
}

/// The group whose target a task helps to meet.
fn met_group(task: &Task) -> Option<&GroupName> {
    task.record.group.as_ref().filter(|_| task.is_live() && task.is_certain)
}

/// Whether what is known of a task is current.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Certainty {
    Certain,
    Uncertain,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proffer_types::task::{IsolationLevel, StatusReason};
    use proffer_types::*;

    pub(crate) fn status(name: &str, sequence: u64, state: TaskState) -> TaskStatus {
        TaskStatus {
            id: (sequence > 0).then_some(StatusId {
                agent: AgentId(1),
                incarnation: LogIncarnation(1),
                sequence,
            }),
            framework: FrameworkId(1),
            task: TaskName::new(name).expect("valid"),
            token: LaunchToken { session: FrameworkEpoch(1), sequence: 1 },
            agent: AgentId(1),
            state,
            reason: StatusReason::None,
            message: String::new(),
            exit: None,
            ready: None,
            at: WallTime(0),
            isolation: IsolationLevel::Full,
        }
    }

    pub(crate) fn record(status: TaskStatus) -> TaskRecord {
        TaskRecord {
            status,
            template: TemplateDigest([0; 32]),
            resources: Resources::new(),
            role: RoleName::new("eng").expect("valid"),
            variables: BTreeMap::new(),
            labels: BTreeMap::new(),
            group: Some(GroupName::new("g").expect("valid")),
            agent_name: AgentName::new("one").expect("valid"),
            address: "127.0.0.1".to_owned(),
            priority: 0,
            budget: None,
            gang: None,
        }
    }

    fn table(sequence: u64, state: TaskState) -> TaskTable {
        let mut table = TaskTable::default();
        table.put(Arc::new(Task::new(record(status("a", sequence, state)))));
        table
    }

    #[test]
    fn a_status_applies_once_and_in_order() {
        use TaskState::{Finished, Running, Starting};
        let mut table = table(1, Starting);
        let running = status("a", 3, Running);
        assert_eq!(table.judge(&running), Verdict::Applies);
        assert_eq!(table.apply(running.clone()).0, Starting);
        assert_eq!(table.judge(&running), Verdict::Repeated);
        assert_eq!(table.judge(&status("a", 2, Starting)), Verdict::Repeated);
        assert_eq!(table.judge(&status("a", 4, Starting)), Verdict::Illegal);
        let mut earlier_launch = status("a", 9, Finished);
        earlier_launch.token.sequence = 0;
        assert_eq!(table.judge(&earlier_launch), Verdict::Stale);
        assert_eq!(table.judge(&status("b", 9, Finished)), Verdict::Unknown);
        table.apply(status("a", 5, Finished));
        assert_eq!(table.judge(&status("a", 6, Finished)), Verdict::Repeated);
        assert_eq!(table.check(), Ok(()));
    }

    #[test]
    fn an_unreachable_task_returns_as_what_it_was() {
        use TaskState::{Running, Unreachable};
        let mut table = table(2, Running);
        assert_eq!(table.judge(&status("a", 0, Unreachable)), Verdict::Applies);
        table.apply(status("a", 0, Unreachable));
        assert_eq!(table.judge(&status("a", 0, Unreachable)), Verdict::Repeated);
        assert_eq!(table.judge(&status("a", 1, Running)), Verdict::Repeated);
        assert_eq!(table.judge(&status("a", 2, Running)), Verdict::Applies);
        assert_eq!(table.apply(status("a", 2, Running)).0, Unreachable);
    }
}
