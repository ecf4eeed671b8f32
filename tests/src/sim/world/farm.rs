//! A farm: several agents over one connection, as every frame between agents and masters names its agent
//! (K16). It learns ids from the frames that pass and drops what is for nobody aboard. Answers to an agent
//! without an id cannot be told apart, so that one such agent is aboard at a time, and the connection ends
//! with it when it leaves before it has one.

use super::*;

/// An agent on a connection of its farm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rider {
    /// Which agent.
    pub node: usize,
    /// Which life of its process.
    pub life: u64,
    /// Its own number for the connection.
    pub number: u64,
    /// Whether the farm knows its id.
    is_known: bool,
    /// Whether it was told that it is connected.
    is_aboard: bool,
}

impl World {
    /// Who connects when this agent does.
    #[must_use]
    pub fn client_of_agent(&self, node: usize) -> Client {
        if node < self.plan.farm { Client::Farm } else { Client::Agent(node) }
    }

    /// An agent of the farm wants to reach a master: over the connection that is there, or a new one.
    pub(super) fn board(&mut self, node: usize, life: u64, number: u64, master: usize) {
        let known = self.agents[node].machine.checkpoint().identity.as_ref();
        let is_known = known.is_some_and(|identity| identity.agent.is_some());
        let rider = Rider { node, life, number, is_known, is_aboard: false };
        let open = self
            .network
            .matching(|it| it.client == Client::Farm && it.master == master && it.client_open);
        let wire = match open.first() {
            Some(wire) => *wire,
            None => self.dial(Client::Farm, 0, 0, master),
        };
        let delay = between(&mut self.chance.farm, 1, 100);
        let Some(connection) = self.network.connections.get_mut(&wire) else { return };
        if !is_known && connection.riders.iter().any(|rider| !rider.is_known) {
            let reason = "another agent has no id yet".to_owned();
            let fact = agent::Command::Disconnected { connection: number, reason, leader: None };
            return self.queue.after(delay, Event::Facts(Life { node, life }, vec![fact]));
        }
        if !connection.riders.is_empty() {
            self.marks.reach("farm_shared");
        }
        connection.riders.push(rider);
        self.queue.after(delay, Event::Boarded(wire));
    }

    /// A connection of the farm is open: those who wait are told.
    pub(super) fn boarded(&mut self, wire: Wire) {
        let Some(connection) = self.network.connections.get_mut(&wire) else { return };
        if !connection.is_used {
            return;
        }
        let waits: Vec<_> = connection.riders.iter_mut().filter(|rider| !rider.is_aboard).collect();
        let mut told = Vec::new();
        for rider in waits {
            rider.is_aboard = true;
            told.push(*rider);
        }
        for rider in told {
            let life = Life { node: rider.node, life: rider.life };
            let fact = agent::Command::Connected { connection: rider.number };
            self.agent_facts(life, vec![fact]);
        }
    }

    /// The connection that an agent of the farm is on.
    pub(super) fn wire_of_rider(&self, node: usize, life: u64, number: u64) -> Option<Wire> {
        let is_on = |rider: &Rider| (rider.node, rider.life, rider.number) == (node, life, number);
        let open = |it: &Connection| it.client_open && it.riders.iter().any(is_on);
        self.network.connections.iter().find(|(_, it)| open(it)).map(|(wire, _)| *wire)
    }

    /// The farm learns an agent's id.
    fn learn(&mut self, wire: Wire, node: usize, id: AgentId) {
        self.farm_ids.insert(id, node);
        let Some(connection) = self.network.connections.get_mut(&wire) else { return };
        for rider in &mut connection.riders {
            rider.is_known |= rider.node == node;
        }
    }

    /// A frame of an agent goes out over the farm's connection.
    pub(super) fn rider_sends(&mut self, life: Life, number: u64, frame: AgentUp) {
        let Some(wire) = self.wire_of_rider(life.node, life.life, number) else { return };
        if let Some(id) = frame.agent {
            self.learn(wire, life.node, id);
        }
        self.send_over(wire, pb::AgentUp::from(frame).encode_to_vec());
    }

    /// The agent that a frame is for, if it is on the connection.
    pub(super) fn rider_of(&mut self, wire: Wire, frame: &AgentDown) -> Option<Rider> {
        let known = self.farm_ids.get(&frame.agent).copied();
        let connection = self.network.connections.get(&wire)?;
        let mut riders = connection.riders.iter();
        let rider = riders.find(|rider| match known {
            Some(node) => rider.node == node,
            None => !rider.is_known,
        });
        let rider = rider.copied().filter(|rider| rider.is_aboard);
        let Some(rider) = rider else {
            self.marks.reach("farm_dropped_frame");
            return None;
        };
        if frame.orders.iter().any(|order| matches!(order, AgentOrder::Registered { .. })) {
            self.learn(wire, rider.node, frame.agent);
        }
        Some(rider)
    }

    /// An agent leaves its farm's connection; it ends with the last one, and with one without an id.
    pub(super) fn leave_farm(&mut self, node: usize, life: u64, number: Option<u64>) {
        let leaves = |rider: &Rider| {
            (rider.node, rider.life) == (node, life) && number.is_none_or(|it| it == rider.number)
        };
        for wire in self.network.matching(|it| it.client_open && it.riders.iter().any(leaves)) {
            let Some(connection) = self.network.connections.get_mut(&wire) else { continue };
            let is_known = connection.riders.iter().any(|rider| leaves(rider) && rider.is_known);
            connection.riders.retain(|rider| !leaves(rider));
            if connection.riders.is_empty() {
                connection.client_open = false;
                let delay = heavy_tail(&mut self.chance.farm, self.plan.delay_ms) + 1;
                self.queue.after(delay, Event::Ends(wire, Way::Up, None));
            } else if is_known {
                self.marks.reach("farm_left");
            } else {
                self.marks.reach("farm_ended");
                self.break_wire(wire, false);
            }
        }
    }
}
