//! The checks of one task: pace, thresholds, gate. Reports transitions only.

use crate::container::ProbeRequest;
use proffer_types::template::CheckKind;
use proffer_types::units::DurationMs;

/// A check with its placeholders expanded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CheckPlan {
    pub(crate) kind: CheckKind,
    pub(crate) request: ProbeRequest,
    pub(crate) interval: DurationMs,
    pub(crate) timeout: DurationMs,
    pub(crate) failures: u32,
    pub(crate) successes: u32,
    pub(crate) limit: DurationMs,
}

/// A check and how it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
struct State {
    plan: CheckPlan,
    /// Settled result; `None` until a threshold was reached.
    passing: Option<bool>,
    /// Equal results in a row, the newest included.
    streak: (bool, u32),
    /// Number of the newest probe.
    probe: u64,
    in_flight: bool,
}

/// What a result changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// Nothing that anybody is told.
    Nothing,
    /// The last startup check passed: the others begin.
    StartupPassed,
    /// What all ready checks say together; perhaps what is known already.
    Ready(bool),
    /// An alive check failed for good.
    AliveFailed,
}

/// All checks of a task.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Checks {
    states: Vec<State>,
    startup_passed: bool,
}

impl Checks {
    /// Begins anew: nothing is settled. `startup_passed` stands in the checkpoint.
    pub(crate) fn new(plans: Vec<CheckPlan>, startup_passed: bool) -> Self {
        let has_startup = plans.iter().any(|plan| plan.kind == CheckKind::Startup);
        let states = plans
            .into_iter()
            .map(|plan| State {
                plan,
                passing: None,
                streak: (false, 0),
                probe: 0,
                in_flight: false,
            })
            .collect();
        Self { states, startup_passed: startup_passed || !has_startup }
    }

    pub(crate) fn plan(&self, check: u32) -> Option<&CheckPlan> {
        self.states.get(index(check)).map(|state| &state.plan)
    }

    /// Checks that are to be asked now that the gate is as it is: startup checks before it opened,
    /// all others after.
    pub(crate) fn open(&self) -> Vec<u32> {
        let wanted =
            |state: &&State| (state.plan.kind == CheckKind::Startup) != self.startup_passed;
        (0u32..)
            .zip(&self.states)
            .filter(|(_, state)| wanted(state))
            .map(|(number, _)| number)
            .collect()
    }

    /// Startup checks that have not passed.
    pub(crate) fn startup_pending(&self, check: u32) -> bool {
        !self.startup_passed
            && self.states.get(index(check)).is_some_and(|state| state.passing != Some(true))
    }

    /// Begins a probe; `None` when one is under way or the check is not to be asked.
    pub(crate) fn begin(&mut self, check: u32) -> Option<u64> {
        let startup_passed = self.startup_passed;
        let state = self.states.get_mut(index(check))?;
        let gated = (state.plan.kind == CheckKind::Startup) == startup_passed;
        let settled = state.plan.kind == CheckKind::Startup && state.passing == Some(true);
        if gated || settled || state.in_flight {
            return None;
        }
        state.in_flight = true;
        state.probe += 1;
        Some(state.probe)
    }

    /// Takes a result; `None` when it is not the one awaited.
    pub(crate) fn result(&mut self, check: u32, probe: u64, passed: bool) -> Option<Change> {
        let state = self.states.get_mut(index(check))?;
        if !state.in_flight || state.probe != probe {
            return None;
        }
        state.in_flight = false;
        let row = if state.streak.0 == passed { state.streak.1.saturating_add(1) } else { 1 };
        state.streak = (passed, row);
        let threshold = if passed { state.plan.successes } else { state.plan.failures };
        if row < threshold || state.passing == Some(passed) {
            return Some(Change::Nothing);
        }
        state.passing = Some(passed);
        Some(match (state.plan.kind, passed) {
            (CheckKind::Startup, true) => {
                let mut startup =
                    self.states.iter().filter(|state| state.plan.kind == CheckKind::Startup);
                self.startup_passed = startup.all(|state| state.passing == Some(true));
                if self.startup_passed { Change::StartupPassed } else { Change::Nothing }
            }
            (CheckKind::Alive, false) => Change::AliveFailed,
            (CheckKind::Ready, _) => match self.ready() {
                Some(ready) => Change::Ready(ready),
                None => Change::Nothing,
            },
            (CheckKind::Startup, false) | (CheckKind::Alive, true) => Change::Nothing,
        })
    }

    /// Whether all ready checks pass: `None` without one, or before all of them settled, unless
    /// one fails already.
    pub(crate) fn ready(&self) -> Option<bool> {
        let mut ready = None;
        for state in self.states.iter().filter(|state| state.plan.kind == CheckKind::Ready) {
            match state.passing {
                Some(false) => return Some(false),
                None => ready = Some(None),
                Some(true) if ready.is_none() => ready = Some(Some(true)),
                Some(true) => {}
            }
        }
        ready.flatten()
    }
}

fn index(check: u32) -> usize {
    usize::try_from(check).unwrap_or(usize::MAX)
}
