//! Which requests an offer serves, what each takes out of it, and which ports.

use crate::request::{Port, TaskRequest};
use proffer_types::resources::{Quantity, Resource};
use proffer_types::{Ranges, ResourceName, Resources, RevocableUse};
use std::collections::BTreeMap;

/// What one task takes out of an offer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Share {
    /// Resources, the chosen ports included.
    pub(crate) resources: Resources,
    /// Port numbers by the names the request gave them.
    pub(crate) ports: BTreeMap<String, u16>,
}

/// Takes what `request` needs out of `left`, or leaves it untouched when it does not fit. What may be taken
/// back goes first, if it accepts that and there is enough of it; then what is reserved for the role, or
/// above it: nobody else could use it.
pub(crate) fn take(request: &TaskRequest, left: &mut Resources) -> Option<Share> {
    let mut rest = left.clone();
    let mut resources = Resources::new();
    for wanted in request.resources.entries() {
        let revocable = match request.revocable.is_accepted() {
            true => revocable_part(wanted, &rest),
            false => None,
        };
        let parts = match revocable {
            Some(part) => vec![part],
            None => parts_of(wanted, &rest)?,
        };
        for part in parts {
            rest.remove(&part).ok()?;
            resources.insert(part).ok()?;
        }
    }
    if request.revocable == RevocableUse::Only && !resources.is_revocable() {
        return None;
    }
    let ports = choose_ports(&request.ports, &free_ports(&rest)?)?;
    for number in ports.values() {
        let one = Ranges::new(vec![(u64::from(*number), u64::from(*number))]).ok()?;
        let from = usable(&rest, &ResourceName::Ports)
            .find(|entry| matches!(&entry.quantity, Quantity::Ranges(has) if has.contains(&one)))?;
        let part = Resource { key: from.key.clone(), quantity: Quantity::Ranges(one) };
        rest.remove(&part).ok()?;
        resources.insert(part).ok()?;
    }
    *left = rest;
    Some(Share { resources, ports })
}

/// What of `left` serves a wish for a name, reserved parts first, deepest first. Volumes are asked for as
/// such.
fn usable<'a>(left: &'a Resources, name: &ResourceName) -> impl Iterator<Item = &'a Resource> {
    let mut found: Vec<&Resource> = left
        .entries()
        .iter()
        .filter(|entry| entry.key.name == *name)
        .filter(|entry| entry.key.volume.is_none() && !entry.key.shared && !entry.key.revocable)
        .collect();
    found.sort_by_key(|entry| std::cmp::Reverse(entry.key.reservations.len()));
    found.into_iter()
}

/// All that is wanted of a name, out of what may be taken back: a task takes it from one kind only.
fn revocable_part(wanted: &Resource, left: &Resources) -> Option<Resource> {
    let Quantity::Scalar(value) = wanted.quantity else { return None };
    let is_enough = |entry: &&Resource| {
        let key = &entry.key;
        let is_bare = key.reservations.is_empty() && key.volume.is_none() && !key.shared;
        let has = matches!(entry.quantity, Quantity::Scalar(has) if has >= value);
        key.name == wanted.key.name && key.revocable && is_bare && has
    };
    let from = left.entries().iter().find(is_enough).filter(|_| wanted.key.is_plain())?;
    Some(Resource { key: from.key.clone(), quantity: wanted.quantity.clone() })
}

/// Where a plain scalar is taken from; everything else is taken as it was asked for.
fn parts_of(wanted: &Resource, left: &Resources) -> Option<Vec<Resource>> {
    let Quantity::Scalar(mut missing) = wanted.quantity else { return Some(vec![wanted.clone()]) };
    if !wanted.key.is_plain() {
        return Some(vec![wanted.clone()]);
    }
    let mut parts = Vec::new();
    for entry in usable(left, &wanted.key.name) {
        let Quantity::Scalar(has) = entry.quantity else { continue };
        let taken = has.min(missing);
        if taken > 0 {
            missing -= taken;
            parts.push(Resource { key: entry.key.clone(), quantity: Quantity::Scalar(taken) });
        }
    }
    (missing == 0).then_some(parts)
}

/// Port numbers that may be chosen, reserved or not.
fn free_ports(left: &Resources) -> Option<Ranges> {
    usable(left, &ResourceName::Ports).try_fold(Ranges::default(), |all, entry| {
        match &entry.quantity {
            Quantity::Ranges(has) => all.checked_add(has),
            Quantity::Scalar(_) | Quantity::Set(_) => Some(all),
        }
    })
}

