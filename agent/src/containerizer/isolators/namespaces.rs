//! Owns the namespaces: own processes, mounts, message queues and host name. The network is the
//! machine's.

use super::{Place, Plan, refuse};
use crate::containerizer::{ContainerResult, ContainerSpec, IsolationLevel};

pub(super) fn plan(spec: &ContainerSpec, place: &Place, plan: &mut Plan) -> ContainerResult<()> {
    plan.launch.isolate = place.level == IsolationLevel::Full;
    if let Some(hostname) = &spec.hostname {
        if !plan.launch.isolate {
            return Err(refuse(spec, "a host name", "it needs namespaces"));
        }
        plan.launch.hostname.clone_from(hostname);
    }
    Ok(())
}
