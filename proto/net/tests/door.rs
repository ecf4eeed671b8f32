//! The listener and the client against each other, on loopback: who is let in, who is not, and what a
//! hostile or clumsy caller gets.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path as Captured, Query};
use axum::http::{Method, Request, StatusCode};
use axum::response::sse;
use axum::{Extension, Json};
use futures_util::{StreamExt, TryStreamExt};
use proffer_net::tls::ClientTlsFiles;
use proffer_net::{
    ClientError, Decision, Endpoint, Gate, HttpClient, ListenConfig, Listener, Peer, Principal,
    PrincipalKind, Routes, TlsFiles, Token, Tokens,
};
use proffer_types::refusal::{Refusal, RefusalCode};
use proffer_types::rights::{Access, Object, ObjectKind, Verb};
use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const DEADLINE: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    url: String,
    shutdown: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Running {
    fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&self.url).unwrap().with_token(Some(Token::parse(TOKEN).unwrap()))
    }

    fn client(&self) -> HttpClient {
        HttpClient::new(&self.endpoint())
    }

    /// Sends bytes as they are and returns what comes back until the other side closes.
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = tokio::time::timeout(DEADLINE, stream.read_to_string(&mut answer)).await;
        let _ = read.expect("an answer within the deadline");
        answer
    }

    async fn status(&self, request_line: &str, headers: &str) -> String {
        let request = format!("{request_line} HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
        let answer = self.raw(&request).await;
        answer.split(' ').nth(1).unwrap_or("closed").to_owned()
    }
}

async fn start(config: ListenConfig) -> Running {
    let listener = Listener::bind(config).await.expect("listen");
    let shutdown = CancellationToken::new();
    let running =
        Running { address: listener.address(), url: listener.url(), shutdown: shutdown.clone() };
    tokio::spawn(proffer_net::serve_routes(listener, routes(), true, Arc::new(may), shutdown));
    running
}

fn plain() -> ListenConfig {
    ListenConfig {
        address: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        insecure: false,
        tokens: Tokens::one("dev", Token::parse(TOKEN).unwrap()),
    }
}

/// Agents only join; everybody else may do everything but remove the forbidden one.
fn may(principal: &Principal, verb: Verb, object: &Object) -> Decision {
    let agent = principal.kind() == PrincipalKind::Agent;
    if object.name.as_deref() == Some("forbidden") || (agent && verb != Verb::Register) {
        let message = format!("{principal} may not {verb:?} {object}");
        return Decision::Deny(Refusal::new(RefusalCode::PermissionDenied, "", message));
    }
    Decision::Allow
}

fn routes() -> Routes {
    let access = |verb| Access::new(verb, ObjectKind::Agent);
    let greet = async || "page";
    let who = async |Extension(peer): Extension<Peer>| Json(peer.principal.to_string());
    let echo = async |Json(value): Json<serde_json::Value>| Json(value);
    let remove = async |Captured(id): Captured<String>| Json(id);
    let item = async |Captured(number): Captured<u32>| Json(number);
    let count = async |Query(query): Query<std::collections::BTreeMap<String, u32>>| {
        Json(query.values().sum::<u32>())
    };
    let follow = async || {
        let event = |i: u32| sse::Event::default().id(i.to_string()).data(format!("line {i}"));
        let events = futures_util::stream::iter(0..3).map(move |i| Ok::<_, axum::Error>(event(i)));
        sse::Sse::new(events)
    };
    let bytes = async || {
        let chunks =
            futures_util::stream::iter(0..100).map(|i| Ok::<_, axum::Error>(vec![i; 1000]));
        Body::from_stream(chunks)
    };
    Routes::new()
        .get("/", access(Verb::Read), greet)
        .get("/who", access(Verb::Read), who)
        .post("/join", access(Verb::Register), async |Extension(peer): Extension<Peer>| {
            Json(peer.principal.to_string())
        })
        .post("/echo", access(Verb::Change), echo)
        .delete("/things/{id}", access(Verb::Change), remove)
        .get("/items/{number}", access(Verb::Read), item)
        .get("/count", access(Verb::Read), count)
        .get("/events", access(Verb::Read), follow)
        .get("/bytes", access(Verb::Read), bytes)
}

fn refusal(error: ClientError) -> (StatusCode, Refusal) {
    let ClientError::Refused { status, refusal } = error else { panic!("not refused: {error}") };
    (status, refusal)
}

