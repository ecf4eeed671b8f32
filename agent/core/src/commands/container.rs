//! Facts about containers: prepared, started, ended, removed.

use crate::agent::{Agent, Turn};
use crate::commands::{Report, classify};
use crate::container::{ContainerExit, PrepareFailure};
use crate::effect::Effect;
use crate::state::tasks::Phase;
use proffer_types::ids::ContainerId;
use proffer_types::task::{StatusReason, TaskState};

impl Agent {
    /// The container waits for its checkpoint.
    pub(crate) fn prepared(&mut self, container: &ContainerId, turn: &mut Turn) {
        match self.tasks.get_mut(container) {
            Some(task) if task.phase == Phase::Preparing => {
                task.phase = Phase::Prepared;
                self.tell_prepared(container, turn);
                self.go_when_ready(container, turn);
            }
            // Killed meanwhile, or forgotten: its removal is under way.
            Some(_) | None => self.counters.facts_late += 1,
        }
    }

    /// Starts a container that is prepared and whose launch is durable; at most once (K14). For one of a
    /// gang it is the order to start that must be durable (K3).
    pub(crate) fn go_when_ready(&mut self, container: &ContainerId, turn: &mut Turn) {
        let Some(task) = self.tasks.get_mut(container) else { return };
        let promised =
            task.announced.as_ref().is_some_and(|status| status.state != TaskState::Staging);
        if task.phase != Phase::Prepared || !promised {
            return;
        }
        task.phase = Phase::Launched;
        if task.record.status.state != TaskState::Starting {
            let report = Report::new(TaskState::Starting, StatusReason::None, "");
            self.report(container, report, turn);
        }
        turn.effects.push(Effect::Go { container: container.clone() });
    }

    /// The container could not be made; nothing ran.
    pub(crate) fn prepare_failed(
        &mut self,
        container: &ContainerId,
        failure: PrepareFailure,
        turn: &mut Turn,
    ) {
        let taken = match self.tasks.get_mut(container) {
            Some(task) if task.phase == Phase::Preparing => {
                task.has_container = false;
                matches!(task.record.status.state, TaskState::Staging | TaskState::Taken)
            }
            Some(_) | None => {
                self.counters.facts_late += 1;
                return;
            }
        };
        let report = match failure {
            // `Error` is for what nothing ran of: legal only from `Taken` and before it.
            PrepareFailure::Refused { message } if taken => {
                let message = format!("cannot_enforce: {message}");
                Report::new(TaskState::Error, StatusReason::AgentRefused, message)
            }
            PrepareFailure::Refused { message } => {
                Report::new(TaskState::Failed, StatusReason::LaunchFailed, message)
            }
            PrepareFailure::Failed { step, errno, message } => Report::new(
                TaskState::Failed,
                StatusReason::LaunchFailed,
                launch_failure(&step, errno, &message),
            ),
        };
        self.end_task(container, report, turn);
    }

    /// The program executes.
    pub(crate) fn started(&mut self, container: &ContainerId, turn: &mut Turn) {
        let killing = match self.tasks.get_mut(container) {
            Some(task) if task.phase == Phase::Launched => {
                task.phase = Phase::Running;
                task.record.kill.is_some()
            }
            Some(_) | None => {
                self.counters.facts_late += 1;
                return;
            }
        };
        if !killing {
            let report = Report::new(TaskState::Running, StatusReason::None, "");
            self.report(container, report, turn);
            self.begin_checks(container, turn);
        }
    }

    /// The container ended. Its traces are removed once that is durable.
    pub(crate) fn exited(
        &mut self,
        container: &ContainerId,
        exit: &ContainerExit,
        turn: &mut Turn,
    ) {
        let report = match self.tasks.get(container) {
            Some(task) if task.phase != Phase::Ended => classify(exit, task.record.kill.as_ref()),
            Some(_) | None => {
                self.counters.facts_late += 1;
                return;
            }
        };
        self.end_task(container, report, turn);
    }

    /// Nothing is left of it.
    pub(crate) fn destroyed(&mut self, container: &ContainerId, turn: &mut Turn) {
        self.destroying.remove(container);
        self.start_anew_when_ended(turn);
    }

    /// Ends a task: its resources are free at once, its terminal status is written.
    pub(crate) fn end_task(&mut self, container: &ContainerId, report: Report, turn: &mut Turn) {
        self.counters.tasks_ended += 1;
        self.tasks.end(container);
        self.sandboxes.ended(container, turn.now.monotonic);
        self.report(container, report, turn);
    }
}

/// The failed step with the system's error number.
pub(crate) fn launch_failure(step: &str, errno: i32, message: &str) -> String {
    let number = if errno == 0 { String::new() } else { format!(" (errno {errno})") };
    if message.is_empty() {
        format!("{step}{number}")
    } else {
        format!("{step}: {message}{number}")
    }
}
