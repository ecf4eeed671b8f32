//! Owns the CPU limit: a weight against neighbours and, where it is asked for, a hard ceiling of the
//! same size.

use super::{Place, Plan};
use crate::containerizer::{ContainerSpec, IsolationLevel};

/// At level `process` there is no ceiling; the level, which every status carries, says so.
pub(super) fn plan(spec: &ContainerSpec, place: &Place, plan: &mut Plan) {
    if place.level == IsolationLevel::Full {
        plan.limits.cpu_millis = spec.cpu_millis;
        plan.limits.cpu_ceiling = spec.cpu_ceiling;
    }
}
