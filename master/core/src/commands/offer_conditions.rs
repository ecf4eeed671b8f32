//! What a framework wants to be offered while it states no demand. Said whole, with the subscription or
//! later; it never outlives the subscription and holds of offers made from then on.

use crate::master::Master;
use proffer_allocator::Delta;
use proffer_types::{FrameworkId, OfferConditions, Refusal, RefusalCode, RoleName};
use std::collections::BTreeSet;

impl Master {
    pub(crate) fn offer_conditions(
        &mut self,
        framework: FrameworkId,
        conditions: &OfferConditions,
    ) {
        let checked = self.check(|master| {
            let entry = master.frameworks.get(framework).ok_or_else(|| {
                Refusal::new(RefusalCode::Removed, "framework", "the framework is not known")
            })?;
            check_conditions(&entry.record.info.roles, conditions)
        });
        match checked {
            Ok(()) => self.set_conditions(framework, conditions),
            Err(refusal) => self.refuse_call(framework, "offer_conditions", refusal),
        }
    }

    /// Tells the allocator what differs from before.
    pub(crate) fn set_conditions(&mut self, framework: FrameworkId, conditions: &OfferConditions) {
        let Some(entry) = self.frameworks.get_mut(framework) else { return };
        let before = std::mem::replace(&mut entry.conditions, conditions.clone());
        let roles: BTreeSet<&RoleName> = before.keys().chain(conditions.keys()).collect();
        let changed: Vec<RoleName> = roles
            .into_iter()
            .filter(|role| before.get(*role) != conditions.get(*role))
            .cloned()
            .collect();
        for role in changed {
            let condition = conditions.get(&role).cloned().unwrap_or_default();
            self.tell_allocator(Delta::OfferCondition { framework, role, condition });
        }
    }
}

/// Checks conditions of a framework that takes part in `roles`.
pub(crate) fn check_conditions(
    roles: &BTreeSet<RoleName>,
    conditions: &OfferConditions,
) -> Result<(), Refusal> {
    for (index, (role, condition)) in conditions.iter().enumerate() {
        let within = |refusal: Refusal| refusal.within(format!("conditions[{index}]"));
        if !roles.contains(role) {
            return Err(within(Refusal::new(
                RefusalCode::InvalidArgument,
                "role",
                format!("the framework has not subscribed with role {role}"),
            )));
        }
        condition.validate().map_err(within)?;
    }
    Ok(())
}
