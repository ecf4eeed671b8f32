//! A framework for simulation: runs a number of tasks to completion and remembers which are done in
//! the state store. Small, but it uses launches, kills, commits and acknowledgements for real.

use proffer_sdk_core::{Context, Framework, FrameworkEvent, StateWrite, TaskRequest, Template};
use proffer_types::hold::ReclaimPolicy;
use proffer_types::inverse_offer::InverseOffer;
use proffer_types::offer::{Offer, Operation};
use proffer_types::resources::{Quantity, Reservation, Resource, ResourceKey};
use proffer_types::scheduler::FrameworkInfo;
use proffer_types::template::TaskLaunch;
use proffer_types::{
    AgentId, Constraint, ConstraintRule, DurationMs, FrameworkName, Monotonic, Now, OfferCondition,
    OfferConditions, OfferId, Pattern, PrincipalName, ResourceName, Resources, RevocableUse,
    RoleName, TaskName, TaskState,
};
use std::collections::{BTreeMap, BTreeSet};

/// Commands of the simulated user.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// Run this many more tasks.
    More(u32),
    /// Kill a live task, the one at this place; it is run again.
    Kill(usize),
    /// Write a value of this many bytes.
    Note(usize),
}

/// How a framework gets places for its tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// It states demand; the SDK answers offers.
    Demand,
    /// It picks among classical offers.
    Classical,
    /// It does, and keeps places of its own with volumes.
    Reserving,
}

/// What becomes of a classical offer.
enum Taste {
    /// It is used for so many tasks, at most.
    Use(usize),
    /// It is given back and not wanted for a while.
    Decline,
    /// Nothing: it lapses.
    Forget,
}

/// By the number of the offer, so that a seed decides it.
fn taste(offer: OfferId) -> Taste {
    match offer.sequence % 7 {
        0 => Taste::Decline,
        1 => Taste::Forget,
        rest => Taste::Use(usize::try_from(rest).unwrap_or(1)),
    }
}

/// For how long an offer is not wanted that was given back.
const REFUSE_FOR: DurationMs = DurationMs(3_000);
/// The same when nothing is to be run.
const IDLE_FOR: DurationMs = DurationMs(20_000);

/// See the module's description.
pub struct Batch {
    name: FrameworkName,
    role: RoleName,
    template: Template,
    style: Style,
    /// Of one task.
    needs: Resources,
    /// Of its demand, and of its tasks.
    priority: i32,
    /// So many of them are to stay.
    min_available: u32,
    /// Tasks wanted in all, as far as this replica was told.
    wanted: u32,
    done: BTreeSet<TaskName>,
    tickets: u64,
    active: bool,
    /// Until when one that takes classical offers wants only some of them.
    choosy_until: Option<Monotonic>,
}

/// For how long a framework is choosy after it was asked for more.
const CHOOSY_FOR: DurationMs = DurationMs(5_000);
/// When some of its tasks are given up and asked for anew.
const DEADLINE: DurationMs = DurationMs(6_000);

fn zone(rule: fn(Pattern) -> ConstraintRule, pattern: &str) -> Constraint {
    let pattern = Pattern::new(pattern).expect("a valid pattern");
    Constraint { attribute: "zone".to_owned(), rule: rule(pattern) }
}

const WANTED: &str = "wanted";

impl Batch {
    /// A framework named `batch-<number>` with a role of its own.
    #[must_use]
    pub fn new(number: usize, wanted: u32, style: Style) -> Self {
        Self {
            name: FrameworkName::new(&format!("batch-{number}")).expect("a valid name"),
            role: RoleName::new(&format!("batch/{number}")).expect("a valid role"),
            template: Template::command(["/bin/work", "${task.name}"]).expect("a valid template"),
            style,
            needs: needs([300, 600, 100][number % 3]),
            priority: [0, 2, 1][number % 3],
            min_available: [1, 2, 0][number % 3],
            wanted,
            done: BTreeSet::new(),
            tickets: 0,
            active: false,
            choosy_until: None,
        }
    }

