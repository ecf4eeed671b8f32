//! Owns the state of an agent. `apply` only dispatches; the rules are in `commands`.

use crate::checkpoint::{Identity, LogCheckpoint, Write};
use crate::command::Command;
use crate::config::Config;
use crate::effect::Effect;
use crate::state::deadlines::Deadlines;
use crate::state::holds::Holds;
use crate::state::link::{Attempts, Link};
use crate::state::sandboxes::Sandboxes;
use crate::state::tasks::{Phase, Tasks};
use crate::state::templates::Templates;
use crate::state::writes::Writes;
use proffer_types::hold::HoldId;
use proffer_types::ids::{AgentId, ContainerId, FrameworkId, TemplateDigest};
use proffer_types::refusal::Refusal;
use proffer_types::resources::Resources;
use proffer_types::task::{TaskState, TaskStatus};
use proffer_types::units::{Monotonic, Now};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What happened how often since the start; for metrics and for simulations that must not idle.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Counters {
    /// Registrations that a master answered.
    pub registrations: u64,
    /// Launches taken.
    pub launches_taken: u64,
    /// Launches refused.
    pub launches_refused: u64,
    /// Launches whose token was known already.
    pub launches_repeated: u64,
    /// Frames of another connection, session or agent.
    pub frames_stale: u64,
    /// Orders of another master epoch, or before the registration was answered.
    pub orders_stale: u64,
    /// Orders that came after the grant had run out (K8).
    pub orders_without_grant: u64,
    /// Kills of tasks that are not here.
    pub kills_unknown: u64,
    /// Tasks that ended.
    pub tasks_ended: u64,
    /// Tasks adopted by a recovery.
    pub tasks_recovered: u64,
    /// Facts about containers that no longer matter.
    pub facts_late: u64,
}

/// An agent: decides what runs on one machine.
#[derive(Debug)]
pub struct Agent {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    /// Sessions begun in this incarnation.
    pub(crate) session_count: u64,
    pub(crate) link: Link,
    pub(crate) attempts: Attempts,
    pub(crate) tasks: Tasks,
    pub(crate) templates: Templates,
    pub(crate) logs: BTreeMap<FrameworkId, LogCheckpoint>,
    pub(crate) sandboxes: Sandboxes,
    pub(crate) holds: Holds,
    pub(crate) deadlines: Deadlines,
    pub(crate) writes: Writes,
    /// Statuses that became durable after the list was sent and before it was answered: newest of
    /// each task.
    pub(crate) held: BTreeMap<ContainerId, TaskStatus>,
    pub(crate) destroying: BTreeSet<ContainerId>,
    pub(crate) goal: Goal,
    pub(crate) counters: Counters,
    pub(crate) last_refusal: Option<Refusal>,
}

/// What the agent is there for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Goal {
    /// To run tasks.
    Serve,
    /// To end all of them for good.
    EndTasks,
    /// Nothing any more; what runs runs on.
    Leave,
}

impl Agent {
    /// Takes one command. Never fails: what is late, repeated or unknown changes nothing and is
    /// counted.
    pub fn apply(&mut self, command: Command, now: Now) -> Vec<Effect> {
        let mut turn = Turn::new(now);
        match command {
            Command::Connected { connection } => self.connected(connection, &mut turn),
            Command::Disconnected { connection, reason: _, leader } => {
                self.disconnected(connection, leader, &mut turn);
            }
            Command::Frame { connection, frame } => self.frame(connection, frame, &mut turn),
            Command::Written { through } => self.written(through, &mut turn),
            Command::Prepared { container } => self.prepared(&container, &mut turn),
            Command::PrepareFailed { container, failure } => {
                self.prepare_failed(&container, failure, &mut turn);
            }
            Command::Started { container, pid: _ } => self.started(&container, &mut turn),
            Command::Exited { container, exit } => self.exited(&container, &exit, &mut turn),
            Command::Destroyed { container } => self.destroyed(&container, &mut turn),
            Command::VolumeMade { volume, failure } => {
                self.volume_made(volume, failure, &mut turn);
            }
            Command::VolumeWiped { volume } => self.volume_wiped(volume, &mut turn),
            Command::ProbeResult { container, check, probe, passed, detail } => {
                self.probe_result(&container, check, (probe, passed, &detail), &mut turn);
            }
            Command::DeadlineReached => self.deadline_reached(&mut turn),
            Command::Leave => self.leave(&mut turn),
            Command::EndTasks { at_once } => self.end_tasks(at_once, &mut turn),
        }
        self.collect_sandboxes(&mut turn);
        self.holds_written(&mut turn);
        self.finish(turn)
    }

