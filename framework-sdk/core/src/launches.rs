//! Launches under way: offers become accepts, accepts become tasks; what never ran is asked for
//! again (K1). An accept whose answer was lost has an unknown outcome until a snapshot speaks of
//! its agent: until then its name is taken.

use crate::context::{Context, Told};
use crate::framework::Notice;
use crate::offer_matcher;
use crate::requests::{Condition, Waiting};
use crate::task_table::{Certainty, Task};
use proffer_types::hold::HoldId;
use proffer_types::offer::{Accept, Offer, Operation};
use proffer_types::scheduler::{Call, TaskRecord};
use proffer_types::task::{IsolationLevel, StatusReason, TaskStatus};
use proffer_types::template::TaskLaunch;
use proffer_types::{
    DurationMs, GroupName, LaunchToken, OfferId, Refusal, RefusalCode, TaskName, TaskState,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Launches of one request that may be lost before they run, before that is reported.
pub(crate) const ATTEMPTS_MAX: u32 = 5;
/// Most launches in one accept; keeps a frame well below what a master reads at once.
const LAUNCHES_MAX: usize = 500;
/// An offer that answers demand but does not fit what waits: not the same again at once.
const MISFIT_REFUSAL: DurationMs = DurationMs(5_000);
/// Classical offers to a framework that has stated all it wants.
const UNWANTED_REFUSAL: DurationMs = DurationMs(3_600_000);
/// First and longest delay before a launch that failed is tried again.
const RETRY_MIN: DurationMs = DurationMs(500);
const RETRY_MAX: DurationMs = DurationMs(30_000);

/// What is known of the accept that holds a launch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// Sent on this connection; its answer comes.
    Asked,
    /// The connection was lost before the answer came.
    Unknown,
    /// The master took it; the framework has been told of the task.
    Booked,
}

/// A launch whose task has not run yet.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// What to ask for again; `None` for a launch of a raw accept.
    waiting: Option<Waiting>,
    pub(crate) token: LaunchToken,
    pub(crate) outcome: Outcome,
}

/// An accept that awaits its answer.
#[derive(Clone, Debug)]
struct Asked {
    names: Vec<TaskName>,
    /// A refused accept uses up nothing: these are still held.
    offers: Vec<Offer>,
    is_raw: bool,
}

/// All launches whose tasks have not run yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Launches {
    by_name: BTreeMap<TaskName, Launch>,
    asked: BTreeMap<u64, Asked>,
    last_accept: u64,
    last_sequence: u64,
}

impl Launches {
    pub(crate) fn get(&self, name: &TaskName) -> Option<&Launch> {
        self.by_name.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&TaskName, &Launch)> {
        self.by_name.iter()
    }

    pub(crate) fn remove(&mut self, name: &TaskName) -> Option<Launch> {
        self.by_name.remove(name)
    }

    pub(crate) fn next_sequence(&mut self) -> u64 {
        self.last_sequence += 1;
        self.last_sequence
    }

    pub(crate) fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    /// A new epoch: tokens begin anew, and only launches that `keep` names stay.
    pub(crate) fn restart(&mut self, keep: impl Fn(&TaskName, &Launch) -> bool) {
        self.by_name.retain(|name, launch| keep(name, launch));
        self.asked.clear();
        self.last_sequence = 0;
    }

    /// The master is known to have it; whether the framework has been told before.
    pub(crate) fn book(&mut self, name: &TaskName, token: LaunchToken) -> bool {
        match self.by_name.get_mut(name) {
            Some(launch) if launch.token == token => {
                std::mem::replace(&mut launch.outcome, Outcome::Booked) == Outcome::Booked
            }
            Some(_) | None => true,
        }
    }
}

