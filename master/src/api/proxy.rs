//! Passes requests on: sandboxes to their agent, services to the active replica of the service
//! framework, each with a short capability that is worth nothing elsewhere: addresses are what agents
//! and frameworks say of themselves. Bytes flow through as they come; none enters the loop (K20).

use super::http::{Doors, answered};
use super::reads::Reads;
use crate::view::View;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, Uri, header};
use axum::response::Response;
use proffer_master_core::{agent_capability_key, framework_capability_key};
use proffer_net::capability::{Right, sign};
use proffer_net::{ClientError, Endpoint, HttpClient, Token};
use proffer_types::operator::FrameworkRow;
use proffer_types::{Refusal, RefusalCode};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The parameter of `/v1/services…` that names the framework, where there are several.
const FRAMEWORK: &str = "framework";
/// How long a capability holds: one request's beginning, not a session.
const CAPABILITY_FOR: Duration = Duration::from_secs(60);

/// What it takes to call agents and frameworks. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) reads: Reads,
    /// Seeds the keys of agents and frameworks; the same as the core's.
    pub(crate) capability_secret: Arc<[u8]>,
    /// Trust for `https` addresses.
    pub(crate) tls: Option<proffer_net::tls::ClientTlsFiles>,
}

/// `/v1/tasks/{framework}/{task}/logs|files`.
pub(crate) async fn sandbox(
    State(doors): State<Doors>,
    Path((framework, task)): Path<(String, String)>,
    uri: Uri,
) -> Response {
    answered(&doors.proxy.reads, doors.proxy.to_agent(&framework, &task, &uri).await)
}

/// `/v1/services…`.
pub(crate) async fn services(State(doors): State<Doors>, request: Request) -> Response {
    answered(&doors.proxy.reads, doors.proxy.to_services(request).await)
}

impl Proxy {
    async fn to_agent(&self, framework: &str, task: &str, uri: &Uri) -> Result<Response, Refusal> {
        let key = super::operator::task_key(framework, task)?;
        let view = self.reads.view(None).await?;
        let row = view.task(&key).ok_or_else(|| {
            Refusal::new(RefusalCode::NotFound, "task", format!("no task {key} is known"))
        })?;
        let agent = view.agents.get(&row.status.agent).ok_or_else(|| {
            let message = format!("its agent {} is not known here", row.status.agent);
            Refusal::new(RefusalCode::Unavailable, "agent", message)
        })?;
        if agent.info.api_url.is_empty() {
            return Err(Refusal::new(RefusalCode::NotSupported, "agent", "it serves no sandboxes"));
        }
        let container = row.status.container();
        let what = uri.path().rsplit('/').next().unwrap_or_default().to_owned();
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let right = if what == "logs" { Right::Logs } else { Right::Files };
        let key = agent_capability_key(&self.capability_secret, agent.id);
        let client =
            self.client(&agent.info.api_url, capability(&key, right, container.as_str()))?;
        let path = format!("/v1/containers/{container}/{what}{query}");
        let ask = hyper::Request::new(Body::empty());
        let who = format!("agent {}", agent.info.name);
        pass_back(&who, client.send(hyper::Method::GET, &path, ask).await)
    }

    async fn to_services(&self, request: Request) -> Result<Response, Refusal> {
        let view = self.reads.view(None).await?;
        let (named, query) = split_query(request.uri().query().unwrap_or_default());
        let row = service_framework(&view, named.as_deref())?;
        if !row.connected || row.info.api_url.is_empty() {
            let message = "the service framework is not connected right now";
            return Err(
                Refusal::new(RefusalCode::Unavailable, "framework", message).hint("try again")
            );
        }
        let key = framework_capability_key(&self.capability_secret, row.id);
        let capability = capability(&key, Right::Call, &row.id.to_string());
        let client = self.client(&row.info.api_url, capability)?;
        let (parts, body) = request.into_parts();
        let path = format!("{}{query}", parts.uri.path());
        let mut onward = hyper::Request::new(body);
        for name in [header::ACCEPT, header::CONTENT_TYPE, header::CONTENT_LENGTH] {
            if let Some(value) = parts.headers.get(&name) {
                onward.headers_mut().insert(name, value.clone());
            }
        }
        if let Some(value) = parts.headers.get("last-event-id") {
            onward.headers_mut().insert("last-event-id", value.clone());
        }
        if let Some(peer) = parts.extensions.get::<proffer_net::Peer>()
            && let Ok(value) = HeaderValue::from_str(&peer.principal.to_string())
        {
            onward.headers_mut().insert("proffer-principal", value);
        }
        let answer = client.send(parts.method, &path, onward).await;
        pass_back("the service framework", answer).map_err(not_known_there)
    }

