//! How much of what others say in their own words the master keeps: it is in rows, in records and in
//! frames to others, who read only so much (K15, I15).

use crate::limits;
use proffer_types::agent::{AgentInfo, AgentTask};
use proffer_types::resources::Resource;
use proffer_types::{Refusal, RefusalCode, Resources, Weight};
use std::collections::BTreeMap;

type Texts = BTreeMap<String, String>;

fn over(field: &str, message: String) -> Result<(), Refusal> {
    Err(Refusal::new(RefusalCode::BudgetExceeded, field, message))
}

fn check_entries(field: &str, entries: usize) -> Result<(), Refusal> {
    if entries <= limits::TEXT_ENTRIES_MAX {
        return Ok(());
    }
    over(field, format!("{entries} entries are more than {}", limits::TEXT_ENTRIES_MAX))
}

fn bytes(texts: &Texts) -> usize {
    texts.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// The labels of a framework, which are in its record with its URL.
pub(super) fn check_labels(labels: &Texts, url: &str) -> Result<(), Refusal> {
    check_entries("labels", labels.len())?;
    check_field("api_url", url)?;
    if bytes(labels) > limits::FRAMEWORK_TEXT_BYTES_MAX {
        return over("labels", format!("are over {} bytes", limits::FRAMEWORK_TEXT_BYTES_MAX));
    }
    Ok(())
}

/// What a launch says of its task, and what the task takes.
pub(super) fn check_task(
    variables: &Texts,
    labels: &Texts,
    resources: &Resources,
) -> Result<(), Refusal> {
    check_entries("variables", variables.len())?;
    check_entries("labels", labels.len())?;
    let (of_variables, of_labels) = (bytes(variables), bytes(labels));
    if of_variables + of_labels > limits::LAUNCH_TEXT_BYTES_MAX {
        let field = if of_variables < of_labels { "labels" } else { "variables" };
        let max = limits::LAUNCH_TEXT_BYTES_MAX;
        return over(field, format!("variables and labels are over {max} bytes"));
    }
    if resources.weight() > limits::TASK_RESOURCES_WEIGHT_MAX {
        let max = limits::TASK_RESOURCES_WEIGHT_MAX;
        return over("resources", format!("are in too many parts: over {max} bytes"));
    }
    Ok(())
}

/// A task on the list of an agent that registers. All that were launched pass.
pub(super) fn check_listed(task: &AgentTask) -> Result<(), Refusal> {
    let record = &task.record;
    check_task(&record.variables, &record.labels, &record.resources)?;
    check_field("address", &record.address)
}

fn check_field(field: &str, text: &str) -> Result<(), Refusal> {
    if text.len() <= limits::FIELD_BYTES_MAX {
        return Ok(());
    }
    over(field, format!("is over {} bytes", limits::FIELD_BYTES_MAX))
}

/// What an agent says of itself.
pub(super) fn check_info(info: &AgentInfo) -> Result<(), Refusal> {
    let AgentInfo { hostname, address, api_url, version, boot_id, .. } = info;
    check_field("hostname", hostname)?;
    check_field("address", address)?;
    check_field("api_url", api_url)?;
    check_field("version", version)?;
    check_field("boot_id", boot_id)?;
    check_entries("attributes", info.attributes.len())?;
    if info.resources.is_empty() {
        let message = "the agent has nothing to offer";
        return Err(Refusal::new(RefusalCode::InvalidArgument, "resources", message));
    }
    let made_here = |entry: &Resource| {
        let key = &entry.key;
        key.volume.is_some() || key.shared || key.reservations.iter().any(|level| !level.is_static)
    };
    if let Some(entry) = info.resources.entries().iter().find(|entry| made_here(entry)) {
        let message =
            format!("{} is a volume or reserved by a call; agents list those", entry.key.name);
        return Err(Refusal::new(RefusalCode::InvalidArgument, "resources", message));
    }
    let is_odd = |entry: &Resource| {
        entry.key.lent || (entry.key.revocable && !entry.key.reservations.is_empty())
    };
    if let Some(entry) = info.resources.entries().iter().find(|entry| is_odd(entry)) {
        let message = format!("{} is lent, or both revocable and reserved", entry.key.name);
        return Err(Refusal::new(RefusalCode::InvalidArgument, "resources", message));
    }
    let (attributes, resources) = (stored(&info.attributes), stored(&info.resources));
    if attributes.saturating_add(resources) <= limits::AGENT_INFO_BYTES_MAX {
        return Ok(());
    }
    let field = if attributes < resources { "resources" } else { "attributes" };
    let max = limits::AGENT_INFO_BYTES_MAX;
    over(field, format!("attributes and resources are over {max} bytes"))
}

/// As it is stored: escaped text takes up to six times its length.
fn stored<T: serde::Serialize>(part: &T) -> usize {
    serde_json::to_vec(part).map_or(usize::MAX, |text| text.len())
}
