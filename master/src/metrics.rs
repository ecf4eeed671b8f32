//! Names and units of what the master exports. Gauges of the cluster are read from the published view
//! at each scrape: nothing is kept twice.

use crate::connections::Connections;
use crate::view::ViewReader;
use proffer_types::DurationMs;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the loop counts.
#[derive(Clone)]
pub(crate) struct LoopMetrics {
    commands: Counter,
    turns: Counter,
    waiting: Gauge,
    lag: Histogram,
}

impl LoopMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            commands: Counter::default(),
            turns: Counter::default(),
            waiting: Gauge::default(),
            lag: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
        };
        registry.register("loop_commands", "Commands applied", metrics.commands.clone());
        registry.register("loop_turns", "Turns of the loop", metrics.turns.clone());
        registry.register("loop_waiting", "Commands that wait", metrics.waiting.clone());
        registry.register_with_unit(
            "loop_lag",
            "Longest wait of a command of each turn",
            Unit::Seconds,
            metrics.lag.clone(),
        );
        metrics
    }

    pub(crate) fn turn(&self, commands: usize, waiting: usize, lag: DurationMs) {
        self.commands.inc_by(commands as u64);
        self.turns.inc();
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.lag.observe(std::time::Duration::from_millis(lag.0).as_secs_f64());
    }
}

/// All metrics of one master. A value, so that several masters in one process do not mix.
pub(crate) struct Metrics {
    registry: Registry,
}

impl Metrics {
    pub(crate) fn new(view: ViewReader, connections: Arc<Connections>) -> (Self, LoopMetrics) {
        let mut registry = Registry::with_prefix("proffer_master");
        let loop_metrics = LoopMetrics::register(&mut registry);
        registry.register_collector(Box::new(ClusterGauges { view, connections }));
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

struct ClusterGauges {
    view: ViewReader,
    connections: Arc<Connections>,
}

impl std::fmt::Debug for ClusterGauges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterGauges").finish_non_exhaustive()
    }
}

impl Collector for ClusterGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let view = self.view.load();
        let overview = crate::overview::overview(&view);
        family(&mut encoder, "agents", "Agents by condition", "condition", &overview.agents)?;
        family(&mut encoder, "frameworks", "Frameworks by state", "state", &overview.frameworks)?;
        family(&mut encoder, "tasks", "Tasks by state", "state", &overview.tasks)?;
        for (name, help, resources) in [
            ("resources_total", "Resources of active agents", &overview.total),
            ("resources_allocated", "Resources used by tasks", &overview.allocated),
            ("resources_offered", "Resources held by offers", &overview.offered),
        ] {
            let mut by_name: BTreeMap<String, f64> = BTreeMap::new();
            for entry in resources.entries() {
                let key = &entry.key.name;
                let value = resources.scalar(key) as f64;
                let value = if key.in_bytes() { value } else { value / 1000.0 };
                by_name.insert(key.to_string(), value);
            }
            float_family(&mut encoder, name, help, "resource", &by_name)?;
        }
        one(&mut encoder, "offers", "Offers outstanding", i64::from(overview.offers))?;
        one(
            &mut encoder,
            "unmet_demand",
            "Tasks wanted and without a place",
            i64::from(overview.unmet),
        )?;
        let connections = i64::try_from(self.connections.count()).unwrap_or(i64::MAX);
        one(&mut encoder, "connections", "Open streams of agents and frameworks", connections)?;
        let cut = ConstCounter::new(self.connections.cut_count());
        let descriptor = encoder.encode_descriptor(
            "connections_cut",
            "Streams ended because the peer read nothing",
            None,
            cut.metric_type(),
        )?;
        cut.encode(descriptor)
    }
}

fn one(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: i64,
) -> std::fmt::Result {
    let gauge = ConstGauge::new(value);
    let descriptor = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
    gauge.encode(descriptor)
}

fn family(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    counts: &BTreeMap<String, u32>,
) -> std::fmt::Result {
    let counts = counts.iter().map(|(key, count)| (key.clone(), f64::from(*count))).collect();
    float_family(encoder, name, help, label, &counts)
}

fn float_family(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    values: &BTreeMap<String, f64>,
) -> std::fmt::Result {
    let gauge = ConstGauge::new(0.0);
    let mut descriptor = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
    for (key, value) in values {
        let gauge = ConstGauge::new(*value);
        gauge.encode(descriptor.encode_family(&[(label, key.as_str())])?)?;
    }
    Ok(())
}
