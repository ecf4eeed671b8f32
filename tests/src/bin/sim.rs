//! Runs whole-cluster simulations: `--seeds N [--first S]`, or `--replay SEED`.

use clap::Parser;
use proffer_tests::sim::report::Counts;
use proffer_tests::sim::run::{Asked, run};
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
    /// Append a line about this run to a file.
    #[arg(long)]
    ledger: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if let Some(seed) = options.replay {
        let ended = run(seed, Asked { with_story: true, ..Asked::default() });
        for line in &ended.story {
            say(line);
        }
        say(&ended.counts.text());
        return match ended.broken {
            Some(why) => anyhow::bail!("seed {seed}: {why}"),
            None => Ok(()),
        };
    }
    let mut counts = Counts::default();
    let mut broken = Vec::new();
    for seed in options.first..options.first + options.seeds {
        let ended = run(seed, Asked::default());
        counts.add(&ended.counts);
        if let Some(why) = ended.broken {
            say(&format!("seed {seed}: {why}\n  to replay: cargo xtask sim --replay {seed}"));
            broken.push(seed);
        }
    }
    say(&counts.text());
    if let Some(path) = &options.ledger {
        let line = format!(
            "seeds {}-{}, {} events, {:.4} simulated years, {} violations\n",
            options.first,
            options.first + options.seeds - 1,
            counts.events,
            counts.simulated_ms as f64 / 31_557_600_000.0,
            broken.len()
        );
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)?
            .write_all(line.as_bytes())?;
    }
    anyhow::ensure!(
        broken.is_empty(),
        "{} of {} seeds broke a statement: {broken:?}",
        broken.len(),
        options.seeds
    );
    Ok(())
}

#[expect(clippy::print_stdout, reason = "these are the words of a command-line program")]
fn say(line: &str) {
    println!("{line}");
}
