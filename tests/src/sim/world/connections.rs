//! Connections of the world: dialling, frames in both ways, and every kind of end.

use super::*;
use crate::sim::batch::Style;
use crate::sim::node_framework::Kind;
use proffer_types::scheduler::Call as SchedulerCall;

impl World {
    pub(super) fn send_down(&mut self, node: usize, connection: ConnectionId, bytes: Vec<u8>) {
        let Some(leading) = self.masters[node].leading() else { return };
        let Some(wire) = leading.connections.get(&connection).copied() else { return };
        let now_ms = self.queue.now_ms();
        if let Some(at) = self.network.send(wire, Way::Down, now_ms, &self.plan, &mut self.chance) {
            self.queue.at(at, Event::Arrives(wire, Way::Down, bytes));
        }
    }

    pub(super) fn send_up(&mut self, client: Client, life: u64, number: u64, bytes: Vec<u8>) {
        if let Some(wire) = self.network.of_client(client, life, number) {
            self.send_over(wire, bytes);
        }
    }

    pub(super) fn send_over(&mut self, wire: Wire, bytes: Vec<u8>) {
        let now_ms = self.queue.now_ms();
        if let Some(at) = self.network.send(wire, Way::Up, now_ms, &self.plan, &mut self.chance) {
            self.queue.at(at, Event::Arrives(wire, Way::Up, bytes));
        }
    }

    pub(super) fn dial(&mut self, client: Client, life: u64, number: u64, master: usize) -> Wire {
        let wire = self.network.dial(client, life, number, master);
        let delay = heavy_tail(&mut self.chance.network, self.plan.delay_ms);
        self.queue.after(delay, Event::Dialled(wire));
        wire
    }

    pub(super) fn dialled(&mut self, wire: Wire) {
        let Some(connection) = self.network.connections.get(&wire).cloned() else { return };
        let node = connection.master;
        let reachable = !self.network.is_cut(connection.client, node, Way::Up)
            && !self.network.is_cut(connection.client, node, Way::Down);
        let life = self.masters[node].life;
        let delay = heavy_tail(&mut self.chance.network, self.plan.delay_ms);
        if !reachable || self.masters[node].leading().is_none() {
            let refusal = reachable
                .then(|| Refusal::new(RefusalCode::NotLeader, "", "this master does not lead"));
            return self.queue.after(delay, Event::Ends(wire, Way::Down, refusal));
        }
        let Some(leading) = self.masters[node].leading_mut() else { return };
        leading.last_connection += 1;
        let id = ConnectionId(leading.last_connection);
        leading.connections.insert(id, wire);
        if let Some(it) = self.network.connections.get_mut(&wire) {
            it.master_life = life;
            it.master_open = true;
        }
        let (peer, name) = match connection.client {
            Client::Agent(node) => (Peer::Agent, format!("cert:agent-{node}")),
            Client::Farm => (Peer::Agent, "cert:farm".to_owned()),
            Client::Framework(node) => {
                let kind = self.frameworks[node].kind;
                let opened = kind == Kind::Impostor && self.strikes(Planted::OpenDoor);
                let kind = if opened { Kind::Batch(0, 0, Style::Demand) } else { kind };
                (Peer::Framework, kind.principal())
            }
        };
        let client = connection.client;
        self.see(&Seen::Opened { node, life, connection: id, client });
        let principal = PrincipalName::new(&name).expect("a valid name");
        self.push(node, Some(Command::ConnectionOpened { connection: id, peer, principal }));
        // The client learns that it is connected by the first byte; here by a frame of its own.
        self.queue.after(delay, Event::Arrives(wire, Way::Down, Vec::new()));
    }

    pub(super) fn arrives(&mut self, wire: Wire, way: Way, bytes: &[u8]) {
        let Some(connection) = self.network.connections.get(&wire).cloned() else { return };
        if !Network::is_readable(connection.client, way, bytes) {
            self.counts.fault("frame_too_large");
            return self.break_wire(wire, false);
        }
        match way {
            Way::Up => self.arrives_at_master(wire, &connection, bytes),
            Way::Down => self.arrives_at_client(&connection, bytes, wire),
        }
    }

