//! How a task's row changes, whoever says so: the one place that moves states, frees resources, tells
//! the framework and forgets.

use crate::master::Master;
use crate::state::changes::RowKey;
use crate::state::tasks::{Counted, Stage, TaskEntry};
use proffer_types::agent::{AgentOrder, AgentTask, KillCause};
use proffer_types::scheduler::TaskRecord;
use proffer_types::task::{StatusReason, TaskStatus};
use proffer_types::{AgentId, FrameworkId, Now, TaskKey, TaskState};
use std::collections::BTreeSet;

impl Master {
    /// Adds a row. Its resources are charged unless it has ended.
    pub(crate) fn add_task(&mut self, record: TaskRecord, stage: Stage, told_in: u64) {
        let key = record.status.key();
        let id = record.status.agent;
        let terminal = record.status.state.is_terminal();
        self.note_status(&key, &record.status);
        let entry = TaskEntry { record, stage, kill: None, counted: Counted::No, told_in };
        self.tasks.table.insert(key.clone(), Box::new(entry));
        if let Some(agent) = self.agents.get_mut(id) {
            agent.tasks.insert(key.clone());
            agent.tasks_active += u32::from(!terminal);
        }
        if let Some(framework) = self.frameworks.get_mut(key.framework) {
            framework.tasks_active += u32::from(!terminal);
        }
        if !terminal {
            self.charge(&key);
            self.tasks_changed(id);
        }
        self.row(RowKey::Task(key.clone()));
        self.row(RowKey::Agent(id));
        self.row(RowKey::Framework(key.framework));
    }

    /// Moves a task to what a status says. `false` when the table of legal moves forbids it.
    pub(crate) fn task_becomes(&mut self, status: TaskStatus, now: Now) -> bool {
        let key = status.key();
        let Some(task) = self.tasks.get_mut(&key) else { return false };
        let before = task.record.status.state;
        if !before.may_become(status.state) {
            self.counters.illegal_moves += 1;
            return false;
        }
        let ends = status.state.is_terminal() && !before.is_terminal();
        let old_id = task.record.status.id;
        task.record.status = status;
        if ends {
            task.kill = None;
        }
        let status = task.record.status.clone();
        if let Some(old) = old_id
            && let Some(agent) = self.agents.get_mut(status.agent)
            && let Some(log) = agent.logs.get_mut(&(key.framework, old.incarnation))
        {
            log.waiting.remove(&old.sequence);
        }
        self.note_status(&key, &status);
        if ends {
            self.release(&key);
            self.count_end(&key, status.agent);
            self.tell_of_end(&status, now);
        } else if before == TaskState::Unreachable && status.state != TaskState::Unreachable {
            self.charge(&key);
        }
        self.row(RowKey::Task(key.clone()));
        self.tell_task(&key);
        let gang = self.tasks.get(&key).and_then(|task| task.record.gang);
        self.note_gang(gang);
        true
    }

    fn count_end(&mut self, key: &TaskKey, id: AgentId) {
        if let Some(agent) = self.agents.get_mut(id) {
            agent.tasks_active = agent.tasks_active.saturating_sub(1);
        }
        self.tasks_changed(id);
        if let Some(framework) = self.frameworks.get_mut(key.framework) {
            framework.tasks_active = framework.tasks_active.saturating_sub(1);
        }
        self.row(RowKey::Agent(id));
        self.row(RowKey::Framework(key.framework));
    }

    fn tell_of_end(&mut self, status: &TaskStatus, now: Now) {
        let kind = match status.state {
            TaskState::Finished => "task_finished",
            TaskState::Killed => "task_killed",
            TaskState::Dropped => "task_dropped",
            TaskState::Gone => "task_gone",
            TaskState::Failed | TaskState::Error => "task_failed",
            TaskState::Staging
            | TaskState::Taken
            | TaskState::Starting
            | TaskState::Running
            | TaskState::Killing
            | TaskState::Unreachable
            | TaskState::Unknown => return,
        };
        let message = match (status.reason, status.message.as_str()) {
            (StatusReason::None, "") => status.state.as_str().replace('_', " "),
            (reason, "") => reason.as_str().replace('_', " "),
            (_, text) => proffer_types::refusal::excerpt(text),
        };
        self.event(kind, status.key().to_string(), message, now);
    }

    /// Remembers that a status of an agent's log waits for its acknowledgement (K15).
    fn note_status(&mut self, key: &TaskKey, status: &TaskStatus) {
        if let Some(id) = status.id
            && let Some(agent) = self.agents.get_mut(status.agent)
        {
            let log = agent.logs.entry((key.framework, id.incarnation)).or_default();
            log.waiting.insert(id.sequence, key.name.clone());
        }
    }

    /// Ends a task on the master's own word. What an agent later says of it is not believed: the move
    /// is final.
    pub(crate) fn end_task(
        &mut self,
        key: &TaskKey,
        state: TaskState,
        reason: StatusReason,
        message: &str,
        now: Now,
    ) {
        let Some(task) = self.tasks.get(key) else { return };
        let status = TaskStatus {
            id: None,
            state,
            reason,
            message: message.to_owned(),
            exit: None,
            ready: None,
            at: now.wall,
            ..task.record.status.clone()
        };
        self.task_becomes(status, now);
        self.forget_if_orphaned(key);
    }

