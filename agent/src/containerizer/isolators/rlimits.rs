//! Owns the process limits (`setrlimit`), which work at every level.

use proffer_supervisor::wire;

use super::Plan;
use crate::containerizer::{ContainerSpec, RlimitResource};

pub(super) fn plan(spec: &ContainerSpec, plan: &mut Plan) {
    let unlimited = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
    plan.launch.rlimits = spec
        .rlimits
        .iter()
        .map(|limit| wire::Rlimit {
            resource: number(limit.resource),
            soft: unlimited(limit.soft),
            hard: unlimited(limit.hard),
        })
        .collect();
}

/// The kernel's number, the same on every architecture we build for.
fn number(resource: RlimitResource) -> u32 {
    match resource {
        RlimitResource::Cpu => 0,
        RlimitResource::Fsize => 1,
        RlimitResource::Data => 2,
        RlimitResource::Stack => 3,
        RlimitResource::Core => 4,
        RlimitResource::Nproc => 6,
        RlimitResource::Nofile => 7,
        RlimitResource::Memlock => 8,
        RlimitResource::As => 9,
        RlimitResource::Sigpending => 11,
        RlimitResource::Msgqueue => 12,
        RlimitResource::Nice => 13,
        RlimitResource::Rtprio => 14,
        RlimitResource::Rttime => 15,
    }
}
