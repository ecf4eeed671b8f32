//! The simulator in the gate: seeds that must pass, statements that were really looked at, faults that
//! really struck, the same digest twice (I20), no difference by wall clocks (I14), and every planted bug
//! caught by its own checker. `PROFFER_TEST_LONG=1` runs many more seeds.

use proffer_tests::sim::checkers;
use proffer_tests::sim::many::{Batch, find, run_all, run_caught};
use proffer_tests::sim::marks::MARKS;
use proffer_tests::sim::planted::TABLE;
use proffer_tests::sim::run::Asked;
use proffer_tests::sim::smaller::shrink;
use std::collections::BTreeSet;

/// Seeds that have once found a bug; kept for ever.
const KEPT: &[u64] =
    &[2, 19, 27, 29, 44, 52, 55, 68, 75, 90, 98, 141, 788, 2_488, 5_441, 5_572, 6_564, 1_000_054];
/// Kinds of faults that a batch must have struck with.
const FAULTS: &[&str] = &[
    "answer_lost_with_member",
    "break_connection",
    "change_member",
    "compact",
    "crash_agent",
    "crash_framework",
    "crash_master",
    "crash_member",
    "crash_supervisor",
    "cut_member",
    "doubled_request",
    "expire_lease",
    "failed_write",
    "isolate_member",
    "late_request",
    "lose_volume",
    "lost_answer",
    "majority_lost",
    "member_elected",
    "member_out_of_reach",
    "member_without_leader",
    "overtaken",
    "partition",
    "partition_one_way",
    "pause_master",
    "reboot",
    "refused_commit",
    "stall",
    "torn_turn",
    "wall_jump",
];

fn is_long() -> bool {
    std::env::var_os("PROFFER_TEST_LONG").is_some()
}

#[expect(clippy::print_stdout, reason = "the gate shows what was done")]
fn say(line: &str) {
    println!("{line}");
}

fn must_pass(batch: &Batch) {
    let mut failures: Vec<String> =
        batch.broken.iter().map(|(seed, why)| format!("seed {seed}: {why}")).collect();
    if let Some(seed) = batch.broken.keys().next() {
        let shrunk = shrink(*seed, Asked::default());
        failures.extend(shrunk.map(|found| format!("seed {seed}, shrunk {}", found.text(*seed))));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn seeds_pass_and_nothing_was_idle() {
    let seeds = if is_long() { 1..5_001 } else { 1..501 };
    let batch = run_all(seeds, Asked::default());
    say(&batch.counts.text());
    must_pass(&batch);
    let counts = &batch.counts;
    assert!(counts.launches > 1_000 && counts.failovers > 100, "{}", counts.text());
    assert!(counts.takeovers > 0 && counts.inbox_lag_ms_max > 1_000, "{}", counts.text());
    assert!(counts.replies > 100 && counts.service_calls > 100, "{}", counts.text());
    for kind in FAULTS {
        assert!(counts.faults.get(kind).is_some_and(|count| *count > 0), "{kind} never struck");
    }
    for (mark, what) in MARKS {
        assert!(counts.marks.contains_key(mark), "{mark} was never reached: {what}");
    }
    for mark in counts.marks.keys() {
        assert!(MARKS.iter().any(|(known, _)| known == mark), "{mark} is not in the table");
    }
    for checker in checkers::all() {
        let looked = counts.looked.get(checker.id()).copied().unwrap_or(0);
        assert!(looked > 0, "{} never had anything to look at", checker.id());
    }
}

#[test]
fn seeds_that_once_found_a_bug_pass() {
    for seed in KEPT {
        let ended = run_caught(*seed, Asked::default());
        let replay = format!("cargo xtask sim --replay {seed}");
        assert_eq!(ended.broken, None, "to replay: {replay}");
    }
}

#[test]
fn a_seed_decides_everything() {
    // I20, and I14: what wall clocks show changes nothing that happens.
    let seeds = if is_long() { 1_000_000..1_000_500 } else { 1_000_000..1_000_060 };
    let first = run_all(seeds.clone(), Asked::default());
    let second = run_all(seeds.clone(), Asked::default());
    let still = run_all(seeds, Asked { still_clocks: true, ..Asked::default() });
    must_pass(&first);
    for (seed, digests) in &first.digests {
        assert_eq!(second.digests[seed].0, digests.0, "I20: seed {seed} went two ways");
        assert_eq!(still.digests[seed].1, digests.1, "I14: seed {seed} depends on a wall clock");
    }
}

#[test]
fn every_planted_bug_is_caught_by_its_own_checker() {
    let mut missed = Vec::new();
    for (planted, own) in TABLE {
        match find(*planted, own, 1..401) {
            Some((seed, why)) => say(&format!("{planted:?} (seed {seed}): {why}")),
            None => missed.push(format!("{own} misses {planted:?}")),
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
    let covered: BTreeSet<&str> = TABLE.iter().map(|(_, own)| *own).collect();
    for checker in checkers::all() {
        assert!(covered.contains(checker.id()), "no bug is planted for {}", checker.id());
    }
}
