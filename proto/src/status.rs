//! A refusal as a gRPC status and as an HTTP status, and back.

use proffer_types::{Refusal, RefusalCode};
use tonic::metadata::{BinaryMetadataValue, MetadataMap};
use tonic::{Code, Status};

/// Metadata that carries the refusal itself, as JSON.
pub const REFUSAL_METADATA: &str = "proffer-refusal-bin";

/// Metadata that carries the code alone: what the gate in front of all calls sends.
pub const REFUSAL_CODE_METADATA: &str = "proffer-refusal-code";

/// Longest text of a refusal in a status, in characters: metadata travels in headers, and readers
/// allow 8 to 16 KiB of them.
const TEXT_CHARS_MAX: usize = 1000;

/// The status of a call that is refused. The refusal travels along; long texts are cut.
#[must_use]
pub fn to_status(refusal: &Refusal) -> Status {
    let cut = Refusal {
        code: refusal.code,
        field: cut(&refusal.field),
        message: cut(&refusal.message),
        hint: cut(&refusal.hint),
    };
    let json = serde_json::to_vec(&cut).expect("plain data with string keys serialises");
    let mut metadata = MetadataMap::new();
    metadata.insert_bin(REFUSAL_METADATA, BinaryMetadataValue::from_bytes(&json));
    Status::with_metadata(grpc_code(cut.code), cut.to_string(), metadata)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// The refusal behind a status. One that carries none (a broken connection, a proxy) is put into
/// the nearest words; only [`RefusalCode::Unavailable`] is worth another try.
#[must_use]
pub fn from_status(status: &Status) -> Refusal {
    let carried = status
        .metadata()
        .get_bin(REFUSAL_METADATA)
        .and_then(|value| value.to_bytes().ok())
        .and_then(|bytes| read_carried(&bytes));
    carried.unwrap_or_else(|| {
        let word = status.metadata().get(REFUSAL_CODE_METADATA).and_then(|word| word.to_str().ok());
        let code = word.map_or_else(|| code_of(status.code()), RefusalCode::from_text);
        Refusal::new(code, "", status.message())
    })
}

/// Reads a carried refusal; a code of a later version becomes `Other` (K5).
fn read_carried(bytes: &[u8]) -> Option<Refusal> {
    let refusal: crate::pb::Refusal = serde_json::from_slice(bytes).ok()?;
    Some(refusal.into())
}

/// The gRPC code that stands for a refusal's code.
#[must_use]
pub const fn grpc_code(code: RefusalCode) -> Code {
    match code {
        RefusalCode::InvalidArgument => Code::InvalidArgument,
        RefusalCode::Unauthenticated => Code::Unauthenticated,
        RefusalCode::PermissionDenied => Code::PermissionDenied,
        RefusalCode::NotFound | RefusalCode::Removed => Code::NotFound,
        RefusalCode::AlreadyExists => Code::AlreadyExists,
        RefusalCode::VersionConflict
        | RefusalCode::StaleEpoch
        | RefusalCode::Superseded
        | RefusalCode::TokenReused => Code::Aborted,
        RefusalCode::OfferNotHeld
        | RefusalCode::InUse
        | RefusalCode::AgentChanged
        | RefusalCode::InsufficientResources
        | RefusalCode::ResourcesStale
        | RefusalCode::Expired
        | RefusalCode::UnknownTemplate
        | RefusalCode::LimitExceeded
        | RefusalCode::CannotEnforce => Code::FailedPrecondition,
        RefusalCode::BudgetExceeded => Code::ResourceExhausted,
        RefusalCode::NotSupported => Code::Unimplemented,
        RefusalCode::NotLeader | RefusalCode::Unavailable => Code::Unavailable,
        RefusalCode::NewerFormat | RefusalCode::InternalBug | RefusalCode::Other => Code::Internal,
    }
}

/// The HTTP status that stands for a refusal's code.
#[must_use]
pub const fn http_status(code: RefusalCode) -> u16 {
    match code {
        RefusalCode::InvalidArgument => 400,
        RefusalCode::Unauthenticated => 401,
        RefusalCode::PermissionDenied => 403,
        RefusalCode::NotFound => 404,
        RefusalCode::AlreadyExists
        | RefusalCode::InUse
        | RefusalCode::StaleEpoch
        | RefusalCode::VersionConflict
        | RefusalCode::Superseded
        | RefusalCode::TokenReused => 409,
        RefusalCode::Removed => 410,
        RefusalCode::OfferNotHeld
        | RefusalCode::AgentChanged
        | RefusalCode::InsufficientResources
        | RefusalCode::ResourcesStale
        | RefusalCode::Expired
        | RefusalCode::UnknownTemplate
        | RefusalCode::LimitExceeded
        | RefusalCode::CannotEnforce => 422,
        RefusalCode::BudgetExceeded => 429,
        RefusalCode::NewerFormat | RefusalCode::InternalBug | RefusalCode::Other => 500,
        RefusalCode::NotSupported => 501,
        RefusalCode::NotLeader | RefusalCode::Unavailable => 503,
    }
}

/// What a bare gRPC code means. `Unknown` is how a connection that broke shows itself.
const fn code_of(code: Code) -> RefusalCode {
    match code {
        Code::InvalidArgument | Code::OutOfRange => RefusalCode::InvalidArgument,
        Code::NotFound => RefusalCode::NotFound,
        Code::AlreadyExists => RefusalCode::AlreadyExists,
        Code::PermissionDenied => RefusalCode::PermissionDenied,
        Code::Unauthenticated => RefusalCode::Unauthenticated,
        Code::ResourceExhausted => RefusalCode::BudgetExceeded,
        Code::Unimplemented => RefusalCode::NotSupported,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
            RefusalCode::Unavailable
        }
        Code::Ok | Code::FailedPrecondition | Code::Aborted | Code::Internal | Code::DataLoss => {
            RefusalCode::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_survives_the_way_through_a_status() {
        for code in RefusalCode::ALL {
            let refusal = Refusal::new(*code, "calls[1].kill", "größer als erlaubt").hint("less");
            let headers = to_status(&refusal).into_http::<()>().into_parts().0.headers;
            let status = Status::from_header_map(&headers).expect("has a status");
            assert_eq!(from_status(&status), refusal);
            assert!((400..600).contains(&http_status(*code)));
        }
    }

    #[test]
    fn long_texts_are_cut_and_bare_statuses_get_words() {
        let refusal = Refusal::new(RefusalCode::NotFound, "task", "é".repeat(100_000));
        assert!(to_status(&refusal).message().len() < 4000);
        let bare = from_status(&Status::unavailable("connection refused"));
        assert_eq!(bare.code, RefusalCode::Unavailable);
        assert_eq!(bare.message, "connection refused");
        let mut coded = Status::unauthenticated("who are you");
        let word = "permission_denied".parse().expect("ASCII");
        coded.metadata_mut().insert(REFUSAL_CODE_METADATA, word);
        assert_eq!(from_status(&coded).code, RefusalCode::PermissionDenied);
        let later = br#"{"code":"from_the_future","field":"x","message":"no","hint":""}"#;
        let mut metadata = MetadataMap::new();
        metadata.insert_bin(REFUSAL_METADATA, BinaryMetadataValue::from_bytes(later));
        let status = Status::with_metadata(Code::Aborted, "no", metadata);
        assert_eq!(from_status(&status).code, RefusalCode::Other);
    }
}
