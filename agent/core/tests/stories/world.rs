//! Owns the world around an agent core in tests: a machine in memory, a master made of hand-written
//! orders, a clock that jumps.

use proffer_agent_core::config::Limits;
use proffer_agent_core::model::Machine;
use proffer_agent_core::{Agent, Checkpoint, Command, Config, Effect, Found};
use proffer_types::agent::{
    AgentDown, AgentInfo, AgentLaunch, AgentMessage, AgentOrder, AgentUp, KillCause,
};
use proffer_types::ids::{
    AgentId, AgentName, AgentSession, ContainerId, FrameworkEpoch, FrameworkId, LaunchToken,
    MasterEpoch, RoleName, TaskName,
};
use proffer_types::task::{IsolationLevel, StatusReason, TaskState, TaskStatus};
use proffer_types::template::{
    ContainerTemplate, KillPolicy, OnDisconnect, PodTemplate, TaskLaunch,
};
use proffer_types::units::{DurationMs, Monotonic, Now, WallTime};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const FRAMEWORK: FrameworkId = FrameworkId(1);
pub(crate) const AGENT: AgentId = AgentId(7);
pub(crate) const EPOCH: MasterEpoch = MasterEpoch(3);
pub(crate) const HEARTBEAT: DurationMs = DurationMs(3000);
pub(crate) const GRANT: DurationMs = DurationMs(9000);

pub(crate) fn config(resources: &str) -> Config {
    let info = AgentInfo {
        name: AgentName::new("one").expect("valid"),
        hostname: "one".to_owned(),
        address: "127.0.0.1".to_owned(),
        api_url: "http://127.0.0.1:1".to_owned(),
        resources: resources.parse().expect("valid"),
        attributes: BTreeMap::new(),
        version: "0.1.0".to_owned(),
        isolation: IsolationLevel::Full,
        boot_id: "boot-1".to_owned(),
        insecure: false,
    };
    let masters = vec!["m1:1".to_owned(), "m2:1".to_owned()];
    Config { info, masters, seed: 1, limits: Limits::default() }
}

pub(crate) fn template() -> PodTemplate {
    PodTemplate {
        containers: vec![ContainerTemplate {
            name: "main".to_owned(),
            command: vec!["/bin/serve".to_owned(), "--port=${port}".to_owned()],
            ..ContainerTemplate::default()
        }],
        kill: KillPolicy { signal: 15, grace: DurationMs(500) },
        on_disconnect: OnDisconnect::Keep,
        labels: BTreeMap::new(),
    }
}

pub(crate) fn launch_of(template: &PodTemplate, number: u64, resources: &str) -> AgentLaunch {
    AgentLaunch {
        framework: FRAMEWORK,
        role: RoleName::new("eng").expect("valid"),
        launch: TaskLaunch {
            name: TaskName::new(&format!("t{number}")).expect("valid"),
            token: LaunchToken { session: FrameworkEpoch(1), sequence: number },
            template: template.digest(),
            resources: resources.parse().expect("valid"),
            variables: BTreeMap::from([("port".to_owned(), "80".to_owned())]),
            labels: BTreeMap::new(),
            group: None,
            priority: 0,
            budget: None,
        },
    }
}

pub(crate) fn launch(number: u64) -> AgentLaunch {
    launch_of(&template(), number, "cpus:1;mem:64MiB")
}

pub(crate) fn container(number: u64) -> ContainerId {
    LaunchToken { session: FrameworkEpoch(1), sequence: number }.container(FRAMEWORK)
}

pub(crate) fn name(number: u64) -> TaskName {
    TaskName::new(&format!("t{number}")).expect("valid")
}

pub(crate) fn at(ms: u64) -> Now {
    Now { monotonic: Monotonic(ms), wall: WallTime(1_700_000_000_000 + ms) }
}

/// An agent with everything around it.
pub(crate) struct World {
    pub(crate) agent: Agent,
    pub(crate) machine: Machine,
    pub(crate) now: u64,
    /// Facts that the machine has produced and nobody has told.
    pub(crate) facts: Vec<Command>,
    /// Set by `Connect`, cleared by `Disconnect`.
    pub(crate) connection: Option<u64>,
    pub(crate) dialled: Vec<String>,
    pub(crate) frames: Vec<AgentUp>,
    pub(crate) probes: Vec<Effect>,
    pub(crate) grants: Vec<Effect>,
    pub(crate) config: Config,
}

