//! What runs: the pod template (sent once, named by digest) and the launch that uses it (K16).
//!
//! A template holds `${name}` placeholders in commands, environment and checks; a launch carries
//! the variables. So all instances of one revision share one template.

use crate::demand::Budget;
use crate::ids::{GroupName, LaunchToken, TaskName, TemplateDigest};
use crate::refusal::{Refusal, RefusalCode};
use crate::resources::Resources;
use crate::units::{Bytes, DurationMs};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// What a pod is made of. A task is a pod of one: exactly one container is accepted today.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct PodTemplate {
    /// The containers, which share network and life.
    pub containers: Vec<ContainerTemplate>,
    /// How it is asked to stop.
    pub kill: KillPolicy,
    /// What happens to it while the master is out of reach (K13).
    pub on_disconnect: OnDisconnect,
    /// Labels for people and frameworks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// One container of a pod.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct ContainerTemplate {
    /// Its name within the pod.
    pub name: String,
    /// Program and arguments; `${name}` is replaced, `$$` is a dollar sign.
    pub command: Vec<String>,
    /// User name or uid on the agent; `None`: the agent's own user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Directory of the agent's machine that becomes `/`; `None`: the machine's own root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Working directory inside; `None`: the sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Environment; values may hold placeholders.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Most processes and threads; `None`: the agent's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids_max: Option<u64>,
    /// Resource limits by lower-case name (`nofile`, `core`, …): soft and hard.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rlimits: BTreeMap<String, (u64, u64)>,
    /// Whether `cpus` is also a ceiling; otherwise it is a share and a floor.
    #[serde(default)]
    pub cpu_limit: bool,
    /// Bounds of its logs.
    pub log: LogPolicy,
    /// What the agent asks it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
}

/// How much of a container's output is kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct LogPolicy {
    /// Size at which a file is rotated.
    pub file_max: Bytes,
    /// Files kept a stream, the current one included.
    pub files: u32,
}

impl Default for LogPolicy {
    fn default() -> Self {
        Self { file_max: Bytes(4 << 20), files: 3 }
    }
}

/// How a pod is asked to stop: signal, grace, kill.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct KillPolicy {
    /// The first signal.
    pub signal: i32,
    /// Time until SIGKILL.
    pub grace: DurationMs,
}

impl Default for KillPolicy {
    fn default() -> Self {
        const SIGTERM: i32 = 15;
        Self { signal: SIGTERM, grace: DurationMs::from_secs(5) }
    }
}

/// What a task does while its agent has no master.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnect {
    /// It runs on.
    #[default]
    Keep,
    /// It is stopped this long after the last grant.
    StopAfter(DurationMs),
}

/// What a check is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// Gates the others; failing for longer than its limit ends the task.
    Startup,
    /// Decides whether the instance is published.
    Ready,
    /// Decides whether the task is ended.
    Alive,
}

/// How a check asks. Ports are numbers or placeholders such as `${port.web}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// GET on the loopback address; passes when the status is listed (empty: 200 to 399).
    Http {
        /// Port.
        port: String,
        /// Path, starting with `/`.
        path: String,
        /// Accepted status codes.
        status: Vec<u16>,
    },
    /// A connection is accepted.
    Tcp {
        /// Port.
        port: String,
    },
    /// A command inside the container ends with 0.
    Command {
        /// Program and arguments.
        command: Vec<String>,
    },
}

/// A check: probe, pace and thresholds. Only transitions are reported.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Check {
    /// What for.
    pub kind: CheckKind,
    /// How.
    pub probe: Probe,
    /// From one end to the next begin.
    pub interval: DurationMs,
    /// Longest wait for one answer.
    pub timeout: DurationMs,
    /// Failures in a row until it counts as failing; at least 1.
    pub failures: u32,
    /// Successes in a row until it counts as passing; at least 1.
    pub successes: u32,
    /// Startup checks only: how long it may take.
    pub limit: DurationMs,
}

impl PodTemplate {
    /// Most containers, arguments and environment entries; keeps a template well below the 1 MiB
    /// that an agent accepts.
    pub const ENTRIES_MAX: usize = 1024;
    /// Longest single string.
    pub const TEXT_MAX: usize = 64 << 10;

    /// The name under which it is interned: SHA-256 over its canonical JSON.
    #[must_use]
    pub fn digest(&self) -> TemplateDigest {
        let canonical = serde_json::to_vec(self).expect("plain data with string keys serialises");
        TemplateDigest(Sha256::digest(canonical).into())
    }

