//! Start and recovery: checkpoint + what is alive → state and effects. The very first start is a
//! recovery from nothing.

use crate::agent::{Agent, Counters, Goal, Turn};
use crate::checkpoint::{Checkpoint, HoldCheckpoint, Identity, TaskCheckpoint, Write};
use crate::commands::{Report, classify, expand_launch, plans_of};
use crate::config::Config;
use crate::container::{ContainerExit, Outcome, StopCause};
use crate::effect::Effect;
use crate::state::checks::Checks;
use crate::state::deadlines::Deadlines;
use crate::state::holds::Holds;
use crate::state::link::{Attempts, Link};
use crate::state::sandboxes::Sandboxes;
use crate::state::tasks::{Phase, Task, Tasks};
use crate::state::templates::Templates;
use crate::state::writes::Writes;
use proffer_types::agent::AgentLaunch;
use proffer_types::hold::HoldId;
use proffer_types::ids::{ContainerId, LogIncarnation, MasterEpoch, VolumeId};
use proffer_types::task::{StatusReason, TaskState};
use proffer_types::template::OnDisconnect;
use proffer_types::units::{DurationMs, Now};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What became of an expected container.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoundState {
    /// It runs and is adopted: its exit will come as a command.
    Running {
        /// Its first process.
        pid: u32,
    },
    /// It ended meanwhile, or never started.
    Exited(ContainerExit),
    /// There is no trace of it in this boot.
    Absent,
}

/// What the shell found before the core starts. Containers that nobody expects are removed by the
/// shell; sandboxes that nobody expects are reported here and removed by an effect.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Found {
    /// One entry for each of [`Checkpoint::expected_containers`]; a missing one counts as absent.
    pub containers: BTreeMap<ContainerId, FoundState>,
    /// Sandbox directories on disk.
    pub sandboxes: Vec<ContainerId>,
    /// Directories of volumes on disk.
    pub volumes: BTreeSet<VolumeId>,
}

impl Agent {
    /// Starts from what an earlier process left. Nothing is lost and nothing runs twice (I1, I2):
    /// what runs is adopted, what ended is reported, what was promised and surely never started is
    /// started, and what is unknown is called lost.
    #[must_use]
    pub fn recover(
        checkpoint: Checkpoint,
        found: &Found,
        config: Config,
        now: Now,
    ) -> (Self, Vec<Effect>) {
        let Checkpoint { identity, tasks, templates, logs, sandboxes, holds } = checkpoint;
        let before = identity.unwrap_or_else(|| first_identity(&config, now));
        let same_boot = before.boot_id == config.info.boot_id;
        let identity = Identity {
            incarnation: before.incarnation + 1,
            boot_id: config.info.boot_id.clone(),
            ..before
        };
        let attempts = Attempts::new(config.seed);
        let mut agent = Self {
            config,
            identity,
            session_count: 0,
            link: Link::Stopped,
            attempts,
            tasks: Tasks::default(),
            templates: Templates::default(),
            logs,
            sandboxes: Sandboxes::default(),
            holds: Holds::default(),
            deadlines: Deadlines::default(),
            writes: Writes::default(),
            held: BTreeMap::new(),
            destroying: BTreeSet::new(),
            goal: Goal::Serve,
            counters: Counters::default(),
            last_refusal: None,
        };
        let mut turn = Turn::new(now);
        turn.touched.identity = true;
        for (digest, template) in templates {
            agent.templates.restore(digest, template);
        }
        agent.recover_sandboxes(sandboxes.into_keys().collect(), found, &tasks, &mut turn);
        for (container, record) in tasks {
            let found = found.containers.get(&container).unwrap_or(&FoundState::Absent);
            agent.recover_task(&container, record, found, same_boot, &mut turn);
        }
        agent.recover_claims();
        agent.recover_holds(holds, found, &mut turn);
        agent.drop_unused_templates(&mut turn);
        agent.resume_ends(&mut turn);
        if !agent.identity.ending && matches!(agent.link, Link::Stopped) {
            agent.connect(&mut turn);
        }
        agent.collect_sandboxes(&mut turn);
        let effects = agent.finish(turn);
        (agent, effects)
    }

    fn recover_sandboxes(
        &mut self,
        known: BTreeSet<ContainerId>,
        found: &Found,
        tasks: &BTreeMap<ContainerId, TaskCheckpoint>,
        turn: &mut Turn,
    ) {
        let on_disk: BTreeSet<&ContainerId> = found.sandboxes.iter().collect();
        for container in &found.sandboxes {
            if !known.contains(container) {
                turn.effects.push(Effect::RemoveSandbox { container: container.clone() });
            }
        }
        for container in known {
            let live = tasks.get(&container).is_some_and(|task| !task.status.state.is_terminal());
            if !live && !on_disk.contains(&container) {
                turn.writes.push(Write::DeleteSandbox(container));
                continue;
            }
            self.sandboxes.insert_live(container.clone());
            if !live {
                self.sandboxes.ended(&container, turn.now.monotonic);
            }
        }
    }

