//! gRPC through the same door: tokens on every call, the peer inside a service, streams that end and
//! come back.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::uri::PathAndQuery;
use futures_util::{Stream, StreamExt, stream};
use proffer_net::client::{AuthorizedChannel, channel};
use proffer_net::{
    Decision, Endpoint, HttpClient, ListenConfig, Listener, Peer, Principal, Routes, Token, Tokens,
};
use proffer_proto::descriptor::{PACKAGE, schema};
use proffer_proto::pb;
use proffer_proto::pb::agent_service_client::AgentServiceClient;
use proffer_proto::pb::agent_service_server::{AgentService, AgentServiceServer};
use proffer_types::refusal::{Refusal, RefusalCode};
use proffer_types::rights::{Access, Object, ObjectKind, Verb};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const DEADLINE: Duration = Duration::from_secs(20);

/// Answers every frame with one of the same session, and says in the metadata who called.
struct Echo;

type Answers = Pin<Box<dyn Stream<Item = Result<pb::AgentDown, Status>> + Send>>;

#[tonic::async_trait]
impl AgentService for Echo {
    type ConnectStream = Answers;

    async fn connect(
        &self,
        request: Request<Streaming<pb::AgentUp>>,
    ) -> Result<Response<Answers>, Status> {
        let peer = request
            .extensions()
            .get::<Peer>()
            .cloned()
            .ok_or_else(|| Status::internal("no peer"))?;
        let answers = request.into_inner().map(|frame| {
            frame.map(|up| pb::AgentDown { session: up.session, ..pb::AgentDown::default() })
        });
        let mut response = Response::new(Box::pin(answers) as Answers);
        let name = peer.principal.to_string().parse().map_err(|_| Status::internal("not text"))?;
        response.metadata_mut().insert("who", name);
        Ok(response)
    }
}

fn may(_: &Principal, verb: Verb, _: &Object) -> Decision {
    if verb == Verb::Register {
        return Decision::Allow;
    }
    Decision::Deny(
        Refusal::new(RefusalCode::PermissionDenied, "", "only agents join here").hint("no"),
    )
}

async fn start(
    address: SocketAddr,
) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let tokens = Tokens::one("a7", Token::parse(TOKEN).unwrap());
    let config = ListenConfig { address, tls: None, insecure: false, tokens };
    let listener = Listener::bind(config).await.unwrap();
    let address = listener.address();
    let join = Access::new(Verb::Register, ObjectKind::Agent);
    let look = Access::new(Verb::Read, ObjectKind::Cluster);
    let services = tonic::service::Routes::new(AgentServiceServer::new(Echo));
    let routes = Routes::new()
        .grpc(
            services,
            [
                ("/proffer.v1.AgentService/Connect", join),
                ("/proffer.v1.OperatorService/GetOverview", look),
            ],
        )
        .get("/hello", join, async || axum::Json("hello"));
    let shutdown = CancellationToken::new();
    let serving =
        proffer_net::serve_routes(listener, routes, false, Arc::new(may), shutdown.clone());
    (address, shutdown, tokio::spawn(serving))
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn endpoint(address: SocketAddr, token: &str) -> Endpoint {
    Endpoint::parse(&address.to_string()).unwrap().with_token(Some(Token::parse(token).unwrap()))
}

fn agent_client(address: SocketAddr) -> AgentServiceClient<AuthorizedChannel> {
    AgentServiceClient::new(channel(&endpoint(address, TOKEN)))
}

fn frame(session: u64) -> pb::AgentUp {
    pb::AgentUp { session, ..pb::AgentUp::default() }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("done within the deadline")
}

#[tokio::test]
async fn a_stream_goes_both_ways_and_knows_its_peer_beside_http_on_one_port() {
    let (address, _shutdown, _serving) = start(loopback()).await;
    let frames = stream::iter((1..=3).map(frame));
    let answers = within(agent_client(address).connect(frames)).await.unwrap();
    assert_eq!(answers.metadata().get("who").unwrap(), "token:a7");
    let answers: Vec<_> = within(answers.into_inner().collect()).await;
    let sessions: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().session).collect();
    assert_eq!(sessions, [1, 2, 3]);
    let http = HttpClient::new(&endpoint(address, TOKEN));
    assert_eq!(within(http.get::<String>("/hello")).await.unwrap(), "hello");
}

/// Calls any rpc with an empty message; says how it ended.
async fn call(channel: AuthorizedChannel, path: &str) -> Status {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = PathAndQuery::try_from(path).unwrap();
    let answer = within(client.unary(Request::new(()), path, codec)).await;
    answer.err().unwrap_or_else(|| Status::ok("let in"))
}

#[tokio::test]
async fn k20_every_rpc_of_the_schema_is_refused_without_proof_or_right() {
    let (address, _shutdown, _serving) = start(loopback()).await;
    let nobody = channel(&Endpoint::parse(&address.to_string()).unwrap());
    let wrong = channel(&endpoint(address, "another-token-of-some-length"));
    let known = channel(&endpoint(address, TOKEN));
    for method in &schema().methods {
        let path = format!("/{PACKAGE}.{}/{}", method.service, method.descriptor.name());
        for stranger in [&nobody, &wrong] {
            assert_eq!(call(stranger.clone(), &path).await.code(), Code::Unauthenticated, "{path}");
        }
        let status = call(known.clone(), &path).await;
        let expected = match path.as_str() {
            "/proffer.v1.OperatorService/GetOverview" => Code::PermissionDenied,
            "/proffer.v1.AgentService/Connect" => Code::Ok,
            // Not in the table of this listener.
            _ => Code::NotFound,
        };
        assert_eq!(status.code(), expected, "{path}");
    }
    let refused = call(known, "/proffer.v1.OperatorService/GetOverview").await;
    let refusal = proffer_proto::status::from_status(&refused);
    assert_eq!((refusal.code, refusal.hint.as_str()), (RefusalCode::PermissionDenied, "no"));
}

#[tokio::test]
async fn a_stream_ends_with_its_server_and_the_same_channel_finds_the_next() {
    let (address, shutdown, serving) = start(loopback()).await;
    let mut client = agent_client(address);
    let open = stream::pending::<pb::AgentUp>();
    let mut answers = within(client.connect(open)).await.unwrap().into_inner();
    shutdown.cancel();
    within(serving).await.unwrap();
    let ended = within(answers.message()).await;
    assert!(!matches!(ended, Ok(Some(_))), "{ended:?}");
    let refused = within(client.connect(stream::empty())).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");

    let (_, _shutdown, _serving) = start(address).await;
    let back = async {
        loop {
            match client.connect(stream::iter([frame(7)])).await {
                Ok(answers) => return answers.into_inner(),
                Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let mut answers = within(back).await;
    assert_eq!(within(answers.message()).await.unwrap().unwrap().session, 7);
}
