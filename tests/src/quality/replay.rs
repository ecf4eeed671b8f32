//! Simulated time: jobs come, are placed by an engine, and end. Every decision is checked against books
//! of the replay's own, and the metrics are taken from those.

use super::engine::{Engine, Placed};
use super::plain::dominant_share;
use super::workload::{Shape, Workload, fits};
use anyhow::{Result, ensure};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// What one replay has shown.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Part of each resource in use, mean over the time in which jobs are created.
    pub used: [f64; 3],
    /// Part of each resource that was free while jobs that need it waited: none of them fitted.
    pub stranded: [f64; 3],
    /// Largest difference of dominant shares among users with waiting jobs: mean over time, and most.
    pub unfairness_mean: f64,
    /// Most of it.
    pub unfairness_max: f64,
    /// Jain's index of the same shares, mean over time; 1 is equal.
    pub jain: f64,
    /// Largest lead of the share of a user that was served over the lowest share of one with a waiting
    /// job that fitted; not above 0 in exact fair order.
    pub order_gap_max: f64,
    /// Largest dominant share of one job.
    pub largest_job: f64,
    /// Decisions after which a waiting job would have fitted and was not placed.
    pub left_though_it_fits: u64,
    /// Wait of each job that was placed, by tier.
    pub waits_s: BTreeMap<&'static str, Vec<f64>>,
    /// (wait + run) ÷ run.
    pub slowdowns: Vec<f64>,
    /// From the first creation to the last end.
    pub makespan_s: u64,
    /// Jobs that were placed.
    pub placed: usize,
    /// Accepted over offered.
    pub offer_efficiency: f64,
}

/// The replay's own books.
struct Books<'a> {
    workload: &'a Workload,
    capacity: Shape,
    free: Vec<Shape>,
    held: Vec<Shape>,
    /// By user, by shape: how many wait.
    waiting: Vec<BTreeMap<Shape, usize>>,
    is_waiting: Vec<bool>,
    /// Shapes that fit nowhere since something last ended.
    without_room: BTreeSet<Shape>,
}

impl<'a> Books<'a> {
    fn new(workload: &'a Workload) -> Self {
        Self {
            workload,
            capacity: workload.capacity(),
            free: workload.machines.iter().map(|machine| machine.has).collect(),
            held: vec![[0; 3]; workload.users],
            waiting: vec![BTreeMap::new(); workload.users],
            is_waiting: vec![false; workload.jobs.len()],
            without_room: BTreeSet::new(),
        }
    }

    fn submit(&mut self, job: usize) {
        let entry = &self.workload.jobs[job];
        *self.waiting[entry.user].entry(entry.needs).or_default() += 1;
        self.is_waiting[job] = true;
    }

    fn end(&mut self, placed: Placed) {
        let job = &self.workload.jobs[placed.job];
        for r in 0..3 {
            self.free[placed.machine][r] += job.needs[r];
            self.held[job.user][r] -= job.needs[r];
        }
        self.without_room.clear();
    }

    fn share(&self, user: usize) -> f64 {
        dominant_share(&self.held[user], &self.capacity)
    }

    fn has_room(&mut self, shape: &Shape) -> bool {
        if self.without_room.contains(shape) {
            return false;
        }
        let found = self.free.iter().any(|free| fits(shape, free));
        if !found {
            self.without_room.insert(*shape);
        }
        found
    }

    /// By how much the user that is served is ahead of the lowest that could be.
    fn order_gap(&mut self, user: usize) -> f64 {
        let own = self.share(user);
        let lower: Vec<usize> = (0..self.held.len())
            .filter(|other| !self.waiting[*other].is_empty() && self.share(*other) < own)
            .collect();
        let could_be = lower.into_iter().filter(|other| {
            let shapes: Vec<Shape> = self.waiting[*other].keys().copied().collect();
            shapes.iter().any(|shape| self.has_room(shape))
        });
        let could_be: Vec<usize> = could_be.collect();
        could_be.into_iter().map(|other| own - self.share(other)).fold(0.0, f64::max)
    }