/// Fixed ports as asked; dynamic ones from the lowest free number up.
fn choose_ports(wanted: &[Port], free: &Ranges) -> Option<BTreeMap<String, u16>> {
    let fixed: Vec<u16> = wanted.iter().filter_map(|port| port.fixed).collect();
    if !fixed.iter().all(|number| contains(free, *number)) {
        return None;
    }
    let mut dynamic =
        free.iter().map_while(|number| u16::try_from(number).ok()).filter(|n| !fixed.contains(n));
    wanted
        .iter()
        .map(|port| Some((port.name.clone(), port.fixed.or_else(|| dynamic.next())?)))
        .collect()
}

fn contains(free: &Ranges, number: u16) -> bool {
    free.parts().iter().any(|(low, high)| (*low..=*high).contains(&u64::from(number)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::request;

    #[test]
    fn tasks_share_an_offer_until_nothing_fits() {
        let mut left: Resources = "cpus:2.5;mem:8GiB;ports:[100-102]".parse().expect("valid");
        let first = take(&request("a").port("x").port("y"), &mut left).expect("fits");
        assert_eq!(first.ports, BTreeMap::from([("x".to_owned(), 100), ("y".to_owned(), 101)]));
        assert!(take(&request("b").port("x").port("y"), &mut left).is_none(), "one port is left");
        let second = take(&request("b").fixed_port("x", 102), &mut left).expect("fits");
        assert_eq!(second.resources, "cpus:1;mem:1GiB;ports:[102-102]".parse().expect("valid"));
        assert!(take(&request("c"), &mut left).is_none(), "half a core is left");
        assert_eq!(left, "cpus:0.5;mem:6GiB".parse().expect("valid"));
    }

    #[test]
    fn a_port_that_is_not_offered_leaves_the_offer_untouched() {
        let mut left: Resources = "cpus:2;mem:8GiB;ports:[100-102]".parse().expect("valid");
        let before = left.clone();
        assert!(take(&request("a").fixed_port("x", 99), &mut left).is_none());
        assert_eq!(left, before);
    }

    #[test]
    fn what_may_be_taken_back_goes_first_and_whole() {
        let text = "cpus:1;mem:4GiB;cpus{revocable}:1.5;cpus{lent}:1";
        let mut left: Resources = text.parse().expect("valid");
        let mut takes = |wanted: &TaskRequest| take(wanted, &mut left).map(|it| it.resources);
        let parsed = |text: &str| Some(text.parse::<Resources>().expect("valid"));
        let only = request("a").revocable(RevocableUse::Only);
        assert_eq!(takes(&only), parsed("cpus{revocable}:1;mem:1GiB"));
        assert_eq!(takes(&only), parsed("cpus{lent}:1;mem:1GiB"), "half of the other is left");
        assert_eq!(takes(&only), None, "what is left is for good, or not enough");
        let accepts = request("b").revocable(RevocableUse::Accept);
        assert_eq!(takes(&accepts), parsed("cpus:1;mem:1GiB"), "never both of a name");
        assert_eq!(left, *parsed("cpus{revocable}:0.5;mem:1GiB").as_ref().expect("valid"));
    }

    #[test]
    fn what_is_reserved_goes_first_and_the_rest_is_made_up() {
        let text = "cpus:1;mem:4GiB;cpus(eng):1.5;ports(eng):[80-80]";
        let mut left: Resources = text.parse().expect("valid");
        let mut takes = |wanted: &TaskRequest| take(wanted, &mut left).map(|it| it.resources);
        let parsed = |text: &str| Some(text.parse::<Resources>().expect("valid"));
        let with_port = request("a").fixed_port("http", 80);
        assert_eq!(takes(&with_port), parsed("cpus(eng):1;mem:1GiB;ports(eng):[80-80]"));
        assert_eq!(takes(&with_port), None, "its port is taken");
        assert_eq!(takes(&request("b")), parsed("cpus:0.5;cpus(eng):0.5;mem:1GiB"));
        assert_eq!(takes(&request("c")), None, "half a core is left");
        assert_eq!(left, "cpus:0.5;mem:2GiB".parse().expect("valid"), "a refusal takes nothing");
    }
}
