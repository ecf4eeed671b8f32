//! Agents of the world: processes, disks, containers, probes.

use super::*;
use crate::sim::run::with_slack;
use proffer_service_core::instance::InstanceName;

impl World {
    pub(super) fn start_agent(&mut self, node: usize) {
        let it = &mut self.agents[node];
        if it.core.is_some() {
            return;
        }
        it.life += 1;
        it.called_at_ms = None;
        it.flushing = false;
        it.config.info.boot_id = format!("boot-{node}-{}", it.boot);
        it.config.info.resources = with_slack(&it.config.info.resources, it.life);
        let some = it.machine.volumes().keys().next().copied();
        if let Some(volume) = some
            && self.strikes(Planted::EmptiedVolume)
        {
            self.agents[node].machine.lose_volume(volume);
        }
        let it = &mut self.agents[node];
        let (checkpoint, found) = it.machine.crash(0);
        let config = it.config.clone();
        it.unwritten.clear();
        let life = Life { node, life: it.life };
        let now = self.agent_clock(node);
        let (core, effects) = agent::Agent::recover(checkpoint, &found, config, now);
        self.agents[node].core = Some(core);
        self.see(&Seen::Agent { node, command: None, effects: &effects, origin: None });
        self.perform_agent(life, effects);
        self.agent_deadline(life);
    }

    pub(super) fn agent_at(&self, life: Life) -> bool {
        let node = &self.agents[life.node];
        node.life == life.life && node.core.is_some()
    }

    pub(super) fn agent_facts(&mut self, life: Life, facts: Vec<agent::Command>) {
        self.agent_told(life, facts, None);
    }

    /// As above; `origin` is the master that sent the frame among the facts.
    pub(super) fn agent_told(
        &mut self,
        life: Life,
        facts: Vec<agent::Command>,
        origin: Option<(usize, u64)>,
    ) {
        for fact in facts {
            if !self.agent_at(life) {
                return;
            }
            let now = self.agent_clock(life.node);
            let Some(core) = &mut self.agents[life.node].core else { return };
            let effects = core.apply(fact.clone(), now);
            let invariants = core.check_invariants();
            self.hold(&format!("agent {}", life.node), invariants);
            let node = life.node;
            self.see(&Seen::Agent { node, command: Some(&fact), effects: &effects, origin });
            self.perform_agent(life, effects);
        }
        self.agent_deadline(life);
    }

    pub(super) fn agent_due(&mut self, life: Life, at_ms: u64) {
        // One that was overtaken by an earlier one has nothing to say.
        if !self.agent_at(life) || self.agents[life.node].called_at_ms != Some(at_ms) {
            return;
        }
        self.agents[life.node].called_at_ms = None;
        self.agent_facts(life, vec![agent::Command::DeadlineReached]);
    }

    pub(super) fn agent_deadline(&mut self, life: Life) {
        if !self.agent_at(life) {
            return;
        }
        let it = &mut self.agents[life.node];
        let Some(at) = it.core.as_ref().and_then(agent::Agent::next_deadline) else { return };
        // Strictly later than now, so that a deadline that is not met cannot stop time.
        let at_ms = at.0.saturating_sub(it.clock_ahead_ms).max(self.queue.now_ms() + 1);
        if it.called_at_ms.is_none_or(|called| at_ms < called) {
            it.called_at_ms = Some(at_ms);
            self.queue.at(at_ms, Event::AgentDue(life, at_ms));
        }
    }

