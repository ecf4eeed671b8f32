//! The generated client and server over a real connection: frames, refusals and the bound on parts.

use proffer_proto::pb::executor_service_client::ExecutorServiceClient;
use proffer_proto::pb::executor_service_server::{ExecutorService, ExecutorServiceServer};
use proffer_proto::{pb, status};
use proffer_types::{Refusal, RefusalCode};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

/// Answers each frame with its container's name; a name that is not known is refused.
struct Echo;

#[tonic::async_trait]
impl ExecutorService for Echo {
    type ConnectStream = ReceiverStream<Result<pb::ExecutorDown, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<pb::ExecutorUp>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let mut frames = request.into_inner();
        let (send, receive) = tokio::sync::mpsc::channel(4);
        tokio::spawn(async move {
            loop {
                let answer = match frames.message().await {
                    Ok(Some(frame)) if frame.container_id == "c" => {
                        let session = frame.agent_session + 1;
                        Ok(pb::ExecutorDown { agent_session: session, orders: Vec::new() })
                    }
                    Ok(Some(frame)) => Err(status::to_status(
                        &Refusal::new(RefusalCode::NotFound, "container_id", "ist größer als „c“")
                            .hint(frame.container_id),
                    )),
                    Ok(None) => break,
                    Err(status) => Err(status),
                };
                let last = answer.is_err();
                if send.send(answer).await.is_err() || last {
                    break;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receive)))
    }
}

async fn channel() -> Channel {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().expect("an address")).expect("binds");
    let address = incoming.local_addr().expect("bound");
    let server = Server::builder().add_service(ExecutorServiceServer::new(Echo));
    tokio::spawn(server.serve_with_incoming(incoming));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    endpoint.connect().await.expect("the server is up")
}

async fn refused(frame: pb::ExecutorUp) -> Refusal {
    let mut client = ExecutorServiceClient::new(channel().await);
    let answers = client.connect(tokio_stream::iter([frame])).await.expect("streams");
    let status = answers.into_inner().message().await.expect_err("refused");
    status::from_status(&status)
}

#[tokio::test]
async fn frames_go_both_ways() {
    let mut client = ExecutorServiceClient::new(channel().await);
    let frames = (0..20).map(|session| pb::ExecutorUp {
        container_id: "c".to_owned(),
        agent_session: session,
        messages: Vec::new(),
    });
    let answers = client.connect(tokio_stream::iter(frames)).await.expect("streams");
    let mut answers = answers.into_inner();
    for session in 1..=20 {
        let answer = answers.message().await.expect("answers").expect("one a frame");
        assert_eq!(answer.agent_session, session);
    }
    assert_eq!(answers.message().await.expect("ends well"), None);
}

#[tokio::test]
async fn a_refusal_arrives_whole() {
    let frame = pb::ExecutorUp { container_id: "d".to_owned(), ..Default::default() };
    let expected =
        Refusal::new(RefusalCode::NotFound, "container_id", "ist größer als „c“").hint("d");
    assert_eq!(refused(frame).await, expected);
}

#[tokio::test]
async fn too_many_parts_are_refused_with_a_reason() {
    let frame = pb::ExecutorUp {
        container_id: "c".to_owned(),
        messages: vec![pb::ExecutorMessage::default(); 300_000],
        ..Default::default()
    };
    let refusal = refused(frame).await;
    assert_eq!(refusal.code, RefusalCode::BudgetExceeded, "{refusal}");
    assert_eq!(refusal.field, "ExecutorUp");
}
