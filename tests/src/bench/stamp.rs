//! The program that benchmarks start: a static one whose first act is to read the clock. What it
//! prints is the moment of its first instruction, on the clock that the starter read before.

use anyhow::{Context, Result, ensure};
use nix::time::{ClockId, clock_gettime};
use std::path::{Path, PathBuf};
use std::process::Command;

/// With an argument it stays until a signal ends it.
const SOURCE: &str = r#"
#include <stdio.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    char line[64];
    int length = snprintf(line, sizeof line, "%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
    if (write(1, line, length) != length) return 1;
    if (argc > 1) pause();
    return 0;
}
"#;

/// Builds it in a directory with the C compiler that Rust links with.
///
/// # Errors
/// When there is no compiler or no static C library.
pub fn build(directory: &Path) -> Result<PathBuf> {
    let (source, program) = (directory.join("stamp.c"), directory.join("stamp"));
    std::fs::write(&source, SOURCE)?;
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-static", "-o"]).args([&program, &source]);
    let status = compiler.status().context("cc does not start")?;
    ensure!(status.success(), "cc: {status}");
    Ok(program)
}

/// Nanoseconds on the clock that the program reads.
///
/// # Panics
/// On a kernel without a monotonic clock.
#[must_use]
pub fn now_ns() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}

/// What the program printed.
///
/// # Errors
/// When that is no moment.
pub fn read(printed: &[u8]) -> Result<i64> {
    let text = String::from_utf8_lossy(printed);
    text.trim().parse().with_context(|| format!("no moment: {text:?}"))
}

/// Milliseconds from one moment to another.
#[must_use]
pub fn ms_between(from: i64, to: i64) -> f64 {
    (to - from) as f64 / 1e6
}
