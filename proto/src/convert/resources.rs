//! Resources, attributes and constraints: the first part of types.proto.

use super::bounds::{ENTRIES_MAX, RANGES_MAX, RESOURCES_MAX};
use super::field::{bounded, invalid, item, labels, list, name, optional, optional_name};
use crate::pb;
use proffer_types::attributes::{Attribute, Attributes, Constraint, ConstraintRule};
use proffer_types::resources::{
    Quantity, Ranges, Reservation, Resource, ResourceKey, ResourceName, Resources, Volume,
};
use proffer_types::{Pattern, Quantities, Refusal, RefusalCode, RoleName};
use std::collections::{BTreeMap, BTreeSet};

/// A set of resources as it travels.
#[must_use]
pub fn resources_to_pb(resources: Resources) -> Vec<pb::Resource> {
    Vec::from(resources).into_iter().map(pb::Resource::from).collect()
}

/// Reads a set of resources that stands in `field`.
///
/// # Errors
/// A refusal that names the entry.
pub fn resources_from_pb(entries: Vec<pb::Resource>, field: &str) -> Result<Resources, Refusal> {
    bounded(entries.len(), field, RESOURCES_MAX)?;
    let mut resources = Resources::new();
    for (index, entry) in entries.into_iter().enumerate() {
        Resource::try_from(entry)
            .and_then(|entry| {
                resources.insert(entry).map_err(|error| invalid("quantity", error.to_string()))
            })
            .map_err(|refusal| refusal.within(item(field, index)))?;
    }
    Ok(resources)
}

/// Amounts by name as they travel.
#[must_use]
pub fn quantities_to_pb(quantities: Quantities) -> Vec<pb::Resource> {
    let entry = |(name, value)| Resource {
        key: ResourceKey::plain(name),
        quantity: Quantity::Scalar(value),
    };
    Vec::from(quantities).into_iter().map(entry).map(pb::Resource::from).collect()
}

/// Reads amounts by name that stand in `field`.
///
/// # Errors
/// A refusal that names the entry.
pub fn quantities_from_pb(entries: Vec<pb::Resource>, field: &str) -> Result<Quantities, Refusal> {
    bounded(entries.len(), field, RESOURCES_MAX)?;
    let mut quantities = Quantities::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let within = |refusal: Refusal| refusal.within(item(field, index));
        let Resource { key, quantity } = Resource::try_from(entry).map_err(within)?;
        let Quantity::Scalar(value) = quantity else {
            return Err(within(invalid("quantity", "is a scalar here")));
        };
        if !key.is_plain() {
            return Err(within(invalid("name", "carries a reservation or mark, not allowed here")));
        }
        if !quantities.insert(key.name, value) {
            return Err(within(invalid("name", "is named twice")));
        }
    }
    Ok(quantities)
}

impl From<Resource> for pb::Resource {
    fn from(resource: Resource) -> Self {
        let ResourceKey { name, reservations, volume, shared, revocable, lent } = resource.key;
        let quantity = match resource.quantity {
            Quantity::Scalar(value) => pb::resource::Quantity::Scalar(value),
            Quantity::Ranges(ranges) => pb::resource::Quantity::Ranges(ranges.into()),
            Quantity::Set(items) => pb::resource::Quantity::Set(set_to_pb(items)),
        };
        Self {
            name: name.into(),
            quantity: Some(quantity),
            reservations: reservations.into_iter().map(pb::Reservation::from).collect(),
            volume: volume.map(pb::Volume::from),
            shared,
            revocable,
            lent,
        }
    }
}

impl TryFrom<pb::Resource> for Resource {
    type Error = Refusal;
    fn try_from(resource: pb::Resource) -> Result<Self, Refusal> {
        let name: ResourceName =
            resource.name.parse().map_err(|error| invalid("name", format!("{error}")))?;
        let quantity = quantity_from_pb(&name, resource.quantity)?;
        if resource.lent && !resource.revocable {
            return Err(invalid("lent", "what is lent is revocable"));
        }
        Ok(Self {
            key: ResourceKey {
                name,
                reservations: list(resource.reservations, "reservations", RoleName::DEPTH_MAX)?,
                volume: optional(resource.volume, "volume")?,
                shared: resource.shared,
                revocable: resource.revocable,
                lent: resource.lent,
            },
            quantity,
        })
    }
}

