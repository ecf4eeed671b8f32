//! One wanted task: what runs, what it needs, where it may run.

use proffer_types::demand::Budget;
use proffer_types::resources::{Resource, ResourceKey};
use proffer_types::template::PodTemplate;
use proffer_types::{
    Constraint, DurationMs, GroupName, Quantity, Ranges, Refusal, RefusalCode, ResourceName,
    Resources, RevocableUse, RoleName, TaskName, TemplateDigest,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A checked pod template with its digest. Cloning is cheap: share one among all launches.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "PodTemplate", into = "PodTemplate")]
pub struct Template {
    digest: TemplateDigest,
    pod: Arc<PodTemplate>,
}

impl Template {
    /// Checks `pod` and names it by its digest.
    ///
    /// # Errors
    /// What [`PodTemplate::validate`] refuses.
    pub fn new(pod: PodTemplate) -> Result<Self, Refusal> {
        pod.validate()?;
        Ok(Self { digest: pod.digest(), pod: Arc::new(pod) })
    }

    /// A pod of one container that runs `command`, with defaults for everything else.
    ///
    /// # Errors
    /// What [`PodTemplate::validate`] refuses, such as an empty command.
    pub fn command<Word: Into<String>>(
        command: impl IntoIterator<Item = Word>,
    ) -> Result<Self, Refusal> {
        Self::new(PodTemplate {
            containers: vec![proffer_types::template::ContainerTemplate {
                name: "main".to_owned(),
                command: command.into_iter().map(Into::into).collect(),
                ..Default::default()
            }],
            kill: Default::default(),
            on_disconnect: Default::default(),
            labels: BTreeMap::new(),
        })
    }

    /// The name under which launches refer to it.
    #[must_use]
    pub fn digest(&self) -> TemplateDigest {
        self.digest
    }

    /// The template itself.
    #[must_use]
    pub fn pod(&self) -> &PodTemplate {
        &self.pod
    }
}

impl TryFrom<PodTemplate> for Template {
    type Error = Refusal;
    fn try_from(pod: PodTemplate) -> Result<Self, Refusal> {
        Self::new(pod)
    }
}
impl From<Template> for PodTemplate {
    fn from(template: Template) -> Self {
        template.pod.as_ref().clone()
    }
}

/// A port that a task needs. The number becomes the variable `port.NAME`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Port {
    /// Its name within the task.
    pub name: String,
    /// Just this number; `None`: any that the agent has free.
    pub fixed: Option<u16>,
}

/// One wanted task. Build it with [`TaskRequest::new`] and the methods that follow it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TaskRequest {
    /// Its name; no two waiting or live tasks of a framework share one.
    pub name: TaskName,
    /// What runs.
    pub template: Template,
    /// The role that pays.
    pub role: RoleName,
    /// What it needs besides ports.
    pub resources: Resources,
    /// Ports that it needs.
    pub ports: Vec<Port>,
    /// Values for the template's placeholders. `task.name`, `agent.name`, `agent.address`,
    /// `agent.zone` and `port.NAME` are added at launch.
    pub variables: BTreeMap<String, String>,
    /// Labels of this task alone.
    pub labels: BTreeMap<String, String>,
    /// All must hold of the agent.
    pub constraints: Vec<Constraint>,
    /// Served before lower ones of the same role; tasks of lower priority of the same top role end for it.
    pub priority: i32,
    /// Its priority while it waits, when that is not `priority`. A lower one makes room for others in the
    /// queue, and yet tasks of `priority` are all that may end it.
    #[serde(default)]
    pub priority_waiting: Option<i32>,
    /// Its task is ended for others only as long as so many of its `group` are available without it, until
    /// [`Context::keep_available`](crate::Context::keep_available) says otherwise. `None`: any may be ended.
    #[serde(default)]
    pub min_available: Option<u32>,
    /// Most tasks of its demand group on one agent; `None`: any number.
    pub per_agent_max: Option<u32>,
    /// Prefer agents with the fewest tasks of its demand group.
    pub spread: bool,
    /// Given up when it has no place so long after it was asked for; `None`: it waits for ever.
    #[serde(default)]
    pub deadline: Option<DurationMs>,
    /// Whether its task may use what may be taken back at any time. Such a task ends before all others when
    /// room is made.
    #[serde(default)]
    pub revocable: RevocableUse,
    /// Names its budget, and begins the name of its demand group, so that people recognise it. Requests that
    /// agree in everything the allocator looks at, this included, form one demand group.
    pub group: String,
    /// The name was never used before, so no absent agent can hold a task of that name (K2).
    pub is_name_fresh: bool,
    /// When it is lost before it ran, report that instead of asking again.
    pub reports_loss: bool,
}

