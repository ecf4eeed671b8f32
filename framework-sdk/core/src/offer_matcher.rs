//! Which requests an offer serves, what each takes out of it, and which ports.

use crate::request::{Port, TaskRequest, port_resource};
use proffer_types::{Ranges, Resources};
use std::collections::BTreeMap;

/// What one task takes out of an offer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Share {
    /// Resources, the chosen ports included.
    pub(crate) resources: Resources,
    /// Port numbers by the names the request gave them.
    pub(crate) ports: BTreeMap<String, u16>,
}

/// Takes what `request` needs out of `left`, or leaves it untouched when it does not fit.
pub(crate) fn take(request: &TaskRequest, left: &mut Resources) -> Option<Share> {
    let mut rest = left.checked_sub(&request.resources).ok()?;
    let ports = choose_ports(&request.ports, &rest.ports())?;
    let mut resources = request.resources.clone();
    if !ports.is_empty() {
        let numbers = ports.values().map(|number| (u64::from(*number), u64::from(*number)));
        let chosen = port_resource(Ranges::new(numbers.collect()).ok()?);
        rest = rest.checked_sub(&Resources::from_entries(vec![chosen.clone()]).ok()?).ok()?;
        resources.insert(chosen).ok()?;
    }
    *left = rest;
    Some(Share { resources, ports })
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
}
