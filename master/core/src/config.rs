//! What an operator may set of the master's decisions. All spans; no defaults hide elsewhere.

use proffer_allocator::Policy;
use proffer_types::DurationMs;
use proffer_types::state_store::StateBudget;
use serde::{Deserialize, Serialize};

/// Settings of the core. Part of a recorded run: the same settings and commands give the same state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Config {
    /// An agent not heard of for so long is unreachable.
    pub agent_unreachable_after: DurationMs,
    /// After a failover, an agent that has not registered for so long is unreachable.
    pub agent_awaited_for: DurationMs,
    /// Agents send something at least this often.
    pub agent_heartbeat: DurationMs,
    /// A framework stream not heard of for so long is closed.
    pub framework_silent_after: DurationMs,
    /// Frameworks send something at least this often.
    pub framework_heartbeat: DurationMs,
    /// How long the next replica waits for the active one to come back.
    pub standby_grace: DurationMs,
    /// How long an offer is held.
    pub offer_ttl: DurationMs,
    /// Most offers that one framework holds at a time.
    pub offers_held_max: u32,
    /// A framework that is asked to give up tasks without a deadline, and does not answer for so long,
    /// loses them.
    pub inverse_offer_timeout: DurationMs,
    /// Longest grant to agents, however long the lease is confirmed (K8).
    pub grant_max: DurationMs,
    /// Statuses of one framework at one agent that may be unacknowledged before it may launch
    /// nothing more there (K15).
    pub unacknowledged_max: u64,
    /// Budget of each framework's state store.
    pub state_budget: StateBudget,
    /// How often occupancy records are looked through for pairs that ended.
    pub occupancy_sweep: DurationMs,
    /// Seeds the capability keys of agents and frameworks. Chosen by the shell at each start (K20).
    pub capability_secret: Vec<u8>,
    /// What counts for shares, and who may use what is scarce.
    pub policy: Policy,
    /// Tasks that are to start together on several agents and are not all prepared after so long never
    /// start (K3).
    pub gang_prepare_timeout: DurationMs,
    /// For whom tasks of others are ended.
    pub preemption: Preemption,
}

/// What tasks of others are ended for (K11).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreemptFor {
    /// Nothing.
    Nothing,
    /// What a role is guaranteed and lacks.
    Guarantees,
    /// That, and higher priorities within one top role.
    #[default]
    All,
}

/// When tasks of others are ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Preemption {
    /// What for.
    pub preempt_for: PreemptFor,
    /// A demand that finds no place for so long is made one.
    pub after: DurationMs,
    /// How long victims have, and their frameworks to free as much in another way.
    pub grace: DurationMs,
}

impl Default for Preemption {
    fn default() -> Self {
        Self {
            preempt_for: PreemptFor::All,
            after: DurationMs::from_secs(10),
            grace: DurationMs::from_secs(30),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            agent_unreachable_after: DurationMs::from_secs(15),
            agent_awaited_for: DurationMs::from_secs(60),
            agent_heartbeat: DurationMs::from_secs(3),
            framework_silent_after: DurationMs::from_secs(15),
            framework_heartbeat: DurationMs::from_secs(5),
            standby_grace: DurationMs::from_secs(2),
            offer_ttl: DurationMs::from_secs(30),
            offers_held_max: 1000,
            inverse_offer_timeout: DurationMs::from_secs(300),
            grant_max: DurationMs::from_secs(30),
            unacknowledged_max: 10_000,
            state_budget: StateBudget::default(),
            occupancy_sweep: DurationMs::from_secs(60),
            capability_secret: Vec::new(),
            policy: Policy::default(),
            gang_prepare_timeout: DurationMs::from_secs(60),
            preemption: Preemption::default(),
        }
    }
}
