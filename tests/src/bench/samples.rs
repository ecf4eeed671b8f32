//! Samples and the lines that they are printed as.

use anyhow::Context;
use serde_json::json;
use std::io::Write;

/// What is measured, in which case.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// Name of the benchmark.
    pub bench: &'a str,
    /// Which of its cases.
    pub case: &'a str,
}

impl Subject<'_> {
    /// Prints one figure with the samples that it was made of.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn print(
        &self,
        metric: &str,
        unit: &str,
        value: f64,
        samples: &[f64],
    ) -> std::io::Result<()> {
        let samples: Vec<f64> = samples.iter().copied().map(rounded).collect();
        let line = json!({
            "bench": self.bench, "case": self.case, "metric": metric, "unit": unit,
            "value": rounded(value), "samples": samples,
        });
        writeln!(std::io::stdout(), "{line}")
    }

    /// Prints the median and the least, each with all samples.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn print_p50_and_min(
        &self,
        metric: &str,
        unit: &str,
        samples: &[f64],
    ) -> std::io::Result<()> {
        self.print(&format!("{metric}_p50"), unit, percentile(samples, 50.0), samples)?;
        self.print(&format!("{metric}_min"), unit, percentile(samples, 0.0), &[])
    }
}

/// Four digits after the point: tenths of a microsecond, of milliseconds.
fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// The sample that `percent` of all do not exceed; not a number when there is none.
#[must_use]
pub fn percentile(samples: &[f64], percent: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    // Nearest rank; the cast is of a number between zero and `last`.
    let rank = (percent / 100.0 * last as f64).round() as usize;
    sorted.get(rank).copied().unwrap_or(f64::NAN)
}

/// What a process has used of all processors, in milliseconds.
///
/// # Errors
/// When there is no such process.
pub fn cpu_ms(pid: i32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let field = |at: usize| after_name.split_whitespace().nth(at)?.parse::<f64>().ok();
    // Fields 14 and 15 of proc(5), in hundredths of a second on every Linux.
    let (user, system) = (field(11).context("utime")?, field(12).context("stime")?);
    Ok((user + system) * 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let samples = [3.0, 1.0, 2.0, 5.0, 4.0];
        assert_eq!(percentile(&samples, 0.0), 1.0);
        assert_eq!(percentile(&samples, 50.0), 3.0);
        assert_eq!(percentile(&samples, 99.0), 5.0);
        assert!(percentile(&[], 50.0).is_nan());
    }
}
