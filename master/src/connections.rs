//! Owns the way from the loop to each connected peer: one bounded queue a connection. A peer that
//! does not take what it is sent is cut off with a reason; nothing waits for it (K15).

use crate::inbox::Inbox;
use proffer_master_core::{Command, ConnectionId, Peer};
use proffer_types::agent::AgentDown;
use proffer_types::scheduler::SchedulerDown;
use proffer_types::{PrincipalName, Refusal};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// Frames that may wait for one agent. A registration of many tasks is answered with few frames; an
/// agent that lets this many wait reads nothing.
const AGENT_FRAMES_MAX: usize = 4096;
/// Frames that may wait for one framework: the core stops at its window of events, each frame has at
/// least one.
const FRAMEWORK_FRAMES_MAX: usize = proffer_master_core::limits::FRAMEWORK_WINDOW as usize + 64;

/// What a peer's writer gets: frames, then perhaps why the connection ends.
pub(crate) type Outgoing<T> = mpsc::Receiver<Result<T, Refusal>>;

enum Line {
    Agent(mpsc::Sender<Result<AgentDown, Refusal>>),
    Framework(mpsc::Sender<Result<SchedulerDown, Refusal>>),
}

/// All connections of this master.
#[derive(Default)]
pub(crate) struct Connections {
    next: AtomicU64,
    lines: Mutex<HashMap<ConnectionId, Line>>,
    /// Connections that bytes came from since the loop last looked.
    heard: Mutex<BTreeSet<ConnectionId>>,
    /// Peers that were cut off because they read nothing.
    cut: AtomicU64,
}

/// A connection as its reader holds it; dropping it tells the loop that it ended.
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    connections: Arc<Connections>,
    inbox: Inbox,
}

impl Connections {
    fn lines(&self) -> MutexGuard<'_, HashMap<ConnectionId, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_line(&self, line: Line) -> ConnectionId {
        let id = ConnectionId(self.next.fetch_add(1, Ordering::Relaxed) + 1);
        self.lines().insert(id, line);
        id
    }

    pub(crate) async fn open_agent(
        self: &Arc<Self>,
        inbox: &Inbox,
        principal: PrincipalName,
    ) -> Result<(Connection, Outgoing<AgentDown>), Refusal> {
        let (sender, receiver) = mpsc::channel(AGENT_FRAMES_MAX);
        let id = self.open_line(Line::Agent(sender));
        self.announce(id, Peer::Agent, inbox, principal).await.map(|it| (it, receiver))
    }

    pub(crate) async fn open_framework(
        self: &Arc<Self>,
        inbox: &Inbox,
        principal: PrincipalName,
    ) -> Result<(Connection, Outgoing<SchedulerDown>), Refusal> {
        let (sender, receiver) = mpsc::channel(FRAMEWORK_FRAMES_MAX);
        let id = self.open_line(Line::Framework(sender));
        self.announce(id, Peer::Framework, inbox, principal).await.map(|it| (it, receiver))
    }

    async fn announce(
        self: &Arc<Self>,
        id: ConnectionId,
        peer: Peer,
        inbox: &Inbox,
        principal: PrincipalName,
    ) -> Result<Connection, Refusal> {
        let connection = Connection { id, connections: Arc::clone(self), inbox: inbox.clone() };
        inbox.send(Command::ConnectionOpened { connection: id, peer, principal }).await?;
        Ok(connection)
    }

    pub(crate) fn send_agent(&self, id: ConnectionId, frame: AgentDown) {
        let mut lines = self.lines();
        if let Some(Line::Agent(line)) = lines.get(&id)
            && line.try_send(Ok(frame)).is_err()
        {
            lines.remove(&id);
            self.cut.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn send_framework(&self, id: ConnectionId, frame: SchedulerDown) {
        let mut lines = self.lines();
        if let Some(Line::Framework(line)) = lines.get(&id)
            && line.try_send(Ok(frame)).is_err()
        {
            lines.remove(&id);
            self.cut.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends a connection once what was sent before has left, and says why.
    pub(crate) fn close(&self, id: ConnectionId, refusal: Refusal) {
        match self.lines().remove(&id) {
            // A full queue loses the reason, not the end: the dropped sender ends the stream.
            Some(Line::Agent(line)) => drop(line.try_send(Err(refusal))),
            Some(Line::Framework(line)) => drop(line.try_send(Err(refusal))),
            None => {}
        }
    }

    /// Ends all connections: this master does not lead any more.
    pub(crate) fn close_all(&self, refusal: &Refusal) {
        let ids: Vec<_> = self.lines().keys().copied().collect();
        for id in ids {
            self.close(id, refusal.clone());
        }
    }

    /// The connections that bytes came from since the last call.
    pub(crate) fn take_heard(&self) -> Vec<ConnectionId> {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *heard).into_iter().collect()
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.lines().len()
    }

    /// How many were cut off because they read nothing.
    pub(crate) fn cut_count(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }
}

impl Connection {
    /// Notes that bytes came. Taken before all queues, so that load never looks like silence.
    pub(crate) fn heard(&self) {
        let mut heard = self.connections.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.insert(self.id);
    }

    /// Passes a command of this connection on; waits while the loop is busy, and so does the peer.
    pub(crate) async fn pass(&self, command: Command) -> Result<(), Refusal> {
        self.inbox.send(command).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.lines().remove(&self.id);
        let inbox = self.inbox.clone();
        let command = Command::ConnectionClosed { connection: self.id };
        // The last command must not be lost, and a drop cannot wait.
        tokio::spawn(async move { drop(inbox.send(command).await) });
    }
}
