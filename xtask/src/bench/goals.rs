//! What is to be reached, and whether it was.

use crate::bench::allocator::Figure;
use std::collections::BTreeMap;

/// At most this.
pub(crate) struct Goal {
    pub(crate) id: &'static str,
    pub(crate) case: &'static str,
    pub(crate) metric: &'static str,
    pub(crate) at_most: f64,
}

const fn goal(id: &'static str, case: &'static str, metric: &'static str, at_most: f64) -> Goal {
    Goal { id, case, metric, at_most }
}

pub(crate) const GOALS: &[Goal] = &[
    goal("P1", "FullCycle:1000x1", "cycle", 1.5),
    goal("P1", "FullCycle:1000x100", "cycle", 1.5),
    goal("P1", "FullCycle:1000x1000", "cycle", 1.5),
    goal("P1", "FullCycle:10000x100", "cycle", 10.0),
    goal("P1", "FullCycle:10000x1000", "cycle", 20.0),
    goal("P1", "FullCycle:50000x1000", "cycle", 150.0),
    goal("P2", "FullCycleOfTree:10000x1000", "cycle", 40.0),
    goal("P2", "FullCycleOfTree:10000x1000", "add_agents", 500.0),
    goal("P2", "FullCycleOfTree:10000x1000", "resident_per_agent", 3_072.0),
    goal("P3", "OneAgentChanged:50000x1000", "returned_p99", 100.0),
    goal("P3", "OneAgentChanged:50000x1000", "returned_to_demand_p99", 100.0),
    goal("P3", "OneAgentChanged:50000x1000", "grown_p99", 100.0),
    goal("P4", "LargeAndSmallQuota:3000x3000", "first_cycle", 150.0),
    goal("P4", "LargeAndSmallQuota:3000x3000", "second_cycle", 150.0),
    goal("P5", "UpdateAllocation:1x1600", "twenty_pairs", 50.0),
    goal("P6", "Refusals:10000x1000", "last_cycle_to_first", 1.2),
    goal("P6", "Refusals:10000x1000", "last_round_to_first", 1.2),
];

/// Time per unit of work among the numbers of agents stays within this.
pub(crate) const SLOPE_MAX: f64 = 1.5;
/// Times faster than the constant beside it.
pub(crate) const AHEAD_MIN: f64 = 50.0;

/// Time per unit of work of one section, over growing numbers of agents.
pub(crate) struct Slope {
    /// Workload, frameworks, metric.
    pub(crate) of: String,
    /// Agents, nanoseconds per unit.
    pub(crate) points: Vec<(u64, f64)>,
}

impl Slope {
    pub(crate) fn ratio(&self) -> f64 {
        let per_unit = self.points.iter().map(|(_, ns)| *ns);
        let (least, most) =
            per_unit.fold((f64::MAX, 0.0), |(least, most), ns| (ns.min(least), ns.max(most)));
        most / least
    }
}

/// Shorter sections are noise.
const SLOPE_MS_MIN: f64 = 0.05;

pub(crate) fn slopes(figures: &[Figure]) -> Vec<Slope> {
    let mut by_section: BTreeMap<(String, String), Vec<(u64, f64)>> = BTreeMap::new();
    for figure in figures.iter().filter(|figure| !figure.is_wrong) {
        let Some((workload, size)) = figure.case.split_once(':') else { continue };
        let Some((agents, frameworks)) = size.split_once('x') else { continue };
        let Some(ns) = figure.ns_per_unit().filter(|_| figure.value() >= SLOPE_MS_MIN) else {
            continue;
        };
        let key = (format!("{workload}:*x{frameworks}"), figure.metric.clone());
        by_section.entry(key).or_default().push((agents.parse().unwrap_or(0), ns));
    }
    let slope = |((case, metric), mut points): (_, Vec<(u64, f64)>)| {
        points.sort_by_key(|(agents, _)| *agents);
        Slope { of: format!("{case} {metric}"), points }
    };
    let slopes = by_section.into_iter().map(slope);
    slopes.filter(|slope: &Slope| slope.points.len() > 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_the_widest_ratio_of_time_per_unit() {
        let figure = |case: &str, ms: f64, work: u64| Figure {
            case: case.to_owned(),
            metric: "cycle".to_owned(),
            unit: "ms".to_owned(),
            samples: vec![ms * 2.0, ms],
            walls: Vec::new(),
            floors: Vec::new(),
            work: Some(work),
            is_wrong: false,
        };
        let figures = [
            figure("FullCycle:50000x1", 150.0, 50_000),
            figure("FullCycle:1000x1", 1.0, 1_000),
            figure("FullCycle:10000x1", 20.0, 10_000),
            figure("FullCycle:1000x100", 1.0, 1_000),
            figure("FullCycle/roles:1000x1", 0.01, 1_000),
            figure("FullCycle/roles:10000x1", 9.0, 10_000),
        ];
        let slopes = slopes(&figures);
        assert_eq!(slopes.len(), 1);
        assert_eq!(slopes[0].of, "FullCycle:*x1 cycle");
        assert_eq!(slopes[0].points, [(1_000, 1_000.0), (10_000, 2_000.0), (50_000, 3_000.0)]);
        assert_eq!(slopes[0].ratio(), 3.0);
    }
}
