//! Every "no": a stable code, the field or object at fault, a sentence, and where it helps a hint.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)?) => {
        /// Machine code of a refusal. Codes are never renamed or reused.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum RefusalCode { $($(#[$doc])* $variant),+ }

        impl RefusalCode {
            /// All codes, for documents and tests.
            pub const ALL: &'static [RefusalCode] = &[$(RefusalCode::$variant),+];

            /// The stable text that travels and is documented.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(RefusalCode::$variant => $text),+ }
            }

            /// Reads a code; one that this version does not know becomes [`RefusalCode::Other`].
            #[must_use]
            pub fn from_text(text: &str) -> Self {
                match text { $($text => RefusalCode::$variant,)+ _ => RefusalCode::Other }
            }
        }
    };
}

codes! {
    /// A field has a value that its rule forbids.
    InvalidArgument = "invalid_argument",
    /// The named object does not exist.
    NotFound = "not_found",
    /// An object of that name exists already.
    AlreadyExists = "already_exists",
    /// The caller may not do this.
    PermissionDenied = "permission_denied",
    /// The caller did not say who he is.
    Unauthenticated = "unauthenticated",
    /// The call carries an older epoch, session or generation than the current one.
    StaleEpoch = "stale_epoch",
    /// The offer is not, or no longer, held by the caller.
    OfferNotHeld = "offer_not_held",
    /// The object is in use, and what was asked would end that.
    InUse = "in_use",
    /// The agent changed since the offer was made.
    AgentChanged = "agent_changed",
    /// The operation needs more than the offers hold.
    InsufficientResources = "insufficient_resources",
    /// The agent's own books do not have the resources.
    ResourcesStale = "resources_stale",
    /// The launch token was used or belongs to another session.
    TokenReused = "token_reused",
    /// There was no place for it in the time that was given.
    Expired = "expired",
    /// The template was never sent on this stream.
    UnknownTemplate = "unknown_template",
    /// The object exists but was removed for good.
    Removed = "removed",
    /// A role's limit would be exceeded.
    LimitExceeded = "limit_exceeded",
    /// A budget (bytes, keys, rate, backlog) is used up.
    BudgetExceeded = "budget_exceeded",
    /// Compare-and-swap: the version is another one.
    VersionConflict = "version_conflict",
    /// Known, but not built yet.
    NotSupported = "not_supported",
    /// This master does not lead; ask the one whose address is the hint, if there is one.
    NotLeader = "not_leader",
    /// The master leads but cannot confirm it right now, or is recovering.
    Unavailable = "unavailable",
    /// Another replica is the active one.
    Superseded = "superseded",
    /// The agent cannot enforce what the task needs.
    CannotEnforce = "cannot_enforce",
    /// The stored format is newer than this program.
    NewerFormat = "newer_format",
    /// A check found a broken invariant; the state is untouched (K23).
    InternalBug = "internal_bug",
    /// A code of a newer version.
    Other = "other",
}

/// A "no" that goes back to the caller.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable machine code.
    pub code: RefusalCode,
    /// The field path or object at fault, such as `operations[1].tasks[0].resources`.
    pub field: String,
    /// One sentence: lower case, no full stop.
    pub message: String,
    /// What to do, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

impl Refusal {
    /// The master that was asked does not lead. The hint is the leader's address, or nothing.
    #[must_use]
    pub fn not_leader(leader: Option<&str>) -> Self {
        let leader = leader.filter(|leader| is_address(leader)).unwrap_or_default();
        Self::new(RefusalCode::NotLeader, "", "this master does not lead").hint(leader)
    }

    /// The leader's address, if that is what this refusal tells.
    #[must_use]
    pub fn leader(&self) -> Option<&str> {
        (self.code == RefusalCode::NotLeader && is_address(&self.hint)).then_some(&self.hint)
    }

    /// A refusal without a hint.
    #[must_use]
    pub fn new(code: RefusalCode, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, field: field.into(), message: message.into(), hint: String::new() }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The same with `outer` put before the field path.
    #[must_use]
    pub fn within(mut self, outer: impl AsRef<str>) -> Self {
        let outer = outer.as_ref();
        self.field = match self.field.as_str() {
            "" => outer.to_owned(),
            inner if inner.starts_with('[') => format!("{outer}{inner}"),
            inner => format!("{outer}.{inner}"),
        };
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code.as_str())?;
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

/// `HOST:PORT` with or without a scheme, where a peer can connect to.
fn is_address(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let Some((host, port)) = rest.unwrap_or(text).rsplit_once(':') else { return false };
    let named = !host.is_empty()
        && !["0.0.0.0", "[::]"].contains(&host)
        && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    named && port.parse::<u16>().is_ok_and(|port| port != 0)
}

/// At most 64 characters of `text`, for use in messages: input never floods a log.
#[must_use]
pub fn excerpt(text: &str) -> String {
    const CHARS_MAX: usize = 64;
    match text.char_indices().nth(CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back_and_unknown_ones_survive() {
        for code in RefusalCode::ALL {
            assert_eq!(RefusalCode::from_text(code.as_str()), *code);
        }
        assert_eq!(RefusalCode::from_text("from_the_future"), RefusalCode::Other);
    }

    #[test]
    fn the_field_path_grows_outwards() {
        let refusal = Refusal::new(RefusalCode::InvalidArgument, "cpus", "is zero")
            .within("[0]")
            .within("tasks");
        assert_eq!(refusal.field, "tasks[0].cpus");
        assert_eq!(refusal.to_string(), "invalid_argument: tasks[0].cpus: is zero");
    }
}
