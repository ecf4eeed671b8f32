//! The agents' door: one stream an agent, or one for many (K16). Reading waits while the loop is
//! busy, so a flood slows the one who floods.

use crate::connections::{Connection, Connections, Outgoing};
use crate::leading::Leading;
use proffer_master_core::Command;
use proffer_proto::pb;
use proffer_proto::pb::agent_service_server::AgentService;
use proffer_types::agent::{AgentDown, AgentUp};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// Frames between the writer and the transport; the queue proper is in [`Connections`].
const TRANSPORT_FRAMES: usize = 8;

pub(crate) struct AgentDoor {
    pub(crate) connections: Arc<Connections>,
    pub(crate) leading: Arc<Leading>,
}

#[tonic::async_trait]
impl AgentService for AgentDoor {
    type ConnectStream = ReceiverStream<Result<pb::AgentDown, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<pb::AgentUp>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let principal = super::principal(request.extensions())?;
        let refuse = |refusal| super::to_status(&refusal);
        let inbox = self.leading.inbox().map_err(refuse)?;
        let (connection, outgoing) =
            self.connections.open_agent(&inbox, principal).await.map_err(refuse)?;
        let (sender, receiver) = mpsc::channel(TRANSPORT_FRAMES);
        let over = CancellationToken::new();
        tokio::spawn(read(connection, request.into_inner(), sender.clone(), over.clone()));
        tokio::spawn(write(outgoing, sender, over));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

type Transport = mpsc::Sender<Result<pb::AgentDown, Status>>;

async fn read(
    connection: Connection,
    mut frames: Streaming<pb::AgentUp>,
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
        let passed = match AgentUp::try_from(frame) {
            Ok(frame) => {
                connection.pass(Command::AgentFrame { connection: connection.id, frame }).await
            }
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = passed {
            drop(answers.send(Err(super::to_status(&refusal))).await);
            break;
        }
    }
    over.cancel();
}

async fn write(mut outgoing: Outgoing<AgentDown>, transport: Transport, over: CancellationToken) {
    loop {
        let frame = tokio::select! {
            frame = outgoing.recv() => frame,
            () = over.cancelled() => break,
        };
        let sent = match frame {
            Some(Ok(frame)) => transport.send(Ok(pb::AgentDown::from(frame))).await,
            Some(Err(refusal)) => {
                drop(transport.send(Err(super::to_status(&refusal))).await);
                break;
            }
            None => break,
        };
        if sent.is_err() {
            break;
        }
    }
    over.cancel();
}
