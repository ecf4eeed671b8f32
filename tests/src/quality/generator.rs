//! Synthetic loads, by a preset and a seed: what published traces say of machines, arrivals, sizes,
//! durations, tiers and users. Not generated: constraints, failures, evictions, agents that come and go.

use super::draw::{Draw, Percentiles, Zipf};
use super::workload::{Job, Machine, Shape, Workload};

/// After which trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Preset {
    /// Google's cell of 2011: 12,583 machines of ten classes.
    Google2011,
    /// A cell of 2019: most of the load is in a hundredth of the jobs.
    Google2019,
    /// The example of the Omega paper's simulator.
    Omega,
    /// Like the openb trace of graphics processors.
    Openb,
    /// The scale test of the Mesos paper: 200 frameworks with tasks of half a minute.
    MesosNsdi,
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// After which trace.
    pub preset: Preset,
    /// Jobs; each has one task or more.
    pub jobs: usize,
    /// Only every so many-th machine.
    pub machine_stride: usize,
    /// For everything that is drawn.
    pub seed: u64,
}

/// What the tasks of one job have in common.
#[derive(Clone, Debug)]
pub struct Group {
    /// When it comes.
    pub created_s: f64,
    /// How many tasks.
    pub tasks: u64,
    /// Of each.
    pub needs: Shape,
    /// Of each.
    pub runs_s: f64,
    /// Whose.
    pub user: usize,
    /// Its class.
    pub tier: &'static str,
}

/// What a whole machine of Google's has here.
const GOOGLE_CPU_MILLI: f64 = 64_000.0;
const GOOGLE_MEM_MIB: f64 = 262_144.0;

/// Classes of 2011: processors and memory in parts of the largest, and how many.
const GOOGLE_2011: [(f64, f64, usize); 10] = [
    (0.50, 0.50, 6_732),
    (0.50, 0.25, 3_863),
    (0.50, 0.75, 1_001),
    (1.00, 1.00, 795),
    (0.25, 0.25, 126),
    (0.50, 0.12, 52),
    (0.50, 0.03, 5),
    (0.50, 0.97, 5),
    (1.00, 0.50, 3),
    (0.50, 0.06, 1),
];

/// Requests cluster on round numbers; in parts of the largest machine.
const SHAPES: [(f64, f64, f64); 15] = [
    (0.0625, 0.0159, 22.0),
    (0.0312, 0.0159, 16.0),
    (0.0125, 0.0159, 12.0),
    (0.0625, 0.0318, 9.0),
    (0.1250, 0.0318, 8.0),
    (0.0250, 0.0318, 7.0),
    (0.0312, 0.0080, 6.0),
    (0.1250, 0.0636, 5.0),
    (0.0062, 0.0040, 4.0),
    (0.0625, 0.0636, 3.0),
    (0.0500, 0.0239, 3.0),
    (0.1875, 0.0954, 2.0),
    (0.2500, 0.1272, 1.5),
    (0.2500, 0.2400, 1.0),
    (0.1000, 0.2000, 0.5),
];

/// Percentiles of the openb trace, with a least and a largest value.
pub const OPENB_CPU_MILLI: Percentiles = Percentiles(&[
    (0.0, 500.0),
    (0.10, 3_152.0),
    (0.50, 11_300.0),
    (0.75, 12_000.0),
    (0.90, 16_400.0),
    (0.99, 32_000.0),
    (1.0, 120_200.0),
]);
/// In MiB.
pub const OPENB_MEM_MIB: Percentiles = Percentiles(&[
    (0.0, 512.0),
    (0.10, 5_600.0),
    (0.50, 41_560.0),
    (0.75, 49_152.0),
    (0.90, 58_368.0),
    (0.99, 125_952.0),
    (1.0, 737_280.0),
]);
/// Between two creations.
pub const OPENB_INTERARRIVAL_S: Percentiles = Percentiles(&[
    (0.0, 1.0),
    (0.10, 6.0),
    (0.50, 161.0),
    (0.90, 948.0),
    (0.99, 3_426.0),
    (1.0, 20_000.0),
]);
/// From start to end.
pub const OPENB_DURATION_S: Percentiles = Percentiles(&[
    (0.0, 1.0),
    (0.01, 23.0),
    (0.10, 73.0),
    (0.25, 175.0),
    (0.50, 616.0),
    (0.75, 2_246.0),
    (0.90, 7_764.0),
    (0.95, 18_162.0),
    (0.99, 114_715.0),
    (1.0, 6_000_000.0),
]);
const OPENB_NODES: [(u64, u64, u64, usize); 7] = [
    (96_000, 786_432, 8_000, 677),
    (104_000, 786_432, 8_000, 24),
    (104_000, 524_288, 2_000, 387),
    (32_000, 262_144, 0, 190),
    (16_000, 131_072, 0, 107),
    (64_000, 262_144, 2_000, 63),
    (128_000, 786_432, 1_000, 75),
];
/// Pods by graphics processors: none, a part of one, 1, 2, 4, 8.
const OPENB_GPUS: [(u64, f64); 5] =
    [(0, 1_088.0), (1_000, 3_908.0), (2_000, 16.0), (4_000, 15.0), (8_000, 44.0)];
