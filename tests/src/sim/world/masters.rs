//! Masters of the world: lives, turns, and what they decide carried out.

use super::*;

/// Turns of one master in one millisecond; each takes at least one command or decides something.
const TURNS_PER_MS_MAX: u32 = 500;

impl World {
    pub(super) fn master_at(&self, life: Life) -> bool {
        let node = &self.masters[life.node];
        node.life == life.life && !matches!(node.state, State::Down)
    }

    pub(super) fn start_master(&mut self, node: usize) {
        let it = &mut self.masters[node];
        it.life += 1;
        it.state = State::Standby;
        let life = Life { node, life: it.life };
        self.queue.after(1, Event::Campaign(life));
    }

    /// A process that stands still takes an event later (F10).
    pub(super) fn stands_still(&mut self, node: usize, event: Event) -> bool {
        let until = self.masters[node].paused_until_ms;
        if until <= self.queue.now_ms() {
            return false;
        }
        self.queue.at(until, event);
        true
    }

    /// Puts a command into a leader's inbox and lets it turn.
    pub fn push(&mut self, node: usize, command: Option<Command>) {
        let now_ms = self.queue.now_ms();
        if let Some(leading) = self.masters[node].leading_mut() {
            command.into_iter().for_each(|command| leading.hear(now_ms, command));
            self.schedule_turn(node);
        }
    }

    pub(super) fn schedule_turn(&mut self, node: usize) {
        let life = Life { node, life: self.masters[node].life };
        let delay = between(&mut self.chance.turns, 0, 2);
        if let Some(leading) = self.masters[node].leading_mut()
            && !leading.turn_scheduled
        {
            leading.turn_scheduled = true;
            self.queue.after(delay, Event::Turn(life));
        }
    }

    pub(super) fn turn(&mut self, life: Life) {
        if !self.master_at(life) || self.stands_still(life.node, Event::Turn(life)) {
            return;
        }
        let now = self.master_clock(life.node);
        let most = between(&mut self.chance.turns, 1, 64);
        let budget = u32::try_from(between(&mut self.chance.turns, 10, 4_000)).unwrap_or(10);
        let Some(leading) = self.masters[life.node].leading_mut() else { return };
        leading.turn_scheduled = false;
        let mut commands = Vec::new();
        let heard = std::mem::take(&mut leading.heard);
        if !heard.is_empty() {
            commands.push(Command::Heard { connections: heard.into_iter().collect() });
        }
        // The age of the oldest command that is taken, as the real loop measures it (K15).
        let since_ms = leading.inbox.front().map_or(self.queue.now_ms(), |(since, _)| *since);
        let inbox_lag = DurationMs(self.queue.now_ms() - since_ms);
        let taken = leading.inbox.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        commands.extend(leading.inbox.drain(..taken).map(|(_, command)| command));
        self.counts.turns += 1;
        self.counts.inbox_lag_ms_max = self.counts.inbox_lag_ms_max.max(inbox_lag.0);
        self.count_turn(life.node);
        self.tear_in = self.tears();
        let Some(leading) = self.masters[life.node].leading_mut() else { return };
        if leading.core.next_deadline().is_some_and(|at| at <= now.monotonic) {
            commands.push(Command::Tick { inbox_lag });
        }
        commands.push(Command::EndOfTurn { budget, inbox_lag });
        for command in commands {
            if !self.apply_master(life, &command, now) {
                return;
            }
        }
        self.after_turn(life, now);
    }

    /// A loop that turns again and again without time passing does nothing but turn.
    fn count_turn(&mut self, node: usize) {
        let now_ms = self.queue.now_ms();
        let (at_ms, turns) = &mut self.masters[node].turns_at;
        if *at_ms != now_ms {
            (*at_ms, *turns) = (now_ms, 0);
        }
        *turns += 1;
        let spins = *turns > TURNS_PER_MS_MAX;
        let text = format!("more than {TURNS_PER_MS_MAX} turns in a millisecond");
        self.hold(&format!("master {node}"), if spins { Err(text) } else { Ok(()) });
    }

    pub(super) fn master_due(&mut self, life: Life, at_ms: u64) {
        if !self.master_at(life) {
            return;
        }
        let Some(leading) = self.masters[life.node].leading_mut() else { return };
        if leading.called_at_ms == Some(at_ms) {
            leading.called_at_ms = None;
            self.schedule_turn(life.node);
        }
    }

    pub(super) fn after_turn(&mut self, life: Life, now: Now) {
        let Some(leading) = self.masters[life.node].leading_mut() else { return };
        let waits = !leading.inbox.is_empty();
        let due = leading.core.next_deadline();
        if waits || due.is_some_and(|at| at <= now.monotonic) {
            self.schedule_turn(life.node);
        } else if let Some(at) = due {
            let at_ms = at.0.saturating_sub(self.masters[life.node].clock_ahead_ms);
            let Some(leading) = self.masters[life.node].leading_mut() else { return };
            if leading.called_at_ms.is_none_or(|called| at_ms < called) {
                leading.called_at_ms = Some(at_ms);
                self.queue.at(at_ms, Event::MasterDue(life, at_ms));
            }
        }
        self.pump_store(life.node);
    }

