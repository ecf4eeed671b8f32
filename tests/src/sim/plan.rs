//! What one seed is made of: sizes, rates, features and faults, each drawn at random and some left out
//! altogether, so that runs differ in kind ("swarm testing").

use super::chance::{Chance, between, one_in};
use proffer_types::DurationMs;
use rand_chacha::ChaCha8Rng;

/// How often each kind of fault strikes, per simulated minute, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub struct FaultRates {
    /// F1: a master process dies.
    pub crash_master: u64,
    /// F2: an agent process dies.
    pub crash_agent: u64,
    /// F5: a framework process dies.
    pub crash_framework: u64,
    /// F3: a supervisor dies.
    pub crash_supervisor: u64,
    /// F8: a machine restarts.
    pub reboot: u64,
    /// F11: a connection breaks.
    pub break_connection: u64,
    /// F15, F16: a peer and a master cannot reach each other for a while.
    pub partition: u64,
    /// F10: a master process stands still for a while.
    pub pause_master: u64,
    /// F28: the store ends a term before its time.
    pub expire_lease: u64,
    /// F27: the store forgets its history.
    pub compact: u64,
    /// F38: the wall clock of a process jumps.
    pub wall_jump: u64,
    /// F13, F14: a connection holds its frames back, and its client may meanwhile have another.
    pub stall: u64,
    /// F23: a member of the store dies.
    pub crash_member: u64,
    /// F24, F26: a member of the store reaches no other one for a while.
    pub isolate_member: u64,
    /// F23: a master does not reach a member of the store for a while.
    pub cut_member: u64,
    /// F23: the members of the store change their leader.
    pub change_member: u64,
}

