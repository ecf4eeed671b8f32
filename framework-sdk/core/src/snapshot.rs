//! Puts a snapshot together and tells what it changes (K2): a task that a complete snapshot does
//! not hold is over; a task whose agent is absent is kept as it was last known.

use crate::context::{Context, Told};
use crate::framework::Notice;
use crate::launches::Outcome;
use crate::task_table::{Certainty, Task, TaskTable, Verdict};
use proffer_types::scheduler::{Absence, AbsentAgent, TaskRecord};
use proffer_types::task::{StatusReason, TaskStatus};
use proffer_types::{AgentId, TaskName, TaskState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Pages of a snapshot that has not ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Assembly {
    records: BTreeMap<TaskName, TaskRecord>,
    absent: Vec<AbsentAgent>,
    has_ended: bool,
}

impl Assembly {
    /// Adds absent agents; they come after all tasks.
    pub(crate) fn add_absent(&mut self, page: Vec<AbsentAgent>) {
        self.absent.extend(page);
    }

    /// Its end has come.
    pub(crate) fn end(&mut self, absent: Vec<AbsentAgent>) {
        self.add_absent(absent);
        self.has_ended = true;
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Adds a page. Of two launches under one name the later counts.
    pub(crate) fn add(&mut self, page: Vec<TaskRecord>) {
        for record in page {
            let known = self.records.get(&record.status.task);
            if known.is_none_or(|known| known.status.token <= record.status.token) {
                self.records.insert(record.status.task.clone(), record);
            }
        }
    }
}

/// How many ends without a log entry are remembered; a master repeats them in snapshots only.
const ENDED_WITHOUT_LOG_MAX: usize = 10_000;

impl Context {
    /// The snapshot of a new epoch: the table is made anew, the framework starts from it.
    pub(crate) fn begin_epoch(&mut self, snapshot: Assembly) {
        let absent = snapshot.absent;
        let before = std::mem::take(&mut self.tasks);
        self.requests.clear();
        self.kills.clear();
        self.note_absent(&absent);
        self.forget_ends_except(&snapshot.records);
        let mut handled = Vec::new();
        let mut ended = Vec::new();
        for (_, record) in snapshot.records {
            if self.was_told(&record.status) {
                continue;
            }
            let task = Arc::new(Task::new(record));
            self.tasks.put(Arc::clone(&task));
            if task.is_live() {
                handled.extend(task.last);
            } else {
                ended.push(task);
            }
        }
        self.keep_uncertain(&before);
        let tasks = &self.tasks;
        self.launches.restart(|name, launch| {
            tasks.get(name).is_some_and(|task| {
                task.token() == launch.token && task.is_live() && !has_run(task.state())
            })
        });
        let names: Vec<TaskName> =
            self.tasks.live().filter(|t| t.is_certain).map(|t| t.name().clone()).collect();
        for name in names {
            let token = self.tasks.get(&name).expect("just listed").token();
            self.launches.book(&name, token);
        }
        // What the framework asked for before it was told of this epoch came from an older view.
        self.state.drop_queue();
        self.acknowledgements.void_commits(self.state.issued());
        self.unsettled_ends.clear();
        self.is_active = true;
        self.active_epoch = Some(self.epoch);
        let notice = Notice::Active { complete: self.absent.is_empty() };
        self.told.push_back(Told { handled, ..Told::from(notice) });
        for task in ended {
            self.tell_change(None, task, Retried::No);
        }
        for agent in gone(&absent) {
            self.tell_agent(agent, Some(Absence::Gone));
        }
    }

    /// Live tasks of absent agents stay as they were last known.
    fn keep_uncertain(&mut self, before: &TaskTable) {
        for task in before.live() {
            if self.absent.contains_key(&task.agent()) && self.tasks.get(task.name()).is_none() {
                self.tasks.put(Arc::clone(task));
                self.set_certain(task.name(), Certainty::Uncertain);
            }
        }
    }

    /// A snapshot in the same epoch: what differs is told.
    pub(crate) fn compare_snapshot(&mut self, snapshot: Assembly) {
        let absent = snapshot.absent;
        let gone: BTreeSet<AgentId> = gone(&absent).collect();
        // A record of an earlier launch of the name does not speak for the one known here.
        let unlisted: Vec<(TaskName, AgentId)> = self
            .tasks
            .live()
            .filter(|task| {
                let listed = snapshot.records.get(task.name());
                listed.is_none_or(|record| record.status.token < task.token())
            })
            .map(|task| (task.name().clone(), task.agent()))
            .collect();
        let before = std::mem::take(&mut self.absent);
        self.note_absent(&absent);
        self.forget_ends_except(&snapshot.records);
        for (_, record) in snapshot.records {
            self.learn(record);
        }
        for (name, agent) in unlisted {
            if self.absent.contains_key(&agent) {
                self.set_certain(&name, Certainty::Uncertain);
            } else {
                self.missing(&name, gone.contains(&agent));
            }
        }
        self.tell_absences(&before, &gone);
        if self.absent.is_empty() {
            self.requests.release_held();
        }
    }

    /// What a snapshot says otherwise than before of which agents can speak for their tasks.
    fn tell_absences(&mut self, before: &BTreeMap<AgentId, Absence>, gone: &BTreeSet<AgentId>) {
        let now = self.absent.clone();
        for agent in gone {
            self.tell_agent(*agent, Some(Absence::Gone));
        }
        for (agent, absence) in &now {
            if before.get(agent) != Some(absence) {
                self.tell_agent(*agent, Some(*absence));
            }
        }
        for agent in before.keys() {
            if !now.contains_key(agent) && !gone.contains(agent) {
                self.tell_agent(*agent, None);
            }
        }
    }

    /// What is not certain is not counted as met, so the demand may differ.
    pub(crate) fn set_certain(&mut self, name: &TaskName, certain: Certainty) {
        self.tasks.set_certain(name, certain);
        self.requests.touch();
    }

    fn note_absent(&mut self, absent: &[AbsentAgent]) {
        self.absent = absent
            .iter()
            .filter(|agent| agent.absence != Absence::Gone)
            .map(|agent| (agent.agent, agent.absence))
            .collect();
    }

    /// An absent agent has answered, or more is known of it.
    pub(crate) fn agent_resolved(&mut self, agent: AgentId, absence: Option<Absence>) {
        let names: Vec<TaskName> =
            self.tasks.on_agent(agent).filter(|t| t.is_live()).map(|t| t.name().clone()).collect();
        match absence {
            None | Some(Absence::Gone) => {
                self.absent.remove(&agent);
                for name in names {
                    let uncertain = self.tasks.get(&name).is_some_and(|task| !task.is_certain);
                    if uncertain || absence.is_some() {
                        self.missing(&name, absence.is_some());
                    } else if self.kills.contains_key(&name) {
                        self.repeat_kill(&name);
                    }
                }
                if absence.is_none() {
                    self.acknowledgements.drop_void(agent);
                }
                if self.absent.is_empty() {
                    self.requests.release_held();
                }
            }
            Some(absence) => {
                self.absent.insert(agent, absence);
                for name in names {
                    self.set_certain(&name, Certainty::Uncertain);
                }
            }
        }
        self.tell_agent(agent, absence);
    }

    fn tell_agent(&mut self, agent: AgentId, absence: Option<Absence>) {
        let gone = (absence == Some(Absence::Gone)).then_some(agent);
        let told = Told { gone, ..Told::from(Notice::Agent { agent, absence }) };
        self.told.push_back(told);
    }

    /// Nobody has that task, and its agent has been heard or is gone for good.
    pub(crate) fn missing(&mut self, name: &TaskName, is_agent_gone: bool) {
        match self.launches.get(name).map(|launch| launch.outcome) {
            Some(Outcome::Asked) => return,
            Some(Outcome::Unknown) => return self.launch_never_happened(name),
            Some(Outcome::Booked) | None => {}
        }
        let Some(task) = self.tasks.get(name) else { return };
        let known = &task.record.status;
        let (state, reason, message) = match (is_agent_gone, known.state) {
            (true, _) => (TaskState::Gone, StatusReason::AgentGone, "its agent is gone"),
            (false, TaskState::Staging) => {
                (TaskState::Dropped, StatusReason::LaunchLost, "the launch never arrived")
            }
            (false, _) => (TaskState::Gone, StatusReason::Other, "nobody knows it any more"),
        };
        let status = TaskStatus {
            id: None,
            state,
            reason,
            message: message.to_owned(),
            exit: None,
            at: self.now.wall,
            ..known.clone()
        };
        self.take_status(status);
    }

    /// A task with its whole record: new, or known and told once more.
    pub(crate) fn learn(&mut self, record: TaskRecord) {
        let name = record.status.task.clone();
        match self.tasks.judge(&record.status) {
            Verdict::Applies => self.take_status(record.status),
            Verdict::Unknown if self.was_told(&record.status) => {}
            Verdict::Unknown => {
                // Something of that name lives although it is asked for: it has its place.
                self.requests.take(&name);
                self.launches.remove(&name);
                let task = Arc::new(Task::new(record));
                self.tasks.put(Arc::clone(&task));
                self.requests.touch();
                self.counters.statuses_applied += 1;
                self.tell_change(None, task, Retried::No);
            }
            Verdict::Repeated | Verdict::Stale | Verdict::Illegal => {
                let is_same_launch =
                    self.tasks.get(&name).is_some_and(|t| t.token() == record.status.token);
                if is_same_launch {
                    self.booked(&name);
                }
                self.take_status(record.status);
            }
        }
    }

    /// A status: applied when it is news, acknowledged in any case.
    pub(crate) fn take_status(&mut self, status: TaskStatus) {
        let name = status.task.clone();
        if status.state == TaskState::Unknown {
            let is_known = self
                .tasks
                .get(&name)
                .is_some_and(|t| t.is_certain && t.is_live() && t.token() == status.token);
            if is_known {
                self.missing(&name, false);
            }
            return;
        }
        match self.tasks.judge(&status) {
            Verdict::Applies => {
                self.counters.statuses_applied += 1;
                let was_told = self.launches.book(&name, status.token);
                let (previous, task) = self.tasks.apply(status);
                self.requests.touch();
                let retried =
                    if !task.is_live() && self.retry(&task) { Retried::Yes } else { Retried::No };
                if has_run(task.state()) {
                    self.launches.remove(&name);
                }
                self.tell_change(was_told.then_some(previous), task, retried);
            }
            Verdict::Unknown if self.was_told(&status) => {}
            Verdict::Unknown => {
                // Something of that name exists; until a snapshot says what, it has the name.
                self.counters.statuses_unknown += 1;
                self.wants_snapshot = true;
                self.requests.hold(&name);
            }
            Verdict::Repeated => {
                self.counters.statuses_repeated += 1;
                self.set_certain(&name, Certainty::Certain);
                self.acknowledge_again(&status);
            }
            Verdict::Stale => {
                self.counters.statuses_stale += 1;
                self.acknowledge_again(&status);
            }
            Verdict::Illegal => {
                self.counters.statuses_illegal += 1;
                self.acknowledge_again(&status);
            }
        }
    }

    fn acknowledge_again(&mut self, status: &TaskStatus) {
        if let Some(id) = status.id {
            self.acknowledgements.repeat(id);
        }
    }

    /// Whether the end in `status` was told before, its task having left the table since.
    fn was_told(&mut self, status: &TaskStatus) -> bool {
        if !status.state.is_terminal() {
            return false;
        }
        let told = match status.id {
            Some(id) => {
                let told = self.acknowledgements.is_told_end(id);
                if told {
                    self.acknowledgements.repeat(id);
                }
                told
            }
            None => {
                self.ended_without_log.get(&status.task).is_some_and(|told| *told >= status.token)
            }
        };
        if told {
            self.counters.statuses_repeated += 1;
        }
        told
    }

    fn tell_change(&mut self, previous: Option<TaskState>, task: Arc<Task>, retried: Retried) {
        let status = &task.record.status;
        let ended = (!task.is_live()).then(|| (task.name().clone(), task.token()));
        if let (Some((name, token)), None) = (&ended, status.id) {
            if self.ended_without_log.len() >= ENDED_WITHOUT_LOG_MAX {
                self.ended_without_log.pop_first();
            }
            self.ended_without_log.insert(name.clone(), *token);
        }
        let handled = status.id.into_iter().collect();
        let notice = Notice::Task { previous, task, retried: retried == Retried::Yes };
        self.told.push_back(Told { handled, ended, ..Told::from(notice) });
    }

    /// A master forgets an end together with its record.
    fn forget_ends_except(&mut self, records: &BTreeMap<TaskName, TaskRecord>) {
        self.ended_without_log.retain(|name, _| records.contains_key(name));
    }

    pub(crate) fn repeat_kill(&mut self, name: &TaskName) {
        if let Some(policy) = self.kills.get(name) {
            self.calls
                .push(proffer_types::scheduler::Call::Kill { task: name.clone(), policy: *policy });
        }
    }
}

fn gone(absent: &[AbsentAgent]) -> impl Iterator<Item = AgentId> + '_ {
    absent.iter().filter(|agent| agent.absence == Absence::Gone).map(|agent| agent.agent)
}

/// Whether the SDK has asked for the task again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retried {
    Yes,
    No,
}

/// Whether its process was started, so that it is not launched again by itself.
fn has_run(state: TaskState) -> bool {
    matches!(
        state,
        TaskState::Running | TaskState::Killing | TaskState::Finished | TaskState::Failed
    )
}
