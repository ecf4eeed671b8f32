//! Passes a kill on. One for an agent that is out of reach is remembered and delivered when it
//! registers.

use crate::master::Master;
use crate::state::tasks::{KillOrder, Stage};
use proffer_types::agent::{AgentOrder, KillCause};
use proffer_types::template::KillPolicy;
use proffer_types::{FrameworkId, Now, Refusal, RefusalCode, TaskKey, TaskName, TaskState};

impl Master {
    /// A framework's call. Killing what has ended is no error: its end is told again.
    pub(crate) fn kill_call(
        &mut self,
        framework: FrameworkId,
        name: TaskName,
        policy: Option<KillPolicy>,
        now: Now,
    ) {
        let key = TaskKey { framework, name };
        match self.check(|master| master.check_kill(&key, policy)) {
            Err(refusal) => self.refuse_call(framework, "kill", refusal),
            Ok(()) => self.kill_task(&key, KillOrder { policy, cause: KillCause::Framework }, now),
        }
    }

    pub(crate) fn check_kill(
        &self,
        key: &TaskKey,
        policy: Option<KillPolicy>,
    ) -> Result<(), Refusal> {
        if let Some(policy) = policy
            && !(1..=64).contains(&policy.signal)
        {
            return Err(Refusal::new(
                RefusalCode::InvalidArgument,
                "policy.signal",
                format!("{} is not a signal number", policy.signal),
            ));
        }
        if self.tasks.get(key).is_none() {
            return Err(Refusal::new(
                RefusalCode::NotFound,
                key.name.as_str(),
                "there is no such task",
            )
            .hint("its agent may be awaited: look at the last snapshot's absent agents"));
        }
        Ok(())
    }

    pub(crate) fn kill_task(&mut self, key: &TaskKey, order: KillOrder, now: Now) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        if task.is_terminal() {
            self.tell_task_again(key);
            return;
        }
        if task.stage == Stage::Held {
            // It never left: nothing will.
            let reason = order.cause.reason();
            self.end_task(key, TaskState::Killed, reason, "it had not been started", now);
            return;
        }
        // A later kill may shorten the grace; the agent decides which of two holds.
        task.kill = Some(order);
        let gang = task.record.gang;
        self.note_gang(gang);
        self.repeat_kill(key);
    }

    /// Sends a remembered kill.
    pub(crate) fn repeat_kill(&mut self, key: &TaskKey) {
        let Some(task) = self.tasks.get(key) else { return };
        let Some(kill) = task.kill.filter(|_| !task.is_terminal()) else { return };
        let order = AgentOrder::Kill {
            framework: key.framework,
            task: key.name.clone(),
            policy: kill.policy,
            cause: kill.cause,
        };
        self.order(task.agent(), order);
    }
}
