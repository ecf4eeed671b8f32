//! What waits for the store: for each operation, what happens when it comes back, and how much is on its
//! way in each lane. Plain data, no closures, so that it can be printed and compared.

use crate::effect::{ConnectionId, OperationId, ReplyTo, WriteLane};
use crate::limits;
use crate::registry::AgentMode;
use crate::state::windows::WindowRecord;
use proffer_types::agent::AgentLaunch;
use proffer_types::role::RoleConfig;
use proffer_types::template::PodTemplate;
use proffer_types::{
    AgentId, AgentName, AgentSession, FrameworkEpoch, FrameworkId, FrameworkName, GangId, HoldId,
    Refusal, RefusalCode, RoleName, TemplateDigest, WallTime, WindowId,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What happens when a write is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Continuation {
    /// The master epoch is raised: lead.
    Lead,
    /// A new agent is admitted.
    AdmitAgent(AgentName),
    /// A known agent's record is up to date: complete its registration.
    RegisterAgent(AgentId),
    /// An agent is out of reach.
    AgentUnreachable(AgentId, WallTime),
    /// An agent is gone.
    AgentGone(AgentId, Option<ReplyTo>),
    /// An agent's mode is set.
    AgentMode(AgentId, AgentMode, ReplyTo),
    /// A maintenance window is stored so, or removed.
    Maintenance(WindowId, Option<WindowRecord>, Option<ReplyTo>),
    /// A new framework exists.
    CreateFramework(FrameworkName),
    /// A replica is the active one.
    ActivateFramework(FrameworkId),
    /// A framework was ended.
    FrameworkEnded(FrameworkId),
    /// Part of an ended framework's state is deleted, or all of it.
    FrameworkSwept { framework: FrameworkId, all: bool },
    /// A role's record is set.
    SetRole(RoleName, RoleConfig, ReplyTo),
    /// The pairs of these launches are durable: send them, if they are still wanted.
    Launch {
        agent: AgentId,
        session: AgentSession,
        /// They are only prepared, as parts of it.
        gang: Option<GangId>,
        launches: Vec<AgentLaunch>,
        templates: BTreeMap<TemplateDigest, Arc<PodTemplate>>,
    },
    /// It is decided that a gang starts.
    GangDecided(GangId),
    /// Its record is removed.
    GangEnded(GangId),
    /// A hold's record is as it was written; who asked for it is answered.
    Hold { id: HoldId, reply: Option<(ReplyTo, String)> },
    /// Occupancy of an agent is written.
    Occupancy(AgentId),
    /// A framework's commit is durable.
    StateCommitted {
        framework: FrameworkId,
        epoch: FrameworkEpoch,
        request: u64,
        versions: Vec<u64>,
        bytes: usize,
    },
}

/// A write on its way to the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Write {
    pub(crate) lane: WriteLane,
    /// Nobody asked for it: something fell silent or is over.
    pub(crate) unasked: bool,
    pub(crate) bytes: usize,
    pub(crate) then: Vec<Continuation>,
}

/// What is on its way in one lane.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Load {
    pub(crate) writes: usize,
    pub(crate) bytes: usize,
}

impl Load {
    fn add(&mut self, bytes: usize) {
        self.writes += 1;
        self.bytes += bytes;
    }

    fn take_off(&mut self, bytes: usize) {
        self.writes -= 1;
        self.bytes -= bytes;
    }
}

/// Who waits for a read of a state store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct StateRead {
    pub(crate) framework: FrameworkId,
    pub(crate) epoch: FrameworkEpoch,
    pub(crate) connection: ConnectionId,
    pub(crate) request: u64,
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Pending {
    last: u64,
    writes: BTreeMap<OperationId, Write>,
    registry: Load,
    framework_state: Load,
    /// Of the registry's those that nobody asked for.
    unasked: Load,
    pub(crate) reads: BTreeMap<OperationId, StateRead>,
}

impl Pending {
    pub(crate) fn next_operation(&mut self) -> OperationId {
        self.last += 1;
        OperationId(self.last)
    }

    /// A write leaves.
    pub(crate) fn begin(&mut self, operation: OperationId, write: Write) {
        self.load_mut(write.lane).add(write.bytes);
        if write.unasked {
            self.unasked.add(write.bytes);
        }
        self.writes.insert(operation, write);
    }

    /// Adds something to do when `operation` is durable.
    pub(crate) fn on_written(&mut self, operation: OperationId, then: Continuation) {
        if let Some(write) = self.writes.get_mut(&operation) {
            write.then.push(then);
        }
    }

    /// A write came back: what waited for it.
    pub(crate) fn written(&mut self, operation: OperationId) -> Option<Vec<Continuation>> {
        let Write { lane, unasked, bytes, then } = self.writes.remove(&operation)?;
        self.load_mut(lane).take_off(bytes);
        if unasked {
            self.unasked.take_off(bytes);
        }
        Some(then)
    }

    pub(crate) fn nothing_is_written(&self) -> bool {
        self.writes.is_empty()
    }

    pub(crate) fn load(&self, lane: WriteLane) -> Load {
        match lane {
            WriteLane::Registry => self.registry,
            WriteLane::FrameworkState => self.framework_state,
        }
    }

    fn load_mut(&mut self, lane: WriteLane) -> &mut Load {
        match lane {
            WriteLane::Registry => &mut self.registry,
            WriteLane::FrameworkState => &mut self.framework_state,
        }
    }

    /// For tests: what is counted is what is on its way (K9).
    pub(crate) fn check_loads(&self) -> Result<(), String> {
        let sum = |counts: &dyn Fn(&Write) -> bool| {
            let mut load = Load::default();
            self.writes.values().filter(|write| counts(write)).for_each(|it| load.add(it.bytes));
            load
        };
        let counted_right = sum(&|write| write.lane == WriteLane::Registry) == self.registry
            && sum(&|write| write.lane == WriteLane::FrameworkState) == self.framework_state
            && sum(&|write| write.unasked) == self.unasked;
        if !counted_right {
            return Err(format!(
                "K9: {:?} {:?} {:?} are counted wrong",
                self.registry, self.framework_state, self.unasked
            ));
        }
        Ok(())
    }

    /// Whether one more write that nobody asked for may leave. Others do not count: under steady load it
    /// would never have its turn.
    pub(crate) fn has_room_to_spare(&self) -> bool {
        let Load { writes, bytes } = self.unasked;
        writes < limits::SPARE_WRITES_MAX && bytes < limits::SPARE_WRITES_BYTES_MAX
    }

    /// Whether a write that somebody asks for may leave. What it waits for passes by itself.
    pub(crate) fn check_room(&self) -> Result<(), Refusal> {
        let Load { writes, bytes } = self.registry;
        if writes < limits::REGISTRY_WRITES_MAX && bytes < limits::REGISTRY_WRITES_BYTES_MAX {
            return Ok(());
        }
        Err(store_behind("", writes, bytes))
    }
}

/// The store does not follow: the same call may be made again.
pub(crate) fn store_behind(field: &str, writes: usize, bytes: usize) -> Refusal {
    Refusal::new(
        RefusalCode::Unavailable,
        field,
        format!("{writes} writes of {bytes} bytes wait for the store"),
    )
    .hint("try again in a moment")
}
