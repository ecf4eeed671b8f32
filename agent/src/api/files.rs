//! Files of a sandbox.

use super::ApiState;
use super::answer::{Answer, file_answer, unreadable};
use super::capability::check;
use crate::sandbox::{Directory, Found};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use proffer_net::capability::Right;
use proffer_types::ids::ContainerId;
use proffer_types::refusal::{Refusal, RefusalCode};
use serde::Deserialize;
use std::io;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileQuery {
    /// Relative to the sandbox; empty: the sandbox itself.
    #[serde(default)]
    path: String,
}

/// `GET /v1/containers/{id}/files`: a directory as a listing, a file as its bytes.
pub(super) async fn get_files(
    State(state): State<ApiState>,
    Path(id): Path<ContainerId>,
    Query(query): Query<FileQuery>,
    headers: HeaderMap,
) -> Answer {
    check(&headers, &state.capability_key.load(), &id, Right::Files)?;
    match find(&state, &id, query.path).await? {
        Found::File(file) => Ok(file_answer(file)),
        Found::Directory(directory) => {
            let listed = tokio::task::spawn_blocking(move || directory.list()).await;
            let listing = listed
                .map_err(io::Error::other)
                .and_then(|listing| listing)
                .map_err(|error| unreadable("", &error))?;
            Ok(Json(listing).into_response())
        }
    }
}

/// `GET /v1/containers/{id}/file`: a file's bytes.
pub(super) async fn get_file(
    State(state): State<ApiState>,
    Path(id): Path<ContainerId>,
    Query(query): Query<FileQuery>,
    headers: HeaderMap,
) -> Answer {
    check(&headers, &state.capability_key.load(), &id, Right::Files)?;
    match find(&state, &id, query.path).await? {
        Found::File(file) => Ok(file_answer(file)),
        Found::Directory(_) => {
            let message = "this is a directory";
            Err(Refusal::new(RefusalCode::InvalidArgument, "path", message)
                .hint("ask for it at …/files")
                .into())
        }
    }
}

async fn find(state: &ApiState, id: &ContainerId, path: String) -> Result<Found, Refusal> {
    let sandbox = state.work_dir.sandbox(id);
    let shown = path.clone();
    let opened = tokio::task::spawn_blocking(move || {
        Directory::open(&sandbox)?.find(std::path::Path::new(&path))
    });
    let opened = opened.await.map_err(io::Error::other).and_then(|found| found);
    opened.map_err(|error| unreadable(&shown, &error))
}
