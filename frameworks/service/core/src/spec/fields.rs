//! Every field of a service file: name, value, default, meaning. The decoder refuses what is not
//! in these tables, and `docs/service-spec.md` is printed from them, so neither can lag behind.

/// What a changed value does to running instances.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// They are replaced by a rollout.
    Replace,
    /// It holds at once, or for instances started from then on; nothing is replaced.
    InPlace,
    /// It is no property of the service.
    File,
}

/// A field that is understood.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its key.
    pub name: &'static str,
    /// What is written there.
    pub value: &'static str,
    /// What holds without it.
    pub default: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What a change does.
    pub effect: Effect,
}

/// The fields of one mapping.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Path of the mapping; `NAME` stands for a name of the author's.
    pub path: &'static str,
    /// What it is.
    pub title: &'static str,
    /// What is understood.
    pub fields: &'static [Field],
    /// What a later version will understand.
    pub later: &'static [&'static str],
}

const fn field(
    name: &'static str,
    value: &'static str,
    default: &'static str,
    effect: Effect,
    meaning: &'static str,
) -> Field {
    Field { name, value, default, meaning, effect }
}

use Effect::{File, InPlace, Replace};

/// The document.
pub const DOCUMENT: Section = Section {
    path: "",
    title: "The document",
    fields: &[
        field("schema", "`service/v1`", "required", File, "the version of this format"),
        field(
            "vars",
            "map of name to text or number",
            "none",
            File,
            "`${name}` in any later scalar is replaced by the value before its type is looked at",
        ),
        field("defaults", "mapping", "none", File, "merged under each service"),
        field("services", "map of name to service", "required", File, "at most 20 services"),
    ],
    later: &["stack"],
};

/// `defaults`.
pub const DEFAULTS: Section = Section {
    path: "defaults",
    title: "Defaults of a file",
    fields: &[field(
        "labels",
        "map of name to text",
        "none",
        InPlace,
        "labels of every service; a service's own label of the same name wins",
    )],
    later: &[
        "image",
        "command",
        "env",
        "resources",
        "checks",
        "stop",
        "restart",
        "rollout",
        "placement",
        "unreachable",
        "availability",
        "history",
        "owner",
    ],
};

/// `services.NAME`.
pub const SERVICE: Section = Section {
    path: "services.NAME",
    title: "A service",
    fields: &[
        field(
            "instances",
            "0 to 10000",
            "1 for a new service, else the count stays",
            InPlace,
            "how many run; a file that repeats its own number does not undo a `scale`",
        ),
        field(
            "command",
            "list of text",
            "required",
            Replace,
            "program and arguments; may hold placeholders",
        ),
        field("user", "user name or uid, quoted", "the agent's user", Replace, "who runs it"),
        field("workdir", "absolute path", "the sandbox", Replace, "working directory inside"),
        field(
            "root",
            "absolute path",
            "the machine's own",
            Replace,
            "a directory of the agent's machine that becomes `/`",
        ),
        field(
            "env",
            "map of name to text",
            "none",
            Replace,
            "environment; values may hold placeholders. `PORT_<NAME>` is set for each port",
        ),
        field("labels", "map of name to text", "none", InPlace, "for people and tools"),
        field("resources", "mapping", "see below", Replace, "what one instance takes"),
        field("ports", "map of name to port", "none", Replace, "named ports on the agent"),
        field(
            "checks",
            "mapping",
            "ready: tcp on the first port",
            Replace,
            "what the agent asks an instance; pace and thresholds hold for instances started from then on",
        ),
        field("stop", "mapping", "see below", InPlace, "unpublish, linger, signal, grace, kill"),
        field("restart", "mapping", "see below", InPlace, "how a crashed slot comes back"),
        field("rollout", "mapping", "see below", InPlace, "how a change is carried out"),
        field(
            "placement",
            "mapping",
            "spread over agents",
            Replace,
            "where instances may run; only `require` replaces",
        ),
        field(
            "unreachable",
            "mapping",
            "see below",
            InPlace,
            "what a lost agent means; its instances leave the endpoints at once",
        ),
        field("history", "mapping", "see below", InPlace, "what is remembered"),
        field(
            "availability",
            "mapping",
            "see below",
            InPlace,
            "what stays ready whoever wants the room: rollouts, drains, and tasks of others that need it",
        ),
        field(
            "priority",
            "mapping",
            "see below",
            Replace,
            "who makes room for whom; `level` changes in place",
        ),
    ],
    later: &[
        "image",
        "bind",
        "files",
        "artifacts",
        "security",
        "sidecars",
        "hooks",
        "network",
        "expose",
        "discovery",
        "gates",
        "autoscale",
        "rebalance",
        "depends_on",
        "owner",
        "stable_slots",
        "volumes",
    ],
};

