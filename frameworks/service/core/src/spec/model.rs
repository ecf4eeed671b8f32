//! A service as it is stored: every default written out, so that a later change of defaults never
//! alters a running service. Its JSON has the shape of the file and reads back as one.

use super::quantity::{self, Amount, Wait};
use proffer_types::{Bytes, DurationMs, Milli, Refusal, RefusalCode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The only schema of service files.
pub const SCHEMA: &str = "service/v1";
/// Most services of one file: each needs up to three changes, and a commit holds 64.
pub const SERVICES_MAX: usize = 20;
/// Most instances of a service.
pub const INSTANCES_MAX: u32 = 10_000;
/// Most bytes of one revision as stored: a value of the state store holds 64 KiB.
pub const REVISION_BYTES_MAX: usize = 60 << 10;

/// A service's name: a DNS label.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(String);

impl ServiceName {
    /// Checks a name.
    ///
    /// # Errors
    /// A refusal with the rule.
    pub fn new(text: &str) -> Result<Self, Refusal> {
        if is_dns_label(text) {
            return Ok(Self(text.to_owned()));
        }
        let excerpt = proffer_types::refusal::excerpt(text);
        Err(Refusal::new(
            RefusalCode::InvalidArgument,
            "service",
            format!(
                "{excerpt:?} is not a service name: 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit"
            ),
        ))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl TryFrom<String> for ServiceName {
    type Error = Refusal;
    fn try_from(text: String) -> Result<Self, Refusal> {
        Self::new(&text)
    }
}
impl From<ServiceName> for String {
    fn from(name: ServiceName) -> Self {
        name.0
    }
}

pub(super) fn is_dns_label(text: &str) -> bool {
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| plain(&b) || b == b'-')
        && text.as_bytes().first().is_some_and(plain)
        && text.as_bytes().last().is_some_and(plain)
}

/// A file: its services by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServiceFile {
    /// The services, and how many instances the file asks for, if it says.
    pub services: BTreeMap<ServiceName, ServiceSpec>,
}

/// One service, complete.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// How many the file asks for; `None`: the file leaves the count alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// User name or uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Directory of the agent's machine that becomes `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What one instance takes.
    pub resources: ResourcesSpec,
    /// Named ports.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, PortSpec>,
    /// What the agent asks an instance.
    pub checks: ChecksSpec,
    /// How an instance ends.
    pub stop: StopSpec,
    /// How a crashed slot comes back.
    pub restart: RestartSpec,
    /// How a change is carried out.
    pub rollout: RolloutSpec,
    /// Where instances may run.
    #[serde(default)]
    pub placement: PlacementSpec,
    /// What a lost agent means.
    pub unreachable: UnreachableSpec,
    /// What is remembered.
    pub history: HistorySpec,
    /// What stays ready whoever wants the room.
    #[serde(default)]
    pub availability: AvailabilitySpec,
    /// Who makes room for whom.
    #[serde(default)]
    pub priority: PrioritySpec,
}

/// Scheduled and enforced amounts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ResourcesSpec {
    /// Scheduled.
    pub request: RequestSpec,
    /// Enforced.
    pub limit: LimitSpec,
}

/// What is scheduled.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestSpec {
    /// Cores.
    #[serde(with = "quantity::cores")]
    pub cpu: Milli,
    /// Memory.
    #[serde(with = "quantity::size")]
    pub mem: Bytes,
    /// Disk.
    #[serde(with = "quantity::size")]
    pub disk: Bytes,
}

/// What is enforced.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LimitSpec {
    /// Whether `request.cpu` is also a ceiling.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_cores")]
    pub cpu: Option<Milli>,
    /// Memory.
    #[serde(with = "quantity::size")]
    pub mem: Bytes,
    /// Processes and threads; `None`: the agent's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
}

mod optional_cores {
    use proffer_types::Milli;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::ref_option, reason = "serde's `with` passes a reference to the field")]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Milli>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(cores) => to.collect_str(cores),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Milli>, D::Error> {
        Option::<String>::deserialize(from)?
            .map(|text| Milli::parse(&text).map_err(D::Error::custom))
            .transpose()
    }
}

/// A named port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PortSpec {
    /// Its number on the agent.
    pub host: HostPort,
    /// What is spoken there; tells readers of the endpoints.
    pub protocol: PortProtocol,
}

