//! A master in memory, for one framework: small, but it keeps the rules that a framework relies on
//! (K1, K2, K9, K10), and counts what a framework must never do.

use super::fake_agent::{FakeAgent, Standing};
use crate::request::port_resource;
use proffer_types::demand::DemandGroup;
use proffer_types::offer::{Accept, Offer, Operation};
use proffer_types::scheduler::{
    Absence, AbsentAgent, Call, Event, FrameworkInfo, SchedulerDown, SchedulerUp, TaskRecord,
};
use proffer_types::state_store::{StateAnswer, StateCall, StateEntry};
use proffer_types::task::{IsolationLevel, StatusReason, TaskStatus};
use proffer_types::template::TaskLaunch;
use proffer_types::{
    AgentId, AgentName, Attributes, Cursor, DurationMs, FrameworkEpoch, FrameworkId, GroupName,
    Incarnation, LaunchToken, MasterEpoch, OfferId, Ranges, Refusal, RefusalCode, ReplicaId,
    Resources, TaskName, TaskState, TemplateDigest, WallTime,
};
use std::collections::{BTreeMap, BTreeSet};

/// The one framework of a fake master.
const FRAMEWORK: FrameworkId = FrameworkId(1);
/// How often both sides must say something.
pub const HEARTBEAT: DurationMs = DurationMs(1_000);
/// How long an offer is held.
pub const OFFER_TTL: DurationMs = DurationMs(10_000);
/// Entries of one page of state, small so that tests see several.
const STATE_PAGE: usize = 3;

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
    known: BTreeMap<TaskName, Known>,
    /// Tasks whose newest state is to be sent; a newer state goes to the back (K15).
    unsent: Vec<TaskName>,
    demand: BTreeMap<GroupName, DemandGroup>,
    /// Whether the framework stated demand on this stream; if not, it gets classical offers.
    has_stated_demand: bool,
    templates: BTreeSet<TemplateDigest>,
    offers: BTreeMap<OfferId, Offer>,
    last_offer: u64,
    last_agent: u64,
    token_mark: LaunchToken,
    state: BTreeMap<String, (u64, Vec<u8>)>,
    state_version: u64,
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
            framework_epoch: FrameworkEpoch(0),
            info: None,
            active: None,
            resumable: None,
            standbys: Vec::new(),
            agents: BTreeMap::new(),
            occupied: BTreeSet::new(),
            known: BTreeMap::new(),
            unsent: Vec::new(),
            demand: BTreeMap::new(),
            has_stated_demand: false,
            templates: BTreeSet::new(),
            offers: BTreeMap::new(),
            last_offer: 0,
            last_agent: 0,
            token_mark: LaunchToken::default(),
            state: BTreeMap::new(),
            state_version: 0,
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
        self.has_stated_demand = false;
        self.templates.clear();
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
            if let Call::Subscribe { info, replica, take_over } = call {
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
            framework: FRAMEWORK,
            epoch: self.framework_epoch,
            incarnation: Incarnation(1),
            heartbeat: HEARTBEAT,
            offer_ttl: OFFER_TTL,
        });
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
        let absent = absent.collect();
        self.say(Event::SnapshotEnd { cursor: Cursor::default(), absent });
    }

    fn call(&mut self, call: Call) {
        match call {
            Call::Demand { groups } => self.demand(groups),
            Call::Template { digest, .. } => {
                self.templates.insert(digest);
            }
            Call::Accept(accept) => {
                let number = accept.accept;
                let refusal = self.accept(&accept).err();
                self.say(Event::Accepted { accept: number, refusal });
            }
            Call::Decline { offers, .. } => {
                for offer in offers {
                    self.offers.remove(&offer);
                }
            }
            Call::Kill { task, .. } => self.kill(&task),
            Call::Acknowledge { agent, incarnation, through, except } => {
                if incarnation.0 == 0 {
                    self.occupied.remove(&agent);
                    self.known.retain(|_, known| known.record.status.agent != agent);
                } else if let Some(agent) = self.agents.get_mut(&agent)
                    && agent.standing == Standing::Registered
                {
                    for record in agent.acknowledge(through, &except) {
                        let (name, token) = (&record.status.task, record.status.token);
                        if self.known.get(name).is_some_and(|k| k.record.status.token == token) {
                            self.known.remove(name);
                        }
                    }
                }
            }
            Call::Snapshot => self.snapshot(),
            Call::State { request, call } => {
                let answer = self.state_call(call);
                self.say(Event::State { request, answer });
            }
            Call::Teardown => {
                self.is_torn_down = true;
                self.say(Event::TornDown);
                self.active = None;
            }
            Call::Subscribe { .. }
            | Call::Renew { .. }
            | Call::Suppress { .. }
            | Call::Revive { .. }
            | Call::Heartbeat => {}
        }
    }

    fn demand(&mut self, groups: Vec<DemandGroup>) {
        self.has_stated_demand = true;
        if let Some(refusal) = self.refused_demand.take_if(|_| !groups.is_empty()) {
            return self.say(Event::Refused { call: "demand".to_owned(), refusal });
        }
        for group in &groups {
            let known = self.demand.get(&group.name);
            if let Some(known) = known
                && (group.generation < known.generation
                    || (group.generation == known.generation && group.target != known.target))
            {
                self.violations.push(format!("K10: {known:?} was followed by {group:?}"));
            }
        }
        self.demand = groups.into_iter().map(|group| (group.name.clone(), group)).collect();
    }

    fn accept(&mut self, accept: &Accept) -> Result<(), Refusal> {
        let mut left: BTreeMap<AgentId, Resources> = BTreeMap::new();
        for (id, version) in &accept.offers {
            let offer = self.offers.get(id).ok_or_else(|| {
                Refusal::new(RefusalCode::OfferNotHeld, "offers", format!("{id} is not held"))
            })?;
            let agent = &self.agents[&offer.agent];
            if agent.version != *version {
                return Err(Refusal::new(RefusalCode::AgentChanged, "offers", "has changed"));
            }
            left.insert(offer.agent, offer.resources.clone());
        }
        let mut booked = Vec::new();
        for operation in &accept.operations {
            let Operation::Launch { agent, tasks } = operation else {
                return Err(Refusal::new(RefusalCode::NotSupported, "operations", "is no launch"));
            };
            for launch in tasks {
                booked.push((*agent, self.check_launch(*agent, launch, &mut left)?));
            }
        }
        for (id, _) in &accept.offers {
            self.offers.remove(id);
        }
        for (agent, record) in booked {
            self.book(agent, record);
        }
        Ok(())
    }

    fn check_launch(
        &mut self,
        agent: AgentId,
        launch: &TaskLaunch,
        left: &mut BTreeMap<AgentId, Resources>,
    ) -> Result<TaskRecord, Refusal> {
        if let Some(refusal) = self.refused_launches.get(&launch.name) {
            return Err(refusal.clone());
        }
        let refuse = |code, message: &str| Err(Refusal::new(code, "tasks", message));
        if launch.token.session != self.framework_epoch || launch.token <= self.token_mark {
            self.violations.push(format!("K1: token of {} was used", launch.name));
            return refuse(RefusalCode::TokenReused, "was used");
        }
        if !self.templates.contains(&launch.template) {
            return refuse(RefusalCode::UnknownTemplate, "was not sent");
        }
        let Some(offered) = left.get_mut(&agent) else {
            return refuse(RefusalCode::InvalidArgument, "is not an agent of the offers");
        };
        *offered = offered.checked_sub(&launch.resources).map_err(|error| {
            Refusal::new(RefusalCode::InsufficientResources, "tasks", error.to_string())
        })?;
        if self.known.contains_key(&launch.name) {
            return refuse(RefusalCode::AlreadyExists, "lives, or its end is not acknowledged");
        }
        self.token_mark = launch.token;
        let at = &self.agents[&agent];
        let role = self.info.as_ref().and_then(|info| info.roles.first().cloned());
        Ok(TaskRecord {
            status: TaskStatus {
                id: None,
                framework: FRAMEWORK,
                task: launch.name.clone(),
                token: launch.token,
                agent,
                state: TaskState::Staging,
                reason: StatusReason::None,
                message: String::new(),
                exit: None,
                ready: None,
                at: self.now,
                isolation: IsolationLevel::default(),
            },
            template: launch.template,
            resources: launch.resources.clone(),
            role: role.expect("a framework has a role"),
            variables: launch.variables.clone(),
            labels: launch.labels.clone(),
            group: launch.group.clone(),
            agent_name: at.name.clone(),
            address: "127.0.0.1".to_owned(),
        })
    }

    fn book(&mut self, agent: AgentId, record: TaskRecord) {
        let name = record.status.task.clone();
        // The truth, which a master that has just started does not know: it could not refuse this.
        if self.agents.values().any(|a| a.standing != Standing::Gone && a.may_run(&name)) {
            self.violations.push(format!("I2: {name} was launched while it may run"));
        }
        self.launched.push((name.clone(), record.status.token));
        self.occupied.insert(agent);
        let at = self.agents.get_mut(&agent).expect("its offer was held");
        at.on_the_way.push(record.clone());
        // An ended task of that name makes way: the framework knows of its end, or it would not
        // have used the name again.
        if let Some(older) = self.known.insert(name, Known { record })
            && let Some(agent) = self.agents.get_mut(&older.record.status.agent)
        {
            agent.dismiss(&older.record);
        }
    }

    fn kill(&mut self, name: &TaskName) {
        let held = self.agents.values_mut().find(|agent| agent.tasks.contains_key(name));
        if let Some(agent) = held
            && agent.standing == Standing::Registered
            && let Some(record) = agent.report(name, TaskState::Killed, self.now)
        {
            self.learn(record);
        }
    }

    fn state_call(&mut self, call: StateCall) -> StateAnswer {
        match call {
            StateCall::List { prefix, after, .. } => {
                let all = self.state.iter().filter(|(key, _)| {
                    key.starts_with(&prefix) && after.as_ref().is_none_or(|after| *key > after)
                });
                let entry = |(key, (version, value)): (&String, &(u64, Vec<u8>))| StateEntry {
                    key: key.clone(),
                    version: *version,
                    value: value.clone(),
                };
                let entries: Vec<StateEntry> = all.map(entry).collect();
                let more = entries.len() > STATE_PAGE;
                StateAnswer::Page { entries: entries.into_iter().take(STATE_PAGE).collect(), more }
            }
            StateCall::Commit { changes } => {
                for change in &changes {
                    let version = self.state.get(&change.key).map_or(0, |(version, _)| *version);
                    if change.expected.is_some_and(|expected| expected != version) {
                        return StateAnswer::Refused(Refusal::new(
                            RefusalCode::VersionConflict,
                            change.key.clone(),
                            format!("has version {version}"),
                        ));
                    }
                }
                let mut versions = Vec::new();
                for change in changes {
                    self.state_version += 1;
                    match change.value {
                        Some(value) => {
                            self.state.insert(change.key, (self.state_version, value));
                            versions.push(self.state_version);
                        }
                        None => {
                            self.state.remove(&change.key);
                            versions.push(0);
                        }
                    }
                }
                StateAnswer::Committed { versions }
            }
        }
    }

    /// Makes offers for the unmet demand; classical offers to a framework that stated none.
    pub fn make_offers(&mut self) {
        if self.active.is_none() {
            return;
        }
        let mut made = Vec::new();
        if self.has_stated_demand {
            for group in self.demand.values().cloned().collect::<Vec<_>>() {
                self.offer_group(&group, &mut made);
            }
        } else {
            for id in self.agents.keys().copied().collect::<Vec<_>>() {
                let free = self.free(id);
                if !free.is_empty() {
                    made.push(self.offer(id, free, None, 0));
                }
            }
        }
        if !made.is_empty() {
            self.say(Event::Offers { offers: made });
        }
    }

    fn offer_group(&mut self, group: &DemandGroup, made: &mut Vec<Offer>) {
        let named = |of: &Option<GroupName>| of.as_ref() == Some(&group.name);
        let live = self
            .known
            .values()
            .filter(|known| named(&known.record.group) && !known.record.status.state.is_terminal());
        let leased = self.offers.values().filter(|offer| named(&offer.group)).map(|o| o.count);
        let met = u32::try_from(live.count()).expect("few") + leased.sum::<u32>();
        let mut unmet = group.target.saturating_sub(met);
        for id in self.agents.keys().copied().collect::<Vec<_>>() {
            let attributes = &self.agents[&id].attributes;
            if unmet == 0 || !group.constraints.iter().all(|rule| rule.holds(attributes)) {
                continue;
            }
            let here = self.known.values().filter(|known| {
                named(&known.record.group)
                    && known.record.status.agent == id
                    && !known.record.status.state.is_terminal()
            });
            let here = u32::try_from(here.count()).expect("few");
            let room = group.per_agent_max.map_or(u32::MAX, |max| max.saturating_sub(here));
            let (share, count) = fit(group, self.free(id), unmet.min(room));
            if count > 0 {
                unmet -= count;
                made.push(self.offer(id, share, Some(group.name.clone()), count));
            }
        }
    }

    fn free(&self, id: AgentId) -> Resources {
        let agent = &self.agents[&id];
        if agent.standing != Standing::Registered {
            return Resources::new();
        }
        let used = self
            .known
            .values()
            .map(|known| &known.record)
            .filter(|record| record.status.agent == id && !record.status.state.is_terminal())
            .map(|record| &record.resources);
        let leased = self.offers.values().filter(|o| o.agent == id).map(|o| &o.resources);
        used.chain(leased).fold(agent.total.clone(), |free, taken| {
            free.checked_sub(taken).expect("nothing is given twice (I3)")
        })
    }

    fn offer(
        &mut self,
        id: AgentId,
        resources: Resources,
        group: Option<GroupName>,
        count: u32,
    ) -> Offer {
        self.last_offer += 1;
        let agent = &self.agents[&id];
        let roles = &self.info.as_ref().expect("it is subscribed").roles;
        let offer = Offer {
            id: OfferId { epoch: self.epoch, sequence: self.last_offer },
            framework: FRAMEWORK,
            role: roles.first().expect("a framework has a role").clone(),
            agent: id,
            agent_name: agent.name.clone(),
            address: "127.0.0.1".to_owned(),
            agent_version: agent.version,
            resources,
            attributes: agent.attributes.clone(),
            group,
            count,
            expires_in: OFFER_TTL,
        };
        self.offers.insert(offer.id, offer.clone());
        offer
    }

    /// Takes all offers back.
    pub fn rescind_offers(&mut self) {
        let offers: Vec<OfferId> = std::mem::take(&mut self.offers).into_keys().collect();
        if !offers.is_empty() {
            self.say(Event::Rescinded { offers, reason: "expired".to_owned() });
        }
    }

    /// Launches on the way to registered agents arrive.
    pub fn deliver_launches(&mut self) {
        for id in self.agents.keys().copied().collect::<Vec<_>>() {
            let agent = self.agents.get_mut(&id).expect("from its keys");
            if agent.standing == Standing::Registered {
                for record in agent.take(self.now) {
                    self.learn(record);
                }
            }
        }
    }

    /// Launches on the way to an agent are lost for good, and the master learns that.
    pub fn drop_launches(&mut self, agent: AgentId) {
        let Some(agent) = self.agents.get_mut(&agent) else { return };
        for mut record in std::mem::take(&mut agent.on_the_way) {
            if self.known.contains_key(&record.status.task) {
                record.status.state = TaskState::Dropped;
                record.status.reason = StatusReason::LaunchLost;
                record.status.at = self.now;
                self.learn(record);
            }
        }
    }

    /// Moves a task into a state, as its agent would report it; whether that is a legal move.
    pub fn move_task(&mut self, name: &TaskName, state: TaskState) -> bool {
        let now = self.now;
        let reported = self.agents.values_mut().find_map(|agent| {
            let record = agent.report(name, state, now)?;
            Some((agent.standing, record))
        });
        let Some((standing, record)) = reported else { return false };
        if standing == Standing::Registered {
            self.learn(record);
        }
        true
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

    /// The master's newest word on a task.
    fn learn(&mut self, record: TaskRecord) {
        let name = record.status.task.clone();
        let token = record.status.token;
        if self.known.get(&name).is_some_and(|known| known.record.status.token > token) {
            // A later launch of the name has made it history, which nobody needs to hear.
            if let Some(agent) = self.agents.get_mut(&record.status.agent) {
                agent.dismiss(&record);
            }
            return;
        }
        self.unsent.retain(|unsent| *unsent != name);
        self.unsent.push(name.clone());
        self.known.insert(name, Known { record });
    }

    /// Says every status that is not acknowledged once more, as after a lost acknowledgement.
    pub fn repeat_statuses(&mut self) {
        let present = self.agents.values().filter(|a| a.standing == Standing::Registered);
        let held = present.flat_map(|agent| agent.tasks.values());
        let mut repeated: Vec<TaskRecord> =
            held.filter(|held| !held.is_acknowledged).map(|held| held.record.clone()).collect();
        // In the order of each log (K15).
        repeated.sort_by_key(|record| record.status.id);
        for record in repeated {
            self.learn(record);
        }
    }

    /// An agent is out of reach: its tasks are unreachable.
    pub fn lose_agent(&mut self, id: AgentId) {
        let now = self.now;
        let Some(agent) = self.agents.get_mut(&id) else { return };
        if agent.standing != Standing::Registered {
            return;
        }
        agent.standing = Standing::Unreachable(now);
        self.rescind_of(id);
        self.declare(id, TaskState::Unreachable, StatusReason::AgentUnreachable);
    }

    fn rescind_of(&mut self, agent: AgentId) {
        let offers: Vec<OfferId> =
            self.offers.values().filter(|o| o.agent == agent).map(|o| o.id).collect();
        self.offers.retain(|id, _| !offers.contains(id));
        if !offers.is_empty() {
            self.say(Event::Rescinded { offers, reason: "agent_lost".to_owned() });
        }
    }

    /// What the master says of an agent's tasks by itself.
    fn declare(&mut self, id: AgentId, state: TaskState, reason: StatusReason) {
        let of_agent = self
            .known
            .values()
            .map(|known| &known.record)
            .filter(|record| record.status.agent == id && !record.status.state.is_terminal());
        for mut record in of_agent.cloned().collect::<Vec<_>>() {
            record.status = TaskStatus { id: None, state, reason, at: self.now, ..record.status };
            self.learn(record);
        }
    }

    /// An agent registers again. Launches that were on the way to it are refused by its barrier
    /// (K1); what it holds is as it says.
    pub fn return_agent(&mut self, id: AgentId) {
        let Some(agent) = self.agents.get_mut(&id) else { return };
        let was = agent.standing;
        if matches!(was, Standing::Registered | Standing::Gone) {
            return;
        }
        agent.standing = Standing::Registered;
        agent.version = agent.version.next();
        agent.on_the_way.clear();
        let records: Vec<TaskRecord> = agent.tasks.values().map(|h| h.record.clone()).collect();
        let listed: BTreeSet<LaunchToken> =
            records.iter().map(|record| record.status.token).collect();
        for record in records {
            let name = record.status.task.clone();
            let known = self.known.get(&name).map(|known| known.record.status.token);
            if known.is_none_or(|token| token < record.status.token) {
                if let Some(older) = self.known.remove(&name)
                    && let Some(agent) = self.agents.get_mut(&older.record.status.agent)
                {
                    agent.dismiss(&older.record);
                }
                self.known.insert(name, Known { record: record.clone() });
                self.say(Event::Task(record));
            } else {
                self.learn(record);
            }
        }
        let missing = self.known.values().map(|known| &known.record).filter(|record| {
            record.status.agent == id
                && !record.status.state.is_terminal()
                && !listed.contains(&record.status.token)
        });
        for mut record in missing.cloned().collect::<Vec<_>>() {
            let status = &mut record.status;
            (status.id, status.state) = (None, TaskState::Dropped);
            status.reason = StatusReason::LaunchLost;
            self.learn(record);
        }
        if was == Standing::Awaited && self.occupied.contains(&id) {
            self.say(Event::AgentResolved { agent: id, absence: None });
        }
    }

    /// An operator gives an agent up for good; what it had is lost.
    pub fn mark_gone(&mut self, id: AgentId) {
        let Some(agent) = self.agents.get_mut(&id) else { return };
        let was = std::mem::replace(&mut agent.standing, Standing::Gone);
        if was == Standing::Gone {
            return;
        }
        agent.on_the_way.clear();
        agent.tasks.clear();
        self.rescind_of(id);
        self.declare(id, TaskState::Gone, StatusReason::AgentGone);
        if was == Standing::Awaited && self.occupied.contains(&id) {
            self.flush_statuses();
            self.say(Event::AgentResolved { agent: id, absence: Some(Absence::Gone) });
        }
    }

    /// Another master takes over: streams end, what was not durable is forgotten, agents are
    /// awaited. Launches that have left the old master are still on the way.
    pub fn fail_over(&mut self) {
        self.epoch = self.epoch.next();
        self.active = None;
        self.resumable = None;
        self.standbys.clear();
        self.out.clear();
        self.unsent.clear();
        self.known.clear();
        self.end_session();
        for agent in self.agents.values_mut().filter(|a| a.standing != Standing::Gone) {
            agent.standing = Standing::Awaited;
        }
    }

    /// After a failover: a launch of the old master reaches an agent before its barrier.
    pub fn deliver_late_launches(&mut self, agent: AgentId) {
        if let Some(agent) = self.agents.get_mut(&agent)
            && agent.standing == Standing::Awaited
        {
            agent.take(self.now);
        }
    }

    /// All agents, the gone ones included.
    #[must_use]
    pub fn agents(&self) -> Vec<AgentId> {
        self.agents.keys().copied().collect()
    }

    /// The stream of the active replica.
    #[must_use]
    pub fn active_stream(&self) -> Option<u64> {
        self.active.as_ref().map(|(stream, _)| *stream)
    }
}

