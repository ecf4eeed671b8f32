//! Runs a framework: commands in, outputs out. Dispatches; the rules are in the other modules.

use crate::context::{Context, Told};
use crate::counters::Counters;
use crate::framework::{Framework, FrameworkEvent, Notice};
use crate::invariants;
use crate::link::{Link, Phase};
use crate::requests::Force;
use crate::snapshot::Assembly;
use proffer_types::scheduler::{Call, Event, SchedulerDown, SchedulerUp};
use proffer_types::{
    DurationMs, FrameworkEpoch, FrameworkId, MasterEpoch, Monotonic, Now, Refusal, RefusalCode,
    ReplicaId, RoleName,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};

/// What a driver is started with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Which process of the framework this is.
    pub replica: ReplicaId,
    /// Decides the jitter of delays; give each process its own.
    pub seed: u64,
    /// Become active at the first subscription even though another replica is.
    pub take_over: bool,
    /// Shortest delay before a new connection.
    pub back_off_min: DurationMs,
    /// Longest delay before a new connection.
    pub back_off_max: DurationMs,
    /// Longest wait for a connection, and for the answer to `Subscribe`.
    pub connect_timeout: DurationMs,
}

impl Config {
    /// The usual delays.
    #[must_use]
    pub fn new(replica: ReplicaId, seed: u64) -> Self {
        Self {
            replica,
            seed,
            take_over: false,
            back_off_min: DurationMs(50),
            back_off_max: DurationMs(5_000),
            connect_timeout: DurationMs(10_000),
        }
    }
}

/// What happens to a driver. A recorded list of these, each with its time, repeats a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command<Input> {
    /// The shell made the connection that [`Output::Connect`] asked for.
    Connected {
        /// Its number.
        connection: u64,
    },
    /// The connection could not be made, or has ended.
    Disconnected {
        /// Its number.
        connection: u64,
        /// Why, for people.
        why: String,
    },
    /// The master refused the connection itself, in words.
    Rejected {
        /// Its number.
        connection: u64,
        /// Why; `not_leader` with an address as its hint leads there.
        refusal: Refusal,
    },
    /// The master sent a frame.
    Frame {
        /// On which connection.
        connection: u64,
        /// It.
        frame: SchedulerDown,
    },
    /// The framework's own command.
    Input(Input),
    /// Time has passed: to be called at [`Driver::next_deadline`]; more often does no harm.
    Tick,
}

/// What a driver wants done, in order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Make a connection to a master.
    Connect {
        /// Its number from now on.
        connection: u64,
        /// The leader's address, when a master named it; else the next of the list.
        hint: Option<String>,
    },
    /// Send a frame.
    Send {
        /// On which connection.
        connection: u64,
        /// It.
        frame: SchedulerUp,
    },
    /// End a connection. No [`Command::Disconnected`] is needed for it.
    Close {
        /// Its number.
        connection: u64,
    },
    /// The framework was torn down; nothing follows.
    Ended,
}

/// How a driver stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// No connection.
    #[default]
    Disconnected,
    /// Connected, not subscribed.
    Connecting,
    /// Another replica is active.
    StandingBy,
    /// Active; snapshot or state still come in.
    Loading,
    /// Active.
    Active,
    /// Torn down.
    Ended,
}

/// A summary for people and watchers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// How it stands.
    pub standing: Standing,
    /// Its id, once known.
    pub framework: Option<FrameworkId>,
    /// Its epoch.
    pub epoch: FrameworkEpoch,
    /// The master's epoch.
    pub master_epoch: MasterEpoch,
    /// Requests without a place.
    pub waiting: u64,
    /// Tasks in the table.
    pub tasks: u64,
    /// Agents that nobody can speak for.
    pub absent: u64,
    /// Why the last connection ended; cleared when one works.
    pub last_error: Option<String>,
}

/// Events kept while a snapshot or the state still comes in; beyond it something is wrong, and a
/// new connection begins with a fresh snapshot.
const EARLY_MAX: usize = 100_000;
/// Weight of the calls in one frame; about a launch each, so a frame stays far below 4 MiB.
const FRAME_WEIGHT_MAX: usize = 1_000;