/// A port's number on the agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostPort {
    /// Any free one.
    Auto,
    /// Just this.
    Fixed(u16),
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(port) => write!(f, "{port}"),
        }
    }
}
impl TryFrom<String> for HostPort {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "auto" => Ok(Self::Auto),
            _ => text.parse().ok().filter(|port| *port > 0).map(Self::Fixed).ok_or_else(|| {
                let excerpt = proffer_types::refusal::excerpt(&text);
                format!("{excerpt:?} is not a port from 1 to 65535, or auto")
            }),
        }
    }
}
impl From<HostPort> for String {
    fn from(port: HostPort) -> Self {
        port.to_string()
    }
}

/// Defines an enum of words, with the table that the decoder and the document use.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every word with its meaning.
            pub const WORDS: &'static [(&'static str, Self)] = &[$(($text, Self::$variant)),+];

            /// The word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

words!(
    /// What is spoken at a port.
    PortProtocol {
        /// HTTP.
        Http = "http",
        /// Anything on TCP.
        Tcp = "tcp",
    }
);
words!(
    /// Whether the new instance of a slot starts before the old one stops.
    Order {
        /// New first: needs surge.
        StartFirst = "start_first",
        /// Old first: needs `min_ready` below all.
        StopFirst = "stop_first",
    }
);
words!(
    /// What a failed rollout does.
    OnFailure {
        /// Back to the last good revision.
        Rollback = "rollback",
        /// Stands still.
        Pause = "pause",
        /// Goes on.
        Continue = "continue",
    }
);
words!(
    /// How a change proceeds.
    Strategy {
        /// Slot by slot.
        Rolling = "rolling",
    }
);

/// The three checks.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ChecksSpec {
    /// Gates the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<CheckSpec>,
    /// Decides publication and rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<CheckSpec>,
    /// Decides whether it is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alive: Option<CheckSpec>,
}

/// One check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CheckSpec {
    /// How it asks.
    #[serde(flatten)]
    pub probe: ProbeSpec,
    /// From one end to the next begin.
    #[serde(with = "quantity::span")]
    pub interval: DurationMs,
    /// Longest wait for one answer.
    #[serde(with = "quantity::span")]
    pub timeout: DurationMs,
    /// Failures in a row until it fails.
    pub fail: u32,
    /// Successes in a row until it passes.
    pub success: u32,
    /// Startup only: how long it may take.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_span")]
    pub limit: Option<DurationMs>,
}

mod optional_span {
    use proffer_types::DurationMs;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::ref_option, reason = "serde's `with` passes a reference to the field")]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<DurationMs>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(span) => to.collect_str(span),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<DurationMs>, D::Error> {
        Option::<String>::deserialize(from)?
            .map(|text| DurationMs::parse(&text).map_err(D::Error::custom))
            .transpose()
    }
}

/// How a check asks. Ports are names of `ports`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeSpec {
    /// GET on loopback.
    Http {
        /// A name of `ports`.
        port: String,
        /// Starts with `/`.
        path: String,
        /// Accepted codes; empty: 200 to 399.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        status: Vec<u16>,
    },
    /// A connection.
    Tcp {
        /// A name of `ports`.
        port: String,
    },
    /// A command inside the container.
    Exec(Vec<String>),
}

/// How an instance ends: unpublish, linger, signal, grace, kill.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StopSpec {
    /// Before the signal.
    pub drain: DrainSpec,
    /// The signal's name, without SIG.
    pub signal: Signal,
    /// From signal to kill.
    #[serde(with = "quantity::span")]
    pub grace: DurationMs,
}

/// Before the signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DrainSpec {
    /// From unpublication to the signal.
    #[serde(with = "quantity::span")]
    pub linger: DurationMs,
}

words!(
    /// A signal that may ask an instance to stop.
    Signal {
        /// 15.
        Term = "TERM",
        /// 2.
        Int = "INT",
        /// 3.
        Quit = "QUIT",
        /// 1.
        Hup = "HUP",
        /// 10.
        Usr1 = "USR1",
        /// 12.
        Usr2 = "USR2",
        /// 28.
        Winch = "WINCH",
        /// 9.
        Kill = "KILL",
    }
);

impl Signal {
    /// Its number on Linux.
    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            Self::Hup => 1,
            Self::Int => 2,
            Self::Quit => 3,
            Self::Kill => 9,
            Self::Usr1 => 10,
            Self::Usr2 => 12,
            Self::Term => 15,
            Self::Winch => 28,
        }
    }
}

