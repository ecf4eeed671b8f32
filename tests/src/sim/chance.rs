//! Owns randomness: one stream of numbers a purpose, all from one seed, so that changing one purpose
//! does not shift the others and a shrunk run stays close to the original.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The streams.
pub struct Chance {
    /// Delays of messages, connects and breaks.
    pub network: ChaCha8Rng,
    /// Delays and outcomes of the store.
    pub store: ChaCha8Rng,
    /// Delays of disks and containers, ends of tasks, probes.
    pub machine: ChaCha8Rng,
    /// When and what goes wrong.
    pub faults: ChaCha8Rng,
    /// What users do.
    pub workload: ChaCha8Rng,
    /// Sizes of turns and slices.
    pub turns: ChaCha8Rng,
    /// Where planted bugs strike.
    pub planted: ChaCha8Rng,
    /// What is late, comes twice, or is torn in the middle.
    pub twists: ChaCha8Rng,
    /// What happens to the members of the store.
    pub members: ChaCha8Rng,
    /// Who shares a connection.
    pub farm: ChaCha8Rng,
    /// What frameworks write beside their tasks.
    pub notes: ChaCha8Rng,
    /// Who wants classical offers.
    pub classical: ChaCha8Rng,
    /// What is reserved, and which volumes are lost.
    pub holds: ChaCha8Rng,
    /// How agents are emptied.
    pub emptying: ChaCha8Rng,
    /// How long agents prepare what starts together.
    pub gangs: ChaCha8Rng,
}

impl Chance {
    /// All streams of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let stream = |number: u64| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(number);
            rng
        };
        Self {
            network: stream(1),
            store: stream(2),
            machine: stream(3),
            faults: stream(4),
            workload: stream(5),
            turns: stream(6),
            planted: stream(7),
            twists: stream(8),
            members: stream(9),
            farm: stream(10),
            notes: stream(11),
            classical: stream(12),
            holds: stream(13),
            emptying: stream(14),
            gangs: stream(15),
        }
    }
}

/// True in `per_mille` of a thousand draws.
pub fn one_in(rng: &mut ChaCha8Rng, per_mille: u32) -> bool {
    rng.random_range(0..1000) < per_mille
}

/// A number from `low` to `high`, both included.
pub fn between(rng: &mut ChaCha8Rng, low: u64, high: u64) -> u64 {
    rng.random_range(low..=high)
}

/// Mostly short, sometimes ten times as long: what networks and disks do.
pub fn heavy_tail(rng: &mut ChaCha8Rng, usual_max: u64) -> u64 {
    let span = rng.random_range(0..=usual_max.max(1));
    if rng.random_range(0..20) == 0 { span * 10 } else { span }
}
