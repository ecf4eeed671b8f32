//! An agent that is emptied: why, until when frameworks are asked, whom is asked and what they said.

use proffer_types::agent::KillCause;
use proffer_types::inverse_offer::{InverseAnswer, VacateReason};
use proffer_types::operator::{VacateHolder, Vacating};
use proffer_types::{DurationMs, FrameworkId, InverseOfferId};
use std::collections::BTreeMap;

/// A framework that still has tasks on an agent that is emptied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ask {
    pub(crate) id: InverseOfferId,
    /// Its tasks there that are not terminal.
    pub(crate) tasks: u32,
    /// In its subscription at hand.
    pub(crate) answer: InverseAnswer,
    /// It did not answer in time: its tasks are killed.
    pub(crate) is_lapsed: bool,
}

/// See the module's description.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Vacate {
    pub(crate) reason: VacateReason,
    /// Runs from when it was asked for, and in full again with each new leader (K19).
    pub(crate) deadline: Option<DurationMs>,
    /// The deadline is over: what is left is killed.
    pub(crate) is_binding: bool,
    pub(crate) asks: BTreeMap<FrameworkId, Ask>,
    /// It was told that nothing is left.
    pub(crate) is_done: bool,
}

impl Vacate {
    pub(crate) fn new(reason: VacateReason, deadline: Option<DurationMs>) -> Self {
        Self { reason, deadline, is_binding: false, asks: BTreeMap::new(), is_done: false }
    }

    /// What the end of a task is called that is still there when nobody is asked any more.
    pub(crate) fn kill_cause(&self) -> KillCause {
        match self.reason {
            VacateReason::Drain => KillCause::Drain,
            VacateReason::Maintenance { .. } => KillCause::Maintenance,
            VacateReason::Preemption { .. } => KillCause::Preemption,
        }
    }

    /// Whether tasks of the framework are killed that are still there.
    pub(crate) fn kills(&self, framework: FrameworkId) -> bool {
        self.is_binding || self.asks.get(&framework).is_some_and(|ask| ask.is_lapsed)
    }

    pub(crate) fn row(&self) -> Vacating {
        let holder = |(framework, ask): (&FrameworkId, &Ask)| VacateHolder {
            framework: *framework,
            tasks: ask.tasks,
            answer: ask.answer.clone(),
        };
        Vacating {
            reason: self.reason.clone(),
            deadline: self.deadline,
            is_binding: self.is_binding,
            holders: self.asks.iter().map(holder).collect(),
        }
    }
}
