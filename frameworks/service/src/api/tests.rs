//! The API over real HTTP, the real core behind it, on the SDK's cluster in memory.

use super::types::*;
use super::{Doors, routes};
use crate::board::Board;
use crate::calls::{Caller, Waiting};
use crate::metrics::{LoopMetrics, Metrics};
use futures_util::StreamExt;
use proffer_net::{
    ClientError, Decision, Endpoint, HttpClient, ListenConfig, Listener, Principal, Token, Tokens,
};
use proffer_sdk::testing::Bench;
use proffer_service_core::{ServiceCommand, ServiceConfig, ServiceFramework};
use proffer_types::rights::{Object, Verb};
use proffer_types::scheduler::FrameworkInfo;
use proffer_types::{DurationMs, FrameworkName, RefusalCode, RoleName, TaskName, TaskState};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const FILE: &str = "schema: service/v1
services:
  web:
    instances: 3
    command: [/bin/server]
    ports: {web: {protocol: http}}
    rollout: {min_available_time: 0s}
";

fn framework() -> ServiceFramework {
    let role = RoleName::new("services").expect("valid");
    ServiceFramework::new(ServiceConfig {
        info: FrameworkInfo {
            name: FrameworkName::new("service").expect("valid"),
            roles: BTreeSet::from([role.clone()]),
            api_url: String::new(),
            failover_timeout: None,
            labels: BTreeMap::new(),
        },
        role,
    })
}

/// The framework's loop, with a cluster in memory in the place of a master; its time passes a
/// hundredfold.
async fn turn(
    (board, waiting, mut metrics): (Arc<Board>, Arc<Waiting>, LoopMetrics),
    mut inputs: mpsc::Receiver<ServiceCommand>,
    stop: CancellationToken,
) {
    let mut bench = Bench::new(framework());
    bench.agent("one", "cpus:64;mem:64GiB;ports:[31000-31999]");
    let mut pause = tokio::time::interval(Duration::from_millis(5));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(command) = inputs.recv() => bench.input(command),
            _ = pause.tick() => {}
        }
        bench.run_all();
        for (task, _, state) in bench.live() {
            if state == TaskState::Running {
                bench.master().check_task(&TaskName::new(&task).expect("listed"), true);
            }
        }
        bench.advance(DurationMs(500));
        metrics.turn(bench.framework());
        board.publish(bench.framework());
        waiting.answer(bench.framework_mut().take_answers());
    }
}

struct Server {
    client: HttpClient,
    url: String,
    _stop: tokio_util::sync::DropGuard,
}

async fn server() -> Server {
    let token = Token::opaque("secret");
    let listener = Listener::bind(ListenConfig {
        address: "127.0.0.1:0".parse().expect("an address"),
        tls: None,
        insecure: false,
        tokens: Tokens::one("dev", token.clone()),
    })
    .await
    .expect("loopback may be opened");
    let url = listener.url();
    let (board, waiting) = (Arc::new(Board::new()), Arc::new(Waiting::default()));
    let (sender, inputs) = mpsc::channel(16);
    let stop = CancellationToken::new();
    let (metrics, loop_metrics) = Metrics::new(Arc::clone(&board));
    let shown = (Arc::clone(&board), Arc::clone(&waiting), loop_metrics);
    tokio::spawn(turn(shown, inputs, stop.clone()));
    let caller = Caller { waiting, inputs: sender, next: Arc::new(AtomicU64::new(1)) };
    let metrics = Arc::new(metrics);
    let doors = Doors { board, caller, metrics, shutdown: stop.clone() };
    let allow = |_: &Principal, _: Verb, _: &Object| Decision::Allow;
    let served =
        proffer_net::serve_routes(listener, routes(doors), false, Arc::new(allow), stop.clone());
    tokio::spawn(served);
    let endpoint = Endpoint::parse(&url).expect("its own address").with_token(Some(token));
    Server { client: HttpClient::new(&endpoint), url, _stop: stop.drop_guard() }
}

