//! Machines and jobs, whatever trace or generator they are from.

/// Thousandths of processors, MiB of memory, thousandths of graphics processors.
pub type Shape = [u64; 3];

/// Names of the three, in that order.
pub const RESOURCES: [&str; 3] = ["cpus", "mem", "gpus"];

/// One machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// What it has.
    pub has: Shape,
}

/// One task that comes, runs and goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    /// Whose.
    pub user: usize,
    /// What it needs, on one machine.
    pub needs: Shape,
    /// When it is asked for.
    pub created_s: u64,
    /// How long it runs.
    pub runs_s: u64,
    /// A class for which waits are told apart.
    pub tier: &'static str,
}

/// Machines, and jobs by time of creation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Workload {
    /// All machines.
    pub machines: Vec<Machine>,
    /// All jobs; `created_s` ascends.
    pub jobs: Vec<Job>,
    /// Users are numbered below this.
    pub users: usize,
}

impl Workload {
    /// What all machines have.
    #[must_use]
    pub fn capacity(&self) -> Shape {
        let mut sum = [0; 3];
        for machine in &self.machines {
            (0..3).for_each(|r| sum[r] += machine.has[r]);
        }
        sum
    }

    /// Resource-seconds asked for while jobs are created, over what the machines have in that time, of the
    /// resource that is asked for most. What runs on afterwards does not count.
    #[must_use]
    pub fn offered_load(&self) -> f64 {
        self.offered_load_at(1.0)
    }

    /// The same with all times of creation multiplied.
    fn offered_load_at(&self, factor: f64) -> f64 {
        let (Some(first), Some(last)) = (self.jobs.first(), self.jobs.last()) else { return 0.0 };
        let capacity = self.capacity();
        let span_s = (last.created_s - first.created_s) as f64 * factor;
        let mut asked = [0.0; 3];
        for job in &self.jobs {
            let left_s = (last.created_s - job.created_s) as f64 * factor;
            let runs_s = left_s.min(job.runs_s as f64);
            (0..3).for_each(|r| asked[r] += job.needs[r] as f64 * runs_s);
        }
        let parts = (0..3).filter(|r| capacity[*r] > 0 && span_s > 0.0);
        parts.map(|r| asked[r] / (capacity[r] as f64 * span_s)).fold(0.0, f64::max)
    }

    /// Moves creations together or apart, so that `load` of the scarcest resource is asked for; `false`, and
    /// nothing is changed, when there are too few jobs for that.
    pub fn set_offered_load(&mut self, load: f64) -> bool {
        // The further apart, the less is asked for at a time.
        let (mut low, mut high) = (1e-3_f64, 1e6_f64);
        if self.offered_load_at(low) < load {
            return false;
        }
        for _ in 0..100 {
            let middle = (low * high).sqrt();
            if self.offered_load_at(middle) > load { low = middle } else { high = middle }
        }
        let first = self.jobs.first().map_or(0, |job| job.created_s);
        for job in &mut self.jobs {
            job.created_s = ((job.created_s - first) as f64 * high).round() as u64;
        }
        true
    }

    /// Every job that no machine could ever hold is dropped; returns how many.
    pub fn drop_impossible(&mut self) -> usize {
        let before = self.jobs.len();
        let Self { machines, jobs, .. } = self;
        jobs.retain(|job| machines.iter().any(|machine| fits(&job.needs, &machine.has)));
        before - jobs.len()
    }
}

/// Whether `needs` is within `free`.
#[must_use]
pub fn fits(needs: &Shape, free: &Shape) -> bool {
    (0..3).all(|r| needs[r] <= free[r])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_set_and_what_runs_on_does_not_count() {
        let job =
            |created_s, runs_s| Job { user: 0, needs: [500, 1, 0], created_s, runs_s, tier: "all" };
        let mut workload = Workload {
            machines: vec![Machine { has: [1_000, 1_000, 0] }],
            jobs: (0..101).map(|n| job(n * 100, 50)).collect(),
            users: 1,
        };
        assert!((workload.offered_load() - 0.25).abs() < 1e-9);
        assert!(workload.set_offered_load(0.5));
        assert!((workload.offered_load() - 0.5).abs() < 0.01);
        workload.jobs[0].runs_s = 1_000_000_000;
        assert!((workload.offered_load() - 1.0).abs() < 0.01, "half of the machine, all the time");
        let before = workload.clone();
        assert!(!workload.set_offered_load(1e9), "there are too few jobs for that");
        assert_eq!(workload, before);
    }
}
