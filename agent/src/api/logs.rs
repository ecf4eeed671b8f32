//! The kept output of a container: the rotated files and the current one as one text.

use super::ApiState;
use super::answer::{Answer, unreadable};
use super::capability::check;
use super::follow::{Follower, Start};
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Response, header};
use proffer_net::capability::Right;
use proffer_types::ids::ContainerId;
use proffer_types::refusal::{Refusal, RefusalCode};
use serde::Deserialize;
use std::io;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogQuery {
    /// `stdout` (default) or `stderr`.
    #[serde(default)]
    stream: Option<String>,
    /// `1` or `true`: go on with what comes, until the container has ended.
    #[serde(default)]
    follow: Option<String>,
    /// Only the last lines.
    #[serde(default)]
    tail: Option<u64>,
    /// Begin at this byte of what is kept, oldest first.
    #[serde(default)]
    offset: Option<u64>,
}

/// `GET /v1/containers/{id}/logs`.
pub(super) async fn get_logs(
    State(state): State<ApiState>,
    Path(id): Path<ContainerId>,
    Query(query): Query<LogQuery>,
    headers: HeaderMap,
) -> Answer {
    check(&headers, &state.capability_key.load(), &id, Right::Logs)?;
    let stream = stream_name(query.stream.as_deref())?;
    let follow = is_set(query.follow.as_deref())?;
    let start = match (query.tail, query.offset) {
        (Some(_), Some(_)) => return Err(wrong("tail", "give tail or offset, not both").into()),
        (Some(lines), None) => Start::LastLines(lines),
        (None, offset) => Start::Offset(offset.unwrap_or(0)),
    };
    let sandbox = state.work_dir.sandbox(&id);
    let opened = tokio::task::spawn_blocking(move || Follower::open(&sandbox, stream, start));
    let opened = opened.await.map_err(io::Error::other).and_then(|opened| opened);
    let follower = opened.map_err(|error| unreadable(stream, &error))?;
    let live = follow.then(|| (state.live.clone(), id));
    let mut response = Response::new(Body::from_stream(follower.pieces(live)));
    let headers = response.headers_mut();
    let text = header::HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, text);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    Ok(response)
}

fn stream_name(text: Option<&str>) -> Result<&'static str, Refusal> {
    match text {
        None | Some("" | "stdout") => Ok("stdout"),
        Some("stderr") => Ok("stderr"),
        Some(_) => Err(wrong("stream", "is neither stdout nor stderr")),
    }
}

fn is_set(text: Option<&str>) -> Result<bool, Refusal> {
    match text {
        Some("1" | "true") => Ok(true),
        None | Some("" | "0" | "false") => Ok(false),
        Some(_) => Err(wrong("follow", "is neither 1 nor 0")),
    }
}

fn wrong(field: &str, message: &str) -> Refusal {
    Refusal::new(RefusalCode::InvalidArgument, field, message)
}
