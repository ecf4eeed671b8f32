//! Owns what etcd's errors mean for us: not there, refused, or an outcome that nobody knows.

use etcd_client::Error;

use super::super::StoreError;
use super::super::model::TransactionResult;

/// A read, campaign or renewal failed.
#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
pub(super) fn failed(error: Error) -> StoreError {
    let reason = error.to_string();
    if is_final(&error) {
        StoreError::Refused { reason }
    } else {
        StoreError::Unavailable { reason }
    }
}

/// A transaction failed. Only what etcd certainly refused before proposing it counts as not applied;
/// everything else is settled by reading the mark (K4).
pub(super) fn transaction_failed(error: &Error) -> TransactionResult {
    let reason = error.to_string();
    if is_final(error) {
        TransactionResult::Rejected { reason }
    } else if is_refused_for_now(error) {
        TransactionResult::NotApplied { reason }
    } else {
        TransactionResult::Unknown { reason }
    }
}

/// The revision asked for is gone. etcd says it in words only.
pub(super) fn is_compacted(error: &Error) -> bool {
    has(error, &["OutOfRange"], "has been compacted")
}

/// Our own decoder stopped: ask for less at once.
pub(super) fn is_too_large_to_decode(error: &Error) -> bool {
    has(error, &["OutOfRange"], "message length too large")
}

/// The lease is not known to etcd any more.
pub(super) fn is_lease_gone(error: &Error) -> bool {
    let gone = "lease not found";
    if let Error::LeaseKeepAliveError(reason) = error {
        return reason == gone;
    }
    has(error, &["NotFound"], gone)
}

/// The same request will never be taken.
fn is_final(error: &Error) -> bool {
    let refused = ["InvalidArgument", "PermissionDenied", "Unauthenticated", "FailedPrecondition"];
    matches!(error, Error::InvalidArgs(_) | Error::InvalidUri(_))
        || has(error, &refused, "")
        || has(error, &["ResourceExhausted"], "larger than max")
}

/// No room or too many requests: refused before it was proposed.
fn is_refused_for_now(error: &Error) -> bool {
    has(error, &["ResourceExhausted"], "")
}

/// Codes are compared by name, so that etcd-client's copy of tonic need not be ours.
fn has(error: &Error, codes: &[&str], words: &str) -> bool {
    let Error::GRpcStatus(status) = error else { return false };
    codes.contains(&format!("{:?}", status.code()).as_str()) && status.message().contains(words)
}
