//! A cluster in memory for unit tests of frameworks: no threads, no time that passes by itself.
//!
//! [`Bench`] puts a framework, its driver and a [`FakeMaster`] together. A test adds agents, lets
//! everything settle, moves tasks and the clock, cuts the connection, and looks at what was done.

mod fake_agent;
mod fake_master;

pub use fake_master::{FakeMaster, HEARTBEAT, OFFER_TTL};

use crate::context::Context;
use crate::counters::Counters;
use crate::driver::{Command, Config, Driver, Output, Status};
use crate::framework::Framework;
use proffer_types::attributes::parse_attributes;
use proffer_types::scheduler::Call;
use proffer_types::{
    AgentId, Attributes, DurationMs, Monotonic, Now, ReplicaId, TaskName, TaskState, WallTime,
};

/// More rounds than any exchange needs; a framework that asks without end fails its test here.
const ROUNDS_MAX: usize = 10_000;

/// A framework on a cluster in memory. Frames arrive at once and in order; what a test does not
/// move stands still.
#[derive(Clone, Debug)]
pub struct Bench<F: Framework> {
    driver: Driver<F>,
    master: FakeMaster,
    now: Monotonic,
    /// The stream that is open.
    stream: Option<u64>,
    /// Streams of different drivers have different numbers.
    stream_base: u64,
    is_cut: bool,
    replicas: u64,
}

impl<F: Framework> Bench<F> {
    /// A bench without agents, on which `framework` has not started.
    #[must_use]
    pub fn new(framework: F) -> Self {
        Self {
            driver: Driver::new(framework, config(1)),
            master: FakeMaster::new(),
            now: Monotonic(0),
            stream: None,
            stream_base: 0,
            is_cut: false,
            replicas: 1,
        }
    }

    /// Adds an agent with resources such as `cpus:4;mem:8GiB;ports:[31000-31099]`.
    ///
    /// # Panics
    /// When the text is not resources, or the name is not one.
    pub fn agent(&mut self, name: &str, resources: &str) -> AgentId {
        self.agent_with(name, resources, "")
    }

    /// The same with attributes such as `zone:a;rack:r1`.
    ///
    /// # Panics
    /// When a text does not read.
    pub fn agent_with(&mut self, name: &str, resources: &str, attributes: &str) -> AgentId {
        let resources = resources.parse().expect("a test writes resources well");
        let attributes: Attributes =
            parse_attributes(attributes).expect("a test writes attributes well");
        self.master.add_agent(name, resources, attributes)
    }

    /// Lets everything happen that needs no time: connect, offers, launches, statuses, state.
    ///
    /// # Panics
    /// When it does not come to rest, or a statement about the framework's side does not hold.
    pub fn settle(&mut self) {
        self.master.set_time(self.now().wall);
        self.driver.apply(Command::Tick, self.now());
        for _ in 0..ROUNDS_MAX {
            self.driver.check_invariants().expect("holds after every round");
            let moved = self.carry_out();
            self.master.deliver_launches();
            self.master.make_offers();
            let frames = self.master.take_frames();
            if !moved && frames.is_empty() {
                assert_eq!(self.master.violations(), &[] as &[String]);
                return;
            }
            for (stream, frame) in frames {
                let connection = stream - self.stream_base;
                self.driver.apply(Command::Frame { connection, frame }, self.now());
            }
        }
        panic!("the framework and the cluster do not come to rest");
    }

    /// Carries out what the driver wants; whether there was anything.
    fn carry_out(&mut self) -> bool {
        let mut moved = false;
        while let Some(output) = self.driver.next_output(self.now()) {
            moved = true;
            match output {
                Output::Connect { connection, .. } => self.connect(connection),
                Output::Send { connection, frame } => {
                    let stream = self.stream_base + connection;
                    if self.stream == Some(stream) {
                        self.master.frame(stream, frame);
                    }
                }
                Output::Close { .. } => self.drop_stream(),
                Output::Ended => {}
            }
        }
        moved
    }

    fn connect(&mut self, connection: u64) {
        self.drop_stream();
        let command = if self.is_cut {
            Command::Disconnected { connection, why: "nobody answers".to_owned() }
        } else {
            self.stream = Some(self.stream_base + connection);
            Command::Connected { connection }
        };
        self.driver.apply(command, self.now());
    }

