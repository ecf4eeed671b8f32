//! The commit queue and the store in memory under every order of messages: lost, late, repeated, with
//! leaders deposed at any moment. One seed decides everything; both sides are pure (K21).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proffer_master::store::commit_queue::{CommitQueue, QueueBudget, Request};
use proffer_master::store::memory_core::MemoryCore;
use proffer_master::store::{
    Batch, CommitOutcome, Guard, Lane, LeaderToken, Limits, OperationId, Revision, Transaction,
    TransactionResult,
};

const SEEDS: u64 = 3_000;
const STEPS: usize = 120;
const TTL: Duration = Duration::from_secs(10);

/// Small groups, so that one run has many transactions.
const LIMITS: Limits = Limits { batch_operations_max: 4, ..Limits::ETCD };

/// SplitMix64: enough disorder, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % u64::try_from(bound).expect("small")).expect("below the bound")
    }
}

struct Leader {
    token: LeaderToken,
    queue: CommitQueue,
    /// The call that it waits for.
    waits_for: Option<u64>,
}

#[derive(Clone)]
enum Message {
    Transact(Arc<Transaction>),
    ReadGuard,
    Transacted(TransactionResult),
    GuardRead(Guard),
}

#[derive(Clone)]
struct Flying {
    leader: usize,
    call: u64,
    message: Message,
}

#[derive(Default)]
struct Counts {
    lost: u64,
    repeated: u64,
    timeouts: u64,
    terms: u64,
    committed: u64,
    not_committed: u64,
    unknown: u64,
}

