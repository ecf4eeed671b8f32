//! `cargo xtask test`: the gate. Installs what the tests need, then format, lints, structure,
//! every test binary as a step of its own, documents, and a round of simulation.

use crate::debian;
use crate::step::{Steps, cargo, root, say, target};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Install what the tests need and run them all.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Also what does not fit into half an hour: more seeds, the cgroup v2 guest, crash rounds.
    #[arg(long)]
    long: bool,
    /// Only test binaries whose name holds this text; skips everything else.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// Random histories over which the allocator is compared with its naive reference.
const HISTORIES: &str = "100000";

/// A test binary that cargo built.
struct TestBinary {
    name: String,
    path: PathBuf,
    /// Cargo runs a package's tests in its folder; so do we.
    folder: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::default();
    debian::install(&mut steps, debian::GATE)?;
    debian::install(&mut steps, debian::INSTRUCTIONS)?;
    if options.long {
        debian::install(&mut steps, debian::LONG)?;
    }
    if !debian::is_root() {
        say("not root: tests of containers and cgroups will say that they were skipped");
    }
    if options.only.is_none() {
        steps.run("format", &mut cargo(&["fmt", "--all", "--check"]))?;
        steps.run(
            "clippy",
            &mut cargo(&[
                "clippy",
                "--quiet",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ]),
        )?;
    }
    steps.run(
        "build the program",
        &mut cargo(&["build", "--quiet", "--locked", "-p", "proffer-cli"]),
    )?;
    steps.run(
        "build the tests",
        &mut cargo(&["test", "--quiet", "--locked", "--workspace", "--all-targets", "--no-run"]),
    )?;
    let binaries = test_binaries()?;
    for binary in &binaries {
        if options.only.as_ref().is_none_or(|only| binary.name.contains(only.as_str())) {
            let mut command = Command::new(&binary.path);
            command.current_dir(&binary.folder).env("PROFFER_BIN", target().join("debug/proffer"));
            // Cargo sets this for a test that it runs itself; snapshots and fixtures need it.
            command.env("CARGO_MANIFEST_DIR", &binary.folder);
            command.env("INSTA_WORKSPACE_ROOT", root());
            command.env("PROFFER_HISTORIES", HISTORIES);
            if !options.long && binary.name.starts_with("master/allocator") {
                // The same on every machine; the long run looks further.
                command.env("PROPTEST_RNG_SEED", "1");
            }
            if options.long {
                command.env("PROFFER_TEST_LONG", "1");
            }
            steps.run_on(&binary.name, &mut command)?;
        }
    }
    if options.only.is_none() {
        steps.run(
            "documentation tests",
            &mut cargo(&["test", "--quiet", "--locked", "--workspace", "--doc"]),
        )?;
        // What allocations decide, and at how many instructions; no time is asserted.
        steps.run_on("instructions of the allocator", &mut bench(&["instructions"])?)?;
        let quick = ["allocator", "--brief", "--runs", "1", "--limit-s", "2"];
        steps.run_on("workloads of the allocator", &mut bench(&quick)?)?;
    }
    if options.long && options.only.as_ref().is_none_or(|only| GUEST.contains(only.as_str())) {
        in_the_guest(&mut steps)?;
    }
    steps.finish()
}

/// This program again: `cargo xtask bench`.
fn bench(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("which program is this?")?);
    command.arg("bench").args(arguments);
    Ok(command)
}

const GUEST: &str = "containers in the cgroup v2 guest";

/// The suite of the containerizer once more, in a small machine with a kernel of Debian's and nothing
/// but cgroup v2. What it needs is unpacked once and kept.
fn in_the_guest(steps: &mut Steps) -> Result<()> {
    let directory = target().join("v2-guest");
    if !directory.join("init.gz").exists() {
        // Its kernel is downloaded as a package: the lists must be there and name one that is.
        debian::update_lists(steps)?;
    }
    let mut command = Command::new(root().join("agent/tests/v2_guest.sh"));
    // Under emulation, on a machine that does other things too.
    command.current_dir(root()).arg(directory).env("TIMEOUT", "900");
    steps.run(GUEST, &mut command)
}

/// Asks cargo for the test binaries it has just built.
fn test_binaries() -> Result<Vec<TestBinary>> {
    let output = cargo(&[
        "test",
        "--locked",
        "--workspace",
        "--all-targets",
        "--no-run",
        "--message-format=json",
    ])
    .stderr(Stdio::null())
    .output()
    .context("cannot start cargo")?;
    let text = String::from_utf8(output.stdout).context("cargo printed no text")?;
    let mut binaries = Vec::new();
    for line in text.lines() {
        let message: Value = serde_json::from_str(line).context("cargo printed no JSON")?;
        if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
            continue;
        }
        let Some(path) = message["executable"].as_str() else { continue };
        let manifest = PathBuf::from(message["manifest_path"].as_str().unwrap_or_default());
        let folder = manifest.parent().context("a manifest lies in a folder")?.to_path_buf();
        let package = folder.strip_prefix(root()).unwrap_or(&folder).display().to_string();
        let kind = message["target"]["kind"][0].as_str().unwrap_or_default();
        let name = message["target"]["name"].as_str().unwrap_or_default();
        binaries.push(TestBinary {
            name: if kind == "lib" || kind == "bin" {
                format!("{package} (unit)")
            } else {
                format!("{package} {name}")
            },
            path: PathBuf::from(path),
            folder,
        });
    }
    if binaries.is_empty() {
        bail!("cargo built no tests");
    }
    binaries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(binaries)
}