impl World {
    pub(crate) fn new(config: Config) -> Self {
        let (agent, effects) =
            Agent::recover(Checkpoint::default(), &Found::default(), config.clone(), at(0));
        let mut world = Self {
            agent,
            machine: Machine::default(),
            now: 0,
            facts: Vec::new(),
            connection: None,
            dialled: Vec::new(),
            frames: Vec::new(),
            probes: Vec::new(),
            grants: Vec::new(),
            config,
        };
        world.perform(&effects);
        world
    }

    /// Registered, with the template sent.
    pub(crate) fn ready(resources: &str) -> Self {
        let mut world = Self::new(config(resources));
        world.register();
        world.learn(&template());
        world
    }

    pub(crate) fn apply(&mut self, command: Command) -> Vec<Effect> {
        let effects = self.agent.apply(command, at(self.now));
        self.agent.check_invariants().expect("invariants hold after every command");
        self.perform(&effects);
        effects
    }

    pub(crate) fn perform(&mut self, effects: &[Effect]) {
        for effect in effects {
            self.facts.extend(self.machine.perform(effect));
            match effect {
                Effect::Connect { connection, master } => {
                    self.connection = Some(*connection);
                    self.dialled.push(master.clone());
                }
                Effect::Disconnect { connection } if self.connection == Some(*connection) => {
                    self.connection = None;
                }
                Effect::Send { frame, .. } => self.frames.push(frame.clone()),
                Effect::Probe { .. } => self.probes.push(effect.clone()),
                Effect::Grant { .. } => self.grants.push(effect.clone()),
                Effect::Disconnect { .. }
                | Effect::Checkpoint { .. }
                | Effect::Prepare(_)
                | Effect::Go { .. }
                | Effect::Kill { .. }
                | Effect::Destroy { .. }
                | Effect::RemoveSandbox { .. }
                | Effect::MakeVolume { .. }
                | Effect::WipeVolume { .. }
                | Effect::SetCapabilityKey { .. } => {}
            }
        }
    }

    /// Tells facts and completes writes until nothing more happens.
    pub(crate) fn settle(&mut self) {
        loop {
            if let Some(written) = self.machine.flush(1) {
                self.apply(written);
            } else if !self.facts.is_empty() {
                let fact = self.facts.remove(0);
                self.apply(fact);
            } else {
                return;
            }
        }
    }

    pub(crate) fn session(&self) -> AgentSession {
        self.frames.last().expect("something was sent").session
    }

    pub(crate) fn order_at(
        &mut self,
        epoch: MasterEpoch,
        session: AgentSession,
        order: AgentOrder,
    ) {
        let Some(connection) = self.connection else { return };
        let frame = AgentDown { agent: AGENT, session, master_epoch: epoch, orders: vec![order] };
        self.apply(Command::Frame { connection, frame });
    }

    pub(crate) fn order(&mut self, order: AgentOrder) {
        self.order_at(EPOCH, self.session(), order);
    }

    /// Opens the connection that was asked for.
    pub(crate) fn open(&mut self) {
        let connection = self.connection.expect("a connection was asked for");
        self.apply(Command::Connected { connection });
    }

    pub(crate) fn admit(&mut self) {
        self.order(AgentOrder::Registered {
            heartbeat: HEARTBEAT,
            grant: GRANT,
            capability_key: vec![1],
        });
    }

    pub(crate) fn register(&mut self) {
        if self.connection.is_none() {
            self.wait_for_deadline();
        }
        self.open();
        self.settle();
        self.admit();
        self.settle();
    }

    pub(crate) fn learn(&mut self, template: &PodTemplate) {
        self.order(AgentOrder::Template { digest: template.digest(), template: template.clone() });
    }

    pub(crate) fn launch(&mut self, launch: AgentLaunch) {
        self.order(AgentOrder::Launch { tasks: vec![launch] });
    }

    pub(crate) fn kill(&mut self, number: u64, by_operator: bool) {
        let task = name(number);
        let cause = if by_operator { KillCause::Operator } else { KillCause::Framework };
        self.order(AgentOrder::Kill { framework: FRAMEWORK, task, policy: None, cause });
    }

    pub(crate) fn acknowledge(&mut self, through: u64, except: &[u64]) {
        let except: BTreeSet<u64> = except.iter().copied().collect();
        let incarnation = self.machine.checkpoint().identity.as_ref().expect("written").log;
        self.order(AgentOrder::Acknowledge { framework: FRAMEWORK, incarnation, through, except });
    }

