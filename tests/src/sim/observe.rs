//! What checkers see, and what a checker is.

use super::network::Client;
use super::world::World;
use proffer_agent_core as agent;
use proffer_master::store::model::CommitMark;
use proffer_master_core as master;
use proffer_service_core::{Answer, ReplyTo, ServiceCall};
use proffer_types::scheduler::{SchedulerDown, SchedulerUp};
use proffer_types::{ContainerId, FrameworkEpoch, TaskStatus};
use std::collections::BTreeMap;

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
        /// In which life of the process.
        life: u64,
    },
    /// An agent was given a command and answered with these effects.
    Agent {
        /// Which.
        node: usize,
        /// What; `None`: its start.
        command: Option<&'a agent::Command>,
        /// What followed.
        effects: &'a [agent::Effect],
        /// Who really sent the frame, whatever is written in it: a master and its life.
        origin: Option<(usize, u64)>,
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
    /// The SDK handed a change of a task to its framework.
    Handled {
        /// In which process.
        node: usize,
        /// In which epoch.
        epoch: FrameworkEpoch,
        /// What.
        status: &'a TaskStatus,
    },
    /// A container's program started.
    Started {
        /// On which agent's machine.
        node: usize,
        /// Which.
        container: &'a ContainerId,
    },
    /// A part of an agent's writes became durable.
    Written {
        /// On which agent's machine.
        node: usize,
        /// They, as the agent asked for them.
        writes: &'a [agent::checkpoint::Write],
    },
    /// The store gave or renewed a lease.
    Leased {
        /// To which master.
        node: usize,
        /// In which life.
        life: u64,
        /// The term.
        term: u64,
        /// Until when, in virtual time.
        until_ms: u64,
    },
    /// The store ended a term before its time (F28): what its leader believes is wrong by no fault of
    /// its own, and only the fence is left.
    Expired {
        /// The term.
        term: u64,
    },
    /// A connection was opened at a master.
    Opened {
        /// At which.
        node: usize,
        /// In which life.
        life: u64,
        /// Its number there.
        connection: master::ConnectionId,
        /// Who it really is.
        client: Client,
    },
    /// A user asked the service framework for something.
    Asked {
        /// Which process.
        node: usize,
        /// The number of the call.
        reply: ReplyTo,
        /// What.
        call: &'a ServiceCall,
    },
    /// A user was answered by the service framework.
    Answered {
        /// By which process.
        node: usize,
        /// What.
        answer: &'a Answer,
    },
    /// The service framework took a turn.
    Served {
        /// Which process.
        node: usize,
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
        /// The mark it wrote.
        mark: CommitMark,
        /// What the master asked for.
        changes: &'a BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    },
    /// A process died.
    Died {
        /// `master 0`, `agent 2`, `framework 1`.
        who: String,
    },
}

impl Seen<'_> {
    /// What happened without what wall clocks showed: kind, place and size.
    #[must_use]
    pub fn shape(&self) -> String {
        match self {
            Self::Master { node, effects, .. } => format!("master {node} {}", effects.len()),
            Self::Agent { node, effects, .. } => format!("agent {node} {}", effects.len()),
            Self::FrameworkSent { node, frame } => format!("sent {node} {}", frame.calls.len()),
            Self::FrameworkTold { node, frame } => format!("told {node} {}", frame.events.len()),
            Self::Handled { node, status, .. } => format!("handled {node} {}", status.key()),
            Self::Started { node, container } => format!("started {node} {container}"),
            Self::Ended { node, container } => format!("ended {node} {container}"),
            Self::Written { node, writes } => format!("written {node} {}", writes.len()),
            Self::Leased { node, term, .. } => format!("leased {node} {term}"),
            Self::Expired { term } => format!("expired {term}"),
            Self::Opened { node, connection, .. } => format!("opened {node} {}", connection.0),
            Self::Asked { node, .. } => format!("asked {node}"),
            Self::Answered { node, .. } => format!("answered {node}"),
            Self::Served { node } => format!("served {node}"),
            Self::Committed { node, changes, .. } => format!("committed {node} {}", changes.len()),
            Self::Died { who } => format!("died {who}"),
        }
    }
}

/// A statement that must hold. One file each; the name is its id.
pub trait Checker: Send {
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
