//! Measures the allocator alone, one cell of a workload at a time: `--list [--full]` names the cells,
//! `--cell NAME [--limit-s SECONDS]` measures one and prints JSON lines. `cargo xtask bench allocator`
//! runs each cell in processes of its own and puts the figures together.

mod cells;
mod cluster;
mod floor;
mod measure;
mod workloads;

use nix::sys::resource::{Resource, setrlimit};
use std::io::{Error, Result, Write};

/// CPU time that loops of rounds may take, when nothing else is said.
const LIMIT_S: u64 = 30;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["--list"] => list(false),
        ["--list", "--full"] => list(true),
        ["--cell", name] => one(name, LIMIT_S),
        ["--cell", name, "--limit-s", seconds] => {
            one(name, seconds.parse().map_err(|_| Error::other("--limit-s takes whole seconds"))?)
        }
        _ => Err(Error::other("usage: --list [--full] | --cell NAME [--limit-s SECONDS]")),
    }
}

fn list(full: bool) -> Result<()> {
    for cell in cells::all(full) {
        writeln!(std::io::stdout(), "{cell}")?;
    }
    Ok(())
}

fn one(name: &str, limit_s: u64) -> Result<()> {
    let cell = name.parse()?;
    // What does not look at its time is ended by the kernel.
    let most = limit_s.saturating_mul(2).saturating_add(30);
    setrlimit(Resource::RLIMIT_CPU, most, most)?;
    cells::run(&cell, limit_s)
}
