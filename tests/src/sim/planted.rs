//! Bugs planted on purpose, one a checker: the gate fails when a checker misses its own. They are put
//! in at the edges of the world (store, disk, machine, network, door, publisher), never in the cores.
//! Each strikes once in a run, at an occurrence that the seed draws: what goes wrong in every case needs
//! no checker to be seen.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each edge knows the few bugs that are planted there"
)]

use super::chance::between;
use super::plan::{FaultRates, Plan};
use proffer_agent_core::checkpoint::Checkpoint;
use proffer_allocator::Delta;
use proffer_master::store::model::{Guard, LeaderToken, Transaction};
use proffer_master_core::registry::{Record, RecordKey};
use proffer_types::agent::{AgentDown, AgentMessage, AgentOrder, AgentUp};
use proffer_types::demand::DemandGroup;
use proffer_types::hold::HoldKind;
use proffer_types::offer::Operation;
use proffer_types::operator::Change;
use proffer_types::scheduler::{Call, Event, SchedulerDown, SchedulerUp, TaskRecord};
use proffer_types::{AgentId, DurationMs, Generation, RevocableUse, TaskState, TaskStatus};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};

/// A bug, named for what is wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Planted {
    /// Agents are told that an end was acknowledged which nobody has acknowledged.
    ForgedAcknowledgement,
    /// A machine starts the program of a container twice.
    StartedTwice,
    /// An agent believes that its machine has twice as much as it has.
    BoastfulAgent,
    /// The publisher forgets that leases were returned.
    ForgottenReturn,
    /// The network loses the tasks of an agent's registration.
    ShortList,
    /// The network tells a framework that a task which ended runs again.
    BackFromTheDead,
    /// A framework is handed the end of a task twice.
    ToldTwice,
    /// The store takes a write of a deposed leader.
    StoreWithoutFence,
    /// The store takes a request that comes twice a second time.
    DoubledCommit,
    /// The store answers that it has written, and has not written the records of frameworks.
    ForgetfulStore,
    /// Instances are ended in the middle of a rollout by somebody else's kill.
    ImpatientRollout,
    /// A monotonic clock jumps with the wall clock.
    OneClock,
    /// A machine removes a container and leaves something of it.
    Remains,
    /// A leader gives a framework more offers than anybody may hold.
    EndlessOffers,
    /// A framework's link stays cut after the healing.
    NeverMends,
    /// The published list leaves a task out.
    SkippedChange,
    /// A row that is removed stays in the published list.
    LastingRow,
    /// Something outside the seed decides.
    OutsideChance,
    /// The network tells a framework that a launch was dropped which was taken.
    FalseDropped,
    /// The store forgets who has tasks where.
    ForgottenOccupancy,
    /// A snapshot leaves a task out.
    ShortSnapshot,
    /// A refused write counts as written.
    UnwrittenCommit,
    /// A leader believes that its lease never ends.
    EndlessLease,
    /// The publisher forgets that demand ended.
    ForgottenDemand,
    /// The network repeats an old demand as if it were new.
    ForgedDemand,
    /// A disk says that it has written, and has not.
    LostCheckpoint,
    /// The network hands a status over after newer ones.
    LateStatus,
    /// The list of a turn is published twice.
    RepeatedPublish,
    /// The store forgets which ids were given.
    ForgottenMark,
    /// The door lets anybody in as anybody.
    OpenDoor,
    /// The master never hears which agents operators drain.
    ForgottenDrain,
    /// The master never hears which limits operators set.
    ForgottenLimit,
    /// The master never hears what frameworks want to be offered.
    ForgottenCondition,
    /// The network tells the master that a demand accepts what may be taken back.
    ForgedConsent,
    /// The master hears that a drain is to ask nobody.
    ImpatientDrain,
    /// The list hides that a maintenance window has begun.
    HiddenWindow,
    /// A member of the store answers with what it knew before it was cut off.
    StaleMember,
    /// A member that is cut off from the others says that it has written.
    MinorityCommit,
    /// The service framework's shell answers before what it says is stored.
    EarlyAnswer,
    /// A snapshot names no absent agents.
    ForgottenAbsence,
    /// A machine empties a volume when its agent starts.
    EmptiedVolume,
    /// A disk says that it has written a reservation, and has not.
    LostHold,
    /// An order to reserve names another role when it arrives.
    ForgedRole,
    /// An order to make room leaves no time when it arrives.
    ImpatientClaim,
    /// What tasks a framework wants to keep is lost on its way.
    ForgottenBudget,
    /// An agent is told that a gang is given up which starts.
    HalfGang,
}