    pub(super) fn perform_agent(&mut self, life: Life, effects: Vec<agent::Effect>) {
        let node = life.node;
        self.tear_in = self.tears();
        for effect in effects {
            if self.is_torn() {
                return self.kill_agent(node, false);
            }
            match &effect {
                agent::Effect::Connect { connection, master } => {
                    let place = master.parse().unwrap_or(0);
                    let client = self.client_of_agent(node);
                    if client == Client::Farm {
                        self.board(node, life.life, *connection, place);
                    } else {
                        self.dial(client, life.life, *connection, place);
                    }
                }
                agent::Effect::Disconnect { connection } => {
                    self.leave_farm(node, life.life, Some(*connection));
                    self.close_by_client(Client::Agent(node), life.life, *connection);
                }
                agent::Effect::Send { connection, frame } => {
                    self.rider_sends(life, *connection, frame.clone());
                    let bytes = pb::AgentUp::from(frame.clone()).encode_to_vec();
                    self.send_up(Client::Agent(node), life.life, *connection, bytes);
                }
                agent::Effect::Probe { container, check, probe, .. } => {
                    let failed =
                        self.faulty && one_in(&mut self.chance.machine, self.plan.failing_probes);
                    let fact = agent::Command::ProbeResult {
                        container: container.clone(),
                        check: *check,
                        probe: *probe,
                        passed: !failed,
                        detail: String::new(),
                    };
                    let delay = between(&mut self.chance.machine, 1, 100);
                    self.queue.after(delay, Event::Facts(life, vec![fact]));
                }
                agent::Effect::Checkpoint { writes, .. } => {
                    self.agents[node].unwritten.push_back(writes.clone());
                    self.write_down(node, &effect);
                    self.schedule_flush(life);
                }
                agent::Effect::Prepare(_)
                | agent::Effect::Go { .. }
                | agent::Effect::Kill { .. }
                | agent::Effect::Destroy { .. }
                | agent::Effect::Grant { .. }
                | agent::Effect::RemoveSandbox { .. }
                | agent::Effect::MakeVolume { .. }
                | agent::Effect::WipeVolume { .. }
                | agent::Effect::SetCapabilityKey { .. } => self.perform_machine(life, &effect),
            }
        }
    }

    /// Hands writes to the disk.
    fn write_down(&mut self, node: usize, effect: &agent::Effect) {
        let mut effect = effect.clone();
        if let agent::Effect::Checkpoint { writes, .. } = &mut effect {
            let puts = |write: &agent::Write| matches!(write, agent::Write::PutTask(_));
            if writes.iter().any(puts) && self.strikes(Planted::LostCheckpoint) {
                writes.retain(|write| !puts(write));
            }
        }
        if let agent::Effect::Checkpoint { writes, .. } = &mut effect {
            let puts = |write: &agent::Write| matches!(write, agent::Write::PutHold(_));
            if writes.iter().any(puts) && self.strikes(Planted::LostHold) {
                writes.retain(|write| !puts(write));
            }
        }
        self.agents[node].machine.perform(&effect);
    }

    pub(super) fn perform_machine(&mut self, life: Life, effect: &agent::Effect) {
        let node = life.node;
        if let agent::Effect::Prepare(request) = effect {
            let made_for = (request.framework, request.task.clone());
            self.made_for.insert(request.container.clone(), made_for);
        }
        let facts = if let agent::Effect::Destroy { container } = effect
            && self.strikes(Planted::Remains)
        {
            vec![agent::Command::Destroyed { container: container.clone() }]
        } else {
            self.agents[node].machine.perform(effect)
        };
        for fact in &facts {
            if let agent::Command::Started { container, .. } = fact {
                self.counts.launches += 1;
                self.see(&Seen::Started { node, container });
                if self.strikes(Planted::StartedTwice) {
                    self.see(&Seen::Started { node, container });
                }
                self.schedule_end(node, container);
            } else if let agent::Command::Exited { container, .. } = fact {
                self.see(&Seen::Ended { node, container });
            }
        }
        if !facts.is_empty() {
            let delay = between(&mut self.chance.machine, 1, 20) + self.fetches(node, effect);
            self.queue.after(delay, Event::Facts(life, facts));
        }
    }

    /// Now and then what starts with others takes some time to prepare, and now and then too long.
    fn fetches(&mut self, node: usize, effect: &agent::Effect) -> u64 {
        let agent::Effect::Prepare(request) = effect else { return 0 };
        let mut tasks = self.agents[node].core.iter().flat_map(agent::Agent::tasks);
        let waits = tasks.any(|(container, status)| {
            *container == request.container && status.state == proffer_types::TaskState::Staging
        });
        let rng = &mut self.chance.gangs;
        if waits && one_in(rng, 400) { between(rng, 100, 7_000) } else { 0 }
    }

