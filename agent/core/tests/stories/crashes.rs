//! Properties under random orders of events, broken connections, crashes at every step and
//! reboots: no task is lost (I1), none runs twice (I2), sequences are never reused (K15), and what
//! is not on a list never runs (K1).

use crate::world::{FRAMEWORK, World, config, container, launch, name, template};
use proffer_agent_core::container::{Outcome, StopCause};
use proffer_agent_core::{Command, model};
use proffer_types::agent::AgentMessage;
use proffer_types::ids::ContainerId;
use proffer_types::task::{TaskState, TaskStatus};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Step {
    Launch,
    LaunchAgain(u8),
    Kill(u8),
    TaskEnds(u8),
    Flush(u8),
    /// Tells one of the waiting facts; those of one container keep their order.
    Fact(u8),
    Acknowledge(u8),
    Disconnect,
    Connect,
    Time(u16),
    Crash(u8),
    Reboot(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Launch),
        1 => any::<u8>().prop_map(Step::LaunchAgain),
        3 => any::<u8>().prop_map(Step::Kill),
        3 => any::<u8>().prop_map(Step::TaskEnds),
        8 => (1u8..4).prop_map(Step::Flush),
        10 => any::<u8>().prop_map(Step::Fact),
        3 => any::<u8>().prop_map(Step::Acknowledge),
        1 => Just(Step::Disconnect),
        5 => Just(Step::Connect),
        2 => (0u16..4000).prop_map(Step::Time),
        2 => (0u8..4).prop_map(Step::Crash),
        1 => (0u8..4).prop_map(Step::Reboot),
    ]
}

/// What an observer of all frames knows and demands.
#[derive(Default)]
struct Observer {
    read: usize,
    /// Every status ever seen by its sequence.
    by_sequence: BTreeMap<u64, TaskStatus>,
    /// Newest status by task.
    newest: BTreeMap<ContainerId, TaskStatus>,
    /// Launches sent in the session that ended with the newest `Register`.
    in_flight: BTreeSet<ContainerId>,
    /// Launches that a complete list did not hold.
    dropped: BTreeSet<ContainerId>,
    /// Ended and acknowledged.
    settled: BTreeSet<ContainerId>,
    listed: BTreeSet<ContainerId>,
}

impl Observer {
    fn read(&mut self, world: &World) {
        for frame in &world.frames[self.read..] {
            for message in &frame.messages {
                match message {
                    AgentMessage::Register { .. } => self.listed.clear(),
                    AgentMessage::Tasks { tasks } => {
                        for task in tasks {
                            self.listed.insert(task.record.status.container());
                            self.see(&task.record.status);
                        }
                    }
                    AgentMessage::RegisterEnd => self.barrier(),
                    AgentMessage::Statuses { statuses } => {
                        statuses.iter().for_each(|status| self.see(status));
                    }
                    AgentMessage::Holds { .. }
                    | AgentMessage::HoldDone { .. }
                    | AgentMessage::Heartbeat
                    | AgentMessage::Leaving => {}
                }
            }
        }
        self.read = world.frames.len();
        for (container, starts) in world.machine.starts() {
            assert_eq!(*starts, 1, "I2: {container} was started {starts} times");
            assert!(!self.dropped.contains(container), "K1: {container} was dropped and started");
        }
    }

    fn see(&mut self, status: &TaskStatus) {
        let sequence = status.id.expect("logged").sequence;
        if let Some(known) = self.by_sequence.insert(sequence, status.clone()) {
            assert_eq!(&known, status, "K15: sequence {sequence} was reused");
        }
        let container = status.container();
        assert!(!self.dropped.contains(&container), "K1: {container} came back");
        if let Some(before) = self.newest.get(&container) {
            let again = before.id.expect("logged").sequence;
            assert!(sequence >= again, "I7: {container} went back from {again} to {sequence}");
            assert!(
                before.state.may_become(status.state),
                "I7: {container} went from {:?} to {:?}",
                before.state,
                status.state
            );
        }
        self.newest.insert(container, status.clone());
    }

    /// The list is complete: what was told before must be on it, and what is not on it is dropped.
    fn barrier(&mut self) {
        for container in self.newest.keys() {
            assert!(
                self.listed.contains(container) || self.settled.contains(container),
                "I1: {container} is neither listed nor acknowledged"
            );
        }
        for container in std::mem::take(&mut self.in_flight) {
            if !self.newest.contains_key(&container) {
                self.dropped.insert(container);
            }
        }
    }

    /// What the framework may acknowledge now: up to which sequence, and which one not.
    fn acknowledged(&mut self, world: &World, back: u64) -> (u64, u64) {
        let through = world.statuses().iter().filter_map(|s| s.id).map(|id| id.sequence).max();
        let through = through.unwrap_or(0);
        let except = through.saturating_sub(back % 8);
        for (container, status) in &self.newest {
            let sequence = status.id.expect("logged").sequence;
            if status.state.is_terminal() && sequence <= through && sequence != except {
                self.settled.insert(container.clone());
            }
        }
        (through, except)
    }
}

struct Run {
    world: World,
    observer: Observer,
    launched: u64,
    boots: u32,
}

impl Run {
    fn new() -> Self {
        let mut world = World::new(config("cpus:6;mem:1GiB"));
        world.settle();
        Self { world, observer: Observer::default(), launched: 0, boots: 1 }
    }

    fn registered(&self) -> bool {
        self.world.agent.is_registered()
    }

