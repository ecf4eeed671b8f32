//! Gangs (K3): a task of one is taken and prepared like any other and then waits. It starts when the master
//! says that the gang does, and ends when it says that it does not; the agent decides neither.

use crate::agent::{Agent, Turn};
use crate::commands::Report;
use crate::state::tasks::Phase;
use proffer_types::ids::{ContainerId, GangId};
use proffer_types::task::{StatusReason, TaskState};

impl Agent {
    /// The container of a waiting task is made: its master is told, once.
    pub(crate) fn tell_prepared(&mut self, container: &ContainerId, turn: &mut Turn) {
        let Some(task) = self.tasks.get(container) else { return };
        let told = task.record.status.reason == StatusReason::GangPrepared;
        if task.record.waits_for_gang() && !told {
            let report = Report::new(TaskState::Staging, StatusReason::GangPrepared, "");
            self.report(container, report, turn);
        }
    }

    /// The promise to run is given now: each task starts when it is on the disk.
    pub(crate) fn start_gang(&mut self, gang: GangId, turn: &mut Turn) {
        for container in self.waiting_in(gang) {
            let report = Report::new(TaskState::Taken, StatusReason::None, "");
            self.report(&container, report, turn);
        }
    }

    /// Nothing of it ran and nothing will.
    pub(crate) fn abort_gang(&mut self, gang: GangId, why: &str, turn: &mut Turn) {
        for container in self.waiting_in(gang) {
            let report = Report::new(TaskState::Dropped, StatusReason::GangAborted, why);
            self.end_task(&container, report, turn);
        }
    }

    fn waiting_in(&self, gang: GangId) -> Vec<ContainerId> {
        let waiting = self.tasks.iter().filter(|(_, task)| {
            task.phase != Phase::Ended
                && task.record.gang == Some(gang)
                && task.record.waits_for_gang()
        });
        waiting.map(|(container, _)| container.clone()).collect()
    }
}
