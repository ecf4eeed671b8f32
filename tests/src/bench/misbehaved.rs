//! Two badly behaved frameworks beside a well-behaved one, through the master's core in simulated time:
//! one declines whatever it is offered for a second, one holds every offer until its time is over.
//! How many tasks the well-behaved one launches with them, in parts of what it launches without them.

use super::samples::{Subject, percentile};
use anyhow::{Result, ensure};
use proffer_master_core::testing::{AgentPeer, FrameworkPeer, Harness, template};
use proffer_master_core::{Config, Policy};
use proffer_types::demand::DemandGroup;
use proffer_types::scheduler::Call;
use proffer_types::{
    DurationMs, Generation, GroupName, Monotonic, OfferId, Resources, RoleName, TaskState,
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write;

const BENCH: &str = "misbehaved";
/// The part of its launches that a well-behaved framework keeps at least (I9).
pub const KEPT_MIN: f64 = 0.9;
const SHAPE: &str = "cpus:1;mem:1GiB";
const AGENT: &str = "cpus:4;mem:4GiB";
const CPUS_PER_AGENT: usize = 4;
const FRAMEWORKS: usize = 3;
/// Of the cluster, in offers of one framework.
const CAP_PERCENT: u8 = 5;
const GROUP: &str = "work";
const DECLINED_FOR: DurationMs = DurationMs::from_secs(1);

/// How much.
#[derive(clap::Args, Clone, Copy)]
pub struct Plan {
    /// Agents, of four cpus each.
    #[arg(long, default_value_t = 30)]
    pub agents: usize,
    /// Simulated seconds.
    #[arg(long, default_value_t = 300)]
    pub seconds: u64,
    /// How long a task runs, in simulated seconds.
    #[arg(long, default_value_t = 30)]
    pub task_seconds: u64,
}

/// How the well-behaved framework comes by its tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Good {
    /// It says what it wants.
    StatesDemand,
    /// It takes offers as they come, and suppresses them while it wants none.
    TakesOffers,
}

/// How much the well-behaved framework has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Load {
    /// What its fair share among the three can run: a third of the cluster.
    ItsShare,
    /// Twice what the cluster can run.
    Endless,
    /// The same where a framework may hold no more than [`CAP_PERCENT`] in offers.
    EndlessUnderCap,
}

/// What came of the well-behaved framework.
#[derive(Default, Debug)]
pub struct Outcome {
    /// Tasks that were launched.
    pub launched: usize,
    /// How long each of them had waited.
    pub waited_s: Vec<f64>,
    /// Offers that the master made, to all.
    pub offers: u64,
}

/// Prints the ratios, and fails when one is too low.
///
/// # Errors
/// When a well-behaved framework with a load of its share loses more than a tenth of its launches.
pub fn run(plan: &Plan) -> Result<()> {
    ensure!(plan.agents > 0 && plan.task_seconds > 0, "at least one agent and one second");
    let mut lost = Vec::new();
    for (good, load) in [
        (Good::StatesDemand, Load::ItsShare),
        (Good::TakesOffers, Load::ItsShare),
        (Good::StatesDemand, Load::Endless),
        (Good::TakesOffers, Load::Endless),
        (Good::StatesDemand, Load::EndlessUnderCap),
        (Good::TakesOffers, Load::EndlessUnderCap),
    ] {
        let alone = measure(plan, good, load, false);
        let beside = measure(plan, good, load, true);
        let case = format!("{good:?}/{load:?}");
        let subject = Subject { bench: BENCH, case: &case };
        subject.print("launched_alone", "tasks", alone.launched as f64, &[])?;
        subject.print("launched_beside", "tasks", beside.launched as f64, &[])?;
        for (word, percent) in [("p50", 50.0), ("max", 100.0)] {
            let waited = percentile(&beside.waited_s, percent);
            subject.print(&format!("waited_beside_{word}"), "s", waited, &[])?;
        }
        subject.print("offers_made_beside", "offers", beside.offers as f64, &[])?;
        let kept = beside.launched as f64 / alone.launched as f64;
        subject.print("launch_rate_kept", "ratio", kept, &[])?;
        // Beyond its share it competes with what the hoarder may hold.
        if load != Load::Endless {
            let is_kept = kept >= KEPT_MIN;
            let verdict = if is_kept { "reached" } else { "NOT REACHED" };
            let goal = format!("at least {KEPT_MIN} of the launches");
            let line = json!({ "bench": BENCH, "case": case, "goal": goal, "value": kept,
                "verdict": verdict });
            writeln!(std::io::stdout(), "{line}")?;
            if !is_kept {
                lost.push(case);
            }
        }
    }
    ensure!(lost.is_empty(), "launches were lost to badly behaved frameworks: {lost:?}");
    Ok(())
}

/// Runs the story once.
#[must_use]
pub fn measure(plan: &Plan, good: Good, load: Load, with_bad_ones: bool) -> Outcome {
    let mut story = Story::new(plan, good, load, with_bad_ones);
    for second in 1..=plan.seconds {
        story.second(second);
    }
    story.outcome.offers = story.harness.master.counters().offers_made;
    story.outcome
}

