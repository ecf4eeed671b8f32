//! Prints what replays have shown, ours beside the baseline and the bound, and what was to be reached.

use super::bound::most_used;
use super::engine::Engine;
use super::ours::Ours;
use super::plain::Plain;
use super::replay::{Arrival, Outcome, in_time, saturate};
use super::workload::{RESOURCES, Workload};
use crate::bench::samples::percentile;
use anyhow::Result;
use serde_json::json;
use std::io::Write;

/// Part of the packing bound that is to be reached (P27).
pub const BOUND_PART: f64 = 0.98;

/// Lines of one benchmark.
pub struct Printer<'a> {
    /// Its name.
    pub bench: &'a str,
}

impl Printer<'_> {
    fn line(
        &self,
        case: &str,
        metric: &str,
        unit: &str,
        both: [f64; 2],
        bound: Option<f64>,
    ) -> Result<()> {
        let round = |value: f64| (value * 10_000.0).round() / 10_000.0;
        let line = json!({ "bench": self.bench, "case": case, "metric": metric, "unit": unit,
            "value": round(both[0]), "plain_drf": round(both[1]), "bound": bound.map(round) });
        writeln!(std::io::stdout(), "{line}")?;
        Ok(())
    }

    fn goal(&self, case: &str, text: &str, value: f64, reached: bool) -> Result<()> {
        let line = json!({ "bench": self.bench, "case": case, "goal": text, "value": value,
            "verdict": if reached { "reached" } else { "NOT REACHED" } });
        writeln!(std::io::stdout(), "{line}")?;
        Ok(())
    }

    /// One sentence on what was measured.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn note(&self, text: &str) -> Result<()> {
        writeln!(std::io::stdout(), "{}", json!({ "bench": self.bench, "note": text }))?;
        Ok(())
    }

    /// Fills the machines with `workload`, of which nothing ends, in both orders of arrival.
    ///
    /// # Errors
    /// When an engine breaks the books.
    pub fn saturation(&self, workload: &Workload, seed: u64) -> Result<()> {
        let capacity = workload.capacity();
        let bounds: Vec<f64> = (0..3)
            .map(|r| most_used(&workload.machines, &workload.jobs, r) / capacity[r].max(1) as f64)
            .collect();
        for (case, arrival) in [
            ("saturation, all at once", Arrival::AtOnce),
            ("saturation, one by one", Arrival::OneByOne),
        ] {
            let ours = saturate(workload, &mut Ours::new(workload), arrival)?;
            let plain = saturate(workload, &mut Plain::new(workload, seed), arrival)?;
            for (r, name) in RESOURCES.iter().enumerate() {
                let both = [ours.used[r] * 100.0, plain.used[r] * 100.0];
                self.line(case, &format!("{name}_used"), "%", both, Some(bounds[r] * 100.0))?;
            }
            for (r, name) in RESOURCES.iter().enumerate() {
                let both = [ours.stranded[r] * 100.0, plain.stranded[r] * 100.0];
                self.line(case, &format!("{name}_stranded"), "%", both, None)?;
            }
            self.line(case, "placed", "jobs", [ours.placed as f64, plain.placed as f64], None)?;
            self.fairness(case, &ours, &plain)?;
            let scarce = (0..3).max_by(|a, b| bounds[*a].total_cmp(&bounds[*b])).unwrap_or(0);
            let part = ours.used[scarce] / bounds[scarce];
            let text = format!("at least 98 % of the bound on {}", RESOURCES[scarce]);
            self.goal(case, &text, part * 100.0, part >= BOUND_PART)?;
        }
        Ok(())
    }

    /// Replays `workload` in simulated time.
    ///
    /// # Errors
    /// When an engine breaks the books.
    pub fn replay(&self, case: &str, workload: &Workload, seed: u64) -> Result<()> {
        let mut ours = Ours::new(workload);
        let mut plain = Plain::new(workload, seed);
        let began = std::time::Instant::now();
        let (ours, plain) =
            (in_time(workload, &mut ours as &mut dyn Engine)?, in_time(workload, &mut plain)?);
        let took = began.elapsed();
        for (r, name) in RESOURCES.iter().enumerate() {
            let both = [ours.used[r] * 100.0, plain.used[r] * 100.0];
            self.line(case, &format!("{name}_used"), "%", both, None)?;
        }
        for (r, name) in RESOURCES.iter().enumerate() {
            let both = [ours.stranded[r] * 100.0, plain.stranded[r] * 100.0];
            self.line(case, &format!("{name}_stranded"), "%", both, None)?;
        }
        self.fairness(case, &ours, &plain)?;
        self.waits(case, &ours, &plain)?;
        let makespans = [ours.makespan_s as f64, plain.makespan_s as f64];
        self.line(case, "makespan", "s", makespans, None)?;
        self.line(case, "placed", "jobs", [ours.placed as f64, plain.placed as f64], None)?;
        self.note(&format!("{case}: both replays took {:.1} s", took.as_secs_f64()))
    }

    fn fairness(&self, case: &str, ours: &Outcome, plain: &Outcome) -> Result<()> {
        for (metric, unit, of) in [
            (
                "unfairness_mean",
                "%",
                (|o: &Outcome| o.unfairness_mean * 100.0) as fn(&Outcome) -> f64,
            ),
            ("unfairness_max", "%", |o| o.unfairness_max * 100.0),
            ("jain", "index", |o| o.jain),
            ("order_gap_max", "%", |o| o.order_gap_max * 100.0),
            ("largest_job", "%", |o| o.largest_job * 100.0),
            ("left_though_it_fits", "times", |o| o.left_though_it_fits as f64),
            ("offer_efficiency", "part", |o| o.offer_efficiency),
        ] {
            self.line(case, metric, unit, [of(ours), of(plain)], None)?;
        }
        let gap = ours.order_gap_max;
        self.goal(
            case,
            "served in fair order within one task",
            gap * 100.0,
            gap <= ours.largest_job,
        )
    }

    fn waits(&self, case: &str, ours: &Outcome, plain: &Outcome) -> Result<()> {
        let all = |outcome: &Outcome| -> Vec<f64> {
            outcome.waits_s.values().flatten().copied().collect()
        };
        let mut tiers = vec![("all", all(ours), all(plain))];
        for (tier, waits) in &ours.waits_s {
            tiers.push((
                *tier,
                waits.clone(),
                plain.waits_s.get(tier).cloned().unwrap_or_default(),
            ));
        }
        for (tier, ours, plain) in tiers {
            for (name, percent) in [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("max", 100.0)] {
                let both = [percentile(&ours, percent), percentile(&plain, percent)];
                self.line(case, &format!("wait_{tier}_{name}"), "s", both, None)?;
            }
        }
        for (name, percent) in [("p50", 50.0), ("p99", 99.0)] {
            let both =
                [percentile(&ours.slowdowns, percent), percentile(&plain.slowdowns, percent)];
            self.line(case, &format!("slowdown_{name}"), "ratio", both, None)?;
        }
        Ok(())
    }
}