    fn client(&self, url: &str, capability: Token) -> Result<HttpClient, Refusal> {
        let unusable = |why: String| Refusal::new(RefusalCode::Unavailable, "api_url", why);
        let endpoint = Endpoint::parse(url)
            .map_err(|error| unusable(error.to_string()))?
            .with_token(Some(capability))
            .with_tls(self.tls.as_ref())
            .map_err(|error| unusable(error.to_string()))?;
        Ok(HttpClient::new(&endpoint))
    }
}

/// The framework that a query names, and the rest of the query for the framework itself.
fn split_query(query: &str) -> (Option<String>, String) {
    let is_name = |pair: &&str| pair.split('=').next() == Some(FRAMEWORK);
    let (named, rest): (Vec<&str>, Vec<&str>) =
        query.split('&').filter(|pair| !pair.is_empty()).partition(is_name);
    let named = named.last().and_then(|pair| {
        form_urlencoded::parse(pair.as_bytes()).next().map(|(_, name)| name.into_owned())
    });
    let rest = if rest.is_empty() { String::new() } else { format!("?{}", rest.join("&")) };
    (named, rest)
}

/// The framework of that name, or the only one that serves an API.
fn service_framework<'a>(view: &'a View, named: Option<&str>) -> Result<&'a FrameworkRow, Refusal> {
    let refuse = |code, message: String| Refusal::new(code, FRAMEWORK, message);
    let mut rows = view.frameworks.values().map(AsRef::as_ref);
    if let Some(name) = named {
        let found = rows.find(|row: &&FrameworkRow| row.info.name.as_str() == name);
        let name = proffer_types::refusal::excerpt(name);
        return found
            .ok_or_else(|| refuse(RefusalCode::NotFound, format!("no framework {name} is known")));
    }
    let serving: Vec<&FrameworkRow> = rows.filter(|row| !row.info.api_url.is_empty()).collect();
    match serving.as_slice() {
        [only] => Ok(only),
        [] => Err(refuse(RefusalCode::NotFound, "no service framework has subscribed".to_owned())
            .hint("start one with: proffer framework service")),
        several => {
            let names: Vec<&str> = several.iter().map(|row| row.info.name.as_str()).collect();
            let message = format!("several frameworks serve services: {}", names.join(", "));
            Err(refuse(RefusalCode::InvalidArgument, message)
                .hint("choose one: --framework NAME, ?framework=NAME"))
        }
    }
}

fn capability(key: &[u8], right: Right, object: &str) -> Token {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let expires_at = now.saturating_add(CAPABILITY_FOR).as_secs();
    Token::opaque(sign(key, right, object, expires_at))
}

/// Our proof was refused, not the caller's: the framework has not seen this master's key yet.
fn not_known_there(refusal: Refusal) -> Refusal {
    if refusal.code != RefusalCode::Unauthenticated {
        return refusal;
    }
    let message = "the service framework does not know this master yet";
    Refusal::new(RefusalCode::Unavailable, "framework", message).hint("try again")
}

/// The answer as it came; a refusal stays a refusal, with its code.
fn pass_back(
    who: &str,
    answer: Result<hyper::Response<hyper::body::Incoming>, ClientError>,
) -> Result<Response, Refusal> {
    match answer {
        Ok(answer) => {
            let (mut parts, body) = answer.into_parts();
            parts.headers.remove(header::CONNECTION);
            parts.headers.remove(header::TRANSFER_ENCODING);
            // Whatever it is, a browser must not take it for a page of ours.
            parts.headers.remove(header::SET_COOKIE);
            parts
                .headers
                .insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            parts.headers.insert(
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static("default-src 'none'; sandbox; frame-ancestors 'none'"),
            );
            Ok(Response::from_parts(parts, Body::new(body)))
        }
        Err(ClientError::Refused { refusal, .. }) => Err(refusal),
        Err(error @ (ClientError::Unreachable { .. } | ClientError::Answer { .. })) => {
            // Where it listens is no caller's matter, and may be an address of this machine alone.
            tracing::debug!(%error, who, "no answer to what was passed on");
            let message = format!("{who} does not answer; it may be starting again");
            Err(Refusal::new(RefusalCode::Unavailable, "", message).hint("try again in a moment"))
        }
    }
}