    /// A row of an ended framework waits for nobody.
    pub(crate) fn forget_if_orphaned(&mut self, key: &TaskKey) {
        let ended = self.frameworks.get(key.framework).is_none_or(|entry| entry.is_ended());
        if ended && self.tasks.get(key).is_some_and(TaskEntry::is_terminal) {
            self.forget_task(key);
            self.forget_framework(key.framework);
        }
    }

    /// Removes a row.
    pub(crate) fn forget_task(&mut self, key: &TaskKey) {
        self.release(key);
        let Some(task) = self.tasks.table.remove(key) else { return };
        self.note_gang(task.record.gang);
        let id = task.agent();
        if !task.is_terminal() {
            self.count_end(key, id);
        }
        if let Some(agent) = self.agents.get_mut(id) {
            agent.tasks.remove(key);
            if let Some(status) = task.record.status.id
                && let Some(log) = agent.logs.get_mut(&(key.framework, status.incarnation))
            {
                log.waiting.remove(&status.sequence);
                if log.waiting.is_empty() {
                    agent.logs.remove(&(key.framework, status.incarnation));
                }
            }
        }
        self.occupancy.stale.insert(id);
        self.changes.task_removed(key.clone(), task.record);
    }

    /// One task of an agent's list.
    pub(crate) fn take_listed(&mut self, id: AgentId, listed: AgentTask, now: Now) {
        let AgentTask { record, acknowledged, claim: _ } = listed;
        let key = record.status.key();
        if !self.know_framework(id, &record) {
            return;
        }
        match self.tasks.get(&key).map(|task| task.record.status.token) {
            Some(token) if token == record.status.token => {
                self.take_listed_again(&key, record, now);
            }
            // The name was used again: the older one is at its end, or must come to it.
            Some(token) if token > record.status.token => self.dismiss_listed(id, &record),
            Some(_) => {
                if let Some(old) = self.tasks.get(&key).map(|task| task.record.clone()) {
                    self.forget_task(&key);
                    self.dismiss_listed(old.status.agent, &old);
                }
                self.take_listed_anew(record, acknowledged);
            }
            None => self.take_listed_anew(record, acknowledged),
        }
    }

    fn take_listed_again(&mut self, key: &TaskKey, record: TaskRecord, now: Now) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        task.stage = Stage::Reported;
        if task.record.address != record.address {
            // The agent came back under another address: the whole record is told again.
            task.record.address = record.address;
            task.told_in = 0;
            self.row(RowKey::Task(key.clone()));
            self.tell_task_again(key);
        }
        if self.tasks.get(key).is_some_and(|task| task.record.status == record.status) {
            self.charge_unless_ended(key);
            return;
        }
        let moved = self.task_becomes(record.status, now);
        if moved {
            self.charge_unless_ended(key);
        }
    }

    fn charge_unless_ended(&mut self, key: &TaskKey) {
        if self.tasks.get(key).is_some_and(|task| !task.is_terminal()) {
            self.charge(key);
        }
    }

    fn take_listed_anew(&mut self, record: TaskRecord, acknowledged: bool) {
        if acknowledged && record.status.state.is_terminal() {
            return;
        }
        let key = record.status.key();
        self.add_task(record, Stage::Reported, 0);
        self.tell_task(&key);
    }

    /// A task whose name belongs to a later launch: it is killed, and what its agent says of it needs no
    /// keeping.
    fn dismiss_listed(&mut self, id: AgentId, record: &TaskRecord) {
        let status = &record.status;
        if !status.state.is_terminal() {
            self.order(
                id,
                AgentOrder::Kill {
                    framework: status.framework,
                    task: status.task.clone(),
                    policy: None,
                    cause: KillCause::Operator,
                },
            );
        }
        self.acknowledge_one(status);
    }

    /// Tells an agent that one status needs no keeping, and nothing about those before it.
    pub(crate) fn acknowledge_one(&mut self, status: &TaskStatus) {
        let Some(id) = status.id else { return };
        let waiting: BTreeSet<u64> = self
            .agents
            .get(status.agent)
            .and_then(|agent| agent.logs.get(&(status.framework, id.incarnation)))
            .map(|log| log.waiting.range(..id.sequence).map(|(sequence, _)| *sequence).collect())
            .unwrap_or_default();
        self.order(
            status.agent,
            AgentOrder::Acknowledge {
                framework: status.framework,
                incarnation: id.incarnation,
                through: id.sequence,
                except: waiting,
            },
        );
    }

    /// Whether the framework of a listed task is or was known. One that was ended gets a stand-in, so
    /// that its tasks are charged until they have ended; one above the mark freezes the agent (K19).
    fn know_framework(&mut self, id: AgentId, record: &TaskRecord) -> bool {
        let framework: FrameworkId = record.status.framework;
        if self.frameworks.get(framework).is_some() {
            return true;
        }
        if framework <= self.cluster.framework_mark {
            self.stand_in_for_ended(framework, record);
            return true;
        }
        let why = format!(
            "it has tasks of {framework}, which is ahead of this registry: was it restored from a copy?"
        );
        self.freeze(id, why);
        false
    }
}