impl TaskRequest {
    /// A request for `resources`, paid by `role`.
    #[must_use]
    pub fn new(name: TaskName, template: Template, role: RoleName, resources: Resources) -> Self {
        Self {
            name,
            template,
            role,
            resources,
            ports: Vec::new(),
            variables: BTreeMap::new(),
            labels: BTreeMap::new(),
            constraints: Vec::new(),
            priority: 0,
            priority_waiting: None,
            min_available: None,
            per_agent_max: None,
            spread: false,
            deadline: None,
            revocable: RevocableUse::Refuse,
            group: "tasks".to_owned(),
            is_name_fresh: false,
            reports_loss: false,
        }
    }

    /// Any free port; its number becomes `${port.NAME}`.
    #[must_use]
    pub fn port(mut self, name: impl Into<String>) -> Self {
        self.ports.push(Port { name: name.into(), fixed: None });
        self
    }

    /// Just this port.
    #[must_use]
    pub fn fixed_port(mut self, name: impl Into<String>, number: u16) -> Self {
        self.ports.push(Port { name: name.into(), fixed: Some(number) });
        self
    }

    /// A value for a placeholder of the template.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// A label of this task alone.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// One more rule for the agent.
    #[must_use]
    pub fn constraint(mut self, constraint: Constraint) -> Self {
        self.constraints.push(constraint);
        self
    }

    /// Served before lower ones of the same role; tasks of lower priority of the same top role end for it.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// Its priority while it waits, when it differs from that of its task.
    #[must_use]
    pub fn priority_waiting(mut self, priority: i32) -> Self {
        self.priority_waiting = Some(priority);
        self
    }

    /// Its task is ended for others only as long as so many of its group are available without it.
    #[must_use]
    pub fn min_available(mut self, count: u32) -> Self {
        self.min_available = Some(count);
        self
    }

    /// Its task may use what may be taken back at any time, or nothing else.
    #[must_use]
    pub fn revocable(mut self, revocable: RevocableUse) -> Self {
        self.revocable = revocable;
        self
    }

    /// Most tasks of its demand group on one agent.
    #[must_use]
    pub fn per_agent_max(mut self, count: u32) -> Self {
        self.per_agent_max = Some(count);
        self
    }

    /// Prefer agents with the fewest tasks of its demand group.
    #[must_use]
    pub fn spread(mut self) -> Self {
        self.spread = true;
        self
    }

    /// Gives it up when it has no place after so long; told as
    /// [`LaunchFailed`](crate::FrameworkEvent::LaunchFailed) with the code `expired`.
    #[must_use]
    pub fn deadline(mut self, deadline: DurationMs) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Begins the name of its demand group.
    #[must_use]
    pub fn group(mut self, prefix: impl Into<String>) -> Self {
        self.group = prefix.into();
        self
    }

    /// Says that the name was never used before: no need to wait for absent agents (K2).
    #[must_use]
    pub fn fresh_name(mut self) -> Self {
        self.is_name_fresh = true;
        self
    }

    /// Report a loss before it ran instead of asking again.
    #[must_use]
    pub fn report_loss(mut self) -> Self {
        self.reports_loss = true;
        self
    }

