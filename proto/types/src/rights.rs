//! What may be allowed or not: a verb on a kind of object. Every door names the right it needs in these
//! words, and each program decides in one place who has it.

use std::fmt;

/// What a call does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Verb {
    /// Look, also continuously.
    Read,
    /// Take part as a framework.
    Subscribe,
    /// Take part as an agent.
    Register,
    /// Run tasks of one's own container.
    Execute,
    /// Declare that it will not return.
    MarkGone,
    /// End its tasks and give it no new ones.
    Drain,
    /// Give it no new tasks.
    Deactivate,
    /// End drain and deactivation.
    Activate,
    /// End it and all its tasks.
    Teardown,
    /// End it.
    Kill,
    /// Set its record.
    Set,
    /// Change through a framework's own API.
    Change,
    /// Make, change or adopt it.
    Reserve,
    /// Remove it, with its data.
    Release,
}

impl Verb {
    /// Nothing is changed by it.
    #[must_use]
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Read)
    }

    /// The caller becomes a part of the cluster.
    #[must_use]
    pub const fn is_join(self) -> bool {
        matches!(self, Self::Subscribe | Self::Register | Self::Execute)
    }

    /// What it says after "may not".
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Subscribe => "subscribe as",
            Self::Register => "register as",
            Self::Execute => "execute",
            Self::MarkGone => "give up",
            Self::Drain => "drain",
            Self::Deactivate => "deactivate",
            Self::Activate => "activate",
            Self::Teardown => "tear down",
            Self::Kill => "kill",
            Self::Set => "set",
            Self::Change => "change",
            Self::Reserve => "reserve",
            Self::Release => "release",
        }
    }
}

/// What kind of thing a call is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ObjectKind {
    /// All together.
    Cluster,
    /// An agent.
    Agent,
    /// A framework.
    Framework,
    /// A task.
    Task,
    /// A lease.
    Offer,
    /// A role.
    Role,
    /// A reservation or a volume.
    Hold,
    /// The event log.
    Event,
    /// Files and logs of a task.
    Sandbox,
    /// A service of the service framework.
    Service,
    /// Numbers for monitoring.
    Metrics,
    /// Whether the process serves.
    Health,
    /// The description of the API.
    Document,
    /// The web page's own files.
    Page,
}

impl ObjectKind {
    /// Its name in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Agent => "agent",
            Self::Framework => "framework",
            Self::Task => "task",
            Self::Offer => "offer",
            Self::Role => "role",
            Self::Hold => "reservation or volume",
            Self::Event => "event log",
            Self::Sandbox => "sandbox",
            Self::Service => "service",
            Self::Metrics => "metrics",
            Self::Health => "health",
            Self::Document => "description of the API",
            Self::Page => "page",
        }
    }
}

/// The right that a call needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Access {
    /// To do what.
    pub verb: Verb,
    /// On what.
    pub kind: ObjectKind,
}

impl Access {
    /// To do `verb` on a `kind`.
    #[must_use]
    pub const fn new(verb: Verb, kind: ObjectKind) -> Self {
        Self { verb, kind }
    }
}

/// One object, or all of a kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// Which one, if the call names one.
    pub name: Option<String>,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{} {name}", self.kind.as_str()),
            None => f.write_str(self.kind.as_str()),
        }
    }
}