    /// Returns whether the process still lives.
    pub(super) fn apply_master(&mut self, life: Life, command: &Command, now: Now) -> bool {
        let Some(leading) = self.masters[life.node].leading_mut() else { return false };
        let mut effects = leading.core.apply(command.clone(), now);
        let invariants = leading.core.check_invariants();
        self.hold("a master", invariants);
        if let Some(planted) = self.planted {
            spoil(planted, &mut self.planted_memory, &mut effects);
        }
        // The view is what the world shows to everybody: checkers see it as of this command.
        for effect in &effects {
            // A leader that was deposed and does not know it publishes to readers of its own.
            if let Effect::Publish { first, changes, .. } = effect
                && first.epoch >= self.view.cursor.epoch
            {
                let taken = self.view.take(*first, changes);
                self.hold("the change list", taken);
            }
        }
        let (node, life_number) = (life.node, life.life);
        self.see(&Seen::Master { node, command, effects: &effects, life: life_number });
        for effect in effects {
            if self.is_torn() {
                self.kill_master(node);
                return false;
            }
            if !self.perform_master(life, effect) {
                return false;
            }
        }
        true
    }

    /// Draws after how many effects the process dies that acts now, if it does: a turn is not atomic
    /// to the world outside.
    pub(super) fn tears(&mut self) -> Option<u64> {
        let torn = self.faulty && one_in(&mut self.chance.twists, self.plan.torn_turns);
        torn.then(|| between(&mut self.chance.twists, 1, 12))
    }

    /// Whether the process that acts now dies before its next effect.
    pub(super) fn is_torn(&mut self) -> bool {
        self.tear_in = self.tear_in.map(|left| left.saturating_sub(1));
        let torn = self.tear_in == Some(0);
        if torn {
            self.tear_in = None;
            self.counts.fault("torn_turn");
        }
        torn
    }

    pub(super) fn perform_master(&mut self, life: Life, effect: Effect) -> bool {
        let node = life.node;
        match effect {
            Effect::Persist { operation, lane, changes } => {
                let Some(leading) = self.masters[node].leading_mut() else { return false };
                let number = OperationId(operation.0);
                let submitted = leading.queue.submit(number, lane.into(), changes.into());
                if let Err(error) = submitted {
                    let result = WriteResult::Failed { reason: error.to_string() };
                    let command = Command::RegistryWritten { operation, result };
                    leading.hear(self.queue.now_ms(), command);
                }
                self.pump_store(node);
            }
            Effect::ReadState { operation, framework, list } => {
                self.ask_store_soon(life, super::store::Ask::State(operation, framework, list));
            }
            Effect::SendAgent { connection, frame } => {
                self.send_down(node, connection, pb::AgentDown::from(frame).encode_to_vec());
            }
            Effect::SendFramework { connection, frame } => {
                self.send_down(node, connection, pb::SchedulerDown::from(frame).encode_to_vec());
            }
            Effect::Reply { reply_to, .. } => {
                self.counts.replies += 1;
                self.asked.remove(&reply_to.0);
            }
            Effect::Close { connection, refusal } => {
                self.close_by_master(node, connection, refusal);
            }
            Effect::Publish { .. } => {}
            Effect::Stop { .. } => {
                self.counts.stops += 1;
                self.kill_master(node);
                return false;
            }
        }
        true
    }

    /// Ends a master process at once; it starts again by itself.
    pub fn kill_master(&mut self, node: usize) {
        let it = &mut self.masters[node];
        if matches!(it.state, State::Down) {
            return;
        }
        it.state = State::Down;
        let life = it.life;
        self.see(&Seen::Died { who: format!("master {node}") });
        for wire in self.network.matching(|it| it.master == node && it.master_life == life) {
            if let Some(connection) = self.network.connections.get_mut(&wire) {
                connection.master_open = false;
            }
            let notice = between(&mut self.chance.network, 1, 200);
            self.queue.after(notice, Event::Ends(wire, Way::Down, None));
        }
        let down = between(&mut self.chance.faults, 10, DOWN_MS_MAX);
        self.queue.after(down, Event::StartMaster(node));
    }
}

/// Changes what a leader is about to publish.
fn spoil(planted: Planted, memory: &mut Memory, effects: &mut Vec<Effect>) {
    let mut again = Vec::new();
    for effect in effects.iter_mut() {
        match effect {
            Effect::Publish { changes, deltas, .. } => {
                planted.published(memory, changes, deltas);
                if planted == Planted::RepeatedPublish && memory.strikes() {
                    again.push(effect.clone());
                }
            }
            Effect::SendFramework { frame, .. } => planted.leaves(memory, frame),
            Effect::Persist { .. }
            | Effect::ReadState { .. }
            | Effect::SendAgent { .. }
            | Effect::Reply { .. }
            | Effect::Close { .. }
            | Effect::Stop { .. } => {}
        }
    }
    effects.extend(again);
}
