//! Checks: when to ask, and what an answer means. Only transitions become statuses.

use crate::agent::{Agent, Turn};
use crate::checkpoint::KillCause;
use crate::commands::{Kill, Report};
use crate::effect::Effect;
use crate::state::checks::Change;
use crate::state::deadlines::Timer;
use crate::state::tasks::Phase;
use proffer_types::ids::ContainerId;
use proffer_types::refusal::excerpt;
use proffer_types::task::{StatusReason, TaskState};

impl Agent {
    /// The task runs, anew or again: startup checks begin, or those that they gate.
    pub(crate) fn begin_checks(&mut self, container: &ContainerId, turn: &mut Turn) {
        let Some(task) = self.tasks.get(container) else { return };
        for check in task.checks.open() {
            if task.checks.startup_pending(check)
                && let Some(plan) = task.checks.plan(check)
            {
                let at = turn.now.monotonic.after(plan.limit);
                let container = container.clone();
                self.deadlines.set(at, Timer::StartupLimit { container, check });
            }
        }
        self.probe_open(container, turn);
    }

    fn probe_open(&mut self, container: &ContainerId, turn: &mut Turn) {
        let Some(task) = self.tasks.get(container) else { return };
        for check in task.checks.open() {
            self.probe(container, check, turn);
        }
    }

    /// A timer of a task fired.
    pub(crate) fn task_due(&mut self, timer: Timer, turn: &mut Turn) {
        match timer {
            Timer::Probe { container, check } => self.probe(&container, check, turn),
            Timer::StartupLimit { container, check } => {
                self.startup_limit(&container, check, turn);
            }
            Timer::Claim { container } => self.claim_due(&container, turn),
        }
    }

    fn probe(&mut self, container: &ContainerId, check: u32, turn: &mut Turn) {
        let Some(task) = self.tasks.get_mut(container) else { return };
        if task.phase != Phase::Running || task.record.kill.is_some() {
            return;
        }
        let Some(probe) = task.checks.begin(check) else { return };
        let Some(plan) = task.checks.plan(check) else { return };
        turn.effects.push(Effect::Probe {
            container: container.clone(),
            check,
            probe,
            request: plan.request.clone(),
            timeout: plan.timeout,
        });
    }

    fn startup_limit(&mut self, container: &ContainerId, check: u32, turn: &mut Turn) {
        let Some(task) = self.tasks.get(container) else { return };
        if task.phase != Phase::Running || !task.checks.startup_pending(check) {
            return;
        }
        let limit = task.checks.plan(check).map(|plan| plan.limit).unwrap_or_default();
        let detail = format!("its startup check did not pass within {limit}");
        self.kill(container, Kill::new(KillCause::StartupTimeout, detail), turn);
    }

    /// An answer: counts towards a threshold, and the next probe follows after the interval.
    pub(crate) fn probe_result(
        &mut self,
        container: &ContainerId,
        check: u32,
        (probe, passed, detail): (u64, bool, &str),
        turn: &mut Turn,
    ) {
        let change = self
            .tasks
            .get_mut(container)
            .filter(|task| task.phase == Phase::Running)
            .and_then(|task| task.checks.result(check, probe, passed));
        let Some(change) = change else {
            self.counters.facts_late += 1;
            return;
        };
        self.schedule_next(container, check, turn);
        match change {
            Change::Nothing => {}
            Change::StartupPassed => self.startup_passed(container, turn),
            Change::Ready(ready) => self.ready_changed(container, ready, detail, turn),
            Change::AliveFailed => {
                let detail = format!("its alive check failed: {}", excerpt(detail));
                self.kill(container, Kill::new(KillCause::AliveCheck, detail), turn);
            }
        }
    }

    fn schedule_next(&mut self, container: &ContainerId, check: u32, turn: &Turn) {
        let Some(task) = self.tasks.get(container) else { return };
        if let Some(plan) = task.checks.plan(check) {
            let at = turn.now.monotonic.after(plan.interval);
            self.deadlines.set(at, Timer::Probe { container: container.clone(), check });
        }
    }

    /// Kept in the checkpoint, so that a restart of the agent does not gate a task again.
    fn startup_passed(&mut self, container: &ContainerId, turn: &mut Turn) {
        let Some(task) = self.tasks.get_mut(container) else { return };
        task.record.startup_passed = true;
        turn.touched.tasks.insert(container.clone());
        self.probe_open(container, turn);
    }

    fn ready_changed(
        &mut self,
        container: &ContainerId,
        ready: bool,
        detail: &str,
        turn: &mut Turn,
    ) {
        let Some(task) = self.tasks.get(container) else { return };
        if task.record.kill.is_some() || task.record.status.ready == Some(ready) {
            return;
        }
        let message = if ready { String::new() } else { excerpt(detail) };
        let report = Report::new(TaskState::Running, StatusReason::CheckChanged, message);
        self.report(container, Report { ready: Some(ready), ..report }, turn);
    }
}
