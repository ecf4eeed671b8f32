//! What the allocator is told and what it answers: plain data, nothing else.

use crate::policy::Policy;
use proffer_types::attributes::Attributes;
use proffer_types::demand::DemandGroup;
use proffer_types::role::RoleConfig;
use proffer_types::{
    AgentId, AgentName, Claim, ClaimId, FrameworkId, GroupName, Monotonic, OfferCondition,
    Resources, RoleName,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// A lease made by one allocator, numbered from 1. The master uses the number as the sequence of
/// the offer's id.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LeaseId(pub u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease {}", self.0)
    }
}

/// What tasks hold: charged to a framework in a role, on an agent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Use {
    /// Where.
    pub agent: AgentId,
    /// Whose.
    pub framework: FrameworkId,
    /// The role that pays.
    pub role: RoleName,
    /// How much, all tasks together.
    pub resources: Resources,
    /// The demand group that the tasks serve.
    pub group: Option<GroupName>,
    /// How many tasks of that group; counts against its target (K10).
    pub tasks: u32,
}

/// A lease: what one framework may use on one agent. Booked as allocated from the moment it is
/// decided.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// Its number.
    pub lease: LeaseId,
    /// To whom.
    pub framework: FrameworkId,
    /// The role that pays.
    pub role: RoleName,
    /// Where.
    pub agent: AgentId,
    /// What; ports are picked.
    pub resources: Resources,
    /// The demand group it answers; `None` for a classical offer.
    pub group: Option<GroupName>,
    /// How many tasks of the group it holds; 1 for a classical offer.
    pub count: u32,
    /// The claim that it answers, and that ends with it.
    pub claim: Option<ClaimId>,
}

/// One change of what the allocator knows. A second instance that is fed the same changes, and
/// the first one's decisions as [`Delta::Offered`], knows the same.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delta {
    /// An agent that is not known yet. Uses by its tasks follow as [`Delta::Allocated`].
    AgentAdded {
        /// Which.
        agent: AgentId,
        /// Its name, for explanations.
        name: AgentName,
        /// All it has.
        resources: Resources,
        /// What it is.
        attributes: Attributes,
        /// Whether new leases may be made on it.
        usable: bool,
    },
    /// What an agent has or is has changed. New attributes clear all filters on it.
    AgentChanged {
        /// Which.
        agent: AgentId,
        /// All it has now.
        resources: Resources,
        /// What it is now.
        attributes: Attributes,
    },
    /// Part of what an agent has became something else: it was reserved, made a volume, or given up.
    /// Costs what is named, not what the agent has.
    AgentConverted {
        /// Which.
        agent: AgentId,
        /// What it no longer has.
        from: Resources,
        /// What it has instead.
        to: Resources,
    },
    /// An agent is no longer counted. Leases, uses and claims on it end with it: they are neither
    /// returned nor released nor ended afterwards.
    AgentRemoved {
        /// Which.
        agent: AgentId,
    },
    /// Whether new leases may be made on it. Leases and uses stay.
    AgentUsable {
        /// Which.
        agent: AgentId,
        /// New leases may be made.
        usable: bool,
    },
    /// What operators decide for the whole cluster.
    PolicySet {
        /// What.
        policy: Policy,
    },
    /// What operators set on a role.
    RoleSet {
        /// Which.
        role: RoleName,
        /// To what.
        config: RoleConfig,
    },
    /// A framework, new or with other roles than before. A new one is inactive, without demand.
    FrameworkAdded {
        /// Which.
        framework: FrameworkId,
        /// The roles it takes part in.
        roles: BTreeSet<RoleName>,
    },
    /// A framework gets nothing any more. What its tasks and leases still hold is charged to its
    /// roles until released or returned.
    FrameworkRemoved {
        /// Which.
        framework: FrameworkId,
    },
    /// Whether it is connected. Going inactive clears its filters; its demand stays until replaced.
    FrameworkActive {
        /// Which.
        framework: FrameworkId,
        /// It is connected.
        active: bool,
    },
    /// The whole of what it wants. `Some(empty)`: nothing now, and no classical offers either.
    /// `None`: it states no demand and takes classical offers.
    Demand {
        /// Whose.
        framework: FrameworkId,
        /// All groups.
        groups: Option<Vec<DemandGroup>>,
    },
    /// Whether a framework wants no offers for a role.
    Suppressed {
        /// Whose.
        framework: FrameworkId,
        /// For which role.
        role: RoleName,
        /// It wants none.
        suppressed: bool,
    },
    /// What a framework wants to be offered for a role while it states no demand.
    OfferCondition {
        /// Whose.
        framework: FrameworkId,
        /// For which role.
        role: RoleName,
        /// In place of the one before.
        condition: OfferCondition,
    },
    /// A refusal: nothing that is contained in `resources` is offered again until then.
    Filtered {
        /// By whom.
        framework: FrameworkId,
        /// For which role.
        role: RoleName,
        /// Where.
        agent: AgentId,
        /// What was refused.
        resources: Resources,
        /// Up to, not including.
        until: Monotonic,
    },
    /// All refusals of a framework are void.
    FiltersCleared {
        /// Whose.
        framework: FrameworkId,
        /// For these roles; empty: all.
        roles: BTreeSet<RoleName>,
    },
    /// Tasks hold something from now on.
    Allocated(Use),
    /// Tasks no longer hold it.
    Released(Use),
    /// How many tasks of a group are on agents that are not counted, because they are out of reach:
    /// they hold nothing here, and count against the group's target all the same (K10).
    OutOfReach {
        /// Whose.
        framework: FrameworkId,
        /// Which group they serve.
        group: GroupName,
        /// All of them together.
        tasks: u32,
    },
    /// A lease that another instance decided; never sent back to the one that decided it.
    Offered(Decision),
    /// Room is to be made for one task of a group on an agent (K11).
    Claimed {
        /// Where.
        agent: AgentId,
        /// For what.
        claim: Claim,
    },
    /// Claims hold what has become free for them. Told before each turn while there are any, when all uses
    /// that follow from leases that ended are told.
    ClaimsHold,
    /// It is not, any more. One that was answered has ended by that.
    ClaimEnded {
        /// Which.
        claim: ClaimId,
    },
    /// A lease has ended: accepted (uses follow as [`Delta::Allocated`] in the same transition),
    /// declined, expired or rescinded.
    Returned {
        /// Which.
        lease: LeaseId,
    },
}

