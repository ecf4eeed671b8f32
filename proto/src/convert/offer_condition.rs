//! What a framework wants to be offered, by role.

use super::bounds::ENTRIES_MAX;
use super::field::{bounded, invalid, item, list, name};
use super::resources::{check_patterns, quantities_from_pb, quantities_to_pb};
use super::types::revocable_from_pb;
use crate::pb;
use proffer_types::{OfferCondition, OfferConditions, Refusal, RoleName};

pub(super) fn conditions_to_pb(conditions: OfferConditions) -> Vec<pb::OfferCondition> {
    use pb::offer_condition::{All, Minimum};
    let condition = |(role, condition): (RoleName, OfferCondition)| pb::OfferCondition {
        role: role.into(),
        any_of: condition
            .any_of
            .into_iter()
            .map(|rules| All { constraints: rules.into_iter().map(pb::Constraint::from).collect() })
            .collect(),
        minimum: condition
            .minimum
            .into_iter()
            .map(|minimum| Minimum { resources: quantities_to_pb(minimum) })
            .collect(),
        revocable: pb::RevocableUse::from(condition.revocable).into(),
    };
    conditions.into_iter().map(condition).collect()
}

pub(super) fn conditions_from_pb(
    conditions: Vec<pb::OfferCondition>,
) -> Result<OfferConditions, Refusal> {
    const FIELD: &str = "conditions";
    bounded(conditions.len(), FIELD, ENTRIES_MAX)?;
    let lists = conditions.iter().flat_map(|condition| &condition.any_of);
    check_patterns(lists.flat_map(|list| &list.constraints), FIELD)?;
    let mut by_role = OfferConditions::new();
    for (index, condition) in conditions.into_iter().enumerate() {
        let within = |refusal: Refusal| refusal.within(item(FIELD, index));
        let role = name(&condition.role, "role").map_err(within)?;
        let condition = condition_from_pb(condition).map_err(within)?;
        if by_role.insert(role, condition).is_some() {
            return Err(within(invalid("role", "is named twice")));
        }
    }
    Ok(by_role)
}

fn condition_from_pb(condition: pb::OfferCondition) -> Result<OfferCondition, Refusal> {
    bounded(condition.any_of.len(), "any_of", OfferCondition::LISTS_MAX)?;
    bounded(condition.minimum.len(), "minimum", OfferCondition::MINIMA_MAX)?;
    let revocable = revocable_from_pb(condition.revocable)?;
    let mut read = OfferCondition { revocable, ..OfferCondition::default() };
    for (index, rules) in condition.any_of.into_iter().enumerate() {
        let rules = list(rules.constraints, "constraints", OfferCondition::RULES_MAX);
        read.any_of.push(rules.map_err(|refusal| refusal.within(item("any_of", index)))?);
    }
    for (index, minimum) in condition.minimum.into_iter().enumerate() {
        let minimum = quantities_from_pb(minimum.resources, "resources");
        read.minimum.push(minimum.map_err(|refusal| refusal.within(item("minimum", index)))?);
    }
    Ok(read)
}
