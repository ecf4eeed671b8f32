//! Owns how a refusal travels: as JSON with an HTTP status, or as a gRPC status.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use proffer_types::refusal::{Refusal, RefusalCode};

/// The HTTP status that goes with a code.
#[must_use]
pub fn http_status(code: RefusalCode) -> StatusCode {
    use RefusalCode as C;
    match code {
        C::InvalidArgument => StatusCode::BAD_REQUEST,
        C::Unauthenticated => StatusCode::UNAUTHORIZED,
        C::PermissionDenied => StatusCode::FORBIDDEN,
        C::NotFound => StatusCode::NOT_FOUND,
        C::Removed => StatusCode::GONE,
        C::AlreadyExists | C::StaleEpoch | C::VersionConflict | C::Superseded | C::TokenReused => {
            StatusCode::CONFLICT
        }
        C::OfferNotHeld
        | C::AgentChanged
        | C::InsufficientResources
        | C::ResourcesStale
        | C::UnknownTemplate
        | C::LimitExceeded
        | C::CannotEnforce => StatusCode::UNPROCESSABLE_ENTITY,
        C::BudgetExceeded => StatusCode::TOO_MANY_REQUESTS,
        C::NotSupported => StatusCode::NOT_IMPLEMENTED,
        C::NotLeader | C::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        C::NewerFormat | C::InternalBug | C::Other => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The gRPC code that goes with a code.
#[must_use]
pub fn grpc_code(code: RefusalCode) -> tonic::Code {
    use RefusalCode as C;
    match code {
        C::InvalidArgument => tonic::Code::InvalidArgument,
        C::Unauthenticated => tonic::Code::Unauthenticated,
        C::PermissionDenied => tonic::Code::PermissionDenied,
        C::NotFound | C::Removed => tonic::Code::NotFound,
        C::AlreadyExists => tonic::Code::AlreadyExists,
        C::VersionConflict | C::StaleEpoch | C::Superseded | C::TokenReused => tonic::Code::Aborted,
        C::OfferNotHeld
        | C::AgentChanged
        | C::InsufficientResources
        | C::ResourcesStale
        | C::UnknownTemplate
        | C::LimitExceeded
        | C::CannotEnforce => tonic::Code::FailedPrecondition,
        C::BudgetExceeded => tonic::Code::ResourceExhausted,
        C::NotSupported => tonic::Code::Unimplemented,
        C::NotLeader | C::Unavailable => tonic::Code::Unavailable,
        C::NewerFormat | C::InternalBug | C::Other => tonic::Code::Internal,
    }
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

/// The metadata key under which the stable code of a refusal travels in gRPC.
pub const GRPC_REFUSAL_CODE: &str = "proffer-refusal-code";

/// The status of a gRPC call that is refused: the text for people, the code for programs.
#[must_use]
pub fn grpc_status(refusal: &Refusal) -> tonic::Status {
    let mut status = tonic::Status::new(grpc_code(refusal.code), refusal.to_string());
    let code = tonic::metadata::MetadataValue::from_static(refusal.code.as_str());
    status.metadata_mut().insert(GRPC_REFUSAL_CODE, code);
    status
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