/// `resources`.
pub const RESOURCES: Section = Section {
    path: "services.NAME.resources",
    title: "Resources",
    fields: &[
        field("request", "mapping", "see below", Replace, "scheduled"),
        field("limit", "mapping", "see below", Replace, "enforced"),
    ],
    later: &[],
};

/// `resources.request`.
pub const REQUEST: Section = Section {
    path: "services.NAME.resources.request",
    title: "Requested resources",
    fields: &[
        field("cpu", "cores, at most three decimals", "0.1", Replace, "a share and a floor"),
        field("mem", "size with unit", "64Mi", Replace, "memory"),
        field("disk", "size with unit", "0B", Replace, "disk of the sandbox"),
    ],
    later: &["gpu"],
};

/// `resources.limit`.
pub const LIMIT: Section = Section {
    path: "services.NAME.resources.limit",
    title: "Limits",
    fields: &[
        field("cpu", "cores", "none", Replace, "a ceiling; today it must equal `request.cpu`"),
        field(
            "mem",
            "size with unit",
            "`request.mem`",
            Replace,
            "above it the instance is killed; today it must equal `request.mem`",
        ),
        field("pids", "count, at least 1", "the agent's default", Replace, "processes and threads"),
    ],
    later: &[],
};

/// `ports.NAME`.
pub const PORT: Section = Section {
    path: "services.NAME.ports.NAME",
    title: "A port",
    fields: &[
        field(
            "host",
            "`auto` or 1 to 65535",
            "auto",
            Replace,
            "its number on the agent; a fixed one needs `rollout.order: stop_first`",
        ),
        field("protocol", "`http`, `tcp`", "tcp", InPlace, "what is spoken there"),
    ],
    later: &["container"],
};

/// `checks`.
pub const CHECKS: Section = Section {
    path: "services.NAME.checks",
    title: "Checks",
    fields: &[
        field(
            "startup",
            "check",
            "none",
            Replace,
            "gates the others; over its `limit` the instance counts as crashed",
        ),
        field(
            "ready",
            "check",
            "tcp on the first port; without ports the startup check",
            Replace,
            "decides whether the instance is published, and when a rollout goes on",
        ),
        field("alive", "check", "none", Replace, "failing, the instance is ended and started anew"),
    ],
    later: &[],
};

/// `checks.KIND`.
pub const CHECK: Section = Section {
    path: "services.NAME.checks.KIND",
    title: "A check",
    fields: &[
        field("http", "mapping", "one of three", Replace, "GET on the loopback address"),
        field("tcp", "mapping", "one of three", Replace, "a connection is accepted"),
        field(
            "exec",
            "list of text",
            "one of three",
            Replace,
            "a command inside the container ends with 0",
        ),
        field(
            "interval",
            "duration above zero",
            "5s; startup 1s",
            InPlace,
            "from one end to the next begin",
        ),
        field("timeout", "duration above zero", "2s", InPlace, "longest wait for one answer"),
        field("fail", "at least 1", "3", InPlace, "failures in a row until it fails"),
        field(
            "success",
            "at least 1; alive and startup: 1",
            "1",
            InPlace,
            "successes in a row until it passes",
        ),
        field("limit", "duration above zero", "5m", InPlace, "startup only: how long it may take"),
    ],
    later: &["grpc", "file"],
};

/// `checks.KIND.http`.
pub const HTTP: Section = Section {
    path: "services.NAME.checks.KIND.http",
    title: "An HTTP probe",
    fields: &[
        field("port", "name of a port", "the only port", Replace, "where"),
        field("path", "starts with `/`", "/", Replace, "what is asked for"),
        field("status", "list of codes", "200 to 399", Replace, "which answers pass"),
    ],
    later: &[],
};

/// `checks.KIND.tcp`.
pub const TCP: Section = Section {
    path: "services.NAME.checks.KIND.tcp",
    title: "A TCP probe",
    fields: &[field("port", "name of a port", "the only port", Replace, "where")],
    later: &[],
};

/// `stop`.
pub const STOP: Section = Section {
    path: "services.NAME.stop",
    title: "Stop",
    fields: &[
        field("drain", "mapping", "see below", InPlace, "before the signal"),
        field(
            "signal",
            "`TERM`, `INT`, `QUIT`, `HUP`, `USR1`, `USR2`, `WINCH`, `KILL`",
            "TERM",
            InPlace,
            "asks it to end",
        ),
        field("grace", "duration", "30s", InPlace, "from signal to kill"),
    ],
    later: &["pre_stop"],
};

