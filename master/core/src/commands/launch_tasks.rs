//! Books what an accept was granted and sends the launches once occupancy is durable (K1, K2).

use crate::limits;
use crate::master::Master;
use crate::state::occupancy::Pair;
use crate::state::pending::Continuation;
use crate::state::tasks::Stage;
use proffer_allocator::Delta;
use proffer_types::agent::{AgentLaunch, AgentOrder};
use proffer_types::hold::{exclusive, without};
use proffer_types::offer::Offer;
use proffer_types::scheduler::TaskRecord;
use proffer_types::task::{StatusReason, TaskStatus};
use proffer_types::template::{PodTemplate, TaskLaunch};
use proffer_types::{
    AgentId, AgentSession, DurationMs, FrameworkId, GangId, Now, Resources, RoleName, TaskKey,
    TaskState, TemplateDigest,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::accept_offers::Plan;
use crate::turn::weighed;

impl Master {
    /// One transition: leases end, tasks are charged, the rest is filtered.
    pub(super) fn book(
        &mut self,
        framework: FrameworkId,
        plan: Plan,
        refuse_for: DurationMs,
        now: Now,
    ) {
        let Plan { offers, launches, token_mark, holds, given_up } = plan;
        let mut ended: Vec<Offer> =
            offers.into_iter().filter_map(|id| self.end_lease(id)).collect();
        for offer in &mut ended {
            if let Some(given_up) = given_up.get(&offer.agent) {
                offer.resources = without(&offer.resources, given_up);
            }
        }
        self.begin_holds(holds);
        let Some(entry) = self.frameworks.get_mut(framework) else { return };
        entry.token_mark = token_mark;
        let subscription = entry.subscriptions;
        let gang = (launches.len() > 1).then(|| self.begin_gang(framework, now));
        let mut booked: BTreeMap<AgentId, Vec<AgentLaunch>> = BTreeMap::new();
        for (agent, (role, launches)) in launches {
            for launch in launches {
                self.counters.launches += 1;
                let record = self.booked_record(framework, agent, &role, &launch, now);
                let key = record.status.key();
                self.add_task(TaskRecord { gang, ..record }, Stage::Held, subscription);
                if let Some(gang) = gang {
                    self.join_gang(gang, key);
                }
                let launch = AgentLaunch { framework, role: role.clone(), launch };
                booked.entry(agent).or_default().push(launch);
            }
        }
        self.filter_rest(framework, ended, &booked, refuse_for, now);
        for (agent, launches) in booked {
            self.launch_when_durable(framework, agent, gang, launches);
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
            priority: launch.priority,
            budget: launch.budget.clone(),
            gang: None,
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
                if let Ok(left) = rest.checked_sub(&exclusive(&launch.launch.resources)) {
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
        gang: Option<GangId>,
        launches: Vec<AgentLaunch>,
    ) {
        let pairs: BTreeSet<Pair> =
            launches.iter().map(|launch| (framework, launch.role.clone())).collect();
        let session = self.agents.get(agent).map(|entry| entry.session).unwrap_or_default();
        let templates = self.named_templates(framework, &launches);
        match self.occupy(agent, &pairs) {
            None => self.send_launches((agent, session), gang, launches, &templates),
            Some(operation) => {
                let then = Continuation::Launch { agent, session, gang, launches, templates };
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
        (agent, session): (AgentId, AgentSession),
        gang: Option<GangId>,
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
        for tasks in weighed(tasks, limits::LIST_WEIGHT_MAX) {
            let order = match gang {
                None => AgentOrder::Launch { tasks },
                Some(gang) => AgentOrder::Prepare { gang, tasks },
            };
            self.order(agent, order);
        }
    }
}
