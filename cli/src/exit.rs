//! Exit codes: documented, stable (section "Exit codes" of `docs/operations.md`).

use proffer_types::{Refusal, RefusalCode};
use std::fmt;

/// How a command ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ExitCode {
    /// Done.
    Done = 0,
    /// Any other error.
    Error = 1,
    /// The rollout failed or was rolled back.
    RolloutFailed = 3,
    /// `--timeout` was reached; the rollout goes on.
    Timeout = 4,
    /// Refused: invalid file, policy, missing confirmation.
    Refused = 5,
    /// The service is at another revision.
    Conflict = 6,
    /// No such object.
    NotFound = 7,
    /// Not authenticated or not permitted.
    Denied = 8,
    /// Wrong usage of the command line.
    Usage = 64,
    /// Ctrl-C; what was followed goes on.
    Interrupted = 130,
}

impl ExitCode {
    /// The stable word of an error that no refusal is behind.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Done | Self::Error => "error",
            Self::RolloutFailed => "rollout_failed",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Conflict => "version_conflict",
            Self::NotFound => "not_found",
            Self::Denied => "permission_denied",
            Self::Usage => "usage",
            Self::Interrupted => "interrupted",
        }
    }
}

/// An error that knows how the program should end.
#[derive(Debug)]
pub(crate) struct Failure {
    pub code: ExitCode,
    pub message: String,
    pub cause: String,
    pub hint: String,
    /// The refusal behind it, for `-o json`.
    pub refusal: Option<Box<Refusal>>,
    /// What is wrong with a file.
    pub faults: Vec<Fault>,
}

/// A fault of a file, with its place.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Fault {
    pub file: String,
    pub line: u32,
    pub column: u32,
    pub key: String,
    pub message: String,
    pub hint: String,
    /// The same for people, with the line itself.
    #[serde(skip)]
    pub shown: String,
}

impl Failure {
    pub(crate) fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            cause: String::new(),
            hint: String::new(),
            refusal: None,
            faults: Vec::new(),
        }
    }

    pub(crate) fn faults(mut self, faults: Vec<Fault>) -> Self {
        self.faults = faults;
        self
    }

    /// An error of a part of the program, with all that led to it.
    pub(crate) fn chain(message: &str, error: &dyn std::error::Error) -> Self {
        let mut causes = vec![error.to_string()];
        let mut source = error.source();
        while let Some(error) = source {
            causes.push(error.to_string());
            source = error.source();
        }
        Self::new(ExitCode::Error, message).cause(causes.join(": "))
    }

    pub(crate) fn cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = cause.into();
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
impl std::error::Error for Failure {}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.code {
            RefusalCode::NotFound | RefusalCode::Removed => ExitCode::NotFound,
            RefusalCode::PermissionDenied | RefusalCode::Unauthenticated => ExitCode::Denied,
            RefusalCode::VersionConflict => ExitCode::Conflict,
            RefusalCode::InternalBug
            | RefusalCode::Unavailable
            | RefusalCode::NotLeader
            | RefusalCode::Other => ExitCode::Error,
            RefusalCode::InvalidArgument
            | RefusalCode::AlreadyExists
            | RefusalCode::StaleEpoch
            | RefusalCode::OfferNotHeld
            | RefusalCode::AgentChanged
            | RefusalCode::InsufficientResources
            | RefusalCode::InUse
            | RefusalCode::ResourcesStale
            | RefusalCode::TokenReused
            | RefusalCode::Expired
            | RefusalCode::UnknownTemplate
            | RefusalCode::LimitExceeded
            | RefusalCode::BudgetExceeded
            | RefusalCode::NotSupported
            | RefusalCode::Superseded
            | RefusalCode::CannotEnforce
            | RefusalCode::NewerFormat => ExitCode::Refused,
        };
        let message = if refusal.field.is_empty() {
            refusal.message.clone()
        } else {
            format!("{}: {}", refusal.field, refusal.message)
        };
        Self {
            code,
            message,
            cause: String::new(),
            hint: hint_of(&refusal),
            refusal: Some(Box::new(refusal)),
            faults: Vec::new(),
        }
    }
}

/// What to do about a refusal, in the words of this program.
fn hint_of(refusal: &Refusal) -> String {
    if refusal.code == RefusalCode::Unauthenticated {
        return "name the master's token with --token-file; it is the file `token` in its --data \
                directory unless it was given one"
            .to_owned();
    }
    refusal.hint.clone()
}
