//! The framework: dispatch only. What an event means is in `tasks.rs`, `calls.rs`, `store.rs`; what
//! is to be done is chosen in `reconcile.rs`, once a turn, for the services that changed.

use crate::api::ServiceView;
use crate::command::{ReplyTo, ServiceCall, ServiceCommand, ServiceReply};
use crate::commands::Services;
use crate::events::EventRing;
use crate::record::ServiceRecord;
use crate::spec::ServiceName;
use proffer_sdk_core::{Context, Framework, FrameworkEvent};
use proffer_types::scheduler::{Absence, FrameworkInfo};
use proffer_types::{AgentId, DurationMs, Monotonic, Now, Refusal, RoleName};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What the framework is told at its start.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceConfig {
    /// What it says of itself to the master.
    pub info: FrameworkInfo,
    /// The role that pays for instances; one of `info.roles`.
    pub role: RoleName,
}

/// An answer that is due.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// To whom.
    pub reply: ReplyTo,
    /// What.
    pub result: Result<ServiceReply, Refusal>,
}

/// What waits for a commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingCommit {
    /// The records as they are stored with it, of all services that it concerns.
    pub(crate) records: BTreeMap<ServiceName, ServiceRecord>,
    /// Services that are forgotten when it is durable.
    pub(crate) removes: BTreeSet<ServiceName>,
    /// What has happened when it is durable, in words.
    pub(crate) notes: Vec<(ServiceName, String)>,
    pub(crate) answer: Option<(ReplyTo, ServiceReply)>,
}

/// The service framework's state. Pure: the SDK's driver runs it.
#[derive(Clone, Debug)]
pub struct ServiceFramework {
    pub(crate) config: ServiceConfig,
    pub(crate) services: Services,
    /// Services to be looked at before the turn ends.
    pub(crate) dirty: BTreeSet<ServiceName>,
    pub(crate) commits: BTreeMap<u64, PendingCommit>,
    pub(crate) next_ticket: u64,
    pub(crate) next_attempt: u64,
    /// Calls that came before the framework was ready to decide, or while a service that they concern
    /// was being stored; in their order.
    pub(crate) waiting: VecDeque<ServiceCommand>,
    pub(crate) is_loaded: bool,
    pub(crate) is_online: bool,
    /// Absent agents, with the moment they were first seen in their state (K2).
    pub(crate) absent: BTreeMap<AgentId, (Absence, Monotonic)>,
    pub(crate) events: EventRing,
    pub(crate) answers: Vec<Answer>,
    pub(crate) views: BTreeMap<ServiceName, Arc<ServiceView>>,
    pub(crate) views_changed: u64,
    pub(crate) endpoint_changes: u64,
    pub(crate) now: Now,
    /// The whole framework cannot work, and why: a record of a newer format, for example.
    pub(crate) fault: Option<Refusal>,
}

/// Calls that are kept until they can be carried out.
const WAITING_MAX: usize = 64;

impl ServiceFramework {
    /// A framework that knows nothing yet.
    #[must_use]
    pub fn new(config: ServiceConfig) -> Self {
        Self {
            config,
            services: Services::new(),
            dirty: BTreeSet::new(),
            commits: BTreeMap::new(),
            next_ticket: 0,
            next_attempt: 0,
            waiting: VecDeque::new(),
            is_loaded: false,
            is_online: false,
            absent: BTreeMap::new(),
            events: EventRing::default(),
            answers: Vec::new(),
            views: BTreeMap::new(),
            views_changed: 0,
            endpoint_changes: 0,
            now: Now::default(),
            fault: None,
        }
    }