    fn drop_stream(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.master.disconnected(stream);
        }
    }

    /// Moves the clock on, stopping wherever somebody has a deadline; both sides send heartbeats.
    pub fn advance(&mut self, span: DurationMs) {
        let end = self.now.after(span);
        while self.now < end {
            self.settle();
            let beat = self.now.after(HEARTBEAT);
            let due = self.driver.next_deadline().unwrap_or(end).max(Monotonic(self.now.0 + 1));
            self.now = due.min(beat).min(end);
            self.master.set_time(self.now().wall);
            self.master.beat();
        }
        self.settle();
    }

    /// The time on the bench.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { monotonic: self.now, wall: WallTime(1_700_000_000_000 + self.now.0) }
    }

    /// Hands an input to the framework, and lets everything settle.
    pub fn input(&mut self, input: F::Input) {
        self.driver.apply(Command::Input(input), self.now());
        self.settle();
    }

    /// Moves a task into a state, as its agent would report it, and lets everything settle.
    ///
    /// # Panics
    /// When there is no such task, or the move is not legal.
    pub fn task_becomes(&mut self, name: &str, state: TaskState) {
        let name = TaskName::new(name).expect("a test names tasks well");
        assert!(
            self.master.move_task(&name, state),
            "{name} cannot become {state:?}: {:?}",
            self.master.tasks().get(&name)
        );
        self.settle();
    }

    /// Moves all tasks that have not run yet to running.
    pub fn run_all(&mut self) {
        for (name, (_, state)) in self.master.tasks() {
            if state == TaskState::Taken {
                self.master.move_task(&name, TaskState::Running);
            }
        }
        self.settle();
    }

    /// Live tasks as their agents know them, with where they are.
    #[must_use]
    pub fn live(&self) -> Vec<(String, AgentId, TaskState)> {
        let tasks = self.master.tasks();
        tasks
            .into_iter()
            .filter(|(_, (_, state))| !state.is_terminal())
            .map(|(name, (agent, state))| (name.to_string(), agent, state))
            .collect()
    }

    /// Cuts the connection; the driver sees it at once and cannot get a new one.
    pub fn cut(&mut self) {
        self.is_cut = true;
        if let Some(stream) = self.stream.take() {
            self.master.disconnected(stream);
            let connection = stream - self.stream_base;
            let why = "cut by the test".to_owned();
            self.driver.apply(Command::Disconnected { connection, why }, self.now());
        }
        self.settle();
    }

    /// Mends the connection; the driver finds out after its back-off.
    pub fn mend(&mut self) {
        self.is_cut = false;
    }

    /// Another master takes over; agents are awaited until [`FakeMaster::return_agent`].
    pub fn fail_over(&mut self) {
        self.master.fail_over();
        if let Some(stream) = self.stream.take() {
            let connection = stream - self.stream_base;
            let why = "the master ended".to_owned();
            self.driver.apply(Command::Disconnected { connection, why }, self.now());
        }
    }

    /// The framework's process ends without a word and another one starts with `framework`;
    /// returns what the old one had in memory.
    pub fn restart(&mut self, framework: F) -> F {
        self.drop_stream();
        self.replicas += 1;
        // The next process numbers its connections from one again; their streams are new.
        self.stream_base += 1_000_000;
        let driver = Driver::new(framework, config(self.replicas));
        std::mem::replace(&mut self.driver, driver).into_framework()
    }

    /// The framework.
    #[must_use]
    pub fn framework(&self) -> &F {
        self.driver.framework()
    }

    /// The framework, to take out what it has for its shell.
    pub fn framework_mut(&mut self) -> &mut F {
        self.driver.framework_mut()
    }

    /// What the framework sees.
    #[must_use]
    pub fn context(&self) -> &Context {
        self.driver.context()
    }

    /// How the driver stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.driver.status()
    }

    /// What the driver counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.driver.counters()
    }

    /// The cluster, for everything else: agents lost and back, offers taken back, the truth.
    pub fn master(&mut self) -> &mut FakeMaster {
        &mut self.master
    }

    /// Everything that was said to the master since the last time.
    pub fn take_calls(&mut self) -> Vec<Call> {
        self.master.take_calls()
    }
}

fn config(replica: u64) -> Config {
    let name = ReplicaId::new(&format!("replica-{replica}")).expect("letters and digits");
    Config::new(name, replica)
}
