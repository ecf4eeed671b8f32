//! The JSON of the API, for everybody who speaks it: the bodies of requests and of answers.

pub use proffer_service_core::api::*;
pub use proffer_service_core::command::{ChangeKind, ScaleTo, ServiceChange, ServiceReply};
pub use proffer_service_core::events::EventPage;
pub use proffer_service_core::plan::Phase;
pub use proffer_service_core::record::{FailureNote, RolloutKind, RolloutState};
pub use proffer_service_core::spec::{ServiceName, ServiceSpec};

use serde::{Deserialize, Serialize};

/// `GET /v1/services`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ServiceList {
    /// By name.
    pub services: Vec<ServiceSummary>,
}

/// `GET /v1/services/{name}/instances`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct InstanceList {
    /// By slot, oldest first.
    pub instances: Vec<InstanceView>,
}

/// `GET /v1/services/{name}/history`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct History {
    /// Newest first.
    pub revisions: Vec<RevisionView>,
}

/// `POST /v1/services/{name}/scale`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// To what.
    pub to: ScaleTo,
}

/// `POST /v1/services/-/scale`: all of them, or none when one is refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleSeveralRequest {
    /// Which, and to what.
    pub targets: std::collections::BTreeMap<ServiceName, ScaleTo>,
}

/// `POST /v1/services/{name}/rollback`; all of it may be left out.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// Which revision; none: the last good one.
    #[serde(default)]
    pub to: Option<u32>,
    /// The newest revision that the caller knows.
    #[serde(default)]
    pub if_revision: Option<u32>,
}

/// `POST /v1/services/-/validate`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Validation {
    /// The services of the file, all of them well.
    pub services: Vec<ServiceName>,
}

/// A fault of a file, in the `diagnostics` of a refusal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DiagnosticView {
    /// `invalid_argument` or `not_supported`.
    pub code: proffer_types::RefusalCode,
    /// Field path.
    pub field: String,
    /// Line, from 1; 0: unknown.
    pub line: u32,
    /// Column, from 1; 0: unknown.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}
