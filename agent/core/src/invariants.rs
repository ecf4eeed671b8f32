//! What must hold after every apply. Cheap enough for the simulator to ask after each command.

use crate::agent::Agent;
use crate::state::holds::AfterWrite;
use crate::state::tasks::Phase;
use proffer_types::hold::{AGENT_HOLDS_MAX, taken};
use proffer_types::ids::FrameworkId;
use proffer_types::resources::Resources;
use std::collections::BTreeMap;

impl Agent {
    /// Tests all statements.
    ///
    /// # Errors
    /// The first one that does not hold, in words.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.books_are_the_sum_of_live_tasks()?;
        self.phases_agree_with_states()?;
        self.sequences_are_unique_and_given_out()?;
        self.templates_of_live_tasks_are_kept()?;
        self.holds_are_durable_before_they_are_told()?;
        self.bounds_hold()
    }

    /// I3, I4: what is booked is what live tasks asked for, and it fits unless the operator took
    /// resources away.
    fn books_are_the_sum_of_live_tasks(&self) -> Result<(), String> {
        let live = self.tasks.iter().filter(|(_, task)| task.phase != Phase::Ended);
        let used: Result<Vec<Resources>, _> =
            live.map(|(_, task)| taken(&task.record.launch.resources)).collect();
        let sum = used
            .and_then(|used| Resources::sum(&used))
            .map_err(|error| format!("resources of live tasks do not add up: {error}"))?;
        if &sum == self.tasks.used() {
            return Ok(());
        }
        Err(format!("booked {} but live tasks hold {sum}", self.tasks.used()))
    }

    fn phases_agree_with_states(&self) -> Result<(), String> {
        for (container, task) in self.tasks.iter() {
            let state = task.record.status.state;
            if (task.phase == Phase::Ended) != state.is_terminal() {
                return Err(format!("{container} is {:?} but {state:?}", task.phase));
            }
            if task.phase != Phase::Ended && !task.has_container {
                return Err(format!("{container} is {:?} without a container", task.phase));
            }
            if task.record.container() != *container {
                return Err(format!("{container} is filed under another name"));
            }
        }
        Ok(())
    }

    /// I7, K15: no two tasks of a framework share a sequence, none is above the last given out.
    fn sequences_are_unique_and_given_out(&self) -> Result<(), String> {
        let mut seen: BTreeMap<(FrameworkId, u64), &proffer_types::ids::ContainerId> =
            BTreeMap::new();
        for (container, task) in self.tasks.iter() {
            let framework = task.record.framework;
            let Some(id) = task.record.status.id else {
                return Err(format!("{container} has a status without an id"));
            };
            let last = self.logs.get(&framework).map_or(0, |log| log.last_sequence);
            if id.sequence == 0 || id.sequence > last {
                return Err(format!("{container} has sequence {} of {last}", id.sequence));
            }
            if let Some(other) = seen.insert((framework, id.sequence), container) {
                return Err(format!("{container} and {other} share sequence {}", id.sequence));
            }
        }
        Ok(())
    }

    fn templates_of_live_tasks_are_kept(&self) -> Result<(), String> {
        let mut uses = BTreeMap::new();
        for (_, task) in self.tasks.iter().filter(|(_, task)| task.uses_template) {
            *uses.entry(task.record.launch.template).or_insert(0usize) += 1;
        }
        for (digest, count) in self.templates.uses() {
            if uses.remove(digest).unwrap_or(0) != count {
                return Err(format!("template {digest:?} is counted {count} times"));
            }
        }
        match uses.keys().next() {
            None => Ok(()),
            Some(digest) => Err(format!("template {digest:?} is used and not kept")),
        }
    }

    /// K18: what is not as it is on the disk waits for a write, and what waits is in its order.
    fn holds_are_durable_before_they_are_told(&self) -> Result<(), String> {
        for (id, entry) in &self.holds.table {
            let waits = || self.holds.after.iter().any(|(_, it)| *it == AfterWrite::Announce(*id));
            if entry.record != entry.announced && !waits() {
                return Err(format!("K18: nobody will announce what became of {id}"));
            }
        }
        let numbers = self.holds.after.iter().map(|(through, _)| *through);
        if !numbers.is_sorted() {
            return Err("K18: answers about holds wait out of their order".to_owned());
        }
        if self.holds.table.len() > AGENT_HOLDS_MAX {
            return Err(format!("I15: {} holds are kept", self.holds.table.len()));
        }
        Ok(())
    }

    /// I15.
    fn bounds_hold(&self) -> Result<(), String> {
        let limits = &self.config.limits;
        if self.sandboxes.ended_count() > limits.sandbox_count_max {
            return Err(format!("{} sandboxes are kept", self.sandboxes.ended_count()));
        }
        if self.templates.len() > limits.templates_max + self.tasks.len() {
            return Err(format!("{} templates are kept", self.templates.len()));
        }
        if self.held.len() > self.tasks.len() {
            return Err("more statuses are held than there are tasks".to_owned());
        }
        if self.tasks.unacknowledged_count() > self.tasks.len() {
            return Err("more statuses wait than there are tasks".to_owned());
        }
        Ok(())
    }
}