    fn place(&mut self, placed: Placed) -> Result<()> {
        let job = &self.workload.jobs[placed.job];
        ensure!(self.is_waiting[placed.job], "job {} is placed and does not wait", placed.job);
        let free = &mut self.free[placed.machine];
        ensure!(
            fits(&job.needs, free),
            "job {} of {:?} is placed where {free:?} is free",
            placed.job,
            job.needs
        );
        for (r, amount) in job.needs.iter().enumerate() {
            free[r] -= amount;
            self.held[job.user][r] += amount;
        }
        self.is_waiting[placed.job] = false;
        if let Some(count) = self.waiting[job.user].get_mut(&job.needs) {
            *count -= 1;
            if *count == 0 {
                self.waiting[job.user].remove(&job.needs);
            }
        }
        Ok(())
    }

    fn free_part(&self, r: usize) -> f64 {
        let free: u64 = self.free.iter().map(|free| free[r]).sum();
        if self.capacity[r] == 0 { 1.0 } else { free as f64 / self.capacity[r] as f64 }
    }

    fn wants(&self, r: usize) -> bool {
        self.waiting.iter().any(|shapes| shapes.keys().any(|shape| shape[r] > 0))
    }

    /// Shares of users with waiting jobs; unfairness is between two at least.
    fn waiting_shares(&self) -> Vec<f64> {
        let waiting = (0..self.held.len()).filter(|user| !self.waiting[*user].is_empty());
        waiting.map(|user| self.share(user)).collect()
    }
}

/// Sums over time.
#[derive(Default)]
struct Sums {
    seconds: f64,
    used: [f64; 3],
    stranded: [(f64, f64); 3],
    unfairness: f64,
    jain: f64,
    contended_s: f64,
}

impl Sums {
    fn add(&mut self, books: &Books<'_>, seconds: f64, outcome: &mut Outcome) {
        self.seconds += seconds;
        for r in 0..3 {
            let free = books.free_part(r);
            self.used[r] += (1.0 - free) * seconds;
            if books.wants(r) {
                self.stranded[r].0 += free * seconds;
                self.stranded[r].1 += seconds;
            }
        }
        let shares = books.waiting_shares();
        if shares.len() > 1 {
            let (least, most) = shares
                .iter()
                .fold((f64::MAX, 0.0_f64), |(l, m), share| (l.min(*share), m.max(*share)));
            outcome.unfairness_max = outcome.unfairness_max.max(most - least);
            self.unfairness += (most - least) * seconds;
            self.jain += jain(&shares) * seconds;
            self.contended_s += seconds;
        }
    }

    fn into(self, outcome: &mut Outcome) {
        let mean = |sum: f64, seconds: f64| if seconds > 0.0 { sum / seconds } else { 0.0 };
        for r in 0..3 {
            outcome.used[r] = mean(self.used[r], self.seconds);
            outcome.stranded[r] = mean(self.stranded[r].0, self.stranded[r].1);
        }
        outcome.unfairness_mean = mean(self.unfairness, self.contended_s);
        outcome.jain = if self.contended_s > 0.0 { self.jain / self.contended_s } else { 1.0 };
    }
}

/// (Σx)² ÷ (n Σx²); 1 when nobody has anything.
#[must_use]
pub fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    if squares == 0.0 { 1.0 } else { sum * sum / (shares.len() as f64 * squares) }
}

/// Lets `engine` decide, and books what it did.
fn decide(
    books: &mut Books<'_>,
    engine: &mut dyn Engine,
    now_s: u64,
    outcome: &mut Outcome,
) -> Result<Vec<Placed>> {
    let placed = engine.decide(books.workload, now_s);
    for one in &placed {
        let gap = books.order_gap(books.workload.jobs[one.job].user);
        outcome.order_gap_max = outcome.order_gap_max.max(gap);
        books.place(*one)?;
    }
    let shapes: BTreeSet<Shape> =
        books.waiting.iter().flat_map(|shapes| shapes.keys()).copied().collect();
    if shapes.iter().any(|shape| books.has_room(shape)) {
        outcome.left_though_it_fits += 1;
    }
    outcome.placed += placed.len();
    Ok(placed)
}

