//! Ending many tasks: of one framework, or all of them because the agent was given up.

use crate::agent::{Agent, Goal, Turn};
use crate::checkpoint::KillCause;
use crate::commands::Kill;
use crate::state::link::Link;
use proffer_types::ids::{FrameworkId, LogIncarnation};
use proffer_types::template::KillPolicy;
use proffer_types::units::{DurationMs, WallTime};

const SIGKILL: i32 = 9;

impl Agent {
    /// The framework was ended: its tasks are killed and, once ended, forgotten without an
    /// acknowledgement. Durable: a crash does not bring them back.
    pub(crate) fn end_framework(&mut self, framework: FrameworkId, turn: &mut Turn) {
        let Some(log) = self.logs.get_mut(&framework) else { return };
        if !log.ended {
            log.ended = true;
            turn.touched.logs.insert(framework);
        }
        self.end_framework_tasks(framework, "its framework was ended", turn);
        if self.tasks.count_of(framework) == 0 {
            self.logs.remove(&framework);
            turn.touched.logs.insert(framework);
        }
    }

    /// Kills what lives and forgets what has ended durably.
    pub(crate) fn end_framework_tasks(
        &mut self,
        framework: FrameworkId,
        why: &str,
        turn: &mut Turn,
    ) {
        for container in self.tasks.of_framework(framework) {
            let Some(task) = self.tasks.get(&container) else { continue };
            let durable_end =
                task.announced.as_ref().is_some_and(|status| status.state.is_terminal());
            if durable_end {
                self.forget(&container, turn);
            } else {
                self.kill(&container, Kill::new(KillCause::Operator, why), turn);
            }
        }
    }

    /// Ends every task for good; what they say is still reported.
    pub(crate) fn end_tasks(&mut self, at_once: bool, turn: &mut Turn) {
        self.goal = Goal::EndTasks;
        let policy = at_once.then_some(KillPolicy { signal: SIGKILL, grace: DurationMs(0) });
        for container in self.tasks.containers() {
            let kill = Kill::new(KillCause::Operator, "the agent ends its tasks");
            self.kill(&container, Kill { policy, ..kill }, turn);
        }
    }

    /// The master marked this agent gone: nobody waits for its tasks. They are ended, and then it
    /// asks to be admitted as a new agent.
    pub(crate) fn begin_ending(&mut self, turn: &mut Turn) {
        self.identity.ending = true;
        turn.touched.identity = true;
        self.stop_link(turn);
        self.continue_ending(turn);
    }

    /// Kills and forgets for [`Self::begin_ending`], also after a recovery.
    pub(crate) fn continue_ending(&mut self, turn: &mut Turn) {
        let frameworks: Vec<FrameworkId> = self.logs.keys().copied().collect();
        for framework in frameworks {
            self.end_framework_tasks(framework, "the agent was marked gone", turn);
        }
        self.start_anew_when_ended(turn);
    }

    /// Takes a new identity once nothing of the old one is left.
    pub(crate) fn start_anew_when_ended(&mut self, turn: &mut Turn) {
        if !self.identity.ending || self.tasks.len() > 0 || !self.destroying.is_empty() {
            return;
        }
        for framework in std::mem::take(&mut self.logs).into_keys() {
            turn.touched.logs.insert(framework);
        }
        self.identity.agent = None;
        self.identity.ending = false;
        self.identity.incarnation += 1;
        self.session_count = 0;
        self.identity.log = fresh_log(self.identity.log, turn.now.wall);
        turn.touched.identity = true;
        if self.goal != Goal::Leave {
            let at = turn.now.monotonic.after(self.config.limits.reconnect_delay_min);
            self.link = Link::Waiting { at };
        }
    }
}

/// The number of a new log: above the last one, and different from that of any log that this
/// agent's name had in a work directory since lost. The wall clock only tells lives apart.
pub(crate) fn fresh_log(last: LogIncarnation, wall: WallTime) -> LogIncarnation {
    LogIncarnation(last.0.saturating_add(1).max(wall.0))
}
