//! Takes a change in. Each arm checks first and changes afterwards, so an error leaves no trace.

use crate::delta::{Delta, DeltaError};
use crate::state::Allocator;

impl Allocator {
    /// Notes a change. Costs what the change touches; decisions wait for [`Allocator::offers`].
    ///
    /// # Errors
    /// A [`DeltaError`] when the change contradicts what is known; nothing was changed then.
    pub fn on_change(&mut self, delta: &Delta) -> Result<(), DeltaError> {
        self.lending.is_stale = true;
        match delta {
            Delta::AgentAdded { agent, name, resources, attributes, usable } => {
                self.add_agent(*agent, name, resources, attributes, *usable)
            }
            Delta::AgentChanged { agent, resources, attributes } => {
                self.change_agent(*agent, resources, attributes)
            }
            Delta::AgentConverted { agent, from, to } => self.convert_agent(*agent, from, to),
            Delta::AgentRemoved { agent } => self.remove_agent(*agent),
            Delta::AgentUsable { agent, usable } => self.set_agent_usable(*agent, *usable),
            Delta::PolicySet { policy } => {
                self.set_policy(policy);
                Ok(())
            }
            Delta::RoleSet { role, config } => {
                self.fair.set_weight(role, config.weight_milli.max(1));
                self.set_quota(role, config);
                Ok(())
            }
            Delta::FrameworkAdded { framework, roles } => {
                self.add_framework(*framework, roles);
                Ok(())
            }
            Delta::FrameworkRemoved { framework } => self.remove_framework(*framework),
            Delta::FrameworkActive { framework, active } => {
                self.set_framework_active(*framework, *active)
            }
            Delta::Demand { framework, groups } => self.set_demand(*framework, groups.as_deref()),
            Delta::Suppressed { framework, role, suppressed } => {
                self.set_suppressed(*framework, role, *suppressed)
            }
            Delta::OfferCondition { framework, role, condition } => {
                self.set_condition(*framework, role, condition)
            }
            Delta::Filtered { framework, role, agent, resources, until } => {
                self.add_filter((*framework, role), *agent, resources, *until)
            }
            Delta::FiltersCleared { framework, roles } => self.clear_filters(*framework, roles),
            Delta::Allocated(held) => self.allocate(held),
            Delta::Released(held) => self.release(held),
            Delta::OutOfReach { framework, group, tasks } => {
                self.set_out_of_reach(*framework, group, *tasks);
                Ok(())
            }
            Delta::Offered(decision) => self.mirror(decision),
            Delta::Returned { lease } => self.end_lease(*lease),
            Delta::Claimed { agent, claim } => self.claim(*agent, claim),
            Delta::ClaimEnded { claim } => self.end_claim(*claim),
            Delta::ClaimsHold => {
                self.grow_claims();
                Ok(())
            }
        }
    }
}
