//! Owns the limit on processes: a fork bomb stops in its own container.

use super::{Place, Plan};
use crate::containerizer::{ContainerSpec, IsolationLevel};

/// The container's init is counted by the kernel but belongs to us, not to the task. Commands run
/// inside later (`exec`) do count: they are part of what the container does.
const INIT_PROCESSES: u64 = 1;

/// At level `process` there is no limit; the level, which every status carries, says so.
pub(super) fn plan(spec: &ContainerSpec, place: &Place, plan: &mut Plan) {
    if place.level == IsolationLevel::Full {
        plan.limits.pids_max = spec.pids_max.map(|max| max + INIT_PROCESSES);
    }
}
