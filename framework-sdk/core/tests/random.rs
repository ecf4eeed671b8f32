//! The driver under a hostile network: delays, cuts on either side, repeated statuses, offers taken
//! back, lost agents, failovers of the master, ends of its own process. A framework that runs each
//! name once must, when the faults end, have run each of them once (I1, I2, I7, K1, K2).
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about")]

mod keeper;

use keeper::{Keeper, Order};
use proffer_sdk_core::driver::Driver;
use proffer_sdk_core::testing::{FakeMaster, HEARTBEAT};
use proffer_sdk_core::{Command, Config, Output};
use proffer_types::scheduler::{SchedulerDown, SchedulerUp};
use proffer_types::{AgentId, Monotonic, Now, ReplicaId, TaskName, TaskState, WallTime};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const SEEDS: u64 = 2_000;
const STEPS: u32 = 500;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// One stream: frames on the way, and who still believes in it.
#[derive(Default)]
struct Stream {
    up: VecDeque<SchedulerUp>,
    down: VecDeque<SchedulerDown>,
    is_open_here: bool,
    is_open_there: bool,
}

#[derive(Default, Debug)]
struct Tally {
    frames: u64,
    cuts: u64,
    failovers: u64,
    restarts: u64,
    lost_agents: u64,
    gone_agents: u64,
    launches: u64,
    retried: u64,
    unknown: u64,
    repeated: u64,
}

