//! Many seeds at once, one thread each at a time, and what the gate asks of them.

use super::planted::Planted;
use super::report::Counts;
use super::run::{Asked, Ended, run};
use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What became of many seeds.
#[derive(Default)]
pub struct Batch {
    /// All together.
    pub counts: Counts,
    /// Seeds that broke a statement, and which.
    pub broken: BTreeMap<u64, String>,
    /// Digests by seed: of everything, and without wall clocks.
    pub digests: BTreeMap<u64, (u64, u64)>,
}

/// Runs a seed; a panic of a core breaks it.
#[must_use]
pub fn run_caught(seed: u64, asked: Asked) -> Ended {
    std::panic::catch_unwind(AssertUnwindSafe(|| run(seed, asked))).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        Ended {
            counts: Counts { seeds: 1, ..Counts::default() },
            broken: Some(format!("panic: {text}")),
            digest: 0,
            skeleton: 0,
            story: Vec::new(),
        }
    })
}

/// Runs seeds on all processors.
#[must_use]
pub fn run_all(seeds: Range<u64>, asked: Asked) -> Batch {
    let batch = Mutex::new(Batch::default());
    each(seeds, |seed| {
        let ended = run_caught(seed, asked);
        let mut batch = batch.lock().expect("no thread panics while it holds this");
        batch.counts.add(&ended.counts);
        batch.digests.insert(seed, (ended.digest, ended.skeleton));
        if let Some(why) = ended.broken {
            batch.broken.insert(seed, why);
        }
        true
    });
    batch.into_inner().expect("no thread panics while it holds this")
}

/// The first seed found in which a planted bug is caught by its own checker, and how.
#[must_use]
pub fn find(planted: Planted, own: &'static str, seeds: Range<u64>) -> Option<(u64, String)> {
    let found = Mutex::new(None);
    each(seeds, |seed| {
        let asked = Asked { planted: Some((planted, own)), ..Asked::default() };
        let caught = match own {
            "I14" => {
                let still = run_caught(seed, Asked { still_clocks: true, ..asked });
                let jumps = run_caught(seed, asked);
                (still.skeleton != jumps.skeleton).then(|| "runs differ".to_owned())
            }
            "I20" => {
                let (first, second) = (run_caught(seed, asked), run_caught(seed, asked));
                (first.digest != second.digest).then(|| "runs differ".to_owned())
            }
            // A panic of a core is no checker's finding.
            _ => run_caught(seed, asked).broken.filter(|why| why.starts_with(own)),
        };
        let Some(why) = caught else { return true };
        *found.lock().expect("no thread panics while it holds this") = Some((seed, why));
        false
    });
    found.into_inner().expect("no thread panics while it holds this")
}

/// Calls `each` for every seed, on all processors, until one call says to stop.
fn each(seeds: Range<u64>, each: impl Fn(u64) -> bool + Sync) {
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    if !each(seed) {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}
