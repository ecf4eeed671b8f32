//! A master in memory, for one framework: small, but it keeps the rules that a framework relies on
//! (K1, K2, K9, K10), and counts what a framework must never do.

mod agents;
mod calls;
mod offers;

use super::fake_agent::{FakeAgent, Standing};
use proffer_types::demand::{Budget, DemandGroup};
use proffer_types::inverse_offer::InverseOffer;
use proffer_types::offer::Offer;
use proffer_types::scheduler::{
    Absence, AbsentAgent, Call, Event, FrameworkInfo, SchedulerDown, SchedulerUp, TaskRecord,
};
use proffer_types::state_store::{CommitRate, StateBudget, StateCall};
use proffer_types::{
    AgentId, AgentName, Attributes, Cursor, DurationMs, FrameworkEpoch, FrameworkId, GangId,
    GroupName, Incarnation, LaunchToken, MasterEpoch, OfferConditions, OfferId, Refusal, ReplicaId,
    Resources, TaskName, TaskState, TemplateDigest, WallTime,
};
use std::collections::{BTreeMap, BTreeSet};

/// How often both sides must say something.
pub const HEARTBEAT: DurationMs = DurationMs(1_000);
/// How long an offer is held.
pub const OFFER_TTL: DurationMs = DurationMs(10_000);
/// Entries of one page of state, small so that tests see several.
const STATE_PAGE: usize = 3;
/// Key of capabilities for the framework's API.
const CAPABILITY_KEY: &[u8] = b"a fake master's key";

/// What the master knows of a task.
#[derive(Clone, Debug)]
struct Known {
    record: TaskRecord,
}

impl Known {
    /// An end that the master says by itself needs no acknowledgement: its row goes when it is sent.
    fn is_own_last_word(&self) -> bool {
        self.record.status.state.is_terminal() && self.record.status.id.is_none()
    }
}

/// A master for one framework, with its agents.
#[derive(Clone, Debug)]
pub struct FakeMaster {
    now: WallTime,
    epoch: MasterEpoch,
    framework: FrameworkId,
    framework_epoch: FrameworkEpoch,
    info: Option<FrameworkInfo>,
    /// Stream and replica that are active.
    active: Option<(u64, ReplicaId)>,
    /// The replica that may resume in the current framework epoch.
    resumable: Option<ReplicaId>,
    standbys: Vec<(u64, ReplicaId)>,
    agents: BTreeMap<AgentId, FakeAgent>,
    /// Agents that may hold tasks of the framework, and gone ones it has not acknowledged (K2).
    occupied: BTreeSet<AgentId>,
    last_gang: u64,
    /// Gangs that were decided (K3).
    started: BTreeSet<GangId>,
    known: BTreeMap<TaskName, Known>,
    /// Tasks whose newest state is to be sent; a newer state goes to the back (K15).
    unsent: Vec<TaskName>,
    demand: BTreeMap<GroupName, DemandGroup>,
    demand_ends: BTreeMap<GroupName, WallTime>,
    /// Whether the framework stated demand on this stream; if not, it gets classical offers.
    has_stated_demand: bool,
    /// Agents that are drained, and what the framework is asked about them.
    drained: BTreeMap<AgentId, InverseOffer>,
    templates: BTreeSet<TemplateDigest>,
    offers: BTreeMap<OfferId, Offer>,
    /// What classical offers are to hold.
    conditions: OfferConditions,
    /// As they were said last.
    pub budgets: Vec<Budget>,
    last_offer: u64,
    last_agent: u64,
    token_mark: LaunchToken,
    state: BTreeMap<String, (u64, Vec<u8>)>,
    state_version: u64,
    budget: StateBudget,
    rate: CommitRate,
    holds_state: bool,
    /// What was asked of the state store meanwhile, with its number.
    held_state: Vec<(u64, StateCall)>,
    /// Kills for agents that were out of reach; delivered when they return.
    kills_kept: BTreeSet<TaskName>,
    is_torn_down: bool,
    out: Vec<(u64, Event)>,
    calls: Vec<Call>,
    launched: Vec<(TaskName, LaunchToken)>,
    refused_launches: BTreeMap<TaskName, Refusal>,
    refused_demand: Option<Refusal>,
    violations: Vec<String>,
}

impl Default for FakeMaster {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeMaster {
    /// A master in its first epoch, without agents.
    #[must_use]
    pub fn new() -> Self {
        Self {
            now: WallTime(0),
            epoch: MasterEpoch(1),
            framework: FrameworkId(1),
            framework_epoch: FrameworkEpoch(0),
            info: None,
            active: None,
            resumable: None,
            standbys: Vec::new(),
            agents: BTreeMap::new(),
            occupied: BTreeSet::new(),
            last_gang: 0,
            started: BTreeSet::new(),
            known: BTreeMap::new(),
            unsent: Vec::new(),
            demand: BTreeMap::new(),
            demand_ends: BTreeMap::new(),
            has_stated_demand: false,
            drained: BTreeMap::new(),
            templates: BTreeSet::new(),
            offers: BTreeMap::new(),
            conditions: OfferConditions::new(),
            budgets: Vec::new(),
            last_offer: 0,
            last_agent: 0,
            token_mark: LaunchToken::default(),
            state: BTreeMap::new(),
            state_version: 0,
            budget: StateBudget::default(),
            rate: CommitRate::default(),
            holds_state: false,
            held_state: Vec::new(),
            kills_kept: BTreeSet::new(),
            is_torn_down: false,
            out: Vec::new(),
            calls: Vec::new(),
            launched: Vec::new(),
            refused_launches: BTreeMap::new(),
            refused_demand: None,
            violations: Vec::new(),
        }
    }