struct World {
    dice: Dice,
    now: u64,
    driver: Driver<Keeper>,
    master: FakeMaster,
    streams: BTreeMap<u64, Stream>,
    base: u64,
    processes: u64,
    /// Ends that happened, and where; those of a gone agent do not count.
    finished: Vec<(TaskName, AgentId)>,
    tally: Tally,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut master = FakeMaster::new();
        for name in ["one", "two", "three"] {
            let resources = "cpus:3;mem:8GiB".parse().expect("valid");
            master.add_agent(name, resources, BTreeMap::new());
        }
        Self {
            dice: Dice(seed),
            now: 0,
            driver: driver(1),
            master,
            streams: BTreeMap::new(),
            base: 0,
            processes: 1,
            finished: Vec::new(),
            tally: Tally::default(),
        }
    }

    fn now(&self) -> Now {
        Now { monotonic: Monotonic(self.now), wall: WallTime(self.now) }
    }

    fn apply(&mut self, command: Command<Order>) {
        self.driver.apply(command, self.now());
        self.driver.check_invariants().expect("holds after every command");
        self.outputs();
    }

    fn outputs(&mut self) {
        while let Some(output) = self.driver.next_output(self.now()) {
            match output {
                Output::Connect { connection, .. } => {
                    let stream =
                        Stream { is_open_here: true, is_open_there: true, ..Stream::default() };
                    self.streams.insert(self.base + connection, stream);
                    self.driver.apply(Command::Connected { connection }, self.now());
                }
                Output::Send { connection, frame } => {
                    if let Some(stream) = self.streams.get_mut(&(self.base + connection)) {
                        stream.up.push_back(frame);
                    }
                }
                Output::Close { connection } => self.close_here(self.base + connection),
                Output::Ended => unreachable!("nobody tears it down"),
            }
        }
    }

    /// This side gives a stream up; what it sent may still arrive.
    fn close_here(&mut self, id: u64) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.is_open_here = false;
            stream.down.clear();
            if self.dice.roll(2) == 0 {
                stream.up.clear();
            }
        }
    }

    fn carry_up(&mut self, id: u64) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        match stream.up.pop_front() {
            Some(frame) if stream.is_open_there => {
                self.tally.frames += 1;
                self.master.frame(id, frame);
            }
            Some(_) => {}
            None if !stream.is_open_here && stream.is_open_there => {
                stream.is_open_there = false;
                self.master.disconnected(id);
            }
            None => {}
        }
        self.collect();
    }

    fn collect(&mut self) {
        for (id, frame) in self.master.take_frames() {
            if let Some(stream) = self.streams.get_mut(&id)
                && stream.is_open_there
            {
                stream.down.push_back(frame);
            }
        }
    }

    fn carry_down(&mut self, id: u64) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if !stream.is_open_here {
            return;
        }
        let is_over = !stream.is_open_there;
        match stream.down.pop_front() {
            Some(frame) => {
                self.tally.frames += 1;
                self.apply(Command::Frame { connection: id - self.base, frame });
            }
            None if is_over => {
                self.close_here(id);
                let why = "ended".to_owned();
                self.apply(Command::Disconnected { connection: id - self.base, why });
            }
            None => {}
        }
    }

    fn pass_time(&mut self, span: u64) {
        self.now += span;
        self.master.set_time(WallTime(self.now));
        self.apply(Command::Tick);
    }

    /// A random stream, most often the newest.
    fn some_stream(&mut self) -> u64 {
        let newest = self.streams.keys().next_back().copied().unwrap_or(0);
        newest.saturating_sub(self.dice.roll(5) / 4)
    }

    fn some_agent(&mut self) -> AgentId {
        AgentId(1 + self.dice.roll(3))
    }

    fn move_some_task(&mut self) {
        let tasks: Vec<_> = self.master.tasks().into_iter().collect();
        if tasks.is_empty() {
            return;
        }
        let index = usize::try_from(self.dice.roll(tasks.len() as u64)).expect("small");
        let (name, (agent, _)) = &tasks[index];
        let next = [
            TaskState::Starting,
            TaskState::Running,
            TaskState::Running,
            TaskState::Finished,
            TaskState::Failed,
            TaskState::Error,
        ];
        let state = next[usize::try_from(self.dice.roll(next.len() as u64)).expect("small")];
        if self.master.move_task(name, state) && state == TaskState::Finished {
            self.finished.push((name.clone(), *agent));
        }
    }

    fn fail_over(&mut self) {
        self.tally.failovers += 1;
        self.master.fail_over();
        for stream in self.streams.values_mut() {
            stream.is_open_there = false;
        }
    }

    fn restart(&mut self) {
        self.tally.restarts += 1;
        self.count();
        let ids: Vec<u64> = self.streams.keys().copied().collect();
        for id in ids {
            self.close_here(id);
        }
        self.processes += 1;
        self.base += 1_000;
        self.driver = driver(self.processes);
    }

    /// What the process at hand counted, and whether its framework saw anything wrong.
    fn count(&mut self) {
        let counters = self.driver.counters();
        self.tally.launches += counters.launches;
        self.tally.retried += counters.launches_retried;
        self.tally.unknown += counters.accepts_unknown;
        self.tally.repeated += counters.statuses_repeated;
        assert_eq!(self.driver.framework().violations, &[] as &[String]);
        assert_eq!(self.driver.framework().given_up(), &[]);
    }

    fn fault(&mut self) {
        match self.dice.roll(40) {
            0 => self.fail_over(),
            1 => self.restart(),
            2..=4 => {
                self.tally.cuts += 1;
                let id = self.some_stream();
                if let Some(stream) = self.streams.get_mut(&id)
                    && stream.is_open_there
                {
                    stream.is_open_there = false;
                    self.master.disconnected(id);
                }
            }
            5..=7 => {
                let id = self.some_stream();
                if self.streams.get(&id).is_some_and(|stream| stream.is_open_here) && id > self.base
                {
                    self.tally.cuts += 1;
                    self.close_here(id);
                    let why = "cut".to_owned();
                    self.apply(Command::Disconnected { connection: id - self.base, why });
                }
            }
            8..=10 => {
                self.tally.lost_agents += 1;
                let agent = self.some_agent();
                self.master.lose_agent(agent);
            }
            11..=17 => {
                let agent = self.some_agent();
                self.master.return_agent(agent);
            }
            18..=19 => {
                let agent = self.some_agent();
                self.master.deliver_late_launches(agent);
            }
            20 if self.dice.roll(8) == 0 => {
                self.tally.gone_agents += 1;
                self.master.mark_gone(AgentId(3));
                self.finished.retain(|(_, agent)| *agent != AgentId(3));
            }
            21..=23 => {
                let agent = self.some_agent();
                self.master.drop_launches(agent);
            }
            24..=27 => self.master.rescind_offers(),
            _ => self.master.repeat_statuses(),
        }
    }

    fn step(&mut self) {
        match self.dice.roll(20) {
            0..=4 => {
                let id = self.some_stream();
                self.carry_up(id);
            }
            5..=9 => {
                let id = self.some_stream();
                self.carry_down(id);
            }
            10..=11 => self.master.make_offers(),
            12..=13 => self.master.deliver_launches(),
            14..=15 => self.move_some_task(),
            16..=17 => {
                let span = 1 + self.dice.roll(HEARTBEAT.0 / 2);
                self.pass_time(span);
                self.master.beat();
            }
            _ => self.fault(),
        }
        self.collect();
        assert_eq!(self.master.violations(), &[] as &[String]);
    }

    /// No more faults: agents return, frames arrive, tasks run to their end.
    fn heal(&mut self) {
        for _ in 0..2_000 {
            for agent in self.master.agents() {
                self.master.return_agent(agent);
            }
            for id in self.streams.keys().copied().collect::<Vec<_>>() {
                for _ in 0..8 {
                    self.carry_up(id);
                    self.carry_down(id);
                }
            }
            self.master.make_offers();
            self.master.deliver_launches();
            for (name, (agent, state)) in self.master.tasks() {
                let next = match state {
                    TaskState::Taken | TaskState::Starting => TaskState::Running,
                    _ => TaskState::Finished,
                };
                if self.master.move_task(&name, next) && next == TaskState::Finished {
                    self.finished.push((name, agent));
                }
            }
            self.pass_time(HEARTBEAT.0 / 2);
            self.master.beat();
            self.collect();
            assert_eq!(self.master.violations(), &[] as &[String]);
            let is_done = |name: &str| self.master.state(&format!("done/{name}")).is_some();
            if NAMES.iter().all(|name| is_done(name)) && self.master.tasks().is_empty() {
                return;
            }
        }
        panic!(
            "did not heal: {:?}, {:?}, {:?}",
            self.master.tasks(),
            self.driver.status(),
            self.driver
                .context()
                .tasks()
                .iter()
                .map(|task| (task.is_certain, &task.record.status))
                .collect::<Vec<_>>()
        );
    }
}

