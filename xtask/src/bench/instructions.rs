//! `cargo xtask bench instructions`: counts the instructions of small fixed cells under callgrind and
//! compares them with the counts in the tree, so that a regression shows on any machine.

use crate::debian;
use crate::step::{Steps, root, say};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Instructions of fixed cells.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Keep the counts of this run, for this toolchain, in the tree.
    #[arg(long)]
    bless: bool,
}

/// Small, and every kind of work is in one of them.
const CELLS: &[&str] = &[
    "FullCycle:200x20",
    "FullCycleOfTree:200x100",
    "FullCycleOfDemand:200x20",
    "AddAndUpdateSlave:200x20",
    "AllocatorBacklog:200x50",
    "DeclineOffers:100x20",
    "ResourceLabels:50x10",
    "SuppressOffers:200x50",
    "Metrics:100x50",
    "PersistentVolumes/mixed:100x20",
    "UpdateAllocation:1x50",
    "MultiFrameworkAllocations/suppressing:80x554",
    "MultiFrameworkAllocations/demand:80x554",
    "LargeAndSmallQuota:300x300",
    "NonQuotaVsQuota/quota:200x200",
    "FullSort:200x100",
    "HierarchyFullSort/9x2:200x512",
    "Explain:200x10",
    "Resources:100x1",
];

/// In hundredths of the count in the tree.
const GROWTH_MAX_PERCENT: f64 = 2.0;

/// By toolchain, by cell.
type Counts = BTreeMap<String, BTreeMap<String, u64>>;

pub(crate) fn run(options: &Options, json: bool) -> Result<()> {
    debian::install(&mut Steps::default(), debian::INSTRUCTIONS)?;
    let program = super::allocator_program()?;
    let file = root().join("master/allocator/examples/bench/instructions.json");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|_| "{}".to_owned());
    let mut counts: Counts =
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))?;
    let toolchain = toolchain()?;
    let known = counts.entry(toolchain.clone()).or_default().clone();
    let (mut found, mut grown) = (BTreeMap::new(), Vec::new());
    for cell in CELLS {
        let count = count(&program, cell)?;
        let percent = known.get(*cell).map(|before| change_percent(*before, count));
        if percent.is_some_and(|percent| percent > GROWTH_MAX_PERCENT) {
            grown.push(*cell);
        }
        if json {
            let line = json!({ "bench": "instructions", "case": cell, "unit": "count",
                "value": count, "in_tree": known.get(*cell), "change_percent": percent });
            say(&line.to_string());
        } else {
            let change = percent.map_or("new".to_owned(), |percent| format!("{percent:+.2} %"));
            say(&format!("{cell:<48} {count:>13} {change:>10}"));
        }
        found.insert((*cell).to_owned(), count);
    }
    if options.bless {
        counts.insert(toolchain, found);
        let text = serde_json::to_string_pretty(&counts)? + "\n";
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        return Ok(());
    }
    if known.is_empty() && !json {
        say(&format!("no counts for {toolchain} in the tree: compared with nothing (--bless)"));
    }
    if !grown.is_empty() {
        bail!(
            "more instructions than in the tree, by above {GROWTH_MAX_PERCENT} %: {}\n  \
             if that is meant: cargo xtask bench instructions --bless",
            grown.join(", ")
        );
    }
    Ok(())
}

fn change_percent(before: u64, now: u64) -> f64 {
    (now as f64 / before as f64 - 1.0) * 100.0
}

fn toolchain() -> Result<String> {
    let output = Command::new("rustc").arg("--version").output().context("cannot start rustc")?;
    Ok(String::from_utf8(output.stdout).context("rustc printed no text")?.trim().to_owned())
}

/// Instructions of the timed sections of one cell: set-up and output are left out.
fn count(program: &Path, cell: &str) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*measured_section*")
        .arg(program)
        .args(["--cell", cell]);
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{command:?}: {}\n{said}", output.status);
    }
    collected(&said).with_context(|| format!("callgrind counted nothing for {cell}:\n{said}"))
}

/// Out of `==12== Collected : 123456`.
fn collected(said: &str) -> Option<u64> {
    let line = said.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(':').next()?.trim().parse().ok().filter(|count| *count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_and_none_is_no_count() {
        assert_eq!(
            collected("==1== Events    : Ir\n==1== Collected : 8374625\n==1=="),
            Some(8374625)
        );
        assert_eq!(collected("==1== Collected : 0"), None);
        assert_eq!(collected("==1== valgrind: failed"), None);
    }

    #[test]
    fn growth_is_in_hundredths() {
        assert!((change_percent(1_000, 1_021) - 2.1).abs() < 1e-9);
        assert!(change_percent(1_000, 900) < 0.0);
    }
}
