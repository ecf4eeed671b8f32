//! Owns HTTP calls: JSON in and out, and bodies that stream. A call goes where a master that does not
//! lead says that the leader is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use http_body_util::{BodyExt, BodyStream, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use proffer_types::refusal::{Refusal, RefusalCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::connector::{Connector, Protocol};
use super::endpoint::Endpoint;
use super::events::{Event, EventError, EventReader};

/// An answer that is read whole is at most this long.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Masters that one call goes to at most: they may still name each other while a leader is elected.
const HOPS_MAX: usize = 4;

/// The header, and the gRPC metadata, of an answer that may be out of date (K8).
pub const STALE: &str = "proffer-stale";

/// Until the head of the answer is there.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// A call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The other side said no.
    #[error("{refusal}")]
    Refused {
        /// Its HTTP status.
        status: StatusCode,
        /// What it said.
        refusal: Refusal,
    },
    /// Nobody answered.
    #[error("cannot reach {tried}: {reason}")]
    Unreachable {
        /// The addresses.
        tried: String,
        /// The last failures.
        reason: String,
    },
    /// An answer came that is not what it should be, or broke off.
    #[error("{method} {path}: {reason}")]
    Answer {
        /// Of the call.
        method: Method,
        /// Of the call.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

impl ClientError {
    /// Whether the same call may succeed a little later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused { refusal, .. } => {
                matches!(refusal.code, RefusalCode::NotLeader | RefusalCode::Unavailable)
            }
            Self::Unreachable { .. } => true,
            Self::Answer { .. } => false,
        }
    }
}

/// Calls one of the addresses of an endpoint. Clones share what they learn.
#[derive(Clone)]
pub struct HttpClient {
    given: Way,
    /// Where the leader was found.
    leader: Arc<Mutex<Option<Way>>>,
    stale: Arc<AtomicBool>,
}

/// A way to the addresses of one endpoint.
#[derive(Clone)]
struct Way {
    endpoint: Endpoint,
    connector: Connector,
    client: Client<Connector, Body>,
}

/// A request that can be sent again.
struct Call<'a> {
    method: Method,
    path: &'a str,
    headers: HeaderMap,
    body: Bytes,
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpClient").field("endpoint", &self.given.endpoint).finish_non_exhaustive()
    }
}

impl HttpClient {
    /// Connects when the first call needs it.
    #[must_use]
    pub fn new(endpoint: &Endpoint) -> Self {
        Self { given: Way::new(endpoint.clone()), leader: Arc::default(), stale: Arc::default() }
    }

    /// Whether there is a token to show now.
    #[must_use]
    pub fn shows_token(&self) -> bool {
        let leader = self.leader().clone();
        leader.as_ref().unwrap_or(&self.given).endpoint.token().is_some()
    }

    /// Whether the last answer came from a leader that cannot confirm its lease: it may be out of date.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(Method::GET, path, None::<&()>).await
    }

    /// Sends JSON, reads JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        const JSON: HeaderValue = HeaderValue::from_static("application/json");
        let wrong = |reason: String| answer_error(&method, path, reason);
        let body = body.map(serde_json::to_vec).transpose().map_err(|e| wrong(e.to_string()))?;
        let mut headers = HeaderMap::from_iter([(header::ACCEPT, JSON)]);
        if body.is_some() {
            headers.insert(header::CONTENT_TYPE, JSON);
        }
        let body = Bytes::from(body.unwrap_or_default());
        let answer = self.call(Call { method: method.clone(), path, headers, body }).await?;
        let bytes = whole(answer).await.map_err(wrong)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| wrong(format!("not the JSON expected: {error}")))
    }

    /// Sends bytes, reads JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn bytes<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, ClientError> {
        let (headers, body) = (HeaderMap::new(), Bytes::from(body));
        let answer = self.call(Call { method: method.clone(), path, headers, body }).await?;
        let bytes = whole(answer).await.map_err(|why| answer_error(&method, path, why))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| answer_error(&method, path, format!("not the JSON expected: {error}")))
    }

    /// Reads a body as it comes: logs, files.
    ///
    /// # Errors
    /// See [`ClientError`]; the items fail if the connection breaks.
    pub async fn stream(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, ClientError>> + use<>, ClientError> {
        let answer = self.call(Call::get(path, HeaderMap::new())).await?;
        let path = path.to_owned();
        let frames = BodyStream::new(answer.into_body());
        Ok(frames
            .try_filter_map(|frame| async move { Ok(frame.into_data().ok()) })
            .map_err(move |error| answer_error(&Method::GET, &path, chain(&error))))
    }

    /// Follows server-sent events. `last_id`: the id of the last one seen, to resume after it.
    ///
    /// # Errors
    /// See [`ClientError`]; the items fail if the connection breaks.
    pub async fn events(
        &self,
        path: &str,
        last_id: Option<&str>,
    ) -> Result<impl Stream<Item = Result<Event, ClientError>> + use<>, ClientError> {
        const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
        let mut headers = HeaderMap::from_iter([(header::ACCEPT, EVENTS)]);
        if let Some(id) = last_id {
            let id = HeaderValue::from_str(id)
                .map_err(|error| answer_error(&Method::GET, path, error.to_string()))?;
            headers.insert("last-event-id", id);
        }
        let answer = self.call(Call::get(path, headers)).await?;
        let path = path.to_owned();
        let mut reader = EventReader::default();
        let frames = BodyStream::new(answer.into_body());
        let bytes = frames.try_filter_map(|frame| async move { Ok(frame.into_data().ok()) });
        let failed = path.clone();
        Ok(bytes
            .map_err(move |error| answer_error(&Method::GET, &failed, chain(&error)))
            .map_ok(move |bytes| {
                let path = path.clone();
                let read = reader.read(&bytes).into_iter();
                futures_util::stream::iter(read.map(move |event| {
                    event.map_err(|error: EventError| {
                        answer_error(&Method::GET, &path, error.to_string())
                    })
                }))
            })
            .try_flatten())
    }

    /// Sends any request to the addresses given; its method and path are set here. An answer that is not
    /// a success becomes a refusal.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, ClientError> {
        self.given.send(method, path, request).await
    }

    /// Sends a request to the leader, wherever masters say that it is.
    async fn call(&self, call: Call<'_>) -> Result<Response<Incoming>, ClientError> {
        let mut others = self.given.endpoint.addresses().iter();
        let mut way = self.leader().clone().unwrap_or_else(|| self.given.clone());
        let mut hops = 0;
        loop {
            let sent = way.send(call.method.clone(), call.path, call.request()).await;
            let next = match &sent {
                Err(ClientError::Refused { refusal, .. })
                    if refusal.code == RefusalCode::NotLeader =>
                {
                    let asked = way.connector.current().clone();
                    let named = refusal.leader().and_then(|leader| way.endpoint.toward(leader));
                    named.or_else(|| {
                        let other = others.find(|address| **address != asked)?.clone();
                        Some(self.given.endpoint.clone().with_addresses(vec![other]))
                    })
                }
                Ok(answer) => {
                    self.stale.store(answer.headers().contains_key(STALE), Ordering::Relaxed);
                    if hops > 0 {
                        *self.leader() = Some(way);
                    }
                    return sent;
                }
                Err(_) => None,
            };
            match next {
                Some(endpoint) if hops < HOPS_MAX => way = Way::new(endpoint),
                Some(_) | None => {
                    *self.leader() = None;
                    return sent;
                }
            }
            hops += 1;
        }
    }

    fn leader(&self) -> MutexGuard<'_, Option<Way>> {
        self.leader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Call<'a> {
    fn get(path: &'a str, headers: HeaderMap) -> Self {
        Self { method: Method::GET, path, headers, body: Bytes::new() }
    }

    fn request(&self) -> Request<Body> {
        let mut request = Request::new(Body::from(self.body.clone()));
        *request.headers_mut() = self.headers.clone();
        request
    }
}

