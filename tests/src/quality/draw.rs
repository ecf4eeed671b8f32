//! Draws from distributions, by a seed.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A source of draws; each use of one takes a stream of its own, so that one knob does not shift others.
pub struct Draw(ChaCha8Rng);

impl Draw {
    /// One stream of a seed.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// Evenly between 0 and 1, never either.
    pub fn part(&mut self) -> f64 {
        self.0.random_range(f64::EPSILON..1.0)
    }

    /// Whether something of this likelihood is so.
    pub fn is(&mut self, likelihood: f64) -> bool {
        self.part() < likelihood
    }

    /// Exponential.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.part().ln()
    }

    /// Normal, by Box and Muller.
    pub fn normal(&mut self, mean: f64, deviation: f64) -> f64 {
        let (a, b) = (self.part(), self.part());
        mean + deviation * (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }

    /// Pareto: above `least` with tail index `alpha`.
    pub fn pareto(&mut self, least: f64, alpha: f64) -> f64 {
        least * self.part().powf(-1.0 / alpha)
    }

    /// Index by weights.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut at = self.part() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            if at < *weight {
                return index;
            }
            at -= weight;
        }
        weights.len() - 1
    }
}

/// Zipf's law over ranks from 0.
pub struct Zipf {
    /// Sums of the parts up to each rank.
    sums: Vec<f64>,
}

impl Zipf {
    /// Rank `k` has weight `(k + 1)^-exponent`; there is one rank at least.
    #[must_use]
    pub fn new(ranks: usize, exponent: f64) -> Self {
        let parts = (1..=ranks.max(1)).map(|rank| (rank as f64).powf(-exponent));
        let sums = parts.scan(0.0, |sum, part| {
            *sum += part;
            Some(*sum)
        });
        Self { sums: sums.collect() }
    }

    /// A rank.
    pub fn draw(&self, draw: &mut Draw) -> usize {
        let all = self.sums[self.sums.len() - 1];
        let at = draw.part() * all;
        self.sums.partition_point(|sum| *sum <= at).min(self.sums.len() - 1)
    }
}

/// A distribution known by some of its percentiles, in between by their logarithms.
pub struct Percentiles(pub &'static [(f64, f64)]);

impl Percentiles {
    /// The value that this part of all do not exceed.
    #[must_use]
    pub fn at(&self, part: f64) -> f64 {
        let rows = self.0;
        let above = rows.partition_point(|(p, _)| *p < part).clamp(1, rows.len() - 1);
        let ((p0, v0), (p1, v1)) = (rows[above - 1], rows[above]);
        let way = ((part - p0) / (p1 - p0)).clamp(0.0, 1.0);
        (v0.ln() + way * (v1.ln() - v0.ln())).exp()
    }

    /// Largest distance between the percentiles and what `samples` have at their values.
    #[must_use]
    pub fn distance(&self, samples: &[f64]) -> f64 {
        let inner = self.0.iter().filter(|(part, _)| *part > 0.0 && *part < 1.0);
        inner.map(|(part, value)| (part_up_to(samples, *value) - part).abs()).fold(0.0, f64::max)
    }
}

fn part_up_to(samples: &[f64], value: f64) -> f64 {
    // A value that was rounded to a whole number is not above what it was rounded from.
    let below = samples.iter().filter(|sample| **sample <= value + 0.5).count();
    below as f64 / samples.len().max(1) as f64
}

/// Distance of Kolmogorov and Smirnov between samples and a distribution.
#[must_use]
pub fn distance(samples: &[f64], distribution: impl Fn(f64) -> f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let all = sorted.len().max(1) as f64;
    let gap = |(index, value): (usize, &f64)| {
        let expected = distribution(*value);
        let (below, upto) = (index as f64 / all, (index + 1) as f64 / all);
        (expected - below).abs().max((expected - upto).abs())
    };
    sorted.iter().enumerate().map(gap).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(count: usize, mut one: impl FnMut() -> f64) -> Vec<f64> {
        (0..count).map(|_| one()).collect()
    }

    #[test]
    fn draws_follow_their_laws() {
        let mut draw = Draw::new(7, 0);
        let found = samples(20_000, || draw.exponential(3.0));
        assert!(distance(&found, |x| 1.0 - (-x / 3.0).exp()) < 0.02);
        let found = samples(20_000, || draw.pareto(2.0, 0.7));
        assert!(distance(&found, |x| 1.0 - (2.0 / x).powf(0.7)) < 0.02);
        let found = samples(20_000, || draw.normal(30.0, 10.0));
        let mean = found.iter().sum::<f64>() / found.len() as f64;
        let square = found.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / found.len() as f64;
        assert!((mean - 30.0).abs() < 0.5 && (square.sqrt() - 10.0).abs() < 0.3);
        let zipf = Zipf::new(3, 1.0);
        let found = samples(20_000, || zipf.draw(&mut draw) as f64);
        let firsts = found.iter().filter(|rank| **rank == 0.0).count() as f64 / 20_000.0;
        assert!((firsts - 6.0 / 11.0).abs() < 0.02, "{firsts}");
        assert!(draw.weighted(&[0.0, 1.0, 0.0]) == 1);
    }

    #[test]
    fn a_distance_is_seen() {
        let mut draw = Draw::new(7, 1);
        let found = samples(10_000, || draw.exponential(3.0));
        assert!(distance(&found, |x| 1.0 - (-x / 4.0).exp()) > 0.08);
        const ROWS: Percentiles = Percentiles(&[(0.0, 1.0), (0.5, 10.0), (0.9, 100.0), (1.0, 1e3)]);
        let found = samples(10_000, || ROWS.at(draw.part()).round());
        assert!(ROWS.distance(&found) < 0.02);
        let found: Vec<f64> = found.iter().map(|value| value * 2.0).collect();
        assert!(ROWS.distance(&found) > 0.08);
    }

    #[test]
    fn the_same_seed_draws_the_same_and_streams_differ() {
        let first = |seed, stream| Draw::new(seed, stream).part();
        assert_eq!(first(1, 2), first(1, 2));
        assert_ne!(first(1, 2), first(1, 3));
        assert_ne!(first(1, 2), first(2, 2));
    }
}