    fn step(&mut self, step: &Step) {
        let world = &mut self.world;
        match step {
            Step::Launch if world.agent.is_registered() => {
                self.launched += 1;
                world.learn(&template());
                self.observer.in_flight.insert(container(self.launched));
                world.launch(launch(self.launched));
            }
            Step::LaunchAgain(which) if world.agent.is_registered() && self.launched > 0 => {
                world.learn(&template());
                // Only what this session brought may come twice.
                let number = 1 + u64::from(*which) % self.launched;
                if self.observer.in_flight.contains(&container(number)) {
                    world.launch(launch(number));
                }
            }
            Step::Kill(which) if world.agent.is_registered() => {
                world.kill(1 + u64::from(*which) % (self.launched + 1), which % 2 == 0);
            }
            Step::TaskEnds(which) => {
                let running = world.machine.running();
                if !running.is_empty() {
                    let one = &running[usize::from(*which) % running.len()];
                    let code = i32::from(which % 2);
                    let exit = model::exit(Outcome::Code(code), StopCause::Itself);
                    world.facts.extend(world.machine.end(one, exit));
                }
            }
            Step::Flush(count) => {
                if let Some(written) = world.machine.flush(usize::from(*count)) {
                    world.apply(written);
                }
            }
            Step::Fact(which) => self.tell(*which),
            Step::Acknowledge(back) if world.agent.is_registered() => {
                let (through, except) = self.observer.acknowledged(world, u64::from(*back));
                if world.machine.checkpoint().identity.is_some() {
                    world.acknowledge(through, &[except]);
                }
            }
            Step::Disconnect if world.connection.is_some() => world.disconnect(),
            Step::Connect => self.connect(),
            Step::Time(ms) => world.pass(u64::from(*ms)),
            Step::Crash(durable) => world.restart(usize::from(*durable)),
            Step::Reboot(durable) => {
                let (checkpoint, found) = world.machine.reboot(usize::from(*durable));
                self.boots += 1;
                world.config.info.boot_id = format!("boot-{}", self.boots);
                world.recover(checkpoint, &found);
            }
            Step::Launch
            | Step::LaunchAgain(_)
            | Step::Kill(_)
            | Step::Acknowledge(_)
            | Step::Disconnect => {}
        }
        self.observer.read(&self.world);
    }

    fn tell(&mut self, which: u8) {
        let facts = &mut self.world.facts;
        if facts.is_empty() {
            return;
        }
        let of = |fact: &Command| match fact {
            Command::Prepared { container }
            | Command::Started { container, .. }
            | Command::Exited { container, .. }
            | Command::Destroyed { container } => container.clone(),
            Command::Connected { .. }
            | Command::Disconnected { .. }
            | Command::Frame { .. }
            | Command::Written { .. }
            | Command::PrepareFailed { .. }
            | Command::VolumeMade { .. }
            | Command::VolumeWiped { .. }
            | Command::ProbeResult { .. }
            | Command::DeadlineReached
            | Command::Leave
            | Command::EndTasks { .. } => panic!("the machine does not say {fact:?}"),
        };
        let chosen = of(&facts[usize::from(which) % facts.len()]);
        let first = facts.iter().position(|fact| of(fact) == chosen).expect("it is there");
        let fact = facts.remove(first);
        self.world.apply(fact);
    }

    fn connect(&mut self) {
        let world = &mut self.world;
        if world.agent.is_registered() {
            return;
        }
        if world.connection.is_none() {
            world.wait_for_deadline();
        }
        let Some(connection) = world.connection else { return };
        let before = world.frames.len();
        world.apply(Command::Connected { connection });
        if let Some(written) = world.machine.flush(usize::MAX) {
            world.apply(written);
        }
        if world.frames.len() > before {
            self.observer.read(&self.world);
            self.world.admit();
        }
    }

    /// Faults end: everything must come to rest, be told, and leave nothing.
    fn heal(&mut self) {
        while !self.registered() {
            self.world.settle();
            self.step(&Step::Connect);
        }
        self.world.settle();
        self.observer.read(&self.world);
        for number in 1..=self.launched {
            self.world.kill(number, false);
            self.world.settle();
        }
        self.observer.read(&self.world);
        // What was told only on a list is acknowledged by its own sequence.
        let highest = self.observer.by_sequence.keys().max().copied().unwrap_or(0);
        self.world.acknowledge(highest, &[]);
        self.world.settle();
        for number in 1..=self.launched {
            let known = self.observer.newest.get(&container(number));
            let dropped = self.observer.dropped.contains(&container(number));
            let ended = known.is_some_and(|status| status.state.is_terminal());
            assert!(ended || dropped, "I1: {} is {known:?}", name(number));
            let started = self.world.machine.starts().contains_key(&container(number));
            let finished = known.is_some_and(|status| status.state == TaskState::Finished);
            assert!(started || !finished, "{} finished and never ran", name(number));
        }
        assert_eq!(self.world.machine.container_count(), 0, "I12: nothing is left");
        assert!(self.world.machine.checkpoint().tasks.is_empty(), "all was acknowledged");
        assert!(self.world.agent.is_idle());
        assert_eq!(
            self.world.machine.checkpoint().logs.keys().next(),
            (highest > 0).then_some(&FRAMEWORK)
        );
        assert_eq!(self.world.agent.counters().orders_without_grant, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_task_is_lost_or_runs_twice_whatever_crashes_when(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step);
        }
        run.heal();
    }
}
