//! A connection ended. What it carried stays: agents may come back before they count as unreachable,
//! frameworks keep their tasks.

use crate::effect::ConnectionId;
use crate::master::Master;
use crate::state::agents::Link;
use crate::state::changes::RowKey;
use crate::state::connections::ConnectionKind;
use proffer_types::{AgentId, Monotonic, Now};

impl Master {
    pub(crate) fn connection_closed(&mut self, id: ConnectionId, now: Now) {
        let Some(connection) = self.connections.table.remove(&id) else { return };
        self.direct.remove(&id);
        match connection.kind {
            ConnectionKind::Agents(agents) => {
                self.agents.drop_assemblies(id);
                for agent in agents {
                    self.agent_disconnected(agent, id);
                }
            }
            ConnectionKind::Replica => {}
            ConnectionKind::ReplicaOf(framework) => self.replica_disconnected(framework, id, now),
        }
    }

    /// Offers on the agent are taken back; launches on their way will be told by its next list (K1).
    fn agent_disconnected(&mut self, id: AgentId, connection: ConnectionId) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        let Link::Connected { connection: current, heard } = agent.link else { return };
        if current != connection {
            return;
        }
        agent.link = Link::Disconnected { heard };
        agent.outgoing.clear();
        self.row(RowKey::Agent(id));
        self.sync_usable(id);
        self.rescind_agent(id, "agent_lost");
    }

    /// Bytes arrived on these connections. On one that carries several agents they prove nothing of any of
    /// them: there only frames count, each for the agent that it names (K16).
    pub(crate) fn heard(&mut self, connections: &[ConnectionId], now: Monotonic) {
        for id in connections {
            match self.connections.get(*id).map(|connection| &connection.kind) {
                Some(ConnectionKind::Agents(agents)) => {
                    if agents.len() == 1
                        && let Some(agent) = agents.first().copied()
                    {
                        self.agent_heard(agent, *id, now);
                    }
                }
                Some(ConnectionKind::ReplicaOf(framework)) => {
                    if let Some(entry) = self.frameworks.table.get_mut(framework) {
                        entry.heard(*id, now);
                    }
                }
                Some(ConnectionKind::Replica) | None => {}
            }
        }
    }

    /// An agent spoke over its connection.
    pub(crate) fn agent_heard(&mut self, id: AgentId, over: ConnectionId, now: Monotonic) {
        if let Some(agent) = self.agents.get_mut(id)
            && let Link::Connected { connection, heard } = &mut agent.link
            && *connection == over
        {
            *heard = (*heard).max(now);
        }
    }
}