/// How a crashed slot comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RestartSpec {
    /// Growing pauses.
    pub backoff: BackoffSpec,
}

/// Growing pauses between the starts of one slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BackoffSpec {
    /// After the first crash.
    #[serde(with = "quantity::span")]
    pub first: DurationMs,
    /// From one to the next.
    #[serde(with = "quantity::cores")]
    pub factor: Milli,
    /// Never longer.
    #[serde(with = "quantity::span")]
    pub max: DurationMs,
    /// Ready for so long: begins anew.
    #[serde(with = "quantity::span")]
    pub reset: DurationMs,
}

/// How a change is carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RolloutSpec {
    /// How it proceeds.
    pub strategy: Strategy,
    /// New or old first.
    pub order: Order,
    /// Ready instances of any revision, never fewer.
    pub min_ready: Amount,
    /// Instances above the count, terminating ones included, never more.
    pub surge: Amount,
    /// Ready for so long counts as available.
    #[serde(with = "quantity::span")]
    pub min_available_time: DurationMs,
    /// Without a newly available instance for so long: failed.
    #[serde(with = "quantity::span")]
    pub progress_deadline: DurationMs,
    /// More slots than this crashed: failed.
    pub max_failures: u32,
    /// What then.
    pub on_failure: OnFailure,
}

/// What stays ready whoever wants the room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AvailabilitySpec {
    /// Ready instances of any revision, never fewer.
    pub min_ready: Amount,
}

impl Default for AvailabilitySpec {
    fn default() -> Self {
        Self { min_ready: Amount::Percent(0) }
    }
}

impl AvailabilitySpec {
    /// Of so many instances these stay.
    #[must_use]
    pub fn kept(self, count: u32) -> u32 {
        self.min_ready.of(count).min(count)
    }
}

words!(
    /// Who makes room for whom, in the same top role.
    PriorityClass {
        /// All others make room for it.
        Critical = "critical",
        /// Tasks of other frameworks that say nothing stand here too.
        Standard = "standard",
        /// It makes room for all others.
        Spot = "spot",
    }
);

/// Who makes room for whom, and who is served first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PrioritySpec {
    /// Higher ones end lower ones.
    pub class: PriorityClass,
    /// Higher ones are served first within the class; 0 to [`PrioritySpec::LEVEL_MAX`].
    pub level: u32,
}

impl Default for PrioritySpec {
    fn default() -> Self {
        Self { class: PriorityClass::Standard, level: 50 }
    }
}

impl PrioritySpec {
    /// The highest level.
    pub const LEVEL_MAX: u32 = 100;

    /// Of its tasks: only what is wanted with more ends them.
    #[must_use]
    pub const fn of_tasks(self) -> i32 {
        match self.class {
            PriorityClass::Critical => 1_000,
            PriorityClass::Standard => 0,
            PriorityClass::Spot => -1_000,
        }
    }

    /// While they wait: by level, and never above tasks of the same class, so that none is ended for them.
    #[must_use]
    pub fn waiting(self) -> i32 {
        let below = Self::LEVEL_MAX.saturating_sub(self.level);
        self.of_tasks().saturating_sub_unsigned(below)
    }
}

/// Where instances may run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PlacementSpec {
    /// Expressions that all must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<String>,
    /// Prefer agents with fewer instances.
    #[serde(default)]
    pub spread: Vec<SpreadSpec>,
    /// Most instances on one of a kind.
    #[serde(default, skip_serializing_if = "MaxPerSpec::is_empty")]
    pub max_per: MaxPerSpec,
}

/// One rule of spread.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SpreadSpec {
    /// Over what.
    pub by: SpreadBy,
}

words!(
    /// Over what instances are spread.
    SpreadBy {
        /// Agents.
        Host = "host",
    }
);

/// Most instances on one of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MaxPerSpec {
    /// On one agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<u32>,
}

impl MaxPerSpec {
    fn is_empty(&self) -> bool {
        self.host.is_none()
    }
}

/// What a lost agent means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UnreachableSpec {
    /// When its instances are replaced elsewhere.
    pub replace_after: Wait,
}

/// What is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HistorySpec {
    /// Revisions.
    pub keep: u32,
}