#[tokio::test]
async fn a_known_token_is_let_in_with_its_name() {
    let server = start(plain()).await;
    let client = server.client();
    assert_eq!(client.get::<String>("/who").await.unwrap(), "token:dev");
    let value = serde_json::json!({"a": [1, 2]});
    let echoed: serde_json::Value = client.json(Method::POST, "/echo", Some(&value)).await.unwrap();
    assert_eq!(echoed, value);
    let events: Vec<_> = client.events("/events", None).await.unwrap().try_collect().await.unwrap();
    assert_eq!(
        events.iter().map(|e| e.data.as_str()).collect::<Vec<_>>(),
        ["line 0", "line 1", "line 2"]
    );
    let chunks: Vec<_> = client.stream("/bytes").await.unwrap().try_collect().await.unwrap();
    assert_eq!(chunks.iter().map(bytes::Bytes::len).sum::<usize>(), 100_000);
}

#[tokio::test]
async fn k20_nobody_is_let_in_without_proof() {
    let server = start(plain()).await;
    let nobody = HttpClient::new(&Endpoint::parse(&server.url).unwrap());
    let wrong = Token::parse("another-token-of-some-length").unwrap();
    let wrong = HttpClient::new(&Endpoint::parse(&server.url).unwrap().with_token(Some(wrong)));
    for client in [nobody, wrong] {
        for path in ["/", "/who", "/events", "/nowhere"] {
            let (status, refusal) = refusal(client.get::<String>(path).await.unwrap_err());
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
            assert_eq!(refusal.code, RefusalCode::Unauthenticated);
            assert!(!refusal.hint.is_empty());
        }
    }
}

#[tokio::test]
async fn k20_what_is_denied_or_unknown_says_so() {
    let server = start(plain()).await;
    let client = server.client();
    let denied = client.json::<String>(Method::DELETE, "/things/forbidden", None::<&()>).await;
    let (status, refused) = refusal(denied.unwrap_err());
    assert_eq!((status, refused.code), (StatusCode::FORBIDDEN, RefusalCode::PermissionDenied));
    assert_eq!(refused.message, "token:dev may not Change agent forbidden");
    let (status, refused) = refusal(client.get::<String>("/v2/agents").await.unwrap_err());
    assert_eq!((status, refused.code), (StatusCode::NOT_FOUND, RefusalCode::NotFound));
    assert!(refused.message.contains("GET /v2/agents"), "{refused}");
}

#[tokio::test]
async fn a_wrong_method_is_told_which_ones_there_are() {
    let server = start(plain()).await;
    let call = |method: &str, path: &str| {
        format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {TOKEN}\r\n\
             content-length: 0\r\nconnection: close\r\n\r\n"
        )
    };
    for (method, path, allowed) in [
        ("POST", "/who", "GET, HEAD"),
        ("DELETE", "/echo", "POST"),
        ("GET", "/things/one", "DELETE"),
    ] {
        let answer = server.raw(&call(method, path)).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
        assert_eq!(head.split(' ').nth(1), Some("405"), "{answer}");
        assert!(
            head.to_lowercase().contains(&format!("allow: {}", allowed.to_lowercase())),
            "{head}"
        );
        let refusal: Refusal = serde_json::from_str(body).expect("a refusal");
        assert_eq!((refusal.code, refusal.field.as_str()), (RefusalCode::NotSupported, "method"));
        assert!(refusal.hint.contains(allowed), "{refusal}");
    }
}

