//! What waits for the store: for each operation, what happens when it comes back. Plain data, no
//! closures, so that it can be printed and compared.

use crate::effect::{ConnectionId, OperationId, ReplyTo};
use crate::registry::AgentMode;
use proffer_types::agent::AgentLaunch;
use proffer_types::role::RoleConfig;
use proffer_types::template::PodTemplate;
use proffer_types::{
    AgentId, AgentName, AgentSession, FrameworkEpoch, FrameworkId, FrameworkName, RoleName,
    TemplateDigest, WallTime,
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
    /// A new framework exists.
    CreateFramework(FrameworkName),
    /// A replica is the active one.
    ActivateFramework(FrameworkId),
    /// A framework was ended.
    FrameworkEnded(FrameworkId),
    /// Part of an ended framework's state is deleted: go on.
    SweepFramework(FrameworkId),
    /// Nothing of an ended framework is stored any more.
    FrameworkSwept(FrameworkId),
    /// A role's record is set.
    SetRole(RoleName, RoleConfig, ReplyTo),
    /// The pairs of these launches are durable: send them, if they are still wanted.
    Launch {
        agent: AgentId,
        session: AgentSession,
        launches: Vec<AgentLaunch>,
        templates: BTreeMap<TemplateDigest, Arc<PodTemplate>>,
    },
    /// Occupancy of an agent is written.
    Occupancy(AgentId),
    /// A framework's commit is durable.
    StateCommitted {
        framework: FrameworkId,
        epoch: FrameworkEpoch,
        request: u64,
        versions: Vec<u64>,
    },
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
    pub(crate) writes: BTreeMap<OperationId, Vec<Continuation>>,
    pub(crate) reads: BTreeMap<OperationId, StateRead>,
}

impl Pending {
    pub(crate) fn next_operation(&mut self) -> OperationId {
        self.last += 1;
        OperationId(self.last)
    }

    /// Adds something to do when `operation` is durable.
    pub(crate) fn on_written(&mut self, operation: OperationId, then: Continuation) {
        self.writes.entry(operation).or_default().push(then);
    }
}
