//! Names and units of what the framework exports. Gauges are read from the published views at each
//! scrape: nothing is kept twice.

use crate::board::{Board, Published};
use proffer_service_core::ServiceFramework;
use proffer_service_core::record::RolloutState;
use proffer_service_core::spec::ServiceName;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// What the loop counts. Kept by its closure.
pub(crate) struct LoopMetrics {
    turns: Counter,
    view_changes: Counter,
    rollouts: Family<Outcome, Counter>,
    commits: Histogram,
    /// When each commit that is not durable yet was first seen.
    open: BTreeMap<u64, Instant>,
    /// The rollout of each service when it was last looked at.
    seen: BTreeMap<ServiceName, (u32, RolloutState)>,
    views_changed: u64,
}

impl LoopMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            turns: Counter::default(),
            view_changes: Counter::default(),
            rollouts: Family::default(),
            commits: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            open: BTreeMap::new(),
            seen: BTreeMap::new(),
            views_changed: 0,
        };
        registry.register("turns", "Turns of the loop", metrics.turns.clone());
        registry.register(
            "view_changes",
            "Changes of what readers see",
            metrics.view_changes.clone(),
        );
        registry.register("rollouts", "Rollouts that came to an end", metrics.rollouts.clone());
        registry.register_with_unit(
            "commit",
            "From the decision until it is durable or refused",
            Unit::Seconds,
            metrics.commits.clone(),
        );
        metrics
    }

    /// The framework has handled something.
    pub(crate) fn turn(&mut self, framework: &ServiceFramework) {
        self.turns.inc();
        let now = Instant::now();
        let open: BTreeMap<u64, Instant> = framework
            .open_commits()
            .map(|ticket| (ticket, self.open.get(&ticket).copied().unwrap_or(now)))
            .collect();
        for (ticket, since) in std::mem::replace(&mut self.open, open) {
            if !self.open.contains_key(&ticket) {
                self.commits.observe(now.duration_since(since).as_secs_f64());
            }
        }
        let changed = framework.views_changed();
        if changed != self.views_changed {
            self.view_changes.inc_by(changed.saturating_sub(self.views_changed));
            self.views_changed = changed;
            self.count_rollouts(framework);
        }
    }

    fn count_rollouts(&mut self, framework: &ServiceFramework) {
        let mut seen = BTreeMap::new();
        for (name, view) in framework.views() {
            let rollout = &view.summary.rollout;
            let (number, state) = (rollout.number, rollout.state);
            // One that was over when this process first saw it is not its to count.
            let ended = is_over(state)
                && self.seen.get(name).is_some_and(|before| *before != (number, state));
            if ended {
                self.rollouts.get_or_create(&Outcome { outcome: state.as_str() }).inc();
            }
            seen.insert(name.clone(), (number, state));
        }
        self.seen = seen;
    }
}

fn is_over(state: RolloutState) -> bool {
    match state {
        RolloutState::Rolling | RolloutState::RollingBack => false,
        RolloutState::Paused
        | RolloutState::Succeeded
        | RolloutState::RolledBack
        | RolloutState::Superseded => true,
    }
}

/// All metrics of one framework. A value, so that several in one process do not mix.
pub(crate) struct Metrics {
    registry: Registry,
}

impl Metrics {
    pub(crate) fn new(board: Arc<Board>) -> (Self, LoopMetrics) {
        let mut registry = Registry::with_prefix("proffer_service");
        let loop_metrics = LoopMetrics::register(&mut registry);
        registry.register_collector(Box::new(ServiceGauges { board }));
        (Self { registry }, loop_metrics)
    }

    /// In the OpenMetrics text format.
    ///
    /// # Errors
    /// Only when formatting into memory fails.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

struct ServiceGauges {
    board: Arc<Board>,
}

impl std::fmt::Debug for ServiceGauges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceGauges").finish_non_exhaustive()
    }
}

impl Collector for ServiceGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (mut services, mut instances) = (BTreeMap::new(), BTreeMap::new());
        for view in self.board.views().values().map(Published::view) {
            *services.entry(word(&view.summary.status)).or_default() += 1;
            for instance in &view.instances {
                let phase = instance.phase.as_ref().map_or_else(|| "ending".to_owned(), word);
                *instances.entry(phase).or_default() += 1;
            }
        }
        family(&mut encoder, ("services", "Services by status", "status"), &services)?;
        family(&mut encoder, ("instances", "Instances by phase", "phase"), &instances)?;
        let active = ConstGauge::new(i64::from(self.board.ready().is_ok()));
        let help = "Whether this replica decides";
        let descriptor = encoder.encode_descriptor("active", help, None, active.metric_type())?;
        active.encode(descriptor)
    }
}

/// A word as it stands in the API.
fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).ok();
    value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn family(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, label): (&str, &str, &str),
    counts: &BTreeMap<String, i64>,
) -> std::fmt::Result {
    let gauge = ConstGauge::new(0_i64);
    let mut descriptor = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
    for (key, count) in counts {
        let gauge = ConstGauge::new(*count);
        gauge.encode(descriptor.encode_family(&[(label, key.as_str())])?)?;
    }
    Ok(())
}