    /// When `Command::DeadlineReached` is wanted.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        let limits = &self.config.limits;
        let link = self.link.next_deadline(limits);
        let sandboxes = self.sandboxes.next_deadline(limits);
        [link, sandboxes, self.deadlines.next()].into_iter().flatten().min()
    }

    /// Whether no container is left, nor anything to be written.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let quiet =
            |task: &crate::state::tasks::Task| task.phase == Phase::Ended && !task.has_container;
        self.tasks.iter().all(|(_, task)| quiet(task))
            && self.destroying.is_empty()
            && self.writes.outstanding() == 0
    }

    /// Its id, once it was admitted.
    #[must_use]
    pub fn id(&self) -> Option<AgentId> {
        self.identity.agent
    }

    /// What it was configured with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether a master has answered the present registration.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        matches!(self.link, Link::Registered(_))
    }

    /// What happened how often.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Why the last registration was refused.
    #[must_use]
    pub fn last_refusal(&self) -> Option<&Refusal> {
        self.last_refusal.as_ref()
    }

    /// What live tasks use.
    #[must_use]
    pub fn used(&self) -> &Resources {
        self.tasks.used()
    }

    /// What tasks may use: what the agent has, with its reservations and volumes as such.
    #[must_use]
    pub fn total(&self) -> &Resources {
        self.holds.total()
    }

    /// Newest status of every task that is not forgotten.
    pub fn tasks(&self) -> impl Iterator<Item = (&ContainerId, &TaskStatus)> {
        self.tasks.iter().map(|(container, task)| (container, &task.record.status))
    }

    /// Tasks by state, for metrics.
    #[must_use]
    pub fn task_counts(&self) -> BTreeMap<TaskState, usize> {
        let mut counts = BTreeMap::new();
        for (_, status) in self.tasks() {
            *counts.entry(status.state).or_default() += 1;
        }
        counts
    }

    /// Turns what a turn touched into one checkpoint write and returns its effects.
    pub(crate) fn finish(&mut self, turn: Turn) -> Vec<Effect> {
        let Turn { mut effects, mut writes, statuses, touched, .. } = turn;
        if touched.identity {
            writes.insert(0, Write::PutIdentity(self.identity.clone()));
        }
        for framework in touched.logs {
            writes.push(match self.logs.get(&framework) {
                Some(log) => Write::PutLog(framework, *log),
                None => Write::DeleteLog(framework),
            });
        }
        for container in touched.tasks {
            writes.push(match self.tasks.get(&container) {
                Some(task) => Write::PutTask(Box::new(task.record.clone())),
                None => Write::DeleteTask(container),
            });
        }
        for id in touched.holds {
            let record = self.holds.table.get(&id).and_then(|entry| entry.record.clone());
            writes.push(match record {
                Some(record) => Write::PutHold(Box::new(record)),
                None => Write::DeleteHold(id),
            });
        }
        if !writes.is_empty() {
            let op = self.writes.begin(statuses);
            effects.insert(0, Effect::Checkpoint { op, writes });
        }
        effects
    }

    /// Whether the statuses of this framework are wanted by nobody.
    pub(crate) fn is_unwanted(&self, framework: FrameworkId) -> bool {
        self.identity.ending || self.logs.get(&framework).is_some_and(|log| log.ended)
    }

    /// Forgets an ended task, and with the last one of its kind the template and the log.
    pub(crate) fn forget(&mut self, container: &ContainerId, turn: &mut Turn) {
        let Some(task) = self.tasks.remove(container) else { return };
        turn.touched.tasks.insert(container.clone());
        if task.has_container {
            self.destroy(container, turn);
        }
        if task.uses_template {
            self.release_template(&task.record.launch.template, turn);
        }
        let framework = task.record.framework;
        if self.is_unwanted(framework) && self.tasks.count_of(framework) == 0 {
            self.logs.remove(&framework);
            turn.touched.logs.insert(framework);
        }
        self.held.remove(container);
    }

    fn release_template(&mut self, digest: &TemplateDigest, turn: &mut Turn) {
        if self.templates.release(digest) {
            turn.writes.push(Write::DeleteTemplate(*digest));
        }
    }

    /// Asks for the removal of a container's traces.
    pub(crate) fn destroy(&mut self, container: &ContainerId, turn: &mut Turn) {
        if let Some(task) = self.tasks.get_mut(container) {
            task.has_container = false;
        }
        self.destroying.insert(container.clone());
        turn.effects.push(Effect::Destroy { container: container.clone() });
    }

    /// Deletes sandboxes that are too old or too many.
    pub(crate) fn collect_sandboxes(&mut self, turn: &mut Turn) {
        while let Some(container) = self.sandboxes.pop(&self.config.limits, turn.now.monotonic) {
            turn.writes.push(Write::DeleteSandbox(container.clone()));
            turn.effects.push(Effect::RemoveSandbox { container });
        }
    }
}

/// What one command causes: effects, and the records it touched.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) now: Now,
    pub(crate) effects: Vec<Effect>,
    /// Writes that are not made from the state at the end of the turn.
    pub(crate) writes: Vec<Write>,
    /// Statuses to tell once this turn's write is durable.
    pub(crate) statuses: Vec<TaskStatus>,
    pub(crate) touched: Touched,
}

/// Records whose state at the end of the turn is written.
#[derive(Default, Debug)]
pub(crate) struct Touched {
    pub(crate) identity: bool,
    pub(crate) logs: BTreeSet<FrameworkId>,
    pub(crate) tasks: BTreeSet<ContainerId>,
    pub(crate) holds: BTreeSet<HoldId>,
}

impl Turn {
    pub(crate) fn new(now: Now) -> Self {
        Self {
            now,
            effects: Vec::new(),
            writes: Vec::new(),
            statuses: Vec::new(),
            touched: Touched::default(),
        }
    }
}
