//! Malformed inputs out of good ones, by a seed; and what a door must be after ten thousand of them:
//! alive, not grown, without a panic in its log, serving.

use crate::cluster::Dev;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// Inputs for each door.
pub const INPUTS: usize = 10_000;

/// After so many inputs the process has reached its size: caches and pools are full.
pub const WARM: usize = 2_000;

/// More than that in the other eight thousand would be a leak of several kilobytes an input.
const GROWTH_MAX_KIB: u64 = 40 * 1024;

/// One to four changes at random places.
pub fn mutate(random: &mut ChaCha8Rng, input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(0..=bytes.len());
        let end = (at + random.random_range(1..=16)).min(bytes.len());
        match random.random_range(0..8) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            2 if at < bytes.len() => bytes[at] = random.random(),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            5 => {
                let noise: Vec<u8> =
                    (0..random.random_range(1..=32)).map(|_| random.random()).collect();
                bytes.splice(at..at, noise);
            }
            6 => {
                let edges: [&[u8]; 7] = [
                    b"\0",
                    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
                    b"-1",
                    b"18446744073709551616",
                    b"\xc3\x28",
                    b"\r\n",
                    b"${x}",
                ];
                let edge = edges[random.random_range(0..edges.len())];
                bytes.splice(at..end, edge.iter().copied());
            }
            _ => bytes.splice(at..end, std::iter::empty()).for_each(drop),
        }
    }
    bytes
}

/// What the door said, by kind.
#[derive(Default, Debug)]
pub struct Said(pub BTreeMap<String, u64>);

impl Said {
    /// One more of a kind.
    pub fn note(&mut self, kind: impl Into<String>) {
        *self.0.entry(kind.into()).or_default() += 1;
    }
}

/// Resident memory of a process.
///
/// # Panics
/// When it is gone.
#[must_use]
pub fn resident_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).expect("it has memory")
}

/// The door has taken it all: alive, nothing panicked, not grown since it was warm.
///
/// # Panics
/// When it is not so.
#[expect(clippy::print_stdout, reason = "a test says what it measured")]
pub fn assert_unharmed(dev: &mut Dev, what: &str, warm_kib: u64) {
    assert!(dev.program.is_alive(), "{what}: the process has ended: {}", dev.program.err());
    let log = dev.program.err();
    assert!(!log.contains("panicked"), "{what}: {log}");
    let now = resident_kib(dev.program.pid());
    println!("{what}: {warm_kib} KiB when warm, {now} KiB at the end");
    assert!(now < warm_kib + GROWTH_MAX_KIB, "{what}: grew from {warm_kib} to {now} KiB");
}