/// The protocol machine around one framework.
#[derive(Clone, Debug)]
pub struct Driver<F: Framework> {
    framework: F,
    context: Context,
    config: Config,
    link: Link,
    /// Snapshot under way; `None` when none is.
    assembly: Option<Assembly>,
    /// Whether the subscription at hand began a new epoch.
    is_new_epoch: bool,
    /// Deltas that came before the snapshot or the state was complete.
    early: VecDeque<Event>,
    /// Whether the whole demand is to be said although nothing changed.
    says_demand: Force,
    outputs: VecDeque<Output>,
}

impl<F: Framework> Driver<F> {
    /// A driver that has not started; it asks for a connection at the first [`Command::Tick`].
    #[must_use]
    pub fn new(framework: F, config: Config) -> Self {
        let context = Context::new(framework.wants_raw_offers());
        Self {
            framework,
            context,
            link: Link::new(&config),
            config,
            assembly: None,
            is_new_epoch: false,
            early: VecDeque::new(),
            says_demand: Force::No,
            outputs: VecDeque::new(),
        }
    }

    /// The framework.
    #[must_use]
    pub fn framework(&self) -> &F {
        &self.framework
    }

    /// The framework, to take out what it has for its shell. Whatever is to happen in the cluster
    /// goes through [`Framework::handle`].
    pub fn framework_mut(&mut self) -> &mut F {
        &mut self.framework
    }

    /// Ends the driver without a word; what the framework has in memory.
    #[must_use]
    pub fn into_framework(self) -> F {
        self.framework
    }

