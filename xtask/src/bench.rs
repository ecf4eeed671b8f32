//! `cargo xtask bench NAME`: builds optimised, measures, prints a table or JSON lines.
//!
//! With `--json` the first line says what was measured where; then one object a line.

use crate::step::{Steps, cargo, say, target};
use crate::{debian, machine};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::Value;
use std::process::{Command, Stdio};

/// Measure, and print a table or JSON lines.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to measure.
    name: Name,
    /// JSON lines instead of a table.
    #[arg(long)]
    json: bool,
    /// Passed on to the measuring program.
    #[arg(last = true)]
    rest: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// The allocator alone, beside the bare algorithm (P1, P3).
    Allocator,
    /// Launches through real gRPC with simulated agents (P8).
    Launch,
    /// Container start beside fork+exec, the bare clone floor and runc (P11).
    Container,
    /// `dev` from nothing to the first running task, and a CLI round trip (P26).
    Dev,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::default();
    if options.name == Name::Container {
        debian::install(&mut steps, debian::BENCH)?;
    }
    let mut command = measuring_program(options.name)?;
    let output = command
        .args(&options.rest)
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

fn measuring_program(name: Name) -> Result<Command> {
    let build = |args: &[&str]| -> Result<()> {
        let status = cargo(&["build", "--quiet", "--release"]).args(args).status()?;
        if !status.success() {
            bail!("the build failed: {status}");
        }
        Ok(())
    };
    let release = target().join("release");
    match name {
        Name::Allocator => {
            build(&["-p", "proffer-allocator", "--example", "bench"])?;
            Ok(Command::new(release.join("examples/bench")))
        }
        Name::Launch | Name::Container | Name::Dev => {
            // In one go: apart, what both are made of would be built twice.
            build(&[
                "-p",
                "proffer-cli",
                "-p",
                "proffer-tests",
                "--bin",
                "proffer",
                "--bin",
                "bench",
            ])?;
            let mut command = Command::new(release.join("bench"));
            command.env("PROFFER_BIN", release.join("proffer"));
            command.arg(match name {
                Name::Launch => "launch",
                Name::Container => "container",
                Name::Dev | Name::Allocator => "dev",
            });
            Ok(command)
        }
    }
}

fn table(lines: &str) -> Result<()> {
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let row: Value =
            serde_json::from_str(line).with_context(|| format!("not a JSON line: {line}"))?;
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let samples = row["samples"].as_array().map_or(0, Vec::len);
        say(&format!(
            "{:<24} {:<28} {:>14.3} {:<6} {samples} samples",
            text("case"),
            text("metric"),
            row["value"].as_f64().unwrap_or(f64::NAN),
            text("unit"),
        ));
    }
    Ok(())
}
