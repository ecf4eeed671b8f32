//! What is there: services, instances, history, reasons, endpoints; once, or with `?watch=1` at
//! every change.

use super::streams;
use super::types::{History, InstanceList, ServiceList};
use super::{Doors, Refused};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use proffer_types::refusal::excerpt;
use proffer_types::{Refusal, RefusalCode};
use serde::Deserialize;

/// `?watch=1`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Watch {
    #[serde(default)]
    watch: Option<String>,
}

/// For what takes no parameters: one that is given is a mistake.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

impl Watch {
    fn is_on(&self) -> Result<bool, Refusal> {
        match self.watch.as_deref() {
            None | Some("0" | "false") => Ok(false),
            Some("" | "1" | "true") => Ok(true),
            Some(other) => {
                let message = format!("{:?} is neither 1 nor 0", excerpt(other));
                Err(Refusal::new(RefusalCode::InvalidArgument, "watch", message))
            }
        }
    }
}

pub(crate) async fn list(
    State(doors): State<Doors>,
    Query(watch): Query<Watch>,
) -> Result<Response, Refused> {
    doors.board.ready()?;
    if watch.is_on()? {
        return Ok(streams::follow(doors, |board| {
            Ok(Some((String::new(), ServiceList { services: board.summaries() })))
        }));
    }
    Ok(Json(ServiceList { services: doors.board.summaries_now() }).into_response())
}

pub(crate) async fn service(
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(watch): Query<Watch>,
) -> Result<Response, Refused> {
    let view = doors.board.find(&name)?;
    if watch.is_on()? {
        return Ok(streams::follow(doors, move |board| {
            Ok(Some((String::new(), board.find(&name)?)))
        }));
    }
    Ok(Json(view).into_response())
}

pub(crate) async fn instances(
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(Nothing {}): Query<Nothing>,
) -> Result<Response, Refused> {
    let view = doors.board.find(&name)?;
    Ok(Json(InstanceList { instances: view.view().instances.clone() }).into_response())
}

pub(crate) async fn history(
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(Nothing {}): Query<Nothing>,
) -> Result<Response, Refused> {
    let view = doors.board.find(&name)?;
    Ok(Json(History { revisions: view.view().history.clone() }).into_response())
}

pub(crate) async fn why(
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(Nothing {}): Query<Nothing>,
) -> Result<Response, Refused> {
    Ok(Json(doors.board.find(&name)?.now().why()).into_response())
}

pub(crate) async fn endpoints(
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(watch): Query<Watch>,
) -> Result<Response, Refused> {
    let view = doors.board.find(&name)?;
    if watch.is_on()? {
        return Ok(streams::follow(doors, move |board| {
            let endpoints = board.find(&name)?.view().endpoints.clone();
            // Whoever feeds a balancer keeps what he has until all that serves is known (K2).
            Ok(endpoints.complete.then(|| (endpoints.change.to_string(), endpoints)))
        }));
    }
    Ok(Json(view.view().endpoints.clone()).into_response())
}
