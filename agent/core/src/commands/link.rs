//! The connection: attempts, registration (a barrier, K1), heartbeats, silence, leaving.

use crate::agent::{Agent, Goal, Turn};
use crate::command::ConnectionId;
use crate::commands::claim::mark_of;
use crate::effect::Effect;
use crate::state::link::{Link, silent_at};
use crate::state::tasks::Task;
use proffer_types::agent::{AgentMessage, AgentTask, AgentUp};
use proffer_types::hold::AgentHold;
use proffer_types::ids::{AgentSession, MasterEpoch};
use proffer_types::scheduler::TaskRecord;
use proffer_types::{Monotonic, Weight};

/// Bits of a session below the incarnation of the process.
const SESSION_BITS: u32 = 20;
/// Content of one page; a frame has at most 4 MiB.
const PAGE_BYTES_MAX: usize = 1 << 20;

impl Agent {
    /// The connection is open: nothing of an older one is obeyed from here on. The list is
    /// composed when everything taken before is durable, so that it holds all of it.
    pub(crate) fn connected(&mut self, connection: ConnectionId, turn: &mut Turn) {
        let Link::Connecting { connection: awaited, .. } = self.link else {
            self.counters.facts_late += 1;
            return;
        };
        if awaited != connection {
            self.counters.facts_late += 1;
            return;
        }
        let since = turn.now.monotonic;
        self.link = Link::Opening { connection, since, barrier: self.writes.last() };
        self.register_when_durable(turn);
    }

    /// The connection ended by itself.
    pub(crate) fn disconnected(
        &mut self,
        connection: ConnectionId,
        leader: Option<String>,
        turn: &mut Turn,
    ) {
        if self.link.connection() != Some(connection) {
            self.counters.facts_late += 1;
            return;
        }
        self.wait(leader, turn);
    }

    /// Gives the connection up and tries again later.
    pub(crate) fn reset_link(&mut self, leader: Option<String>, turn: &mut Turn) {
        if let Some(connection) = self.link.connection() {
            turn.effects.push(Effect::Disconnect { connection });
        }
        self.wait(leader, turn);
    }

    fn wait(&mut self, leader: Option<String>, turn: &mut Turn) {
        let delay = self.attempts.failed(leader, &self.config.limits);
        self.templates.connection_ended();
        self.held.clear();
        self.link = Link::Waiting { at: turn.now.monotonic.after(delay) };
    }

    /// Begins an attempt at once.
    pub(crate) fn connect(&mut self, turn: &mut Turn) {
        let (connection, master) = self.attempts.next(&self.config.masters);
        self.link = Link::Connecting { connection, since: turn.now.monotonic };
        turn.effects.push(Effect::Connect { connection, master });
    }

    /// Composes the list and sends it, if the connection waits for that and may.
    pub(crate) fn register_when_durable(&mut self, turn: &mut Turn) {
        let Link::Opening { connection, barrier, .. } = self.link else { return };
        if !self.writes.is_durable(barrier) {
            return;
        }
        if self.session_count + 1 >= 1 << SESSION_BITS {
            // So many sessions in one life: take the next incarnation and wait for its write.
            self.identity.incarnation += 1;
            self.session_count = 0;
            turn.touched.identity = true;
            self.reset_link(None, turn);
            return;
        }
        self.session_count += 1;
        let session =
            AgentSession((self.identity.incarnation << SESSION_BITS) | self.session_count);
        let sent_at = turn.now.monotonic;
        self.link = Link::Registering { connection, session, sent_at };
        for messages in self.registration_frames(sent_at) {
            self.send(session, MasterEpoch(0), messages, turn);
        }
    }

    /// `Register`, everything taken and not forgotten in pages, `RegisterEnd`.
    fn registration_frames(&self, now: Monotonic) -> Vec<Vec<AgentMessage>> {
        let register = AgentMessage::Register {
            info: self.config.info.clone(),
            log: self.identity.log,
            knows_gangs: true,
        };
        let mut frames = vec![vec![register]];
        let mut page = Vec::new();
        let mut page_bytes = 0;
        for (_, task) in self.tasks.iter() {
            let Some(entry) = self.list_entry(task, now) else { continue };
            let bytes = size_of_entry(&entry);
            let full = page.len() >= self.config.limits.page_tasks_max.max(1);
            if full || (!page.is_empty() && page_bytes + bytes > PAGE_BYTES_MAX) {
                frames.push(vec![AgentMessage::Tasks { tasks: std::mem::take(&mut page) }]);
                page_bytes = 0;
            }
            page_bytes += bytes;
            page.push(entry);
        }
        let mut last = Vec::new();
        if !page.is_empty() {
            last.push(AgentMessage::Tasks { tasks: page });
        }
        for holds in weighed_pages(self.holds.list()) {
            if !last.is_empty() {
                frames.push(std::mem::take(&mut last));
            }
            last.push(AgentMessage::Holds { holds });
        }
        last.push(AgentMessage::RegisterEnd);
        frames.push(last);
        frames
    }

