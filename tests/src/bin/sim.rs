//! Runs whole-cluster simulations: `--seeds N [--first S]`, `--replay SEED`, `--shrink SEED`, or `--planted`.

use anyhow::Context;
use clap::Parser;
use proffer_tests::sim::many::{Batch, find, run_all};
use proffer_tests::sim::planted::TABLE;
use proffer_tests::sim::run::{Asked, run};
use proffer_tests::sim::smaller::{Smaller, shrink};
use std::io::Write;
use std::path::PathBuf;

/// Run whole-cluster simulations.
#[derive(Parser)]
struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// One seed, with its story.
    #[arg(long)]
    replay: Option<u64>,
    /// Find a smaller run of one seed that breaks the same statement.
    #[arg(long, value_name = "SEED")]
    shrink: Option<u64>,
    /// Leave these kinds of faults out.
    #[arg(long, value_name = "KIND,...", value_delimiter = ',')]
    without: Vec<String>,
    /// Have at most so many masters, members, agents, batches or replicas.
    #[arg(long, value_name = "WHAT=N")]
    at_most: Vec<String>,
    /// Milliseconds until the faults stop, at most.
    #[arg(long, value_name = "MS")]
    faulty_ms: Option<u64>,
    /// Append a line about this run to a file.
    #[arg(long)]
    ledger: Option<PathBuf>,
    /// Plant each bug of the table instead, and say in which seed its checker found it.
    #[arg(long)]
    planted: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let asked = Asked { smaller: smaller(&options)?, ..Asked::default() };
    if let Some(seed) = options.replay {
        return replay(seed, asked);
    }
    if let Some(seed) = options.shrink {
        match shrink(seed, asked) {
            Some(found) => say(&found.text(seed)),
            None => say(&format!("seed {seed} breaks no statement")),
        }
        return Ok(());
    }
    let seeds = options.first..options.first + options.seeds;
    if options.planted {
        for (planted, own) in TABLE {
            match find(*planted, own, seeds.clone()) {
                Some((seed, why)) => say(&format!("{planted:?}: seed {seed}: {why}")),
                None => say(&format!("{planted:?}: {own} MISSED it")),
            }
        }
        return Ok(());
    }
    let batch = run_all(seeds, asked);
    for (seed, why) in &batch.broken {
        say(&format!("seed {seed}: {why}\n  to shrink: cargo xtask sim --shrink {seed}"));
    }
    say(&batch.counts.text());
    if let Some(path) = &options.ledger {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(ledger_line(&options, &batch).as_bytes())?;
    }
    anyhow::ensure!(
        batch.broken.is_empty(),
        "{} of {} seeds broke a statement: {:?}",
        batch.broken.len(),
        options.seeds,
        batch.broken.keys().collect::<Vec<_>>()
    );
    Ok(())
}

fn smaller(options: &Options) -> anyhow::Result<Smaller> {
    let mut smaller = Smaller::default();
    smaller.faulty_ms = options.faulty_ms;
    for kind in &options.without {
        smaller.leave_out(kind).map_err(anyhow::Error::msg)?;
    }
    for at_most in &options.at_most {
        let (name, count) = at_most.split_once('=').context("--at-most wants WHAT=N")?;
        smaller.at_most(name, count.parse()?).map_err(anyhow::Error::msg)?;
    }
    Ok(smaller)
}

fn replay(seed: u64, asked: Asked) -> anyhow::Result<()> {
    let ended = run(seed, Asked { with_story: true, ..asked });
    for line in &ended.story {
        say(line);
    }
    say(&ended.counts.text());
    match ended.broken {
        Some(why) => anyhow::bail!("seed {seed}: {why}"),
        None => Ok(()),
    }
}

fn ledger_line(options: &Options, batch: &Batch) -> String {
    format!(
        "seeds {}-{}, {} events, {:.6} simulated years, {} violations\n",
        options.first,
        options.first + options.seeds - 1,
        batch.counts.events,
        batch.counts.simulated_ms as f64 / 31_557_600_000.0,
        batch.broken.len()
    )
}

#[expect(clippy::print_stdout, reason = "these are the words of a command-line program")]
fn say(line: &str) {
    println!("{line}");
}
