//! Owns how a refusal is answered: as JSON with an HTTP status, or as a gRPC status. Which status goes
//! with which code is the schema's business ([`proffer_proto::status`]).

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use proffer_proto::status;
use proffer_types::refusal::{Refusal, RefusalCode};

/// The HTTP status that goes with a code.
#[must_use]
pub fn http_status(code: RefusalCode) -> StatusCode {
    StatusCode::from_u16(status::http_status(code)).expect("the table has only HTTP statuses")
}

/// The answer to an HTTP call that is refused.
#[must_use]
pub fn http_response(refusal: &Refusal) -> Response<Body> {
    let body = serde_json::to_vec(refusal).expect("a refusal is four texts");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = http_status(refusal.code);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if refusal.code == RefusalCode::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Says of a refused HTTP call which methods there are; gRPC has one only.
pub(crate) fn wrong_method(mut answer: Response<Body>, allowed: &str) -> Response<Body> {
    // A refusal over gRPC is `200 OK` to HTTP.
    if answer.status() != StatusCode::OK
        && let Ok(allowed) = HeaderValue::from_str(allowed)
    {
        *answer.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        answer.headers_mut().insert(header::ALLOW, allowed);
    }
    answer
}

/// Longest text of a failure that is looked at.
const TEXT_BYTES_MAX: usize = 4096;

/// A failure that a handler did not put into words of ours, as the framework's rejection of a body or a
/// query, becomes a refusal. Every other answer stays as it is.
pub async fn in_our_words(answer: Response<Body>) -> Response<Body> {
    let status = answer.status();
    let is_failure = status.is_client_error() || status.is_server_error();
    let kind = answer.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !is_failure || kind.is_some_and(|kind| !kind.starts_with(b"text/plain")) {
        return answer;
    }
    let allowed = answer.headers().get(header::ALLOW).cloned();
    let text = axum::body::to_bytes(answer.into_body(), TEXT_BYTES_MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let (code, field) = match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            (RefusalCode::InvalidArgument, part_of_request(&text))
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (RefusalCode::InvalidArgument, "content-type"),
        StatusCode::PAYLOAD_TOO_LARGE => (RefusalCode::BudgetExceeded, "body"),
        StatusCode::NOT_FOUND => (RefusalCode::NotFound, "path"),
        StatusCode::METHOD_NOT_ALLOWED => (RefusalCode::NotSupported, "method"),
        _ if status.is_client_error() => (RefusalCode::InvalidArgument, ""),
        _ => (RefusalCode::InternalBug, ""),
    };
    let message = if text.is_empty() { status.to_string() } else { text.trim().to_owned() };
    let mut refused = http_response(&Refusal::new(code, field, message));
    *refused.status_mut() = status;
    if let Some(allowed) = allowed {
        refused.headers_mut().insert(header::ALLOW, allowed);
    }
    refused
}

/// What an extractor's text is about.
fn part_of_request(text: &str) -> &'static str {
    if text.contains("query string") {
        "query"
    } else if text.contains("URL") {
        "path"
    } else {
        "body"
    }
}

/// The status of a gRPC call that is refused.
#[must_use]
pub fn grpc_status(refusal: &Refusal) -> tonic::Status {
    status::to_status(refusal)
}

/// Answers in the caller's own protocol.
#[must_use]
pub fn response(refusal: &Refusal, request_headers: &HeaderMap) -> Response<Body> {
    if is_grpc(request_headers) { grpc_status(refusal).into_http() } else { http_response(refusal) }
}

/// Whether a request speaks gRPC.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_status_of_failure() {
        for code in RefusalCode::ALL {
            let status = http_status(*code);
            assert!(status.is_client_error() || status.is_server_error(), "{code:?}: {status}");
        }
    }
}
