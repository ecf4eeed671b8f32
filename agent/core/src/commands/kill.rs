//! Kills: by the framework, by an operator, by a check. The supervisor times the grace.

use crate::agent::{Agent, Turn};
use crate::checkpoint::{KillCause, KillIntent};
use crate::commands::Report;
use crate::effect::Effect;
use crate::state::tasks::Phase;
use proffer_types::agent;
use proffer_types::ids::{ContainerId, FrameworkId, TaskName};
use proffer_types::task::{StatusReason, TaskState};
use proffer_types::template::KillPolicy;

/// Why and how a task is to be ended.
#[derive(Clone, Debug)]
pub(crate) struct Kill {
    pub(crate) cause: KillCause,
    /// `None`: as its template says.
    pub(crate) policy: Option<KillPolicy>,
    pub(crate) detail: String,
}

impl Kill {
    pub(crate) fn asked(policy: Option<KillPolicy>, cause: agent::KillCause) -> Self {
        let cause = match cause {
            agent::KillCause::Framework => KillCause::Framework,
            agent::KillCause::Operator => KillCause::Operator,
            agent::KillCause::Drain => KillCause::Drain,
            agent::KillCause::Maintenance => KillCause::Maintenance,
            agent::KillCause::Preemption => KillCause::Preemption,
        };
        Self { cause, policy, detail: String::new() }
    }

    pub(crate) fn new(cause: KillCause, detail: impl Into<String>) -> Self {
        Self { cause, policy: None, detail: detail.into() }
    }
}

/// What a kill is called while it is under way, and at the end of a task that never started.
pub(crate) fn reason_of(cause: KillCause) -> StatusReason {
    match cause {
        KillCause::Framework => StatusReason::KilledByFramework,
        KillCause::Operator => StatusReason::KilledByOperator,
        KillCause::Drain => StatusReason::Drained,
        KillCause::Maintenance => StatusReason::Maintenance,
        KillCause::Preemption => StatusReason::Preempted,
        KillCause::AliveCheck => StatusReason::CheckFailed,
        KillCause::StartupTimeout => StatusReason::StartupTimeout,
    }
}

impl Agent {
    /// Ends every live task of that name.
    pub(crate) fn kill_named(
        &mut self,
        framework: FrameworkId,
        name: &TaskName,
        kill: &Kill,
        turn: &mut Turn,
    ) {
        let containers = self.tasks.of_name(framework, name);
        if containers.is_empty() {
            self.counters.kills_unknown += 1;
        }
        for container in containers {
            self.kill(&container, kill.clone(), turn);
        }
    }

    /// Ends one task. A repeat passes on its policy, which can only shorten the grace; the first
    /// cause stays.
    pub(crate) fn kill(&mut self, container: &ContainerId, kill: Kill, turn: &mut Turn) {
        let Some(task) = self.tasks.get_mut(container) else { return };
        match task.phase {
            Phase::Ended => {}
            Phase::Preparing | Phase::Prepared => {
                // Nothing ran and nothing will: the container is removed, never started.
                let report = Report::new(TaskState::Killed, reason_of(kill.cause), kill.detail);
                self.end_task(container, report, turn);
            }
            Phase::Launched | Phase::Running => self.kill_started(container, kill, turn),
        }
    }

    fn kill_started(&mut self, container: &ContainerId, kill: Kill, turn: &mut Turn) {
        let Some(task) = self.tasks.get_mut(container) else { return };
        let template = self.templates.in_use(&task.record.launch.template);
        let policy = kill.policy.or(template.map(|template| template.kill)).unwrap_or_default();
        let first = task.record.kill.is_none();
        let intent = task.record.kill.get_or_insert(KillIntent {
            cause: kill.cause,
            policy,
            detail: kill.detail.clone(),
        });
        intent.policy = policy;
        turn.touched.tasks.insert(container.clone());
        turn.effects.push(Effect::Kill { container: container.clone(), policy });
        if first {
            let report = Report::new(TaskState::Killing, reason_of(kill.cause), kill.detail);
            self.report(container, report, turn);
        }
    }
}
