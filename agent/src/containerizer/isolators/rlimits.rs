//! Owns the process limits (`setrlimit`), which work at every level.

use proffer_supervisor::wire;

use super::Plan;
use crate::containerizer::{ContainerSpec, RlimitResource};

pub(super) fn plan(spec: &ContainerSpec, plan: &mut Plan) {
    let unlimited = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
    let limits = spec.rlimits.iter().map(|limit| wire::Rlimit {
        resource: number(limit.resource),
        soft: unlimited(limit.soft),
        hard: unlimited(limit.hard),
    });
    let says_files = spec.rlimits.iter().any(|limit| limit.resource == RlimitResource::Nofile);
    plan.launch.rlimits = limits.chain((!says_files).then(open_files)).collect();
}

/// What systemd gives its services, and not what the agent itself has: programs that use `select` break
/// with more than 1024 descriptors, others raise their own limit to the hard one.
fn open_files() -> wire::Rlimit {
    const SOFT: u64 = 1024;
    const HARD: u64 = 524_288;
    let own = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    let hard = own.map_or(SOFT, |(_, hard)| hard.min(HARD));
    let resource = number(RlimitResource::Nofile);
    wire::Rlimit { resource, soft: SOFT.min(hard), hard }
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