struct Story {
    plan: Plan,
    good: Good,
    load: Load,
    harness: Harness,
    agents: Vec<AgentPeer>,
    framework: FrameworkPeer,
    declines: Option<FrameworkPeer>,
    hoards: Option<FrameworkPeer>,
    /// When each task came that waits.
    waiting: VecDeque<Monotonic>,
    /// End, agent and name of each task that runs.
    running: VecDeque<(Monotonic, usize, String)>,
    arrived: u64,
    generation: u64,
    is_suppressed: bool,
    outcome: Outcome,
}

impl Story {
    /// The badly behaved ones come first and have everything to begin with.
    fn new(plan: &Plan, good: Good, load: Load, with_bad_ones: bool) -> Self {
        let cap = (load == Load::EndlessUnderCap).then_some(CAP_PERCENT);
        let policy = Policy { held_max_percent: cap, ..Policy::default() };
        let mut harness = Harness::new(Config { policy, ..Config::default() });
        let mut agents = Vec::with_capacity(plan.agents);
        for number in 0..plan.agents {
            let mut agent = AgentPeer::new(&format!("agent{number}"), AGENT);
            agent.register(&mut harness, |_| true);
            harness.take_effects();
            agents.push(agent);
        }
        let bad = |name: &str| with_bad_ones.then(|| FrameworkPeer::new(name, "r1", name));
        let mut story = Self {
            plan: *plan,
            good,
            load,
            harness,
            agents,
            framework: FrameworkPeer::new("good", "r1", "good"),
            declines: bad("declines"),
            hoards: bad("hoards"),
            waiting: VecDeque::new(),
            running: VecDeque::new(),
            arrived: 0,
            generation: 0,
            is_suppressed: false,
            outcome: Outcome::default(),
        };
        for peer in [&mut story.declines, &mut story.hoards].into_iter().flatten() {
            peer.subscribe(&mut story.harness, false);
        }
        story.exchange();
        // With the first call it is clear that it states no demand.
        let roles = BTreeSet::new();
        for peer in [&mut story.declines, &mut story.hoards].into_iter().flatten() {
            peer.call(&mut story.harness, Call::Revive { roles: roles.clone() });
        }
        story.exchange();
        story.framework.subscribe(&mut story.harness, false);
        let template = template();
        let template = Call::Template { digest: template.digest(), template };
        let first = match good {
            Good::StatesDemand => Call::Demand { groups: Vec::new() },
            Good::TakesOffers => Call::Suppress { roles: BTreeSet::new() },
        };
        story.is_suppressed = true;
        story.exchange();
        story.framework.calls(&mut story.harness, vec![first, template]);
        story.exchange();
        story
    }

    fn cpus(&self) -> usize {
        self.agents.len() * CPUS_PER_AGENT
    }

    fn second(&mut self, second: u64) {
        self.harness.wait(DurationMs::from_secs(1));
        self.end_tasks();
        let now = self.harness.now.monotonic;
        match self.load {
            Load::ItsShare => {
                let due = (self.cpus() / FRAMEWORKS) as u64 * second / self.plan.task_seconds;
                (self.arrived..due).for_each(|_| self.waiting.push_back(now));
                self.arrived = due;
            }
            Load::Endless | Load::EndlessUnderCap => {
                (self.waiting.len()..2 * self.cpus()).for_each(|_| self.waiting.push_back(now));
            }
        }
        self.ask();
        self.exchange();
    }

    fn end_tasks(&mut self) {
        let now = self.harness.now.monotonic;
        while self.running.front().is_some_and(|(end, ..)| *end <= now) {
            let (_, at, name) = self.running.pop_front().expect("looked at");
            let agent = &mut self.agents[at];
            agent.report(&mut self.harness, self.framework.id, &name, TaskState::Finished);
        }
        self.exchange();
    }

    /// A target counts what runs (K10).
    fn ask(&mut self) {
        match self.good {
            Good::StatesDemand => {
                self.generation += 1;
                let target = u32::try_from(self.waiting.len() + self.running.len());
                let group = group(self.generation, target.expect("few"));
                self.framework.call(&mut self.harness, Call::Demand { groups: vec![group] });
            }
            Good::TakesOffers if self.waiting.is_empty() != self.is_suppressed => {
                self.is_suppressed = self.waiting.is_empty();
                let roles = BTreeSet::new();
                let call = match self.is_suppressed {
                    true => Call::Suppress { roles },
                    false => Call::Revive { roles },
                };
                self.framework.call(&mut self.harness, call);
            }
            Good::TakesOffers => {}
        }
    }

