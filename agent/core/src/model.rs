//! Containers and disk in memory, with the promises of the real ones and nothing more: for tests
//! and the simulator. Counts how often each container was started, which must never exceed one.

use crate::checkpoint::{Checkpoint, Write};
use crate::command::{Command, WriteId};
use crate::container::{ContainerExit, Outcome, StopCause};
use crate::effect::Effect;
use crate::recovery::{Found, FoundState};
use proffer_types::ids::{ContainerId, VolumeId};
use proffer_types::template::KillPolicy;
use proffer_types::units::DurationMs;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A container of the model.
#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    Prepared,
    Running,
    Ended(ContainerExit),
}

/// An agent's machine: survives the agent.
#[derive(Clone, Default, Debug)]
pub struct Machine {
    checkpoint: Checkpoint,
    pending: VecDeque<(WriteId, Vec<Write>)>,
    containers: BTreeMap<ContainerId, State>,
    sandboxes: BTreeSet<ContainerId>,
    starts: BTreeMap<ContainerId, u32>,
    volumes: BTreeMap<VolumeId, u64>,
    volumes_made: u64,
}

/// The exit of a program that ended by itself.
#[must_use]
pub fn exit(outcome: Outcome, cause: StopCause) -> ContainerExit {
    ContainerExit {
        outcome,
        cause,
        forced: false,
        out_of_memory: false,
        memory_peak: None,
        ran_for: DurationMs(0),
        stderr_tail: String::new(),
    }
}

impl Machine {
    /// Performs an effect on disk or containers; returns the facts that follow at once. Effects on
    /// the network and probes are the caller's and give nothing here.
    pub fn perform(&mut self, effect: &Effect) -> Vec<Command> {
        match effect {
            Effect::Checkpoint { op, writes } => {
                self.pending.push_back((*op, writes.clone()));
                Vec::new()
            }
            Effect::Prepare(request) => {
                let container = request.container.clone();
                assert!(!self.containers.contains_key(&container), "{container} exists already");
                self.sandboxes.insert(container.clone());
                self.containers.insert(container.clone(), State::Prepared);
                vec![Command::Prepared { container }]
            }
            Effect::Go { container } => self.go(container),
            Effect::Kill { container, policy } => self.kill(container, *policy),
            Effect::Destroy { container } => {
                self.containers.remove(container);
                vec![Command::Destroyed { container: container.clone() }]
            }
            Effect::RemoveSandbox { container } => {
                self.sandboxes.remove(container);
                Vec::new()
            }
            Effect::MakeVolume { volume } => {
                self.make_volume(*volume);
                vec![Command::VolumeMade { volume: *volume, failure: None }]
            }
            Effect::WipeVolume { volume } => {
                self.volumes.remove(volume);
                vec![Command::VolumeWiped { volume: *volume }]
            }
            Effect::Connect { .. }
            | Effect::Disconnect { .. }
            | Effect::Send { .. }
            | Effect::Grant { .. }
            | Effect::Probe { .. }
            | Effect::SetCapabilityKey { .. } => Vec::new(),
        }
    }

    /// One that is there stays as it is.
    fn make_volume(&mut self, volume: VolumeId) {
        self.volumes_made += 1;
        self.volumes.entry(volume).or_insert(self.volumes_made);
    }

    /// What is in each volume: a number that is another one for each time that a volume was made.
    #[must_use]
    pub fn volumes(&self) -> &BTreeMap<VolumeId, u64> {
        &self.volumes
    }

    /// The disk loses a volume.
    pub fn lose_volume(&mut self, volume: VolumeId) {
        self.volumes.remove(&volume);
    }

    fn go(&mut self, container: &ContainerId) -> Vec<Command> {
        match self.containers.get_mut(container) {
            Some(state @ State::Prepared) => {
                *state = State::Running;
                let starts = self.starts.entry(container.clone()).or_default();
                *starts += 1;
                vec![Command::Started { container: container.clone(), pid: 1 }]
            }
            Some(State::Running | State::Ended(_)) | None => Vec::new(),
        }
    }

    fn kill(&mut self, container: &ContainerId, policy: KillPolicy) -> Vec<Command> {
        match self.containers.get(container) {
            Some(State::Prepared) => {
                self.end(container, exit(Outcome::NeverStarted, StopCause::KillRequested))
            }
            Some(State::Running) => {
                self.end(container, exit(Outcome::Signal(policy.signal), StopCause::KillRequested))
            }
            Some(State::Ended(_)) | None => Vec::new(),
        }
    }

    /// Ends a running container; nothing when it does not run.
    pub fn end(&mut self, container: &ContainerId, exit: ContainerExit) -> Vec<Command> {
        match self.containers.get_mut(container) {
            Some(state @ (State::Prepared | State::Running)) => {
                *state = State::Ended(exit.clone());
                vec![Command::Exited { container: container.clone(), exit }]
            }
            Some(State::Ended(_)) | None => Vec::new(),
        }
    }

    /// Makes the oldest `count` writes durable.
    pub fn flush(&mut self, count: usize) -> Option<Command> {
        let mut through = None;
        for _ in 0..count {
            let Some((op, writes)) = self.pending.pop_front() else { break };
            for write in &writes {
                self.checkpoint.apply(write);
            }
            through = Some(op);
        }
        through.map(|through| Command::Written { through })
    }

    /// Writes under way.
    #[must_use]
    pub fn pending_writes(&self) -> usize {
        self.pending.len()
    }

    /// What is durable.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Containers that run.
    #[must_use]
    pub fn running(&self) -> Vec<ContainerId> {
        let running = self.containers.iter().filter(|(_, state)| **state == State::Running);
        running.map(|(container, _)| container.clone()).collect()
    }

    /// Containers in any state.
    #[must_use]
    pub fn container_count(&self) -> usize {
        self.containers.len()
    }

    /// Sandboxes on disk.
    #[must_use]
    pub fn sandbox_count(&self) -> usize {
        self.sandboxes.len()
    }

    /// How often each container was started, over all lives of the agent.
    #[must_use]
    pub fn starts(&self) -> &BTreeMap<ContainerId, u32> {
        &self.starts
    }

    /// The agent died: writes under way are lost but for the first `durable` ones, what was only
    /// prepared never starts. Returns what the next life is told.
    pub fn crash(&mut self, durable: usize) -> (Checkpoint, Found) {
        self.flush(durable);
        self.pending.clear();
        for state in self.containers.values_mut() {
            if *state == State::Prepared {
                *state = State::Ended(exit(Outcome::NeverStarted, StopCause::Itself));
            }
        }
        (self.checkpoint.clone(), self.recover())
    }

    /// The machine was restarted: nothing of any container is left.
    pub fn reboot(&mut self, durable: usize) -> (Checkpoint, Found) {
        self.flush(durable);
        self.pending.clear();
        self.containers.clear();
        (self.checkpoint.clone(), self.recover())
    }

    fn recover(&mut self) -> Found {
        let expected: BTreeSet<ContainerId> =
            self.checkpoint.expected_containers().into_iter().collect();
        self.containers.retain(|container, _| expected.contains(container));
        let state_of = |container: &ContainerId| match self.containers.get(container) {
            Some(State::Running) => FoundState::Running { pid: 1 },
            Some(State::Ended(exit)) => FoundState::Exited(exit.clone()),
            Some(State::Prepared) | None => FoundState::Absent,
        };
        let containers =
            expected.iter().map(|container| (container.clone(), state_of(container))).collect();
        Found {
            containers,
            sandboxes: self.sandboxes.iter().cloned().collect(),
            volumes: self.volumes.keys().copied().collect(),
        }
    }
}