fn driver(process: u64) -> Driver<Keeper> {
    let replica = ReplicaId::new(&format!("replica-{process}")).expect("valid");
    Driver::new(Keeper::new(&NAMES), Config::new(replica, process))
}

fn run(seed: u64) -> Tally {
    let mut world = World::new(seed);
    world.pass_time(1);
    for _ in 0..STEPS {
        world.step();
    }
    world.heal();
    world.count();
    // I1 and I7: each ran to its end, and no end was forgotten, or it would have run once more.
    let mut names: Vec<&str> = world.finished.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), distinct.len(), "ran to its end twice: {names:?}");
    assert!(distinct.len() <= NAMES.len());
    world.tally
}

#[test]
fn each_name_runs_once_whatever_happens_on_the_way() {
    let mut total = Tally::default();
    for seed in 0..SEEDS {
        let outcome = std::panic::catch_unwind(|| run(seed));
        let Ok(tally) = outcome else { panic!("seed {seed} failed; see above") };
        total.frames += tally.frames;
        total.cuts += tally.cuts;
        total.failovers += tally.failovers;
        total.restarts += tally.restarts;
        total.lost_agents += tally.lost_agents;
        total.gone_agents += tally.gone_agents;
        total.launches += tally.launches;
        total.retried += tally.retried;
        total.unknown += tally.unknown;
        total.repeated += tally.repeated;
    }
    println!("{SEEDS} seeds: {total:?}");
    // An idle run proves nothing.
    assert!(total.launches > SEEDS * NAMES.len() as u64, "{total:?}");
    for count in [
        total.cuts,
        total.failovers,
        total.restarts,
        total.lost_agents,
        total.gone_agents,
        total.retried,
        total.unknown,
        total.repeated,
    ] {
        assert!(count > 0, "a fault that never happened: {total:?}");
    }
}