/// Each bug with the id of the checker that must catch it.
pub const TABLE: &[(Planted, &str)] = &[
    (Planted::ForgedAcknowledgement, "I1"),
    (Planted::StartedTwice, "I2"),
    (Planted::BoastfulAgent, "I3"),
    (Planted::ForgottenReturn, "I4"),
    (Planted::ShortList, "I5"),
    (Planted::ForgottenLimit, "I6"),
    (Planted::BackFromTheDead, "I7"),
    (Planted::ToldTwice, "I7"),
    (Planted::StoreWithoutFence, "I10"),
    (Planted::DoubledCommit, "I10"),
    (Planted::ForgetfulStore, "I11"),
    (Planted::ImpatientRollout, "I13"),
    (Planted::OneClock, "I14"),
    (Planted::Remains, "I15"),
    (Planted::EndlessOffers, "I15"),
    (Planted::NeverMends, "I16"),
    (Planted::SkippedChange, "I17"),
    (Planted::LastingRow, "I17"),
    (Planted::OutsideChance, "I20"),
    (Planted::ForgottenCondition, "I21"),
    (Planted::ForgedConsent, "I21"),
    (Planted::FalseDropped, "K1"),
    (Planted::ForgottenOccupancy, "K2"),
    (Planted::ShortSnapshot, "K2"),
    (Planted::UnwrittenCommit, "K4"),
    (Planted::ForgottenDemand, "K7"),
    (Planted::EndlessLease, "K8"),
    (Planted::ForgedDemand, "K10"),
    (Planted::ForgottenDrain, "I13"),
    (Planted::ImpatientDrain, "I13"),
    (Planted::HiddenWindow, "I13"),
    (Planted::LostCheckpoint, "K14"),
    (Planted::LateStatus, "K15"),
    (Planted::RepeatedPublish, "K17"),
    (Planted::ForgottenMark, "K19"),
    (Planted::OpenDoor, "K20"),
    (Planted::StaleMember, "K19"),
    (Planted::MinorityCommit, "K4"),
    (Planted::EarlyAnswer, "I11 (services)"),
    (Planted::ForgetfulStore, "I11 (services)"),
    (Planted::ForgottenAbsence, "K2 (endpoints)"),
    (Planted::EmptiedVolume, "I8"),
    (Planted::LostHold, "I8"),
    (Planted::ForgedRole, "I8"),
    (Planted::ImpatientClaim, "K11"),
    (Planted::ForgottenBudget, "K11"),
    (Planted::HalfGang, "K3"),
];

/// What the bugs remember.
#[derive(Default)]
pub struct Memory {
    /// At which occurrence the bug strikes.
    strikes_at: u64,
    /// Occurrences so far.
    occurrences: u64,
    old_demand: BTreeMap<usize, Vec<DemandGroup>>,
    held: BTreeMap<usize, TaskStatus>,
}

impl Memory {
    /// The memory of a run with this bug.
    pub fn drawn(planted: Option<Planted>, rng: &mut ChaCha8Rng) -> Self {
        let among = planted.map_or(1, Planted::occurrences);
        Self { strikes_at: between(rng, 1, among), ..Self::default() }
    }

    /// Called at each occurrence; whether this is the one.
    pub fn strikes(&mut self) -> bool {
        self.occurrences += 1;
        self.occurrences == self.strikes_at
    }
}

impl Planted {
    /// Occurrences among which the one that strikes is drawn: about as many as every run has.
    fn occurrences(self) -> u64 {
        match self {
            Self::ImpatientRollout
            | Self::ImpatientDrain
            | Self::BoastfulAgent
            | Self::NeverMends
            | Self::StaleMember
            | Self::EarlyAnswer
            | Self::ForgottenAbsence
            | Self::EmptiedVolume
            | Self::LostHold
            | Self::ForgedRole
            | Self::ImpatientClaim
            | Self::HalfGang
            | Self::MinorityCommit => 2,
            _ => 8,
        }
    }