    fn recover_task(
        &mut self,
        container: &ContainerId,
        record: TaskCheckpoint,
        found: &FoundState,
        same_boot: bool,
        turn: &mut Turn,
    ) {
        let state = record.status.state;
        let killing = record.kill.clone();
        self.restore_task(container, record);
        if state.is_terminal() {
            return;
        }
        self.counters.tasks_recovered += 1;
        let lost = |reason, message: &str| Report::new(TaskState::Failed, reason, message);
        match found {
            FoundState::Running { .. } => self.adopt(container, turn),
            FoundState::Exited(exit) if may_start_again(exit, same_boot, killing.is_some()) => {
                // Its traces are removed first; effects on one container keep their order.
                self.destroy(container, turn);
                self.prepare_again(container, turn);
            }
            FoundState::Exited(exit) => {
                let report = classify(exit, killing.as_ref());
                self.end_task(container, report, turn);
            }
            FoundState::Absent if !same_boot => {
                let report = lost(StatusReason::AgentRebooted, "the machine was restarted");
                self.end_task(container, report, turn);
            }
            // A gang's task that waits stays prepared: only who leads ends or starts it (K3).
            FoundState::Absent if matches!(state, TaskState::Staging | TaskState::Taken) => {
                self.prepare_again(container, turn);
            }
            FoundState::Absent => {
                let message = "no trace of its supervisor is left; how it ended is unknown";
                self.end_task(container, lost(StatusReason::SupervisorLost, message), turn);
            }
        }
    }

    /// Takes a task into the tables as its checkpoint says.
    fn restore_task(&mut self, container: &ContainerId, record: TaskCheckpoint) {
        let ended = record.status.state.is_terminal();
        let launch = &record.launch;
        let template = self.templates.in_use(&launch.template);
        let plans = template
            .and_then(|template| plans_of(template, &launch.variables).ok())
            .unwrap_or_default();
        let wants_grants = template
            .is_some_and(|template| matches!(template.on_disconnect, OnDisconnect::StopAfter(_)));
        let uses_template = record.status.state != TaskState::Error;
        if uses_template {
            self.templates.acquire(&launch.template);
        }
        let task = Task {
            announced: Some(record.status.clone()),
            acknowledged: false,
            phase: if ended { Phase::Ended } else { Phase::Launched },
            has_container: !ended,
            uses_template,
            wants_grants,
            checks: Checks::new(plans, record.startup_passed),
            record,
        };
        self.tasks.insert(container.clone(), task);
    }

    /// It runs on as it did before.
    fn adopt(&mut self, container: &ContainerId, turn: &mut Turn) {
        let Some(task) = self.tasks.get_mut(container) else { return };
        task.phase = Phase::Running;
        if let Some(kill) = &task.record.kill {
            // Perhaps the supervisor never heard of it; a repeat does no harm.
            let policy = kill.policy;
            turn.effects.push(Effect::Kill { container: container.clone(), policy });
            return;
        }
        if task.record.status.state != TaskState::Running {
            let report = Report::new(TaskState::Running, StatusReason::None, "");
            self.report(container, report, turn);
        }
        self.begin_checks(container, turn);
    }

    /// It was promised and never started: the promise is kept.
    fn prepare_again(&mut self, container: &ContainerId, turn: &mut Turn) {
        let Some(task) = self.tasks.get_mut(container) else { return };
        let record = &task.record;
        let order = AgentLaunch {
            framework: record.framework,
            role: record.role.clone(),
            launch: record.launch.clone(),
        };
        let request = self
            .templates
            .in_use(&order.launch.template)
            .map(|template| expand_launch(container, &order, template, &self.config.limits));
        match request {
            Some(Ok((request, _))) => {
                task.phase = Phase::Preparing;
                task.has_container = true;
                turn.effects.push(Effect::Prepare(Box::new(request)));
            }
            Some(Err(_)) | None => {
                let message = "its template is not in the checkpoint";
                let report = Report::new(TaskState::Failed, StatusReason::LaunchFailed, message);
                self.end_task(container, report, turn);
            }
        }
    }

    /// A volume without its directory is lost and never made anew; what was being wiped goes on.
    fn recover_holds(
        &mut self,
        holds: BTreeMap<HoldId, HoldCheckpoint>,
        found: &Found,
        turn: &mut Turn,
    ) {
        for (id, record) in holds {
            let mut lost = false;
            if let HoldId::Volume(volume) = id {
                match record.removing {
                    Some(_) => turn.effects.push(Effect::WipeVolume { volume }),
                    None => lost = !found.volumes.contains(&volume),
                }
            }
            self.holds.restore(record, lost);
        }
        self.settle_holds();
    }

    fn drop_unused_templates(&mut self, turn: &mut Turn) {
        for digest in self.templates.take_unused() {
            turn.writes.push(Write::DeleteTemplate(digest));
        }
    }

    /// Continues what was being ended when the process died.
    fn resume_ends(&mut self, turn: &mut Turn) {
        if self.identity.ending {
            self.continue_ending(turn);
            return;
        }
        let ended: Vec<_> =
            self.logs.iter().filter(|(_, log)| log.ended).map(|(id, _)| *id).collect();
        for framework in ended {
            self.end_framework(framework, turn);
        }
    }
}

/// Only what the supervisor itself calls never started, in this boot, and that nobody wants ended
/// (K14).
fn may_start_again(exit: &ContainerExit, same_boot: bool, killing: bool) -> bool {
    same_boot
        && !killing
        && exit.outcome == Outcome::NeverStarted
        && exit.cause == StopCause::Itself
}

/// A new agent. The numbers begin at the wall clock's reading, not at 1: a work directory may be
/// lost and its agent's name live on, and then they must not repeat. Nothing else depends on them.
fn first_identity(config: &Config, now: Now) -> Identity {
    Identity {
        agent: None,
        incarnation: now.wall.0 / DurationMs::from_secs(1).0,
        log: LogIncarnation(now.wall.0.max(1)),
        boot_id: config.info.boot_id.clone(),
        master_epoch: MasterEpoch(0),
        ending: false,
    }
}