const OPENB_SHARED: f64 = 3_081.0;

/// Longest run: a month.
const MONTH_S: f64 = 30.0 * 86_400.0;
/// Per-job processor-hours of 2019 have a tail of this index.
pub const GOOGLE_2019_ALPHA: f64 = 0.69;
const GOOGLE_2019_LEAST_CPU_HOURS: f64 = 0.002;
/// Part of the jobs of 2011 that have one task.
pub const SINGLE_TASK: f64 = 0.75;
/// Median and spread of the body of durations.
pub const DURATION_MEDIAN_S: f64 = 600.0;
/// Of its logarithm.
pub const DURATION_SIGMA: f64 = 1.9;
/// Part of the durations that are in the tail.
pub const DURATION_TAIL: f64 = 0.05;

/// Machines and jobs by time of creation.
#[must_use]
pub fn generate(choice: Choice) -> Workload {
    let machines = machines(choice.preset);
    let machines = machines.into_iter().step_by(choice.machine_stride.max(1)).collect();
    let mut jobs = Vec::new();
    let mut users = 1;
    for group in groups(choice.preset, choice.jobs, choice.seed) {
        users = users.max(group.user + 1);
        let job = Job {
            user: group.user,
            needs: group.needs,
            created_s: group.created_s.round() as u64,
            runs_s: (group.runs_s.round() as u64).max(1),
            tier: group.tier,
        };
        jobs.extend((0..group.tasks).map(|_| job.clone()));
    }
    Workload { machines, jobs, users }
}

fn machines(preset: Preset) -> Vec<Machine> {
    let many = |has: Shape, count: usize| std::iter::repeat_n(Machine { has }, count);
    match preset {
        Preset::Google2011 | Preset::Google2019 => GOOGLE_2011
            .iter()
            .flat_map(|(cpu, mem, count)| many(google([*cpu, *mem]), *count))
            .collect(),
        Preset::Omega => many([4_000, 16 << 10, 0], 10_000).collect(),
        Preset::Openb => OPENB_NODES
            .iter()
            .flat_map(|(cpu, mem, gpus, count)| many([*cpu, *mem, *gpus], *count))
            .collect(),
        // Room for two tasks each.
        Preset::MesosNsdi => many([2_000, 2 << 10, 0], 10_000).collect(),
    }
}

fn google(parts: [f64; 2]) -> Shape {
    let part = |part: f64, whole: f64| ((part * whole).round() as u64).max(1);
    [part(parts[0], GOOGLE_CPU_MILLI), part(parts[1], GOOGLE_MEM_MIB), 0]
}

/// Jobs by time of creation, before they are taken apart into tasks.
#[must_use]
pub fn groups(preset: Preset, jobs: usize, seed: u64) -> Vec<Group> {
    let mut groups = match preset {
        Preset::Google2011 => Google::new(seed, 0.27, 933, false).take(jobs),
        Preset::Google2019 => Google::new(seed, 3_360.0 / 3_600.0, 933, true).take(jobs),
        Preset::Omega => omega(jobs, seed),
        Preset::Openb => openb(jobs, seed),
        Preset::MesosNsdi => mesos_nsdi(jobs, seed),
    };
    groups.sort_by(|a, b| a.created_s.total_cmp(&b.created_s));
    groups
}

/// Streams of one preset of Google's, one a knob.
struct Google {
    arrivals: Draw,
    counts: Draw,
    sizes: Draw,
    durations: Draw,
    tiers: Draw,
    users: Draw,
    rate_per_s: f64,
    zipf_tasks: Zipf,
    zipf_users: Zipf,
    has_hogs: bool,
}