/// What an extractor does not take is refused in the form of every other refusal.
#[tokio::test]
async fn what_a_handler_cannot_read_is_a_refusal_with_its_field() {
    let server = start(plain()).await;
    let client = server.client();
    let echo = |body: &str, kind: &str| {
        format!(
            "POST /echo HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {TOKEN}\r\n\
             content-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    for (body, kind, status, field) in [
        ("{\"a\":", "application/json", "400", "body"),
        ("{}", "text/plain", "415", "content-type"),
    ] {
        let answer = server.raw(&echo(body, kind)).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let refusal: Refusal = serde_json::from_str(body).expect("a refusal");
        assert_eq!((refusal.code, refusal.field.as_str()), (RefusalCode::InvalidArgument, field));
        assert!(!refusal.message.is_empty());
    }
    let count = client.get::<u32>("/count?of=many").await;
    let (status, refused) = refusal(count.unwrap_err());
    assert_eq!((status, refused.field.as_str()), (StatusCode::BAD_REQUEST, "query"));
    let item = client.get::<u32>("/items/many").await;
    let (status, refused) = refusal(item.unwrap_err());
    assert_eq!((status, refused.field.as_str()), (StatusCode::BAD_REQUEST, "path"));
}

#[tokio::test]
async fn k20_a_handler_without_a_rule_cannot_be_reached() {
    let listener = Listener::bind(plain()).await.unwrap();
    let (router, table) = routes().into_parts();
    let router = router.route("/backdoor", axum::routing::get(async || "open"));
    let gate = Arc::new(Gate::new(listener.gate_config(true), table, Arc::new(may)));
    let shutdown = CancellationToken::new();
    let server =
        Running { address: listener.address(), url: listener.url(), shutdown: shutdown.clone() };
    tokio::spawn(proffer_net::serve(listener, router, gate, shutdown));
    let refused = server.client().stream("/backdoor").await.err().expect("refused");
    assert_eq!(refusal(refused).0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn k20_other_names_and_other_origins_are_refused() {
    let server = start(plain()).await;
    let port = server.address.port();
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    let host = format!("host: 127.0.0.1:{port}\r\n");
    let get = "GET /who";
    assert_eq!(server.status(get, &format!("{host}{bearer}")).await, "200");
    let rebound = format!("host: evil.example:{port}\r\n{bearer}");
    assert_eq!(server.status(get, &rebound).await, "403");
    assert_eq!(server.status(get, &bearer).await, "403", "a call without a name");
    let own = format!("{host}{bearer}origin: http://127.0.0.1:{port}\r\n");
    assert_eq!(server.status(get, &own).await, "200");
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        let foreign = format!("{host}{bearer}origin: {origin}\r\n");
        assert_eq!(server.status(get, &foreign).await, "403", "{origin}");
    }
    let fetched =
        format!("{host}{bearer}sec-fetch-site: cross-site\r\nsec-fetch-mode: no-cors\r\n");
    assert_eq!(server.status(get, &fetched).await, "403");
}

#[tokio::test]
async fn k20_a_browser_logs_in_by_address_and_a_cookie_alone_changes_nothing() {
    let server = start(plain()).await;
    let port = server.address.port();
    let host = format!("host: 127.0.0.1:{port}\r\n");
    let answer = server
        .raw(&format!("GET /?token={TOKEN} HTTP/1.1\r\n{host}connection: close\r\n\r\n"))
        .await;
    let cookie =
        answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    assert_eq!(pair, format!("proffer-{port}={TOKEN}"));
    let with = format!("{host}cookie: other=1; {pair}\r\n");
    assert_eq!(server.status("GET /", &with).await, "200");
    assert_eq!(server.status("GET /who", &with).await, "200");
    assert_eq!(server.status("DELETE /things/x", &with).await, "403", "no origin, no change");
    let own = format!("{with}origin: http://127.0.0.1:{port}\r\n");
    assert_eq!(server.status("DELETE /things/x", &own).await, "200");
    assert_eq!(server.status("GET /?token=wrong", &host).await, "401");
    assert_eq!(server.status("GET /", &host).await, "401");
}

#[tokio::test]
async fn malformed_and_oversized_calls_are_answered_or_cut() {
    let server = start(plain()).await;
    let head = format!(
        "host: 127.0.0.1:{}\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n",
        server.address.port()
    );
    assert_eq!(server.status("GET", &head).await, "400");
    assert_eq!(server.raw("\0\0\0\0 garbage\r\n\r\n").await.split(' ').nth(1), Some("400"));
    let long = format!("{head}x-long: {}\r\n", "x".repeat(1 << 20));
    assert!(["431", "closed"].contains(&server.status("GET /who", &long).await.as_str()));
    let not_json = format!("{head}content-length: 3\r\nconnection: close\r\n\r\n{{]}}");
    let answer = server.raw(&format!("POST /echo HTTP/1.1\r\n{not_json}")).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let heavy = vec![b'1'; 9 << 20];
    let request = Request::builder().header("content-type", "application/json");
    let request = request.body(Body::from(heavy)).unwrap();
    let refused = server.client().send(Method::POST, "/echo", request).await;
    match refused {
        Err(ClientError::Refused { status, .. }) => {
            assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        }
        Err(ClientError::Unreachable { .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(server.client().get::<String>("/who").await.unwrap(), "token:dev");
}

#[tokio::test]
async fn a_client_finds_the_address_that_answers() {
    let server = start(plain()).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let list = format!("{closed},{}", server.address);
    let token = Token::parse(TOKEN).unwrap();
    let client = HttpClient::new(&Endpoint::parse(&list).unwrap().with_token(Some(token)));
    for _ in 0..3 {
        assert_eq!(client.get::<String>("/who").await.unwrap(), "token:dev");
    }
    let nobody = HttpClient::new(&Endpoint::parse(&closed.to_string()).unwrap());
    let error = nobody.get::<String>("/who").await.unwrap_err();
    assert!(error.is_transient());
    assert!(error.to_string().starts_with(&format!("cannot reach {closed}: ")), "{error}");
}

#[tokio::test]
async fn an_insecure_listener_says_so_of_its_callers() {
    let config = ListenConfig { insecure: true, tokens: Tokens::default(), ..plain() };
    let server = start(config).await;
    let nobody = HttpClient::new(&Endpoint::parse(&server.url).unwrap());
    assert_eq!(nobody.get::<String>("/who").await.unwrap(), "insecure");
}

#[tokio::test]
async fn shutdown_closes_the_port_and_open_streams() {
    let server = start(plain()).await;
    let mut open = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(server.client().get::<String>("/who").await.unwrap(), "token:dev");
    server.shutdown.cancel();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(DEADLINE, open.read_to_end(&mut rest)).await;
    let _ = ended.expect("closed within the deadline");
    let gone = async {
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.expect("the port is closed");
}

/// A certificate authority of one test.
struct Authority {
    directory: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    ca: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test CA");
        let certificate = params.self_signed(&key).unwrap();
        let ca = directory.path().join("ca.pem");
        std::fs::write(&ca, certificate.pem()).unwrap();
        Self { directory, issuer: Issuer::new(params, key), ca }
    }

    fn issue(&self, file: &str, names: Vec<SanType>) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |end: &str| self.directory.path().join(format!("{file}.{end}"));
        std::fs::write(path("pem"), certificate.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        (path("pem"), path("key"))
    }

    fn server(&self) -> TlsFiles {
        let (certificate, key) =
            self.issue("server", vec![SanType::IpAddress("127.0.0.1".parse().unwrap())]);
        TlsFiles { certificate, key, client_ca: self.ca.clone() }
    }

    fn identity(&self, uri: &str) -> (PathBuf, PathBuf) {
        let file = uri.replace(['/', ':'], "_");
        self.issue(&file, vec![SanType::URI(uri.try_into().unwrap())])
    }
}

fn tls_client(server: &Running, ca: &Path, identity: Option<(PathBuf, PathBuf)>) -> HttpClient {
    let files = ClientTlsFiles { ca: ca.to_owned(), identity };
    HttpClient::new(&Endpoint::parse(&server.url).unwrap().with_tls(Some(&files)).unwrap())
}

#[tokio::test]
async fn k20_certificates_are_verified_on_both_sides_and_name_the_caller() {
    let authority = Authority::new();
    let server =
        start(ListenConfig { tls: Some(authority.server()), tokens: Tokens::default(), ..plain() })
            .await;
    assert!(server.url.starts_with("https://"));
    let operator = authority.identity("proffer://operator/ann");
    let client = tls_client(&server, &authority.ca, Some(operator));
    assert_eq!(client.get::<String>("/who").await.unwrap(), "cert:proffer://operator/ann");

    let agent = tls_client(&server, &authority.ca, Some(authority.identity("proffer://agent/a7")));
    let joined: String = agent.json(Method::POST, "/join", None::<&()>).await.unwrap();
    assert_eq!(joined, "cert:proffer://agent/a7");
    let (status, _) = refusal(agent.get::<String>("/who").await.unwrap_err());
    assert_eq!(status, StatusCode::FORBIDDEN, "an agent only joins");

    let nobody = tls_client(&server, &authority.ca, None);
    let (status, _) = refusal(nobody.get::<String>("/who").await.unwrap_err());
    assert_eq!(status, StatusCode::UNAUTHORIZED, "a browser without a certificate needs a token");

    let other = Authority::new();
    let stranger =
        tls_client(&server, &authority.ca, Some(other.identity("proffer://operator/eve")));
    let error = stranger.get::<String>("/who").await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "another CA: {error}");
    let fooled = tls_client(&server, &other.ca, None);
    let error = fooled.get::<String>("/who").await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "a server of another CA: {error}");
}

#[tokio::test]
async fn k20_a_tls_port_speaks_no_plain_text_and_a_plain_port_no_tls() {
    let authority = Authority::new();
    let tls = start(ListenConfig { tls: Some(authority.server()), ..plain() }).await;
    assert_eq!(tls.status("GET /who", "host: 127.0.0.1\r\n").await, "closed");
    let plain = start(plain()).await;
    let files = ClientTlsFiles { ca: authority.ca.clone(), identity: None };
    let url = plain.url.replace("http://", "https://");
    let client = HttpClient::new(&Endpoint::parse(&url).unwrap().with_tls(Some(&files)).unwrap());
    assert!(matches!(client.get::<String>("/who").await, Err(ClientError::Unreachable { .. })));
}
