//! `cargo xtask sim`: builds the simulator optimised and runs it.

use crate::step::{Steps, cargo};
use anyhow::Result;

/// Run whole-cluster simulations.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// What the simulator is given; `--help` shows it.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut command =
        cargo(&["run", "--quiet", "--release", "-p", "proffer-tests", "--bin", "sim", "--"]);
    command.args(&options.arguments);
    Steps::default().run("simulate", &mut command)
}
