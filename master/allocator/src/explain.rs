//! Why something waits: the funnel of agents by rule, the nearest miss, what would help. One pass
//! over the agents for each rule; asked of a second instance, never in the loop (K6).

mod revocable;
mod role;

use crate::agents::{Agent, HOSTNAME};
use crate::amounts::{Amounts, Kind, Spans, spans_contain};
use crate::demand::{Bucket, Group, Spec};
use crate::headroom::KeptBack;
use crate::state::Allocator;
use proffer_types::explanation::{Explanation, FunnelStep, Subject};
use proffer_types::resources::{Quantity, Resource};
use proffer_types::{AgentId, Constraint, FrameworkId, GroupName, Monotonic, RevocableUse};
use std::collections::BTreeSet;

/// An answer under construction.
struct Answer {
    explanation: Explanation,
}

impl Answer {
    fn new(subject: &Subject, summary: impl Into<String>) -> Self {
        let explanation = Explanation {
            subject: subject.clone(),
            summary: summary.into(),
            funnel: Vec::new(),
            nearest_miss: String::new(),
            hints: Vec::new(),
        };
        Self { explanation }
    }

    fn step(&mut self, rule: impl Into<String>, remaining: usize) {
        let remaining = u32::try_from(remaining).unwrap_or(u32::MAX);
        self.explanation.funnel.push(FunnelStep { rule: rule.into(), remaining });
    }

    fn hint(&mut self, hint: impl Into<String>) {
        self.explanation.hints.push(hint.into());
    }

    fn summary(&mut self, summary: impl Into<String>) {
        self.explanation.summary = summary.into();
    }
}

/// What rules an agent out for a group; in the order in which rules are looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Rule {
    Active,
    Constraint(Constraint),
    /// It has nothing scarce that is not needed, where policy says so.
    ScarceForNeed,
    /// All that it has is as much as is wanted, of everything: what fails this waits for nothing.
    LargeEnough,
    /// The same without what is reserved for other roles.
    NotReserved,
    PerAgentMax(u32),
    /// This much in this dimension that tasks do not use.
    Amount(usize, u64),
    /// These very ranges.
    Fixed(usize, Spans),
    NotLeased,
    NotRefused,
    /// Nobody else is owed it.
    NotKept,
}

/// A group with what it needs, looked up once.
struct Wish<'a> {
    group: &'a Group,
    spec: &'a Spec,
    bucket: &'a Bucket,
    kept_back: KeptBack,
}

impl Allocator {
    /// Why a framework, a demand group, a role or an agent's resources wait. Tasks are the caller's.
    #[must_use]
    pub fn explain(&self, subject: &Subject, now: Monotonic) -> Explanation {
        match subject {
            Subject::Framework(framework) => self.explain_framework(subject, *framework, now),
            Subject::Demand(framework, group) => {
                self.explain_demand(subject, *framework, group, now)
            }
            Subject::Agent(agent) => self.explain_agent(subject, *agent, now),
            Subject::Role(role) => self.explain_role(subject, role, now),
            Subject::Task(task) => {
                let text = format!("task {task} has a place: its status says how it fares");
                Answer::new(subject, text).explanation
            }
        }
    }