/// `stop.drain`.
pub const DRAIN: Section = Section {
    path: "services.NAME.stop.drain",
    title: "Drain",
    fields: &[field(
        "linger",
        "duration",
        "5s",
        InPlace,
        "from unpublication to the signal: readers of the endpoints turn away",
    )],
    later: &["max_wait"],
};

/// `restart`.
pub const RESTART: Section = Section {
    path: "services.NAME.restart",
    title: "Restart",
    fields: &[field(
        "backoff",
        "mapping",
        "see below",
        InPlace,
        "growing pauses, for each slot alone",
    )],
    later: &["local", "failure_budget"],
};

/// `restart.backoff`.
pub const BACKOFF: Section = Section {
    path: "services.NAME.restart.backoff",
    title: "Back-off",
    fields: &[
        field("first", "duration above zero", "1s", InPlace, "pause after the first crash"),
        field("factor", "1 to 10", "2", InPlace, "from one pause to the next"),
        field("max", "duration", "5m", InPlace, "longest pause"),
        field(
            "reset",
            "duration",
            "10m",
            InPlace,
            "ready for so long, or a new revision: begins anew",
        ),
    ],
    later: &[],
};

/// `rollout`.
pub const ROLLOUT: Section = Section {
    path: "services.NAME.rollout",
    title: "Rollout",
    fields: &[
        field("strategy", "`rolling`", "rolling", InPlace, "slot by slot"),
        field(
            "order",
            "`start_first`, `stop_first`",
            "start_first",
            InPlace,
            "whether the new instance of a slot starts before the old one stops",
        ),
        field(
            "min_ready",
            "percentage, rounded up, or count",
            "100%",
            InPlace,
            "never fewer ready instances, of any revision, through an action of ours",
        ),
        field(
            "surge",
            "percentage, rounded up, or count",
            "25%; stop_first 0",
            InPlace,
            "never more instances above the count, terminating ones included",
        ),
        field(
            "min_available_time",
            "duration",
            "10s",
            InPlace,
            "ready for so long counts as available",
        ),
        field(
            "progress_deadline",
            "duration above zero",
            "10m",
            InPlace,
            "without a newly available instance for so long the rollout has failed",
        ),
        field(
            "max_failures",
            "0 to 999",
            "0",
            InPlace,
            "more distinct slots than this crashed: the rollout has failed",
        ),
        field(
            "on_failure",
            "`rollback`, `pause`, `continue`",
            "rollback",
            InPlace,
            "what a failed rollout does; without an earlier good revision it pauses",
        ),
    ],
    later: &["batches", "batch_by", "between", "canary", "gate"],
};

/// `placement`.
pub const PLACEMENT: Section = Section {
    path: "services.NAME.placement",
    title: "Placement",
    fields: &[
        field(
            "require",
            "list of `zone == a`, `zone in (a, b)`, `attr.disk != hdd`, `attr.gpu exists`, `attr.gpu absent`",
            "none",
            Replace,
            "what must hold of an agent; names: `zone`, `region`, `hostname`, `attr.NAME`",
        ),
        field(
            "spread",
            "list of `{by: host}`",
            "[{by: host}]",
            InPlace,
            "prefer agents with fewer instances",
        ),
        field("max_per", "mapping", "none", InPlace, "most instances on one of a kind"),
    ],
    later: &["prefer", "away", "near", "same", "pool"],
};

/// `placement.spread[]`.
pub const SPREAD: Section = Section {
    path: "services.NAME.placement.spread[]",
    title: "A rule of spread",
    fields: &[field("by", "`host`", "required", InPlace, "over what")],
    later: &["max_skew", "hard"],
};

/// `placement.max_per`.
pub const MAX_PER: Section = Section {
    path: "services.NAME.placement.max_per",
    title: "Most on one of a kind",
    fields: &[field("host", "at least 1", "none", InPlace, "on one agent")],
    later: &["zone", "region", "rack"],
};

/// `unreachable`.
pub const UNREACHABLE: Section = Section {
    path: "services.NAME.unreachable",
    title: "Unreachable agents",
    fields: &[field(
        "replace_after",
        "duration or `never`",
        "60s",
        InPlace,
        "when its instances are replaced elsewhere; of two that meet again in a slot the older stays",
    )],
    later: &["unpublish", "stop_self_after", "on_return", "expunge_after"],
};

/// `history`.
pub const HISTORY: Section = Section {
    path: "services.NAME.history",
    title: "History",
    fields: &[field(
        "keep",
        "1 to 100",
        "20",
        InPlace,
        "revisions that are remembered; those in use always are",
    )],
    later: &[],
};

