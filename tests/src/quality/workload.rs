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

    /// Resource-seconds asked for over capacity and the time in which jobs are created, of the resource
    /// that is asked for most.
    #[must_use]
    pub fn offered_load(&self) -> f64 {
        let (capacity, span_s) = (self.capacity(), self.span_s());
        let of = |r: usize| {
            let asked: u128 =
                self.jobs.iter().map(|job| u128::from(job.needs[r]) * u128::from(job.runs_s)).sum();
            let there = capacity[r] as f64 * span_s as f64;
            if there > 0.0 { asked as f64 / there } else { 0.0 }
        };
        (0..3).map(of).fold(0.0, f64::max)
    }

    fn span_s(&self) -> u64 {
        let first = self.jobs.first().map_or(0, |job| job.created_s);
        self.jobs.last().map_or(0, |job| job.created_s - first)
    }

    /// Moves creations together or apart, so that `load` of the scarcest resource is asked for.
    pub fn set_offered_load(&mut self, load: f64) {
        let factor = self.offered_load() / load;
        let first = self.jobs.first().map_or(0, |job| job.created_s);
        for job in &mut self.jobs {
            job.created_s = ((job.created_s - first) as f64 * factor).round() as u64;
        }
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