    /// Checks what can be checked without an agent.
    ///
    /// # Errors
    /// A refusal that names the field.
    pub fn validate(&self) -> Result<(), Refusal> {
        let refuse = |code, field: &str, message: String| Err(Refusal::new(code, field, message));
        let [container] = self.containers.as_slice() else {
            return refuse(
                RefusalCode::NotSupported,
                "containers",
                format!("a pod has exactly one container today, not {}", self.containers.len()),
            );
        };
        if !(1..=64).contains(&self.kill.signal) {
            return refuse(
                RefusalCode::InvalidArgument,
                "kill.signal",
                format!("{} is not a signal number", self.kill.signal),
            );
        }
        container.validate().map_err(|refusal| refusal.within("containers[0]"))
    }
}

impl ContainerTemplate {
    fn validate(&self) -> Result<(), Refusal> {
        let invalid = |field: String, message: &str| {
            Err(Refusal::new(RefusalCode::InvalidArgument, field, message))
        };
        if self.command.first().is_none_or(String::is_empty) {
            return invalid("command".to_owned(), "is empty");
        }
        if self.command.len() + self.env.len() > PodTemplate::ENTRIES_MAX {
            return invalid("command".to_owned(), "more than 1024 arguments and variables");
        }
        for (index, text) in self.command.iter().enumerate() {
            check_text(text).or_else(|why| invalid(format!("command[{index}]"), why))?;
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains('=') {
                return invalid(
                    format!("env.{name}"),
                    "a variable's name is not empty and has no '='",
                );
            }
            check_text(name).or_else(|why| invalid(format!("env.{name}"), why))?;
            check_text(value).or_else(|why| invalid(format!("env.{name}"), why))?;
        }
        for (field, path) in [("root", &self.root), ("workdir", &self.workdir)] {
            if path.as_ref().is_some_and(|path| !path.starts_with('/') || path.contains('\0')) {
                return invalid(field.to_owned(), "is not an absolute path");
            }
        }
        if self.log.files == 0 || self.log.file_max.0 < 4096 {
            return invalid("log".to_owned(), "needs at least one file of at least 4KiB");
        }
        if self.pids_max == Some(0) {
            return invalid("pids_max".to_owned(), "is zero: nothing could run");
        }
        for (index, check) in self.checks.iter().enumerate() {
            check.validate().map_err(|refusal| refusal.within(format!("checks[{index}]")))?;
        }
        Ok(())
    }
}

fn check_text(text: &str) -> Result<(), &'static str> {
    if text.contains('\0') {
        return Err("holds a NUL byte");
    }
    if text.len() > PodTemplate::TEXT_MAX {
        return Err("is longer than 64KiB");
    }
    Ok(())
}

impl Check {
    fn validate(&self) -> Result<(), Refusal> {
        let invalid = |field: &str, message: &str| {
            Err(Refusal::new(RefusalCode::InvalidArgument, field, message))
        };
        if self.failures == 0 || self.successes == 0 {
            return invalid("failures", "thresholds are at least 1");
        }
        if self.interval.0 == 0 || self.timeout.0 == 0 {
            return invalid("interval", "interval and timeout are longer than zero");
        }
        if self.kind == CheckKind::Startup && self.limit.0 == 0 {
            return invalid("limit", "a startup check needs a limit");
        }
        match &self.probe {
            Probe::Http { path, .. } if !path.starts_with('/') => {
                invalid("http.path", "starts with '/'")
            }
            Probe::Command { command } if command.is_empty() => invalid("command", "is empty"),
            Probe::Http { .. } | Probe::Tcp { .. } | Probe::Command { .. } => Ok(()),
        }
    }
}

/// One launch: a template by name and what differs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct TaskLaunch {
    /// Free name.
    pub name: TaskName,
    /// Makes it unique (K1).
    pub token: LaunchToken,
    /// What runs.
    pub template: TemplateDigest,
    /// What it takes out of the offers.
    pub resources: Resources,
    /// Values for the template's placeholders.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// Labels of this task alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The demand group that it serves (K10).
    pub group: Option<GroupName>,
    /// Tasks of lower priority make room for those of higher ones of the same top role (K11).
    #[serde(default)]
    pub priority: i32,
    /// Those it belongs to of which some are to stay (K11), as it stands at the launch.
    #[serde(default)]
    pub budget: Option<Budget>,
}

/// Replaces the placeholders of one launch. What comes of them is bounded: a small template and small
/// variables could ask for gigabytes.
#[derive(Debug)]
pub struct Placeholders<'a> {
    variables: &'a BTreeMap<String, String>,
    /// Bytes that the texts to come may have together.
    left: usize,
}

