//! Resource lists as people read them in tables.

use proffer_proto::pb;
use proffer_types::{Bytes, Quantities, ResourceName, Resources};

/// `1.5/4` for one resource of an agent: used of all.
pub(crate) fn used_of(
    allocated: &[pb::Resource],
    total: &[pb::Resource],
    name: &ResourceName,
) -> String {
    let (used, all) = (domain(allocated), domain(total));
    format!("{}/{}", shown(name, used.scalar(name)), shown(name, all.scalar(name)))
}

fn shown(name: &ResourceName, value: u64) -> String {
    if name.in_bytes() { Bytes(value).rounded() } else { name.display_scalar(value) }
}

/// The amount of a scalar.
pub(crate) fn scalar_of(resources: &[pb::Resource], name: &ResourceName) -> u64 {
    domain(resources).scalar(name)
}

/// `1.5 cpus, 2GiB mem, 3 ports`.
pub(crate) fn words(resources: &[pb::Resource]) -> String {
    let resources = domain(resources);
    let mut seen = Vec::new();
    let mut words = Vec::new();
    for entry in resources.entries() {
        let name = &entry.key.name;
        if !seen.contains(&name) {
            seen.push(name);
            let amount = shown(name, resources.scalar(name));
            let is_one_port = *name == ResourceName::Ports && amount == "1";
            let word = if is_one_port { "port".to_owned() } else { name.to_string() };
            words.push(format!("{amount} {word}"));
        }
    }
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

/// The guarantee or limit of a role.
pub(crate) fn quantities(list: &[pb::Resource]) -> Quantities {
    proffer_proto::convert::quantities_from_pb(list.to_vec(), "amounts").unwrap_or_default()
}

pub(crate) fn domain(resources: &[pb::Resource]) -> Resources {
    // What a newer master sends and this program does not know is left out of a table, no more.
    proffer_proto::convert::resources_from_pb(resources.to_vec(), "resources").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short_and_one_port_is_one() {
        let list = |text: &str| {
            proffer_proto::convert::resources_to_pb(text.parse::<Resources>().expect("valid"))
        };
        assert_eq!(
            words(&list("cpus:0.5;mem:24684092KiB;ports:[1-1]")),
            "0.5 cpus, 23.5GiB mem, 1 port"
        );
        assert_eq!(
            used_of(&list("mem:1536MiB"), &list("mem:4GiB"), &ResourceName::Mem),
            "1.5GiB/4GiB"
        );
    }
}
