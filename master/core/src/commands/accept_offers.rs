//! An accept: several offers, several operations, all or nothing. Booked at once; it leaves for the agent
//! when occupancy is durable (K1, K2). Launches on several agents are a gang: they are prepared first, and
//! start together or not at all (K3). A refusal names the part at fault and changes nothing.

use crate::limits;
use crate::master::Master;
use crate::state::occupancy::Pair;
use proffer_types::hold::{check_volumes, exclusive};
use proffer_types::offer::{Accept, Offer, Operation};
use proffer_types::resources::ResourceError;
use proffer_types::scheduler::Event;
use proffer_types::template::TaskLaunch;
use proffer_types::{
    AgentId, AgentVersion, FrameworkId, Now, OfferId, Refusal, RefusalCode, Resources, RoleName,
    TaskKey,
};
use std::collections::{BTreeMap, BTreeSet};

use super::hold_plan::{Claimant, HoldPlan};
use super::texts::check_task;

/// What remains of the leases on one agent while operations are checked in order.
pub(super) struct Purse {
    pub(super) role: RoleName,
    pub(super) left: Resources,
    /// What earlier operations make: later ones may rest on it, tasks may not, for the agent can refuse it.
    pub(super) made: Resources,
    /// What operations on reservations and volumes take of the leases.
    pub(super) given_up: Resources,
}

/// A checked accept.
pub(super) struct Plan {
    pub(super) offers: Vec<OfferId>,
    /// What it launches where, and who pays; on several agents it is a gang.
    pub(super) launches: BTreeMap<AgentId, (RoleName, Vec<TaskLaunch>)>,
    pub(super) token_mark: u64,
    /// Reservations and volumes to be made, changed and removed.
    pub(super) holds: Vec<HoldPlan>,
    /// What they take of the leases.
    pub(super) given_up: BTreeMap<AgentId, Resources>,
}

/// The leases do not hold what is asked of them.
pub(super) fn lacking(purse: &Purse, error: &ResourceError) -> Refusal {
    let code = RefusalCode::InsufficientResources;
    let refusal = Refusal::new(code, "resources", error.to_string());
    if purse.made.is_empty() {
        return refusal;
    }
    refusal.hint("tasks use what operations make when it is offered, not in the same accept")
}

impl Master {
    pub(crate) fn accept_offers(&mut self, framework: FrameworkId, accept: Accept, now: Now) {
        let number = accept.accept;
        let refuse_for = accept.refuse_for;
        match self.check(|master| master.check_accept(framework, accept)) {
            Err(refusal) => {
                self.tell(
                    framework,
                    Event::Accepted { accept: number, refusal: Some(refusal), holds: Vec::new() },
                );
            }
            Ok(plan) => {
                let holds = plan.holds.iter().map(|hold| hold.key.id).collect();
                self.tell(framework, Event::Accepted { accept: number, refusal: None, holds });
                self.book(framework, plan, refuse_for, now);
            }
        }
    }

    fn check_accept(&self, framework: FrameworkId, accept: Accept) -> Result<Plan, Refusal> {
        let Accept { offers, operations, .. } = accept;
        self.pending.check_room()?;
        let entry = self.frameworks.get(framework).ok_or_else(|| {
            Refusal::new(RefusalCode::Removed, "framework", "the framework is not known")
        })?;
        entry.check_not_superseded()?;
        let mut purses = self.check_offers(framework, &offers)?;
        let mut plan = Plan {
            offers: offers.into_iter().map(|(id, _)| id).collect(),
            launches: BTreeMap::new(),
            token_mark: entry.token_mark,
            holds: Vec::new(),
            given_up: BTreeMap::new(),
        };
        let by = Claimant::Framework(framework, entry.record.principal.clone());
        let mut names = BTreeSet::new();
        let (mut launched_in, mut first_hold) = (BTreeMap::new(), None);
        for (index, operation) in operations.into_iter().enumerate() {
            let within = |refusal: Refusal| refusal.within(format!("operations[{index}]"));
            let Operation::Launch { agent, tasks } = operation else {
                let planned = self.plan_operation(&by, &operation, &mut purses, &plan.holds);
                plan.holds.extend(planned.map_err(within)?);
                first_hold.get_or_insert(index);
                continue;
            };
            let purse = purses.get_mut(&agent).ok_or_else(|| {
                within(Refusal::new(
                    RefusalCode::InvalidArgument,
                    "agent",
                    format!("none of the offers is on {agent}"),
                ))
            })?;
            launched_in.entry(agent).or_insert(index);
            let pair = (framework, purse.role.clone());
            self.check_pairs(agent, &pair).map_err(within)?;
            self.check_unacknowledged(framework, agent, tasks.len()).map_err(within)?;
            let (_, launches) =
                plan.launches.entry(agent).or_insert_with(|| (purse.role.clone(), Vec::new()));
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
                purse.left = self
                    .spend(agent, purse, &launch.resources)
                    .map_err(|error| within(lacking(purse, &error)))?;
                plan.token_mark = launch.token.sequence;
                launches.push(launch);
            }
        }
        self.check_gang(&launched_in, first_hold)?;
        if names.len() > limits::ACCEPT_TASKS_MAX {
            return Err(Refusal::new(
                RefusalCode::BudgetExceeded,
                "operations",
                format!("more than {} tasks in one accept", limits::ACCEPT_TASKS_MAX),
            ));
        }
        plan.given_up = purses.into_iter().map(|(agent, purse)| (agent, purse.given_up)).collect();
        Ok(plan)
    }

    /// What is left of the leases after a task. It takes volumes whole; of a shared one there is always
    /// enough for one more.
    fn spend(
        &self,
        agent: AgentId,
        purse: &Purse,
        resources: &Resources,
    ) -> Result<Resources, ResourceError> {
        if let Some(entry) = self.agents.get(agent) {
            check_volumes(resources, &entry.total)?;
        }
        let shared = resources.filtered(|entry| entry.key.shared);
        purse.left.checked_sub(&shared)?;
        purse.left.checked_sub(&exclusive(resources))
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
                    let purse = Purse {
                        role: offer.role.clone(),
                        left: offer.resources.clone(),
                        made: Resources::new(),
                        given_up: Resources::new(),
                    };
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

    /// An agent's occupancy is one record of bounded size (K2).
    fn check_pairs(&self, agent: AgentId, pair: &Pair) -> Result<(), Refusal> {
        let is_new = self.occupancy.state(agent, pair).is_none();
        if !is_new || self.occupancy.pairs(agent).count() < limits::AGENT_PAIRS_MAX {
            return Ok(());
        }
        Err(Refusal::new(
            RefusalCode::BudgetExceeded,
            "agent",
            format!("{} frameworks and roles have tasks on {agent}", limits::AGENT_PAIRS_MAX),
        )
        .hint("launch on another agent, or when some of them have ended there"))
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
        launch.resources.check_unmixed()?;
        check_task(&launch.variables, &launch.labels, &launch.resources)
    }
}