impl<'a> Placeholders<'a> {
    /// Longest text, in bytes: what the kernel takes as one argument (`MAX_ARG_STRLEN`), less its end.
    pub const TEXT_MAX: usize = (128 << 10) - 1;
    /// All texts of a launch together, in bytes.
    pub const LAUNCH_MAX: usize = 1 << 20;

    /// Values for a launch that has no text yet.
    #[must_use]
    pub fn new(variables: &'a BTreeMap<String, String>) -> Self {
        Self { variables, left: Self::LAUNCH_MAX }
    }

    /// Replaces `${name}` by its value; `$$` is one dollar sign, any other `$` stands for itself.
    ///
    /// # Errors
    /// A refusal naming the placeholder that has no value or no end, or the bound that is exceeded.
    pub fn expand(&mut self, text: &str) -> Result<String, Refusal> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            self.push(&mut out, &rest[..at])?;
            let tail = &rest[at + 1..];
            if let Some(after) = tail.strip_prefix('$') {
                self.push(&mut out, "$")?;
                rest = after;
            } else if let Some(after) = tail.strip_prefix('{') {
                let (name, after) = after.split_once('}').ok_or_else(|| {
                    invalid(format!("{:?} has no closing '}}'", crate::refusal::excerpt(rest)))
                })?;
                let value = self.value(name)?;
                self.push(&mut out, value)?;
                rest = after;
            } else {
                self.push(&mut out, "$")?;
                rest = tail;
            }
        }
        self.push(&mut out, rest)?;
        self.left -= out.len();
        Ok(out)
    }

    fn value(&self, name: &str) -> Result<&'a str, Refusal> {
        self.variables.get(name).map(String::as_str).ok_or_else(|| {
            let known = self.variables.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            invalid(format!("${{{}}} has no value", crate::refusal::excerpt(name)))
                .hint(format!("known: {}", crate::refusal::excerpt(&known)))
        })
    }

    fn push(&self, out: &mut String, piece: &str) -> Result<(), Refusal> {
        let length = out.len() + piece.len();
        if length > Self::TEXT_MAX {
            let message = "is longer than 128KiB with its placeholders replaced";
            return Err(invalid(message.to_owned()));
        }
        if length > self.left {
            let message =
                "with this, the texts of the launch are more than 1MiB with placeholders replaced";
            return Err(invalid(message.to_owned()));
        }
        out.push_str(piece);
        Ok(())
    }
}

fn invalid(message: String) -> Refusal {
    Refusal::new(RefusalCode::InvalidArgument, "variables", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_and_missing_ones_named() {
        let variables = BTreeMap::from([("port.web".to_owned(), "31000".to_owned())]);
        let expand = |text| Placeholders::new(&variables).expand(text);
        assert_eq!(expand("--port=${port.web} $$HOME $x").expect("known"), "--port=31000 $HOME $x");
        assert!(expand("${nope}").expect_err("unknown").message.contains("${nope}"));
        assert!(expand("${open").is_err());
    }

    #[test]
    fn i15_what_placeholders_become_is_bounded() {
        let variables = BTreeMap::from([("a".to_owned(), "x".repeat(16 << 10))]);
        let mut placeholders = Placeholders::new(&variables);
        let bomb = placeholders.expand(&"${a}".repeat(16 << 10)).expect_err("256MiB");
        assert!(bomb.message.contains("128KiB"), "{bomb}");
        let long = "${a}".repeat(7);
        let fit = Placeholders::LAUNCH_MAX / (7 << 14);
        for _ in 0..fit {
            assert_eq!(placeholders.expand(&long).expect("fits").len(), 7 << 14);
        }
        let beyond = placeholders.expand(&long).expect_err("more than a launch has");
        assert!(beyond.message.contains("1MiB"), "{beyond}");
        assert!(placeholders.expand("short").is_ok());
    }

    #[test]
    fn the_digest_follows_what_runs_and_nothing_else() {
        let template = PodTemplate {
            containers: vec![ContainerTemplate {
                name: "main".to_owned(),
                command: vec!["/bin/true".to_owned()],
                ..ContainerTemplate::default()
            }],
            kill: KillPolicy::default(),
            on_disconnect: OnDisconnect::Keep,
            labels: BTreeMap::new(),
        };
        let mut other = template.clone();
        assert_eq!(template.digest(), other.digest());
        other.containers[0].command.push("x".to_owned());
        assert_ne!(template.digest(), other.digest());
        assert!(template.validate().is_ok());
        other.containers[0].command = vec!["a\0b".to_owned()];
        assert_eq!(other.validate().expect_err("NUL").field, "containers[0].command[0]");
    }
}
