//! `cargo xtask bench NAME`: builds optimised, measures, prints a table or JSON lines.
//!
//! With `--json` the first line says what was measured where; then one object a line.

mod allocator;
mod goals;
mod instructions;
mod mesos;

use crate::step::{Steps, cargo, say, target};
use crate::{debian, machine};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Measure, and print a table or JSON lines.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    name: Name,
    /// JSON lines instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(clap::Subcommand)]
enum Name {
    /// The allocator alone under the workloads of Apache Mesos' allocator, beside the bare algorithm
    /// (P1 to P6).
    Allocator(allocator::Options),
    /// How many instructions the allocator takes for fixed small cells; fails when a count has grown.
    Instructions(instructions::Options),
    /// Launches through real gRPC with simulated agents (P8).
    Launch(Rest),
    /// Container start beside fork+exec, the bare clone floor and runc (P11).
    Container(Rest),
    /// What a master keeps in memory, by part (P14).
    Memory(Rest),
    /// Badly behaved frameworks beside a well-behaved one: what it launches with and without them.
    Misbehaved(Rest),
    /// Offers a second to streaming schedulers over loopback (P7).
    Offers(Rest),
    /// The openb trace placed by the allocator beside plain DRF and the packing bound (P27).
    Openb(Trace),
    /// A synthetic load after a published trace, placed likewise: `-- --preset google2019`.
    Placement(Rest),
    /// `dev` from nothing to the first running task, and a CLI round trip (P26).
    Dev(Rest),
}

/// What the measuring program itself is given.
#[derive(clap::Args)]
struct Rest {
    /// Passed on to the measuring program; `-- --help` lists what can be chosen.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// A trace that is not in the tree.
#[derive(clap::Args)]
struct Trace {
    /// Where its lists of nodes and pods are.
    #[arg(long)]
    dir: PathBuf,
    #[command(flatten)]
    rest: Rest,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut of_trace = Vec::new();
    let (name, rest) = match &options.name {
        Name::Allocator(allocator) => return allocator::run(allocator, options.json),
        Name::Instructions(instructions) => return instructions::run(instructions, options.json),
        Name::Launch(rest) => ("launch", rest),
        Name::Container(rest) => {
            debian::install(&mut Steps::default(), debian::BENCH)?;
            ("container", rest)
        }
        Name::Openb(trace) => {
            of_trace = vec![std::ffi::OsString::from("--dir"), trace.dir.clone().into_os_string()];
            ("openb", &trace.rest)
        }
        Name::Placement(rest) => ("placement", rest),
        Name::Memory(rest) => ("memory", rest),
        Name::Misbehaved(rest) => ("misbehaved", rest),
        Name::Offers(rest) => ("offers", rest),
        Name::Dev(rest) => ("dev", rest),
    };
    let mut command = whole_system_program()?;
    let output = command
        .arg(name)
        .args(of_trace)
        .args(&rest.rest)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", output.status);
    }
    let text = String::from_utf8(output.stdout).context("the measuring program printed no text")?;
    if options.json {
        say(&machine::describe().to_string());
        say(text.trim_end());
        return Ok(());
    }
    say(&format!("{}\n", machine::describe()));
    table(&text)
}

fn build(args: &[&str]) -> Result<()> {
    let status = cargo(&["build", "--quiet", "--locked", "--release"]).args(args).status()?;
    if !status.success() {
        bail!("the build failed: {status}");
    }
    Ok(())
}

/// Builds the program that measures cells of the allocator's workloads.
fn allocator_program() -> Result<PathBuf> {
    build(&["-p", "proffer-allocator", "--features", "reference", "--example", "bench"])?;
    Ok(target().join("release/examples/bench"))
}

fn whole_system_program() -> Result<Command> {
    // In one go: apart, what both are made of would be built twice.
    build(&["-p", "proffer-cli", "-p", "proffer-tests", "--bin", "proffer", "--bin", "bench"])?;
    let release = target().join("release");
    let mut command = Command::new(release.join("bench"));
    command.env("PROFFER_BIN", release.join("proffer"));
    Ok(command)
}

fn table(lines: &str) -> Result<()> {
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let row: Value =
            serde_json::from_str(line).with_context(|| format!("not a JSON line: {line}"))?;
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        if !row["note"].is_null() {
            say(&format!("note: {}", text("note")));
            continue;
        }
        let value = row["value"].as_f64().unwrap_or(f64::NAN);
        if !row["goal"].is_null() {
            let (case, goal, verdict) = (text("case"), text("goal"), text("verdict"));
            say(&format!("{case:<24} goal: {goal}: {value:.3}: {verdict}"));
            continue;
        }
        let beside = match (row["plain_drf"].as_f64(), row["bound"].as_f64()) {
            (Some(plain), Some(bound)) => format!("plain DRF {plain:>14.3}   bound {bound:>8.3}"),
            (Some(plain), None) => format!("plain DRF {plain:>14.3}"),
            (None, _) => format!("{} samples", row["samples"].as_array().map_or(0, Vec::len)),
        };
        say(&format!(
            "{:<24} {:<28} {value:>14.3} {:<6} {beside}",
            text("case"),
            text("metric"),
            text("unit"),
        ));
    }
    Ok(())
}