impl Google {
    fn new(seed: u64, rate_per_s: f64, users: usize, has_hogs: bool) -> Self {
        let stream = |stream| Draw::new(seed, stream);
        Self {
            arrivals: stream(1),
            counts: stream(2),
            sizes: stream(3),
            durations: stream(4),
            tiers: stream(5),
            users: stream(6),
            rate_per_s,
            zipf_tasks: Zipf::new(4_999, 1.1),
            zipf_users: Zipf::new(users, 1.2),
            has_hogs,
        }
    }

    fn take(mut self, jobs: usize) -> Vec<Group> {
        let mut now_s = 0.0;
        (0..jobs)
            .map(|_| {
                now_s = self.next_arrival(now_s);
                self.job(now_s)
            })
            .collect()
    }

    /// Poisson, a third more by day and less by night; by thinning of the highest rate.
    fn next_arrival(&mut self, mut now_s: f64) -> f64 {
        const SWING: f64 = 0.3;
        loop {
            now_s += self.arrivals.exponential(1.0 / (self.rate_per_s * (1.0 + SWING)));
            let factor = 1.0 + SWING * (std::f64::consts::TAU * now_s / 86_400.0).sin();
            if self.arrivals.is(factor / (1.0 + SWING)) {
                return now_s;
            }
        }
    }

    fn job(&mut self, created_s: f64) -> Group {
        let mut tasks = 1;
        if !self.counts.is(SINGLE_TASK) {
            tasks = self.zipf_tasks.draw(&mut self.counts) as u64 + 2;
        }
        let needs = self.needs();
        let mut runs_s = self.duration();
        if self.has_hogs {
            // The load of the job is drawn, and its duration follows; what would not end within a month
            // has more tasks.
            let cpus = needs[0] as f64 / 1_000.0;
            let load_s =
                self.durations.pareto(GOOGLE_2019_LEAST_CPU_HOURS, GOOGLE_2019_ALPHA) * 3_600.0;
            tasks = tasks.min((load_s / cpus).floor() as u64).max(1);
            tasks = tasks.max((load_s / cpus / MONTH_S).ceil() as u64);
            runs_s = load_s / cpus / tasks as f64;
        }
        let user = self.zipf_users.draw(&mut self.users);
        Group { created_s, tasks, needs, runs_s, user, tier: self.tier() }
    }

    fn needs(&mut self) -> Shape {
        if self.sizes.is(0.05) {
            let cpu = self.sizes.normal((0.03_f64).ln(), 0.8).exp().min(0.25);
            let mem = self.sizes.normal((0.02_f64).ln(), 0.8).exp().min(0.25);
            return google([cpu, mem]);
        }
        let weights = SHAPES.map(|(_, _, weight)| weight);
        let (cpu, mem, _) = SHAPES[self.sizes.weighted(&weights)];
        google([cpu, mem])
    }

    fn duration(&mut self) -> f64 {
        if self.durations.is(DURATION_TAIL) {
            return self.durations.pareto(86_400.0, 0.7).min(MONTH_S);
        }
        self.durations.normal(DURATION_MEDIAN_S.ln(), DURATION_SIGMA).exp().min(MONTH_S)
    }

    fn tier(&mut self) -> &'static str {
        const TIERS: [(&str, f64); 5] = [
            ("free", 35.0),
            ("batch", 30.0),
            ("mid", 5.0),
            ("production", 28.0),
            ("monitoring", 2.0),
        ];
        TIERS[self.tiers.weighted(&TIERS.map(|(_, weight)| weight))].0
    }
}

/// Batch jobs every 10 s, service jobs every 20 s, in the mean; all else exponential too.
fn omega(jobs: usize, seed: u64) -> Vec<Group> {
    let mut all = Vec::new();
    // Two batch jobs to one service job.
    for (stream, tier, part, interarrival_s, tasks, runs_s) in
        [(1, "batch", 2, 10.0, 100.0, 100.0), (2, "service", 1, 20.0, 10.0, 500.0)]
    {
        let mut draw = Draw::new(seed, stream);
        let mut now_s = 0.0;
        for _ in 0..jobs * part / 3 {
            now_s += draw.exponential(interarrival_s);
            all.push(Group {
                created_s: now_s,
                tasks: (draw.exponential(tasks).ceil() as u64).max(1),
                needs: [1_000, 2 << 10, 0],
                runs_s: draw.exponential(runs_s),
                user: usize::from(tier == "service"),
                tier,
            });
        }
    }
    all
}

