//! Owns what the task may do: its user and the capabilities left to user 0.

use super::{Place, Plan, refuse};
use crate::containerizer::{ContainerResult, ContainerSpec, IsolationLevel};

/// Docker's default set without two: NET_RAW (forged packets towards neighbours) and MKNOD (there
/// is no device control group, so the nodes in `/dev` are all the devices there are).
const KEPT: [u32; 12] = [
    0,  // CHOWN
    1,  // DAC_OVERRIDE
    3,  // FOWNER
    4,  // FSETID
    5,  // KILL
    6,  // SETGID
    7,  // SETUID
    8,  // SETPCAP
    10, // NET_BIND_SERVICE
    18, // SYS_CHROOT
    29, // AUDIT_WRITE
    31, // SETFCAP
];

pub(super) fn plan(spec: &ContainerSpec, place: &Place, plan: &mut Plan) -> ContainerResult<()> {
    let user = &spec.user;
    if place.may_switch_user {
        plan.launch.set_user = true;
    } else if user.uid != nix::unistd::geteuid().as_raw() {
        let what = format!("user {}", user.uid);
        return Err(refuse(spec, &what, "this agent does not run as root"));
    }
    plan.launch.user = Some(proffer_supervisor::wire::User {
        uid: user.uid,
        gid: user.gid,
        supplementary_gids: user.supplementary_gids.clone(),
    });
    if place.level == IsolationLevel::Full {
        plan.launch.capabilities = KEPT.to_vec();
    }
    Ok(())
}