    /// Checks what can be checked without the master.
    ///
    /// # Errors
    /// A refusal that names the field.
    pub fn validate(&self) -> Result<(), Refusal> {
        let refuse = |code, field: String, message: &str| Err(Refusal::new(code, field, message));
        let dynamic = self.ports.iter().filter(|port| port.fixed.is_none()).count();
        if dynamic > 0 && dynamic < self.ports.len() {
            return Err(Refusal::new(
                RefusalCode::NotSupported,
                "ports",
                "fixed and dynamic ports cannot be mixed in one task today",
            )
            .hint("make them all fixed or all dynamic"));
        }
        if self.resources.entries().iter().any(|entry| entry.key.name == ResourceName::Ports) {
            return Err(Refusal::new(
                RefusalCode::InvalidArgument,
                "resources",
                "holds ports; they are asked for by name",
            )
            .hint("use port(NAME) or fixed_port(NAME, NUMBER)"));
        }
        for (index, port) in self.ports.iter().enumerate() {
            let earlier = &self.ports[..index];
            if port.name.is_empty() || earlier.iter().any(|other| other.name == port.name) {
                return refuse(
                    RefusalCode::InvalidArgument,
                    format!("ports[{index}].name"),
                    "is empty or used twice",
                );
            }
            if port.fixed.is_some() && earlier.iter().any(|other| other.fixed == port.fixed) {
                return refuse(
                    RefusalCode::AlreadyExists,
                    format!("ports[{index}].fixed"),
                    "is asked for twice",
                );
            }
        }
        self.shape().map(|_| ())
    }

    /// What the allocator is asked for: the resources, and ports as a range set. Dynamic ports
    /// count only by number; `[1-n]` stands for any `n`.
    /// What its launch says of those that are to stay.
    pub(crate) fn budget(&self) -> Option<Budget> {
        let name = GroupName::new(&self.group).ok()?;
        Some(Budget { name, min_available: self.min_available? })
    }

    pub(crate) fn shape(&self) -> Result<Resources, Refusal> {
        let mut shape = self.resources.clone();
        let numbers = match self.fixed_ports() {
            fixed if !fixed.is_empty() => fixed,
            _ if self.ports.is_empty() => return Ok(shape),
            _ => vec![(1, self.ports.len() as u64)],
        };
        let invalid = |error: proffer_types::resources::ResourceError| {
            Refusal::new(RefusalCode::InvalidArgument, "ports", error.to_string())
        };
        shape.insert(port_resource(Ranges::new(numbers).map_err(invalid)?)).map_err(invalid)?;
        Ok(shape)
    }

    pub(crate) fn fixed_ports(&self) -> Vec<(u64, u64)> {
        self.ports
            .iter()
            .filter_map(|port| port.fixed.map(u64::from))
            .map(|number| (number, number))
            .collect()
    }
}

/// Plain ports as a resource.
pub(crate) fn port_resource(numbers: Ranges) -> Resource {
    Resource { key: ResourceKey::plain(ResourceName::Ports), quantity: Quantity::Ranges(numbers) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proffer_types::Milli;

    pub(crate) fn request(name: &str) -> TaskRequest {
        TaskRequest::new(
            TaskName::new(name).expect("valid"),
            Template::command(["/bin/true"]).expect("valid"),
            RoleName::new("eng").expect("valid"),
            Resources::scalars([(ResourceName::Cpus, Milli(1000).0), (ResourceName::Mem, 1 << 30)]),
        )
    }

    #[test]
    fn dynamic_ports_are_a_count_and_fixed_ports_are_themselves() {
        let dynamic = request("a").port("http").port("admin").shape().expect("valid");
        assert_eq!(dynamic.ports().count(), 2);
        let fixed = request("a").fixed_port("http", 8080).shape().expect("valid");
        assert_eq!(fixed.ports().parts(), &[(8080, 8080)]);
        assert!(request("a").shape().expect("valid").ports().parts().is_empty());
    }

    #[test]
    fn ports_are_named_once_and_not_mixed() {
        let code = |request: TaskRequest| request.validate().expect_err("refused").code;
        assert_eq!(code(request("a").port("x").port("x")), RefusalCode::InvalidArgument);
        assert_eq!(
            code(request("a").fixed_port("x", 1).fixed_port("y", 1)),
            RefusalCode::AlreadyExists
        );
        assert_eq!(code(request("a").port("x").fixed_port("y", 1)), RefusalCode::NotSupported);
        let mut with_ports = request("a");
        with_ports
            .resources
            .insert(port_resource(Ranges::new(vec![(1, 2)]).expect("valid")))
            .expect("adds");
        assert_eq!(code(with_ports), RefusalCode::InvalidArgument);
    }
}
