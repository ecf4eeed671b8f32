//! What a run did, so that an idle one cannot pass.

use std::collections::BTreeMap;

/// Counts of one run, or of many.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Events that happened.
    pub events: u64,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// Programs that were started.
    pub launches: u64,
    /// Terms of leadership.
    pub failovers: u64,
    /// Transactions applied.
    pub commits: u64,
    /// Turns of masters.
    pub turns: u64,
    /// What operators asked.
    pub asked: u64,
    /// Operators answered.
    pub replies: u64,
    /// Calls that the service framework carried out.
    pub service_calls: u64,
    /// Calls that it refused.
    pub service_refusals: u64,
    /// Masters that ended themselves.
    pub stops: u64,
    /// Processes that started to take over from another replica.
    pub takeovers: u64,
    /// The oldest command that a master took.
    pub inbox_lag_ms_max: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// How often each checker had something to look at.
    pub looked: BTreeMap<&'static str, u64>,
    /// Rare situations that were reached.
    pub marks: BTreeMap<&'static str, u64>,
    /// Seeds.
    pub seeds: u64,
}

impl Counts {
    /// A fault struck.
    pub fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    /// Both together.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.simulated_ms += other.simulated_ms;
        self.launches += other.launches;
        self.failovers += other.failovers;
        self.commits += other.commits;
        self.replies += other.replies;
        self.turns += other.turns;
        self.asked += other.asked;
        self.service_calls += other.service_calls;
        self.service_refusals += other.service_refusals;
        self.stops += other.stops;
        self.takeovers += other.takeovers;
        self.inbox_lag_ms_max = self.inbox_lag_ms_max.max(other.inbox_lag_ms_max);
        self.seeds += other.seeds;
        for (kind, count) in &other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        for (mark, count) in &other.marks {
            *self.marks.entry(mark).or_default() += count;
        }
        for (id, count) in &other.looked {
            *self.looked.entry(id).or_default() += count;
        }
    }

    /// A few lines for people.
    #[must_use]
    pub fn text(&self) -> String {
        let list = |map: &BTreeMap<&'static str, u64>| {
            map.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
        };
        format!(
            "{} seeds, {:.1} simulated minutes, {} events, {} turns, {} launches, {} terms, {} commits\n\
             {} calls of operators, {} answered, {} service calls carried out, {} refused, {} masters ended themselves, {} took over, inboxes up to {} ms late\n\
             faults: {}\nmarks: {}\nlooked: {}",
            self.seeds,
            self.simulated_ms as f64 / 60_000.0,
            self.events,
            self.turns,
            self.launches,
            self.failovers,
            self.commits,
            self.asked,
            self.replies,
            self.service_calls,
            self.service_refusals,
            self.stops,
            self.takeovers,
            self.inbox_lag_ms_max,
            list(&self.faults),
            list(&self.marks),
            list(&self.looked),
        )
    }
}