    pub(super) fn arrives_at_master(&mut self, wire: Wire, connection: &Connection, bytes: &[u8]) {
        let node = connection.master;
        if !connection.master_open || self.masters[node].life != connection.master_life {
            self.network.frames_lost += 1;
            return;
        }
        let Some(leading) = self.masters[node].leading_mut() else { return };
        let Some(id) = leading.connections.iter().find(|(_, it)| **it == wire).map(|(id, _)| *id)
        else {
            return;
        };
        leading.heard.insert(id);
        let client = connection.client;
        let open = leading.connections.values().copied();
        let is_overtaken = open.filter(|newer| *newer > wire).any(|newer| {
            self.network.connections.get(&newer).is_some_and(|it| it.client == client)
        });
        if is_overtaken {
            self.counts.fault("overtaken");
        }
        let command = match connection.client {
            Client::Agent(_) | Client::Farm => pb::AgentUp::decode(bytes)
                .map_err(|error| error.to_string())
                .and_then(|frame| AgentUp::try_from(frame).map_err(|refusal| refusal.to_string()))
                .map(|mut frame| {
                    if let Some(planted) = self.planted {
                        planted.from_agent(&mut self.planted_memory, &mut frame);
                    }
                    Command::AgentFrame { connection: id, frame }
                }),
            Client::Framework(_) => pb::SchedulerUp::decode(bytes)
                .map_err(|error| error.to_string())
                .and_then(|frame| {
                    SchedulerUp::try_from(frame).map_err(|refusal| refusal.to_string())
                })
                .map(|mut frame| {
                    let life = connection.master_life;
                    self.note_wanted((node, life, id), &mut frame);
                    Command::SchedulerFrame { connection: id, frame }
                }),
        };
        match command {
            Ok(command) => self.push(node, Some(command)),
            Err(why) => self.hold("the wire", Err(format!("a frame does not read: {why}"))),
        }
    }

    /// Keeps what a framework says that it wants, before the master hears it.
    fn note_wanted(&mut self, at: (usize, u64, ConnectionId), frame: &mut SchedulerUp) {
        for call in &mut frame.calls {
            if let SchedulerCall::Subscribe { conditions, .. }
            | SchedulerCall::OfferConditions { conditions } = call
            {
                self.wanted.entry(at).or_default().push(conditions.clone());
                if self.planted == Some(Planted::ForgottenCondition) {
                    conditions.clear();
                }
            }
        }
    }

    pub(super) fn arrives_at_client(&mut self, connection: &Connection, bytes: &[u8], wire: Wire) {
        let lives = match connection.client {
            Client::Farm => true,
            Client::Agent(node) => {
                self.agents[node].life == connection.client_life && self.agents[node].core.is_some()
            }
            Client::Framework(node) => {
                self.frameworks[node].life == connection.client_life
                    && self.frameworks[node].driver.is_some()
            }
        };
        if !connection.client_open || !lives {
            self.network.frames_lost += 1;
            return;
        }
        let number = connection.client_number;
        match connection.client {
            Client::Agent(node) => {
                let life = Life { node, life: connection.client_life };
                if bytes.is_empty() {
                    return self
                        .agent_facts(life, vec![agent::Command::Connected { connection: number }]);
                }
                if let Some(frame) = self.read_agent_down(bytes) {
                    self.agent_is_told(life, number, connection, frame);
                }
            }
            Client::Farm => {
                if bytes.is_empty() {
                    if let Some(it) = self.network.connections.get_mut(&wire) {
                        it.is_used = true;
                    }
                    return self.boarded(wire);
                }
                if let Some(frame) = self.read_agent_down(bytes)
                    && let Some(rider) = self.rider_of(wire, &frame)
                {
                    let life = Life { node: rider.node, life: rider.life };
                    self.agent_is_told(life, rider.number, connection, frame);
                }
            }
            Client::Framework(node) => {
                if bytes.is_empty() {
                    return self.framework_step(node, Link::Connected(number));
                }
                let frame = pb::SchedulerDown::decode(bytes)
                    .map_err(|error| error.to_string())
                    .and_then(|frame| {
                        SchedulerDown::try_from(frame).map_err(|refusal| refusal.to_string())
                    });
                match frame {
                    Ok(mut frame) => {
                        self.give_credits(connection, wire, frame.events.len());
                        if let Some(planted) = self.planted {
                            planted.to_framework(&mut self.planted_memory, node, &mut frame);
                        }
                        self.see(&Seen::FrameworkTold { node, frame: &frame });
                        self.framework_step(node, Link::Frame(number, frame));
                    }
                    Err(why) => self.hold("the wire", Err(format!("a frame does not read: {why}"))),
                }
            }
        }
    }

    fn read_agent_down(&mut self, bytes: &[u8]) -> Option<AgentDown> {
        let frame = pb::AgentDown::decode(bytes)
            .map_err(|error| error.to_string())
            .and_then(|frame| AgentDown::try_from(frame).map_err(|refusal| refusal.to_string()));
        if let Err(why) = &frame {
            self.hold("the wire", Err(format!("a frame does not read: {why}")));
        }
        frame.ok()
    }

    fn agent_is_told(
        &mut self,
        life: Life,
        number: u64,
        connection: &Connection,
        mut frame: AgentDown,
    ) {
        if let Some(planted) = self.planted {
            let disk = self.agents[life.node].machine.checkpoint();
            planted.to_agent(&mut self.planted_memory, &mut frame, disk);
        }
        let origin = Some((connection.master, connection.master_life));
        let fact = agent::Command::Frame { connection: number, frame };
        self.agent_told(life, vec![fact], origin);
    }