    /// Makes the faults frequent without which the bug cannot show.
    pub fn favour(self, plan: &mut Plan) {
        match self {
            Self::StoreWithoutFence => {
                plan.masters = 2;
                plan.rates.expire_lease = 6_000;
            }
            Self::EndlessOffers => plan.offers_held_max = 1,
            Self::DoubledCommit => plan.doubled_requests = 60,
            Self::UnwrittenCommit => plan.refused_commits = 60,
            Self::EndlessLease => {
                plan.masters = 2;
                plan.rates.pause_master = 4_000;
            }
            Self::HiddenWindow => {
                plan.operators = true;
                plan.rates = FaultRates::default();
            }
            Self::ForgottenDrain | Self::ForgottenLimit | Self::ImpatientDrain => {
                plan.operators = true;
                plan.rates.crash_master = 0;
            }
            Self::EmptiedVolume | Self::LostHold | Self::ForgedRole => {
                plan.holds = true;
                plan.lose_volume = 0;
                plan.rates.crash_agent = 6_000;
            }
            Self::HalfGang => {
                plan.agents = plan.agents.max(3);
                plan.batches = plan.batches.max(1);
                plan.classical = Some(0);
                plan.holds = false;
            }
            Self::ForgottenCondition => {
                plan.agents = plan.agents.max(2);
                plan.batches = plan.batches.max(1);
                plan.classical = Some(0);
                plan.rates.crash_master = 0;
            }
            Self::ForgedConsent => {
                plan.agents = plan.agents.max(2);
                plan.batches = plan.batches.max(2);
                plan.classical = None;
            }
            Self::OneClock => plan.rates.wall_jump = 6_000,
            Self::OpenDoor => plan.impostor = true,
            Self::StaleMember => plan.rates.crash_master = 2_000,
            Self::MinorityCommit => {
                plan.members = 3;
                plan.rates.isolate_member = 4_000;
            }
            Self::ImpatientRollout | Self::EarlyAnswer => plan.services = true,
            Self::ForgottenAbsence => {
                plan.services = true;
                plan.rates.crash_master = 3_000;
                plan.rates.crash_framework = 3_000;
            }
            _ => {}
        }
    }

    /// Changes a frame on its way to an agent; `disk` is what that agent has written.
    pub fn to_agent(self, memory: &mut Memory, frame: &mut AgentDown, disk: &Checkpoint) {
        for order in &mut frame.orders {
            if let AgentOrder::Preempt { grace, .. } = order
                && self == Self::ImpatientClaim
                && memory.strikes()
            {
                *grace = DurationMs(0);
            }
            if let AgentOrder::StartGang { gang } = order
                && self == Self::HalfGang
                && memory.strikes()
            {
                *order = AgentOrder::AbortGang { gang: *gang, why: String::new() };
            }
            if let AgentOrder::ApplyHold { hold } = order
                && let HoldKind::Reservation { role, .. } = &mut hold.kind
                && self == Self::ForgedRole
                && memory.strikes()
            {
                *role = "thieves".parse().expect("a valid role");
            }
        }
        let mut ended =
            disk.tasks.values().filter(|task| task.status.state.is_terminal()).peekable();
        if self == Self::ForgedAcknowledgement && ended.peek().is_some() && memory.strikes() {
            frame.orders.extend(ended.filter_map(|task| {
                let id = task.status.id?;
                Some(AgentOrder::Acknowledge {
                    framework: task.framework,
                    incarnation: id.incarnation,
                    through: id.sequence,
                    except: BTreeSet::new(),
                })
            }));
        }
    }

    /// Changes a frame on its way from an agent.
    pub fn from_agent(self, memory: &mut Memory, frame: &mut AgentUp) {
        for message in &mut frame.messages {
            if let AgentMessage::Tasks { tasks } = message
                && self == Self::ShortList
                && tasks.iter().any(|task| !task.record.status.state.is_terminal())
                && memory.strikes()
            {
                tasks.clear();
            }
        }
    }

    /// Changes a frame that leaves a master for a framework.
    pub fn leaves(self, memory: &mut Memory, frame: &mut SchedulerDown) {
        for event in &mut frame.events {
            match event {
                Event::SnapshotPage { tasks } if self == Self::ShortSnapshot => {
                    let alive = |task: &TaskRecord| !task.status.state.is_terminal();
                    if tasks.iter().any(alive) && memory.strikes() {
                        tasks.retain(|task| !alive(task));
                    }
                }
                Event::SnapshotEnd { absent, .. }
                    if self == Self::ForgottenAbsence && !absent.is_empty() && memory.strikes() =>
                {
                    absent.clear();
                }
                _ => {}
            }
        }
    }

