//! Owns the simulated cluster: takes the next event, hands it to the part it concerns, carries out
//! what that part decides, and shows everything to the checkers.

use super::chance::{Chance, between, heavy_tail, one_in};
use super::marks::Marks;
use super::members::Members;
use super::network::{Client, Connection, Network, Way, Wire};
use super::node_agent::AgentNode;
use super::node_framework::{FrameworkNode, Link};
use super::node_master::{Leading, MasterNode, State};
use super::observe::{Checker, Seen};
use super::plan::Plan;
use super::planted::{Memory, Planted};
use super::queue::Queue;
use super::report::Counts;
use super::view::View;
use proffer_agent_core as agent;
use proffer_agent_core::container::{ContainerExit, Outcome, StopCause};
use proffer_master::store::StoreError;
use proffer_master::store::commit_queue::{CommitOutcome, CommitQueue, QueueBudget, Request};
use proffer_master::store::lease::{LeaderLease, LeaseState};
use proffer_master::store::memory_core::MemoryCore;
use proffer_master::store::model::{
    Guard, LeaderToken, Limits, OperationId, Page, RangeRequest, Revision, Transaction,
    TransactionResult,
};
use proffer_master_core as master;
use proffer_master_core::registry::{Record, RecordKey, RegistryImage, state_prefix};
use proffer_master_core::{Command, ConnectionId, Effect, Master, Peer, WriteResult};
use proffer_proto::pb;
use proffer_sdk_core::Output;
use proffer_types::OfferConditions;
use proffer_types::agent::{AgentDown, AgentOrder, AgentUp};
use proffer_types::operator::OperatorCall;
use proffer_types::scheduler::{SchedulerDown, SchedulerUp};
use proffer_types::state_store::{StateBudget, StateEntry};
use proffer_types::{
    AgentId, ContainerId, Cursor, DurationMs, FrameworkId, Monotonic, Now, PrincipalName, Refusal,
    RefusalCode, TaskName, VolumeId, WallTime,
};
use prost::Message;
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

mod agents;
mod connections;
mod farm;
mod frameworks;
mod masters;
mod store;
mod terms;

pub use farm::Rider;
use store::{Answer, Call};

/// How long a term outlives its last renewal.
const LEASE_TTL: Duration = Duration::from_secs(5);
/// How often a leader renews it.
const RENEW_MS: u64 = 1_600;
/// How long a dead process stays dead, at most.
const DOWN_MS_MAX: u64 = 3_000;
/// Where wall clocks begin.
const WALL_MS: u64 = 1_700_000_000_000;

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
    /// A request reaches a member of the store.
    Asked(Call),
    /// Its answer reaches the master, from which life of the member; `None`: there is none.
    Answered(Call, u64, Option<Answer>),
    /// A copy of a transaction reaches the store, and nobody awaits its answer.
    Copy(Life, Arc<Transaction>),
    /// A master is told how a transaction ended.
    Transacted(Life, TransactionResult),
    /// Members of the store elect their leader.
    ElectMember,
    /// A member that died is back.
    StartMember(usize),
    /// A member reaches the others again.
    JoinMember(usize),
    /// A master reaches a member again.
    MendMember(usize, usize),
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
    /// An agent of the farm is told that it is connected.
    Boarded(Wire),
    /// Something goes wrong.
    Fault,
    /// A link works again.
    Mend(Client, usize),
    /// A user does something.
    Workload,
    /// An operator does something.
    Operate,
    /// An operator does something about reservations and volumes.
    Reserve,
}

/// Who was elected, and which of its campaigns it was: a lease counts from when that one was sent.
#[derive(Clone, Copy)]
pub struct Seated {
    life: Life,
    token: LeaderToken,
    stood_at: Duration,
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
    /// Its members.
    pub members: Members,
    /// Which master was elected last.
    pub elected: Option<Seated>,
    /// Where the store stood when the term before that one began.
    pub deposed: Option<Revision>,
    /// Master processes.
    pub masters: Vec<MasterNode>,
    /// Agents.
    pub agents: Vec<AgentNode>,
    /// The agents of the farm by their ids, as far as it has learned them.
    pub farm_ids: BTreeMap<AgentId, usize>,
    /// Framework processes.
    pub frameworks: Vec<FrameworkNode>,
    /// What the leader publishes.
    pub view: View,
    /// What was counted.
    pub counts: Counts,
    /// Rare situations that were reached.
    pub marks: Marks,
    /// Whether faults strike.
    pub faulty: bool,
    /// Whether wall clocks stay where they are when they would jump (I14).
    pub still_clocks: bool,
    /// The bug that is planted, if any.
    pub planted: Option<Planted>,
    /// What it remembers.
    pub planted_memory: Memory,
    /// When something outside the seed strikes, for the bug that lets it.
    pub outside_ticks: u64,
    /// After how many more effects the process that acts now dies.
    pub tear_in: Option<u64>,
    /// What every container was made for.
    pub made_for: BTreeMap<ContainerId, (FrameworkId, TaskName)>,
    /// The last number that a user's call was given.
    pub last_reply: u64,
    /// Calls of operators that wait for an answer: the leader, its life, and what was asked.
    pub asked: BTreeMap<u64, (usize, u64, OperatorCall)>,
    /// What frameworks said that they want to be offered, by connection at one life of a master, each as
    /// it arrived there.
    pub wanted: BTreeMap<(usize, u64, ConnectionId), Vec<OfferConditions>>,
    /// Volumes that a disk has lost by no fault of ours.
    pub lost_volumes: BTreeSet<(usize, VolumeId)>,
    /// Whether the end was reached in time (I16), and what was missing when not.
    pub unhealed: Option<String>,
    checkers: Vec<Box<dyn Checker>>,
    /// The first broken statement.
    pub broken: Option<String>,
    /// Lines of the story, kept for a replay.
    pub story: Option<Vec<String>>,
    /// A digest of everything that happened (I20).
    pub digest: u64,
    /// A digest of what happened when, without what wall clocks showed (I14).
    pub skeleton: u64,
}

