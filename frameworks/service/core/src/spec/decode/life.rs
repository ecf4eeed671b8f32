//! `stop`, `restart`, `rollout`, `unreachable`, `history`, `availability`, `priority`.

use crate::spec::Diagnostic;
use crate::spec::fields::{self, Section};
use crate::spec::model::{
    AvailabilitySpec, BackoffSpec, DrainSpec, HistorySpec, OnFailure, Order, PriorityClass,
    PrioritySpec, RestartSpec, RolloutSpec, Signal, StopSpec, Strategy, UnreachableSpec,
};
use crate::spec::quantity::{Amount, Wait};
use crate::spec::reader::{Faults, Reader};
use proffer_types::{DurationMs, Milli};

const SECOND: DurationMs = DurationMs::from_secs(1);
const MINUTE: DurationMs = DurationMs::from_secs(60);

fn open<'a>(
    outer: &Reader<'a>,
    name: &str,
    section: &Section,
    faults: &mut Faults,
) -> Option<Reader<'a>> {
    Reader::open(outer.node(name)?, &outer.path(name), section, faults)
}

pub(super) fn stop(service: &Reader<'_>, faults: &mut Faults) -> StopSpec {
    let mut spec = StopSpec {
        drain: DrainSpec { linger: DurationMs::from_secs(5) },
        signal: Signal::Term,
        grace: DurationMs::from_secs(30),
    };
    let Some(reader) = open(service, "stop", &fields::STOP, faults) else { return spec };
    if let Some(drain) = open(&reader, "drain", &fields::DRAIN, faults) {
        spec.drain.linger = drain.span("linger", faults).unwrap_or(spec.drain.linger);
    }
    spec.signal = reader.word("signal", Signal::WORDS, &[], faults).unwrap_or(spec.signal);
    spec.grace = reader.span("grace", faults).unwrap_or(spec.grace);
    spec
}

pub(super) fn restart(service: &Reader<'_>, faults: &mut Faults) -> RestartSpec {
    let mut spec = BackoffSpec {
        first: SECOND,
        factor: Milli(2000),
        max: DurationMs(5 * MINUTE.0),
        reset: DurationMs(10 * MINUTE.0),
    };
    let reader = open(service, "restart", &fields::RESTART, faults)
        .and_then(|restart| open(&restart, "backoff", &fields::BACKOFF, faults));
    let Some(reader) = reader else { return RestartSpec { backoff: spec } };
    spec.first = reader.span_above_zero("first", faults).unwrap_or(spec.first);
    spec.factor = reader.milli("factor", faults).unwrap_or(spec.factor);
    spec.max = reader.span("max", faults).unwrap_or(spec.max);
    spec.reset = reader.span("reset", faults).unwrap_or(spec.reset);
    if !(1000..=10_000).contains(&spec.factor.0) {
        let message = "is not from 1 to 10";
        faults.push(Diagnostic::new(reader.path("factor"), reader.mark_of("factor"), message));
    }
    if spec.max < spec.first {
        let message = format!("{} is shorter than `first`, {}", spec.max, spec.first);
        faults.push(Diagnostic::new(reader.path("max"), reader.mark_of("max"), message));
    }
    RestartSpec { backoff: spec }
}

pub(super) fn rollout(service: &Reader<'_>, faults: &mut Faults) -> RolloutSpec {
    let mut spec = RolloutSpec {
        strategy: Strategy::Rolling,
        order: Order::StartFirst,
        min_ready: Amount::Percent(100),
        surge: Amount::Percent(25),
        min_available_time: DurationMs::from_secs(10),
        progress_deadline: DurationMs(10 * MINUTE.0),
        max_failures: 0,
        on_failure: OnFailure::Rollback,
    };
    let Some(reader) = open(service, "rollout", &fields::ROLLOUT, faults) else { return spec };
    let later = ["blue_green", "recreate"];
    spec.strategy =
        reader.word("strategy", Strategy::WORDS, &later, faults).unwrap_or(spec.strategy);
    spec.order = reader.word("order", Order::WORDS, &[], faults).unwrap_or(spec.order);
    if spec.order == Order::StopFirst {
        spec.surge = Amount::Count(0);
    }
    spec.min_ready = reader.value("min_ready", faults, Amount::parse).unwrap_or(spec.min_ready);
    spec.surge = reader.value("surge", faults, Amount::parse).unwrap_or(spec.surge);
    spec.min_available_time =
        reader.span("min_available_time", faults).unwrap_or(spec.min_available_time);
    spec.progress_deadline =
        reader.span_above_zero("progress_deadline", faults).unwrap_or(spec.progress_deadline);
    spec.max_failures =
        reader.count_32("max_failures", 0..=999, faults).unwrap_or(spec.max_failures);
    spec.on_failure =
        reader.word("on_failure", OnFailure::WORDS, &[], faults).unwrap_or(spec.on_failure);
    spec
}

pub(super) fn unreachable(service: &Reader<'_>, faults: &mut Faults) -> UnreachableSpec {
    let replace_after = open(service, "unreachable", &fields::UNREACHABLE, faults)
        .and_then(|reader| reader.value("replace_after", faults, Wait::parse))
        .unwrap_or(Wait::For(MINUTE));
    UnreachableSpec { replace_after }
}

pub(super) fn history(service: &Reader<'_>, faults: &mut Faults) -> HistorySpec {
    let keep = open(service, "history", &fields::HISTORY, faults)
        .and_then(|reader| reader.count_32("keep", 1..=100, faults))
        .unwrap_or(20);
    HistorySpec { keep }
}

pub(super) fn availability(service: &Reader<'_>, faults: &mut Faults) -> AvailabilitySpec {
    let min_ready = open(service, "availability", &fields::AVAILABILITY, faults)
        .and_then(|reader| reader.value("min_ready", faults, Amount::parse));
    min_ready.map_or_else(AvailabilitySpec::default, |min_ready| AvailabilitySpec { min_ready })
}

pub(super) fn priority(service: &Reader<'_>, faults: &mut Faults) -> PrioritySpec {
    let mut spec = PrioritySpec::default();
    let Some(reader) = open(service, "priority", &fields::PRIORITY, faults) else { return spec };
    spec.class = reader.word("class", PriorityClass::WORDS, &[], faults).unwrap_or(spec.class);
    spec.level =
        reader.count_32("level", 0..=PrioritySpec::LEVEL_MAX, faults).unwrap_or(spec.level);
    spec
}