    fn wish(&self, group: u32) -> Option<Wish<'_>> {
        let group = &self.groups[group];
        let spec = group.spec.as_ref()?;
        let bucket = &self.buckets[spec.bucket];
        let owed = self.fair.guaranteed(self.clients[spec.client].node);
        let kept_back = match owed.covers(bucket.shape()) {
            true => KeptBack::default(),
            false => self.kept_back(spec.client, bucket.shape()),
        };
        Some(Wish { group, spec, bucket, kept_back })
    }

    /// Why a client is offered nothing at all, if that is so.
    fn absence(&self, client: u32) -> Option<(String, String)> {
        let entry = &self.clients[client];
        let framework = entry.framework;
        if !self.frameworks.get(&framework).is_some_and(|framework| framework.active) {
            let hint = "start it; offers follow when it has subscribed";
            return Some((format!("framework {framework} is not connected"), hint.to_owned()));
        }
        if !entry.subscribed {
            let text = format!("framework {framework} is not subscribed to role {}", entry.role);
            return Some((text, "subscribe to the role that the demand names".to_owned()));
        }
        entry.suppressed.then(|| {
            let text = format!("framework {framework} suppressed offers for role {}", entry.role);
            (text, "it gets offers again when it revives the role".to_owned())
        })
    }

    fn explain_demand(
        &self,
        subject: &Subject,
        framework: FrameworkId,
        name: &GroupName,
        now: Monotonic,
    ) -> Explanation {
        let entry = self.frameworks.get(&framework);
        let group = entry.and_then(|entry| entry.groups.get(name));
        let Some(wish) = group.and_then(|group| self.wish(*group)) else {
            let mut answer =
                Answer::new(subject, format!("framework {framework} states no demand {name}"));
            let stated = entry.into_iter().flat_map(|entry| entry.groups.keys());
            let names: Vec<&str> = stated.take(5).map(GroupName::as_str).collect();
            if !names.is_empty() {
                answer.hint(format!("it states {}", names.join(", ")));
            }
            return answer.explanation;
        };
        let (group, target) = (wish.group, wish.spec.stated.target);
        if group.unmet() == 0 {
            let mut text = format!(
                "demand {name} is met: target {target}, {} launched, {} in offers not yet answered",
                group.launched, group.leased
            );
            if group.out_of_reach > 0 {
                text.push_str(&format!(", {} on agents out of reach", group.out_of_reach));
            }
            return Answer::new(subject, text).explanation;
        }
        if let Some((text, hint)) = self.absence(wish.spec.client) {
            let mut answer = Answer::new(subject, text);
            answer.hint(hint);
            return answer.explanation;
        }
        self.explain_unmet(subject, &wish, now)
    }

    fn explain_unmet(&self, subject: &Subject, wish: &Wish<'_>, now: Monotonic) -> Explanation {
        let waiting = format!(
            "{} of {} tasks of demand {} wait",
            wish.group.unmet(),
            wish.spec.stated.target,
            wish.group.name
        );
        if wish.spec.stated.revocable == RevocableUse::Only {
            return self.explain_only_revocable(subject, wish, &waiting, now);
        }
        let mut answer = Answer::new(subject, "");
        self.explain_plain(&mut answer, wish, &waiting, now);
        self.advise_revocable(&mut answer, wish, now);
        answer.explanation
    }

    /// Why what everybody may have does not meet it.
    fn explain_plain(&self, answer: &mut Answer, wish: &Wish<'_>, waiting: &str, now: Monotonic) {
        let node = self.clients[wish.spec.client].node;
        if let Some(role) = self.fair.limiting(node, wish.bucket.shape()) {
            return self.explain_limit(answer, role, wish.bucket.shape(), waiting);
        }
        let mut left: Vec<(u32, &Agent)> = self.agents.iter().collect();
        answer.step("agents", left.len());
        if left.is_empty() {
            answer.summary(format!("{waiting}: there are no agents"));
            answer.hint("start an agent");
            return;
        }
        let rules = self.rules(wish);
        for (at, rule) in rules.iter().enumerate() {
            let passing: Vec<(u32, &Agent)> =
                left.iter().copied().filter(|agent| self.passes(wish, rule, *agent, now)).collect();
            answer.step(self.describe(rule), passing.len());
            if passing.is_empty() {
                let text = self.describe(rule);
                answer.summary(format!("{waiting}: no agent is left after the rule {text:?}"));
                self.nearest(answer, wish, &rules[at..], &left, now);
                self.advise(answer, wish, rule, &left);
                return;
            }
            left = passing;
        }
        let holder = self.fair.client(self.clients[wish.spec.client].node);
        answer.summary(format!("{waiting}: {} agents have room, an offer is due", left.len()));
        answer.hint(format!(
            "offers go to the lowest share first: it holds {}, its fair part is {}",
            percent(holder.1),
            percent(self.fair.entitlement_ppm(self.clients[wish.spec.client].node))
        ));
    }

    fn rules(&self, wish: &Wish<'_>) -> Vec<Rule> {
        let stated = &wish.spec.stated;
        let mut rules = vec![Rule::Active];
        rules.extend(stated.constraints.iter().cloned().map(Rule::Constraint));
        rules.extend(self.policy.scarce_for_need_only.then_some(Rule::ScarceForNeed));
        rules.push(Rule::LargeEnough);
        let is_reserved = self.agents.iter().any(|(_, agent)| agent.reserved().next().is_some());
        rules.extend(is_reserved.then_some(Rule::NotReserved));
        rules.extend(stated.per_agent_max.map(Rule::PerAgentMax));
        rules.extend(wish.bucket.fixed().iter().map(|(d, spans)| Rule::Fixed(*d, spans.clone())));
        let amounts = wish.bucket.shape().iter().filter(|(_, wanted)| *wanted > 0);
        let (ranges, scalars): (Vec<_>, Vec<_>) =
            amounts.partition(|(dimension, _)| self.dimensions.kind(*dimension) == Kind::Ranges);
        rules.extend(ranges.into_iter().chain(scalars).map(|(d, wanted)| Rule::Amount(d, wanted)));
        rules.extend([Rule::NotLeased, Rule::NotRefused]);
        rules.extend(self.fair.is_owing().then_some(Rule::NotKept));
        rules
    }

    fn explain_limit(&self, answer: &mut Answer, role: u32, shape: &Amounts, waiting: &str) {
        let Some((role, limits)) = self.fair.limits_of(role) else { return };
        let full = limits.into_iter().filter(|limited| {
            let wanted = shape.get(limited.dimension);
            wanted > 0 && limited.consumed.saturating_add(wanted) > limited.limit
        });
        let full: Vec<String> = full
            .map(|limited| {
                format!(
                    "{} {} of at most {}",
                    self.dimensions.name(limited.dimension),
                    self.show_amount(limited.dimension, limited.consumed),
                    self.show_amount(limited.dimension, limited.limit)
                )
            })
            .collect();
        answer.step(format!("within the limit of role {role}"), 0);
        answer.summary(format!(
            "{waiting}: role {role} is at its limit: it and all below it use, hold or reserve {}",
            full.join(", ")
        ));
        answer.hint(format!("raise the limit: proffer roles set {role} --limit …"));
        answer.hint("it goes on when tasks of the role end or its offers are given back");
    }

    /// The top roles that are owed something.
    fn owed_roles(&self) -> String {
        let tops = self.fair.top_roles().filter_map(|role| {
            let owed = self.owed(role);
            (!owed.is_empty()).then(|| format!("{role} ({owed})"))
        });
        let mut tops: Vec<String> = tops.collect();
        if tops.len() > 3 {
            let more = tops.len() - 3;
            tops.truncate(3);
            tops.push(format!("{more} more"));
        }
        tops.join(", ")
    }

    fn describe(&self, rule: &Rule) -> String {
        match rule {
            Rule::Active => "active".to_owned(),
            Rule::Constraint(constraint) => constraint.describe(),
            Rule::ScarceForNeed => "nothing scarce that is not needed".to_owned(),
            Rule::LargeEnough => "large enough".to_owned(),
            Rule::NotReserved => "not reserved for other roles".to_owned(),
            Rule::PerAgentMax(most) => format!("fewer than {most} of the group on the agent"),
            Rule::Amount(dimension, wanted) => {
                format!(
                    "{} {}",
                    self.dimensions.name(*dimension),
                    self.show_amount(*dimension, *wanted)
                )
            }
            Rule::Fixed(dimension, spans) => {
                format!("{} {}", self.dimensions.name(*dimension), show_spans(spans))
            }
            Rule::NotLeased => "not held by offers".to_owned(),
            Rule::NotRefused => "not refused by the framework".to_owned(),
            Rule::NotKept => "not kept free for guarantees of others".to_owned(),
        }
    }

    fn show_amount(&self, dimension: usize, value: u64) -> String {
        match self.dimensions.kind(dimension) {
            Kind::Scalar => self.dimensions.name(dimension).display_scalar(value),
            Kind::Ranges => value.to_string(),
        }
    }

    fn passes(
        &self,
        wish: &Wish<'_>,
        rule: &Rule,
        (slot, agent): (u32, &Agent),
        now: Monotonic,
    ) -> bool {
        match rule {
            Rule::Active => agent.usable,
            Rule::Constraint(constraint) => self.holds(constraint, agent),
            Rule::ScarceForNeed => !wish.bucket.wastes(&self.classes.classes[agent.class]),
            Rule::LargeEnough => {
                self.with_reserved(&agent.total, agent.reserved()).covers(wish.bucket.shape())
            }
            Rule::NotReserved => self.for_wish(wish, agent).covers(wish.bucket.shape()),
            Rule::PerAgentMax(most) => wish.group.on_agent(slot) < *most,
            Rule::Amount(dimension, wanted) => self.not_in_use(wish, agent, *dimension) >= *wanted,
            Rule::Fixed(dimension, wanted) => self.spans_without_leases(agent, *dimension, wanted),
            Rule::NotLeased => {
                let own = agent.reserved_free().iter().filter(|entry| self.sees(wish, entry));
                self.with_reserved(&agent.free, own).covers(wish.bucket.shape())
                    && wish.bucket.fixed().iter().all(|(dimension, wanted)| {
                        let book = agent.book_of(*dimension);
                        book.is_some_and(|book| spans_contain(&book.free, wanted))
                    })
            }
            Rule::NotRefused => {
                let client = wish.spec.client;
                !agent.filters.block_shape(&self.refused, client, wish.bucket.shape(), now)
            }
            Rule::NotKept => wish.kept_back.allows(agent.sets),
        }
    }

    fn holds(&self, constraint: &Constraint, agent: &Agent) -> bool {
        if constraint.attribute != HOSTNAME {
            return constraint.holds(&self.classes.classes[agent.class].key.attributes);
        }
        let host = agent.hostname.iter().map(|host| (HOSTNAME.to_owned(), host.clone()));
        constraint.holds(&host.collect())
    }

    /// Whether a group's role is the one that something is reserved for, or below it.
    fn sees(&self, wish: &Wish<'_>, entry: &Resource) -> bool {
        let role = &self.clients[wish.spec.client].role;
        entry.key.reservations.last().is_some_and(|level| role.is_within(&level.role))
    }

    /// Amounts with what of reserved resources counts in the same dimensions.
    fn with_reserved<'a>(
        &self,
        plain: &Amounts,
        reserved: impl Iterator<Item = &'a Resource>,
    ) -> Amounts {
        let mut all = plain.clone();
        for entry in reserved.filter(|e| e.key.volume.is_none() && !e.key.shared) {
            let amount = match &entry.quantity {
                Quantity::Scalar(value) => *value,
                Quantity::Ranges(ranges) => ranges.count(),
                Quantity::Set(_) => 0,
            };
            if let Some(dimension) = self.dimensions.known(&entry.key.name) {
                all.add(dimension, amount);
            }
        }
        all
    }

    /// All of an agent that is not reserved for others.
    fn for_wish(&self, wish: &Wish<'_>, agent: &Agent) -> Amounts {
        self.with_reserved(&agent.total, agent.reserved().filter(|entry| self.sees(wish, entry)))
    }

    /// What no task uses and the group may have, leases counted as free.
    fn not_in_use(&self, wish: &Wish<'_>, agent: &Agent, dimension: usize) -> u64 {
        let own = agent.reserved_free().iter().filter(|entry| self.sees(wish, entry));
        let reserved = self.with_reserved(&Amounts::default(), own).get(dimension);
        self.without_leases(agent, dimension).saturating_add(reserved)
    }

    /// What tasks leave on an agent of what is not reserved, leases counted as free.
    fn without_leases(&self, agent: &Agent, dimension: usize) -> u64 {
        let leased = agent.leases.iter().map(|id| self.leases[id].plain.get(dimension));
        leased.fold(agent.free.get(dimension), u64::saturating_add)
    }

    fn spans_without_leases(&self, agent: &Agent, dimension: usize, wanted: &Spans) -> bool {
        let free = agent.book_of(dimension).map(|book| book.free.as_slice());
        let leases = agent.leases.iter().flat_map(|id| &self.leases[id].spans);
        let leased = leases.filter(|(have, _)| *have == dimension).map(|(_, s)| s.as_slice());
        let places: Vec<&[(u64, u64)]> = free.into_iter().chain(leased).collect();
        wanted.iter().all(|one| places.iter().any(|have| spans_contain(have, &[*one])))
    }

    /// Of the agents that came furthest, the one that fails the fewest of the remaining rules, and
    /// of those the one that lacks the smallest part of what is wanted.
    fn nearest(
        &self,
        answer: &mut Answer,
        wish: &Wish<'_>,
        rules: &[Rule],
        agents: &[(u32, &Agent)],
        now: Monotonic,
    ) {
        let failed = |agent: (u32, &Agent)| -> Vec<&Rule> {
            let mut failed: Vec<&Rule> =
                rules.iter().filter(|rule| !self.passes(wish, rule, agent, now)).collect();
            // Who lacks room even without leases does not lack it because of them.
            if failed.iter().any(|rule| matches!(rule, Rule::Amount(..) | Rule::Fixed(..))) {
                failed.retain(|rule| **rule != Rule::NotLeased);
            }
            // What it never has is not also told as reserved or taken.
            let is_too_small = failed.contains(&&Rule::LargeEnough);
            let mine = self.for_wish(wish, agent.1);
            failed.retain(|rule| match rule {
                Rule::Amount(dimension, wanted) => mine.get(*dimension) >= *wanted,
                Rule::NotReserved => !is_too_small,
                Rule::Active
                | Rule::Constraint(_)
                | Rule::ScarceForNeed
                | Rule::LargeEnough
                | Rule::PerAgentMax(_)
                | Rule::Fixed(..)
                | Rule::NotLeased
                | Rule::NotRefused
                | Rule::NotKept => true,
            });
            failed
        };
        let lack_ppm = |(_, agent): (u32, &Agent), failed: &[&Rule]| -> u64 {
            let parts = failed.iter().map(|rule| match rule {
                Rule::Amount(dimension, wanted) => {
                    missing_ppm(self.not_in_use(wish, agent, *dimension), *wanted)
                }
                Rule::LargeEnough => {
                    let all = self.with_reserved(&agent.total, agent.reserved());
                    let wanted = wish.bucket.shape().iter();
                    let parts = wanted.map(|(d, wanted)| missing_ppm(all.get(d), wanted));
                    parts.max().unwrap_or(0)
                }
                Rule::Active
                | Rule::Constraint(_)
                | Rule::ScarceForNeed
                | Rule::NotReserved
                | Rule::PerAgentMax(_)
                | Rule::Fixed(..)
                | Rule::NotLeased
                | Rule::NotRefused
                | Rule::NotKept => 1_000_000,
            });
            parts.max().unwrap_or(0)
        };
        let ranked = agents.iter().map(|agent| {
            let failed = failed(*agent);
            ((failed.len(), lack_ppm(*agent, &failed), agent.0), *agent)
        });
        let Some((_, nearest)) = ranked.min_by_key(|(rank, _)| *rank) else { return };
        let lacks: Vec<String> =
            failed(nearest).into_iter().map(|rule| self.lack(wish, rule, nearest)).collect();
        let (id, name) = (nearest.1.id, &nearest.1.name);
        answer.explanation.nearest_miss = format!("agent {id} ({name}): {}", lacks.join("; "));
    }

    /// In words, what makes an agent fail a rule.
    fn lack(&self, wish: &Wish<'_>, rule: &Rule, (slot, agent): (u32, &Agent)) -> String {
        match rule {
            Rule::Active => "is not active".to_owned(),
            Rule::Constraint(constraint) => format!("fails {:?}", constraint.describe()),
            Rule::ScarceForNeed => {
                let scarce = &self.classes.classes[agent.class].key.scarce;
                let names: Vec<&str> =
                    scarce.iter().map(|d| self.dimensions.name(*d).as_str()).collect();
                format!("is kept for those who need its {}", names.join(" and "))
            }
            Rule::LargeEnough => {
                let all = self.with_reserved(&agent.total, agent.reserved());
                let small = wish.bucket.shape().iter().map(|(d, wanted)| (d, all.get(d), wanted));
                let small = small.filter(|(_, has, wanted)| has < wanted);
                let parts: Vec<String> =
                    small.map(|(d, has, wanted)| self.too_small(d, has, wanted)).collect();
                format!("has only {}", parts.join(", "))
            }
            Rule::PerAgentMax(_) => {
                format!("has {} of the group already", wish.group.on_agent(slot))
            }
            Rule::Amount(dimension, wanted) => {
                let free = self.not_in_use(wish, agent, *dimension);
                format!(
                    "lacks {} {} ({} of {} wanted are not in use)",
                    self.dimensions.name(*dimension),
                    self.show_amount(*dimension, wanted - free),
                    self.show_amount(*dimension, free),
                    self.show_amount(*dimension, *wanted)
                )
            }
            Rule::Fixed(dimension, spans) => {
                let name = self.dimensions.name(*dimension);
                let has =
                    agent.book_of(*dimension).is_some_and(|book| spans_contain(&book.total, spans));
                let why = if has { "are taken" } else { "are not among what the agent offers" };
                format!("{name} {} {why}", show_spans(spans))
            }
            Rule::NotLeased => {
                let holders: Vec<String> = agent
                    .leases
                    .iter()
                    .map(|id| self.clients[self.leases[id].client].framework.to_string())
                    .collect();
                format!("has room, but offers to {} hold it", holders.join(", "))
            }
            Rule::NotRefused => "has room, but the framework refused it".to_owned(),
            Rule::NotReserved => {
                let others = agent.reserved().filter(|entry| !self.sees(wish, entry));
                let owners = others.filter_map(|entry| entry.key.reservations.last());
                let owners: BTreeSet<&str> = owners.map(|level| level.role.as_str()).collect();
                let owners: Vec<&str> = owners.into_iter().take(3).collect();
                format!("is large enough only with what is reserved for {}", owners.join(", "))
            }
            Rule::NotKept => {
                format!("has room, but it is kept free for what is owed to {}", self.owed_roles())
            }
        }
    }

    fn advise(&self, answer: &mut Answer, wish: &Wish<'_>, rule: &Rule, agents: &[(u32, &Agent)]) {
        match rule {
            Rule::Active => {
                answer.hint("agents are draining or deactivated: activate one, or start another");
            }
            Rule::Constraint(constraint) => answer.hint(format!(
                "start an agent with {}, or relax the constraint",
                constraint.describe()
            )),
            Rule::ScarceForNeed => {
                answer.hint("start an agent without what is scarce, or let all use such agents");
            }
            Rule::PerAgentMax(_) => answer.hint("add agents, or raise per_agent_max"),
            Rule::LargeEnough => answer.hint(self.advise_size(wish, agents)),
            Rule::NotReserved => answer
                .hint("take reservations back with `proffer unreserve`, or start a larger agent"),
            Rule::Amount(dimension, _) => answer.hint(format!(
                "it fits when tasks end that hold {}, or on a new agent with {}",
                self.dimensions.name(*dimension),
                self.dimensions.join(wish.bucket.shape(), &[], &[])
            )),
            Rule::Fixed(dimension, spans) => {
                let has = |agent: &Agent| {
                    agent.book_of(*dimension).is_some_and(|book| spans_contain(&book.total, spans))
                };
                let name = self.dimensions.name(*dimension);
                if agents.iter().any(|(_, agent)| has(agent)) {
                    answer.hint(format!("wait until they are free, or let any {name} do"));
                } else {
                    answer.hint(format!(
                        "no agent offers these {name}: start one with \
                         --resources '{name}:[{}]', or let any {name} do",
                        show_spans(spans)
                    ));
                }
            }
            Rule::NotLeased => {
                answer.hint("offers that are not answered end by themselves after their time");
            }
            Rule::NotRefused => {
                answer.hint("a refusal ends after its time, or when the framework revives");
            }
            Rule::NotKept => {
                let role = &self.clients[wish.spec.client].role;
                answer
                    .hint(format!("give role {role} a guarantee of its own, or lower the others'"));
                answer.hint("add agents: beyond what is owed everything is given by shares");
            }
        }
    }

    fn advise_size(&self, wish: &Wish<'_>, agents: &[(u32, &Agent)]) -> String {
        let all = |agent: &Agent| self.with_reserved(&agent.total, agent.reserved());
        let largest = |d: usize| agents.iter().map(|(_, agent)| all(agent).get(d)).max();
        let amounts = wish.bucket.shape().iter();
        let amounts = amounts.map(|(d, wanted)| (d, largest(d).unwrap_or(0), wanted));
        let beyond: Vec<String> = amounts
            .filter(|(_, largest, wanted)| largest < wanted)
            .map(|(d, largest, wanted)| self.too_small(d, largest, wanted))
            .collect();
        if beyond.is_empty() {
            let wanted = self.dimensions.join(wish.bucket.shape(), &[], &[]);
            return format!("no agent has all of {wanted}: start one that has, or ask for less");
        }
        format!(
            "no agent is large enough: the largest has {}; start a larger one or ask for less",
            beyond.join(", ")
        )
    }

    fn too_small(&self, dimension: usize, has: u64, wanted: u64) -> String {
        let name = self.dimensions.name(dimension);
        let show = |amount| self.show_amount(dimension, amount);
        format!("{name} {} of {} wanted", show(has), show(wanted))
    }

    fn explain_framework(
        &self,
        subject: &Subject,
        framework: FrameworkId,
        now: Monotonic,
    ) -> Explanation {
        let Some(entry) = self.frameworks.get(&framework).filter(|entry| entry.registered) else {
            return Answer::new(subject, format!("framework {framework} is not known")).explanation;
        };
        let present: Vec<u32> =
            entry.clients.values().copied().filter(|c| self.clients[*c].present).collect();
        if present.is_empty() {
            let first = entry.clients.values().next().and_then(|client| self.absence(*client));
            let (text, hint) = first.unwrap_or_else(|| {
                (format!("framework {framework} has no role"), "subscribe with a role".to_owned())
            });
            let mut answer = Answer::new(subject, text);
            answer.hint(hint);
            return answer.explanation;
        }
        if !entry.states_demand {
            return self.explain_classical(subject, framework, &present, now);
        }
        let unmet: Vec<Wish<'_>> = entry
            .groups
            .values()
            .filter_map(|group| self.wish(*group))
            .filter(|wish| wish.group.unmet() > 0)
            .collect();
        match unmet.as_slice() {
            [] => {
                let text = format!("all that framework {framework} wants is launched or offered");
                Answer::new(subject, text).explanation
            }
            [one] => self.explain_unmet(subject, one, now),
            several => {
                let tasks: u64 = several.iter().map(|wish| u64::from(wish.group.unmet())).sum();
                let mut answer = self.explain_unmet(subject, &several[0], now);
                let first = std::mem::take(&mut answer.summary);
                answer.summary = format!("{tasks} tasks of {} groups wait; {first}", several.len());
                let others = several[1..].iter().take(5);
                answer.hints.extend(others.map(|wish| {
                    format!("{} tasks of demand {} wait too", wish.group.unmet(), wish.group.name)
                }));
                answer
            }
        }
    }

    fn explain_classical(
        &self,
        subject: &Subject,
        framework: FrameworkId,
        all: &[u32],
        now: Monotonic,
    ) -> Explanation {
        let mut answer = Answer::new(subject, "");
        let mut left: Vec<(u32, &Agent)> = self.agents.iter().collect();
        answer.step("agents", left.len());
        left.retain(|(_, agent)| agent.usable);
        answer.step("active", left.len());
        let active = left.len();
        let condition = |client: &u32| self.clients[*client].condition;
        left.retain(|(_, agent)| {
            all.iter().any(|client| self.conditions.admits(condition(client), agent))
        });
        if all.iter().any(|client| self.conditions.has_rules(condition(client))) {
            answer.step("wanted by the framework's offer conditions", left.len());
        }
        let wanted = left.len();
        let has_own = all.iter().any(|client| self.conditions.has_own_minimum(condition(client)));
        left.retain(|(_, agent)| {
            all.iter().any(|client| {
                let reserved = self.reserved_cut(*client, agent);
                let owned = self.owned(&reserved);
                let plain = |dimension| agent.free.get(dimension);
                self.conditions.is_enough(condition(client), plain, &owned)
                    || (!has_own && self.is_worth_to(*client, agent))
            })
        });
        let enough = match has_own {
            true => "as much free as the framework's minimum",
            false => "cpus 0.01 or mem 32MiB free",
        };
        answer.step(enough, left.len());
        let with_room = left.len();
        let limits = |client: &u32| self.fair.limit_room(self.clients[*client].node, &[]);
        let within: Vec<u32> = all
            .iter()
            .copied()
            .filter(|client| {
                let room = limits(client);
                self.conditions.is_enough(condition(client), |d| room.get(d), &[])
            })
            .collect();
        if within.is_empty() {
            left.clear();
        }
        if self.fair.has_limits() {
            answer.step("within the limits of its roles", left.len());
        }
        let under_cap: Vec<u32> =
            within.iter().copied().filter(|client| self.has_cap_room(*client)).collect();
        if let Some(percent) = self.policy.held_max_percent {
            if under_cap.is_empty() {
                left.clear();
            }
            let rule = format!("within {percent} % of the cluster held in offers not yet answered");
            answer.step(rule, left.len());
        }
        let clients = under_cap.as_slice();
        left.retain(|(slot, _)| {
            let surplus = self.surplus_on(*slot);
            clients.iter().any(|client| {
                let owed = self.fair.guaranteed(self.clients[*client].node);
                self.cut(*client, *slot, surplus.as_ref(), None).is_ok()
                    || self.cut(*client, *slot, surplus.as_ref(), Some(&owed)).is_ok()
            })
        });
        let not_kept = left.len();
        if self.fair.is_owing() {
            answer.step("not kept free for guarantees of others", left.len());
        }
        left.retain(|(_, agent)| {
            clients.iter().any(|client| {
                let free = agent.free_now();
                !agent.filters.would_block_all(&self.refused, *client, &free, now)
            })
        });
        answer.step("not refused by the framework", left.len());
        let held: u64 =
            all.iter().map(|client| self.fair.client(self.clients[*client].node).1).sum();
        let fair = all.iter().map(|c| self.fair.entitlement_ppm(self.clients[*c].node)).max();
        let share = format!(
            "it holds {} of the cluster, its fair part is {}",
            percent(held),
            percent(fair.unwrap_or(0))
        );
        let (reason, hint) = if active == 0 {
            ("no agent is active", "start or activate an agent")
        } else if wanted == 0 {
            let hint = "start an agent that its offer conditions admit, or have it relax them";
            ("its offer conditions hold of no active agent", hint)
        } else if with_room == 0 && has_own {
            let hint = "it gets an offer when tasks or offers of others end, or asks for less";
            ("no agent it wants has as much free as its minimum", hint)
        } else if with_room == 0 {
            let hint = "it gets an offer when tasks or offers of others end";
            ("nothing worth offering is free", hint)
        } else if within.is_empty() {
            let hint = "raise the limit with `proffer roles set`, or wait until tasks end";
            ("all its roles are at a limit", hint)
        } else if under_cap.is_empty() {
            let hint = "it gets more when it answers what it holds, or when that lapses";
            ("it holds as much in unanswered offers as one framework may", hint)
        } else if not_kept == 0 {
            let hint = "beyond what others are owed everything is given by shares";
            ("what is free is kept for guarantees of others", hint)
        } else if left.is_empty() {
            let hint = "a refusal ends after its time, or when the framework revives";
            ("it refused all that is free", hint)
        } else {
            let hint = "stating demand gets offers cut to fit, and an answer to what is missing";
            ("an offer is due, in the order of shares", hint)
        };
        answer.summary(format!("framework {framework} states no demand; {reason}; {share}"));
        answer.hint(hint);
        self.advise_to_accept(&mut answer, all);
        answer.explanation
    }

    fn explain_agent(&self, subject: &Subject, id: AgentId, now: Monotonic) -> Explanation {
        let Some(slot) = self.slots.get(&id).copied() else {
            let text = format!("agent {id} is not registered with this master");
            return Answer::new(subject, text).explanation;
        };
        let agent = &self.agents[slot];
        let mut answer = Answer::new(subject, "");
        let wishes: Vec<Wish<'_>> =
            self.groups.iter().filter_map(|(group, _)| self.wish(group)).collect();
        let mut left: Vec<&Wish<'_>> = wishes
            .iter()
            .filter(|wish| wish.group.unmet() > 0 && self.clients[wish.spec.client].present)
            .collect();
        let waiting = left.len();
        answer.step("demand groups that wait", waiting);
        left.retain(|wish| wish.bucket.in_class(agent.class) && wish.bucket.suits_host(agent));
        answer.step("of these, constraints hold here", left.len());
        left.retain(|wish| agent.total.covers(wish.bucket.shape()));
        answer.step("of these, the agent is large enough", left.len());
        let large_enough = left.clone();
        left.retain(|wish| self.passes(wish, &Rule::NotLeased, (slot, agent), now));
        answer.step("of these, a task fits in what is free", left.len());
        left.retain(|wish| self.has_leave(wish.group, wish.spec, wish.bucket, (slot, agent), now));
        answer.step("of these, the group may have one more here", left.len());
        if left.is_empty()
            && let Some(wish) = large_enough.first()
        {
            let failed = self.rules(wish);
            let mut failed = failed.iter().filter(|r| !self.passes(wish, r, (slot, agent), now));
            if let Some(rule) = failed.next() {
                answer.explanation.nearest_miss = format!(
                    "demand {} of {}: the agent {}",
                    wish.group.name,
                    wish.group.framework,
                    self.lack(wish, rule, (slot, agent))
                );
            }
        }
        let free = self.free(id);
        let free = if free.is_empty() { "nothing".to_owned() } else { free.to_string() };
        let state = if agent.usable { "active" } else { "not active" };
        let mut leased = Amounts::default();
        agent.leases.iter().for_each(|lease| leased.add_all(&self.leases[lease].plain));
        let mut used = Amounts::default();
        agent.holdings.iter().for_each(|held| used.add_all(&held.held));
        let show = |amounts: &Amounts| match self.dimensions.join(amounts, &[], &[]) {
            none if none.is_empty() => "nothing".to_owned(),
            some => some.to_string(),
        };
        answer.summary(format!(
            "agent {id} ({}) is {state}: free {free}; tasks of {} frameworks hold {}; {} offers \
             hold {}",
            agent.name,
            agent.holdings.len(),
            show(&used),
            agent.leases.len(),
            show(&leased)
        ));
        if !agent.usable {
            answer.hint("activate it to have it used again");
        } else if !left.is_empty() {
            answer.hint("an offer on it is due");
        } else if waiting == 0 {
            answer.hint("no framework states demand that is not met");
        }
        answer.explanation
    }
}

/// Which part of what is wanted is not there.
fn missing_ppm(has: u64, wanted: u64) -> u64 {
    let part = u128::from(wanted.saturating_sub(has)) * 1_000_000;
    u64::try_from(part.checked_div(u128::from(wanted)).unwrap_or(0)).unwrap_or(u64::MAX)
}

fn percent(ppm: u64) -> String {
    format!("{}.{} %", ppm / 10_000, ppm % 10_000 / 1_000)
}

fn show_spans(spans: &[(u64, u64)]) -> String {
    let parts: Vec<String> = spans
        .iter()
        .map(|(low, high)| if low == high { low.to_string() } else { format!("{low}-{high}") })
        .collect();
    parts.join(",")
}