impl Context {
    /// Answers one offer: with launches of what waits for it, or a decline.
    pub(crate) fn serve(&mut self, offer: Offer) {
        self.counters.offers += 1;
        if offer.group.is_none() && self.wants_raw_offers {
            self.leases.add(offer.clone(), self.now.monotonic);
            self.tell(Notice::Offers { offers: vec![offer] });
            return;
        }
        let count_max = match &offer.group {
            Some(_) => (offer.count.max(1) as usize).min(LAUNCHES_MAX),
            None => LAUNCHES_MAX,
        };
        let candidates = self.requests.candidates(&offer, count_max);
        let has_candidates = !candidates.is_empty();
        let launches = self.choose(&offer, candidates, count_max);
        if launches.is_empty() {
            let refuse_for = match (has_candidates, &offer.group) {
                (true, _) => MISFIT_REFUSAL,
                (false, Some(_)) => DurationMs(0),
                (false, None) => UNWANTED_REFUSAL,
            };
            self.counters.offers_declined += 1;
            self.calls.push(Call::Decline { offers: vec![offer.id], refuse_for });
            return;
        }
        let names = launches.iter().map(|launch| launch.name.clone()).collect();
        let operations = vec![Operation::Launch { agent: offer.agent, tasks: launches }];
        let asked = Asked { names, offers: vec![offer], is_raw: false };
        self.send_accept(operations, DurationMs(0), asked);
    }

    /// Takes the requests that fit out of the queue and books them as tasks.
    fn choose(
        &mut self,
        offer: &Offer,
        candidates: Vec<TaskName>,
        count_max: usize,
    ) -> Vec<TaskLaunch> {
        let mut left = offer.resources.clone();
        let mut launches = Vec::new();
        let mut here: BTreeMap<GroupName, u32> = BTreeMap::new();
        for name in candidates {
            if launches.len() == count_max {
                break;
            }
            let waiting = self.requests.get(&name).expect("candidates are waiting");
            let is_full = waiting.request.per_agent_max.is_some_and(|max| {
                let count = || self.tasks.live_in_on(&waiting.group, offer.agent);
                *here.entry(waiting.group.clone()).or_insert_with(count) >= max
            });
            if is_full || (waiting.goes_alone && !launches.is_empty()) {
                continue;
            }
            let Some(share) = offer_matcher::take(&waiting.request, &mut left) else { continue };
            let waiting = self.requests.take(&name).expect("candidates are waiting");
            if let Some(count) = here.get_mut(&waiting.group) {
                *count += 1;
            }
            let goes_alone = waiting.goes_alone;
            launches.push(self.begin(offer, waiting, share));
            if goes_alone {
                break;
            }
        }
        launches
    }

