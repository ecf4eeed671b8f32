//! Owns the network: connections are ordered and reliable while they live, as TCP is; what is not is
//! their life. They break at any time, each side learns of it at its own time, a connection may hold its
//! frames back until its client has another one, and a cut link swallows everything without a word. A
//! frame that its reader would not take ends its connection, as the readers of the real streams do it.

use super::chance::{Chance, between, heavy_tail};
use super::plan::Plan;
use super::world::Rider;
use proffer_proto::convert::bounds::FRAME_BYTES_MAX;
use proffer_proto::weight;
use std::collections::{BTreeMap, BTreeSet};

/// A process that connects to masters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Client {
    /// An agent, by its place.
    Agent(usize),
    /// The farm, for all its agents.
    Farm,
    /// A framework process, by its place.
    Framework(usize),
}

/// Names a connection for ever.
pub type Wire = u64;

/// Which way a frame goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Way {
    /// From the client to the master.
    Up,
    /// From the master to the client.
    Down,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Who connected.
    pub client: Client,
    /// Which life of that process.
    pub client_life: u64,
    /// The client's own number for it.
    pub client_number: u64,
    /// To which master.
    pub master: usize,
    /// Which life of that process; 0 until it is open.
    pub master_life: u64,
    /// Whether the client still reads it.
    pub client_open: bool,
    /// Whether the master still reads it.
    pub master_open: bool,
    /// Whether the client knows that it is open.
    pub is_used: bool,
    /// The agents of a farm that are on it.
    pub riders: Vec<Rider>,
    last_up_ms: u64,
    last_down_ms: u64,
    /// Ways in which something was swallowed: nothing that comes after it ever arrives, since a stream
    /// has no holes.
    holed: BTreeSet<Way>,
}

/// All connections and cut links.
#[derive(Default)]
pub struct Network {
    next: Wire,
    /// By name; ended on both sides: removed.
    pub connections: BTreeMap<Wire, Connection>,
    /// Links that swallow everything that goes this way.
    pub cut: BTreeSet<(Client, usize, Way)>,
    /// Frames that were sent.
    pub frames: u64,
    /// Frames that were swallowed or came too late.
    pub frames_lost: u64,
}

impl Network {
    /// A connection under way.
    pub fn dial(
        &mut self,
        client: Client,
        client_life: u64,
        client_number: u64,
        master: usize,
    ) -> Wire {
        self.next += 1;
        let connection = Connection {
            client,
            client_life,
            client_number,
            master,
            master_life: 0,
            client_open: true,
            master_open: false,
            is_used: false,
            riders: Vec::new(),
            last_up_ms: 0,
            last_down_ms: 0,
            holed: BTreeSet::new(),
        };
        self.connections.insert(self.next, connection);
        self.next
    }

    /// Whether a link swallows frames.
    #[must_use]
    pub fn is_cut(&self, client: Client, master: usize, way: Way) -> bool {
        self.cut.contains(&(client, master, way))
    }

    /// When a frame sent now arrives, or `None` when it never does. Frames of one way stay in order.
    pub fn send(
        &mut self,
        wire: Wire,
        way: Way,
        now_ms: u64,
        plan: &Plan,
        chance: &mut Chance,
    ) -> Option<u64> {
        self.frames += 1;
        let connection = self.connections.get_mut(&wire)?;
        if self.cut.contains(&(connection.client, connection.master, way)) {
            connection.holed.insert(way);
        }
        if connection.holed.contains(&way) {
            self.frames_lost += 1;
            return None;
        }
        let arrives = now_ms + heavy_tail(&mut chance.network, plan.delay_ms);
        let last = match way {
            Way::Up => &mut connection.last_up_ms,
            Way::Down => &mut connection.last_down_ms,
        };
        *last = arrives.max(*last);
        Some(*last)
    }

    /// From now on nothing of this connection arrives before that moment; the order stays.
    pub fn stall(&mut self, wire: Wire, until_ms: u64) {
        if let Some(connection) = self.connections.get_mut(&wire) {
            connection.last_up_ms = connection.last_up_ms.max(until_ms);
            connection.last_down_ms = connection.last_down_ms.max(until_ms);
        }
    }

    /// Whether the reader of this connection takes the frame at all: no more bytes and no more parts
    /// than the shells set as their limits.
    #[must_use]
    pub fn is_readable(client: Client, way: Way, bytes: &[u8]) -> bool {
        let message = match (client, way) {
            (Client::Agent(_) | Client::Farm, Way::Up) => "AgentUp",
            (Client::Agent(_) | Client::Farm, Way::Down) => "AgentDown",
            (Client::Framework(_), Way::Up) => "SchedulerUp",
            (Client::Framework(_), Way::Down) => "SchedulerDown",
        };
        bytes.len() <= FRAME_BYTES_MAX && weight::is_within(message, bytes, weight::PARTS_MAX)
    }

    /// How long until each side learns that a connection broke: client, master.
    pub fn notice_ms(chance: &mut Chance, silent: bool) -> (u64, u64) {
        // A silent break is noticed by the missing answers to pings.
        let most = if silent { 15_000 } else { 300 };
        (between(&mut chance.network, 1, most), between(&mut chance.network, 1, most))
    }

    /// The client's wire with that number, if the client still reads it.
    #[must_use]
    pub fn of_client(&self, client: Client, life: u64, number: u64) -> Option<Wire> {
        self.connections
            .iter()
            .find(|(_, it)| {
                it.client == client
                    && it.client_life == life
                    && it.client_number == number
                    && it.client_open
            })
            .map(|(wire, _)| *wire)
    }

    /// Wires that one of the two sides still reads and that match.
    #[must_use]
    pub fn matching(&self, matches: impl Fn(&Connection) -> bool) -> Vec<Wire> {
        self.connections
            .iter()
            .filter(|(_, it)| (it.client_open || it.master_open) && matches(it))
            .map(|(wire, _)| *wire)
            .collect()
    }

    /// Forgets a connection that both sides have ended.
    pub fn forget_if_over(&mut self, wire: Wire) {
        if self.connections.get(&wire).is_some_and(|it| !it.client_open && !it.master_open) {
            self.connections.remove(&wire);
        }
    }
}
