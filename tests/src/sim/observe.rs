//! What checkers see, and what a checker is.

use super::world::World;
use proffer_agent_core as agent;
use proffer_master_core as master;
use proffer_types::ContainerId;
use proffer_types::scheduler::{SchedulerDown, SchedulerUp};

/// One thing that happened. Seen after it was done.
#[derive(Debug)]
pub enum Seen<'a> {
    /// A master was given a command and answered with these effects.
    Master {
        /// Which.
        node: usize,
        /// What.
        command: &'a master::Command,
        /// What followed.
        effects: &'a [master::Effect],
    },
    /// An agent was given a command and answered with these effects.
    Agent {
        /// Which.
        node: usize,
        /// What; `None`: its start.
        command: Option<&'a agent::Command>,
        /// What followed.
        effects: &'a [agent::Effect],
    },
    /// A framework process sent a frame.
    FrameworkSent {
        /// Which.
        node: usize,
        /// What.
        frame: &'a SchedulerUp,
    },
    /// A framework process was given a frame.
    FrameworkTold {
        /// Which.
        node: usize,
        /// What.
        frame: &'a SchedulerDown,
    },
    /// A container's program started.
    Started {
        /// On which agent's machine.
        node: usize,
        /// Which.
        container: &'a ContainerId,
    },
    /// A container's program ended.
    Ended {
        /// On which agent's machine.
        node: usize,
        /// Which.
        container: &'a ContainerId,
    },
    /// A transaction was applied by the store.
    Committed {
        /// The master that sent it.
        node: usize,
        /// In which life.
        life: u64,
        /// The term it was sent in.
        term: u64,
        /// Records in it.
        records: usize,
    },
    /// A process died.
    Died {
        /// `master 0`, `agent 2`, `framework 1`.
        who: String,
    },
}

/// A statement that must hold. One file each; the name is its id.
pub trait Checker {
    /// `I2`, `K1`, ….
    fn id(&self) -> &'static str;

    /// Called for everything that happens.
    ///
    /// # Errors
    /// What is broken, in one sentence with the ids involved.
    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String>;

    /// Called once after the healing time.
    ///
    /// # Errors
    /// What has not healed.
    fn at_rest(&mut self, world: &World) -> Result<(), String> {
        let _ = world;
        Ok(())
    }

    /// How often it had something to look at: a checker that never looked proves nothing.
    fn looked(&self) -> u64;
}
