//! An accept: several offers, several operations, all or nothing. Booked at once; it leaves for the
//! agents when occupancy is durable (K1, K2). A refusal names the part at fault and changes nothing.

use crate::limits;
use crate::master::Master;
use crate::state::occupancy::Pair;
use crate::state::pending::Continuation;
use crate::state::tasks::Stage;
use proffer_allocator::Delta;
use proffer_types::agent::{AgentLaunch, AgentOrder};
use proffer_types::offer::{Accept, Offer, Operation};
use proffer_types::scheduler::{Event, TaskRecord};
use proffer_types::task::{StatusReason, TaskStatus};
use proffer_types::template::{PodTemplate, TaskLaunch};
use proffer_types::{
    AgentId, AgentSession, AgentVersion, DurationMs, FrameworkId, Now, OfferId, Refusal,
    RefusalCode, Resources, RoleName, TaskKey, TaskState, TemplateDigest,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What remains of the leases on one agent while operations are checked in order.
struct Purse {
    role: RoleName,
    left: Resources,
}

/// A checked accept.
struct Plan {
    offers: Vec<OfferId>,
    launches: Vec<(AgentId, RoleName, TaskLaunch)>,
    token_mark: u64,
}

impl Master {
    pub(crate) fn accept_offers(&mut self, framework: FrameworkId, accept: Accept, now: Now) {
        let number = accept.accept;
        let refuse_for = accept.refuse_for;
        match self.check_accept(framework, accept) {
            Err(refusal) => {
                self.tell(framework, Event::Accepted { accept: number, refusal: Some(refusal) });
            }
            Ok(plan) => {
                self.changing = true;
                self.tell(framework, Event::Accepted { accept: number, refusal: None });
                self.book(framework, plan, refuse_for, now);
            }
        }
    }

    fn check_accept(&self, framework: FrameworkId, accept: Accept) -> Result<Plan, Refusal> {
        let Accept { offers, operations, .. } = accept;
        let mut purses = self.check_offers(framework, &offers)?;
        let entry = self.frameworks.get(framework).ok_or_else(|| {
            Refusal::new(RefusalCode::Removed, "framework", "the framework is not known")
        })?;
        let mut plan = Plan {
            offers: offers.into_iter().map(|(id, _)| id).collect(),
            launches: Vec::new(),
            token_mark: entry.token_mark,
        };
        let mut names = BTreeSet::new();
        for (index, operation) in operations.into_iter().enumerate() {
            let within = |refusal: Refusal| refusal.within(format!("operations[{index}]"));
            let Operation::Launch { agent, tasks } = operation else {
                return Err(within(Refusal::new(
                    RefusalCode::NotSupported,
                    "",
                    "reservations and volumes are not supported yet; launches are",
                )));
            };
            let purse = purses.get_mut(&agent).ok_or_else(|| {
                within(Refusal::new(
                    RefusalCode::InvalidArgument,
                    "agent",
                    format!("none of the offers is on {agent}"),
                ))
            })?;
            self.check_unacknowledged(framework, agent, tasks.len()).map_err(within)?;
            for (place, launch) in tasks.into_iter().enumerate() {
                let within = |refusal: Refusal| within(refusal.within(format!("tasks[{place}]")));
                self.check_launch(framework, &launch, plan.token_mark).map_err(within)?;
                if !names.insert(launch.name.clone()) {
                    return Err(within(Refusal::new(
                        RefusalCode::AlreadyExists,
                        "name",
                        format!("{} is launched twice", launch.name),
                    )));
                }
                purse.left = purse.left.checked_sub(&launch.resources).map_err(|error| {
                    within(Refusal::new(
                        RefusalCode::InsufficientResources,
                        "resources",
                        error.to_string(),
                    ))
                })?;
                plan.token_mark = launch.token.sequence;
                plan.launches.push((agent, purse.role.clone(), launch));
            }
        }
        if plan.launches.len() > limits::ACCEPT_TASKS_MAX {
            return Err(Refusal::new(
                RefusalCode::BudgetExceeded,
                "operations",
                format!("more than {} tasks in one accept", limits::ACCEPT_TASKS_MAX),
            ));
        }
        Ok(plan)
    }

    /// Each offer is held by the framework and its agent is as it was.
    fn check_offers(
        &self,
        framework: FrameworkId,
        offers: &[(OfferId, AgentVersion)],
    ) -> Result<BTreeMap<AgentId, Purse>, Refusal> {
        if offers.is_empty() || offers.len() > limits::CALL_OFFERS_MAX {
            return Err(Refusal::new(
                RefusalCode::InvalidArgument,
                "offers",
                format!("an accept names 1 to {} offers", limits::CALL_OFFERS_MAX),
            ));
        }
        let mut purses: BTreeMap<AgentId, Purse> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (index, (id, version)) in offers.iter().enumerate() {
            let refuse = |code, message: String| {
                Err(Refusal::new(code, format!("offers[{index}]"), message))
            };
            let Some(offer) = self.held_offer(framework, *id).filter(|_| seen.insert(*id)) else {
                return refuse(RefusalCode::OfferNotHeld, format!("{id} is not held"));
            };
            let agent = self.agents.get(offer.agent);
            let current = agent.map(|agent| agent.version).unwrap_or_default();
            if *version != current || !agent.is_some_and(|agent| agent.takes_tasks()) {
                return refuse(
                    RefusalCode::AgentChanged,
                    format!("{} is at version {current}, not {version}", offer.agent),
                );
            }
            match purses.get_mut(&offer.agent) {
                None => {
                    let purse = Purse { role: offer.role.clone(), left: offer.resources.clone() };
                    purses.insert(offer.agent, purse);
                }
                Some(purse) if purse.role != offer.role => {
                    return refuse(
                        RefusalCode::NotSupported,
                        format!("offers on {} are for different roles", offer.agent),
                    );
                }
                Some(purse) => {
                    purse.left = purse.left.checked_add(&offer.resources).map_err(|error| {
                        Refusal::new(
                            RefusalCode::InternalBug,
                            format!("offers[{index}]"),
                            error.to_string(),
                        )
                    })?;
                }
            }
        }
        Ok(purses)
    }

    pub(crate) fn held_offer(&self, framework: FrameworkId, id: OfferId) -> Option<&Offer> {
        self.offers.get(id).map(|entry| &entry.offer).filter(|offer| offer.framework == framework)
    }

    /// A framework that does not acknowledge gets no more tasks there (K15).
    fn check_unacknowledged(
        &self,
        framework: FrameworkId,
        agent: AgentId,
        more: usize,
    ) -> Result<(), Refusal> {
        let waiting: usize = self
            .agents
            .get(agent)
            .into_iter()
            .flat_map(|entry| entry.logs.iter().filter(|((owner, _), _)| *owner == framework))
            .map(|(_, log)| log.waiting.len())
            .sum();
        let max = self.config.unacknowledged_max;
        if (waiting + more) as u64 > max {
            return Err(Refusal::new(
                RefusalCode::BudgetExceeded,
                "agent",
                format!("{waiting} statuses on {agent} are not acknowledged; the budget is {max}"),
            )
            .hint("acknowledge what was received"));
        }
        Ok(())
    }

    fn check_launch(
        &self,
        framework: FrameworkId,
        launch: &TaskLaunch,
        token_mark: u64,
    ) -> Result<(), Refusal> {
        let refuse = |code, field: &str, message: String| Err(Refusal::new(code, field, message));
        let Some(entry) = self.frameworks.get(framework) else {
            return refuse(RefusalCode::Removed, "framework", "is not known".to_owned());
        };
        if launch.token.session != entry.epoch() {
            return refuse(
                RefusalCode::TokenReused,
                "token",
                format!("is of session {}, not {}", launch.token.session, entry.epoch()),
            );
        }
        if launch.token.sequence <= token_mark {
            return refuse(
                RefusalCode::TokenReused,
                "token",
                format!("{} is not after {token_mark}", launch.token.sequence),
            );
        }
        let key = TaskKey { framework, name: launch.name.clone() };
        if let Some(task) = self.tasks.get(&key) {
            let message = if task.is_terminal() {
                format!("the end of {} is not acknowledged yet", launch.name)
            } else {
                format!("{} is {:?} on {}", launch.name, task.record.status.state, task.agent())
            };
            return refuse(RefusalCode::AlreadyExists, "name", message);
        }
        let known = entry
            .stream
            .as_ref()
            .is_some_and(|stream| stream.templates.contains_key(&launch.template));
        if !known {
            return refuse(
                RefusalCode::UnknownTemplate,
                "template",
                format!("{:?} was not sent on this stream", launch.template),
            );
        }
        if launch.resources.is_empty() {
            return refuse(
                RefusalCode::InvalidArgument,
                "resources",
                "a task takes something of the offers".to_owned(),
            );
        }
        let text: usize = [&launch.variables, &launch.labels]
            .into_iter()
            .flatten()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if text > limits::LAUNCH_TEXT_BYTES_MAX {
            return refuse(
                RefusalCode::BudgetExceeded,
                "variables",
                format!("with labels over {} bytes", limits::LAUNCH_TEXT_BYTES_MAX),
            );
        }
        Ok(())
    }

    /// One transition: leases end, tasks are charged, the rest is filtered.
    fn book(&mut self, framework: FrameworkId, plan: Plan, refuse_for: DurationMs, now: Now) {
        let Plan { offers, launches, token_mark } = plan;
        let ended: Vec<Offer> = offers.into_iter().filter_map(|id| self.end_lease(id)).collect();
        let Some(entry) = self.frameworks.get_mut(framework) else { return };
        entry.token_mark = token_mark;
        let subscription = entry.subscriptions;
        let mut by_agent: BTreeMap<AgentId, Vec<AgentLaunch>> = BTreeMap::new();
        for (agent, role, launch) in launches {
            self.counters.launches += 1;
            let record = self.booked_record(framework, agent, &role, &launch, now);
            self.add_task(record, Stage::Held, subscription);
            by_agent.entry(agent).or_default().push(AgentLaunch { framework, role, launch });
        }
        self.filter_rest(framework, ended, &by_agent, refuse_for, now);
        for (agent, launches) in by_agent {
            self.launch_when_durable(framework, agent, launches);
        }
    }

    fn booked_record(
        &self,
        framework: FrameworkId,
        agent: AgentId,
        role: &RoleName,
        launch: &TaskLaunch,
        now: Now,
    ) -> TaskRecord {
        let info = &self.agents.get(agent).expect("the plan was checked against it").record.info;
        TaskRecord {
            status: TaskStatus {
                id: None,
                framework,
                task: launch.name.clone(),
                token: launch.token,
                agent,
                state: TaskState::Staging,
                reason: StatusReason::None,
                message: String::new(),
                exit: None,
                ready: None,
                at: now.wall,
                isolation: info.isolation,
            },
            template: launch.template,
            resources: launch.resources.clone(),
            role: role.clone(),
            variables: launch.variables.clone(),
            labels: launch.labels.clone(),
            group: launch.group.clone(),
            agent_name: info.name.clone(),
            address: info.address.clone(),
        }
    }

    /// What an accept left unused is not offered to the framework again for a while, if it said so.
    fn filter_rest(
        &mut self,
        framework: FrameworkId,
        ended: Vec<Offer>,
        launches: &BTreeMap<AgentId, Vec<AgentLaunch>>,
        refuse_for: DurationMs,
        now: Now,
    ) {
        if refuse_for.0 == 0 {
            return;
        }
        let mut rests: BTreeMap<AgentId, (RoleName, Resources)> = BTreeMap::new();
        for offer in ended {
            let rest = rests.entry(offer.agent).or_insert((offer.role, Resources::new()));
            if let Ok(sum) = rest.1.checked_add(&offer.resources) {
                rest.1 = sum;
            }
        }
        for (agent, (role, mut rest)) in rests {
            for launch in launches.get(&agent).into_iter().flatten() {
                if let Ok(left) = rest.checked_sub(&launch.launch.resources) {
                    rest = left;
                }
            }
            self.filter(framework, role, agent, rest, refuse_for, now);
        }
    }

    pub(crate) fn filter(
        &mut self,
        framework: FrameworkId,
        role: RoleName,
        agent: AgentId,
        resources: Resources,
        refuse_for: DurationMs,
        now: Now,
    ) {
        let span = DurationMs(refuse_for.0.min(limits::REFUSE_FOR_MAX_MS));
        if span.0 == 0 || resources.is_empty() {
            return;
        }
        let until = now.monotonic.after(span);
        self.tell_allocator(Delta::Filtered { framework, role, agent, resources, until });
    }

    fn launch_when_durable(
        &mut self,
        framework: FrameworkId,
        agent: AgentId,
        launches: Vec<AgentLaunch>,
    ) {
        let pairs: BTreeSet<Pair> =
            launches.iter().map(|launch| (framework, launch.role.clone())).collect();
        let session = self.agents.get(agent).map(|entry| entry.session).unwrap_or_default();
        let templates = self.named_templates(framework, &launches);
        match self.occupy(agent, &pairs) {
            None => self.send_launches(agent, session, launches, &templates),
            Some(operation) => {
                let then = Continuation::Launch { agent, session, launches, templates };
                self.pending.on_written(operation, then);
            }
        }
    }

    fn named_templates(
        &self,
        framework: FrameworkId,
        launches: &[AgentLaunch],
    ) -> BTreeMap<TemplateDigest, Arc<PodTemplate>> {
        let Some(stream) = self.frameworks.get(framework).and_then(|e| e.stream.as_ref()) else {
            return BTreeMap::new();
        };
        launches
            .iter()
            .filter_map(|launch| {
                let digest = launch.launch.template;
                Some((digest, Arc::clone(stream.templates.get(&digest)?)))
            })
            .collect()
    }

    /// Occupancy is durable: the launches leave, unless they were killed meanwhile or the agent has
    /// begun a new session, whose list decides (K1).
    pub(crate) fn send_launches(
        &mut self,
        agent: AgentId,
        session: AgentSession,
        launches: Vec<AgentLaunch>,
        templates: &BTreeMap<TemplateDigest, Arc<PodTemplate>>,
    ) {
        let mut tasks = Vec::with_capacity(launches.len());
        for launch in launches {
            let key = TaskKey { framework: launch.framework, name: launch.launch.name.clone() };
            let Some(task) = self.tasks.get_mut(&key) else { continue };
            let current = task.stage == Stage::Held
                && !task.is_terminal()
                && task.record.status.token == launch.launch.token;
            if current {
                task.stage = Stage::Sent;
                tasks.push(launch);
            }
        }
        let Some(entry) = self.agents.get_mut(agent) else { return };
        if tasks.is_empty() || entry.connection().is_none() || entry.session != session {
            // What was booked and cannot leave is dropped by the agent's next list, or lost with it.
            return;
        }
        for launch in &tasks {
            let digest = launch.launch.template;
            if entry.templates_sent.contains(&digest) {
                continue;
            }
            if entry.templates_sent.len() >= limits::TEMPLATES_SENT_MAX {
                entry.templates_sent.clear();
            }
            if let Some(template) = templates.get(&digest) {
                entry.templates_sent.insert(digest);
                let template = PodTemplate::clone(template);
                entry.order(AgentOrder::Template { digest, template });
            }
        }
        self.order(agent, AgentOrder::Launch { tasks });
    }
}
