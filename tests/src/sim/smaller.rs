//! Owns what a run leaves out of its seed's plan, and the search for the smallest run that still breaks the
//! same statement. Purposes draw from numbers of their own, so what is left goes much as it went before.

use super::many::run_caught;
use super::plan::Plan;
use super::run::Asked;
use std::fmt::Write as _;

/// A name and how it is left out.
type Kind = (&'static str, fn(&mut Plan));
/// A name and where its number is.
type Size = (&'static str, fn(&mut Plan) -> &mut usize);

/// What can be left out.
const KINDS: &[Kind] = &[
    ("crash_master", |plan| plan.rates.crash_master = 0),
    ("crash_agent", |plan| plan.rates.crash_agent = 0),
    ("crash_framework", |plan| plan.rates.crash_framework = 0),
    ("crash_supervisor", |plan| plan.rates.crash_supervisor = 0),
    ("reboot", |plan| plan.rates.reboot = 0),
    ("break_connection", |plan| plan.rates.break_connection = 0),
    ("partition", |plan| plan.rates.partition = 0),
    ("pause_master", |plan| plan.rates.pause_master = 0),
    ("expire_lease", |plan| plan.rates.expire_lease = 0),
    ("compact", |plan| plan.rates.compact = 0),
    ("wall_jump", |plan| plan.rates.wall_jump = 0),
    ("stall", |plan| plan.rates.stall = 0),
    ("crash_member", |plan| plan.rates.crash_member = 0),
    ("isolate_member", |plan| plan.rates.isolate_member = 0),
    ("cut_member", |plan| plan.rates.cut_member = 0),
    ("change_member", |plan| plan.rates.change_member = 0),
    ("lost_answer", |plan| plan.lost_answers = 0),
    ("refused_commit", |plan| plan.refused_commits = 0),
    ("doubled_request", |plan| plan.doubled_requests = 0),
    ("late_request", |plan| plan.late_requests = 0),
    ("torn_turn", |plan| plan.torn_turns = 0),
    ("failed_write", |plan| plan.failing_writes = 0),
    ("failing_task", |plan| plan.failing_tasks = 0),
    ("failing_probe", |plan| plan.failing_probes = 0),
    ("take_over", |plan| plan.take_over = false),
    ("impostor", |plan| plan.impostor = false),
    ("operators", |plan| plan.operators = false),
    ("holds", |plan| plan.holds = false),
    ("lose_volume", |plan| plan.lose_volume = 0),
    ("farm", |plan| plan.farm = 0),
    ("services", |plan| plan.services = false),
    ("classical", |plan| plan.classical = None),
];

/// What can be fewer or shorter.
const SIZES: &[Size] = &[
    ("masters", |plan| &mut plan.masters),
    ("members", |plan| &mut plan.members),
    ("agents", |plan| &mut plan.agents),
    ("batches", |plan| &mut plan.batches),
    ("replicas", |plan| &mut plan.replicas),
];

/// The shortest time with faults that is tried.
const FAULTY_MS_MIN: u64 = 1_000;

/// See the module's description.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Smaller {
    /// One bit for each of [`KINDS`].
    without: u64,
    /// For each of [`SIZES`]: at most.
    sizes: [Option<usize>; SIZES.len()],
    /// Until the faults stop, at most.
    pub faulty_ms: Option<u64>,
}

impl Smaller {
    /// Leaves a kind out.
    ///
    /// # Errors
    /// When there is no such kind.
    pub fn leave_out(&mut self, name: &str) -> Result<(), String> {
        let place = KINDS.iter().position(|(kind, _)| *kind == name);
        let place = place.ok_or_else(|| format!("{name:?} is none of {}", names(KINDS)))?;
        self.without |= 1 << place;
        Ok(())
    }

    /// Has at most so many of something; zero is one.
    ///
    /// # Errors
    /// When there is no such size.
    pub fn at_most(&mut self, name: &str, most: usize) -> Result<(), String> {
        let place = SIZES.iter().position(|(size, _)| *size == name);
        let place = place.ok_or_else(|| format!("{name:?} is none of {}", names(SIZES)))?;
        self.sizes[place] = Some(most.max(1));
        Ok(())
    }

    /// Makes a plan smaller.
    pub fn apply(&self, plan: &mut Plan) {
        for (_, leave_out) in self.left_out() {
            leave_out(plan);
        }
        for ((_, size), most) in SIZES.iter().zip(self.sizes) {
            let size = size(plan);
            *size = most.map_or(*size, |most| most.min(*size));
        }
        plan.faulty_ms = self.faulty_ms.map_or(plan.faulty_ms, |most| most.min(plan.faulty_ms));
    }

    fn left_out(&self) -> impl Iterator<Item = &'static Kind> + use<'_> {
        KINDS.iter().enumerate().filter(|(place, _)| self.without & 1 << place != 0).map(|it| it.1)
    }

    /// What a replay is given after its seed.
    #[must_use]
    pub fn arguments(&self) -> String {
        let mut text = String::new();
        let without: Vec<_> = self.left_out().map(|(name, _)| *name).collect();
        if !without.is_empty() {
            write!(text, " --without {}", without.join(",")).expect("a text takes everything");
        }
        for ((name, _), most) in SIZES.iter().zip(self.sizes) {
            if let Some(most) = most {
                write!(text, " --at-most {name}={most}").expect("a text takes everything");
            }
        }
        if let Some(ms) = self.faulty_ms {
            write!(text, " --faulty-ms {ms}").expect("a text takes everything");
        }
        text
    }
}

fn names<T>(table: &[(&str, T)]) -> String {
    table.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// The smallest run that was found.
pub struct Shrunk {
    /// What it leaves out.
    pub smaller: Smaller,
    /// What it breaks.
    pub why: String,
    /// Runs that it took.
    pub runs: u32,
}

impl Shrunk {
    /// For people: what is broken, and how to see it.
    #[must_use]
    pub fn text(&self, seed: u64) -> String {
        let Self { smaller, why, runs } = self;
        let arguments = smaller.arguments();
        format!("after {runs} runs: {why}\n  to replay: cargo xtask sim --replay {seed}{arguments}")
    }
}

/// Makes a run that breaks a statement smaller as long as it breaks the same one; `None` when it breaks
/// none.
#[must_use]
pub fn shrink(seed: u64, asked: Asked) -> Option<Shrunk> {
    let why = run_caught(seed, asked).broken?;
    let mut search = Search { seed, asked, best: Shrunk { smaller: asked.smaller, why, runs: 1 } };
    let mut span = KINDS.len();
    while span > 0 {
        for first in (0..KINDS.len()).step_by(span) {
            let kinds = first..(first + span).min(KINDS.len());
            search
                .attempt(|smaller| smaller.without |= kinds.fold(0, |bits, kind| bits | 1 << kind));
        }
        span /= 2;
    }
    for place in 0..SIZES.len() {
        for most in 1..=3 {
            if search.attempt(|smaller| smaller.sizes[place] = Some(most)) {
                break;
            }
        }
    }
    search.shorten();
    Some(search.best)
}

struct Search {
    seed: u64,
    asked: Asked,
    best: Shrunk,
}

impl Search {
    /// Whether a run that is smaller by this still breaks the same statement: then it is kept.
    fn attempt(&mut self, change: impl FnOnce(&mut Smaller)) -> bool {
        let mut smaller = self.best.smaller;
        change(&mut smaller);
        if smaller == self.best.smaller {
            return false;
        }
        self.best.runs += 1;
        let broken = run_caught(self.seed, Asked { smaller, ..self.asked }).broken;
        let same = broken.filter(|why| statement(why) == statement(&self.best.why));
        let Some(why) = same else { return false };
        (self.best.smaller, self.best.why) = (smaller, why);
        true
    }

    /// Halves the time until the faults stop, then takes off quarters of it.
    fn shorten(&mut self) {
        const TOO_LONG_MS: u64 = 128_000;
        for (part, of) in [(1, 2), (3, 4)] {
            loop {
                let now = self.best.smaller.faulty_ms.unwrap_or(TOO_LONG_MS);
                let less = now * part / of;
                let shorter = |smaller: &mut Smaller| smaller.faulty_ms = Some(less);
                if less < FAULTY_MS_MIN || !self.attempt(shorter) {
                    break;
                }
            }
        }
    }
}

/// Which statement is broken: what stands before the colon.
fn statement(why: &str) -> &str {
    why.split(':').next().unwrap_or(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::planted::Planted;

    #[test]
    fn what_is_left_of_a_run_with_a_planted_bug_still_shows_it() {
        let asked = Asked { planted: Some((Planted::StartedTwice, "I2")), ..Asked::default() };
        let (seed, found) = (1..40)
            .find_map(|seed| Some((seed, shrink(seed, asked)?)))
            .expect("the bug is found in one of these seeds");
        let smaller = found.smaller;
        assert_eq!(smaller.without, (1 << KINDS.len()) - 1, "it needs no fault");
        assert_eq!(smaller.sizes, [Some(1); SIZES.len()], "one of each is enough");
        let again = run_caught(seed, Asked { smaller, ..asked });
        assert_eq!(again.broken, Some(found.why), "the smaller run is a run like any other");
        let text = smaller.arguments();
        assert!(text.contains("--without crash_master,") && text.contains("agents=1"), "{text}");
    }

    #[test]
    fn what_is_not_there_cannot_be_left_out() {
        let mut smaller = Smaller::default();
        assert!(smaller.leave_out("stall").is_ok() && smaller.leave_out("stalls").is_err());
        assert!(smaller.at_most("agents", 2).is_ok() && smaller.at_most("agent", 2).is_err());
    }
}