    pub(super) fn give_credits(&mut self, connection: &Connection, wire: Wire, events: usize) {
        let node = connection.master;
        if self.masters[node].life != connection.master_life {
            return;
        }
        let Some(leading) = self.masters[node].leading() else { return };
        let id = leading.connections.iter().find(|(_, it)| **it == wire).map(|(id, _)| *id);
        if let Some(connection) = id {
            let credits = u32::try_from(events).unwrap_or(u32::MAX);
            self.push(node, Some(Command::FrameworkDrained { connection, credits }));
        }
    }

    /// A connection ends for one side: `Down` is the client's.
    pub(super) fn ends(&mut self, wire: Wire, side: Way, refusal: Option<Refusal>) {
        let Some(connection) = self.network.connections.get_mut(&wire) else { return };
        let ended = connection.clone();
        match side {
            Way::Down => connection.client_open = false,
            Way::Up => connection.master_open = false,
        }
        match side {
            Way::Up if ended.master_open => self.ended_for_master(wire, &ended),
            Way::Down if ended.client_open => self.ended_for_client(&ended, refusal),
            Way::Up | Way::Down => {}
        }
        self.network.forget_if_over(wire);
    }

    pub(super) fn ended_for_master(&mut self, wire: Wire, ended: &Connection) {
        let node = ended.master;
        if self.masters[node].life != ended.master_life {
            return;
        }
        let Some(leading) = self.masters[node].leading_mut() else { return };
        let id = leading.connections.iter().find(|(_, it)| **it == wire).map(|(id, _)| *id);
        if let Some(connection) = id {
            leading.connections.remove(&connection);
            leading.heard.remove(&connection);
            self.push(node, Some(Command::ConnectionClosed { connection }));
        }
    }

    pub(super) fn ended_for_client(&mut self, ended: &Connection, refusal: Option<Refusal>) {
        let number = ended.client_number;
        match ended.client {
            Client::Agent(node) => {
                let life = Life { node, life: ended.client_life };
                self.agent_is_cut_off(life, number, refusal.as_ref());
            }
            Client::Farm => {
                for rider in &ended.riders {
                    let life = Life { node: rider.node, life: rider.life };
                    self.agent_is_cut_off(life, rider.number, refusal.as_ref());
                }
            }
            Client::Framework(node) => {
                if self.frameworks[node].life != ended.client_life {
                    return;
                }
                let link = match refusal {
                    Some(refusal) => Link::Rejected(number, refusal),
                    None => Link::Disconnected(number),
                };
                self.framework_step(node, link);
            }
        }
    }

    fn agent_is_cut_off(&mut self, life: Life, number: u64, refusal: Option<&Refusal>) {
        let reason = refusal.map_or_else(|| "simulated".to_owned(), ToString::to_string);
        let fact = agent::Command::Disconnected { connection: number, reason, leader: None };
        self.agent_facts(life, vec![fact]);
    }

    /// The master ends a connection: what was sent before still arrives.
    pub(super) fn close_by_master(
        &mut self,
        node: usize,
        connection: ConnectionId,
        refusal: Refusal,
    ) {
        let now_ms = self.queue.now_ms();
        let Some(leading) = self.masters[node].leading_mut() else { return };
        let Some(wire) = leading.connections.remove(&connection) else { return };
        leading.heard.remove(&connection);
        leading.hear(now_ms, Command::ConnectionClosed { connection });
        if let Some(it) = self.network.connections.get_mut(&wire) {
            it.master_open = false;
        }
        let at = self
            .network
            .send(wire, Way::Down, now_ms, &self.plan, &mut self.chance)
            .unwrap_or(now_ms + 15_000);
        self.queue.at(at, Event::Ends(wire, Way::Down, Some(refusal)));
        self.schedule_turn(node);
    }

    /// A connection breaks; each side learns of it at its own time.
    pub fn break_wire(&mut self, wire: Wire, silent: bool) {
        let (client, master) = Network::notice_ms(&mut self.chance, silent);
        self.queue.after(client, Event::Ends(wire, Way::Down, None));
        self.queue.after(master, Event::Ends(wire, Way::Up, None));
    }

    /// The client ends a connection; frames on their way still arrive.
    pub(super) fn close_by_client(&mut self, client: Client, life: u64, number: u64) {
        let Some(wire) = self.network.of_client(client, life, number) else { return };
        if let Some(connection) = self.network.connections.get_mut(&wire) {
            connection.client_open = false;
        }
        let delay = heavy_tail(&mut self.chance.network, self.plan.delay_ms) + 1;
        self.queue.after(delay, Event::Ends(wire, Way::Up, None));
    }
}
