//! Server-sent events: a reader gets what is there, then what changes. A slow reader skips states
//! in between; events are numbered, so he learns of a gap.

use super::{Doors, Refused};
use crate::board::Board;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use proffer_service_core::events::EventPage;
use proffer_types::{Refusal, RefusalCode};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::time::Duration;

/// A comment line so often, so that both sides notice a dead connection.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Events of one page.
const PAGE_MAX: usize = 1000;

/// Sends `look`'s value now and whenever it is another one; nothing while there is none. Ends with the
/// program, and with a last event `gone` when there is nothing to look at any more.
pub(super) fn follow<T, L>(doors: Doors, look: L) -> Response
where
    T: Serialize + PartialEq + Send + 'static,
    L: Fn(&Board) -> Result<Option<(String, T)>, Refusal> + Send + 'static,
{
    let changes = doors.board.changes();
    let start = (doors, changes, look, None::<T>, false);
    let events =
        stream::unfold(start, |(doors, mut changes, look, mut last, is_over)| async move {
            if is_over {
                return None;
            }
            loop {
                match look(&doors.board) {
                    Ok(Some((id, value))) if last.as_ref() != Some(&value) => {
                        let event = to_event(&id, "", &value);
                        last = Some(value);
                        return Some((
                            Ok::<_, Infallible>(event),
                            (doors, changes, look, last, false),
                        ));
                    }
                    Ok(_) => {}
                    Err(refusal) => {
                        let event = to_event("", "gone", &refusal);
                        return Some((Ok(event), (doors, changes, look, last, true)));
                    }
                }
                tokio::select! {
                    () = doors.shutdown.cancelled() => return None,
                    changed = changes.changed() => changed.ok()?,
                }
            }
        });
    sse(events)
}

fn to_event<T: Serialize>(id: &str, name: &str, value: &T) -> Event {
    let data = serde_json::to_string(value).expect("plain data with string keys serialises");
    let mut event = Event::default().data(data);
    if !id.is_empty() {
        event = event.id(id);
    }
    if !name.is_empty() {
        event = event.event(name);
    }
    event
}

fn sse<S>(events: S) -> Response
where
    S: futures_util::Stream<Item = Result<Event, Infallible>> + Send + 'static,
{
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

/// `?after=CURSOR&limit=N&watch=1`; `last=N`: only the newest.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventQuery {
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    watch: Option<String>,
    #[serde(default)]
    last: Option<usize>,
}

pub(crate) async fn all_events(
    State(doors): State<Doors>,
    Query(query): Query<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    doors.board.ready()?;
    Ok(answer(doors, query, &headers, None))
}

pub(crate) async fn events(
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(query): Query<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    doors.board.find(&name)?;
    Ok(answer(doors, query, &headers, Some(name)))
}

fn answer(
    doors: Doors,
    query: EventQuery,
    headers: &HeaderMap,
    service: Option<String>,
) -> Response {
    let resumed = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let after = resumed.map(str::to_owned).or(query.after);
    let limit = query.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let accepts = headers.get("accept").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if query.watch.is_none() && !accepts.contains("text/event-stream") {
        let limit = if query.last.is_some() { usize::MAX } else { limit };
        let mut page = doors.board.events(after.as_deref(), service.as_deref(), limit);
        let last = query.last.unwrap_or(PAGE_MAX).min(PAGE_MAX);
        page.events.drain(..page.events.len().saturating_sub(last));
        return Json(page).into_response();
    }
    let changes = doors.board.changes();
    let start = (doors, changes, service, after, Vec::new());
    let events =
        stream::unfold(start, |(doors, mut changes, service, mut after, mut queue)| async move {
            loop {
                if let Some(event) = queue.pop() {
                    return Some((Ok(event), (doors, changes, service, after, queue)));
                }
                let page = doors.board.events(after.as_deref(), service.as_deref(), PAGE_MAX);
                after = Some(page.cursor.clone());
                queue = to_events(&page);
                queue.reverse();
                if !queue.is_empty() {
                    continue;
                }
                tokio::select! {
                    () = doors.shutdown.cancelled() => return None,
                    changed = changes.changed() => changed.ok()?,
                }
            }
        });
    sse(events)
}

fn to_events(page: &EventPage) -> Vec<Event> {
    let gap = page.has_gap.then(|| {
        let message = "some events are not kept any more";
        to_event("", "gap", &Refusal::new(RefusalCode::Removed, "after", message))
    });
    let events = page.events.iter().map(|event| to_event(&event.cursor, "", event));
    gap.into_iter().chain(events).collect()
}