    /// When a program ends by itself: tasks of batches soon, instances of services seldom.
    fn schedule_end(&mut self, node: usize, container: &ContainerId) {
        let made_for = self.made_for.get(container);
        let serves = made_for.is_some_and(|(_, task)| InstanceName::parse(task).is_some());
        let runs = between(&mut self.chance.machine, 100, 20_000);
        let crashes = one_in(&mut self.chance.machine, self.plan.failing_tasks);
        if !serves || (crashes && self.faulty) {
            self.queue.after(runs, Event::ProgramEnds(node, container.clone()));
        }
    }

    pub(super) fn schedule_flush(&mut self, life: Life) {
        let delay = heavy_tail(&mut self.chance.machine, self.plan.checkpoint_ms);
        let it = &mut self.agents[life.node];
        if !it.flushing && it.machine.pending_writes() > 0 {
            it.flushing = true;
            self.queue.after(delay, Event::Flushed(life));
        }
    }

    pub(super) fn flushed(&mut self, life: Life) {
        if !self.agent_at(life) {
            return;
        }
        let it = &mut self.agents[life.node];
        it.flushing = false;
        if self.faulty && one_in(&mut self.chance.faults, self.plan.failing_writes) {
            // A write that fails ends the process: the next one recovers from what is there (K4).
            self.counts.fault("failed_write");
            return self.kill_agent(life.node, false);
        }
        let it = &mut self.agents[life.node];
        let count = self.chance.machine.random_range(1..=it.machine.pending_writes().max(1));
        let written = it.machine.flush(count);
        self.wrote(life.node, count);
        if let Some(written) = written {
            self.agent_facts(life, vec![written]);
        }
        if self.agent_at(life) {
            self.schedule_flush(life);
        }
    }

    /// Tells the checkers what became durable.
    fn wrote(&mut self, node: usize, count: usize) {
        for _ in 0..count {
            let Some(writes) = self.agents[node].unwritten.pop_front() else { return };
            self.see(&Seen::Written { node, writes: &writes });
        }
    }

    pub(super) fn program_ends(&mut self, node: usize, container: &ContainerId) {
        let fails = one_in(&mut self.chance.machine, self.plan.failing_tasks);
        let outcome = if fails { Outcome::Code(1) } else { Outcome::Code(0) };
        self.end_container(node, container, outcome);
    }

    /// A running container ends.
    pub fn end_container(&mut self, node: usize, container: &ContainerId, outcome: Outcome) {
        let exit = ContainerExit {
            outcome,
            cause: StopCause::Itself,
            forced: false,
            out_of_memory: false,
            memory_peak: None,
            ran_for: DurationMs(1),
            stderr_tail: String::new(),
        };
        let facts = self.agents[node].machine.end(container, exit);
        if facts.is_empty() {
            return;
        }
        self.see(&Seen::Ended { node, container });
        let life = Life { node, life: self.agents[node].life };
        if self.agent_at(life) {
            let delay = between(&mut self.chance.machine, 1, 20);
            self.queue.after(delay, Event::Facts(life, facts));
        }
    }

    /// Ends an agent process at once; with `reboot` its whole machine. It starts again by itself.
    pub fn kill_agent(&mut self, node: usize, reboot: bool) {
        if self.agents[node].core.take().is_none() {
            return;
        }
        self.see(&Seen::Died { who: format!("agent {node}") });
        let pending = self.agents[node].machine.pending_writes();
        let durable = self.chance.machine.random_range(0..=pending);
        self.wrote(node, durable);
        let it = &mut self.agents[node];
        if reboot {
            it.boot += 1;
            let running = it.machine.running();
            it.machine.reboot(durable);
            for container in running {
                self.see(&Seen::Ended { node, container: &container });
            }
        } else {
            it.machine.crash(durable);
        }
        let life = self.agents[node].life;
        self.leave_farm(node, life, None);
        self.hang_up(Client::Agent(node), life);
        let down = between(&mut self.chance.faults, 10, DOWN_MS_MAX);
        self.queue.after(down, Event::StartAgent(node));
    }

    /// The connections of a process that died.
    pub(super) fn hang_up(&mut self, client: Client, life: u64) {
        for wire in self.network.matching(|it| it.client == client && it.client_life == life) {
            if let Some(connection) = self.network.connections.get_mut(&wire) {
                connection.client_open = false;
            }
            let notice = between(&mut self.chance.network, 1, 300);
            self.queue.after(notice, Event::Ends(wire, Way::Up, None));
        }
    }
}
