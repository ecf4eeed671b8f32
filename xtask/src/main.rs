//! The project's own commands: `cargo xtask test`, `sim`, `bench`. Builds and runs; decides nothing
//! about Proffer itself.

mod bench;
mod debian;
mod gate;
mod machine;
mod sim;
mod step;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the tests need and run them all.
    Test(gate::Options),
    /// Run whole-cluster simulations.
    Sim(sim::Options),
    /// Measure, and print a table or JSON lines.
    Bench(bench::Options),
}

fn main() -> Result<()> {
    match Args::parse().command {
        Command::Test(options) => gate::run(&options),
        Command::Sim(options) => sim::run(&options),
        Command::Bench(options) => bench::run(&options),
    }
}
