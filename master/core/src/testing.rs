//! Drives a master: a registry in memory whose writes complete at once or when they are let, peers that
//! remember what they were told. For tests; checks all invariants after every command.

#[cfg(test)]
mod bounds;
mod describe;
#[cfg(test)]
mod gangs;
#[cfg(test)]
mod holds;
#[cfg(test)]
mod panics;
mod peers;
#[cfg(test)]
mod random;
mod rows;
#[cfg(test)]
mod script;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod texts;

pub use crate::master::planted::PlantedPanic;
pub use describe::describe;
pub use peers::{AgentPeer, FrameworkPeer, template};

use crate::registry::{Record, RecordKey, StateValue, state_prefix};
use crate::{
    Command, Config, ConnectionId, Effect, Master, OperationId, Peer, RegistryImage, StateList,
    StatePage, WriteResult,
};
use proffer_types::state_store::StateEntry;
use proffer_types::{DurationMs, Monotonic, Now, PrincipalName, WallTime};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Allocation steps of one turn; more than any test needs.
const BUDGET: u32 = 100_000;

/// What a master began with and everything it was told since, as it would be stored.
#[derive(Debug, Default)]
pub struct Journal {
    config: String,
    image: String,
    began: Now,
    /// Command, moment and effects, as JSON.
    pub entries: Vec<(String, Now, String)>,
}

/// Runs a journal on a new master; gives the effects of each command as JSON.
///
/// # Panics
/// When the journal does not read.
pub fn replay(journal: &Journal) -> impl Iterator<Item = String> {
    let config = serde_json::from_str(&journal.config).expect("a recorded config");
    let image = serde_json::from_str(&journal.image).expect("a recorded image");
    let mut master = Master::recover(config, image, journal.began).expect("it recovered before");
    journal.entries.iter().map(move |(command, now, _)| {
        let command: Command = serde_json::from_str(command).expect("a recorded command");
        json(&master.apply(command, *now))
    })
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data serialises")
}

/// A master with everything around it.
#[derive(Debug)]
pub struct Harness {
    /// The master.
    pub master: Master,
    /// The moment.
    pub now: Now,
    /// What is stored, by stored key.
    pub store: BTreeMap<String, Vec<u8>>,
    /// Writes wait until [`Harness::complete_writes`].
    pub hold_writes: bool,
    /// Frameworks read nothing: their credits do not come back.
    pub hold_credits: bool,
    /// Peers do not notice that their connection was closed.
    pub hold_closes: bool,
    /// Everything that left since it was last taken.
    pub effects: Vec<Effect>,
    /// Connections that are open.
    pub connections: BTreeSet<ConnectionId>,
    /// Connections from which nothing is heard.
    pub muted: BTreeSet<ConnectionId>,
    /// Everything since the last failover, when it is kept.
    pub journal: Option<Journal>,
    /// A contradiction was planted: statements that must hold do not (K23).
    pub is_planted: bool,
    config: Config,
    held: VecDeque<OperationId>,
    held_changes: VecDeque<Vec<crate::registry::RegistryChange>>,
    last_connection: u64,
}

