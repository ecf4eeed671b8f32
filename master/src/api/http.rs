//! The HTTP door: every route of `proffer_proto::routes`. Those that stand for an rpc are made of the
//! table: path, query and body become the rpc's request, the answer is its message as JSON.

use super::operator::Operator;
use super::reads::Reads;
use super::watch::frames;
use super::{page, principal_of, proxy};
use crate::metrics::Metrics;
use axum::body::Bytes;
use axum::extract::{Extension, RawPathParams, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use proffer_net::{Peer, Routes};
use proffer_proto::pb;
use proffer_proto::request::read_request;
use proffer_proto::routes::{Method, ROUTES, Route, Target};
use proffer_types::operator::OperatorCall;
use proffer_types::rights::{Access, ObjectKind, Verb};
use proffer_types::{Refusal, RefusalCode};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// A refusal as an HTTP answer.
pub(crate) struct Refused(pub(crate) Refusal);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        proffer_net::refusal::http_response(&self.0)
    }
}

/// An answer as it leaves: marked when it may be out of date.
pub(crate) fn answered(reads: &Reads, answer: Result<Response, Refusal>) -> Response {
    let mut response = answer.unwrap_or_else(|refusal| Refused(refusal).into_response());
    reads.mark(response.headers_mut());
    response
}

/// What the doors need.
#[derive(Clone)]
pub(crate) struct Doors {
    pub(crate) operator: Operator,
    pub(crate) proxy: proxy::Proxy,
    pub(crate) metrics: Arc<Metrics>,
}

/// All routes, each with the right it needs.
pub(crate) fn routes(doors: Doors) -> Routes {
    let table = ROUTES.iter().fold(Routes::new(), |routes, route| match route.target {
        Target::Rpc { .. } => add_rpc(routes, route),
        Target::Plain { .. } => add_plain(routes, route),
    });
    let look = Access::new(Verb::Read, ObjectKind::Page);
    table.get("/", look, page::root).get("/ui/", look, page::index).with_state(doors)
}

fn add_rpc(routes: Routes<Doors>, route: &'static Route) -> Routes<Doors> {
    let handler = move |State(doors): State<Doors>,
                        Extension(peer): Extension<Peer>,
                        parameters: RawPathParams,
                        RawQuery(query): RawQuery,
                        headers: HeaderMap,
                        body: Bytes| async move {
        let asked = Asked { route, peer, parameters, query, headers, body };
        answered(&doors.operator.reads, asked.answer(&doors.operator).await)
    };
    add(routes, route, handler)
}

fn add_plain(routes: Routes<Doors>, route: &'static Route) -> Routes<Doors> {
    if route.path.starts_with("/v1/services") {
        return add(routes, route, proxy::services);
    }
    if route.path.starts_with("/v1/tasks/") {
        return add(routes, route, proxy::sandbox);
    }
    match route.path {
        "/metrics" => add(routes, route, scrape),
        "/healthz" => add(routes, route, healthy),
        "/openapi.json" => add(routes, route, openapi),
        "/ui" => add(routes, route, page::root),
        "/ui/{*file}" => add(routes, route, page::file),
        path => unreachable!("{path} is in the table of routes and has no door"),
    }
}

fn add<H, T>(routes: Routes<Doors>, route: &Route, handler: H) -> Routes<Doors>
where
    H: axum::handler::Handler<T, Doors>,
    T: 'static,
{
    let right = route.access();
    match route.method {
        Method::Get => routes.get(route.path, right, handler),
        Method::Post => routes.post(route.path, right, handler),
        Method::Put => routes.put(route.path, right, handler),
        Method::Patch => routes.patch(route.path, right, handler),
        Method::Delete => routes.delete(route.path, right, handler),
    }
}

/// A request for an rpc.
struct Asked {
    route: &'static Route,
    peer: Peer,
    parameters: RawPathParams,
    query: Option<String>,
    headers: HeaderMap,
    body: Bytes,
}

