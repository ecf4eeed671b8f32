//! Deploy, scale, roll back, restart, stop, start, remove: turned into commands, answered when they
//! are durable.

use super::types::{
    DiagnosticView, RollbackRequest, ScaleRequest, ScaleSeveralRequest, ServiceReply, Validation,
};
use super::{Doors, Refused};
use crate::spec_file;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use proffer_net::{Peer, PrincipalKind};
use proffer_service_core::command::ServiceCall;
use proffer_service_core::spec::{Diagnostic, ServiceFile, ServiceName};
use proffer_types::{Refusal, RefusalCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

type Answer = Result<Json<ServiceReply>, Refused>;

/// `?if_revision=3` or `?if_revision=web:3,api:0`, `?message=why`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeployQuery {
    #[serde(default)]
    if_revision: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// Longest message of a revision.
const MESSAGE_BYTES_MAX: usize = 1024;

pub(crate) async fn deploy(
    State(doors): State<Doors>,
    Extension(peer): Extension<Peer>,
    Query(query): Query<DeployQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let file = match spec_file::parse_bytes(&body) {
        Ok(file) => file,
        Err(faults) => return Ok(faulty(&faults)),
    };
    let message = query.message.unwrap_or_default();
    if message.len() > MESSAGE_BYTES_MAX {
        let why = format!("is longer than {MESSAGE_BYTES_MAX} bytes");
        return Err(Refusal::new(RefusalCode::InvalidArgument, "message", why).into());
    }
    let if_revision = expected(query.if_revision.as_deref(), &file)?;
    let call = ServiceCall::Deploy { services: file.services, if_revision, message };
    let reply = doors.caller.call(author(&peer, &headers), call).await?;
    Ok(Json(reply).into_response())
}

pub(crate) async fn validate(body: Bytes) -> Response {
    match spec_file::parse_bytes(&body) {
        Ok(file) => {
            Json(Validation { services: file.services.into_keys().collect() }).into_response()
        }
        Err(faults) => faulty(&faults),
    }
}

pub(crate) async fn scale(
    State(doors): State<Doors>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let ScaleRequest { to } = read(&body)?;
    let call = ServiceCall::Scale { targets: BTreeMap::from([(ServiceName::new(&name)?, to)]) };
    Ok(Json(doors.caller.call(author(&peer, &headers), call).await?))
}

pub(crate) async fn scale_several(
    State(doors): State<Doors>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let ScaleSeveralRequest { targets } = read(&body)?;
    let call = ServiceCall::Scale { targets };
    Ok(Json(doors.caller.call(author(&peer, &headers), call).await?))
}

pub(crate) async fn rollback(
    State(doors): State<Doors>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let RollbackRequest { to, if_revision } =
        if body.is_empty() { RollbackRequest::default() } else { read(&body)? };
    let call = ServiceCall::Rollback { service: ServiceName::new(&name)?, to, if_revision };
    Ok(Json(doors.caller.call(author(&peer, &headers), call).await?))
}

/// Handlers of calls that are nothing but a name.
macro_rules! simple {
    ($($handler:ident => $variant:ident),+ $(,)?) => {
        $(pub(crate) async fn $handler(
            State(doors): State<Doors>,
            Extension(peer): Extension<Peer>,
            Path(name): Path<String>,
            headers: HeaderMap,
        ) -> Answer {
            let call = ServiceCall::$variant { service: ServiceName::new(&name)? };
            Ok(Json(doors.caller.call(author(&peer, &headers), call).await?))
        })+
    };
}
simple!(restart => Restart, stop => Stop, start => Start, remove => Remove);

/// Who asks. The master passes requests on and names the principal that asked it; whoever may call
/// here at all is trusted to.
fn author(peer: &Peer, headers: &HeaderMap) -> String {
    const AUTHOR_BYTES_MAX: usize = 256;
    let passed_on = headers
        .get("proffer-principal")
        .and_then(|value| value.to_str().ok())
        .filter(|text| !text.is_empty() && text.len() <= AUTHOR_BYTES_MAX);
    let may_pass_on =
        matches!(peer.principal.kind(), PrincipalKind::Operator | PrincipalKind::Master);
    match passed_on {
        Some(text) if may_pass_on => text.to_owned(),
        Some(_) | None => peer.principal.to_string(),
    }
}

fn expected(text: Option<&str>, file: &ServiceFile) -> Result<BTreeMap<ServiceName, u32>, Refusal> {
    let wrong = |message: String| {
        Refusal::new(RefusalCode::InvalidArgument, "if_revision", message)
            .hint("if_revision=3 for a file of one service, or if_revision=web:3,api:0")
    };
    let number = |text: &str| {
        let text = text.strip_prefix('r').unwrap_or(text);
        text.parse::<u32>().map_err(|_| {
            wrong(format!("{:?} is not a revision", proffer_types::refusal::excerpt(text)))
        })
    };
    let Some(text) = text else { return Ok(BTreeMap::new()) };
    if text.contains(':') {
        return text
            .split(',')
            .map(|part| {
                let (name, revision) = part
                    .split_once(':')
                    .ok_or_else(|| wrong("holds a part without ':'".to_owned()))?;
                Ok((ServiceName::new(name)?, number(revision)?))
            })
            .collect();
    }
    let mut names = file.services.keys();
    match (names.next(), names.next()) {
        (Some(only), None) => Ok(BTreeMap::from([(only.clone(), number(text)?)])),
        _ => Err(wrong("the file has several services".to_owned())),
    }
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("is not what is expected: {error}");
        Refusal::new(RefusalCode::InvalidArgument, "body", message)
    })
}

/// A refusal with every fault of a file.
#[derive(Serialize)]
struct FaultyFile {
    #[serde(flatten)]
    refusal: Refusal,
    diagnostics: Vec<DiagnosticView>,
}

fn faulty(faults: &[Diagnostic]) -> Response {
    let Some(first) = faults.first() else {
        let refusal = Refusal::new(RefusalCode::InternalBug, "", "a fault without a word");
        return Refused(refusal).into_response();
    };
    let mut refusal = first.refusal();
    if faults.len() > 1 {
        refusal.message = format!("{}; {} more faults", refusal.message, faults.len() - 1);
    }
    let diagnostics = faults
        .iter()
        .map(|fault| DiagnosticView {
            code: fault.code,
            field: fault.field.clone(),
            line: fault.mark.line,
            column: fault.mark.column,
            message: fault.message.clone(),
            hint: fault.hint.clone(),
        })
        .collect();
    let status = proffer_net::refusal::http_status(refusal.code);
    (status, Json(FaultyFile { refusal, diagnostics })).into_response()
}