    /// What the framework sees.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.context.counters
    }

    /// A summary.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            standing: match self.link.phase {
                Phase::Away { .. } => Standing::Disconnected,
                Phase::Connecting { .. } | Phase::Subscribing { .. } => Standing::Connecting,
                Phase::StandingBy => Standing::StandingBy,
                Phase::Subscribed if self.context.is_online => Standing::Active,
                Phase::Subscribed => Standing::Loading,
                Phase::Ended => Standing::Ended,
            },
            framework: self.context.framework,
            epoch: self.context.epoch,
            master_epoch: self.link.master_epoch,
            waiting: self.context.requests.len() as u64,
            tasks: self.context.tasks.len() as u64,
            absent: self.context.absent.len() as u64,
            last_error: self.link.last_error.clone(),
        }
    }

    /// What must hold after every command; for tests and simulation.
    ///
    /// # Errors
    /// The statement that does not hold.
    pub fn check_invariants(&self) -> Result<(), String> {
        invariants::check(&self.context)
    }

    /// Takes one command in. What it leads to is read with [`Driver::next_output`].
    pub fn apply(&mut self, command: Command<F::Input>, now: Now) {
        self.context.now = now;
        match command {
            Command::Connected { connection } => self.connected(connection, now.monotonic),
            Command::Disconnected { connection, why } => {
                if self.link.is_current(connection) {
                    self.lose(&why);
                }
            }
            Command::Rejected { connection, refusal } => {
                if self.link.is_current(connection) {
                    self.subscribe_refused(refusal);
                }
            }
            Command::Frame { connection, frame } => self.frame(connection, frame),
            Command::Input(input) => self.handle(FrameworkEvent::Input(input)),
            Command::Tick => self.tick(now.monotonic),
        }
        self.drain();
    }

    /// The next thing to do, or `None` when there is nothing until the next command. Demand and
    /// acknowledgements are put together when asked for, so that several commands share a frame.
    pub fn next_output(&mut self, now: Now) -> Option<Output> {
        self.context.now = now;
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        let calls = self.take_calls(now.monotonic);
        if calls.is_empty() {
            return None;
        }
        self.link.sent(now.monotonic);
        for calls in frames(calls) {
            self.send(calls);
        }
        self.outputs.pop_front()
    }

    /// When [`Command::Tick`] has something to do; `None`: not before another command.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        if self.link.phase == Phase::Ended {
            return None;
        }
        let online = self.context.is_online;
        [
            self.link.deadline(),
            self.link.heartbeat_at(),
            self.framework.next_deadline(),
            self.context.leases.next_deadline(),
            online.then(|| self.context.requests.next_deadline()).flatten(),
            self.link.is_up().then(|| self.context.state.next_deadline()).flatten(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn tick(&mut self, now: Monotonic) {
        if self.link.deadline().is_some_and(|deadline| deadline <= now) {
            match self.link.phase {
                Phase::Away { .. } => {
                    let connection = self.link.connect(now);
                    let hint = self.link.hint.clone();
                    self.outputs.push_back(Output::Connect { connection, hint });
                }
                Phase::Connecting { .. } => self.close("no connection in time"),
                Phase::Subscribing { .. } => self.close("no answer to subscribe in time"),
                Phase::StandingBy | Phase::Subscribed => self.close("nothing heard in time"),
                Phase::Ended => {}
            }
        }
        self.context.requests.wake(now);
        let (renewed, lapsed) = self.context.leases.tick(now);
        if !renewed.is_empty() {
            let chunks = renewed.chunks(FRAME_WEIGHT_MAX);
            let calls = chunks.map(|offers| Call::Renew { offers: offers.to_vec() });
            self.context.calls.extend(calls);
        }
        self.context.told.extend(lapsed.map(Told::from));
        if self.framework.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.handle(FrameworkEvent::Timer);
        }
    }

    fn connected(&mut self, connection: u64, now: Monotonic) {
        let is_awaited = matches!(self.link.phase, Phase::Connecting { .. });
        if !self.link.is_current(connection) || !is_awaited {
            return;
        }
        self.link.connected(now);
        self.link.sent(now);
        self.context.counters.connections += 1;
        let call = Call::Subscribe {
            info: self.framework.info(),
            replica: self.config.replica.clone(),
            take_over: std::mem::take(&mut self.config.take_over),
        };
        self.send(vec![call]);
    }

    fn send(&mut self, calls: Vec<Call>) {
        let frame = SchedulerUp { epoch: self.link.presented, calls };
        self.outputs.push_back(Output::Send { connection: self.link.connection, frame });
    }

    /// Ends the connection from this side.
    fn close(&mut self, why: &str) {
        self.outputs.push_back(Output::Close { connection: self.link.connection });
        self.lose(why);
    }

    /// The connection has ended.
    fn lose(&mut self, why: &str) {
        self.link.lost(why, self.context.now.monotonic);
        // The named leader may be the one that died: back to the list.
        self.link.hint = None;
        self.leave_connection();
    }

    fn leave_connection(&mut self) {
        self.assembly = None;
        self.early.clear();
        let context = &mut self.context;
        context.is_online = false;
        context.calls.clear();
        context.sent_templates.clear();
        context.lose_accepts();
        context.state.disconnected();
        let held = context.leases.drain();
        if !held.is_empty() {
            let offers = held.into_iter().collect();
            context.tell(Notice::Rescinded { offers, reason: "disconnected".to_owned() });
        }
        if context.is_active {
            context.tell(Notice::Disconnected);
        }
    }

    /// Another replica is active: everything known here is void.
    fn stand_by(&mut self, active: ReplicaId) {
        self.assembly = None;
        self.early.clear();
        self.link.presented = FrameworkEpoch(0);
        let context = &mut self.context;
        context.is_active = false;
        context.active_epoch = None;
        context.is_online = false;
        context.calls.clear();
        context.told.clear();
        context.tasks.clear();
        context.absent.clear();
        context.requests.clear();
        context.kills.clear();
        context.launches.restart(|_, _| false);
        context.state.restart();
        context.acknowledgements.clear();
        context.leases.drain();
        context.ended_without_log.clear();
        context.tell(Notice::Standby { active });
    }

    fn frame(&mut self, connection: u64, frame: SchedulerDown) {
        if !self.link.is_current(connection) || !self.link.is_up() {
            self.context.counters.frames_of_older_connection += 1;
            return;
        }
        self.link.heard(self.context.now.monotonic);
        let is_restored = frame.events.iter().any(|event| {
            matches!(event, Event::Subscribed { incarnation, .. }
                if *incarnation > self.link.incarnation)
        });
        if frame.master_epoch < self.link.master_epoch && !is_restored {
            self.context.counters.frames_of_older_master += 1;
            return self.left_by_leader(frame.events);
        }
        self.link.master_epoch = frame.master_epoch;
        for event in frame.events {
            if !self.link.is_current(connection) {
                return;
            }
            if self.link.phase == Phase::Subscribed
                && frame.epoch < self.context.epoch
                && !matches!(event, Event::Heartbeat)
            {
                self.context.counters.frames_of_older_epoch += 1;
                continue;
            }
            self.event(event);
            self.drain();
        }
    }

    /// The master behind the connection does not lead any more. If it says who does, that is
    /// followed; nothing else counts that it says.
    fn left_by_leader(&mut self, events: Vec<Event>) {
        let refused = events.into_iter().find_map(|event| {
            let Event::Refused { call, refusal } = event else { return None };
            (call == "subscribe").then_some(refusal)
        });
        match refused {
            Some(refusal) => self.subscribe_refused(refusal),
            None => self.close("the master no longer leads"),
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Heartbeat => {}
            Event::Subscribed { framework, epoch, incarnation, heartbeat, offer_ttl: _ } => {
                self.link.incarnation = incarnation;
                self.link.heartbeat = heartbeat;
                self.subscribed(framework, epoch);
            }
            Event::Standby { active } => {
                self.link.admitted(Phase::StandingBy);
                self.stand_by(active);
            }
            Event::Superseded { by } => {
                self.close("another replica took over");
                self.stand_by(by);
            }
            Event::TornDown => self.torn_down(),
            Event::Refused { call, refusal } if call == "subscribe" => {
                self.subscribe_refused(refusal);
            }
            _ if self.link.phase != Phase::Subscribed => {
                self.context.counters.events_out_of_place += 1;
            }
            Event::SnapshotPage { tasks } => match &mut self.assembly {
                Some(assembly) if assembly.absent.is_none() => assembly.add(tasks),
                None if self.context.is_online => {
                    let mut assembly = Assembly::default();
                    assembly.add(tasks);
                    self.assembly = Some(assembly);
                }
                Some(_) | None => self.context.counters.events_out_of_place += 1,
            },
            Event::SnapshotEnd { absent, cursor: _ } => self.snapshot_ended(absent),
            Event::State { request, answer } => {
                let now = self.context.now.monotonic;
                match self.context.state.answer(request, answer, now) {
                    Ok(notices) => self.context.told.extend(notices.into_iter().map(Told::from)),
                    Err(_) => self.context.counters.events_out_of_place += 1,
                }
                self.become_online();
            }
            event @ (Event::AgentResolved { .. }
            | Event::Offers { .. }
            | Event::Rescinded { .. }
            | Event::Accepted { .. }
            | Event::Status(_)
            | Event::Task(_)
            | Event::Refused { .. }) => {
                if self.context.is_online {
                    return self.delta(event);
                }
                if self.early.len() == EARLY_MAX {
                    return self.close("too much came before the snapshot ended");
                }
                self.early.push_back(event);
            }
        }
    }

    fn delta(&mut self, event: Event) {
        match event {
            Event::Offers { offers } => offers.into_iter().for_each(|o| self.context.serve(o)),
            Event::Rescinded { offers, reason } => {
                let offers = self.context.leases.release(&offers);
                if !offers.is_empty() {
                    self.context.tell(Notice::Rescinded { offers, reason });
                }
            }
            Event::Accepted { accept, refusal } => self.context.accept_answered(accept, refusal),
            Event::Status(status) => self.context.take_status(status),
            Event::Task(record) => self.context.learn(record),
            Event::AgentResolved { agent, absence } => {
                self.context.agent_resolved(agent, absence);
            }
            Event::Refused { call, refusal } => self.refused(call, refusal),
            Event::Subscribed { .. }
            | Event::Standby { .. }
            | Event::SnapshotPage { .. }
            | Event::SnapshotEnd { .. }
            | Event::State { .. }
            | Event::Superseded { .. }
            | Event::TornDown
            | Event::Heartbeat => self.context.counters.events_out_of_place += 1,
        }
    }

    fn subscribed(&mut self, framework: FrameworkId, epoch: FrameworkEpoch) {
        let context = &mut self.context;
        if self.link.phase == Phase::Subscribed && epoch <= context.epoch {
            context.counters.events_out_of_place += 1;
            return;
        }
        self.link.admitted(Phase::Subscribed);
        self.is_new_epoch = context.active_epoch != Some(epoch);
        self.link.presented = epoch;
        context.framework = Some(framework);
        context.epoch = epoch;
        context.is_online = false;
        context.calls.clear();
        context.lose_accepts();
        if self.is_new_epoch {
            context.requests.clear();
            context.state.restart();
            context.acknowledgements.void_commits(context.state.issued());
        }
        self.assembly = Some(Assembly::default());
        self.early.clear();
        // Stating demand ends classical offers, so a framework that wants those states none
        // before it has some.
        let states_none = self.context.wants_raw_offers && self.context.requests.begin_stream();
        self.says_demand = if states_none { Force::No } else { Force::Yes };
    }

    fn snapshot_ended(&mut self, absent: Vec<proffer_types::scheduler::AbsentAgent>) {
        match &mut self.assembly {
            Some(assembly) if assembly.absent.is_none() => assembly.absent = Some(absent),
            // An empty snapshot that was asked for has no pages.
            None if self.context.is_online => {
                let mut assembly = Assembly::default();
                assembly.absent = Some(absent);
                self.assembly = Some(assembly);
            }
            Some(_) | None => {
                self.context.counters.events_out_of_place += 1;
                return;
            }
        }
        if !self.context.is_online {
            return self.become_online();
        }
        if let Some(assembly) = self.assembly.take() {
            self.context.compare_snapshot(assembly);
        }
    }

    /// Once snapshot and state are complete, calls may leave.
    fn become_online(&mut self) {
        let is_complete = self.assembly.as_ref().is_some_and(|a| a.absent.is_some());
        if self.context.is_online || !is_complete || !self.context.state.is_loaded() {
            return;
        }
        let assembly = self.assembly.take().expect("just seen");
        self.context.is_online = true;
        if self.is_new_epoch {
            self.context.begin_epoch(assembly);
        } else {
            self.context.tell(Notice::Resumed);
            self.context.compare_snapshot(assembly);
        }
        self.say_again();
        self.drain();
        for agent in self.context.acknowledgements.agents() {
            if !self.context.absent.contains_key(&agent) {
                self.context.acknowledgements.drop_void(agent);
            }
        }
        while let Some(event) = self.early.pop_front() {
            self.delta(event);
            self.drain();
        }
    }

    /// What a new stream must be told, since the master keeps it no longer than a stream.
    fn say_again(&mut self) {
        let context = &mut self.context;
        if context.wants_teardown {
            return context.calls.push(Call::Teardown);
        }
        if context.wants_raw_offers && !context.suppresses_all {
            context.calls.push(Call::Revive { roles: BTreeSet::new() });
        }
        if context.suppresses_all || !context.suppressed.is_empty() {
            let roles: BTreeSet<RoleName> =
                if context.suppresses_all { BTreeSet::new() } else { context.suppressed.clone() };
            context.calls.push(Call::Suppress { roles });
        }
        for name in context.kills.keys().cloned().collect::<Vec<_>>() {
            context.repeat_kill(&name);
        }
    }

    fn torn_down(&mut self) {
        self.outputs.push_back(Output::Close { connection: self.link.connection });
        self.link.phase = Phase::Ended;
        self.context.is_active = false;
        self.context.is_online = false;
        self.context.told.clear();
        self.context.tell(Notice::TornDown);
        self.drain();
        self.outputs.push_back(Output::Ended);
    }

    fn subscribe_refused(&mut self, refusal: Refusal) {
        if refusal.code == RefusalCode::NotLeader && !refusal.hint.is_empty() {
            self.outputs.push_back(Output::Close { connection: self.link.connection });
            self.link.redirected(refusal.hint, self.context.now.monotonic);
            return self.leave_connection();
        }
        if refusal.code == RefusalCode::StaleEpoch {
            self.link.presented = FrameworkEpoch(0);
        }
        self.close(&refusal.to_string());
        self.context.tell(Notice::Refused { call: "subscribe".to_owned(), refusal });
    }

    fn refused(&mut self, call: String, refusal: Refusal) {
        if call == "demand" {
            for name in self.context.requests.refused(&refusal) {
                self.context.tell(Notice::LaunchFailed { name, refusal: refusal.clone() });
            }
        }
        self.context.tell(Notice::Refused { call, refusal });
    }

    /// Lets the framework handle what there is to tell.
    fn drain(&mut self) {
        while let Some(told) = self.context.told.pop_front() {
            let is_refused_commit = matches!(told.notice, Notice::StateRefused { .. });
            self.handle(told.notice.widen());
            let context = &mut self.context;
            let commit = context.state.issued();
            for id in told.handled {
                match told.ended {
                    Some(_) => context.acknowledgements.note_end(id, commit),
                    None => context.acknowledgements.note(id, commit),
                }
            }
            if let Some(agent) = told.gone {
                context.acknowledgements.note_gone(agent, commit);
            }
            if let Some((name, token)) = told.ended {
                context.end_handled(&name, commit);
                let is_ended = |task: &crate::Task| task.token() == token && !task.is_live();
                if context.tasks.get(&name).is_some_and(|task| is_ended(task)) {
                    context.tasks.remove(&name);
                }
            }
            if is_refused_commit {
                context.postpone();
            }
        }
        self.context.settle();
    }

    fn handle(&mut self, event: FrameworkEvent<F::Input>) {
        let now = self.context.now;
        self.framework.handle(event, now, &mut self.context);
    }

    /// Everything that may be said now.
    fn take_calls(&mut self, now: Monotonic) -> Vec<Call> {
        let mut calls = Vec::new();
        let context = &mut self.context;
        if self.link.phase == Phase::Subscribed {
            // What uses offers goes before the demand that no longer counts it as waiting, and
            // what gives them back after it: else the same would be offered again.
            let (declines, others): (Vec<Call>, Vec<Call>) = std::mem::take(&mut context.calls)
                .into_iter()
                .partition(|call| matches!(call, Call::Decline { .. }));
            // A name can be used again once its end is acknowledged, so that goes first.
            if context.is_online {
                calls.extend(context.acknowledgements.take_calls());
            }
            calls.extend(others);
            let force = std::mem::replace(&mut self.says_demand, Force::No);
            if context.is_online || force == Force::Yes {
                let groups = context.requests.demand(&context.tasks, force);
                calls.extend(groups.map(|groups| Call::Demand { groups }));
            }
            calls.extend(join_declines(declines));
            if context.is_online
                && self.assembly.is_none()
                && std::mem::take(&mut context.wants_snapshot)
            {
                calls.push(Call::Snapshot);
            }
            if let Some((request, call)) = context.state.next_call(now) {
                if matches!(call, proffer_types::state_store::StateCall::Commit { .. }) {
                    context.counters.commits += 1;
                }
                calls.push(Call::State { request, call });
            }
        }
        if calls.is_empty() && self.link.heartbeat_at().is_some_and(|at| at <= now) {
            calls.push(Call::Heartbeat);
        }
        calls
    }
}