    /// A task with its newest durable status.
    fn list_entry(&self, task: &Task, now: Monotonic) -> Option<AgentTask> {
        let status = task.announced.clone()?;
        let launch = &task.record.launch;
        let newest = status.id == task.record.status.id;
        let record = TaskRecord {
            status,
            template: launch.template,
            resources: launch.resources.clone(),
            role: task.record.role.clone(),
            variables: launch.variables.clone(),
            labels: launch.labels.clone(),
            group: launch.group.clone(),
            agent_name: self.config.info.name.clone(),
            address: self.config.info.address.clone(),
            priority: launch.priority,
            budget: launch.budget.clone(),
            gang: task.record.gang,
        };
        let claim = mark_of(task, now);
        Some(AgentTask { record, acknowledged: newest && task.acknowledged, claim })
    }

    /// Sends messages on the present connection.
    pub(crate) fn send(
        &self,
        session: AgentSession,
        master_epoch: MasterEpoch,
        messages: Vec<AgentMessage>,
        turn: &mut Turn,
    ) {
        let Some(connection) = self.link.connection() else { return };
        let frame = AgentUp { agent: self.identity.agent, session, master_epoch, messages };
        turn.effects.push(Effect::Send { connection, frame });
    }

    /// Sends messages to the master that this agent is registered with, if it is.
    pub(crate) fn send_registered(&self, messages: Vec<AgentMessage>, turn: &mut Turn) {
        if let Link::Registered(registration) = &self.link {
            self.send(registration.session, registration.epoch, messages, turn);
        }
    }

    /// What the connection wants at this moment.
    pub(crate) fn link_due(&mut self, turn: &mut Turn) {
        let now = turn.now.monotonic;
        let limits = self.config.limits;
        if self.link.next_deadline(&limits).is_none_or(|at| at > now) {
            return;
        }
        match &mut self.link {
            Link::Stopped | Link::Opening { .. } => {}
            Link::Waiting { .. } => self.connect(turn),
            Link::Connecting { .. } | Link::Registering { .. } => self.reset_link(None, turn),
            Link::Registered(registration) => {
                let grant_left = registration.grant_until.since(now);
                let interval = registration.heartbeat_interval(grant_left);
                let silent = silent_at(registration, &limits) <= now;
                if silent || !registration.heartbeat_sent(now, interval) {
                    self.reset_link(None, turn);
                } else {
                    self.send_registered(vec![AgentMessage::Heartbeat], turn);
                }
            }
        }
    }

    /// The process ends; tasks run on.
    pub(crate) fn leave(&mut self, turn: &mut Turn) {
        self.goal = Goal::Leave;
        self.send_registered(vec![AgentMessage::Leaving], turn);
        self.stop_link(turn);
    }

    /// Wants no master any more.
    pub(crate) fn stop_link(&mut self, turn: &mut Turn) {
        if let Some(connection) = self.link.connection() {
            turn.effects.push(Effect::Disconnect { connection });
        }
        self.templates.connection_ended();
        self.held.clear();
        self.link = Link::Stopped;
    }
}

/// Splits the holds into pages; there is one also when there are none.
fn weighed_pages(holds: Vec<AgentHold>) -> Vec<Vec<AgentHold>> {
    let mut pages = vec![Vec::new()];
    let mut bytes = 0;
    for hold in holds {
        bytes += hold.hold.weight();
        if bytes > PAGE_BYTES_MAX {
            pages.push(Vec::new());
            bytes = hold.hold.weight();
        }
        pages.last_mut().expect("there is one").push(hold);
    }
    pages
}

/// About what an entry takes on the wire.
fn size_of_entry(entry: &AgentTask) -> usize {
    /// Ids, times, resources, names.
    const FIXED: usize = 512;
    let record = &entry.record;
    let texts = record.variables.iter().chain(&record.labels);
    let claim = entry.claim.as_ref().map_or(0, |mark| mark.claim.weight());
    FIXED
        + claim
        + record.status.message.len()
        + texts.map(|(k, v)| k.len() + v.len() + 8).sum::<usize>()
}