fn started(workload: &Workload) -> Outcome {
    let capacity = workload.capacity();
    let share = |needs: &Shape| dominant_share(needs, &capacity);
    let largest_job = workload.jobs.iter().map(|job| share(&job.needs)).fold(0.0, f64::max);
    Outcome { largest_job, ..Outcome::default() }
}

/// Replays all jobs as they come and end.
///
/// # Errors
/// When the engine places a job that does not wait, or where it does not fit.
pub fn in_time(workload: &Workload, engine: &mut dyn Engine) -> Result<Outcome> {
    let mut outcome = started(workload);
    let (mut books, mut sums) = (Books::new(workload), Sums::default());
    let mut ends: BinaryHeap<Reverse<(u64, usize, usize)>> = BinaryHeap::new();
    let first_s = workload.jobs.first().map_or(0, |job| job.created_s);
    let last_s = workload.jobs.last().map_or(0, |job| job.created_s);
    let (mut now_s, mut next) = (first_s, 0);
    loop {
        while ends.peek().is_some_and(|Reverse((at, ..))| *at == now_s) {
            let Some(Reverse((_, job, machine))) = ends.pop() else { break };
            books.end(Placed { job, machine });
            engine.end(workload, Placed { job, machine });
        }
        while workload.jobs.get(next).is_some_and(|job| job.created_s == now_s) {
            books.submit(next);
            engine.submit(workload, next);
            next += 1;
        }
        for Placed { job, machine } in decide(&mut books, engine, now_s, &mut outcome)? {
            let entry = &workload.jobs[job];
            let wait_s = (now_s - entry.created_s) as f64;
            outcome.waits_s.entry(entry.tier).or_default().push(wait_s);
            outcome.slowdowns.push((wait_s + entry.runs_s as f64) / entry.runs_s as f64);
            ends.push(Reverse((now_s + entry.runs_s, job, machine)));
        }
        let created = workload.jobs.get(next).map(|job| job.created_s);
        let ended = ends.peek().map(|Reverse((at, ..))| *at);
        let Some(then_s) = created.into_iter().chain(ended).min() else { break };
        // Afterwards the cluster only runs empty.
        let until_s = then_s.min(last_s);
        if until_s > now_s {
            sums.add(&books, (until_s - now_s) as f64, &mut outcome);
        }
        now_s = then_s;
    }
    sums.into(&mut outcome);
    outcome.makespan_s = now_s - first_s;
    outcome.offer_efficiency = engine.offer_efficiency();
    Ok(outcome)
}

/// How jobs come when none ever ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// All at once: everybody competes for everything.
    AtOnce,
    /// One after the other, in order of creation.
    OneByOne,
}

