//! What views show of the allocator's books.

use crate::state::Allocator;
use proffer_types::{AgentId, FrameworkId, GroupName, ResourceName, Resources, RoleName};

/// A limit without room for what was asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "role {role} may have {resource} {}, and it and all below it use, hold or reserve {}",
    resource.display_scalar(*limit), resource.display_scalar(*consumed)
)]
pub struct BeyondLimit {
    /// Whose limit.
    pub role: RoleName,
    /// Of what.
    pub resource: ResourceName,
    /// What counts against it now.
    pub consumed: u64,
    /// The limit.
    pub limit: u64,
}

impl Allocator {
    /// `target − leases − launches` of a group (K10); 0 when nothing is stated.
    #[must_use]
    pub fn unmet(&self, framework: FrameworkId, group: &GroupName) -> u32 {
        let groups = self.frameworks.get(&framework).map(|entry| &entry.groups);
        groups.and_then(|groups| groups.get(group)).map_or(0, |group| self.groups[*group].unmet())
    }

    /// Resources of an agent that neither tasks nor leases hold and that somebody may have.
    #[must_use]
    pub fn free(&self, agent: AgentId) -> Resources {
        let Some(slot) = self.slots.get(&agent) else { return Resources::new() };
        let agent = &self.agents[*slot];
        let mut kept = agent.sets_free().entries().to_vec();
        kept.extend(agent.reserved_free().iter().chain(agent.revocable_free()).cloned());
        self.dimensions.join(&agent.free, &agent.free_spans(), &kept)
    }

    /// Scalars that a role and all below it hold, leases included.
    #[must_use]
    pub fn allocated(&self, role: &RoleName) -> Resources {
        let charged = self.fair.role(role).map(|(charged, _)| charged.clone());
        self.dimensions.join(&charged.unwrap_or_default(), &[], &[])
    }

    /// Scalars of all agents together.
    #[must_use]
    pub fn total(&self) -> Resources {
        self.dimensions.join(self.fair.totals(), &[], &[])
    }

    /// Scalars that count against the limits and guarantees of a role: used, leased or reserved by it
    /// and all below it.
    #[must_use]
    pub fn consumed(&self, role: &RoleName) -> Resources {
        self.dimensions.join(&self.fair.consumed_and_owed(role).0, &[], &[])
    }

    /// The role at or above `role`, and the resource, whose limit has no room for `more` scalars; `None`
    /// when all have.
    #[must_use]
    pub fn beyond_limit(&self, role: &RoleName, more: &Resources) -> Option<BeyondLimit> {
        std::iter::successors(Some(role.clone()), RoleName::parent).find_map(|role| {
            let (_, limits) = self.fair.limits_of(self.fair.node_of(&role)?)?;
            limits.into_iter().find_map(|limited| {
                let name = self.dimensions.name(limited.dimension);
                let wanted = more.scalar(name);
                let is_beyond = limited.consumed.saturating_add(wanted) > limited.limit;
                (wanted > 0 && is_beyond).then(|| BeyondLimit {
                    role: role.clone(),
                    resource: name.clone(),
                    consumed: limited.consumed,
                    limit: limited.limit,
                })
            })
        })
    }

    /// Scalars that a role and all below it are owed: what their guarantees have beyond what they
    /// consume.
    #[must_use]
    pub fn owed(&self, role: &RoleName) -> Resources {
        self.dimensions.join(&self.fair.consumed_and_owed(role).1, &[], &[])
    }

    /// A role's dominant share in millionths of the cluster, before its weight, leases included.
    #[must_use]
    pub fn dominant_share_ppm(&self, role: &RoleName) -> u64 {
        self.fair.role(role).map_or(0, |(_, ppm)| ppm)
    }

    /// As [`Allocator::dominant_share_ppm`], of one framework in a role.
    #[must_use]
    pub fn framework_share_ppm(&self, framework: FrameworkId, role: &RoleName) -> u64 {
        let clients = self.frameworks.get(&framework).map(|entry| &entry.clients);
        let client = clients.and_then(|clients| clients.get(role));
        client.map_or(0, |client| self.fair.client(self.clients[*client].node).1)
    }
}