/// What one call of [`crate::Allocator::offers`] has decided. All of it is booked already.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Turn {
    /// New leases, in the order of their decision.
    pub decisions: Vec<Decision>,
    /// Classical leases to take back, because demand below its share needs what they hold (K10).
    /// The caller answers with [`Delta::Returned`].
    pub rescinds: Vec<LeaseId>,
    /// Leases to take back, because a limit was set below what is consumed. Answered likewise.
    pub beyond_limits: Vec<LeaseId>,
    /// Steps spent.
    pub steps_used: u64,
    /// The budget ended before the work did: call again.
    pub more: bool,
}

/// A change that contradicts what the allocator knows. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeltaError {
    /// The agent was never added or was removed.
    #[error("agent {0} is not known to the allocator")]
    UnknownAgent(AgentId),
    /// The agent was added before.
    #[error("agent {0} is known to the allocator already")]
    AgentExists(AgentId),
    /// The framework was never added or was removed.
    #[error("framework {0} is not known to the allocator")]
    UnknownFramework(FrameworkId),
    /// The lease was never made or has ended.
    #[error("{0} is not held")]
    UnknownLease(LeaseId),
    /// There is a claim of that id already.
    #[error("claim {0} is known to the allocator already")]
    ClaimExists(ClaimId),
    /// The claim was never made or has ended.
    #[error("claim {0} is not known to the allocator")]
    UnknownClaim(ClaimId),
    /// A lease of that number is held already.
    #[error("{0} is held already")]
    LeaseExists(LeaseId),
    /// Sums over the cluster would pass 2^64.
    #[error("resources of agent {0} are too much to be counted")]
    TooMuch(AgentId),
    /// What was to become something else is not there, or does not make room for it.
    #[error("on agent {agent}, {from} cannot become {to}")]
    NotConverted {
        /// On which agent.
        agent: AgentId,
        /// What was to go.
        from: Resources,
        /// What was to come.
        to: Resources,
    },
    /// More is given back than is held.
    #[error("{framework} does not hold {resources} as {role} on {agent}")]
    NotHeld {
        /// Who.
        framework: FrameworkId,
        /// As which role.
        role: RoleName,
        /// Where.
        agent: AgentId,
        /// What.
        resources: Resources,
    },
}
