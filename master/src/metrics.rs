//! Names and units of what the master exports. Gauges of the cluster are read from the published view
//! at each scrape: nothing is kept twice.

use crate::api::reads::Reads;
use crate::connections::Connections;
use proffer_master_core::Counters;
use proffer_types::DurationMs;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the loop counts.
#[derive(Clone)]
pub(crate) struct LoopMetrics {
    commands: Counter,
    turns: Counter,
    waiting: Gauge,
    lag: Histogram,
    allocation: Histogram,
    commits: Histogram,
    /// Batches that the store has not answered, and since when.
    uncommitted: Arc<Mutex<BTreeMap<u64, Instant>>>,
    core: Arc<Mutex<Counters>>,
}

impl LoopMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            commands: Counter::default(),
            turns: Counter::default(),
            waiting: Gauge::default(),
            lag: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            allocation: Histogram::new(exponential_buckets(0.0001, 2.0, 14)),
            commits: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            uncommitted: Arc::default(),
            core: Arc::default(),
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
        registry.register_with_unit(
            "end_of_turn",
            "Allocation and composing of rows at the end of each turn",
            Unit::Seconds,
            metrics.allocation.clone(),
        );
        registry.register_with_unit(
            "commit",
            "From a decision to its being durable",
            Unit::Seconds,
            metrics.commits.clone(),
        );
        metrics
    }

    /// What the core has counted, and how long the end of its turn took.
    pub(crate) fn end_of_turn(&self, counters: Counters, took: Duration) {
        self.allocation.observe(took.as_secs_f64());
        *self.core.lock().unwrap_or_else(PoisonError::into_inner) = counters;
    }

    /// A batch is on its way to the store.
    pub(crate) fn submitted(&self, operation: u64) {
        self.uncommitted().insert(operation, Instant::now());
    }

    /// The store has answered, or never will.
    pub(crate) fn completed(&self, operation: u64) {
        if let Some(since) = self.uncommitted().remove(&operation) {
            self.commits.observe(since.elapsed().as_secs_f64());
        }
    }

    fn uncommitted(&self) -> MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.uncommitted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn turn(&self, commands: usize, waiting: usize, lag: DurationMs) {
        self.commands.inc_by(commands as u64);
        self.turns.inc();
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.lag.observe(Duration::from_millis(lag.0).as_secs_f64());
    }
}

/// All metrics of one master. A value, so that several masters in one process do not mix.
pub(crate) struct Metrics {
    registry: Registry,
}

impl Metrics {
    pub(crate) fn new(reads: Reads, connections: Arc<Connections>) -> (Self, LoopMetrics) {
        let mut registry = Registry::with_prefix("proffer_master");
        let loop_metrics = LoopMetrics::register(&mut registry);
        registry.register_collector(Box::new(CoreCounters(loop_metrics.clone())));
        registry.register_collector(Box::new(ClusterGauges { reads, connections }));
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

/// What the core counts, as it was at the end of the last turn.
struct CoreCounters(LoopMetrics);

impl std::fmt::Debug for CoreCounters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CoreCounters").finish_non_exhaustive()
    }
}

impl Collector for CoreCounters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counters = *self.0.core.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, help, value) in [
            ("stale_frames", "Frames of an older session or epoch, dropped", counters.stale_frames),
            ("illegal_moves", "Statuses that may not follow", counters.illegal_moves),
            ("unknown_statuses", "Statuses of tasks without a row", counters.unknown_statuses),
            ("drift", "Contradictions found by cheap checks; not 0: a bug", counters.drift),
            ("dropped_launches", "Launches that reached no agent", counters.dropped_launches),
            ("offers_made", "Offers made", counters.offers_made),
            ("offers_expired", "Offers that lapsed", counters.offers_expired),
            ("launches", "Tasks booked", counters.launches),
            ("allocation_steps", "Work of the allocator", counters.allocation_steps),
        ] {
            count(&mut encoder, name, help, value)?;
        }
        let waiting = self.0.uncommitted();
        let batches = i64::try_from(waiting.len()).unwrap_or(i64::MAX);
        let oldest = waiting.values().min().map_or(0.0, |since| since.elapsed().as_secs_f64());
        drop(waiting);
        one(&mut encoder, "commits_waiting", "Batches that the store has not answered", batches)?;
        seconds(&mut encoder, "commits_oldest", "Age of the oldest of them", oldest)
    }
}

struct ClusterGauges {
    reads: Reads,
    connections: Arc<Connections>,
}

impl std::fmt::Debug for ClusterGauges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterGauges").finish_non_exhaustive()
    }
}

impl Collector for ClusterGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let leads = self.reads.leads();
        one(&mut encoder, "leading", "Whether this master leads", i64::from(leads))?;
        let (turns, oldest) = self.reads.view.lag();
        let turns = i64::try_from(turns).unwrap_or(i64::MAX);
        one(&mut encoder, "view_turns_waiting", "Turns that readers do not see yet", turns)?;
        seconds(&mut encoder, "view_lag", "Age of the oldest of them", oldest.as_secs_f64())?;
        if !leads {
            // What it knows of the cluster is nobody's word.
            return Ok(());
        }
        let overview = crate::overview::overview(&self.reads.view.load());
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
        let help = "Streams ended because the peer read nothing";
        count(&mut encoder, "connections_cut", help, self.connections.cut_count())
    }
}

fn count(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> std::fmt::Result {
    alone(encoder, name, help, None, &ConstCounter::new(value))
}

fn seconds(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: f64,
) -> std::fmt::Result {
    alone(encoder, name, help, Some(&Unit::Seconds), &ConstGauge::new(value))
}

fn one(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: i64,
) -> std::fmt::Result {
    alone(encoder, name, help, None, &ConstGauge::new(value))
}

/// One value without a label.
fn alone(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: &impl EncodeMetric,
) -> std::fmt::Result {
    let descriptor = encoder.encode_descriptor(name, help, unit, value.metric_type())?;
    value.encode(descriptor)
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