fn openb(jobs: usize, seed: u64) -> Vec<Group> {
    let stream = |stream| Draw::new(seed, stream);
    let (mut arrivals, mut sizes, mut durations) = (stream(1), stream(2), stream(3));
    let (mut gpus, mut tiers, mut users) = (stream(4), stream(5), stream(6));
    let zipf = Zipf::new(12, 1.2);
    let (mut now_s, mut all) = (0.0, Vec::new());
    for _ in 0..jobs {
        now_s += OPENB_INTERARRIVAL_S.at(arrivals.part());
        // Who wants many processors mostly wants much memory.
        let rank = sizes.part();
        let other = if sizes.is(0.8) { rank } else { sizes.part() };
        let mut weights = OPENB_GPUS.map(|(_, weight)| weight).to_vec();
        weights.push(OPENB_SHARED);
        let gpu = match OPENB_GPUS.get(gpus.weighted(&weights)) {
            Some((milli, _)) => *milli,
            // Half take 470 or less, the rest mostly 810.
            None if gpus.is(0.5) => 100 + (gpus.part() * 370.0).round() as u64,
            None => 810,
        };
        all.push(Group {
            created_s: now_s,
            tasks: 1,
            needs: [
                OPENB_CPU_MILLI.at(rank).round() as u64,
                OPENB_MEM_MIB.at(other).round() as u64,
                gpu,
            ],
            runs_s: OPENB_DURATION_S.at(durations.part()),
            user: zipf.draw(&mut users),
            tier: ["LS", "BE", "Burstable", "Guaranteed"]
                [tiers.weighted(&[4_647.0, 3_398.0, 100.0, 7.0])],
        });
    }
    all
}