struct World {
    dice: Dice,
    store: MemoryCore,
    leaders: Vec<Leader>,
    network: Vec<Flying>,
    calls: u64,
    submitted: BTreeSet<OperationId>,
    ended: BTreeMap<OperationId, CommitOutcome>,
    counts: Counts,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            dice: Dice(seed),
            store: MemoryCore::new(LIMITS),
            leaders: Vec::new(),
            network: Vec::new(),
            calls: 0,
            submitted: BTreeSet::new(),
            ended: BTreeMap::new(),
            counts: Counts::default(),
        };
        world.elect();
        world
    }

    /// The standing term ends, another begins. The old leader may not know for long.
    fn elect(&mut self) {
        self.store.expire_now();
        let token = self.store.campaign(vec![], TTL, Duration::ZERO).expect("the seat is free");
        let mark = self.store.guard().mark;
        let queue = CommitQueue::new(token, mark, LIMITS, QueueBudget::default());
        self.leaders.push(Leader { token, queue, waits_for: None });
        self.counts.terms += 1;
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..25 => self.submit(),
            25..60 => self.pump(),
            60..85 => self.deliver(),
            85..90 => self.lose(),
            90..93 => self.repeat(),
            93..97 => self.time_out(),
            97..99 => self.elect(),
            _ => self.tell_of_loss(),
        }
    }

    fn any_leader(&mut self) -> usize {
        // The newest one most of the time, else a zombie.
        let count = self.leaders.len();
        if self.dice.below(3) == 0 { self.dice.below(count) } else { count - 1 }
    }

    fn submit(&mut self) {
        let leader = self.any_leader();
        let id = OperationId(u64::try_from(self.submitted.len()).expect("small"));
        let lane = if self.dice.below(2) == 0 { Lane::Registry } else { Lane::FrameworkState };
        let term = self.leaders[leader].token.create_revision.0.to_string();
        let batch = Batch::new().put(format!("op/{}", id.0), term.clone()).put("shared", term);
        if self.leaders[leader].queue.submit(id, lane, batch).is_ok() {
            self.submitted.insert(id);
        }
    }

    fn pump(&mut self) {
        let leader = self.any_leader();
        self.pump_leader(leader);
    }

    fn pump_leader(&mut self, leader: usize) {
        let at = &mut self.leaders[leader];
        if let Some(request) = at.queue.next_request() {
            assert_eq!(at.waits_for, None, "one call at a time");
            self.calls += 1;
            at.waits_for = Some(self.calls);
            let message = match request {
                Request::Transact(transaction) => Message::Transact(transaction),
                Request::ReadGuard => Message::ReadGuard,
            };
            self.network.push(Flying { leader, call: self.calls, message });
        }
        self.take_ended(leader);
    }

    fn take_ended(&mut self, leader: usize) {
        for completed in self.leaders[leader].queue.take_completed() {
            for id in completed.operations {
                let before = self.ended.insert(id, completed.outcome.clone());
                assert_eq!(before, None, "{id:?} ended twice");
            }
        }
    }

    fn deliver(&mut self) {
        if !self.network.is_empty() {
            let index = self.dice.below(self.network.len());
            let flying = self.network.remove(index);
            self.arrive(flying);
        }
    }

    fn arrive(&mut self, flying: Flying) {
        let Flying { leader, call, message } = flying;
        let answer = match message {
            Message::Transact(transaction) => {
                Message::Transacted(self.store.transact(&transaction))
            }
            Message::ReadGuard => Message::GuardRead(self.store.guard()),
            Message::Transacted(result) => {
                if self.awaited(leader, call) {
                    self.leaders[leader].queue.transacted(result);
                }
                return self.take_ended(leader);
            }
            Message::GuardRead(guard) => {
                if self.awaited(leader, call) {
                    self.leaders[leader].queue.guard_read(Some(guard));
                }
                return self.take_ended(leader);
            }
        };
        self.network.push(Flying { leader, call, message: answer });
    }

    fn awaited(&mut self, leader: usize, call: u64) -> bool {
        let waits_for = &mut self.leaders[leader].waits_for;
        let awaited = *waits_for == Some(call);
        if awaited {
            *waits_for = None;
        }
        awaited
    }

    fn lose(&mut self) {
        if !self.network.is_empty() {
            let index = self.dice.below(self.network.len());
            self.network.remove(index);
            self.counts.lost += 1;
        }
    }

    fn repeat(&mut self) {
        if !self.network.is_empty() {
            let index = self.dice.below(self.network.len());
            self.network.push(self.network[index].clone());
            self.counts.repeated += 1;
        }
    }

    /// The call is given up. What it sent may still arrive.
    fn time_out(&mut self) {
        let leader = self.any_leader();
        self.time_out_leader(leader);
    }

    fn time_out_leader(&mut self, leader: usize) {
        let at = &mut self.leaders[leader];
        let Some(call) = at.waits_for.take() else { return };
        self.counts.timeouts += 1;
        // A late answer to a guard is only lost; of a transaction the outcome is unknown.
        let mut sent = self.network.iter().filter(|f| f.leader == leader && f.call == call);
        let guard = sent.any(|f| matches!(f.message, Message::ReadGuard | Message::GuardRead(_)));
        if guard {
            at.queue.guard_read(None);
        } else {
            at.queue.transacted(TransactionResult::Unknown { reason: "timed out".into() });
        }
        self.take_ended(leader);
    }

    fn tell_of_loss(&mut self) {
        let leader = self.any_leader();
        if self.store.guard().leader != Some(self.leaders[leader].token.create_revision) {
            self.leaders[leader].queue.leadership_lost();
            self.take_ended(leader);
        }
    }

    /// No more faults: everything that was submitted has to end.
    fn heal(&mut self) {
        for _ in 0..10_000 {
            let unfinished: usize =
                self.leaders.iter().map(|leader| leader.queue.unfinished_count()).sum();
            if unfinished == 0 && self.network.is_empty() {
                return;
            }
            for leader in 0..self.leaders.len() {
                self.pump_leader(leader);
                if self.network.is_empty() {
                    self.time_out_leader(leader);
                }
            }
            while !self.network.is_empty() {
                self.deliver();
            }
        }
        panic!("the queues do not come to rest");
    }

    fn check(&mut self) {
        assert_eq!(self.ended.len(), self.submitted.len(), "every submitted batch ends");
        let mut by_sequence: BTreeMap<u64, BTreeSet<Revision>> = BTreeMap::new();
        for (id, outcome) in &self.ended {
            let found = self.store.get(format!("op/{}", id.0).as_bytes());
            match outcome {
                CommitOutcome::Committed { revision, sequence } => {
                    let found = found.unwrap_or_else(|| panic!("I11: {id:?} is not there"));
                    assert_eq!(found.modified, *revision, "{id:?}");
                    by_sequence.entry(*sequence).or_default().insert(*revision);
                    self.counts.committed += 1;
                }
                CommitOutcome::LeadershipLost => {
                    assert_eq!(found, None, "I10: {id:?} was said not to be written");
                    self.counts.not_committed += 1;
                }
                CommitOutcome::Unknown { .. } => self.counts.unknown += 1,
                CommitOutcome::Failed { reason } => panic!("{id:?} failed: {reason}"),
            }
        }
        // One revision per sequence number, both rising, written by terms that rise too.
        let mut last = (Revision(0), 0);
        for (sequence, revisions) in by_sequence {
            assert_eq!(revisions.len(), 1, "commit {sequence} has {revisions:?}");
            let revision = *revisions.first().expect("one");
            let newest_term_before = self.leaders.iter().map(|leader| leader.token.create_revision);
            let term = newest_term_before.filter(|begun| *begun < revision).max();
            let term = term.expect("somebody led").0;
            assert!(revision > last.0 && term >= last.1, "I10: commit {sequence}");
            last = (revision, term);
        }
    }
}

#[test]
fn k4_i10_i11_no_order_of_messages_makes_the_queue_lie() {
    let mut total = Counts::default();
    for seed in 0..SEEDS {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..STEPS {
                world.step();
            }
            world.heal();
            world.check();
            world.counts
        });
        let counts = run.unwrap_or_else(|_| panic!("seed {seed} failed"));
        total.lost += counts.lost;
        total.repeated += counts.repeated;
        total.timeouts += counts.timeouts;
        total.terms += counts.terms;
        total.committed += counts.committed;
        total.not_committed += counts.not_committed;
        total.unknown += counts.unknown;
    }
    // An idle run cannot pass.
    let Counts { lost, repeated, timeouts, terms, committed, not_committed, unknown } = total;
    eprintln!(
        "{SEEDS} seeds: {terms} terms, {committed} committed, {not_committed} not, \
         {unknown} unknown; {lost} messages lost, {repeated} repeated, {timeouts} timeouts"
    );
    assert!(committed > 10 * SEEDS && not_committed > SEEDS && unknown > 10);
    assert!(lost > SEEDS && repeated > SEEDS && timeouts > SEEDS && terms > 2 * SEEDS);
}
