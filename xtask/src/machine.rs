//! What a measurement must say of the machine it was made on.

use crate::step::root;
use serde_json::{Value, json};
use std::process::Command;

/// Commit, processor, load and the versions of those we are measured against.
pub(crate) fn describe() -> Value {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, name)| name.trim());
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    json!({
        "commit": first_line(Command::new("git").arg("-C").arg(root()).args(["rev-parse", "--short=12", "HEAD"])),
        "cpu": model,
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "load": load.split_whitespace().take(3).collect::<Vec<_>>().join(" "),
        "rustc": first_line(Command::new("rustc").arg("--version")),
        "runc": first_line(Command::new("runc").arg("--version")),
    })
}

fn first_line(command: &mut Command) -> String {
    command
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .and_then(|text| text.lines().next().map(str::to_owned))
        .unwrap_or_default()
}