/// How long a framework may leave an inverse offer without a deadline unanswered.
pub const INVERSE_OFFER_TIMEOUT: DurationMs = DurationMs::from_secs(3);

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it all comes from.
    pub seed: u64,
    /// Masters that stand for election.
    pub masters: usize,
    /// Members of their store.
    pub members: usize,
    /// Agents.
    pub agents: usize,
    /// Of them so many, the first ones, share one connection; fewer than two: none.
    pub farm: usize,
    /// Replicas of each framework.
    pub replicas: usize,
    /// Frameworks that run a number of tasks to completion.
    pub batches: usize,
    /// Whether the service framework takes part.
    pub services: bool,
    /// Simulated time with faults.
    pub faulty_ms: u64,
    /// Simulated time without faults in which everything must heal (I16).
    pub healing_ms: u64,
    /// Faults.
    pub rates: FaultRates,
    /// Usual delay of a message.
    pub delay_ms: u64,
    /// Usual time of a commit.
    pub commit_ms: u64,
    /// Thousandths of commits whose answer is lost (F25).
    pub lost_answers: u32,
    /// Thousandths of transactions that the store did not take at first.
    pub refused_commits: u32,
    /// Usual time of a checkpoint write.
    pub checkpoint_ms: u64,
    /// Thousandths of tasks that fail by themselves.
    pub failing_tasks: u32,
    /// Thousandths of probes that fail.
    pub failing_probes: u32,
    /// Thousandths of checkpoint writes that fail (F35).
    pub failing_writes: u32,
    /// Whether operators do something.
    pub operators: bool,
    /// Whether operators reserve resources and make volumes.
    pub holds: bool,
    /// Thousandths of minutes in which a disk loses a volume.
    pub lose_volume: u64,
    /// Whether somebody says that he is a framework which is another's (K20).
    pub impostor: bool,
    /// Thousandths of transactions that reach the store twice (F12).
    pub doubled_requests: u32,
    /// Thousandths of transactions that are given up and reach the store later all the same (F13).
    pub late_requests: u32,
    /// Thousandths of turns in which a process dies between two effects.
    pub torn_turns: u32,
    /// How long an offer is held.
    pub offer_ttl_ms: u64,
    /// Offers that one framework may hold.
    pub offers_held_max: u32,
    /// Which of the batch frameworks wants classical offers, if that one takes part.
    pub classical: Option<usize>,
    /// Whether replicas that start take over from those that are active.
    pub take_over: bool,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(seed: u64, chance: &mut Chance) -> Self {
        let rng = &mut chance.faults;
        let mut rate = |often: u64| {
            // A third of the kinds is left out of each run.
            if one_in(rng, 333) { 0 } else { between(rng, 1, often) }
        };
        let rates = FaultRates {
            crash_master: rate(1500),
            crash_agent: rate(2000),
            crash_framework: rate(1500),
            crash_supervisor: rate(500),
            reboot: rate(400),
            break_connection: rate(4000),
            partition: rate(1000),
            pause_master: rate(500),
            expire_lease: rate(400),
            compact: rate(500),
            wall_jump: rate(2000),
            stall: 0,
            crash_member: 0,
            isolate_member: 0,
            cut_member: 0,
            change_member: 0,
        };
        let quiet = one_in(rng, 50);
        let twists = &mut chance.twists;
        let mut twist = |per_mille: u32| if one_in(twists, 333) { 0 } else { per_mille };
        let (doubled_requests, late_requests, torn_turns) = (twist(20), twist(10), twist(1));
        let stall = twist(4000).into();
        let take_over = one_in(twists, 300);
        let usual = proffer_master_core::Config::default().offers_held_max;
        let offers_held_max = if one_in(twists, 300) { 2 } else { usual };
        let rates = FaultRates { stall, ..rates };
        let (members, rates) = members(&mut chance.members, rates);
        Self {
            seed,
            masters: if one_in(rng, 500) { 2 } else { 1 },
            members,
            agents: usize::try_from(between(rng, 1, 6)).unwrap_or(1),
            farm: if one_in(&mut chance.farm, 400) {
                usize::try_from(between(&mut chance.farm, 2, 6)).unwrap_or(2)
            } else {
                0
            },
            replicas: usize::try_from(between(rng, 1, 2)).unwrap_or(1),
            batches: usize::try_from(between(rng, 1, 2)).unwrap_or(1),
            services: !one_in(rng, 250),
            faulty_ms: between(rng, 30_000, 120_000),
            healing_ms: 300_000,
            rates: if quiet { FaultRates::default() } else { rates },
            delay_ms: between(rng, 1, 50),
            commit_ms: between(rng, 1, 30),
            lost_answers: if one_in(rng, 500) { 0 } else { 20 },
            refused_commits: if one_in(rng, 500) { 0 } else { 30 },
            checkpoint_ms: between(rng, 1, 20),
            failing_tasks: match (one_in(rng, 300), one_in(&mut chance.notes, 100)) {
                (true, _) => 0,
                (false, false) => 100,
                // Often enough that instances of a service crash again and again.
                (false, true) => 500,
            },
            failing_probes: if one_in(rng, 500) { 0 } else { 20 },
            failing_writes: if one_in(rng, 500) { 0 } else { 3 },
            operators: !one_in(rng, 300),
            impostor: one_in(rng, 400),
            holds: one_in(&mut chance.holds, 600),
            lose_volume: match one_in(&mut chance.holds, 500) {
                true => 0,
                false => between(&mut chance.holds, 1, 1_500),
            },
            doubled_requests: if quiet { 0 } else { doubled_requests },
            late_requests: if quiet { 0 } else { late_requests },
            torn_turns: if quiet { 0 } else { torn_turns },
            take_over,
            offer_ttl_ms: between(&mut chance.notes, 2_000, 30_000),
            offers_held_max,
            classical: one_in(&mut chance.classical, 400)
                .then(|| usize::from(one_in(&mut chance.classical, 500))),
        }
    }
}

/// How many members the store has, and what goes wrong with them.
fn members(rng: &mut ChaCha8Rng, rates: FaultRates) -> (usize, FaultRates) {
    let members = if one_in(rng, 500) { 1 } else { 3 };
    let mut rate = |often: u64| if one_in(rng, 333) { 0 } else { between(rng, 1, often) };
    let rates = FaultRates {
        crash_member: rate(1_500),
        isolate_member: rate(1_000),
        cut_member: rate(1_500),
        change_member: rate(1_000),
        ..rates
    };
    (members, rates)
}
