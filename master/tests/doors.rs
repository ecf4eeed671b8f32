//! A real master on a real port: who is let in, what is answered, what survives a restart.

use proffer_master::store::memory::MemoryStore;
use proffer_master::store::{Limits, Store};
use proffer_master::{CoreConfig, Running, Settings, StoreChoice};
use proffer_net::{ClientError, Endpoint, HttpClient, ListenConfig, Token, Tokens};
use proffer_proto::pb;
use proffer_proto::routes::{Method, ROUTES, RPCS};
use proffer_types::RefusalCode;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

struct Cluster {
    master: Option<Running>,
    shutdown: CancellationToken,
    token: Token,
}

impl Cluster {
    async fn start(directory: &Path) -> Self {
        Self::start_on(StoreChoice::Embedded(directory.to_path_buf()), None).await
    }

    async fn start_on(store: StoreChoice, advertise: Option<&str>) -> Self {
        let token = Token::random().expect("random numbers");
        let shutdown = CancellationToken::new();
        let settings = Settings {
            listen: ListenConfig {
                address: "127.0.0.1:0".parse().expect("an address"),
                tls: None,
                insecure: false,
                tokens: Tokens::one("test", token.clone()),
            },
            advertise: advertise.map(str::to_owned),
            store,
            core: CoreConfig::default(),
            lease_ttl: Duration::from_secs(5),
            outward_tls: None,
        };
        let master = proffer_master::start(settings, shutdown.clone()).await.expect("it starts");
        Self { master: Some(master), shutdown, token }
    }

    fn url(&self) -> &str {
        self.master.as_ref().expect("runs").url()
    }

    fn client(&self, token: Option<Token>) -> HttpClient {
        HttpClient::new(&Endpoint::parse(self.url()).expect("an address").with_token(token))
    }

    /// Waits until the master leads: only then verbs are taken.
    async fn leading(&self) -> HttpClient {
        let client = self.client(Some(self.token.clone()));
        let role = pb::RoleConfig { weight_milli: 1000, ..pb::RoleConfig::default() };
        until("the master leads", async || {
            let path = "/v1/roles/probe";
            match client.json::<pb::OperatorAnswer>(hyper::Method::PUT, path, Some(&role)).await {
                Ok(_) => Some(()),
                Err(error) if error.is_transient() => None,
                Err(error) => panic!("{error}"),
            }
        })
        .await;
        client
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        self.master.take().expect("runs").ended().await.expect("a clean end");
    }
}

