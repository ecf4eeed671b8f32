//! Who is at the other end of each connection.

use crate::command::Peer;
use crate::effect::ConnectionId;
use proffer_types::{AgentId, FrameworkId, PrincipalName};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Connection {
    pub(crate) principal: PrincipalName,
    pub(crate) kind: ConnectionKind,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ConnectionKind {
    /// The agents that registered over it.
    Agents(BTreeSet<AgentId>),
    /// A replica that has not subscribed yet, or whose framework is being created.
    Replica,
    /// A replica of this framework: active, standing by or about to be active.
    ReplicaOf(FrameworkId),
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Connections {
    pub(crate) table: BTreeMap<ConnectionId, Connection>,
}

impl Connections {
    pub(crate) fn open(&mut self, id: ConnectionId, peer: Peer, principal: PrincipalName) {
        let kind = match peer {
            Peer::Agent => ConnectionKind::Agents(BTreeSet::new()),
            Peer::Framework => ConnectionKind::Replica,
        };
        self.table.insert(id, Connection { principal, kind });
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.table.get(&id)
    }

    pub(crate) fn bind_agent(&mut self, id: ConnectionId, agent: AgentId) {
        if let Some(Connection { kind: ConnectionKind::Agents(agents), .. }) =
            self.table.get_mut(&id)
        {
            agents.insert(agent);
        }
    }

    pub(crate) fn unbind_agent(&mut self, id: ConnectionId, agent: AgentId) {
        if let Some(Connection { kind: ConnectionKind::Agents(agents), .. }) =
            self.table.get_mut(&id)
        {
            agents.remove(&agent);
        }
    }

    pub(crate) fn bind_replica(&mut self, id: ConnectionId, framework: FrameworkId) {
        if let Some(connection) = self.table.get_mut(&id) {
            connection.kind = ConnectionKind::ReplicaOf(framework);
        }
    }
}