/// `availability`.
pub const AVAILABILITY: Section = Section {
    path: "services.NAME.availability",
    title: "Availability",
    fields: &[field(
        "min_ready",
        "percentage, rounded up, or count",
        "0%",
        InPlace,
        "never fewer ready instances through a rollout, a drain within its deadline, or preemption",
    )],
    later: &["coordinator"],
};

/// `priority`.
pub const PRIORITY: Section = Section {
    path: "services.NAME.priority",
    title: "Priority",
    fields: &[
        field(
            "class",
            "`critical`, `standard`, `spot`",
            "standard",
            Replace,
            "instances that find no place end those of lower classes of the same top role; tasks of other \
             frameworks that say nothing are `standard`",
        ),
        field(
            "level",
            "0 to 100",
            "50",
            InPlace,
            "who is served first within a class; nobody is ended for it",
        ),
    ],
    later: &[],
};

/// All of them, in the order of the document.
pub const SECTIONS: &[&Section] = &[
    &DOCUMENT,
    &DEFAULTS,
    &SERVICE,
    &RESOURCES,
    &REQUEST,
    &LIMIT,
    &PORT,
    &CHECKS,
    &CHECK,
    &HTTP,
    &TCP,
    &STOP,
    &DRAIN,
    &RESTART,
    &BACKOFF,
    &ROLLOUT,
    &PLACEMENT,
    &SPREAD,
    &MAX_PER,
    &UNREACHABLE,
    &HISTORY,
    &AVAILABILITY,
    &PRIORITY,
];

/// A placeholder that the agent fills in at launch.
#[derive(Clone, Copy, Debug)]
pub struct Placeholder {
    /// Its name in a file; `NAME` stands for a port's.
    pub name: &'static str,
    /// What it becomes.
    pub meaning: &'static str,
}

/// The closed list of placeholders for `command`, `env` and `exec`.
pub const PLACEHOLDERS: &[Placeholder] = &[
    Placeholder { name: "port.NAME", meaning: "the number of the port on the agent" },
    Placeholder { name: "meta.service", meaning: "the service's name" },
    Placeholder { name: "meta.slot", meaning: "the slot: 0 to instances - 1" },
    Placeholder { name: "meta.revision", meaning: "the revision that was current at the start" },
    Placeholder { name: "meta.agent", meaning: "the agent's name" },
    Placeholder { name: "meta.zone", meaning: "the agent's attribute `zone`, or nothing" },
];

/// The document `docs/service-spec.md`.
#[must_use]
pub fn document() -> String {
    let mut out = String::from(
        "# The service file\n\n\
         Printed from the tables in `frameworks/service/core/src/spec/fields.rs`; a test compares. \
         To print it anew: `UPDATE_DOCS=1 cargo test -p proffer-service`.\n\n\
         A file is strict YAML (JSON is accepted unchanged): types of the YAML 1.2 core schema \
         only, so `no`, `on` and `yes` are text; unknown and repeated keys are errors; anchors \
         are allowed, merge keys and tags are not; every quantity has its unit. At most 1 MiB.\n\n\
         A default is written into the stored revision: a later change of defaults never alters a \
         running service.\n\n",
    );
    for section in SECTIONS {
        let path = if section.path.is_empty() { "top level" } else { section.path };
        out.push_str(&format!("## {} (`{path}`)\n\n", section.title));
        out.push_str("| field | value | default | a change | meaning |\n|---|---|---|---|---|\n");
        for field in section.fields {
            let effect = match field.effect {
                Replace => "replaces instances",
                InPlace => "in place",
                File => "-",
            };
            out.push_str(&format!(
                "| `{}` | {} | {} | {effect} | {} |\n",
                field.name, field.value, field.default, field.meaning
            ));
        }
        if !section.later.is_empty() {
            let names: Vec<String> = section.later.iter().map(|name| format!("`{name}`")).collect();
            out.push_str(&format!("\nNot yet supported, and refused: {}.\n", names.join(", ")));
        }
        out.push('\n');
    }
    out.push_str(
        "## Placeholders\n\n\
         In `command`, `env` and `exec`, besides the names of `vars`; `$$` is a dollar sign, and a \
         `$` that is not followed by `{` stands for itself.\n\n| placeholder | becomes |\n|---|---|\n",
    );
    for placeholder in PLACEHOLDERS {
        out.push_str(&format!("| `${{{}}}` | {} |\n", placeholder.name, placeholder.meaning));
    }
    out
}
