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
