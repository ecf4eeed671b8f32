//! Tasks that are to make room for a demand of others (K11): they have some time, then they are killed.
//! The time runs here, on the machine's own clock, whoever leads meanwhile.

use crate::agent::{Agent, Turn};
use crate::checkpoint::{ClaimCheckpoint, KillCause};
use crate::commands::Kill;
use crate::state::deadlines::Timer;
use crate::state::tasks::{Phase, Task};
use proffer_types::claim::{Claim, ClaimMark};
use proffer_types::ids::{ClaimId, ContainerId, TaskKey};
use proffer_types::units::{DurationMs, Monotonic};

impl Agent {
    /// Notes that tasks are to make room. One that is noted for this claim keeps its time.
    pub(crate) fn preempt(
        &mut self,
        claim: &Claim,
        tasks: &[TaskKey],
        grace: DurationMs,
        turn: &mut Turn,
    ) {
        let until = turn.now.monotonic.after(grace);
        for key in tasks {
            for container in self.tasks.of_name(key.framework, &key.name) {
                let Some(task) = self.tasks.get_mut(&container) else { continue };
                let noted = task.record.claim.as_ref();
                let is_noted = noted.is_some_and(|noted| noted.claim.id == claim.id);
                if task.phase == Phase::Ended || task.record.kill.is_some() || is_noted {
                    continue;
                }
                task.record.claim = Some(ClaimCheckpoint { claim: claim.clone(), until });
                turn.touched.tasks.insert(container.clone());
                self.deadlines.set(until, Timer::Claim { container });
            }
        }
    }

    /// Whoever still runs for this claim runs on.
    pub(crate) fn drop_claim(&mut self, claim: ClaimId, turn: &mut Turn) {
        for container in self.tasks.containers() {
            let Some(task) = self.tasks.get_mut(&container) else { continue };
            if task.record.claim.as_ref().is_some_and(|noted| noted.claim.id == claim) {
                task.record.claim = None;
                turn.touched.tasks.insert(container);
            }
        }
    }

    /// The time of a task that is to make room may be over.
    pub(crate) fn claim_due(&mut self, container: &ContainerId, turn: &mut Turn) {
        let Some(task) = self.tasks.get(container) else { return };
        let Some(noted) = &task.record.claim else { return };
        if task.phase == Phase::Ended || noted.until > turn.now.monotonic {
            return;
        }
        let Claim { framework, group, role, .. } = &noted.claim;
        let why = format!("room is made for {group} of {framework} in role {role}");
        self.kill(container, Kill::new(KillCause::Preemption, why), turn);
    }

    /// After a start in the same boot the time runs on; after a reboot no task is left.
    pub(crate) fn recover_claims(&mut self) {
        for (container, task) in self.tasks.iter() {
            if let Some(noted) = &task.record.claim {
                self.deadlines.set(noted.until, Timer::Claim { container: container.clone() });
            }
        }
    }
}

/// For what a live task is to make room, as it is told now.
pub(crate) fn mark_of(task: &Task, now: Monotonic) -> Option<ClaimMark> {
    let noted = task.record.claim.as_ref().filter(|_| task.phase != Phase::Ended)?;
    Some(ClaimMark { claim: noted.claim.clone(), left: noted.until.since(now) })
}