    /// Everybody hears and answers until nobody has anything more to say, bounded as a second is.
    fn exchange(&mut self) {
        for _ in 0..50 {
            let effects = self.harness.take_effects();
            if effects.is_empty() {
                return;
            }
            self.agents.iter_mut().for_each(|agent| agent.hear_effects(&effects));
            self.framework.hear_effects(&effects);
            self.acknowledge();
            self.launch();
            if let Some(hoards) = &mut self.hoards {
                hoards.hear_effects(&effects);
            }
            if let Some(declines) = &mut self.declines {
                declines.hear_effects(&effects);
                decline(declines, &mut self.harness);
            }
        }
    }

    /// Ends are taken note of, so that agents forget them.
    fn acknowledge(&mut self) {
        let mut through: BTreeMap<_, u64> = BTreeMap::new();
        self.framework.statuses.retain(|_, status| {
            if let Some(id) = status.id.filter(|_| status.state.is_terminal()) {
                let newest = through.entry((id.agent, id.incarnation)).or_default();
                *newest = id.sequence.max(*newest);
            }
            !status.state.is_terminal()
        });
        for ((agent, incarnation), through) in through {
            let except = BTreeSet::new();
            let call = Call::Acknowledge { agent, incarnation, through, except };
            self.framework.call(&mut self.harness, call);
        }
    }

    /// Launches as many of those that wait as fit, and gives the rest back.
    fn launch(&mut self) {
        let shape: Resources = SHAPE.parse().expect("valid");
        let now = self.harness.now.monotonic;
        for (id, offer) in std::mem::take(&mut self.framework.offers) {
            let mut rest = offer.resources.clone();
            let at = self.agents.iter().position(|agent| agent.id == Some(offer.agent));
            let at = at.expect("an agent of the story");
            let mut tasks = Vec::new();
            while let Ok(left) = rest.checked_sub(&shape)
                && let Some(came) = self.waiting.pop_front()
            {
                rest = left;
                let name = format!("task{}", self.outcome.launched);
                let group = offer.group.as_ref().map(GroupName::as_str);
                tasks.push(self.framework.launch(&name, shape.clone(), group));
                let ends = now.after(DurationMs::from_secs(self.plan.task_seconds));
                self.running.push_back((ends, at, name));
                self.outcome.launched += 1;
                self.outcome.waited_s.push(now.since(came).0 as f64 / 1e3);
            }
            let call = if tasks.is_empty() {
                Call::Decline { offers: vec![id], refuse_for: DECLINED_FOR }
            } else {
                Call::Accept(self.framework.accept(&[offer], tasks))
            };
            self.framework.call(&mut self.harness, call);
        }
        if self.waiting.is_empty() {
            self.suppress();
        }
    }

    fn suppress(&mut self) {
        if self.good == Good::TakesOffers && self.framework.connection.is_some() {
            self.ask();
        }
    }
}

fn decline(peer: &mut FrameworkPeer, harness: &mut Harness) {
    let offers: Vec<OfferId> = std::mem::take(&mut peer.offers).into_keys().collect();
    if !offers.is_empty() {
        peer.call(harness, Call::Decline { offers, refuse_for: DECLINED_FOR });
    }
}

fn group(generation: u64, target: u32) -> DemandGroup {
    DemandGroup {
        name: GroupName::new(GROUP).expect("valid"),
        generation: Generation(generation),
        role: RoleName::new("good").expect("valid"),
        shape: SHAPE.parse().expect("valid"),
        fixed_ports: false,
        target,
        constraints: Vec::new(),
        priority: 0,
        per_agent_max: None,
        spread: false,
        gang_size: 1,
        revocable: Default::default(),
        deadline: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Plan = Plan { agents: 12, seconds: 120, task_seconds: 10 };

    #[test]
    fn i9_badly_behaved_frameworks_take_less_than_a_tenth_of_anothers_launches() {
        let alone_min = |load| if load == Load::ItsShare { 48 / 3 * 12 } else { 48 * 12 };
        for load in [Load::ItsShare, Load::EndlessUnderCap] {
            for good in [Good::StatesDemand, Good::TakesOffers] {
                let alone = measure(&SMALL, good, load, false).launched;
                let beside = measure(&SMALL, good, load, true).launched;
                let text = format!("{good:?}, {load:?}: {beside} of {alone}");
                assert!(alone as f64 >= 0.98 * f64::from(alone_min(load)), "{text}");
                assert!(beside as f64 >= KEPT_MIN * alone as f64, "{text}");
            }
        }
    }

    /// The two are as bad as they are meant to be.
    #[test]
    fn the_badly_behaved_frameworks_hold_what_nobody_asks_for() {
        let mut story = Story::new(&SMALL, Good::StatesDemand, Load::ItsShare, true);
        for _ in 0..25 {
            let hoards = story.hoards.as_ref().expect("it is there");
            assert_eq!(hoards.offers.len(), SMALL.agents);
            story.harness.wait(DurationMs::from_secs(1));
            story.exchange();
        }
        let offers = story.harness.master.counters().offers_made;
        assert_eq!(offers, 2 * SMALL.agents as u64, "one declined all, one holds all");
    }
}
