//! `AddAndUpdateSlave` and `AllocatorBacklog`: what agents and frameworks cost as they come.

use crate::cells::Cell;
use crate::cluster::{Cluster, resources, roles_of, standard_agent};
use crate::measure::{Report, timed};
use proffer_allocator::Delta;
use proffer_types::resources::{Quantity, Resource, ResourceKey, ResourceName};
use proffer_types::{AgentId, FrameworkId};
use std::collections::BTreeSet;
use std::io::Result;

/// Frameworks, then agents that are partly used, then ten revocable cpus more on each.
pub(crate) fn add_and_update(cell: &Cell, report: &Report) -> Result<()> {
    let mut cluster = Cluster::new(roles_of(cell.frameworks, "*", cell.own_roles));
    let has = resources("cpus:2;mem:1024MB;disk:4096MB;ports:[31000-32000]");
    let used = resources(
        "cpus:1;mem:128MB;disk:1024MB;\
         ports:[31126-31510,31512-31623,31810-31852,31854-31964]",
    );
    let (cost, ()) = timed(|| {
        cluster.add_frameworks_paused();
        cluster.accept_revocable();
        cluster.settle();
    });
    report.section("add_frameworks", cost, cell.frameworks)?;
    let (cost, ()) = timed(|| {
        for id in 0..cell.agents {
            cluster.add_agent(id, &has, Some(used.clone()), None);
        }
        cluster.settle();
    });
    report.section("add_agents", cost, cell.agents)?;
    let made = cluster.held.len() as u64;
    report.count("offers_while_adding", made)?;
    report.must(made == cell.agents, "each agent's rest is offered once", &made)?;
    let mut more = has.clone();
    let key = ResourceKey { revocable: true, ..ResourceKey::plain(ResourceName::Cpus) };
    more.insert(Resource { key, quantity: Quantity::Scalar(10_000) }).expect("small numbers");
    let (cost, ()) = timed(|| {
        for id in 0..cell.agents {
            let (agent, resources) = (AgentId(id), more.clone());
            let attributes = Default::default();
            cluster.tell(&Delta::AgentChanged { agent, resources, attributes });
            cluster.changed();
        }
        cluster.settle();
    });
    report.section("update_agents", cost, cell.agents)?;
    let made = cluster.held.len() as u64 - made;
    report.count("offers_while_updating", made)?;
    report.must(made == cell.agents, "ten revocable cpus of each agent are offered", &made)?;
    report.peak_memory()
}

/// Frameworks, then unused agents, then one revive by each framework when all is on offer.
pub(crate) fn backlog(cell: &Cell, report: &Report) -> Result<()> {
    let mut cluster = Cluster::new(roles_of(cell.frameworks, "*", cell.own_roles));
    let (cost, ()) = timed(|| cluster.add_frameworks());
    report.section("add_frameworks", cost, cell.frameworks)?;
    let (has, before) = (standard_agent(), cluster.turns);
    let (cost, ()) = timed(|| {
        for id in 0..cell.agents {
            cluster.add_agent(id, &has, None, None);
        }
        cluster.settle();
    });
    report.section("add_agents", cost, cell.agents)?;
    report.count("turns_while_adding", cluster.turns - before)?;
    let made = cluster.held.len() as u64;
    report.must(made == cell.agents, "each agent is offered once", &made)?;
    let before = cluster.turns;
    let (cost, made) = timed(|| {
        for id in 0..cell.frameworks {
            let (framework, role) = (FrameworkId(id), cluster.roles[id as usize].clone());
            let roles = BTreeSet::from([role.clone()]);
            cluster.tell(&Delta::Suppressed { framework, role, suppressed: false });
            cluster.tell(&Delta::FiltersCleared { framework, roles });
            cluster.changed();
        }
        cluster.settle();
        cluster.held.len() as u64 - made
    });
    report.section("revives", cost, cell.frameworks)?;
    report.count("turns_while_reviving", cluster.turns - before)?;
    report.must(made == 0, "all is on offer already", &made)?;
    report.peak_memory()
}
