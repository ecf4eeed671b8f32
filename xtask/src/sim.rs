//! `cargo xtask sim`: builds the simulator optimised and runs it.

use crate::step::{Steps, cargo};
use anyhow::Result;
use std::path::PathBuf;

/// Run whole-cluster simulations.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// One seed, with its story printed step by step.
    #[arg(long, value_name = "SEED")]
    replay: Option<u64>,
    /// Append a line about this run to FILE.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut command =
        cargo(&["run", "--quiet", "--release", "-p", "proffer-tests", "--bin", "sim", "--"]);
    match options.replay {
        Some(seed) => {
            command.args(["--replay", &seed.to_string()]);
        }
        None => {
            command.args([
                "--seeds",
                &options.seeds.to_string(),
                "--first",
                &options.first.to_string(),
            ]);
        }
    }
    if let Some(ledger) = &options.ledger {
        command.arg("--ledger").arg(std::path::absolute(ledger)?);
    }
    Steps::default().run("simulate", &mut command)
}