fn quantity_from_pb(
    name: &ResourceName,
    quantity: Option<pb::resource::Quantity>,
) -> Result<Quantity, Refusal> {
    let quantity = match quantity {
        Some(pb::resource::Quantity::Scalar(value)) => Quantity::Scalar(value),
        Some(pb::resource::Quantity::Ranges(ranges)) => {
            Quantity::Ranges(ranges.try_into().map_err(|r: Refusal| r.within("quantity"))?)
        }
        Some(pb::resource::Quantity::Set(set)) => Quantity::Set(set_from_pb(set, "quantity")?),
        None => return Err(invalid("quantity", "is not set")),
    };
    let expected = match (name, &quantity) {
        (ResourceName::Custom(_), _)
        | (ResourceName::Ports, Quantity::Ranges(_))
        | (
            ResourceName::Cpus | ResourceName::Mem | ResourceName::Disk | ResourceName::Gpus,
            Quantity::Scalar(_),
        ) => return Ok(quantity),
        (ResourceName::Ports, _) => "ranges",
        (ResourceName::Cpus | ResourceName::Mem | ResourceName::Disk | ResourceName::Gpus, _) => {
            "a scalar"
        }
    };
    Err(invalid("quantity", format!("of {name} is {expected}")))
}

impl From<Reservation> for pb::Reservation {
    fn from(level: Reservation) -> Self {
        Self {
            role: level.role.into(),
            principal: level.principal.map(String::from),
            is_static: level.is_static,
            labels: level.labels,
        }
    }
}

impl TryFrom<pb::Reservation> for Reservation {
    type Error = Refusal;
    fn try_from(level: pb::Reservation) -> Result<Self, Refusal> {
        Ok(Self {
            role: name(&level.role, "role")?,
            principal: optional_name(level.principal.as_deref(), "principal")?,
            is_static: level.is_static,
            labels: labels(level.labels, "labels")?,
        })
    }
}

impl From<Volume> for pb::Volume {
    fn from(volume: Volume) -> Self {
        Self { id: volume.id.to_string(), container_path: volume.container_path }
    }
}

impl TryFrom<pb::Volume> for Volume {
    type Error = Refusal;
    fn try_from(volume: pb::Volume) -> Result<Self, Refusal> {
        Ok(Self { id: name(&volume.id, "id")?, container_path: volume.container_path })
    }
}

impl From<Ranges> for pb::Ranges {
    fn from(ranges: Ranges) -> Self {
        let items = ranges.parts().iter().map(|&(low, high)| pb::Range { low, high }).collect();
        Self { items }
    }
}

impl TryFrom<pb::Ranges> for Ranges {
    type Error = Refusal;
    fn try_from(ranges: pb::Ranges) -> Result<Self, Refusal> {
        bounded(ranges.items.len(), "ranges", RANGES_MAX)?;
        let parts = ranges.items.iter().map(|range| (range.low, range.high)).collect();
        Ranges::new(parts).map_err(|error| invalid("ranges", error.to_string()))
    }
}

fn set_to_pb(items: BTreeSet<String>) -> pb::StringSet {
    pb::StringSet { items: items.into_iter().collect() }
}

fn set_from_pb(set: pb::StringSet, field: &str) -> Result<BTreeSet<String>, Refusal> {
    bounded(set.items.len(), field, ENTRIES_MAX)?;
    Ok(set.items.into_iter().collect())
}

/// Attributes as they travel.
#[must_use]
pub fn attributes_to_pb(attributes: Attributes) -> BTreeMap<String, pb::AttributeValue> {
    attributes.into_iter().map(|(name, value)| (name, value.into())).collect()
}

