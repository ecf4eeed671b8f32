//! CPU time, memory, and JSON lines.

use nix::time::{ClockId, clock_gettime};
use std::io::{Result, Write};

/// CPU time of this process, in nanoseconds.
pub(crate) fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("every process has it");
    let part = |value: i64| u64::try_from(value).expect("CPU time is not negative");
    part(time.tv_sec()) * 1_000_000_000 + part(time.tv_nsec())
}

/// Runs `work` and says how many milliseconds of CPU time it took.
pub(crate) fn cpu_ms<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let start = cpu_ns();
    let result = work();
    ((cpu_ns() - start) as f64 / 1e6, result)
}

/// Resident memory of this process, in bytes.
pub(crate) fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

pub(crate) fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

pub(crate) fn quantile(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * part) as usize]
}

pub(crate) fn print(case: &str, metric: &str, unit: &str, samples: &[f64]) -> Result<()> {
    print_value(case, metric, unit, median(samples), samples)
}

pub(crate) fn print_value(
    case: &str,
    metric: &str,
    unit: &str,
    value: f64,
    samples: &[f64],
) -> Result<()> {
    let round = |value: f64| (value * 10_000.0).round() / 10_000.0;
    let samples: Vec<f64> = samples.iter().copied().map(round).collect();
    let line = serde_json::json!({
        "bench": "allocator", "case": case, "metric": metric, "unit": unit,
        "value": round(value), "samples": samples,
    });
    writeln!(std::io::stdout(), "{line}")
}
