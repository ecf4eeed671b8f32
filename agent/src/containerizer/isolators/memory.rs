//! Owns the memory limit: a ceiling for memory and swap together, at which the kernel kills.

use super::{Place, Plan};
use crate::containerizer::{ContainerSpec, IsolationLevel};

/// At level `process` there is no ceiling; the level, which every status carries, says so.
pub(super) fn plan(spec: &ContainerSpec, place: &Place, plan: &mut Plan) {
    if place.level == IsolationLevel::Full {
        plan.limits.memory_bytes = spec.memory_bytes;
    }
}