    /// Whether all tasks that were ever asked for are done, as this active replica sees it.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.active && self.done.len() as u32 >= self.wanted
    }

    /// Whether this replica is active.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// Done and wanted, for reports.
    #[must_use]
    pub fn progress(&self) -> (usize, u32) {
        (self.done.len(), self.wanted)
    }

    /// So many of the tasks that it states demand for are to stay.
    #[must_use]
    pub fn kept(&self) -> u32 {
        if self.style == Style::Demand { self.min_available } else { 0 }
    }

    fn names(&self) -> impl Iterator<Item = TaskName> + use<> {
        (0..self.wanted).map(|number| TaskName::new(&format!("t-{number}")).expect("a valid name"))
    }

    fn request(&self, name: TaskName) -> TaskRequest {
        let number: u32 = name.as_str()[2..].parse().unwrap_or(0);
        let request =
            TaskRequest::new(name, self.template.clone(), self.role.clone(), self.needs.clone())
                .priority(self.priority)
                .min_available(self.min_available);
        match number % 5 {
            0 => request.deadline(DEADLINE),
            1 => request.constraint(zone(ConstraintRule::Matches, "z[0-9]")),
            2 => request.constraint(zone(ConstraintRule::NotMatches, "[a-y].*")),
            3 => request.revocable(RevocableUse::Accept),
            _ => request,
        }
    }

    /// Only one zone, and no small rests.
    fn choosy(&self) -> OfferConditions {
        let of_zone = format!("z{}", self.wanted % 2);
        let condition = OfferCondition {
            any_of: vec![vec![zone(ConstraintRule::Matches, &of_zone)]],
            minimum: vec!["cpus:0.5;mem:64MiB".parse().expect("valid amounts")],
            ..OfferCondition::default()
        };
        OfferConditions::from([(self.role.clone(), condition)])
    }

    /// For a while it wants only some offers; then it takes what there is.
    fn be_choosy(&mut self, is_choosy: bool, ctx: &mut Context) {
        if self.style == Style::Demand {
            return;
        }
        let wanted = if is_choosy { self.choosy() } else { OfferConditions::new() };
        ctx.want_offers(wanted).expect("they make sense");
        self.choosy_until = is_choosy.then(|| ctx.now().monotonic.after(CHOOSY_FOR));
    }

    /// Tasks that are neither done nor on their way.
    fn missing(&self, ctx: &Context) -> Vec<TaskName> {
        self.names().filter(|name| !self.done.contains(name) && !ctx.is_taken(name)).collect()
    }

    /// Asks for everything that is neither done nor on its way.
    fn fill(&self, ctx: &mut Context) {
        if !ctx.is_active() {
            return;
        }
        match self.style {
            Style::Demand => {
                for name in self.missing(ctx) {
                    // A name that is taken meanwhile is on its way: nothing is to be done.
                    let _ = ctx.launch(self.request(name));
                }
            }
            Style::Classical | Style::Reserving => self.pick(ctx),
        }
    }

    /// Answers the classical offers that are held: now and then several of them at once.
    fn pick(&self, ctx: &mut Context) {
        let offers: Vec<Offer> = ctx.offers().cloned().collect();
        if self.style == Style::Classical && ctx.absent().is_empty() {
            self.use_together(&offers, ctx);
        }
        let offers: Vec<Offer> = ctx.offers().cloned().collect();
        for offer in offers {
            let missing = self.missing(ctx);
            match taste(offer.id) {
                Taste::Forget => {}
                // Another one may come, for a launch on both.
                Taste::Use(_) if self.is_patient(&offer, &missing) => {}
                Taste::Decline => ctx.decline(&[offer.id], REFUSE_FOR),
                Taste::Use(_) if missing.is_empty() => ctx.decline(&[offer.id], IDLE_FOR),
                // An agent that nobody can speak of may run a task of that name (K2).
                Taste::Use(_) if !ctx.absent().is_empty() => ctx.decline(&[offer.id], REFUSE_FOR),
                Taste::Use(most) => self.use_offer(&offer, missing.into_iter().take(most), ctx),
            }
        }
    }

    /// One accept over several agents: all of it starts, or none.
    fn use_together(&self, offers: &[Offer], ctx: &mut Context) {
        let mut on: BTreeMap<AgentId, &Offer> = BTreeMap::new();
        for offer in offers {
            on.entry(offer.agent).or_insert(offer);
        }
        let mut names = self.missing(ctx).into_iter();
        let mut launches = Vec::new();
        for offer in on.into_values() {
            let most = if offer.id.sequence.is_multiple_of(3) { 2 } else { 1 };
            let tasks = self.launches(offer, names.by_ref().take(most), ctx).0;
            if !tasks.is_empty() {
                launches.push((offer.id, Operation::Launch { agent: offer.agent, tasks }));
            }
        }
        if launches.len() > 1 {
            let (ids, operations): (Vec<OfferId>, Vec<Operation>) = launches.into_iter().unzip();
            // Refused only when one is not held any more: then they are offered anew.
            let _ = ctx.accept(&ids, operations, DurationMs(0));
        }
    }

    fn is_patient(&self, offer: &Offer, missing: &[TaskName]) -> bool {
        self.style == Style::Classical && missing.len() > 1 && offer.id.sequence.is_multiple_of(2)
    }

    fn use_offer(&self, offer: &Offer, names: impl Iterator<Item = TaskName>, ctx: &mut Context) {
        let (tasks, left) = self.launches(offer, names, ctx);
        if tasks.is_empty() {
            return ctx.decline(&[offer.id], REFUSE_FOR);
        }
        let mut operations = self.reserve(offer, &left);
        operations.push(Operation::Launch { agent: offer.agent, tasks });
        // Refused only when it is not held any more: then it is offered anew.
        let _ = ctx.accept(&[offer.id], operations, DurationMs(0));
    }

    /// As many of these as fit, and what they leave.
    fn launches(
        &self,
        offer: &Offer,
        names: impl Iterator<Item = TaskName>,
        ctx: &mut Context,
    ) -> (Vec<TaskLaunch>, Resources) {
        let template = ctx.send_template(&self.template);
        let mut left = offer.resources.clone();
        let mut tasks = Vec::new();
        for name in names {
            let Ok(rest) = left.checked_sub(&self.needs) else { break };
            left = rest;
            tasks.push(TaskLaunch {
                variables: BTreeMap::from([("task.name".to_owned(), name.to_string())]),
                name,
                token: ctx.next_token(),
                template,
                resources: self.needs.clone(),
                labels: BTreeMap::new(),
                group: None,
                priority: self.priority,
                budget: None,
            });
        }
        (tasks, left)
    }

    /// Now and then a place of its own, with a volume on it.
    fn reserve(&self, offer: &Offer, left: &Resources) -> Vec<Operation> {
        let wanted = Resources::scalars([(ResourceName::Cpus, 100), (ResourceName::Disk, 1 << 30)]);
        if self.style != Style::Reserving
            || !offer.id.sequence.is_multiple_of(5)
            || !left.contains(&wanted)
        {
            return Vec::new();
        }
        let agent = offer.agent;
        let principal = PrincipalName::new(&format!("cert:{}", self.name)).expect("a valid name");
        let level = Reservation {
            role: self.role.clone(),
            principal: Some(principal.clone()),
            is_static: false,
            labels: BTreeMap::new(),
        };
        let mut key = ResourceKey::plain(ResourceName::Disk);
        key.reservations.push(level);
        let disk = Resource { key, quantity: Quantity::Scalar(1 << 29) };
        let (reclaim, shared) = (ReclaimPolicy::Delete, offer.id.sequence.is_multiple_of(2));
        vec![
            Operation::Reserve {
                agent,
                resources: wanted,
                role: self.role.clone(),
                principal: Some(principal),
                labels: BTreeMap::new(),
                reclaim,
            },
            Operation::CreateVolume {
                agent,
                resources: Resources::from_entries(vec![disk]).expect("one entry"),
                container_path: "data".to_owned(),
                shared,
                reclaim,
            },
        ]
    }

    /// Some are agreed to and kept, some agreed to and broken, some declined, some not answered.
    fn answer(offers: &[InverseOffer], ctx: &mut Context) {
        for offer in offers {
            match offer.id.sequence % 4 {
                0 => ctx.decline_inverse_offers(&[offer.id], "its tasks end soon"),
                1 => {
                    ctx.accept_inverse_offers(&[offer.id]);
                    let tasks = ctx.tasks().live().filter(|it| it.agent() == offer.agent);
                    let names: Vec<TaskName> = tasks.map(|task| task.name().clone()).collect();
                    for name in names {
                        ctx.kill(&name, None);
                    }
                }
                2 => ctx.accept_inverse_offers(&[offer.id]),
                _ => {}
            }
        }
    }

    fn restore(&mut self, ctx: &mut Context) {
        self.active = true;
        self.done = ctx
            .state_keys("done/")
            .iter()
            .filter_map(|key| TaskName::new(key.strip_prefix("done/")?).ok())
            .collect();
        let kept: Option<u32> =
            ctx.state(WANTED).and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse().ok());
        match kept {
            Some(kept) => self.wanted = kept,
            None => self.keep(ctx, WANTED.to_owned(), self.wanted.to_string().into_bytes()),
        }
        self.fill(ctx);
    }

    fn keep(&mut self, ctx: &mut Context, key: String, value: Vec<u8>) {
        self.tickets += 1;
        // Refused only when not active; the next activation starts from what is stored.
        let _ = ctx.commit(vec![StateWrite { key, value: Some(value) }], self.tickets);
    }
}

