//! The frameworks' door: one stream a replica. Each event that has left for the transport gives the
//! core a credit to send another (K15).

use crate::connections::{Connection, Connections, Outgoing};
use crate::inbox::Inbox;
use crate::leading::Leading;
use proffer_master_core::{Command, ConnectionId};
use proffer_proto::convert::calls_from_pb;
use proffer_proto::pb;
use proffer_proto::pb::scheduler_service_server::SchedulerService;
use proffer_types::Refusal;
use proffer_types::scheduler::{SchedulerDown, SchedulerUp};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// Frames between the writer and the transport; the queue proper is in [`Connections`].
const TRANSPORT_FRAMES: usize = 8;

pub(crate) struct SchedulerDoor {
    pub(crate) connections: Arc<Connections>,
    pub(crate) leading: Arc<Leading>,
}

#[tonic::async_trait]
impl SchedulerService for SchedulerDoor {
    type ConnectStream = ReceiverStream<Result<pb::SchedulerDown, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<pb::SchedulerUp>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let principal = super::principal(request.extensions())?;
        let refuse = |refusal| super::to_status(&refusal);
        let inbox = self.leading.inbox().map_err(refuse)?;
        let (connection, outgoing) =
            self.connections.open_framework(&inbox, principal).await.map_err(refuse)?;
        let (sender, receiver) = mpsc::channel(TRANSPORT_FRAMES);
        let over = CancellationToken::new();
        let id = connection.id;
        tokio::spawn(read(connection, request.into_inner(), sender.clone(), over.clone()));
        tokio::spawn(write(id, outgoing, sender, inbox, over));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

type Transport = mpsc::Sender<Result<pb::SchedulerDown, Status>>;

async fn read(
    connection: Connection,
    mut frames: Streaming<pb::SchedulerUp>,
    answers: Transport,
    over: CancellationToken,
) {
    loop {
        let frame = tokio::select! {
            frame = frames.message() => frame,
            () = over.cancelled() => break,
        };
        let Ok(Some(frame)) = frame else { break };
        connection.heard();
        if let Err(refusal) = pass(&connection, frame).await {
            drop(answers.send(Err(super::to_status(&refusal))).await);
            break;
        }
    }
    over.cancel();
}

/// Hands in the calls that can be read, then the answers to the others. Without its subscription a
/// stream has no meaning, so a subscription that cannot be read ends it.
async fn pass(connection: &Connection, frame: pb::SchedulerUp) -> Result<(), Refusal> {
    let (epoch, read) = calls_from_pb(frame)?;
    let (mut calls, mut answers) = (Vec::new(), Vec::new());
    for call in read {
        match call {
            Ok(call) => calls.push(call),
            Err(refused) if refused.call == "subscribe" => return Err(refused.refusal),
            Err(refused) => answers.push(refused.answer()),
        }
    }
    let id = connection.id;
    if !calls.is_empty() || answers.is_empty() {
        let frame = SchedulerUp { epoch, calls };
        connection.pass(Command::SchedulerFrame { connection: id, frame }).await?;
    }
    if !answers.is_empty() {
        connection.pass(Command::CallsRefused { connection: id, epoch, answers }).await?;
    }
    Ok(())
}

async fn write(
    connection: ConnectionId,
    mut outgoing: Outgoing<SchedulerDown>,
    transport: Transport,
    inbox: Inbox,
    over: CancellationToken,
) {
    loop {
        let frame = tokio::select! {
            frame = outgoing.recv() => frame,
            () = over.cancelled() => break,
        };
        let (frame, credits) = match frame {
            Some(Ok(frame)) => {
                let credits = u32::try_from(frame.events.len()).unwrap_or(u32::MAX);
                (pb::SchedulerDown::from(frame), credits)
            }
            Some(Err(refusal)) => {
                drop(transport.send(Err(super::to_status(&refusal))).await);
                break;
            }
            None => break,
        };
        if transport.send(Ok(frame)).await.is_err()
            || inbox.send(Command::FrameworkDrained { connection, credits }).await.is_err()
        {
            break;
        }
    }
    over.cancel();
}