    /// Changes a frame on its way to a framework process.
    pub fn to_framework(self, memory: &mut Memory, node: usize, frame: &mut SchedulerDown) {
        let mut more = Vec::new();
        for event in &mut frame.events {
            let status = match event {
                Event::Status(status) => status,
                Event::Task(record) => &mut record.status,
                _ => continue,
            };
            match self {
                Self::BackFromTheDead if status.state.is_terminal() && memory.strikes() => {
                    more.push(Event::Status(TaskStatus {
                        state: TaskState::Running,
                        ..status.clone()
                    }));
                }
                Self::FalseDropped if status.state == TaskState::Taken && memory.strikes() => {
                    status.state = TaskState::Dropped;
                    status.id = None;
                }
                Self::LateStatus if status.id.is_some() && !status.state.is_terminal() => {
                    let log = |status: &TaskStatus| status.id.map(|id| (id.agent, id.incarnation));
                    match memory.held.remove(&node) {
                        None if memory.strikes() => {
                            memory.held.insert(node, status.clone());
                            *event = Event::Heartbeat;
                        }
                        Some(old) if old.id < status.id && log(&old) == log(status) => {
                            more.push(Event::Status(old));
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        frame.events.extend(more);
    }

    /// Changes a frame on its way from a framework process.
    pub fn from_framework(self, memory: &mut Memory, node: usize, frame: &mut SchedulerUp) {
        if self == Self::ForgottenBudget {
            frame.calls.iter_mut().for_each(forget_budgets);
        }
        if self == Self::ForgedConsent {
            let groups = frame.calls.iter_mut().filter_map(|call| match call {
                Call::Demand { groups } => Some(groups),
                _ => None,
            });
            groups.flatten().for_each(|group| group.revocable = RevocableUse::Accept);
        }
        if self != Self::ForgedDemand {
            return;
        }
        for call in &mut frame.calls {
            let Call::Demand { groups } = call else { continue };
            if groups.is_empty() {
                continue;
            }
            let old = memory.old_demand.entry(node).or_insert_with(|| groups.clone()).clone();
            if *groups == old || !memory.strikes() {
                continue;
            }
            let newest = groups.iter().map(|group| group.generation.0).max().unwrap_or(0);
            *groups = old;
            for group in groups {
                group.generation = Generation(newest + 1_000);
                group.target += 1;
            }
        }
    }

    /// Changes what a leader publishes.
    pub fn published(self, memory: &mut Memory, changes: &mut [Change], deltas: &mut Vec<Delta>) {
        for change in changes {
            // The number stays, so that the list itself is in order.
            match change {
                Change::Task(row) if self == Self::SkippedChange && memory.strikes() => {
                    *change = Change::TaskRemoved(row.status.key());
                }
                Change::Agent(row) if self == Self::HiddenWindow => row.windows.clear(),
                Change::OfferRemoved(_) if self == Self::LastingRow && memory.strikes() => {
                    *change = Change::AgentRemoved(AgentId(0));
                }
                _ => {}
            }
        }
        deltas.retain(|delta| match delta {
            Delta::Returned { .. } => self != Self::ForgottenReturn || !memory.strikes(),
            Delta::Demand { groups: Some(groups), .. } if groups.is_empty() => {
                self != Self::ForgottenDemand || !memory.strikes()
            }
            _ => true,
        });
    }

    /// Changes a transaction on its way into the store.
    pub fn to_store(
        self,
        memory: &mut Memory,
        transaction: &mut Transaction,
        guard: Guard,
        stands: Option<LeaderToken>,
    ) {
        let mut drop = |transaction: &mut Transaction, prefix: &[u8]| {
            let has = transaction.changes.keys().any(|key| key.starts_with(prefix));
            if has && memory.strikes() {
                transaction.changes.retain(|key, _| !key.starts_with(prefix));
            }
        };
        match self {
            Self::ForgetfulStore => drop(transaction, b"state/"),
            Self::ForgottenOccupancy => drop(transaction, b"occupancy/"),
            Self::ForgottenMark => forget_marks(memory, transaction),
            Self::StoreWithoutFence => {
                if let Some(token) = stands
                    && token != transaction.token
                    && memory.strikes()
                {
                    transaction.token = token;
                    transaction.expected = guard.mark;
                    transaction.mark.sequence = guard.mark.sequence + 1;
                }
            }
            _ => {}
        }
    }
}

/// Keeps the epoch and nothing else of the cluster's counters.
fn forget_marks(memory: &mut Memory, transaction: &mut Transaction) {
    for (key, value) in &mut transaction.changes {
        let (Ok(RecordKey::Cluster), Some(bytes)) = (RecordKey::decode(key), value.as_ref()) else {
            continue;
        };
        if let Ok(Record::Cluster(mut cluster)) = Record::decode(&RecordKey::Cluster, bytes)
            && memory.strikes()
        {
            cluster.agent_mark = proffer_types::AgentId(0);
            cluster.framework_mark = proffer_types::FrameworkId(0);
            *value = Some(Record::Cluster(cluster).encode());
        }
    }
}

fn forget_budgets(call: &mut Call) {
    match call {
        Call::Budgets { budgets } => budgets.clear(),
        Call::Accept(accept) => {
            for operation in &mut accept.operations {
                let Operation::Launch { tasks, .. } = operation else { continue };
                tasks.iter_mut().for_each(|task| task.budget = None);
            }
        }
        _ => {}
    }
}