/// Places as many jobs as there is room for; none ends.
///
/// # Errors
/// As [`in_time`].
pub fn saturate(workload: &Workload, engine: &mut dyn Engine, arrival: Arrival) -> Result<Outcome> {
    let mut outcome = started(workload);
    let mut books = Books::new(workload);
    for job in 0..workload.jobs.len() {
        books.submit(job);
        engine.submit(workload, job);
        if arrival == Arrival::OneByOne {
            decide(&mut books, engine, 0, &mut outcome)?;
        }
    }
    decide(&mut books, engine, 0, &mut outcome)?;
    let mut sums = Sums::default();
    sums.add(&books, 1.0, &mut outcome);
    sums.into(&mut outcome);
    outcome.offer_efficiency = engine.offer_efficiency();
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::super::ours::Ours;
    use super::super::plain::Plain;
    use super::super::workload::{Job, Machine};
    use super::*;

    fn job(user: usize, needs: Shape, created_s: u64, runs_s: u64) -> Job {
        Job { user, needs, created_s, runs_s, tier: "all" }
    }

    /// The example of the DRF paper: 9 cpus and 18 GiB; A wants (1, 4), B (3, 1).
    fn paper() -> Workload {
        let of = |user, needs| (0..6).map(move |_| job(user, needs, 0, 10));
        Workload {
            machines: vec![Machine { has: [9_000, 18 << 10, 0] }],
            jobs: of(0, [1_000, 4 << 10, 0]).chain(of(1, [3_000, 1 << 10, 0])).collect(),
            users: 2,
        }
    }

    #[test]
    fn t1_both_engines_give_three_and_two_tasks() {
        let workload = paper();
        let engines: [Box<dyn Engine>; 2] =
            [Box::new(Ours::new(&workload)), Box::new(Plain::new(&workload, 1))];
        for mut engine in engines {
            let outcome = saturate(&workload, engine.as_mut(), Arrival::AtOnce).expect("sound");
            assert_eq!(outcome.placed, 5, "{}", engine.name());
            assert!((outcome.used[0] - 1.0).abs() < 1e-9);
            assert!((outcome.used[1] - 14.0 / 18.0).abs() < 1e-9);
            assert!(outcome.unfairness_max < 1e-9, "both have two thirds");
            assert!((outcome.jain - 1.0).abs() < 1e-9);
            assert_eq!((outcome.left_though_it_fits, outcome.order_gap_max), (0, 0.0));
        }
    }

    #[test]
    fn jobs_wait_run_and_end_at_their_times() {
        let whole = [1_000, 1_024, 0];
        let workload = Workload {
            machines: vec![Machine { has: whole }],
            jobs: vec![job(0, whole, 0, 10), job(0, whole, 4, 10), job(0, whole, 40, 5)],
            users: 1,
        };
        let engines: [Box<dyn Engine>; 2] =
            [Box::new(Ours::new(&workload)), Box::new(Plain::new(&workload, 1))];
        for mut engine in engines {
            let outcome = in_time(&workload, engine.as_mut()).expect("sound");
            assert_eq!(outcome.waits_s["all"], [0.0, 6.0, 0.0], "{}", engine.name());
            assert_eq!(outcome.makespan_s, 45);
            assert_eq!(outcome.slowdowns, [1.0, 1.6, 1.0]);
            assert!((outcome.used[0] - 0.5).abs() < 1e-9, "20 of the 40 seconds of arrivals");
        }
    }

    /// Puts everything on the first machine.
    struct Careless(Vec<usize>);

    impl Engine for Careless {
        fn name(&self) -> &'static str {
            "careless"
        }
        fn submit(&mut self, _: &Workload, job: usize) {
            self.0.push(job);
        }
        fn end(&mut self, _: &Workload, _: Placed) {}
        fn decide(&mut self, _: &Workload, _: u64) -> Vec<Placed> {
            std::mem::take(&mut self.0).into_iter().map(|job| Placed { job, machine: 0 }).collect()
        }
        fn offer_efficiency(&self) -> f64 {
            1.0
        }
    }

    #[test]
    fn an_engine_that_books_twice_is_found_out() {
        let error = saturate(&paper(), &mut Careless(Vec::new()), Arrival::AtOnce);
        assert!(error.expect_err("overbooked").to_string().contains("is free"));
    }

    /// Serves users in the order of their jobs.
    struct Unfair(Plain);

    impl Engine for Unfair {
        fn name(&self) -> &'static str {
            "unfair"
        }
        fn submit(&mut self, workload: &Workload, job: usize) {
            if workload.jobs[job].user == 0 {
                self.0.submit(workload, job);
            }
        }
        fn end(&mut self, workload: &Workload, placed: Placed) {
            self.0.end(workload, placed);
        }
        fn decide(&mut self, workload: &Workload, now_s: u64) -> Vec<Placed> {
            self.0.decide(workload, now_s)
        }
        fn offer_efficiency(&self) -> f64 {
            1.0
        }
    }

    #[test]
    fn an_engine_that_is_unfair_or_leaves_room_is_found_out() {
        let workload = paper();
        let mut engine = Unfair(Plain::new(&workload, 1));
        let outcome = saturate(&workload, &mut engine, Arrival::AtOnce).expect("sound");
        assert!(outcome.order_gap_max > 0.4, "{outcome:?}");
        assert_eq!(outcome.left_though_it_fits, 1);
        assert!(outcome.unfairness_max > 0.6 && outcome.jain < 0.6);
    }
}
