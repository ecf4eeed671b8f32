//! What a framework may do, and what it can look at.

use crate::acknowledgements::Acknowledgements;
use crate::counters::Counters;
use crate::framework::Notice;
use crate::inverse_offers::{Answer, InverseOffers, News};
use crate::launches::Launches;
use crate::leases::Leases;
use crate::request::{TaskRequest, Template};
use crate::requests::{Condition, Requests};
use crate::state_cache::{StateCache, StateWrite};
use crate::task_table::{Task, TaskTable};
use proffer_types::demand::Budget;
use proffer_types::inverse_offer::{InverseAnswer, InverseOffer};
use proffer_types::offer::{Offer, Operation};
use proffer_types::scheduler::{Absence, Call};
use proffer_types::template::KillPolicy;
use proffer_types::{
    AgentId, DurationMs, FrameworkEpoch, FrameworkId, GroupName, InverseOfferId, LaunchToken, Now,
    OfferConditions, OfferId, Refusal, RefusalCode, RoleName, StatusId, TaskName, TemplateDigest,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The framework's hand on the cluster. Everything asked of it while the connection is away is
/// kept and said when it is back.
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) now: Now,
    pub(crate) framework: Option<FrameworkId>,
    pub(crate) epoch: FrameworkEpoch,
    /// The framework was told that it is active, and not that it stands by.
    pub(crate) is_active: bool,
    /// The epoch in which it was told so.
    pub(crate) active_epoch: Option<FrameworkEpoch>,
    /// Snapshot and state of this connection are complete: calls may leave.
    pub(crate) is_online: bool,
    pub(crate) wants_raw_offers: bool,
    pub(crate) tasks: TaskTable,
    pub(crate) absent: BTreeMap<AgentId, Absence>,
    pub(crate) requests: Requests,
    pub(crate) launches: Launches,
    pub(crate) acknowledgements: Acknowledgements,
    pub(crate) state: StateCache,
    pub(crate) leases: Leases,
    pub(crate) inverse_offers: InverseOffers,
    pub(crate) kills: BTreeMap<TaskName, Option<KillPolicy>>,
    pub(crate) suppressed: BTreeSet<RoleName>,
    pub(crate) suppresses_all: bool,
    pub(crate) conditions: OfferConditions,
    /// How many tasks are to stay available, by group.
    pub(crate) budgets: BTreeMap<GroupName, u32>,
    pub(crate) sent_templates: BTreeSet<TemplateDigest>,
    /// Ends that the master told by itself, without a log: told once in an epoch.
    pub(crate) ended_without_log: BTreeMap<TaskName, LaunchToken>,
    /// Names whose last end is handled but waits for a commit to be acknowledged.
    pub(crate) unsettled_ends: BTreeMap<TaskName, u64>,
    pub(crate) wants_teardown: bool,
    pub(crate) wants_snapshot: bool,
    pub(crate) calls: Vec<Call>,
    pub(crate) told: VecDeque<Told>,
    pub(crate) counters: Counters,
}

/// A notice, and what follows once the framework has handled it.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) notice: Notice,
    /// Statuses that are handled then.
    pub(crate) handled: Vec<StatusId>,
    /// An ended task that leaves the table then.
    pub(crate) ended: Option<(TaskName, LaunchToken)>,
    /// An agent that is gone for good, which is handled then.
    pub(crate) gone: Option<AgentId>,
}

impl From<Notice> for Told {
    fn from(notice: Notice) -> Self {
        Self { notice, handled: Vec::new(), ended: None, gone: None }
    }
}