    pub(crate) fn disconnect(&mut self) {
        let connection = self.connection.take().expect("connected");
        let reason = "cut".to_owned();
        self.apply(Command::Disconnected { connection, reason, leader: None });
    }

    pub(crate) fn wait_for_deadline(&mut self) {
        let due = self.agent.next_deadline().expect("something is due");
        self.now = self.now.max(due.0);
        self.apply(Command::DeadlineReached);
    }

    /// Time passes, and the master answers heartbeats.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(due) = self.agent.next_deadline().filter(|due| due.0 <= end) {
            self.now = self.now.max(due.0);
            let effects = self.apply(Command::DeadlineReached);
            let beat = |effect: &Effect| {
                matches!(effect, Effect::Send { frame, .. }
                    if frame.messages.contains(&AgentMessage::Heartbeat))
            };
            if effects.iter().any(beat) {
                self.order(AgentOrder::Grant { grant: GRANT });
            }
        }
        self.now = end;
    }

    pub(crate) fn restart(&mut self, durable: usize) {
        let (checkpoint, found) = self.machine.crash(durable);
        self.recover(checkpoint, &found);
    }

    pub(crate) fn recover(&mut self, checkpoint: Checkpoint, found: &Found) {
        self.facts.clear();
        self.connection = None;
        let (agent, effects) = Agent::recover(checkpoint, found, self.config.clone(), at(self.now));
        self.agent = agent;
        self.agent.check_invariants().expect("invariants hold after recovery");
        self.perform(&effects);
    }

    /// All statuses sent so far outside lists.
    pub(crate) fn statuses(&self) -> Vec<&TaskStatus> {
        let messages = self.frames.iter().flat_map(|frame| &frame.messages);
        messages
            .filter_map(|message| match message {
                AgentMessage::Statuses { statuses } => Some(statuses),
                AgentMessage::Register { .. }
                | AgentMessage::Tasks { .. }
                | AgentMessage::RegisterEnd
                | AgentMessage::Holds { .. }
                | AgentMessage::HoldDone { .. }
                | AgentMessage::Heartbeat
                | AgentMessage::Leaving => None,
            })
            .flatten()
            .collect()
    }

    pub(crate) fn states(&self, number: u64) -> Vec<(TaskState, StatusReason)> {
        let of_task = self.statuses().into_iter().filter(|status| status.task == name(number));
        of_task.map(|status| (status.state, status.reason)).collect()
    }

    /// The newest status that the master was told, in a list or by itself.
    pub(crate) fn last(&self, number: u64) -> &TaskStatus {
        let messages = self.frames.iter().flat_map(|frame| &frame.messages);
        let told = messages.flat_map(|message| match message {
            AgentMessage::Statuses { statuses } => statuses.iter().collect(),
            AgentMessage::Tasks { tasks } => tasks.iter().map(|task| &task.record.status).collect(),
            AgentMessage::Register { .. }
            | AgentMessage::RegisterEnd
            | AgentMessage::Holds { .. }
            | AgentMessage::HoldDone { .. }
            | AgentMessage::Heartbeat
            | AgentMessage::Leaving => Vec::new(),
        });
        let told: Vec<&TaskStatus> = told.collect();
        told.into_iter().rfind(|status| status.task == name(number)).expect("was reported")
    }

    /// Tasks of the newest registration, with their state and whether they are acknowledged.
    pub(crate) fn list(&self) -> Vec<(TaskName, TaskState, bool)> {
        list_of(&self.frames)
    }
}

/// Tasks of the last registration among these frames.
pub(crate) fn list_of(frames: &[AgentUp]) -> Vec<(TaskName, TaskState, bool)> {
    let mut list = Vec::new();
    for message in frames.iter().flat_map(|frame| &frame.messages) {
        match message {
            AgentMessage::Register { .. } => list.clear(),
            AgentMessage::Tasks { tasks } => list.extend(tasks.iter().map(|task| {
                let status = &task.record.status;
                (status.task.clone(), status.state, task.acknowledged)
            })),
            AgentMessage::RegisterEnd
            | AgentMessage::Holds { .. }
            | AgentMessage::HoldDone { .. }
            | AgentMessage::Statuses { .. }
            | AgentMessage::Heartbeat
            | AgentMessage::Leaving => {}
        }
    }
    list
}
