//! Counts and sums over the published view, for the overview and the metrics.

use crate::view::View;
use proffer_types::Resources;
use proffer_types::operator::{AgentCondition, Overview};
use std::collections::BTreeMap;

/// The overview of `view`.
#[must_use]
pub(crate) fn overview(view: &View) -> Overview {
    let mut found = Overview {
        cursor: view.cursor,
        offers: u32::try_from(view.offers.len()).unwrap_or(u32::MAX),
        ..Overview::default()
    };
    for agent in view.agents.values() {
        count(&mut found.agents, agent.condition.as_str());
        if agent.condition == AgentCondition::Active {
            add(&mut found.total, &agent.info.resources);
            add(&mut found.allocated, &agent.allocated);
            add(&mut found.offered, &agent.offered);
        }
    }
    for framework in view.frameworks.values() {
        count(
            &mut found.frameworks,
            if framework.connected { "connected" } else { "disconnected" },
        );
    }
    for demand in view.demand.values() {
        found.unmet = found.unmet.saturating_add(demand.unmet);
    }
    for task in view.tasks.values() {
        count(&mut found.tasks, task.status.state.as_str());
    }
    found
}

/// Adds the scalars; numbered and named items of different agents are different things.
fn add(sum: &mut Resources, part: &Resources) {
    let scalars =
        part.filtered(|entry| matches!(entry.quantity, proffer_types::Quantity::Scalar(_)));
    if let Ok(total) = sum.checked_add(&scalars) {
        *sum = total;
    }
}

fn count(counts: &mut BTreeMap<String, u32>, word: &str) {
    *counts.entry(word.to_owned()).or_default() += 1;
}