impl Asked {
    async fn answer(&self, operator: &Operator) -> Result<Response, Refusal> {
        let rpc = self.route.rpc().ok_or_else(|| no_rpc(self.route.path))?;
        match rpc.method {
            "GetOverview" => json(operator.get_overview(self.read()?).await?),
            "ListAgents" => json(operator.list_agents(self.read()?).await?),
            "GetAgent" => json(operator.get_agent(self.read()?).await?),
            "ListFrameworks" => json(operator.list_frameworks(self.read()?).await?),
            "ListDemand" => json(operator.list_demand(self.read()?).await?),
            "ListTasks" => json(operator.list_tasks(self.read()?).await?),
            "GetTask" => json(operator.get_task(self.read()?).await?),
            "ListOffers" => json(operator.list_offers(self.read()?).await?),
            "ListHolds" => json(operator.list_holds(self.read()?).await?),
            "ListRoles" => json(operator.list_roles(self.read()?).await?),
            "ListEvents" => json(operator.list_events(self.read()?).await?),
            "Why" => json(operator.why(self.read()?).await?),
            "Watch" => self.watch(operator).await,
            method => json(operator.call(principal_of(&self.peer)?, self.verb(method)?).await?),
        }
    }

    fn verb(&self, method: &str) -> Result<OperatorCall, Refusal> {
        Ok(match method {
            "MarkAgentGone" => self.call::<pb::MarkAgentGoneRequest>()?,
            "DrainAgent" => self.call::<pb::DrainAgentRequest>()?,
            "DeactivateAgent" => self.call::<pb::DeactivateAgentRequest>()?,
            "ActivateAgent" => self.call::<pb::ActivateAgentRequest>()?,
            "AddMaintenance" => self.call::<pb::AddMaintenanceRequest>()?,
            "RemoveMaintenance" => self.call::<pb::RemoveMaintenanceRequest>()?,
            "StartMaintenance" => self.call::<pb::StartMaintenanceRequest>()?,
            "EndMaintenance" => self.call::<pb::EndMaintenanceRequest>()?,
            "TeardownFramework" => self.call::<pb::TeardownFrameworkRequest>()?,
            "KillTask" => self.call::<pb::KillTaskRequest>()?,
            "SetRole" => self.call::<pb::SetRoleRequest>()?,
            "Reserve" => self.call::<pb::ReserveRequest>()?,
            "CreateVolume" => self.call::<pb::CreateVolumeRequest>()?,
            "UpdateHold" => self.call::<pb::UpdateHoldRequest>()?,
            "GrowVolume" => self.call::<pb::GrowVolumeRequest>()?,
            "RemoveHold" => self.call::<pb::RemoveHoldRequest>()?,
            "AdoptHold" => self.call::<pb::AdoptHoldRequest>()?,
            other => return Err(no_rpc(other)),
        })
    }

    fn call<T>(&self) -> Result<OperatorCall, Refusal>
    where
        T: serde::de::DeserializeOwned,
        OperatorCall: TryFrom<T, Error = Refusal>,
    {
        self.read::<T>()?.try_into()
    }

    fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, Refusal> {
        let pairs: Vec<(String, String)> = self
            .parameters
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let query: Vec<(String, String)> =
            form_urlencoded::parse(self.query.as_deref().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        read_request(self.route, &pairs, &query, &self.body)
    }

    async fn watch(&self, operator: &Operator) -> Result<Response, Refusal> {
        let mut ask: pb::WatchRequest = self.read()?;
        // A browser that reconnects says where it stood by this header.
        if let Some(seen) = self.headers.get("last-event-id").and_then(|id| id.to_str().ok()) {
            ask.cursor = seen.to_owned();
        }
        let events = frames(&operator.reads, &ask).await?.filter_map(|frame| async move {
            let frame = frame.ok()?;
            let event = Event::default().data(serde_json::to_string(&frame).ok()?);
            let event = if frame.cursor.is_empty() { event } else { event.id(frame.cursor) };
            Some(Ok::<_, Infallible>(event))
        });
        let alive = KeepAlive::new().interval(Duration::from_secs(10));
        Ok(Sse::new(events).keep_alive(alive).into_response())
    }
}

fn no_rpc(what: &str) -> Refusal {
    Refusal::new(RefusalCode::InternalBug, "", format!("{what} has a route and no answer"))
}

fn json<T: serde::Serialize>(answer: T) -> Result<Response, Refusal> {
    let bytes = serde_json::to_vec(&answer)
        .map_err(|error| Refusal::new(RefusalCode::InternalBug, "", error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], bytes).into_response())
}

async fn scrape(State(doors): State<Doors>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match doors.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn healthy() -> &'static str {
    "ok\n"
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], proffer_proto::openapi::text()).into_response()
}
