//! Runs one command after another, says what each took, and stops at the first that fails.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What was run and how long each took.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration)>,
    failed: Vec<String>,
}

impl Steps {
    /// Runs `command`, with its output as it comes.
    pub(crate) fn run(&mut self, name: &str, command: &mut Command) -> Result<()> {
        say(&format!("==> {name}"));
        let began = Instant::now();
        let status =
            command.status().with_context(|| format!("{name}: cannot start {command:?}"))?;
        self.done.push((name.to_owned(), began.elapsed()));
        if !status.success() {
            self.report();
            bail!("{name}: {status}\n  to repeat: {command:?}");
        }
        Ok(())
    }

    /// The same, but a failure is kept for [`Steps::finish`]: the steps after it run all the same.
    pub(crate) fn run_on(&mut self, name: &str, command: &mut Command) -> Result<()> {
        say(&format!("==> {name}"));
        let began = Instant::now();
        let status =
            command.status().with_context(|| format!("{name}: cannot start {command:?}"))?;
        self.done.push((name.to_owned(), began.elapsed()));
        if !status.success() {
            self.failed.push(format!("{name}: {status}\n  to repeat: {command:?}"));
        }
        Ok(())
    }

    /// Prints the slowest steps and fails when one of them has.
    pub(crate) fn finish(&self) -> Result<()> {
        self.report();
        if self.failed.is_empty() {
            return Ok(());
        }
        bail!("{} steps failed:\n{}", self.failed.len(), self.failed.join("\n"));
    }

    /// Prints the slowest steps, longest first.
    pub(crate) fn report(&self) {
        const SHOWN_MAX: usize = 20;
        let mut by_time: Vec<_> = self.done.iter().collect();
        by_time.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
        let total: Duration = self.done.iter().map(|(_, took)| *took).sum();
        say(&format!(
            "\nslowest of {} steps, {:.0} s in all:",
            self.done.len(),
            total.as_secs_f64()
        ));
        for (name, took) in by_time.into_iter().take(SHOWN_MAX) {
            say(&format!("{:8.1} s  {name}", took.as_secs_f64()));
        }
    }
}

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A cargo command in the workspace's root.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args);
    command
}

#[expect(clippy::print_stdout, reason = "these are the words of a command-line program")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