impl Context {
    pub(crate) fn new(wants_raw_offers: bool, conditions: OfferConditions) -> Self {
        Self {
            now: Now::default(),
            framework: None,
            epoch: FrameworkEpoch::default(),
            is_active: false,
            active_epoch: None,
            is_online: false,
            wants_raw_offers,
            tasks: TaskTable::default(),
            absent: BTreeMap::new(),
            requests: Requests::default(),
            launches: Launches::default(),
            acknowledgements: Acknowledgements::default(),
            state: StateCache::new(),
            leases: Leases::default(),
            inverse_offers: InverseOffers::default(),
            kills: BTreeMap::new(),
            suppressed: BTreeSet::new(),
            suppresses_all: false,
            conditions,
            budgets: BTreeMap::new(),
            sent_templates: BTreeSet::new(),
            ended_without_log: BTreeMap::new(),
            unsettled_ends: BTreeMap::new(),
            wants_teardown: false,
            wants_snapshot: false,
            calls: Vec::new(),
            told: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// The time of the event at hand.
    #[must_use]
    pub fn now(&self) -> Now {
        self.now
    }

    /// Whether this is the active replica, as far as is known.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.is_active
    }

    /// Its id; `None` before the first subscription.
    #[must_use]
    pub fn framework_id(&self) -> Option<FrameworkId> {
        self.framework
    }

    /// The current epoch; also the session of its launch tokens.
    #[must_use]
    pub fn epoch(&self) -> FrameworkEpoch {
        self.epoch
    }

    /// Its tasks.
    #[must_use]
    pub fn tasks(&self) -> &TaskTable {
        &self.tasks
    }

    /// Names of requests without a place, held ones included, ascending.
    pub fn waiting(&self) -> impl Iterator<Item = &TaskName> {
        self.requests.names()
    }

    /// The demand group of a request without a place.
    #[must_use]
    pub fn group_of(&self, name: &TaskName) -> Option<&proffer_types::GroupName> {
        self.requests.get(name).map(|waiting| &waiting.group)
    }

    /// Agents that may hold tasks nobody can speak of now (K2).
    #[must_use]
    pub fn absent(&self) -> &BTreeMap<AgentId, Absence> {
        &self.absent
    }

    /// Whether the name is taken: its request waits, or its task has not ended.
    #[must_use]
    pub fn is_taken(&self, name: &TaskName) -> bool {
        self.requests.get(name).is_some() || self.tasks.get(name).is_some_and(|task| task.is_live())
    }

    /// Asks for a task. What becomes of it is told by `Task` and `LaunchFailed` events.
    ///
    /// Safe to repeat: a name that is taken is refused, so nothing runs twice (I2).
    ///
    /// # Errors
    /// Not active; the name is taken; or the request breaks a rule that its field names.
    pub fn launch(&mut self, request: TaskRequest) -> Result<(), Refusal> {
        if !self.is_active {
            return Err(not_active());
        }
        request.validate()?;
        if self.is_taken(&request.name) {
            return Err(Refusal::new(
                RefusalCode::AlreadyExists,
                "name",
                format!("{} waits or has not ended", request.name),
            ));
        }
        let held = !self.absent.is_empty() && !request.is_name_fresh;
        let condition = match self.unsettled_ends.get(&request.name) {
            _ if held => Condition::Held,
            Some(commit) => Condition::Unsettled(*commit),
            None => Condition::Demanded,
        };
        self.requests.add(Arc::new(request), 0, condition, self.now.monotonic)
    }

    /// Takes back a request that has no place yet; whether there was one.
    pub fn cancel(&mut self, name: &TaskName) -> bool {
        self.requests.take(name).is_some()
    }

    /// Ends a task, or takes its request back; whether there was either. The kill is repeated
    /// until the task has ended; `policy` takes the place of its template's.
    pub fn kill(&mut self, name: &TaskName, policy: Option<KillPolicy>) -> bool {
        if self.cancel(name) {
            return true;
        }
        if !self.tasks.get(name).is_some_and(|task| task.is_live()) {
            return false;
        }
        let repeated = self.kills.insert(name.clone(), policy) == Some(policy);
        if !repeated && self.is_online {
            self.calls.push(Call::Kill { task: name.clone(), policy });
        }
        true
    }

    /// The value of a key as of the commits issued so far.
    #[must_use]
    pub fn state(&self, key: &str) -> Option<&[u8]> {
        self.state.get(key)
    }

    /// The keys that begin with `prefix`, ascending, as of the commits issued so far.
    #[must_use]
    pub fn state_keys(&self, prefix: &str) -> Vec<String> {
        self.state.keys(prefix)
    }

    /// Makes all of `changes` durable, or none. Commits become durable in the order they are
    /// issued; `StateCommitted` or `StateRefused` tells, with `ticket`.
    ///
    /// # Errors
    /// Not active, or a change breaks a fixed bound of the store (K9).
    pub fn commit(&mut self, changes: Vec<StateWrite>, ticket: u64) -> Result<(), Refusal> {
        if !self.is_active {
            return Err(not_active());
        }
        self.state.issue(changes, ticket).map(|_| ())
    }

    /// No more offers for `roles`; empty: for all of them. Demand of these roles waits, too.
    pub fn suppress(&mut self, roles: BTreeSet<RoleName>) {
        if roles.is_empty() {
            self.suppresses_all = true;
        }
        self.suppressed.extend(roles.iter().cloned());
        if self.is_online {
            self.calls.push(Call::Suppress { roles });
        }
    }

    /// Offers again for `roles`, and all filters cleared; empty: for all of them.
    pub fn revive(&mut self, roles: BTreeSet<RoleName>) {
        if roles.is_empty() {
            self.suppresses_all = false;
            self.suppressed.clear();
        }
        self.suppressed.retain(|role| !roles.contains(role));
        if self.is_online {
            self.calls.push(Call::Revive { roles });
        }
    }

    /// What classical offers are to hold from now on, by role. Offers that are held stay.
    ///
    /// # Errors
    /// A refusal that names the field; nothing was changed.
    pub fn want_offers(&mut self, conditions: OfferConditions) -> Result<(), Refusal> {
        for (role, condition) in &conditions {
            condition.validate().map_err(|r| r.within(format!("conditions[{role}]")))?;
        }
        self.conditions = conditions;
        if self.is_online {
            let conditions = self.conditions.clone();
            self.calls.push(Call::OfferConditions { conditions });
        }
        Ok(())
    }

    /// So many tasks of `group` are to stay available, whoever else wants their room; in place of what was
    /// said before, by [`TaskRequest::min_available`](crate::TaskRequest::min_available) too. A framework that
    /// was started anew says it again.
    ///
    /// # Errors
    /// A refusal when `group` is not a valid name; nothing was changed.
    pub fn keep_available(&mut self, group: &str, count: u32) -> Result<(), Refusal> {
        let name = GroupName::new(group).map_err(|refusal| refusal.within("group"))?;
        if self.budgets.insert(name, count) != Some(count) {
            self.say_budgets();
        }
        Ok(())
    }

    /// Nothing is said of `group` any more: what its newest launch says counts.
    pub fn forget_available(&mut self, group: &str) {
        let known = GroupName::new(group).ok().and_then(|name| self.budgets.remove(&name));
        if known.is_some() {
            self.say_budgets();
        }
    }

    /// One call says all of them, so an earlier one that has not left yet is out of date.
    pub(crate) fn say_budgets(&mut self) {
        if !self.is_online {
            return;
        }
        let of = |(name, count): (&GroupName, &u32)| Budget {
            name: name.clone(),
            min_available: *count,
        };
        let budgets = self.budgets.iter().map(of).collect();
        self.calls.retain(|call| !matches!(call, Call::Budgets { .. }));
        self.calls.push(Call::Budgets { budgets });
    }

    /// Ends the framework: its tasks are killed, its state is deleted, its id is never used again.
    pub fn teardown(&mut self) {
        self.wants_teardown = true;
        if self.is_online {
            self.calls.push(Call::Teardown);
        }
    }

    /// What it is asked to give up, by id.
    #[must_use]
    pub fn inverse_offers(&self) -> &BTreeMap<InverseOfferId, InverseOffer> {
        self.inverse_offers.standing()
    }

    /// The request to give up this task, if there is one.
    #[must_use]
    pub fn inverse_offer_of(&self, task: &Task) -> Option<&InverseOffer> {
        self.inverse_offers.of(task.agent(), task.name())
    }

    /// Promises to move the tasks that these ask for. Said again when the connection was lost.
    pub fn accept_inverse_offers(&mut self, offers: &[InverseOfferId]) {
        self.answer_inverse_offers(offers, &Answer::Accept);
    }

    /// Keeps the tasks that these ask for, as long as that is its own choice.
    pub fn decline_inverse_offers(&mut self, offers: &[InverseOfferId], reason: &str) {
        let mut reason = reason.to_owned();
        let end = (0..=InverseAnswer::REASON_BYTES_MAX).rev();
        let end = end.into_iter().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
        reason.truncate(end);
        self.answer_inverse_offers(offers, &Answer::Decline { reason });
    }

    fn answer_inverse_offers(&mut self, offers: &[InverseOfferId], answer: &Answer) {
        let calls = self.inverse_offers.answer(offers, answer);
        if self.is_online {
            self.calls.extend(calls);
        }
    }

    /// Tells the framework what it has not been told of inverse offers.
    pub(crate) fn tell_inverse_offers(&mut self) {
        let News { asked, withdrawn } = self.inverse_offers.news();
        if !withdrawn.is_empty() {
            self.tell(Notice::InverseOffersRescinded { offers: withdrawn });
        }
        if !asked.is_empty() {
            self.tell(Notice::InverseOffers { offers: asked });
        }
    }

    /// Raw offers that are held, by id.
    pub fn offers(&self) -> impl Iterator<Item = &Offer> {
        self.leases.offers()
    }

    /// Uses raw offers: several operations, all or none. Launches on several agents are a gang: each agent
    /// prepares its tasks, and when all have they start together. If one cannot, none starts, and the others
    /// end as `Dropped` with the reason `GangAborted`: they may be launched again. Returns the number that
    /// `AcceptAnswered` will carry. If the connection is lost before, no answer comes; the task
    /// table tells what became of the launches.
    ///
    /// # Errors
    /// No connection, or an offer that is not held.
    pub fn accept(
        &mut self,
        offers: &[OfferId],
        operations: Vec<Operation>,
        refuse_for: DurationMs,
    ) -> Result<u64, Refusal> {
        if !self.is_online {
            return Err(not_active());
        }
        if let Some(index) = offers.iter().position(|id| self.leases.get(*id).is_none()) {
            return Err(Refusal::new(
                RefusalCode::OfferNotHeld,
                format!("offers[{index}]"),
                format!("{} is not held", offers[index]),
            ));
        }
        Ok(self.accept_raw(offers, operations, refuse_for))
    }

    /// Gives raw offers back; the same is not offered again for `refuse_for`.
    pub fn decline(&mut self, offers: &[OfferId], refuse_for: DurationMs) {
        let offers = self.leases.release(offers);
        if !offers.is_empty() && self.is_online {
            self.calls.push(Call::Decline { offers, refuse_for });
        }
    }

    /// Renews a raw offer until it is used or given back; whether it was held.
    pub fn keep(&mut self, offer: OfferId) -> bool {
        self.leases.keep(offer)
    }

    /// A token for a launch in [`Context::accept`]. Used once.
    pub fn next_token(&mut self) -> LaunchToken {
        LaunchToken { session: self.epoch, sequence: self.launches.next_sequence() }
    }

    /// Sends a template ahead of an [`Context::accept`] that names it, once a connection.
    pub fn send_template(&mut self, template: &Template) -> TemplateDigest {
        let digest = template.digest();
        if self.is_online && self.sent_templates.insert(digest) {
            self.calls.push(Call::Template { digest, template: template.pod().clone() });
        }
        digest
    }

    /// The framework has handled an end; `commit` is the last one it had issued by then.
    pub(crate) fn end_handled(&mut self, name: &TaskName, commit: u64) {
        if commit > self.state.settled() {
            self.unsettled_ends.insert(name.clone(), commit);
            self.requests.await_commit(name, commit);
        }
    }

    /// Answered commits let acknowledgements go, and names with them.
    pub(crate) fn settle(&mut self) {
        let settled = self.state.settled();
        self.acknowledgements.settle(settled);
        let before = self.unsettled_ends.len();
        self.unsettled_ends.retain(|_, commit| *commit > settled);
        if self.unsettled_ends.len() != before {
            self.requests.settle(settled);
        }
    }

    /// A commit was refused: what waited for it waits for what the framework issued instead.
    pub(crate) fn postpone(&mut self) {
        let (settled, issued) = (self.state.settled(), self.state.issued());
        self.acknowledgements.postpone(settled, issued);
        for (name, commit) in self.unsettled_ends.iter_mut().filter(|(_, c)| **c <= settled) {
            *commit = issued;
            self.requests.await_commit(name, issued);
        }
    }

    pub(crate) fn tell(&mut self, notice: Notice) {
        self.told.push_back(notice.into());
    }
}

fn not_active() -> Refusal {
    Refusal::new(RefusalCode::Unavailable, "", "this replica is not active now")
        .hint("wait for the event Active")
}