impl Harness {
    /// A master over an empty registry that leads.
    ///
    /// # Panics
    /// When the master breaks an invariant.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let now = Now { monotonic: Monotonic(1_000_000), wall: WallTime(1_700_000_000_000) };
        let master = Master::recover(config.clone(), RegistryImage::default(), now)
            .expect("an empty registry is of no newer format");
        let mut harness = Self {
            master,
            now,
            store: BTreeMap::new(),
            hold_writes: false,
            hold_credits: false,
            hold_closes: false,
            effects: Vec::new(),
            connections: BTreeSet::new(),
            muted: BTreeSet::new(),
            journal: None,
            is_planted: false,
            config,
            held: VecDeque::new(),
            held_changes: VecDeque::new(),
            last_connection: 0,
        };
        harness.lead();
        harness
    }

    fn lead(&mut self) {
        self.apply(Command::LeadershipGained { lease_until: Monotonic(u64::MAX) });
        self.end_turn();
    }

    /// A new master takes over from what is stored. Writes that are held are lost.
    ///
    /// # Panics
    /// When what is stored does not read back.
    pub fn fail_over(&mut self) {
        let mut image = RegistryImage::default();
        for (key, value) in &self.store {
            image.add(key.as_bytes(), value).expect("what was written reads back");
        }
        self.held.clear();
        self.held_changes.clear();
        self.hold_writes = false;
        self.connections.clear();
        self.muted.clear();
        if let Some(journal) = &mut self.journal {
            *journal = Journal {
                config: json(&self.config),
                image: json(&image),
                began: self.now,
                entries: Vec::new(),
            };
        }
        self.master = Master::recover(self.config.clone(), image, self.now)
            .expect("the registry is of no newer format");
        self.lead();
    }

    /// Applies one command and what the store answers to it.
    ///
    /// # Panics
    /// When the master breaks an invariant.
    pub fn apply(&mut self, command: Command) {
        let mut queue = VecDeque::from([command]);
        while let Some(command) = queue.pop_front() {
            let shown = command.clone();
            let recorded = self.journal.is_some().then(|| json(&command));
            let effects = self.master.apply(command, self.now);
            if let (Some(journal), Some(command)) = (&mut self.journal, recorded) {
                journal.entries.push((command, self.now, json(&effects)));
            }
            if !self.is_planted
                && let Err(broken) = self.master.check_invariants()
            {
                panic!("after {shown:?}: {broken}");
            }
            for effect in &effects {
                queue.extend(self.carry_out(effect));
            }
            self.effects.extend(effects);
        }
    }

    /// Applies a command and ends the turn.
    pub fn turn(&mut self, command: Command) {
        self.apply(command);
        self.end_turn();
    }

    /// Ends a turn, again while the allocator has more to do.
    pub fn end_turn(&mut self) {
        self.apply(Command::EndOfTurn { budget: BUDGET, inbox_lag: DurationMs(0) });
    }

    fn carry_out(&mut self, effect: &Effect) -> Option<Command> {
        match effect {
            Effect::Persist { operation, changes, .. } if self.hold_writes => {
                self.held.push_back(*operation);
                self.held_changes.push_back(changes.clone());
                None
            }
            Effect::Persist { operation, changes, .. } => {
                self.store_changes(changes);
                Some(written(*operation))
            }
            Effect::ReadState { operation, framework, list } => Some(Command::StateRead {
                operation: *operation,
                result: Ok(self.read(*framework, list)),
            }),
            Effect::SendFramework { .. } if self.hold_credits => None,
            Effect::SendFramework { connection, frame } => {
                let credits = u32::try_from(frame.events.len()).expect("frames are small");
                Some(Command::FrameworkDrained { connection: *connection, credits })
            }
            Effect::Close { .. } if self.hold_closes => None,
            Effect::Close { connection, .. } => {
                self.connections.remove(connection);
                Some(Command::ConnectionClosed { connection: *connection })
            }
            Effect::SendAgent { .. }
            | Effect::Reply { .. }
            | Effect::Publish { .. }
            | Effect::Stop { .. } => None,
        }
    }

    fn store_changes(&mut self, changes: &[crate::registry::RegistryChange]) {
        for change in changes {
            match &change.record {
                Some(record) => self.store.insert(change.key.encode(), record.encode()),
                None => self.store.remove(&change.key.encode()),
            };
        }
    }

    /// Lets the writes that are held complete, in order.
    pub fn complete_writes(&mut self) {
        self.hold_writes = false;
        while let (Some(operation), Some(changes)) =
            (self.held.pop_front(), self.held_changes.pop_front())
        {
            self.store_changes(&changes);
            self.apply(written(operation));
        }
        self.end_turn();
    }

    fn read(&self, framework: proffer_types::FrameworkId, list: &StateList) -> StatePage {
        let prefix = state_prefix(framework, &list.prefix);
        let after = list.after.as_ref().map(|key| state_prefix(framework, key));
        let mut found = self
            .store
            .range(prefix.clone()..)
            .take_while(|(key, _)| key.starts_with(&prefix))
            .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
        let entries: Vec<StateEntry> =
            found.by_ref().take(list.limit as usize).filter_map(entry).collect();
        StatePage { entries, more: found.next().is_some() }
    }

    /// Opens a connection.
    ///
    /// # Panics
    /// When `principal` is no legal name.
    pub fn connect(&mut self, peer: Peer, principal: &str) -> ConnectionId {
        self.last_connection += 1;
        let connection = ConnectionId(self.last_connection);
        self.connections.insert(connection);
        let principal = PrincipalName::new(principal).expect("a legal principal");
        self.apply(Command::ConnectionOpened { connection, peer, principal });
        connection
    }

    /// Ends a connection from the peer's side.
    pub fn cut(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
        self.turn(Command::ConnectionClosed { connection });
    }

    /// Lets time pass. All connections are heard of each second, except those that are muted.
    pub fn wait(&mut self, span: DurationMs) {
        let end = self.now.monotonic.after(span);
        while self.now.monotonic < end {
            let second = self.now.monotonic.after(DurationMs(1000)).min(end);
            self.step_to(second);
            let connections: Vec<ConnectionId> =
                self.connections.difference(&self.muted).copied().collect();
            self.apply(Command::Heard { connections });
            self.tick();
        }
    }

    fn step_to(&mut self, moment: Monotonic) {
        let passed = moment.since(self.now.monotonic);
        self.now.monotonic = moment;
        self.now.wall.0 += passed.0;
    }

    fn tick(&mut self) {
        if self.master.next_deadline().is_some_and(|due| due <= self.now.monotonic) {
            self.apply(Command::Tick { inbox_lag: DurationMs(0) });
            self.end_turn();
        }
    }

    /// Takes what left since it was last taken.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }
}

fn written(operation: OperationId) -> Command {
    Command::RegistryWritten { operation, result: WriteResult::Committed }
}

fn entry((key, value): (&String, &Vec<u8>)) -> Option<StateEntry> {
    let key = RecordKey::decode(key.as_bytes()).ok()?;
    let Record::State(StateValue { version, value }) = Record::decode(&key, value).ok()? else {
        return None;
    };
    let RecordKey::State(_, key) = key else { return None };
    Some(StateEntry { key, version, value })
}
