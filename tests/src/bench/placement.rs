//! A synthetic load placed by the real allocator beside plain DRF, in simulated time.

use crate::quality::generator::{Choice, Preset, generate};
use crate::quality::report::Printer;
use anyhow::{Result, ensure};

/// What is generated.
#[derive(clap::Args, Clone)]
pub struct Plan {
    /// After which trace.
    #[arg(long, value_enum)]
    pub preset: Preset,
    /// Jobs, of one task or more.
    #[arg(long, default_value_t = 2_000)]
    pub jobs: usize,
    /// Only every so many-th machine.
    #[arg(long, default_value_t = 100)]
    pub machine_stride: usize,
    /// Offered load, in parts of what the machines have.
    #[arg(long, default_value_t = 1.1)]
    pub load: f64,
    /// For everything that is drawn.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Generates and replays.
///
/// # Errors
/// When a decision breaks the books.
pub fn run(plan: &Plan) -> Result<()> {
    ensure!(plan.load.is_finite() && plan.load > 0.0, "a load is a number above 0");
    let Plan { preset, jobs, machine_stride, seed, .. } = *plan;
    let mut workload = generate(Choice { preset, jobs, machine_stride, seed });
    let impossible = workload.drop_impossible();
    let generated = workload.offered_load();
    let is_set = workload.set_offered_load(plan.load);
    let printer = Printer { bench: "placement" };
    let case = format!("{preset:?}");
    printer.note(&format!(
        "{case}: {} machines, {} tasks of {jobs} jobs by {} users, {impossible} tasks fit no machine; \
         offered load {generated:.3} as generated, {} {:.2}",
        workload.machines.len(),
        workload.jobs.len(),
        workload.users,
        if is_set { "creations moved to" } else { "too few jobs for more: left at" },
        workload.offered_load(),
    ))?;
    printer.replay(&case, &workload, seed)
}
