//! Words for enums that come as numbers.

use proffer_proto::pb;

/// The word for an isolation level.
pub(crate) fn isolation(level: pb::IsolationLevel) -> &'static str {
    match level {
        pb::IsolationLevel::Unspecified => "unknown",
        pb::IsolationLevel::Full => "full",
        pb::IsolationLevel::Userns => "userns",
        pb::IsolationLevel::Process => "process",
    }
}