    fn begin(
        &mut self,
        offer: &Offer,
        waiting: Waiting,
        share: offer_matcher::Share,
    ) -> TaskLaunch {
        let request = Arc::clone(&waiting.request);
        self.send_template(&request.template);
        let token = self.next_token();
        let mut variables = request.variables.clone();
        let ports = share.ports.iter().map(|(n, port)| (format!("port.{n}"), port.to_string()));
        variables.extend(ports);
        let zone = match offer.attributes.get("zone") {
            Some(proffer_types::Attribute::Text(zone)) => zone.as_str(),
            _ => "",
        };
        for (name, value) in [
            ("task.name", request.name.as_str()),
            ("agent.name", offer.agent_name.as_str()),
            ("agent.address", &offer.address),
            ("agent.zone", zone),
        ] {
            variables.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        let launch = TaskLaunch {
            name: request.name.clone(),
            token,
            template: request.template.digest(),
            resources: share.resources,
            variables,
            labels: request.labels.clone(),
            group: Some(waiting.group.clone()),
            priority: request.priority,
            budget: request.budget(),
        };
        self.note_launch(offer, &launch, Some(waiting));
        launch
    }

    /// From here on the name is taken, whatever becomes of the accept.
    fn note_launch(&mut self, offer: &Offer, launch: &TaskLaunch, waiting: Option<Waiting>) {
        self.counters.launches += 1;
        let record = self.staging_record(offer, launch);
        self.tasks.put(Arc::new(Task::new(record)));
        let launch_state = Launch { waiting, token: launch.token, outcome: Outcome::Asked };
        self.launches.by_name.insert(launch.name.clone(), launch_state);
    }

    fn staging_record(&self, offer: &Offer, launch: &TaskLaunch) -> TaskRecord {
        TaskRecord {
            status: TaskStatus {
                id: None,
                framework: offer.framework,
                task: launch.name.clone(),
                token: launch.token,
                agent: offer.agent,
                state: TaskState::Staging,
                reason: StatusReason::None,
                message: String::new(),
                exit: None,
                ready: None,
                at: self.now.wall,
                isolation: IsolationLevel::default(),
            },
            template: launch.template,
            resources: launch.resources.clone(),
            role: offer.role.clone(),
            variables: launch.variables.clone(),
            labels: launch.labels.clone(),
            group: launch.group.clone(),
            agent_name: offer.agent_name.clone(),
            address: offer.address.clone(),
            priority: launch.priority,
            budget: launch.budget.clone(),
            gang: None,
        }
    }

    /// A raw accept; the offers are known to be held.
    pub(crate) fn accept_raw(
        &mut self,
        ids: &[OfferId],
        operations: Vec<Operation>,
        refuse_for: DurationMs,
    ) -> u64 {
        let held: Vec<Offer> = ids.iter().filter_map(|id| self.leases.get(*id)).cloned().collect();
        let mut names = Vec::new();
        for operation in &operations {
            let Operation::Launch { agent, tasks } = operation else { continue };
            let Some(offer) = held.iter().find(|offer| offer.agent == *agent) else { continue };
            for launch in tasks {
                if !self.is_taken(&launch.name) {
                    names.push(launch.name.clone());
                    self.note_launch(offer, launch, None);
                }
            }
        }
        self.leases.release(ids);
        self.send_accept(operations, refuse_for, Asked { names, offers: held, is_raw: true })
    }

    fn send_accept(
        &mut self,
        operations: Vec<Operation>,
        refuse_for: DurationMs,
        asked: Asked,
    ) -> u64 {
        self.counters.accepts += 1;
        self.launches.last_accept += 1;
        let accept = self.launches.last_accept;
        let offers = asked.offers.iter().map(|offer| (offer.id, offer.agent_version)).collect();
        self.launches.asked.insert(accept, asked);
        self.calls.push(Call::Accept(Accept { accept, offers, operations, refuse_for }));
        accept
    }

    /// The master answered an accept.
    pub(crate) fn accept_answered(
        &mut self,
        accept: u64,
        refusal: Option<Refusal>,
        holds: Vec<HoldId>,
    ) {
        let Some(asked) = self.launches.asked.remove(&accept) else {
            self.counters.events_out_of_place += 1;
            return;
        };
        if asked.is_raw {
            self.tell(Notice::AcceptAnswered { accept, refusal: refusal.clone(), holds });
        }
        match refusal {
            None => asked.names.iter().for_each(|name| self.booked(name)),
            Some(refusal) => {
                self.counters.accepts_refused += 1;
                if refusal.code == RefusalCode::UnknownTemplate {
                    self.sent_templates.clear();
                }
                let is_alone = asked.names.len() == 1;
                self.give_back(asked.offers, &refusal, asked.is_raw);
                for name in asked.names {
                    self.launch_refused(&name, &refusal, is_alone);
                }
            }
        }
    }

    /// Leases of a refused accept: a framework that wants them raw holds them still; the others
    /// go back.
    fn give_back(&mut self, offers: Vec<Offer>, refusal: &Refusal, is_raw: bool) {
        if is_raw {
            let now = self.now.monotonic;
            return offers.into_iter().for_each(|offer| self.leases.add(offer, now));
        }
        if refusal.code == RefusalCode::OfferNotHeld {
            return;
        }
        // What is refused for a passing reason would be offered and refused again at once.
        let refuse_for = if passes(refusal.code) { RETRY_MIN } else { DurationMs(0) };
        let offers = offers.into_iter().map(|offer| offer.id).collect();
        self.calls.push(Call::Decline { offers, refuse_for });
    }

    /// The master has the launch: tells the framework of the task, unless it knows.
    pub(crate) fn booked(&mut self, name: &TaskName) {
        let Some(task) = self.tasks.get(name).map(Arc::clone) else { return };
        if self.launches.book(name, task.token()) {
            return;
        }
        self.set_certain(name, Certainty::Certain);
        let task = Arc::clone(self.tasks.get(name).expect("just seen"));
        let handled = task.last.into_iter().collect();
        let notice = Notice::Task { previous: None, task, retried: false };
        self.told.push_back(Told { handled, ..Told::from(notice) });
    }

    fn launch_refused(&mut self, name: &TaskName, refusal: &Refusal, is_alone: bool) {
        let Some(launch) = self.forget_launch(name) else { return };
        let Some(mut waiting) = launch.waiting else { return };
        if self.kills.remove(name).is_some() {
            return self.fail_killed(name);
        }
        let passes = passes(refusal.code);
        if !passes && is_alone {
            let (name, refusal) = (name.clone(), refusal.clone());
            return self.tell(Notice::LaunchFailed { name, refusal });
        }
        waiting.goes_alone |= !passes;
        waiting.refusals = waiting.refusals.saturating_add(1);
        // The master knows a live task of that name that this side does not. Once may be chance:
        // the acknowledgement of an end that was on its way.
        self.wants_snapshot |= refusal.code == RefusalCode::AlreadyExists && waiting.refusals > 1;
        // The first refusal is most often a lease that was just taken back; from the second on
        // something is wrong that an immediate repeat would only run into again.
        let condition = match waiting.refusals {
            0 | 1 => Condition::Demanded,
            count => Condition::NotBefore(self.now.monotonic.after(crate::back_off::step(
                RETRY_MIN,
                RETRY_MAX,
                count - 2,
            ))),
        };
        self.requests.put_back(waiting, condition);
    }

    /// A launch whose outcome was unknown turned out never to have been taken.
    pub(crate) fn launch_never_happened(&mut self, name: &TaskName) {
        let Some(launch) = self.forget_launch(name) else { return };
        if self.kills.remove(name).is_some() {
            return self.fail_killed(name);
        }
        if let Some(waiting) = launch.waiting {
            self.requests.put_back(waiting, Condition::Demanded);
        }
    }

    fn forget_launch(&mut self, name: &TaskName) -> Option<Launch> {
        let launch = self.launches.remove(name)?;
        if self.tasks.get(name).is_some_and(|task| task.token() == launch.token) {
            self.tasks.remove(name);
        }
        Some(launch)
    }

    fn fail_killed(&mut self, name: &TaskName) {
        let refusal = Refusal::new(RefusalCode::NotFound, "name", "was killed before its launch");
        self.tell(Notice::LaunchFailed { name: name.clone(), refusal });
    }

    /// A task ended. If it never ran and may be tried again, asks for it again.
    pub(crate) fn retry(&mut self, task: &Task) -> bool {
        let name = task.name();
        let was_killed = self.kills.remove(name).is_some();
        let Some(launch) = self.launches.get(name) else { return false };
        if launch.token != task.token() {
            return false;
        }
        let launch = self.launches.remove(name).expect("just seen");
        let never_ran = matches!(task.state(), TaskState::Dropped | TaskState::Error);
        let Some(mut waiting) = launch.waiting else { return false };
        waiting.attempts += 1;
        if !never_ran
            || was_killed
            || waiting.request.reports_loss
            || waiting.attempts >= ATTEMPTS_MAX
        {
            return false;
        }
        self.counters.launches_retried += 1;
        let delay = crate::back_off::step(RETRY_MIN, RETRY_MAX, waiting.attempts - 1);
        let at = self.now.monotonic.after(delay);
        self.requests.put_back(waiting, Condition::NotBefore(at));
        true
    }

    /// The connection is lost: accepts without an answer have an unknown outcome.
    pub(crate) fn lose_accepts(&mut self) {
        self.counters.accepts_unknown += self.launches.asked.len() as u64;
        self.launches.asked.clear();
        for (name, launch) in &mut self.launches.by_name {
            if launch.outcome == Outcome::Asked {
                launch.outcome = Outcome::Unknown;
                self.tasks.set_certain(name, Certainty::Uncertain);
            }
        }
        self.requests.touch();
    }
}

/// Whether the same launch may be taken another time, on another offer.
fn passes(code: RefusalCode) -> bool {
    use RefusalCode::{
        AgentChanged, AlreadyExists, BudgetExceeded, InsufficientResources, LimitExceeded,
        NotLeader, OfferNotHeld, ResourcesStale, StaleEpoch, Unavailable, UnknownTemplate,
    };
    matches!(
        code,
        AgentChanged
            | AlreadyExists
            | BudgetExceeded
            | InsufficientResources
            | LimitExceeded
            | NotLeader
            | OfferNotHeld
            | ResourcesStale
            | StaleEpoch
            | Unavailable
            | UnknownTemplate
    )
}