/// Reads the attributes that stand in `field`. A value of an unknown kind is left out: nothing
/// could be compared with it (K5).
///
/// # Errors
/// A refusal that names the attribute.
pub fn attributes_from_pb(
    attributes: BTreeMap<String, pb::AttributeValue>,
    field: &str,
) -> Result<Attributes, Refusal> {
    bounded(attributes.len(), field, ENTRIES_MAX)?;
    let mut known = Attributes::new();
    for (name, value) in attributes {
        let Some(value) = value.value else { continue };
        let value =
            attribute_from_pb(value).map_err(|refusal| refusal.within(&name).within(field))?;
        known.insert(name, value);
    }
    Ok(known)
}

impl From<Attribute> for pb::AttributeValue {
    fn from(attribute: Attribute) -> Self {
        use pb::attribute_value::Value;
        Self {
            value: Some(match attribute {
                Attribute::Text(text) => Value::Text(text),
                Attribute::Scalar(value) => Value::Scalar(value),
                Attribute::Ranges(ranges) => Value::Ranges(ranges.into()),
                Attribute::Set(items) => Value::Set(set_to_pb(items)),
            }),
        }
    }
}

fn attribute_from_pb(value: pb::attribute_value::Value) -> Result<Attribute, Refusal> {
    use pb::attribute_value::Value;
    Ok(match value {
        Value::Text(text) => Attribute::Text(text),
        Value::Scalar(value) => Attribute::Scalar(value),
        Value::Ranges(ranges) => Attribute::Ranges(ranges.try_into()?),
        Value::Set(set) => Attribute::Set(set_from_pb(set, "set")?),
    })
}

/// Checks how many different patterns a call holds, before any of them is compiled.
pub(super) fn check_patterns<'a>(
    constraints: impl Iterator<Item = &'a pb::Constraint>,
    field: &str,
) -> Result<(), Refusal> {
    use pb::constraint::Rule;
    let mut distinct = BTreeSet::new();
    for constraint in constraints {
        if let Some(Rule::Matches(text) | Rule::NotMatches(text)) = &constraint.rule {
            distinct.insert(text.as_str());
        }
        if distinct.len() > Pattern::DISTINCT_MAX {
            let message = format!("hold more than {} different patterns", Pattern::DISTINCT_MAX);
            return Err(Refusal::new(RefusalCode::BudgetExceeded, field, message));
        }
    }
    Ok(())
}

impl From<Constraint> for pb::Constraint {
    fn from(constraint: Constraint) -> Self {
        use pb::constraint::Rule;
        Self {
            attribute: constraint.attribute,
            rule: Some(match constraint.rule {
                ConstraintRule::Exists => Rule::Exists(pb::Unit {}),
                ConstraintRule::Absent => Rule::Absent(pb::Unit {}),
                ConstraintRule::In(words) => Rule::AnyOf(set_to_pb(words)),
                ConstraintRule::NotIn(words) => Rule::NoneOf(set_to_pb(words)),
                ConstraintRule::Matches(pattern) => Rule::Matches(pattern.into()),
                ConstraintRule::NotMatches(pattern) => Rule::NotMatches(pattern.into()),
            }),
        }
    }
}

impl TryFrom<pb::Constraint> for Constraint {
    type Error = Refusal;

    /// A rule of an unknown kind is refused: it asks for something that could not be honoured.
    fn try_from(constraint: pb::Constraint) -> Result<Self, Refusal> {
        use pb::constraint::Rule;
        Ok(Self {
            attribute: constraint.attribute,
            rule: match constraint.rule {
                Some(Rule::Exists(_)) => ConstraintRule::Exists,
                Some(Rule::Absent(_)) => ConstraintRule::Absent,
                Some(Rule::AnyOf(words)) => ConstraintRule::In(set_from_pb(words, "any_of")?),
                Some(Rule::NoneOf(words)) => ConstraintRule::NotIn(set_from_pb(words, "none_of")?),
                Some(Rule::Matches(text)) => ConstraintRule::Matches(name(&text, "matches")?),
                Some(Rule::NotMatches(text)) => {
                    ConstraintRule::NotMatches(name(&text, "not_matches")?)
                }
                None => return Err(invalid("rule", "is not set or not known to this version")),
            },
        })
    }
}
