//! What an agent says of itself beyond resources, and the constraints a framework puts on it.

use crate::pattern::Pattern;
use crate::refusal::{Refusal, RefusalCode};
use crate::resources::Ranges;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One attribute's value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribute {
    /// Free text.
    Text(String),
    /// A number in thousandths.
    Scalar(u64),
    /// Numbers.
    Ranges(Ranges),
    /// Words.
    Set(BTreeSet<String>),
}

/// Attributes by name. `zone` and `region` are the fault domain; `hostname` is always there.
pub type Attributes = BTreeMap<String, Attribute>;

/// What must hold of one attribute.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConstraintRule {
    /// The agent has the attribute.
    Exists,
    /// The agent does not have it.
    Absent,
    /// Its text is one of these.
    In(BTreeSet<String>),
    /// Its text is none of these, or it is absent.
    NotIn(BTreeSet<String>),
    /// All of its text matches.
    Matches(Pattern),
    /// Its text does not match, or it is absent.
    NotMatches(Pattern),
}

/// A rule on one attribute. All constraints of a group must hold.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Constraint {
    /// The attribute's name.
    pub attribute: String,
    /// What must hold.
    pub rule: ConstraintRule,
}

impl Constraint {
    /// Whether an agent with `attributes` passes. Only text is compared; other kinds count as
    /// present without a text.
    #[must_use]
    pub fn holds(&self, attributes: &Attributes) -> bool {
        let value = attributes.get(&self.attribute);
        let text = match value {
            Some(Attribute::Text(text)) => Some(text),
            Some(Attribute::Scalar(_) | Attribute::Ranges(_) | Attribute::Set(_)) | None => None,
        };
        match &self.rule {
            ConstraintRule::Exists => value.is_some(),
            ConstraintRule::Absent => value.is_none(),
            ConstraintRule::In(allowed) => text.is_some_and(|text| allowed.contains(text)),
            ConstraintRule::NotIn(barred) => !text.is_some_and(|text| barred.contains(text)),
            ConstraintRule::Matches(pattern) => text.is_some_and(|text| pattern.matches(text)),
            ConstraintRule::NotMatches(pattern) => !text.is_some_and(|text| pattern.matches(text)),
        }
    }

    /// Its pattern, if it has one.
    #[must_use]
    pub fn pattern(&self) -> Option<&Pattern> {
        match &self.rule {
            ConstraintRule::Matches(pattern) | ConstraintRule::NotMatches(pattern) => Some(pattern),
            ConstraintRule::Exists
            | ConstraintRule::Absent
            | ConstraintRule::In(_)
            | ConstraintRule::NotIn(_) => None,
        }
    }

    /// The rule as people read it: `zone in (a, b)`.
    #[must_use]
    pub fn describe(&self) -> String {
        let list = |words: &BTreeSet<String>| words.iter().cloned().collect::<Vec<_>>().join(", ");
        match &self.rule {
            ConstraintRule::Exists => format!("{} exists", self.attribute),
            ConstraintRule::Absent => format!("{} absent", self.attribute),
            ConstraintRule::In(words) => format!("{} in ({})", self.attribute, list(words)),
            ConstraintRule::NotIn(words) => format!("{} not in ({})", self.attribute, list(words)),
            ConstraintRule::Matches(pattern) => format!("{} matches {pattern}", self.attribute),
            ConstraintRule::NotMatches(pattern) => {
                format!("{} does not match {pattern}", self.attribute)
            }
        }
    }
}

/// Reads `zone:a;rack:r1;disks:{ssd,hdd}`.
///
/// # Errors
/// A refusal that names the part.
pub fn parse_attributes(text: &str) -> Result<Attributes, Refusal> {
    let mut attributes = Attributes::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) =
            part.split_once(':').filter(|(name, _)| !name.trim().is_empty()).ok_or_else(|| {
                Refusal::new(
                    RefusalCode::InvalidArgument,
                    "attributes",
                    format!("{:?} is not of the form NAME:VALUE", crate::refusal::excerpt(part)),
                )
            })?;
        let value = value.trim();
        let value = match value.strip_prefix('{').and_then(|v| v.strip_suffix('}')) {
            Some(items) => Attribute::Set(
                items
                    .split(',')
                    .map(str::trim)
                    .filter(|i| !i.is_empty())
                    .map(str::to_owned)
                    .collect(),
            ),
            None => Attribute::Text(value.to_owned()),
        };
        attributes.insert(name.trim().to_owned(), value);
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_say_what_absence_means() {
        let attributes = parse_attributes("zone:a;disks:{ssd}").expect("valid");
        let constraint =
            |attribute: &str, rule| Constraint { attribute: attribute.to_owned(), rule };
        let words = |w: &[&str]| w.iter().map(|s| (*s).to_owned()).collect::<BTreeSet<_>>();
        assert!(constraint("zone", ConstraintRule::In(words(&["a", "b"]))).holds(&attributes));
        assert!(!constraint("zone", ConstraintRule::NotIn(words(&["a"]))).holds(&attributes));
        assert!(constraint("rack", ConstraintRule::NotIn(words(&["a"]))).holds(&attributes));
        assert!(!constraint("disks", ConstraintRule::In(words(&["ssd"]))).holds(&attributes));
        assert!(constraint("disks", ConstraintRule::Exists).holds(&attributes));
        assert!(constraint("rack", ConstraintRule::Absent).holds(&attributes));
        let pattern = || Pattern::new("[ab]").expect("valid");
        assert!(constraint("zone", ConstraintRule::Matches(pattern())).holds(&attributes));
        assert!(!constraint("zone", ConstraintRule::NotMatches(pattern())).holds(&attributes));
        assert!(!constraint("disks", ConstraintRule::Matches(pattern())).holds(&attributes));
        assert!(constraint("rack", ConstraintRule::NotMatches(pattern())).holds(&attributes));
    }
}
