//! Owns the stream to a master: frames up, frames down, one connection at a time. It moves bytes;
//! when to connect, what to say and when to give up is the core's (K21).

use proffer_agent_core::Command;
use proffer_agent_core::command::ConnectionId;
use proffer_net::client::{Endpoint, channel};
use proffer_net::complaints::Complaints;
use proffer_proto::pb;
use proffer_proto::pb::agent_service_client::AgentServiceClient;
use proffer_types::agent::{AgentDown, AgentUp};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;

/// Frames that may wait for a slow master: a registration of thousands of tasks, and seconds of
/// statuses. When full the master reads nothing, and the connection is given up (K15).
const FRAMES_MAX: usize = 1024;

/// For the last frames of a connection that ends.
const DRAIN_MAX: Duration = Duration::from_millis(500);

/// The present connection, if any.
pub(crate) struct MasterClient {
    /// Token and trust; the addresses are the core's choice.
    endpoint: Endpoint,
    commands: mpsc::Sender<Command>,
    current: Option<Current>,
    complaints: Arc<Mutex<Complaints>>,
}

struct Current {
    connection: ConnectionId,
    frames: mpsc::Sender<pb::AgentUp>,
    conversation: JoinHandle<()>,
    stop: DropGuard,
}

impl MasterClient {
    pub(crate) fn new(endpoint: Endpoint, commands: mpsc::Sender<Command>) -> Self {
        Self { endpoint, commands, current: None, complaints: Arc::default() }
    }

    /// Begins an attempt; an earlier connection ends.
    pub(crate) fn connect(&mut self, connection: ConnectionId, master: &str) {
        let (frames, outbound) = mpsc::channel(FRAMES_MAX);
        let stop = CancellationToken::new();
        let (commands, endpoint) = (self.commands.clone(), self.endpoint.clone());
        let (master, stopped) = (master.to_owned(), stop.clone());
        let complaints = Arc::clone(&self.complaints);
        let conversation = tokio::spawn(async move {
            let end = tokio::select! {
                () = stopped.cancelled() => return,
                end = converse(connection, &master, endpoint, outbound, (&commands, &complaints)) => end,
            };
            tell(&complaints, &master, &end);
            let End { reason, leader } = end;
            let _ = commands.send(Command::Disconnected { connection, reason, leader }).await;
        });
        let stop = stop.drop_guard();
        self.current = Some(Current { connection, frames, conversation, stop });
    }

    /// Ends a connection behind the frames that are on their way. The handle is of use to a
    /// process that is about to end.
    pub(crate) fn disconnect(&mut self, connection: ConnectionId) -> Option<JoinHandle<()>> {
        let current = self.current.take_if(|current| current.connection == connection)?;
        let Current { frames, conversation, stop, .. } = current;
        drop(frames);
        Some(tokio::spawn(async move {
            let _stop = stop;
            let _ = tokio::time::timeout(DRAIN_MAX, conversation).await;
        }))
    }

    /// Sends a frame; says false when the connection had to be given up.
    pub(crate) fn send(&mut self, connection: ConnectionId, frame: AgentUp) -> bool {
        let Some(current) = &self.current else { return true };
        if current.connection != connection {
            return true;
        }
        let taken = current.frames.try_send(pb::AgentUp::from(frame)).is_ok();
        if !taken {
            self.current = None;
        }
        taken
    }
}

/// A master that names the leader is no trouble; the end of a connection without one is.
fn tell(complaints: &Mutex<Complaints>, master: &str, end: &End) {
    let mut complaints = complaints.lock().unwrap_or_else(PoisonError::into_inner);
    if end.leader.is_none() && complaints.is_due(Instant::now()) {
        tracing::warn!(master, reason = end.reason, "not connected to a master");
    } else {
        tracing::debug!(master, reason = end.reason, "the connection to the master ended");
    }
}

/// Why a connection ended.
struct End {
    reason: String,
    leader: Option<String>,
}

impl End {
    fn of(status: &Status) -> Self {
        let refusal = proffer_proto::status::from_status(status);
        Self { leader: refusal.leader().map(str::to_owned), reason: refusal.to_string() }
    }

    fn because(reason: &(impl ToString + ?Sized)) -> Self {
        Self { reason: reason.to_string(), leader: None }
    }
}

async fn converse(
    connection: ConnectionId,
    master: &str,
    endpoint: Endpoint,
    outbound: mpsc::Receiver<pb::AgentUp>,
    (commands, complaints): (&mpsc::Sender<Command>, &Mutex<Complaints>),
) -> End {
    let address = match master.parse() {
        Ok(address) => address,
        Err(error) => return End::because(&error),
    };
    let channel = channel(&endpoint.with_addresses(vec![address]));
    let bytes_max = proffer_proto::convert::bounds::FRAME_BYTES_MAX;
    let mut client = AgentServiceClient::new(channel)
        .max_decoding_message_size(bytes_max)
        .max_encoding_message_size(bytes_max);
    let mut inbound = match client.connect(ReceiverStream::new(outbound)).await {
        Ok(response) => response.into_inner(),
        Err(status) => return End::of(&status),
    };
    if commands.send(Command::Connected { connection }).await.is_err() {
        return End::because("the agent ends");
    }
    loop {
        let frame = match inbound.message().await {
            Ok(Some(frame)) => {
                complaints.lock().unwrap_or_else(PoisonError::into_inner).end();
                frame
            }
            Ok(None) => return End::because("the master closed the stream"),
            Err(status) => return End::of(&status),
        };
        let frame = match AgentDown::try_from(frame) {
            Ok(frame) => frame,
            // Its orders are not obeyed; the next registration tells the master so (K1).
            Err(refusal) => return End::because(&refusal),
        };
        if commands.send(Command::Frame { connection, frame }).await.is_err() {
            return End::because("the agent ends");
        }
    }
}
