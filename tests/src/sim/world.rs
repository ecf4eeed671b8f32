//! Owns the simulated cluster: takes the next event, hands it to the part it concerns, carries out
//! what that part decides, and shows everything to the checkers.

use super::chance::{Chance, between, heavy_tail, one_in};
use super::network::{Client, Network, Way, Wire};
use super::node_agent::AgentNode;
use super::node_framework::{FrameworkNode, Link};
use super::node_master::{Leading, MasterNode, State};
use super::observe::{Checker, Seen};
use super::plan::Plan;
use super::planted::Planted;
use super::queue::Queue;
use super::report::Counts;
use super::view::View;
use proffer_agent_core as agent;
use proffer_agent_core::container::{ContainerExit, Outcome, StopCause};
use proffer_master::store::commit_queue::{CommitOutcome, CommitQueue, Lane, QueueBudget, Request};
use proffer_master::store::lease::{LeaderLease, LeaseState};
use proffer_master::store::memory_core::MemoryCore;
use proffer_master::store::model::{
    Batch, LeaderToken, Limits, OperationId, RangeRequest, Transaction, TransactionResult,
};
use proffer_master_core as master;
use proffer_master_core::registry::{Record, RecordKey, RegistryImage, state_prefix};
use proffer_master_core::{Command, ConnectionId, Effect, Master, Peer, WriteLane, WriteResult};
use proffer_proto::pb;
use proffer_sdk_core::Output;
use proffer_types::agent::{AgentDown, AgentUp};
use proffer_types::scheduler::{SchedulerDown, SchedulerUp};
use proffer_types::state_store::StateEntry;
use proffer_types::{
    ContainerId, Cursor, DurationMs, Monotonic, Now, PrincipalName, Refusal, RefusalCode, WallTime,
};
use prost::Message;
use rand::Rng;
use std::sync::Arc;
use std::time::Duration;

/// How long a term outlives its last renewal.
const LEASE_TTL: Duration = Duration::from_secs(5);
/// How long a dead process stays dead, at most.
const DOWN_MS_MAX: u64 = 3_000;

/// Which life of which process an event is meant for: a process that died meanwhile never sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Life {
    node: usize,
    life: u64,
}

/// What happens.
pub enum Event {
    /// A master process begins.
    StartMaster(usize),
    /// It stands for election.
    Campaign(Life),
    /// It renews its lease.
    Renew(Life),
    /// Its loop turns.
    Turn(Life),
    /// A deadline of its core, and which.
    MasterDue(Life, u64),
    /// A transaction reaches the store.
    Transact(Life, Arc<Transaction>),
    /// The store's answer reaches the master.
    Transacted(Life, TransactionResult),
    /// The guard is read for a master.
    ReadGuard(Life),
    /// A renewal reaches the store.
    KeepAlive(Life, Duration),
    /// A page is read for a framework.
    ReadState(Life, master::OperationId, proffer_types::FrameworkId, master::StateList),
    /// An agent process begins.
    StartAgent(usize),
    /// Facts reach an agent.
    Facts(Life, Vec<agent::Command>),
    /// A deadline of an agent, and which.
    AgentDue(Life, u64),
    /// An agent's disk has written.
    Flushed(Life),
    /// A program ends by itself.
    ProgramEnds(usize, ContainerId),
    /// A framework process begins.
    StartFramework(usize),
    /// A deadline of a framework, and which.
    FrameworkDue(Life, u64),
    /// A dialled connection reaches its master.
    Dialled(Wire),
    /// A frame arrives.
    Arrives(Wire, Way, Vec<u8>),
    /// One side learns that a connection ended.
    Ends(Wire, Way, Option<Refusal>),
    /// Something goes wrong.
    Fault,
    /// A link works again.
    Mend(Client, usize),
    /// A user does something.
    Workload,
}

/// See the module's description.
pub struct World {
    /// What this run is made of.
    pub plan: Plan,
    /// Randomness.
    pub chance: Chance,
    /// Time.
    pub queue: Queue<Event>,
    /// Bytes on their way.
    pub network: Network,
    /// The registry's store.
    pub store: MemoryCore,
    /// Master processes.
    pub masters: Vec<MasterNode>,
    /// Agents.
    pub agents: Vec<AgentNode>,
    /// Framework processes.
    pub frameworks: Vec<FrameworkNode>,
    /// What the leader publishes.
    pub view: View,
    /// What was counted.
    pub counts: Counts,
    /// Whether faults strike.
    pub faulty: bool,
    /// The bug that is planted, if any.
    pub planted: Option<Planted>,
    checkers: Vec<Box<dyn Checker>>,
    /// The first broken statement.
    pub broken: Option<String>,
    /// Lines of the story, kept for a replay.
    pub story: Option<Vec<String>>,
    /// A digest of everything that happened (I20).
    pub digest: u64,
}

