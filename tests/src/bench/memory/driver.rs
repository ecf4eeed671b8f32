//! Drives a master's core with as little beside it as will do: writes complete at once, agents run what they
//! are sent, frameworks launch what they are offered. Keeps two numbers a task of its own.

use super::Part;
use anyhow::{Context, Result, bail, ensure};
use proffer_allocator::{Allocator, Delta};
use proffer_master::{TurnChanges, ViewReader, ViewWriter, start_view};
use proffer_master_core::testing::template;
use proffer_master_core::{
    Command, Config, ConnectionId, Effect, Master, Peer, RegistryImage, WriteResult,
};
use proffer_types::agent::{AgentInfo, AgentLaunch, AgentMessage, AgentOrder, AgentUp};
use proffer_types::demand::DemandGroup;
use proffer_types::offer::{Accept, Offer, Operation};
use proffer_types::scheduler::{Call, Event, FrameworkInfo, SchedulerUp};
use proffer_types::task::{IsolationLevel, StatusReason, TaskStatus};
use proffer_types::template::TaskLaunch;
use proffer_types::{
    AgentId, AgentName, AgentSession, DurationMs, FrameworkEpoch, FrameworkId, Generation,
    GroupName, LaunchToken, LogIncarnation, MasterEpoch, Monotonic, Now, OfferConditions,
    PrincipalName, Resources, RoleName, StatusId, TaskName, TaskState, WallTime,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// As the master's loop does.
const TURN_ALLOCATION_STEPS: u32 = 10_000;
const SHAPE: &str = "cpus:0.1;mem:128MiB";
const SHAPE_MILLI_CPUS: usize = 100;
const SHAPE_MIB: usize = 128;
const GROUP: &str = "work";

struct Agent {
    connection: ConnectionId,
    /// Of each framework, the last sequence of its status log.
    sequences: BTreeMap<FrameworkId, u64>,
}

struct Framework {
    connection: ConnectionId,
    name: String,
    id: FrameworkId,
    epoch: FrameworkEpoch,
    offers: Vec<Offer>,
    generation: u64,
    accepts: u64,
    tokens: u64,
    /// Tasks that the last snapshot listed.
    snapshot: usize,
    /// Up to where it has heard each agent's log since it last said so.
    heard: BTreeMap<AgentId, u64>,
}

impl Framework {
    fn hear(&mut self, status: &TaskStatus) {
        if let Some(id) = status.id {
            let through = self.heard.entry(id.agent).or_default();
            *through = id.sequence.max(*through);
        }
    }
}

/// A task that runs.
struct Running {
    agent: AgentId,
    framework: FrameworkId,
    token: LaunchToken,
}

/// What hears of changes.
enum Listener {
    None,
    Explaining(Box<Allocator>),
    View { writer: ViewWriter, reader: ViewReader },
}

/// A master and those around it.
pub(super) struct Driver {
    master: Master,
    now: Now,
    listener: Listener,
    agents: BTreeMap<AgentId, Agent>,
    frameworks: Vec<Framework>,
    /// Launches that agents were sent and have not answered.
    sent: BTreeMap<AgentId, Vec<AgentLaunch>>,
    running: Vec<Running>,
    last_connection: u64,
}

fn legal<T, E: std::fmt::Display>(value: Result<T, E>) -> Result<T> {
    value.map_err(|error| anyhow::anyhow!("{error}"))
}

fn task_name(token: LaunchToken) -> Result<TaskName> {
    legal(TaskName::new(&format!("work-{:07}", token.sequence)))
}

impl Driver {
    pub(super) fn new(part: Part) -> Result<Self> {
        let now = Now { monotonic: Monotonic(1_000_000), wall: WallTime(1_700_000_000_000) };
        let master = legal(Master::recover(Config::default(), RegistryImage::default(), now))?;
        let listener = match part {
            Part::Core => Listener::None,
            Part::Explaining => Listener::Explaining(Box::new(Allocator::new())),
            Part::View => {
                let (writer, reader) = start_view()?;
                Listener::View { writer, reader }
            }
        };
        let mut driver = Self {
            master,
            now,
            listener,
            agents: BTreeMap::new(),
            frameworks: Vec::new(),
            sent: BTreeMap::new(),
            running: Vec::new(),
            last_connection: 0,
        };
        driver.apply(Command::LeadershipGained { lease_until: Monotonic(u64::MAX) })?;
        driver.end_turns()?;
        Ok(driver)
    }

    fn apply(&mut self, command: Command) -> Result<()> {
        let mut queue = VecDeque::from([command]);
        while let Some(command) = queue.pop_front() {
            for effect in self.master.apply(command, self.now) {
                match effect {
                    Effect::Persist { operation, .. } => {
                        let result = WriteResult::Committed;
                        queue.push_back(Command::RegistryWritten { operation, result });
                    }
                    Effect::SendFramework { connection, frame } => {
                        let credits = u32::try_from(frame.events.len())?;
                        queue.push_back(Command::FrameworkDrained { connection, credits });
                        self.framework_hears(connection, frame.epoch, frame.events)?;
                    }
                    Effect::SendAgent { connection, frame } => {
                        self.agents
                            .entry(frame.agent)
                            .or_insert(Agent { connection, sequences: BTreeMap::new() });
                        for order in frame.orders {
                            if let AgentOrder::Launch { tasks } = order {
                                self.sent.entry(frame.agent).or_default().extend(tasks);
                            }
                        }
                    }
                    Effect::Publish { first, changes, deltas } => match &mut self.listener {
                        Listener::None => {}
                        Listener::Explaining(allocator) => tell(allocator, &deltas)?,
                        Listener::View { writer, .. } => {
                            writer.publish(TurnChanges { first, changes, deltas });
                        }
                    },
                    Effect::Reply { .. } => {}
                    effect @ (Effect::ReadState { .. }
                    | Effect::Close { .. }
                    | Effect::Stop { .. }) => bail!("unexpected: {effect:?}"),
                }
            }
        }
        Ok(())
    }

    fn framework_hears(
        &mut self,
        connection: ConnectionId,
        epoch: FrameworkEpoch,
        events: Vec<Event>,
    ) -> Result<()> {
        let mut all = self.frameworks.iter_mut();
        let Some(framework) = all.find(|it| it.connection == connection) else { return Ok(()) };
        for event in events {
            match event {
                Event::Subscribed { framework: id, .. } => {
                    (framework.id, framework.epoch) = (id, epoch);
                }
                Event::Offers { offers } => framework.offers.extend(offers),
                Event::Refused { call, refusal } => bail!("{call}: {refusal}"),
                Event::Accepted { refusal: Some(refusal), .. } => bail!("{refusal}"),
                Event::Status(status) => framework.hear(&status),
                Event::Task(record) => framework.hear(&record.status),
                Event::SnapshotPage { tasks } => {
                    framework.snapshot += tasks.len();
                }
                Event::Standby { .. }
                | Event::SnapshotAbsent { .. }
                | Event::SnapshotEnd { .. }
                | Event::AgentResolved { .. }
                | Event::Rescinded { .. }
                | Event::DemandExpired { .. }
                | Event::InverseOffers { .. }
                | Event::InverseOffersRescinded { .. }
                | Event::Accepted { .. }
                | Event::Hold(_)
                | Event::State { .. }
                | Event::Superseded { .. }
                | Event::TornDown
                | Event::Heartbeat => {}
            }
        }
        Ok(())
    }

    fn connect(&mut self, peer: Peer, principal: &str) -> Result<ConnectionId> {
        self.last_connection += 1;
        let connection = ConnectionId(self.last_connection);
        let principal = legal(PrincipalName::new(principal))?;
        self.apply(Command::ConnectionOpened { connection, peer, principal })?;
        Ok(connection)
    }

    fn end_turn(&mut self) -> Result<()> {
        let budget = TURN_ALLOCATION_STEPS;
        self.apply(Command::EndOfTurn { budget, inbox_lag: DurationMs(0) })
    }

    /// Ends turns until the allocator has nothing more to do.
    fn end_turns(&mut self) -> Result<()> {
        loop {
            self.end_turn()?;
            if self.master.next_deadline().is_none_or(|at| at > self.now.monotonic) {
                return Ok(());
            }
        }
    }

    /// Each has room for `tasks` and a few more.
    pub(super) fn register_agents(&mut self, count: usize, tasks: usize) -> Result<()> {
        let (cpus, mem) = ((tasks + 2) * SHAPE_MILLI_CPUS, (tasks + 2) * SHAPE_MIB);
        let resources = format!("cpus:{}.{:03};mem:{mem}MiB", cpus / 1_000, cpus % 1_000);
        let resources: Resources = legal(resources.parse())?;
        for number in 0..count {
            let connection = self.connect(Peer::Agent, "cert:agents")?;
            let name = format!("agent-{number:05}.rack-{:03}.example", number / 40);
            let info = AgentInfo {
                name: legal(AgentName::new(&name))?,
                hostname: name,
                address: format!("10.{}.{}.1", number / 250, number % 250),
                api_url: String::new(),
                resources: resources.clone(),
                attributes: Default::default(),
                version: "1".to_owned(),
                isolation: IsolationLevel::Full,
                boot_id: "boot".to_owned(),
                insecure: false,
            };
            let messages = vec![
                AgentMessage::Register { info, log: LogIncarnation(1), knows_gangs: true },
                AgentMessage::Holds { holds: Vec::new() },
                AgentMessage::RegisterEnd,
            ];
            let frame = AgentUp {
                agent: None,
                session: AgentSession(1),
                master_epoch: MasterEpoch(0),
                messages,
            };
            self.apply(Command::AgentFrame { connection, frame })?;
            if number % 256 == 255 {
                self.end_turns()?;
            }
        }
        self.end_turns()?;
        ensure!(self.agents.len() == count, "{} of {count} agents registered", self.agents.len());
        Ok(())
    }

    pub(super) fn subscribe_frameworks(&mut self, count: usize) -> Result<()> {
        for number in 0..count {
            let name = format!("framework-{number:03}");
            let connection = self.connect(Peer::Framework, "token:bench")?;
            self.frameworks.push(Framework {
                connection,
                name: name.clone(),
                id: FrameworkId(0),
                epoch: FrameworkEpoch(0),
                offers: Vec::new(),
                generation: 0,
                accepts: 0,
                tokens: 0,
                snapshot: 0,
                heard: BTreeMap::new(),
            });
            let info = FrameworkInfo {
                name: legal(name.parse())?,
                roles: BTreeSet::from([legal(RoleName::new(&name))?]),
                api_url: String::new(),
                failover_timeout: None,
                labels: BTreeMap::new(),
            };
            let replica = legal("r1".parse())?;
            let conditions = OfferConditions::new();
            let subscribe = Call::Subscribe { info, replica, take_over: false, conditions };
            self.call(number, vec![subscribe])?;
            // It states demand from the beginning: it is not offered what it does not want.
            self.end_turns()?;
            let template = template();
            let digest = template.digest();
            let demand = Call::Demand { groups: Vec::new() };
            self.call(number, vec![Call::Template { digest, template }, demand])?;
            self.end_turns()?;
            self.frameworks[number].offers.clear();
        }
        self.end_turns()
    }

    fn call(&mut self, framework: usize, calls: Vec<Call>) -> Result<()> {
        let Framework { connection, epoch, .. } = self.frameworks[framework];
        let frame = SchedulerUp { epoch, calls };
        self.apply(Command::SchedulerFrame { connection, frame })
    }

    /// Every framework asks for `each` tasks, and gets them.
    pub(super) fn run_tasks(&mut self, each: usize) -> Result<()> {
        let target = u32::try_from(each)?;
        let before = self.running.len();
        for number in 0..self.frameworks.len() {
            let framework = &mut self.frameworks[number];
            framework.generation += 1;
            let group = group(&framework.name, framework.generation, target)?;
            self.call(number, vec![Call::Demand { groups: vec![group] }])?;
        }
        let wanted = before + each * self.frameworks.len();
        while self.running.len() < wanted {
            let had = self.running.len();
            // As they come: a thousand unanswered offers of each framework are not what is measured.
            self.end_turn()?;
            self.accept_all()?;
            self.end_turn()?;
            self.agents_answer()?;
            self.acknowledge()?;
            ensure!(self.running.len() > had, "{had} of {wanted} tasks run, and nothing moves");
        }
        self.end_turns()
    }

    fn accept_all(&mut self) -> Result<()> {
        for number in 0..self.frameworks.len() {
            for offer in std::mem::take(&mut self.frameworks[number].offers) {
                let accept = self.frameworks[number].accept(&offer)?;
                self.call(number, vec![Call::Accept(accept)])?;
            }
        }
        Ok(())
    }

    /// What they were sent runs.
    fn agents_answer(&mut self) -> Result<()> {
        for (agent, launches) in std::mem::take(&mut self.sent) {
            let mut statuses = Vec::with_capacity(launches.len());
            for AgentLaunch { framework, launch, .. } in launches {
                let task = Running { agent, framework, token: launch.token };
                statuses.push(self.status(&task, TaskState::Running)?);
                self.running.push(task);
            }
            self.report(agent, statuses)?;
        }
        Ok(())
    }

    fn status(&mut self, task: &Running, state: TaskState) -> Result<TaskStatus> {
        let agent = self.agents.get_mut(&task.agent).context("a registered agent")?;
        let sequence = agent.sequences.entry(task.framework).or_default();
        *sequence += 1;
        Ok(TaskStatus {
            id: Some(StatusId {
                agent: task.agent,
                incarnation: LogIncarnation(1),
                sequence: *sequence,
            }),
            framework: task.framework,
            task: task_name(task.token)?,
            token: task.token,
            agent: task.agent,
            state,
            reason: StatusReason::None,
            message: String::new(),
            exit: None,
            ready: None,
            at: self.now.wall,
            isolation: IsolationLevel::Full,
        })
    }

    fn report(&mut self, agent: AgentId, statuses: Vec<TaskStatus>) -> Result<()> {
        let connection = self.agents[&agent].connection;
        let frame = AgentUp {
            agent: Some(agent),
            session: AgentSession(1),
            master_epoch: self.master.epoch(),
            messages: vec![AgentMessage::Statuses { statuses }],
        };
        self.apply(Command::AgentFrame { connection, frame })
    }

    fn acknowledge(&mut self) -> Result<()> {
        self.end_turn()?;
        for number in 0..self.frameworks.len() {
            let heard = std::mem::take(&mut self.frameworks[number].heard);
            let call = |(agent, through)| Call::Acknowledge {
                agent,
                incarnation: LogIncarnation(1),
                through,
                except: BTreeSet::new(),
            };
            self.call(number, heard.into_iter().map(call).collect())?;
        }
        self.end_turn()
    }

    /// Nothing is wanted any more and everything that runs ends.
    pub(super) fn end_tasks(&mut self) -> Result<()> {
        for number in 0..self.frameworks.len() {
            self.call(number, vec![Call::Demand { groups: Vec::new() }])?;
        }
        let mut by_agent: BTreeMap<AgentId, Vec<TaskStatus>> = BTreeMap::new();
        for (count, task) in std::mem::take(&mut self.running).into_iter().enumerate() {
            let status = self.status(&task, TaskState::Finished)?;
            by_agent.entry(task.agent).or_default().push(status);
            if count % 10_000 == 9_999 {
                self.ends(std::mem::take(&mut by_agent))?;
            }
        }
        self.ends(by_agent)
    }

    fn ends(&mut self, by_agent: BTreeMap<AgentId, Vec<TaskStatus>>) -> Result<()> {
        for (agent, statuses) in by_agent {
            self.report(agent, statuses)?;
        }
        self.acknowledge()
    }

    /// Waits for the view.
    pub(super) fn settle(&mut self) -> Result<()> {
        if let Listener::View { reader, .. } = &self.listener {
            let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
            while reader.lag().0 > 0 {
                ensure!(std::time::Instant::now() < end, "the view does not catch up");
                std::thread::yield_now();
            }
            let rows = reader.load().tasks.len();
            ensure!(rows == self.running.len(), "{rows} rows of {} tasks", self.running.len());
        }
        Ok(())
    }

    /// Somebody reads the whole view slowly, every framework takes a snapshot, and a tenth of the tasks change.
    pub(super) fn snapshots_in_flight(&mut self) -> Result<()> {
        let held = match &self.listener {
            Listener::View { reader, .. } => Some(reader.load()),
            Listener::None | Listener::Explaining(_) => None,
        };
        for number in 0..self.frameworks.len() {
            self.call(number, vec![Call::Snapshot])?;
        }
        let mut by_agent: BTreeMap<AgentId, Vec<TaskStatus>> = BTreeMap::new();
        let tasks = std::mem::take(&mut self.running);
        for task in tasks.iter().step_by(10) {
            let mut status = self.status(task, TaskState::Running)?;
            status.ready = Some(true);
            by_agent.entry(task.agent).or_default().push(status);
        }
        self.running = tasks;
        self.ends(by_agent)?;
        self.settle()?;
        let listed: usize = self.frameworks.iter().map(|framework| framework.snapshot).sum();
        ensure!(listed == self.running.len(), "{listed} of {} tasks listed", self.running.len());
        drop(held);
        Ok(())
    }
}

impl Framework {
    fn accept(&mut self, offer: &Offer) -> Result<Accept> {
        self.accepts += 1;
        let mut tasks = Vec::with_capacity(offer.count as usize);
        for _ in 0..offer.count {
            self.tokens += 1;
            let token = LaunchToken { session: self.epoch, sequence: self.tokens };
            tasks.push(TaskLaunch {
                name: task_name(token)?,
                token,
                template: template().digest(),
                resources: legal(SHAPE.parse())?,
                variables: BTreeMap::new(),
                labels: BTreeMap::new(),
                group: offer.group.clone(),
                priority: 0,
                budget: None,
            });
        }
        Ok(Accept {
            accept: self.accepts,
            offers: vec![(offer.id, offer.agent_version)],
            operations: vec![Operation::Launch { agent: offer.agent, tasks }],
            refuse_for: DurationMs(0),
        })
    }
}

fn tell(allocator: &mut Allocator, deltas: &[Delta]) -> Result<()> {
    for delta in deltas {
        allocator.on_change(delta).map_err(|error| anyhow::anyhow!("{error}"))?;
    }
    Ok(())
}

fn group(role: &str, generation: u64, target: u32) -> Result<DemandGroup> {
    Ok(DemandGroup {
        name: legal(GroupName::new(GROUP))?,
        generation: Generation(generation),
        role: legal(RoleName::new(role))?,
        shape: legal(SHAPE.parse())?,
        fixed_ports: false,
        target,
        constraints: Vec::new(),
        priority: 0,
        per_agent_max: None,
        spread: false,
        gang_size: 1,
        revocable: Default::default(),
        deadline: None,
    })
}
