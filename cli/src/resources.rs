//! Resource lists as people read them in tables.

use proffer_proto::pb;
use proffer_types::{ResourceName, Resources};

/// `1.5/4` for one resource of an agent: used of all.
pub(crate) fn used_of(
    allocated: &[pb::Resource],
    total: &[pb::Resource],
    name: &ResourceName,
) -> String {
    let (used, all) = (domain(allocated), domain(total));
    format!("{}/{}", name.display_scalar(used.scalar(name)), name.display_scalar(all.scalar(name)))
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
            words.push(format!("{} {name}", name.display_scalar(resources.scalar(name))));
        }
    }
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

fn domain(resources: &[pb::Resource]) -> Resources {
    // What a newer master sends and this program does not know is left out of a table, no more.
    proffer_proto::convert::resources_from_pb(resources.to_vec(), "resources").unwrap_or_default()
}