impl World {
    /// A world in which nothing has happened yet.
    #[must_use]
    pub fn new(
        plan: Plan,
        chance: Chance,
        checkers: Vec<Box<dyn Checker>>,
        planted: Option<Planted>,
    ) -> Self {
        let mut world = Self {
            store: MemoryCore::new(Limits::ETCD),
            plan,
            chance,
            queue: Queue::default(),
            network: Network::default(),
            masters: Vec::new(),
            agents: Vec::new(),
            frameworks: Vec::new(),
            view: View::default(),
            counts: Counts::default(),
            faulty: true,
            planted,
            checkers,
            broken: None,
            story: None,
            digest: 0xcbf2_9ce4_8422_2325,
        };
        super::run::populate(&mut world);
        world
    }

    /// Runs to a moment of virtual time, or to the first broken statement.
    pub fn run_until(&mut self, until_ms: u64) {
        while self.broken.is_none() {
            let Some(event) = self.queue.next(until_ms) else { return };
            self.counts.events += 1;
            self.happen(event);
        }
    }

    /// The time of a process.
    #[must_use]
    pub fn clock(&self, ahead_ms: u64) -> Now {
        let now = self.queue.now_ms() + ahead_ms;
        Now { monotonic: Monotonic(now), wall: WallTime(now) }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::StartMaster(node) => self.start_master(node),
            Event::Campaign(life) => self.campaign(life),
            Event::Renew(life) => self.renew(life),
            Event::Turn(life) => self.turn(life),
            Event::MasterDue(life, at_ms) => self.master_due(life, at_ms),
            Event::Transact(life, transaction) => self.transact(life, &transaction),
            Event::Transacted(life, result) => self.transacted(life, result),
            Event::ReadGuard(life) => self.read_guard(life),
            Event::KeepAlive(life, sent_at) => self.keep_alive(life, sent_at),
            Event::ReadState(life, operation, framework, list) => {
                self.read_state(life, operation, framework, &list);
            }
            Event::StartAgent(node) => self.start_agent(node),
            Event::Facts(life, facts) => self.agent_facts(life, facts),
            Event::AgentDue(life, at_ms) => self.agent_due(life, at_ms),
            Event::Flushed(life) => self.flushed(life),
            Event::ProgramEnds(node, container) => self.program_ends(node, &container),
            Event::StartFramework(node) => self.start_framework(node),
            Event::FrameworkDue(life, at_ms) => self.framework_due(life, at_ms),
            Event::Dialled(wire) => self.dialled(wire),
            Event::Arrives(wire, way, bytes) => self.arrives(wire, way, &bytes),
            Event::Ends(wire, way, refusal) => self.ends(wire, way, refusal),
            Event::Fault => super::run::fault(self),
            Event::Mend(client, node) => {
                self.network.cut.remove(&(client, node, Way::Up));
                self.network.cut.remove(&(client, node, Way::Down));
            }
            Event::Workload => super::run::workload(self),
        }
    }

    /// Shows something to every checker.
    pub fn see(&mut self, seen: &Seen<'_>) {
        let line = format!("{:>9} {seen:?}", self.queue.now_ms());
        for byte in line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(story) = &mut self.story {
            story.push(line);
        }
        let mut checkers = std::mem::take(&mut self.checkers);
        for checker in &mut checkers {
            if self.broken.is_some() {
                break;
            }
            if let Err(why) = checker.see(seen, self) {
                self.broken = Some(format!("{}: {why}", checker.id()));
            }
        }
        self.checkers = checkers;
    }

    /// Asks every checker whether all has healed.
    pub fn check_at_rest(&mut self) {
        let mut checkers = std::mem::take(&mut self.checkers);
        for checker in &mut checkers {
            if self.broken.is_none()
                && let Err(why) = checker.at_rest(self)
            {
                self.broken = Some(format!("{} at rest: {why}", checker.id()));
            }
            *self.counts.looked.entry(checker.id()).or_default() += checker.looked();
        }
        self.checkers = checkers;
    }

    /// A statement of a core about itself.
    fn hold(&mut self, who: &str, result: Result<(), String>) {
        if let (Err(why), None) = (result, &self.broken) {
            self.broken = Some(format!("invariant of {who}: {why}"));
        }
    }

    // --- masters ---

    fn master_at(&self, life: Life) -> bool {
        let node = &self.masters[life.node];
        node.life == life.life && !matches!(node.state, State::Down)
    }

    fn start_master(&mut self, node: usize) {
        let it = &mut self.masters[node];
        it.life += 1;
        it.state = State::Standby;
        let life = Life { node, life: it.life };
        self.queue.after(1, Event::Campaign(life));
    }

    /// The time on a master's own clock, as the store's protocol wants it.
    fn store_clock(&self, node: usize) -> Duration {
        Duration::from_millis(self.queue.now_ms() + self.masters[node].clock_ahead_ms)
    }

    fn campaign(&mut self, life: Life) {
        if !self.master_at(life) {
            return;
        }
        let now = Duration::from_millis(self.queue.now_ms());
        let won = self.store.campaign(life.node.to_string().into_bytes(), LEASE_TTL, now);
        let Some(token) = won else {
            let pause = between(&mut self.chance.store, 100, 1_000);
            self.queue.after(pause, Event::Campaign(life));
            return;
        };
        if let Err(why) = self.lead(life, token) {
            self.broken = Some(format!("recovery of master {}: {why}", life.node));
        }
    }

    fn lead(&mut self, life: Life, token: LeaderToken) -> Result<(), String> {
        let guard = self.store.guard();
        let mut image = RegistryImage::default();
        let mut request = RangeRequest { limit: 100, ..RangeRequest::default() };
        loop {
            let page = self.store.range(&request).map_err(|error| error.to_string())?;
            for entry in &page.entries {
                image.add(&entry.key, &entry.value).map_err(|error| error.to_string())?;
            }
            if !page.more {
                break;
            }
            request.after = page.entries.last().map(|entry| entry.key.clone());
            request.at = Some(page.revision);
        }
        let sent_at = self.store_clock(life.node);
        let lease = LeaderLease::new(sent_at, LEASE_TTL);
        let now = self.clock(self.masters[life.node].clock_ahead_ms);
        let config = master::Config {
            capability_secret: b"simulated".to_vec(),
            ..master::Config::default()
        };
        let core = Master::recover(config, image, now).map_err(|refusal| refusal.to_string())?;
        let queue = CommitQueue::new(token, guard.mark, Limits::ETCD, QueueBudget::default());
        let lease_until = lease_until(&lease, sent_at);
        let mut leading = Leading {
            core,
            queue,
            lease,
            token,
            inbox: std::collections::VecDeque::new(),
            turn_scheduled: false,
            called_at_ms: None,
            connections: std::collections::BTreeMap::new(),
            last_connection: 0,
            heard: std::collections::BTreeSet::new(),
            asking: false,
        };
        leading.inbox.push_back(Command::LeadershipGained { lease_until });
        self.masters[life.node].state = State::Leading(Box::new(leading));
        self.counts.failovers += 1;
        self.schedule_turn(life.node);
        self.queue.after(1_600, Event::Renew(life));
        Ok(())
    }

    fn renew(&mut self, life: Life) {
        if !self.master_at(life) || self.stands_still(life.node, Event::Renew(life)) {
            return;
        }
        let sent_at = self.store_clock(life.node);
        let delay = heavy_tail(&mut self.chance.store, self.plan.commit_ms);
        self.queue.after(delay, Event::KeepAlive(life, sent_at));
        self.queue.after(1_600, Event::Renew(life));
        // A tick lets the core see that its lease has run out although nothing else happens.
        self.push(life.node, None);
    }

    fn keep_alive(&mut self, life: Life, sent_at: Duration) {
        if !self.master_at(life) {
            return;
        }
        let Some(token) = self.masters[life.node].leading().map(|leading| leading.token) else {
            return;
        };
        let now = Duration::from_millis(self.queue.now_ms());
        self.store.expire(now);
        let kept = self.store.keep_alive(token, now);
        let Some(leading) = self.masters[life.node].leading_mut() else { return };
        let Some(ttl) = kept else {
            // The key is another's or gone: this term cannot be resumed (K8).
            self.counts.fault("lease_lost");
            return self.kill_master(life.node);
        };
        leading.lease.confirmed(sent_at, ttl);
        let lease_until = lease_until(&leading.lease, sent_at);
        self.push(life.node, Some(Command::LeaseConfirmed { lease_until }));
        self.pump_store(life.node);
    }

    /// A process that stands still takes an event later (F10).
    fn stands_still(&mut self, node: usize, event: Event) -> bool {
        let until = self.masters[node].paused_until_ms;
        if until <= self.queue.now_ms() {
            return false;
        }
        self.queue.at(until, event);
        true
    }

    /// Puts a command into a leader's inbox and lets it turn.
    pub fn push(&mut self, node: usize, command: Option<Command>) {
        if let Some(leading) = self.masters[node].leading_mut() {
            leading.inbox.extend(command);
            self.schedule_turn(node);
        }
    }

    fn schedule_turn(&mut self, node: usize) {
        let life = Life { node, life: self.masters[node].life };
        let delay = between(&mut self.chance.turns, 0, 2);
        if let Some(leading) = self.masters[node].leading_mut()
            && !leading.turn_scheduled
        {
            leading.turn_scheduled = true;
            self.queue.after(delay, Event::Turn(life));
        }
    }

    fn turn(&mut self, life: Life) {
        if !self.master_at(life) || self.stands_still(life.node, Event::Turn(life)) {
            return;
        }
        let now = self.clock(self.masters[life.node].clock_ahead_ms);
        let most = between(&mut self.chance.turns, 1, 64);
        let budget = u32::try_from(between(&mut self.chance.turns, 10, 4_000)).unwrap_or(10);
        let Some(leading) = self.masters[life.node].leading_mut() else { return };
        leading.turn_scheduled = false;
        let mut commands = Vec::new();
        let heard = std::mem::take(&mut leading.heard);
        if !heard.is_empty() {
            commands.push(Command::Heard { connections: heard.into_iter().collect() });
        }
        for _ in 0..most {
            commands.extend(leading.inbox.pop_front());
        }
        let inbox_lag = DurationMs(0);
        if leading.core.next_deadline().is_some_and(|at| at <= now.monotonic) {
            commands.push(Command::Tick { inbox_lag });
        }
        commands.push(Command::EndOfTurn { budget, inbox_lag });
        for command in commands {
            if !self.apply_master(life, command, now) {
                return;
            }
        }
        self.after_turn(life, now);
    }

    fn master_due(&mut self, life: Life, at_ms: u64) {
        if !self.master_at(life) {
            return;
        }
        let Some(leading) = self.masters[life.node].leading_mut() else { return };
        if leading.called_at_ms == Some(at_ms) {
            leading.called_at_ms = None;
            self.schedule_turn(life.node);
        }
    }

    fn after_turn(&mut self, life: Life, now: Now) {
        let Some(leading) = self.masters[life.node].leading_mut() else { return };
        let waits = !leading.inbox.is_empty();
        let due = leading.core.next_deadline();
        if waits || due.is_some_and(|at| at <= now.monotonic) {
            self.schedule_turn(life.node);
        } else if let Some(at) = due {
            let at_ms = at.0.saturating_sub(self.masters[life.node].clock_ahead_ms);
            let Some(leading) = self.masters[life.node].leading_mut() else { return };
            if leading.called_at_ms.is_none_or(|called| at_ms < called) {
                leading.called_at_ms = Some(at_ms);
                self.queue.at(at_ms, Event::MasterDue(life, at_ms));
            }
        }
        self.pump_store(life.node);
    }

    /// Returns whether the process still lives.
    fn apply_master(&mut self, life: Life, command: Command, now: Now) -> bool {
        let Some(leading) = self.masters[life.node].leading_mut() else { return false };
        let effects = leading.core.apply(command.clone(), now);
        let invariants = leading.core.check_invariants();
        self.hold("a master", invariants);
        self.see(&Seen::Master { node: life.node, command: &command, effects: &effects });
        for effect in effects {
            if !self.perform_master(life, effect) {
                return false;
            }
        }
        true
    }

    fn perform_master(&mut self, life: Life, effect: Effect) -> bool {
        let node = life.node;
        match effect {
            Effect::Persist { operation, lane, changes } => {
                let batch = changes.into_iter().fold(Batch::new(), |batch, change| {
                    let key = change.key.encode();
                    match change.record {
                        Some(record) => batch.put(key, record.encode()),
                        None => batch.delete(key),
                    }
                });
                let lane = match lane {
                    WriteLane::Registry => Lane::Registry,
                    WriteLane::FrameworkState => Lane::FrameworkState,
                };
                let Some(leading) = self.masters[node].leading_mut() else { return false };
                let submitted = leading.queue.submit(OperationId(operation.0), lane, batch);
                if let Err(error) = submitted {
                    let result = WriteResult::Failed { reason: error.to_string() };
                    leading.inbox.push_back(Command::RegistryWritten { operation, result });
                }
                self.pump_store(node);
            }
            Effect::ReadState { operation, framework, list } => {
                let delay = heavy_tail(&mut self.chance.store, self.plan.commit_ms);
                self.queue.after(delay, Event::ReadState(life, operation, framework, list));
            }
            Effect::SendAgent { connection, frame } => {
                self.send_down(node, connection, pb::AgentDown::from(frame).encode_to_vec());
            }
            Effect::SendFramework { connection, frame } => {
                self.send_down(node, connection, pb::SchedulerDown::from(frame).encode_to_vec());
            }
            Effect::Reply { .. } => self.counts.replies += 1,
            Effect::Close { connection, refusal } => {
                self.close_by_master(node, connection, refusal)
            }
            Effect::Publish { first, changes, deltas: _ } => {
                let taken = self.view.take(first, &changes);
                self.hold("the change list", taken);
            }
            Effect::Stop { .. } => {
                self.counts.stops += 1;
                self.kill_master(node);
                return false;
            }
        }
        true
    }

    /// Carries what the commit queue wants to the store.
    fn pump_store(&mut self, node: usize) {
        let life = Life { node, life: self.masters[node].life };
        let Some(leading) = self.masters[node].leading_mut() else { return };
        for completed in leading.queue.take_completed() {
            let result = match completed.outcome {
                CommitOutcome::Committed { .. } => WriteResult::Committed,
                CommitOutcome::LeadershipLost => {
                    WriteResult::Failed { reason: "deposed".to_owned() }
                }
                CommitOutcome::Unknown { reason } | CommitOutcome::Failed { reason } => {
                    WriteResult::Failed { reason }
                }
            };
            for operation in completed.operations {
                let operation = master::OperationId(operation.0);
                leading
                    .inbox
                    .push_back(Command::RegistryWritten { operation, result: result.clone() });
            }
        }
        let request = if leading.asking { None } else { leading.queue.next_request() };
        let waits = !leading.inbox.is_empty();
        leading.asking |= request.is_some();
        let delay = heavy_tail(&mut self.chance.store, self.plan.commit_ms);
        match request {
            Some(Request::Transact(transaction)) => {
                self.queue.after(delay, Event::Transact(life, transaction));
            }
            Some(Request::ReadGuard) => self.queue.after(delay, Event::ReadGuard(life)),
            None => {}
        }
        if waits {
            self.schedule_turn(node);
        }
    }

    fn transact(&mut self, life: Life, transaction: &Transaction) {
        let delay = heavy_tail(&mut self.chance.store, self.plan.commit_ms);
        if self.faulty && one_in(&mut self.chance.store, self.plan.refused_commits) {
            self.counts.fault("refused_commit");
            let result = TransactionResult::NotApplied { reason: "simulated".to_owned() };
            return self.queue.after(delay, Event::Transacted(life, result));
        }
        self.store.expire(Duration::from_millis(self.queue.now_ms()));
        let mut result = self.store.transact(transaction);
        if let TransactionResult::Applied { .. } = &result {
            self.counts.commits += 1;
            self.see(&Seen::Committed {
                node: life.node,
                life: life.life,
                term: transaction.token.create_revision.0,
                records: transaction.changes.len(),
            });
        }
        if self.faulty && one_in(&mut self.chance.store, self.plan.lost_answers) {
            self.counts.fault("lost_answer");
            result = TransactionResult::Unknown { reason: "simulated".to_owned() };
        }
        self.queue.after(delay, Event::Transacted(life, result));
    }

    fn transacted(&mut self, life: Life, result: TransactionResult) {
        if self.master_at(life)
            && let Some(leading) = self.masters[life.node].leading_mut()
        {
            leading.asking = false;
            leading.queue.transacted(result);
            self.pump_store(life.node);
        }
    }

    fn read_guard(&mut self, life: Life) {
        let guard = self.store.guard();
        if self.master_at(life)
            && let Some(leading) = self.masters[life.node].leading_mut()
        {
            leading.asking = false;
            leading.queue.guard_read(Some(guard));
            self.pump_store(life.node);
        }
    }

    fn read_state(
        &mut self,
        life: Life,
        operation: master::OperationId,
        framework: proffer_types::FrameworkId,
        list: &master::StateList,
    ) {
        let request = RangeRequest {
            prefix: state_prefix(framework, &list.prefix).into_bytes(),
            after: list.after.as_ref().map(|key| state_prefix(framework, key).into_bytes()),
            limit: list.limit as usize,
            at: None,
        };
        let Ok(page) = self.store.range(&request) else { return };
        let mut entries = Vec::new();
        for entry in page.entries {
            let Ok(key) = RecordKey::decode(&entry.key) else { continue };
            let Ok(record) = Record::decode(&key, &entry.value) else { continue };
            if let (RecordKey::State(_, name), Record::State(value)) = (key, record) {
                entries.push(StateEntry { key: name, version: value.version, value: value.value });
            }
        }
        let result = Ok(master::StatePage { entries, more: page.more });
        if self.master_at(life) {
            self.push(life.node, Some(Command::StateRead { operation, result }));
        }
    }

    /// Ends a master process at once; it starts again by itself.
    pub fn kill_master(&mut self, node: usize) {
        let it = &mut self.masters[node];
        if matches!(it.state, State::Down) {
            return;
        }
        it.state = State::Down;
        let life = it.life;
        self.see(&Seen::Died { who: format!("master {node}") });
        for wire in self.network.matching(|it| it.master == node && it.master_life == life) {
            if let Some(connection) = self.network.connections.get_mut(&wire) {
                connection.master_open = false;
            }
            let notice = between(&mut self.chance.network, 1, 200);
            self.queue.after(notice, Event::Ends(wire, Way::Down, None));
        }
        let down = between(&mut self.chance.faults, 10, DOWN_MS_MAX);
        self.queue.after(down, Event::StartMaster(node));
    }

    // --- connections ---

    fn send_down(&mut self, node: usize, connection: ConnectionId, bytes: Vec<u8>) {
        let Some(leading) = self.masters[node].leading() else { return };
        let Some(wire) = leading.connections.get(&connection).copied() else { return };
        let now_ms = self.queue.now_ms();
        if let Some(at) = self.network.send(wire, Way::Down, now_ms, &self.plan, &mut self.chance) {
            self.queue.at(at, Event::Arrives(wire, Way::Down, bytes));
        }
    }

    fn send_up(&mut self, client: Client, life: u64, number: u64, bytes: Vec<u8>) {
        let Some(wire) = self.network.of_client(client, life, number) else { return };
        let now_ms = self.queue.now_ms();
        if let Some(at) = self.network.send(wire, Way::Up, now_ms, &self.plan, &mut self.chance) {
            self.queue.at(at, Event::Arrives(wire, Way::Up, bytes));
        }
    }

    fn dial(&mut self, client: Client, life: u64, number: u64, master: usize) {
        let wire = self.network.dial(client, life, number, master);
        let delay = heavy_tail(&mut self.chance.network, self.plan.delay_ms);
        self.queue.after(delay, Event::Dialled(wire));
    }

    fn dialled(&mut self, wire: Wire) {
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
            Client::Framework(node) => {
                let super::node_framework::Kind::Batch(number, _) = self.frameworks[node].kind;
                (Peer::Framework, format!("cert:batch-{number}"))
            }
        };
        let principal = PrincipalName::new(&name).expect("a valid name");
        self.push(node, Some(Command::ConnectionOpened { connection: id, peer, principal }));
        // The client learns that it is connected by the first byte; here by a frame of its own.
        self.queue.after(delay, Event::Arrives(wire, Way::Down, Vec::new()));
    }

    fn arrives(&mut self, wire: Wire, way: Way, bytes: &[u8]) {
        let Some(connection) = self.network.connections.get(&wire).cloned() else { return };
        match way {
            Way::Up => self.arrives_at_master(wire, &connection, bytes),
            Way::Down => self.arrives_at_client(&connection, bytes, wire),
        }
    }

    fn arrives_at_master(
        &mut self,
        wire: Wire,
        connection: &super::network::Connection,
        bytes: &[u8],
    ) {
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
        let command = match connection.client {
            Client::Agent(_) => pb::AgentUp::decode(bytes)
                .map_err(|error| error.to_string())
                .and_then(|frame| AgentUp::try_from(frame).map_err(|refusal| refusal.to_string()))
                .map(|frame| Command::AgentFrame { connection: id, frame }),
            Client::Framework(_) => pb::SchedulerUp::decode(bytes)
                .map_err(|error| error.to_string())
                .and_then(|frame| {
                    SchedulerUp::try_from(frame).map_err(|refusal| refusal.to_string())
                })
                .map(|frame| Command::SchedulerFrame { connection: id, frame }),
        };
        match command {
            Ok(command) => self.push(node, Some(command)),
            Err(why) => self.hold("the wire", Err(format!("a frame does not read: {why}"))),
        }
    }

    fn arrives_at_client(
        &mut self,
        connection: &super::network::Connection,
        bytes: &[u8],
        wire: Wire,
    ) {
        let lives = match connection.client {
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
                let frame =
                    pb::AgentDown::decode(bytes).map_err(|error| error.to_string()).and_then(
                        |frame| AgentDown::try_from(frame).map_err(|refusal| refusal.to_string()),
                    );
                match frame {
                    Ok(frame) => {
                        self.agent_facts(
                            life,
                            vec![agent::Command::Frame { connection: number, frame }],
                        );
                    }
                    Err(why) => self.hold("the wire", Err(format!("a frame does not read: {why}"))),
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
                    Ok(frame) => {
                        self.give_credits(connection, wire, frame.events.len());
                        self.see(&Seen::FrameworkTold { node, frame: &frame });
                        self.framework_step(node, Link::Frame(number, frame));
                    }
                    Err(why) => self.hold("the wire", Err(format!("a frame does not read: {why}"))),
                }
            }
        }
    }

    fn give_credits(&mut self, connection: &super::network::Connection, wire: Wire, events: usize) {
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
    fn ends(&mut self, wire: Wire, side: Way, refusal: Option<Refusal>) {
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

    fn ended_for_master(&mut self, wire: Wire, ended: &super::network::Connection) {
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

    fn ended_for_client(&mut self, ended: &super::network::Connection, refusal: Option<Refusal>) {
        let number = ended.client_number;
        match ended.client {
            Client::Agent(node) => {
                let life = Life { node, life: ended.client_life };
                let reason =
                    refusal.map_or_else(|| "simulated".to_owned(), |refusal| refusal.to_string());
                let fact =
                    agent::Command::Disconnected { connection: number, reason, leader: None };
                self.agent_facts(life, vec![fact]);
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

    /// The master ends a connection: what was sent before still arrives.
    fn close_by_master(&mut self, node: usize, connection: ConnectionId, refusal: Refusal) {
        let Some(leading) = self.masters[node].leading_mut() else { return };
        let Some(wire) = leading.connections.remove(&connection) else { return };
        leading.heard.remove(&connection);
        leading.inbox.push_back(Command::ConnectionClosed { connection });
        if let Some(it) = self.network.connections.get_mut(&wire) {
            it.master_open = false;
        }
        let now_ms = self.queue.now_ms();
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
    fn close_by_client(&mut self, client: Client, life: u64, number: u64) {
        let Some(wire) = self.network.of_client(client, life, number) else { return };
        if let Some(connection) = self.network.connections.get_mut(&wire) {
            connection.client_open = false;
        }
        let delay = heavy_tail(&mut self.chance.network, self.plan.delay_ms) + 1;
        self.queue.after(delay, Event::Ends(wire, Way::Up, None));
    }

    // --- agents ---

    fn start_agent(&mut self, node: usize) {
        let it = &mut self.agents[node];
        if it.core.is_some() {
            return;
        }
        it.life += 1;
        it.called_at_ms = None;
        it.flushing = false;
        it.config.info.boot_id = format!("boot-{node}-{}", it.boot);
        let (checkpoint, found) = it.machine.crash(0);
        let config = it.config.clone();
        let ahead = it.clock_ahead_ms;
        let life = Life { node, life: it.life };
        let (core, effects) = agent::Agent::recover(checkpoint, &found, config, self.clock(ahead));
        self.agents[node].core = Some(core);
        self.see(&Seen::Agent { node, command: None, effects: &effects });
        self.perform_agent(life, effects);
        self.agent_deadline(life);
    }

    fn agent_at(&self, life: Life) -> bool {
        let node = &self.agents[life.node];
        node.life == life.life && node.core.is_some()
    }

    fn agent_facts(&mut self, life: Life, facts: Vec<agent::Command>) {
        for fact in facts {
            if !self.agent_at(life) {
                return;
            }
            let now = self.clock(self.agents[life.node].clock_ahead_ms);
            let Some(core) = &mut self.agents[life.node].core else { return };
            let effects = core.apply(fact.clone(), now);
            let invariants = core.check_invariants();
            self.hold(&format!("agent {}", life.node), invariants);
            self.see(&Seen::Agent { node: life.node, command: Some(&fact), effects: &effects });
            self.perform_agent(life, effects);
        }
        self.agent_deadline(life);
    }

    fn agent_due(&mut self, life: Life, at_ms: u64) {
        // One that was overtaken by an earlier one has nothing to say.
        if !self.agent_at(life) || self.agents[life.node].called_at_ms != Some(at_ms) {
            return;
        }
        self.agents[life.node].called_at_ms = None;
        self.agent_facts(life, vec![agent::Command::DeadlineReached]);
    }

    fn agent_deadline(&mut self, life: Life) {
        if !self.agent_at(life) {
            return;
        }
        let it = &mut self.agents[life.node];
        let Some(at) = it.core.as_ref().and_then(agent::Agent::next_deadline) else { return };
        // Strictly later than now, so that a deadline that is not met cannot stop time.
        let at_ms = at.0.saturating_sub(it.clock_ahead_ms).max(self.queue.now_ms() + 1);
        if it.called_at_ms.is_none_or(|called| at_ms < called) {
            it.called_at_ms = Some(at_ms);
            self.queue.at(at_ms, Event::AgentDue(life, at_ms));
        }
    }

    fn perform_agent(&mut self, life: Life, effects: Vec<agent::Effect>) {
        let node = life.node;
        for effect in effects {
            match &effect {
                agent::Effect::Connect { connection, master } => {
                    let place = master.parse().unwrap_or(0);
                    self.dial(Client::Agent(node), life.life, *connection, place);
                }
                agent::Effect::Disconnect { connection } => {
                    self.close_by_client(Client::Agent(node), life.life, *connection);
                }
                agent::Effect::Send { connection, frame } => {
                    let bytes = pb::AgentUp::from(frame.clone()).encode_to_vec();
                    self.send_up(Client::Agent(node), life.life, *connection, bytes);
                }
                agent::Effect::Probe { container, check, probe, .. } => {
                    let failed =
                        self.faulty && one_in(&mut self.chance.machine, self.plan.failing_probes);
                    let fact = agent::Command::ProbeResult {
                        container: container.clone(),
                        check: *check,
                        probe: *probe,
                        passed: !failed,
                        detail: String::new(),
                    };
                    let delay = between(&mut self.chance.machine, 1, 100);
                    self.queue.after(delay, Event::Facts(life, vec![fact]));
                }
                agent::Effect::Checkpoint { .. } => {
                    self.agents[node].machine.perform(&effect);
                    self.schedule_flush(life);
                }
                agent::Effect::Prepare(_)
                | agent::Effect::Go { .. }
                | agent::Effect::Kill { .. }
                | agent::Effect::Destroy { .. }
                | agent::Effect::Grant { .. }
                | agent::Effect::RemoveSandbox { .. }
                | agent::Effect::SetCapabilityKey { .. } => self.perform_machine(life, &effect),
            }
        }
    }

    fn perform_machine(&mut self, life: Life, effect: &agent::Effect) {
        let node = life.node;
        let facts = self.agents[node].machine.perform(effect);
        for fact in &facts {
            match fact {
                agent::Command::Started { container, .. } => {
                    self.counts.launches += 1;
                    self.see(&Seen::Started { node, container });
                    let runs = between(&mut self.chance.machine, 100, 20_000);
                    self.queue.after(runs, Event::ProgramEnds(node, container.clone()));
                }
                agent::Command::Exited { container, .. } => {
                    self.see(&Seen::Ended { node, container })
                }
                _ => {}
            }
        }
        if !facts.is_empty() {
            let delay = between(&mut self.chance.machine, 1, 20);
            self.queue.after(delay, Event::Facts(life, facts));
        }
    }

    fn schedule_flush(&mut self, life: Life) {
        let delay = heavy_tail(&mut self.chance.machine, self.plan.checkpoint_ms);
        let it = &mut self.agents[life.node];
        if !it.flushing && it.machine.pending_writes() > 0 {
            it.flushing = true;
            self.queue.after(delay, Event::Flushed(life));
        }
    }

    fn flushed(&mut self, life: Life) {
        if !self.agent_at(life) {
            return;
        }
        let it = &mut self.agents[life.node];
        it.flushing = false;
        let count = self.chance.machine.random_range(1..=it.machine.pending_writes().max(1));
        let written = it.machine.flush(count);
        if let Some(written) = written {
            self.agent_facts(life, vec![written]);
        }
        if self.agent_at(life) {
            self.schedule_flush(life);
        }
    }

    fn program_ends(&mut self, node: usize, container: &ContainerId) {
        let fails = one_in(&mut self.chance.machine, self.plan.failing_tasks);
        let outcome = if fails { Outcome::Code(1) } else { Outcome::Code(0) };
        self.end_container(node, container, outcome);
    }

    /// A running container ends.
    pub fn end_container(&mut self, node: usize, container: &ContainerId, outcome: Outcome) {
        let exit = ContainerExit {
            outcome,
            cause: StopCause::Itself,
            forced: false,
            out_of_memory: false,
            memory_peak: None,
            ran_for: DurationMs(1),
            stderr_tail: String::new(),
        };
        let facts = self.agents[node].machine.end(container, exit);
        if facts.is_empty() {
            return;
        }
        self.see(&Seen::Ended { node, container });
        let life = Life { node, life: self.agents[node].life };
        if self.agent_at(life) {
            let delay = between(&mut self.chance.machine, 1, 20);
            self.queue.after(delay, Event::Facts(life, facts));
        }
    }

    /// Ends an agent process at once; with `reboot` its whole machine. It starts again by itself.
    pub fn kill_agent(&mut self, node: usize, reboot: bool) {
        if self.agents[node].core.take().is_none() {
            return;
        }
        self.see(&Seen::Died { who: format!("agent {node}") });
        let it = &mut self.agents[node];
        let durable = self.chance.machine.random_range(0..=it.machine.pending_writes());
        if reboot {
            it.boot += 1;
            let running = it.machine.running();
            it.machine.reboot(durable);
            for container in running {
                self.see(&Seen::Ended { node, container: &container });
            }
        } else {
            it.machine.crash(durable);
        }
        let life = self.agents[node].life;
        self.hang_up(Client::Agent(node), life);
        let down = between(&mut self.chance.faults, 10, DOWN_MS_MAX);
        self.queue.after(down, Event::StartAgent(node));
    }

    /// The connections of a process that died.
    fn hang_up(&mut self, client: Client, life: u64) {
        for wire in self.network.matching(|it| it.client == client && it.client_life == life) {
            if let Some(connection) = self.network.connections.get_mut(&wire) {
                connection.client_open = false;
            }
            let notice = between(&mut self.chance.network, 1, 300);
            self.queue.after(notice, Event::Ends(wire, Way::Up, None));
        }
    }

    // --- frameworks ---

    fn start_framework(&mut self, node: usize) {
        if self.frameworks[node].driver.is_none() {
            self.frameworks[node].start(self.plan.seed);
            self.framework_step(node, Link::Tick);
        }
    }

    fn framework_due(&mut self, life: Life, at_ms: u64) {
        let it = &self.frameworks[life.node];
        if it.life == life.life && it.called_at_ms == Some(at_ms) {
            self.frameworks[life.node].called_at_ms = None;
            self.framework_step(life.node, Link::Tick);
        }
    }

    /// Tells a framework process something and carries out what it wants.
    pub fn framework_step(&mut self, node: usize, link: Link) {
        let now = self.clock(self.frameworks[node].clock_ahead_ms);
        let Some(driver) = &mut self.frameworks[node].driver else { return };
        driver.apply(link, now);
        self.framework_outputs(node);
    }

    /// Carries out what a framework process wants.
    pub fn framework_outputs(&mut self, node: usize) {
        let now = self.clock(self.frameworks[node].clock_ahead_ms);
        let life = self.frameworks[node].life;
        let client = Client::Framework(node);
        loop {
            let Some(driver) = &mut self.frameworks[node].driver else { return };
            let Some(output) = driver.next_output(now) else { break };
            match output {
                Output::Connect { connection, .. } => {
                    let place = self.chance.network.random_range(0..self.masters.len());
                    self.dial(client, life, connection, place);
                }
                Output::Send { connection, frame } => {
                    self.see(&Seen::FrameworkSent { node, frame: &frame });
                    let bytes = pb::SchedulerUp::from(frame).encode_to_vec();
                    self.send_up(client, life, connection, bytes);
                }
                Output::Close { connection } => self.close_by_client(client, life, connection),
                Output::Ended => {}
            }
        }
        let Some(driver) = &self.frameworks[node].driver else { return };
        let (invariants, due) = (driver.check_invariants(), driver.next_deadline());
        self.hold(&format!("framework {node}"), invariants);
        let it = &mut self.frameworks[node];
        if let Some(at) = due {
            let at_ms = at.0.saturating_sub(it.clock_ahead_ms).max(self.queue.now_ms() + 1);
            if it.called_at_ms.is_none_or(|called| at_ms < called) {
                it.called_at_ms = Some(at_ms);
                self.queue.at(at_ms, Event::FrameworkDue(Life { node, life }, at_ms));
            }
        }
    }

    /// Ends a framework process at once; it starts again by itself.
    pub fn kill_framework(&mut self, node: usize) {
        if self.frameworks[node].driver.take().is_none() {
            return;
        }
        self.see(&Seen::Died { who: format!("framework {node}") });
        let life = self.frameworks[node].life;
        self.hang_up(Client::Framework(node), life);
        let down = between(&mut self.chance.faults, 10, DOWN_MS_MAX);
        self.queue.after(down, Event::StartFramework(node));
    }

    /// Where a watcher of the leader stands.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.view.cursor
    }
}

fn lease_until(lease: &LeaderLease, now: Duration) -> Monotonic {
    match lease.state(now) {
        LeaseState::Confirmed { remaining } => {
            let until = now + remaining;
            Monotonic(u64::try_from(until.as_millis()).unwrap_or(u64::MAX))
        }
        LeaseState::Suspended | LeaseState::Lost => Monotonic(0),
    }
}