/// Digests text as it is written (FNV-1a).
struct Digest(u64);

impl std::fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
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
            members: Members::new(plan.members),
            elected: None,
            deposed: None,
            plan,
            chance,
            queue: Queue::default(),
            network: Network::default(),
            masters: Vec::new(),
            agents: Vec::new(),
            farm_ids: BTreeMap::new(),
            frameworks: Vec::new(),
            view: View::default(),
            counts: Counts::default(),
            marks: Marks::default(),
            faulty: true,
            still_clocks: false,
            planted,
            planted_memory: Memory::default(),
            tear_in: None,
            outside_ticks: if planted == Some(Planted::OutsideChance) {
                super::faults::outside()
            } else {
                0
            },
            made_for: BTreeMap::new(),
            last_reply: 0,
            asked: BTreeMap::new(),
            wanted: BTreeMap::new(),
            lost_volumes: BTreeSet::new(),
            unhealed: None,
            checkers,
            broken: None,
            story: None,
            digest: 0xcbf2_9ce4_8422_2325,
            skeleton: 0xcbf2_9ce4_8422_2325,
        };
        world.planted_memory = Memory::drawn(planted, &mut world.chance.planted);
        super::run::populate(&mut world);
        world
    }

    /// Whether this bug is planted and strikes now: once in a run, at an occurrence that was drawn.
    pub fn strikes(&mut self, bug: Planted) -> bool {
        self.planted == Some(bug) && self.planted_memory.strikes()
    }

    /// Runs to a moment of virtual time, or to the first broken statement.
    pub fn run_until(&mut self, until_ms: u64) {
        while self.broken.is_none() {
            let Some(event) = self.queue.next(until_ms) else { return };
            self.counts.events += 1;
            self.happen(event);
        }
    }

    /// The time of a process: its monotonic clock, and a wall clock that jumps (F38).
    #[must_use]
    pub fn clock(&self, ahead_ms: u64, wall_ahead_ms: i64) -> Now {
        let now = self.queue.now_ms() + ahead_ms;
        let wall = (WALL_MS + now).saturating_add_signed(wall_ahead_ms);
        Now { monotonic: Monotonic(now), wall: WallTime(wall) }
    }

    /// The time on a master.
    #[must_use]
    pub fn master_clock(&self, node: usize) -> Now {
        let it = &self.masters[node];
        self.clock(it.clock_ahead_ms, it.wall_ahead_ms)
    }

    /// The time on an agent.
    #[must_use]
    pub fn agent_clock(&self, node: usize) -> Now {
        let it = &self.agents[node];
        self.clock(it.clock_ahead_ms, it.wall_ahead_ms)
    }

    /// The time of a framework process.
    #[must_use]
    pub fn framework_clock(&self, node: usize) -> Now {
        let it = &self.frameworks[node];
        self.clock(it.clock_ahead_ms, it.wall_ahead_ms)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::StartMaster(node) => self.start_master(node),
            Event::Campaign(life) => self.campaign(life),
            Event::Renew(life) => self.renew(life),
            Event::Turn(life) => self.turn(life),
            Event::MasterDue(life, at_ms) => self.master_due(life, at_ms),
            Event::Asked(call) => self.asked(call),
            Event::Answered(call, life, answer) => self.answered(call, life, answer),
            Event::Copy(life, transaction) => self.copied(life, &transaction),
            Event::Transacted(life, result) => self.transacted(life, result),
            Event::ElectMember => self.elect_member(),
            Event::StartMember(member) => {
                self.members.start(member);
                self.members_look();
            }
            Event::JoinMember(member) => {
                self.members.join(member);
                self.members_look();
            }
            Event::MendMember(node, member) => self.members.mend(node, member),
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
            Event::Boarded(wire) => self.boarded(wire),
            Event::Fault => super::faults::strike(self),
            Event::Mend(client, node) => {
                self.network.cut.remove(&(client, node, Way::Up));
                self.network.cut.remove(&(client, node, Way::Down));
            }
            Event::Workload => super::workload::users(self),
            Event::Operate => super::workload::operators(self),
            Event::Reserve => super::reserving::operators(self),
        }
    }

    /// Shows something to every checker.
    pub fn see(&mut self, seen: &Seen<'_>) {
        let now_ms = self.queue.now_ms();
        let mut digest = Digest(self.digest);
        write!(digest, "{now_ms} {seen:?}").expect("a digest takes everything");
        self.digest = digest.0;
        let mut skeleton = Digest(self.skeleton);
        write!(skeleton, "{now_ms} {}", seen.shape()).expect("a digest takes everything");
        self.skeleton = skeleton.0;
        if let Some(story) = &mut self.story {
            story.push(format!("{now_ms:>9} {seen:?}"));
        }
        let mut marks = std::mem::take(&mut self.marks);
        marks.see(seen, self);
        self.marks = marks;
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
        // With a planted bug only the checkers are asked: each must find its own.
        if self.planted.is_some() {
            return;
        }
        if let (Err(why), None) = (result, &self.broken) {
            self.broken = Some(format!("invariant of {who}: {why}"));
        }
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