impl Server {
    async fn post<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &str,
    ) -> Result<T, ClientError> {
        self.client.bytes(axum::http::Method::POST, path, body.as_bytes().to_vec()).await
    }

    /// Asks until the answer satisfies `is`; the calls themselves make time pass.
    async fn until(&self, is: impl Fn(&ServiceView) -> bool) -> ServiceView {
        for _ in 0..2000 {
            if let Ok(view) = self.client.get::<ServiceView>("/v1/services/web").await
                && is(&view)
            {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("it never came to that");
    }
}

fn code(error: ClientError) -> RefusalCode {
    match error {
        ClientError::Refused { refusal, .. } => refusal.code,
        ClientError::Unreachable { .. } | ClientError::Answer { .. } => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_service_is_deployed_looked_at_changed_and_removed() {
    let server = server().await;
    let reply: ServiceReply =
        server.post("/v1/services?if_revision=0&message=first", FILE).await.expect("accepted");
    assert_eq!(reply.services[0].change, ChangeKind::Created);
    let view = server.until(|view| view.summary.rollout.state == RolloutState::Succeeded).await;
    assert_eq!(view.summary.rollout.number, reply.services[0].rollout);
    assert_eq!(view.history[0].author, "token:dev");
    assert_eq!(view.history[0].message, "first");
    let endpoints: EndpointsView =
        server.client.get("/v1/services/web/endpoints").await.expect("there");
    let ports: BTreeSet<u16> = endpoints.endpoints.iter().map(|endpoint| endpoint.port).collect();
    assert_eq!(ports.len(), 3);
    assert!(ports.iter().all(|port| (31000..32000).contains(port)));
    let instances: InstanceList =
        server.client.get("/v1/services/web/instances").await.expect("there");
    assert_eq!(instances.instances.len(), 3);
    let why: WhyView = server.client.get("/v1/services/web/why").await.expect("there");
    assert!(why.summary.contains("nothing is waited for"), "{}", why.summary);
    let scaled: ServiceReply =
        server.post("/v1/services/web/scale", r#"{"to": {"more": 2}}"#).await.expect("accepted");
    assert_eq!(scaled.services[0].instances, 5);
    server.until(|view| view.summary.ready == 5).await;
    let refused = server.post::<Value>("/v1/services?if_revision=7", FILE).await;
    assert_eq!(code(refused.expect_err("there is r1 only")), RefusalCode::VersionConflict);
    let path = "/v1/services/web";
    let gone: ServiceReply =
        server.client.bytes(axum::http::Method::DELETE, path, Vec::new()).await.expect("accepted");
    assert_eq!(gone.services[0].change, ChangeKind::Removed);
    for _ in 0..2000 {
        let list: ServiceList = server.client.get("/v1/services").await.expect("there");
        if list.services.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("it is never removed");
}

#[tokio::test]
async fn streams_tell_what_is_and_what_changes() {
    let server = server().await;
    server.post::<Value>("/v1/services", FILE).await.expect("accepted");
    let mut views = Box::pin(
        server.client.events("/v1/services/web?watch=1", None).await.expect("it is there"),
    );
    let rolled = async {
        while let Some(event) = views.next().await {
            let view: ServiceView =
                serde_json::from_str(&event.expect("arrives").data).expect("a view");
            if view.summary.rollout.state == RolloutState::Succeeded {
                return;
            }
        }
        panic!("the stream ended");
    };
    tokio::time::timeout(Duration::from_secs(20), rolled).await.expect("in time");
    let page: EventPage =
        server.client.get("/v1/services/web/events?limit=2").await.expect("there");
    assert_eq!((page.events.len(), page.has_gap), (2, false));
    let after = format!("/v1/services/-/events?watch=1&after={}", page.cursor);
    let mut events = Box::pin(server.client.events(&after, None).await.expect("there"));
    let next = tokio::time::timeout(Duration::from_secs(20), events.next()).await.expect("in time");
    let next: ServiceEvent =
        serde_json::from_str(&next.expect("more").expect("arrives").data).expect("an event");
    let rest: EventPage = server
        .client
        .get(&format!("/v1/services/web/events?after={}&limit=1", page.cursor))
        .await
        .expect("there");
    assert_eq!(rest.events[0], next, "nothing is skipped");
}

#[tokio::test]
async fn a_faulty_file_is_refused_with_all_its_faults() {
    let server = server().await;
    let file = "schema: service/v1\nservices:\n  web:\n    comand: [x]\n    instances: many\n";
    for path in ["/v1/services", "/v1/services/-/validate"] {
        let error = server.post::<Value>(path, file).await.expect_err("refused");
        let ClientError::Refused { refusal, .. } = error else { panic!("{error}") };
        assert_eq!(refusal.code, RefusalCode::InvalidArgument);
        assert!(refusal.message.contains("more faults"), "{refusal}");
    }
    let well: Validation = server.post("/v1/services/-/validate", FILE).await.expect("accepted");
    assert_eq!(well.services[0].as_str(), "web");
    let list: ServiceList = server.client.get("/v1/services").await.expect("there");
    assert_eq!(list.services, [], "validating deploys nothing");
}

#[tokio::test]
async fn who_shows_no_token_is_not_let_in_and_what_is_not_there_is_not_found() {
    let server = server().await;
    let stranger = HttpClient::new(&Endpoint::parse(&server.url).expect("an address"));
    let error = stranger.get::<Value>("/v1/services").await.expect_err("no token");
    assert_eq!(code(error), RefusalCode::Unauthenticated);
    server.post::<Value>("/v1/services", FILE).await.expect("accepted");
    let error = server.client.get::<Value>("/v1/services/wbe").await.expect_err("a typo");
    let ClientError::Refused { refusal, .. } = error else { panic!("{error}") };
    assert_eq!((refusal.code, refusal.hint.as_str()), (RefusalCode::NotFound, "did you mean web?"));
    for (path, body) in [
        ("/v1/services/web/scale", "{}"),
        ("/v1/services/web/scale", r#"{"to": {"count": -1}}"#),
        ("/v1/services/web/scale", r#"{"to": {"count": 99999}}"#),
        ("/v1/services/web/rollback", r#"{"two": 1}"#),
        ("/v1/services/web/rollback", ""),
        ("/v1/services/UPPER/stop", ""),
    ] {
        let error = server.post::<Value>(path, body).await.expect_err(path);
        let known = [RefusalCode::InvalidArgument, RefusalCode::NotFound];
        assert!(known.contains(&code(error)), "{path} {body}");
    }
    assert_eq!(json!(RefusalCode::NotFound), "not_found");
}

#[test]
fn the_master_lists_just_what_is_served_here() {
    let listed: BTreeSet<String> = proffer_proto::routes::ROUTES
        .iter()
        .filter(|route| route.path.starts_with("/v1/services"))
        .map(|route| format!("{} {} {:?}", route.method.as_str(), route.path, route.access()))
        .collect();
    let served: BTreeSet<String> = super::paths()
        .table()
        .rules()
        .map(|rule| format!("{} {} {:?}", rule.method, rule.pattern, rule.access))
        .collect();
    assert_eq!(listed, served);
}

#[tokio::test]
async fn metrics_tell_services_instances_rollouts_and_commits() {
    let server = server().await;
    server.post::<Value>("/v1/services", FILE).await.expect("accepted");
    server.until(|view| view.summary.rollout.state == RolloutState::Succeeded).await;
    let chunks = server.client.stream("/metrics").await.expect("there");
    let bytes: Vec<_> = chunks.map(|chunk| chunk.expect("whole")).collect().await;
    let text = String::from_utf8(bytes.concat()).expect("text");
    for line in [
        "proffer_service_services{status=\"running\"} 1",
        "proffer_service_instances{phase=\"available\"} 3",
        "proffer_service_rollouts_total{outcome=\"succeeded\"} 1",
        "proffer_service_active 1",
    ] {
        assert!(text.contains(line), "{line} in:\n{text}");
    }
    let number = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(name)).expect(name);
        line.rsplit(' ').next().and_then(|text| text.parse().ok()).expect("a number")
    };
    assert!(number("proffer_service_turns_total") > 0.0);
    assert!(number("proffer_service_view_changes_total") > 0.0);
    assert!(number("proffer_service_commit_seconds_count") > 0.0);
}