/// Asks every 10 ms, for at most half a minute, until there is an answer.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..3000 {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("in vain: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn k20_no_route_and_no_rpc_answers_without_proof() {
    let directory = tempfile::tempdir().expect("a directory");
    let cluster = Cluster::start(directory.path()).await;
    let stranger = cluster.client(None);
    for route in ROUTES {
        let path = route.path.replace("{*", "{").replace(['{', '}'], "");
        let method: hyper::Method = route.method.as_str().parse().expect("a method");
        let refused = stranger.bytes::<serde_json::Value>(method, &path, Vec::new()).await;
        match refused {
            Err(ClientError::Refused { refusal, .. }) => {
                assert_eq!(refusal.code, RefusalCode::Unauthenticated, "{path}");
            }
            other => panic!("{path} answered a stranger: {other:?}"),
        }
    }
    let channel =
        proffer_net::client::channel(&Endpoint::parse(cluster.url()).expect("an address"));
    for rpc in RPCS.iter().filter(|rpc| rpc.service != "ExecutorService") {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.expect("connects");
        let path = rpc.path().parse().expect("a path");
        let codec = tonic_prost::ProstCodec::<pb::GetOverviewRequest, pb::Overview>::default();
        let answer =
            grpc.unary(tonic::Request::new(pb::GetOverviewRequest::default()), path, codec).await;
        let status = answer.expect_err("a stranger");
        assert_eq!(status.code(), tonic::Code::Unauthenticated, "{}: {status}", rpc.path());
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_waits_names_the_leader_by_its_address_or_nobody() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Limits::ETCD));
    let first = Cluster::start_on(StoreChoice::Given(Arc::clone(&store)), None).await;
    first.leading().await;
    let second = Cluster::start_on(StoreChoice::Given(store), None).await;
    let client = second.client(Some(second.token.clone()));
    let role = pb::RoleConfig { weight_milli: 1000, ..pb::RoleConfig::default() };
    let named = until("the leader is named", async || {
        let body = axum::body::Body::from(serde_json::to_vec(&role).expect("a message"));
        let ask = hyper::Request::new(body);
        let set = client.send(hyper::Method::PUT, "/v1/roles/probe", ask).await;
        let Err(ClientError::Refused { refusal, .. }) = set else { panic!("{set:?}") };
        assert_eq!(refusal.code, RefusalCode::NotLeader);
        let named = refusal.leader().map(str::to_owned);
        // Until it has looked it names nobody; prose never stands in place of the address.
        assert_eq!(refusal.hint, named.clone().unwrap_or_default());
        named
    })
    .await;
    assert_eq!(named, first.url());
    for route in ROUTES.iter().filter(|route| route.method == Method::Get) {
        if !route.path.starts_with("/v1/") {
            continue;
        }
        let path = route.path.replace("{framework}", "f1").replace("{id}", "a1");
        let path =
            path.replace("{task}", "t").replace("{kind}", "agent").replace("{*subject}", "a1");
        let ask = hyper::Request::new(axum::body::Body::empty());
        let read = client.send(hyper::Method::GET, &path, ask).await;
        let Err(ClientError::Refused { refusal, .. }) = read else {
            panic!("{path} was answered by a master that does not lead: {read:?}")
        };
        assert_eq!(refusal.leader(), Some(first.url()), "{path}: {refusal}");
    }
    let endpoint = Endpoint::parse(second.url()).expect("an address");
    let channel = proffer_net::client::channel(&endpoint.with_token(Some(second.token.clone())));
    let mut grpc = pb::operator_service_client::OperatorServiceClient::new(channel);
    let status = grpc.list_agents(pb::ListAgentsRequest::default()).await.expect_err("no leader");
    assert_eq!(proffer_proto::status::from_status(&status).leader(), Some(first.url()));
    let status = grpc.watch(pb::WatchRequest::default()).await.expect_err("no leader");
    assert_eq!(proffer_proto::status::from_status(&status).leader(), Some(first.url()));
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k6_k23_what_the_core_counts_and_how_old_the_view_is_are_exported() {
    use futures_util::TryStreamExt;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Limits::ETCD));
    let leader = Cluster::start_on(StoreChoice::Given(Arc::clone(&store)), None).await;
    let client = leader.leading().await;
    let standby = Cluster::start_on(StoreChoice::Given(store), None).await;
    let scrape = async |client: &HttpClient| {
        let parts: Vec<_> =
            client.stream("/metrics").await.expect("text").try_collect().await.expect("whole");
        String::from_utf8(parts.concat()).expect("text")
    };
    let text = scrape(&client).await;
    for line in [
        "proffer_master_leading 1",
        "proffer_master_drift_total 0",
        "proffer_master_illegal_moves_total 0",
        "proffer_master_stale_frames_total 0",
        "proffer_master_launches_total 0",
        "proffer_master_commits_waiting 0",
        "proffer_master_offers 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    for name in ["view_lag_seconds", "view_turns_waiting", "commit_seconds_count"] {
        assert!(text.contains(&format!("\nproffer_master_{name} ")), "{name} in {text}");
    }
    assert!(!text.contains("proffer_master_commit_seconds_count 0\n"), "a role was written");
    let text = scrape(&standby.client(Some(standby.token.clone()))).await;
    assert!(text.contains("\nproffer_master_leading 0\n"), "{text}");
    assert!(!text.contains("proffer_master_offers "), "it knows nothing of the cluster: {text}");
    standby.stop().await;
    leader.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i11_what_was_answered_survives_the_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let cluster = Cluster::start(directory.path()).await;
    let client = cluster.leading().await;
    let config = pb::RoleConfig { weight_milli: 2500, ..pb::RoleConfig::default() };
    let answer: pb::OperatorAnswer =
        client.json(hyper::Method::PUT, "/v1/roles/eng/db", Some(&config)).await.expect("durable");
    let listed: pb::ListRolesResponse =
        client.get(&format!("/v1/roles?at_least={}", answer.cursor)).await.expect("listed");
    assert!(listed.roles.iter().any(|role| role.name == "eng/db"));
    cluster.stop().await;

    let cluster = Cluster::start(directory.path()).await;
    let client = cluster.leading().await;
    let listed: pb::ListRolesResponse = client.get("/v1/roles").await.expect("listed");
    let role = listed.roles.iter().find(|role| role.name == "eng/db").expect("kept");
    assert_eq!(role.config.as_ref().expect("has one").weight_milli, 2500);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_name_the_field_and_unknown_parameters_are_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let cluster = Cluster::start(directory.path()).await;
    let client = cluster.leading().await;
    let refused = |result: Result<serde_json::Value, ClientError>| match result {
        Err(ClientError::Refused { refusal, .. }) => refusal,
        other => panic!("{other:?}"),
    };
    let refusal = refused(client.get("/v1/agents?page_sise=3").await);
    assert_eq!((refusal.code, refusal.field.as_str()), (RefusalCode::InvalidArgument, "page_sise"));
    let refusal = refused(client.get("/v1/agents/a99").await);
    assert_eq!(refusal.code, RefusalCode::NotFound);
    let refusal = refused(client.get("/v1/agents/nobody").await);
    assert_eq!(refusal.code, RefusalCode::InvalidArgument);
    let zero = pb::RoleConfig::default();
    let refusal = refused(client.json(hyper::Method::PUT, "/v1/roles/eng", Some(&zero)).await);
    assert_eq!(refusal.code, RefusalCode::InvalidArgument);
    assert!(refusal.field.contains("weight"), "{refusal}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k17_a_watch_begins_with_a_reset_and_goes_on_from_its_cursor() {
    use futures_util::StreamExt;
    let directory = tempfile::tempdir().expect("a directory");
    let cluster = Cluster::start(directory.path()).await;
    let client = cluster.leading().await;
    let frame = |data: String| serde_json::from_str::<pb::WatchFrame>(&data).expect("a frame");
    let mut events =
        Box::pin(client.events("/v1/watch?cursor=nonsense", None).await.expect("streams"));
    let first = frame(events.next().await.expect("more").expect("whole").data);
    assert!(first.reset && !first.cursor.is_empty());
    drop(events);

    let config = pb::RoleConfig { weight_milli: 3000, ..pb::RoleConfig::default() };
    let _: pb::OperatorAnswer =
        client.json(hyper::Method::PUT, "/v1/roles/later", Some(&config)).await.expect("durable");
    let path = format!("/v1/watch?cursor={}", first.cursor);
    let mut events = Box::pin(client.events(&path, None).await.expect("streams"));
    let mut seen = false;
    while !seen {
        let next = frame(events.next().await.expect("more").expect("whole").data);
        assert!(!next.reset, "resumed, not begun anew");
        seen = next.changes.iter().any(|change| {
            matches!(&change.kind, Some(pb::change::Kind::Role(role)) if role.name == "later")
        });
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_tools_find_health_and_the_schema() {
    let directory = tempfile::tempdir().expect("a directory");
    let cluster = Cluster::start(directory.path()).await;
    let endpoint =
        Endpoint::parse(cluster.url()).expect("an address").with_token(Some(cluster.token.clone()));
    let channel = proffer_net::client::channel(&endpoint);
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let answer =
        health.check(tonic_health::pb::HealthCheckRequest::default()).await.expect("answers");
    assert_eq!(
        answer.into_inner().status,
        tonic_health::pb::health_check_response::ServingStatus::Serving as i32
    );
    use tonic_reflection::pb::v1 as reflection;
    let ask = reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(reflection::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
    };
    let mut client = reflection::server_reflection_client::ServerReflectionClient::new(channel);
    let mut answers = client
        .server_reflection_info(tokio_stream::iter([ask]))
        .await
        .expect("answers")
        .into_inner();
    let answer = answers.message().await.expect("whole").expect("one");
    let listed = format!("{answer:?}");
    assert!(listed.contains("proffer.v1.OperatorService"), "{listed}");
    cluster.stop().await;
}

/// A framework whose stream is open.
struct Subscription {
    subscribed: pb::event::Subscribed,
    calls: tokio::sync::mpsc::Sender<pb::SchedulerUp>,
    events: tonic::Streaming<pb::SchedulerDown>,
    /// Events of a frame that were not looked at yet.
    rest: std::collections::VecDeque<pb::event::Kind>,
}

impl Subscription {
    async fn open(cluster: &Cluster, api_url: String) -> Self {
        Self::open_as("service", cluster, api_url).await
    }

    async fn open_as(name: &str, cluster: &Cluster, api_url: String) -> Self {
        use pb::scheduler_service_client::SchedulerServiceClient;
        use proffer_types::scheduler::{Call, FrameworkInfo, SchedulerUp};
        use proffer_types::{FrameworkEpoch, FrameworkName, ReplicaId, RoleName};
        let endpoint = Endpoint::parse(cluster.url())
            .expect("an address")
            .with_token(Some(cluster.token.clone()));
        let mut client = SchedulerServiceClient::new(proffer_net::client::channel(&endpoint));
        let info = FrameworkInfo {
            name: FrameworkName::new(name).expect("a name"),
            roles: [RoleName::new("eng").expect("a name")].into(),
            api_url,
            failover_timeout: None,
            labels: std::collections::BTreeMap::new(),
        };
        let replica = ReplicaId::new("r1").expect("a name");
        let first =
            Call::Subscribe { info, replica, take_over: false, conditions: Default::default() };
        let first = SchedulerUp { epoch: FrameworkEpoch(0), calls: vec![first] };
        let (calls, receiver) = tokio::sync::mpsc::channel(1);
        calls.send(first.into()).await.expect("room");
        let outgoing = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let events = client.connect(outgoing).await.expect("a stream").into_inner();
        let subscribed = pb::event::Subscribed::default();
        let mut it = Self { subscribed, calls, events, rest: std::collections::VecDeque::new() };
        let pb::event::Kind::Subscribed(subscribed) = it.next().await else { panic!("first") };
        it.subscribed = subscribed;
        it
    }

    async fn next(&mut self) -> pb::event::Kind {
        loop {
            if let Some(kind) = self.rest.pop_front() {
                return kind;
            }
            let frame = self.events.message().await.expect("lives").expect("more");
            self.rest.extend(frame.events.into_iter().filter_map(|event| event.kind));
        }
    }

    async fn say(&self, kinds: Vec<Option<pb::call::Kind>>) {
        let calls = kinds.into_iter().map(|kind| pb::Call { kind }).collect();
        let frame = pb::SchedulerUp { epoch: self.subscribed.epoch, calls };
        self.calls.send(frame).await.expect("open");
    }

    /// The next event that is not a heartbeat.
    async fn answer(&mut self) -> pb::event::Kind {
        loop {
            let next = self.next().await;
            if !matches!(next, pb::event::Kind::Heartbeat(_)) {
                return next;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k20_a_framework_that_calls_itself_service_is_shown_no_token() {
    use proffer_net::capability::{Right, verify};
    use std::sync::{Arc, Mutex};
    let directory = tempfile::tempdir().expect("a directory");
    let cluster = Cluster::start(directory.path()).await;
    let operator = cluster.leading().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let rogue = {
        let seen = Arc::clone(&seen);
        axum::Router::new().fallback(move |request: axum::extract::Request| {
            seen.lock().expect("whole").push(request.headers().clone());
            std::future::ready((
                [("set-cookie", "proffer=evil"), ("content-type", "text/html")],
                "<script>",
            ))
        })
    };
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let api_url = format!("http://{}", socket.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(socket, rogue).await });
    let framework = Subscription::open(&cluster, api_url).await;

    // The view follows the loop.
    let answer = until("passed on", async || {
        let ask = hyper::Request::new(axum::body::Body::empty());
        operator.send(hyper::Method::GET, "/v1/services", ask).await.ok()
    })
    .await;
    assert!(answer.headers().get("set-cookie").is_none(), "no word to the caller's browser");
    let policy = answer.headers()["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("sandbox"), "{policy}");

    let seen = std::mem::take(&mut *seen.lock().expect("whole"));
    let shown: Vec<_> = seen.iter().flat_map(|headers| headers.values()).collect();
    assert!(!shown.is_empty());
    for value in shown {
        let text = value.to_str().expect("text");
        assert!(!text.contains(cluster.token.reveal()), "{text}");
    }
    let proof = seen[0]["authorization"].to_str().expect("text");
    let proof = proof.strip_prefix("Bearer ").or(proof.strip_prefix("bearer ")).expect("a bearer");
    let (key, id) = (&framework.subscribed.capability_key, framework.subscribed.framework);
    assert!(
        verify(key, proof, Right::Call, &format!("f{id}"), 1),
        "a capability for this framework alone"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_of_several_frameworks_are_told_apart_by_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let cluster = Cluster::start(directory.path()).await;
    let operator = cluster.leading().await;
    let mut frameworks = Vec::new();
    for name in ["service", "blue"] {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", socket.local_addr().expect("bound"));
        let echo = axum::Router::new().fallback(move |uri: axum::http::Uri| async move {
            axum::Json(format!("{name} {uri}"))
        });
        tokio::spawn(async move { axum::serve(socket, echo).await });
        frameworks.push(Subscription::open_as(name, &cluster, url).await);
    }
    let ask = async |path: &str| operator.get::<String>(path).await;
    // The view follows the loop.
    let refusal = until("nobody can tell which is meant", async || {
        let Err(ClientError::Refused { refusal, .. }) = ask("/v1/services").await else {
            return None;
        };
        (refusal.code == RefusalCode::InvalidArgument).then_some(refusal)
    })
    .await;
    assert_eq!(refusal.field, "framework");
    assert!(refusal.message.contains("service") && refusal.message.contains("blue"), "{refusal}");
    assert!(refusal.hint.contains("--framework"), "{refusal}");
    let blue = ask("/v1/services/web?framework=blue&watch=1").await.expect("passed on");
    assert_eq!(blue, "blue /v1/services/web?watch=1");
    let service = ask("/v1/services?framework=service").await.expect("passed on");
    assert_eq!(service, "service /v1/services");
    let unknown = ask("/v1/services?framework=green").await;
    let Err(ClientError::Refused { refusal, .. }) = unknown else { panic!("{unknown:?}") };
    assert_eq!(refusal.code, RefusalCode::NotFound, "{refusal}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_sends_to_the_address_that_the_leader_advertises() {
    let store = MemoryStore::new(Limits::ETCD);
    let start = async |advertise: &str| {
        let store = StoreChoice::Given(Arc::new(store.clone()));
        Cluster::start_on(store, Some(advertise)).await
    };
    let leader = start("m1.example:80").await;
    assert_eq!(leader.url(), "http://m1.example:80");
    until("one leads", async || store.leader().await.expect("reachable")).await;
    let standby = start("m2.example").await;
    let at = standby.master.as_ref().expect("runs").address();
    let at = Endpoint::parse(&format!("http://{at}")).expect("an address");
    let client = HttpClient::new(&at.with_token(Some(standby.token.clone())));
    until("it sends to m1", async || {
        let ask = hyper::Request::new(axum::body::Body::empty());
        let drain = client.send(hyper::Method::POST, "/v1/agents/a1/drain", ask);
        let Err(ClientError::Refused { refusal, .. }) = drain.await else { panic!("no leader") };
        assert_eq!(refusal.code, RefusalCode::NotLeader, "{refusal}");
        refusal.to_string().contains("m1.example:80").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k8_a_suspended_leader_answers_reads_as_stale_and_refuses_calls() {
    let store = MemoryStore::new(Limits::ETCD);
    let cluster = Cluster::start_on(StoreChoice::Given(Arc::new(store.clone())), None).await;
    let client = cluster.leading().await;
    let overview = async || client.get::<pb::Overview>("/v1/overview").await.expect("a read");
    assert!(!overview().await.stale && !client.is_stale());
    store.set_reachable(false);
    let why = "its lease cannot be renewed";
    until(why, async || overview().await.stale.then_some(())).await;
    // Every answer bears the mark, over HTTP and gRPC alike.
    let roles: pb::ListRolesResponse = client.get("/v1/roles").await.expect("a read");
    assert!(client.is_stale() && roles.roles.iter().any(|role| role.name == "probe"));
    let endpoint = Endpoint::parse(cluster.url()).expect("an address");
    let channel = proffer_net::client::channel(&endpoint.with_token(Some(cluster.token.clone())));
    let mut grpc = pb::operator_service_client::OperatorServiceClient::new(channel);
    let marked = grpc.list_roles(pb::ListRolesRequest::default()).await.expect("a read");
    assert!(marked.metadata().contains_key(proffer_net::STALE));
    let refused = client
        .bytes::<pb::OperatorAnswer>(hyper::Method::POST, "/v1/agents/a1/drain", Vec::new())
        .await;
    let Err(ClientError::Refused { refusal, .. }) = refused else { panic!("{refused:?}") };
    // The term may have ended meanwhile.
    assert!(matches!(refusal.code, RefusalCode::Unavailable | RefusalCode::NotLeader), "{refusal}");
    drop(cluster);
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about")]
async fn k5_a_call_that_cannot_be_read_is_refused_alone() {
    use pb::call::{Kill, Kind, Snapshot};
    use pb::event::Kind as Event;
    let directory = tempfile::tempdir().expect("a directory");
    let cluster = Cluster::start(directory.path()).await;
    let _operator = cluster.leading().await;
    let mut framework = Subscription::open(&cluster, String::new()).await;
    assert!(matches!(framework.answer().await, Event::SnapshotEnd(_)), "the first one");
    let misnamed = Kill { task: "a b".to_owned(), ..Kill::default() };
    // One that means something, one misspelt, one of a later version.
    framework.say(vec![Some(Kind::Snapshot(Snapshot {})), Some(Kind::Kill(misnamed)), None]).await;
    let mut refused = Vec::new();
    let mut snapshots = 0;
    while refused.len() < 2 || snapshots < 1 {
        match framework.answer().await {
            Event::Refused(event) => refused.push((event.call, event.refusal.expect("says why"))),
            Event::SnapshotEnd(_) => snapshots += 1,
            other => panic!("{other:?}"),
        }
    }
    let said: Vec<_> = refused
        .iter()
        .map(|(call, refusal)| (call.as_str(), refusal.field.as_str(), refusal.code.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            ("kill", "calls[1].kill.task", "invalid_argument"),
            ("unknown", "calls[2]", "not_supported"),
        ]
    );
    framework.say(vec![Some(Kind::Snapshot(Snapshot {}))]).await;
    assert!(matches!(framework.answer().await, Event::SnapshotEnd(_)), "the stream lives");
    cluster.stop().await;
}