/// What a task needs.
/// What one task needs, so that there is not always room for all.
fn needs(cpus_milli: u64) -> Resources {
    Resources::scalars([(ResourceName::Cpus, cpus_milli), (ResourceName::Mem, 16 << 20)])
}

impl Framework for Batch {
    type Input = Order;

    fn info(&self) -> FrameworkInfo {
        FrameworkInfo {
            name: self.name.clone(),
            roles: BTreeSet::from([self.role.clone()]),
            api_url: String::new(),
            failover_timeout: None,
            labels: BTreeMap::new(),
        }
    }

    fn wants_raw_offers(&self) -> bool {
        self.style != Style::Demand
    }

    fn offer_conditions(&self) -> OfferConditions {
        if self.style == Style::Demand { OfferConditions::new() } else { self.choosy() }
    }

    fn next_deadline(&self) -> Option<Monotonic> {
        self.choosy_until
    }

    fn handle(&mut self, event: FrameworkEvent<Order>, _now: Now, ctx: &mut Context) {
        match event {
            FrameworkEvent::Active { .. } => {
                self.restore(ctx);
                self.be_choosy(true, ctx);
            }
            FrameworkEvent::Timer => self.be_choosy(false, ctx),
            FrameworkEvent::Task { task, .. } => {
                if task.state() == TaskState::Finished && self.done.insert(task.name().clone()) {
                    let key = format!("done/{}", task.name());
                    self.keep(ctx, key, b"1".to_vec());
                }
                self.fill(ctx);
            }
            FrameworkEvent::Input(Order::More(count)) if self.active => {
                self.wanted += count;
                let value = self.wanted.to_string().into_bytes();
                self.keep(ctx, WANTED.to_owned(), value);
                if self.style != Style::Demand {
                    self.be_choosy(true, ctx);
                    ctx.revive(BTreeSet::new());
                }
                self.fill(ctx);
            }
            FrameworkEvent::Input(Order::Note(bytes)) if self.active => {
                self.keep(ctx, "note".to_owned(), vec![b'n'; bytes]);
            }
            FrameworkEvent::Input(Order::Kill(place)) => {
                let name = ctx.tasks().live().nth(place).map(|task| task.name().clone());
                if let Some(name) = name {
                    ctx.kill(&name, None);
                }
            }
            FrameworkEvent::InverseOffers { offers } => Self::answer(&offers, ctx),
            FrameworkEvent::Standby { .. } | FrameworkEvent::TornDown => self.active = false,
            FrameworkEvent::AcceptAnswered { refusal: Some(_), .. } => {
                let held: Vec<OfferId> = ctx.offers().map(|offer| offer.id).collect();
                ctx.decline(&held, REFUSE_FOR);
            }
            FrameworkEvent::Agent { .. }
            | FrameworkEvent::LaunchFailed { .. }
            | FrameworkEvent::Offers { .. } => self.fill(ctx),
            FrameworkEvent::Input(Order::More(_) | Order::Note(_))
            | FrameworkEvent::Resumed
            | FrameworkEvent::Disconnected
            | FrameworkEvent::StateCommitted { .. }
            | FrameworkEvent::StateRefused { .. }
            | FrameworkEvent::Refused { .. }
            | FrameworkEvent::Rescinded { .. }
            | FrameworkEvent::Hold(_)
            | FrameworkEvent::InverseOffersRescinded { .. }
            | FrameworkEvent::AcceptAnswered { .. } => {}
        }
    }
}