/// Declines of one term go together.
fn join_declines(declines: Vec<Call>) -> Vec<Call> {
    let mut joined: Vec<(DurationMs, Vec<proffer_types::OfferId>)> = Vec::new();
    for call in declines {
        let Call::Decline { offers, refuse_for } = call else { continue };
        match joined.iter_mut().find(|(term, _)| *term == refuse_for) {
            Some((_, together)) => together.extend(offers),
            None => joined.push((refuse_for, offers)),
        }
    }
    joined.into_iter().map(|(refuse_for, offers)| Call::Decline { offers, refuse_for }).collect()
}

/// Cuts calls into frames of bounded weight, in order.
fn frames(calls: Vec<Call>) -> Vec<Vec<Call>> {
    let mut frames: Vec<Vec<Call>> = Vec::new();
    let mut weight = 0;
    for call in calls {
        let more = weigh(&call);
        match frames.last_mut() {
            Some(frame) if weight + more <= FRAME_WEIGHT_MAX => {
                weight += more;
                frame.push(call);
            }
            Some(_) | None => {
                weight = more;
                frames.push(vec![call]);
            }
        }
    }
    frames
}

fn weigh(call: &Call) -> usize {
    use proffer_types::offer::Operation;
    match call {
        Call::Accept(accept) => accept
            .operations
            .iter()
            .map(|operation| match operation {
                Operation::Launch { tasks, .. } => 1 + tasks.len(),
                Operation::Reserve { .. }
                | Operation::Unreserve { .. }
                | Operation::CreateVolume { .. }
                | Operation::DestroyVolume { .. } => 1,
            })
            .sum(),
        Call::Demand { groups } => 1 + groups.len(),
        // A template or a commit may be large; each has a frame of its own.
        Call::Template { .. } | Call::State { .. } => FRAME_WEIGHT_MAX / 2 + 1,
        Call::Subscribe { .. }
        | Call::Decline { .. }
        | Call::Renew { .. }
        | Call::Suppress { .. }
        | Call::Revive { .. }
        | Call::Kill { .. }
        | Call::Acknowledge { .. }
        | Call::Snapshot
        | Call::Teardown
        | Call::Heartbeat => 1,
    }
}