    /// Sets the time that statuses carry.
    pub fn set_time(&mut self, now: WallTime) {
        self.now = now;
    }

    /// Adds an agent that registers at once.
    pub fn add_agent(&mut self, name: &str, total: Resources, attributes: Attributes) -> AgentId {
        self.last_agent += 1;
        let id = AgentId(self.last_agent);
        let name = AgentName::new(name).expect("a test names its agents well");
        self.agents.insert(id, FakeAgent::new(id, name, total, attributes));
        id
    }

    /// Everything the framework said since the last time.
    pub fn take_calls(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.calls)
    }

    /// From now on accepts that launch `name` are refused with `refusal`.
    pub fn refuse_launch(&mut self, name: TaskName, refusal: Refusal) {
        self.refused_launches.insert(name, refusal);
    }

    /// The next demand that is not empty is refused with `refusal`.
    pub fn refuse_demand(&mut self, refusal: Refusal) {
        self.refused_demand = Some(refusal);
    }

    /// Every launch that was ever booked.
    #[must_use]
    pub fn launched(&self) -> &[(TaskName, LaunchToken)] {
        &self.launched
    }

    /// The framework is torn down by an operator while none of its replicas is connected: the next one
    /// that subscribes begins another framework of the same name.
    pub fn replace_framework(&mut self) {
        self.end_session();
        self.framework = FrameworkId(self.framework.0 + 1);
        self.framework_epoch = FrameworkEpoch(0);
        self.resumable = None;
        self.occupied.clear();
        self.known.clear();
        self.unsent.clear();
        self.state.clear();
        for agent in self.agents.values_mut() {
            agent.tasks.clear();
        }
    }

    /// What the framework did that it must never do; empty when all is well.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Tasks as their agents know them, the truth, with those on the way as staging.
    #[must_use]
    pub fn tasks(&self) -> BTreeMap<TaskName, (AgentId, TaskState)> {
        let held = self.agents.values().filter(|agent| agent.standing != Standing::Gone);
        held.flat_map(|agent| {
            let tasks = agent.tasks.values().map(|held| &held.record);
            tasks
                .chain(&agent.on_the_way)
                .map(|record| (record.status.task.clone(), (agent.id, record.status.state)))
        })
        .collect()
    }

    /// Another budget for the framework's durable state.
    pub fn set_state_budget(&mut self, budget: StateBudget) {
        self.budget = budget;
        self.rate = CommitRate::default();
    }

    /// The store stands still: what is asked of the framework's durable state waits, and is lost with
    /// its stream.
    pub fn hold_state(&mut self) {
        self.holds_state = true;
    }

    /// It goes on: what waits is carried out and answered.
    pub fn release_state(&mut self) {
        self.holds_state = false;
        for (request, call) in std::mem::take(&mut self.held_state) {
            let answer = self.state_call(call);
            self.say(Event::State { request, answer });
        }
    }

    /// A value of the framework's durable state.
    #[must_use]
    pub fn state(&self, key: &str) -> Option<&[u8]> {
        self.state.get(key).map(|(_, value)| value.as_slice())
    }

    /// Puts a value there behind the framework's back, as another version of it might have.
    pub fn set_state(&mut self, key: &str, value: Vec<u8>) {
        let version = self.state.get(key).map_or(0, |(version, _)| *version);
        self.state.insert(key.to_owned(), (version + 1, value));
    }

    /// Whether the framework was torn down.
    #[must_use]
    pub fn is_torn_down(&self) -> bool {
        self.is_torn_down
    }

    /// The frames that are ready to be sent, by stream.
    pub fn take_frames(&mut self) -> Vec<(u64, SchedulerDown)> {
        self.flush_statuses();
        let mut frames: Vec<(u64, SchedulerDown)> = Vec::new();
        for (stream, event) in std::mem::take(&mut self.out) {
            match frames.last_mut() {
                Some((last, frame)) if *last == stream => frame.events.push(event),
                _ => frames.push((
                    stream,
                    SchedulerDown {
                        master_epoch: self.epoch,
                        epoch: self.framework_epoch,
                        events: vec![event],
                    },
                )),
            }
        }
        frames
    }

    fn flush_statuses(&mut self) {
        let Some((stream, _)) = self.active else { return self.unsent.clear() };
        for name in std::mem::take(&mut self.unsent) {
            let Some(known) = self.known.get(&name) else { continue };
            self.out.push((stream, Event::Status(known.record.status.clone())));
            if known.is_own_last_word() {
                self.known.remove(&name);
            }
        }
    }

