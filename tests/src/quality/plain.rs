//! Plain dominant resource fairness: the user with the lowest dominant share that has a waiting job
//! which fits somewhere; of these jobs the oldest; the first machine, in an order shuffled anew for each
//! decision, that has room. No packing, nothing kept for anyone.

use super::engine::{Engine, Placed};
use super::workload::{Shape, Workload, fits};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The baseline.
pub struct Plain {
    free: Vec<Shape>,
    capacity: Shape,
    held: Vec<Shape>,
    /// By user and shape, oldest first.
    waiting: Vec<BTreeMap<Shape, VecDeque<usize>>>,
    /// Shapes that had no room when last tried and since which nothing has ended.
    without_room: BTreeSet<Shape>,
    order: Vec<usize>,
    rng: ChaCha8Rng,
}

impl Plain {
    /// With all machines empty.
    #[must_use]
    pub fn new(workload: &Workload, seed: u64) -> Self {
        Self {
            free: workload.machines.iter().map(|machine| machine.has).collect(),
            capacity: workload.capacity(),
            held: vec![[0; 3]; workload.users],
            waiting: vec![BTreeMap::new(); workload.users],
            without_room: BTreeSet::new(),
            order: (0..workload.machines.len()).collect(),
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    fn next(&mut self) -> Option<Placed> {
        let mut users: Vec<usize> = (0..self.held.len()).collect();
        let share = |user: &usize| dominant_share(&self.held[*user], &self.capacity);
        users.sort_by(|a, b| share(a).total_cmp(&share(b)).then(a.cmp(b)));
        for user in users {
            let mut heads: Vec<(usize, Shape)> =
                self.waiting[user].iter().map(|(shape, queue)| (queue[0], *shape)).collect();
            heads.sort_unstable();
            for (job, shape) in heads {
                if let Some(machine) = self.room(&shape) {
                    return Some(self.place(user, shape, Placed { job, machine }));
                }
            }
        }
        None
    }

    fn room(&mut self, shape: &Shape) -> Option<usize> {
        if self.without_room.contains(shape) {
            return None;
        }
        self.order.shuffle(&mut self.rng);
        let found = self.order.iter().copied().find(|machine| fits(shape, &self.free[*machine]));
        if found.is_none() {
            self.without_room.insert(*shape);
        }
        found
    }

    fn place(&mut self, user: usize, shape: Shape, placed: Placed) -> Placed {
        for (r, amount) in shape.iter().enumerate() {
            self.free[placed.machine][r] -= amount;
            self.held[user][r] += amount;
        }
        if let Some(queue) = self.waiting[user].get_mut(&shape) {
            queue.pop_front();
            if queue.is_empty() {
                self.waiting[user].remove(&shape);
            }
        }
        placed
    }
}

/// The largest part of any resource, in parts of the whole.
#[must_use]
pub fn dominant_share(held: &Shape, capacity: &Shape) -> f64 {
    let part = |r: usize| if capacity[r] == 0 { 0.0 } else { held[r] as f64 / capacity[r] as f64 };
    (0..3).map(part).fold(0.0, f64::max)
}

impl Engine for Plain {
    fn name(&self) -> &'static str {
        "plain DRF"
    }

    fn submit(&mut self, workload: &Workload, job: usize) {
        let entry = &workload.jobs[job];
        self.waiting[entry.user].entry(entry.needs).or_default().push_back(job);
    }

    fn end(&mut self, workload: &Workload, placed: Placed) {
        let job = &workload.jobs[placed.job];
        for r in 0..3 {
            self.free[placed.machine][r] += job.needs[r];
            self.held[job.user][r] -= job.needs[r];
        }
        self.without_room.clear();
    }

    fn decide(&mut self, _: &Workload, _: u64) -> Vec<Placed> {
        std::iter::from_fn(|| self.next()).collect()
    }

    fn offer_efficiency(&self) -> f64 {
        1.0
    }
}
