//! What the agent counts, as Prometheus text. Read from the core when asked: no counter is kept
//! twice.

use crate::api::ApiState;
use crate::runtime::{Request, Snapshot};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use proffer_types::refusal::{Refusal, RefusalCode};
use proffer_types::task::TaskState;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

/// `GET /metrics`, for whoever shows the agent's token.
pub(crate) async fn get_metrics(State(state): State<ApiState>, headers: HeaderMap) -> Response {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|text| text.strip_prefix("Bearer "));
    let proven = match (state.masters.token(), shown) {
        (Some(token), Some(shown)) => token.matches(shown),
        (Some(_), None) | (None, _) => state.insecure,
    };
    if !proven {
        let message = "the call does not show this agent's token";
        let refusal = Refusal::new(RefusalCode::Unauthenticated, "authorization", message);
        return proffer_net::refusal::http_response(&refusal);
    }
    let (answer, answered) = tokio::sync::oneshot::channel();
    let asked = state.requests.send(Request::Snapshot(answer)).await;
    match (asked, answered.await) {
        (Ok(()), Ok(snapshot)) => {
            let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0")];
            (kind, text_of(&snapshot)).into_response()
        }
        (Err(_), _) | (_, Err(_)) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

fn text_of(snapshot: &Snapshot) -> String {
    let mut registry = Registry::with_prefix("proffer_agent");
    let counters = snapshot.counters;
    for (name, help, value) in [
        ("registrations", "Registrations that a master answered", counters.registrations),
        ("launches_taken", "Launches taken", counters.launches_taken),
        ("launches_refused", "Launches refused", counters.launches_refused),
        ("launches_repeated", "Launches with a known token", counters.launches_repeated),
        ("frames_stale", "Frames of another connection or session", counters.frames_stale),
        ("orders_stale", "Orders of another master epoch", counters.orders_stale),
        ("orders_without_grant", "Orders after the grant ran out", counters.orders_without_grant),
        ("kills_unknown", "Kills of tasks that are not here", counters.kills_unknown),
        ("tasks_ended", "Tasks that ended", counters.tasks_ended),
        ("tasks_recovered", "Tasks adopted by a recovery", counters.tasks_recovered),
    ] {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    }
    let tasks = Family::<StateLabel, Gauge>::default();
    for state in TaskState::ALL {
        let count = snapshot.tasks.values().filter(|status| status.state == state).count();
        let gauge = tasks.get_or_create(&StateLabel { state: state.as_str() });
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    registry.register("tasks", "Tasks not forgotten, by state", tasks);
    let registered = Gauge::<i64>::default();
    registered.set(i64::from(snapshot.registered));
    registry.register("registered", "Whether a master has answered", registered);
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = encode(&mut text, &registry);
    text
}
