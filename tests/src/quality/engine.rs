//! What a replay asks of whoever decides.

use super::workload::Workload;

/// A decision: this job runs on this machine from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    /// Index of the job.
    pub job: usize,
    /// Index of the machine.
    pub machine: usize,
}

/// Decides which waiting job goes where. Never moves or ends one.
pub trait Engine {
    /// For tables.
    fn name(&self) -> &'static str;
    /// A job waits from now on.
    fn submit(&mut self, workload: &Workload, job: usize);
    /// A job that was placed has ended.
    fn end(&mut self, workload: &Workload, placed: Placed);
    /// All that can be decided at this moment, in order.
    fn decide(&mut self, workload: &Workload, now_s: u64) -> Vec<Placed>;
    /// Of what was offered, the part that was used; 1 when offers are cut to fit.
    fn offer_efficiency(&self) -> f64;
}
