//! Runs a framework: commands in, outputs out. Dispatches; the rules are in the other modules.

mod subscription;

pub use crate::command::{Command, Config, Output, Standing, Status};

use crate::context::{Context, Told};
use crate::counters::Counters;
use crate::frames::{frames, join_declines, renewals};
use crate::framework::{Framework, FrameworkEvent, Notice};
use crate::invariants;
use crate::link::{Link, Phase};
use crate::requests::Force;
use crate::snapshot::Assembly;
use proffer_types::demand::ExpiredGroup;
use proffer_types::scheduler::{Call, Event, SchedulerDown, SchedulerUp};
use proffer_types::state_store::StateCall;
use proffer_types::{Monotonic, Now, Refusal, RefusalCode};
use std::collections::VecDeque;

/// Events kept while a snapshot or the state still comes in; beyond it something is wrong, and a
/// new connection begins with a fresh snapshot.
const EARLY_MAX: usize = 100_000;
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
        let context = Context::new(framework.wants_raw_offers(), framework.offer_conditions());
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
            capability_key: self.link.capability_key.clone(),
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
            self.context.calls.extend(renewals(&renewed));
        }
        self.context.told.extend(lapsed.map(Told::from));
        if self.framework.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.handle(FrameworkEvent::Timer);
        }
    }

    fn send(&mut self, calls: Vec<Call>) {
        let frame = SchedulerUp { epoch: self.link.presented, calls };
        self.outputs.push_back(Output::Send { connection: self.link.connection, frame });
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

    fn event(&mut self, event: Event) {
        match event {
            Event::Heartbeat => {}
            Event::Subscribed {
                framework,
                epoch,
                incarnation,
                heartbeat,
                offer_ttl: _,
                capability_key,
            } => {
                self.link.incarnation = incarnation;
                self.link.heartbeat = heartbeat;
                self.link.capability_key = capability_key;
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
            Event::InverseOffers { offers } => {
                self.context.inverse_offers.take(offers);
                self.tell_inverse_offers();
            }
            Event::InverseOffersRescinded { offers, reason: _ } => {
                self.context.inverse_offers.withdraw(&offers);
                self.tell_inverse_offers();
            }
            Event::SnapshotPage { tasks } => {
                if let Some(assembly) = self.open_assembly() {
                    assembly.add(tasks);
                }
            }
            Event::SnapshotAbsent { absent } => {
                if let Some(assembly) = self.open_assembly() {
                    assembly.add_absent(absent);
                }
            }
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
            | Event::DemandExpired { .. }
            | Event::Accepted { .. }
            | Event::Hold(_)
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
            Event::DemandExpired { groups } => self.expired(&groups),
            Event::Accepted { accept, refusal, holds } => {
                self.context.accept_answered(accept, refusal, holds);
            }
            Event::Hold(news) => self.context.tell(Notice::Hold(news)),
            Event::Status(status) => self.context.take_status(status),
            Event::Task(record) => self.context.learn(*record),
            Event::AgentResolved { agent, absence } => {
                self.context.agent_resolved(agent, absence);
            }
            Event::Refused { call, refusal } => self.refused(call, refusal),
            Event::Subscribed { .. }
            | Event::Standby { .. }
            | Event::SnapshotPage { .. }
            | Event::SnapshotAbsent { .. }
            | Event::SnapshotEnd { .. }
            | Event::InverseOffers { .. }
            | Event::InverseOffersRescinded { .. }
            | Event::State { .. }
            | Event::Superseded { .. }
            | Event::TornDown
            | Event::Heartbeat => self.context.counters.events_out_of_place += 1,
        }
    }

    /// Until snapshot and state are complete the framework is told nothing.
    fn tell_inverse_offers(&mut self) {
        if self.context.is_online {
            self.context.tell_inverse_offers();
        }
    }

    fn expired(&mut self, groups: &[ExpiredGroup]) {
        let message = "there was no place for it in time";
        let refusal = Refusal::new(RefusalCode::Expired, "deadline", message);
        for group in groups {
            for name in self.context.requests.expired(&group.name) {
                self.context.tell(Notice::LaunchFailed { name, refusal: refusal.clone() });
            }
        }
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
                let groups = context.requests.demand(&context.tasks, force, now);
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
                if matches!(call, StateCall::Commit { .. }) {
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
