//! A bound on packing that nobody can pass: the dual of the linear relaxation in which jobs may be cut,
//! and machines of one kind are one big machine. Any prices give a bound, the best ones the best.

use super::workload::{Job, Machine, Shape, fits};
use std::collections::BTreeMap;

/// Machines of one kind, together.
struct Pool {
    has: Shape,
    count: u64,
}

/// Most of resource `r` that jobs could ever use at once, in its units.
#[must_use]
pub fn most_used(machines: &[Machine], jobs: &[Job], r: usize) -> f64 {
    let mut kinds: BTreeMap<Shape, u64> = BTreeMap::new();
    machines.iter().for_each(|machine| *kinds.entry(machine.has).or_default() += 1);
    let pools: Vec<Pool> = kinds.into_iter().map(|(has, count)| Pool { has, count }).collect();
    let mut wanted: BTreeMap<Shape, u64> = BTreeMap::new();
    jobs.iter().for_each(|job| *wanted.entry(job.needs).or_default() += 1);
    // At these prices the bound is what the machines have.
    let mut at_cost = vec![[0.0; 3]; pools.len()];
    at_cost.iter_mut().for_each(|price| price[r] = 1.0);
    let prices = best_prices(&pools, &wanted, r);
    dual(&pools, &wanted, &prices, r).min(dual(&pools, &wanted, &at_cost, r))
}

/// Prices of each pool's resources at the optimum of the relaxation, by the simplex method. Were they
/// wrong by rounding, what [`dual`] makes of them would be a bound all the same.
fn best_prices(pools: &[Pool], wanted: &BTreeMap<Shape, u64>, r: usize) -> Vec<[f64; 3]> {
    let all: Vec<f64> = (0..3)
        .map(|k| pools.iter().map(|pool| (pool.has[k] * pool.count) as f64).sum::<f64>().max(1.0))
        .collect();
    // A row for each resource of each pool, then one for each shape: no more than are wanted. Amounts
    // are in parts of the whole.
    let capacities = 3 * pools.len();
    let mut limits = Vec::with_capacity(capacities + wanted.len());
    for pool in pools {
        limits.extend((0..3).map(|k| (pool.has[k] * pool.count) as f64 / all[k]));
    }
    let (mut columns, mut worth) = (Vec::new(), Vec::new());
    for (index, (needs, count)) in wanted.iter().enumerate() {
        limits.push(*count as f64);
        for (at, _) in pools.iter().enumerate().filter(|(_, pool)| fits(needs, &pool.has)) {
            let mut column = vec![(capacities + index, 1.0)];
            column.extend((0..3).map(|k| (3 * at + k, needs[k] as f64 / all[k])));
            columns.push(column);
            worth.push(needs[r] as f64 / all[r]);
        }
    }
    let duals = simplex(&limits, &columns, &worth);
    let price = |pool: usize, k: usize| (duals[3 * pool + k] * all[r] / all[k]).max(0.0);
    (0..pools.len()).map(|pool| [0, 1, 2].map(|k| price(pool, k))).collect()
}

/// Most pivots: the method ends with the prices it has then.
const PIVOTS_MAX: usize = 20_000;
const NEARLY_NOTHING: f64 = 1e-11;

/// Maximises `worth · x` where each row's sum is within its limit and no `x` is below 0; answers with the
/// price of each limit. A column is a list of (row, coefficient).
fn simplex(limits: &[f64], columns: &[Vec<(usize, f64)>], worth: &[f64]) -> Vec<f64> {
    let (rows, width) = (limits.len(), columns.len() + limits.len() + 1);
    let mut table = vec![vec![0.0; width]; rows + 1];
    for (at, column) in columns.iter().enumerate() {
        column.iter().for_each(|(row, coefficient)| table[*row][at] = *coefficient);
        table[rows][at] = -worth[at];
    }
    for (row, limit) in limits.iter().enumerate() {
        table[row][columns.len() + row] = 1.0;
        table[row][width - 1] = *limit;
    }
    for pivots in 0..PIVOTS_MAX {
        let gains = table[rows][..width - 1].iter().enumerate();
        let gains = gains.filter(|(_, gain)| **gain < -NEARLY_NOTHING);
        // The largest gain first; the first one, which never goes in circles, when that takes long.
        let entering = if pivots < PIVOTS_MAX / 2 {
            gains.min_by(|a, b| a.1.total_cmp(b.1)).map(|(at, _)| at)
        } else {
            gains.map(|(at, _)| at).next()
        };
        let Some(entering) = entering else { break };
        let ratios = (0..rows).filter(|row| table[*row][entering] > NEARLY_NOTHING);
        let ratios = ratios.map(|row| (table[row][width - 1] / table[row][entering], row));
        let Some((_, leaving)) = ratios.min_by(|a, b| a.0.total_cmp(&b.0)) else { break };
        let pivot = table[leaving][entering];
        table[leaving].iter_mut().for_each(|value| *value /= pivot);
        let leaving_row = table[leaving].clone();
        for (row, values) in table.iter_mut().enumerate() {
            let factor = values[entering];
            if row != leaving && factor != 0.0 {
                values.iter_mut().zip(&leaving_row).for_each(|(value, of)| *value -= factor * of);
            }
        }
    }
    table[rows][columns.len()..width - 1].to_vec()
}

/// What the machines have at these prices, and what jobs are worth above what they cost.
fn dual(pools: &[Pool], wanted: &BTreeMap<Shape, u64>, prices: &[[f64; 3]], r: usize) -> f64 {
    let cost = |needs: &Shape, price: &[f64; 3]| -> f64 {
        (0..3).map(|k| needs[k] as f64 * price[k]).sum()
    };
    let there: f64 = pools
        .iter()
        .zip(prices)
        .map(|(pool, price)| cost(&pool.has, price) * pool.count as f64)
        .sum();
    let gained: f64 = wanted
        .iter()
        .map(|(needs, count)| {
            let places = pools.iter().zip(prices).filter(|(pool, _)| fits(needs, &pool.has));
            let cheapest =
                places.map(|(_, price)| cost(needs, price)).fold(f64::INFINITY, f64::min);
            *count as f64 * (needs[r] as f64 - cheapest).max(0.0)
        })
        .sum();
    there + gained
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(needs: Shape, count: usize) -> Vec<Job> {
        let job = Job { user: 0, needs, created_s: 0, runs_s: 1, tier: "all" };
        vec![job; count]
    }

    #[test]
    fn what_is_short_bounds_the_rest() {
        let machines = vec![Machine { has: [100, 100, 10] }; 2];
        // Each takes a tenth of a machine's cpus and a fifth of its memory: ten fit, by memory.
        let many = jobs([10, 20, 0], 1_000);
        assert!((most_used(&machines, &many, 1) - 200.0).abs() < 1e-6);
        let cpus = most_used(&machines, &many, 0);
        assert!((cpus - 100.0).abs() < 1e-6, "{cpus}");
        // Fewer than fit: all of them.
        let few = jobs([10, 20, 0], 3);
        let cpus = most_used(&machines, &few, 0);
        assert!((cpus - 30.0).abs() < 1e-6, "{cpus}");
    }

    #[test]
    fn jobs_go_only_where_they_fit() {
        let machines = [Machine { has: [100, 100, 0] }, Machine { has: [10, 100, 10] }];
        let gpus = jobs([5, 1, 5], 100);
        let used = most_used(&machines, &gpus, 0);
        assert!((used - 10.0).abs() < 1e-6, "{used}");
    }
}