/// How many of the group's shape fit into `free`, at most `count_max`, and what they take.
fn fit(group: &DemandGroup, free: Resources, count_max: u32) -> (Resources, u32) {
    let ports = group.shape.ports();
    let rest = group.shape.filtered(|entry| entry.key.name != proffer_types::ResourceName::Ports);
    let mut free = free;
    let mut taken = Resources::new();
    let mut count = 0;
    while count < count_max {
        let numbers = if group.fixed_ports {
            Some(ports.clone()).filter(|ports| free.ports().contains(ports))
        } else {
            free.ports().first(ports.count())
        };
        let one = numbers.and_then(|numbers| with_ports(&rest, numbers));
        let Some((one, left)) = one
            .and_then(|one| Some((free.checked_sub(&one).ok()?, one)))
            .map(|(left, one)| (one, left))
        else {
            break;
        };
        free = left;
        taken = taken.checked_add(&one).expect("parts of what was free add up");
        count += 1;
    }
    (taken, count)
}

fn with_ports(rest: &Resources, numbers: Ranges) -> Option<Resources> {
    let mut one = rest.clone();
    if !numbers.parts().is_empty() {
        one.insert(port_resource(numbers)).ok()?;
    }
    Some(one)
}

// The matcher and this master must agree on what fits.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::offer_matcher;
    use crate::request::tests::request;
    use proffer_types::Generation;

    #[test]
    fn what_is_offered_for_a_group_serves_its_requests() {
        let wanted = request("a").port("x").port("y");
        let group = DemandGroup {
            name: GroupName::new("g").expect("valid"),
            generation: Generation(1),
            role: wanted.role.clone(),
            shape: wanted.shape().expect("valid"),
            fixed_ports: false,
            target: 5,
            constraints: Vec::new(),
            priority: 0,
            per_agent_max: None,
            spread: false,
            gang_size: 1,
            deadline: None,
        };
        let free: Resources = "cpus:4;mem:4GiB;ports:[100-104]".parse().expect("valid");
        let (mut offered, count) = fit(&group, free, 5);
        assert_eq!(count, 2, "five ports are enough for two");
        assert!(offer_matcher::take(&wanted, &mut offered).is_some());
        assert!(offer_matcher::take(&wanted, &mut offered).is_some());
        assert!(offered.is_empty());
    }
}
