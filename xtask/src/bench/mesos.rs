//! What Apache Mesos' allocator took for the same cells: constants, read from a table in the tree.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;

/// One constant and where it is from.
#[derive(Clone, Debug)]
pub(crate) struct Anchor {
    /// In the unit of the metric it stands beside.
    pub(crate) value: f64,
    pub(crate) from: &'static str,
}

/// By cell (`DeclineOffers:1000x100`) and metric.
pub(crate) struct Anchors(BTreeMap<(String, &'static str), Anchor>);

impl Anchors {
    pub(crate) fn read() -> Result<Self> {
        Self::parse(include_str!("mesos.tsv"))
    }

    fn parse(table: &'static str) -> Result<Self> {
        let mut anchors = BTreeMap::new();
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&'static str> = line.split('\t').collect();
            let [workload, agents, frameworks, metric, unit, value, from] = fields[..] else {
                anyhow::bail!("mesos.tsv: not seven fields: {line:?}");
            };
            let value: f64 = value.parse().with_context(|| format!("mesos.tsv: {line:?}"))?;
            let value = if unit == "MB" { value * 1e6 } else { value };
            let key = (format!("{workload}:{agents}x{frameworks}"), metric);
            let old = anchors.insert(key, Anchor { value, from });
            ensure!(old.is_none(), "mesos.tsv: a second line for {line:?}");
        }
        Ok(Self(anchors))
    }

    pub(crate) fn get(&self, case: &str, metric: &str) -> Option<&Anchor> {
        let of_case = self.0.range((case.to_owned(), "")..);
        let mut of_case = of_case.take_while(|((have, _), _)| have == case);
        of_case.find_map(|((_, have), anchor)| (*have == metric).then_some(anchor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_and_finds_by_cell_and_metric() {
        let anchors = Anchors::read().expect("the table in the tree");
        let tail = anchors.get("DeclineOffers:1000x100", "first_zero_round").expect("a line");
        assert_eq!((tail.value, tail.from), (577.0, "4.3 zero-offer tail"));
        let memory = anchors.get("DeclineOffers:1000x100", "peak_memory").expect("a line");
        assert_eq!(memory.value, 482e6);
        assert!(anchors.get("DeclineOffers:1000x100", "add_frameworks").is_none());
        assert!(anchors.get("DeclineOffers:50000x6000", "add_agents").is_none());
    }

    #[test]
    fn a_line_that_is_none_is_refused() {
        for wrong in
            ["a\tb", "A\t1\t1\tm\tms\tmany\t4.1", "A\t1\t1\tm\tms\t1\tx\nA\t1\t1\tm\tms\t2\ty"]
        {
            assert!(Anchors::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