impl Way {
    fn new(endpoint: Endpoint) -> Self {
        let connector = Connector::new(&endpoint, Protocol::Http1);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector.clone());
        Self { endpoint, connector, client }
    }

    fn authorization(&self) -> Option<HeaderValue> {
        let token = self.endpoint.token()?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal())).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, ClientError> {
        let wrong = |reason: String| answer_error(&method, path, reason);
        let address = self.connector.current().authority();
        let uri = format!("http://{address}{path}").parse();
        *request.uri_mut() = uri.map_err(|error| wrong(format!("not a path: {error}")))?;
        *request.method_mut() = method.clone();
        if let Some(authorization) = self.authorization() {
            request.headers_mut().insert(header::AUTHORIZATION, authorization);
        }
        let sent = tokio::time::timeout(ANSWER_TIME_MAX, self.client.request(request)).await;
        let sent = sent.map_err(|_| wrong("no answer within 30 s".to_owned()))?;
        let answer = sent.map_err(|error| self.unreachable(&error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let bytes = whole(answer).await.map_err(wrong)?;
        let refusal = read_refusal(status, &bytes);
        Err(ClientError::Refused { status, refusal })
    }

    fn unreachable(&self, error: &hyper_util::client::legacy::Error) -> ClientError {
        let addresses: Vec<_> = self.endpoint.addresses().iter().map(ToString::to_string).collect();
        ClientError::Unreachable { tried: addresses.join(", "), reason: chain(error) }
    }
}

fn answer_error(method: &Method, path: &str, reason: String) -> ClientError {
    ClientError::Answer { method: method.clone(), path: path.to_owned(), reason }
}

async fn whole(answer: Response<Incoming>) -> Result<Bytes, String> {
    let read = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    read.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
}

/// Not everything in between speaks our JSON: then the status has to do.
fn read_refusal(status: StatusCode, bytes: &[u8]) -> Refusal {
    #[derive(serde::Deserialize)]
    struct Wire {
        code: String,
        #[serde(default)]
        field: String,
        #[serde(default)]
        message: String,
        #[serde(default)]
        hint: String,
    }
    match serde_json::from_slice::<Wire>(bytes) {
        Ok(wire) => {
            let code = RefusalCode::from_text(&wire.code);
            Refusal::new(code, wire.field, wire.message).hint(wire.hint)
        }
        Err(_) => {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
            let message = format!("{status}: {}", text.trim());
            Refusal::new(bare_code(status), "", message)
        }
    }
}

/// What a status without a refusal means: a fault of the caller stays one.
fn bare_code(status: StatusCode) -> RefusalCode {
    match status {
        StatusCode::UNAUTHORIZED => RefusalCode::Unauthenticated,
        StatusCode::FORBIDDEN => RefusalCode::PermissionDenied,
        StatusCode::NOT_FOUND => RefusalCode::NotFound,
        StatusCode::PAYLOAD_TOO_LARGE => RefusalCode::LimitExceeded,
        StatusCode::TOO_MANY_REQUESTS => RefusalCode::BudgetExceeded,
        status if status.is_client_error() => RefusalCode::InvalidArgument,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            RefusalCode::Unavailable
        }
        _ => RefusalCode::Other,
    }
}

/// An error with what caused it; the texts do not repeat each other.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