    fn say(&mut self, event: Event) {
        if let Some((stream, _)) = self.active {
            self.out.push((stream, event));
        }
    }

    /// A stream has ended.
    pub fn disconnected(&mut self, stream: u64) {
        self.standbys.retain(|(standby, _)| *standby != stream);
        self.out.retain(|(to, _)| *to != stream);
        if self.active.as_ref().is_some_and(|(active, _)| *active == stream) {
            self.active = None;
            self.end_session();
            if !self.standbys.is_empty() {
                let (stream, replica) = self.standbys.remove(0);
                self.activate(stream, replica);
            }
        }
    }

    fn end_session(&mut self) {
        self.offers.clear();
        self.demand.clear();
        self.demand_ends.clear();
        self.has_stated_demand = false;
        self.templates.clear();
        self.held_state.clear();
    }

    /// A heartbeat to every stream.
    pub fn beat(&mut self) {
        let streams = self.standbys.iter().chain(&self.active).map(|(stream, _)| *stream);
        for stream in streams.collect::<Vec<_>>() {
            self.out.push((stream, Event::Heartbeat));
        }
    }

    /// A frame from a framework arrived.
    pub fn frame(&mut self, stream: u64, frame: SchedulerUp) {
        for call in frame.calls {
            self.calls.push(call.clone());
            if let Call::Subscribe { info, replica, take_over, conditions } = call {
                self.conditions = conditions;
                self.subscribe(stream, frame.epoch, info, replica, take_over);
                continue;
            }
            let is_active = self.active.as_ref().is_some_and(|(active, _)| *active == stream);
            if is_active && frame.epoch == self.framework_epoch {
                self.call(call);
            }
        }
    }

    fn subscribe(
        &mut self,
        stream: u64,
        epoch: FrameworkEpoch,
        info: FrameworkInfo,
        replica: ReplicaId,
        take_over: bool,
    ) {
        if self.is_torn_down {
            return self.out.push((stream, Event::TornDown));
        }
        self.info = Some(info);
        let is_free = self.active.as_ref().is_none_or(|(_, active)| *active == replica);
        if !is_free && !take_over {
            let active = self.active.as_ref().expect("it is not free").1.clone();
            self.out.push((stream, Event::Standby { active }));
            self.standbys.push((stream, replica));
            return;
        }
        if let Some((old, _)) = self.active.take() {
            self.out.retain(|(to, _)| *to != old);
            self.out.push((old, Event::Superseded { by: replica.clone() }));
        }
        self.end_session();
        let resumes = epoch == self.framework_epoch && self.resumable.as_ref() == Some(&replica);
        if resumes {
            self.start_stream(stream, replica);
        } else {
            self.activate(stream, replica);
        }
    }

    fn activate(&mut self, stream: u64, replica: ReplicaId) {
        self.framework_epoch = self.framework_epoch.next();
        self.token_mark = LaunchToken { session: self.framework_epoch, sequence: 0 };
        self.start_stream(stream, replica);
    }

    fn start_stream(&mut self, stream: u64, replica: ReplicaId) {
        self.resumable = Some(replica.clone());
        self.active = Some((stream, replica));
        self.say(Event::Subscribed {
            framework: self.framework,
            epoch: self.framework_epoch,
            incarnation: Incarnation(1),
            heartbeat: HEARTBEAT,
            offer_ttl: OFFER_TTL,
            capability_key: CAPABILITY_KEY.to_vec(),
        });
        let offers: Vec<InverseOffer> = self.drained.values().cloned().collect();
        if !offers.is_empty() {
            self.say(Event::InverseOffers { offers });
        }
        self.snapshot();
    }

    /// Pages of one task each, so that tests see several.
    fn snapshot(&mut self) {
        self.unsent.clear();
        for known in self.known.values().cloned().collect::<Vec<_>>() {
            self.say(Event::SnapshotPage { tasks: vec![known.record] });
        }
        self.known.retain(|_, known| !known.is_own_last_word());
        let absent = self.occupied.iter().filter_map(|id| {
            let absence = match self.agents.get(id)?.standing {
                Standing::Registered | Standing::Unreachable(_) => return None,
                Standing::Awaited => Absence::Awaited,
                Standing::Gone => Absence::Gone,
            };
            Some(AbsentAgent { agent: *id, absence })
        });
        let mut absent: Vec<AbsentAgent> = absent.collect();
        let last = absent.pop();
        for agent in absent {
            self.say(Event::SnapshotAbsent { absent: vec![agent] });
        }
        let absent = last.into_iter().collect();
        self.say(Event::SnapshotEnd { cursor: Cursor::default(), absent });
    }

    /// The ready check of a running task has this result from now on, as its agent would report it;
    /// whether there is such a task.
    pub fn check_task(&mut self, name: &TaskName, ready: bool) -> bool {
        for agent in self.agents.values_mut() {
            if let Some(held) = agent.tasks.get_mut(name) {
                held.record.status.ready = Some(ready);
            }
        }
        self.move_task(name, TaskState::Running)
    }

    /// The stream of the active replica.
    #[must_use]
    pub fn active_stream(&self) -> Option<u64> {
        self.active.as_ref().map(|(stream, _)| *stream)
    }
}
