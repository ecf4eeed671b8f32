//! `Metrics`, `LargeAndSmallQuota` and `NonQuotaVsQuota`: guarantees and limits.

use crate::cells::Cell;
use crate::cluster::{Cluster, resources, role};
use crate::floor::drf_floor;
use crate::measure::{Report, timed, timed_floor};
use proffer_types::{Resources, RoleName};
use std::io::Result;

/// Quota for one role each, frameworks, agents that are cut to fit; then what the master shows of roles.
pub(crate) fn metrics(cell: &Cell, report: &Report) -> Result<()> {
    let roles = (0..cell.frameworks).map(|id| role(&id.to_string())).collect();
    let mut cluster = Cluster::new(roles);
    let quota = resources("cpus:1;mem:512MB;disk:256MB");
    let roles = cluster.roles.clone();
    let (cost, ()) = timed(|| roles.iter().for_each(|role| cluster.set_quota(role, &quota)));
    report.section("set_quota", cost, cell.frameworks)?;
    let (cost, ()) = timed(|| cluster.add_frameworks());
    report.section("add_frameworks", cost, cell.frameworks)?;
    let has = resources("cpus:16;mem:2048MB;disk:1024MB");
    let (cost, ()) = timed(|| {
        for id in 0..cell.agents {
            cluster.add_agent(id, &has, None, None);
        }
        cluster.settle();
    });
    report.section("add_agents", cost, cell.agents)?;
    report.count("offers_while_adding", cluster.held.len() as u64)?;
    // Four quotas fill an agent's memory and disk.
    let satisfied = cell.frameworks <= 4 * cell.agents;
    check_roles(&cluster, report, &roles, &quota, satisfied)?;
    let (cost, shown) = timed(|| {
        let of = |role: &RoleName| {
            let allocator = &cluster.allocator;
            let parts = [allocator.allocated(role), allocator.consumed(role), allocator.owed(role)];
            let named = parts.iter().map(|part| part.entries().len() as u64).sum::<u64>();
            named + allocator.dominant_share_ppm(role)
        };
        roles.iter().map(of).sum::<u64>()
    });
    report.must(shown > 0 || cell.agents == 0, "roles hold something", &shown)?;
    report.section("role_rows", cost, cell.frameworks)?;
    report.note(
        "role_rows: the master has no gauge per role; this reads what its view shows of each role \
         (allocated, consumed, owed, dominant share) from the allocator, without encoding or HTTP. Not to be compared \
         with the original's snapshot over HTTP",
    )?;
    report.peak_memory()
}

/// Every role holds its quota, or at least never more than that.
fn check_roles(
    cluster: &Cluster,
    report: &Report,
    roles: &[RoleName],
    quota: &Resources,
    satisfied: bool,
) -> Result<()> {
    for role in roles {
        let held = cluster.allocator.allocated(role);
        let ok = quota.contains(&held) && (!satisfied || held == *quota);
        if !ok {
            return report.must(false, "each role holds its quota, no more and no less", &held);
        }
    }
    Ok(())
}

/// Small roles of half an agent, large ones of two agents; `frameworks` of both together, six in all to
/// one large.
pub(crate) fn large_and_small_quota(cell: &Cell, report: &Report) -> Result<()> {
    let (large, small) = (cell.frameworks / 6, cell.frameworks - cell.frameworks / 6);
    let names = (0..small).map(|id| format!("small{id}"));
    let names = names.chain((0..large).map(|id| format!("large{id}")));
    let mut cluster = Cluster::new(names.map(|name| role(&name)).collect());
    let has = resources("cpus:2;mem:2048MB;disk:2048MB");
    let (cost, ()) = timed(|| {
        for id in 0..small / 5 + 5 * large {
            cluster.add_agent(id, &has, None, None);
        }
        cluster.settle();
    });
    report.section("add_agents", cost, cell.agents)?;
    let (cost, ()) = timed(|| cluster.add_frameworks_paused());
    report.section("add_frameworks", cost, cell.frameworks)?;
    let small_quota = resources("cpus:1;mem:1024MB;disk:1024MB");
    let large_quota = resources("cpus:4;mem:4096MB;disk:4096MB");
    let (of_small, of_large) = {
        let (left, right) = cluster.roles.split_at(small as usize);
        (left.to_vec(), right.to_vec())
    };
    let (cost, ()) = timed(|| {
        of_small.iter().for_each(|role| cluster.set_quota(role, &small_quota));
        of_large.iter().for_each(|role| cluster.set_quota(role, &large_quota));
    });
    report.section("set_quota", cost, cell.frameworks)?;
    let floor = timed_floor(|| drf_floor(cell.agents, cell.frameworks));
    let (cost, made) = timed(|| cluster.cycle());
    report.section_and_floor("first_cycle", cost, cell.agents, floor)?;
    report.count("offers_in_first_cycle", made)?;
    // Two whole agents for a large role; a third offer where one of them was begun by a small one.
    let range = small + 2 * large..=small + 3 * large;
    report.must(range.contains(&made), "offers are as many as quotas need", &(made, range))?;
    check_roles(&cluster, report, &of_small, &small_quota, true)?;
    check_roles(&cluster, report, &of_large, &large_quota, true)?;
    let (cost, made) = timed(|| cluster.cycle());
    report.section("second_cycle", cost, cell.agents)?;
    report.must(made == 0, "every role is at its limit", &made)?;
    report.peak_memory()
}

/// Two agents and two frameworks a role.
pub(crate) fn non_quota(cell: &Cell, report: &Report) -> Result<()> {
    non_quota_vs_quota(cell, report, None)
}

/// The same where each role is given guarantee and limit of just two agents.
pub(crate) fn whole_agent_quota(cell: &Cell, report: &Report) -> Result<()> {
    non_quota_vs_quota(cell, report, Some(&resources("cpus:4;mem:4096MB;disk:4096MB")))
}

fn non_quota_vs_quota(cell: &Cell, report: &Report, quota: Option<&Resources>) -> Result<()> {
    let own: Vec<RoleName> =
        (0..cell.frameworks / 2).map(|id| role(&format!("role{id}"))).collect();
    let mut cluster =
        Cluster::new(own.iter().flat_map(|role| [role.clone(), role.clone()]).collect());
    let has = resources("cpus:2;mem:2048MB;disk:2048MB");
    let (cost, ()) = timed(|| {
        for id in 0..cell.agents {
            cluster.add_agent(id, &has, None, None);
        }
        cluster.settle();
    });
    report.section("add_agents", cost, cell.agents)?;
    let (cost, ()) = timed(|| cluster.add_frameworks_paused());
    report.section("add_frameworks", cost, cell.frameworks)?;
    if let Some(quota) = quota {
        let (cost, ()) = timed(|| own.iter().for_each(|role| cluster.set_quota(role, quota)));
        report.section("set_quota", cost, own.len() as u64)?;
    }
    let floor = timed_floor(|| drf_floor(cell.agents, cell.frameworks));
    let (cost, made) = timed(|| cluster.cycle());
    report.section_and_floor("first_cycle", cost, cell.agents, floor)?;
    report.must(made == cell.agents, "each agent is offered whole", &made)?;
    let each = resources("cpus:4;mem:4096MB;disk:4096MB");
    check_roles(&cluster, report, &own, &each, true)?;
    let (cost, made) = timed(|| cluster.cycle());
    report.section("second_cycle", cost, cell.agents)?;
    report.must(made == 0, "all is on offer", &made)?;
    report.peak_memory()
}