/// Each framework asks for its next task as soon as could be: arrivals fill two tasks a machine.
fn mesos_nsdi(jobs: usize, seed: u64) -> Vec<Group> {
    const FRAMEWORKS: usize = 200;
    let (mut arrivals, mut durations) = (Draw::new(seed, 1), Draw::new(seed, 2));
    let mut now_s = 0.0;
    (0..jobs)
        .map(|job| {
            now_s += arrivals.exponential(30.0 / 20_000.0);
            Group {
                created_s: now_s,
                tasks: 1,
                needs: [1_000, 1 << 10, 0],
                runs_s: durations.normal(30.0, 10.0).max(1.0),
                user: job % FRAMEWORKS,
                tier: "sleep",
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::draw::distance;
    use super::*;

    const SEEDS: [u64; 3] = [1, 2, 3];
    /// Of Kolmogorov and Smirnov.
    const DISTANCE_MAX: f64 = 0.05;

    fn of(preset: Preset, jobs: usize, seed: u64, value: impl Fn(&Group) -> f64) -> Vec<f64> {
        groups(preset, jobs, seed).iter().map(value).collect()
    }

    fn gaps(groups: &[&Group]) -> Vec<f64> {
        groups.windows(2).map(|pair| pair[1].created_s - pair[0].created_s).collect()
    }

    #[test]
    fn openb_has_the_percentiles_of_the_trace() {
        for seed in SEEDS {
            let of = |value: fn(&Group) -> f64| of(Preset::Openb, 8_152, seed, value);
            for (name, found, rows) in [
                ("cpu", of(|g| g.needs[0] as f64), OPENB_CPU_MILLI),
                ("mem", of(|g| g.needs[1] as f64), OPENB_MEM_MIB),
                ("duration", of(|g| g.runs_s), OPENB_DURATION_S),
            ] {
                let distance = rows.distance(&found);
                assert!(distance <= DISTANCE_MAX, "seed {seed}: {name} is {distance} away");
            }
            let all = groups(Preset::Openb, 8_152, seed);
            let gaps = gaps(&all.iter().collect::<Vec<_>>());
            assert!(OPENB_INTERARRIVAL_S.distance(&gaps) <= DISTANCE_MAX);
            let part = |is: fn(&Group) -> bool| {
                all.iter().filter(|group| is(group)).count() as f64 / all.len() as f64
            };
            for (name, found, traced) in [
                ("no gpu", part(|g| g.needs[2] == 0), 1_088.0 / 8_152.0),
                ("a part of one", part(|g| (1..1_000).contains(&g.needs[2])), 0.378),
                ("eight", part(|g| g.needs[2] == 8_000), 44.0 / 8_152.0),
                ("LS", part(|g| g.tier == "LS"), 4_647.0 / 8_152.0),
            ] {
                assert!((found - traced).abs() <= DISTANCE_MAX, "seed {seed}: {name}: {found}");
            }
        }
    }

    #[test]
    fn google_2019_has_its_hogs() {
        for seed in SEEDS {
            let load =
                |g: &Group| g.tasks as f64 * g.needs[0] as f64 / 1_000.0 * g.runs_s / 3_600.0;
            let mut loads = of(Preset::Google2019, 30_000, seed, load);
            let law = |x: f64| 1.0 - (GOOGLE_2019_LEAST_CPU_HOURS / x).powf(GOOGLE_2019_ALPHA);
            let distance = distance(&loads, |x| law(x).max(0.0));
            assert!(distance <= DISTANCE_MAX, "seed {seed}: {distance}");
            loads.sort_by(|a, b| b.total_cmp(a));
            let hogs: f64 = loads[..loads.len() / 100].iter().sum();
            let part = hogs / loads.iter().sum::<f64>();
            assert!(part >= 0.95, "seed {seed}: the top hundredth has {part}");
        }
    }

    #[test]
    fn google_2011_has_its_machines_single_tasks_and_durations() {
        let machines = machines(Preset::Google2011);
        assert_eq!(machines.len(), 12_583);
        assert_eq!(machines.iter().filter(|m| m.has == [64_000, 262_144, 0]).count(), 795);
        for seed in SEEDS {
            let all = groups(Preset::Google2011, 20_000, seed);
            let single = all.iter().filter(|group| group.tasks == 1).count() as f64 / 20_000.0;
            assert!((single - SINGLE_TASK).abs() <= DISTANCE_MAX, "{single}");
            let rate = 20_000.0 / all[all.len() - 1].created_s;
            assert!((rate / 0.27 - 1.0).abs() < 0.1, "{rate} jobs a second");
            let short = all.iter().filter(|group| group.runs_s < 900.0).count() as f64 / 20_000.0;
            assert!(short > 0.5, "most run less than a quarter of an hour: {short}");
            let load = |g: &&Group| g.tasks as f64 * g.needs[0] as f64 * g.runs_s;
            let long: f64 = all.iter().filter(|g| g.runs_s > 86_400.0).map(|g| load(&g)).sum();
            let part = long / all.iter().map(|g| load(&g)).sum::<f64>();
            assert!(part > 0.5, "the few that run for days use most: {part}");
        }
    }

    #[test]
    fn omega_is_exponential_in_everything() {
        for seed in SEEDS {
            let all = groups(Preset::Omega, 9_000, seed);
            for (tier, interarrival_s, runs_s) in [("batch", 10.0, 100.0), ("service", 20.0, 500.0)]
            {
                let of: Vec<&Group> = all.iter().filter(|group| group.tier == tier).collect();
                let law = |mean: f64| move |x: f64| 1.0 - (-x / mean).exp();
                assert!(distance(&gaps(&of), law(interarrival_s)) <= DISTANCE_MAX);
                let runs: Vec<f64> = of.iter().map(|group| group.runs_s).collect();
                assert!(distance(&runs, law(runs_s)) <= DISTANCE_MAX);
            }
        }
    }

    #[test]
    fn mesos_nsdi_sleeps_half_a_minute_in_200_frameworks() {
        let all = groups(Preset::MesosNsdi, 10_000, 1);
        let mean = all.iter().map(|group| group.runs_s).sum::<f64>() / 10_000.0;
        assert!((mean - 30.0).abs() < 0.5, "{mean}");
        let users: std::collections::BTreeSet<usize> = all.iter().map(|group| group.user).collect();
        assert_eq!(users.len(), 200);
    }

    #[test]
    fn a_seed_says_it_all() {
        let choice =
            |seed| Choice { preset: Preset::Google2011, jobs: 50, machine_stride: 100, seed };
        let first = generate(choice(1));
        assert_eq!(first, generate(choice(1)));
        assert_ne!(first, generate(choice(2)));
        assert_eq!(first.machines.len(), 126);
        assert!(first.jobs.windows(2).all(|pair| pair[0].created_s <= pair[1].created_s));
    }
}