    /// Answers that are due, in order; each is given once.
    pub fn take_answers(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.answers)
    }

    /// What readers see, by service.
    #[must_use]
    pub fn views(&self) -> &BTreeMap<ServiceName, Arc<ServiceView>> {
        &self.views
    }

    /// Grows whenever [`Self::views`] changes.
    #[must_use]
    pub fn views_changed(&self) -> u64 {
        self.views_changed
    }

    /// The last things that happened.
    #[must_use]
    pub fn events(&self) -> &EventRing {
        &self.events
    }

    /// Whether state and snapshot are there, so that it decides.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.is_loaded && self.fault.is_none()
    }

    /// What keeps the whole framework from working.
    #[must_use]
    pub fn fault(&self) -> Option<&Refusal> {
        self.fault.as_ref()
    }

    /// Commits that are neither durable nor refused, ascending.
    pub fn open_commits(&self) -> impl Iterator<Item = u64> {
        self.commits.keys().copied()
    }

    pub(crate) fn mark_all(&mut self) {
        self.dirty.extend(self.services.keys().cloned());
    }

    /// Carries a call out, or keeps it until it can be.
    pub(crate) fn take_in(&mut self, command: ServiceCommand, ctx: &mut Context) {
        if self.is_loaded && !self.must_wait(&command.call) {
            self.carry_out(command, ctx);
        } else if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(command);
        } else {
            let message = if self.is_loaded {
                "the state store is slow, and too many calls wait for it"
            } else {
                "the service framework is not connected to a master yet"
            };
            let refusal = Refusal::new(proffer_types::RefusalCode::Unavailable, "", message);
            self.answers.push(Answer { reply: command.reply, result: Err(refusal) });
        }
    }

    /// Whether a service that it concerns is being stored, or an earlier call on one waits.
    fn must_wait(&self, call: &ServiceCall) -> bool {
        let waits = |name: &ServiceName| self.waiting.iter().any(|it| it.call.concerns(name));
        self.services.iter().any(|(name, it)| it.is_storing && call.concerns(name))
            || call.services().into_iter().any(waits)
    }

    /// Takes in again what waited.
    pub(crate) fn go_on(&mut self, ctx: &mut Context) {
        for command in std::mem::take(&mut self.waiting) {
            self.take_in(command, ctx);
        }
    }
}

impl Framework for ServiceFramework {
    type Input = ServiceCommand;

    fn info(&self) -> FrameworkInfo {
        self.config.info.clone()
    }

    fn handle(&mut self, event: FrameworkEvent<ServiceCommand>, now: Now, ctx: &mut Context) {
        self.now = now;
        match event {
            FrameworkEvent::Active { .. } => {
                self.is_online = true;
                self.rebuild(ctx);
                self.go_on(ctx);
            }
            FrameworkEvent::Resumed => {
                self.is_online = true;
                self.hold_deadlines();
            }
            FrameworkEvent::Disconnected => self.is_online = false,
            FrameworkEvent::Task { task, retried, .. } => self.task_changed(&task, retried, ctx),
            FrameworkEvent::LaunchFailed { name, refusal } => {
                self.launch_failed(&name, &refusal, ctx);
            }
            FrameworkEvent::Agent { agent, absence } => {
                self.agent_changed(agent, absence);
                self.mark_all();
            }
            FrameworkEvent::InverseOffers { offers } => self.asked_to_leave(&offers, ctx),
            FrameworkEvent::InverseOffersRescinded { .. } => self.mark_all(),
            FrameworkEvent::StateCommitted { ticket } => self.committed(ticket, ctx),
            FrameworkEvent::StateRefused { ticket, refusal } => {
                self.commit_refused(ticket, &refusal, ctx);
            }
            FrameworkEvent::Standby { .. } | FrameworkEvent::TornDown => self.step_down(),
            FrameworkEvent::Timer => self.reconcile_due(ctx),
            FrameworkEvent::Input(command) => self.take_in(command, ctx),
            // Refused kills and demands are repeated by the SDK; raw offers are not asked for.
            FrameworkEvent::Refused { .. }
            | FrameworkEvent::Offers { .. }
            | FrameworkEvent::Rescinded { .. }
            | FrameworkEvent::Hold(_)
            | FrameworkEvent::AcceptAnswered { .. } => {}
        }
    }

    fn next_deadline(&self) -> Option<Monotonic> {
        if !self.is_loaded {
            return None;
        }
        if !self.dirty.is_empty() {
            // At the end of this turn: many changes of one service are looked at once.
            return Some(self.now.monotonic);
        }
        self.services.values().filter_map(|service| service.wake_at).min()
    }
}

/// A small pause where something is to be looked at again soon.
pub(crate) const SOON: DurationMs = DurationMs(100);
