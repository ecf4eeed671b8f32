//! Measures the whole: `launch`, `container`, `dev`, `memory`, `misbehaved`, `offers`, `openb`,
//! `placement`. Prints JSON lines; `cargo xtask bench` builds it optimised, runs it and adds what was measured where.

use clap::{Parser, Subcommand};
use proffer_tests::bench;

/// Measure the whole, as JSON lines.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    name: Name,
}

#[derive(Subcommand)]
enum Name {
    /// Launches through a real master over real gRPC, with simulated agents (P8).
    Launch(bench::launch::Plan),
    /// Start of a container beside bare spawn, bare namespaces and runc (P11).
    Container {
        /// How many starts of each.
        #[arg(long, default_value_t = 50)]
        rounds: usize,
    },
    /// `proffer dev` from nothing to the first task, and a round trip of the CLI (P26).
    Dev {
        /// How many cold starts.
        #[arg(long, default_value_t = 7)]
        rounds: usize,
        /// How many round trips.
        #[arg(long, default_value_t = 50)]
        trips: usize,
    },
    /// What a master keeps in memory, by part (P14).
    Memory(bench::memory::Plan),
    /// Badly behaved frameworks beside a well-behaved one, through the master's core.
    Misbehaved(bench::misbehaved::Plan),
    /// Offers a second to streaming schedulers over loopback (P7).
    Offers(bench::offers::Plan),
    /// The openb trace replayed against the allocator beside plain DRF and the packing bound (P27).
    Openb(bench::openb::Plan),
    /// A synthetic load after a published trace, likewise.
    Placement(bench::placement::Plan),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Options::parse().name {
        Name::Launch(plan) => bench::launch::run(&plan).await,
        Name::Container { rounds } => bench::container::run(rounds).await,
        Name::Dev { rounds, trips } => {
            tokio::task::spawn_blocking(move || bench::dev::run(rounds, trips)).await?
        }
        Name::Memory(plan) => {
            tokio::task::spawn_blocking(move || bench::memory::run(&plan)).await?
        }
        Name::Misbehaved(plan) => {
            tokio::task::spawn_blocking(move || bench::misbehaved::run(&plan)).await?
        }
        Name::Offers(plan) => bench::offers::run(&plan).await,
        Name::Openb(plan) => tokio::task::spawn_blocking(move || bench::openb::run(&plan)).await?,
        Name::Placement(plan) => {
            tokio::task::spawn_blocking(move || bench::placement::run(&plan)).await?
        }
    }
}
