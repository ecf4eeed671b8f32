//! CPU time, wall time, memory, and the lines that a cell prints.

use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::io::{Result, Write};

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("the clock is there");
    let part = |value: i64| u64::try_from(value).expect("times are not negative");
    part(time.tv_sec()) * 1_000_000_000 + part(time.tv_nsec())
}

/// CPU time of this thread, the only one, in nanoseconds. (The clock of the process runs in ticks of
/// the scheduler while the process has a limit on its CPU time.)
pub(crate) fn cpu_ns() -> u64 {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// What something took.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) cpu_ms: f64,
    pub(crate) wall_ms: f64,
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), |sum, cost| Self {
            cpu_ms: sum.cpu_ms + cost.cpu_ms,
            wall_ms: sum.wall_ms + cost.wall_ms,
        })
    }
}

/// Runs `work` and says what it took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (Cost, T) {
    let (wall, cpu) = (read(ClockId::CLOCK_MONOTONIC), cpu_ns());
    let result = measured_section(work);
    let (cpu, wall) = (cpu_ns() - cpu, read(ClockId::CLOCK_MONOTONIC) - wall);
    (Cost { cpu_ms: cpu as f64 / 1e6, wall_ms: wall as f64 / 1e6 }, result)
}

/// Instructions are counted in here and nowhere else, by this name.
#[inline(never)]
fn measured_section<T>(work: impl FnOnce() -> T) -> T {
    std::hint::black_box(work())
}

/// Runs `work` of the bare algorithm: its instructions are not ours and not counted.
pub(crate) fn timed_floor<T>(work: impl FnOnce() -> T) -> f64 {
    let start = cpu_ns();
    std::hint::black_box(work());
    (cpu_ns() - start) as f64 / 1e6
}

/// A figure of `/proc/self/status`, in bytes.
fn status_bytes(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Resident memory of this process, in bytes.
pub(crate) fn resident_bytes() -> u64 {
    status_bytes("VmRSS:")
}

/// The cost in the middle, by CPU time.
pub(crate) fn median(costs: &[Cost]) -> Cost {
    let mut sorted = costs.to_vec();
    sorted.sort_by(|a, b| a.cpu_ms.total_cmp(&b.cpu_ms));
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

pub(crate) fn quantile(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * part) as usize]
}

/// Prints what one cell found, one JSON object a line.
pub(crate) struct Report {
    pub(crate) case: String,
    /// CPU time after which loops of rounds end.
    limit_ns: u64,
}

/// More than this and loops of rounds end, so that a cell never takes the machine's memory.
const RESIDENT_MAX: u64 = 6 << 30;

impl Report {
    pub(crate) fn new(case: String, limit_s: u64) -> Self {
        Self { case, limit_ns: limit_s.saturating_mul(1_000_000_000) }
    }

    /// Whether the cell has used its time or memory.
    pub(crate) fn is_over(&self) -> bool {
        cpu_ns() >= self.limit_ns || resident_bytes() >= RESIDENT_MAX
    }

    fn line(&self, mut fields: Value) -> Result<()> {
        fields["case"] = json!(self.case);
        writeln!(std::io::stdout(), "{fields}")
    }

    /// A timed section that did `work` units.
    pub(crate) fn section(&self, metric: &str, cost: Cost, work: u64) -> Result<()> {
        self.line(json!({ "metric": metric, "unit": "ms", "value": cost.cpu_ms,
            "wall": cost.wall_ms, "work": work }))
    }

    /// The same, with what the bare loop took for the same number of decisions.
    pub(crate) fn section_and_floor(
        &self,
        metric: &str,
        cost: Cost,
        work: u64,
        floor_ms: f64,
    ) -> Result<()> {
        self.line(json!({ "metric": metric, "unit": "ms", "value": cost.cpu_ms,
            "wall": cost.wall_ms, "work": work, "floor": floor_ms }))
    }

    pub(crate) fn value(&self, metric: &str, unit: &str, value: f64) -> Result<()> {
        self.line(json!({ "metric": metric, "unit": unit, "value": value }))
    }

    pub(crate) fn count(&self, metric: &str, value: u64) -> Result<()> {
        self.value(metric, "count", value as f64)
    }

    pub(crate) fn note(&self, text: &str) -> Result<()> {
        self.line(json!({ "note": text }))
    }

    /// What must hold of what was decided; a cell in which it does not has measured something else.
    pub(crate) fn must(&self, holds: bool, rule: &str, found: &dyn std::fmt::Debug) -> Result<()> {
        if holds {
            return Ok(());
        }
        self.line(json!({ "wrong": format!("{rule}; found {found:?}") }))
    }

    pub(crate) fn peak_memory(&self) -> Result<()> {
        self.value("peak_memory", "bytes", status_bytes("VmHWM:") as f64)
    }
}
