//! Templates and launches. A launch is checked here, made durable, and only then counts (K1).

use crate::agent::{Agent, Goal, Turn};
use crate::checkpoint::{SandboxCheckpoint, TaskCheckpoint, Write};
use crate::commands::expand_launch;
use crate::container::ContainerRequest;
use crate::effect::Effect;
use crate::state::checks::{CheckPlan, Checks};
use crate::state::tasks::{Phase, Task};
use proffer_types::agent::AgentLaunch;
use proffer_types::hold::{check_volumes, taken};
use proffer_types::ids::{ContainerId, GangId, TemplateDigest};
use proffer_types::refusal::{Refusal, RefusalCode};
use proffer_types::resources::Resource;
use proffer_types::task::{StatusReason, TaskState, TaskStatus};
use proffer_types::template::PodTemplate;

impl Agent {
    /// Keeps a template for launches to come. One that is wrong is kept as the reason to refuse
    /// them.
    pub(crate) fn template(&mut self, digest: TemplateDigest, template: PodTemplate) {
        let checked = if template.digest() == digest {
            template.validate().map(|()| template)
        } else {
            Err(Refusal::new(
                RefusalCode::InvalidArgument,
                "template",
                "the template is not the one that its digest names",
            ))
        };
        self.templates.learn(digest, checked, self.config.limits.templates_max);
    }

    /// Takes a launch or refuses it; both are durable statuses. A token seen before is a repeat
    /// and changes nothing (I2). One of a gang is taken the same way and does not start (K3).
    pub(crate) fn launch(&mut self, order: AgentLaunch, gang: Option<GangId>, turn: &mut Turn) {
        let container = order.launch.token.container(order.framework);
        if self.tasks.get(&container).is_some() || self.sandboxes.contains(&container) {
            self.counters.launches_repeated += 1;
            return;
        }
        match self.check_launch(&container, &order) {
            Ok(made_of) => self.take(&container, (order, gang), made_of, turn),
            Err(refusal) => self.refuse(&container, (order, gang), &refusal, turn),
        }
    }

    fn check_launch(
        &self,
        container: &ContainerId,
        order: &AgentLaunch,
    ) -> Result<(ContainerRequest, Vec<CheckPlan>), Refusal> {
        let limits = &self.config.limits;
        if self.goal != Goal::Serve || self.identity.ending {
            let message = "the agent is ending its tasks";
            return Err(Refusal::new(RefusalCode::Unavailable, "agent", message));
        }
        if self.is_unwanted(order.framework) {
            let message = format!("framework {} was ended", order.framework);
            return Err(Refusal::new(RefusalCode::Removed, "framework", message));
        }
        if self.tasks.count_of(order.framework) >= limits.framework_tasks_max {
            let message = format!(
                "{} tasks of {} run here or wait for their acknowledgement",
                limits.framework_tasks_max, order.framework
            );
            return Err(Refusal::new(RefusalCode::BudgetExceeded, "framework", message));
        }
        let digest = &order.launch.template;
        let template = self.templates.get(digest).ok_or_else(|| {
            let message = format!("template {digest} was not sent on this connection");
            Refusal::new(RefusalCode::UnknownTemplate, "template", message)
        })?;
        let template = template.map_err(Clone::clone)?;
        self.check_books(order)?;
        expand_launch(container, order, template, limits)
    }

    /// The agent's own books: whatever the master believes, nothing is promised twice (K18, I3).
    fn check_books(&self, order: &AgentLaunch) -> Result<(), Refusal> {
        order.launch.resources.check_unmixed()?;
        let stale = |message: String| {
            Refusal::new(RefusalCode::ResourcesStale, "resources", message)
                .hint("the master's books differ from the agent's; the next offer is current")
        };
        let (used, asked, total) = (self.tasks.used(), &order.launch.resources, self.holds.total());
        check_volumes(asked, total).map_err(|error| stale(error.to_string()))?;
        let sum = taken(asked).and_then(|more| used.checked_add(&more));
        let sum = sum.map_err(|error| stale(error.to_string()))?;
        // What others use of what is gone meanwhile stands in nobody's way.
        let concerns = |entry: &Resource| {
            !entry.key.is_slack() || asked.entries().iter().any(|asked| asked.key == entry.key)
        };
        total.checked_sub(&sum.filtered(concerns)).map_err(|error| {
            stale(format!("{asked} does not fit beside {used} in use: {error}"))
        })?;
        Ok(())
    }

    fn take(
        &mut self,
        container: &ContainerId,
        (order, gang): (AgentLaunch, Option<GangId>),
        (request, plans): (ContainerRequest, Vec<CheckPlan>),
        turn: &mut Turn,
    ) {
        self.counters.launches_taken += 1;
        let sandbox =
            SandboxCheckpoint { framework: order.framework, task: order.launch.name.clone() };
        turn.writes.push(Write::PutSandbox(container.clone(), sandbox));
        self.sandboxes.insert_live(container.clone());
        self.acquire_template(&order.launch.template, turn);
        let wants_grants = request.stop_after.is_some();
        let (state, reason) = match gang {
            None => (TaskState::Taken, StatusReason::None),
            Some(_) => (TaskState::Staging, StatusReason::GangPreparing),
        };
        self.add_task(container, (order, gang), (state, reason, ""), turn);
        if let Some(task) = self.tasks.get_mut(container) {
            task.uses_template = true;
            task.wants_grants = wants_grants;
            task.checks = Checks::new(plans, false);
        }
        // The container is made while the disk works; it starts when both are done (K14).
        turn.effects.push(Effect::Prepare(Box::new(request)));
    }

    fn refuse(
        &mut self,
        container: &ContainerId,
        order: (AgentLaunch, Option<GangId>),
        refusal: &Refusal,
        turn: &mut Turn,
    ) {
        self.counters.launches_refused += 1;
        let what = (TaskState::Error, StatusReason::AgentRefused, refusal.to_string());
        self.add_task(container, order, (what.0, what.1, &what.2), turn);
    }

    fn acquire_template(&mut self, digest: &TemplateDigest, turn: &mut Turn) {
        if self.templates.acquire(digest)
            && let Some(template) = self.templates.in_use(digest)
        {
            turn.writes.push(Write::PutTemplate(*digest, Box::new(template.clone())));
        }
    }

    fn add_task(
        &mut self,
        container: &ContainerId,
        (order, gang): (AgentLaunch, Option<GangId>),
        (state, reason, message): (TaskState, StatusReason, &str),
        turn: &mut Turn,
    ) {
        let AgentLaunch { framework, role, launch } = order;
        let ended = state.is_terminal();
        let status = TaskStatus {
            id: Some(self.next_status_id(framework, turn)),
            framework,
            task: launch.name.clone(),
            token: launch.token,
            agent: self.identity.agent.unwrap_or_default(),
            state,
            reason,
            message: message.to_owned(),
            exit: None,
            ready: None,
            at: turn.now.wall,
            isolation: self.config.info.isolation,
        };
        turn.statuses.push(status.clone());
        turn.touched.tasks.insert(container.clone());
        let record = TaskCheckpoint {
            framework,
            role,
            launch,
            status,
            kill: None,
            startup_passed: false,
            claim: None,
            gang,
        };
        let task = Task {
            record,
            announced: None,
            acknowledged: false,
            phase: if ended { Phase::Ended } else { Phase::Preparing },
            has_container: !ended,
            uses_template: false,
            wants_grants: false,
            checks: Checks::default(),
        };
        self.tasks.insert(container.clone(), task);
    }
}
