//! What a framework that states no demand wants to be offered: on which agents, and how much at least.

use crate::attributes::{Attributes, Constraint};
use crate::ids::RoleName;
use crate::quantities::Quantities;
use crate::refusal::{Refusal, RefusalCode};
use crate::revocable::RevocableUse;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// By role; a role that is not named takes whatever there is.
pub type OfferConditions = BTreeMap<RoleName, OfferCondition>;

/// The condition of one role.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
pub struct OfferCondition {
    /// All rules of at least one of these lists hold of an agent; none: any agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub any_of: Vec<Vec<Constraint>>,
    /// An offer holds all of at least one of these, what is reserved included; none: as much as nobody
    /// is offered less than.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub minimum: Vec<Quantities>,
    /// Whether it is offered what may be taken back at any time.
    #[serde(default, skip_serializing_if = "RevocableUse::is_default")]
    pub revocable: RevocableUse,
}

impl OfferCondition {
    /// Most lists of rules: as many as somebody writes down by hand, with room to spare.
    pub const LISTS_MAX: usize = 32;
    /// Most rules in one list.
    pub const RULES_MAX: usize = 32;
    /// Most minima.
    pub const MINIMA_MAX: usize = 16;

    /// Whether it asks for nothing.
    #[must_use]
    pub fn is_trivial(&self) -> bool {
        self.any_of.is_empty() && self.minimum.is_empty() && self.revocable.is_default()
    }

    /// Whether an agent with `attributes` will do.
    #[must_use]
    pub fn admits(&self, attributes: &Attributes) -> bool {
        let all = |rules: &Vec<Constraint>| rules.iter().all(|rule| rule.holds(attributes));
        self.any_of.is_empty() || self.any_of.iter().any(all)
    }

    /// Checks it alone.
    ///
    /// # Errors
    /// A refusal that names the field.
    pub fn validate(&self) -> Result<(), Refusal> {
        let bounded = |count: usize, max: usize, field: String| {
            if count <= max {
                return Ok(());
            }
            let message = format!("has {count} entries, more than {max}");
            Err(Refusal::new(RefusalCode::BudgetExceeded, field, message))
        };
        let empty = |field: String, message: &str| {
            Err(Refusal::new(RefusalCode::InvalidArgument, field, message))
        };
        bounded(self.any_of.len(), Self::LISTS_MAX, "any_of".to_owned())?;
        bounded(self.minimum.len(), Self::MINIMA_MAX, "minimum".to_owned())?;
        for (index, rules) in self.any_of.iter().enumerate() {
            bounded(rules.len(), Self::RULES_MAX, format!("any_of[{index}].constraints"))?;
            if rules.is_empty() {
                let message = "is empty: it holds of any agent, so the other lists mean nothing";
                return empty(format!("any_of[{index}].constraints"), message);
            }
        }
        for (index, minimum) in self.minimum.iter().enumerate() {
            if minimum.is_empty() || minimum.iter().any(|(_, value)| value == 0) {
                let message = "names nothing, or nothing of something";
                return empty(format!("minimum[{index}].resources"), message);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::{ConstraintRule, parse_attributes};
    use std::collections::BTreeSet;

    fn zone(zone: &str) -> Constraint {
        let rule = ConstraintRule::In(BTreeSet::from([zone.to_owned()]));
        Constraint { attribute: "zone".to_owned(), rule }
    }

    #[test]
    fn any_list_will_do_and_all_of_it() {
        let ssd = Constraint { attribute: "ssd".to_owned(), rule: ConstraintRule::Exists };
        let any_of = vec![vec![zone("a"), ssd], vec![zone("b")]];
        let condition = OfferCondition { any_of, ..OfferCondition::default() };
        let admits = |text: &str| condition.admits(&parse_attributes(text).expect("valid"));
        assert!(admits("zone:a;ssd:1") && admits("zone:b"));
        assert!(!admits("zone:a") && !admits("ssd:1"));
        assert!(OfferCondition::default().is_trivial());
        assert!(OfferCondition::default().admits(&Attributes::new()));
    }

    #[test]
    fn what_means_nothing_is_refused_by_name() {
        let field = |any_of, minimum| {
            let condition = OfferCondition { any_of, minimum, ..OfferCondition::default() };
            condition.validate().expect_err("refused").field
        };
        assert_eq!(field(vec![vec![zone("a")], Vec::new()], Vec::new()), "any_of[1].constraints");
        assert_eq!(field(vec![vec![zone("a")]; 33], Vec::new()), "any_of");
        assert_eq!(field(vec![vec![zone("a"); 33]], Vec::new()), "any_of[0].constraints");
        let minimum = |text: &str| text.parse::<Quantities>().expect("valid");
        assert_eq!(
            field(Vec::new(), vec![minimum("cpus:1"), minimum("cpus:1;gpus:0")]),
            "minimum[1].resources"
        );
        assert_eq!(field(Vec::new(), vec![minimum("cpus:1"); 17]), "minimum");
    }
}
