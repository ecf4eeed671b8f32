//! P27: the openb trace placed by the real allocator beside plain DRF and the packing bound. The trace
//! is read from a directory that is named; nothing of it is in the tree.

use crate::quality::openb::{Choice, read};
use crate::quality::report::Printer;
use crate::quality::workload::Workload;
use anyhow::{Result, ensure};
use std::path::PathBuf;

/// How the trace is used.
#[derive(clap::Args, Clone)]
pub struct Plan {
    /// Where the lists of nodes and pods are.
    #[arg(long)]
    pub dir: PathBuf,
    /// Users that pods are given to: the trace names none.
    #[arg(long, default_value_t = 12)]
    pub users: usize,
    /// For the draw of users and the baseline's order of machines.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Only every so many-th node, in the replay in time.
    #[arg(long, default_value_t = 20)]
    pub node_stride: usize,
    /// Offered load of the replay in time, in parts of what the nodes have.
    #[arg(long, default_value_t = 1.1)]
    pub load: f64,
    /// What is asked for at saturation, in parts of the scarcest resource.
    #[arg(long, default_value_t = 1.3)]
    pub saturation: f64,
}

/// Fills the cluster, then replays the trace in time.
///
/// # Errors
/// When the trace cannot be read, or a decision breaks the books.
pub fn run(plan: &Plan) -> Result<()> {
    let sound = |value: f64| value.is_finite() && value > 0.0;
    ensure!(sound(plan.load) && sound(plan.saturation), "loads are numbers above 0");
    let printer = Printer { bench: "openb" };
    let all = Choice { node_stride: 1, users: plan.users, seed: plan.seed };
    let mut whole = read(&plan.dir, all)?;
    let impossible = whole.drop_impossible();
    printer.note(&format!(
        "{} nodes, {} pods, {impossible} that fit no node; users by Zipf's law among {}; gpus are a \
         scalar, for both and for the bound: borders of devices are not looked at",
        whole.machines.len(),
        whole.jobs.len(),
        plan.users
    ))?;
    let mut inflated = whole.clone();
    inflate(&mut inflated, plan.saturation);
    printer.note(&format!("saturation: {} pods are asked for", inflated.jobs.len()))?;
    printer.saturation(&inflated, plan.seed)?;
    let mut replayed = read(&plan.dir, Choice { node_stride: plan.node_stride, ..all })?;
    let impossible = replayed.drop_impossible();
    let measured = replayed.offered_load();
    ensure!(
        replayed.set_offered_load(plan.load),
        "there are too few pods for a load of {}",
        plan.load
    );
    printer.note(&format!(
        "in time: {} nodes, {impossible} pods fit none; offered load {:.4} as traced, creations moved \
         together to {:.2}",
        replayed.machines.len(),
        measured,
        replayed.offered_load()
    ))?;
    printer.replay("in time", &replayed, plan.seed)
}

/// Asks for the same jobs again, from the first, until `part` of the scarcest resource is asked for.
fn inflate(workload: &mut Workload, part: f64) {
    let capacity = workload.capacity();
    let once = workload.jobs.clone();
    let mut asked = [0u64; 3];
    let most = |asked: &[u64; 3]| {
        (0..3).map(|r| asked[r] as f64 / capacity[r].max(1) as f64).fold(0.0, f64::max)
    };
    workload.jobs.clear();
    for job in once.iter().cycle().take_while(|_| !once.is_empty()) {
        if most(&asked) >= part {
            break;
        }
        (0..3).for_each(|r| asked[r] += job.needs[r]);
        workload.jobs.push(job.clone());
    }
    // Those that came first go on coming first.
    workload.jobs.sort_by_key(|job| job.created_s);
}
